//! Upkeep: archive and health.

pub(super) mod archive;
pub(super) mod health;
