//! Connections, statements and migrations: what the other folders use.

pub(crate) mod connection;
pub(crate) mod connections;
pub(crate) mod counters;
pub(crate) mod dialect;
pub(crate) mod error;
pub(crate) mod known_months;
pub(crate) mod limits;
pub(crate) mod link;
pub(crate) mod migrate;
pub(crate) mod months;
pub(crate) mod notifications;
pub(crate) mod old_rows;
pub(crate) mod owner;
pub(crate) mod place;
pub(crate) mod pooler;
pub(crate) mod readable;
pub(crate) mod rows;
pub(crate) mod statement;
pub(crate) mod table;
pub(crate) mod times;
pub(crate) mod topic;
