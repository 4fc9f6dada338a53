//! Alerts to people: management, digests and sending.

pub(super) mod digests;
pub(super) mod manage;
pub(super) mod sending;
