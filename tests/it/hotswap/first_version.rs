//! Tests that connectors of the first version, which `tests/fixtures/first-version` has as they were built, collect.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use backline::pipeline::{ActivateOptions, Approve, Ended, InstallOptions};
use backline_component::inspect;
use backline_model::{Digest, Engagement, EngagementBasis, MetricName, MetricsRow, Release, RunStatus};
use backline_simulator::{Expected, Platform as Sim, PostStats, SimulatorConfig, World};
use backline_store::{MetricsFilter, Scope, Store};
use chrono::NaiveDate;

use crate::pipeline::assert_truth;
use crate::support::components::{plugin, workspace};
use crate::support::database::each_database;
use crate::support::stage::Stage;

/// Each connector with its platform and the SHA-256 of its component.
const COMPONENTS: [(&str, &str, &str); 5] = [
    ("apple-music", "apple_music", "5ec3c34ff24d0334b4b4fb458614a98706eaed9aa9e8f69faf4b0a6a171717cf"),
    ("instagram", "instagram", "f3cee9993261832331fdc68d7be6b1b6783ddd791da1cd7c55458c11072579c9"),
    ("spotify", "spotify", "ce8d65a80b457dea6b1632d0e66c164da17a3a18bf873804b390a01b694910f1"),
    ("tiktok", "tiktok", "1efe33a49fc768acc740b359ee765f36c427e2af6deb88d405d44897a38fce66"),
    ("youtube", "youtube", "e50f7fdafbd7170530a02a5f6ccd83ce8ee0933f422590b57a25715030209673"),
];

/// SHA-256 of the contract that they are built against, as it was published.
const CONTRACT: &str = "7594fe7b99d84e1130ef02d810cf2a84ffa7d83aa1cfb5105b246dd083b7d300";

/// Artists, each with an account on all five platforms.
const ARTISTS: u32 = 25;

/// Two days of November: on the second one, each account comes with the state of the first.
const DAYS: [u32; 2] = [18, 19];

fn folder() -> PathBuf {
    workspace().join("tests/fixtures/first-version")
}

fn component(name: &str) -> Vec<u8> {
    let path = folder().join(format!("{name}.wasm"));
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn date(day: u32) -> NaiveDate {
    NaiveDate::from_ymd_opt(2026, 11, day).expect("a day of November")
}

fn simulated() -> SimulatorConfig {
    SimulatorConfig { artists: ARTISTS, date: date(DAYS[0]), ..SimulatorConfig::default() }
}

#[test]
fn the_first_version_and_its_contract_are_kept_byte_for_byte() {
    let told = std::fs::read_to_string(folder().join("README.md")).expect("it says how they were built");
    for (name, platform, digest) in COMPONENTS {
        let component = component(name);
        assert_eq!(Digest::of(&component).to_string(), digest, "{name} is not what was built");
        assert!(told.contains(digest), "README.md has another digest for {name}");
        let inspection = inspect(&component).unwrap_or_else(|error| panic!("{name}: {error}"));
        let info = &inspection.manifest.connector;
        assert_eq!((info.name.as_str(), info.platform.as_str()), (name, platform));
        assert_eq!((info.version.to_string().as_str(), inspection.wit_version.as_str()), ("1.0.0", "1.0.0"), "{name}");
        let today = inspect(&plugin(name)).unwrap_or_else(|error| panic!("today's {name}: {error}"));
        assert!(today.manifest.connector.version > info.version, "{name}: other bytes under the same version");
        let interfaces = ["http", "log", "types"].map(|interface| format!("backline:connector/{interface}@1.0.0"));
        let imports: BTreeSet<&String> = inspection.imports.iter().collect();
        assert_eq!(imports, interfaces.iter().collect::<BTreeSet<_>>(), "{name}");
    }
    let contract = std::fs::read(workspace().join("wit/connector/1.0.0/connector.wit")).expect("it is published");
    assert_eq!(Digest::of(&contract).to_string(), CONTRACT, "a published contract never changes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connectors_of_the_first_version_collect_what_those_of_today_collect() {
    let file = tempfile::tempdir().expect("a folder");
    let url = format!("sqlite://{}", file.path().join("today.db").display());
    let today = collected(&Stage::set(&url, simulated(), |_| {}).await).await;
    each_database(async |_store: Store, url: &str| {
        let stage = Stage::bare(url, simulated(), |_| {}).await;
        let mut releases = Vec::new();
        for (name, ..) in COMPONENTS {
            releases.push(installed(&stage, name).await);
        }
        stage.import().await;
        let first = collected(&stage).await;
        expect_of(&releases, &first);
        expect_told_apart(&stage, &first);
        expect_simulated(&stage).await;
        expect_same(&first, &today);
    })
    .await;
}

/// Installs a component, grants what it asks for and activates it, each by itself.
async fn installed(stage: &Stage, name: &str) -> Release {
    let releases = stage.host.releases();
    let options = InstallOptions { activate: false, ..InstallOptions::default() };
    let installed = releases.install(&component(name), &options).await;
    let installed = installed.unwrap_or_else(|error| panic!("{name} is not installed: {error}"));
    assert_eq!(installed.ended, Ended::Waiting, "{name}: nothing is granted unasked");
    let digest = installed.release.digest;
    let granted = releases.approve(digest, &Approve::All).await;
    let granted = granted.unwrap_or_else(|error| panic!("{name} is not granted: {error}"));
    assert_eq!(granted.ended, Ended::Granted, "{name}");
    let activated = releases.activate(digest, &ActivateOptions::default()).await;
    let activated = activated.unwrap_or_else(|error| panic!("{name} is not activated: {error}"));
    assert_eq!((activated.release, activated.before), (digest, None), "{name}");
    granted.release
}

/// Collects the days on all platforms, and returns the rows by account and date.
async fn collected(stage: &Stage) -> Vec<MetricsRow> {
    let accounts = u64::from(ARTISTS) * 5;
    for day in DAYS {
        stage.set_date(date(day));
        let report = stage.run(date(day)).await;
        assert_eq!(report.run.status, RunStatus::Success, "on {day}: {:?}", report.platforms);
        assert_eq!((report.run.counts.planned, report.run.counts.collected), (accounts, accounts), "on {day}");
    }
    let filter = MetricsFilter { limit: Some(10_000), ..MetricsFilter::default() };
    let rows = stage.host.store().metrics_list(&Scope::all_tenants(), &filter).await;
    let mut rows = rows.expect("metrics are read");
    rows.sort_by_key(|row| (row.account_id, row.metric_date));
    rows
}

/// Checks that each row is of the release that is installed for its platform, and names all of its metrics.
fn expect_of(releases: &[Release], rows: &[MetricsRow]) {
    assert_eq!(rows.len(), ARTISTS as usize * releases.len() * DAYS.len());
    for row in rows {
        let release = releases.iter().find(|release| *release.platform() == row.platform);
        let release = release.unwrap_or_else(|| panic!("nothing is installed for {}", row.platform));
        assert_eq!((row.release, row.wit_version.as_str()), (release.digest, "1.0.0"), "{}", row.platform);
        for metric in release.manifest.metrics.iter().map(|metric| &metric.name) {
            let is_named = row.values.contains_key(metric) || row.absent.contains_key(metric);
            assert!(is_named, "{}: {metric} has neither a value nor a reason", row.platform);
        }
    }
}

/// Checks that answers in another order than that of the accounts would be seen: accounts share a call, and no two of
/// them have the same numbers.
fn expect_told_apart(stage: &Stage, rows: &[MetricsRow]) {
    let counts = stage.simulator.counts();
    for operation in ["GET /youtube/v3/channels", "GET /v1/artists", "GET /v1/catalog/{storefront}/artists"] {
        let asked = counts.operation(operation);
        assert!((1..=u64::from(ARTISTS)).contains(&asked), "{operation}: {asked} requests, so no batches");
    }
    let mut numbers: BTreeMap<(&str, NaiveDate), BTreeSet<String>> = BTreeMap::new();
    for row in rows {
        let of_day = numbers.entry((row.platform.as_str(), row.metric_date)).or_default();
        assert!(of_day.insert(format!("{:?}", row.values)), "two accounts of {} are alike", row.platform);
    }
    assert_eq!(numbers.len(), COMPONENTS.len() * DAYS.len());
}

/// Checks each row against what the simulated platform has of the account.
async fn expect_simulated(stage: &Stage) {
    let world = stage.simulator.world();
    for sim in Sim::ALL {
        for index in 0..ARTISTS {
            for day in DAYS {
                let what = format!("{} of artist {index} on {day}", sim.as_str());
                let row = stage.row(sim, index, date(day)).await.unwrap_or_else(|| panic!("there is no {what}"));
                assert_truth(&row, &expected(world, sim, index, &row), &what);
                if sim == Sim::Instagram {
                    assert_eq!(row.engagement, Some(engagement(world, index, &row)), "{what}");
                }
            }
        }
    }
}

/// What the first version reads of an account. It has no likes of posts on Instagram that hide them: only later ones
/// read these from the owner's insights.
fn expected(world: &World, sim: Sim, index: u32, row: &MetricsRow) -> Expected {
    let expected = world.expected_in(sim, index, row.metric_date, row.window.since, row.window.until);
    if sim != Sim::Instagram {
        return expected;
    }
    let likes: Vec<Option<i64>> = shown(world, index, row).iter().map(|post| post.likes).collect();
    let is_known = likes.is_empty() || likes.iter().any(Option::is_some);
    let likes: i64 = likes.into_iter().flatten().sum();
    Expected { likes: is_known.then_some(likes), ..expected }
}

/// Interactions with the posts on Instagram that show all four kinds of them.
fn engagement(world: &World, index: u32, row: &MetricsRow) -> Engagement {
    let posts = shown(world, index, row);
    let interactions = |post: &PostStats| Some(post.likes? + post.comments? + post.shares? + post.saved?);
    let counted: Vec<i64> = posts.iter().filter_map(interactions).collect();
    let number = |posts: usize| u32::try_from(posts).expect("one for each day at most");
    Engagement {
        interactions: counted.iter().sum(),
        base: world.followers(Sim::Instagram, index, row.metric_date),
        basis: EngagementBasis::Followers,
        posts_counted: number(counted.len()),
        posts_skipped: number(posts.len() - counted.len()),
    }
}

/// The posts of an Instagram account in the window of a row, as everyone sees them.
fn shown(world: &World, index: u32, row: &MetricsRow) -> Vec<PostStats> {
    let posts = world.posts_between(Sim::Instagram, index, row.window.since, row.window.until, row.metric_date);
    posts.into_iter().map(|post| world.post_stats(Sim::Instagram, index, post, row.metric_date)).collect()
}

/// Checks that the connectors of today store the same for all metrics that the first version names, except for two
/// that [`expect_simulated`] checks.
fn expect_same(first: &[MetricsRow], today: &[MetricsRow]) {
    assert_eq!(first.len(), today.len());
    let counts_more_today = |row: &MetricsRow, metric: &MetricName| {
        row.platform.as_str() == Sim::Instagram.as_str() && ["likes", "engagement_rate"].contains(&metric.as_str())
    };
    for (first, today) in first.iter().zip(today) {
        let what = format!("{} of {} on {}", first.platform, first.account_id, first.metric_date);
        assert_eq!((first.account_id, first.metric_date), (today.account_id, today.metric_date), "{what}");
        assert_eq!(first.window, today.window, "{what}");
        for metric in first.values.keys().chain(first.absent.keys()) {
            if counts_more_today(first, metric) {
                continue;
            }
            assert_eq!(first.values.get(metric), today.values.get(metric), "{what}: {metric}");
            assert_eq!(first.absent.get(metric), today.absent.get(metric), "{what}: {metric}");
            assert_eq!(first.coverage.get(metric), today.coverage.get(metric), "{what}: {metric}");
        }
    }
}
