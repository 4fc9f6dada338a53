//! Digests: when each is sent, and how it looks now.

use maud::{Markup, html};

use super::Ask;
use crate::dashboard::frame::{View, button, form, link, or_none, table, text, time};
use crate::dashboard::refusal::Refusal;
use crate::dashboard::routes::FormAct;
use backline_model::DigestDays;
use backline_store::Scope;

pub(super) async fn list(ask: &Ask<'_>) -> Result<View, Refusal> {
    let digests = ask.host.alerts().digests().await?;
    let rows = digests.iter().map(|digest| {
        let name = digest.name.as_str();
        let quiet = digest.quiet.as_ref();
        let quiet = quiet.map(|quiet| format!("{}-{}", quiet.from.format("%H:%M"), quiet.until.format("%H:%M")));
        let (send, remove) = (FormAct::SendDigest(name.to_owned()), FormAct::RemoveDigest(name.to_owned()));
        vec![
            link(&format!("/digests/{name}"), name),
            text(&digest.tenant),
            text(&digest.channel),
            text(every(digest.every)),
            text(format!("{:02}:00", digest.hour)),
            text(&digest.timezone),
            or_none(quiet),
            time(digest.next_at),
            html! {
                @if ask.may(&send) { (button(ask.visitor, &send, &[], "Send now", name)) }
                @if ask.may(&remove) { (button(ask.visitor, &remove, &[], "Remove", name)) }
            },
        ]
    });
    let heads = ["Name", "Tenant", "Channel", "Every", "Hour", "Time zone", "Quiet", "Next", "Change"];
    let add = if ask.may(&FormAct::AddDigest) { Some(add_form(ask).await?) } else { None };
    let body = html! {
        (table("What people are told again and again", &heads, rows.collect(), "There is no digest."))
        p { "A digest says what moved and what is missing of a tenant. Its name leads to how it looks now." }
        @if let Some(add) = add {
            h2 { "Add a digest" }
            (add)
        }
    };
    Ok(View::new("Digests", "/digests", body))
}

fn every(days: DigestDays) -> &'static str {
    match days {
        DigestDays::Day => "day",
        DigestDays::Monday => "Monday",
        DigestDays::Tuesday => "Tuesday",
        DigestDays::Wednesday => "Wednesday",
        DigestDays::Thursday => "Thursday",
        DigestDays::Friday => "Friday",
        DigestDays::Saturday => "Saturday",
        DigestDays::Sunday => "Sunday",
    }
}

async fn add_form(ask: &Ask<'_>) -> Result<Markup, Refusal> {
    let channels = ask.host.alerts().digest_channels().await?;
    let tenants = ask.store().tenants_list(&Scope::all_tenants()).await?;
    if channels.is_empty() {
        return Ok(html! {
            p { "There is no channel that takes one; `backline alerts channels add` adds it, with its secret." }
        });
    }
    let typed = |name: &str, usual: &str| ask.typed(name).unwrap_or_else(|| usual.to_owned());
    let (channel, tenant, days) = (typed("channel", ""), typed("tenant", ""), typed("every", "day"));
    Ok(form(
        ask.visitor,
        &FormAct::AddDigest,
        &html! {
            div {
                label for="name" { "Name" }
                input id="name" name="name" required maxlength="64" value=[ask.typed("name")];
            }
            div {
                label for="tenant" { "Tenant" }
                select id="tenant" name="tenant" {
                    @for one in &tenants {
                        option value=(one.as_str()) selected[one.as_str() == tenant] { (one.as_str()) }
                    }
                }
            }
            div {
                label for="channel" { "Channel" }
                select id="channel" name="channel" {
                    @for one in &channels { option value=(one.name) selected[one.name == channel] { (one.name) } }
                }
            }
            div {
                label for="every" { "Every" }
                select id="every" name="every" {
                    @for one in DigestDays::ALL {
                        option value=(one.as_str()) selected[one.as_str() == days] { (every(*one)) }
                    }
                }
            }
            div {
                label for="hour" { "Hour" }
                input id="hour" name="hour" type="number" min="0" max="23" required value=(typed("hour", "8"));
            }
            div {
                label for="timezone" { "Time zone" }
                input id="timezone" name="timezone" required value=(typed("timezone", "UTC"));
            }
            div {
                label for="quiet" { "Quiet hours, such as 22:00-07:00" }
                input id="quiet" name="quiet" value=[ask.typed("quiet")];
            }
            button type="submit" { "Add" }
        },
    ))
}

pub(super) async fn one(ask: &Ask<'_>, name: &str) -> Result<View, Refusal> {
    let _turn = ask.turn().await;
    let preview = ask.host.alerts().preview_digest(name).await?;
    let send = FormAct::SendDigest(name.to_owned());
    let body = html! {
        p { "As it would be sent now, with the subject:" }
        p { strong { (preview.subject) } }
        pre { (preview.text) }
        @if ask.may(&send) { (button(ask.visitor, &send, &[], "Send now", name)) }
        p { (link("/digests", "All digests")) }
    };
    Ok(View::new(format!("Digest {name}"), "/digests", body))
}
