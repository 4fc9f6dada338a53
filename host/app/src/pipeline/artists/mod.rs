//! Artists: in step with the platform's own table, exported and erased.

pub mod export;
pub mod privacy;
pub mod sync;
