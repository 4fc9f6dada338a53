//! Tests of hosts as processes: killed at any time, paused beyond their leases, and stopped under load.

use std::time::{Duration, Instant};

use backline_model::clock::Clock;
use backline_model::{Run, RunStatus};
use backline_simulator::SimulatorConfig;
use backline_store::{DatabaseKind, Scope};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use rustix::process::Signal;
use sqlx::{Connection as _, PgConnection};
use tokio::time::MissedTickBehavior;

use super::settled;
use crate::support::database::each_database;
use crate::support::fleet::Fleet;
use crate::support::stage::Stage;
use crate::support::tables::{expect_each_once, number};

/// Lease time of batches: short, so that the test sees many takeovers.
const LEASE_MS: u64 = 2_000;

/// Maximum wait on a slow machine.
const IN_THE_END: Duration = Duration::from_secs(900);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hosts_that_are_killed_and_paused_lose_and_duplicate_nothing() {
    each_database(async |store, url| {
        if store.kind() == DatabaseKind::Sqlite {
            return;
        }
        let artists = 2_000;
        let simulator = SimulatorConfig {
            artists,
            date: Clock::system().now().date_naive(),
            // A host may be killed after a platform sent a new token and before the host stored it. Another test covers
            // platforms without a grace period.
            tiktok_grace_seconds: 3_600,
            ..SimulatorConfig::default()
        };
        let quota = simulator.youtube_quota;
        let stage = Stage::set(url, simulator, |config| {
            config.schedules.clear();
            config.collection.lease_ttl_ms = LEASE_MS;
            config.service.leader_ttl_ms = LEASE_MS;
            // A kill uses up an attempt of the batches in progress, and there are many kills.
            config.collection.attempts_max = 1_000;
        })
        .await;
        let fleet = Fleet::of(&stage, |_| {});
        let mut hosts: Vec<_> = ["one", "two", "three"].iter().map(|name| (*name, fleet.start(name))).collect();
        let mut paused: Option<(usize, Instant)> = None;
        let mut dice = StdRng::seed_from_u64(7);
        let (mut kills, mut pauses) = (0_usize, 0_usize);
        let mut misfortune = tokio::time::interval(Duration::from_millis(3_000));
        // However long a host takes to start: the others have this time for work after it.
        misfortune.set_missed_tick_behavior(MissedTickBehavior::Delay);
        misfortune.tick().await;
        let run: Run = loop {
            misfortune.tick().await;
            let victim = dice.random_range(0..hosts.len());
            if let Some((index, since)) =
                paused.take_if(|(_, since)| since.elapsed() > 2 * Duration::from_millis(LEASE_MS))
            {
                hosts[index].1.signal(Signal::CONT);
                pauses += 1;
                assert!(
                    since.elapsed() > Duration::from_millis(LEASE_MS),
                    "the host resumes after its leases have expired"
                );
            } else if paused.is_none() && kills % 2 == 1 {
                let index = (victim + 1) % hosts.len();
                hosts[index].1.signal(Signal::STOP);
                paused = Some((index, Instant::now()));
            }
            if paused.is_none_or(|(index, _)| index != victim) {
                let (name, host) = &mut hosts[victim];
                host.kill();
                *host = fleet.start(name);
            }
            kills += 1;
            let runs = stage.host.store().runs_list(&Scope::all_tenants(), 10, None).await.expect("runs are read");
            if let Some(run) = runs.into_iter().next().filter(|run| run.status != RunStatus::Running) {
                break run;
            }
            assert!(kills < 200, "the run does not end");
        };
        assert!(kills >= 3 && pauses >= 1, "{kills} kills, {pauses} pauses: too few for this test");
        let accounts = i64::from(artists) * 5;
        assert_eq!(
            (run.counts.planned, run.counts.collected, run.counts.failed, run.counts.deferred),
            (accounts.cast_unsigned(), accounts.cast_unsigned(), 0, 0),
            "{run:?}"
        );
        let mut database = PgConnection::connect(url).await.expect("the database answers");
        expect_each_once(&mut database, accounts).await;
        let counts = stage.simulator.counts();
        assert!(counts.units("youtube") <= quota, "{} of {quota} units", counts.units("youtube"));
        assert_eq!(counts.statuses.get(&403), None, "the platform never reported a spent quota");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_host_loses_no_batch_and_runs_none_twice() {
    each_database(async |store, url| {
        if store.kind() == DatabaseKind::Sqlite {
            return;
        }
        let simulator = SimulatorConfig {
            artists: 1_000,
            date: Clock::system().now().date_naive(),
            latency_ms: 20,
            ..SimulatorConfig::default()
        };
        let stage = Stage::installed(url, simulator, |config| config.schedules.clear()).await;
        let everybody: Vec<u32> = (0..1_000).collect();
        stage.import_of(&everybody, &["youtube", "spotify", "apple_music"], |_| "default".to_owned()).await;
        // Long enough for what is under way on a loaded machine.
        let deadline = Duration::from_secs(60);
        let fleet = Fleet::of(&stage, |config| config.service.stop_deadline_ms = 60_000);
        let mut database = PgConnection::connect(url).await.expect("the database answers");

        let mut first = fleet.start("first");
        crate::support::fleet::until(Duration::from_secs(120), "work under way", async || {
            let done = number(&mut database, "SELECT COUNT(*) FROM batches WHERE finished_at IS NOT NULL").await;
            (done >= 5).then_some(())
        })
        .await;
        first.signal(Signal::TERM);
        // It ends as soon as what is under way has ended, long before its deadline.
        let status = first.ended(deadline).await;
        assert!(status.success(), "{status}: {}", first.log());
        let held = number(&mut database, "SELECT COUNT(*) FROM batches WHERE state = 'leased'").await;
        assert_eq!(held, 0, "no batch is left leased");
        let open = number(&mut database, "SELECT COUNT(*) FROM batches WHERE finished_at IS NULL").await;
        assert!(open > 0, "the host stopped while there was work left");

        let _second = fleet.start("second");
        let run = settled(&stage, IN_THE_END).await;
        assert_eq!((run.counts.collected, run.counts.failed), (3_000, 0), "{run:?}");
        expect_each_once(&mut database, 3_000).await;
        let again = number(&mut database, "SELECT COUNT(*) FROM outcomes_all WHERE attempts <> 1").await;
        assert_eq!(again, 0, "no account took a second attempt");
        let counts = stage.simulator.counts();
        for (platform, operation) in [("youtube", "GET /youtube/v3/channels"), ("spotify", "GET /v1/artists")] {
            let batches = format!("SELECT COUNT(*) FROM batches WHERE platform = '{platform}'");
            let batches = number(&mut database, &batches).await.cast_unsigned();
            assert_eq!(counts.operation(operation), batches, "each batch asked {platform} once");
        }
    })
    .await;
}
