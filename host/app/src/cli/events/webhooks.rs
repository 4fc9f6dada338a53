//! `backline webhooks …`: webhooks and their deliveries.

use chrono::{DateTime, TimeDelta, Utc};
use clap::{Args, Subcommand};
use serde_json::json;

use crate::cli::arguments::ids::{self, EventId, Given};
use crate::cli::arguments::names;
use crate::cli::arguments::values;
use crate::cli::context::Context;
use crate::cli::terminal::exit::{CommandResult, Exit, Failure};
use crate::cli::terminal::print;
use crate::pipeline::{NewWebhook, Resend};
use backline_model::{ArtistId, Delivery, DeliveryState, Tenant, Webhook, WebhookKind};
use backline_store::{DeliveryFilter, Scope};

/// `backline webhooks …`
#[derive(Subcommand)]
pub(in crate::cli) enum Command {
    /// Add a webhook; its secret is printed once
    Add(AddArguments),
    /// List webhooks, without their secrets
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Send a signed test message now and print the answer
    Test {
        /// Name of the webhook
        name: String,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Remove a webhook and its deliveries
    Remove {
        /// Name of the webhook
        name: String,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Enable a webhook; events that happened meanwhile are delivered
    Enable {
        /// Name of the webhook
        name: String,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Disable a webhook; its deliveries wait
    Disable {
        /// Name of the webhook
        name: String,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Give a webhook a new secret, which is printed once
    RotateSecret {
        /// Name of the webhook
        name: String,
        /// How long the old secret also signs, so that the receiver can switch; 0s ends it at once
        #[arg(long, value_name = "SPAN", default_value = "24h", value_parser = values::span)]
        keep_old: TimeDelta,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// List deliveries, those of the latest events first
    Deliveries(DeliveriesArguments),
    /// Restart deliveries, with all their attempts
    Resend(ResendArguments),
    /// Deliver everything that is due once, where no `backline serve` runs
    Deliver {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

/// Arguments of `backline webhooks add`.
#[derive(Args)]
pub(in crate::cli) struct AddArguments {
    /// Name of the webhook
    name: String,
    /// URL to send to, with https; for the kind ai, the address of the application
    url: String,
    /// What to send: webhook (every event as it is), ai (the AI trigger) or push (a push notification)
    #[arg(long, default_value = "webhook", value_name = "KIND", value_parser = kind)]
    kind: WebhookKind,
    /// Only events of this type, or of a pattern such as metrics.*; may be repeated. Unless given, all events for the
    /// kind webhook, and significant changes for ai and push
    #[arg(long = "event", value_name = "TYPE")]
    events: Vec<String>,
    /// Only events about artists of this tenant
    #[arg(long, value_name = "NAME")]
    tenant: Option<Tenant>,
    /// Start with the oldest stored event, not with the next one
    #[arg(long)]
    from_start: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Arguments of `backline webhooks deliveries`.
#[derive(Args)]
pub(in crate::cli) struct DeliveriesArguments {
    /// Only deliveries to this webhook
    name: Option<String>,
    /// Only deliveries in this state: waiting, delivered, parked or skipped
    #[arg(long, value_name = "STATE", value_parser = state)]
    state: Option<DeliveryState>,
    /// Only events about this artist
    #[arg(long, value_name = "ARTIST")]
    artist: Option<Given<ArtistId>>,
    /// At most this many
    #[arg(long, default_value_t = 100, value_name = "N")]
    limit: u32,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Arguments of `backline webhooks resend`.
#[derive(Args)]
pub(in crate::cli) struct ResendArguments {
    /// Name of the webhook
    name: String,
    #[command(flatten)]
    what: WhatToResend,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Which deliveries to restart: exactly one of these.
#[derive(Args)]
#[group(required = true, multiple = false)]
struct WhatToResend {
    /// The delivery of this event
    #[arg(long, value_name = "EVENT")]
    event: Option<Given<EventId>>,
    /// All parked deliveries: those that failed in all their attempts
    #[arg(long)]
    parked: bool,
    /// Deliveries of all events since this time, such as 2026-11-22 or 2026-11-22T12:00:00Z
    #[arg(long, value_name = "TIME", value_parser = values::time)]
    since: Option<DateTime<Utc>>,
}

fn kind(text: &str) -> Result<WebhookKind, String> {
    WebhookKind::parse(text).ok_or_else(|| "it is not one of webhook, ai, push".to_owned())
}

fn state(text: &str) -> Result<DeliveryState, String> {
    DeliveryState::parse(text).ok_or_else(|| "it is not one of waiting, delivered, parked, skipped".to_owned())
}

/// Columns of a webhook.
pub(in crate::cli) const HEADERS: [&str; 7] = ["name", "?kind", "url", "events", "?tenant", "state", "??added"];

/// Columns of a delivery.
pub(in crate::cli) const DELIVERY_HEADERS: [&str; 9] =
    ["webhook", "#event", "type", "?artist", "state", ">attempts", "?next", "?>status", "problem"];

/// Runs the command.
pub(in crate::cli) async fn run(context: &Context, command: Command) -> CommandResult {
    match command {
        Command::Add(arguments) => add(context, arguments).await?,
        Command::List { json } => {
            let store = context.store().await?;
            let webhooks = store.webhooks_list(&Scope::all_tenants()).await?;
            for row in store.unreadable_rows().iter().filter(|row| row.table == "webhooks") {
                let name = &row.name;
                print::note(&format!(
                    "{row}; it gets nothing: correct it, or remove it with `backline webhooks remove {name}`"
                ));
            }
            let webhooks: Vec<Webhook> = webhooks.into_iter().map(|(webhook, _)| webhook).collect();
            print::listing(json, &webhooks, &HEADERS, cells, "there is no webhook; `backline webhooks add` adds one")?;
        }
        Command::Test { name, json } => {
            let host = context.host().await?;
            let name = names::webhook(host.store(), &name).await?;
            let answer = host.webhooks().test(&name).await?;
            if json {
                print::json(&answer)?;
            } else {
                print::line(&format!("{name} answered {} after {} ms", answer.status, answer.took_ms))?;
                if !answer.text.trim().is_empty() {
                    print::line(&print::hanging(&format!("  {}", answer.text.trim())))?;
                }
            }
            if !answer.accepted {
                return Err(Failure::failed(format!(
                    "{name} did not accept the message: only a status from 200 to 299 accepts it"
                )));
            }
        }
        Command::Remove { name, json } => {
            let store = context.store().await?;
            let name = names::webhook(&store, &name).await?;
            store.webhook_remove(&Scope::all_tenants(), &name).await?;
            print::done(json, &json!({ "name": name }), &format!("removed webhook {name}"))?;
        }
        Command::Enable { name, json } => switch(context, &name, true, json).await?,
        Command::Disable { name, json } => switch(context, &name, false, json).await?,
        Command::RotateSecret { name, keep_old, json } => {
            let host = context.host().await?;
            let name = names::webhook(host.store(), &name).await?;
            let secret = host.webhooks().rotate_secret(&name, keep_old).await?;
            print::done(json, &json!({ "name": name, "secret": secret.expose() }), secret.expose())?;
            print::note(&format!(
                "this is the new secret of {name}, shown only now; the old one also signs until --keep-old has passed"
            ));
        }
        Command::Deliveries(arguments) => deliveries(context, arguments).await?,
        Command::Resend(ResendArguments { name, what: WhatToResend { event, since, .. }, json }) => {
            let host = context.host().await?;
            let name = names::webhook(host.store(), &name).await?;
            let event = ids::find_if_given(host.store(), event.as_ref()).await?.map(|EventId(id)| id);
            let what = event.map_or_else(|| since.map_or(Resend::Parked, Resend::Since), Resend::Event);
            let resent = host.webhooks().resend(&name, what).await?;
            let deliveries = if resent == 1 { "1 delivery" } else { &format!("{resent} deliveries") };
            let report = json!({ "name": name, "restarted": resent });
            print::done(json, &report, &format!("restarted {deliveries}"))?;
        }
        Command::Deliver { json } => {
            let report = context.host().await?.dispatcher().deliver_due().await?;
            if json {
                print::json(&report)?;
            } else {
                let crate::pipeline::DeliveryReport { noted, delivered, failed, parked, skipped } = report;
                print::line(&format!(
                    "{noted} new; {delivered} delivered, {failed} failed and will be retried, {parked} parked, \
                     {skipped} skipped"
                ))?;
            }
        }
    }
    Ok(Exit::Done)
}

async fn switch(context: &Context, name: &str, on: bool, json: bool) -> Result<(), Failure> {
    let host = context.host().await?;
    let name = names::webhook(host.store(), name).await?;
    host.webhooks().switch(&name, on).await?;
    let sentence = format!("webhook {name} is {}", if on { "on" } else { "off" });
    print::done(json, &json!({ "name": name, "enabled": on }), &sentence)
}

async fn add(context: &Context, arguments: AddArguments) -> Result<(), Failure> {
    let AddArguments { name, url, kind, events, tenant, from_start, json } = arguments;
    let host = context.host().await?;
    names::expect_tenant(host.store(), tenant.as_ref()).await?;
    let new = NewWebhook { name, url, kind, events, tenant, from_start };
    let (webhook, secret) = host.webhooks().add(new).await?;
    if json {
        print::json(&json!({ "webhook": webhook, "secret": secret.expose() }))?;
    } else {
        print::line(secret.expose())?;
    }
    print::note(&format!(
        "added webhook {name}; its secret is above, shown only now. `backline webhooks test {name}` tests it, \
         `backline serve` delivers to it",
        name = webhook.name
    ));
    Ok(())
}

async fn deliveries(context: &Context, arguments: DeliveriesArguments) -> Result<(), Failure> {
    let DeliveriesArguments { name, state, artist, limit, json } = arguments;
    let store = context.store().await?;
    let webhook = match name {
        Some(name) => {
            let name = names::webhook(&store, &name).await?;
            Some(store.webhook_get(&Scope::all_tenants(), &name).await?.id)
        }
        None => None,
    };
    let artist = ids::find_if_given(&store, artist.as_ref()).await?;
    let filter = DeliveryFilter { webhook, state, artist, limit, ..DeliveryFilter::default() };
    let deliveries = store.deliveries_list(&Scope::all_tenants(), &filter).await?;
    let artists = ids::names_of(&store, deliveries.iter().filter_map(|delivery| delivery.artist_id)).await?;
    let row =
        |delivery: &Delivery| delivery_cells(delivery, delivery.artist_id.map(|artist| ids::name_in(&artists, artist)));
    print::listing(json, &deliveries, &DELIVERY_HEADERS, row, "no delivery matches")?;
    Ok(())
}

fn cells(webhook: &Webhook) -> Vec<String> {
    let state = match (&webhook.disabled_reason, webhook.enabled) {
        (_, true) => "on".to_owned(),
        (Some(reason), false) => format!("off: {reason}"),
        (None, false) => "off".to_owned(),
    };
    vec![
        webhook.name.clone(),
        webhook.kind.as_str().to_owned(),
        webhook.url.clone(),
        webhook.events.join(", "),
        webhook.tenant.as_ref().map_or_else(|| print::NONE.to_owned(), ToString::to_string),
        state,
        print::time(webhook.created_at),
    ]
}

fn delivery_cells(delivery: &Delivery, artist: Option<String>) -> Vec<String> {
    let or_none = |text: Option<String>| text.unwrap_or_else(|| print::NONE.to_owned());
    vec![
        delivery.webhook.clone(),
        delivery.event_id.to_string(),
        delivery.kind.clone(),
        or_none(artist),
        delivery.state.to_string(),
        delivery.attempts.to_string(),
        or_none(delivery.next_at.map(print::time)),
        or_none(delivery.status.map(|status| status.to_string())),
        or_none(delivery.problem.clone()),
    ]
}
