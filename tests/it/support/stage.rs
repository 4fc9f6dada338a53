//! A complete Backline for one test: a database, the simulator, the five connectors, and artists.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};

use backline::config::Config;
use backline::pipeline::Host;
use backline::pipeline::collection::report::{RunReport, RunRequest};
use backline_gateway::secrets::{Keyring, SecretText};
use backline_model::clock::Clock;
use backline_model::{
    Account, AccountId, AccountStatus, Artist, ArtistId, Consent, Digest, Event, MetricsRow, Platform,
    SubscriptionStatus, Tenant,
};
use backline_sandbox::{CompiledRecord, Sandbox, SandboxConfig};
use backline_simulator::{Platform as SimPlatform, SimArtist, Simulator, SimulatorConfig};
use backline_store::{EventCursor, MetricsFilter, QuarantineFilter, Scope, Store};
use chrono::{DateTime, NaiveDate, NaiveTime, TimeDelta, Utc};
use serde_json::json;
use tempfile::TempDir;

use tokio::sync::OnceCell;

use super::components;
use super::host::HostExt as _;

/// The first-party connectors.
const PLUGINS: [&str; 5] = ["youtube", "spotify", "instagram", "tiktok", "apple-music"];

/// The platforms of these connectors.
pub const PLATFORMS: [&str; 5] = ["youtube", "spotify", "instagram", "tiktok", "apple_music"];

/// The hosts that the simulator serves.
const ORIGINS: [&str; 9] = [
    "https://graph.instagram.com",
    "https://api.spotify.com",
    "https://accounts.spotify.com",
    "https://youtube.googleapis.com",
    "https://open.tiktokapis.com",
    "https://api.music.apple.com",
    "https://graph.facebook.com",
    "https://youtubeanalytics.googleapis.com",
    "https://oauth2.googleapis.com",
];

/// A host with its simulator and clock. Dropping it stops the simulator.
pub struct Stage {
    pub host: Host,
    pub simulator: Simulator,
    time: Arc<Mutex<DateTime<Utc>>>,
    /// All hosts of a stage belong to one installation, whatever state folder each has.
    _installation: TempDir,
}

impl Stage {
    /// A stage with connectors, artists and credentials, before the first collection.
    pub async fn set(url: &str, simulator: SimulatorConfig, change: impl FnOnce(&mut Config)) -> Self {
        let stage = Self::installed(url, simulator, change).await;
        stage.import().await;
        stage
    }

    /// A stage with connectors, and without artists.
    pub async fn installed(url: &str, simulator: SimulatorConfig, change: impl FnOnce(&mut Config)) -> Self {
        let stage = Self::bare(url, simulator, change).await;
        stage.install(&PLUGINS).await;
        stage
    }

    /// Installs first-party connectors. The rate that TikTok allows an application is raised, since a stage's clock
    /// stands still while requests are spaced by it.
    pub async fn install(&self, plugins: &[&str]) {
        for plugin in plugins {
            let rates: &[&str] = if *plugin == "tiktok" { &["user_info", "video_list"] } else { &[] };
            let budgets = rates.iter().map(|budget| ((*budget).to_owned(), 1_000_000)).collect();
            let installed = self.host.install_with(&components::plugin(plugin), &budgets).await;
            installed.unwrap_or_else(|error| panic!("{plugin}: {error}"));
        }
    }

    /// Another host on the same database, platforms and clock.
    pub async fn another_host(&self, change: impl FnOnce(&mut Config)) -> Host {
        let mut config = self.host.config().clone();
        change(&mut config);
        Host::open(config, self.host.clock().clone()).await.expect("the host opens")
    }

    /// A stage with an empty migrated database.
    pub async fn bare(url: &str, simulator: SimulatorConfig, change: impl FnOnce(&mut Config)) -> Self {
        let time = Arc::new(Mutex::new(noon(simulator.date)));
        let simulator = Simulator::start(simulator).await.expect("the simulator starts");
        let mut config = Config::default();
        config.database.url = url.to_owned();
        config.secrets.key = Some(Keyring::generate_base64());
        config.gateway.routes = routes(&simulator);
        // Short intervals, so that tests don't wait unnecessarily.
        config.gateway.backoff_base_ms = 1;
        config.gateway.backoff_max_ms = 5;
        config.collection.retry_wait_max_ms = 0;
        let compiled = Compiled::of_this_process().await;
        config.sandbox.cache_dir = Some(compiled.folder.path().to_owned());
        let installation = tempfile::tempdir().expect("a folder");
        config.installation.folder = Some(installation.path().to_owned());
        change(&mut config);
        let store = Store::open(
            url,
            backline_store::StoreOptions { connections_max: 8, ..backline_store::StoreOptions::default() },
        )
        .await
        .expect("the database opens");
        store.migrate().await.expect("the database migrates");
        for record in &compiled.records {
            store.compiled_save(&record.key, record.compiled).await.expect("what was compiled is remembered");
        }
        drop(store);
        let clock = {
            let time = Arc::clone(&time);
            Clock::from_fn(move || *time.lock().expect("no test panics while it sets the time"))
        };
        let host = Host::open(config, clock).await.expect("the host opens");
        Self { host, simulator, time, _installation: installation }
    }

    /// Sets the clocks of simulator and host to noon of a date.
    pub fn set_date(&self, date: NaiveDate) {
        self.simulator.set_date(date);
        self.set_time(noon(date));
    }

    /// Sets the host's clock.
    pub fn set_time(&self, time: DateTime<Utc>) {
        *self.time.lock().expect("no test panics while it sets the time") = time;
    }

    /// Imports the simulator's artists, each with an account on every platform, with consent and credentials.
    pub async fn import(&self) {
        let everybody: Vec<u32> = (0..self.simulator.world().artists()).collect();
        self.import_of(&everybody, &PLATFORMS, |_| "default".to_owned()).await;
    }

    /// Imports the artists with accounts on some platforms only, for several tenants.
    pub async fn import_some(&self, platforms: &[&str], tenant: impl Fn(usize) -> Tenant) {
        let everybody: Vec<u32> = (0..self.simulator.world().artists()).collect();
        self.import_of(&everybody, platforms, |index| tenant(index as usize).to_string()).await;
    }

    /// Imports some of the simulator's artists with accounts on some platforms, each under the tenant named.
    pub async fn import_of(&self, indices: &[u32], platforms: &[&str], tenant: impl Fn(u32) -> String) {
        let now = self.host.clock().now();
        let world = self.simulator.world();
        let sims: Vec<SimArtist> = indices.iter().map(|index| world.artist(*index)).collect();
        let artists: Vec<Artist> = indices
            .iter()
            .zip(&sims)
            .map(|(index, sim)| Artist { tenant: Tenant::new(tenant(*index)).expect("a tenant"), ..artist(sim) })
            .collect();
        self.host.store().artists_save(&Scope::all_tenants(), &artists, now).await.expect("artists are saved");
        let mut accounts: Vec<Account> = sims.iter().flat_map(accounts).collect();
        accounts.retain(|account| platforms.contains(&account.platform.as_str()));
        self.host.store().accounts_save(&Scope::all_tenants(), &accounts, now).await.expect("accounts are saved");
        for credential in world.operator_credentials() {
            if !platforms.contains(&credential.platform) {
                continue;
            }
            self.set_credential(credential.platform, credential.slot, None, &credential.value).await;
        }
        let ids: HashMap<(&str, &str), AccountId> = accounts
            .iter()
            .map(|account| ((account.platform.as_str(), account.platform_id.as_str()), account.id))
            .collect();
        let mut secrets: BTreeMap<(&str, &str), Vec<(AccountId, SecretText)>> = BTreeMap::new();
        for index in indices {
            for credential in world.artist_credentials(*index) {
                let account = credential.account.as_deref().and_then(|id| ids.get(&(credential.platform, id)));
                if let Some(account) = account {
                    let of_slot = secrets.entry((credential.platform, credential.slot)).or_default();
                    of_slot.push((*account, SecretText::new(credential.value)));
                }
            }
        }
        for ((name, slot), secrets) in secrets {
            let set = self.host.credentials().set_many(&platform(name), slot, &secrets).await;
            set.unwrap_or_else(|error| panic!("{name}/{slot}: {error:?}"));
        }
        // Last: a service collects artists as soon as they consent.
        self.consent(&accounts).await;
    }

    /// Records that the artists of these accounts agree to be collected.
    pub async fn consent(&self, accounts: &[Account]) {
        let now = self.host.clock().now();
        let granted = |account: &Account| Consent {
            artist_id: account.artist_id,
            platform: account.platform.clone(),
            granted: true,
            scope: "metrics".to_owned(),
            source: "import".to_owned(),
            recorded_at: now,
        };
        let consents: Vec<Consent> = accounts.iter().map(granted).collect();
        self.host.store().consents_record(&Scope::all_tenants(), &consents).await.expect("consents are recorded");
    }

    async fn set_credential(&self, name: &str, slot: &str, account: Option<AccountId>, value: &str) {
        let set = self.host.credentials().set(&platform(name), slot, account, value).await;
        set.unwrap_or_else(|error| panic!("{name}/{slot}: {error:?}"));
    }

    /// Adds one artist with `accounts` accounts on a test guest's platform. One of them has the id `poison`, on which
    /// the guest fails.
    pub async fn import_for_guest(&self, name: &str, accounts: u32, poison: &str) {
        let now = self.host.clock().now();
        let sim = self.simulator.world().artist(0);
        self.host.store().artists_save(&Scope::all_tenants(), &[artist(&sim)], now).await.expect("the artist is saved");
        let accounts: Vec<Account> = (0..accounts)
            .map(|index| Account {
                id: AccountId(uuid::Uuid::new_v5(&sim.id, &index.to_be_bytes())),
                artist_id: ArtistId(sim.id),
                platform: platform(name),
                platform_id: if index == accounts / 2 { poison.to_owned() } else { format!("account-{index}") },
                settings: json!({}),
                status: AccountStatus::Active,
            })
            .collect();
        self.host.store().accounts_save(&Scope::all_tenants(), &accounts, now).await.expect("accounts are saved");
        let consent = Consent {
            artist_id: ArtistId(sim.id),
            platform: platform(name),
            granted: true,
            scope: "metrics".to_owned(),
            source: "test".to_owned(),
            recorded_at: now,
        };
        self.host.store().consents_record(&Scope::all_tenants(), &[consent]).await.expect("consent is recorded");
    }

    /// All events so far.
    pub async fn events(&self) -> Vec<Event> {
        let events = self
            .host
            .store()
            .events_list(&Scope::all_tenants(), EventCursor::default(), 100_000)
            .await
            .expect("events are read");
        events.into_iter().map(|(_, event)| event).collect()
    }

    /// All results of runs as JSON, without generated ids and times, which differ between stages.
    pub async fn traces(&self) -> serde_json::Value {
        let store = self.host.store();
        let mut rows = store
            .metrics_list(&Scope::all_tenants(), &MetricsFilter { limit: Some(10_000), ..MetricsFilter::default() })
            .await
            .expect("metrics");
        rows.sort_by_key(|row| (row.account_id, row.metric_date));
        let mut growth = store
            .growth_list(&Scope::all_tenants(), &MetricsFilter { limit: Some(10_000), ..MetricsFilter::default() })
            .await
            .expect("growth");
        growth.sort_by_key(|row| (row.account_id, row.metric_date));
        let mut documents = BTreeMap::new();
        for row in &rows {
            let body = store
                .document_get(&Scope::all_tenants(), row.document_id)
                .await
                .expect("documents are read")
                .expect("a row's document is stored");
            documents.insert(format!("{}/{}", row.account_id, row.metric_date), body);
        }
        let rows: Vec<serde_json::Value> = rows
            .into_iter()
            .map(|row| {
                let mut row = serde_json::to_value(row).expect("a row is JSON");
                for drawn in ["run_id", "document_id"] {
                    row.as_object_mut().expect("an object").remove(drawn);
                }
                row
            })
            .collect();
        // Outcomes, quarantine and events, without generated ids and times.
        let mut outcomes = Vec::new();
        for run in store.runs_list(&Scope::all_tenants(), 100, None).await.expect("runs are read") {
            for outcome in
                store.run_outcomes_list(&Scope::all_tenants(), run.id, None, 10_000).await.expect("outcomes are read")
            {
                outcomes.push(format!(
                    "{:?} {} {} {:?}",
                    run.date, outcome.account_id, outcome.metric_date, outcome.outcome
                ));
            }
        }
        outcomes.sort();
        let held = store
            .quarantine_list(&Scope::all_tenants(), &QuarantineFilter::default())
            .await
            .expect("quarantine is read");
        let mut held: Vec<String> = held
            .iter()
            .map(|held| format!("{} {} {} {:?}", held.account_id, held.metric_date, held.metric, held.value))
            .collect();
        held.sort();
        let mut events: Vec<String> = self
            .events()
            .await
            .iter()
            .map(|event| format!("{} {:?} {}", event.kind, event.artist_id, event.occurred_at))
            .collect();
        events.sort();
        json!({
            "metrics": rows, "growth": growth, "documents": documents, "outcomes": outcomes, "quarantine": held,
            "events": events,
        })
    }

    /// Collects a date on all platforms.
    pub async fn run(&self, date: NaiveDate) -> RunReport {
        self.run_some(date, &[]).await
    }

    /// Collects a date on some platforms.
    pub async fn run_some(&self, date: NaiveDate, platforms: &[&str]) -> RunReport {
        let request = RunRequest {
            trigger: "test".to_owned(),
            date: Some(date),
            due: None,
            platforms: platforms.iter().map(|name| platform(name)).collect(),
            artists: Vec::new(),
        };
        self.host.run(&request, &|_| {}).await.expect("the run ends")
    }

    /// One simulated artist's stored row.
    pub async fn row(&self, sim: SimPlatform, index: u32, date: NaiveDate) -> Option<MetricsRow> {
        let filter = MetricsFilter {
            artist: Some(ArtistId(self.simulator.world().artist(index).id)),
            platform: Some(platform(sim.as_str())),
            since: Some(date),
            until: Some(date),
            ..MetricsFilter::default()
        };
        self.host
            .store()
            .metrics_list(&Scope::all_tenants(), &filter)
            .await
            .expect("metrics are read")
            .into_iter()
            .next()
    }
}

/// The five connectors, compiled once per process, because compilation would dominate the time of the tests.
struct Compiled {
    folder: tempfile::TempDir,
    records: Vec<CompiledRecord>,
}

impl Compiled {
    async fn of_this_process() -> &'static Self {
        static COMPILED: OnceCell<Compiled> = OnceCell::const_new();
        COMPILED
            .get_or_init(|| async {
                let folder = tempfile::tempdir().expect("a temporary folder");
                let config = SandboxConfig { cache_dir: Some(folder.path().to_owned()), ..SandboxConfig::default() };
                let sandbox = Sandbox::new(config).expect("a sandbox");
                let mut records = Vec::new();
                for plugin in PLUGINS {
                    let component = components::plugin(plugin);
                    let loaded = sandbox.load(&component, Digest::of(&component), None).await;
                    records.push(loaded.unwrap_or_else(|error| panic!("{plugin}: {error}")).1);
                }
                Self { folder, records }
            })
            .await
    }
}

pub fn noon(date: NaiveDate) -> DateTime<Utc> {
    date.and_time(NaiveTime::MIN).and_utc() + TimeDelta::hours(12)
}

pub fn platform(name: &str) -> Platform {
    Platform::new(name).expect("a platform's name")
}

fn routes(simulator: &Simulator) -> Vec<backline_gateway::Route> {
    let routes: Vec<_> = ORIGINS
        .iter()
        .map(|origin| json!({ "origin": origin, "connect": format!("http://{}", simulator.addr()) }))
        .collect();
    serde_json::from_value(json!(routes)).expect("routes")
}

fn artist(sim: &SimArtist) -> Artist {
    Artist {
        id: ArtistId(sim.id),
        name: sim.name.clone(),
        tenant: Tenant::default(),
        subscription_status: SubscriptionStatus::Active,
        data_collection_enabled: true,
        timezone: sim.timezone.parse().expect("a time zone"),
    }
}

fn accounts(sim: &SimArtist) -> Vec<Account> {
    [
        ("youtube", &sim.youtube_channel_id),
        ("spotify", &sim.spotify_artist_id),
        ("instagram", &sim.instagram_user_id),
        ("tiktok", &sim.tiktok_open_id),
        ("apple_music", &sim.apple_music_id),
    ]
    .into_iter()
    .map(|(name, platform_id)| Account {
        id: AccountId::of(ArtistId(sim.id), &platform(name), platform_id),
        artist_id: ArtistId(sim.id),
        platform: platform(name),
        platform_id: platform_id.clone(),
        settings: json!({}),
        status: AccountStatus::Active,
    })
    .collect()
}
