//! Fixtures of the store's tests: artists, accounts, a release, runs, rows. Ids are small numbers, so that tests can
//! name them.

use std::collections::BTreeMap;
use std::time::Duration;

use backline_model::clock::Past;
use backline_model::metric::names;
use backline_model::run::RunCounts;
use backline_model::{
    Account, AccountId, AccountStatus, AlertDigest, Artist, ArtistId, Batch, BatchAccount, BatchId, Digest, DigestDays,
    DocumentId, Engagement, EngagementBasis, Event, Grant, Lease, Manifest, MetricName, MetricsRow, Outcome, Platform,
    Release, ReleaseState, Run, RunId, RunStatus, SubscriptionStatus, Tenant, Value, Webhook, WebhookId, WebhookKind,
    Weights, Window,
};
use backline_store::{
    AccountResult, Activation, BatchResult, Completed, DocumentBody, DocumentRecord, PlanGuard, Scope, Store,
    StoreError, StoredAccount,
};
use chrono::{DateTime, NaiveDate, Utc};
use uuid::Uuid;

pub const TTL: Duration = Duration::from_secs(60);

pub fn at(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

pub fn now() -> DateTime<Utc> {
    at("2026-11-22T12:00:00.5Z")
}

/// A time as one that has passed by every clock.
pub fn past(at: DateTime<Utc>) -> Past {
    Past::by(at, at).unwrap()
}

pub fn day(text: &str) -> NaiveDate {
    text.parse().unwrap()
}

pub fn demo() -> Platform {
    Platform::new("demo").unwrap()
}

pub fn metric(name: &str) -> MetricName {
    MetricName::new(name).unwrap()
}

pub fn artist(n: u128) -> Artist {
    Artist {
        id: ArtistId(Uuid::from_u128(0xA000_0000 + n)),
        name: format!("Artist {n}"),
        tenant: Tenant::default(),
        subscription_status: SubscriptionStatus::Active,
        data_collection_enabled: true,
        timezone: "Europe/Berlin".parse().unwrap(),
    }
}

/// Account `n` of artist `n`.
pub fn account(n: u128) -> Account {
    Account {
        id: AccountId(Uuid::from_u128(0xC000_0000 + n)),
        artist_id: artist(n).id,
        platform: demo(),
        platform_id: format!("channel-{n}"),
        settings: serde_json::json!({ "market": "de", "depth": 2 }),
        status: AccountStatus::Active,
    }
}

pub fn release() -> Release {
    release_of("1.0.0", b"component")
}

pub fn release_of(version: &str, component: &[u8]) -> Release {
    let manifest = Manifest::parse(&format!(
        "[connector]\nname = \"demo\"\nplatform = \"demo\"\nversion = \"{version}\"\napi = \"^1\"\n\
         title = \"Demo\"\nbatch_size = 50\n\
         [[metric]]\nname = \"followers\"\nkind = \"gauge\"\nunit = \"followers\"\n"
    ))
    .unwrap();
    Release {
        digest: Digest::of(component),
        grant: Grant::all_of(&manifest, &[]),
        manifest,
        wit_version: "1.0.0".to_owned(),
        imports: Vec::new(),
        state: ReleaseState::Granted,
        state_reason: None,
        wanted: false,
        active: false,
        source: "demo.wasm".to_owned(),
        signed_by: None,
        installed_at: now(),
        size_bytes: component.len() as u64,
    }
}

pub fn window() -> Window {
    Window { since: at("2026-10-25T00:00:00Z"), until: at("2026-11-22T00:00:00Z") }
}

/// A row with 100 followers, and a value in each kind of column.
pub fn row(account: &Account, date: NaiveDate) -> MetricsRow {
    MetricsRow {
        account_id: account.id,
        artist_id: account.artist_id,
        platform: account.platform.clone(),
        metric_date: date,
        values: BTreeMap::from([
            (metric(names::FOLLOWERS), Value::Integer(100)),
            (metric(names::ENGAGEMENT_RATE), Value::Decimal(2.5)),
            (metric(names::TOP_TRACK), Value::Text("Schöne Töne 'n' \"quotes\"".to_owned())),
            (metric(names::GENRES), Value::Texts(vec!["pop".to_owned(), "techno".to_owned()])),
            (metric("saves"), Value::Integer(7)),
            (metric("estimated_reach"), Value::Decimal(1.5)),
        ]),
        absent: BTreeMap::from([(metric(names::STREAMS), backline_model::Absence::NotOffered)]),
        coverage: BTreeMap::from([(metric("saves"), backline_model::Coverage { counted: 3, skipped: 1 })]),
        observed: BTreeMap::new(),
        engagement: Some(Engagement {
            interactions: 10,
            base: Some(100),
            basis: EngagementBasis::Followers,
            posts_counted: 4,
            posts_skipped: 0,
        }),
        window: window(),
        quality_score: 0.95,
        findings: vec![backline_model::Finding {
            rule: "followers-jump".to_owned(),
            severity: backline_model::Severity::Warning,
            metric: Some("followers".to_owned()),
            message: "100 after 40".to_owned(),
            suggestion: "Verify data source accuracy".to_owned(),
        }],
        notes: vec!["3 posts".to_owned()],
        collection_source: "api".to_owned(),
        observed_at: now(),
        release: release().digest,
        wit_version: "1.0.0".to_owned(),
        run_id: RunId(Uuid::nil()),
        document_id: DocumentId::generate(),
    }
}

/// A row whose only value is its followers.
pub fn followers(account: &Account, date: NaiveDate, followers: i64) -> MetricsRow {
    MetricsRow { values: BTreeMap::from([(metric(names::FOLLOWERS), Value::Integer(followers))]), ..row(account, date) }
}

pub fn run(n: u128) -> Run {
    Run {
        id: RunId(Uuid::from_u128(0xE000_0000 + n)),
        trigger: "manual".to_owned(),
        date: Some(day("2026-11-22")),
        status: RunStatus::Running,
        started_at: now(),
        finished_at: None,
        counts: RunCounts::default(),
    }
}

pub fn batch(n: u128, run: &Run, accounts: &[&Account], date: NaiveDate) -> Batch {
    Batch {
        id: BatchId(Uuid::from_u128(0xB000_0000 + n)),
        run_id: run.id,
        tenant: Tenant::default(),
        platform: demo(),
        release: release().digest,
        canary: false,
        window: window(),
        accounts: accounts.iter().map(|account| BatchAccount { account_id: account.id, metric_date: date }).collect(),
        attempts: 0,
    }
}

/// Accounts 1 to `n` with their artists, and run 1.
pub async fn people(store: &Store, n: u128) -> Vec<Account> {
    let artists: Vec<_> = (1..=n).map(artist).collect();
    let accounts: Vec<_> = (1..=n).map(account).collect();
    store.artists_save(&Scope::all_tenants(), &artists, now()).await.unwrap();
    store.accounts_save(&Scope::all_tenants(), &accounts, now()).await.unwrap();
    create_run(store, &run(1)).await;
    accounts
}

/// Writes a run down that has no batches yet.
pub async fn create_run(store: &Store, run: &Run) {
    store.plan_begin(run, PlanGuard::Manual, now()).await.unwrap().commit().await.unwrap();
}

/// Adds batches to runs that exist; tenants weigh the same.
pub async fn add_batches(store: &Store, batches: &[Batch], at: DateTime<Utc>) {
    add_weighted_batches(store, batches, &Weights::default(), at).await;
}

/// The same with tenants' weights. The plan's own run is dropped: the batches name another one.
pub async fn add_weighted_batches(store: &Store, batches: &[Batch], weights: &Weights, at: DateTime<Utc>) {
    let own = Run { id: RunId::generate(), ..run(0) };
    let mut planning = store.plan_begin(&own, PlanGuard::Manual, at).await.unwrap();
    planning.batches_add(batches, weights).await.unwrap();
    planning.commit_without_run().await.unwrap();
}

/// Completes a batch all of whose accounts are deferred.
pub async fn defer(
    store: &Store,
    lease: &Lease,
    until: DateTime<Utc>,
    message: &str,
    at: DateTime<Utc>,
) -> Result<(), StoreError> {
    let accounts = lease.batch.accounts.iter().map(|account| AccountResult {
        account_id: account.account_id,
        artist_id: ArtistId(Uuid::nil()),
        platform: lease.batch.platform.clone(),
        metric_date: account.metric_date,
        outcome: Outcome::Deferred { until, message: message.to_owned() },
        attempts: lease.batch.attempts,
        document: None,
        stored: None,
        status: None,
        events: Vec::new(),
    });
    let result = BatchResult { accounts: accounts.collect(), ..BatchResult::default() };
    store.batch_complete(lease, result, at).await.map(drop)
}

/// Takes activations out, as a plan does that covers them; answers how many it took.
pub async fn take_out(store: &Store, planned: &[Activation]) -> usize {
    let before = store.activations_list(&Scope::all_tenants(), 10_000).await.unwrap().len();
    let own = Run { id: RunId::generate(), ..run(0) };
    let mut planning = store.plan_begin(&own, PlanGuard::Manual, now()).await.unwrap();
    planning.activations_take(planned, &[]).await.unwrap();
    planning.commit_without_run().await.unwrap();
    before - store.activations_list(&Scope::all_tenants(), 10_000).await.unwrap().len()
}

pub async fn lease(store: &Store) -> Lease {
    store.batch_lease(&Scope::all_tenants(), None, None, "worker", now(), TTL).await.unwrap().expect("a batch is open")
}

pub fn result(row: &MetricsRow, outcome: Outcome) -> AccountResult {
    AccountResult {
        account_id: row.account_id,
        artist_id: row.artist_id,
        platform: row.platform.clone(),
        metric_date: row.metric_date,
        outcome,
        attempts: 1,
        document: None,
        stored: None,
        status: None,
        events: Vec::new(),
    }
}

pub fn stored(row: MetricsRow) -> AccountResult {
    AccountResult {
        document: Some(document(&row, format!("{{\"followers\":\"{}\"}}", row.metric_date))),
        stored: Some(StoredAccount {
            events: Vec::new(),
            state: Some(format!("{{\"seen\":\"{}\"}}", row.metric_date)),
            withheld: Vec::new(),
            growth: Vec::new(),
            row: row.clone(),
        }),
        ..result(&row, Outcome::Collected)
    }
}

pub fn document(row: &MetricsRow, body: String) -> DocumentRecord {
    let body = DocumentBody::compress(&body).unwrap();
    DocumentRecord { id: row.document_id, body, observed_at: row.observed_at, window: row.window }
}

pub fn webhook(n: u128, name: &str) -> Webhook {
    Webhook {
        id: WebhookId(Uuid::from_u128(0x8000_0000 + n)),
        name: name.to_owned(),
        kind: WebhookKind::Webhook,
        url: "https://example.org".to_owned(),
        events: vec!["*".to_owned()],
        tenant: None,
        enabled: true,
        disabled_reason: None,
        previous_until: None,
        created_at: now(),
        updated_at: now(),
    }
}

/// A weekly digest, to a channel by its name.
pub fn weekly_digest(id: Uuid, name: &str, channel: &str) -> AlertDigest {
    AlertDigest {
        id,
        name: name.to_owned(),
        channel: channel.to_owned(),
        tenant: Tenant::default(),
        every: DigestDays::Monday,
        hour: 8,
        timezone: "Europe/Berlin".parse().unwrap(),
        quiet: None,
        next_at: now(),
        created_at: now(),
    }
}

pub fn event(n: u128, dedup_key: Option<&str>) -> Event {
    Event {
        id: Uuid::from_u128(0xF000_0000 + n),
        kind: "metrics.collected".to_owned(),
        artist_id: None,
        occurred_at: now(),
        dedup_key: dedup_key.map(str::to_owned),
        data: serde_json::json!({ "n": n as u64 }),
    }
}

/// Stores rows through a batch. All rows have the same date and different accounts.
pub async fn store_rows(store: &Store, rows: Vec<MetricsRow>) -> Completed {
    let accounts =
        rows.iter().map(|row| BatchAccount { account_id: row.account_id, metric_date: row.metric_date }).collect();
    let batch = Batch { id: BatchId::generate(), accounts, ..batch(0, &run(1), &[], rows[0].metric_date) };
    add_batches(store, std::slice::from_ref(&batch), now()).await;
    let lease = lease(store).await;
    assert_eq!(lease.batch, batch);
    let mut completion = store.completion_begin(&lease, now()).await.unwrap();
    let wanted: Vec<_> = rows.iter().map(|row| (row.account_id, row.metric_date)).collect();
    completion.history_load(&wanted).await.unwrap();
    completion
        .commit(BatchResult { accounts: rows.into_iter().map(stored).collect(), ..BatchResult::default() })
        .await
        .unwrap()
}
