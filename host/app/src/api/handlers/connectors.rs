//! Connectors: which release collects, which did, what each may do, and what it logged.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::api::answer::{Item, Page, Recorded};
use crate::api::call::Call;
use crate::api::handlers::acts::NoChoice;
use crate::api::handlers::artists::{Timeline, timeline_filter, timeline_page};
use crate::api::handlers::installation::release_of_path;
use crate::api::handlers::known;
use crate::api::problem::Problem;
use crate::api::query::{Limit, NoQuery, query};
use crate::api::schema::{Components, Described, Field, component, described, object, plain};
use crate::pipeline::{
    ActivateOptions, Activated, Approve, Ended, Revoke, RolledBack, TimelineEntry, canary_share, connector_timeline,
};
use backline_model::{AccountId, BatchId, Digest, OriginPattern, Platform, RunId, SwapCause, Tenant};
use backline_store::{Canary, LoadReport, PluginLogFilter, PluginLogLine, Swap};
use chrono::{DateTime, Utc};

/// How long other hosts may take to load a release, in seconds, unless the request says otherwise.
const WAIT_S: u64 = 120;

/// The longest time that a request may give them, in seconds.
const WAIT_S_MAX: u64 = 600;

/// Share of the accounts that a canary collects, in percent, unless the request says otherwise.
const SHARE_PERCENT: f64 = 5.0;

/// Longest time until a canary becomes active by itself, in hours: a year.
const PROMOTE_AFTER_H_MAX: u32 = 8_760;

/// Longest reason, in characters.
const REASON_CHARACTERS_MAX: usize = 500;

query! {
    /// Parameters of the list of swaps.
    Swaps {
        /// Only of this platform
        platform: Platform,
        /// At most this many
        limit: Limit,
        /// Where the page begins: `next` of the page before
        cursor: String,
    }
}

query! {
    /// Parameters of a list of log lines.
    Logs {
        /// Only of this platform's connectors
        platform: Platform,
        /// Only of the release with this digest
        release: Digest,
        /// Only of this batch
        batch: BatchId,
        /// Only of batches with this account
        account: AccountId,
        /// Only of batches of this tenant
        tenant: Tenant,
        /// At most this many
        limit: Limit,
        /// Where the page begins: `next` of the page before
        cursor: String,
    }
}

/// How a release is activated.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(in crate::api) struct Activate {
    wait_s: Option<u64>,
    anyway: bool,
    again: bool,
}

/// Why something is taken back.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(in crate::api) struct Reason {
    reason: Option<String>,
}

/// How much a canary collects, and for how long.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(in crate::api) struct StartCanary {
    percent: Option<f64>,
    promote_after_h: Option<u32>,
}

/// What of a connector's grant is revoked: all of it, unless one of these is given.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(in crate::api) struct RevokeGrant {
    host: Option<OriginPattern>,
    slot: Option<String>,
    reason: Option<String>,
}

/// What became of a release.
#[derive(Serialize)]
pub(in crate::api) struct Granted {
    release: Digest,
    ended: Ended,
}

/// The end of a canary.
#[derive(Serialize)]
pub(in crate::api) struct CanaryEnded {
    release: Digest,
    ended: bool,
}

/// How many releases a revocation was about, and the digests of those whose grant could not be read: nothing is left of
/// it.
#[derive(Serialize)]
pub(in crate::api) struct Revoked {
    name: String,
    releases: u64,
    emptied: Vec<String>,
}

plain! {
    Ended => { "type": "string" },
    SwapCause => { "type": "string" },
    OriginPattern => { "type": "string" },
}

described! {
    Activate { [optional] wait_s: Option<u64>, [optional] anyway: bool, [optional] again: bool }
    Reason { [optional] reason: Option<String> }
    StartCanary { [optional] percent: Option<f64>, [optional] promote_after_h: Option<u32> }
    RevokeGrant {
        [optional] host: Option<OriginPattern>, [optional] slot: Option<String>, [optional] reason: Option<String>,
    }
    Granted { release: Digest, ended: Ended }
    CanaryEnded { release: Digest, ended: bool }
    Revoked { name: String, releases: u64, emptied: Vec<String> }
    LoadReport { host: String, problem: Option<String> }
    Activated { release: Digest, before: Option<Digest>, hosts: Vec<LoadReport> }
    RolledBack {
        platform: Platform, from: Digest, to: Digest, canary: bool, reason: String, accounts: u64,
    }
    Canary {
        platform: Platform, release: Digest, share: u32, started_at: DateTime<Utc>, promote_at: Option<DateTime<Utc>>,
    }
    Swap {
        platform: Platform, release: Option<Digest>, before: Option<Digest>, cause: SwapCause,
        reason: Option<String>, at: DateTime<Utc>,
    }
    PluginLogLine {
        seq: i64, at: DateTime<Utc>, platform: Platform, release: Option<Digest>, version: Option<String>, run: RunId,
        batch: Option<BatchId>, call: Option<String>, level: String, message: String,
    }
}

pub(in crate::api) async fn canaries(call: Call, _: NoQuery) -> Result<Page<Canary>, Problem> {
    Ok(Page::whole(call.host().store().canaries_list().await?))
}

pub(in crate::api) async fn swaps(call: Call, query: Swaps) -> Result<Page<Swap>, Problem> {
    let platform = known(call.host(), query.platform).await?;
    let (before, limit) = (call.after(query.cursor.as_ref())?, Limit::of(query.limit) + 1);
    let found = call.host().store().swaps_before_list(platform.as_ref(), before, limit).await?;
    let Page { data, next } = call.page(found, query.limit, |(seq, _)| *seq)?;
    Ok(Page { data: data.into_iter().map(|(_, swap)| swap).collect(), next })
}

pub(in crate::api) async fn timeline(call: Call, query: Timeline) -> Result<Page<TimelineEntry>, Problem> {
    let name: String = call.path("connector")?;
    let filter = timeline_filter(&call, &query)?;
    let found = connector_timeline(call.host().store(), &name, &filter).await?;
    timeline_page(&call, &query, found.ok_or_else(|| Problem::not_found("connector", name))?)
}

pub(in crate::api) async fn logs(call: Call, query: Logs) -> Result<Page<PluginLogLine>, Problem> {
    let scope = call.scope_of(query.tenant).await?;
    let filter = PluginLogFilter {
        platform: known(call.host(), query.platform).await?,
        release: query.release,
        batch: query.batch,
        account: query.account,
        before: call.after(query.cursor.as_ref())?,
        limit: Some(Limit::of(query.limit) + 1),
        ..PluginLogFilter::default()
    };
    let mut lines = call.host().store().plugin_logs_list(&scope, &filter).await?;
    lines.reverse();
    call.page(lines, query.limit, |line| line.seq)
}

pub(in crate::api) async fn activate(call: Call, body: Activate) -> Result<Recorded<Item<Activated>>, Problem> {
    let release = release_of_path(&call).await?;
    let Activate { wait_s, anyway, again } = body;
    let wait = Duration::from_secs(wait_s.unwrap_or(WAIT_S).min(WAIT_S_MAX));
    let options = ActivateOptions { wait, anyway, again, ..ActivateOptions::default() };
    let activated = call.host().releases().activate(release.digest, &options).await?;
    let details = json!({ "release": release.digest, "before": activated.before, "anyway": anyway, "again": again });
    Ok(Recorded { answer: Item(activated), details, artist: None })
}

pub(in crate::api) async fn roll_back(call: Call, body: Reason) -> Result<Recorded<Item<RolledBack>>, Problem> {
    let reason = reason_of(body.reason, "rolled back by the operator")?;
    let release = release_of_path(&call).await?;
    if !release.active {
        // What the caller saw is out of date: rolling back would take back another release.
        return Err(Problem::refused(format!("the release {} is not active", release.digest.short())));
    }
    let rolled_back = call.host().releases().roll_back_from(&release, &reason).await?;
    let details = json!({ "platform": rolled_back.platform, "from": rolled_back.from, "to": rolled_back.to });
    Ok(Recorded { answer: Item(rolled_back), details, artist: None })
}

pub(in crate::api) async fn start_canary(call: Call, body: StartCanary) -> Result<Recorded<Item<Canary>>, Problem> {
    let Some(share) = canary_share(body.percent.unwrap_or(SHARE_PERCENT)) else {
        return Err(Problem::wrong("percent: it is not between 0.01 and 99.99"));
    };
    if body.promote_after_h.is_some_and(|hours| hours > PROMOTE_AFTER_H_MAX) {
        return Err(Problem::wrong(format!("promote_after_h: it is more than {PROMOTE_AFTER_H_MAX}")));
    }
    let release = release_of_path(&call).await?;
    let after = body.promote_after_h.map(|hours| Duration::from_secs(u64::from(hours) * 3_600));
    let canary = call.host().releases().start_canary(release.digest, share, after).await?;
    let details = json!({ "release": release.digest, "share": share, "promote_at": canary.promote_at });
    Ok(Recorded { answer: Item(canary), details, artist: None })
}

pub(in crate::api) async fn stop_canary(call: Call, _: NoChoice) -> Result<Recorded<Item<CanaryEnded>>, Problem> {
    let release = release_of_path(&call).await?;
    let canaries = call.host().store().canaries_list().await?;
    if !canaries.iter().any(|canary| canary.release == release.digest) {
        return Err(Problem::refused(format!("the release {} is no canary", release.digest.short())));
    }
    let ended = call.host().releases().stop_canary(release.platform()).await?;
    let details = json!({ "release": release.digest, "ended": ended });
    Ok(Recorded { answer: Item(CanaryEnded { release: release.digest, ended }), details, artist: None })
}

pub(in crate::api) async fn grant(call: Call, _: NoChoice) -> Result<Recorded<Item<Granted>>, Problem> {
    // A digest says what is asked for: it can't have become more since the caller looked.
    let release = release_of_path(&call).await?;
    let installed = call.host().releases().approve(release.digest, &Approve::All).await?;
    let details = json!({ "release": release.digest, "ended": installed.ended });
    Ok(Recorded { answer: Item(Granted { release: release.digest, ended: installed.ended }), details, artist: None })
}

pub(in crate::api) async fn revoke(call: Call, body: RevokeGrant) -> Result<Recorded<Item<Revoked>>, Problem> {
    let RevokeGrant { host, slot, reason } = body;
    let reason = reason_of(reason, "revoked by the operator")?;
    let name: String = call.path("connector")?;
    let installed = call.host().store().releases_list().await?;
    if !installed.iter().any(|release| release.manifest.connector.name == name) {
        return Err(Problem::not_found("connector", name));
    }
    let details = json!({ "connector": name, "host": host, "slot": slot });
    let what = match (host, slot) {
        (Some(_), Some(_)) => return Err(Problem::wrong("give host or slot, not both")),
        (Some(host), None) => Revoke::Host(host),
        (None, Some(slot)) => Revoke::Slot(slot),
        (None, None) => Revoke::All,
    };
    let revoked = call.host().releases().revoke(&name, &what, &reason).await?;
    let answer = Item(Revoked { name, releases: revoked.changed, emptied: revoked.emptied });
    Ok(Recorded { answer, details, artist: None })
}

/// A reason that is given, or else this one.
fn reason_of(given: Option<String>, otherwise: &str) -> Result<String, Problem> {
    match given {
        Some(reason) if reason.chars().count() > REASON_CHARACTERS_MAX => {
            Err(Problem::wrong(format!("reason: it has more than {REASON_CHARACTERS_MAX} characters")))
        }
        given => Ok(given.unwrap_or_else(|| otherwise.to_owned())),
    }
}
