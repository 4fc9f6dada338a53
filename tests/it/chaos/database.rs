//! A database that fails in every way while two hosts work: they outlive it without a restart, and nothing is lost,
//! stored twice or blamed on an account.

use std::time::{Duration, Instant};

use backline_model::clock::Clock;
use rand::RngExt as _;
use rand::seq::SliceRandom as _;
use rustix::process::{Pid, Signal, kill_process};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

use super::disk::{Disk, Room};
use super::played::{list, played};
use super::world::{WAIT_MAX, World, answers, dice};
use crate::support::fleet::until;
use crate::support::proxy::{Proxy, Slow};
use crate::support::tables::number;

/// Artists that join before each fault.
const GROUP: u32 = 3;

/// Connections that stay free when all others are taken: too few for the hosts' pools, and enough to go on.
const LEFT: usize = 6;

/// By how much the answers of a slow connection come later, as from another country.
const SLOW_BY: Duration = Duration::from_millis(20);

/// What happens to the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// All connections end.
    Cut,
    /// All connections stay open, and nothing comes through them.
    Silent,
    /// Every answer comes late, until the hosts have done their work.
    Slow,
    /// The server crashes and recovers.
    Crashed,
    /// The server is stopped and started again.
    Restarted,
    /// Nothing can be written, as on a standby.
    ReadOnly,
    /// Almost all connections are taken by others.
    Full,
    /// Nothing can be written, because the disk is full.
    NoRoom,
    /// Another program locks a table for longer than a host waits for locks.
    Locked,
}

pub const FAULTS: [Fault; 9] = [
    Fault::Cut,
    Fault::Silent,
    Fault::Slow,
    Fault::Crashed,
    Fault::Restarted,
    Fault::ReadOnly,
    Fault::Full,
    Fault::NoRoom,
    Fault::Locked,
];

/// What stays as it is until the hosts have gone on.
#[derive(Default)]
pub struct Held {
    /// Connections that others have taken.
    _taken: Vec<PgConnection>,
    /// Answers come late.
    _slow: Option<Slow>,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hosts_outlive_a_database_that_fails_in_every_way() {
    let mut dice = dice();
    let mut faults = FAULTS;
    faults.shuffle(&mut dice);
    let groups = u32::try_from(faults.len()).expect("few") + 1;
    let world = World::new(groups, GROUP, |_| {}).await;
    let proxy = Proxy::before(&world.url).await;
    let fleet = world.fleet(|config| config.database.url = proxy.url(&world.url));
    let disk = Disk::of(&world.url).await;
    let hosts = ["one", "two"].map(|name| fleet.start(name));
    proxy.count();
    world.join(0).await;
    world.collected(1).await;
    let usual = proxy.counted();
    assert!(usual > 20, "{usual} round trips: the proxy sees them");
    let mut happened = Vec::new();
    for (group, fault) in (1..).zip(faults) {
        // Taken before there is work: whenever a host comes to the table, it waits.
        let lock = if fault == Fault::Locked { Some(Lock::of(&world).await) } else { None };
        proxy.count();
        world.join(group).await;
        let at = dice.random_range(1..=usual);
        eprintln!("{fault:?} at round trip {at}, {}", Clock::system().now());
        let held = if let Some(lock) = lock {
            lock.wait_until_given_up(&world).await;
            Held::default()
        } else {
            tokio::time::timeout(WAIT_MAX, proxy.reached(at)).await.unwrap_or_else(|_| panic!("{fault:?}: no work"));
            happen(fault, &world, &proxy, &disk, async |reason| {
                for host in &hosts {
                    answers(host, 503, reason).await;
                }
            })
            .await
        };
        world.collected(group + 1).await;
        drop(held);
        for host in &hosts {
            answers(host, 200, "").await;
        }
        happened.push(format!("{fault:?} at {at}"));
    }
    world.expect_right(groups).await;
    played(format!("two hosts, faults at round trips of about {usual}: {}", list(happened)));
}

/// Lets a fault happen. Where nothing can be written, waits until all hosts are unready for that reason. Returns what
/// the hosts have to go on with.
pub async fn happen(
    fault: Fault,
    world: &World,
    proxy: &Proxy,
    disk: &Disk,
    are_unready: impl AsyncFn(&'static str),
) -> Held {
    let server = &mut connection(world).await;
    match fault {
        Fault::Cut => proxy.reset(),
        Fault::Silent => proxy.silence(),
        Fault::Slow => {
            let slow = proxy.slow(SLOW_BY);
            let began = Instant::now();
            let url = proxy.url(&world.url);
            until(WAIT_MAX, "a slow connection is made", async || PgConnection::connect(&url).await.ok()).await;
            assert!(began.elapsed() >= SLOW_BY, "it is slow");
            return Held { _slow: Some(slow), ..Held::default() };
        }
        Fault::Restarted => world.restart_server().await,
        Fault::Crashed => {
            // A backend that is killed makes the server end all others and recover, as after a crash of its own.
            let victim = number(server, "SELECT pg_backend_pid()::bigint").await;
            let pid = Pid::from_raw(i32::try_from(victim).expect("a process id")).expect("a process id");
            kill_process(pid, Signal::KILL).expect("the backend is killed");
            until(WAIT_MAX, "the server's processes are new", async || {
                let mut again = PgConnection::connect(&world.url).await.ok()?;
                let since = "SELECT COUNT(*) FROM pg_stat_activity WHERE pid = ";
                (number(&mut again, &format!("{since}{victim}")).await == 0).then_some(())
            })
            .await;
        }
        Fault::ReadOnly => {
            set_read_only(server, true).await;
            proxy.reset();
            are_unready("make it writable").await;
            set_read_only(server, false).await;
            proxy.reset();
        }
        Fault::Full => {
            let mut taken = Vec::new();
            // Those that the hosts have are freed once, and taken where the test is faster.
            for _ in 0..2 {
                while let Ok(one) = PgConnection::connect(&world.url).await {
                    taken.push(one);
                }
                proxy.reset();
            }
            taken.truncate(taken.len().saturating_sub(LEFT));
            return Held { _taken: taken, ..Held::default() };
        }
        Fault::NoRoom => {
            disk.has(Room::Nothing).await;
            are_unready("the database's disk is full").await;
            disk.has(Room::Everything).await;
        }
        Fault::Locked => Lock::of(world).await.wait_until_given_up(world).await,
    }
    Held::default()
}

/// Another program's lock on a table.
pub struct Lock(PgConnection);

impl Lock {
    /// On a table that every batch writes.
    async fn of(world: &World) -> Self {
        Self::on(world, "metrics", "ACCESS EXCLUSIVE").await
    }

    pub async fn on(world: &World, table: &str, mode: &str) -> Self {
        let mut holder = connection(world).await;
        execute(&mut holder, "BEGIN").await;
        execute(&mut holder, &format!("LOCK TABLE {table} IN {mode} MODE")).await;
        Self(holder)
    }

    pub async fn free(mut self) {
        execute(&mut self.0, "ROLLBACK").await;
    }

    /// Frees the table when a host has given up waiting for it.
    async fn wait_until_given_up(self, world: &World) {
        let waiter = waiter(world).await;
        given_up(world, waiter, WAIT_MAX).await;
        self.free().await;
    }
}

/// The process of the server, on behalf of a host, that waits for another program's lock.
pub async fn waiter(world: &World) -> i64 {
    let mut watching = connection(world).await;
    let waiting = "SELECT COALESCE(MIN(pid), 0)::bigint FROM pg_locks WHERE NOT granted";
    until(WAIT_MAX, "a host waits for the table", async || {
        let pid = number(&mut watching, waiting).await;
        (pid != 0).then_some(pid)
    })
    .await
}

/// Waits until a process of the server no longer waits for a lock.
pub async fn given_up(world: &World, waiter: i64, within: Duration) {
    let mut watching = connection(world).await;
    until(within, "it gives up", async || {
        let still = format!("SELECT COUNT(*) FROM pg_locks WHERE NOT granted AND pid = {waiter}");
        (number(&mut watching, &still).await == 0).then_some(())
    })
    .await;
}

/// A connection of the test's own, once the server has room for one: it notices a moment late that others ended.
async fn connection(world: &World) -> PgConnection {
    until(WAIT_MAX, "the server answers", async || PgConnection::connect(&world.url).await.ok()).await
}

async fn set_read_only(server: &mut PgConnection, is_on: bool) {
    let value = if is_on { "on" } else { "off" };
    execute(server, &format!("ALTER DATABASE postgres SET default_transaction_read_only = {value}")).await;
}

async fn execute(server: &mut PgConnection, statement: &str) {
    sqlx::query(AssertSqlSafe(statement.to_owned())).execute(server).await.expect("done");
}
