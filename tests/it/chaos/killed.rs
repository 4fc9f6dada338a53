//! Hosts and commands that die at each named point of their work, and another one, or the same again, that goes on; and
//! hosts on a file that can't grow.
//!
//! Only in a build with the feature `weakened`: `cargo xtask test --suite chaos --long`.

use std::collections::BTreeSet;
use std::process::Command;

use backline::config::{DIES_AT_VARIABLE, FILE_PAGES_VARIABLE};
use backline::pipeline::NewWebhook;
use backline_model::WebhookKind;
use backline_model::kill_points::Point;
use rand::RngExt as _;
use rand::rngs::StdRng;
use rustix::process::Signal;
use sqlx::{Executor as _, Row as _};
use uuid::Uuid;

use super::disk::ended;
use super::played::{list, played};
use super::points::{Scene, scene_of};
use super::world::{WAIT_MAX, World, answers, dice, expect_erased, number};
use crate::lifecycle::archive;
use crate::support::database::each_database;
use crate::support::fleet::{Fleet, HostProcess, until};
use crate::support::host::HostExt as _;
use crate::support::http::Server;
use crate::support::post::{RECEIVER, id_of, routes, taken};
use crate::support::stage::platform;
use crate::support::variants::variant;

/// Artists that join before each death.
const GROUP: u32 = 4;

/// The points of a scene, in the order of the work.
fn points_of(scene: Scene) -> Vec<Point> {
    Point::ALL.iter().copied().filter(|point| scene_of(*point) == Some(scene)).collect()
}

/// Their names.
fn names_of(scene: Scene) -> impl Iterator<Item = &'static str> {
    points_of(scene).into_iter().map(Point::name)
}

/// A number of things that is small.
fn few(points: &[Point]) -> u32 {
    u32::try_from(points.len()).expect("few")
}

/// The value of the variable that lets a process die when it reaches a point; of what there is more than one of in a
/// group, the first or the second time.
fn deadly(point: Point, dice: &mut StdRng) -> String {
    let is_frequent = ["batch-", "refresh-", "delivery-"].iter().any(|work| point.name().starts_with(work));
    let times = if is_frequent { dice.random_range(1..=2) } else { 1 };
    format!("{}:{times}", point.name())
}

/// Waits until a host has died, as by `kill -9`.
async fn died(host: &mut HostProcess, at: &str) {
    let status = host.ended(WAIT_MAX).await;
    assert_eq!(status.code(), None, "{at}: it ended with {status}: {}", host.log());
}

/// Runs a command that dies at a point, and then the same to its end.
async fn died_and_given_again(fleet: &Fleet, arguments: &[&str], point: Point) {
    let name = point.name();
    let mut deadly: Command = fleet.command(arguments);
    deadly.env(DIES_AT_VARIABLE, name);
    let dead = ended(deadly).await;
    assert_eq!(dead.status.code(), None, "{name}: {}: {}", dead.status, String::from_utf8_lossy(&dead.stderr));
    let again = ended(fleet.command(arguments)).await;
    assert!(again.status.success(), "{name}: {}: {}", again.status, String::from_utf8_lossy(&again.stderr));
}

/// A host dies at each point of a plan, a batch, the end of a run and a refresh.
async fn collected_in_spite_of_deaths(world: &World, dice: &mut StdRng) {
    let points = points_of(Scene::Collection);
    let fleet = world.fleet(|_| {});
    let mut deaths = Vec::new();
    for (group, point) in (0..).zip(&points) {
        let at = deadly(*point, dice);
        let mut victim = fleet.start_with("victim", &[(DIES_AT_VARIABLE, at.as_str())]);
        world.join(group).await;
        died(&mut victim, &at).await;
        // The same host finds what its journal holds; another one has only the database.
        let name = if dice.random_bool(0.5) { "victim" } else { "other" };
        let host = fleet.start(name);
        world.collected(group + 1).await;
        answers(&host, 200, "").await;
        deaths.push(at);
    }
    world.expect_right(few(&points)).await;
    played(format!("hosts died at {}", list(deaths)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_that_dies_at_any_point_of_a_collection_loses_and_doubles_nothing() {
    let world = World::new(few(&points_of(Scene::Collection)), GROUP, |_| {}).await;
    collected_in_spite_of_deaths(&world, &mut dice()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_on_a_file_that_dies_at_any_point_of_a_collection_loses_and_doubles_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let world = World::on_a_file(folder.path(), few(&points_of(Scene::Collection)), GROUP, |_| {}).await;
    collected_in_spite_of_deaths(&world, &mut dice()).await;
}

/// A host dies at each point of the delivery of events to a receiver, whose address the world knows.
async fn delivered_in_spite_of_deaths(world: &World, receiver: &Server, dice: &mut StdRng) {
    let points = points_of(Scene::Delivery);
    let new = NewWebhook {
        name: "app".to_owned(),
        url: format!("{RECEIVER}/app"),
        kind: WebhookKind::Webhook,
        events: vec!["*".to_owned()],
        tenant: None,
        from_start: false,
    };
    world.stage.host.webhooks().add(new).await.expect("the webhook is added");
    let mut database = world.database().await;
    let before = number(&mut database, "SELECT COUNT(*) FROM events").await;
    let fleet = world.fleet(|_| {});
    let mut deaths = Vec::new();
    for (group, point) in (0..).zip(&points) {
        let at = deadly(*point, dice);
        let mut victim = fleet.start_with("victim", &[(DIES_AT_VARIABLE, at.as_str())]);
        world.join(group).await;
        died(&mut victim, &at).await;
        let host = fleet.start("victim");
        world.collected(group + 1).await;
        until(WAIT_MAX, "every event is delivered", async || {
            let events = number(&mut database, "SELECT COUNT(*) FROM events").await - before;
            let delivered = number(&mut database, "SELECT COUNT(*) FROM deliveries WHERE state = 'delivered'").await;
            (events == delivered).then_some(())
        })
        .await;
        answers(&host, 200, "").await;
        deaths.push(at);
    }
    world.expect_right(few(&points)).await;
    let rows = sqlx::query("SELECT CAST(id AS TEXT) FROM events ORDER BY seq").fetch_all(&mut database).await;
    let rows = rows.expect("events are read");
    let written = rows.iter().skip(usize::try_from(before).expect("few"));
    let written: BTreeSet<Uuid> = written.map(|row| row.get::<String, _>(0).parse().expect("an id")).collect();
    let received: BTreeSet<Uuid> = receiver.asked().iter().map(id_of).collect();
    assert_eq!(received, written, "each event has come, however often");
    played(format!("{} events came in spite of deaths at {}", written.len(), list(deaths)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_that_dies_at_any_point_of_a_delivery_loses_no_event() {
    let receiver = Server::start(|_| taken()).await;
    let world = World::new(few(&points_of(Scene::Delivery)), GROUP, |config| {
        config.gateway.routes.extend(routes(&[(RECEIVER, &receiver)]));
    })
    .await;
    delivered_in_spite_of_deaths(&world, &receiver, &mut dice()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_on_a_file_that_dies_at_any_point_of_a_delivery_loses_no_event() {
    let receiver = Server::start(|_| taken()).await;
    let folder = tempfile::tempdir().expect("a folder");
    let world = World::on_a_file(folder.path(), few(&points_of(Scene::Delivery)), GROUP, |config| {
        config.gateway.routes.extend(routes(&[(RECEIVER, &receiver)]));
    })
    .await;
    delivered_in_spite_of_deaths(&world, &receiver, &mut dice()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_archive_run_that_dies_at_any_point_is_finished_by_the_next_one() {
    const ARTISTS: usize = 6;
    const NOW: &str = "2025-06-20T12:30:00Z";
    for point in points_of(Scene::Archive) {
        each_database(async |_store, url| {
            if point.name().starts_with("archive-month-") && url.starts_with("sqlite") {
                return; // a file is not cut into months
            }
            let stage = archive::stage(url, |config| config.service.leader_ttl_ms = 1_000).await;
            archive::fill(&stage, url, ARTISTS).await;
            let fleet = Fleet::of(&stage, |config| config.archive.rows_per_transaction = 100);
            died_and_given_again(&fleet, &["archive", "run", "--at", NOW], point).await;
            let mut database = archive::plain(url).await;
            archive::expect(&mut database, ARTISTS, archive::at(NOW), archive::moved_in(url)).await;
            let runs = stage.host.store().archive_runs_list(5).await.expect("runs are read");
            let states: Vec<&str> = runs.iter().map(|run| run.state.as_str()).collect();
            assert_eq!(states, ["done", "failed"], "{}", point.name());
        })
        .await;
    }
    played(format!("runs of the archive died at {}", list(names_of(Scene::Archive))));
}

/// How many artists the erasures need: one for each point, and one who stays.
fn artists_to_erase() -> u32 {
    few(&points_of(Scene::Erasure)) + 1
}

/// An erasure dies at each of its points, each time another artist's, and is given again.
async fn erased_in_spite_of_deaths(world: &World) {
    let points = points_of(Scene::Erasure);
    let fleet = world.fleet(|_| {});
    world.join(0).await;
    let mut host = fleet.start("host");
    world.collected(1).await;
    // Stopped, so that nothing but the command is at work.
    host.signal(Signal::TERM);
    assert!(host.ended(WAIT_MAX).await.success(), "the host stops cleanly");
    let mut database = world.database().await;
    for (index, point) in (0..).zip(&points) {
        let artist = world.stage.simulator.world().artist(index).id.to_string();
        died_and_given_again(&fleet, &["privacy", "erase", &artist, "--yes", "--verify"], *point).await;
        expect_erased(&mut database, &artist, point.name()).await;
        let erasures = number(&mut database, "SELECT COUNT(*) FROM erasures").await;
        assert_eq!(erasures, i64::from(index) + 1, "{}: each erasure is on record, once", point.name());
    }
    let rows = number(&mut database, "SELECT COUNT(*) FROM metrics").await;
    assert_eq!(rows, world.accounts(1) - i64::from(few(&points)) * 5, "everyone else's rows are there");
    played(format!("erasures died at {}", list(names_of(Scene::Erasure))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_erasure_that_dies_at_any_point_is_finished_when_it_is_given_again() {
    let world = World::new(1, artists_to_erase(), |_| {}).await;
    erased_in_spite_of_deaths(&world).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_erasure_on_a_file_that_dies_at_any_point_is_finished_when_it_is_given_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let world = World::on_a_file(folder.path(), 1, artists_to_erase(), |_| {}).await;
    erased_in_spite_of_deaths(&world).await;
}

/// An activation dies at each of its points beside a host that serves, and is given again.
async fn activated_in_spite_of_deaths(world: &World) {
    let points = points_of(Scene::Activation);
    let fleet = world.fleet(|_| {});
    let versions = ["9.0.0", "9.0.1"];
    for version in versions {
        world.stage.host.install(&variant("youtube", version, |_| {})).await.expect("installed");
    }
    let host = fleet.start("host");
    let youtube = platform("youtube");
    for (group, point) in (0..).zip(&points) {
        // The other one is active.
        let version = versions[group as usize % 2];
        died_and_given_again(&fleet, &["plugins", "activate", "youtube", version], *point).await;
        let active = world.stage.host.store().active_release_get(&youtube).await.expect("it is read");
        let active = active.expect("one release is active").manifest.connector.version.to_string();
        assert_eq!(active, version, "{}", point.name());
        world.join(group).await;
        world.collected(group + 1).await;
        answers(&host, 200, "").await;
    }
    world.expect_right(few(&points)).await;
    played(format!("activations died at {}", list(names_of(Scene::Activation))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_activation_that_dies_at_any_point_is_finished_while_a_host_goes_on() {
    let world = World::new(few(&points_of(Scene::Activation)), GROUP, |_| {}).await;
    activated_in_spite_of_deaths(&world).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_activation_on_a_file_that_dies_at_any_point_is_finished_while_a_host_goes_on() {
    let folder = tempfile::tempdir().expect("a folder");
    let world = World::on_a_file(folder.path(), few(&points_of(Scene::Activation)), GROUP, |_| {}).await;
    activated_in_spite_of_deaths(&world).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_on_a_file_that_can_not_grow_ends_and_a_host_goes_on_once_there_is_room() {
    let folder = tempfile::tempdir().expect("a folder");
    let world = World::on_a_file(folder.path(), 1, GROUP, |_| {}).await;
    let fleet = world.fleet(|_| {});
    world.join(0).await;
    // What takes the room, until it is dropped.
    let mut writer = world.database().await;
    writer.execute("CREATE TABLE ballast (bytes BLOB)").await.expect("it is made");
    let fill = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000)
                INSERT INTO ballast SELECT zeroblob(4000) FROM n";
    writer.execute(fill).await.expect("it is filled");

    // Not a page more than there is, however few are asked for.
    let mut run = fleet.command(&["run"]);
    run.env(FILE_PAGES_VARIABLE, "1");
    let output = ended(run).await;
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && told.contains("full"), "{}: {told}", output.status);

    let host = fleet.start_with("host", &[(FILE_PAGES_VARIABLE, "1")]);
    until(WAIT_MAX, "the host has no room", async || host.log().contains("disk is full").then_some(())).await;
    writer.execute("DROP TABLE ballast").await.expect("there is room");
    world.collected(1).await;
    answers(&host, 200, "").await;
    world.expect_right(1).await;
    played("a run ended, and a host waited, on a file that could not grow");
}
