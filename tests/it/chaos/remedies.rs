//! Each fault against hosts with all remedies, which survive it, and against hosts with the remedy of that fault
//! switched off: there the same scene breaks, and in the way that is expected. So it is that remedy that helps.
//!
//! Only in a build with the feature `weakened`: `cargo xtask test --suite chaos --long`.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use backline::config::{Config, DIES_AT_VARIABLE, WITHOUT_VARIABLE};
use backline_model::kill_points::Point;
use backline_model::remedies::{Remedy, without};
use futures::FutureExt as _;
use sqlx::{AssertSqlSafe, Executor as _};

use super::clocks::Jumping;
use super::database::{Lock, given_up, waiter};
use super::disk::{Disk, Room};
use super::world::{WAIT_MAX, World, answers, answers_within, number};
use crate::support::alone::alone;
use crate::support::fleet::{Fleet, HostProcess, until};
use crate::support::proxy::Proxy;

/// Artists that join at a time.
const GROUP: u32 = 2;

/// How long a host without the remedy has for what a host with it does within a few seconds. No limit of the database
/// ends a wait before: a transaction that stands still ends after 60 s.
const BROKEN_AFTER: Duration = Duration::from_secs(30);

/// A limit of statements or locks that no scene reaches, in milliseconds.
const NO_LIMIT_MS: u64 = 600_000;

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

/// Plays the scene that shows what a remedy is for.
async fn play(remedy: Remedy, play: &Play) {
    match remedy {
        Remedy::StatementLimit => Box::pin(a_connection_goes_silent(play)).await,
        Remedy::LockLimit => Box::pin(a_table_is_locked(play)).await,
        Remedy::UnreadableRows => Box::pin(a_row_can_not_be_read(play)).await,
        Remedy::StoredAgain => Box::pin(a_table_is_locked_for_a_moment(play)).await,
        Remedy::OutagesFree => Box::pin(the_disk_is_full_for_metrics(play)).await,
        Remedy::DeathsFree => Box::pin(a_host_dies_with_batches(play)).await,
        Remedy::UnwritableNamed => Box::pin(the_disk_is_full(play)).await,
        Remedy::Watchdog => Box::pin(a_loop_waits_for_a_table(play)).await,
        Remedy::SteadyClock => Box::pin(the_clock_jumps(play)).await,
        Remedy::RolesAhead => Box::pin(a_role_is_held_for_weeks(play)).await,
        Remedy::TokenJournal => Box::pin(a_host_dies_with_a_fresh_token(play)).await,
    }
}

/// What the scene says when it breaks.
fn breaks(remedy: Remedy) -> &'static str {
    match remedy {
        Remedy::StatementLimit => "the connection without an answer is closed",
        Remedy::LockLimit => "it gives up",
        Remedy::UnreadableRows => "2 groups are collected",
        Remedy::StoredAgain => "a batch is given back, and fetched again",
        Remedy::OutagesFree | Remedy::DeathsFree => "outcomes after more than one attempt",
        Remedy::UnwritableNamed => "/readyz answers 503 with 'the database's disk is full'",
        Remedy::Watchdog => "/readyz answers 503 with 'is stuck'",
        Remedy::SteadyClock => "numbers of a day that has not come",
        Remedy::RolesAhead => "1 groups are collected",
        Remedy::TokenJournal => "the platform is asked once",
    }
}

/// The scene holds, and breaks without the remedy.
async fn is_shown(remedy: Remedy) {
    play(remedy, &Play { without: None, wait_max: WAIT_MAX }).await;
    let lacking = Play { without: Some(remedy), wait_max: BROKEN_AFTER };
    let Err(panic) = AssertUnwindSafe(play(remedy, &lacking)).catch_unwind().await else {
        panic!("{}: the scene holds without it, so it shows nothing", remedy.name());
    };
    let told = told(panic.as_ref());
    assert!(told.contains(breaks(remedy)), "{}: it breaks in another way: {told}", remedy.name());
}

fn told(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("it says nothing")
}

/// A test for each remedy whose scene is played by processes.
macro_rules! shown_by_processes {
    ($($test:ident, $remedy:ident;)+) => {
        const SHOWN_BY_PROCESSES: &[Remedy] = &[$(Remedy::$remedy),+];

        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                is_shown(Remedy::$remedy).await;
            }
        )+
    };
}

shown_by_processes! {
    without_a_limit_of_statements_a_silent_connection_is_waited_for, StatementLimit;
    without_a_limit_of_locks_a_host_waits_for_another_program, LockLimit;
    without_isolation_a_row_that_can_not_be_read_ends_all_plans, UnreadableRows;
    without_results_in_memory_a_batch_is_fetched_twice, StoredAgain;
    without_free_outages_a_full_disk_uses_up_attempts, OutagesFree;
    without_free_deaths_a_host_that_dies_uses_up_attempts, DeathsFree;
    without_a_name_for_it_a_full_disk_is_not_told, UnwritableNamed;
    without_a_watchdog_a_host_that_waits_is_ready, Watchdog;
    without_an_end_of_roles_no_host_plans, RolesAhead;
    without_a_journal_a_token_is_lost_with_its_host, TokenJournal;
}

/// Set in the process whose own hosts lack a remedy: it is switched for the whole process.
const ALONE: &str = "CHAOS_WITHOUT";

#[test]
fn without_a_steady_clock_numbers_are_stored_by_a_clock_that_jumped() {
    let name = "chaos::remedies::without_a_steady_clock_numbers_are_stored_by_a_clock_that_jumped";
    alone(ALONE, name, is_shown(Remedy::SteadyClock));
}

#[test]
fn every_remedy_has_its_test() {
    for remedy in Remedy::ALL {
        let is_tested = *remedy == Remedy::SteadyClock || SHOWN_BY_PROCESSES.contains(remedy);
        assert!(is_tested, "{}: no test switches it off", remedy.name());
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
