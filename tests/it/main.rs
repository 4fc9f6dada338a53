//! The integration tests: one binary, with one module per subject.

#![expect(clippy::unwrap_used, reason = "a test that can't continue has failed")]

mod cli;
mod gateway;
mod hotswap;
mod lifecycle;
mod pipeline;
mod sandbox;
mod service;
mod store;
mod support;
mod whole;
