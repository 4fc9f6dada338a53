//! Artists: sync with the operator's own table, who needs someone, export, erasure, and the removal of an account.

pub(super) mod attention;
pub(super) mod export;
pub(super) mod privacy;
pub(super) mod removal;
pub(super) mod sync;
