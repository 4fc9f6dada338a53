//! Tests of the HTTP endpoints of a running host.

use std::time::{Duration, Instant};

use backline::pipeline::service::Service;
use backline_simulator::SimulatorConfig;
use sqlx::{AnyConnection, AssertSqlSafe, Connection as _, Executor as _, PgConnection};

use super::support::{Place, WAIT_MAX, ask};
use crate::support::components;
use crate::support::database::{each_database, each_empty_database, write};
use crate::support::host::HostExt as _;
use crate::support::stage::Stage;
use backline_model::SwapCause;
use backline_store::DatabaseKind;

/// Less than the 30 s after which a host closes a connection that says nothing.
const UNHINDERED: Duration = Duration::from_secs(25);

/// A key that occurs nowhere else.
const KEY: &str = "Y2FuYXJ5LWNhbmFyeS1jYW5hcnktY2FuYXJ5LWNhbmE=";

#[tokio::test]
async fn the_metrics_are_valid_and_hold_no_secret() {
    each_database(async |_, url| {
        let place = Place::new(url, &format!("[secrets]\nkey = \"{KEY}\"\n[log]\nfilter = \"trace\"\n"));
        let serving = place.serve(&[]).await;
        assert_eq!(serving.get("/healthz").await.2, "ok");
        let listen = format!("service.listen={}", serving.address);
        let (code, told, said) = place.run(&["ready", "--set", &listen, "--log", "off"]).await;
        assert_eq!((code, said.as_str()), (Some(0), ""));
        let told: serde_json::Value = serde_json::from_str(&told).unwrap();
        assert_eq!((&told["ready"], &told["problems"]), (&true.into(), &serde_json::json!([])));
        let names: Vec<_> = told["loops"].as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap()).collect();
        assert_eq!(
            names,
            [
                "alerts",
                "archive",
                "artists",
                "batches",
                "budgets",
                "bulk",
                "connectors",
                "credentials",
                "deliveries",
                "health",
                "notifications",
                "presence",
                "scheduler",
                "workers"
            ]
        );
        assert!(told["loops"][0]["last_turn_s"].is_number() && told["loops"][0]["is_stuck"] == false, "{told}");
        let (status, head, text) = serving.get("/metrics").await;
        assert_eq!(status, 200);
        assert!(head.contains("content-type: application/openmetrics-text; version=1.0.0"), "{head}");
        assert!(text.ends_with("# EOF\n"), "{text}");
        for line in text.lines() {
            assert!(line.starts_with("# ") || is_sample(line), "the line is not in the format: {line}");
        }
        for line in [
            "backline_database_up 1",
            "backline_hosts 1",
            "backline_build_info{version=",
            "backline_loop_last_turn_seconds{loop=\"scheduler\"} ",
            "backline_loop_stuck{loop=\"deliveries\"} 0",
            "backline_loop_failing{loop=\"budgets\"} 0",
        ] {
            assert!(text.contains(line), "{line} is missing: {text}");
        }
        for shown in [text, serving.log()] {
            assert!(!shown.contains(KEY) && !shown.contains("canary-canary"), "{shown}");
        }
    })
    .await;
}

/// Whether a line has the form `name{label="value"} number`, with any number of labels.
fn is_sample(line: &str) -> bool {
    let Some((series, value)) = line.rsplit_once(' ') else { return false };
    let (name, labels) = match series.split_once('{') {
        Some((name, rest)) => (name, rest.strip_suffix('}')),
        None => (series, Some("")),
    };
    let is_word =
        |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    let is_label = |label: &str| {
        let parts = label.split_once('=');
        parts.is_some_and(|(name, value)| {
            is_word(name) && value.len() > 1 && value.starts_with('"') && value.ends_with('"')
        })
    };
    let labels_parse = labels.is_some_and(|labels| labels.is_empty() || labels.split(',').all(is_label));
    is_word(name) && labels_parse && value.parse::<f64>().is_ok()
}

#[tokio::test]
async fn an_unknown_path_is_refused_in_json_and_a_too_large_request_is_cut_off() {
    each_database(async |_, url| {
        let serving = Place::new(url, "").serve(&[]).await;
        let (status, head, body) = serving.get("/nothing/here").await;
        assert_eq!(status, 404);
        assert!(head.contains("content-type: application/json") && body.contains("\"error\""), "{head}\n{body}");
        let post = "POST /metrics HTTP/1.1\r\nhost: test\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
        assert_eq!(ask(&serving.address, post).await.0, 405);

        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let mut stream = tokio::net::TcpStream::connect(&serving.address).await.unwrap();
        stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: test\r\nconnection: close\r\n").await.unwrap();
        let header = format!("x: {}\r\n", "a".repeat(8_000));
        // The connection may close while the request is still being written.
        for _ in 0..20 {
            if stream.write_all(header.as_bytes()).await.is_err() {
                break;
            }
        }
        let _ = stream.write_all(b"\r\n").await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        assert!(!answer.starts_with(b"HTTP/1.1 200"), "160 kB of headers were accepted");
        assert_eq!(serving.get("/healthz").await.0, 200, "other requests are not affected");
    })
    .await;
}

#[tokio::test]
async fn idle_connections_keep_no_probe_waiting_and_http_2_is_not_spoken() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    each_database(async |_, url| {
        let serving = Place::new(url, "").serve(&[]).await;
        let mut idle = Vec::new();
        for _ in 0..512 {
            let mut stream = tokio::net::TcpStream::connect(&serving.address).await.unwrap();
            // Those that gave up their places are closed.
            let _ = stream.write_all(b"GET /healthz HTTP/1.1\r\n").await;
            idle.push(stream);
        }
        let began = Instant::now();
        assert_eq!(serving.get("/healthz").await.0, 200);
        assert!(began.elapsed() < UNHINDERED, "the probe waited for connections that say nothing");
        drop(idle);

        let mut stream = tokio::net::TcpStream::connect(&serving.address).await.unwrap();
        // The preface and empty settings (RFC 9113, 3.4).
        stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        assert!(answer.is_empty() || answer.starts_with(b"HTTP/1."), "{answer:?}");
    })
    .await;
}

#[tokio::test]
async fn a_host_that_cannot_load_a_connector_is_not_ready() {
    each_empty_database(async |url| {
        let stage = Stage::bare(url, SimulatorConfig { artists: 1, ..SimulatorConfig::default() }, |_| {}).await;
        let release = stage.host.install(&components::plugin("youtube")).await.unwrap();
        sqlx::any::install_default_drivers();
        let pool = sqlx::any::AnyPoolOptions::new().max_connections(1).connect(url).await.unwrap();
        let damage = "UPDATE releases SET active = FALSE, component = $1";
        sqlx::query(damage).bind(b"nonsense".to_vec()).execute(&pool).await.unwrap();
        let serving = Place::new(url, "").serve(&[]).await;
        serving.answers("/readyz", 200).await;
        // Like a host that did not check with the others first.
        let store = stage.host.store();
        store.release_activate(release.digest, SwapCause::Activated, stage.host.clock().now()).await.unwrap();
        let body = serving.answers("/readyz", 503).await;
        assert!(body.contains("\"ready\":false") && body.contains("can't be loaded"), "{body}");
        pool.close().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_configuration_under_which_a_connector_can_no_longer_be_loaded_is_refused() {
    each_empty_database(async |url| {
        let stage = Stage::bare(url, SimulatorConfig { artists: 1, ..SimulatorConfig::default() }, |_| {}).await;
        for name in ["youtube", "spotify"] {
            stage.host.install(&components::plugin(name)).await.unwrap();
        }
        let service = Service::start(stage.host.clone()).await.unwrap();
        // It is loaded, and stays so until the sandbox changes.
        sqlx::any::install_default_drivers();
        let pool = sqlx::any::AnyPoolOptions::new().max_connections(1).connect(url).await.unwrap();
        let damage = "UPDATE releases SET component = $1 WHERE platform = 'youtube'";
        sqlx::query(damage).bind(b"nonsense".to_vec()).execute(&pool).await.unwrap();
        pool.close().await;
        let mut config = stage.host.config().clone();
        config.collection.attempts_max += 1;
        service.reload(config.clone()).await.expect("nothing is loaded again");
        config.sandbox.cpu_ms_max += 1;
        let problems = service.reload(config).await.expect_err("it would collect less than before");
        let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
        assert!(problems.len() == 1 && problems[0].contains("of youtube can't be loaded"), "{problems:?}");
        service.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_host_with_a_stuck_loop_is_not_ready_until_it_turns_again() {
    each_database(async |store, url| {
        let serving = Place::new(url, "stuck_after_ms = 1000\n").serve(&[]).await;
        serving.answers("/readyz", 200).await;
        // The scheduler waits for its role: longer than a second, and less than until it gives up.
        sqlx::any::install_default_drivers();
        let mut other = AnyConnection::connect(url).await.unwrap();
        match store.kind() {
            DatabaseKind::Sqlite => other.execute("BEGIN IMMEDIATE").await.unwrap(),
            DatabaseKind::Postgres => {
                other.execute("BEGIN").await.unwrap();
                other.execute("LOCK TABLE leaders IN ACCESS EXCLUSIVE MODE").await.unwrap()
            }
        };
        let (until, mut body) = (Instant::now() + WAIT_MAX, serving.answers("/readyz", 503).await);
        while !body.contains("the loop 'scheduler' is stuck") {
            assert!(Instant::now() < until, "{body}");
            body = serving.get("/readyz").await.2;
        }
        other.execute("ROLLBACK").await.unwrap();
        serving.answers("/readyz", 200).await;
    })
    .await;
}

#[tokio::test]
async fn a_host_with_a_loop_that_fails_at_each_turn_is_not_ready_until_it_works_again() {
    each_database(async |_, url| {
        let serving = Place::new(url, "stuck_after_ms = 1000\npoll_ms = 100\n").serve(&[]).await;
        serving.answers("/readyz", 200).await;
        // One table of many: the host can still write to its database, and its other loops work.
        write(url, "ALTER TABLE bulk_acts RENAME TO bulk_acts_away").await;
        let (until, mut body) = (Instant::now() + WAIT_MAX, serving.answers("/readyz", 503).await);
        while !body.contains("the loop 'bulk' has failed at each turn for") {
            assert!(Instant::now() < until, "{body}");
            body = serving.get("/readyz").await.2;
        }
        assert!(body.contains("bulk_acts"), "it says what is wrong: {body}");
        assert!(!body.contains("the loop 'scheduler' has failed"), "the others work: {body}");
        assert!(serving.get("/metrics").await.2.contains("backline_loop_failing{loop=\"bulk\"} 1"));
        write(url, "ALTER TABLE bulk_acts_away RENAME TO bulk_acts").await;
        serving.answers("/readyz", 200).await;
    })
    .await;
}

#[tokio::test]
async fn a_host_whose_database_turns_read_only_is_not_ready_and_leads_no_more() {
    each_database(async |store, url| {
        if store.kind() == DatabaseKind::Sqlite {
            return; // the owner of a file writes to it
        }
        let serving = Place::new(url, "leader_ttl_ms = 1000\n").serve(&[]).await;
        serving.answers("/readyz", 200).await;
        let mut server = PgConnection::connect(url).await.unwrap();
        let name: String = sqlx::query_scalar("SELECT current_database()").fetch_one(&mut server).await.unwrap();
        let close = "SELECT COUNT(pg_terminate_backend(pid)) FROM pg_stat_activity
            WHERE datname = current_database() AND pid <> pg_backend_pid()";
        for (read_only, status) in [("on", 503), ("off", 200)] {
            // As after a failover: connections break, and new ones can't write.
            let set = format!("ALTER DATABASE {name} SET default_transaction_read_only = {read_only}");
            server.execute(AssertSqlSafe("SET default_transaction_read_only = off")).await.unwrap();
            server.execute(AssertSqlSafe(set)).await.unwrap();
            server.execute(close).await.unwrap();
            let body = serving.answers("/readyz", status).await;
            if status == 503 {
                let until = Instant::now() + WAIT_MAX;
                let mut body = body;
                while !(body.contains("make it writable") && body.contains("its role can't be renewed")) {
                    assert!(Instant::now() < until, "{body}");
                    body = serving.get("/readyz").await.2;
                }
                assert!(serving.get("/metrics").await.2.contains("backline_scheduler_leads 0"));
            }
        }
    })
    .await;
}
