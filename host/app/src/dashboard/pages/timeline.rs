//! What happened to one account, or to one connector, in one list.

use maud::{Markup, html};

use super::{Ask, ROWS, id};
use crate::dashboard::frame::{View, link, table, text, time};
use crate::dashboard::refusal::Refusal;
use crate::dashboard::routes::FormAct;
use crate::pipeline::{PlacedEntry, TimelineFilter, connector_timeline};
use backline_model::{AccountId, Role};

fn filter(ask: &Ask<'_>) -> Result<TimelineFilter, Refusal> {
    let with_acts = ask.visitor.token().role >= Role::Admin;
    Ok(TimelineFilter { after: ask.after()?, with_acts, limit: Some(ROWS + 1) })
}

pub(super) async fn of_account(ask: &Ask<'_>, given: &str) -> Result<View, Refusal> {
    let account_id: AccountId = id("account", given)?;
    let unknown = || Refusal::not_found("account", account_id);
    let account = ask.store().account_place_get(&ask.scope(), account_id).await?.ok_or_else(unknown)?;
    let found = ask.store().account_timeline_list(&ask.scope(), account_id, &filter(ask)?).await?;
    let found = found.ok_or_else(unknown)?;
    let links = html! {
        (link(&format!("/artists/{}?account={account_id}", account.artist_id), "Its artist and its numbers"))
        @if ask.may(&FormAct::RemoveAccount(account_id.to_string())) {
            " · " (link(&format!("/accounts/{account_id}/remove"), "Remove it, if it was added by mistake"))
        }
    };
    let title = format!("{} {}", account.platform, account.platform_id);
    Ok(shown(ask, title, "/artists", &links, found))
}

pub(super) async fn of_connector(ask: &Ask<'_>, name: &str) -> Result<View, Refusal> {
    let found = connector_timeline(ask.store(), name, &filter(ask)?).await?;
    let found = found.ok_or_else(|| Refusal::not_found("connector", name))?;
    Ok(shown(ask, format!("Connector {name}"), "/connectors", &link("/connectors", "All connectors"), found))
}

fn shown(ask: &Ask<'_>, title: String, place: &'static str, back: &Markup, mut found: Vec<PlacedEntry>) -> View {
    let next = ask.cut(&mut found, |(place, _)| place.clone());
    let rows =
        found.iter().map(|(_, entry)| vec![time(entry.at), text(entry.kind), text(&entry.what), text(entry.words())]);
    let body = html! {
        p { (back) }
        (table(
            "What happened, the latest first",
            &["At", "Kind", "What", "Details"],
            rows.collect(),
            "Nothing is on record.",
        ))
        (next)
    };
    View::new(title, place, body)
}
