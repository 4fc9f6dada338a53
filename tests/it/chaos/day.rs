//! A day of the service in minutes: a run each hour, something that goes wrong in most of them, and in the end nothing
//! waits, every row is right and memory is flat.
//!
//! Only with `cargo xtask test --suite chaos --long`.

use std::path::Path;
use std::time::Instant;

use backline::config::DatabaseConfig;
use backline::pipeline::service::Service;
use backline_model::clock::Clock;
use backline_model::{CatchUp, Overlap, ScheduleSpec};
use backline_simulator::Platform as SimPlatform;
use backline_store::{MetricsFilter, Scope};
use chrono::{DateTime, TimeDelta, Utc};
use rand::RngExt as _;
use rand::seq::IndexedRandom as _;

use super::database::{FAULTS, Fault, Held, happen};
use super::disk::Disk;
use super::played::{list, played};
use super::world::{WAIT_MAX, World, dice, number};
use crate::pipeline::assert_truth;
use crate::support::alone::alone;
use crate::support::fleet::until;
use crate::support::long::is_long;
use crate::support::proxy::Proxy;
use crate::support::stage::noon;

const ARTISTS: u32 = 12;

/// Hours of a day, with a run in each.
const HOURS: i64 = 24;

/// Hours after which what is compiled is loaded and every loop has turned.
const WARM: usize = 8;

/// How much more memory the process may have in the last hours than when it was warm, in bytes: what is in the hands of
/// one host at a time.
const GROWTH_MAX: u64 = 64 << 20;

/// Set in the process that spends the day, whose memory no other test shares.
const ALONE: &str = "CHAOS_DAY";

/// What happens in an hour.
#[derive(Clone, Copy, Debug)]
enum Trouble {
    Nothing,
    /// Something of the database's.
    OfDatabase(Fault),
    /// A host ends without handing anything back, and starts again.
    Death,
}

#[test]
fn a_day_of_faults_leaves_no_backlog_no_wrong_row_and_flat_memory() {
    if !is_long() {
        return;
    }
    let name = "chaos::day::a_day_of_faults_leaves_no_backlog_no_wrong_row_and_flat_memory";
    alone(ALONE, name, day());
}

async fn day() {
    let mut dice = dice();
    let world = World::new(1, ARTISTS, |_| {}).await;
    let proxy = Proxy::before(&world.url).await;
    let disk = Disk::of(&world.url).await;
    let states = tempfile::tempdir().expect("a folder");
    let mut hosts = Vec::new();
    for name in ["one", "two"] {
        hosts.push(start(&world, &proxy, states.path(), name).await);
    }
    let start_at = noon(Clock::system().now().date_naive());
    proxy.count();
    world.join(0).await;
    quiet(&world, start_at, 0).await;
    let usual = proxy.counted().max(1);
    let (mut memory, mut troubles) = (Vec::new(), Vec::new());
    for hour in 1..=HOURS {
        // The loops turn between two runs too.
        let half_past = start_at + TimeDelta::hours(hour) - TimeDelta::minutes(30);
        set_time(&world, half_past);
        quiet(&world, half_past, hour - 1).await;
        let now = start_at + TimeDelta::hours(hour) + TimeDelta::seconds(1);
        proxy.count();
        set_time(&world, now);
        let at = dice.random_range(1..=usual);
        tokio::time::timeout(WAIT_MAX, proxy.reached(at)).await.expect("the run begins");
        let fault = *FAULTS.choose(&mut dice).expect("there are some");
        let trouble = match dice.random_range(0..4) {
            0 => Trouble::Nothing,
            1 => Trouble::Death,
            _ => Trouble::OfDatabase(fault),
        };
        troubles.push(format!("{trouble:?}"));
        let mut held = Held::default();
        match trouble {
            Trouble::Nothing => {}
            Trouble::Death => {
                let victim = dice.random_range(0..hosts.len());
                drop(hosts.swap_remove(victim));
                hosts.push(start(&world, &proxy, states.path(), &format!("of-hour-{hour}")).await);
            }
            Trouble::OfDatabase(fault) => {
                let are_unready = async |reason: &'static str| {
                    for host in &hosts {
                        until(WAIT_MAX, reason, async || {
                            let problems = host.readiness().await.problems;
                            problems.iter().any(|problem| problem.contains(reason)).then_some(())
                        })
                        .await;
                    }
                };
                held = happen(fault, &world, &proxy, &disk, are_unready).await;
            }
        }
        quiet(&world, now, hour).await;
        drop(held);
        for host in &hosts {
            until(WAIT_MAX, &format!("ready after {trouble:?}"), async || host.readiness().await.ready.then_some(()))
                .await;
        }
        memory.push(resident());
    }
    expect_right(&world).await;
    played(format!("two hosts, {HOURS} hours: {}", list(troubles)));
    let warm = memory[WARM..WARM + 4].iter().max().copied().unwrap_or_default();
    let last = memory[memory.len() - 4..].iter().min().copied().unwrap_or_default();
    assert!(last <= warm + GROWTH_MAX, "memory grows: {memory:?}");
    for host in hosts {
        assert!(host.stop().await, "it stops cleanly");
    }
}

/// Starts a host on the world's clock.
async fn start(world: &World, proxy: &Proxy, states: &Path, name: &str) -> Service {
    let hourly = ScheduleSpec {
        cron: "0 * * * *".to_owned(),
        catch_up: CatchUp::Last,
        overlap: Overlap::Queue,
        ..ScheduleSpec::default()
    };
    let host = world.stage.another_host(|config| {
        config.database = DatabaseConfig { url: proxy.url(&world.url), ..world.hosts.clone() };
        config.service.name = Some(name.to_owned());
        config.service.poll_ms = 50;
        config.service.state_dir = Some(states.join(name));
        config.schedules = [("hourly".to_owned(), hourly)].into();
    });
    Service::start(host.await).await.expect("it starts")
}

/// Sets the clocks of hosts and platforms.
fn set_time(world: &World, now: DateTime<Utc>) {
    world.stage.simulator.set_now(now);
    world.stage.set_time(now);
}

/// Waits until so many runs have been started and nothing is open. The clock goes on meanwhile, so that leases of those
/// who died run out.
async fn quiet(world: &World, since: DateTime<Utc>, runs: i64) {
    let mut database = world.database().await;
    let began = Instant::now();
    until(WAIT_MAX, &format!("{runs} runs are over"), async || {
        let elapsed = TimeDelta::from_std(began.elapsed()).expect("a short time");
        world.stage.set_time(since + elapsed);
        let otherwise = "SELECT COUNT(*) FROM outcomes_all WHERE outcome <> 'collected' OR attempts <> 1";
        assert_eq!(number(&mut database, otherwise).await, 0, "every account is collected by its first attempt");
        let open = number(&mut database, "SELECT COUNT(*) FROM batches WHERE finished_at IS NULL").await;
        let unfinished = number(&mut database, "SELECT COUNT(*) FROM runs WHERE finished_at IS NULL").await;
        let fires = number(&mut database, "SELECT COUNT(*) FROM schedule_fires WHERE decision = 'started'").await;
        let collected = number(&mut database, "SELECT COUNT(*) FROM outcomes_all WHERE outcome = 'collected'").await;
        // The first collection, and one for each run.
        let expected = world.accounts(1) * (runs + 1);
        (open == 0 && unfinished == 0 && fires == runs && collected == expected).then_some(())
    })
    .await;
}

/// Every row has the numbers that the platform had when it was observed.
async fn expect_right(world: &World) {
    let simulated = world.stage.simulator.world();
    let filter = MetricsFilter { limit: Some(10_000), ..MetricsFilter::default() };
    let rows = world.stage.host.store().metrics_list(&Scope::all_tenants(), &filter).await.expect("rows are read");
    let accounts: std::collections::BTreeSet<_> = rows.iter().map(|row| row.account_id).collect();
    assert_eq!(i64::try_from(accounts.len()).expect("few"), world.accounts(1), "every account has rows");
    for row in &rows {
        let index = (0..ARTISTS).find(|index| simulated.artist(*index).id == row.artist_id.0).expect("an artist");
        let sim = SimPlatform::ALL.into_iter().find(|sim| sim.as_str() == row.platform.as_str()).expect("a platform");
        let date = row.observed_at.date_naive();
        let expected = simulated.expected_in(sim, index, date, row.window.since, row.window.until);
        assert_truth(row, &expected, &format!("{} of artist {index} on {}", row.platform, row.metric_date));
    }
    let statuses = world.stage.simulator.counts().statuses;
    assert_eq!(statuses.get(&403), None, "no allowance was overspent");
}

/// Memory of this process, in bytes.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux tells a process of itself");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("the field is there");
    let kib: u64 = line.split_whitespace().nth(1).and_then(|text| text.parse().ok()).expect("a number");
    kib << 10
}
