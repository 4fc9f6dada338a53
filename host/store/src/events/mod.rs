//! The outbox, webhooks, and deliveries of the one to the other.

pub(crate) mod cursor;
pub(crate) mod deliveries;
pub(crate) mod gone;
pub(crate) mod outbox;
pub(crate) mod row_data;
pub(crate) mod webhooks;
