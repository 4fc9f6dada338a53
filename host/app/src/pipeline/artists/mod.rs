//! Artists: sync with the operator's own table, export and erasure.

pub(super) mod export;
pub(super) mod privacy;
pub(super) mod sync;
