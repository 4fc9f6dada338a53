//! The writers of everything beside collection and the people it is about: releases, hosts, schedules, budgets, pauses,
//! webhooks, channels of alerts, the archive, and batches that end otherwise than collected.

use std::collections::BTreeMap;

use backline_model::clock::LAST_TIME;
use backline_model::health::{Alert, AlertName};
use backline_model::outcome::{Exclusion, Outcome};
use backline_model::pace::Pace;
use backline_model::retention::{Before, RetainedTable, RetentionStep};
use backline_model::roster::RosterChanges;
use backline_model::{
    AlertChannel, AlertRoute, AlertSeverity, ApiToken, Artist, Batch, BatchId, ChannelId, DeliveryState, Digest, Event,
    FireDecision, Holder, Role, Run, RunId, ScheduleSpec, SwapCause, TokenId, Weights,
};
use backline_store::{
    AccountOutcome, AccountResult, ArchivePlace, ArchiveRun, BatchResult, BudgetKey, Canary, CredentialFilter,
    EventCursor, Finish, Furthest, NewDelivery, NewDigestMessage, NewSchedule, Pause, PlanGuard, Presence,
    QuarantineFilter, Rollback, Store, StoredSession, Term,
};
use chrono::TimeDelta;
use serde_json::json;
use uuid::Uuid;

use super::{Done, PEOPLE, accounts, all, channel, plan_batch, planned_and_leased, refused_or};
use crate::store::credentials::credential;
use crate::store::fixtures::{
    TTL, artist, batch, day, defer, demo, event, followers, now, past, release, release_of, run, stored, webhook,
    weekly_digest,
};
use crate::store::scope::step;
use crate::support::database::write;

/// Does something in a role, which no other writer holds meanwhile, and resigns from it however that ends.
macro_rules! in_role {
    ($store:ident, $role:literal, $term:ident => $act:expr) => {{
        let holder = Uuid::new_v4().to_string();
        let Some($term) = $store.role_take($role, &holder, now(), TTL).await? else { return Ok(()) };
        let done = $act.await;
        $store.role_resign(&$term, now()).await?;
        done
    }};
}

/// The release that batches need, as it was.
async fn release_again(store: &Store) -> Done {
    refused_or(store.release_save(&release(), b"component").await)?;
    store.release_activate(release().digest, SwapCause::Activated, now()).await.map(drop)
}

pub async fn releases_change(store: &Store) -> Done {
    let (next, platform) = (release_of("1.1.0", b"another"), demo());
    store.release_save(&next, b"another").await?;
    store.release_grant(next.digest, &next.grant).await?;
    refused_or(store.release_stage(next.digest, now() + TTL).await)?;
    store.release_unstage(next.digest, now() + TTL).await?;
    store.release_regrant(next.digest).await?;
    store.release_note(release().digest, "a note").await?;
    let share = 1_000;
    let canary = Canary { platform: demo(), release: next.digest, share, started_at: now(), promote_at: None };
    refused_or(store.canary_start(&canary).await)?;
    refused_or(store.canary_promote(&canary, now()).await.map(drop))?;
    store.canary_stop(&platform).await?;
    let rollback = Rollback {
        platform: &platform,
        from: next.digest,
        to: release().digest,
        reason: "a test",
        regressions: json!([]),
        batch_size: 50,
    };
    refused_or(store.release_roll_back(&all(), &rollback, &Weights::default(), now()).await.map(drop))?;
    store.release_recollect(&all(), &rollback, now(), &Weights::default(), now()).await?;
    refused_or(store.release_remove(next.digest, "a test", now()).await)?;
    release_again(store).await
}

pub async fn releases_take_back(store: &Store) -> Done {
    store.grants_narrow("demo", |grant| Some(grant.clone())).await?;
    store.releases_revoke("demo", "a test", now()).await?;
    store.tallies_trim(past(now() - TimeDelta::days(60))).await?;
    store.compiled_save("pairs", release().digest).await?;
    release_again(store).await
}

pub async fn hosts(store: &Store) -> Done {
    for n in 1..=3 {
        let host = Presence { name: format!("host-{n}"), version: "1".to_owned(), state: "ready", started_at: now() };
        store.host_announce(&host, now()).await?;
        store.host_beat(&host, now()).await?;
        store.host_set_refreshes(&host.name, now(), n == 1).await?;
        for digest in [release().digest, release_of("1.1.0", b"another").digest] {
            store.load_report_save(&host.name, digest, None, now()).await?;
        }
    }
    store.host_forget("host-3", now()).await?;
    store.unseen_hosts_forget(past(now() + TimeDelta::days(1)), LAST_TIME).await.map(drop)
}

/// What the scheduler writes.
pub async fn schedules_lead(store: &Store) -> Done {
    in_role!(store, "scheduler", term => lead_in_term(store, &term))
}

async fn lead_in_term(store: &Store, term: &Term) -> Done {
    let (before, next) = (now() - TimeDelta::days(1), Some(now()));
    let new = |name: &str| NewSchedule { name: name.to_owned(), spec: ScheduleSpec::default(), next_fire: next };
    store.schedules_sync(term, &[new("second"), new("first")], before).await?;
    // As if nothing had been decided yet.
    store.schedule_set_back(term, "first", next, before).await?;
    let at = |minute| now() - TimeDelta::hours(1) + TimeDelta::minutes(minute);
    let queued = [1, 2, 3].map(|minute| (at(minute), FireDecision::Queued));
    store.fires_record(term, "first", &queued, next, now()).await?;
    store.queued_fires_skip(term, "first", 1, now()).await?;

    let own = Run { id: RunId::generate(), ..run(0) };
    let guard = PlanGuard::Fire { term, schedule: "first", fire_time: at(4), next_fire: next };
    let mut planning = store.plan_begin(&own, guard, now()).await?;
    let accounts = accounts();
    let whole: Vec<_> = accounts.iter().collect();
    let planned = Batch { id: BatchId::generate(), ..batch(0, &own, &whole, day("2026-11-22")) };
    planning.batches_add(&[planned], &Weights::default()).await?;
    planning.answer_keep(&own).await?;
    planning.commit().await?;
    store.run_cancel(&all(), own.id, "a test", now()).await?;

    let other = plan_batch(store).await?;
    refused_or(store.fire_run_record(term, "first", (at(5), other), next, now()).await)?;
    let waiting = store.activations_list(&all(), 100).await?;
    let own = Run { id: RunId::generate(), ..run(0) };
    let guard = PlanGuard::Activations { term, activations: &waiting };
    let mut planning = store.plan_begin(&own, guard, now()).await?;
    planning.first_candidates_list().await?;
    planning.commit_without_run().await?;
    store.run_cancel(&all(), other, "a test", now()).await.map(drop)
}

/// What commands write of schedules.
pub async fn schedules_change(store: &Store) -> Done {
    let new = NewSchedule { name: "own".to_owned(), spec: ScheduleSpec::default(), next_fire: Some(now()) };
    refused_or(store.schedule_add(&new, now()).await)?;
    for enabled in [false, true] {
        refused_or(store.schedule_set_enabled("own", enabled, Some(now()), now()).await)?;
    }
    refused_or(store.schedule_remove("own", now()).await)
}

/// A plan by hand that is for nobody, and takes first collections with it.
pub async fn plan_nothing(store: &Store) -> Done {
    let own = Run { id: RunId::generate(), ..run(0) };
    let waiting = store.activations_list(&all(), 100).await?;
    let excluded = accounts().into_iter().map(|account| AccountOutcome {
        account_id: account.id,
        metric_date: day("2026-11-22"),
        outcome: Outcome::Excluded { reason: Exclusion::NoConsent },
        attempts: 0,
        planned_for: None,
        note: None,
    });
    let excluded: Vec<_> = excluded.collect();
    let mut planning = store.plan_begin(&own, PlanGuard::Manual, now()).await?;
    planning.activations_take(&waiting, &[demo()]).await?;
    planning.exclusions_record(&excluded).await?;
    planning.commit_without_run().await
}

pub async fn sync_in_term(store: &Store) -> Done {
    let named = |n| Artist { name: Uuid::new_v4().to_string(), ..artist(n) };
    let changes =
        RosterChanges { artists_changed: (1..=PEOPLE).rev().map(named).collect(), ..RosterChanges::default() };
    let synced = async |term: &Term| {
        let applied = store.roster_apply_in_term(&all(), term, &changes, "a test", now()).await;
        applied.map(drop)
    };
    in_role!(store, "artists", term => synced(&term))
}

pub async fn budgets_and_pauses(store: &Store) -> Done {
    for holder in [Holder::Platform(demo()), Holder::Credential(credential(1).id)] {
        let (key, later) = (BudgetKey { holder: holder.clone(), budget: "calls".to_owned() }, now() + TTL);
        // The credential may not be there.
        refused_or(store.budget_take(&key, now(), later, 1_000, 1, now()).await.map(drop))?;
        store.budget_give_back(&key, now(), 1).await?;
        let ask = Pace::of(50, 5, 1).ask(1, 0, 60_000_000);
        refused_or(store.pace_take(&key, &ask).await.map(drop))?;
        let pause = Pause { began_at: now(), until: later, interval_us: None, paced_until: None };
        let believed = now() - TimeDelta::days(1)..=now() + TimeDelta::days(1);
        refused_or(store.pause_begin(&holder, &demo(), &pause, believed).await)?;
        store.pause_end(&all(), &holder, now()).await?;
    }
    Ok(())
}

/// Credentials that are given back, put off and removed.
pub async fn credentials_go(store: &Store) -> Done {
    for current in store.credentials_list(&all(), &CredentialFilter::default()).await?.into_iter().take(3) {
        let owner = Uuid::new_v4().to_string();
        if store.refresh_lease(&all(), current.id, current.version, &owner, now(), TTL).await?.is_some() {
            store.refresh_release(current.id, &owner, now()).await?;
        }
        store.credential_set_refresh_at(&all(), current.id, current.version, now()).await?;
        store.credential_remove(&all(), current.id).await?;
    }
    Ok(())
}

/// The webhook that everything is delivered to is switched, and replaced by one of its name.
pub async fn webhooks_change(store: &Store) -> Done {
    let hook = webhook(1, "crm");
    refused_or(store.webhook_set_enabled(&all(), &hook, true, None, now()).await)?;
    refused_or(store.webhook_replace_secret(&all(), &hook, vec![2], None, now()).await)?;
    let leased = store.deliveries_lease_until(&all(), hook.id, "another", now(), now() + TTL, 10).await?;
    for lease in leased.iter().take(3) {
        let done = Finish { state: DeliveryState::Delivered, status: Some(200), problem: None };
        store.delivery_finish(lease, &done, now()).await?;
        let Ok((event, _)) = store.event_get(&all(), lease.event.id).await else { continue };
        let again = NewDelivery { event, line: event.to_string() };
        refused_or(store.delivery_resend(&all(), &hook, &again, now()).await)?;
    }
    store.webhook_switch_off(&all(), &hook, "a test", now()).await?;
    refused_or(store.webhook_remove(&all(), &hook.name).await)?;
    refused_or(store.webhook_add(&all(), &hook, vec![1], false).await)
}

/// A channel with all that leads to it comes and goes, and what others queued is tried.
pub async fn alerts_change(store: &Store) -> Done {
    let (id, name) = (ChannelId(Uuid::from_u128(0x9000_0101)), "others".to_owned());
    let other = AlertChannel { id, name: name.clone(), ..channel() };
    refused_or(store.alert_channel_add(&all(), &other, vec![1]).await)?;
    let route = AlertRoute {
        id: Uuid::from_u128(0x9000_0102),
        name: "other".to_owned(),
        channels: vec![name],
        events: vec!["*".to_owned()],
        severity: AlertSeverity::Info,
        tenant: None,
        window_s: 60,
        quiet: None,
        created_at: now(),
    };
    refused_or(store.alert_route_add(&all(), &route).await)?;
    let digest = weekly_digest(Uuid::from_u128(0x9000_0103), "other", &other.name);
    refused_or(store.alert_digest_add(&all(), &digest).await)?;
    let subject = "a digest".to_owned();
    let message =
        NewDigestMessage { id: Uuid::now_v7(), day: day("2026-11-23"), subject, is_test: true, due_at: now() };
    refused_or(store.alert_digest_message_add(&all(), digest.id, &message).await.map(drop))?;
    for due in store.due_alerts_list(&all(), now()).await? {
        if let Some(lease) = store.alert_lease(&all(), &due, "another", now(), TTL, TimeDelta::zero()).await? {
            store.alert_retry(&lease, now(), None, "a test").await?;
        }
    }
    let alert = Alert {
        name: AlertName::Completion,
        platform: Some(demo()),
        firing: true,
        since: now(),
        value: 0.5,
        threshold: 0.9,
        worse_since: None,
        crossings: 0,
        changed_at: now(),
    };
    let told = Event { id: Uuid::now_v7(), ..event(0, None) };
    store.alerts_save(&[(alert, 0, Some(told))]).await?;
    refused_or(store.alert_route_remove(&all(), &route.name).await)?;
    refused_or(store.alert_digest_remove(&all(), &digest.name).await)?;
    refused_or(store.alert_channel_remove(&all(), &other.name).await)
}

/// A batch whose host ended is cut in halves, and each is leased alone.
pub async fn halve(store: &Store) -> Done {
    let Some(lease) = planned_and_leased(store).await? else { return Ok(()) };
    let run = lease.batch.run_id;
    let lease = store.lease_renew(&lease, now(), TTL).await?;
    store.batch_halve(&lease, now()).await?;
    while let Some(lone) = store.lone_batch_lease(&all(), Some(run), &demo(), "worker", now(), TTL).await? {
        store.lone_batch_begin(&lone).await?;
        store.batch_release(&lone, now() + TimeDelta::hours(1), true).await?;
    }
    store.run_cancel(&all(), run, "a test", now()).await?;
    store.run_finish_if_free(&all(), run, now()).await.map(drop)
}

/// What waits is woken, and what waits for too long made due.
pub async fn wake(store: &Store) -> Done {
    let Some(lease) = planned_and_leased(store).await? else { return Ok(()) };
    defer(store, &lease, now() + TTL, "spent", now()).await?;
    store.deferred_batches_wake(&all(), &Weights::default(), now() + TimeDelta::hours(2)).await?;
    let furthest = Furthest {
        lease_ends: now() + TTL,
        batch: now(),
        deferred: now(),
        delivery: now(),
        delivery_lease: now(),
        alert: now(),
        alert_retry: now(),
        alert_lease: now(),
    };
    store.times_set_back(&all(), &furthest, now()).await?;
    store.run_cancel(&all(), lease.batch.run_id, "a test", now()).await.map(drop)
}

/// A batch is stored with a past date besides, and compared with what was known.
pub async fn collect_older_dates(store: &Store) -> Done {
    let Some(lease) = planned_and_leased(store).await? else { return Ok(()) };
    let of = |date: &str, value: i64| -> Vec<AccountResult> {
        accounts().iter().map(|one| stored(followers(one, day(date), value))).collect()
    };
    let mut completion = store.completion_begin(&lease, now()).await?;
    completion.older_dates_add(of("2026-11-20", 4)).await?;
    let wanted: Vec<_> = accounts().iter().map(|account| (account.id, day("2026-11-22"))).collect();
    completion.history_load(&wanted).await?;
    completion.commit(BatchResult { accounts: of("2026-11-22", 6), ..BatchResult::default() }).await?;
    store.run_finish(&all(), lease.batch.run_id, now()).await.map(drop)
}

pub async fn let_through(store: &Store) -> Done {
    for held in store.quarantine_list(&all(), &QuarantineFilter::default()).await?.iter().take(3) {
        let Some(account) = accounts().into_iter().find(|account| account.id == held.account_id) else { continue };
        // Another one may have decided on it.
        let mut begun = match store.quarantine_release_begin(&all(), held.id, now()).await {
            Ok(begun) => begun,
            refused => {
                refused_or(refused.map(drop))?;
                continue;
            }
        };
        begun.account_history_load().await?;
        begun.commit(&followers(&account, held.metric_date, 7), &[]).await?;
    }
    Ok(())
}

/// Everything that is past its time by a clock that is far ahead.
pub async fn archive(store: &Store) -> Done {
    in_role!(store, "archive", term => put_away(store))
}

async fn put_away(store: &Store) -> Done {
    let archive_run = ArchiveRun {
        id: Uuid::now_v7(),
        origin: "manual".to_owned(),
        as_of: now(),
        started_at: now(),
        finished_at: None,
        state: "running".to_owned(),
        counts: BTreeMap::new(),
        message: None,
    };
    store.archive_run_save(&archive_run).await?;
    for table in [
        RetainedTable::Growth,
        RetainedTable::Quarantine,
        RetainedTable::Metrics,
        RetainedTable::Documents,
        RetainedTable::Events,
        RetainedTable::PluginLogs,
        RetainedTable::CollectionOutcomes,
        RetainedTable::Batches,
        RetainedTable::Runs,
        RetainedTable::ReleaseBatches,
        RetainedTable::ScheduleFires,
    ] {
        let step = RetentionStep { table, before: Before::Time(now() + TimeDelta::days(1)), ..step() };
        store.archive_prepare(&step).await?;
        let zones = ["Europe/Berlin".to_owned()];
        let mut place = Some(ArchivePlace::default());
        // Others write meanwhile.
        for _ in 0..3 {
            let Some(from) = place else { break };
            let later = past(now() + TimeDelta::days(100));
            place = store.archive_due_put_away(&all(), &step, &zones, &from, 100, later).await?.next;
        }
    }
    Ok(())
}

/// A token that is used, with a session.
pub async fn access(store: &Store) -> Done {
    let token = ApiToken {
        id: TokenId(Uuid::from_u128(0xC100_0100)),
        name: "shared".to_owned(),
        role: Role::Viewer,
        tenant: None,
        created_at: now(),
        expires_at: None,
        last_used_at: None,
        revoked_at: None,
    };
    refused_or(store.token_add(&all(), &token, Digest::of(b"shared")).await)?;
    store.token_use(token.id, now(), now()).await?;
    let (id, secret, until) = (Uuid::new_v4(), Digest::of(b"cookie"), now() + TTL);
    store.session_open(&StoredSession { id, token: token.id, secret, until, notice: None }).await?;
    store.session_close(id).await
}

/// Readers that wait for those who write.
pub async fn read_in_order(store: &Store) -> Done {
    refused_or(store.events_list(&all(), EventCursor::default(), 100).await.map(drop))?;
    refused_or(store.events_before_list(&all(), None, 100).await.map(drop))?;
    refused_or(store.event_watermark_get().await.map(drop))?;
    let wanted: Vec<_> = accounts().iter().map(|account| (account.id, day("2026-11-22"))).collect();
    store.histories_of(&all(), &wanted).await.map(drop)
}

/// A batch, and an account in another one, that nobody can read.
pub async fn end_unreadable(store: &Store, url: &str) -> Done {
    let run = plan_batch(store).await?;
    write(url, &format!("UPDATE batches SET platform = 'No Name' WHERE run_id = '{run}'")).await;
    store.unreadable_batches_end(&all(), now()).await?;
    let run = plan_batch(store).await?;
    let odd = format!(
        "UPDATE batch_accounts SET metric_date = 'infinity' WHERE position = 0
             AND batch_id IN (SELECT id FROM batches WHERE run_id = '{run}')"
    );
    write(url, &odd).await;
    store.batch_lease(&all(), Some(run), None, "worker", now(), TTL).await?;
    store.run_cancel(&all(), run, "a test", now()).await.map(drop)
}
