//! A host is killed at any round trip to its database, or at any moment, while it works; another one goes on.

use backline_store::DatabaseKind;
use rand::RngExt as _;

use super::played::{list, played};
use super::world::{WAIT_MAX, World, answers, dice, number};
use crate::support::database::each_database;
use crate::support::fleet::until;
use crate::support::proxy::Proxy;

/// Artists that join before each kill.
const GROUP: u32 = 4;

/// Kills of an ordinary run.
const KILLS: u32 = 5;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_killed_at_any_round_trip_loses_and_doubles_nothing() {
    let mut dice = dice();
    let world = World::new(KILLS + 1, GROUP, |_| {}).await;
    let proxy = Proxy::before(&world.url).await;
    let fleet = world.fleet(|config| config.database.url = proxy.url(&world.url));
    let mut host = fleet.start("victim");
    // How many round trips a group takes, with what an idle host asks meanwhile.
    proxy.count();
    world.join(0).await;
    world.collected(1).await;
    let usual = proxy.counted();
    assert!(usual > 20, "{usual} round trips: the proxy sees them");
    let mut kills = Vec::new();
    for group in 1..=KILLS {
        // One in each part of the work, so that no part is left out whatever the seed is.
        let part = usual * u64::from(group - 1) / u64::from(KILLS);
        let at = part + dice.random_range(1..=usual / u64::from(KILLS));
        let is_passed = dice.random_bool(0.5);
        proxy.stop_at(at, is_passed);
        kills.push(format!("{at} ({})", if is_passed { "carried out" } else { "not carried out" }));
        world.join(group).await;
        tokio::time::timeout(WAIT_MAX, proxy.stopped()).await.expect("the host reaches that round trip");
        host.kill();
        proxy.reset();
        host = fleet.start("victim");
        world.collected(group + 1).await;
    }
    answers(&host, 200, "").await;
    world.expect_right(KILLS + 1).await;
    played(format!("a host was killed at round trips of about {usual}: {}", list(kills)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_on_a_file_killed_at_any_moment_loses_and_doubles_nothing() {
    each_database(async |store, url| {
        if store.kind() != DatabaseKind::Sqlite {
            return; // the other test is about PostgreSQL
        }
        let mut dice = dice();
        let (kills, mut shares) = (3, Vec::new());
        let world = World::on(url, kills, GROUP, |_| {}).await;
        let fleet = world.fleet(|_| {});
        for group in 0..kills {
            world.join(group).await;
            let mut host = fleet.start("victim");
            let share = dice.random_range(0..world.accounts(1));
            let mut database = world.database().await;
            until(WAIT_MAX, "so many are collected", async || {
                let rows = number(&mut database, "SELECT COUNT(*) FROM metrics").await;
                (rows >= world.accounts(group) + share).then_some(())
            })
            .await;
            host.kill();
            shares.push(share);
            drop(host);
            let host = fleet.start("victim");
            world.collected(group + 1).await;
            answers(&host, 200, "").await;
        }
        let integrity = until(WAIT_MAX, "the file is checked", async || {
            sqlx::any::install_default_drivers();
            let pool = sqlx::any::AnyPoolOptions::new().max_connections(1).connect(url).await.ok()?;
            let found: String = sqlx::query_scalar("PRAGMA integrity_check").fetch_one(&pool).await.ok()?;
            pool.close().await;
            Some(found)
        })
        .await;
        assert_eq!(integrity, "ok");
        world.expect_right(kills).await;
        let accounts = world.accounts(1);
        played(format!("a host on a file was killed after so many of {accounts} accounts: {}", list(shares)));
    })
    .await;
}
