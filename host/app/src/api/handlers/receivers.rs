//! Webhooks as an operator manages them.

use serde::{Deserialize, Serialize};
use serde_json::json;
use uuid::Uuid;

use crate::api::answer::{Item, Recorded};
use crate::api::call::Call;
use crate::api::handlers::acts::NoChoice;
use crate::api::handlers::installation::{Removed, Switched};
use crate::api::problem::Problem;
use crate::api::query::in_years;
use crate::api::schema::{Components, Described, Field, component, described, object};
use crate::pipeline::{NewWebhook, Resend, Subject, TestAnswer};
use backline_model::{Tenant, Webhook, WebhookKind};
use chrono::{DateTime, Utc};

/// A webhook to add. What is left out has its default.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(in crate::api) struct AddWebhook {
    name: Option<String>,
    url: Option<String>,
    kind: Option<WebhookKind>,
    events: Vec<String>,
    tenant: Option<Tenant>,
    from_start: bool,
}

/// What to send again: exactly one of these.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(in crate::api) struct ResendWhat {
    event: Option<Uuid>,
    since: Option<DateTime<Utc>>,
    parked: bool,
}

/// A webhook with its secret, which is shown once.
#[derive(Serialize)]
pub(in crate::api) struct AddedWebhook {
    webhook: Webhook,
    secret: String,
}

/// How many deliveries begin again.
#[derive(Serialize)]
pub(in crate::api) struct Resent {
    name: String,
    restarted: u64,
}

described! {
    AddWebhook {
        [optional] name: Option<String>, [optional] url: Option<String>, [optional] kind: Option<WebhookKind>,
        [optional] events: Vec<String>, [optional] tenant: Option<Tenant>, [optional] from_start: bool,
    }
    ResendWhat { [optional] event: Option<Uuid>, [optional] since: Option<DateTime<Utc>>, [optional] parked: bool }
    AddedWebhook { webhook: Webhook, secret: String }
    Resent { name: String, restarted: u64 }
    TestAnswer { id: Uuid, status: u16, accepted: bool, text: String, took_ms: u64 }
}

pub(in crate::api) async fn add(call: Call, body: AddWebhook) -> Result<Recorded<Item<AddedWebhook>>, Problem> {
    let AddWebhook { name, url, kind, events, tenant, from_start } = body;
    let (Some(name), Some(url)) = (name, url) else { return Err(Problem::wrong("give name and url")) };
    call.scope_of(tenant.clone()).await?;
    // A token of one tenant adds none that gets what is others'.
    let tenant = tenant.or_else(|| call.token().tenant.clone());
    let kind = kind.unwrap_or(WebhookKind::Webhook);
    let new = NewWebhook { name: name.clone(), url, kind, events, tenant, from_start };
    let (webhook, secret) = call.host().webhooks().add(new).await?;
    call.made(Subject::Webhook(name.clone()));
    let answer = Item(AddedWebhook { webhook, secret: secret.expose().to_owned() });
    Ok(Recorded { answer, details: json!({ "webhook": name }), artist: None })
}

/// The name of the webhook that the path names, which is the caller's to change.
async fn of_path(call: &Call) -> Result<String, Problem> {
    let name: String = call.path("webhook")?;
    Ok(call.host().store().webhook_get(&call.scope(), &name).await?.name)
}

pub(in crate::api) async fn test(call: Call, _: NoChoice) -> Result<Recorded<Item<TestAnswer>>, Problem> {
    let name = of_path(&call).await?;
    let answer = call.host().webhooks().test(&name).await?;
    let details = json!({ "webhook": name, "status": answer.status });
    Ok(Recorded { answer: Item(answer), details, artist: None })
}

pub(in crate::api) async fn enable(call: Call, _: NoChoice) -> Result<Recorded<Item<Switched>>, Problem> {
    switch(&call, true).await
}

pub(in crate::api) async fn disable(call: Call, _: NoChoice) -> Result<Recorded<Item<Switched>>, Problem> {
    switch(&call, false).await
}

async fn switch(call: &Call, enabled: bool) -> Result<Recorded<Item<Switched>>, Problem> {
    let name = of_path(call).await?;
    call.host().webhooks().switch(&name, enabled).await?;
    let details = json!({ "webhook": name });
    Ok(Recorded { answer: Item(Switched { name, enabled }), details, artist: None })
}

pub(in crate::api) async fn remove(call: Call, _: NoChoice) -> Result<Recorded<Item<Removed>>, Problem> {
    // The store looks whose it is. What else its row says need not be read.
    let name: String = call.path("webhook")?;
    call.host().store().webhook_remove(&call.scope(), &name).await?;
    let details = json!({ "webhook": name });
    Ok(Recorded { answer: Item(Removed { name }), details, artist: None })
}

pub(in crate::api) async fn resend(call: Call, body: ResendWhat) -> Result<Recorded<Item<Resent>>, Problem> {
    let name = of_path(&call).await?;
    let what = match body {
        ResendWhat { event: Some(event), since: None, parked: false } => {
            // One of another tenant is told like none.
            call.host().store().event_get(&call.scope(), event).await?;
            Resend::Event(event)
        }
        ResendWhat { event: None, since: Some(since), parked: false } => {
            in_years(since.date_naive()).map_err(|problem| Problem::wrong(format!("since: {problem}")))?;
            Resend::Since(since)
        }
        ResendWhat { event: None, since: None, parked: true } => Resend::Parked,
        _ => return Err(Problem::wrong("say what: give event or since, or set parked")),
    };
    let restarted = call.host().webhooks().resend(&name, what).await?;
    let details = json!({ "webhook": name, "restarted": restarted });
    Ok(Recorded { answer: Item(Resent { name, restarted }), details, artist: None })
}
