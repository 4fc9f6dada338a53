//! Alerts to people: channels, routes, digests, and the messages with the events that they tell.

pub(crate) mod channels;
pub(crate) mod digests;
pub(crate) mod messages;
pub(crate) mod routes;
pub(crate) mod sending;
