//! Webhooks and what is sent to them.

pub(super) mod deliveries;
pub(super) mod manage;
