//! Artists: sync with the operator's own table, who needs someone, export and erasure.

pub(super) mod attention;
pub(super) mod export;
pub(super) mod privacy;
pub(super) mod sync;
