//! From the plan to stored rows: the path of the data.

mod allowances;
pub(super) mod batch_accounts;
pub(super) mod budgets;
pub(super) mod collect;
pub(super) mod collect_error;
pub(super) mod collector;
mod deferral;
pub(super) mod dispatch;
pub(super) mod evaluate;
pub(super) mod fetch;
mod given_back;
pub(super) mod held;
mod older_dates;
pub(crate) mod pauses;
pub(super) mod planning;
pub(super) mod quarantine;
pub mod report;
mod results;
pub(super) mod run;
mod run_ends;
pub(super) mod waiting;
pub(super) mod workers;
