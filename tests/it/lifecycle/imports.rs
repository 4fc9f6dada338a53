//! Tests of imports over what is stored already and can't be read.

use backline_simulator::SimulatorConfig;
use backline_store::{CredentialFilter, DatabaseKind, Scope};
use chrono::NaiveDate;
use serde_json::Value as Json;

use crate::support::database::{each_database, write};
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
