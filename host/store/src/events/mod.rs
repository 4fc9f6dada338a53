//! The outbox, webhooks, and deliveries of the one to the other.

pub(crate) mod deliveries;
pub(crate) mod events;
pub(crate) mod webhooks;
