//! Tests of installations: which processes may refresh tokens, and what the others do and say.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use backline::pipeline::collection::report::RunRequest;
use backline::pipeline::{Host, InstallationState};
use backline_model::health::RecommendationKind;
use backline_simulator::SimulatorConfig;
use backline_store::{DatabaseKind, Scope};
use chrono::{DateTime, NaiveDate, TimeDelta, Utc};

use super::serve;
use crate::support::database::{each_database, write};
use crate::support::fleet::{Fleet, until};
use crate::support::host::HostExt as _;
use crate::support::stage::{Stage, noon, platform};

const TIKTOK_TOKEN: &str = "POST /v2/oauth/token/";
const INSTAGRAM_TOKEN: &str = "GET /refresh_access_token";
const SPOTIFY_TOKEN: &str = "POST /api/token";

fn day() -> NaiveDate {
    NaiveDate::from_ymd_opt(2026, 11, 18).expect("a date")
}

fn small(artists: u32) -> SimulatorConfig {
    SimulatorConfig { artists, date: day(), ..SimulatorConfig::default() }
}

fn go_to(stage: &Stage, hours: i64) {
    let time: DateTime<Utc> = noon(day()) + TimeDelta::hours(hours);
    stage.simulator.set_now(time);
    stage.set_time(time);
}

/// How often each platform was asked for a token: TikTok, Instagram, Spotify.
fn asked(stage: &Stage) -> [u64; 3] {
    let counts = stage.simulator.counts();
    [TIKTOK_TOKEN, INSTAGRAM_TOKEN, SPOTIFY_TOKEN].map(|operation| counts.operation(operation))
}

fn files_in(folder: &Path) -> Vec<String> {
    let Ok(files) = std::fs::read_dir(folder) else { return Vec::new() };
    files.flatten().map(|file| file.file_name().to_string_lossy().into_owned()).collect()
}

fn of_tiktok() -> RunRequest {
    RunRequest {
        trigger: "test".to_owned(),
        date: None,
        due: None,
        platforms: vec![platform("tiktok")],
        artists: Vec::new(),
    }
}

async fn standing(host: &Host) -> InstallationState {
    host.installation().standing().await.expect("the database answers")
}

/// A stage whose host has claimed the database, with exchanged tokens, and the folder of its installation.
async fn claimed(url: &str) -> (Stage, tempfile::TempDir) {
    let place = tempfile::tempdir().expect("a folder");
    let folder = place.path().join("installations");
    let stage = Stage::set(url, small(1), |config| config.installation.folder = Some(folder)).await;
    assert_eq!(standing(&stage.host).await, InstallationState::Unclaimed);
    stage.host.installation().claim().await.expect("the database is claimed");
    assert_eq!(stage.host.refresh_credentials().await.expect("a round").failed, 0);
    (stage, place)
}

/// A host that opens the database with a folder of its own, as one that opens a copy does.
async fn stranger(stage: &Stage, folder: Option<&Path>) -> Host {
    stage.another_host(|config| config.installation.folder = folder.map(Path::to_owned)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_host_claims_the_database_with_a_file_of_its_owner_alone() {
    each_database(async |store, url| {
        let (stage, place) = claimed(url).await;
        let InstallationState::Member { id, file } = standing(&stage.host).await else {
            panic!("it does not belong to it")
        };
        assert_eq!(store.installation_get().await.expect("it is read"), Some(id));
        assert_eq!(file, place.path().join("installations").join(id.to_string()));
        let mode = |path: &Path| std::fs::metadata(path).expect("it is there").permissions().mode() & 0o777;
        assert_eq!((mode(&file), mode(&place.path().join("installations"))), (0o600, 0o700));

        stage.host.installation().claim().await.expect("nothing to do");
        assert_eq!(files_in(&place.path().join("installations")), [id.to_string()]);
        let again = stage.another_host(|_| {}).await;
        assert_eq!(
            standing(&again).await,
            InstallationState::Member { id, file },
            "a restarted process has the folder"
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_without_the_file_collects_refreshes_no_token_and_says_why_until_it_joins() {
    each_database(async |_, url| {
        let (stage, _place) = claimed(url).await;
        let theirs = tempfile::tempdir().expect("a folder");
        let other = stranger(&stage, Some(theirs.path())).await;
        let InstallationState::Stranger(why) = other.installation().claim().await.expect("it looks") else {
            panic!("it joined")
        };
        assert!(why.to_string().contains("run `backline installation join`"), "{why}");
        assert_eq!(files_in(theirs.path()), [""; 0], "nothing was written");

        // Half of TikTok's and all of Spotify's lifetimes are over, and Instagram's may be refreshed.
        let before = asked(&stage);
        go_to(&stage, 23);
        assert_eq!(other.refresh_credentials().await.expect("a round").failed, 0);
        assert_eq!(asked(&stage), [before[0], before[1], before[2] + 1], "Spotify's is made from a secret that stays");
        let report = other.run(&of_tiktok(), &|_| {}).await.expect("a run");
        assert_eq!((report.run.counts.collected, asked(&stage)[0]), (1, before[0]), "the token still works");

        go_to(&stage, 25);
        let report = other.run(&of_tiktok(), &|_| {}).await.expect("a run");
        assert_eq!((report.run.counts.collected, report.run.counts.failed), (0, 1), "{:?}", report.platforms);
        let outcomes = other
            .store()
            .run_outcomes_list(&Scope::all_tenants(), report.run.id, None, 10)
            .await
            .expect("outcomes are read");
        assert!(format!("{outcomes:?}").contains("backline installation join"), "{outcomes:?}");
        assert_eq!(asked(&stage)[0], before[0]);

        other.installation().join().await.expect("it joins");
        assert!(matches!(standing(&other).await, InstallationState::Member { .. }));
        let report = other.run(&of_tiktok(), &|_| {}).await.expect("a run");
        assert_eq!((report.run.counts.collected, asked(&stage)[0]), (1, before[0] + 1), "{:?}", report.platforms);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_without_a_folder_claims_nothing_and_can_not_join() {
    each_database(async |store, url| {
        let stage = Stage::set(url, small(1), |config| config.installation.folder = None).await;
        assert_eq!(stage.host.installation().claim().await.expect("nothing to do"), InstallationState::Unclaimed);
        assert_eq!(store.installation_get().await.expect("it is read"), None);
        let error = stage.host.installation().join().await.expect_err("there is no folder");
        assert!(error.to_string().contains("installation.folder"), "{error}");
        assert!(stage.host.refresh_credentials().await.expect("a round").refreshed > 0, "nothing says it is a copy");

        // A folder that can't be written to is no reason to claim a database that no process could belong to.
        let file = tempfile::NamedTempFile::new().expect("a file");
        let hindered = stranger(&stage, Some(file.path())).await;
        let error = hindered.installation().claim().await.expect_err("a file is no folder");
        assert!(error.to_string().contains("can't be written"), "{error}");
        assert_eq!(store.installation_get().await.expect("it is read"), None);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_running_host_tells_others_that_it_refreshes_no_token_and_begins_when_it_has_joined() {
    each_database(async |store, url| {
        let (stage, _place) = claimed(url).await;
        let theirs = tempfile::tempdir().expect("a folder");
        let other = stranger(&stage, Some(theirs.path())).await;
        let name = other.name().to_owned();
        let service = serve(other.clone()).await;
        let refreshes = async |wanted: bool| {
            until(Duration::from_secs(180), "the host has said so", async || {
                let hosts = store.hosts_list(stage.host.clock().now()).await.expect("hosts are read");
                hosts.iter().any(|host| host.name == name && host.refreshes_tokens == wanted).then_some(())
            })
            .await;
        };
        refreshes(false).await;
        let report = stage.host.health().report(None).await.expect("a report");
        let said = report.recommendations.iter().find(|said| said.kind == RecommendationKind::TokensNotRefreshed);
        let said = said.unwrap_or_else(|| panic!("{:?}", report.recommendations));
        assert!(said.sentence.contains(&name) && said.remedy == "backline installation join", "{said:?}");

        other.installation().join().await.expect("it joins");
        go_to(&stage, 1);
        refreshes(true).await;
        assert!(service.stop().await);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_whose_file_or_database_is_replaced_refreshes_no_token_any_more() {
    each_database(async |store, url| {
        let (stage, _place) = claimed(url).await;
        let InstallationState::Member { id, file } = standing(&stage.host).await else {
            panic!("it does not belong to it")
        };
        let before = asked(&stage);
        go_to(&stage, 23);

        // The file was removed while the host ran.
        let aside = file.with_extension("aside");
        std::fs::rename(&file, &aside).expect("moved");
        assert!(matches!(standing(&stage.host).await, InstallationState::Stranger(_)));
        stage.host.refresh_credentials().await.expect("a round");
        assert_eq!(asked(&stage)[..2], before[..2], "nothing that a platform replaces");
        std::fs::rename(&aside, &file).expect("moved back");
        assert!(matches!(standing(&stage.host).await, InstallationState::Member { .. }));

        // Another database took its place under the same address.
        let theirs = backline_model::InstallationId::generate();
        write(url, &format!("UPDATE installation SET id = '{theirs}'")).await;
        assert_eq!(store.installation_get().await.expect("it is read"), Some(theirs));
        let InstallationState::Stranger(why) = standing(&stage.host).await else {
            panic!("it refreshes another's tokens")
        };
        assert_eq!(why.id, Some(theirs));
        stage.host.refresh_credentials().await.expect("a round");
        assert_eq!(asked(&stage)[..2], before[..2]);

        write(url, &format!("UPDATE installation SET id = '{id}'")).await;
        stage.host.refresh_credentials().await.expect("a round");
        assert!(asked(&stage)[0] > before[0], "it goes on where it belongs");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_id_that_can_not_be_read_keeps_no_host_from_collecting_and_join_replaces_it() {
    each_database(async |store, url| {
        if store.kind() == DatabaseKind::Postgres {
            return; // its types keep such an id out
        }
        let (stage, place) = claimed(url).await;
        let before = asked(&stage);
        write(url, "UPDATE installation SET id = 'x'").await;
        let host = stage.another_host(|_| {}).await;
        let InstallationState::Stranger(why) = standing(&host).await else { panic!("it belongs to no id") };
        assert!(why.id.is_none() && why.to_string().contains("'x'"), "{why}");
        assert!(why.to_string().contains("`backline installation join`"), "{why}");
        host.health().report(None).await.expect("a report");
        let report = host.run(&of_tiktok(), &|_| {}).await.expect("a run");
        assert_eq!((report.run.counts.collected, report.run.counts.failed), (1, 0), "{:?}", report.platforms);
        go_to(&stage, 23);
        host.refresh_credentials().await.expect("a round");
        assert_eq!(asked(&stage)[..2], before[..2], "nothing that a platform replaces");

        let fleet = Fleet::of(&stage, |_| {});
        let shown = fleet.command(&["installation", "show"]).output().expect("the binary starts");
        assert!(String::from_utf8_lossy(&shown.stdout).contains("'x'"), "{shown:?}");
        let joined = host.installation().join().await.expect("it joins");
        let InstallationState::Member { id, .. } = joined else { panic!("{joined:?}") };
        assert_eq!(store.installation_get().await.expect("it is read"), Some(id));
        assert!(files_in(&place.path().join("installations")).contains(&id.to_string()));
        host.refresh_credentials().await.expect("a round");
        assert!(asked(&stage)[0] > before[0], "it goes on where it belongs");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_show_the_installation_warn_and_join() {
    each_database(async |store, url| {
        let (stage, place) = claimed(url).await;
        let fleet = Fleet::of(&stage, |_| {});
        let run = |folder: &str, arguments: &[&str]| {
            let output = fleet.command(arguments).env("BACKLINE_INSTALLATION__FOLDER", folder).output();
            let output = output.expect("the binary starts");
            let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
            (output.status.code(), text(output.stdout), text(output.stderr))
        };
        let id = store.installation_get().await.expect("it is read").expect("it is claimed").to_string();
        let ours = place.path().join("installations").display().to_string();
        let (code, out, _) = run(&ours, &["installation", "show"]);
        assert!(code == Some(0) && out.contains(&id) && out.contains("this process belongs to it"), "{out}");
        let (_, _, said) = run(&ours, &["credentials", "list"]);
        assert!(!said.contains("warning"), "{said}");

        let theirs = tempfile::tempdir().expect("a folder");
        let folder = theirs.path().join("new").display().to_string();
        let (code, out, _) = run(&folder, &["installation", "show", "--json"]);
        let shown: serde_json::Value = serde_json::from_str(&out).expect("JSON");
        assert_eq!((code, &shown["id"], &shown["member"]), (Some(0), &id.clone().into(), &false.into()));
        let (_, _, said) = run(&folder, &["credentials", "list"]);
        assert!(said.contains("warning: this process does not belong to the database's installation"), "{said}");
        assert_eq!(files_in(theirs.path()), [""; 0], "what only reads writes nothing");

        let (code, out, _) = run(&folder, &["installation", "join"]);
        assert!(code == Some(0) && out.contains("this process belongs to it"), "{out}");
        assert_eq!(files_in(&theirs.path().join("new")), [id]);
    })
    .await;
}
