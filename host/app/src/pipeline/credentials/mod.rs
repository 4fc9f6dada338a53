//! Credentials on their way from the database to the gateway, and how they stay fresh.

pub(super) mod journal;
pub(super) mod manager;
pub(super) mod refresh;
pub(super) mod refresher;
pub(super) mod rotate;
pub(super) mod set_credential;
