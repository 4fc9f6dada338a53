//! Who may use the HTTP API, who is logged in to the dashboard, who did what, and what was answered to requests that
//! may come again.

pub(crate) mod answers;
pub(crate) mod audit;
pub(crate) mod sessions;
pub(crate) mod tokens;
