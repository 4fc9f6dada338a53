//! Who may do what and who did: tokens and the audit log; and the settings in force.

use maud::{Markup, html};

use super::{Ask, ROWS, id};
use crate::dashboard::frame::{View, form, link, or_none, table, text, time, time_or_none};
use crate::dashboard::refusal::Refusal;
use crate::dashboard::routes::FormAct;
use crate::pipeline::Tokens;
use backline_model::audit::Actor;
use backline_model::{TokenId, TokenState};
use backline_store::AuditFilter;

pub(super) async fn tokens(ask: &Ask<'_>) -> Result<View, Refusal> {
    let now = ask.host.clock().now();
    let tokens = Tokens::new(ask.store().clone(), ask.host.clock().clone()).list().await?;
    let own = ask.visitor.token().id;
    let rows = tokens.iter().map(|token| {
        vec![
            text(&token.name),
            text(token.role.as_str()),
            token.tenant.as_ref().map_or_else(|| text("all"), text),
            text(token.state(now).as_str()),
            time(token.created_at),
            time_or_none(token.expires_at),
            time_or_none(token.last_used_at),
            text(token.id),
            html! {
                @if token.state(now) == TokenState::Active {
                    (link(&format!("/tokens/{}/revoke", token.id), "Revoke"))
                    @if token.id == own { " (you are logged in with it)" }
                }
            },
        ]
    });
    let heads = ["Name", "Role", "Tenant", "State", "Made", "Expires", "Last used", "Id", "Change"];
    let body = html! {
        (table("Tokens of the API and of this dashboard", &heads, rows.collect(), "There is no token."))
        p { "`backline tokens create` makes one, and shows it once." }
    };
    Ok(View::new("Tokens", "/tokens", body))
}

/// Asks whether a token is to be revoked.
pub(super) async fn revoke(ask: &Ask<'_>, given: &str) -> Result<View, Refusal> {
    let token_id: TokenId = id("token", given)?;
    let tokens = Tokens::new(ask.store().clone(), ask.host.clock().clone()).list().await?;
    let token = tokens.into_iter().find(|token| token.id == token_id);
    let token = token.ok_or_else(|| Refusal::not_found("token", token_id))?;
    let body = html! {
        p {
            "No host accepts the token " strong { (token.name) } " (" (token.role.as_str()) ") any more. Who is logged \
            in with it is logged out. That can't be undone."
        }
        (form(ask.visitor, &FormAct::RevokeToken(token_id.to_string()), &html! {
            button.grave type="submit" { "Revoke" }
        }))
        p { (link("/tokens", "Leave it as it is")) }
    };
    Ok(View::new(format!("Revoke {}?", token.name), "/tokens", body))
}

pub(super) async fn audit(ask: &Ask<'_>) -> Result<View, Refusal> {
    let before: Option<i64> = ask.after()?;
    let filter = AuditFilter {
        action: ask.text("action").map(str::to_owned),
        artist: ask.parsed("artist")?,
        before,
        limit: Some(ROWS + 1),
    };
    let mut entries = ask.store().audit_list(&ask.scope(), &filter).await?;
    let next = ask.cut(&mut entries, |entry| entry.seq);
    let rows = entries.iter().map(|entry| {
        let act = &entry.act;
        let (who, origin) = match &act.actor {
            Actor::Command { name, origin } => (name, origin),
            Actor::Token { name, origin, .. } => (name, origin),
        };
        let way = match &act.actor {
            Actor::Command { .. } => "command line",
            Actor::Token { .. } if act.details["way"] == "dashboard" => "dashboard",
            Actor::Token { .. } => "API",
        };
        vec![
            time(act.at),
            text(&act.action),
            text(act.outcome.as_str()),
            text(who),
            text(way),
            text(origin),
            or_none(act.tenant.as_ref()),
            or_none(act.artist_id),
            html! { code { (act.details.to_string()) } },
            html! { @for change in act.changes() { (change) br; } },
        ]
    });
    let heads = ["At", "Action", "Outcome", "Who", "By", "From", "Tenant", "Artist", "Details", "Changed"];
    let body = html! {
        form.row method="get" action="/audit" {
            div {
                label for="action" { "Action, such as plugins activate" }
                input id="action" name="action" value=[ask.text("action")];
            }
            button.quiet type="submit" { "Show" }
        }
        (table("Who did what, the latest first", &heads, rows.collect(), "Nothing of that kind is on record."))
        (next)
    };
    Ok(View::new("Audit", "/audit", body))
}

/// The settings of this host. Secrets are masked before they come here.
pub(super) fn settings(ask: &Ask<'_>) -> Result<View, Refusal> {
    let masked = ask.host.config().masked();
    let written = serde_json::to_value(&masked).map_err(|error| {
        tracing::error!(%error, "the settings can't be written");
        Refusal::internal()
    })?;
    let mut rows: Vec<Vec<Markup>> = Vec::new();
    flatten("", &written, &mut rows);
    let body = html! {
        p { "Of the host " strong { (ask.host.name()) } ". `backline config show` says also where each value was set." }
        (table("Settings in force", &["Key", "Value"], rows, "There is none."))
    };
    Ok(View::new("Settings in force", "/settings", body))
}

/// A row for each value, under its dotted key.
fn flatten(prefix: &str, value: &serde_json::Value, rows: &mut Vec<Vec<Markup>>) {
    match value {
        serde_json::Value::Object(fields) if !fields.is_empty() => {
            for (key, inner) in fields {
                let key = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
                flatten(&key, inner, rows);
            }
        }
        serde_json::Value::Null => rows.push(vec![text(prefix), text("not set")]),
        serde_json::Value::String(told) => rows.push(vec![text(prefix), text(told)]),
        other => rows.push(vec![text(prefix), text(other)]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn settings_have_dotted_keys() {
        let mut rows = Vec::new();
        flatten("", &json!({ "a": { "b": 1, "c": {}, "d": null }, "e": ["x"], "f": "<g>" }), &mut rows);
        let told: Vec<String> = rows
            .into_iter()
            .map(|row| row.into_iter().map(Markup::into_string).collect::<Vec<_>>().join("="))
            .collect();
        assert_eq!(
            told,
            ["a.b=1", "a.c={}", "a.d=not set", "e=[\"x\"]", "f=&lt;g&gt;"].map(|text| { text.replace('"', "&quot;") })
        );
    }
}
