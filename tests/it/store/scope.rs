//! One tenant's scope reads and changes nothing of another tenant's, whichever method is called.
//!
//! Every method of the store that takes a scope has a case here; a test compares the cases with the source. `rows` has
//! the rows of two tenants that the cases are about.

mod methods;
mod rows;

use std::fmt::Debug;

use backline_model::outcome::OutcomeKind;
use backline_model::privacy::Identifiers;
use backline_model::roster::RosterChanges;
use backline_model::{
    Account, AccountStatus, AlertPhase, AlertRoute, AlertSeverity, Artist, Consent, CredentialId, Digest, Holder,
    Provenance, Webhook, Weights,
};
use backline_store::{
    AccountFilter, AlertFilter, ArchivePlace, ArtistFilter, AuditFilter, BatchFilter, BulkActFilter, CredentialFilter,
    DeliveryFilter, DueAlert, EventCursor, Furthest, HealthWindow, IdKind, MetricsFilter, NewDelivery,
    NewDigestMessage, PluginLogFilter, QuarantineFilter, Rollback, RunFilter, SEALED, Scope, SealedCredential, Store,
    StoreError, Term, TestAlert, TimelineFilter,
};
use chrono::TimeDelta;
use futures::FutureExt as _;
use futures::future::LocalBoxFuture;
use uuid::Uuid;

use self::rows::{
    about, accounts, act, alert_channel, alert_digest, all, batch_of, consent, document, owned, their_turn, webhook,
};
pub use self::rows::{bulk_act, credential, fill, held, marks, ours, step, theirs, token};
use super::fixtures::{TTL, account, artist, at, day, demo, event, now, past, release, run};
use crate::support::database::{each_database, write_unchecked};

/// What a case does in a scope that is not the rows'.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    /// Reads; the tenant itself sees its rows.
    Read,
    /// Changes rows; the tenant itself may.
    Write,
    /// Works on all tenants' rows at once, and refuses one tenant's scope.
    Whole,
}

/// A call of a method in a scope, which returns what was answered.
pub type Call<'a> = Box<dyn Fn(Scope) -> LocalBoxFuture<'a, String> + 'a>;

struct Case<'a> {
    name: &'static str,
    kind: Kind,
    call: Call<'a>,
}

/// What a call answered. What a refusal says is left out: it names what was asked for.
fn told<T: Debug>(answer: Result<T, StoreError>) -> String {
    answer.map_or_else(|error| format!("refused{}", own_fault(&error)), |answer| format!("{answer:?}"))
}

/// A statement that no database understands must not pass for a refusal.
fn own_fault(error: &StoreError) -> String {
    match error {
        StoreError::Query { .. } | StoreError::Unreadable { .. } => {
            let source = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
            panic!("the statement is wrong: {error}: {source}")
        }
        _ => String::new(),
    }
}

/// A new credential of account 2.
fn in_another_slot() -> SealedCredential {
    SealedCredential { slot: "new".to_owned(), id: CredentialId::generate(), ..credential(2) }
}

fn of_run(n: u128) -> BatchFilter {
    BatchFilter { run: Some(run(n).id), ..BatchFilter::default() }
}

/// The credential of account 2 as it is stored.
async fn current(store: &Store) -> SealedCredential {
    store.credential_get_by_id(&all(), credential(2).id).await.unwrap().unwrap_or_else(|| credential(2))
}

async fn hook_of_theirs(store: &Store) -> Webhook {
    store.webhook_get(&all(), "hook-theirs").await.unwrap()
}

/// Event `n` and a line of its own.
async fn delivery(store: &Store, n: u128) -> NewDelivery {
    let (event, _) = store.event_get(&all(), event(n, None).id).await.unwrap();
    NewDelivery { event, line: event.to_string() }
}

/// Everything that is stored of tenants, as text.
async fn snapshot(store: &Store) -> String {
    let credentials = store.credentials_list(&all(), &CredentialFilter::default()).await.unwrap();
    let credentials: Vec<_> = credentials
        .iter()
        .map(|one| (one.id, one.version, one.refresh_at, one.status.clone(), one.sealed.clone()))
        .collect();
    let mut runs = Vec::new();
    for n in 1..=3 {
        runs.push((
            store.run_get(&all(), run(n).id).await.unwrap(),
            store.run_outcomes_list(&all(), run(n).id, None, 100).await.unwrap(),
        ));
    }
    let mut secrets = Vec::new();
    for n in 1..=4 {
        let found = store.webhook_secrets_get(&all(), webhook(n, "", None).id).await.unwrap();
        secrets.push(found.map(|found| (found.secret, found.previous)));
    }
    let filter = MetricsFilter::default();
    let artists = [artist(1).id, artist(2).id];
    format!(
        "{:#?}",
        (
            store.known_artists_of(&all(), &artists).await.unwrap(),
            store.latest_consents_of(&all(), &artists).await.unwrap(),
            (credentials, runs, secrets),
            store.batches_list(&all(), &BatchFilter::default()).await.unwrap(),
            store.webhooks_list(&all()).await.unwrap(),
            store.deliveries_list(&all(), &DeliveryFilter::default()).await.unwrap(),
            store.events_list(&all(), EventCursor::default(), 1_000).await.unwrap(),
            store.quarantine_list(&all(), &QuarantineFilter::default()).await.unwrap(),
            store.metrics_list(&all(), &filter).await.unwrap(),
            store.growth_list(&all(), &filter).await.unwrap(),
            store.last_documents_list(&all(), &demo(), 100).await.unwrap(),
            (
                store.activations_list(&all(), 100).await.unwrap(),
                store.tokens_list(&all()).await.unwrap(),
                store.audit_list(&all(), &AuditFilter::default()).await.unwrap(),
                store.bulk_acts_list(&all(), &BulkActFilter::default()).await.unwrap(),
            ),
        )
    )
}

macro_rules! cases {
    ($store:ident; $($kind:ident $name:ident ($($argument:expr),*) $(=> $map:expr)?;)*) => {
        vec![$(Case {
            name: stringify!($name),
            kind: Kind::$kind,
            call: Box::new(move |scope: Scope| {
                async move {
                    let answer = $store.$name(&scope, $($argument),*).await;
                    $(let answer = answer.map($map);)?
                    told(answer)
                }
                .boxed_local()
            }),
        }),*]
    };
}

/// Every method that takes a scope, called for rows of theirs. Those that remove come last.
fn cases(store: &Store) -> Vec<Case<'_>> {
    cases! { store;
        Read artist_get(artist(2).id);
        Read artists_list(&ArtistFilter::default());
        Read tenants_list();
        Read unreadable_artists_list();
        Read unknown_statuses_list();
        Read account_get(account(2).id);
        Read account_place_get(account(2).id);
        Read accounts_list(&AccountFilter::default());
        Read accounts_of(&[artist(1).id, artist(2).id]);
        Read account_timeline_list(account(2).id, &TimelineFilter::default());
        Read account_rows_count(account(2).id);
        Read artist_identifiers_get(artist(2).id);
        Read candidates_list(&demo(), None, None, 100, now());
        Read candidates_list(&demo(), Some(artist(2).id), None, 100, now());
        Read candidates_of(&accounts().map(|account| account.id));
        Read batch_start_get(&batch_of(0x20, 2, 2, "2026-11-25"), now());
        Read fetch_inputs_of(&accounts().map(|account| account.id));
        Read latest_consents_get(artist(2).id);
        Read latest_consents_of(&[artist(1).id, artist(2).id]);
        Read consents_list(artist(2).id);
        Read export_begin(artist(2).id) => |_| "an export";
        Read known_artists_of(&[artist(1).id, artist(2).id]);
        Read synced_artists_list();
        Read synced_accounts_count();
        Read due_credentials_list(&[(demo(), "token".to_owned())], now(), None, 100);
        Read expiring_credentials_list(now(), now() + TimeDelta::days(10), None, 100);
        Read credential_get(&demo(), "token", Some(account(2).id));
        Read credential_get_by_id(credential(2).id);
        Read credential_slot_get(credential(2).id);
        Read credential_places_list(&demo(), "token", &accounts().map(|account| account.id));
        Read credentials_any_list();
        Read credentials_list(&CredentialFilter::default());
        Read credentials_of(&demo(), &accounts().map(|account| account.id));
        Read event_heads_list(EventCursor::default(), 100);
        Read next_delivery_get(now() - TimeDelta::days(1)) => |found| found.map(|_| "one waits");
        Read deliveries_list(&DeliveryFilter::default());
        Read deliveries_page(&DeliveryFilter::default());
        Read deliveries_page(&after_the_last_delivery());
        Read delivery_backlog_list();
        Read events_list(EventCursor::default(), 100);
        Read events_before_list(None, 100);
        Read settled_events_list(EventCursor::default(), EventCursor::from(1_000), 100);
        Read event_cursor_get(0);
        Read event_get(event(2, None).id);
        Read event_get(event(4, None).id);
        Read tokens_list();
        Read bulk_acts_list(&BulkActFilter::default());
        Read bulk_act_get(bulk_act(2, theirs()).id);
        Read audit_list(&AuditFilter::default());
        Read webhooks_list();
        Read webhook_get("hook-theirs");
        Read webhook_secrets_get(webhook(2, "", None).id);
        Read artist_zones_list();
        Read metrics_list(&MetricsFilter::default());
        Read growth_list(&MetricsFilter::default());
        Read collected_accounts_of(&accounts().map(|account| (account.id, day("2026-11-22"))));
        Read document_get(document(2));
        Read quarantine_list(&QuarantineFilter::default());
        Read quarantine_get(held(2));
        Read release_documents_count(release().digest);
        Read last_documents_list(&demo(), 100);
        Read histories_of(&accounts().map(|account| (account.id, day("2026-11-22"))));
        Read accounts_to_reconnect_list();
        Read missing_numbers_list(now() - TimeDelta::days(1), now());
        Read webhooks_behind_list();
        Read events_gone_get();
        Read activations_list(100);
        Read health_figures_get(&window());
        Read platforms_with_work_list(Some(run(2).id), now());
        Read next_open_get(now());
        Read run_is_worked_on(run(2).id);
        Read batches_list(&BatchFilter::default());
        Read batch_accounts_list(batch_of(0x20, 2, 2, "2026-11-25").id);
        Read open_batches_count();
        Read next_batch_get(Some(run(2).id), None);
        Read runs_list(10, None);
        Read runs_filtered_list(&RunFilter::default());
        Read run_get(run(2).id);
        Read run_outcomes_list(run(1).id, None, 100);
        Read run_outcomes_of_kind_list(run(1).id, OutcomeKind::Collected, None, 100);
        Read run_state_get(run(2).id);
        Read run_open_batches_list(run(2).id);
        Read run_details_get(run(2).id, true);
        Read plugin_logs_list(&PluginLogFilter::default());
        Read ids_between_list(IdKind::Artist, (Uuid::nil(), Uuid::max()), 100);
        Read ids_between_list(IdKind::Account, (Uuid::nil(), Uuid::max()), 100);
        Read ids_between_list(IdKind::Run, (run(2).id.0, run(2).id.0), 100);
        Read ids_between_list(IdKind::Batch, (Uuid::nil(), Uuid::max()), 100);
        Read ids_between_list(IdKind::Bulk, (Uuid::nil(), Uuid::max()), 100);
        Read ids_between_list(IdKind::Event, (Uuid::nil(), Uuid::max()), 100);
        Read ids_between_list(IdKind::Quarantined, (Uuid::nil(), Uuid::max()), 100);
        Read ids_between_list(IdKind::Token, (Uuid::nil(), Uuid::max()), 100);
        Read ids_named_list(IdKind::Artist, "artist 2", 100);
        Read ids_named_list(IdKind::Account, &account(2).platform_id, 100);
        Read ids_named_list(IdKind::Token, &token(2, theirs()).name, 100);

        Whole run_has_ended(run(2).id);
        Whole identifiers_search(&Identifiers::of(artist(2).id, &accounts()), false, &|_| {});
        Whole sealed_list(SEALED[0], None, 10);
        Whole sealed_replace(SEALED[0], &[]);
        Whole sealed_count(SEALED[0], 4);
        Whole archive_due_count(&step(), &["Asia/Tokyo".to_owned()], now());
        Whole archive_due_put_away(&step(), &["Asia/Tokyo".to_owned()], &ArchivePlace::default(), 10, past(now()));
        Whole archive_month_put_away(&step(), day("2020-01-01"), past(now()));
        Whole release_roll_back(&rollback(), &Weights::default(), now());
        Whole release_recollect(&rollback(), now(), &Weights::default(), now());
        Whole unfinished_runs_list();
        Whole open_bulk_acts_list();
        Whole lone_platforms_list(None, now());
        Whole orphaned_batches_exclude(now());
        Whole unreadable_batches_end(now());
        Whole times_set_back(&furthest(), now());
        Whole alert_channel_add(&alert_channel(), vec![1]);
        Whole alert_channels_list();
        Whole alert_channel_secret_get(alert_channel().id);
        Whole alert_route_add(&alert_route());
        Whole alert_routes_list();
        Whole alert_route_fan_out(Uuid::nil(), EventCursor::default(), EventCursor::from(1_000), &[]);
        Whole alert_test_add(&test_alert(), now());
        Whole alert_messages_list(&AlertFilter::default());
        Whole due_alerts_list(now());
        Whole alert_lease(&due_alert(), "other", now(), TTL, TimeDelta::zero());
        Whole alert_digest_add(&alert_digest());
        Whole alert_digests_list();
        Whole alert_digest_move(&alert_digest(), now() + TimeDelta::days(1), Some(&digest_message()));
        Whole alert_digest_message_add(alert_digest().id, &digest_message());
        Whole alert_digest_remove("week");
        Whole alert_route_remove("ops");
        Whole alert_channel_remove("ops");

        Write artists_save(&[Artist { name: "Changed".to_owned(), ..owned(2) }], now());
        Write artists_save_from(Provenance::Import, &[Artist { name: "Again".to_owned(), ..owned(2) }], now());
        Write accounts_save(&[Account { settings: serde_json::json!({ "a": 1 }), ..account(2) }], now());
        Write accounts_save_from(Provenance::Import, &[Account { settings: true.into(), ..account(2) }], now());
        Write accounts_reconnect(&[account(2).id], now());
        Write account_set_status(account(2).id, AccountStatus::Disabled, now());
        Write account_set_status_from(account(2).id, AccountStatus::Disabled, AccountStatus::Active, now());
        Write refresh_lease(credential(2).id, current(store).await.version, "me", now(), TTL);
        Write credential_set_refresh_at(credential(2).id, current(store).await.version, at("2026-12-24T00:00:00Z"));
        Write credential_save_refreshed(&current(store).await, now());
        Write credential_save(&current(store).await, now());
        Write credential_save(&in_another_slot(), now());
        Write credentials_save(&[current(store).await], now());
        Write deliveries_lease(webhook(2, "", None).id, "other", now(), TTL, 1);
        Write deliveries_lease_until(webhook(2, "", None).id, "other", now(), now() + TTL, 1);
        Write deliveries_fan_out(webhook(2, "", None).id, seen(store).await, EventCursor::from(1_000), &[], now());
        Write deliveries_resend(&hook_of_theirs(store).await, None, now());
        Write delivery_resend(&hook_of_theirs(store).await, &delivery(store, 2).await, at("2026-12-24T00:00:00Z"));
        Write events_write(&[about(0x99, 2)]);
        Write audit_add(&act(theirs()));
        Write bulk_act_add(&bulk_act(4, theirs()));
        Write bulk_act_cancel(bulk_act(2, theirs()).id, now());
        Write token_add(&token(4, theirs()), Digest::of(b"another"));
        Write token_revoke(token(2, theirs()).id, now());
        Write webhook_add(&webhook(4, "hook-new", Some(theirs())), vec![1], false);
        Write webhook_replace_secret(&hook_of_theirs(store).await, vec![9], None, now());
        Write webhook_switch_off(&hook_of_theirs(store).await, "test", now());
        Write webhook_set_enabled(&hook_of_theirs(store).await, false, Some("test"), now());
        Write quarantine_release_begin(held(2), now()) => |_| "a release";
        Write quarantine_discard(held(2), now());
        Write deferred_batches_wake(&Weights::default(), their_turn());
        Write deferred_batches_release(&of_run(4), &Weights::default(), now());
        Write batches_retry(&of_run(2), &Weights::default(), now());
        Write batch_lease(Some(run(2).id), None, "me", now(), TTL) => |lease| lease.map(|lease| lease.token);
        Write lone_batch_lease(Some(run(2).id), &demo(), "me", now() + TTL + TTL, TTL)
            => |lease| lease.map(|lease| lease.token);
        Whole run_finish(run(2).id, now());
        Whole run_finish_if_free(run(2).id, now());
        Whole run_cancel(run(2).id, "a test", now());
        Whole pause_end(&Holder::Platform(demo()), now());
        Write credential_remove(credential(2).id);
        Write consents_record(&[Consent { granted: false, ..consent(2, false) }]);
        Write roster_apply(&removal(), "test", now());
        Whole roster_apply_in_term(&led(store).await, &removal(), "test", now());
        Write webhook_remove("hook-theirs");
        Write account_remove(account(3).id, now());
        Write artist_erase(artist(2).id, now());
    }
}

/// The methods that only read, each with a call for rows of theirs.
pub fn reads(store: &Store) -> Vec<(&'static str, Call<'_>)> {
    let reads = cases(store).into_iter().filter(|case| case.kind == Kind::Read);
    reads.map(|case| (case.name, case.call)).collect()
}

fn alert_route() -> AlertRoute {
    AlertRoute {
        id: Uuid::from_u128(0x9000_0002),
        name: "ops".to_owned(),
        channels: vec!["ops".to_owned()],
        events: vec!["*".to_owned()],
        severity: AlertSeverity::Info,
        tenant: Some(theirs()),
        window_s: 60,
        quiet: None,
        created_at: now(),
    }
}

fn digest_message() -> NewDigestMessage {
    NewDigestMessage {
        id: Uuid::from_u128(0x9000_0005),
        day: day("2026-11-23"),
        subject: "digest/week".to_owned(),
        is_test: false,
        due_at: now(),
    }
}

fn test_alert() -> TestAlert {
    TestAlert {
        id: Uuid::from_u128(0x9000_0003),
        channel: alert_channel().id,
        kind: "run.completed".to_owned(),
        phase: AlertPhase::Firing,
        severity: AlertSeverity::Info,
    }
}

fn due_alert() -> DueAlert {
    DueAlert {
        id: test_alert().id,
        channel: alert_channel().id,
        subject: "test".to_owned(),
        kind: "run.completed".to_owned(),
        phase: AlertPhase::Firing,
        severity: AlertSeverity::Info,
        is_test: true,
        digest: None,
        due_at: now(),
        was_sending: false,
        was_making: false,
        attempts: 0,
    }
}

/// A page that begins before every delivery.
fn after_the_last_delivery() -> DeliveryFilter {
    DeliveryFilter { after: Some((EventCursor::from(1_000), String::new())), ..DeliveryFilter::default() }
}

async fn seen(store: &Store) -> EventCursor {
    store.webhooks_list(&all()).await.unwrap().into_iter().find(|(hook, _)| hook.name == "hook-theirs").unwrap().1
}

/// A role that this host holds.
async fn led(store: &Store) -> Term {
    store.role_take("test", "me", now(), TTL).await.unwrap().expect("nobody else takes it")
}

fn removal() -> RosterChanges {
    RosterChanges {
        artists_removed: vec![artist(2).id],
        accounts_removed: vec![(account(3).id, demo())],
        ..RosterChanges::default()
    }
}

fn window() -> HealthWindow {
    HealthWindow { since: now() - TimeDelta::days(1), now: now(), overdue_before: now() - TimeDelta::hours(1) }
}

/// So far that nothing is set back.
fn furthest() -> Furthest {
    let at = now() + TimeDelta::days(400);
    Furthest {
        lease_ends: at,
        batch: at,
        deferred: at,
        delivery: at,
        delivery_lease: at,
        alert: at,
        alert_retry: at,
        alert_lease: at,
    }
}

fn rollback() -> Rollback<'static> {
    static DEMO: std::sync::LazyLock<backline_model::Platform> = std::sync::LazyLock::new(demo);
    let nothing = backline_model::Digest::of(b"nothing");
    let regressions = serde_json::Value::Null;
    Rollback { platform: &DEMO, from: nothing, to: nothing, reason: "test", regressions, batch_size: 10 }
}

#[tokio::test]
async fn one_tenants_scope_touches_nothing_of_anothers() {
    each_database(async |store, url| {
        fill(&store).await;
        // One of theirs that nothing can read.
        let unreadable = Artist { id: artist(9).id, ..owned(2) };
        store.artists_save(&all(), &[unreadable], now()).await.unwrap();
        let odd = format!(
            "UPDATE artists SET timezone = 'Mars/Phobos', subscription_status = 'lapsed' WHERE id = '{}'",
            artist(9).id
        );
        write_unchecked(url, &odd).await;
        let cases = cases(&store);
        let before = snapshot(&store).await;
        let mut refused: Vec<String> = Vec::new();
        for case in &cases {
            let foreign = (case.call)(Scope::tenant(ours())).await;
            for mark in marks() {
                assert!(!foreign.contains(&mark), "{} tells us of theirs ({mark}): {foreign}", case.name);
            }
            assert!(case.kind != Kind::Whole || foreign == "refused", "{} takes one tenant's scope", case.name);
            if case.kind != Kind::Read {
                assert_eq!(snapshot(&store).await, before, "{} changed something of theirs", case.name);
            }
            refused.push(foreign);
        }
        // The same calls in the scope that the rows are in: otherwise the ones above would show nothing.
        for (case, foreign) in cases.iter().zip(&refused) {
            let before = snapshot(&store).await;
            let scope = if case.kind == Kind::Whole { all() } else { Scope::tenant(theirs()) };
            let own = (case.call)(scope).await;
            let changed = case.kind == Kind::Write && snapshot(&store).await != before;
            assert!(own != *foreign || changed, "{} does the same in either scope: {own}", case.name);
        }
    })
    .await;
}

#[tokio::test]
async fn a_tenant_can_neither_take_rows_over_nor_mix_its_own_with_anothers() {
    each_database(async |store, _| {
        fill(&store).await;
        let (scope, before) = (Scope::tenant(ours()), snapshot(&store).await);
        let claimed = Artist { tenant: ours(), ..owned(2) };
        store.artists_save(&scope, std::slice::from_ref(&claimed), now()).await.unwrap_err();
        let added = RosterChanges { artists_changed: vec![claimed], ..RosterChanges::default() };
        store.roster_apply(&scope, &added, "test", now()).await.unwrap_err();
        let foreign = Account { platform_id: "mine".to_owned(), id: account(9).id, ..account(2) };
        store.accounts_save(&scope, std::slice::from_ref(&foreign), now()).await.unwrap_err();
        let added = RosterChanges { accounts_added: vec![foreign], ..RosterChanges::default() };
        store.roster_apply(&scope, &added, "test", now()).await.unwrap_err();
        let withdrawn = RosterChanges { consents: vec![(artist(2).id, demo(), false)], ..RosterChanges::default() };
        store.roster_apply(&scope, &withdrawn, "test", now()).await.unwrap_err();
        store.webhook_add(&scope, &webhook(4, "everybody's", None), vec![1], true).await.unwrap_err();
        let own_hook = store.webhook_get(&scope, "hook-ours").await.unwrap();
        let foreign_event = delivery(&store, 2).await;
        store.delivery_resend(&scope, &own_hook, &foreign_event, now()).await.unwrap();
        assert_eq!(store.events_write(&scope, &[event(0x98, None)]).await.unwrap(), 0, "it is about nobody of ours");
        assert_eq!(snapshot(&store).await, before);
    })
    .await;
}

#[tokio::test]
async fn a_run_of_several_tenants_is_counted_for_each() {
    each_database(async |store, _| {
        fill(&store).await;
        let planned = async |scope: &Scope, n| {
            let counts = store.run_get(scope, run(n).id).await.unwrap().map(|run| run.counts);
            counts.map(|counts| (counts.planned, counts.collected, counts.deferred, counts.failed))
        };
        assert_eq!(planned(&all(), 1).await, Some((3, 3, 0, 0)));
        assert_eq!(planned(&Scope::tenant(ours()), 1).await, Some((1, 1, 0, 0)));
        assert_eq!(planned(&Scope::tenant(theirs()), 1).await, Some((2, 2, 0, 0)));
        assert_eq!(planned(&Scope::tenant(ours()), 2).await, None);
        // An account that was deferred counts as that; the other one waits for its first outcome.
        assert_eq!(planned(&Scope::tenant(theirs()), 2).await, Some((2, 0, 1, 0)));
    })
    .await;
}
