//! Tests of grants: an update that asks for more waits for approval, one that does not is activated, and a revoked
//! grant applies from the next batch on.

use std::process::Output;
use std::sync::Arc;
use std::time::Duration;

use backline::config::Config;
use backline::pipeline::collection::report::RunRequest;
use backline::pipeline::service::Service;
use backline::pipeline::{Approve, Ended, Host, InstallError, InstallOptions, Revoke, RevokeError};
use backline_model::outcome::Exclusion;
use backline_model::{BatchState, Difference, Digest, Grant, Outcome, ReleaseState, Run, RunId, RunStatus, Tenant};
use backline_simulator::SimulatorConfig;
use backline_store::{BatchFilter, BatchView, Scope, Store};
use chrono::{Days, NaiveDate};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::support::components::plugin;
use crate::support::database::{each_database, write};
use crate::support::fleet::{Fleet, until};
use crate::support::host::HostExt as _;
use crate::support::http::{Asked, Server, answer};
use crate::support::stage::{Stage, platform};
use crate::support::variants::{forged_of, replace, variant};

/// Maximum wait for a condition on a busy machine.
const WAIT_MAX: Duration = Duration::from_secs(180);

const YOUTUBE: &str = "https://youtube.googleapis.com";

const MORE: &str =
    "[[host]]\norigin = \"https://more.example.com\"\nmethods = [\"GET\"]\nreason = \"Ages of fans\"\n\n[[credential]]";

fn date() -> NaiveDate {
    NaiveDate::from_ymd_opt(2026, 11, 18).expect("a day of November")
}

fn artists(artists: u32) -> SimulatorConfig {
    SimulatorConfig { artists, date: date(), ..SimulatorConfig::default() }
}

fn prompt(config: &mut Config) {
    config.service.poll_ms = 20;
    config.schedules.clear();
}

/// YouTube's connector with one more host.
fn asking_for_more(version: &str) -> Vec<u8> {
    variant("youtube", version, |manifest| *manifest = manifest.replacen("[[credential]]", MORE, 1))
}

/// Options of an install without a terminal and without prior consent.
fn unattended() -> InstallOptions {
    InstallOptions::default()
}

/// The table of releases.
async fn releases(host: &Host) -> String {
    format!("{:?}", host.store().releases_list().await.expect("releases are read"))
}

async fn active(host: &Host, name: &str) -> Option<String> {
    let release = host.store().active_release_get(&platform(name)).await.expect("releases are read");
    release.map(|release| release.manifest.connector.version.to_string())
}

/// Plans a run without collecting it.
async fn planned(host: &Host) -> backline_model::RunId {
    let request = RunRequest {
        trigger: "test".to_owned(),
        date: Some(date()),
        due: None,
        platforms: vec![platform("youtube")],
        artists: Vec::new(),
    };
    let stopped = CancellationToken::new();
    stopped.cancel();
    host.runs().run(&request, &|_| {}, &stopped).await.expect("the plan is written").run.id
}

async fn batches(store: &Store, run: RunId, state: BatchState) -> Vec<BatchView> {
    let filter = BatchFilter { run: Some(run), state: Some(state), ..BatchFilter::default() };
    store.batches_list(&Scope::all_tenants(), &filter).await.expect("batches are read")
}

fn said(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_update_that_adds_a_host_waits_shows_only_that_host_and_is_activated_once_approved() {
    each_database(async |store: Store, url: &str| {
        let stage = Stage::bare(url, artists(2), prompt).await;
        stage.install(&["youtube"]).await;
        stage.import_some(&["youtube"], |_| Tenant::default()).await;
        // Planned before the service starts, which would plan the first collections itself.
        let before = planned(&stage.host).await;
        let service = Service::start(stage.host.clone()).await.expect("the service starts");
        finished(&store, before).await;
        let fleet = Fleet::of(&stage, |_| {});
        let folder = tempfile::tempdir().expect("a folder");
        let update = folder.path().join("youtube-1.2.0.wasm");
        let component = asking_for_more("1.2.0");
        std::fs::write(&update, &component).expect("written");
        let command = |arguments: &[&str]| said(&fleet.command(arguments).output().expect("it runs"));

        let (code, shown, noted) = command(&["plugins", "install", update.to_str().expect("text")]);
        assert_eq!(shown, "+ GET https://more.example.com: Ages of fans\n", "{noted}");
        assert_eq!(code, Some(5), "{noted}");
        assert!(noted.contains("`backline plugins grant youtube 1.2.0`"), "{noted}");
        assert_eq!(active(&stage.host, "youtube").await.as_deref(), Some("1.1.0"));

        let (code, shown, noted) = command(&["plugins", "diff", "youtube", "1.2.0"]);
        assert_eq!((code, shown.as_str()), (Some(0), "+ GET https://more.example.com: Ages of fans\n"), "{noted}");
        let (code, _, noted) = command(&["plugins", "grant", "youtube", "1.2.0"]);
        assert_eq!(code, Some(2), "there is no terminal to ask: {noted}");
        assert!(noted.contains("+ GET https://more.example.com"), "{noted}");

        let (code, shown, noted) = command(&["plugins", "grant", "youtube", "1.2.0", "--yes"]);
        assert_eq!(code, Some(0), "{noted}");
        assert!(shown.contains("active for youtube"), "{shown}");
        let after = planned(&stage.host).await;
        finished(&store, after).await;
        let release_of = async |run| batches(&store, run, BatchState::Done).await[0].release;
        assert_eq!(release_of(before).await, Digest::of(&plugin("youtube")));
        assert_eq!(release_of(after).await, Digest::of(&component), "the same process collects with the update");
        let (_, shown, _) = command(&["plugins", "diff", "youtube"]);
        assert_eq!(shown, "", "the active release needs no further grant");
        let (_, listed, _) = command(&["plugins", "list", "--json"]);
        let listed: serde_json::Value = serde_json::from_str(&listed).expect("JSON");
        let update_listed = listed.as_array().expect("a list").iter().find(|release| release["version"] == "1.2.0");
        assert_eq!(update_listed.expect("listed")["source"], update.to_str().expect("text"));
        service.stop().await;
    })
    .await;
}

async fn finished(store: &Store, run: backline_model::RunId) {
    let run = until(WAIT_MAX, "the run is finished", async || {
        let run = store.run_get(&Scope::all_tenants(), run).await.expect("runs are read").expect("the run exists");
        run.finished_at.is_some().then_some(run)
    })
    .await;
    assert_eq!(run.status, RunStatus::Success, "{run:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_update_that_sends_a_secret_elsewhere_or_spends_more_waits_and_one_that_asks_for_less_goes_through() {
    each_database(async |_store: Store, url: &str| {
        let stage = Stage::bare(url, artists(1), prompt).await;
        stage.install(&["spotify"]).await;
        let hosts = "hosts = [\"https://api.spotify.com\"]";
        let two = |manifest: &mut String| {
            *manifest = manifest.replacen(
                "[[credential]]",
                "[[host]]\norigin = \"https://*.spotify.com\"\nmethods = [\"GET\"]\nreason = \"images\"\n\n\
                 [[credential]]",
                1,
            );
        };
        let wide = variant("spotify", "1.1.1", two);
        assert_eq!(install(&stage.host, &wide, &unattended()).await.0, Ended::Waiting);
        let approved = stage.host.releases().approve(Digest::of(&wide), &Approve::All).await.expect("approved");
        assert_eq!(approved.ended, Ended::Activated, "the approved release is activated");

        let more: [(&str, &str, &str, &str); 3] = [
            (
                "1.2.0",
                "accounts.spotify.com/api",
                "accounts.example.com/api",
                "+ secret app: tokens from https://accounts.example.com/api/token instead of \
                 tokens from https://accounts.spotify.com/api/token",
            ),
            (
                "1.2.1",
                hosts,
                "hosts = [\"https://api.spotify.com\", \"https://x.spotify.com\"]",
                "+ secret app: sent to https://x.spotify.com",
            ),
            ("1.2.2", "limit = 200000", "limit = 200001", "+ budget requests: 200001 units instead of 200000"),
        ];
        for (version, from, to, shown) in more {
            let update = variant("spotify", version, |manifest| {
                two(manifest);
                replace(manifest, from, to);
            });
            let (ended, difference) = install(&stage.host, &update, &unattended()).await;
            assert_eq!((ended, difference.to_string().as_str()), (Ended::Waiting, shown));
            assert_eq!(active(&stage.host, "spotify").await.as_deref(), Some("1.1.1"));
        }
        let less = variant("spotify", "1.3.0", |manifest| replace(manifest, "limit = 200000", "limit = 100"));
        let (ended, difference) = install(&stage.host, &less, &unattended()).await;
        assert_eq!(ended, Ended::Activated, "{difference}");
        let granted = stage.host.releases().active(&platform("spotify")).await.expect("active").grant;
        assert_eq!(granted.hosts.len(), 1, "a host that is no longer requested is no longer granted");
        assert_eq!(install(&stage.host, &variant("spotify", "1.3.1", two), &unattended()).await.0, Ended::Waiting);
    })
    .await;
}

async fn get(store: &Store, run: RunId) -> Run {
    store.run_get(&Scope::all_tenants(), run).await.expect("runs are read").expect("the run exists")
}

async fn install(host: &Host, component: &[u8], options: &InstallOptions) -> (Ended, Difference) {
    let installed = host.releases().install(component, options).await.unwrap_or_else(|error| panic!("{error}"));
    (installed.ended, installed.difference)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_over_a_public_suffix_is_installed_or_granted() {
    each_database(async |_store: Store, url: &str| {
        let stage = Stage::bare(url, artists(1), prompt).await;
        stage.install(&["youtube"]).await;
        let (manager, before) = (stage.host.releases(), releases(&stage.host).await);
        let wide = "[[host]]\norigin = \"https://*.github.io\"\nmethods = [\"GET\"]\nreason = \"x\"\n\n[[credential]]";
        let asking =
            forged_of(&plugin("youtube"), "9.0.0", |manifest| *manifest = manifest.replacen("[[credential]]", wide, 1));
        for approve in [Approve::Nothing, Approve::All] {
            let error =
                manager.install(&asking, &InstallOptions { approve, ..unattended() }).await.expect_err("refused");
            assert!(matches!(&error, InstallError::Hosts(_)), "{error}");
            assert!(error.to_string().contains("https://*.github.io"), "{error}");
        }
        assert!(matches!(manager.propose(&asking).await, Err(InstallError::Hosts(_))));

        // The connector asks for little; the grant file holds more.
        let active = manager.active(&platform("youtube")).await.expect("active");
        let mut grant = active.grant.clone();
        grant.hosts[0].origin = "https://*.co.uk".parse().expect("a pattern");
        let only = Approve::Only(grant);
        let error = manager.approve(active.digest, &only).await.expect_err("refused");
        assert!(matches!(&error, InstallError::Grant(_)), "{error}");
        let narrow = variant("youtube", "9.0.1", |_| {});
        let error = manager.install(&narrow, &InstallOptions { approve: only, ..unattended() }).await;
        assert!(matches!(error, Err(InstallError::Grant(_))));
        assert_eq!(releases(&stage.host).await, before, "something has changed");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_revocation_a_batch_in_flight_ends_and_none_follows() {
    each_database(async |store: Store, url: &str| {
        // The platform delays its responses, so that a batch stays in flight for as long as the test needs.
        let gate = Arc::new(Semaphore::new(0));
        let door = Arc::clone(&gate);
        let server = Server::start_slow(move |_: Asked| {
            let door = Arc::clone(&door);
            async move {
                drop(door.acquire().await);
                answer(200, &[("content-type", "application/json")], "{\"items\":[]}")
            }
        })
        .await;
        let connect = server.base();
        let stage = Stage::bare(url, artists(3), |config| {
            prompt(config);
            let routes = serde_json::json!([{ "origin": YOUTUBE, "connect": connect }]);
            config.gateway.routes = serde_json::from_value(routes).expect("routes");
            (config.collection.concurrency, config.collection.concurrency_max) = (1, 1);
        })
        .await;
        stage.install(&["youtube"]).await;
        // One batch per tenant.
        stage.import_some(&["youtube"], |index| Tenant::new(format!("tenant-{index}")).expect("a tenant")).await;
        let run = planned(&stage.host).await;
        let service = Service::start(stage.host.clone()).await.expect("the service starts");
        until(WAIT_MAX, "a batch is in flight", async || (!server.asked().is_empty()).then_some(())).await;

        // The revocation runs on another host, so this one learns about it from the database only.
        let other = stage.another_host(|_| {}).await;
        let revoked = other.releases().revoke("youtube", &Revoke::All, "a test").await.expect("revoked");
        assert_eq!((revoked.changed, revoked.emptied), (1, Vec::new()));
        gate.add_permits(1_000);
        let states = async || {
            let count = async |state| batches(&store, run, state).await.len();
            (count(BatchState::Done).await, count(BatchState::Leased).await, count(BatchState::Planned).await)
        };
        until(WAIT_MAX, "the batch in flight ends", async || (states().await.0 >= 1).then_some(())).await;
        let asked = server.asked().len();
        // What waited ends as excluded, so that the run does not stay open.
        until(WAIT_MAX, "the others are left out", async || (states().await == (3, 0, 0)).then_some(())).await;
        until(WAIT_MAX, "the run ends", async || get(&store, run).await.finished_at).await;
        let counts = get(&store, run).await.counts;
        assert_eq!((counts.failed, counts.excluded, counts.planned), (1, 2, 1));
        let outcomes = store.run_outcomes_list(&Scope::all_tenants(), run, None, 10).await.expect("outcomes are read");
        let left_out = Outcome::Excluded { reason: Exclusion::NoConnector };
        assert_eq!(outcomes.iter().filter(|outcome| outcome.outcome == left_out).count(), 2);
        assert_eq!(server.asked().len(), asked, "a request was sent without a grant");
        let revoked = store.releases_list().await.expect("releases are read").remove(0);
        assert_eq!((revoked.state, revoked.active, revoked.wanted), (ReleaseState::Revoked, false, true));
        let (ended, _) =
            install(&stage.host, &plugin("youtube"), &InstallOptions { approve: Approve::All, ..unattended() }).await;
        assert_eq!(ended, Ended::Refused, "installing the same bytes again restores no grant");

        let approved = other.releases().approve(revoked.digest, &Approve::All).await.expect("granted again");
        assert_eq!(approved.ended, Ended::Activated);
        let run = planned(&stage.host).await;
        until(WAIT_MAX, "the next run ends", async || get(&store, run).await.finished_at).await;
        let counts = get(&store, run).await.counts;
        assert_eq!((counts.failed, counts.excluded, counts.planned), (3, 0, 3), "all were asked for again");
        service.stop().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revoked_host_or_secret_is_not_used_by_the_next_batch() {
    each_database(async |_store: Store, url: &str| {
        let stage = Stage::bare(url, artists(2), prompt).await;
        stage.install(&["youtube"]).await;
        stage.import_some(&["youtube"], |_| Tenant::default()).await;
        let other = stage.another_host(|_| {}).await;
        let mut day = date();
        let mut collected = async || {
            day = day + Days::new(1);
            stage.set_date(day);
            stage.simulator.reset_counts();
            let report = stage.run_some(day, &["youtube"]).await;
            (report.platforms[0].counts.collected, stage.simulator.counts().requests)
        };
        let (all, requests) = collected().await;
        assert!(all == 2 && requests > 0, "{all} collected with {requests} requests");
        let digest = Digest::of(&plugin("youtube"));
        for what in [Revoke::Host(YOUTUBE.parse().expect("an origin")), Revoke::Slot("app".to_owned())] {
            other.releases().revoke("youtube", &what, "a test").await.expect("revoked");
            assert_eq!(collected().await, (0, 0), "{what:?}");
            let again = other.releases().revoke("youtube", &what, "a test").await;
            assert!(matches!(again, Err(RevokeError::NotRevocable { .. })), "{again:?}");
            let update =
                variant("youtube", if what == Revoke::Slot("app".to_owned()) { "1.1.2" } else { "1.1.1" }, |_| {});
            let (ended, difference) = install(&stage.host, &update, &unattended()).await;
            assert_eq!(
                (ended, difference.added.len()),
                (Ended::Waiting, 1),
                "an update restores no grant: {difference}"
            );
            other.releases().approve(digest, &Approve::All).await.expect("granted again");
            assert_eq!(collected().await.0, 2, "{what:?} granted again");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_grant_file_approves_what_it_lists() {
    each_database(async |_store: Store, url: &str| {
        let stage = Stage::bare(url, artists(1), prompt).await;
        let fleet = Fleet::of(&stage, |_| {});
        let folder = tempfile::tempdir().expect("a folder");
        let file = |name: &str, content: &[u8]| {
            let path = folder.path().join(name);
            std::fs::write(&path, content).expect("written");
            path.to_str().expect("text").to_owned()
        };
        let command = |arguments: &[&str]| said(&fleet.command(arguments).output().expect("it runs"));
        let component = file("youtube.wasm", &plugin("youtube"));
        let before = releases(&stage.host).await;
        let (code, _, noted) = command(&["plugins", "install", &component]);
        assert_eq!((code, releases(&stage.host).await), (Some(2), before.clone()), "{noted}");
        let wrong = file("wrong.toml", b"imports = []\n\n[[host]]\norigin = \"*\"\nmethods = [\"GET\"]\n");
        let (code, _, noted) = command(&["plugins", "install", &component, "--grant-file", &wrong]);
        assert_eq!((code, releases(&stage.host).await), (Some(2), before), "{noted}");
        assert!(noted.contains("wrong.toml is wrong in line") && noted.contains("is not an allowed origin"), "{noted}");

        let narrow = file("narrow.toml", b"[limits]\nunits = 77\n");
        let (code, shown, noted) = command(&["plugins", "install", &component, "--grant-file", &narrow]);
        assert_eq!(code, Some(5), "{noted}");
        assert!(shown.contains("+ GET https://youtube.googleapis.com") && shown.contains("+ secret app"), "{shown}");
        assert_eq!(active(&stage.host, "youtube").await, None);
        let (_, printed, _) = command(&["plugins", "grant", "youtube", "1.1.0", "--print"]);
        assert!(printed.contains("units = 77") && printed.starts_with("# What youtube 1.1.0 asks for"), "{printed}");
        let whole = file("whole.toml", printed.as_bytes());
        let (code, _, noted) = command(&["plugins", "install", &component, "--grant-file", &whole]);
        assert_eq!(code, Some(0), "{noted}");
        assert_eq!(active(&stage.host, "youtube").await.as_deref(), Some("1.1.0"));
        let (_, printed_again, _) = command(&["plugins", "grant", "youtube", "--print"]);
        let lines = |text: &str| text.lines().skip(1).map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(lines(&printed_again), lines(&printed), "the grant equals the grant file");
        let grant: Grant = toml::from_str(&printed).expect("a grant");
        assert_eq!(stage.host.releases().active(&platform("youtube")).await.expect("active").grant, grant);

        let more = file("more.wasm", &asking_for_more("1.2.0"));
        let (code, shown, _) = command(&["plugins", "install", &more, "--grant-file", &whole]);
        assert_eq!((code, shown.as_str()), (Some(5), "+ GET https://more.example.com: Ages of fans\n"));
        let (code, shown, _) = command(&["plugins", "inspect", "youtube", "1.2.0"]);
        assert!(code == Some(0) && shown.contains("State: waiting"), "{shown}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_component_changes_nothing() {
    each_database(async |_store: Store, url: &str| {
        let stage = Stage::bare(url, artists(1), prompt).await;
        stage.host.install(&variant("tiktok", "1.5.0", |_| {})).await.expect("installed");
        let before = releases(&stage.host).await;
        let agreed = InstallOptions { approve: Approve::All, ..unattended() };
        let refused = async |component: &[u8], options: &InstallOptions| {
            let refused = stage.host.releases().install(component, options).await;
            let refused = refused.map(|installed| installed.ended).expect_err("refused").to_string();
            assert_eq!(releases(&stage.host).await, before, "{refused}");
            refused
        };
        let below = variant("tiktok", "1.4.9", |_| {});
        let why = refused(&below, &agreed).await;
        assert!(why.contains("1.4.9 is below 1.5.0") && why.contains("--allow-downgrade"), "{why}");
        let other = variant("tiktok", "1.5.0", |manifest| replace(manifest, "batch_size = 20", "batch_size = 19"));
        let why = refused(&other, &agreed).await;
        assert!(why.contains("another digest") && why.contains("raise the version"), "{why}");
        let whole = plugin("tiktok");
        refused(&whole[..whole.len() / 2], &agreed).await;
        let budgets = [("nothing".to_owned(), 1)].into();
        let why = refused(&variant("tiktok", "1.6.0", |_| {}), &InstallOptions { budgets, ..agreed.clone() }).await;
        assert!(why.contains("user_info, video_list"), "{why}");
        // Installs the same bytes again.
        let same = install(&stage.host, &variant("tiktok", "1.5.0", |_| {}), &agreed).await;
        assert_eq!((same.0, releases(&stage.host).await), (Ended::Activated, before));

        let options = InstallOptions { allow_downgrade: true, ..agreed.clone() };
        assert_eq!(install(&stage.host, &below, &options).await.0, Ended::Activated);
        let options = InstallOptions { replace_same_version: true, ..agreed };
        assert_eq!(install(&stage.host, &other, &options).await.0, Ended::Activated);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_connector_of_a_platform_needs_approval_whatever_the_previous_one_was_granted() {
    each_database(async |_store: Store, url: &str| {
        let stage = Stage::bare(url, artists(1), prompt).await;
        stage.install(&["youtube"]).await;
        let rival = variant("youtube", "9.0.0", |manifest| replace(manifest, "name = \"youtube\"", "name = \"rival\""));
        let proposal = stage.host.releases().propose(&rival).await.expect("a connector");
        assert!(proposal.needs_approval() && proposal.before.is_none());
        let (ended, difference) = install(&stage.host, &rival, &unattended()).await;
        assert_eq!(ended, Ended::Waiting);
        assert!(difference.to_string().contains("+ GET https://youtube.googleapis.com"), "{difference}");
        assert_eq!(
            stage.host.releases().active(&platform("youtube")).await.expect("active").manifest.connector.name,
            "youtube"
        );
        assert!(
            !stage
                .host
                .releases()
                .propose(&variant("youtube", "1.1.1", |_| {}))
                .await
                .expect("a connector")
                .needs_approval()
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secret_can_be_set_before_the_release_that_needs_it_is_activated() {
    each_database(async |_store: Store, url: &str| {
        let stage = Stage::bare(url, artists(1), prompt).await;
        stage.install(&["youtube"]).await;
        let youtube = platform("youtube");
        let missing = stage.host.credentials().set(&youtube, "studio", None, "a-long-enough-key").await;
        let missing = missing.expect_err("no such slot");
        assert!(missing.to_string().contains("it has: app"), "{missing}");
        let slot = "[[credential]]\nslot = \"studio\"\nkind = \"api-key\"\nowner = \"operator\"\ninject = \"bearer\"\n\
                    hosts = [\"https://youtube.googleapis.com\"]\n\n[[credential]]";
        let update = variant("youtube", "1.2.0", |manifest| *manifest = manifest.replacen("[[credential]]", slot, 1));
        assert_eq!(install(&stage.host, &update, &unattended()).await.0, Ended::Waiting);
        stage.host.credentials().set(&youtube, "studio", None, "a-long-enough-key").await.expect("set");
        stage.host.credentials().set(&youtube, "app", None, "a-long-enough-key").await.expect("set");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_grant_of_an_earlier_version_is_read_and_stays_valid() {
    each_database(async |store: Store, url: &str| {
        let stage = Stage::bare(url, artists(1), prompt).await;
        stage.install(&["youtube"]).await;
        let now = stage.host.releases().active(&platform("youtube")).await.expect("active");
        let early = format!(
            "UPDATE releases SET imports = '[]', granted = '{}'",
            serde_json::json!({
                "host": [{ "origin": YOUTUBE, "methods": ["GET"] }], "slots": ["app"], "budgets": { "units": 55 },
            })
        );
        write(url, &early).await;
        let read = store.release_get(now.digest).await.expect("read").expect("it is there");
        assert_eq!((&read.grant.slots, read.grant.budgets["units"]), (&now.grant.slots, 55));
        assert!(read.grant.lets_use(&now.manifest.credentials[0]));
        let of_a_batch = store.grant_get(now.digest).await.expect("read").expect("it is there");
        assert_eq!(of_a_batch, (read.state, read.grant));
        assert_eq!(install(&stage.host, &asking_for_more("1.2.0"), &unattended()).await.1.added.len(), 1);
        let (ended, difference) = install(&stage.host, &variant("youtube", "1.1.1", |_| {}), &unattended()).await;
        assert_eq!(ended, Ended::Activated, "{difference}");
        let after = stage.host.releases().active(&platform("youtube")).await.expect("active");
        assert_eq!(after.grant.budgets["units"], 55, "the operator's limit stays");
        assert!(!after.imports.is_empty());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revocation_names_the_release_whose_grant_can_not_be_read() {
    each_database(async |_store: Store, url: &str| {
        let stage = Stage::bare(url, artists(1), prompt).await;
        stage.install(&["youtube"]).await;
        write(url, "UPDATE releases SET granted = '{\"odd\": 1}'").await;
        let taken = Revoke::Slot("app".to_owned());
        let revoked = stage.host.releases().revoke("youtube", &taken, "a test").await.expect("revoked");
        let digest = Digest::of(&plugin("youtube")).to_string();
        assert_eq!((revoked.changed, revoked.emptied), (1, vec![digest]));
    })
    .await;
}
