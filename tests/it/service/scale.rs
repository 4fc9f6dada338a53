//! Test with 10,000 artists on five platforms: the planned requests match the counted ones, and memory stays bounded.

use backline_simulator::SimulatorConfig;
use backline_store::DatabaseKind;
use serde_json::Value as Json;
use sqlx::{Connection as _, PgConnection};

use crate::support::components;
use crate::support::database::each_database;
use crate::support::fleet::Fleet;
use crate::support::host::HostExt as _;
use crate::support::stage::Stage;

const ARTISTS: u32 = 10_000;

/// Maximum memory of a host at any time, in bytes.
const MEMORY_MAX: u64 = 300 * 1000 * 1000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_artists_take_the_forecast_requests_and_under_300_megabytes() {
    each_database(async |store, url| {
        if store.kind() == DatabaseKind::Sqlite {
            return;
        }
        let simulator = SimulatorConfig {
            artists: ARTISTS,
            regular: true,
            youtube_quota: 50_000,
            // The processes use the machine's clock, which is ahead of the simulated date.
            tokens_expire: false,
            ..SimulatorConfig::default()
        };
        let date = simulator.date.to_string();
        let stage = Stage::set(url, simulator, |config| config.schedules.clear()).await;
        // Post metrics of a past date cover a window that ends at midnight where the artist is, and a batch has one
        // window. In one zone all batches but the last are full, and the forecast is exact.
        let mut database = PgConnection::connect(url).await.expect("the database opens");
        sqlx::query("UPDATE artists SET timezone = 'UTC'").execute(&mut database).await.expect("it is done");
        database.close().await.expect("it closes");
        let quota = [("units".to_owned(), 50_000)].into();
        stage.host.install_with(&components::plugin("youtube"), &quota).await.expect("the quota is granted");
        let fleet = Fleet::of(&stage, |config| config.log.filter = "warn".to_owned());
        let json = async |arguments: &[&str]| -> Json {
            let mut command = fleet.command(arguments);
            let output = tokio::task::spawn_blocking(move || command.output().expect("the binary starts"));
            let output = output.await.expect("it ends");
            assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
            serde_json::from_slice(&output.stdout).expect("one JSON document")
        };
        let plan = json(&["plan", "--date", &date, "--json"]).await;
        assert_eq!(stage.simulator.counts().requests, 0, "planning asks no platform");
        let report = json(&["run", "--date", &date, "--json"]).await;
        assert_eq!(report["run"]["counts"]["collected"], u64::from(ARTISTS) * 5, "{}", report["run"]);

        let counts = stage.simulator.counts();
        let host = |platform: &str| match platform {
            "youtube" => "youtube.googleapis.com",
            "spotify" => "api.spotify.com",
            "instagram" => "graph.instagram.com",
            "tiktok" => "open.tiktokapis.com",
            _ => "api.music.apple.com",
        };
        for platform in plan["platforms"].as_array().expect("platforms") {
            let name = platform["platform"].as_str().expect("a name");
            // The host refreshes tokens, not the connector, so they are not in the plan.
            let tokens = match name {
                "tiktok" => counts.operation("POST /v2/oauth/token/"),
                "instagram" => counts.operation("GET /refresh_access_token"),
                _ => 0,
            };
            let counted = counts.host(host(name)) - tokens;
            assert_eq!(platform["forecast"]["requests"], counted, "{name}: {:?}", counts.operations);
        }
        assert_eq!(counts.units("youtube"), plan["total"]["units"]["youtube/units"].as_u64().expect("units"));
        // Channels and artists take the minimum number of requests.
        assert_eq!(counts.operation("GET /youtube/v3/channels"), 200);
        assert_eq!(counts.operation("GET /v1/artists"), 200);
        assert_eq!(counts.operation("GET /v1/catalog/{storefront}/artists"), 400);
        let peak = report["peak_rss_bytes"].as_u64().expect("a peak");
        assert!(peak < MEMORY_MAX, "{peak} bytes at the peak");
    })
    .await;
}
