//! What several subjects' tests need.

pub mod components;
pub mod http;
