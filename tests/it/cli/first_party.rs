//! The first-party connectors under the conformance checks, with answers of the simulated platforms as
//! `plugins try --record` writes them. `cargo xtask test --suite cli --long` tries every case of the checks.

use backline::config::Config;
use backline::pipeline::{CheckedWith, Sample, TrialRequest, check_component, try_component};
use backline_gateway::secrets::SecretText;
use backline_model::clock::Clock;
use backline_simulator::{HOSTS, Simulator, SimulatorConfig, World};
use chrono::{DateTime, NaiveTime, TimeDelta, Utc};
use serde_json::{Value as Json, json};

use crate::support::components::plugin;
use crate::support::long::is_long;

/// The part of the cases that is tried unless the run is a long one: all seven connectors then take under 40 s of CPU.
const SAMPLE: Sample = Sample { cases: 24, seed: 20_261_130 };

/// The simulated artists whose answers are recorded: as many as the checks need. The last one publishes every day.
const ARTISTS: [u32; 3] = [0, 1, 2];

/// What a connector is tried with.
struct Given {
    /// The platform's id of the account.
    account: String,
    settings: Json,
    slot: &'static str,
    secret: String,
}

/// What an operator would give for one simulated artist.
fn given(world: &World, connector: &str, index: u32, now: DateTime<Utc>) -> Given {
    let artist = world.artist(index);
    let of_operator = |platform: &str| {
        let found = world.operator_credentials().into_iter().find(|credential| credential.platform == platform);
        found.expect("the operator has a credential").value
    };
    // A trial refreshes none, since the platform may replace it.
    let tokens = |refresh: String, access: String| {
        let expires_at = now + TimeDelta::minutes(50);
        json!({ "refresh_token": refresh, "access_token": access, "obtained_at": now, "expires_at": expires_at })
            .to_string()
    };
    let (account, slot, secret) = match connector {
        "youtube" => (artist.youtube_channel_id, "app", world.youtube_api_key()),
        "spotify" => (artist.spotify_artist_id, "app", of_operator("spotify")),
        "apple-music" => (artist.apple_music_id, "app", of_operator("apple_music")),
        "instagram" => (artist.instagram_user_id, "user", artist.instagram_token),
        "instagram-business" => (world.instagram_name(index), "user", world.facebook_token()),
        "tiktok" => (artist.tiktok_open_id, "user", tokens(artist.tiktok_refresh_token, artist.tiktok_access_token)),
        "youtube-analytics" => {
            let access = world.google_access_token(index, now.timestamp());
            (artist.youtube_channel_id, "user", tokens(world.google_refresh_token(index), access))
        }
        other => panic!("{other} has no simulated platform"),
    };
    // A trial's window ends at noon. So it asks for the day before, whose numbers are taken for final at once.
    let of_the_day_before = json!({ "utc_offset_hours": 0, "final_after_days": 0 });
    let settings = if connector == "youtube-analytics" { of_the_day_before } else { json!({}) };
    Given { account, settings, slot, secret }
}

/// Records three accounts, and makes all checks with what was recorded.
async fn conforms(connector: &str) {
    let component = plugin(connector);
    let is_late = connector == "youtube-analytics";
    let simulated = SimulatorConfig { tokens_expire: !is_late, ..SimulatorConfig::default() };
    let now = simulated.date.and_time(NaiveTime::MIN).and_utc() + TimeDelta::hours(12);
    let simulator = Simulator::start(simulated).await.expect("the simulator starts");
    if is_late {
        // The platform has the numbers of a day some days later, and a trial asks for the day before it.
        simulator.set_now(now + TimeDelta::days(5));
    }
    let (answers, compiled) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    let mut config = Config::default();
    // Compiled once for all trials.
    config.sandbox.cache_dir = Some(compiled.path().to_owned());
    let url = simulator.url();
    let routes: Vec<Json> =
        HOSTS.iter().map(|host| json!({ "origin": format!("https://{host}"), "connect": url })).collect();
    config.gateway.routes = serde_json::from_value(json!(routes)).expect("routes");
    for index in ARTISTS {
        let Given { account, settings, slot, secret } = given(simulator.world(), connector, index, now);
        let request = TrialRequest {
            account: Some(account),
            settings: Some(settings),
            secrets: vec![(slot.to_owned(), SecretText::new(secret))],
            record: Some(answers.path().join(index.to_string())),
            ..TrialRequest::default()
        };
        let tried = try_component(config.clone(), Clock::fixed(now), &component, request).await;
        let (report, saved) = tried.unwrap_or_else(|error| panic!("{connector}: {error}"));
        assert!(report.failed.is_none(), "{connector}: {:?}", report.failed);
        saved.unwrap_or_else(|error| panic!("{connector}: {error}"));
    }
    // What is checked needs no platform.
    drop(simulator);
    let sample = (!is_long()).then_some(SAMPLE);
    let with = CheckedWith { answers: answers.path(), before: None, today: now.date_naive(), sample };
    let config = Config { gateway: Config::default().gateway, ..config };
    let report = check_component(config, &component, with).await.unwrap_or_else(|error| panic!("{connector}: {error}"));
    let failed: Vec<String> = report
        .checks
        .iter()
        .filter(|check| check.failed())
        .map(|check| format!("{}, and {} more: {:#?}", check.name, check.more, check.findings))
        .collect();
    assert!(failed.is_empty(), "{connector} fails {}", failed.join("\n"));
    let recorded = report.checks.iter().find(|check| check.name == "recorded").expect("it is made first");
    let counted = |cases: u32| usize::try_from(cases).expect("32 bits");
    assert_eq!(counted(recorded.cases), ARTISTS.len(), "{connector}");
    for derived in ["faults", "values"] {
        let check = report.checks.iter().find(|check| check.name == derived);
        let check = check.unwrap_or_else(|| panic!("{connector}: {derived} needs what is recorded"));
        let cases = counted(check.cases);
        assert!(cases >= SAMPLE.cases, "{connector}: {derived}: {cases} cases");
        // Steps are whole numbers, so that there may be nearly twice as many.
        let most = if is_long() { usize::MAX } else { 2 * SAMPLE.cases * ARTISTS.len() };
        assert!(cases <= most, "{connector}: {derived}: {cases} cases");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn youtube_conforms() {
    conforms("youtube").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn youtube_analytics_conforms() {
    conforms("youtube-analytics").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn spotify_conforms() {
    conforms("spotify").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn apple_music_conforms() {
    conforms("apple-music").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn instagram_conforms() {
    conforms("instagram").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn instagram_business_conforms() {
    conforms("instagram-business").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tiktok_conforms() {
    conforms("tiktok").await;
}
