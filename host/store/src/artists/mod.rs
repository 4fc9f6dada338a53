//! Artists, their accounts and consents, and all that is known of one artist.

pub(crate) mod accounts;
pub(crate) mod candidates;
pub(crate) mod consents;
pub(crate) mod export;
pub(crate) mod privacy;
pub(crate) mod removal;
pub(crate) mod roster;
pub(crate) mod source_table;
pub(crate) mod tombstones;
