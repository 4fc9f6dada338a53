//! Tests that what a manifest declares of requests, what the simulated platforms count and what the ledger says agree,
//! for every connector and in every world that the simulator knows.

use backline::pipeline::collection::report::RunRequest;
use backline_gateway::secrets::SecretText;
use backline_model::manifest::Of;
use backline_model::{Account, AccountId, AccountStatus, ArtistId};
use backline_simulator::{SimulatorConfig, SpotifyMode};
use backline_store::{DatabaseKind, Scope, Store};
use chrono::{Days, NaiveDate};
use serde_json::json;

use crate::support::database::each_database;
use crate::support::stage::{Stage, platform};

/// Artists of a regular world: full batches of every connector, as a plan counts them.
const ARTISTS: u32 = 50;

const ANALYTICS: &str = "youtube_analytics";
const BUSINESS: &str = "instagram_business";

/// A world of artists who all publish as often as the manifests take for usual.
fn regular() -> SimulatorConfig {
    SimulatorConfig { artists: ARTISTS, regular: true, ..SimulatorConfig::default() }
}

/// What a platform counted since the last reset, without the requests for tokens, which the host itself sends.
fn counted(stage: &Stage, name: &str) -> u64 {
    let (host, tokens) = match name {
        "youtube" => ("youtube.googleapis.com", None),
        "spotify" => ("api.spotify.com", None),
        "instagram" => ("graph.instagram.com", Some("GET /refresh_access_token")),
        "tiktok" => ("open.tiktokapis.com", Some("POST /v2/oauth/token/")),
        "apple_music" => ("api.music.apple.com", None),
        ANALYTICS => ("youtubeanalytics.googleapis.com", None),
        BUSINESS => ("graph.facebook.com", None),
        other => panic!("{other} has no simulated platform"),
    };
    let counts = stage.simulator.counts();
    counts.host(host) - tokens.map_or(0, |operation| counts.operation(operation))
}

/// Collects a date on all platforms. `of_others` are the accounts that there are none of; `is_usual` says that every
/// account is of the size that a plan counts with.
async fn compare(stage: &Stage, date: NaiveDate, of_others: Option<Of>, is_usual: bool, world: &str) {
    stage.set_date(date);
    stage.simulator.reset_counts();
    let request = RunRequest { date: Some(date), ..RunRequest::default() };
    let plan = stage.host.planner().plan(&request).await.expect("planned");
    let report = stage.run(date).await;
    for planned in plan.platforms {
        let (name, forecast) = (planned.platform.as_str(), &planned.forecast);
        let (what, counted) = (format!("{world}, {date}, {name}"), counted(stage, name));
        assert!(forecast.accounts > 0 && counted > 0, "{what}: nothing was asked");
        let told = report.platforms.iter().find(|told| told.platform == name).expect("it was collected");
        assert_eq!(told.requests, counted, "{what}: the ledger and the platform");
        let release = stage.host.store().active_release_get(&planned.platform).await.expect("releases are read");
        let requests = release.expect("it is active").manifest.requests;
        let of_these = requests.iter().filter(|request| Some(request.of) != of_others);
        let most: u64 = of_these.map(|request| request.most_for(forecast.batches, forecast.accounts)).sum();
        assert!(counted <= most, "{what}: {counted} requests, and at most {most} are declared");
        if is_usual {
            assert_eq!(forecast.requests, counted, "{what}: the plan and the platform");
        }
    }
}

/// Collects two days: one of new accounts, and one of known ones.
async fn agree(world: &str, simulator: SimulatorConfig) {
    each_database(async |store: Store, url: &str| {
        // What connectors ask does not depend on the database, but what is summed up does.
        if store.kind() != DatabaseKind::Sqlite && !simulator.regular {
            return;
        }
        let date = simulator.date;
        let stage = Stage::set(url, simulator.clone(), |config| config.schedules.clear()).await;
        compare(&stage, date, Some(Of::Known), simulator.regular, world).await;
        compare(&stage, date + Days::new(1), None, false, world).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_regular_world_takes_what_is_planned() {
    agree("regular", regular()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn artists_of_all_sizes_take_at_most_what_is_declared() {
    agree("usual", SimulatorConfig::default()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn accounts_in_trouble_take_at_most_what_is_declared() {
    agree("troubles", SimulatorConfig { troubles: true, ..SimulatorConfig::default() }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_app_in_development_mode_takes_at_most_what_is_declared() {
    let simulator = SimulatorConfig { spotify_mode: SpotifyMode::Development, ..SimulatorConfig::default() };
    agree("development", simulator).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metrics_that_are_gone_take_at_most_what_is_declared() {
    let lost = vec!["shares".to_owned(), "saved".to_owned()];
    agree("lost metrics", SimulatorConfig { instagram_lost: lost, ..SimulatorConfig::default() }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_optional_connectors_take_what_is_planned() {
    each_database(async |store: Store, url: &str| {
        if store.kind() != DatabaseKind::Sqlite {
            return;
        }
        let simulator = regular();
        let date = simulator.date;
        let stage = Stage::bare(url, simulator, |config| config.schedules.clear()).await;
        stage.install(&["youtube-analytics", "instagram-business"]).await;
        import_optional(&stage).await;
        compare(&stage, date, Some(Of::Known), true, "regular").await;
        compare(&stage, date + Days::new(1), None, true, "regular").await;
    })
    .await;
}

/// Adds an account of each artist on the platforms that a host may do without.
async fn import_optional(stage: &Stage) {
    let everybody: Vec<u32> = (0..ARTISTS).collect();
    stage.import_of(&everybody, &[], |_| "default".to_owned()).await;
    let (world, store, credentials) = (stage.simulator.world(), stage.host.store(), stage.host.credentials());
    let (now, all) = (stage.host.clock().now(), Scope::all_tenants());
    let account = |index: u32, name: &str, platform_id: String| {
        let (artist_id, platform) = (ArtistId(world.artist(index).id), platform(name));
        let id = AccountId::of(artist_id, &platform, &platform_id);
        Account { id, artist_id, platform, platform_id, settings: json!({}), status: AccountStatus::Active }
    };
    let channel = |index: &u32| account(*index, ANALYTICS, world.artist(*index).youtube_channel_id);
    let named = |index: &u32| account(*index, BUSINESS, world.instagram_name(*index));
    let channels: Vec<Account> = everybody.iter().map(channel).collect();
    let accounts: Vec<Account> = channels.iter().cloned().chain(everybody.iter().map(named)).collect();
    store.accounts_save(&all, &accounts, now).await.expect("accounts are saved");

    let token = world.facebook_token();
    credentials.set(&platform(BUSINESS), "user", None, &token).await.expect("the operator's token is set");
    let client = json!({ "client_id": world.google_client_id(), "client_secret": world.google_client_secret() });
    let set = credentials.set(&platform(ANALYTICS), "user", None, &client.to_string()).await;
    set.expect("the operator's client is set");
    let owned = everybody.iter().zip(&channels).map(|(index, channel)| {
        let token = json!({ "refresh_token": world.google_refresh_token(*index) });
        (channel.id, SecretText::new(token.to_string()))
    });
    let owned: Vec<(AccountId, SecretText)> = owned.collect();
    credentials.set_many(&platform(ANALYTICS), "user", &owned).await.expect("the owners' tokens are set");

    stage.consent(&accounts).await;
}
