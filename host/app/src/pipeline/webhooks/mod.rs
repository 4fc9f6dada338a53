//! Webhooks: management and delivery.

pub(super) mod deliveries;
pub(super) mod manage;
pub(super) mod signing;
mod troubles;
