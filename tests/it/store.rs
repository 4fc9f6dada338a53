//! The conformance tests of the store: every test runs on SQLite and on PostgreSQL.

mod activations;
mod answers;
mod cancel;
mod completion;
mod credentials;
mod equality;
pub mod fixtures;
mod hosts;
mod installation;
mod leases;
mod ledger;
mod limits;
mod logs;
mod order;
mod outcomes;
mod people;
mod pooler;
mod quarantine;
mod refreshes;
mod row_events;
mod scheduling;
pub mod schema;
pub mod scope;
mod tokens;
mod unreadable;
mod values;
