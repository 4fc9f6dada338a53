//! What several subjects' tests need.

pub mod database;
pub mod postgres;
