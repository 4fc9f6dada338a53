//! Artists: in step with the platform's own table, exported and erased.

pub(super) mod export;
pub(super) mod privacy;
pub(super) mod sync;
