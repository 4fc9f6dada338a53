//! Tests of consent, withdrawal and erasure: at rest, during batches and refreshes, and against everything that could
//! restore an erased artist.

use std::time::Duration;

use backline::pipeline::service::Service;
use backline::pipeline::{Host, NewWebhook, PrivacyError, SyncRequest, record_consents, remove_account};
use backline_model::clock::Clock;
use backline_model::event::types;
use backline_model::privacy::{Holds, Identifiers, TABLES, personal, subject_of};
use backline_model::{
    Account, Artist, ArtistId, Consent, DeliveryState, Event, Outcome, RunStatus, SubscriptionStatus, Tenant,
    WebhookKind, Zone,
};
use backline_simulator::{Fault, FaultKind, SimulatorConfig};
use backline_store::{
    ArtistFilter, BatchFilter, CredentialFilter, DatabaseKind, DeliveryFilter, MetricsFilter, Scope, Sighting, Store,
};
use chrono::{NaiveDate, TimeDelta};
use serde_json::json;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};

use super::rows::{all_rows, columns, execute, raw, split};
use crate::support::database::{each_database, write_unchecked};
use crate::support::fleet::{Fleet, until};
use crate::support::host::HostExt as _;
use crate::support::http::{Server, answer};
use crate::support::post::{RECEIVER, routes};
use crate::support::stage::{Stage, platform};

/// Maximum wait on a slow machine.
const SOON: Duration = Duration::from_secs(120);

/// Delay of the platforms' responses in tests that need a batch in progress.
const SLOW_MS: u64 = 2_500;

fn day(day: u32) -> NaiveDate {
    NaiveDate::from_ymd_opt(2026, 11, day).expect("a date")
}

fn small(artists: u32) -> SimulatorConfig {
    SimulatorConfig { artists, date: day(18), ..SimulatorConfig::default() }
}

fn artist_of(stage: &Stage, index: u32) -> ArtistId {
    ArtistId(stage.simulator.world().artist(index).id)
}

async fn accounts_of(stage: &Stage, artist: ArtistId) -> Vec<Account> {
    stage.host.store().accounts_of(&Scope::all_tenants(), &[artist]).await.expect("accounts are read")
}

/// Where an artist's identifiers are found, including documents.
async fn found(host: &Host, identifiers: &Identifiers) -> Vec<Sighting> {
    assert!(identifiers.len() >= 4, "{identifiers:?}");
    host.privacy().search(identifiers, true, &|_| {}).await.expect("the database is searched")
}

fn consent(artist_id: ArtistId, name: &str, granted: bool, seconds: i64, stage: &Stage) -> Consent {
    let recorded_at = stage.host.clock().now() + TimeDelta::seconds(seconds);
    let (scope, source) = ("metrics".to_owned(), "test".to_owned());
    Consent { artist_id, platform: platform(name), granted, scope, source, recorded_at }
}

#[tokio::test]
async fn every_table_and_column_is_in_the_registry() {
    each_database(async |store, url| {
        let pool = raw(&store, url).await;
        let there = columns(&store, &pool).await;
        let registered: Vec<&str> = TABLES.iter().map(|table| table.name).collect();
        let missing: Vec<_> = there.keys().filter(|name| !registered.contains(&name.as_str())).collect();
        assert!(
            missing.is_empty(),
            "host/model/src/people/privacy.rs does not say what these hold about artists: {missing:?}"
        );
        for table in TABLES {
            let columns = there.get(table.name).unwrap_or_else(|| panic!("there is no table {}", table.name));
            assert!(table.texts.iter().all(|text| columns.iter().any(|column| column == text)), "{table:?}");
            if let Holds::Rows(rows) = table.holds {
                let named: Vec<&str> = rows.columns().into_iter().map(|(name, _)| name).collect();
                let (mut named, mut columns) = (named, columns.clone());
                named.sort_unstable();
                columns.sort_unstable();
                assert_eq!(named, columns, "the columns of {}", table.name);
            } else {
                let telling = ["artist_id", "account_id", "platform_id"];
                assert!(
                    !columns.iter().any(|column| telling.contains(&column.as_str())),
                    "{} names artists",
                    table.name
                );
            }
        }
        pool.close().await;
    })
    .await;
}

#[tokio::test]
async fn a_recorded_consent_is_never_changed_and_is_removed_only_with_its_artist() {
    each_database(async |store, url| {
        let stage = Stage::bare(url, small(1), |_| {}).await;
        let artist = Artist {
            id: artist_of(&stage, 0),
            name: "Ada".to_owned(),
            tenant: Tenant::default(),
            subscription_status: SubscriptionStatus::Active,
            data_collection_enabled: true,
            timezone: backline_model::Zone::utc(),
        };
        store
            .artists_save(&Scope::all_tenants(), std::slice::from_ref(&artist), stage.host.clock().now())
            .await
            .unwrap();
        let said = [consent(artist.id, "youtube", true, 0, &stage), consent(artist.id, "youtube", false, 1, &stage)];
        store.consents_record(&Scope::all_tenants(), &said).await.unwrap();
        let pool = raw(&store, url).await;
        let mut refused =
            vec!["UPDATE consents SET granted = TRUE", "UPDATE consents SET source = 'x'", "DELETE FROM consents"];
        if store.kind() == DatabaseKind::Postgres {
            refused.push("TRUNCATE consents");
        }
        for statement in refused {
            let error = sqlx::query(AssertSqlSafe(statement.to_owned())).execute(&pool).await.expect_err(statement);
            assert!(error.to_string().contains("consents are a record"), "{statement}: {error}");
        }
        assert_eq!(store.consents_list(&Scope::all_tenants(), artist.id).await.unwrap(), said);
        execute(&pool, "DELETE FROM artists").await;
        assert_eq!(store.consents_list(&Scope::all_tenants(), artist.id).await.unwrap(), []);
        pool.close().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_artist_is_erased_from_every_table_and_all_others_stay() {
    each_database(async |store, url| {
        let stage = Stage::set(url, SimulatorConfig { troubles: true, ..small(8) }, |_| {}).await;
        stage.run(day(18)).await;
        stage.set_date(day(19));
        let run = stage.run(day(19)).await.run;
        let artist = artist_of(&stage, 2);
        let accounts = accounts_of(&stage, artist).await;
        let identifiers = stage.host.privacy().identifiers_of(artist).await.unwrap();
        // Fills what the runs leave empty: the archive, quarantine, an activation, and texts that name the artist.
        let pool = raw(&store, url).await;
        let (a, b) = (accounts[0].id, &accounts[1]);
        if store.kind() == DatabaseKind::Postgres {
            execute(&pool, "SELECT backline.ensure_month('metrics_archive'::regclass, '2026-11-18')").await;
        }
        for statement in [
            "INSERT INTO metrics_archive SELECT * FROM metrics WHERE metric_date = '2026-11-18'".to_owned(),
            "INSERT INTO activations (artist_id, platform, cause, at)
             SELECT id, 'youtube', 'account', created_at FROM artists WHERE TRUE ON CONFLICT DO NOTHING"
                .to_owned(),
            "INSERT INTO audit (at, actor, name, origin, action, outcome, artist_id, details)
             SELECT created_at, 'command', 'uid 0', 'here', 'artists set', 'done', id, '{}' FROM artists"
                .to_owned(),
            "INSERT INTO bulk_acts (id, action, artist_id, filter, reason, state, total, done, skipped, failed,
                 created_at, updated_at, finished_at)
             SELECT id, 'accounts_disable', id, '{}', 'a test', 'done', 1, 1, 0, 0, created_at, created_at, created_at
             FROM artists"
                .to_owned(),
            "INSERT INTO api_answers (token_id, idempotency_key, asked, request_id, artist_id, answer, created_at)
             SELECT id, 'a key', '{hash}', id, id, '{}', created_at FROM artists"
                .replace("{hash}", &"0".repeat(64)),
            "INSERT INTO quarantine (id, account_id, artist_id, platform, metric_date, metric, value, rule,
                 release_digest, document_id, status, created_at)
             SELECT document_id, account_id, artist_id, platform, metric_date, 'followers', '-5', 'negative',
                 release_digest, document_id, 'held', created_at FROM metrics WHERE metric_date = '2026-11-18'"
                .to_owned(),
            format!(
                "INSERT INTO plugin_logs (run_id, platform, level, message, at) SELECT id, 'youtube', 'info',
                 'skipped {} and ' || 'others', started_at FROM runs",
                a.to_string().to_uppercase()
            ),
            "INSERT INTO plugin_logs (run_id, platform, level, message, at)
             SELECT id, 'youtube', 'info', 'no problem', started_at FROM runs"
                .to_owned(),
            format!("UPDATE batches SET message = 'waits for {}'", b.platform_id),
            format!(
                "INSERT INTO collection_outcomes (run_id, account_id, artist_id, platform, metric_date, outcome,
                     reason, message, attempts, at)
                 SELECT document_id, account_id, artist_id, platform, metric_date, 'failed', 'unavailable',
                     'asked with {} and others', 1, created_at FROM metrics WHERE metric_date = '2026-11-18'",
                b.platform_id
            ),
            format!(
                "INSERT INTO lost_metrics (release_digest, name, reason, first_seen)
                 SELECT digest, 'x', 'refused for {}', installed_at FROM releases",
                artist.0.simple()
            ),
        ] {
            execute(&pool, &statement).await;
        }
        let lost = Event {
            id: uuid::Uuid::now_v7(),
            kind: types::METRIC_LOST.to_owned(),
            artist_id: None,
            occurred_at: stage.host.clock().now(),
            dedup_key: None,
            data: json!({ "platform": b.platform, "metric": "x", "reason": format!("refused for {}", b.platform_id) }),
        };
        store.events_write(&Scope::all_tenants(), std::slice::from_ref(&lost)).await.expect("the event is written");
        let before = all_rows(&store, &pool).await;
        let places = found(&stage.host, &identifiers).await;
        assert!(places.len() > 20, "the search finds what is there: {places:?}");
        assert!(places.iter().any(|place| place.column == "body"), "{places:?}");

        let erasure = stage.host.privacy().erase(artist).await.expect("erased");
        let receipt = &erasure.receipt;
        assert_eq!(receipt.artist_id_sha256, subject_of(artist));
        let after = all_rows(&store, &pool).await;
        for (table, _) in personal() {
            let (of_artist, mut others) = split(&before, table.name, artist, &accounts);
            let may_be_empty = ["budgets", "paces", "pauses", "deliveries", "alert_events"].contains(&table.name);
            assert!(!of_artist.is_empty() || may_be_empty, "{} held nothing to erase", table.name);
            assert_eq!(receipt.rows[table.name], of_artist.len() as u64, "the receipt for {}", table.name);
            let (left, mut now) = split(&after, table.name, artist, &accounts);
            assert!(left.is_empty(), "{} holds {left:?}", table.name);
            if table.name == "events" {
                now.retain(|row| row["type"] != types::ARTIST_ERASED && row["type"] != types::METRIC_LOST);
                others.retain(|row| row["type"] != types::METRIC_LOST);
            }
            for row in others.iter_mut().chain(&mut now).filter(|_| table.name == "collection_outcomes") {
                row.as_object_mut().unwrap().remove("message");
            }
            assert_eq!(now, others, "the other artists' rows of {}", table.name);
        }
        assert_eq!(found(&stage.host, &identifiers).await, []);
        assert_eq!(
            receipt.texts.keys().collect::<Vec<_>>(),
            [
                "batches.message",
                "collection_outcomes.message",
                "events.data",
                "lost_metrics.reason",
                "plugin_logs.message"
            ]
        );
        let said: Vec<&str> = after["plugin_logs"].iter().filter_map(|row| row["message"].as_str()).collect();
        assert!(said.contains(&"skipped [erased] and others") && said.contains(&"no problem"), "{said:?}");

        let events = stage.events().await;
        let reason = events.iter().find(|event| event.id == lost.id).map(|event| event.data["reason"].clone());
        assert_eq!(reason, Some(json!("refused for [erased]")));
        let events: Vec<Event> = events.into_iter().filter(|event| event.kind == types::ARTIST_ERASED).collect();
        assert_eq!((events.len(), events[0].artist_id), (1, None));
        assert_eq!(events[0].data["artist_id_sha256"], subject_of(artist));
        assert_eq!(events[0].data["tenant"], json!("default"), "the tenant whose subscribers get the event");
        assert_eq!(events[0].data["rows"], json!(receipt.rows));

        let again = stage.host.privacy().erase(artist).await.expect("erased already");
        assert!(again.erased_before);
        assert_eq!((&again.receipt.rows, &again.receipt.texts), (&receipt.rows, &receipt.texts));
        let nobody = ArtistId::generate();
        assert!(matches!(stage.host.privacy().erase(nobody).await, Err(PrivacyError::NoArtist(id)) if id == nobody));
        let run = store.run_get(&Scope::all_tenants(), run.id).await.unwrap().expect("the run");
        assert_ne!(run.status, RunStatus::Running);
        pool.close().await;
    })
    .await;
}

/// A stage with slow platforms and a service that works on one run of all accounts. Webhooks always fail.
async fn at_work(
    url: &str,
    artists: u32,
    state: &std::path::Path,
    before: impl AsyncFnOnce(&Stage),
) -> (Stage, Service, Server) {
    let receiver = Server::start(|_| answer(503, &[], "")).await;
    let to_receiver = routes(&[(RECEIVER, &receiver)]);
    let mut config = small(artists);
    config.faults = vec![Fault::always(FaultKind::Latency { ms: SLOW_MS })];
    let state = state.to_owned();
    let stage = Stage::set(url, config, move |config| {
        config.schedules.clear();
        config.service.poll_ms = 50;
        config.service.state_dir = Some(state);
        config.gateway.routes.extend(to_receiver);
    })
    .await;
    before(&stage).await;
    let service = Service::start(stage.host.clone()).await.expect("the service starts");
    until(SOON, "batches of every platform under way", async || {
        let filter = BatchFilter { limit: Some(100), ..BatchFilter::default() };
        let batches = stage.host.store().batches_list(&Scope::all_tenants(), &filter).await.expect("batches are read");
        let leased = batches.iter().filter(|batch| batch.state == backline_model::BatchState::Leased).count();
        (leased >= 5 && stage.simulator.counts().requests > 0).then_some(())
    })
    .await;
    (stage, service, receiver)
}

/// The only run, once it is over.
async fn ended(stage: &Stage) -> backline_model::Run {
    until(SOON, "the run's end", async || {
        let runs = stage.host.store().runs_list(&Scope::all_tenants(), 10, None).await.expect("runs are read");
        assert!(runs.len() <= 1, "{runs:?}");
        runs.into_iter().next().filter(|run| run.finished_at.is_some())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_artist_erased_during_a_run_stays_erased() {
    each_database(async |store, url| {
        let state = tempfile::tempdir().expect("a folder");
        // An event about the artist that can't be delivered.
        let waits = async |stage: &Stage| {
            let webhook = NewWebhook {
                name: "app".to_owned(),
                url: format!("{RECEIVER}/app"),
                kind: WebhookKind::Webhook,
                events: Vec::new(),
                tenant: None,
                from_start: true,
            };
            stage.host.webhooks().add(webhook).await.expect("it is added");
            let artist = artist_of(stage, 1);
            let waiting = Event {
                id: uuid::Uuid::now_v7(),
                kind: types::RECONNECT_NEEDED.to_owned(),
                artist_id: Some(artist),
                occurred_at: stage.host.clock().now(),
                dedup_key: None,
                data: json!({ "artist_id": artist }),
            };
            stage.host.store().events_write(&Scope::all_tenants(), &[waiting]).await.expect("the event is written");
        };
        let (stage, service, receiver) = at_work(url, 3, state.path(), waits).await;
        let artist = artist_of(&stage, 1);
        let identifiers = stage.host.privacy().identifiers_of(artist).await.unwrap();
        let queued = DeliveryFilter { artist: Some(artist), limit: 10, ..DeliveryFilter::default() };
        until(SOON, "a delivery that failed", async || {
            let queued = store.deliveries_list(&Scope::all_tenants(), &queued).await.expect("deliveries are listed");
            queued.iter().any(|one| one.state == DeliveryState::Waiting && one.attempts > 0).then_some(())
        })
        .await;
        assert!(!receiver.asked().is_empty());

        let erasure = stage.host.privacy().erase(artist).await.expect("erased");
        assert_eq!(erasure.receipt.rows["batch_accounts"], 5, "it was being collected: {:?}", erasure.receipt);
        assert_eq!((erasure.receipt.rows["events"], erasure.receipt.rows["metrics"]), (1, 0));
        assert_eq!(erasure.receipt.rows["deliveries"], 1);
        assert_eq!(store.deliveries_list(&Scope::all_tenants(), &queued).await.expect("deliveries are listed"), []);
        let run = ended(&stage).await;
        assert_eq!((run.counts.collected, run.counts.failed, run.counts.planned), (10, 0, 10), "{run:?}");
        assert_eq!(found(&stage.host, &identifiers).await, [], "after the run in progress");
        assert!(service.stop().await, "the service stops cleanly");

        stage.simulator.set_faults(Vec::new());
        stage.set_date(day(19));
        let run = stage.run(day(19)).await.run;
        assert_eq!((run.counts.collected, run.counts.failed), (10, 0), "{run:?}");
        assert_eq!(found(&stage.host, &identifiers).await, [], "after another run");

        let again = stage.another_host(|_| {}).await;
        let service = Service::start(again.clone()).await.expect("another service starts");
        assert_eq!(found(&again, &identifiers).await, [], "after a restart");
        let artists = stage
            .host
            .store()
            .artists_list(&Scope::all_tenants(), &ArtistFilter::default())
            .await
            .expect("artists are read");
        assert_eq!(artists.len(), 2);
        // A new import of all artists leaves out the erased one.
        let saved = store
            .artists_save(&Scope::all_tenants(), &[Artist { id: artist, ..artists[0].clone() }], again.clock().now())
            .await;
        assert_eq!(saved.expect("nothing fails").left_out, 1);
        let accounts = [Account { artist_id: artist, ..accounts_of(&stage, artists[0].id).await[0].clone() }];
        let saved = store.accounts_save(&Scope::all_tenants(), &accounts, again.clock().now()).await;
        assert_eq!(saved.expect("nothing fails").left_out, 1);
        let said = store
            .consents_record(&Scope::all_tenants(), &[consent(artist, "youtube", true, 0, &stage)])
            .await
            .expect("nothing fails");
        assert_eq!((said.added, said.left_out), (0, 1));
        assert_eq!(found(&again, &identifiers).await, [], "after an import");
        assert!(service.stop().await);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_of_the_erased_artist_only_ends() {
    each_database(async |_store, url| {
        let state = tempfile::tempdir().expect("a folder");
        let (stage, service, _) = at_work(url, 1, state.path(), async |_| {}).await;
        let artist = artist_of(&stage, 0);
        let identifiers = stage.host.privacy().identifiers_of(artist).await.unwrap();
        stage.host.privacy().erase(artist).await.expect("erased");
        let run = ended(&stage).await;
        assert_eq!((run.counts.planned, run.counts.collected, run.counts.failed), (0, 0, 0), "{run:?}");
        assert_eq!(found(&stage.host, &identifiers).await, []);
        assert!(service.stop().await);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_removed_during_a_run_is_neither_stored_nor_waited_for() {
    each_database(async |store, url| {
        let state = tempfile::tempdir().expect("a folder");
        let (stage, service, _) = at_work(url, 2, state.path(), async |_| {}).await;
        let artist = artist_of(&stage, 0);
        let gone = accounts_of(&stage, artist).await.into_iter().find(|one| one.platform == platform("instagram"));
        let gone = gone.expect("an account").id;
        let (all, now) = (Scope::all_tenants(), stage.host.clock().now());
        let removal = remove_account(&store, stage.host.config(), &all, gone, "a wrong id", now).await;
        let removal = removal.expect("it is removed");
        assert_eq!((removal.rows["batch_accounts"], removal.rows["credentials"]), (1, 1), "{removal:?}");

        let run = ended(&stage).await;
        assert_eq!((run.counts.collected, run.counts.failed, run.counts.planned), (9, 0, 9), "{run:?}");
        assert!(service.stop().await);
        assert_eq!(accounts_of(&stage, artist).await.len(), 4);
        let pool = raw(&store, url).await;
        let rows = all_rows(&store, &pool).await;
        pool.close().await;
        for (table, _) in personal() {
            let named = rows[table.name].iter().filter(|row| row.to_string().contains(&gone.to_string()));
            let named: Vec<_> = named.filter(|row| row["type"] != types::ACCOUNT_REMOVED).collect();
            assert!(named.is_empty(), "{} holds {named:?}", table.name);
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_withdrawal_during_a_batch_nothing_is_stored() {
    each_database(async |store, url| {
        let state = tempfile::tempdir().expect("a folder");
        let (stage, service, _) = at_work(url, 2, state.path(), async |_| {}).await;
        let artist = artist_of(&stage, 0);
        let tokens = async |name: &str| {
            let filter = CredentialFilter { platform: Some(platform(name)), ..CredentialFilter::default() };
            let listed = store.credentials_list(&Scope::all_tenants(), &filter).await.expect("credentials are listed");
            listed.iter().filter(|credential| credential.account_id.is_some()).count()
        };
        assert_eq!((tokens("instagram").await, tokens("tiktok").await), (2, 2));
        let withdrawal = consent(artist, "instagram", false, 1, &stage);
        let recorded = record_consents(&store, stage.host.config(), &[withdrawal]).await.expect("it is recorded");
        assert_eq!((recorded.added, recorded.credentials.len()), (1, 1));
        assert_eq!((tokens("instagram").await, tokens("tiktok").await), (1, 2), "the others' tokens stay");

        let run = ended(&stage).await;
        assert_eq!((run.counts.collected, run.counts.excluded, run.counts.failed), (9, 1, 0), "{run:?}");
        let account = accounts_of(&stage, artist).await.into_iter().find(|one| one.platform == platform("instagram"));
        let account = account.expect("the account stays");
        let filter = MetricsFilter { account: Some(account.id), ..MetricsFilter::default() };
        assert_eq!(store.metrics_list(&Scope::all_tenants(), &filter).await.expect("metrics are read"), []);
        let outcomes =
            store.run_outcomes_list(&Scope::all_tenants(), run.id, None, 100).await.expect("outcomes are read");
        let outcome = outcomes.iter().find(|outcome| outcome.account_id == account.id).expect("its outcome");
        assert_eq!(outcome.outcome, Outcome::Excluded { reason: backline_model::outcome::Exclusion::NoConsent });
        let events = stage.events().await;
        assert!(!events.iter().any(|event| event.data["account_id"] == json!(account.id)), "{events:?}");
        assert!(service.stop().await);

        // A machine whose clock is behind withdraws as well as any other.
        let late = consent(artist, "tiktok", false, -3_600, &stage);
        let recorded = record_consents(&store, stage.host.config(), &[late]).await.expect("it is recorded");
        assert_eq!(recorded.credentials.len(), 1);
        assert_eq!(tokens("tiktok").await, 1);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_is_being_refreshed_is_erased_with_its_artist() {
    each_database(async |store, url| {
        let state = tempfile::tempdir().expect("a folder");
        let folder = state.path().to_owned();
        let stage = Stage::installed(url, small(2), |config| config.service.state_dir = Some(folder)).await;
        stage.import_of(&[0, 1], &["tiktok"], |_| "default".to_owned()).await;
        let slow = Fault::always(FaultKind::Latency { ms: SLOW_MS }).on_path("/v2/oauth/token/");
        stage.simulator.set_faults(vec![slow]);
        let artist = artist_of(&stage, 0);
        let identifiers = stage.host.privacy().identifiers_of(artist).await.unwrap();
        let erasing = async {
            until(SOON, "requests for fresh tokens", async || {
                (stage.simulator.counts().operation("POST /v2/oauth/token/") > 1).then_some(())
            })
            .await;
            stage.host.privacy().erase(artist).await.expect("erased")
        };
        let (round, erasure) = tokio::join!(stage.host.refresh_credentials(), erasing);
        assert_eq!(erasure.receipt.rows["credentials"], 1);
        let report = round.expect("a round");
        assert_eq!((report.refreshed, report.dead), (1, 0), "the other one's is fresh: {report:?}");
        let filter = CredentialFilter { platform: Some(platform("tiktok")), ..CredentialFilter::default() };
        let left = store.credentials_list(&Scope::all_tenants(), &filter).await.expect("credentials are listed");
        assert_eq!(left.iter().filter(|credential| credential.account_id.is_some()).count(), 1);
        assert_eq!(found(&stage.host, &identifiers).await, []);
        let kept = std::fs::read_dir(state.path().join("refreshes")).map_or(0, |files| files.flatten().count());
        assert_eq!(kept, 0, "no file of it is left beside the database");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_that_still_lists_an_erased_artist_does_not_restore_it_until_readmitted() {
    each_database(async |store, url| {
        let query = "SELECT id, name, subscription_status, TRUE AS consent_youtube, channel AS youtube
            FROM platform_artists";
        let stage = Stage::installed(url, small(2), |config| config.sync.query = Some(query.to_owned())).await;
        let pool = raw(&store, url).await;
        let home = if store.kind() == DatabaseKind::Postgres { "public." } else { "" };
        let columns = "id TEXT, name TEXT, subscription_status TEXT, channel TEXT";
        execute(&pool, &format!("CREATE TABLE {home}platform_artists ({columns})")).await;
        for index in 0..2 {
            let channel = stage.simulator.world().artist(index).youtube_channel_id;
            let id = artist_of(&stage, index);
            let values = format!("'{id}', 'Ada', 'active', '{channel}'");
            execute(&pool, &format!("INSERT INTO {home}platform_artists VALUES ({values})")).await;
        }
        let sync = async || stage.host.artist_sync().sync(SyncRequest::default()).await.expect("synced");
        let first = sync().await;
        assert_eq!((first.artists_added, first.accounts_added, first.erased_left_out), (2, 2, 0), "{first:?}");
        let artist = artist_of(&stage, 0);
        let identifiers = stage.host.privacy().identifiers_of(artist).await.unwrap();
        stage.host.privacy().erase(artist).await.expect("erased");
        let second = sync().await;
        assert_eq!((second.artists_added, second.accounts_added, second.erased_left_out), (0, 0, 1), "{second:?}");
        let places = found(&stage.host, &identifiers).await;
        let places: Vec<_> = places.iter().map(|place| (place.column.as_str(), place.own)).collect();
        assert_eq!(places, [("id", false), ("channel", false)]);

        // On PostgreSQL the artist platform can insert the artist itself. The artist is then listed but not collected.
        let name = if store.kind() == DatabaseKind::Postgres { "artists" } else { "main.artists" };
        let copied = "tenant, subscription_status, data_collection_enabled, timezone, created_at, updated_at";
        execute(
            &pool,
            &format!("INSERT INTO {name} (id, name, {copied}) SELECT '{artist}', 'Ada', {copied} FROM {name}"),
        )
        .await;
        let account = stage.simulator.world().artist(0).youtube_channel_id;
        let id = uuid::Uuid::new_v4();
        execute(
            &pool,
            &format!(
                "INSERT INTO accounts
                (id, artist_id, platform, platform_id, settings, status, created_at, updated_at)
            SELECT '{id}', '{artist}', platform, '{account}', '{{}}', 'active', created_at, updated_at FROM accounts"
            ),
        )
        .await;
        execute(
            &pool,
            &format!(
                "INSERT INTO consents (artist_id, platform, granted, scope, source, recorded_at)
            SELECT '{artist}', platform, granted, scope, source, recorded_at FROM consents"
            ),
        )
        .await;
        for credential in stage.simulator.world().operator_credentials() {
            if credential.platform == "youtube" {
                let (youtube, value) = (platform("youtube"), &credential.value);
                let set = stage.host.credentials().set(&youtube, credential.slot, None, value).await;
                set.expect("the key is set");
            }
        }
        let run = stage.run_some(day(18), &["youtube"]).await.run;
        assert_eq!((run.counts.collected, run.counts.excluded, run.counts.failed), (1, 0, 0), "{run:?}");

        let erasure = stage.host.privacy().erase(artist).await.expect("erased again");
        assert_eq!((erasure.erased_before, erasure.receipt.rows["artists"]), (false, 2), "receipts add up");
        stage.host.privacy().readmit(artist).await.expect("readmitted");
        assert!(matches!(stage.host.privacy().readmit(artist).await, Err(PrivacyError::NotErased(_))));
        assert!(store.erasure_get(artist).await.expect("read").expect("still on record").readmitted_at.is_some());
        let third = sync().await;
        assert_eq!((third.artists_added, third.accounts_added, third.erased_left_out), (1, 1, 0), "{third:?}");
        let run = stage.run_some(day(18), &["youtube"]).await.run;
        assert_eq!((run.counts.collected, run.counts.failed), (2, 0), "{run:?}");
        pool.close().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn artists_are_saved_while_texts_are_searched_for_an_erasure() {
    each_database(async |store: Store, url| {
        if store.kind() == DatabaseKind::Sqlite {
            return; // it has one writer, whatever that does
        }
        let all = Scope::all_tenants();
        let artists = [1u128, 2].map(|n| Artist {
            id: ArtistId(uuid::Uuid::from_u128(0xD000_0000 + n)),
            name: "Ada".to_owned(),
            tenant: Tenant::default(),
            subscription_status: SubscriptionStatus::Active,
            data_collection_enabled: true,
            timezone: Zone::utc(),
        });
        let now = Clock::system().now();
        store.artists_save(&all, &artists[..1], now).await.expect("saved");
        // The search comes to a table that it has to wait for, as for one that takes long to read.
        let mut blocker = PgConnection::connect(url).await.expect("it connects");
        blocker.execute("BEGIN; LOCK TABLE backline.plugin_logs IN ACCESS EXCLUSIVE MODE").await.expect("locked");
        let erasing = store.artist_erase(&all, artists[0].id, now);
        let others = async {
            let waiting = "SELECT COUNT(*) FROM pg_locks WHERE NOT granted AND database =
                (SELECT oid FROM pg_database WHERE datname = current_database())";
            while sqlx::query_scalar::<_, i64>(waiting).fetch_one(&mut blocker).await.expect("counted") == 0 {
                tokio::task::yield_now().await;
            }
            let saved = tokio::time::timeout(SOON / 6, store.artists_save(&all, &artists[1..], now)).await;
            blocker.execute("ROLLBACK").await.expect("unlocked");
            saved.expect("nothing keeps it waiting").expect("saved");
        };
        let (erased, ()) = tokio::join!(erasing, others);
        assert!(erased.expect("erased").is_some());
        let left = store.artists_list(&all, &ArtistFilter::default()).await.expect("artists are read");
        assert_eq!(left.iter().map(|artist| artist.id).collect::<Vec<_>>(), [artists[1].id]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn erasing_and_saving_at_once_leaves_nothing_behind() {
    each_database(async |store: Store, url| {
        let mut config = backline::config::Config::default();
        config.database.url = url.to_owned();
        let host = Host::open(config, Clock::system()).await.expect("the host opens");
        let now = host.clock().now();
        let artists: Vec<Artist> = (0..20u128)
            .map(|n| Artist {
                id: ArtistId(uuid::Uuid::from_u128(0xD000_0000 + n)),
                name: "Ada".to_owned(),
                tenant: Tenant::default(),
                subscription_status: SubscriptionStatus::Active,
                data_collection_enabled: true,
                timezone: backline_model::Zone::utc(),
            })
            .collect();
        store.artists_save(&Scope::all_tenants(), &artists, now).await.expect("saved");
        // The names change with every save, so that each one writes.
        let saving = async {
            for round in 0..30 {
                let renamed: Vec<Artist> =
                    artists.iter().map(|artist| Artist { name: format!("Ada {round}"), ..artist.clone() }).collect();
                store.artists_save(&Scope::all_tenants(), &renamed, now).await.expect("saved");
            }
        };
        let erasing = async {
            for artist in &artists {
                host.privacy().erase(artist.id).await.expect("erased");
            }
        };
        tokio::join!(saving, erasing);
        let left = store.artists_list(&Scope::all_tenants(), &ArtistFilter::default()).await.expect("artists are read");
        assert_eq!(left, []);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_artist_whose_row_can_not_be_read_withdraws_consent_by_command() {
    each_database(async |store, url| {
        let simulator = SimulatorConfig { artists: 1, ..SimulatorConfig::default() };
        let stage = Stage::set(url, simulator, |_| {}).await;
        let all = Scope::all_tenants();
        let artist = store.artists_list(&all, &ArtistFilter::default()).await.unwrap().remove(0).id;
        write_unchecked(url, &format!("UPDATE artists SET timezone = 'Mars/Phobos' WHERE id = '{artist}'")).await;
        let fleet = Fleet::of(&stage, |_| {});
        let id = artist.to_string();
        let id = id.as_str();
        let run = |arguments: &[&str]| {
            let output = fleet.command(arguments).output().expect("the binary starts");
            (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
        };
        for arguments in [
            ["consents", "withdraw", id, "youtube"].as_slice(),
            &["consents", "list", id],
            &["accounts", "list", "--artist", id],
            &["metrics", id],
        ] {
            let (code, said) = run(arguments);
            assert_eq!(code, Some(0), "{arguments:?}: {said}");
        }
        let latest = store.latest_consents_get(&all, artist).await.unwrap();
        let of_youtube = latest.iter().find(|consent| consent.platform == platform("youtube"));
        assert_eq!(of_youtube.map(|consent| consent.granted), Some(false), "{latest:?}");

        // A command that needs the row says whose it is, and what to do.
        let (code, said) = run(&["artists", "show", id]);
        assert_eq!(code, Some(4), "{said}");
        assert!(said.contains(id) && said.contains("timezone") && said.contains("correct the row"), "{said}");
    })
    .await;
}
