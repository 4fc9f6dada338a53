//! Tests of how a service stops and reloads its configuration.

use std::time::{Duration, Instant};

use backline::config::Config;
use backline::pipeline::Host;
use backline::pipeline::service::Service;
use backline_model::clock::Clock;

use super::support::Place;
use crate::support::database::each_database;

#[tokio::test]
async fn it_is_ready_and_stops_cleanly_on_a_signal() {
    each_database(async |store, url| {
        let place = Place::new(url, "");
        for signal in ["TERM", "INT"] {
            let mut serving = place.serve(&[]).await;
            serving.answers("/readyz", 200).await;
            let now = Clock::system().now();
            assert_eq!(store.hosts_list(now).await.unwrap().len(), 1);
            let asked = Instant::now();
            serving.signal(signal).await;
            assert_eq!(serving.end().await.code(), Some(0), "{}", serving.log());
            assert!(asked.elapsed() < Duration::from_secs(20), "it took {:?}", asked.elapsed());
            assert!(store.hosts_list(now).await.unwrap().is_empty(), "the host has unregistered");
        }
    })
    .await;
}

#[tokio::test]
async fn it_is_not_ready_as_soon_as_it_stops() {
    each_database(async |_, url| {
        let mut config = Config::default();
        config.database.url = url.to_owned();
        let service = Service::start(Host::open(config, Clock::system()).await.unwrap()).await.unwrap();
        let status = service.status();
        let before = status.readiness().await;
        assert!(before.ready, "{before:?}");
        assert!(service.stop().await, "no batch was in progress");
        let after = status.readiness().await;
        assert!(!after.ready && after.problems.iter().any(|problem| problem == "it is stopping"), "{after:?}");
    })
    .await;
}

#[tokio::test]
async fn a_valid_configuration_is_applied_and_an_invalid_one_is_not() {
    each_database(async |_, url| {
        let place = Place::new(url, "[log]\nfilter = \"warn\"\n");
        let mut serving = place.serve(&[]).await;

        place.configure(url, "windw_days = 3\n");
        serving.signal("HUP").await;
        serving.logged("the old one stays in force", 1).await;
        assert!(serving.log().contains("unknown key 'service.windw_days'"), "{}", serving.log());

        // Two settings that need a restart; both are named.
        place.configure("sqlite://other.db", "name = \"renamed\"\n");
        serving.signal("HUP").await;
        serving.logged("the old one stays in force", 2).await;
        assert!(serving.log().contains("these changes need a restart: database, service.name"), "{}", serving.log());
        serving.answers("/readyz", 200).await;

        // The success is logged at a level that the new filter allows and the old one did not.
        place.configure(url, "[log]\nfilter = \"info\"\n[gateway]\nrequests_max = 7\n");
        serving.signal("HUP").await;
        serving.logged("the configuration was reloaded", 1).await;
        serving.answers("/readyz", 200).await;
        serving.signal("TERM").await;
        assert_eq!(serving.end().await.code(), Some(0), "{}", serving.log());
    })
    .await;
}
