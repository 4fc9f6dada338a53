//! Backline collects artists' daily metrics through sandboxed connectors.
//!
//! This crate combines the others: `pipeline` passes data through them, `api` and `cli` are its edges. See
//! ARCHITECTURE.md for the map and the invariants.

pub mod config;
pub mod telemetry;

pub mod pipeline;

pub mod api;
pub mod cli;
