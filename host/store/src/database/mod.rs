//! Connections, statements and migrations: what the other folders stand on.

pub(crate) mod dialect;
pub(crate) mod error;
pub(crate) mod migrate;
pub(crate) mod months;
pub(crate) mod notifications;
