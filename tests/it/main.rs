//! The integration tests: one binary, one module a subject.

mod cli;
mod gateway;
mod pipeline;
mod sandbox;
mod store;
mod support;
