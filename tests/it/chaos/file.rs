//! Another program keeps a SQLite file locked while a host works: the host says that it can't write, and goes on by
//! itself once the file is free.

use rand::RngExt as _;
use sqlx::Executor as _;

use super::played::played;
use super::world::{WAIT_MAX, World, answers, dice, number};
use crate::support::fleet::until;

/// Artists that join at a time.
const GROUP: u32 = 4;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_outlives_a_file_that_another_program_keeps_locked() {
    let mut dice = dice();
    let folder = tempfile::tempdir().expect("a folder");
    let world = World::on_a_file(folder.path(), 2, GROUP, |_| {}).await;
    let fleet = world.fleet(|_| {});
    let host = fleet.start("host");
    world.join(0).await;
    world.collected(1).await;
    let mut other = world.database().await;
    world.join(1).await;
    // At some moment of the work.
    let share = dice.random_range(0..world.accounts(1));
    until(WAIT_MAX, "so many are collected", async || {
        let rows = number(&mut other, "SELECT COUNT(*) FROM metrics").await;
        (rows >= world.accounts(1) + share).then_some(())
    })
    .await;
    until(WAIT_MAX, "the file is locked", async || other.execute("BEGIN IMMEDIATE").await.ok().map(drop)).await;
    // Longer than the lease of a batch, and than the host waits to report itself.
    answers(&host, 503, "can't report that it is present").await;
    other.execute("ROLLBACK").await.expect("the file is free");
    world.collected(2).await;
    answers(&host, 200, "").await;
    world.expect_right(2).await;
    played(format!("a file was locked after {share} of {} accounts", world.accounts(1)));
}
