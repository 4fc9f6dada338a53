//! Who may use the HTTP API.

pub(crate) mod tokens;
