//! Attacks of connectors, platforms, token endpoints and component files on one host, at the same time as good accounts
//! are collected. docs/security.md lists them with the bound that stops each.

mod files;
mod server;
mod table;
mod tokens;
#[cfg(feature = "weakened")]
mod weakened;
mod written;

use std::collections::BTreeMap;
use std::fmt::Write as _;

use backline::config::Config;
use backline::pipeline::Host;
use backline::pipeline::collection::report::{RunReport, RunRequest};
use backline_gateway::Route;
use backline_gateway::secrets::{Keyring, SecretText};
use backline_model::clock::Clock;
use backline_model::text::steers;
use backline_model::{
    Account, AccountId, AccountStatus, Artist, ArtistId, Consent, MetricsRow, Outcome, Platform, SubscriptionStatus,
    Tenant, Value, Zone,
};
use backline_store::{EventCursor, MetricsFilter, NamedOutcome, QuarantineFilter, Scope, Store};
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::json;
use sqlx::Row as _;
use uuid::Uuid;

use crate::support::alone::alone;
use crate::support::components::{guest, workspace};
use crate::support::database::each_database;
use crate::support::host::HostExt as _;
use server::{SECRET, TOKEN};
use table::{Attack, Ends, attacks};

/// Good accounts of each connector, in batches of their own.
const GOOD: usize = 30;

/// Requests of a batch.
const REQUESTS_MAX: u64 = 60;

/// Bytes that a batch may receive.
const RECEIVED_BYTES_MAX: u64 = 8 << 20;

/// Bytes of a batch's log.
const LOG_BYTES_MAX: u64 = 16 << 10;

/// How much memory the process may take while it is attacked: eight calls with 32 MiB of their own, what they answer
/// and receive, and the hostile platform, which is in the same process.
const MEMORY_BYTES_MAX: u64 = 1 << 30;

fn noon() -> DateTime<Utc> {
    "2026-11-22T12:00:00Z".parse().expect("a time")
}

fn adversary() -> Platform {
    Platform::new("adversary").expect("a platform")
}

/// Bounds far below the defaults, so that the attacks reach them quickly.
fn config(url: &str, platform: &server::Platform, cache: &std::path::Path) -> Config {
    let mut config = Config::default();
    config.database.url = url.to_owned();
    config.secrets.key = Some(Keyring::generate_base64());
    config.collection.attempts_max = 1;
    config.collection.retry_wait_max_ms = 0;
    config.collection.batch_deadline_ms = 40_000;
    config.collection.concurrency = 8;
    config.sandbox.calls_at_once = 8;
    config.sandbox.memory_bytes_max = 32 << 20;
    config.sandbox.cpu_ms_max = 1_500;
    config.sandbox.output_bytes_max = 4 << 20;
    config.sandbox.log_bytes_max = LOG_BYTES_MAX;
    config.sandbox.requests_bytes_max = 1 << 20;
    config.sandbox.resources_max = 4_000;
    config.sandbox.cache_dir = Some(cache.to_owned());
    config.gateway.request_timeout_ms = 3_000;
    config.gateway.body_bytes_max = 1 << 20;
    config.gateway.retries_max = 0;
    // An attack goes on after many failures, and each has an origin of its own.
    config.gateway.breaker_failures = 1_000;
    config.gateway.requests_max = REQUESTS_MAX;
    config.gateway.received_bytes_max = RECEIVED_BYTES_MAX;
    let names = attacks().into_iter().map(|attack| attack.name).chain(tokens::names()).chain(["good"]);
    let connect: url::Url = format!("http://{}", platform.address).parse().expect("a URL");
    config.gateway.routes = names
        .map(|name| Route {
            origin: format!("https://{name}.attacks.test").parse().expect("an origin"),
            connect: connect.clone(),
        })
        .collect();
    config
}

/// A host that is attacked, and the platform that helps.
struct Battle {
    host: Host,
    platform: server::Platform,
    attacks: Vec<Attack>,
}

impl Battle {
    async fn prepare(
        url: &str,
        cache: &std::path::Path,
        attacks: Vec<Attack>,
        change: impl FnOnce(&mut Config),
    ) -> Self {
        let platform = server::Platform::start().await;
        let mut config = config(url, &platform, cache);
        change(&mut config);
        let host = Host::open(config, Clock::fixed(noon())).await.expect("the host opens");
        for name in ["adversary", "well_behaved"] {
            host.install(&guest(name)).await.unwrap_or_else(|error| panic!("{name}: {error}"));
        }
        let battle = Self { host, platform, attacks };
        battle.add_accounts().await;
        battle
    }

    /// Each attack is an artist of a tenant of its own, with two good accounts in the same batch. The good accounts of
    /// the other batches are one artist's.
    async fn add_accounts(&self) {
        let mut artists = vec![artist(0, "default")];
        let mut accounts = Vec::new();
        for n in 0..GOOD {
            let send = json!({ "send": { "url": format!("https://good.attacks.test/{n}"), "slot": "app" } });
            accounts.push(account(&artists[0], "adversary", &format!("good-{n}"), send));
            accounts.push(account(&artists[0], "guest", &good_id(n), json!({})));
        }
        for (n, attack) in self.attacks.iter().enumerate() {
            let artist = artist(n as u128 + 1, &format!("tenant-{n}"));
            let settings = attack.send.as_ref().map_or_else(|| json!({}), |send| json!({ "send": send }));
            accounts.push(account(&artist, "adversary", attack.name, settings));
            for neighbour in neighbours(attack) {
                accounts.push(account(&artist, "adversary", &neighbour, json!({})));
            }
            artists.push(artist);
        }
        let (store, everyone) = (self.host.store(), Scope::all_tenants());
        store.artists_save(&everyone, &artists, noon()).await.expect("artists are saved");
        store.accounts_save(&everyone, &accounts, noon()).await.expect("accounts are saved");
        let consents: Vec<Consent> = artists
            .iter()
            .flat_map(|artist| ["adversary", "guest"].map(|platform| (artist.id, platform)))
            .map(|(artist_id, platform)| Consent {
                artist_id,
                platform: Platform::new(platform).expect("a platform"),
                granted: true,
                scope: "metrics".to_owned(),
                source: "test".to_owned(),
                recorded_at: noon(),
            })
            .collect();
        store.consents_record(&everyone, &consents).await.expect("consents are recorded");
        let credentials = self.host.credentials();
        credentials.set(&adversary(), "app", None, SECRET).await.expect("the operator's secret is set");
        let tokens: Vec<_> = accounts
            .iter()
            .filter(|account| account.platform == adversary())
            .map(|account| (account.id, SecretText::from(TOKEN)))
            .collect();
        credentials.set_many(&adversary(), "user", &tokens).await.expect("the accounts' secrets are set");
    }

    /// The artists of the attacks that ask for a pause, or of the others; in both the one with the good accounts.
    fn artists(&self, of_pauses: bool) -> Vec<ArtistId> {
        let attacks = self.attacks.iter().enumerate().filter(|(_, attack)| attack.asks_for_a_pause() == of_pauses);
        let ids = attacks.map(|(n, _)| artist(n as u128 + 1, "default").id);
        ids.chain([artist(0, "default").id]).collect()
    }

    /// Collects these artists.
    async fn run(&self, artists: Vec<ArtistId>) -> RunReport {
        let request = RunRequest {
            trigger: "test".to_owned(),
            date: Some(noon().date_naive()),
            due: None,
            platforms: Vec::new(),
            artists,
        };
        self.host.run(&request, &|_| {}).await.expect("the run ends")
    }

    async fn outcomes(&self, report: &RunReport) -> BTreeMap<String, NamedOutcome> {
        let store = self.host.store();
        let outcomes = store.run_outcomes_list(&Scope::all_tenants(), report.run.id, None, 10_000).await;
        let outcomes = outcomes.expect("outcomes are read").into_iter();
        outcomes.map(|outcome| (outcome.platform_id.clone(), outcome)).collect()
    }

    async fn rows(&self) -> BTreeMap<String, MetricsRow> {
        let store = self.host.store();
        let filter = MetricsFilter { limit: Some(10_000), ..MetricsFilter::default() };
        let rows = store.metrics_list(&Scope::all_tenants(), &filter).await.expect("rows are read");
        let accounts = store.accounts_list(&Scope::all_tenants(), &Default::default()).await.expect("accounts");
        let ids: BTreeMap<AccountId, String> =
            accounts.into_iter().map(|account| (account.id, account.platform_id)).collect();
        rows.into_iter().map(|row| (ids[&row.account_id].clone(), row)).collect()
    }
}

fn neighbours(attack: &Attack) -> [String; 2] {
    ["before", "after"].map(|side| format!("{side}-{}", attack.name))
}

/// Ids of several lengths: the guest gives each account as many followers as its id has characters.
fn good_id(n: usize) -> String {
    format!("fine-{}", "x".repeat(n))
}

fn artist(n: u128, tenant: &str) -> Artist {
    Artist {
        id: ArtistId(Uuid::from_u128(0xA000_0000 + n)),
        name: format!("Artist {n}"),
        tenant: Tenant::new(tenant).expect("a tenant"),
        subscription_status: SubscriptionStatus::Active,
        data_collection_enabled: true,
        timezone: Zone::utc(),
    }
}

fn account(artist: &Artist, platform: &str, platform_id: &str, settings: serde_json::Value) -> Account {
    let platform = Platform::new(platform).expect("a platform");
    Account {
        id: AccountId::of(artist.id, &platform, platform_id),
        artist_id: artist.id,
        platform,
        platform_id: platform_id.to_owned(),
        settings,
        status: AccountStatus::Active,
    }
}

/// Everything that is not as it should be; a run of all attacks takes too long to stop at the first.
#[derive(Default)]
struct Faults(Vec<String>);

impl Faults {
    fn expect(&mut self, is_so: bool, otherwise: impl FnOnce() -> String) {
        if !is_so {
            self.0.push(otherwise());
        }
    }
}

fn followers(row: Option<&MetricsRow>) -> Option<i64> {
    row.and_then(|row| row.values.get("followers")).and_then(Value::as_i64)
}

/// Whether an outcome is the expected one; otherwise what is wrong.
fn check_end(attack: &Attack, outcome: Option<&NamedOutcome>) -> Result<(), String> {
    let Some(outcome) = outcome.map(|named| &named.outcome) else { return Err("it has no outcome".to_owned()) };
    let shown: String = format!("{outcome:?}").chars().take(300).collect();
    let fits = match (attack.ends, outcome) {
        (Ends::Collected | Ends::CollectedOr(_), Outcome::Collected) => true,
        (Ends::Deferred, Outcome::Deferred { until, .. }) => *until <= noon() + TimeDelta::days(7),
        (Ends::Failed(classes) | Ends::CollectedOr(classes), Outcome::Failed { class, message }) => {
            classes.contains(class) && message.contains(attack.says)
        }
        _ => false,
    };
    if fits { Ok(()) } else { Err(format!("expected {:?} '{}', and it is {shown}", attack.ends, attack.says)) }
}

/// Checks the attacks that asked for a pause: they and their neighbours may be kept waiting, a week at most, and what
/// does not use the credential that pauses goes on.
async fn check_pauses(battle: &Battle, report: &RunReport, faults: &mut Faults) {
    let (outcomes, rows) = (battle.outcomes(report).await, battle.rows().await);
    let waits = |id: &str| match outcomes.get(id).map(|named| &named.outcome) {
        Some(Outcome::Deferred { until, .. }) => *until <= noon() + TimeDelta::days(7),
        _ => false,
    };
    for attack in battle.attacks.iter().filter(|attack| attack.asks_for_a_pause()) {
        if let (false, Err(why)) = (waits(attack.name), check_end(attack, outcomes.get(attack.name))) {
            faults.0.push(format!("{}: {why}", attack.name));
        }
        for neighbour in neighbours(attack) {
            let is_right = followers(rows.get(&neighbour)) == i64::try_from(neighbour.len()).ok();
            faults.expect(is_right || waits(&neighbour), || format!("{neighbour}: {:?}", outcomes.get(&neighbour)));
        }
    }
    faults.expect(waits("defer-to-2100"), || "a pause of a week is asked for, and none is kept".to_owned());
    for n in 0..GOOD {
        let outcome = outcomes.get(&good_id(n)).map(|named| &named.outcome);
        faults.expect(outcome == Some(&Outcome::Collected), || format!("{}: {outcome:?}", good_id(n)));
    }
}

/// Checks that every attack ended as it should, and every good account with its number.
async fn check_accounts(battle: &Battle, report: &RunReport, faults: &mut Faults) {
    let (outcomes, rows) = (battle.outcomes(report).await, battle.rows().await);
    for attack in battle.attacks.iter().filter(|attack| !attack.asks_for_a_pause()) {
        if let Err(why) = check_end(attack, outcomes.get(attack.name)) {
            faults.0.push(format!("{}: {why}", attack.name));
        }
        for neighbour in neighbours(attack) {
            let found = followers(rows.get(&neighbour));
            let expected = i64::try_from(neighbour.len()).ok();
            faults.expect(found == expected, || {
                format!("{neighbour}: {found:?} followers, {:?}", outcomes.get(&neighbour).map(|named| &named.outcome))
            });
        }
        let asked = battle.platform.asked(attack.name);
        faults.expect(asked <= REQUESTS_MAX, || format!("{}: {asked} requests", attack.name));
    }
    for n in 0..GOOD {
        for (id, expected) in [(format!("good-{n}"), 1_000 + n), (good_id(n), good_id(n).len())] {
            let found = followers(rows.get(&id));
            faults.expect(found == i64::try_from(expected).ok(), || {
                format!("{id}: {found:?} followers, {:?}", outcomes.get(&id).map(|named| &named.outcome))
            });
        }
    }
    let told = rows.get("sends-in-normalize").map(|row| row.notes.clone());
    faults.expect(told == Some(vec!["denied".to_owned()]), || format!("sends-in-normalize was told {told:?}"));
}

/// Everything of the run that a person may see, or that is stored in plain text.
async fn haystack(battle: &Battle, report: &RunReport, url: &str) -> String {
    let (store, everyone) = (battle.host.store(), Scope::all_tenants());
    let mut hay = format!("{report:?}");
    for (id, row) in battle.rows().await {
        let body = store.document_get(&everyone, row.document_id).await.expect("a document is read");
        let _ = writeln!(hay, "{id}: {} {body:?}", json!(row));
    }
    for (id, outcome) in battle.outcomes(report).await {
        let _ = writeln!(hay, "{id}: {:?}", outcome.outcome);
    }
    let held = store.quarantine_list(&everyone, &QuarantineFilter::default()).await.expect("quarantine is read");
    let events = store.events_list(&everyone, EventCursor::default(), 100_000).await.expect("events are read");
    let _ = writeln!(hay, "{held:?} {events:?}");
    for query in ["SELECT message FROM plugin_logs", "SELECT state FROM account_state WHERE state IS NOT NULL"] {
        for text in texts(url, query).await {
            let _ = writeln!(hay, "{text}");
        }
    }
    hay
}

async fn texts(url: &str, query: &'static str) -> Vec<String> {
    let pool = sqlx::any::AnyPoolOptions::new().max_connections(1).connect(url).await.expect("the database opens");
    let rows = sqlx::query(query).fetch_all(&pool).await.expect("a query runs");
    pool.close().await;
    rows.iter().map(|row| row.get::<Option<String>, _>(0).unwrap_or_default()).collect()
}

async fn number(url: &str, query: &'static str) -> u64 {
    texts(url, query).await.first().and_then(|text| text.parse().ok()).unwrap_or_default()
}

/// Checks that what was stored has its bounds, steers nothing and holds no secret.
async fn check_stored(battle: &Battle, report: &RunReport, url: &str, faults: &mut Faults) {
    let hay = haystack(battle, report, url).await;
    faults.expect(hay.len() > 100_000, || format!("only {} bytes were searched", hay.len()));
    // What is shown in place of other characters hides nothing.
    let hay: String = hay.chars().filter(|&c| !matches!(c, '\0' | char::REPLACEMENT_CHARACTER)).collect();
    for secret in [SECRET, TOKEN] {
        if let Some(at) = hay.find(secret) {
            let line = hay[..at].rfind('\n').map_or(0, |start| start + 1);
            faults.0.push(format!("a secret stands in {:?}", hay[line..at].chars().take(200).collect::<String>()));
        }
    }
    let batches = number(url, "SELECT CAST(COUNT(*) AS TEXT) FROM batches").await;
    for (what, query, most) in [
        ("bytes of logs", "SELECT CAST(SUM(LENGTH(message)) AS TEXT) FROM plugin_logs", batches * LOG_BYTES_MAX),
        ("bytes of a state", "SELECT CAST(MAX(LENGTH(state)) AS TEXT) FROM account_state", 64 << 10),
        (
            "characters of a withheld value",
            "SELECT CAST(MAX(LENGTH(CAST(value AS TEXT))) AS TEXT) FROM quarantine",
            20_000,
        ),
        (
            "withheld values of an account",
            "SELECT CAST(MAX(n) AS TEXT) FROM (SELECT COUNT(*) AS n FROM quarantine GROUP BY account_id) AS counted",
            256,
        ),
        ("lost metrics", "SELECT CAST(COUNT(*) AS TEXT) FROM lost_metrics", 256),
        ("bytes of a reason", "SELECT CAST(MAX(LENGTH(reason)) AS TEXT) FROM lost_metrics", 2_010),
        ("characters of a message", "SELECT CAST(MAX(LENGTH(message)) AS TEXT) FROM outcomes_all", 2_200),
    ] {
        let found = number(url, query).await;
        faults.expect(found <= most, || format!("{found} {what}, and at most {most} are allowed"));
    }
    for query in [
        "SELECT message FROM plugin_logs",
        "SELECT message FROM outcomes_all WHERE message IS NOT NULL",
        "SELECT metric FROM quarantine",
        "SELECT name || reason FROM lost_metrics",
    ] {
        for text in texts(url, query).await {
            faults.expect(!text.chars().any(|c| steers(c) && c != '\n' && c != '\t'), || format!("{query}: {text:?}"));
        }
    }
}

/// A field of `/proc/self/status`, in bytes.
fn memory(field: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux tells a process of itself");
    let line = status.lines().find(|line| line.starts_with(field)).expect("the field is there");
    let kib: u64 = line.split_whitespace().nth(1).and_then(|text| text.parse().ok()).expect("a number");
    kib << 10
}

/// Set in the process that is attacked.
const ALONE: &str = "ADVERSARIES_ALONE";

/// In a process of its own, because the memory of this one is shared with all other tests.
#[test]
fn attacks_are_stopped_and_touch_no_neighbour() {
    let name = "adversaries::attacks_are_stopped_and_touch_no_neighbour";
    alone(ALONE, name, all_attacks_on_one_host());
}

async fn all_attacks_on_one_host() {
    let cache = tempfile::tempdir().expect("a folder");
    each_database(async |_store: Store, url: &str| {
        let battle = Battle::prepare(url, cache.path(), attacks(), |_| {}).await;
        // Compiling takes more memory than all attacks together.
        std::fs::write("/proc/self/clear_refs", "5").expect("the highest use is forgotten");
        let before = memory("VmRSS:");
        let mut faults = Faults::default();
        let (report, of_files, of_tokens) = tokio::join!(
            battle.run(battle.artists(false)),
            files::attack(&battle.host),
            tokens::attack(battle.host.config())
        );
        faults.0.extend(of_files.into_iter().chain(of_tokens));
        let grown = memory("VmHWM:").saturating_sub(before);
        faults.expect(grown < MEMORY_BYTES_MAX, || format!("the process grew by {} MiB", grown >> 20));
        check_accounts(&battle, &report, &mut faults).await;
        check_stored(&battle, &report, url, &mut faults).await;
        // The host is as it was.
        let again = battle.run(vec![artist(0, "default").id]).await;
        let collected = again.run.counts.collected;
        faults.expect(collected == 2 * GOOD as u64, || format!("{collected} good accounts were collected afterwards"));
        let paused = battle.run(battle.artists(true)).await;
        check_pauses(&battle, &paused, &mut faults).await;
        check_stored(&battle, &paused, url, &mut faults).await;
        assert!(faults.0.is_empty(), "{} faults:\n{}", faults.0.len(), faults.0.join("\n"));
    })
    .await;
}

/// The rows of the table in docs/security.md.
fn documented() -> String {
    let mut all: Vec<(&str, &str, &str)> =
        attacks().into_iter().map(|attack| (attack.class, attack.name, attack.bound)).collect();
    all.extend(tokens::TOKENS.iter().map(|token| ("token endpoint", token.name, token.bound)));
    all.extend(files::FILES.iter().map(|file| ("component file", file.name, file.bound)));
    all.iter().map(|(class, name, bound)| format!("| {class} | {name} | {bound} |\n")).collect()
}

#[test]
fn the_documents_name_each_attack_and_what_stops_it() {
    let expected = documented();
    assert!(expected.lines().count() >= 80, "{} attacks", expected.lines().count());
    let names: std::collections::BTreeSet<&str> = expected.lines().filter_map(|line| line.split('|').nth(2)).collect();
    assert_eq!(names.len(), expected.lines().count(), "a name occurs twice");
    let document = std::fs::read_to_string(workspace().join("docs/security.md")).expect("readable");
    assert!(document.contains(&expected), "docs/security.md should hold these rows:\n{expected}");
}
