//! Credentials as sealed bytes, their refreshes, and sealing them again under another key.

pub(crate) mod installation;
pub(crate) mod refreshes;
pub(crate) mod reseal;
pub(crate) mod sealed;
