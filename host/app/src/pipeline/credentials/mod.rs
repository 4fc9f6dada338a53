//! Credentials: set, sealed, refreshed, rotated, and passed to the gateway.

pub(super) mod expiry;
pub(super) mod installation;
pub(super) mod journal;
pub(super) mod manager;
pub(super) mod refresh;
pub(super) mod refresher;
pub(super) mod rotate;
pub(super) mod set_credential;
pub(super) mod token_pauses;
