//! Commands about secrets, and about who may do and who did what: credentials, keys, tokens, the audit log.

pub(super) mod audit;
pub(super) mod credentials;
pub(super) mod keys;
pub(super) mod tokens;
