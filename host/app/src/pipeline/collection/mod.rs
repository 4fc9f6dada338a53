//! From the plan to stored rows: the path of the data.

pub mod budgets;
pub mod collect;
pub mod dispatch;
pub mod evaluate;
pub mod fetch;
pub mod planning;
pub mod quarantine;
pub mod report;
pub mod run;
pub mod workers;
