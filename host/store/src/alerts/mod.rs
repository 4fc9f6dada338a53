//! Alerts to people: channels, routes, and the messages with the events that they tell.

pub(crate) mod channels;
pub(crate) mod messages;
pub(crate) mod routes;
pub(crate) mod sending;
