//! Runs the scenarios in `tests/scenarios/health` on both databases: each folder has steps and the expected health
//! report.
//!
//! `UPDATE_EXPECT=1` rewrites `expected.json`; check the difference before you commit it.

use backline_store::Scope;
use std::path::Path;

use backline_model::health::{HealthReport, Objective, Recommendation};
use backline_model::{Account, AccountId, AccountStatus, ArtistId, Consent};
use backline_simulator::{Fault, SimulatorConfig};
use chrono::TimeDelta;
use serde::Deserialize;
use serde_json::{Value as Json, json};

use crate::support::components::{guest, plugin, workspace};
use crate::support::database::each_database;
use crate::support::host::HostExt as _;
use crate::support::stage::{Stage, platform};

/// Platform of the test guests.
const GUEST: &str = "guest";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Scenario {
    /// Description for the reader.
    about: String,
    artists: u32,
    step: Vec<Step>,
}

#[derive(Deserialize)]
#[serde(tag = "do", rename_all = "snake_case", deny_unknown_fields)]
enum Step {
    /// Injects these faults from now on.
    Faults { faults: Vec<Fault> },
    /// Collects all accounts, as far as possible.
    Run {},
    /// Advances the clock.
    Advance { hours: i64 },
    /// Sets the operator's budget for a platform.
    Quota { platform: String, budget: String, units: u64 },
    /// Gives the first artist accounts on the guest's platform.
    Guest { ids: Vec<String> },
    /// Installs and activates a guest.
    Install { guest: String },
    /// Withdraws every artist's consent for a platform.
    Withdraw { platform: String },
    /// Checks health, as a service does.
    Look {},
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_scenario_has_the_score_the_objectives_and_the_recommendations_it_should() {
    let folder = workspace().join("tests/scenarios/health");
    let mut scenarios: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    scenarios.sort();
    assert!(scenarios.len() >= 7, "{scenarios:?}");
    for scenario in scenarios {
        play(&scenario).await;
    }
}

async fn play(folder: &Path) {
    let text = std::fs::read_to_string(folder.join("scenario.toml")).unwrap();
    let scenario: Scenario = toml::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    assert!(!scenario.about.is_empty());
    each_database(async |_, url| {
        let simulator = SimulatorConfig { artists: scenario.artists, ..SimulatorConfig::default() };
        let stage = Stage::set(url, simulator, |_| {}).await;
        for step in &scenario.step {
            take(&stage, step).await;
        }
        let report = stage.host.health().report(None).await.expect("health is computed");
        let told = serde_json::to_string_pretty(&shown(&report)).unwrap() + "\n";
        expect_test::expect_file![folder.join("expected.json")].assert_eq(&told);
    })
    .await;
}

async fn take(stage: &Stage, step: &Step) {
    let now = stage.host.clock().now();
    let store = stage.host.store();
    match step {
        Step::Faults { faults } => stage.simulator.set_faults(faults.clone()),
        Step::Run {} => {
            stage.run(now.date_naive()).await;
        }
        Step::Advance { hours } => {
            stage.simulator.set_now(now + TimeDelta::hours(*hours));
            stage.set_time(now + TimeDelta::hours(*hours));
        }
        Step::Quota { platform, budget, units } => {
            let limits = [(budget.clone(), *units)].into();
            stage.host.install_with(&plugin(platform), &limits).await.expect("the quota is granted");
        }
        Step::Guest { ids } => {
            stage.import_for_guest(GUEST, 0, "").await;
            let artist = ArtistId(stage.simulator.world().artist(0).id);
            let account = |id: &String| Account {
                id: AccountId::of(artist, &platform(GUEST), id),
                artist_id: artist,
                platform: platform(GUEST),
                platform_id: id.clone(),
                settings: json!({}),
                status: AccountStatus::Active,
            };
            store
                .accounts_save(&Scope::all_tenants(), &ids.iter().map(account).collect::<Vec<_>>(), now)
                .await
                .expect("accounts are saved");
        }
        Step::Install { guest: name } => {
            stage.host.install(&guest(name)).await.expect("it is installed");
        }
        Step::Withdraw { platform: name } => {
            let world = stage.simulator.world();
            let consents: Vec<Consent> = (0..world.artists())
                .map(|index| Consent {
                    artist_id: ArtistId(world.artist(index).id),
                    platform: platform(name),
                    granted: false,
                    scope: "metrics".to_owned(),
                    source: "test".to_owned(),
                    recorded_at: now + TimeDelta::seconds(1),
                })
                .collect();
            store.consents_record(&Scope::all_tenants(), &consents).await.expect("consents are recorded");
        }
        Step::Look {} => {
            stage.host.health().watch().await.expect("health is checked");
        }
    }
}

/// The parts of a report that a scenario compares: no ids, and numbers rounded to four digits.
fn shown(report: &HealthReport) -> Json {
    let platforms: serde_json::Map<String, Json> = report
        .platforms
        .iter()
        .map(|of| {
            let health = &of.health;
            let mut shown = json!({
                "score": rounded(health.score), "planned": health.planned, "collected": health.collected,
            });
            for (name, number) in [
                ("failed", health.failed),
                ("overdue", health.overdue),
                ("deferred", health.deferred),
                ("excluded", health.excluded),
                ("reconnect", health.reconnect),
            ] {
                if number > 0 {
                    shown[name] = json!(number);
                }
            }
            (of.platform.to_string(), shown)
        })
        .collect();
    let objective = |of: &Objective| (of.name.to_owned(), json!({ "value": rounded(of.value), "met": of.met }));
    let objectives: serde_json::Map<String, Json> = report.objectives.iter().map(objective).collect();
    json!({
        "score": rounded(report.total.score),
        "completion": rounded(report.total.completion),
        "error_rate": rounded(report.total.error_rate),
        "platforms": platforms,
        "objectives": objectives,
        "alerts": report
            .alerts
            .iter()
            .map(|alert| format!("{} {}", alert.name.as_str(), alert.platform.as_ref().map_or("", |of| of.as_str())))
            .collect::<Vec<_>>(),
        "recommendations": report.recommendations.iter().map(recommended).collect::<Vec<_>>(),
    })
}

fn recommended(recommendation: &Recommendation) -> Json {
    let Recommendation { kind, urgency, sentence, remedy, blame } = recommendation;
    let mut blame = json!(blame);
    if let Some(accounts) = blame["accounts"].as_array() {
        blame["accounts"] = accounts.iter().map(|account| account["artist"].clone()).collect();
    }
    json!({ "kind": kind, "urgency": urgency, "sentence": sentence, "remedy": remedy, "blame": blame })
}

fn rounded(value: Option<f64>) -> Option<f64> {
    value.map(|value| (value * 10_000.0).round() / 10_000.0)
}
