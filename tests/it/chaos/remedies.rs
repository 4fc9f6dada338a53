//! Each fault against hosts with all remedies, which survive it, and against hosts with a remedy of that fault switched
//! off: there the same scene breaks, and in the way that is expected. So it is that remedy that helps.
//!
//! Only in a build with the feature `weakened`: `cargo xtask test --suite chaos --long`.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::time::Duration;

use backline::config::{Config, DIES_AT_VARIABLE, FILE_READ_ONLY_VARIABLE, WITHOUT_VARIABLE};
use backline_model::kill_points::Point;
use backline_model::remedies::{Remedy, without};
use backline_store::{ArtistFilter, Scope, Store, StoreOptions};
use futures::FutureExt as _;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};
use tokio::task::JoinSet;

use super::clocks::Jumping;
use super::database::{FAULTS, Fault, Lock, given_up, happen, waiter};
use super::disk::{Disk, Room};
use super::played::played;
use super::world::{WAIT_MAX, World, answers, answers_within, number};
use crate::support::alone::alone;
use crate::support::fleet::{Fleet, HostProcess, until};
use crate::support::proxy::Proxy;
use crate::support::tables;

/// Artists that join at a time.
const GROUP: u32 = 2;

/// How long a host without the remedy has for what a host with it does within a few seconds. No limit of the database
/// ends a wait before: a transaction that stands still ends after 60 s.
const BROKEN_AFTER: Duration = Duration::from_secs(30);

/// A limit of statements or locks that no scene reaches, in milliseconds.
const NO_LIMIT_MS: u64 = 600_000;

/// A limit of statements that a slow server passes, in milliseconds, and by how much its answers come later.
const SLOW_LIMIT_MS: u64 = 5_000;
const SLOWER: Duration = Duration::from_secs(6);

/// Lease time of batches that no scene reaches, in milliseconds: a lease is not renewed while results are stored.
const LONG_LEASE_MS: u64 = 120_000;

/// Connections of a server that stay free when others have taken the rest.
const FEW: usize = 2;

/// By how much a clock is ahead that is wrong by weeks, in seconds.
const WEEKS_S: i64 = 40 * 86_400;

/// What a host logs when it gives a batch back.
const GIVEN_BACK: &str = "a batch could not be collected";

/// One performance of a scene.
struct Play {
    /// The remedy that its hosts lack.
    without: Option<Remedy>,
    /// How long that may take for which the remedy is needed.
    wait_max: Duration,
}

impl Play {
    fn host(&self, fleet: &Fleet, name: &str) -> HostProcess {
        self.host_with(fleet, name, &[])
    }

    /// The same, with more in its environment.
    fn host_with(&self, fleet: &Fleet, name: &str, more: &[(&str, &str)]) -> HostProcess {
        let lacks = self.without.map(|remedy| (WITHOUT_VARIABLE, remedy.name()));
        let environment: Vec<(&str, &str)> = lacks.into_iter().chain(more.iter().copied()).collect();
        fleet.start_with(name, &environment)
    }

    /// A host on a world, and the fleet that it is of. It is killed before the world goes.
    async fn on(&self, groups: u32, change: impl FnOnce(&mut Config)) -> (World, Fleet, HostProcess) {
        let world = Box::pin(World::new(groups, GROUP, change)).await;
        let fleet = world.fleet(|_| {});
        let host = self.host(&fleet, "host");
        (world, fleet, host)
    }

    /// The same on a world of two groups, the first of which is collected.
    async fn after_one(&self, change: impl FnOnce(&mut Config)) -> (World, Fleet, HostProcess) {
        let (world, fleet, host) = self.on(2, change).await;
        world.join(0).await;
        world.collected(1).await;
        (world, fleet, host)
    }

    /// A host on a world of one group, and the disk of its database.
    async fn on_a_disk(&self) -> (World, Fleet, Disk, HostProcess) {
        let world = Box::pin(World::new(1, GROUP, |_| {})).await;
        let fleet = world.fleet(|_| {});
        // Before a host is at work.
        let disk = Disk::of(&world.url).await;
        let host = self.host(&fleet, "host");
        (world, fleet, disk, host)
    }
}

/// The scene holds, and without the remedy it breaks with this sentence.
async fn is_shown(remedy: Remedy, breaks: &str, scene: impl AsyncFn(&Play)) {
    let all = Play { without: None, wait_max: WAIT_MAX };
    Box::pin(scene(&all)).await;
    let lacking = Play { without: Some(remedy), wait_max: BROKEN_AFTER };
    let Err(panic) = AssertUnwindSafe(Box::pin(scene(&lacking))).catch_unwind().await else {
        panic!("{}: the scene holds without it, so it shows nothing", remedy.name());
    };
    let told = told(panic.as_ref());
    assert!(told.contains(breaks), "{}: it breaks in another way: {told}", remedy.name());
    played(format!("the scene holds, and without `{}` it breaks: {breaks}", remedy.name()));
}

fn told(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("it says nothing")
}

/// Tests by scenes of processes, which lack a remedy by their environment: the remedy, the fault of a database that it
/// is against, the scene, and the sentence with which that breaks.
macro_rules! shown_by_processes {
    ($($test:ident: $remedy:ident, $fault:expr, $scene:expr, $breaks:expr;)+) => {
        const SHOWN_BY_PROCESSES: &[(Remedy, Option<Fault>)] = &[$((Remedy::$remedy, $fault)),+];

        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                is_shown(Remedy::$remedy, $breaks, $scene).await;
            }
        )+
    };
}

/// The same by scenes in a process of their own, since they switch the remedy for the whole process.
macro_rules! shown_alone {
    ($($test:ident: $remedy:ident, $fault:expr, $scene:expr, $breaks:expr;)+) => {
        const SHOWN_ALONE: &[(Remedy, Option<Fault>)] = &[$((Remedy::$remedy, $fault)),+];

        $(
            #[test]
            fn $test() {
                let name = concat!("chaos::remedies::", stringify!($test));
                alone(ALONE, name, is_shown(Remedy::$remedy, $breaks, $scene));
            }
        )+
    };
}

/// Set in the process whose own hosts lack a remedy.
const ALONE: &str = "CHAOS_WITHOUT";

/// What breaks where a batch is given back.
const FETCHED_ONCE: &str = "no batch is fetched a second time";

shown_by_processes! {
    without_a_limit_of_statements_a_silent_connection_is_waited_for:
        StatementLimit, Some(Fault::Silent), a_connection_goes_silent,
        "the connection without an answer is closed";
    without_a_limit_of_locks_a_host_waits_for_another_program:
        LockLimit, Some(Fault::Locked), a_table_is_locked, "it gives up";
    without_isolation_a_row_that_can_not_be_read_ends_all_plans:
        UnreadableRows, None, a_row_can_not_be_read, "2 groups are collected";
    without_results_in_memory_a_batch_is_fetched_twice:
        StoredAgain, Some(Fault::Locked), a_table_is_locked_for_a_moment,
        "a batch is given back, and fetched again";
    without_results_in_memory_connections_that_are_cut_cost_a_fetch:
        StoredAgain, Some(Fault::Cut), async |play| results_wait(play, Fault::Cut).await, FETCHED_ONCE;
    without_results_in_memory_answers_that_are_late_cost_a_fetch:
        StoredAgain, Some(Fault::Slow), async |play| results_wait(play, Fault::Slow).await, FETCHED_ONCE;
    without_results_in_memory_a_server_that_crashes_costs_a_fetch:
        StoredAgain, Some(Fault::Crashed), async |play| results_wait(play, Fault::Crashed).await, FETCHED_ONCE;
    without_results_in_memory_a_server_that_is_restarted_costs_a_fetch:
        StoredAgain, Some(Fault::Restarted), async |play| results_wait(play, Fault::Restarted).await, FETCHED_ONCE;
    without_results_in_memory_sessions_that_end_on_a_full_server_cost_a_fetch:
        StoredAgain, Some(Fault::Full), async |play| results_wait(play, Fault::Full).await, FETCHED_ONCE;
    without_free_outages_a_full_disk_uses_up_attempts:
        OutagesFree, Some(Fault::NoRoom), the_disk_is_full_for_metrics,
        "outcomes after more than one attempt";
    without_free_deaths_a_host_that_dies_uses_up_attempts:
        DeathsFree, None, a_host_dies_with_batches,
        "outcomes after more than one attempt";
    without_a_name_for_it_a_full_disk_is_not_told:
        UnwritableNamed, Some(Fault::NoRoom), the_disk_is_full,
        "/readyz answers 503 with 'the database's disk is full'";
    without_a_name_for_it_a_read_only_database_is_not_told:
        UnwritableNamed, Some(Fault::ReadOnly), the_database_is_read_only,
        "/readyz answers 503 with 'make it writable'";
    without_a_name_for_it_a_read_only_file_is_not_told:
        UnwritableNamed, Some(Fault::ReadOnly), a_file_is_read_only,
        "/readyz answers 503 with 'make it writable'";
    without_a_watchdog_a_host_that_waits_is_ready:
        Watchdog, None, a_loop_waits_for_a_table, "/readyz answers 503 with 'is stuck'";
    without_an_end_of_roles_no_host_plans:
        RolesAhead, None, a_role_is_held_for_weeks, "1 groups are collected";
    without_a_journal_a_token_is_lost_with_its_host:
        TokenJournal, None, a_host_dies_with_a_fresh_token, "the platform is asked once";
}

shown_alone! {
    without_a_steady_clock_numbers_are_stored_by_a_clock_that_jumped:
        SteadyClock, None, the_clock_jumps, "numbers of a day that has not come";
    without_an_end_of_roles_no_host_plans_on_a_file:
        RolesAhead, None, a_role_is_held_on_a_file, "1 groups are collected";
    without_another_look_a_full_server_is_waited_for_beside_a_free_connection:
        FewConnections, Some(Fault::Full), a_connection_comes_back,
        "the connection that came back is used";
}

#[test]
fn every_remedy_and_every_fault_of_a_database_has_its_test() {
    let shown = || SHOWN_BY_PROCESSES.iter().chain(SHOWN_ALONE);
    for remedy in Remedy::ALL {
        assert!(shown().any(|(of, _)| of == remedy), "{}: no test switches it off", remedy.name());
    }
    for fault in FAULTS {
        assert!(shown().any(|(_, of)| *of == Some(fault)), "{fault:?}: no test switches a remedy of it off");
    }
}

/// A host's statement is carried out, and the answer does not come.
async fn a_connection_goes_silent(play: &Play) {
    let world = World::new(2, GROUP, |config| config.database.lock_timeout_ms = NO_LIMIT_MS).await;
    let proxy = Proxy::before(&world.url).await;
    let fleet = world.fleet(|config| config.database.url = proxy.url(&world.url));
    let host = play.host(&fleet, "host");
    world.join(0).await;
    world.collected(1).await;
    // Readers pass: what waits is a batch that is to be stored.
    let lock = Lock::on(&world, "metrics", "SHARE").await;
    world.join(1).await;
    let waiter = waiter(&world).await;
    proxy.silence();
    lock.free().await;
    let mut database = world.database().await;
    until(play.wait_max, "the connection without an answer is closed", async || {
        let open = format!("SELECT COUNT(*) FROM pg_stat_activity WHERE pid = {waiter}");
        (number(&mut database, &open).await == 0).then_some(())
    })
    .await;
    all_is_right(&world, &host, 2, WAIT_MAX).await;
}

/// Another program locks a table for as long as it likes.
async fn a_table_is_locked(play: &Play) {
    let (world, _fleet, host) = play.after_one(|config| config.database.statement_timeout_ms = NO_LIMIT_MS).await;
    let lock = Lock::on(&world, "metrics", "SHARE").await;
    world.join(1).await;
    let waiter = waiter(&world).await;
    given_up(&world, waiter, play.wait_max).await;
    lock.free().await;
    all_is_right(&world, &host, 2, WAIT_MAX).await;
}

/// Another program locks a table until a host gives up once.
async fn a_table_is_locked_for_a_moment(play: &Play) {
    // A lease is not renewed while results are stored.
    let (world, _fleet, host) = play.after_one(|config| config.collection.lease_ttl_ms = 60_000).await;
    let lock = Lock::on(&world, "metrics", "SHARE").await;
    world.join(1).await;
    let waiter = waiter(&world).await;
    given_up(&world, waiter, WAIT_MAX).await;
    lock.free().await;
    world.collected(2).await;
    assert!(!host.log().contains(GIVEN_BACK), "a batch is given back, and fetched again: {}", host.log());
    world.expect_right(2).await;
}

/// Something happens to the database while all results of a group wait to be stored. Their host still has them when it
/// is over.
async fn results_wait(play: &Play, fault: Fault) {
    let world = Box::pin(World::new(2, GROUP, |config| {
        config.collection.lease_ttl_ms = LONG_LEASE_MS;
        config.database.lock_timeout_ms = NO_LIMIT_MS;
        config.database.statement_timeout_ms = if fault == Fault::Slow { SLOW_LIMIT_MS } else { NO_LIMIT_MS };
    }))
    .await;
    let (proxy, disk) = (Proxy::before(&world.url).await, Disk::of(&world.url).await);
    // A server that is away refuses connections, which hosts wait for. The proxy would accept them, and end them.
    let is_away = matches!(fault, Fault::Crashed | Fault::Restarted);
    let fleet = world.fleet(|config| {
        if !is_away {
            config.database.url = proxy.url(&world.url);
        }
    });
    let host = play.host(&fleet, "host");
    world.join(0).await;
    world.collected(1).await;
    // Readers pass.
    let lock = Lock::on(&world, "metrics", "SHARE").await;
    world.join(1).await;
    let sessions = all_wait(&world).await;
    match fault {
        Fault::Slow => {
            let slow = proxy.slow(SLOWER);
            lock.free().await;
            let mut server = PgConnection::connect(&world.url).await.expect("the server answers");
            gone(&mut server, &sessions).await;
            drop(slow);
        }
        Fault::Full => sessions_end_on_a_full_server(&world, &sessions, lock).await,
        _ => {
            drop(happen(fault, &world, &proxy, &disk, async |_| {}).await);
            if is_away {
                // It went with the server.
                drop(lock);
            } else {
                lock.free().await;
            }
        }
    }
    world.collected(2).await;
    // Each asks for all of its accounts with one such request.
    let batches = "SELECT COUNT(*) FROM batches WHERE platform IN ('youtube', 'apple_music')";
    let batches = number(&mut world.database().await, batches).await;
    let counts = world.stage.simulator.counts();
    let asked = ["GET /youtube/v3/channels", "GET /v1/catalog/{storefront}/artists"];
    let asked: u64 = asked.iter().map(|name| counts.operation(name)).sum();
    assert_eq!(i64::try_from(asked), Ok(batches), "{FETCHED_ONCE}");
    all_is_right(&world, &host, 2, WAIT_MAX).await;
}

/// Waits until every account that is to be collected is in a batch whose results wait for a table. Returns the
/// processes of the server that wait, one for each batch.
async fn all_wait(world: &World) -> Vec<i64> {
    let mut watching = PgConnection::connect(&world.url).await.expect("the server answers");
    until(WAIT_MAX, "all results wait for the table", async || {
        let waiting = "SELECT DISTINCT pid::bigint FROM pg_locks WHERE NOT granted";
        let sessions: Vec<i64> = sqlx::query_scalar(waiting).fetch_all(&mut watching).await.expect("locks are read");
        let open = tables::number(&mut watching, "SELECT COUNT(*) FROM batches WHERE finished_at IS NULL").await;
        let accounts = "SELECT COUNT(*) FROM batch_accounts m JOIN batches b ON b.id = m.batch_id
             WHERE b.finished_at IS NULL";
        let are_all = tables::number(&mut watching, accounts).await == world.accounts(1);
        (are_all && i64::try_from(sessions.len()) == Ok(open)).then_some(sessions)
    })
    .await
}

/// Waits until processes of the server are gone.
async fn gone(server: &mut PgConnection, processes: &[i64]) {
    let list: Vec<String> = processes.iter().map(i64::to_string).collect();
    let still = format!("SELECT COUNT(*) FROM pg_stat_activity WHERE pid IN ({})", list.join(", "));
    until(WAIT_MAX, "these sessions are over", async || {
        let left = tables::number(server, &still).await;
        (left == 0).then_some(())
    })
    .await;
}

/// Takes every connection that a server has left.
async fn take_all(world: &World, taken: &mut Vec<PgConnection>) {
    until(WAIT_MAX, "every connection is taken", async || {
        let before = taken.len();
        while let Ok(one) = PgConnection::connect(&world.url).await {
            taken.push(one);
        }
        // The server notices a moment late that others have ended.
        (before > 0 && taken.len() == before).then_some(())
    })
    .await;
}

/// Others take every connection of the server, and those of sessions that it ends, until what these would have stored
/// is stored.
async fn sessions_end_on_a_full_server(world: &World, sessions: &[i64], lock: Lock) {
    let mut taken = Vec::new();
    take_all(world, &mut taken).await;
    for session in sessions {
        let end = AssertSqlSafe(format!("SELECT pg_terminate_backend({session})"));
        taken[0].execute(end).await.expect("the session is ended");
    }
    gone(&mut taken[0], sessions).await;
    take_all(world, &mut taken).await;
    taken.truncate(taken.len().saturating_sub(FEW).max(1));
    lock.free().await;
    let server = &mut taken[0];
    until(WAIT_MAX, "what waited is stored", async || {
        let open = tables::number(server, "SELECT COUNT(*) FROM batches WHERE finished_at IS NULL").await;
        (open == 0).then_some(())
    })
    .await;
}

/// Others take every connection of a server but the one that a host has, and which comes back while the host waits for
/// another one.
async fn a_connection_comes_back(play: &Play) {
    without(play.without);
    let world = Box::pin(World::new(1, 1, |_| {})).await;
    let options = StoreOptions { connections_max: 4, ..StoreOptions::default() };
    let store = Store::open(&world.url, options).await.expect("the database opens");
    let mut holder = PgConnection::connect(&world.url).await.expect("the server answers");
    for statement in ["BEGIN", "LOCK TABLE artists IN ACCESS EXCLUSIVE MODE"] {
        holder.execute(statement).await.expect("the table is locked");
    }
    let mut first = JoinSet::new();
    let reader = store.clone();
    first.spawn(async move {
        let read = reader.artists_list(&Scope::all_tenants(), &ArtistFilter::default()).await;
        read.expect("artists are read");
    });
    until(WAIT_MAX, "the one connection waits", async || {
        let waiting = tables::number(&mut holder, "SELECT COUNT(*) FROM pg_locks WHERE NOT granted").await;
        (waiting == 1).then_some(())
    })
    .await;
    let mut taken = Vec::new();
    take_all(&world, &mut taken).await;
    let mut second = pin!(store.schema_check());
    assert!(second.as_mut().now_or_never().is_none(), "no connection is free");
    holder.execute("ROLLBACK").await.expect("the table is free");
    first.join_next().await.expect("it was asked for").expect("it does not panic");
    second.await.expect("the connection that came back is used");
}

/// Another program writes a row that is the first of a list and can't be read.
async fn a_row_can_not_be_read(play: &Play) {
    let (world, _fleet, host) = play.after_one(|_| {}).await;
    let artist = world.stage.simulator.world().artist(0).id;
    let row = format!(
        "INSERT INTO activations (artist_id, platform, cause, at)
         VALUES ('{artist}', 'No Name', 'whim', now() - INTERVAL '1 day')"
    );
    let mut database = world.database().await;
    database.execute(AssertSqlSafe(row)).await.expect("the database lets it through");
    world.join(1).await;
    all_is_right(&world, &host, 2, play.wait_max).await;
}

/// The disk is full where rows of metrics are, until a batch could not be stored.
async fn the_disk_is_full_for_metrics(play: &Play) {
    let (world, _fleet, disk, host) = play.on_a_disk().await;
    disk.has(Room::NoMetrics).await;
    world.join(0).await;
    until(WAIT_MAX, "a batch is given back", async || host.log().contains(GIVEN_BACK).then_some(())).await;
    disk.has(Room::Everything).await;
    all_is_right(&world, &host, 1, WAIT_MAX).await;
}

/// The disk is full for everything.
async fn the_disk_is_full(play: &Play) {
    let (_world, _fleet, disk, host) = play.on_a_disk().await;
    disk.has(Room::Nothing).await;
    answers_within(&host, 503, "the database's disk is full", play.wait_max).await;
    disk.has(Room::Everything).await;
    answers(&host, 200, "").await;
}

/// Nothing can be written to a database, as after a failover.
async fn the_database_is_read_only(play: &Play) {
    let world = World::new(1, GROUP, |_| {}).await;
    let (proxy, disk) = (Proxy::before(&world.url).await, Disk::of(&world.url).await);
    let fleet = world.fleet(|config| config.database.url = proxy.url(&world.url));
    let host = play.host(&fleet, "host");
    let is_unready = async |reason: &'static str| {
        answers_within(&host, 503, reason, play.wait_max).await;
    };
    drop(happen(Fault::ReadOnly, &world, &proxy, &disk, is_unready).await);
    world.join(0).await;
    all_is_right(&world, &host, 1, WAIT_MAX).await;
}

/// Nothing can be written to a file while a host collects. Modes of files don't stop tests that run as root, and a file
/// system can't be mounted without rights, so the host's connections are told to write nothing: SQLite itself refuses
/// it, with the error that such a file gives.
async fn a_file_is_read_only(play: &Play) {
    let folder = tempfile::tempdir().expect("a folder");
    let world = Box::pin(World::on_a_file(folder.path(), 2, GROUP, |_| {})).await;
    let fleet = world.fleet(|_| {});
    let mark = folder.path().join("read-only");
    let host = play.host_with(&fleet, "host", &[(FILE_READ_ONLY_VARIABLE, mark.to_str().expect("a text"))]);
    world.join(0).await;
    world.collected(1).await;
    world.join(1).await;
    std::fs::write(&mark, "").expect("it is read-only");
    answers_within(&host, 503, "make it writable", play.wait_max).await;
    std::fs::remove_file(&mark).expect("it is writable");
    all_is_right(&world, &host, 2, WAIT_MAX).await;
}

/// A host dies with batches in its hands, and another one collects them.
async fn a_host_dies_with_batches(play: &Play) {
    let world = World::new(1, GROUP, |_| {}).await;
    let fleet = world.fleet(|_| {});
    let mut victim = play.host_with(&fleet, "victim", &[(DIES_AT_VARIABLE, Point::BatchFetched.name())]);
    world.join(0).await;
    died(&mut victim).await;
    let host = play.host(&fleet, "other");
    all_is_right(&world, &host, 1, WAIT_MAX).await;
}

/// The workers of a host wait for a table, and no limit ends that.
async fn a_loop_waits_for_a_table(play: &Play) {
    let (world, _fleet, host) = play
        .on(1, |config| {
            config.database.lock_timeout_ms = NO_LIMIT_MS;
            config.database.statement_timeout_ms = NO_LIMIT_MS;
            config.service.stuck_after_ms = 1_000;
        })
        .await;
    answers(&host, 200, "").await;
    let lock = Lock::on(&world, "batches", "ACCESS EXCLUSIVE").await;
    answers_within(&host, 503, "is stuck", play.wait_max).await;
    lock.free().await;
    answers(&host, 200, "").await;
    world.join(0).await;
    world.collected(1).await;
    world.expect_right(1).await;
}

/// The clock of a host jumps by a day before it collects.
async fn the_clock_jumps(play: &Play) {
    without(play.without);
    let world = World::new(2, GROUP, |_| {}).await;
    let host = Jumping::start(&world, "one").await;
    world.join(0).await;
    world.collected(1).await;
    host.jump(86_400);
    world.join(1).await;
    let mut database = world.database().await;
    until(WAIT_MAX, "the host says that its clock is wrong, or collects by it", async || {
        let problems = host.service.readiness().await.problems;
        let says_so = problems.iter().any(|problem| problem.contains("clock jumped"));
        let rows = number(&mut database, "SELECT COUNT(*) FROM metrics").await;
        (says_so || rows > world.accounts(1)).then_some(())
    })
    .await;
    let ahead = "SELECT COUNT(*) FROM metrics WHERE observed_at > now() + INTERVAL '5 minutes'";
    assert_eq!(number(&mut database, ahead).await, 0, "numbers of a day that has not come");
    host.jump(0);
    world.collected(2).await;
    world.expect_right(2).await;
    assert!(host.service.stop().await, "it stops cleanly");
}

/// The scheduler's role was taken by a host whose clock was ahead by weeks, and which is gone.
async fn a_role_is_held_for_weeks(play: &Play) {
    let world = World::new(1, GROUP, |_| {}).await;
    let fleet = world.fleet(|_| {});
    let mut database = world.database().await;
    let role = "INSERT INTO leaders (role, holder, term, expires_at)
                VALUES ('scheduler', 'gone', 7, now() + INTERVAL '40 days')";
    database.execute(role).await.expect("the role is taken");
    let host = play.host(&fleet, "host");
    world.join(0).await;
    all_is_right(&world, &host, 1, play.wait_max).await;
}

/// The same on a file: the host is gone that took the role by a clock that was ahead.
async fn a_role_is_held_on_a_file(play: &Play) {
    without(play.without);
    let folder = tempfile::tempdir().expect("a folder");
    let world = Box::pin(World::on_a_file(folder.path(), 1, GROUP, |_| {})).await;
    let ahead = Jumping::start_with(&world, "gone", WEEKS_S, "* * * * *").await;
    let mut database = world.database().await;
    until(WAIT_MAX, "it has the role for weeks", async || {
        let held = "SELECT COUNT(*) FROM leaders WHERE role = 'scheduler' AND expires_at > date('now', '+30 days')";
        (number(&mut database, held).await == 1).then_some(())
    })
    .await;
    // Without a stop, in which it would resign.
    drop(ahead);
    let host = Jumping::start(&world, "host").await;
    world.join(0).await;
    world.collected_within(1, play.wait_max).await;
    world.expect_right(1).await;
    assert!(host.service.stop().await, "it stops cleanly");
}

/// A host dies when the platform has granted it a token that is not in the database, and starts again.
async fn a_host_dies_with_a_fresh_token(play: &Play) {
    let world = World::new(1, 1, |_| {}).await;
    let fleet = world.fleet(|_| {});
    let mut victim = play.host_with(&fleet, "host", &[(DIES_AT_VARIABLE, Point::RefreshJournalled.name())]);
    // One account, so that one token is granted.
    world.stage.import_of(&[0], &["tiktok"], |_| "default".to_owned()).await;
    died(&mut victim).await;
    let host = play.host(&fleet, "host");
    let mut database = world.database().await;
    // What no file holds is asked for again once the lease of the refresh has expired, after 90 s.
    until(WAIT_MAX, "the token is saved", async || {
        let saved = "SELECT COUNT(*) FROM credentials WHERE account_id IS NOT NULL AND version > 1";
        (number(&mut database, saved).await == 1).then_some(())
    })
    .await;
    let asked = world.stage.simulator.counts().operation("POST /v2/oauth/token/");
    assert_eq!(asked, 1, "the platform is asked once");
    answers(&host, 200, "").await;
}

/// So many groups are collected in time, the host is ready, and nothing is lost or stored twice.
async fn all_is_right(world: &World, host: &HostProcess, groups: u32, within: Duration) {
    world.collected_within(groups, within).await;
    answers(host, 200, "").await;
    world.expect_right(groups).await;
}

/// Waits until a host has died, as by `kill -9`.
async fn died(host: &mut HostProcess) {
    let status = host.ended(WAIT_MAX).await;
    assert_eq!(status.code(), None, "it ended with {status}: {}", host.log());
}
