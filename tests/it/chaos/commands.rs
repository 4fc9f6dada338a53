//! Commands that are killed at any round trip to the database, and given again: an erasure, and an activation. What an
//! archive run comes to is `lifecycle`'s subject.

use std::process::{Child, Stdio};

use rand::RngExt as _;
use rand::rngs::StdRng;
use rustix::process::Signal;

use super::played::{list, played};
use super::world::{WAIT_MAX, World, dice, expect_erased, number};
use crate::support::fleet::{Fleet, until};
use crate::support::host::HostExt as _;
use crate::support::proxy::Proxy;
use crate::support::variants::variant;

/// Kills of each command in an ordinary run.
const KILLS: u32 = 4;

/// Starts a command whose output does not matter.
fn start(fleet: &Fleet, arguments: &[&str]) -> Child {
    fleet.command(arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the binary starts")
}

/// Runs a command to its end, which must be good.
async fn done(fleet: &Fleet, arguments: &[&str]) {
    let mut child = start(fleet, arguments);
    let status = until(WAIT_MAX, &format!("{arguments:?} ends"), async || child.try_wait().expect("its state")).await;
    assert!(status.success(), "{arguments:?}: {status}");
}

/// Kills a command at one round trip in each part of its work, and gives it again.
async fn killed_and_given_again(
    fleet: &Fleet,
    proxy: &Proxy,
    dice: &mut StdRng,
    usual: u64,
    command: impl Fn(u32) -> Vec<String>,
) {
    let mut kills = Vec::new();
    for kill in 0..KILLS {
        let arguments = command(kill);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let part = usual * u64::from(kill) / u64::from(KILLS);
        let at = part + dice.random_range(1..=(usual / u64::from(KILLS)).max(1));
        proxy.stop_at(at, dice.random_bool(0.5));
        kills.push(format!("`{}` at {at}", arguments[..2].join(" ")));
        let mut child = start(fleet, &arguments);
        let stopped = tokio::time::timeout(WAIT_MAX, async {
            tokio::select! {
                () = proxy.stopped() => {}
                _ = until(WAIT_MAX, "the command ends", async || child.try_wait().expect("its state")) => {}
            }
        });
        stopped.await.expect("it stops or ends");
        let _ = child.kill();
        child.wait().expect("reaped");
        proxy.reset();
        done(fleet, &arguments).await;
    }
    played(format!("commands were killed at round trips of about {usual}: {}", list(kills)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_killed_at_any_round_trip_are_given_again_and_done() {
    let mut dice = dice();
    let world = World::new(1, KILLS + 2, |_| {}).await;
    let proxy = Proxy::before(&world.url).await;
    let fleet = world.fleet(|config| config.database.url = proxy.url(&world.url));
    world.join(0).await;
    let mut host = fleet.start("host");
    world.collected(1).await;
    // Stopped and not killed: by the stage's clock, which stands at noon, one that died after noon is still there.
    host.signal(Signal::TERM);
    assert!(host.ended(WAIT_MAX).await.success(), "the host stops cleanly");
    let mut database = world.database().await;
    let artist = |index: u32| world.stage.simulator.world().artist(index).id;

    // Erasures. The last artist's tells how many round trips one takes.
    proxy.count();
    done(&fleet, &["privacy", "erase", &artist(KILLS).to_string(), "--yes", "--verify"]).await;
    let usual = proxy.counted();
    killed_and_given_again(&fleet, &proxy, &mut dice, usual, |kill| {
        ["privacy", "erase", &artist(kill).to_string(), "--yes", "--verify"].map(str::to_owned).to_vec()
    })
    .await;
    for kill in 0..KILLS {
        expect_erased(&mut database, &artist(kill).to_string(), &format!("kill {kill}")).await;
    }
    let erasures = number(&mut database, "SELECT COUNT(*) FROM erasures").await;
    assert_eq!(erasures, i64::from(KILLS + 1), "each erasure is on record, once");
    let rows = number(&mut database, "SELECT COUNT(*) FROM metrics").await;
    assert_eq!(rows, world.accounts(1) - i64::from(KILLS + 1) * 5, "everyone else's rows are there");

    // Activations, to and fro.
    let versions = ["9.0.0", "9.0.1"];
    for version in versions {
        let component = variant("youtube", version, |_| {});
        world.stage.host.install(&component).await.expect("installed");
    }
    let activate = |version: &str| ["plugins", "activate", "youtube", version].map(str::to_owned).to_vec();
    proxy.count();
    done(&fleet, &["plugins", "activate", "youtube", versions[0]]).await;
    let usual = proxy.counted();
    killed_and_given_again(&fleet, &proxy, &mut dice, usual, |kill| activate(versions[(kill as usize + 1) % 2])).await;
    let active = "SELECT COUNT(*) FROM releases WHERE active AND platform = 'youtube'";
    assert_eq!(number(&mut database, active).await, 1, "one release is active");
}
