//! Test of a hundred activations while a service collects at full speed. `cargo xtask bench` measures that they delay
//! nothing.

use std::time::{Duration, Instant};

use backline::pipeline::service::Service;
use backline::pipeline::{ActivateOptions, Host};
use backline_model::Digest;
use backline_model::clock::Clock;
use backline_simulator::SimulatorConfig;
use backline_store::{DatabaseKind, Scope};
use chrono::{DateTime, TimeDelta, Utc};
use sqlx::{Connection as _, PgConnection, Row as _};

use crate::support::database::each_database;
use crate::support::fleet::until;
use crate::support::host::HostExt as _;
use crate::support::stage::Stage;
use crate::support::tables::{expect_each_once, number};
use crate::support::variants::{replace, variant};

const ARTISTS: u32 = 3_000;

/// Connectors that are swapped with another release, and the batch sizes in their manifests.
const CONNECTORS: [(&str, &str); 2] = [("youtube", "batch_size = 50"), ("spotify", "batch_size = 50")];

/// Accounts per batch: few, so that there are many batches.
const BATCH_SIZE: u32 = 5;

/// Number of swapping phases, with pauses between them.
const SPELLS: u32 = 10;

/// Activations per phase.
const SWAPS: u32 = 10;

/// Maximum wait on a slow machine.
const IN_THE_END: Duration = Duration::from_secs(600);

/// Maximum time between the start of a batch and the choice of its release: the lease is one statement, which a loaded
/// machine may keep waiting.
const LEASED_WITHIN: TimeDelta = TimeDelta::seconds(10);

/// An activation, as observed by the caller.
struct Swap {
    asked: DateTime<Utc>,
    done: DateTime<Utc>,
    platform: &'static str,
    release: Digest,
}

/// A finished batch.
struct Collected {
    platform: String,
    release: Digest,
    began: DateTime<Utc>,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_swaps_under_load_fail_lose_and_duplicate_nothing() {
    each_database(async |store, url| {
        if store.kind() == DatabaseKind::Sqlite {
            return;
        }
        let simulator = SimulatorConfig {
            artists: ARTISTS,
            regular: true,
            tokens_expire: false,
            youtube_quota: 1_000_000,
            latency_ms: 25,
            date: Clock::system().now().date_naive(),
            ..SimulatorConfig::default()
        };
        let stage = Stage::bare(url, simulator, |config| config.schedules.clear()).await;
        let operator = Host::open(stage.host.config().clone(), Clock::system()).await.expect("the host opens");
        let mut releases = Vec::new();
        for (name, batch_size) in CONNECTORS {
            let mut of_connector = Vec::new();
            for version in ["9.0.0", "9.0.1"] {
                let component = variant(name, version, |manifest| {
                    replace(manifest, batch_size, &format!("batch_size = {BATCH_SIZE}"));
                });
                let quota = ["units", "video_stats"].map(|budget| (budget.to_owned(), 1_000_000)).into();
                let budgets = if name == "youtube" { quota } else { std::collections::BTreeMap::new() };
                of_connector.push(operator.install_with(&component, &budgets).await.expect("installed").digest);
            }
            releases.push(of_connector);
        }
        let everybody: Vec<u32> = (0..ARTISTS).collect();
        stage.import_of(&everybody, &["youtube", "spotify"], |_| "default".to_owned()).await;

        let host = Host::open(stage.host.config().clone(), Clock::system()).await.expect("the host opens");
        let service = Service::start(host).await.expect("the service starts");
        let mut database = PgConnection::connect(url).await.expect("the database answers");
        let batches = until(IN_THE_END, "the plan", async || {
            let batches = number(&mut database, "SELECT COUNT(*) FROM batches").await;
            (batches > 0).then_some(batches)
        })
        .await;
        let mut swaps: Vec<Swap> = Vec::new();
        for spell in 0..SPELLS {
            // Each phase starts when its share of the batches has finished, and the last one long before the end.
            let share = batches * i64::from(2 * spell + 1) / i64::from(2 * SPELLS + 12);
            until(IN_THE_END, "batches that have ended", async || {
                let ended = number(&mut database, "SELECT COUNT(*) FROM batches WHERE finished_at IS NOT NULL").await;
                (ended >= share).then_some(())
            })
            .await;
            for swap in 0..SWAPS {
                let connector = (swap % 2) as usize;
                // The release that is not active: at the start that is the second one.
                let release = releases[connector][((spell * SWAPS + swap) / 2 % 2) as usize];
                let asked = Clock::system().now();
                let activated =
                    operator.releases().activate(release, &ActivateOptions::default()).await.expect("activated");
                let done = Clock::system().now();
                assert!(activated.before.is_some(), "another release was active before");
                assert_eq!(activated.hosts.len(), 1, "the serving host has loaded it before: {activated:?}");
                swaps.push(Swap { asked, done, platform: CONNECTORS[connector].0, release });
            }
        }
        let open = number(&mut database, "SELECT COUNT(*) FROM batches WHERE finished_at IS NULL").await;
        assert!(open > 0, "there was load until the last swap");
        let began = Instant::now();
        let run = until(IN_THE_END, "the run's end", async || {
            let runs = stage.host.store().runs_list(&Scope::all_tenants(), 10, None).await.expect("runs are read");
            runs.into_iter().next().filter(|run| run.finished_at.is_some())
        })
        .await;
        assert!(began.elapsed() < IN_THE_END);

        // Nothing failed, was lost or was duplicated.
        let accounts = u64::from(ARTISTS) * 2;
        assert_eq!((run.counts.planned, run.counts.collected, run.counts.failed), (accounts, accounts, 0), "{run:?}");
        expect_each_once(&mut database, accounts.cast_signed()).await;
        let again = number(&mut database, "SELECT COUNT(*) FROM outcomes_all WHERE attempts <> 1").await;
        assert_eq!(again, 0, "no account took a second attempt");
        let counts = stage.simulator.counts();
        // Some zones may be on the next date, and a batch of theirs may hold one account: Spotify has a path for that.
        let operations: [(&str, &[&str]); 2] =
            [("youtube", &["GET /youtube/v3/channels"]), ("spotify", &["GET /v1/artists", "GET /v1/artists/{id}"])];
        for (platform, operations) in operations {
            let of_platform = format!("SELECT COUNT(*) FROM batches WHERE platform = '{platform}'");
            let of_platform = number(&mut database, &of_platform).await.cast_unsigned();
            let asked: u64 = operations.iter().map(|operation| counts.operation(operation)).sum();
            assert_eq!(asked, of_platform, "each batch asked {platform} once");
        }

        let collected = collected(&mut database).await;
        assert_eq!(collected.len() as i64, batches);
        expect_active_when_begun(&collected, &swaps, &releases);

        // The old releases are unloaded.
        until(IN_THE_END, "as many releases in memory as are active", async || {
            service.status().metrics().await.contains("backline_connectors_loaded 2\n").then_some(())
        })
        .await;
        assert!(service.stop().await, "the service stops cleanly");
    })
    .await;
}

/// Every batch with the release that the rows of its accounts name.
async fn collected(database: &mut PgConnection) -> Vec<Collected> {
    let rows = sqlx::query(
        "SELECT b.platform, b.began_at, b.release_digest,
             (SELECT COUNT(*) FROM batch_accounts a JOIN metrics m ON m.account_id = a.account_id
                 WHERE a.batch_id = b.id AND m.release_digest <> b.release_digest) AS others
         FROM batches b",
    );
    let rows = rows.fetch_all(database).await.expect("batches are read");
    let batch = |row: &sqlx::postgres::PgRow| {
        assert_eq!(row.get::<i64, _>("others"), 0, "rows name the release that collected their batch");
        Collected {
            platform: row.get("platform"),
            release: row.get::<String, _>("release_digest").parse().expect("a digest"),
            began: row.get("began_at"),
        }
    };
    rows.iter().map(batch).collect()
}

/// Each batch was collected with a release that was active when it began.
fn expect_active_when_begun(collected: &[Collected], swaps: &[Swap], releases: &[Vec<Digest>]) {
    for (connector, (platform, _)) in CONNECTORS.into_iter().enumerate() {
        let of_platform: Vec<&Swap> = swaps.iter().filter(|swap| swap.platform == platform).collect();
        // The longest possible time for which each was active. Before the first swap that is the second release.
        let mut active = vec![(DateTime::<Utc>::MIN_UTC, of_platform[0].done, releases[connector][1])];
        for (index, swap) in of_platform.iter().enumerate() {
            let until = of_platform.get(index + 1).map_or(DateTime::<Utc>::MAX_UTC, |next| next.done);
            active.push((swap.asked, until, swap.release));
        }
        let mut with_each = std::collections::BTreeMap::<Digest, u32>::new();
        for batch in collected.iter().filter(|batch| batch.platform == platform) {
            *with_each.entry(batch.release).or_default() += 1;
            let was_active = active.iter().any(|(from, until, release)| {
                *release == batch.release && *from <= batch.began + LEASED_WITHIN && batch.began <= *until
            });
            assert!(was_active, "{platform}: {} was not active at {}", batch.release, batch.began);
        }
        assert_eq!(with_each.len(), 2, "both releases collected: {with_each:?}");
    }
}
