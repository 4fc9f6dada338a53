//! Tests of the whole path of the data on both databases: plan, lease, fetch, normalise, validate, growth, store.

use backline::pipeline::collection::report::{Progress, RunRequest};
use backline_model::event::types;
use backline_model::outcome::Exclusion;
use backline_model::row::QuarantineStatus;
use backline_model::{
    Absence, AccountStatus, ArtistId, Batch, BatchAccount, BatchId, Consent, FailureClass, MetricsRow, NoChange,
    Outcome, Quarantined, RunStatus, Tenant, Value,
};
use backline_simulator::{Expected, Fault, FaultKind, Platform as Sim, RetryAfter, SimulatorConfig, Trait};
use backline_store::{
    AccountFilter, AccountResult, BatchResult, CredentialFilter, DatabaseKind, MetricsFilter, NamedOutcome,
    PluginLogFilter, QuarantineFilter, Scope, Store, StoredAccount,
};
use chrono::{DateTime, NaiveDate, TimeDelta, TimeZone as _, Utc};
use serde_json::Value as Json;
use sqlx::{Connection as _, PgConnection};

use crate::store::fixtures::add_batches;
use crate::support::bytes::holds;
use crate::support::components;
use crate::support::database::{each_database, write};
use crate::support::host::HostExt as _;
use crate::support::stage::{Stage, noon, platform};
use crate::support::variants::variant_of;

mod dates;
mod past;

fn date(day: u32) -> NaiveDate {
    NaiveDate::from_ymd_opt(2026, 11, day).expect("a day of November")
}

fn small(artists: u32) -> SimulatorConfig {
    SimulatorConfig { artists, date: date(18), ..SimulatorConfig::default() }
}

fn integer(row: &MetricsRow, name: &str) -> Option<i64> {
    row.values.get(name).and_then(Value::as_i64)
}

/// Checks that the row has every number the simulator expects, and a reason for every other one.
pub fn assert_truth(row: &MetricsRow, expected: &Expected, what: &str) {
    let numbers = [
        ("followers", expected.followers),
        ("following", expected.following),
        ("posts_count", expected.posts_count),
        ("total_views", expected.total_views),
        ("content_views", expected.content_views),
        ("video_views", expected.video_views),
        ("likes", expected.likes),
        ("comments", expected.comments),
        ("shares", expected.shares),
        ("recent_releases", expected.recent_releases),
    ];
    for (name, expected) in numbers {
        assert_eq!(integer(row, name), expected, "{what}: {name} of {row:?}");
        assert_eq!(
            row.absent.contains_key(name),
            expected.is_none(),
            "{what}: {name} is a value or an absence, never both"
        );
    }
    let top_track = row.values.get("top_track").map(ToString::to_string);
    assert_eq!(top_track, expected.top_track, "{what}: top_track");
    for name in ["streams", "monthly_listeners"] {
        assert_eq!(row.absent.get(name), Some(&Absence::NotOffered), "{what}: no official API offers {name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_days_of_five_platforms_are_stored_as_they_are() {
    each_database(async |_store: Store, url: &str| {
        let stage = Stage::set(url, small(25), |_| {}).await;
        for day in 18..=20 {
            stage.set_date(date(day));
            let report = stage.run(date(day)).await;
            assert_eq!(report.run.status, RunStatus::Success, "day {day}: {:?}", report.platforms);
            assert_eq!(report.run.counts.collected, 125, "25 artists on five platforms");
            assert_eq!(report.run.counts.planned, 125);
        }
        let world = stage.simulator.world();
        for sim in Sim::ALL {
            for index in 0..25 {
                for day in 18..=20 {
                    let row = stage.row(sim, index, date(day)).await.unwrap_or_else(|| panic!("{sim:?} {index} {day}"));
                    let expected = world.expected_in(sim, index, date(day), row.window.since, row.window.until);
                    assert_truth(&row, &expected, &format!("{} of artist {index} on {day}", sim.as_str()));
                }
            }
        }
        // Growth of the third day: there is a row of yesterday, but none of last week.
        let filter = MetricsFilter {
            artist: Some(ArtistId(world.artist(0).id)),
            platform: Some(platform("instagram")),
            since: Some(date(20)),
            ..MetricsFilter::default()
        };
        let growth = stage.host.store().growth_list(&Scope::all_tenants(), &filter).await.expect("growth is read");
        let followers = &growth[0].changes["followers"];
        let (before, after) =
            (world.followers(Sim::Instagram, 0, date(19)), world.followers(Sim::Instagram, 0, date(20)));
        #[expect(clippy::cast_precision_loss, reason = "follower counts of a test")]
        let difference = (after.expect("a number") - before.expect("a number")) as f64;
        assert_eq!(followers[&1].absolute, Some(difference));
        assert_eq!(followers[&7].reason, Some(NoChange::Gap), "nothing was collected a week ago, but two days ago");
        assert_eq!(followers[&7].gap_days, Some(1), "measured from yesterday, the latest accepted value");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_databases_hold_the_same_tables() {
    let traces_of = std::sync::Mutex::new(Vec::new());
    each_database(async |_store: Store, url: &str| {
        let stage = Stage::set(url, small(10), |_| {}).await;
        for day in [18, 20, 19] {
            stage.set_date(date(day));
            // Requests are spaced by the time, which never goes back by a day.
            write(url, "DELETE FROM paces").await;
            stage.run(date(day)).await;
        }
        let traces = stage.traces().await;
        traces_of.lock().expect("a lock").push(traces);
    })
    .await;
    let traces = traces_of.into_inner().expect("a lock");
    assert_eq!(traces.len(), 2, "SQLite and PostgreSQL");
    assert_eq!(traces[0]["metrics"].as_array().map(Vec::len), Some(150), "ten artists, five platforms, three days");
    for table in ["metrics", "growth", "documents", "outcomes", "quarantine", "events"] {
        assert_eq!(traces[0][table], traces[1][table], "{table} differs");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn batches_take_the_minimum_number_of_requests() {
    each_database(async |_store: Store, url: &str| {
        let stage = Stage::set(url, small(120), |_| {}).await;
        stage.run_some(date(18), &["youtube", "spotify", "apple_music"]).await;
        let counts = stage.simulator.counts();
        // The artists' eight time zones have at most three dates. Here the date is given, so all share one.
        assert_eq!(counts.operation("GET /youtube/v3/channels"), 3, "{:?}", counts.operations);
        assert_eq!(counts.operation("GET /v1/artists"), 3, "{:?}", counts.operations);
        assert_eq!(counts.operation("GET /v1/catalog/{storefront}/artists"), 5, "{:?}", counts.operations);
        assert_eq!(counts.operation("POST /api/token"), 1, "four workers share one token");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_withheld_value_is_kept_until_an_operator_releases_it() {
    each_database(async |_store: Store, url: &str| {
        let stage = Stage::set(url, small(25), |_| {}).await;
        stage.run_some(date(18), &["tiktok"]).await;
        let world = stage.simulator.world();
        let index = (0..25).find(|index| world.trait_of(*index) == Some(Trait::LikesAboveViews)).expect("it occurs");
        let row = stage.row(Sim::Tiktok, index, date(18)).await.expect("a row");
        let rejected = row.absent.get("engagement_rate").expect("more interactions than views are no rate");
        assert!(matches!(rejected, Absence::Rejected(_)), "{rejected:?}");
        assert!(integer(&row, "likes").is_some(), "the row's other metrics are stored");
        assert!(row.quality_score < 1.0);

        let store = stage.host.store();
        let held = store
            .quarantine_list(&Scope::all_tenants(), &QuarantineFilter::default())
            .await
            .expect("quarantine is read");
        let held = held.iter().find(|held| held.account_id == row.account_id).expect("the value is kept").clone();
        assert_eq!(
            (held.metric.as_str(), held.document_id, held.release),
            ("engagement_rate", row.document_id, row.release)
        );
        stage.host.quarantine().release(&Scope::all_tenants(), held.id).await.expect("it is released");
        let row = stage.row(Sim::Tiktok, index, date(18)).await.expect("a row");
        assert_eq!(row.values.get("engagement_rate"), Some(&held.value), "the value as sent, never clamped");
        assert!(!row.absent.contains_key("engagement_rate"));
        let again = stage
            .host
            .quarantine()
            .release(&Scope::all_tenants(), held.id)
            .await
            .expect_err("already decided")
            .to_string();
        assert!(again.contains("released"), "{again}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_spent_quota_defers_to_midnight_pacific_and_fails_no_account() {
    each_database(async |_store: Store, url: &str| {
        let config = SimulatorConfig { youtube_quota: 30, ..small(100) };
        let stage = Stage::set(url, config, |_| {}).await;
        let report = stage.run_some(date(18), &["youtube"]).await;
        let counts = report.run.counts;
        assert_eq!(counts.failed, 0, "{:?}", report.platforms);
        assert!(counts.deferred > 0, "{counts:?}");
        assert_eq!(counts.collected + counts.deferred, 100);
        assert!(stage.simulator.counts().units("youtube") <= 30);
        let outcomes = stage
            .host
            .store()
            .run_outcomes_list(&Scope::all_tenants(), report.run.id, None, 10_000)
            .await
            .expect("outcomes");
        let midnight_pacific = Utc.with_ymd_and_hms(2026, 11, 19, 8, 0, 0).single().expect("a time");
        for outcome in outcomes {
            if let Outcome::Deferred { until, .. } = outcome.outcome {
                assert_eq!(until, midnight_pacific, "noon UTC of the 18th is 04:00 in Los Angeles");
            }
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failing_account_does_not_affect_others() {
    each_database(async |_store: Store, url: &str| {
        let stage = Stage::set(url, SimulatorConfig { troubles: true, ..small(25) }, |_| {}).await;
        let report = stage.run(date(18)).await;
        assert_eq!(report.run.status, RunStatus::PartialFailure);
        let world = stage.simulator.world();
        let outcomes = stage
            .host
            .store()
            .run_outcomes_list(&Scope::all_tenants(), report.run.id, None, 10_000)
            .await
            .expect("outcomes");
        let class_of = |sim: Sim, wanted: Trait| {
            let index = (0..25).find(|index| world.trait_of(*index) == Some(wanted)).expect("each trait occurs");
            let artist = ArtistId(world.artist(index).id);
            let of = |outcome: &&NamedOutcome| outcome.artist_id == artist && outcome.platform.as_str() == sim.as_str();
            let outcome = outcomes.iter().find(of).expect("an outcome");
            match &outcome.outcome {
                Outcome::Failed { class, .. } => Some(*class),
                Outcome::Collected => None,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(class_of(Sim::Youtube, Trait::YoutubeGone), Some(FailureClass::NotFound));
        assert_eq!(class_of(Sim::Spotify, Trait::SpotifyGone), Some(FailureClass::NotFound));
        assert_eq!(class_of(Sim::Instagram, Trait::InstagramExpired), Some(FailureClass::Reconnect));
        assert_eq!(class_of(Sim::Instagram, Trait::InstagramForbidden), Some(FailureClass::Forbidden));
        // The scope that was not granted loses its own numbers.
        assert_eq!(class_of(Sim::Tiktok, Trait::TiktokScopeMissing), None);
        let index = (0..25).find(|index| world.trait_of(*index) == Some(Trait::TiktokScopeMissing)).expect("it occurs");
        let row = stage.row(Sim::Tiktok, index, date(18)).await.expect("a row");
        assert_eq!(row.absent.get("followers"), Some(&Absence::NotAuthorized));
        assert_eq!(class_of(Sim::Tiktok, Trait::TiktokRevoked), Some(FailureClass::Reconnect));
        assert_eq!(class_of(Sim::Tiktok, Trait::TiktokErrorInOk), Some(FailureClass::Unavailable));
        assert_eq!(class_of(Sim::AppleMusic, Trait::AppleGone), Some(FailureClass::NotFound));
        assert_eq!(report.run.counts.failed, 7 + u64::from(class_of(Sim::AppleMusic, Trait::AppleOnlyGb).is_some()));

        // An account that must be reconnected is reported once and excluded from then on.
        let events = stage.events().await;
        let reconnects = events.iter().filter(|event| event.kind == types::RECONNECT_NEEDED).count();
        assert_eq!(reconnects, 2);
        stage.set_date(date(19));
        let report = stage.run(date(19)).await;
        assert_eq!(report.run.counts.excluded, 2);
        assert_eq!(report.run.counts.planned, 123);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_that_its_platform_does_not_know_for_a_week_is_left_out_and_told_once() {
    each_database(async |store: Store, url: &str| {
        let all = Scope::all_tenants();
        let stage = Stage::set(url, SimulatorConfig { troubles: true, ..small(25) }, |_| {}).await;
        let world = stage.simulator.world();
        let index = (0..25).find(|index| world.trait_of(*index) == Some(Trait::YoutubeGone)).expect("it occurs");
        let artist = ArtistId(world.artist(index).id);
        let account = async || {
            let accounts = store.accounts_list(&all, &AccountFilter::default()).await.expect("accounts");
            let of = |account: &backline_model::Account| {
                account.artist_id == artist && account.platform.as_str() == Sim::Youtube.as_str()
            };
            accounts.into_iter().find(of).expect("it is there")
        };
        let told = async || {
            let events = stage.events().await;
            events.into_iter().filter(|event| event.kind == types::ACCOUNT_NOT_FOUND).collect::<Vec<_>>()
        };
        for day in 18..25 {
            assert_eq!(account().await.status, AccountStatus::Active, "before {day}");
            assert!(told().await.is_empty(), "before {day}");
            stage.set_date(date(day));
            // Twice on one date is one date.
            for _ in 0..2 {
                let report = stage.run_some(date(day), &["youtube"]).await;
                assert_eq!((report.run.counts.failed, report.run.counts.excluded), (1, 0), "on {day}");
                if day == 24 {
                    break;
                }
            }
        }
        assert_eq!(account().await.status, AccountStatus::NotFound);
        let events = told().await;
        assert_eq!(events.len(), 1, "{events:?}");
        assert_eq!((events[0].artist_id, &events[0].data["dates"]), (Some(artist), &Json::from(7)));

        stage.set_date(date(25));
        let report = stage.run_some(date(25), &["youtube"]).await;
        assert_eq!((report.run.counts.failed, report.run.counts.excluded), (0, 1));
        let outcomes = store.run_outcomes_list(&all, report.run.id, None, 10_000).await.expect("outcomes");
        let left_out = outcomes.iter().find(|outcome| outcome.artist_id == artist).expect("an outcome");
        assert_eq!(left_out.outcome, Outcome::Excluded { reason: Exclusion::NotFound });
        assert_eq!(told().await.len(), 1, "told once");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transient_failure_is_retried_and_a_half_failed_rerun_changes_nothing() {
    each_database(async |_store: Store, url: &str| {
        let stage = Stage::set(url, small(5), |_| {}).await;
        let blip = FaultKind::Status { status: 503, retry_after: RetryAfter::default() };
        stage.simulator.set_faults(vec![Fault::always(blip.clone()).on_host("youtube.googleapis.com").times(6)]);
        let report = stage.run(date(18)).await;
        assert_eq!(report.run.status, RunStatus::Success, "{:?}", report.platforms);
        let before = stage.row(Sim::Youtube, 0, date(18)).await.expect("a row");

        stage.simulator.set_faults(vec![Fault::always(blip).on_host("youtube.googleapis.com")]);
        stage.set_time(noon(date(18)) + TimeDelta::hours(1));
        let report = stage.run(date(18)).await;
        assert_eq!(report.run.status, RunStatus::PartialFailure);
        let youtube = report.platforms.iter().find(|report| report.platform == "youtube").expect("a report");
        assert_eq!((youtube.counts.failed, youtube.failures.get("unavailable")), (5, Some(&5)));
        assert_eq!(
            stage.row(Sim::Youtube, 0, date(18)).await.as_ref(),
            Some(&before),
            "the row of the same date is as it was"
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn late_data_recomputes_the_growth_it_touches() {
    each_database(async |_store: Store, url: &str| {
        let stage = Stage::set(url, small(1), |_| {}).await;
        let growth_on = async |day: u32| {
            let filter = MetricsFilter {
                platform: Some(platform("instagram")),
                since: Some(date(day)),
                until: Some(date(day)),
                ..MetricsFilter::default()
            };
            let mut rows = stage.host.store().growth_list(&Scope::all_tenants(), &filter).await.expect("growth");
            rows.remove(0).changes["followers"][&1]
        };
        for day in [18, 20] {
            stage.set_date(date(day));
            stage.run_some(date(day), &["instagram"]).await;
        }
        let with_gap = growth_on(20).await;
        assert_eq!((with_gap.reason, with_gap.percent, with_gap.gap_days), (Some(NoChange::Gap), None, Some(2)));
        stage.set_date(date(19));
        stage.run_some(date(19), &["instagram"]).await;
        let recomputed = growth_on(20).await;
        assert_eq!((recomputed.reason, recomputed.gap_days), (None, Some(1)));
        assert!(recomputed.percent.is_some());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_expired_access_token_is_refreshed_and_its_rotation_saved() {
    each_database(async |_store: Store, url: &str| {
        let stage = Stage::set(url, small(3), |_| {}).await;
        for day in [18, 19, 21, 25] {
            stage.set_date(date(day));
            let report = stage.run_some(date(day), &["tiktok"]).await;
            assert_eq!(report.run.status, RunStatus::Success, "day {day}: {:?}", report.platforms);
        }
        let refreshes = stage.simulator.counts().operation("POST /v2/oauth/token/");
        assert!(refreshes >= 9, "each day's tokens are new ones: {refreshes}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_metric_is_remembered_and_announced_once() {
    each_database(async |_store: Store, url: &str| {
        let config = SimulatorConfig { instagram_lost: vec!["saved".to_owned()], ..small(4) };
        let stage = Stage::set(url, config, |config| config.collection.concurrency = 1).await;
        for day in [18, 19] {
            stage.set_date(date(day));
            let report = stage.run_some(date(day), &["instagram"]).await;
            assert_eq!(report.run.status, RunStatus::Success, "{:?}", report.platforms);
            if day == 18 {
                assert!(stage.simulator.counts().statuses.contains_key(&400), "the platform refused the name");
                stage.simulator.reset_counts();
            }
        }
        assert!(!stage.simulator.counts().statuses.contains_key(&400), "it was not asked for again");
        let events = stage.events().await;
        let lost: Vec<_> = events.iter().filter(|event| event.kind == types::METRIC_LOST).collect();
        assert_eq!(lost.len(), 1);
        assert_eq!(lost[0].data["metric"], "saved");
        let row = stage.row(Sim::Instagram, 0, date(19)).await.expect("a row");
        assert!(integer(&row, "likes").is_some(), "the other metrics are there: {row:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_artist_who_withdraws_consent_is_excluded() {
    each_database(async |_store: Store, url: &str| {
        let stage = Stage::set(url, small(3), |_| {}).await;
        let artist = ArtistId(stage.simulator.world().artist(1).id);
        let withdrawal = Consent {
            artist_id: artist,
            platform: platform("youtube"),
            granted: false,
            scope: "metrics".to_owned(),
            source: "operator".to_owned(),
            recorded_at: stage.host.clock().now(),
        };
        stage.host.store().consents_record(&Scope::all_tenants(), &[withdrawal]).await.expect("consents are recorded");
        let report = stage.run_some(date(18), &["youtube", "spotify"]).await;
        assert_eq!((report.run.counts.collected, report.run.counts.excluded, report.run.counts.failed), (5, 1, 0));
        assert_eq!(report.run.status, RunStatus::Success, "an exclusion is neither success nor failure");
        assert!(stage.row(Sim::Youtube, 1, date(18)).await.is_none());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_secret_is_stored_or_shown_in_plain_text() {
    each_database(async |_store: Store, url: &str| {
        let stage =
            Stage::set(url, SimulatorConfig { troubles: true, remember_requests: 5_000, ..small(25) }, |_| {}).await;
        let report = stage.run(date(18)).await;
        let mut canaries: Vec<String> = Vec::new();
        let world = stage.simulator.world();
        let credentials =
            world.operator_credentials().into_iter().chain((0..25).flat_map(|index| world.artist_credentials(index)));
        for credential in credentials {
            match serde_json::from_str::<Json>(&credential.value) {
                Ok(Json::Object(fields)) => canaries.extend(
                    ["client_secret", "refresh_token", "private_key_pem"]
                        .iter()
                        .filter_map(|field| fields.get(*field)?.as_str().map(str::to_owned)),
                ),
                _ => canaries.push(credential.value),
            }
        }
        // Access tokens that the host obtained, as the simulator saw them arrive.
        for request in stage.simulator.requests() {
            for (name, value) in &request.headers {
                if name == "authorization" {
                    canaries.push(value.split(' ').next_back().expect("a value").to_owned());
                }
            }
        }
        canaries.sort();
        canaries.dedup();
        assert!(canaries.len() > 50, "{} canaries", canaries.len());
        assert!(canaries.iter().all(|canary| canary.len() >= 8), "a short canary proves nothing");

        let mut haystack = String::new();
        haystack.push_str(&format!("{report:?}"));
        haystack.push_str(&stage.traces().await.to_string());
        let store = stage.host.store();
        haystack.push_str(&format!("{:?}", stage.events().await));
        haystack.push_str(&format!(
            "{:?}",
            store.run_outcomes_list(&Scope::all_tenants(), report.run.id, None, 10_000).await.expect("outcomes")
        ));
        haystack.push_str(&format!("{:?}", stage.host.config()));
        for canary in &canaries {
            assert!(!haystack.contains(canary.as_str()), "a secret is in stored data or output");
        }
        // The database as it lies on the disk, sealed credentials included.
        if let Some(path) = url.strip_prefix("sqlite://") {
            let path = path.split('?').next().expect("a path");
            for file in [path.to_owned(), format!("{path}-wal")] {
                let Ok(bytes) = std::fs::read(&file) else { continue };
                for canary in &canaries {
                    assert!(!holds(&bytes, canary), "a secret is on the disk");
                }
            }
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_failing_account_affects_only_itself() {
    each_database(async |_store: Store, url: &str| {
        let stage = Stage::bare(url, small(1), |_| {}).await;
        stage.host.install(&components::guest("panics_on_account")).await.expect("the guest installs");
        stage.import_for_guest("guest", 40, "poison").await;
        let report = stage.run_some(date(18), &["guest"]).await;
        assert_eq!((report.run.counts.collected, report.run.counts.failed), (39, 1), "{:?}", report.platforms);
        assert_eq!(report.platforms[0].failures.get("trapped"), Some(&1));
        // What it wrote before it trapped is found by the account, although no call with it answered.
        let all = Scope::all_tenants();
        let accounts = stage.host.store().accounts_list(&all, &AccountFilter::default()).await.expect("accounts");
        let poison = accounts.iter().find(|account| account.platform_id == "poison").expect("it is there");
        let filter = PluginLogFilter { account: Some(poison.id), ..PluginLogFilter::default() };
        let lines = stage.host.store().plugin_logs_list(&all, &filter).await.expect("lines");
        let panics = lines.iter().filter(|line| line.message.contains("this account is poisonous"));
        assert!(panics.clone().count() >= 1, "{lines:?}");
        assert!(panics.clone().all(|line| line.call.as_deref() == Some("fetch") && line.level == "error"), "{lines:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_is_late_only_if_it_had_all_of_a_batchs_time_for_itself() {
    each_database(async |store: Store, url: &str| {
        let stage = Stage::bare(url, small(1), |config| {
            config.collection.batch_deadline_ms = 8_000;
            config.collection.attempts_max = 1;
        })
        .await;
        // Without credentials, so that none is missing.
        let guest = variant_of(&components::guest("adversary"), "1.0.1", |manifest| {
            let (before, rest) = manifest.split_once("[[credential]]").expect("credentials");
            let (_, metrics) = rest.split_once("[[metric]]").expect("metrics");
            *manifest = format!("{before}[[metric]]{metrics}");
        });
        stage.host.install(&guest).await.expect("the guest installs");
        stage.import_for_guest("adversary", 3, "wait-for-ever").await;
        let report = stage.run_some(date(18), &["adversary"]).await;
        assert_eq!((report.run.counts.collected, report.run.counts.failed), (2, 1), "{:?}", report.platforms);
        let outcomes = store.run_outcomes_list(&Scope::all_tenants(), report.run.id, None, 10).await;
        let failed = outcomes.expect("outcomes are read").into_iter().find_map(|outcome| match outcome.outcome {
            Outcome::Failed { class: FailureClass::TimedOut, message } => Some(message),
            _ => None,
        });
        // Its call beside others, of four seconds, and the one of its turn after that are not held against it.
        let message = failed.expect("it was late");
        let waited: u64 = message.split(' ').find_map(|word| word.parse().ok()).expect("a time in milliseconds");
        assert!(waited > 4_000, "{message}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disabled_account_is_not_collected() {
    each_database(async |_store: Store, url: &str| {
        let stage = Stage::set(url, small(2), |_| {}).await;
        let store = stage.host.store();
        let filter = AccountFilter { platform: Some(platform("spotify")), ..AccountFilter::default() };
        let account = store.accounts_list(&Scope::all_tenants(), &filter).await.expect("accounts").remove(0);
        store
            .account_set_status(&Scope::all_tenants(), account.id, AccountStatus::Disabled, stage.host.clock().now())
            .await
            .expect("set");
        let plan = stage
            .host
            .planner()
            .plan(&RunRequest { platforms: vec![platform("spotify")], ..Default::default() })
            .await
            .expect("a plan");
        assert_eq!((plan.total.accounts, plan.total.batches), (1, 1));
        assert_eq!(plan.platforms[0].excluded.get("account_disabled"), Some(&1));
        assert!(
            store.runs_list(&Scope::all_tenants(), 10, None).await.expect("runs").is_empty(),
            "a plan writes nothing"
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_that_cannot_be_collected_at_all_ends_its_run_as_failed() {
    each_database(async |_store: Store, url: &str| {
        let stage = Stage::set(url, small(3), |_| {}).await;
        let request = RunRequest {
            trigger: "test".to_owned(),
            date: Some(date(18)),
            due: None,
            platforms: vec![platform("spotify"), platform("youtube")],
            artists: Vec::new(),
        };
        let lose_a_release = |progress: Progress| {
            if let Progress::Planned { .. } = progress {
                let lose = write(url, "DELETE FROM releases WHERE platform = 'youtube'");
                tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(lose));
            }
        };
        let report = stage.host.run(&request, &lose_a_release).await.expect("the run ends");
        assert_eq!((report.run.counts.collected, report.run.counts.failed), (3, 3), "{:?}", report.platforms);
        assert_eq!(report.run.status, RunStatus::PartialFailure);
        assert!(report.run.finished_at.is_some(), "no batch is left open");
        let outcomes = stage
            .host
            .store()
            .run_outcomes_list(&Scope::all_tenants(), report.run.id, None, 100)
            .await
            .expect("outcomes");
        let failed: Vec<_> = outcomes.iter().filter(|outcome| outcome.platform == platform("youtube")).collect();
        assert_eq!(failed.len(), 3);
        for outcome in failed {
            let Outcome::Failed { class: FailureClass::Internal, message } = &outcome.outcome else {
                panic!("{outcome:?}")
            };
            assert!(message.contains("install it again"), "{message}");
            assert_eq!(outcome.attempts, 3, "the usual number of attempts");
        }
        let completed = stage.events().await.iter().filter(|event| event.kind == types::RUN_COMPLETED).count();
        assert_eq!(completed, 1);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_client_of_the_operator_makes_no_artist_reconnect() {
    each_database(async |_store: Store, url: &str| {
        let stage = Stage::set(url, small(3), |_| {}).await;
        let store = stage.host.store();
        let filter = CredentialFilter { platform: Some(platform("tiktok")), ..CredentialFilter::default() };
        let credentials = store.credentials_list(&Scope::all_tenants(), &filter).await.expect("credentials are listed");
        let client = credentials.iter().find(|credential| credential.account_id.is_none()).expect("the client");
        assert!(store.credential_remove(&Scope::all_tenants(), client.id).await.expect("it is removed"));

        let report = stage.run_some(date(18), &["tiktok"]).await;
        assert_eq!(report.run.status, RunStatus::Failed);
        let outcomes =
            store.run_outcomes_list(&Scope::all_tenants(), report.run.id, None, 100).await.expect("outcomes");
        assert_eq!(outcomes.len(), 3);
        for outcome in outcomes {
            let Outcome::Failed { class: FailureClass::Misconfigured, message } = &outcome.outcome else {
                panic!("{outcome:?}")
            };
            assert!(message.contains(&client.slot) && message.contains("credentials set"), "{message}");
        }
        let accounts = store
            .accounts_list(
                &Scope::all_tenants(),
                &AccountFilter { platform: Some(platform("tiktok")), ..AccountFilter::default() },
            )
            .await
            .expect("accounts");
        assert!(accounts.iter().all(|account| account.status == AccountStatus::Active));
        assert!(!stage.events().await.iter().any(|event| event.kind == types::RECONNECT_NEEDED));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_credential_that_can_not_be_read_is_not_said_to_be_missing() {
    each_database(async |store: Store, url: &str| {
        if store.kind() == DatabaseKind::Postgres {
            return; // its types keep such a row out
        }
        let stage = Stage::set(url, small(2), |_| {}).await;
        write(url, "UPDATE credentials SET updated_at = 'then' WHERE platform = 'youtube'").await;
        let report = stage.run_some(date(18), &["youtube"]).await;
        let listed = store.run_outcomes_list(&Scope::all_tenants(), report.run.id, None, 100).await;
        let outcomes = listed.expect("outcomes");
        assert_eq!(outcomes.len(), 2);
        for outcome in outcomes {
            let Outcome::Failed { class: FailureClass::Misconfigured, message } = &outcome.outcome else {
                panic!("{outcome:?}")
            };
            assert!(message.contains("updated_at is 'then'"), "{message}");
            assert_eq!(outcome.attempts, 1, "no retry reads it");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_earlier_run_that_someone_holds_keeps_the_next_one_from_nothing() {
    each_database(async |store: Store, url: &str| {
        if store.kind() == DatabaseKind::Sqlite {
            return; // it locks no rows
        }
        let stage = Stage::set(url, small(1), |config| config.database.lock_timeout_ms = 500).await;
        let earlier = stage.run_some(date(18), &["youtube"]).await.run.id;
        // Its host was killed before it could write the end.
        write(url, "UPDATE runs SET finished_at = NULL, status = 'running'").await;
        let mut other = PgConnection::connect(url).await.expect("the database answers");
        let mut lock = other.begin().await.expect("a transaction");
        sqlx::query("SELECT id FROM runs FOR UPDATE").execute(&mut *lock).await.expect("the row is locked");

        stage.set_date(date(19));
        let report = stage.run_some(date(19), &["youtube"]).await;
        assert_eq!((report.run.status, report.run.counts.collected), (RunStatus::Success, 1));
        lock.rollback().await.expect("the row is free");
        stage.set_date(date(20));
        stage.run_some(date(20), &["youtube"]).await;
        let ended = store.run_get(&Scope::all_tenants(), earlier).await.expect("runs are read").expect("the run");
        assert!(ended.finished_at.is_some(), "the next run ends it");
    })
    .await;
}

/// Stores a row again with a value of it withheld, as a collection does that observed it at that time.
async fn withhold(
    stage: &Stage,
    row: &MetricsRow,
    metric: &str,
    value: i64,
    observed_at: DateTime<Utc>,
) -> Quarantined {
    let (store, now) = (stage.host.store(), stage.host.clock().now());
    let batch = Batch {
        id: BatchId::generate(),
        run_id: row.run_id,
        tenant: Tenant::default(),
        platform: row.platform.clone(),
        release: row.release,
        canary: false,
        window: row.window,
        accounts: vec![BatchAccount { account_id: row.account_id, metric_date: row.metric_date }],
        attempts: 0,
    };
    add_batches(store, &[batch], now).await;
    let ttl = std::time::Duration::from_secs(60);
    let lease = store.batch_lease(&Scope::all_tenants(), Some(row.run_id), None, "test", now, ttl).await;
    let held = Quarantined {
        id: uuid::Uuid::now_v7(),
        account_id: row.account_id,
        artist_id: row.artist_id,
        platform: row.platform.clone(),
        metric_date: row.metric_date,
        metric: metric.to_owned(),
        value: Value::Integer(value),
        rule: "count-negative".to_owned(),
        release: row.release,
        document_id: row.document_id,
        status: QuarantineStatus::Held,
        created_at: observed_at,
    };
    let result = AccountResult {
        account_id: row.account_id,
        artist_id: row.artist_id,
        platform: row.platform.clone(),
        metric_date: row.metric_date,
        outcome: Outcome::Collected,
        attempts: 1,
        document: None,
        stored: Some(StoredAccount {
            events: Vec::new(),
            row: row.clone(),
            state: None,
            withheld: vec![held.clone()],
            growth: Vec::new(),
        }),
        status: None,
        events: Vec::new(),
    };
    let result = BatchResult { accounts: vec![result], ..BatchResult::default() };
    let lease = lease.expect("leased").expect("it is free");
    store.batch_complete(&lease, result, now).await.expect("it is stored");
    held
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_released_value_replaces_an_older_value_but_no_newer_one() {
    each_database(async |_store: Store, url: &str| {
        let stage = Stage::set(url, small(1), |_| {}).await;
        stage.run_some(date(18), &["youtube"]).await;
        let row = stage.row(Sim::Youtube, 0, date(18)).await.expect("a row");
        let accepted = integer(&row, "total_views").expect("a number");
        // Rows as a later and an earlier collection of the same date would store them.
        for (hours, released, expected) in [(1, 11, 11), (-1, 22, 11)] {
            let current = stage.row(Sim::Youtube, 0, date(18)).await.expect("a row");
            let observed_at = row.observed_at + TimeDelta::hours(hours);
            let held = withhold(&stage, &current, "total_views", released, observed_at).await;
            stage.host.quarantine().release(&Scope::all_tenants(), held.id).await.expect("it is released");
            let row = stage.row(Sim::Youtube, 0, date(18)).await.expect("a row");
            assert_eq!(integer(&row, "total_views"), Some(expected), "accepted before: {accepted}; {hours} h");
        }
    })
    .await;
}
