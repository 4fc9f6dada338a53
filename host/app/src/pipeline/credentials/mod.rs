//! Credentials on their way from the database to the gateway, and how they stay fresh.

pub mod journal;
pub mod manager;
pub mod refresh;
pub mod refresher;
pub mod rotate;
pub mod set_credential;
