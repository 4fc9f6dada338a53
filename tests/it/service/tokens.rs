//! Tests of tokens: several hosts refresh them, expiry is announced, dead ones are reported, and none is lost in a
//! crash.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use backline::config::Config;
use backline::pipeline::Host;
use backline::pipeline::service::Service;
use backline_model::event::types;
use backline_model::{AccountId, AccountStatus, ArtistId, Event, FailureClass, Outcome, Tenant};
use backline_simulator::{Fault, FaultKind, RetryAfter, SimulatorConfig, Trait};
use backline_store::{CredentialFilter, DatabaseKind, Scope, SealedCredential, Store};
use base64::Engine as _;
use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use serde_json::json;
use tokio::runtime::Runtime;

use crate::support::bytes::holds;
use crate::support::components;
use crate::support::database::{each_database, write};
use crate::support::host::HostExt as _;
use crate::support::http::{Asked, Server, answer};
use crate::support::stage::{Stage, noon, platform};

const TIKTOK_TOKEN: &str = "POST /v2/oauth/token/";
const INSTAGRAM_TOKEN: &str = "GET /refresh_access_token";
const SPOTIFY_TOKEN: &str = "POST /api/token";

fn day() -> NaiveDate {
    NaiveDate::from_ymd_opt(2026, 11, 18).expect("a date")
}

fn small(artists: u32) -> SimulatorConfig {
    SimulatorConfig { artists, date: day(), ..SimulatorConfig::default() }
}

fn after(hours: i64, minutes: i64) -> DateTime<Utc> {
    noon(day()) + TimeDelta::hours(hours) + TimeDelta::minutes(minutes)
}

/// The date of the host's clock.
fn today(stage: &Stage) -> NaiveDate {
    stage.host.clock().now().date_naive()
}

/// Sets the clocks of host and platforms.
fn go_to(stage: &Stage, time: DateTime<Utc>) {
    stage.simulator.set_now(time);
    stage.set_time(time);
}

/// Another host on the same database, with the same clock.
async fn another(stage: &Stage, change: impl FnOnce(&mut Config)) -> Host {
    let mut config = stage.host.config().clone();
    change(&mut config);
    Host::open(config, stage.host.clock().clone()).await.expect("another host opens")
}

/// A stage with one artist's TikTok credential only, whose token was exchanged at noon.
async fn tiktok_only(url: &str, simulator: SimulatorConfig, state: Option<&Path>) -> Stage {
    let stage = Stage::set(url, simulator, |config| config.service.state_dir = state.map(Path::to_owned)).await;
    let store = stage.host.store();
    for credential in store
        .credentials_list(&Scope::all_tenants(), &CredentialFilter::default())
        .await
        .expect("credentials are listed")
    {
        if credential.platform != platform("tiktok") {
            store.credential_remove(&Scope::all_tenants(), credential.id).await.expect("it is removed");
        }
    }
    let report = stage.host.refresh_credentials().await.expect("a round");
    assert_eq!((report.refreshed, report.failed, report.dead), (1, 0, 0), "{report:?}");
    stage
}

fn account(stage: &Stage, name: &str, index: u32) -> AccountId {
    let artist = stage.simulator.world().artist(index);
    let id = if name == "tiktok" { &artist.tiktok_open_id } else { &artist.instagram_user_id };
    AccountId::of(ArtistId(artist.id), &platform(name), id)
}

async fn status(stage: &Stage, account: AccountId) -> AccountStatus {
    stage
        .host
        .store()
        .account_get(&Scope::all_tenants(), account)
        .await
        .expect("accounts are read")
        .expect("the account")
        .status
}

async fn credential(stage: &Stage, name: &str, account: AccountId) -> SealedCredential {
    let found = stage.host.store().credential_get(&Scope::all_tenants(), &platform(name), "user", Some(account)).await;
    found.expect("credentials are read").expect("the credential")
}

async fn events_of(stage: &Stage, kind: &str, account: AccountId) -> Vec<Event> {
    let mut events = stage.events().await;
    events.retain(|event| event.kind == kind && event.data["account_id"] == json!(account));
    events
}

fn asked(stage: &Stage, operation: &str) -> u64 {
    stage.simulator.counts().operation(operation)
}

/// Maximum wait on a slow machine.
const WAIT_MAX: Duration = Duration::from_secs(180);

/// Waits until a condition holds.
async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    crate::support::fleet::until(WAIT_MAX, what, async || is_so().then_some(())).await;
}

/// Makes the database refuse or accept new tokens.
async fn refuse_saves(store: &Store, url: &str, refuse: bool) {
    let statements: &[&str] = match (store.kind(), refuse) {
        (DatabaseKind::Sqlite, true) => &["CREATE TRIGGER refuse BEFORE UPDATE OF version ON credentials
                 BEGIN SELECT RAISE(ABORT, 'refused by the test'); END"],
        (DatabaseKind::Sqlite, false) => &["DROP TRIGGER refuse"],
        (DatabaseKind::Postgres, true) => &[
            "CREATE FUNCTION refuse() RETURNS TRIGGER LANGUAGE plpgsql AS
                 $$ BEGIN RAISE EXCEPTION 'refused by the test'; END $$",
            "CREATE TRIGGER refuse BEFORE UPDATE OF version ON credentials FOR EACH ROW EXECUTE FUNCTION refuse()",
        ],
        (DatabaseKind::Postgres, false) => &["DROP TRIGGER refuse ON credentials", "DROP FUNCTION refuse"],
    };
    for statement in statements {
        write(url, statement).await;
    }
}

/// A host in its own runtime, so that all its tasks end at once, like those of a killed process.
struct Doomed(Option<Runtime>);

impl Doomed {
    /// Opens a host and starts a refresh round.
    fn keeps(stage: &Stage, state: Option<&Path>) -> Self {
        let mut config = stage.host.config().clone();
        config.service.state_dir = state.map(Path::to_owned);
        let clock = stage.host.clock().clone();
        let runtime = Runtime::new().expect("a runtime");
        drop(runtime.spawn(async move {
            let host = Host::open(config, clock).await.expect("the doomed host opens");
            host.refresh_credentials().await
        }));
        Self(Some(runtime))
    }

    fn crash(mut self) {
        self.end();
    }

    fn end(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

impl Drop for Doomed {
    fn drop(&mut self) {
        self.end();
    }
}

/// Kills a host after the platform's response and before it is saved. With a state folder, the response is in the
/// journal first.
async fn crash_between_answer_and_save(stage: &Stage, store: &Store, url: &str, state: Option<&Path>) {
    refuse_saves(store, url, true).await;
    let answered = || stage.simulator.counts().statuses.get(&200).copied().unwrap_or_default();
    let before = answered();
    let doomed = Doomed::keeps(stage, state);
    match state {
        Some(state) => until("the answer is kept", || !kept_files(state).is_empty()).await,
        None => until("the platform has answered", || answered() > before).await,
    }
    doomed.crash();
    refuse_saves(store, url, false).await;
}

fn kept_files(state: &Path) -> Vec<std::path::PathBuf> {
    let Ok(files) = std::fs::read_dir(state.join("refreshes")) else { return Vec::new() };
    let mut paths: Vec<_> = files.flatten().map(|file| file.path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    paths
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_is_refreshed_at_half_life_by_one_of_two_hosts_without_any_batch() {
    each_database(async |_store: Store, url: &str| {
        let stage = Stage::set(url, small(8), |_| {}).await;
        let other = another(&stage, |_| {}).await;
        let round = async || {
            let (one, two) = futures::join!(stage.host.refresh_credentials(), other.refresh_credentials());
            let (one, two) = (one.expect("a round"), two.expect("a round"));
            assert_eq!((one.failed + two.failed, one.dead + two.dead), (0, 0), "{one:?} {two:?}");
            one.refreshed + two.refreshed
        };
        assert_eq!(round().await, 10, "eight of TikTok, Spotify's client, and Apple's developer token");
        assert_eq!((asked(&stage, TIKTOK_TOKEN), asked(&stage, SPOTIFY_TOKEN)), (8, 1));
        assert_eq!(round().await, 0, "no refresh is due");

        go_to(&stage, after(11, 59));
        round().await;
        assert_eq!((asked(&stage, TIKTOK_TOKEN), asked(&stage, SPOTIFY_TOKEN)), (8, 2), "an hour and a day");
        go_to(&stage, after(12, 0));
        round().await;
        assert_eq!(asked(&stage, TIKTOK_TOKEN), 16, "at half of their lifetime, each by one host");
        assert_eq!(asked(&stage, INSTAGRAM_TOKEN), 0, "not in the first 24 hours");
        go_to(&stage, after(24, 0));
        round().await;
        assert_eq!((asked(&stage, TIKTOK_TOKEN), asked(&stage, INSTAGRAM_TOKEN)), (24, 8));
        assert!(stage.host.store().runs_list(&Scope::all_tenants(), 1, None).await.expect("runs").is_empty());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hosts_whose_batches_need_the_same_token_ask_for_it_once() {
    each_database(async |_store: Store, url: &str| {
        let stage = Arc::new(Stage::set(url, small(1), |_| {}).await);
        let other = another(&stage, |_| {}).await;
        let slow = Fault::once(FaultKind::Latency { ms: 500 }).on_path("/v2/oauth/token/");
        stage.simulator.set_faults(vec![slow]);
        let request = backline::pipeline::collection::report::RunRequest {
            trigger: "test".to_owned(),
            date: Some(day()),
            due: None,
            platforms: vec![platform("tiktok")],
            artists: Vec::new(),
        };
        let (one, two) = futures::join!(stage.run_some(today(&stage), &["tiktok"]), async {
            other.run(&request, &|_| {}).await.expect("a run")
        });
        assert_eq!(
            (one.run.counts.collected, two.run.counts.collected),
            (1, 1),
            "{:?} {:?}",
            one.platforms,
            two.platforms
        );
        assert_eq!(asked(&stage, TIKTOK_TOKEN), 1, "the second host waited for the first one's token");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_endpoint_that_asks_for_a_wait_is_left_alone_by_every_host() {
    each_database(async |store: Store, url: &str| {
        // One batch after the other, so that the second one could know better.
        let stage = Stage::set(url, small(60), |config| config.collection.concurrency = 1).await;
        let begun = stage.host.clock().now();
        let asks = |path| {
            let kind = FaultKind::TooManyRequests { retry_after: RetryAfter::Seconds(3_600) };
            Fault::always(kind).on_path(path)
        };
        stage.simulator.set_faults(vec![asks("/v2/oauth/token/"), asks("/api/token")]);
        let report = stage.run_some(today(&stage), &["tiktok", "spotify"]).await;
        let counts = report.run.counts;
        assert!(counts.deferred > 40 && counts.failed == 0 && counts.collected == 0, "{:?}", report.platforms);
        let asked_before = (asked(&stage, TIKTOK_TOKEN), asked(&stage, SPOTIFY_TOKEN));
        assert!(asked_before.0 <= 8, "no more than are under way at once: {asked_before:?}");
        assert_eq!(asked_before.1, 1, "one token is for all");
        let outcomes = store.run_outcomes_list(&Scope::all_tenants(), report.run.id, None, 1_000).await;
        let deferred = outcomes.expect("outcomes are read").into_iter().filter_map(|entry| match entry.outcome {
            Outcome::Deferred { until, .. } => Some((until, entry.attempts)),
            _ => None,
        });
        let (until, none) = (begun + TimeDelta::hours(1), 0);
        assert!(deferred.into_iter().all(|found| found == (until, none)), "no attempt is used up");

        // Another host knows it from the database.
        let other = another(&stage, |_| {}).await;
        let request = backline::pipeline::collection::report::RunRequest {
            trigger: "test".to_owned(),
            date: Some(day()),
            due: None,
            platforms: vec![platform("tiktok"), platform("spotify")],
            artists: Vec::new(),
        };
        let again = other.run(&request, &|_| {}).await.expect("a run").run.counts;
        assert_eq!((again.deferred, again.failed), (counts.deferred, 0));
        assert_eq!((asked(&stage, TIKTOK_TOKEN), asked(&stage, SPOTIFY_TOKEN)), asked_before, "nobody asks meanwhile");

        go_to(&stage, until + TimeDelta::minutes(1));
        stage.simulator.set_faults(Vec::new());
        let report = stage.run_some(today(&stage), &["tiktok", "spotify"]).await;
        assert_eq!((report.run.counts.collected, report.run.counts.deferred), (counts.deferred, 0));

        // What still works is used while the endpoint is left alone.
        go_to(&stage, after(15, 0));
        stage.simulator.set_faults(vec![asks("/v2/oauth/token/")]);
        let before = asked(&stage, TIKTOK_TOKEN);
        let report = stage.run_some(today(&stage), &["tiktok"]).await;
        assert_eq!((report.run.counts.deferred, report.run.counts.failed), (0, 0), "{:?}", report.platforms);
        assert!(report.run.counts.collected > 20, "{:?}", report.platforms);
        let tried = asked(&stage, TIKTOK_TOKEN) - before;
        assert!((1..=8).contains(&tried), "{tried} requests");
    })
    .await;
}

/// A TikTok that accepts no access token. `later` is what it waits for before it answers a token request after the
/// first `first` ones.
async fn refusing<F>(first: usize, later: impl Fn() -> F + Clone + Send + Sync + 'static) -> (Server, Arc<AtomicUsize>)
where
    F: Future<Output = ()> + Send + 'static,
{
    let granted = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&granted);
    let server = Server::start_slow(move |asked: Asked| {
        let (count, later) = (Arc::clone(&count), later.clone());
        async move {
            if !asked.target.starts_with("/v2/oauth/token/") {
                let error = json!({ "code": "access_token_invalid", "message": "not this one", "log_id": "1" });
                return answer(401, &[], json!({ "data": {}, "error": error }).to_string());
            }
            let number = count.fetch_add(1, Ordering::SeqCst);
            if number >= first {
                later().await;
            }
            let granted = json!({
                "access_token": format!("act.canary-access-{number:04}"),
                "expires_in": 86_400,
                "refresh_token": format!("rft.canary-refresh-{number:04}"),
                "refresh_expires_in": 31_536_000,
                "token_type": "Bearer",
            });
            answer(200, &[], granted.to_string())
        }
    })
    .await;
    (server, granted)
}

/// A stage whose TikTok is this server, with one account for each artist.
async fn refused_stage(url: &str, artists: u32, server: &Server, change: impl FnOnce(&mut Config)) -> Stage {
    let stage = Stage::bare(url, small(artists), |config| {
        for route in &mut config.gateway.routes {
            if route.origin.to_string() == "https://open.tiktokapis.com" {
                route.connect = server.base().parse().expect("a URL");
            }
        }
        config.gateway.retries_max = 0;
        change(config);
    })
    .await;
    stage.install(&["tiktok"]).await;
    stage.import_some(&["tiktok"], |_| Tenant::default()).await;
    stage
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refused_tokens_of_a_batch_are_refreshed_together() {
    const ACCOUNTS: u32 = 8;
    each_database(async |_store: Store, url: &str| {
        // No fresh token is granted before all of them are asked for.
        let all = Arc::new(tokio::sync::Barrier::new(ACCOUNTS as usize));
        let later = move || {
            let all = Arc::clone(&all);
            async move {
                all.wait().await;
            }
        };
        let (server, granted) = refusing(ACCOUNTS as usize, later).await;
        let stage = refused_stage(url, ACCOUNTS, &server, |_| {}).await;
        let report = stage.run_some(today(&stage), &["tiktok"]).await;
        assert_eq!(report.run.counts.failed, u64::from(ACCOUNTS), "{:?}", report.platforms);
        assert_eq!(granted.load(Ordering::SeqCst), 2 * ACCOUNTS as usize, "each is refreshed once");
        for index in 0..ACCOUNTS {
            let found = status(&stage, account(&stage, "tiktok", index)).await;
            assert_eq!(found, AccountStatus::ReconnectNeeded, "a fresh token was refused too: {index}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_token_is_refreshed_within_the_time_of_its_batch() {
    each_database(async |store: Store, url: &str| {
        let (server, granted) = refusing(1, std::future::pending::<()>).await;
        let stage = refused_stage(url, 1, &server, |config| {
            config.collection.batch_deadline_ms = 8_000;
            config.collection.attempts_max = 1;
        })
        .await;
        let report = stage.run_some(today(&stage), &["tiktok"]).await;
        assert_eq!((report.run.counts.failed, granted.load(Ordering::SeqCst)), (1, 2), "{:?}", report.platforms);
        let outcomes = store.run_outcomes_list(&Scope::all_tenants(), report.run.id, None, 10).await;
        let outcome = outcomes.expect("outcomes are read").remove(0).outcome;
        let Outcome::Failed { class: FailureClass::Unavailable, message } = outcome else { panic!("{outcome:?}") };
        assert!(message.contains("its batch's time ran out"), "{message}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_expiry_is_announced_once_at_14_7_and_1_days_and_only_the_nearest_if_seen_late() {
    each_database(async |_store: Store, url: &str| {
        let stage = Stage::set(url, small(2), |_| {}).await;
        let other = another(&stage, |_| {}).await;
        let broken = FaultKind::Status { status: 503, retry_after: RetryAfter::default() };
        stage.simulator.set_faults(vec![Fault::always(broken).on_path("/refresh_access_token")]);
        let end = noon(day()) + TimeDelta::days(30);
        for index in 0..2 {
            let account = account(&stage, "instagram", index);
            let token = stage.simulator.world().artist(index).instagram_token;
            // The second token expires twenty days later; it is first seen five days before its end.
            let end = end + TimeDelta::days(20 * i64::from(index));
            let secret = json!({ "token": token, "obtained_at": end - TimeDelta::days(60), "expires_at": end });
            let secret = secret.to_string();
            let set = stage.host.credentials().set(&platform("instagram"), "user", Some(account), &secret).await;
            set.expect("the token is set");
        }
        let days = async |index: u32| {
            let events = events_of(&stage, types::CREDENTIAL_EXPIRING, account(&stage, "instagram", index)).await;
            events.iter().map(|event| event.data["days"].as_i64().expect("days")).collect::<Vec<_>>()
        };
        for before in (0..=16).rev() {
            go_to(&stage, end - TimeDelta::days(before) - TimeDelta::minutes(30));
            stage.host.refresh_credentials().await.expect("a round");
            other.refresh_credentials().await.expect("a round");
            let expected: &[i64] = match before {
                14.. => &[],
                7..14 => &[14],
                1..7 => &[14, 7],
                _ => &[14, 7, 1],
            };
            assert_eq!(days(0).await, expected, "{before} days and half an hour before");
        }
        let event = &events_of(&stage, types::CREDENTIAL_EXPIRING, account(&stage, "instagram", 0)).await[0];
        let artist = stage.simulator.world().artist(0).id;
        assert_eq!(event.artist_id, Some(ArtistId(artist)));
        assert_eq!(
            event.data,
            json!({
                "account_id": account(&stage, "instagram", 0), "artist_id": artist, "platform": "instagram",
                "slot": "user", "expires_at": end, "days": 14,
            })
        );
        assert!(days(1).await.is_empty());
        for (before, expected) in [(5, vec![7]), (4, vec![7]), (1, vec![7, 1])] {
            go_to(&stage, end + TimeDelta::days(20 - before));
            stage.host.refresh_credentials().await.expect("a round");
            assert_eq!(days(1).await, expected, "{before} days before");
        }
        // A successful refresh moves the expiry, and the old one is not announced again.
        stage.simulator.set_faults(Vec::new());
        go_to(&stage, end + TimeDelta::days(19) + TimeDelta::hours(23));
        stage.simulator.set_now(noon(day()) + TimeDelta::days(2));
        stage.host.refresh_credentials().await.expect("a round");
        let fresh = credential(&stage, "instagram", account(&stage, "instagram", 1)).await;
        assert!(fresh.expires_at > Some(end + TimeDelta::days(70)), "{:?}", fresh.expires_at);
        assert_eq!(days(1).await, [7, 1]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_token_is_reported_once_and_its_account_is_excluded_until_it_is_reconnected() {
    each_database(async |_store: Store, url: &str| {
        let stage = Stage::set(url, SimulatorConfig { troubles: true, ..small(25) }, |_| {}).await;
        let world = stage.simulator.world();
        let index_of = |wanted: Trait| (0..25).find(|index| world.trait_of(*index) == Some(wanted)).expect("it occurs");
        let revoked = account(&stage, "tiktok", index_of(Trait::TiktokRevoked));
        let told = async |account| events_of(&stage, types::RECONNECT_NEEDED, account).await;

        // The refresh fails while a batch needs the token, and the batch fails too: there is one event.
        let report = stage.run_some(today(&stage), &["tiktok"]).await;
        assert_eq!(report.run.counts.excluded, 0);
        assert_eq!(status(&stage, revoked).await, AccountStatus::ReconnectNeeded);
        assert_eq!(credential(&stage, "tiktok", revoked).await.status, "dead");
        let events = told(revoked).await;
        let artist = ArtistId(world.artist(index_of(Trait::TiktokRevoked)).id);
        assert_eq!((events.len(), events[0].artist_id), (1, Some(artist)));
        assert_eq!(events[0].data, json!({ "account_id": revoked, "artist_id": artist, "platform": "tiktok" }));
        stage.host.refresh_credentials().await.expect("a round");
        let report = stage.run_some(today(&stage), &["tiktok"]).await;
        assert_eq!(report.run.counts.excluded, 1, "this account, and not the one without a scope");
        assert_eq!(told(revoked).await.len(), 1);

        // Reconnected, and dead again.
        let secret = json!({ "refresh_token": world.artist(index_of(Trait::TiktokRevoked)).tiktok_refresh_token });
        let set = stage.host.credentials().set(&platform("tiktok"), "user", Some(revoked), &secret.to_string()).await;
        assert_eq!(set.expect("it is set").status, "active");
        assert_eq!(status(&stage, revoked).await, AccountStatus::Active);
        let report = stage.host.refresh_credentials().await.expect("a round");
        assert_eq!(report.dead, 1, "{report:?}");
        assert_eq!(status(&stage, revoked).await, AccountStatus::ReconnectNeeded);
        assert_eq!(told(revoked).await.len(), 2);

        // The host considers this token valid. Only its use shows that it is not.
        let expired = account(&stage, "instagram", index_of(Trait::InstagramExpired));
        go_to(&stage, after(25, 0));
        let report = stage.host.refresh_credentials().await.expect("a round");
        assert_eq!(report.dead, 0, "{report:?}");
        assert_eq!(status(&stage, expired).await, AccountStatus::Active);
        stage.run_some(today(&stage), &["instagram"]).await;
        assert_eq!(status(&stage, expired).await, AccountStatus::ReconnectNeeded);
        assert_eq!(told(expired).await.len(), 1);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_after_a_rotation_is_recovered_from_the_journal() {
    each_database(async |store: Store, url: &str| {
        let state = tempfile::tempdir().expect("a folder");
        let stage = tiktok_only(url, small(1), Some(state.path())).await;
        let artist = account(&stage, "tiktok", 0);
        go_to(&stage, after(13, 0));
        crash_between_answer_and_save(&stage, &store, url, Some(state.path())).await;
        assert_eq!(asked(&stage, TIKTOK_TOKEN), 2);

        let files = kept_files(state.path());
        let text = std::fs::read_to_string(&files[0]).expect("the file");
        let sealed = serde_json::from_str::<serde_json::Value>(&text).expect("JSON")["sealed"].clone();
        let sealed =
            base64::engine::general_purpose::STANDARD.decode(sealed.as_str().expect("a text")).expect("base64");
        for word in ["refresh_token", "access", "canary", &stage.simulator.world().artist(0).tiktok_refresh_token] {
            assert!(!holds(&sealed, word) && !text.contains(word), "'{word}' can be read in {text}");
        }

        let reborn = another(&stage, |_| {}).await;
        let report = reborn.refresh_credentials().await.expect("a round");
        assert_eq!((report.replayed, report.refreshed, report.failed), (1, 0, 0), "{report:?}");
        assert_eq!(asked(&stage, TIKTOK_TOKEN), 2, "the platform's response was used");
        assert!(kept_files(state.path()).is_empty());
        assert_eq!(credential(&stage, "tiktok", artist).await.version, 3);
        // The account works: its rotated token is refreshed again, and it is collected.
        go_to(&stage, after(26, 0));
        assert_eq!(reborn.refresh_credentials().await.expect("a round").refreshed, 1);
        assert_eq!(stage.run_some(today(&stage), &["tiktok"]).await.run.counts.collected, 1);
        assert!(events_of(&stage, types::RECONNECT_NEEDED, artist).await.is_empty());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_excluded_because_of_a_crash_is_active_again_once_the_journal_is_read() {
    each_database(async |store: Store, url: &str| {
        let state = tempfile::tempdir().expect("a folder");
        let stage = tiktok_only(url, small(1), Some(state.path())).await;
        let artist = account(&stage, "tiktok", 0);
        go_to(&stage, after(13, 0));
        crash_between_answer_and_save(&stage, &store, url, Some(state.path())).await;

        // A host on another machine can't know the response, and the old token no longer works.
        let elsewhere = another(&stage, |config| config.service.state_dir = None).await;
        go_to(&stage, after(24, 30));
        assert_eq!(elsewhere.refresh_credentials().await.expect("a round").dead, 1);
        assert_eq!(status(&stage, artist).await, AccountStatus::ReconnectNeeded);

        let reborn = another(&stage, |_| {}).await;
        let report = reborn.refresh_credentials().await.expect("a round");
        assert_eq!((report.replayed, report.refreshed), (1, 0), "{report:?}");
        assert_eq!(status(&stage, artist).await, AccountStatus::Active);
        assert_eq!(credential(&stage, "tiktok", artist).await.status, "active");
        assert_eq!(stage.run_some(today(&stage), &["tiktok"]).await.run.counts.collected, 1);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_journal_is_read_before_a_request_and_discarded_if_a_newer_credential_is_stored() {
    each_database(async |store: Store, url: &str| {
        let state = tempfile::tempdir().expect("a folder");
        let stage = tiktok_only(url, small(1), Some(state.path())).await;
        let artist = account(&stage, "tiktok", 0);
        go_to(&stage, after(25, 0));
        crash_between_answer_and_save(&stage, &store, url, Some(state.path())).await;
        // Without a refresh loop, as in `backline run`, the batch reads the journal. It waits until the dead host's
        // lease expires.
        stage.set_time(after(25, 2));
        assert_eq!(stage.run_some(today(&stage), &["tiktok"]).await.run.counts.collected, 1);
        assert_eq!(asked(&stage, TIKTOK_TOKEN), 2);
        assert!(kept_files(state.path()).is_empty());

        go_to(&stage, after(38, 0));
        crash_between_answer_and_save(&stage, &store, url, Some(state.path())).await;
        let secret = json!({ "refresh_token": "set-by-the-operator" }).to_string();
        stage.host.credentials().set(&platform("tiktok"), "user", Some(artist), &secret).await.expect("it is set");
        let set = credential(&stage, "tiktok", artist).await;
        let reborn = another(&stage, |_| {}).await;
        assert_eq!(reborn.refresh_credentials().await.expect("a round").replayed, 0);
        assert!(kept_files(state.path()).is_empty());
        assert_eq!(credential(&stage, "tiktok", artist).await.sealed, set.sealed);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_token_survives_a_database_that_refuses_writes_for_a_while() {
    each_database(async |store: Store, url: &str| {
        let state = tempfile::tempdir().expect("a folder");
        let stage = tiktok_only(url, small(1), Some(state.path())).await;
        go_to(&stage, after(13, 0));
        refuse_saves(&store, url, true).await;
        let report = stage.host.refresh_credentials().await.expect("a round");
        assert_eq!((report.refreshed, report.failed), (0, 1), "{report:?}");
        refuse_saves(&store, url, false).await;
        let report = stage.host.refresh_credentials().await.expect("a round");
        assert_eq!((report.replayed, report.refreshed), (1, 0), "{report:?}");
        assert_eq!(asked(&stage, TIKTOK_TOKEN), 2);
        go_to(&stage, after(26, 0));
        assert_eq!(stage.host.refresh_credentials().await.expect("a round").refreshed, 1);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_on_a_copy_leaves_what_the_originals_host_kept() {
    each_database(async |store: Store, url: &str| {
        let (state, home, theirs) = (
            tempfile::tempdir().expect("a folder"),
            tempfile::tempdir().expect("a folder"),
            tempfile::tempdir().expect("a folder"),
        );
        let stage = tiktok_only(url, small(1), Some(state.path())).await;
        let original = another(&stage, |config| config.installation.folder = Some(home.path().to_owned())).await;
        original.installation().claim().await.expect("the database is claimed");
        go_to(&stage, after(13, 0));
        refuse_saves(&store, url, true).await;
        assert_eq!(original.refresh_credentials().await.expect("a round").failed, 1);
        refuse_saves(&store, url, false).await;
        let kept = kept_files(state.path());
        assert_eq!(kept.len(), 1, "{kept:?}");

        // Another folder for its installation, as the documents ask for, and the same one for what outlives a process.
        let copy = another(&stage, |config| config.installation.folder = Some(theirs.path().to_owned())).await;
        assert_eq!(copy.refresh_credentials().await.expect("a round").replayed, 0);
        assert_eq!(kept_files(state.path()), kept, "it is the original's");

        assert_eq!(original.refresh_credentials().await.expect("a round").replayed, 1);
        assert_eq!(kept_files(state.path()).len(), 0);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_journal_the_next_host_refreshes_after_the_lease_within_the_grace_period() {
    each_database(async |store: Store, url: &str| {
        let stage = tiktok_only(url, SimulatorConfig { tiktok_grace_seconds: 3_600, ..small(1) }, None).await;
        go_to(&stage, after(13, 0));
        crash_between_answer_and_save(&stage, &store, url, None).await;
        let next = another(&stage, |_| {}).await;
        let report = next.refresh_credentials().await.expect("a round");
        assert_eq!((report.refreshed, report.failed), (0, 0), "the dead host's lease is still valid: {report:?}");
        assert_eq!(asked(&stage, TIKTOK_TOKEN), 2);
        go_to(&stage, after(13, 2));
        assert_eq!(next.refresh_credentials().await.expect("a round").refreshed, 1);
        go_to(&stage, after(26, 0));
        assert_eq!(
            next.refresh_credentials().await.expect("a round").refreshed,
            1,
            "the token from the grace period is the newest"
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_neither_journal_nor_grace_an_account_is_collected_until_its_access_token_ends() {
    each_database(async |store: Store, url: &str| {
        let stage = tiktok_only(url, small(1), None).await;
        let artist = account(&stage, "tiktok", 0);
        go_to(&stage, after(13, 0));
        crash_between_answer_and_save(&stage, &store, url, None).await;
        let next = another(&stage, |_| {}).await;
        go_to(&stage, after(13, 2));
        let report = next.refresh_credentials().await.expect("a round");
        assert_eq!((report.failed, report.dead), (1, 0), "uncertain, not dead: {report:?}");
        assert_eq!(asked(&stage, TIKTOK_TOKEN), 3);
        assert_eq!(credential(&stage, "tiktok", artist).await.status, "active");
        let warned = events_of(&stage, types::CREDENTIAL_EXPIRING, artist).await;
        assert_eq!(warned.len(), 1, "only the artist can prevent the expiry");
        assert_eq!(warned[0].data["days"], 1);

        let report = stage.run_some(today(&stage), &["tiktok"]).await;
        assert_eq!(report.run.counts.collected, 1, "{:?}", report.platforms);
        assert_eq!(asked(&stage, TIKTOK_TOKEN), 3, "a batch does not refresh before the next attempt is due");
        go_to(&stage, after(23, 58));
        assert_eq!(next.refresh_credentials().await.expect("a round").failed, 1, "the refresh was retried");
        assert_eq!(status(&stage, artist).await, AccountStatus::Active);

        go_to(&stage, after(24, 0));
        assert_eq!(next.refresh_credentials().await.expect("a round").dead, 1);
        assert_eq!(status(&stage, artist).await, AccountStatus::ReconnectNeeded);
        assert_eq!(events_of(&stage, types::RECONNECT_NEEDED, artist).await.len(), 1);
        let report = stage.run_some(today(&stage), &["tiktok"]).await;
        let outcomes = stage
            .host
            .store()
            .run_outcomes_list(&Scope::all_tenants(), report.run.id, None, 10)
            .await
            .expect("outcomes");
        assert!(matches!(outcomes[0].outcome, Outcome::Excluded { .. }), "{outcomes:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_service_refreshes_credentials() {
    each_database(async |_store: Store, url: &str| {
        let stage = Stage::bare(url, small(1), |config| {
            config.schedules.clear();
            config.service.poll_ms = 10;
        })
        .await;
        stage.host.install(&components::plugin("spotify")).await.expect("it is installed");
        let credentials = stage.simulator.world().operator_credentials();
        let spotify = credentials.iter().find(|credential| credential.platform == "spotify").expect("Spotify's client");
        stage.host.credentials().set(&platform("spotify"), "app", None, &spotify.value).await.expect("it is set");
        let service = Service::start(stage.host.clone()).await.expect("it starts");
        until("it was exchanged", || asked(&stage, SPOTIFY_TOKEN) == 1).await;
        let saved = async || {
            let client =
                stage.host.store().credential_get(&Scope::all_tenants(), &platform("spotify"), "app", None).await;
            client.expect("credentials are read").expect("the client").refresh_at
        };
        crate::support::fleet::until(WAIT_MAX, "it was saved", async || {
            (saved().await == Some(after(0, 30))).then_some(())
        })
        .await;
        go_to(&stage, after(0, 30));
        until("it was exchanged again", || asked(&stage, SPOTIFY_TOKEN) == 2).await;
        service.stop().await;
        assert_eq!(saved().await, Some(after(1, 0)), "the refresh in progress was saved before the service stopped");
    })
    .await;
}
