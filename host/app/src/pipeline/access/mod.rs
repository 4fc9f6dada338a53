//! Who may use the HTTP API, and who did what.

pub(super) mod audit;
pub(super) mod sessions;
pub(super) mod subjects;
pub(super) mod tokens;
