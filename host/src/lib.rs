//! Backline collects artists' daily numbers through sandboxed connectors.
//!
//! The modules stand in the order in which data passes through them; see ARCHITECTURE.md for the map and the invariants.

pub mod config;

pub mod clock;
pub mod domain;

pub mod plan;
pub mod pipeline;

pub mod secrets;
pub mod gateway;
pub mod sandbox;
pub mod normalise;
pub mod validate;
pub mod store;
pub mod growth;

pub mod plugins;

pub mod cli;
