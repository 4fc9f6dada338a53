//! Webhooks, and what was delivered to them.

use maud::html;

use super::{Ask, ROWS};
use crate::dashboard::frame::{View, button, link, or_none, table, text, time, time_or_none};
use crate::dashboard::refusal::Refusal;
use crate::dashboard::routes::FormAct;
use backline_model::DeliveryState;
use backline_store::{DeliveryFilter, EventCursor};

pub(super) async fn view(ask: &Ask<'_>) -> Result<View, Refusal> {
    let store = ask.store();
    let webhooks = store.webhooks_list(&ask.scope()).await?;
    let state = match ask.text("state") {
        None => None,
        Some(given) => {
            let wrong = || Refusal::wrong("state is not one of waiting, delivered, parked, skipped");
            Some(DeliveryState::parse(given).ok_or_else(wrong)?)
        }
    };
    let webhook = match ask.text("webhook") {
        Some(name) => Some(store.webhook_get(&ask.scope(), name).await?.id),
        None => None,
    };
    let after: Option<(EventCursor, String)> = ask.after()?;
    let filter = DeliveryFilter { webhook, state, after, limit: ROWS + 1, ..DeliveryFilter::default() };
    let mut deliveries = store.deliveries_page(&ask.scope(), &filter).await?;
    let next = ask.cut(&mut deliveries, |(event, delivery)| (*event, delivery.webhook.clone()));
    let may = ask.may(&FormAct::TestWebhook);
    let rows = webhooks.iter().map(|(webhook, _)| {
        let (name, fields) = (webhook.name.as_str(), [("name", webhook.name.as_str())]);
        let label = if webhook.enabled { "Switch off" } else { "Switch on" };
        let switch = FormAct::SwitchWebhook(!webhook.enabled);
        vec![
            text(name),
            text(webhook.kind.as_str()),
            text(&webhook.url),
            text(webhook.events.join(", ")),
            or_none(webhook.tenant.as_ref()),
            text(if webhook.enabled { "on" } else { "off" }),
            or_none(webhook.disabled_reason.as_ref()),
            html! {
                @if may {
                    (button(ask.visitor, &FormAct::TestWebhook, &fields, "Test", name))
                    @let parked = format!("what {name} did not get");
                    (button(ask.visitor, &FormAct::ResendParked, &fields, "Resend", &parked))
                    (button(ask.visitor, &switch, &fields, label, name))
                }
            },
        ]
    });
    let sent = deliveries.iter().map(|(_, delivery)| {
        let artist = match delivery.artist_id {
            Some(artist) => link(&format!("/artists/{artist}"), artist),
            None => or_none(None::<&str>),
        };
        vec![
            time(delivery.occurred_at),
            text(&delivery.webhook),
            text(&delivery.kind),
            artist,
            text(delivery.state),
            text(delivery.attempts),
            time_or_none(delivery.next_at),
            or_none(delivery.status),
            or_none(delivery.problem.as_ref()),
            text(delivery.event_id),
        ]
    });
    let heads = ["Name", "Kind", "URL", "Events", "Tenant", "State", "Why", "Change"];
    let sent_heads =
        ["Happened", "Webhook", "Event", "Artist", "State", "Attempts", "Next", "Status", "Problem", "Event id"];
    let body = html! {
        (table("Where events are sent", &heads, rows.collect(), "There is no webhook."))
        h2 { "Deliveries" }
        form.row method="get" action="/webhooks" {
            div {
                label for="state" { "State" }
                select id="state" name="state" {
                    option value="" { "any" }
                    @for one in ["waiting", "delivered", "parked", "skipped"] {
                        option value=(one) selected[ask.text("state") == Some(one)] { (one) }
                    }
                }
            }
            button.quiet type="submit" { "Show" }
        }
        (table("Deliveries, the latest event first", &sent_heads, sent.collect(), "Nothing was sent."))
        (next)
    };
    Ok(View::new("Webhooks and deliveries", "/webhooks", body))
}
