//! The dashboard in a real browser: what people do there, in both themes, at the width of a desktop and of a phone,
//! with a search for what keeps people with a screen reader or a keyboard out.
//!
//! Only with `cargo xtask test --suite browser --long`. The pictures of all pages are left below the build folder.

use std::time::Duration;

use backline_gateway::secrets::SecretText;
use backline_model::Role;
use serde_json::json;
use tokio::process::Command;

use crate::support::companions::{companion, run, shown_in};
use crate::support::components::workspace;
use crate::support::scene::{BREAK_NOTE, Scene};

/// Longest time for all that the browser does.
const WAIT_MAX: Duration = Duration::from_secs(1_200);

/// Delay of each answer of the platforms, in milliseconds: a run takes so long that it can be watched.
const SLOW_MS: u64 = 400;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn people_do_their_work_in_a_real_browser() {
    let (Some(chromium), Some(modules)) = (companion("TESTS_CHROMIUM"), companion("TESTS_PLAYWRIGHT")) else { return };
    let shown = shown_in("browser");
    let folder = tempfile::tempdir().expect("a folder");
    let scene = Scene::new(&format!("sqlite://{}", folder.path().join("backline.db").display())).await;
    let host = scene.fleet.start("host");
    let own = scene.token("the person", Role::Admin, None).await;
    let other = scene.token("the one to revoke", Role::Viewer, None).await;
    scene.slow_down(SLOW_MS);
    let wanted = json!({
        "base": host.address,
        // An artist without a trait.
        "artist": scene.stage.simulator.world().artist(0).id,
        "break_note": BREAK_NOTE,
        "other_name": "the one to revoke",
        "chromium": chromium,
        "modules": modules,
        "shown": shown,
    });
    let mut command = Command::new("node");
    command.arg(workspace().join("tests/it/browser/visit.js"));
    let expose = |token: &SecretText| token.expose().to_owned();
    command.env("BROWSER_WANTED", wanted.to_string());
    command.env("BROWSER_TOKEN", expose(&own)).env("BROWSER_OTHER_TOKEN", expose(&other));
    let ended = run(&mut command, folder.path(), WAIT_MAX).await;
    assert_eq!(ended.code, Some(0), "{}\n{}", ended.said, host.log());
    let pictures = std::fs::read_dir(&shown).expect("readable").count();
    assert!(pictures >= 60, "{pictures} pictures: of each page in both themes and at both widths");
}
