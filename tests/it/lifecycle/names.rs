//! Tests of names that commands are given: what nobody knows is refused with the nearest name, by every command.

use backline_simulator::SimulatorConfig;
use backline_store::{Scope, Store};

use crate::support::database::each_database;
use crate::support::fleet::Fleet;
use crate::support::stage::Stage;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_command_takes_a_platform_that_nobody_knows() {
    each_database(async |store: Store, url: &str| {
        let stage = Stage::bare(url, SimulatorConfig { artists: 2, ..SimulatorConfig::default() }, |_| {}).await;
        stage.install(&["youtube", "apple-music"]).await;
        stage.import_some(&["youtube", "apple_music"], |_| backline_model::Tenant::default()).await;
        let artists = store.artists_list(&Scope::all_tenants(), &backline_store::ArtistFilter::default()).await;
        let artist = artists.expect("artists are read")[0].id;
        let artist = artist.to_string();
        let fleet = Fleet::of(&stage, |_| {});
        let run = |arguments: &[&str]| {
            let output = fleet.command(arguments).output().expect("it starts");
            (output.status.code(), String::from_utf8(output.stderr).expect("text"))
        };
        let commands: [&[&str]; 19] = [
            &["plan", "--platform", "PLATFORM"],
            &["run", "--platform", "PLATFORM"],
            &["accounts", "add", &artist, "PLATFORM", "abc"],
            &["accounts", "list", "--platform", "PLATFORM"],
            &["artists", "set", &artist, "--consent", "PLATFORM"],
            &["artists", "set", &artist, "--withdraw", "PLATFORM"],
            &["batches", "list", "--platform", "PLATFORM"],
            &["batches", "retry", "--platform", "PLATFORM"],
            &["consents", "grant", &artist, "PLATFORM"],
            &["consents", "withdraw", &artist, "PLATFORM"],
            &["credentials", "set", "PLATFORM", "app", "--file", "none"],
            &["credentials", "list", "--platform", "PLATFORM"],
            &["credentials", "remove", "PLATFORM", "app"],
            &["metrics", "--platform", "PLATFORM"],
            &["growth", "--platform", "PLATFORM"],
            &["quarantine", "list", "--platform", "PLATFORM"],
            &["schedules", "add", "x", "--cron", "0 3 * * *", "--platform", "PLATFORM"],
            &["plugins", "history", "PLATFORM"],
            &["plugins", "rollback", "PLATFORM"],
        ];
        for command in commands {
            for (typed, meant) in [("yotube", "youtube"), ("YouTube", "youtube"), ("apple_musik", "apple_music")] {
                let arguments: Vec<&str> =
                    command.iter().map(|word| if *word == "PLATFORM" { typed } else { word }).collect();
                let (code, said) = run(&arguments);
                assert_eq!(code, Some(2), "{arguments:?}: {said}");
                let told = format!("there is no platform '{typed}'; did you mean '{meant}'?");
                assert!(said.contains(&told), "{arguments:?}: {said}");
            }
        }
        let consents = store.latest_consents_get(&Scope::all_tenants(), artist.parse().expect("an id")).await;
        assert!(consents.expect("consents are read").iter().all(|consent| consent.granted), "nothing was withdrawn");

        // The connector is called apple-music, and its platform apple_music.
        let (code, said) = run(&["consents", "withdraw", &artist, "apple-music"]);
        assert_eq!(code, Some(0), "{said}");
        let consents = store.latest_consents_get(&Scope::all_tenants(), artist.parse().expect("an id")).await;
        let withdrawn: Vec<String> = consents
            .expect("consents are read")
            .iter()
            .filter(|consent| !consent.granted)
            .map(|consent| consent.platform.to_string())
            .collect();
        assert_eq!(withdrawn, ["apple_music"]);
    })
    .await;
}
