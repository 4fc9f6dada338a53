//! Who may use the HTTP API, and who did what.

pub(crate) mod audit;
pub(crate) mod tokens;
