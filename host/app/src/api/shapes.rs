//! The types that the API answers with, described for the document.

use std::collections::BTreeMap;

use chrono::{DateTime, NaiveDate, Utc};
use serde_json::{Value as Json, json};
use uuid::Uuid;

use super::schema::{Components, Described, Field, component, described, object, plain};
use crate::pipeline::collection::report::{AllowanceOf, AllowanceReport, PlanReport, PlatformPlan};
use crate::pipeline::{Attention, TenantHealthReport, TimelineEntry};
use backline_model::audit::{Act, ActOutcome, Actor, AuditEntry};
use backline_model::bulk::{BulkAct, BulkAction, BulkFilter, BulkState};
use backline_model::health::{
    AccountName, Alert, AlertName, Blame, CostEstimate, Health, HealthReport, Objective, PlatformHealth,
    Recommendation, RecommendationKind, Urgency,
};
use backline_model::manifest::BudgetWindow;
use backline_model::outcome::Exclusion;
use backline_model::row::QuarantineStatus;
use backline_model::run::{Forecast, RunCounts};
use backline_model::{
    Absence, Account, AccountId, AccountStatus, ApiToken, Artist, ArtistId, BatchId, BatchState, CatchUp, Consent,
    Coverage, Delivery, DeliveryState, Digest, DocumentId, Engagement, EngagementBasis, FailureClass, Finding, Grant,
    GrowthChange as Change, GrowthRow, Manifest, MetricName, MetricsRow, NoChange, Outcome, Overlap, Platform,
    Quarantined, Release, ReleaseState, Role, Run, RunId, RunStatus, Schedule, ScheduleOrigin, ScheduleSpec, Severity,
    SubscriptionStatus, Tenant, TokenId, Value, Webhook, WebhookId, WebhookKind, Window, Zone, ZoneData,
};
use backline_store::{BatchAccountView, BatchView, EventCursor, KnownHost, NamedOutcome, PlatformPause};

plain! {
    ActOutcome => { "type": "string" },
    Absence => { "type": "string" },
    AlertName => { "type": "string" },
    AllowanceOf => { "type": "string" },
    CatchUp => { "type": "string" },
    EngagementBasis => { "type": "string" },
    EventCursor => { "type": "integer" },
    NoChange => { "type": "string" },
    Overlap => { "type": "string" },
    RecommendationKind => { "type": "string" },
    ScheduleOrigin => { "type": "string" },
    Severity => { "type": "string" },
    Urgency => { "type": "string" },
    // docs/authors/manifest.md and docs/releases.md say what they hold.
    BudgetWindow => { "type": "object" },
    Manifest => { "type": "object" },
    Grant => { "type": "object" },
    // A count, a decimal, a title or titles.
    Value => { "anyOf": [
        { "type": "number" }, { "type": "string" }, { "type": "array", "items": { "type": "string" } }
    ] },
}

described! {
    ApiToken {
        id: TokenId, name: String, role: Role, tenant: Option<Tenant>, created_at: DateTime<Utc>,
        expires_at: Option<DateTime<Utc>>, last_used_at: Option<DateTime<Utc>>, revoked_at: Option<DateTime<Utc>>,
    }
    Act {
        at: DateTime<Utc>, [flatten] actor: Actor, action: String, outcome: ActOutcome, tenant: Option<Tenant>,
        artist_id: Option<ArtistId>, details: Json, before: Option<Json>, after: Option<Json>,
    }
    AuditEntry { seq: i64, [flatten] act: Act }
    Artist {
        id: ArtistId, name: String, tenant: Tenant, subscription_status: SubscriptionStatus,
        data_collection_enabled: bool, timezone: Zone,
    }
    Consent {
        artist_id: ArtistId, platform: Platform, granted: bool, scope: String, source: String,
        recorded_at: DateTime<Utc>,
    }
    Account {
        id: AccountId, artist_id: ArtistId, platform: Platform, platform_id: String, settings: Json,
        status: AccountStatus,
    }
    Attention {
        account_id: AccountId, artist_id: ArtistId, artist: String, platform: Platform, platform_id: String,
        problem: String, remedy: String, reconnect_url: Option<String>,
    }
    TimelineEntry { at: DateTime<Utc>, kind: &'static str, what: String, details: Json }
    BulkAct {
        id: Uuid, action: BulkAction, filter: BulkFilter, tenant: Option<Tenant>, reason: String, state: BulkState,
        total: u64, done: u64, skipped: u64, failed: u64, problem: Option<String>, created_at: DateTime<Utc>,
        finished_at: Option<DateTime<Utc>>,
    }
    Window { since: DateTime<Utc>, until: DateTime<Utc> }
    Coverage { counted: u32, skipped: u32 }
    Engagement {
        interactions: i64, base: Option<i64>, basis: EngagementBasis, posts_counted: u32, posts_skipped: u32,
    }
    Finding { rule: String, severity: Severity, metric: Option<String>, message: String, suggestion: String }
    MetricsRow {
        account_id: AccountId, artist_id: ArtistId, platform: Platform, metric_date: NaiveDate,
        values: BTreeMap<MetricName, Value>, absent: BTreeMap<MetricName, Absence>,
        coverage: BTreeMap<MetricName, Coverage>, observed: BTreeMap<MetricName, DateTime<Utc>>,
        engagement: Option<Engagement>, window: Window, quality_score: f64, findings: Vec<Finding>,
        notes: Vec<String>, collection_source: String, observed_at: DateTime<Utc>, release: Digest,
        wit_version: String, run_id: RunId, document_id: DocumentId,
    }
    // The document names `GrowthChange` as it always has.
    Change {
        [optional] absolute: Option<f64>, [optional] percent: Option<f64>, [optional] gap_days: Option<u32>,
        [optional] daily_percent: Option<f64>, [optional] reason: Option<NoChange>,
    }
    GrowthRow {
        account_id: AccountId, artist_id: ArtistId, platform: Platform, metric_date: NaiveDate,
        changes: BTreeMap<MetricName, BTreeMap<u16, Change>>,
    }
    RunCounts {
        planned: u64, collected: u64, deferred: u64, excluded: u64, failed: u64, [optional] superseded: u64,
    }
    Run {
        id: RunId, trigger: String, date: Option<NaiveDate>, status: RunStatus, started_at: DateTime<Utc>,
        finished_at: Option<DateTime<Utc>>, counts: RunCounts,
    }
    NamedOutcome {
        account_id: AccountId, artist_id: ArtistId, artist_name: String, platform: Platform, platform_id: String,
        metric_date: NaiveDate, [flatten] outcome: Outcome, attempts: u32, at: DateTime<Utc>,
        [optional] note: Option<String>, [optional] fixed_by: Option<RunId>,
    }
    BatchView {
        id: BatchId, run_id: RunId, tenant: Tenant, platform: Platform, release: Digest, state: BatchState,
        attempts: u32, host_losses: u32, accounts: u64, lease_owner: Option<String>, available_at: DateTime<Utc>,
        message: Option<String>, created_at: DateTime<Utc>, finished_at: Option<DateTime<Utc>>,
    }
    BatchAccountView {
        account_id: AccountId, artist_id: ArtistId, artist_name: String, platform_id: String, metric_date: NaiveDate,
        outcome: Option<Outcome>, [optional] note: Option<String>,
    }
    ScheduleSpec {
        cron: String, timezone: Zone, platforms: Vec<Platform>, catch_up: CatchUp, overlap: Overlap, enabled: bool,
    }
    Schedule {
        name: String, origin: ScheduleOrigin, [flatten] spec: ScheduleSpec, considered_until: DateTime<Utc>,
        next_fire: Option<DateTime<Utc>>, last_fire: Option<DateTime<Utc>>,
    }
    Release {
        digest: Digest, manifest: Manifest, wit_version: String, imports: Vec<String>, grant: Grant,
        state: ReleaseState, state_reason: Option<String>, wanted: bool, active: bool, source: String,
        signed_by: Option<String>, installed_at: DateTime<Utc>, size_bytes: u64,
    }
    Quarantined {
        id: Uuid, account_id: AccountId, artist_id: ArtistId, platform: Platform, metric_date: NaiveDate,
        metric: String, value: Value, rule: String, release: Digest, document_id: DocumentId,
        status: QuarantineStatus, created_at: DateTime<Utc>,
    }
    Webhook {
        id: WebhookId, name: String, kind: WebhookKind, url: String, events: Vec<String>, tenant: Option<Tenant>,
        enabled: bool, disabled_reason: Option<String>, previous_until: Option<DateTime<Utc>>,
        created_at: DateTime<Utc>, updated_at: DateTime<Utc>,
    }
    Delivery {
        webhook: String, event_id: Uuid, ["type"] kind: String, artist_id: Option<ArtistId>, state: DeliveryState,
        attempts: u32, first_tried_at: Option<DateTime<Utc>>, next_at: Option<DateTime<Utc>>, status: Option<u16>,
        problem: Option<String>, finished_at: Option<DateTime<Utc>>, occurred_at: DateTime<Utc>,
    }
    KnownHost {
        name: String, version: String, state: String, started_at: DateTime<Utc>, seen_at: DateTime<Utc>, leads: bool,
        refreshes_tokens: bool,
    }
    PlatformPause { platform: Platform, credentials: u64, until: DateTime<Utc> }
    Forecast { batches: u64, accounts: u64, requests: u64, units: BTreeMap<String, u64>, duration_s: f64 }
    AllowanceReport {
        budget: String, of: AllowanceOf, limit: u64, window: BudgetWindow, needed: u64, left: Option<u64>,
        back_at: Option<DateTime<Utc>>,
    }
    PlatformPlan {
        platform: Platform, release: Digest, version: String, forecast: Forecast, days: u64,
        excluded: BTreeMap<String, u64>, allowances: Vec<AllowanceReport>, paused_until: Option<DateTime<Utc>>,
    }
    PlanReport { date: Option<NaiveDate>, platforms: Vec<PlatformPlan>, total: Forecast }
    Health {
        score: Option<f64>, completion: Option<f64>, error_rate: Option<f64>, planned: u64, collected: u64,
        failed: u64, superseded: u64, overdue: u64, under_way: u64, deferred: u64, excluded: u64,
        lag_p95_s: Option<f64>, lag_worst_s: Option<f64>, oldest_s: Option<f64>, never_collected: u64,
        accepted: Option<f64>, quality_score: Option<f64>, reconnect: u64, reconnect_share: Option<f64>,
        quarantined: u64,
    }
    PlatformHealth {
        platform: Platform, optional: bool, [flatten] health: Health, failures: BTreeMap<FailureClass, u64>,
        exclusions: BTreeMap<Exclusion, u64>, deferred_until: Option<DateTime<Utc>>,
    }
    Objective { name: &'static str, target: f64, value: Option<f64>, met: Option<bool> }
    CostEstimate {
        per_1000_artists: Option<f64>, monthly: Option<f64>, requests: u64, artists: u64, basis: String,
    }
    AccountName { account_id: AccountId, platform: Platform, platform_id: String, artist: String }
    Blame {
        [optional] platform: Option<Platform>, [optional] accounts: Vec<AccountName>,
        [optional] budget: Option<String>, [optional] host: Option<String>, [optional] release: Option<String>,
        [optional] credential: Option<String>, [optional] webhook: Option<String>,
    }
    Recommendation { kind: RecommendationKind, urgency: Urgency, sentence: String, remedy: String, blame: Blame }
    Alert {
        name: AlertName, platform: Option<Platform>, firing: bool, since: DateTime<Utc>, value: f64, threshold: f64,
        worse_since: Option<DateTime<Utc>>, crossings: i64, changed_at: DateTime<Utc>,
    }
    ZoneData { folder: Option<String>, version: Option<String>, bundled: &'static str }
    HealthReport {
        at: DateTime<Utc>, since: DateTime<Utc>, total: Health, platforms: Vec<PlatformHealth>, run_s: Option<f64>,
        cost: CostEstimate, objectives: Vec<Objective>, recommendations: Vec<Recommendation>, alerts: Vec<Alert>,
        time_zones: Option<ZoneData>, [optional] simulated: bool,
    }
    TenantHealthReport {
        tenant: Tenant, at: DateTime<Utc>, since: DateTime<Utc>, total: Health, platforms: Vec<PlatformHealth>,
    }
}

/// What a variant has besides its name stands beside it.
impl Described for Outcome {
    fn refer(components: &mut Components) -> Json {
        component(components, "Outcome", |components| object(Self::fields(components)))
    }

    fn fields(components: &mut Components) -> Vec<Field> {
        let names = ["collected", "deferred", "excluded", "superseded", "failed"];
        let text = json!({ "type": "string" });
        let field = |name, schema, required| Field { name, schema, required };
        vec![
            field("outcome", json!({ "type": "string", "enum": names }), true),
            field("until", DateTime::<Utc>::refer(components), false),
            field("message", text.clone(), false),
            field("reason", text.clone(), false),
            field("class", text, false),
        ]
    }
}

/// The same of who acted.
impl Described for Actor {
    fn refer(components: &mut Components) -> Json {
        component(components, "Actor", |components| object(Self::fields(components)))
    }

    fn fields(components: &mut Components) -> Vec<Field> {
        let field = |name, schema, required| Field { name, schema, required };
        vec![
            field("actor", json!({ "type": "string", "enum": ["command", "token"] }), true),
            field("name", String::refer(components), true),
            field("origin", String::refer(components), true),
            field("token_id", TokenId::refer(components), false),
            field("request_id", Uuid::refer(components), false),
        ]
    }
}
