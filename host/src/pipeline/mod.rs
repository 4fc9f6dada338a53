//! The one module that knows all stages: it leads data from the plan to storage.

pub mod report;
