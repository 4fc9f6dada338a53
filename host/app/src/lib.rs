//! Backline collects artists' daily numbers through sandboxed connectors.
//!
//! This crate puts the others together: `pipeline` leads data through them, `api` and `cli` are its edges. See ARCHITECTURE.md for the map
//! and the invariants.

pub mod config;
pub mod telemetry;

pub mod pipeline;

pub mod api;
pub mod cli;
