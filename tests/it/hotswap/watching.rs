//! Tests of `serve --watch`: a new build is used at once, and a broken one changes nothing.

use std::time::Duration;

use backline::pipeline::service::Service;
use backline_model::{ArtistId, Digest, ReleaseState};
use backline_simulator::SimulatorConfig;
use backline_store::{Scope, Store};

use crate::support::database::each_database;
use crate::support::fleet::until;
use crate::support::stage::{Stage, platform};
use crate::support::variants::variant;

/// Maximum wait on a slow machine.
const IN_THE_END: Duration = Duration::from_secs(120);

async fn active(store: &Store) -> Option<Digest> {
    store.active_release_get(&platform("youtube")).await.expect("read").map(|release| release.digest)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_build_is_swapped_in_and_a_broken_one_is_not() {
    each_database(async |store: Store, url: &str| {
        let stage = Stage::bare(url, SimulatorConfig { artists: 1, ..SimulatorConfig::default() }, |config| {
            config.schedules.clear();
            config.service.poll_ms = 50;
        })
        .await;
        let folder = tempfile::tempdir().expect("a folder");
        let build = folder.path().join("youtube.wasm");
        // The version stays the same, because authors don't raise it with every build.
        let first = variant("youtube", "0.0.1", |_| {});
        let second = variant("youtube", "0.0.1", |manifest| manifest.push_str("\n# another build\n"));
        std::fs::write(&build, &first).expect("written");
        std::fs::write(folder.path().join("notes.txt"), "no component").expect("written");

        let mut service = Service::start(stage.another_host(|_| {}).await).await.expect("the service starts");
        service.develop(folder.path().to_owned(), Vec::new());
        let is_active = async |component: &[u8]| {
            until(IN_THE_END, "the build is active", async || {
                (active(&store).await == Some(Digest::of(component))).then_some(())
            })
            .await;
        };
        is_active(&first).await;
        std::fs::write(&build, &second).expect("written");
        is_active(&second).await;
        // The broken file is handled before the other one, because its name comes first.
        std::fs::write(folder.path().join("broken.wasm"), &first[..first.len() / 2]).expect("written");
        let other = variant("spotify", "0.0.1", |_| {});
        std::fs::write(folder.path().join("spotify.wasm"), &other).expect("written");
        until(IN_THE_END, "the other connector is active", async || {
            store.active_release_get(&platform("spotify")).await.expect("read").map(|_| ())
        })
        .await;
        assert_eq!(active(&store).await, Some(Digest::of(&second)), "a truncated file changes nothing");
        let before = store.release_get(Digest::of(&first)).await.expect("read").expect("it is still known");
        assert_eq!((before.state, before.active), (ReleaseState::Removed, false), "its component is removed");
        assert_eq!(store.component_get(before.digest).await.expect("read"), None);
        service.stop().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_build_collects_the_named_artists_at_once() {
    each_database(async |store: Store, url: &str| {
        let stage = Stage::set(url, SimulatorConfig { artists: 2, ..SimulatorConfig::default() }, |config| {
            config.schedules.clear();
            config.service.poll_ms = 50;
        })
        .await;
        let artist = ArtistId(stage.simulator.world().artist(0).id);
        let folder = tempfile::tempdir().expect("a folder");
        let build = folder.path().join("youtube.wasm");
        let mut service = Service::start(stage.another_host(|_| {}).await).await.expect("the service starts");
        service.develop(folder.path().to_owned(), vec![artist]);
        for (number, mark) in ["", "\n# another build\n"].into_iter().enumerate() {
            let component = variant("youtube", "0.0.1", |manifest| manifest.push_str(mark));
            std::fs::write(&build, component).expect("written");
            until(IN_THE_END, "the named artist is planned alone", async || {
                let mut runs = store.runs_list(&Scope::all_tenants(), 10, None).await.expect("read");
                runs.retain(|run| run.trigger == "manual");
                assert!(runs.iter().all(|run| run.counts.planned <= 1), "one artist of two: {runs:?}");
                (runs.len() == number + 1).then_some(())
            })
            .await;
        }
        service.stop().await;
    })
    .await;
}
