//! The clock of one of two hosts jumps while they work: it does nothing until its clock is right, says so, and the
//! other one collects. On a file the clock counts as right, and what it has set holds nobody up once it is.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use backline::pipeline::collection::report::{Progress, RunRequest};
use backline::pipeline::service::Service;
use backline::pipeline::{CollectError, Host, RunError};
use backline_model::clock::Clock;
use backline_model::{CatchUp, Overlap, ScheduleSpec};
use backline_store::Scope;
use chrono::{SecondsFormat, TimeDelta};
use rand::RngExt as _;
use rand::seq::SliceRandom as _;

use super::played::{list, played};
use super::world::{WAIT_MAX, World, dice, number};
use crate::support::fleet::until;
use crate::support::host::HostExt as _;
use crate::support::long::is_long;
use crate::support::stage::platform;

/// Artists that join during each jump.
const GROUP: u32 = 3;

/// Seconds by which a clock jumps: an hour, a day and 40 days, ahead and back.
const JUMPS: [i64; 6] = [3_600, 86_400, 40 * 86_400, -3_600, -86_400, -40 * 86_400];

/// A machine's clock that is ahead by so many seconds.
fn wrong_by(ahead: &Arc<AtomicI64>) -> Clock {
    let ahead = Arc::clone(ahead);
    Clock::of_machine(move || Clock::system().now() + TimeDelta::seconds(ahead.load(Ordering::SeqCst)))
}

/// A host that serves, and by how many seconds its clock is wrong.
pub struct Jumping {
    pub service: Service,
    ahead: Arc<AtomicI64>,
}

impl Jumping {
    pub async fn start(world: &World, name: &str) -> Self {
        Self::start_with(world, name, 0, "* * * * *").await
    }

    /// The same, with a clock that is ahead from the beginning, and a schedule that is due at other times.
    pub async fn start_with(world: &World, name: &str, ahead_s: i64, cron: &str) -> Self {
        let ahead = Arc::new(AtomicI64::new(ahead_s));
        let mut config = world.stage.host.config().clone();
        config.database = world.hosts.clone();
        config.service.name = Some(name.to_owned());
        config.service.poll_ms = 50;
        // The simulated platforms are at noon, whatever the time is.
        config.collection.late_s = u32::MAX;
        let spec = ScheduleSpec {
            cron: cron.to_owned(),
            // Its runs would collect again what the test counts.
            platforms: vec![platform("nothing")],
            catch_up: CatchUp::None,
            overlap: Overlap::Skip,
            ..ScheduleSpec::default()
        };
        config.schedules = [("by-the-clock".to_owned(), spec)].into();
        let host = Host::open(config, wrong_by(&ahead)).await.expect("the host opens");
        Self { service: Service::start(host).await.expect("it starts"), ahead }
    }

    pub fn jump(&self, seconds: i64) {
        self.ahead.store(seconds, Ordering::SeqCst);
    }

    /// Waits until it is ready, or says that its clock is wrong.
    async fn is_ready(&self, is_ready: bool) {
        let what = format!("ready: {is_ready}");
        until(WAIT_MAX, &what, async || {
            let readiness = self.service.readiness().await;
            let says_so = readiness.problems.iter().any(|problem| problem.contains("clock jumped"));
            (readiness.ready == is_ready && says_so != is_ready).then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_jumps_on_one_of_two_hosts_stops_that_one_only_and_until_it_is_right() {
    let mut dice = dice();
    let mut jumps = JUMPS;
    jumps.shuffle(&mut dice);
    let groups = u32::try_from(jumps.len()).expect("few") + 1;
    let world = World::new(groups, GROUP, |_| {}).await;
    let hosts = [Jumping::start(&world, "one").await, Jumping::start(&world, "two").await];
    world.join(0).await;
    world.collected(1).await;
    let mut database = world.database().await;
    for (group, seconds) in (1..).zip(jumps) {
        let host = &hosts[dice.random_range(0..hosts.len())];
        world.join(group).await;
        // At some moment of the work.
        let share = dice.random_range(1..world.accounts(1));
        until(WAIT_MAX, "so many are collected", async || {
            let rows = number(&mut database, "SELECT COUNT(*) FROM metrics").await;
            (rows >= world.accounts(group) + share).then_some(())
        })
        .await;
        host.jump(seconds);
        world.collected(group + 1).await;
        host.is_ready(false).await;
        // Work that begins while the clock is wrong is the other one's.
        let fires = "SELECT COUNT(*) FROM schedule_fires WHERE fire_time > now() + INTERVAL '5 minutes'";
        assert_eq!(number(&mut database, fires).await, 0, "{seconds} s: nothing is decided ahead of its time");
        let ahead = "SELECT COUNT(*) FROM leaders WHERE expires_at > now() + INTERVAL '5 minutes' AND role <> 'health'";
        assert_eq!(number(&mut database, ahead).await, 0, "{seconds} s: no role is held for long");
        let units = "SELECT COUNT(*) FROM budgets WHERE window_start > now() + INTERVAL '5 minutes'";
        assert_eq!(number(&mut database, units).await, 0, "{seconds} s: no unit of a later window is taken");
        let seen = "SELECT COUNT(*) FROM hosts WHERE seen_at > now() + INTERVAL '5 minutes'";
        assert_eq!(number(&mut database, seen).await, 0, "{seconds} s: it is present now, and not then");
        host.jump(0);
        for host in &hosts {
            host.is_ready(true).await;
        }
    }
    world.expect_right(groups).await;
    played(format!("the clock of one of two hosts jumped by so many seconds: {}", list(jumps)));
    let reconnect = world.stage.host.store().accounts_to_reconnect_list(&Scope::all_tenants()).await;
    let reconnect = reconnect.expect("they are read");
    assert!(reconnect.is_empty(), "nobody is asked to connect again: {reconnect:?}");
    for host in hosts {
        assert!(host.service.stop().await, "it stops cleanly");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_whose_clock_jumps_ends_with_the_reason_and_one_whose_clock_is_set_right_goes_on() {
    let world = World::new(2, GROUP, |_| {}).await;
    let mut database = world.database().await;
    let mut config = world.stage.host.config().clone();
    config.collection.late_s = u32::MAX;
    let request = RunRequest { trigger: "manual".to_owned(), ..RunRequest::default() };
    // By how many seconds its clock is ahead when it begins, and once it has planned: set right, and set wrong.
    for (group, begins, then) in [(0, -3_600, 0), (1, 0, 86_400)] {
        world.join(group).await;
        let ahead = Arc::new(AtomicI64::new(begins));
        let host = Host::open(config.clone(), wrong_by(&ahead)).await.expect("the host opens");
        let jump = |progress: Progress| {
            if matches!(progress, Progress::Planned { .. }) {
                ahead.store(then, Ordering::SeqCst);
            }
        };
        let ran = host.run(&request, &jump).await;
        let open = number(&mut database, "SELECT COUNT(*) FROM batches WHERE finished_at IS NULL").await;
        if then == 0 {
            let report = ran.expect("the database says that the clock is right");
            assert_eq!((i64::try_from(report.run.counts.collected).expect("few"), open), (world.accounts(1), 0));
            continue;
        }
        assert!(matches!(ran, Err(RunError::Collect(CollectError::Clock))), "{ran:?}");
        let free =
            "SELECT COUNT(*) FROM batches WHERE state = 'planned' AND available_at < now() + INTERVAL '5 minutes'";
        assert!(open > 0 && number(&mut database, free).await == open, "any host can go on with it at once");
        assert_eq!(number(&mut database, "SELECT COUNT(*) FROM runs WHERE finished_at IS NULL").await, 1);
    }
    played("a run ended whose clock jumped, and one went on whose clock was set right");
}

/// Accounts of a platform that takes a key. The tokens of others end by the clock of a host that has no other one.
const WITH_A_KEY: &str = "youtube";

/// By how much a time of a host may differ from the one that its clock is set to, in seconds.
const GIVE_OR_TAKE_S: i64 = 300;

/// The time in so many seconds, as a file of SQLite holds it.
fn text_of(seconds: i64) -> String {
    let time = Clock::system().now() + TimeDelta::seconds(seconds);
    time.to_rfc3339_opts(SecondsFormat::Micros, true)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_on_a_file_goes_on_once_its_clock_is_right_again() {
    if !is_long() {
        return;
    }
    let mut jumps = JUMPS;
    jumps.shuffle(&mut dice());
    let folder = tempfile::tempdir().expect("a folder");
    let artists = u32::try_from(jumps.len()).expect("few");
    let world = World::on_a_file(folder.path(), artists, 1, |_| {}).await;
    let host = Jumping::start_with(&world, "host", 0, "0 * * * *").await;
    let mut database = world.database().await;
    for (artist, seconds) in (0..).zip(jumps) {
        for ahead in [seconds, 0] {
            host.jump(ahead);
            let (from, to) = (text_of(ahead - GIVE_OR_TAKE_S), text_of(ahead + GIVE_OR_TAKE_S));
            let seen = format!("SELECT COUNT(*) FROM hosts WHERE seen_at BETWEEN '{from}' AND '{to}'");
            until(WAIT_MAX, "it reports itself by that clock", async || {
                (number(&mut database, &seen).await == 1).then_some(())
            })
            .await;
        }
        world.stage.import_of(&[artist], &[WITH_A_KEY], |_| "default".to_owned()).await;
        until(WAIT_MAX, "it collects by the right clock", async || {
            let rows = number(&mut database, "SELECT COUNT(*) FROM metrics").await;
            let open = number(&mut database, "SELECT COUNT(*) FROM batches WHERE finished_at IS NULL").await;
            (rows == i64::from(artist) + 1 && open == 0).then_some(())
        })
        .await;
        until(WAIT_MAX, "nothing waits for the wrong time", async || {
            let later = text_of(GIVE_OR_TAKE_S);
            let roles = format!("SELECT COUNT(*) FROM leaders WHERE role = 'scheduler' AND expires_at > '{later}'");
            let fires = format!("SELECT COUNT(*) FROM schedule_fires WHERE fire_time > '{later}'");
            let waits = number(&mut database, &roles).await + number(&mut database, &fires).await;
            (waits == 0).then_some(())
        })
        .await;
        host.is_ready(true).await;
    }
    let (from, to) = (text_of(-2 * 86_400), text_of(2 * 86_400));
    let others = format!(
        "SELECT COUNT(*) FROM metrics WHERE observed_at NOT BETWEEN '{from}' AND '{to}'
             OR metric_date NOT BETWEEN substr('{from}', 1, 10) AND substr('{to}', 1, 10)"
    );
    assert_eq!(number(&mut database, &others).await, 0, "numbers of another day");
    let otherwise = "SELECT COUNT(*) FROM outcomes_all WHERE outcome <> 'collected' OR attempts <> 1";
    assert_eq!(number(&mut database, otherwise).await, 0, "each account is collected by its first attempt");
    assert!(host.service.stop().await, "it stops cleanly");
    played(format!("the clock of a host on a file jumped by so many seconds: {}", list(jumps)));
}
