//! Events, and what is sent of them to webhooks.

use uuid::Uuid;

use crate::api::answer::{Item, Page, Stream};
use crate::api::call::Call;
use crate::api::follow::PlacedEvent;
use crate::api::problem::Problem;
use crate::api::query::{Limit, NoQuery, query};
use crate::api::schema::{Components, Described, Field, component, described, object};
use backline_model::{ArtistId, Delivery, DeliveryState, Event, Tenant, Webhook};
use backline_store::{DeliveryFilter, EventCursor, Scope};
use chrono::{DateTime, Utc};
use serde_json::Value as Json;

query! {
    /// Parameters of the list of webhooks.
    WebhookList {
        /// Only those that are on, or those that are off
        enabled: bool,
    }
}

query! {
    /// Parameters of a list of events.
    Events {
        /// Only about artists of this tenant
        tenant: Tenant,
        /// Only what came after the event with this `cursor`: how a reader that read all goes on later
        after: EventCursor,
        /// At most this many
        limit: Limit,
        /// Where the page begins: `next` of the page before
        cursor: String,
    }
}

query! {
    /// Parameters of a stream of events.
    Follow {
        /// Only about artists of this tenant
        tenant: Tenant,
        /// Only what came after the event with this `cursor`; from now on unless given, or named by `Last-Event-ID`
        after: EventCursor,
    }
}

query! {
    /// Parameters of a list of deliveries.
    Deliveries {
        /// Only to the webhook of this name
        webhook: String,
        /// Only in this state
        state: DeliveryState,
        /// Only of events about this artist
        artist: ArtistId,
        /// Only of this event
        event: Uuid,
        /// At most this many
        limit: Limit,
        /// Where the page begins: `next` of the page before
        cursor: String,
    }
}

described! {
    Event {
        id: Uuid, ["type"] kind: String, artist_id: Option<ArtistId>, occurred_at: DateTime<Utc>,
        dedup_key: Option<String>, data: Json,
    }
    PlacedEvent { cursor: EventCursor, [flatten] event: Event }
}

pub(in crate::api) async fn events(call: Call, query: Events) -> Result<Page<PlacedEvent>, Problem> {
    let scope = call.scope_of(query.tenant).await?;
    let page_after: Option<EventCursor> = call.after(query.cursor.as_ref())?;
    let after = page_after.max(query.after).unwrap_or_default();
    let (until, limit) = (call.last_settled_event().await?, Limit::of(query.limit) + 1);
    let events = call.host().store().settled_events_list(&scope, after, until, limit).await?;
    none_missed(&call, &scope, after).await?;
    let events = events.into_iter().map(|(cursor, event)| PlacedEvent { cursor, event }).collect();
    call.page(events, query.limit, |event| event.cursor)
}

pub(in crate::api) async fn stream(call: Call, query: Follow) -> Result<Stream, Problem> {
    let scope = call.scope_of(query.tenant).await?;
    let after = match call.last_event_id()?.or(query.after) {
        Some(after) => after,
        None => call.last_settled_event().await?,
    };
    none_missed(&call, &scope, after).await?;
    Ok(Stream(call.follow(scope, after)?))
}

/// Refuses to go on after an event where later ones are deleted already. To be asked after reading: what is deleted
/// meanwhile counts too.
async fn none_missed(call: &Call, scope: &Scope, after: EventCursor) -> Result<(), Problem> {
    let gone = call.host().store().events_gone_get(scope).await?;
    // The beginning is that of what there is.
    if after > EventCursor::default() && after < gone { Err(Problem::events_gone(gone)) } else { Ok(()) }
}

pub(in crate::api) async fn event(call: Call, _: NoQuery) -> Result<Item<PlacedEvent>, Problem> {
    let id: Uuid = call.path("event")?;
    let (cursor, event) = call.host().store().event_get(&call.scope(), id).await?;
    Ok(Item(PlacedEvent { cursor, event }))
}

pub(in crate::api) async fn list(call: Call, query: WebhookList) -> Result<Page<Webhook>, Problem> {
    let webhooks = call.host().store().webhooks_list(&call.scope()).await?;
    let shown = webhooks.into_iter().map(|(webhook, _)| webhook);
    Ok(Page::whole(shown.filter(|webhook| query.enabled.is_none_or(|enabled| webhook.enabled == enabled)).collect()))
}

pub(in crate::api) async fn deliveries(call: Call, query: Deliveries) -> Result<Page<Delivery>, Problem> {
    let (store, scope) = (call.host().store(), call.scope());
    let webhook = match &query.webhook {
        Some(name) => Some(store.webhook_get(&scope, name).await?.id),
        None => None,
    };
    let filter = DeliveryFilter {
        webhook,
        state: query.state,
        artist: query.artist,
        event: query.event,
        after: call.after(query.cursor.as_ref())?,
        limit: Limit::of(query.limit) + 1,
    };
    let placed = store.deliveries_page(&scope, &filter).await?;
    let page = call.page(placed, query.limit, |(event, delivery)| (*event, delivery.webhook.clone()))?;
    Ok(Page { data: page.data.into_iter().map(|(_, delivery)| delivery).collect(), next: page.next })
}
