//! Webhooks and what is sent to them.

pub mod deliveries;
pub mod manage;
