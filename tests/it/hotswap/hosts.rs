//! Tests with two hosts: an activation on one applies to the other, and a release that a host can't load is not
//! activated.

use std::collections::BTreeMap;
use std::time::Duration;

use backline::pipeline::{ActivateError, ActivateOptions, Host, InstallError, with_causes};
use backline_model::clock::Clock;
use backline_model::{Digest, SwapCause};
use backline_simulator::SimulatorConfig;
use backline_store::DatabaseKind;
use chrono::{DateTime, TimeDelta, Utc};
use sqlx::{Connection as _, PgConnection, Row as _};

use crate::support::database::each_database;
use crate::support::fleet::{Fleet, until};
use crate::support::host::HostExt as _;
use crate::support::stage::Stage;
use crate::support::tables::number;
use crate::support::variants::{replace, variant};

/// Maximum time until a swap applies to all hosts, on a loaded machine: far below the ten minutes until a host would
/// look by itself.
const LIVE_WITHIN: TimeDelta = TimeDelta::seconds(20);

/// Maximum wait on a slow machine.
const IN_THE_END: Duration = Duration::from_secs(300);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_activated_on_one_host_is_live_on_the_other_by_a_notification() {
    each_database(async |store, url| {
        if store.kind() == DatabaseKind::Sqlite {
            return;
        }
        let simulator = SimulatorConfig {
            artists: 3_000,
            tokens_expire: false,
            // Slow, so that there is work left when the release is installed, however long that takes.
            latency_ms: 500,
            date: Clock::system().now().date_naive(),
            ..SimulatorConfig::default()
        };
        let stage = Stage::bare(url, simulator, |config| config.schedules.clear()).await;
        // Few accounts per batch, so that each host often starts one.
        let few = |manifest: &mut String| replace(manifest, "batch_size = 50", "batch_size = 5");
        stage.host.install(&variant("spotify", "8.0.0", few)).await.expect("installed");
        let everybody: Vec<u32> = (0..3_000).collect();
        stage.import_of(&everybody, &["spotify"], |_| "default".to_owned()).await;
        // Neither host polls during the test, so a swap applies in time only through notifications.
        let fleet = Fleet::of(&stage, |config| {
            config.service.poll_ms = 600_000;
            config.collection.concurrency_max = 4;
        });
        let (_one, _two) = (fleet.start("one"), fleet.start("two"));
        let mut database = PgConnection::connect(url).await.expect("the database answers");
        until(IN_THE_END, "both hosts at work", async || {
            let at_work = "SELECT COUNT(DISTINCT lease_owner) FROM batches WHERE state = 'leased'";
            (number(&mut database, at_work).await == 2).then_some(())
        })
        .await;

        let next = std::env::temp_dir().join(format!("backline-{}.wasm", uuid::Uuid::new_v4().simple()));
        std::fs::write(&next, variant("spotify", "9.0.0", few)).expect("written");
        let mut install = fleet.command(&["plugins", "install", "--yes", next.to_str().expect("text")]);
        let installed = tokio::task::spawn_blocking(move || install.output().expect("the binary starts"));
        let installed = installed.await.expect("it ends");
        assert!(installed.status.success(), "{}", String::from_utf8_lossy(&installed.stderr));
        std::fs::remove_file(&next).expect("removed");

        let swapped = sqlx::query("SELECT release_digest, at FROM release_activations ORDER BY seq DESC LIMIT 1");
        let swapped = swapped.fetch_one(&mut database).await.expect("the swap is written down");
        let (digest, at): (String, DateTime<Utc>) = (swapped.get("release_digest"), swapped.get("at"));
        let mut first: BTreeMap<String, DateTime<Utc>> = BTreeMap::new();
        until(IN_THE_END, "both hosts collecting with the new release", async || {
            let with_it = "SELECT lease_owner, began_at FROM batches WHERE state = 'leased' AND release_digest = $1";
            let rows = sqlx::query(with_it).bind(&digest).fetch_all(&mut database).await.expect("batches are read");
            for row in rows {
                first.entry(row.get("lease_owner")).or_insert(row.get("began_at"));
            }
            (first.len() == 2).then_some(())
        })
        .await;
        for (host, began) in first {
            assert!(began - at < LIVE_WITHIN, "{host} used it after {} ms", (began - at).num_milliseconds());
        }
        let reports = stage.host.store().load_reports_list(digest.parse().expect("a digest")).await.expect("reports");
        let loaded = reports.iter().filter(|report| report.problem.is_none()).count();
        assert_eq!((reports.len(), loaded), (2, 2), "both hosts had loaded it before the activation");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_that_can_not_load_a_release_keeps_it_from_being_activated_unless_told_otherwise() {
    each_database(async |store, url| {
        if store.kind() == DatabaseKind::Sqlite {
            return;
        }
        let stage = Stage::bare(url, SimulatorConfig { artists: 1, ..SimulatorConfig::default() }, |_| {}).await;
        stage.install(&["spotify"]).await;
        let operator = Host::open(stage.host.config().clone(), Clock::system()).await.expect("the host opens");
        // One host has a smaller limit for components than the other.
        let bytes = crate::support::components::plugin("spotify").len() as u64;
        let fleet = Fleet::of(&stage, |config| config.service.name = Some("one".to_owned()));
        let small = Fleet::of(&stage, |config| {
            config.service.name = Some("two".to_owned());
            config.sandbox.component_bytes_max = bytes + 512;
        });
        let (_one, two) = (fleet.start("one"), small.start("two"));
        let large = variant("spotify", "9.0.0", |manifest| {
            manifest.push_str(&format!("\n# {}\n", "large ".repeat(200)));
        });
        let before = active(&operator).await;
        let error = operator.install(&large).await.expect_err("host two can't load it");
        assert!(matches!(error, InstallError::Activate(ActivateError::NotLoadedEverywhere { .. })), "{error}");
        let said = with_causes(&error);
        assert!(said.contains("two: ") && !said.contains("one: ") && said.contains("--anyway"), "{said}");
        assert_eq!(active(&operator).await, before, "the active release is unchanged");

        let digest = Digest::of(&large);
        let options = ActivateOptions { anyway: true, cause: SwapCause::Activated, ..ActivateOptions::default() };
        operator.releases().activate(digest, &options).await.expect("activated anyway");
        assert_eq!(active(&operator).await, Some(digest));
        until(IN_THE_END, "a host that says it is not ready", async || {
            let hosts = operator.store().hosts_list(operator.clock().now()).await.expect("hosts are read");
            let states: BTreeMap<_, _> = hosts.into_iter().map(|host| (host.name, host.state)).collect();
            (states["two"] == "not_ready" && states["one"] == "ready").then_some(())
        })
        .await;
        assert!(two.log().contains("can't be loaded"), "{}", two.log());
    })
    .await;
}

async fn active(host: &Host) -> Option<Digest> {
    let platform = crate::support::stage::platform("spotify");
    host.store().active_release_get(&platform).await.expect("read").map(|release| release.digest)
}
