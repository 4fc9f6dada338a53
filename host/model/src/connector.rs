//! What a connector declares, what it is granted, and what its releases are.

pub mod account_rule;
pub mod allowance;
pub mod fetch;
pub mod grant;
pub mod manifest;
mod manifest_error;
pub mod origin;
pub mod pace;
pub mod release;
