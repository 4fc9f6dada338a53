//! Who may use the HTTP API.

pub(super) mod tokens;
