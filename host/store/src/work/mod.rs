//! Who does what: runs, batches, leases, schedules, allowances, and how each account ended.

pub(crate) mod activations;
pub(crate) mod batches;
pub(crate) mod budgets;
pub mod completion;
pub(crate) mod hosts;
pub(crate) mod leaders;
pub(crate) mod ledger;
pub(crate) mod outcomes;
pub(crate) mod planning;
pub(crate) mod run_state;
pub(crate) mod schedules;
