//! What the service does beside collecting: archive and health.

pub mod archive;
pub mod health;
