//! Helpers shared by several modules of the integration tests.

pub mod alone;
pub mod binary;
pub mod bytes;
pub mod certificates;
pub mod companions;
pub mod components;
pub mod database;
pub mod fleet;
pub mod host;
pub mod http;
pub mod long;
pub mod post;
pub mod postgres;
pub mod proxy;
pub mod registry;
pub mod scene;
pub mod stage;
pub mod tables;
pub mod tracing_on;
pub mod variants;
pub mod zones;
