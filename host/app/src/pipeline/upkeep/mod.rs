//! What the service does beside collecting: archive and health.

pub(super) mod archive;
pub(super) mod health;
