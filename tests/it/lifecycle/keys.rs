//! Tests of the rotation of the key that encrypts secrets, while hosts collect.

use std::time::Duration;

use backline::pipeline::service::Service;
use backline_gateway::secrets::Keyring;
use backline_model::privacy::Identifiers;
use backline_simulator::SimulatorConfig;
use backline_store::{CredentialFilter, SEALED, Scope};
use chrono::{NaiveDate, TimeDelta};
use serde_json::Value as Json;

use crate::support::database::each_database;
use crate::support::fleet::{Fleet, until};
use crate::support::host::HostExt as _;
use crate::support::stage::{Stage, noon};

/// Maximum wait on a slow machine.
const SOON: Duration = Duration::from_secs(120);

fn date() -> NaiveDate {
    NaiveDate::from_ymd_opt(2026, 11, 18).expect("a date")
}

fn small(artists: u32) -> SimulatorConfig {
    SimulatorConfig { artists, date: date(), ..SimulatorConfig::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_is_replaced_while_a_service_collects() {
    each_database(async |store, url| {
        let stage = Stage::set(url, small(60), |config| {
            config.schedules.clear();
            config.service.poll_ms = 50;
        })
        .await;
        let old = stage.host.config().secrets.key.clone().expect("a key");
        let new = Keyring::generate_base64();
        let service = Service::start(stage.host.clone()).await.expect("the service starts");
        until(SOON, "a request", async || (stage.simulator.counts().requests > 0).then_some(())).await;
        let mut config = stage.host.config().clone();
        config.secrets.key = Some(new.clone());
        config.secrets.old_keys = vec![old.clone()];
        assert!(service.reload(config).await.is_ok(), "the new configuration is put into force");
        let host = service.host();
        let report = host.credentials().rotate_keys(None, &|_| {}).await.expect("rotated");
        assert_eq!(report.unreadable, 0, "{report:?}");
        assert!(report.resealed > 60, "{report:?}");
        let run = until(SOON, "the run's end", async || {
            let runs = store.runs_list(&Scope::all_tenants(), 10, None).await.expect("runs are read");
            runs.into_iter().next().filter(|run| run.finished_at.is_some())
        })
        .await;
        assert_eq!((run.counts.collected, run.counts.failed), (300, 0), "{run:?}");

        // Secrets that a refresh saved under the old key in the meantime are resealed too.
        let again = host.credentials().rotate_keys(None, &|_| {}).await.expect("rotated again");
        assert_eq!((again.changed, again.unreadable), (0, 0), "{again:?}");
        let third = host.credentials().rotate_keys(None, &|_| {}).await.expect("nothing is left to do");
        assert_eq!((third.resealed, third.key_id.as_str()), (0, report.key_id.as_str()));
        let uses = host.credentials().keys_in_use().await.expect("counted");
        assert_eq!(uses.len(), 2, "{uses:?}");
        assert_eq!(
            (uses[0].role, uses[0].can_go, uses[1].role, uses[1].can_go),
            ("seals", false, "opens", true),
            "{uses:?}"
        );
        assert!(service.stop().await);

        let (old_alone, new_alone) = (Keyring::from_base64(&old).unwrap(), Keyring::from_base64(&new).unwrap());
        let stored = store
            .credentials_list(&Scope::all_tenants(), &CredentialFilter::default())
            .await
            .expect("credentials are listed");
        assert!(stored.len() > 60);
        for credential in &stored {
            let context = credential.id.to_string();
            assert!(old_alone.open(&credential.sealed, &context).is_err(), "{credential:?}");
            assert!(new_alone.open(&credential.sealed, &context).is_ok(), "{credential:?}");
        }
        // A host with only the new key can collect.
        let host = stage.another_host(|config| config.secrets.key = Some(new.clone())).await;
        let kept = host.refresh_credentials().await.expect("a round");
        assert_eq!((kept.failed, kept.dead), (0, 0), "{kept:?}");
        // No secret is stored in plain text.
        let mut canaries = Identifiers::default();
        for credential in stage.simulator.world().artist_credentials(0) {
            let form = serde_json::from_str::<Json>(&credential.value).ok();
            let token = form.and_then(|form| form["refresh_token"].as_str().map(str::to_owned));
            canaries.add(token.as_deref().unwrap_or(&credential.value));
        }
        assert!(canaries.len() >= 2);
        assert_eq!(host.privacy().search(&canaries, true, &|_| {}).await.expect("searched"), []);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_that_began_before_a_rotation_opens_resealed_secrets() {
    each_database(async |_, url| {
        let stage = Stage::set(url, small(2), |config| config.schedules.clear()).await;
        let service = Service::start(stage.host.clone()).await.expect("the service starts");
        let mut config = stage.host.config().clone();
        config.secrets.old_keys = config.secrets.key.replace(Keyring::generate_base64()).into_iter().collect();
        assert!(service.reload(config).await.is_ok(), "the new configuration is put into force");
        let report = service.host().credentials().rotate_keys(None, &|_| {}).await.expect("rotated");
        assert!(report.resealed > 2 && report.unreadable == 0, "{report:?}");
        // The batch in progress still has the previous configuration.
        let report = stage.run_some(date(), &["spotify", "instagram"]).await;
        assert_eq!((report.run.counts.collected, report.run.counts.failed), (4, 0), "{report:?}");
        assert!(service.stop().await);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refresh_during_resealing_is_not_lost() {
    each_database(async |store, url| {
        let stage = Stage::installed(url, small(2), |_| {}).await;
        stage.import_of(&[0, 1], &["tiktok"], |_| "default".to_owned()).await;
        let old = stage.host.config().secrets.key.clone().expect("a key");
        let place = SEALED[0];
        let page = store.sealed_list(&Scope::all_tenants(), place, None, 10).await.expect("read");
        assert_eq!(page.len(), 3, "the client and two accounts");
        // The rotation reads a secret, a host refreshes it, then the rotation writes it.
        let refreshed = stage.host.refresh_credentials().await.expect("a round").refreshed;
        assert_eq!(refreshed, 2);
        let new = Keyring::from_base64(&Keyring::generate_base64()).unwrap().with_old_key(&old).unwrap();
        let pairs: Vec<_> =
            page.into_iter().map(|sealed| (sealed.clone(), new.reseal(&sealed.bytes, &sealed.id).unwrap())).collect();
        assert_eq!(
            store.sealed_replace(&Scope::all_tenants(), place, &pairs).await.expect("written"),
            1,
            "only secrets that were not saved since"
        );
        for credential in
            store.credentials_list(&Scope::all_tenants(), &CredentialFilter::default()).await.expect("listed")
        {
            let secret = new.open(&credential.sealed, &credential.id.to_string()).expect("it opens");
            let fresh = secret.injectable(stage.host.clock().now()).is_some();
            assert_eq!(fresh, credential.account_id.is_some(), "{credential:?}");
        }
        // The other order works too: a refresh that started before the rotation.
        let report = stage.host.credentials().rotate_keys(Some(new), &|_| {}).await.expect("rotated");
        assert_eq!((report.resealed, report.current, report.changed), (2, 1, 0));
        let later = noon(date()) + TimeDelta::hours(23);
        stage.simulator.set_now(later);
        stage.set_time(later);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_rotate_keys_and_report_when_the_old_one_can_be_removed() {
    use std::os::unix::fs::PermissionsExt as _;

    each_database(async |_store, url| {
        let stage = Stage::installed(url, small(2), |_| {}).await;
        stage.import_of(&[0, 1], &["tiktok"], |_| "default".to_owned()).await;
        let fleet = Fleet::of(&stage, |_| {});
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("new.key");
        let file = path.display().to_string();
        let run = |arguments: &[&str]| {
            let output = fleet.command(arguments).output().expect("it runs");
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            (output.status.code(), serde_json::from_slice::<Json>(&output.stdout).unwrap_or_default(), said)
        };
        assert_eq!(run(&["keys", "generate", "--file", &file]).0, Some(0));
        let mode = std::fs::metadata(&path).expect("the key").permissions().mode() & 0o777;
        assert_eq!(mode, 0o600);
        let (code, report, said) = run(&["keys", "rotate", "--new-key-file", &file, "--json"]);
        assert_eq!((code, &report["resealed"], &report["unreadable"]), (Some(0), &3.into(), &0.into()), "{said}");
        let (_, status, _) = run(&["keys", "status", "--json"]);
        assert_eq!((&status[0]["role"], &status[0]["secrets"]), (&"seals".into(), &serde_json::json!({})), "{status}");
        assert_eq!(
            (&status[1]["role"], &status[1]["secrets"]["credentials"]),
            (&"unknown".into(), &3.into()),
            "{status}"
        );
        let set = format!("secrets.old_key_files=[\"{file}\"]");
        let (_, status, said) = run(&["keys", "status", "--json", "--set", &set]);
        assert_eq!((&status[1]["role"], &status[1]["can_go"]), (&"opens".into(), &false.into()), "{status} {said}");
        let (code, _, said) = run(&["keys", "status", "--set", "secrets.old_keys=x"]);
        assert!(code == Some(2) && said.contains("secrets.old_key_files"), "{said}");
        let shown = fleet
            .command(&["config", "show"])
            .env("BACKLINE_SECRETS__OLD_KEYS", "canary-not-a-key")
            .output()
            .expect("it runs");
        let text = format!("{}{}", String::from_utf8_lossy(&shown.stdout), String::from_utf8_lossy(&shown.stderr));
        assert!(text.contains("old_keys") && !text.contains("canary"), "{text}");
    })
    .await;
}
