//! Who may use the HTTP API, who did what, and what was answered to requests that may come again.

pub(crate) mod answers;
pub(crate) mod audit;
pub(crate) mod tokens;
