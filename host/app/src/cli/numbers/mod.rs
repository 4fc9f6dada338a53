//! Commands about the numbers that are stored: metrics and growth, what was withheld, the archive.

pub(super) mod archive;
pub(super) mod metrics;
pub(super) mod quarantine;
