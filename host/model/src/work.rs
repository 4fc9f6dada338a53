//! When work is due, how it is divided, and how it ended.

pub mod bulk;
pub mod fair_share;
pub mod outcome;
pub mod run;
pub mod schedule;
pub mod tally;
pub mod zone;
