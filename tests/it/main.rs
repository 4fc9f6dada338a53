//! The integration tests: one binary, one module a subject.

mod gateway;
mod pipeline;
mod sandbox;
mod store;
mod support;
