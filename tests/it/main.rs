//! The integration tests: one binary, with one module per subject.

#![expect(clippy::unwrap_used, reason = "a test that can't continue has failed")]
#![allow(unreachable_pub, reason = "nothing outside a test binary reaches into it")]

mod adversaries;
mod browser;
mod chaos;
mod cli;
mod contract;
mod gateway;
mod hotswap;
mod lifecycle;
mod neighbours;
mod pipeline;
mod plans;
mod sandbox;
mod service;
mod store;
mod support;
mod terminal;
mod whole;
