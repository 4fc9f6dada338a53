//! Tests of stored data: events and deliveries, health, archive, privacy, and access to the tables.

mod alerts;
pub mod archive;
mod commands;
mod deliveries;
mod digests;
mod export;
mod health;
mod hooks;
mod imports;
mod keys;
mod layout;
mod names;
mod privacy;
mod reading;
mod removal;
mod rows;
mod schemas;
