//! Tests of alerts: one event when a figure crosses its threshold and one when it recovers, however many hosts check.

use backline::pipeline::Host;
use backline::pipeline::collection::report::RunRequest;
use backline_model::clock::Clock;
use backline_model::event::types;
use backline_model::health::AlertName;
use backline_model::{ArtistId, Event};
use backline_rules::health::HealthConfig;
use backline_simulator::{Fault, FaultKind, RetryAfter, SimulatorConfig};
use chrono::{DateTime, TimeDelta, Utc};
use futures::future::join_all;
use serde_json::json;

use crate::support::database::each_database;
use crate::support::host::HostExt as _;
use crate::support::stage::Stage;

fn down(host: &str) -> Fault {
    Fault::always(FaultKind::Status { status: 503, retry_after: RetryAfter::Absent }).on_host(host)
}

async fn told(stage: &Stage, kind: &str) -> Vec<Event> {
    let mut events = stage.events().await;
    events.retain(|event| event.kind == kind);
    events
}

/// Lets hosts check health at the same time, each several times.
async fn look(hosts: &[&Host]) {
    for looked in join_all((0..4).flat_map(|_| hosts.iter().map(|host| host.health().watch()))).await {
        looked.expect("health is checked");
    }
}

fn go_to(stage: &Stage, time: DateTime<Utc>) {
    stage.simulator.set_now(time);
    stage.set_time(time);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hosts_report_a_crossing_once_and_the_recovery_once() {
    each_database(async |_, url| {
        let simulator = SimulatorConfig { artists: 20, ..SimulatorConfig::default() };
        let start = simulator.date;
        // The collecting host does not check alerts at the end of a failing run, so that the others find the change at
        // the same time.
        let stage = Stage::set(url, simulator, |config| {
            (config.health.alerts.completion, config.health.alerts.error_rate) = (0.0, 1.0);
            config.health.margin = 1.0;
        })
        .await;
        let config = || {
            let mut config = stage.host.config().clone();
            config.health = HealthConfig::default();
            config
        };
        // Their clocks differ slightly, so that deduplication can't rely on equal events.
        let clock = stage.host.clock().clone();
        let ahead = Clock::from_fn(move || clock.now() + TimeDelta::seconds(1));
        let one = Host::open(config(), stage.host.clock().clone()).await.expect("the host opens");
        let other = Host::open(config(), ahead).await.expect("the host opens");

        stage.run(start).await;
        look(&[&one, &other]).await;
        assert_eq!(stage.host.health().alerts().await.expect("alerts are read"), [], "all is well");

        stage.simulator.set_faults(vec![down("youtube.googleapis.com")]);
        let noon = stage.host.clock().now();
        go_to(&stage, noon + TimeDelta::hours(1));
        stage.run(start).await;
        look(&[&one, &other]).await;
        let degraded = told(&stage, types::HEALTH_DEGRADED).await;
        assert_eq!(degraded.len(), 2, "completion and error rate, once each: {degraded:#?}");
        let completion = degraded.iter().find(|event| event.data["alert"] == "completion").expect("it was reported");
        let at = completion.occurred_at;
        assert!((at - noon - TimeDelta::hours(1)).num_seconds() <= 1, "{at}");
        assert_eq!(
            completion.data,
            json!({ "alert": "completion", "platform": "youtube", "value": 0.0, "threshold": 0.8, "since": at })
        );
        assert_eq!(completion.artist_id, None);

        stage.simulator.set_faults(Vec::new());
        // Better, but not by the margin: 16 of 20 is exactly the threshold.
        go_to(&stage, noon + TimeDelta::hours(2));
        collect(&stage, 16).await;
        look(&[&one, &other]).await;
        let alerts = states(&stage.host).await;
        assert!(alerts.contains(&(AlertName::Completion, true)), "16 of 20 are not 82 %: {alerts:?}");
        assert_eq!(told(&stage, types::HEALTH_RECOVERED).await.len(), 0);

        go_to(&stage, noon + TimeDelta::hours(3));
        collect(&stage, 19).await;
        assert_eq!(told(&stage, types::HEALTH_RECOVERED).await.len(), 0, "the other hosts report it");
        look(&[&one, &other]).await;
        let recovered = told(&stage, types::HEALTH_RECOVERED).await;
        assert_eq!(recovered.len(), 2, "{recovered:#?}");
        assert_eq!(told(&stage, types::HEALTH_DEGRADED).await.len(), 2, "no further failure");
        assert!(!states(&stage.host).await.iter().any(|(_, fires)| *fires));

        // A day later there is no data, which is neither better nor worse. But by now accounts should have been
        // collected.
        go_to(&stage, noon + TimeDelta::hours(48));
        look(&[&one, &other]).await;
        assert_eq!(told(&stage, types::HEALTH_DEGRADED).await.len(), 2, "a run may be late by an hour or two");
        go_to(&stage, noon + TimeDelta::hours(50));
        look(&[&one, &other]).await;
        let degraded = told(&stage, types::HEALTH_DEGRADED).await;
        let names: Vec<_> =
            degraded[2..].iter().map(|event| event.data["alert"].as_str().unwrap_or_default()).collect();
        assert_eq!(names, ["no_data"; 4], "on each platform that is not optional: {degraded:#?}");
    })
    .await;
}

/// Collects the first few artists again.
async fn collect(stage: &Stage, artists: u32) {
    let world = stage.simulator.world();
    let request = RunRequest {
        trigger: "test".to_owned(),
        date: Some(stage.host.clock().now().date_naive()),
        artists: (0..artists).map(|index| ArtistId(world.artist(index).id)).collect(),
        ..RunRequest::default()
    };
    stage.host.run(&request, &|_| {}).await.expect("the run ends");
}

async fn states(host: &Host) -> Vec<(AlertName, bool)> {
    let alerts = host.health().alerts().await.expect("alerts are read");
    alerts.into_iter().map(|alert| (alert.name, alert.firing)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_host_is_reported_until_another_takes_its_place() {
    each_database(async |store, url| {
        let stage = Stage::bare(url, SimulatorConfig { artists: 1, ..SimulatorConfig::default() }, |_| {}).await;
        let noon = stage.host.clock().now();
        let presence = |name: &str, started_at| backline_store::Presence {
            name: name.to_owned(),
            version: "1".to_owned(),
            state: "ready",
            started_at,
        };
        let (lost, stays) = (presence("gone-7", noon), presence("stays", noon));
        store.host_announce(&lost, noon).await.unwrap();
        store.host_announce(&stays, noon).await.unwrap();
        for (minutes, degraded, recovered) in [(1, 0, 0), (2, 1, 0), (3, 1, 0)] {
            let now = noon + TimeDelta::minutes(minutes);
            go_to(&stage, now);
            store.host_beat(&stays, now).await.unwrap();
            look(&[&stage.host]).await;
            assert_eq!(told(&stage, types::HEALTH_DEGRADED).await.len(), degraded, "after {minutes} min");
            assert_eq!(told(&stage, types::HEALTH_RECOVERED).await.len(), recovered, "after {minutes} min");
        }
        let report = stage.host.health().report(None).await.unwrap();
        assert!(
            report.recommendations.iter().any(|found| found.blame.host.as_deref() == Some("gone-7")),
            "{:?}",
            report.recommendations
        );
        let now = noon + TimeDelta::minutes(4);
        store.host_announce(&presence("another", now), now).await.unwrap();
        store.host_beat(&stays, now).await.unwrap();
        go_to(&stage, now);
        look(&[&stage.host]).await;
        assert_eq!(told(&stage, types::HEALTH_RECOVERED).await.len(), 1);
        let event = &told(&stage, types::HEALTH_DEGRADED).await[0];
        assert!(!event.data.to_string().contains("gone-7"), "an event names no host: {}", event.data);
    })
    .await;
}
