//! Tests of startup checks: all problems are reported at once, before a port is bound.

use backline_model::ScheduleSpec;
use backline_model::clock::Clock;
use backline_simulator::SimulatorConfig;
use backline_store::{DatabaseKind, Store, StoreOptions};
use chrono::TimeDelta;

use super::support::Place;
use crate::support::components;
use crate::support::database::{each_database, each_empty_database};
use crate::support::host::HostExt as _;
use crate::support::stage::{Stage, platform};

async fn raw(url: &str) -> sqlx::AnyPool {
    sqlx::any::install_default_drivers();
    sqlx::any::AnyPoolOptions::new().max_connections(1).connect(url).await.unwrap()
}

#[tokio::test]
async fn all_problems_are_reported_at_once() {
    each_empty_database(async |url| {
        let stage = Stage::bare(url, SimulatorConfig { artists: 1, ..SimulatorConfig::default() }, |_| {}).await;
        stage.host.install(&components::plugin("youtube")).await.unwrap();
        stage.host.credentials().set(&platform("youtube"), "app", None, "a-key-of-the-platforms").await.unwrap();
        let pool = raw(url).await;
        sqlx::query("UPDATE releases SET component = $1").bind(b"nonsense".to_vec()).execute(&pool).await.unwrap();
        pool.close().await;
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let listen = taken.local_addr().unwrap().to_string();

        let place = Place::new(url, "[log]\nfilter = \"backline=loud\"\n[gateway]\nbody_bytes_max = 0\n");
        let (code, out, said) = place.run(&["serve", "--listen", &listen]).await;
        assert_eq!((code, out.as_str()), (Some(2), ""), "{said}");
        for wrong in
            ["log.filter 'backline=loud' is wrong", "body_bytes_max", "no key is configured", "can't listen on"]
        {
            assert!(said.contains(wrong), "'{wrong}' is missing: {said}");
        }

        // If gateway, sandbox and key are valid, connectors are loaded too.
        let other = "[secrets]\nkey = \"MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=\"\n";
        place.configure(url, other);
        let (code, out, said) = place.run(&["serve", "--listen", &listen]).await;
        assert_eq!((code, out.as_str()), (Some(2), ""), "{said}");
        for wrong in
            ["the configured key does not open the stored credentials", "of youtube can't be loaded", "can't listen on"]
        {
            assert!(said.contains(wrong), "'{wrong}' is missing: {said}");
        }
        drop(stage);
    })
    .await;
}

#[tokio::test]
async fn a_slip_in_the_configuration_is_reported_and_what_is_to_come_is_not() {
    each_empty_database(async |url| {
        let stage = Stage::bare(url, SimulatorConfig { artists: 1, ..SimulatorConfig::default() }, |_| {}).await;
        let config = |name: &str| {
            let mut config = stage.host.config().clone();
            let night = ScheduleSpec { platforms: vec![platform(name)], ..ScheduleSpec::default() };
            config.schedules.insert("night".to_owned(), night);
            config.collection.tenant_weights.0.insert("defaults".to_owned(), 2);
            config
        };
        let told = async |name: &str| {
            let store = stage.host.store().clone();
            match backline::pipeline::examine(&config(name), &Clock::system(), Some(store)).await {
                Ok(_) => Vec::new(),
                Err(obstacles) => obstacles.iter().map(ToString::to_string).collect::<Vec<_>>(),
            }
        };
        assert_eq!(told("yotube").await, [""; 0], "nothing is installed yet");
        stage.host.install(&components::plugin("youtube")).await.unwrap();
        let slip = "schedules.night.platforms names the platform 'yotube', which does not exist; did you mean \
                    'youtube'?";
        assert_eq!(told("yotube").await, [slip]);
        assert_eq!(told("youtube").await, [""; 0]);
        assert_eq!(told("soundcloud").await, [""; 0], "its connector may come later");

        let service = super::serve(stage.host.clone()).await;
        let refused = service.reload(config("yotube")).await.unwrap_err();
        assert_eq!(refused.iter().map(ToString::to_string).collect::<Vec<_>>(), [slip]);
        assert!(!service.host().config().schedules.contains_key("night"), "the old one stays in force");
        service.reload(config("youtube")).await.unwrap();
        assert!(service.stop().await);
    })
    .await;
}

#[tokio::test]
async fn a_clock_that_differs_from_the_databases_is_reported() {
    each_database(async |store, url| {
        if store.kind() == DatabaseKind::Sqlite {
            return; // SQLite has no clock of its own
        }
        let stage = Stage::bare(url, SimulatorConfig { artists: 1, ..SimulatorConfig::default() }, |_| {}).await;
        let told = async |hours: i64| {
            let clock = Clock::from_fn(move || Clock::system().now() - TimeDelta::hours(hours));
            match backline::pipeline::examine(stage.host.config(), &clock, Some(stage.host.store().clone())).await {
                Ok(_) => Vec::new(),
                Err(obstacles) => obstacles.iter().map(ToString::to_string).collect(),
            }
        };
        let wrong = told(1).await;
        assert!(
            wrong.iter().any(|told| told.contains("this machine's clock says") && told.contains("NTP")),
            "{wrong:?}"
        );
        assert_eq!(told(0).await, Vec::<String>::new());
    })
    .await;
}

#[tokio::test]
async fn a_missing_or_unmigrated_database_is_named() {
    each_empty_database(async |url| {
        let place = Place::new(url, "");
        let (code, out, said) = place.run(&["serve"]).await;
        assert_eq!((code, out.as_str()), (Some(2), ""), "{said}");
        assert!(said.starts_with("error: ") && said.contains("`backline migrate`"), "{said}");
    })
    .await;
    let place = Place::new("postgres://user:canary@127.0.0.1:1/none", "");
    let (code, _, said) = place.run(&["serve"]).await;
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("127.0.0.1:1/none") && !said.contains("canary"), "{said}");
}

#[tokio::test]
async fn a_second_host_is_refused_on_sqlite() {
    each_database(async |_, url| {
        let is_sqlite = url.starts_with("sqlite");
        let place = Place::new(url, "name = \"first\"\n");
        let mut first = place.serve(&[]).await;
        assert_eq!(first.name, "first");

        let (code, out, said) = place.run(&["serve"]).await;
        assert_eq!((code, out.as_str()), (Some(2), ""), "{said}");
        let why =
            if is_sqlite { "the host first already uses this SQLite file" } else { "another host is called first" };
        assert!(said.contains(why), "{said}");
        if !is_sqlite {
            let second = place.serve(&["--set", "service.name=second"]).await;
            let (_, hosts, _) = place.run(&["hosts", "--json"]).await;
            let hosts: serde_json::Value = serde_json::from_str(&hosts).unwrap();
            let names: Vec<_> = hosts.as_array().unwrap().iter().map(|host| host["name"].as_str().unwrap()).collect();
            assert_eq!(names, ["first", "second"]);
            drop(second);
        }

        // A killed host blocks others only for a short time.
        first.signal("KILL").await;
        first.end().await;
        let again = place.serve(&[]).await;
        assert_eq!(again.name, "first");
        let store = Store::open(url, StoreOptions { connections_max: 2, ..StoreOptions::default() }).await.unwrap();
        drop(again);
        store.close().await;
    })
    .await;
}
