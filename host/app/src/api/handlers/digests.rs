//! Digests as an operator manages them.

use chrono::{DateTime, NaiveTime, Utc};
use serde::Deserialize;
use serde_json::json;
use uuid::Uuid;

use crate::api::answer::{Item, Page, Recorded};
use crate::api::call::Call;
use crate::api::handlers::acts::NoChoice;
use crate::api::handlers::installation::Removed;
use crate::api::problem::Problem;
use crate::api::query::NoQuery;
use crate::api::schema::{Components, Described, Field, component, described, object, plain};
use crate::pipeline::{DigestPreview, NewDigest, Subject};
use backline_model::{
    AlertDigest, AlertMessage, AlertPhase, AlertSeverity, AlertState, DigestDays, QuietHours, Tenant, Zone,
};

/// At which hour a digest is sent unless the request says otherwise.
const HOUR_DEFAULT: u32 = 8;

/// A digest to add. What is left out has its default.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(in crate::api) struct AddDigest {
    name: Option<String>,
    channel: Option<String>,
    tenant: Option<Tenant>,
    every: DigestDays,
    hour: Option<u32>,
    timezone: Option<Zone>,
    quiet: Option<String>,
}

plain! {
    AlertPhase => { "type": "string" },
    AlertSeverity => { "type": "string" },
    AlertState => { "type": "string" },
    DigestDays => {
        "type": "string",
        "enum": ["day", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]
    },
    NaiveTime => { "type": "string" },
}

described! {
    AddDigest {
        [optional] name: Option<String>, [optional] channel: Option<String>, [optional] tenant: Option<Tenant>,
        [optional] every: DigestDays, [optional] hour: Option<u32>, [optional] timezone: Option<Zone>,
        [optional] quiet: Option<String>,
    }
    QuietHours { from: NaiveTime, until: NaiveTime, zone: Zone }
    AlertDigest {
        id: Uuid, name: String, channel: String, tenant: Tenant, every: DigestDays, hour: u32, timezone: Zone,
        quiet: Option<QuietHours>, next_at: DateTime<Utc>, created_at: DateTime<Utc>,
    }
    AlertMessage {
        id: Uuid, channel: String, ["type"] kind: String, phase: AlertPhase, severity: AlertSeverity, is_test: bool,
        state: AlertState, events: u64, attempts: u32, due_at: DateTime<Utc>, status: Option<u16>,
        problem: Option<String>, finished_at: Option<DateTime<Utc>>,
    }
    DigestPreview { subject: String, text: String, html: String }
}

pub(in crate::api) async fn list(call: Call, _: NoQuery) -> Result<Page<AlertDigest>, Problem> {
    Ok(Page::whole(call.host().alerts().digests().await?))
}

pub(in crate::api) async fn preview(call: Call, _: NoQuery) -> Result<Item<DigestPreview>, Problem> {
    let name: String = call.path("name")?;
    Ok(Item(call.host().alerts().preview_digest(&name).await?))
}

pub(in crate::api) async fn add(call: Call, body: AddDigest) -> Result<Recorded<Item<AlertDigest>>, Problem> {
    let AddDigest { name, channel, tenant, every, hour, timezone, quiet } = body;
    let (Some(name), Some(channel), Some(tenant)) = (name, channel, tenant) else {
        return Err(Problem::wrong("give name, channel and tenant"));
    };
    call.scope_of(Some(tenant.clone())).await?;
    let timezone = timezone.unwrap_or_else(Zone::utc);
    let details = json!({ "digest": name, "channel": channel, "tenant": tenant });
    let new = NewDigest { name, channel, tenant, every, hour: hour.unwrap_or(HOUR_DEFAULT), timezone, quiet };
    let added = call.host().alerts().add_digest(new).await?;
    call.made(Subject::AlertDigest(added.name.clone()));
    Ok(Recorded { answer: Item(added), details, artist: None })
}

pub(in crate::api) async fn send(call: Call, _: NoChoice) -> Result<Recorded<Item<AlertMessage>>, Problem> {
    let name: String = call.path("name")?;
    let queued = call.host().alerts().queue_digest(&name).await?;
    Ok(Recorded { answer: Item(queued), details: json!({ "digest": name }), artist: None })
}

pub(in crate::api) async fn remove(call: Call, _: NoChoice) -> Result<Recorded<Item<Removed>>, Problem> {
    let name: String = call.path("name")?;
    call.host().alerts().remove_digest(&name).await?;
    let details = json!({ "digest": name });
    Ok(Recorded { answer: Item(Removed { name }), details, artist: None })
}
