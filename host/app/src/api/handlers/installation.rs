//! What belongs to the installation as a whole, and tokens.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};
use uuid::Uuid;

use crate::api::answer::{Item, Page, Recorded};
use crate::api::call::Call;
use crate::api::handlers::acts::NoChoice;
use crate::api::handlers::known;
use crate::api::problem::Problem;
use crate::api::query::{Limit, NoQuery, query};
use crate::api::schema::{Components, Described, Field, component, described, object, plain};
use crate::pipeline::service::schedules;
use crate::pipeline::{Subject, believed_pauses};
use backline_model::audit::AuditEntry;
use backline_model::health::HealthReport;
use backline_model::{
    ApiToken, ArtistId, CatchUp, Digest, Fire, FireDecision, Overlap, Platform, Release, ReleaseState, RunId, Schedule,
    ScheduleSpec, TokenId, TokenState, Zone,
};
use backline_store::{ArchiveRun, ArchiveRunFilter, AuditFilter, KnownHost, PlatformPause};

query! {
    /// Parameters of the audit log.
    Audit {
        /// Only this action
        action: String,
        /// Only what is about this artist
        artist: ArtistId,
        /// At most this many
        limit: Limit,
        /// Where the page begins: `next` of the page before
        cursor: String,
    }
}

query! {
    /// Parameters of the list of tokens.
    TokenList {
        /// Only in this state
        state: TokenState,
    }
}

query! {
    /// Parameters of the list of schedules.
    ScheduleList {
        /// Only those that are on, or those that are off
        enabled: bool,
    }
}

query! {
    /// Parameters of the list of releases.
    ReleaseList {
        /// Only in this state
        state: ReleaseState,
        /// Only of this platform
        platform: Platform,
        /// Only those that collect, or those that do not
        active: bool,
    }
}

query! {
    /// Parameters of the list of runs of the archive.
    ArchiveRuns {
        /// Only in this state, such as `running`
        state: String,
        /// At most this many
        limit: Limit,
        /// Where the page begins: `next` of the page before
        cursor: String,
    }
}

query! {
    /// Parameters of the list of a schedule's times.
    Fires {
        /// At most this many
        limit: Limit,
        /// Where the page begins: `next` of the page before
        cursor: String,
    }
}

pub(in crate::api) async fn token(call: Call, _: NoQuery) -> Result<Item<ApiToken>, Problem> {
    Ok(Item(call.token().clone()))
}

pub(in crate::api) async fn schedules(call: Call, query: ScheduleList) -> Result<Page<Schedule>, Problem> {
    let host = call.host();
    let mut found = schedules::list(host.store(), host.config(), host.clock().now()).await?;
    found.retain(|schedule| query.enabled.is_none_or(|enabled| schedule.spec.enabled == enabled));
    Ok(Page::whole(found))
}

pub(in crate::api) async fn releases(call: Call, query: ReleaseList) -> Result<Page<Release>, Problem> {
    let platform = known(call.host(), query.platform).await?;
    let mut found = call.host().store().releases_list().await?;
    found.retain(|release| {
        query.state.is_none_or(|state| release.state == state)
            && query.active.is_none_or(|active| release.active == active)
            && platform.as_ref().is_none_or(|platform| release.platform() == platform)
    });
    Ok(Page::whole(found))
}

pub(in crate::api) async fn release(call: Call, _: NoQuery) -> Result<Item<Release>, Problem> {
    release_of_path(&call).await.map(Item)
}

/// The release that the path names.
pub(super) async fn release_of_path(call: &Call) -> Result<Release, Problem> {
    let digest: Digest = call.path("digest")?;
    let release = call.host().store().release_get(digest).await?;
    release.ok_or_else(|| Problem::not_found("release", digest))
}

pub(in crate::api) async fn pauses(call: Call, _: NoQuery) -> Result<Page<PlatformPause>, Problem> {
    let (host, now) = (call.host(), call.host().clock().now());
    Ok(Page::whole(host.store().pauses_list(now, believed_pauses(now)).await?))
}

pub(in crate::api) async fn hosts(call: Call, _: NoQuery) -> Result<Page<KnownHost>, Problem> {
    let host = call.host();
    Ok(Page::whole(host.store().hosts_list(host.clock().now()).await?))
}

pub(in crate::api) async fn health(call: Call, _: NoQuery) -> Result<Item<HealthReport>, Problem> {
    Ok(Item(call.host().health().report(None).await?))
}

pub(in crate::api) async fn audit(call: Call, query: Audit) -> Result<Page<AuditEntry>, Problem> {
    let filter = AuditFilter {
        action: query.action,
        artist: query.artist,
        before: call.after(query.cursor.as_ref())?,
        limit: Some(Limit::of(query.limit) + 1),
    };
    let entries = call.host().store().audit_list(&call.scope(), &filter).await?;
    call.page(entries, query.limit, |entry| entry.seq)
}

pub(in crate::api) async fn tokens(call: Call, query: TokenList) -> Result<Page<ApiToken>, Problem> {
    let now = call.host().clock().now();
    let mut found = call.host().store().tokens_list(&call.scope()).await?;
    found.retain(|token| query.state.is_none_or(|state| token.state(now) == state));
    Ok(Page::whole(found))
}

pub(in crate::api) async fn revoke_token(call: Call, _: NoChoice) -> Result<Recorded<Item<ApiToken>>, Problem> {
    let (id, host): (TokenId, _) = (call.path("token")?, call.host());
    let revoked = host.store().token_revoke(&call.scope(), id, host.clock().now()).await?;
    Ok(Recorded { details: json!({ "token": id }), answer: Item(revoked), artist: None })
}

pub(in crate::api) async fn settings(call: Call, _: NoQuery) -> Result<Item<Json>, Problem> {
    as_json(&call.host().config().masked())
}

/// What has no schema, as the command line prints it.
fn as_json(value: &impl Serialize) -> Result<Item<Json>, Problem> {
    serde_json::to_value(value).map(Item).map_err(|error| Problem::internal_by(&error))
}

pub(in crate::api) async fn archive_plan(call: Call, _: NoQuery) -> Result<Item<Json>, Problem> {
    let host = call.host();
    as_json(&host.archive().plan(host.clock().now()).await?)
}

pub(in crate::api) async fn archive_runs(call: Call, query: ArchiveRuns) -> Result<Page<ArchiveRun>, Problem> {
    let before = call.after(query.cursor.as_ref())?;
    let filter = ArchiveRunFilter { state: query.state, before, limit: Limit::of(query.limit) + 1 };
    let found = call.host().store().archive_runs_filtered_list(&filter).await?;
    call.page(found, query.limit, |run| (run.started_at, run.id))
}

pub(in crate::api) async fn fires(call: Call, query: Fires) -> Result<Page<Fire>, Problem> {
    let name = schedule_of_path(&call).await?.name;
    let (before, limit) = (call.after(query.cursor.as_ref())?, Limit::of(query.limit) + 1);
    let found = call.host().store().fires_before_list(&name, before, limit).await?;
    call.page(found, query.limit, |fire| fire.fire_time)
}

/// The schedule that the path names.
async fn schedule_of_path(call: &Call) -> Result<Schedule, Problem> {
    let (name, host): (String, _) = (call.path("schedule")?, call.host());
    let all = schedules::list(host.store(), host.config(), host.clock().now()).await?;
    let found = all.into_iter().find(|schedule| schedule.name == name);
    found.ok_or_else(|| Problem::not_found("schedule", name))
}

/// A schedule to add. What is left out has its default.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(in crate::api) struct AddSchedule {
    name: Option<String>,
    cron: Option<String>,
    timezone: Option<Zone>,
    platforms: Vec<Platform>,
    catch_up: CatchUp,
    overlap: Overlap,
}

/// A thing of this name, and whether it is on.
#[derive(Serialize)]
pub(in crate::api) struct Switched {
    pub(super) name: String,
    pub(super) enabled: bool,
}

/// What was removed.
#[derive(Serialize)]
pub(in crate::api) struct Removed {
    pub(super) name: String,
}

plain! {
    FireDecision => { "type": "string" },
}

described! {
    AddSchedule {
        [optional] name: Option<String>, [optional] cron: Option<String>, [optional] timezone: Option<Zone>,
        [optional] platforms: Vec<Platform>, [optional] catch_up: CatchUp, [optional] overlap: Overlap,
    }
    Switched { name: String, enabled: bool }
    Removed { name: String }
    Fire {
        schedule: String, fire_time: DateTime<Utc>, decision: FireDecision, run_id: Option<RunId>,
        decided_at: DateTime<Utc>,
    }
    ArchiveRun {
        id: Uuid, origin: String, as_of: DateTime<Utc>, started_at: DateTime<Utc>,
        finished_at: Option<DateTime<Utc>>, state: String, counts: BTreeMap<String, u64>, message: Option<String>,
    }
}

pub(in crate::api) async fn add_schedule(call: Call, body: AddSchedule) -> Result<Recorded<Item<Schedule>>, Problem> {
    let AddSchedule { name, cron, timezone, platforms: given, catch_up, overlap } = body;
    let (Some(name), Some(cron)) = (name, cron) else {
        return Err(Problem::wrong("give name and cron"));
    };
    let mut platforms = Vec::new();
    for platform in given {
        platforms.extend(known(call.host(), Some(platform)).await?);
    }
    let timezone = timezone.unwrap_or_else(Zone::utc);
    let spec = ScheduleSpec { cron, timezone, platforms, catch_up, overlap, enabled: true };
    let host = call.host();
    let added = schedules::add(host.store(), host.config(), &name, spec, host.clock().now()).await?;
    call.made(Subject::Schedule(name.clone()));
    Ok(Recorded { answer: Item(added), details: json!({ "schedule": name }), artist: None })
}

pub(in crate::api) async fn enable_schedule(call: Call, _: NoChoice) -> Result<Recorded<Item<Switched>>, Problem> {
    switch_schedule(&call, true).await
}

pub(in crate::api) async fn disable_schedule(call: Call, _: NoChoice) -> Result<Recorded<Item<Switched>>, Problem> {
    switch_schedule(&call, false).await
}

async fn switch_schedule(call: &Call, enabled: bool) -> Result<Recorded<Item<Switched>>, Problem> {
    let (name, host) = (schedule_of_path(call).await?.name, call.host());
    schedules::set_enabled(host.store(), host.config(), &name, enabled, host.clock().now()).await?;
    let details = json!({ "schedule": name });
    Ok(Recorded { answer: Item(Switched { name, enabled }), details, artist: None })
}

pub(in crate::api) async fn remove_schedule(call: Call, _: NoChoice) -> Result<Recorded<Item<Removed>>, Problem> {
    let (name, host) = (schedule_of_path(&call).await?.name, call.host());
    schedules::remove(host.store(), host.config(), &name, host.clock().now()).await?;
    let details = json!({ "schedule": name });
    Ok(Recorded { answer: Item(Removed { name }), details, artist: None })
}
