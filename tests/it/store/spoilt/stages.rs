//! Every list, and one turn of what hosts do, on a database in which something is spoilt. Each stage tells what it
//! served.

use std::panic::AssertUnwindSafe;

use backline::pipeline::Host;
use backline::pipeline::collection::report::RunRequest;
use backline::pipeline::with_causes;
use backline_model::clock::LAST_TIME;
use backline_model::retention::{Before, RetainedTable, RetentionStep};
use backline_model::{AlertState, Batch, BatchId, DeliveryState, Run, RunId, WebhookId, Weights};
use backline_store::{
    ArchivePlace, BatchResult, DeliveryFilter, EventCursor, Finish, Furthest, NewDelivery, NewSchedule, PlanGuard,
    Store, StoreError,
};
use chrono::TimeDelta;
use futures::FutureExt as _;
use futures::future::LocalBoxFuture;
use uuid::Uuid;

use super::rows::{NAMES, accounts, all, budget, platform, release_on, session};
use crate::store::fixtures::{TTL, artist, batch, day, followers, now, past, run, stored, webhook};
use crate::store::scope::{reads, step, theirs, token};

/// What a stage told, or why it failed as a whole.
pub type Told = (String, Result<String, String>);

/// The stages so far.
#[derive(Default)]
struct Walk(Vec<Told>);

impl Walk {
    async fn stage(&mut self, name: &str, act: impl Future<Output = Result<String, String>>) {
        let told = AssertUnwindSafe(act).catch_unwind().await.unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            Err(format!("it panics: {}", text.unwrap_or_default()))
        });
        // Some methods have several calls.
        self.0.push((format!("{:03} {name}", self.0.len()), told));
    }
}

/// What failed, with its causes.
fn failed(error: StoreError) -> String {
    with_causes(&error)
}

/// A call that is made in a frame of its own: the caller's has room for a pointer to it, and not for the whole future.
fn boxed<'a, F: Future + 'a>(call: impl FnOnce() -> F) -> LocalBoxFuture<'a, F::Output> {
    call().boxed_local()
}

macro_rules! stages {
    ($walk:ident, $store:ident; $($method:ident($($argument:expr),*);)*) => {
        $({
            let act = boxed(|| async {
                $store.$method($($argument),*).await.map(|told| format!("{told:?}")).map_err(failed)
            });
            $walk.stage(stringify!($method), act).await;
        })*
    };
}

/// Runs all stages, those that change something after those that only read. `host` is one of the same database.
pub async fn walk(store: &Store, host: &Host) -> Vec<Told> {
    let mut walk = Walk::default();
    for (name, call) in reads(store) {
        walk.stage(name, async { Ok(call(all()).await) }).await;
    }
    lists(&mut walk, store).await;
    looks(&mut walk, host).await;
    turns_of_work(&mut walk, store).await;
    turns_of_schedules(&mut walk, store).await;
    turns_of_messages(&mut walk, store, host).await;
    turns_of_upkeep(&mut walk, store).await;
    walk.0
}

/// The lists that take no scope.
async fn lists(walk: &mut Walk, store: &Store) {
    let (theirs_active, later) = (release_on("theirs", "1.0.0").digest, now() + TimeDelta::hours(1));
    let (before, key) = (now() - TimeDelta::days(1), budget(2));
    let believed = || before..=later;
    stages! { walk, store;
        schedules_list();
        fires_list(None, 100);
        fires_before_list("theirs", None, 100);
        queued_fires_list();
        releases_list();
        releases_in_use_list(now());
        canaries_list();
        swaps_list(None, 100);
        platforms_list();
        active_platforms_list();
        active_release_get(&platform("theirs"));
        release_get(theirs_active);
        load_reports_list(theirs_active);
        lost_metrics_list(theirs_active, now());
        release_tally_get(theirs_active, before, None);
        tallies_mark_get(before);
        connector_timeline_list("theirs", &backline_store::TimelineFilter::default());
        hosts_list(now());
        alerts_list();
        dead_credentials_list();
        archive_runs_list(100);
        budgets_of(&[(key.clone(), now()), (budget(1), now())]);
        paces_of(&[key.clone(), budget(1)]);
        pauses_of(&[key.holder.clone(), budget(1).holder]);
        held_pauses_list(now(), believed(), 100);
        pauses_list(now(), believed());
        role_get("theirs");
        token_get(token(2, theirs()).id);
        session_get(session(2));
        kept_answer_get(token(2, theirs()).id, "theirs");
        erasure_get(artist(8).id);
        compiled_get("theirs");
        event_watermark_get();
    }
}

/// What hosts look at: health, plans, releases, the archive.
async fn looks(walk: &mut Walk, host: &Host) {
    let told = |told: &dyn std::fmt::Debug| format!("{told:?}");
    walk.stage("health report", async { host.health().report(None).await.map(|it| told(&it)).map_err(failed) }).await;
    walk.stage("health watch", async { host.health().watch().await.map(|it| told(&it)).map_err(failed) }).await;
    walk.stage("health of a tenant", async {
        let found = host.health().tenant_report(theirs(), None).await;
        found.map(|it| told(&it.platforms)).map_err(failed)
    })
    .await;
    walk.stage("plan of a run", async {
        let planned = host.planner().plan(&RunRequest::default()).await;
        planned.map(|it| told(&it)).map_err(|error| with_causes(&error))
    })
    .await;
    walk.stage("review of releases", async {
        host.releases().review().await.map_err(failed)?;
        let left = host.store().releases_list().await.map_err(failed)?;
        Ok(told(&left))
    })
    .await;
    walk.stage("plan of the archive", async { host.archive().plan(now()).await.map(|it| told(&it)).map_err(failed) })
        .await;
}

/// One turn of planning, leasing and collecting, without a component.
async fn turns_of_work(walk: &mut Walk, store: &Store) {
    let weights = Weights::default();
    let later = now() + TimeDelta::hours(9);
    // None of what they have is set back or ends.
    let far = now() + TimeDelta::days(400);
    let furthest = Furthest {
        lease_ends: far,
        batch: far,
        deferred: far,
        delivery: far,
        delivery_lease: far,
        alert: far,
        alert_retry: far,
        alert_lease: far,
    };
    stages! { walk, store;
        unreadable_batches_end(&all(), now());
        orphaned_batches_exclude(&all(), now());
        times_set_back(&all(), &furthest, now());
        deferred_batches_wake(&all(), &weights, later);
    }
    walk.stage("a plan", async { plan(store).await.map_err(failed) }).await;
    walk.stage("leasing and collecting", async { collect(store).await.map_err(failed) }).await;
    walk.stage("batches of hosts that ended", async {
        let platforms = store.lone_platforms_list(&all(), None, later).await.map_err(failed)?;
        for platform in platforms {
            let leased =
                store.lone_batch_lease(&all(), None, &platform, "another", later, TTL).await.map_err(failed)?;
            drop(leased);
        }
        Ok(String::new())
    })
    .await;
    walk.stage("ending runs", async {
        let mut ended = String::new();
        for id in store.unfinished_runs_list(&all()).await.map_err(failed)? {
            // Each run ends by itself.
            let found = store.run_finish_if_free(&all(), id, later).await;
            if [run(2).id, run(4).id].contains(&id) {
                ended.push_str(&format!("{:?}", found.map_err(failed)?));
            }
        }
        Ok(ended)
    })
    .await;
}

async fn plan(store: &Store) -> Result<String, StoreError> {
    let own = Run { id: RunId(Uuid::from_u128(0xE000_0900)), ..run(0) };
    let candidates = store.candidates_list(&all(), &platform("theirs"), None, None, 100, now()).await?;
    let found = accounts().into_iter().filter(|one| candidates.iter().any(|found| found.account_id == one.id));
    let found: Vec<_> = found.collect();
    let whole: Vec<_> = found.iter().collect();
    let id = BatchId(Uuid::from_u128(0xB000_0900));
    let planned = Batch {
        id,
        tenant: theirs(),
        platform: platform("theirs"),
        release: release_on("theirs", "1.0.0").digest,
        ..batch(0, &own, &whole, day("2026-11-28"))
    };
    let mut planning = store.plan_begin(&own, PlanGuard::Manual, now()).await?;
    planning.batches_add(&[planned], &Weights::default()).await?;
    planning.commit().await?;
    Ok(format!("{found:?}"))
}

/// Leases everything that is due, and stores what is theirs.
async fn collect(store: &Store) -> Result<String, StoreError> {
    let mut collected = String::new();
    for _ in 0..40 {
        let Some(lease) = store.batch_lease(&all(), None, None, "a host", now(), TTL).await? else { break };
        let of = |planned: &backline_model::BatchAccount| {
            let account = accounts().into_iter().find(|account| account.id == planned.account_id)?;
            Some(stored(followers(&account, planned.metric_date, 7)))
        };
        let rows = lease.batch.accounts.iter().filter_map(of).collect();
        let done = store.batch_complete(&lease, BatchResult { accounts: rows, ..BatchResult::default() }, now()).await;
        if lease.batch.tenant == theirs() {
            done?;
            collected.push_str(&format!("{:?} {:?}", lease.batch.tenant, lease.batch.accounts));
        }
    }
    Ok(collected)
}

/// One turn of the scheduler on their schedule, and of roles.
async fn turns_of_schedules(walk: &mut Walk, store: &Store) {
    let spec = backline_model::ScheduleSpec::default;
    let new = NAMES.map(|name| NewSchedule { name: name.to_owned(), spec: spec(), next_fire: Some(now()) });
    walk.stage("schedules", async {
        let term = store.role_take("scheduler", "a host", now() + TTL + TTL, TTL).await.map_err(failed)?;
        let term = term.ok_or("the role is held")?;
        store.schedules_sync(&term, &new, now()).await.map_err(failed)?;
        store.queued_fires_skip(&term, "theirs", 1, now()).await.map_err(failed)?;
        store.schedule_set_back(&term, "theirs", Some(now()), now()).await.map_err(failed)?;
        let listed = store.schedules_list().await.map_err(failed)?;
        Ok(format!("{listed:?}"))
    })
    .await;
    walk.stage("a role", async {
        let held = store.role_take("theirs", "another", now() + TTL + TTL, TTL).await.map_err(failed)?;
        Ok(format!("{held:?}"))
    })
    .await;
}

/// One turn of webhooks, and of alerts and digests.
async fn turns_of_messages(walk: &mut Walk, store: &Store, host: &Host) {
    walk.stage("assigning events to webhooks", async {
        let mut noted = String::new();
        let heads = store.event_heads_list(&all(), EventCursor::default(), 1_000).await.map_err(failed)?;
        for (hook, seen) in store.webhooks_list(&all()).await.map_err(failed)? {
            let new = heads.iter().filter(|head| head.cursor > seen);
            let new: Vec<_> =
                new.map(|head| NewDelivery { event: head.cursor, line: head.cursor.to_string() }).collect();
            let until = heads.last().map_or(seen, |head| head.cursor);
            let added = store.deliveries_fan_out(&all(), hook.id, seen, until, &new, now()).await;
            // Each webhook is another one's turn.
            if hook.tenant == Some(theirs()) {
                noted.push_str(&format!("{} {:?}", hook.name, added.map_err(failed)?));
            }
        }
        Ok(noted)
    })
    .await;
    let theirs_hook: WebhookId = webhook(2, "").id;
    walk.stage("delivering", async {
        // It tries all: what fails of one is returned in the end.
        let turn = host.dispatcher().deliver_due().await.map(drop).map_err(failed);
        let filter = DeliveryFilter { webhook: Some(theirs_hook), limit: 1_000, ..DeliveryFilter::default() };
        let mut tried = store.deliveries_list(&all(), &filter).await.map_err(failed)?;
        tried.retain(|one| one.attempts > 0 && one.state == DeliveryState::Waiting);
        Ok(format!("{tried:?} {turn:?}"))
    })
    .await;
    walk.stage("leasing deliveries", async {
        let later = now() + TimeDelta::hours(30);
        let leased = store.deliveries_lease(&all(), theirs_hook, "a host", later, TTL, 100).await.map_err(failed)?;
        for lease in &leased {
            let done = Finish { state: DeliveryState::Delivered, status: Some(200), problem: None };
            store.delivery_finish(lease, &done, later).await.map_err(failed)?;
        }
        Ok(format!("{leased:?}"))
    })
    .await;
    walk.stage("sending alerts", async {
        let mut sent = String::new();
        let later = now() + TimeDelta::hours(1);
        for due in store.due_alerts_list(&all(), later).await.map_err(failed)? {
            let leased = store.alert_lease(&all(), &due, "a host", later, TTL, TimeDelta::zero()).await;
            if due.subject != "theirs" {
                continue;
            }
            let Some(lease) = leased.map_err(failed)? else { continue };
            let events = store.alert_events_list(&lease, 10).await.map_err(failed)?;
            store.alert_finish(&lease, AlertState::Sent, 1, None, None, later).await.map_err(failed)?;
            sent.push_str(&format!("{due:?} {events:?}"));
        }
        Ok(sent)
    })
    .await;
    walk.stage("a turn of alerts", async {
        let turn = host.alerts().deliver_due().await.map(drop).map_err(failed);
        let digests = store.alert_digests_list(&all()).await.map_err(failed)?;
        let begun: Vec<_> = digests.into_iter().filter(|digest| digest.next_at > now()).collect();
        Ok(format!("{begun:?} {turn:?}"))
    })
    .await;
}

/// One turn of the archive, of what is kept for a while, and the erasure of their artist.
async fn turns_of_upkeep(walk: &mut Walk, store: &Store) {
    for table in [
        RetainedTable::Growth,
        RetainedTable::GrowthArchive,
        RetainedTable::Quarantine,
        RetainedTable::Documents,
        RetainedTable::Metrics,
        RetainedTable::MetricsArchive,
        RetainedTable::Events,
        RetainedTable::PluginLogs,
        RetainedTable::CollectionOutcomes,
        RetainedTable::Batches,
        RetainedTable::Runs,
        RetainedTable::ReleaseBatches,
        RetainedTable::ScheduleFires,
    ] {
        let (before, later) = (Before::Time(now() + TimeDelta::hours(1)), past(now() + TimeDelta::days(1)));
        let of_table = RetentionStep { table, before, ..step() };
        walk.stage(&format!("archive of {}", table.as_str()), async {
            let zones = store.artist_zones_list(&all()).await.map_err(failed)?;
            store.archive_due_count(&all(), &of_table, &zones, now()).await.map_err(failed)?;
            let mut place = Some(ArchivePlace::default());
            for _ in 0..5 {
                let Some(from) = place else { break };
                let taken = store.archive_due_put_away(&all(), &of_table, &zones, &from, 10, later).await;
                place = taken.map_err(failed)?.next;
            }
            Ok(String::new())
        })
        .await;
    }
    stages! { walk, store;
        tallies_trim(past(now() - TimeDelta::days(60)));
        kept_answers_remove(past(now()));
        sessions_remove(past(now()));
        bulk_acts_remove(past(now()));
        alert_messages_remove(past(now()));
        unseen_hosts_forget(past(now() - TimeDelta::days(1)), LAST_TIME);
        artist_identifiers_get(&all(), artist(2).id);
    }
    walk.stage("erasing their artist", async {
        let erased = store.artist_erase(&all(), artist(2).id, now()).await.map_err(failed)?;
        Ok(erased.map(|_| theirs().to_string()).unwrap_or_default())
    })
    .await;
}
