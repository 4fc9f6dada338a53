//! Helpers for accounts of a test guest whose second release is worse than the first: `tests/guests/examples/worse.rs`.

use std::collections::BTreeMap;

use backline::config::Config;
use backline::pipeline::Host;
use backline::pipeline::collection::report::RunRequest;
use backline_model::event::types;
use backline_model::{
    Account, AccountId, AccountStatus, ArtistId, Digest, Event, MetricsRow, Release, ReleaseState, Run,
};
use backline_simulator::SimulatorConfig;
use backline_store::{MetricsFilter, Scope, Store};
use chrono::NaiveDate;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::support::components::guest;
use crate::support::host::HostExt as _;
use crate::support::stage::{Stage, platform};

/// Platform of the test guests.
pub const PLATFORM: &str = "guest";

pub fn date() -> NaiveDate {
    NaiveDate::from_ymd_opt(2026, 11, 18).expect("a day of November")
}

/// A stage with accounts of these ids on the guest's platform, and no connector installed.
pub async fn stage(url: &str, ids: impl Iterator<Item = String>, change: impl FnOnce(&mut Config)) -> Stage {
    let simulator = SimulatorConfig { artists: 1, date: date(), ..SimulatorConfig::default() };
    let config = |config: &mut Config| {
        config.service.poll_ms = 20;
        config.schedules.clear();
        change(config);
    };
    let stage = Stage::bare(url, simulator, config).await;
    stage.import_for_guest(PLATFORM, 0, "").await;
    let now = stage.host.clock().now();
    let artist = ArtistId(stage.simulator.world().artist(0).id);
    let accounts: Vec<Account> = ids
        .map(|id| Account {
            id: AccountId::of(artist, &platform(PLATFORM), &id),
            artist_id: artist,
            platform: platform(PLATFORM),
            platform_id: id,
            settings: json!({}),
            status: AccountStatus::Active,
        })
        .collect();
    stage.host.store().accounts_save(&Scope::all_tenants(), &accounts, now).await.expect("accounts are saved");
    stage
}

/// Ids of `accounts` accounts. Every tenth has the prefix `begins`, on which the worse release fails.
pub fn every_tenth(begins: &str, accounts: usize) -> impl Iterator<Item = String> {
    (0..accounts).map(move |n| if n % 10 == 0 { format!("{begins}-{n}") } else { format!("account-{n}") })
}

/// Installs the guest's first release, or its second one.
pub async fn install(stage: &Stage, name: &str) -> Digest {
    stage.host.install(&guest(name)).await.expect("it is installed").digest
}

/// Plans a run of the guest's platform without collecting it.
pub async fn planned(host: &Host, date: NaiveDate) -> Run {
    let stopped = CancellationToken::new();
    stopped.cancel();
    host.runs().run(&request(date), &|_| {}, &stopped).await.expect("the plan is written").run
}

pub fn request(date: NaiveDate) -> RunRequest {
    RunRequest {
        trigger: "test".to_owned(),
        date: Some(date),
        platforms: vec![platform(PLATFORM)],
        ..RunRequest::default()
    }
}

/// The rows of a date, by the platform id of their accounts.
pub async fn rows(store: &Store, date: NaiveDate) -> BTreeMap<String, MetricsRow> {
    let filter = MetricsFilter {
        platform: Some(platform(PLATFORM)),
        since: Some(date),
        until: Some(date),
        limit: Some(10_000),
        ..MetricsFilter::default()
    };
    let rows = store.metrics_list(&Scope::all_tenants(), &filter).await.expect("metrics are read");
    let ids: Vec<AccountId> = rows.iter().map(|row| row.account_id).collect();
    let accounts = store.fetch_inputs_of(&Scope::all_tenants(), &ids).await.expect("accounts are read");
    let ids: BTreeMap<AccountId, String> =
        accounts.into_iter().map(|account| (account.id, account.platform_id)).collect();
    rows.into_iter().map(|row| (ids[&row.account_id].clone(), row)).collect()
}

pub async fn active(store: &Store) -> Release {
    store.active_release_get(&platform(PLATFORM)).await.expect("releases are read").expect("one is active")
}

pub async fn state_of(store: &Store, release: Digest) -> (ReleaseState, String) {
    let release = store.release_get(release).await.expect("releases are read").expect("it is there");
    (release.state, release.state_reason.unwrap_or_default())
}

pub async fn rolled_back(stage: &Stage) -> Vec<Event> {
    let mut events = stage.events().await;
    events.retain(|event| event.kind == types::CONNECTOR_ROLLED_BACK);
    events
}
