//! Alerts to people: management and sending.

pub(super) mod manage;
pub(super) mod sending;
