//! The work and its state: runs, batches, leases, schedules, budgets, and how each account ended.

pub(crate) mod activations;
pub(crate) mod batch_start;
pub(crate) mod batches;
pub(crate) mod budgets;
pub(crate) mod bulk;
pub(crate) mod completion;
pub(crate) mod hosts;
pub(crate) mod leaders;
pub(crate) mod leases;
pub(crate) mod ledger;
pub(crate) mod locks;
pub(crate) mod logs;
pub(crate) mod outcomes;
pub(crate) mod parts;
pub(crate) mod pauses;
pub(crate) mod planning;
pub(crate) mod result;
pub(crate) mod run_state;
pub(crate) mod schedules;
pub(crate) mod set_back;
pub(crate) mod uncollected;
pub(crate) mod unreadable;
