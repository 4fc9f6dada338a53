//! Backline collects artists' daily numbers through sandboxed connectors.
//!
//! The modules stand in the order in which data passes through them; see ARCHITECTURE.md for the map and the invariants.

pub mod config;

pub mod clock;
pub mod domain;
pub mod telemetry;

pub mod pipeline;
pub mod plan;
pub mod roster;
pub mod schedule;

pub mod gateway;
pub mod growth;
pub mod health;
pub mod normalise;
pub mod sandbox;
pub mod secrets;
pub mod shadow;
pub mod store;
pub mod trial;
pub mod validate;

pub mod delivery;

pub mod plugins;

pub mod api;
pub mod cli;
