//! Tests of imports over what is stored already and can't be read, and of artists that the database refuses.

use backline_model::AccountStatus;
use backline_simulator::SimulatorConfig;
use backline_store::{AccountFilter, ArtistFilter, CredentialFilter, DatabaseKind, Scope};
use chrono::NaiveDate;
use serde_json::Value as Json;

use crate::support::database::{each_database, refuse, refuse_no_more, write};
use crate::support::fleet::Fleet;
use crate::support::stage::{Stage, platform};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_credential_that_can_not_be_read_is_replaced_and_one_in_the_way_costs_its_own_account() {
    each_database(async |store, url| {
        if store.kind() == DatabaseKind::Postgres {
            return; // its types keep such rows out
        }
        let date = NaiveDate::from_ymd_opt(2026, 11, 18).expect("a date");
        let simulated = SimulatorConfig { artists: 3, date, ..SimulatorConfig::default() };
        let stage = Stage::set(url, simulated, |_| {}).await;
        let all = Scope::all_tenants();
        let filter = CredentialFilter { platform: Some(platform("tiktok")), ..CredentialFilter::default() };
        let mut tokens = store.credentials_list(&all, &filter).await.expect("credentials");
        tokens.retain(|credential| credential.account_id.is_some());
        let [first, second, third] = &tokens[..] else { panic!("{tokens:?}") };
        let (replaced, in_the_way) = (first.account_id.expect("its own"), second.account_id.expect("its own"));
        write(url, &format!("UPDATE credentials SET updated_at = 'then' WHERE id = '{}'", first.id)).await;
        write(url, &format!("UPDATE credentials SET id = 'x' WHERE id = '{}'", second.id)).await;

        let fleet = Fleet::of(&stage, |_| {});
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("artists.csv");
        std::fs::write(&file, stage.simulator.world().artists_csv()).expect("written");
        let arguments = ["artists", "import", file.to_str().expect("a path"), "--json"];
        let output = fleet.command(&arguments).output().expect("the binary starts");
        assert_eq!(output.status.code(), Some(3), "{}", String::from_utf8_lossy(&output.stderr));
        let report: Json = serde_json::from_slice(&output.stdout).expect("JSON");
        let refused = report["credentials_refused"].as_array().expect("a list");
        assert_eq!(refused.len(), 1, "{report}");
        assert_eq!(refused[0]["account"].as_str(), Some(in_the_way.to_string().as_str()), "{report}");
        assert_eq!(report["credentials_set"].as_u64(), Some(1), "{report}");

        let found = store.credential_get(&all, &first.platform, &first.slot, Some(replaced)).await;
        let found = found.expect("it can be read").expect("it is there");
        assert_eq!((found.id, found.version), (first.id, first.version + 1));
        let kept = store.credential_get_by_id(&all, third.id).await.expect("it can be read").expect("it is there");
        assert_eq!(kept.version, third.version, "a stored token may be fresher");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secret_that_is_set_while_others_save_it_is_set_too() {
    each_database(async |store, url| {
        let date = NaiveDate::from_ymd_opt(2026, 11, 18).expect("a date");
        let simulated = SimulatorConfig { artists: 1, date, ..SimulatorConfig::default() };
        let stage = Stage::set(url, simulated, |_| {}).await;
        let given = stage.simulator.world().operator_credentials();
        let given = given.into_iter().find(|credential| credential.platform == "youtube").expect("a credential");
        let of = platform("youtube");
        let version = async || {
            let found = store.credential_get(&Scope::all_tenants(), &of, given.slot, None).await;
            found.expect("it is read").expect("it is there").version
        };
        let before = version().await;
        let credentials = stage.host.credentials();
        let set = || credentials.set(&of, given.slot, None, &given.value);
        for round in 1..=10 {
            // One may come after each of the three others.
            let done = tokio::join!(set(), set(), set(), set());
            for set in [done.0, done.1, done.2, done.3] {
                set.unwrap_or_else(|error| panic!("round {round}: {error}"));
            }
        }
        assert_eq!(version().await, before + 40);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_credential_that_can_not_be_read_is_set_and_removed_by_its_slot() {
    each_database(async |store, url| {
        if store.kind() == DatabaseKind::Postgres {
            return;
        }
        let date = NaiveDate::from_ymd_opt(2026, 11, 18).expect("a date");
        let simulated = SimulatorConfig { artists: 1, date, ..SimulatorConfig::default() };
        let stage = Stage::set(url, simulated, |_| {}).await;
        let all = Scope::all_tenants();
        let world = stage.simulator.world();
        let given = world.operator_credentials().into_iter().find(|credential| credential.platform == "youtube");
        let (given, of) = (given.expect("a credential"), platform("youtube"));
        let spoil = "UPDATE credentials SET updated_at = 'then' WHERE platform = 'youtube'";
        write(url, spoil).await;
        store.credential_get(&all, &of, given.slot, None).await.expect_err("it can't be read");
        stage.host.credentials().set(&of, given.slot, None, &given.value).await.expect("it is set");
        assert!(store.credential_get(&all, &of, given.slot, None).await.expect("it can be read").is_some());

        write(url, spoil).await;
        let removal = ["credentials", "remove", "youtube", given.slot];
        let output = Fleet::of(&stage, |_| {}).command(&removal).output().expect("the binary starts");
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(store.credential_get(&all, &of, given.slot, None).await.expect("nothing is there"), None);
    })
    .await;
}

/// Id of an artist of a list.
fn listed(n: u32) -> String {
    format!("018f4e6a-7c1d-7b3a-9c55-3f1d2a4b5c{n:02x}")
}

/// A check that stands for a server whose time zones are older than the host's: it knows no Tokyo.
fn older_zones(kind: DatabaseKind) -> &'static str {
    match kind {
        DatabaseKind::Sqlite => {
            "CREATE TRIGGER older_zones BEFORE INSERT ON artists WHEN NEW.timezone = 'Asia/Tokyo'
             BEGIN
                 SELECT RAISE(ABORT, 'artists.timezone is no time zone; update the server');
             END"
        }
        DatabaseKind::Postgres => {
            "CREATE FUNCTION older_zones() RETURNS TRIGGER LANGUAGE plpgsql AS $$
             BEGIN
                 RAISE EXCEPTION 'artists.timezone is no time zone'
                     USING ERRCODE = 'check_violation', HINT = 'update the server';
             END
             $$;
             CREATE TRIGGER older_zones BEFORE INSERT ON artists FOR EACH ROW
                 WHEN (NEW.timezone = 'Asia/Tokyo') EXECUTE FUNCTION older_zones()"
        }
    }
}

fn newer_zones(kind: DatabaseKind) -> &'static str {
    match kind {
        DatabaseKind::Sqlite => "DROP TRIGGER older_zones",
        DatabaseKind::Postgres => "DROP TRIGGER older_zones ON artists",
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_artist_that_the_database_refuses_costs_its_own_row() {
    each_database(async |store, url| {
        let simulated = SimulatorConfig { artists: 1, ..SimulatorConfig::default() };
        let stage = Stage::bare(url, simulated, |_| {}).await;
        let fleet = Fleet::of(&stage, |_| {});
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("artists.csv");
        let rows: Vec<String> = (0..4)
            .map(|n| format!("{},Artist {n},{}", listed(n), if n == 1 { "Asia/Tokyo" } else { "Europe/Berlin" }))
            .collect();
        std::fs::write(&file, format!("id,name,timezone\n{}\n", rows.join("\n"))).expect("written");
        let import = |code| {
            let arguments = ["artists", "import", file.to_str().expect("a path"), "--json"];
            let output = fleet.command(&arguments).output().expect("the binary starts");
            assert_eq!(output.status.code(), Some(code), "{}", String::from_utf8_lossy(&output.stderr));
            serde_json::from_slice::<Json>(&output.stdout).expect("JSON")
        };
        write(url, older_zones(store.kind())).await;
        let report = import(3);
        assert_eq!(report["artists_added"], 3, "{report}");
        let problem = "timezone is no time zone; update the server";
        assert_eq!(report["bad"], serde_json::json!([{ "place": "line 3", "problem": problem }]), "{report}");
        let count = async || {
            let filter = ArtistFilter::default();
            store.artists_list(&Scope::all_tenants(), &filter).await.expect("artists are read").len()
        };
        assert_eq!(count().await, 3);
        // One that is added alone is refused with the reason, and no failure of the database.
        let add = ["artists", "add", "Ada", "--timezone", "Asia/Tokyo"];
        let output = fleet.command(&add).output().expect("the binary starts");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains("artists.timezone is no time zone"), "{said}");

        write(url, newer_zones(store.kind())).await;
        assert_eq!(import(0)["artists_added"], 1);
        assert_eq!(count().await, 4);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_artist_that_the_database_refuses_keeps_no_other_from_being_synced() {
    each_database(async |store, url| {
        let simulated = SimulatorConfig { artists: 1, ..SimulatorConfig::default() };
        let stage = Stage::installed(url, simulated, |_| {}).await;
        let fleet = Fleet::of(&stage, |config| {
            config.sync.query = Some(
                "SELECT id, name, timezone, youtube, consent_youtube FROM platform_artists ORDER BY id".to_owned(),
            );
        });
        let rows: Vec<String> = (0..4)
            .map(|n| {
                let zone = if n == 1 { "Asia/Tokyo" } else { "Europe/Berlin" };
                format!("('{}', 'Artist {n}', '{zone}', 'UC{n:022}', TRUE)", listed(n))
            })
            .collect();
        let table = "CREATE TABLE platform_artists
            (id TEXT, name TEXT, timezone TEXT, youtube TEXT, consent_youtube BOOLEAN)";
        write(url, &format!("{table}; INSERT INTO platform_artists VALUES {}", rows.join(", "))).await;
        let sync = |code| {
            let output = fleet.command(&["artists", "sync", "--json"]).output().expect("the binary starts");
            assert_eq!(output.status.code(), Some(code), "{}", String::from_utf8_lossy(&output.stderr));
            serde_json::from_slice::<Json>(&output.stdout).expect("JSON")
        };
        write(url, older_zones(store.kind())).await;
        let report = sync(3);
        let counts = |report: &Json| {
            ["artists_added", "accounts_added", "consents_granted"]
                .map(|count| report[count].as_u64().expect("a count"))
        };
        assert_eq!(counts(&report), [3, 3, 3], "{report}");
        let problem = "it is no time zone; update the server";
        let bad = serde_json::json!([{ "row": 2, "id": listed(1), "column": "timezone", "problem": problem }]);
        assert_eq!(report["bad"], bad, "{report}");

        write(url, newer_zones(store.kind())).await;
        assert_eq!(counts(&sync(0)), [1, 1, 1], "what belongs to it comes with it");
    })
    .await;
}

/// Imports the artists of a stage's world by command; returns the exit code and what was said.
fn import_world(stage: &Stage) -> (Option<i32>, String) {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("artists.csv");
    std::fs::write(&file, stage.simulator.world().artists_csv()).expect("written");
    let arguments = ["artists", "import", file.to_str().expect("a path"), "--json"];
    let output = Fleet::of(stage, |_| {}).command(&arguments).output().expect("the binary starts");
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_import_records_no_consent_before_the_tokens_are_stored() {
    each_database(async |store, url| {
        let simulated = SimulatorConfig { artists: 2, ..SimulatorConfig::default() };
        let stage = Stage::installed(url, simulated, |_| {}).await;
        let all = Scope::all_tenants();
        let consents = async || {
            let artists = store.artists_list(&all, &ArtistFilter::default()).await.expect("artists are read");
            let ids: Vec<_> = artists.iter().map(|artist| artist.id).collect();
            assert_eq!(ids.len(), 2, "the artists are there");
            store.latest_consents_of(&all, &ids).await.expect("consents are read").len()
        };
        refuse(url, "credentials", "INSERT", "TRUE").await;
        let (code, said) = import_world(&stage);
        assert_ne!(code, Some(0), "{said}");
        assert_eq!(consents().await, 0, "a service beside it would collect without tokens");

        refuse_no_more(url, "credentials").await;
        let (code, said) = import_world(&stage);
        assert_eq!(code, Some(0), "{said}");
        assert!(consents().await > 0);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_account_of_an_artist_who_consents_is_active_from_its_token_on() {
    each_database(async |store, url| {
        let simulated = SimulatorConfig { artists: 2, ..SimulatorConfig::default() };
        let stage = Stage::set(url, simulated, |_| {}).await;
        write(url, "DELETE FROM accounts WHERE platform = 'tiktok'").await;
        let statuses = async || {
            let filter = AccountFilter { platform: Some(platform("tiktok")), ..AccountFilter::default() };
            let accounts = store.accounts_list(&Scope::all_tenants(), &filter).await.expect("accounts are read");
            accounts.iter().map(|account| account.status).collect::<Vec<_>>()
        };
        assert_eq!(statuses().await, []);
        refuse(url, "credentials", "INSERT", "TRUE").await;
        let (code, said) = import_world(&stage);
        assert_ne!(code, Some(0), "{said}");
        assert_eq!(statuses().await, [AccountStatus::ReconnectNeeded; 2]);

        refuse_no_more(url, "credentials").await;
        let (code, said) = import_world(&stage);
        assert_eq!(code, Some(0), "{said}");
        assert_eq!(statuses().await, [AccountStatus::Active; 2]);
    })
    .await;
}
