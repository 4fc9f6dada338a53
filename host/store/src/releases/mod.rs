//! Releases of connectors, what they were granted, and how they do.

pub(crate) mod canaries;
pub(crate) mod grants;
pub(crate) mod installed;
pub(crate) mod stored_grant;
pub(crate) mod swaps;
