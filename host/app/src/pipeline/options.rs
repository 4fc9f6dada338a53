//! How the configuration opens a database: for hosts, for commands, and for the other database of a sync.

use std::time::Duration;

use crate::config::DatabaseConfig;
use backline_store::{StoreLimits, StoreOptions};

/// How a database is used, as it is configured.
#[must_use]
pub fn store_options(config: &DatabaseConfig) -> StoreOptions {
    let DatabaseConfig {
        connections_max,
        connect_timeout_ms,
        statement_timeout_ms,
        long_statement_timeout_ms,
        lock_timeout_ms,
        ..
    } = *config;
    let limits = StoreLimits {
        connect: Duration::from_millis(connect_timeout_ms),
        statement: Duration::from_millis(statement_timeout_ms),
        long_statement: Duration::from_millis(long_statement_timeout_ms),
        lock: Duration::from_millis(lock_timeout_ms),
    };
    StoreOptions { connections_max, limits }
}
