//! Tests of traces: spans reach a collector over OTLP, and an unreachable collector has no effect on the host.

use std::time::{Duration, Instant};

use backline::telemetry::Traces;
use backline_simulator::SimulatorConfig;
use tracing_subscriber::layer::SubscriberExt as _;

use super::support::Place;
use crate::support::bytes::holds;
use crate::support::database::{each_database, each_empty_database};
use crate::support::http::{Server, answer};
use crate::support::stage::Stage;
use crate::support::tracing_on::keep_tracing_on;

// On one thread, so that this test's subscriber sees exactly the spans of this run.
#[tokio::test]
async fn the_spans_of_a_run_reach_the_collector_without_secrets_or_platform_ids() {
    each_empty_database(async |url| {
        let collector = Server::start(|_| answer(200, &[], "")).await;
        let traces = Traces::start(&collector.base(), "backline-test", tokio::runtime::Handle::current()).unwrap();
        let stage = Stage::set(url, SimulatorConfig { artists: 2, ..SimulatorConfig::default() }, |_| {}).await;
        let world = stage.simulator.world();
        {
            keep_tracing_on();
            let subscriber = tracing_subscriber::registry().with(traces.layer());
            let _scope = tracing::subscriber::set_default(subscriber);
            let report = stage.run(SimulatorConfig::default().date).await;
            assert_eq!(report.run.counts.collected, 10);
        }
        traces.stop(Duration::from_secs(30)).await;

        let asked = collector.asked();
        assert!(!asked.is_empty() && asked.iter().all(|asked| asked.target == "/v1/traces" && asked.method == "POST"));
        let bytes: Vec<u8> = asked.into_iter().flat_map(|asked| asked.body).collect();
        for name in ["plan", "batch", "fetch", "normalize", "store", "refresh_token", "backline-test", "youtube"] {
            assert!(holds(&bytes, name), "no span has {name}");
        }
        let artist = world.artist(0);
        let mut hidden = vec![artist.youtube_channel_id, artist.spotify_artist_id, artist.instagram_token, artist.name];
        hidden.extend(world.operator_credentials().into_iter().map(|credential| credential.value));
        for hidden in hidden {
            assert!(!holds(&bytes, &hidden), "{hidden} was sent to the collector");
        }
    })
    .await;
}

#[tokio::test]
async fn an_unreachable_collector_neither_stops_nor_slows_the_host() {
    each_database(async |_, url| {
        // A port without a listener.
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let place = Place::new(url, &format!("[telemetry]\notlp_endpoint = \"http://{free}\"\n"));
        let mut serving = place.serve(&[]).await;
        serving.answers("/readyz", 200).await;
        let asked = Instant::now();
        serving.signal("TERM").await;
        assert_eq!(serving.end().await.code(), Some(0), "{}", serving.log());
        assert!(asked.elapsed() < Duration::from_secs(20), "it took {:?}", asked.elapsed());
    })
    .await;
}

#[tokio::test]
async fn a_collector_that_never_responds_delays_nothing() {
    // The collector accepts connections but never responds.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", silent.local_addr().unwrap());
    let traces = Traces::start(&endpoint, "backline-test", tokio::runtime::Handle::current()).unwrap();
    let began = Instant::now();
    {
        keep_tracing_on();
        let _scope = tracing::subscriber::set_default(tracing_subscriber::registry().with(traces.layer()));
        // More spans than the queue holds: the rest is dropped without waiting.
        for number in 0..10_000 {
            drop(tracing::info_span!(target: "backline::test", "span", number).entered());
        }
    }
    // An attempt to send takes 5 s: none of the twenty that these spans would take was waited for.
    assert!(began.elapsed() < Duration::from_secs(50), "it took {:?}", began.elapsed());
    let asked = Instant::now();
    traces.stop(Duration::from_millis(300)).await;
    assert!(asked.elapsed() < Duration::from_secs(4), "it took {:?}", asked.elapsed());
}
