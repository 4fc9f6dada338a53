//! Which open batches of a run its command waits for. Other hosts may collect for the same run, so the ledger decides,
//! not the command's own work.

use std::collections::BTreeSet;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use crate::config::CollectionConfig;
use crate::pipeline::collection::report::{OpenReason, OpenReport};
use crate::pipeline::context;
use backline_gateway::WAITED_PAUSE_MAX;
use backline_model::BatchState;
use backline_store::{OpenAccounts, OpenBatches, Topic};

/// How many lease times a lease may last beyond now before its end is not worth waiting for. Two: the clock of the host
/// that holds it may differ from this one's, and its leases may be a little longer.
const LEASES_MAX: i32 = 2;

/// How long a command waits for what.
#[derive(Clone, Copy, Debug)]
pub(in crate::pipeline) struct WaitLimits {
    lease: TimeDelta,
    retry: TimeDelta,
}

impl WaitLimits {
    pub(in crate::pipeline) fn of(config: &CollectionConfig) -> Self {
        let time = |ms| TimeDelta::from_std(Duration::from_millis(ms)).unwrap_or(TimeDelta::MAX);
        let lease = time(config.lease_ttl_ms).checked_mul(LEASES_MAX).unwrap_or(TimeDelta::MAX);
        let pause = TimeDelta::from_std(WAITED_PAUSE_MAX).unwrap_or(TimeDelta::MAX);
        Self { lease, retry: time(config.retry_wait_max_ms).max(pause) }
    }

    /// Whether the batches can end, or be taken up, in a time worth waiting for. A budget and a retry far off are
    /// not waited for. A host that reports is. One that does not is waited for until its lease expires, since then the
    /// batch can be collected here; where that is far off, it is not waited for either.
    pub(in crate::pipeline) fn awaits(self, open: &OpenBatches, now: DateTime<Utc>) -> bool {
        let wait = open.available_at - now;
        match open.state {
            _ if wait <= TimeDelta::zero() => open.has_connector,
            BatchState::Leased => wait <= self.lease || is_holder_present(open, now),
            BatchState::Planned => open.has_connector && wait <= self.retry,
            _ => false,
        }
    }
}

fn is_holder_present(open: &OpenBatches, now: DateTime<Utc>) -> bool {
    open.holder_seen_at.is_some_and(|seen_at| context::is_recent(seen_at, now))
}

/// The hosts in whose hands batches are.
pub(in crate::pipeline) fn holders(open: &[OpenBatches]) -> BTreeSet<String> {
    open.iter().filter_map(|open| open.holder.clone()).collect()
}

/// Whether a notification can be about batches of a run: work was planned, or something was stored.
pub(in crate::pipeline) fn is_about_runs(topic: Topic) -> bool {
    matches!(topic, Topic::Work | Topic::Events)
}

/// Open batches as they are reported.
pub(in crate::pipeline) fn report_of(open: &OpenAccounts, now: DateTime<Utc>) -> OpenReport {
    let OpenAccounts { batches, accounts, .. } = open;
    let is_due = batches.available_at <= now;
    let is_silent = is_due || (batches.holder_seen_at.is_some() && !is_holder_present(batches, now));
    let reason = match batches.state {
        BatchState::Leased if is_silent => OpenReason::HolderSilent,
        BatchState::Leased => OpenReason::Held,
        _ if !batches.has_connector => OpenReason::NoConnector,
        BatchState::Deferred => OpenReason::Budget,
        _ if is_due => OpenReason::NotBegun,
        _ => OpenReason::Retry,
    };
    OpenReport {
        platform: batches.platform.clone(),
        reason,
        batches: batches.batches,
        accounts: *accounts,
        holder: batches.holder.clone(),
        available_at: batches.available_at,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use backline_model::Platform;

    fn now() -> DateTime<Utc> {
        "2026-11-22T12:00:00Z".parse().expect("a time")
    }

    fn open(state: BatchState, in_seconds: i64) -> OpenBatches {
        OpenBatches {
            platform: Platform::new("demo").expect("a platform"),
            state,
            holder: (state == BatchState::Leased).then(|| "host-b".to_owned()),
            holder_seen_at: None,
            has_connector: true,
            batches: 1,
            available_at: now() + TimeDelta::seconds(in_seconds),
        }
    }

    fn seen(mut open: OpenBatches, seconds_ago: i64) -> OpenBatches {
        open.holder_seen_at = Some(now() - TimeDelta::seconds(seconds_ago));
        open
    }

    fn without_connector(open: OpenBatches) -> OpenBatches {
        OpenBatches { has_connector: false, ..open }
    }

    #[test]
    fn only_what_can_end_soon_is_waited_for_and_the_rest_is_named_by_its_reason() {
        use BatchState::{Deferred, Leased, Planned};
        use OpenReason::{Budget, Held, HolderSilent, NoConnector, NotBegun, Retry};
        let config =
            CollectionConfig { lease_ttl_ms: 20_000, retry_wait_max_ms: 30_000, ..CollectionConfig::default() };
        let limits = WaitLimits::of(&config);
        for (open, is_awaited, reason) in [
            (open(Planned, 0), true, NotBegun),
            // A short pause of the platform is waited for too.
            (open(Planned, 60), true, Retry),
            (open(Planned, 61), false, Retry),
            (without_connector(open(Planned, 0)), false, NoConnector),
            // A command that collects is in no list of hosts; its lease expires like any other's.
            (open(Leased, 20), true, Held),
            (open(Leased, 40), true, Held),
            (open(Leased, 41), false, Held),
            (seen(open(Leased, 3_600), 10), true, Held),
            (seen(open(Leased, 3_600), 11), false, HolderSilent),
            (seen(open(Leased, 20), 11), true, HolderSilent),
            (open(Leased, 0), true, HolderSilent),
            // Its lease has expired, and no host can take it over.
            (without_connector(open(Leased, 0)), false, HolderSilent),
            // One that is held is collected with the release it began with.
            (without_connector(open(Leased, 20)), true, Held),
            (open(Deferred, 60), false, Budget),
            // It is planned again at the next look.
            (open(Deferred, 0), true, Budget),
        ] {
            assert_eq!(limits.awaits(&open, now()), is_awaited, "{open:?}");
            let told = report_of(&OpenAccounts { batches: open.clone(), accounts: 5, without_outcome: 5 }, now());
            assert_eq!((told.reason, told.accounts), (reason, 5), "{open:?}");
        }
    }
}
