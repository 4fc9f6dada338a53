//! Commands about the work of collecting: what is planned, runs and their batches, pauses, schedules.

pub(super) mod backfill;
pub(super) mod batches;
pub(super) mod bulk;
pub(super) mod outcomes;
pub(super) mod pauses;
pub(super) mod run;
pub(super) mod runs;
pub(super) mod schedules;
