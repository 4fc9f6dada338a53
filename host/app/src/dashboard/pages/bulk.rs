//! Acts on everything that a filter shows: how far each has come, and what a new one would be done to.

use maud::{Markup, html};
use uuid::Uuid;

use super::{Ask, ROWS};
use crate::dashboard::frame::{View, button, form, link, or_none, table, text, time};
use crate::dashboard::refusal::Refusal;
use crate::dashboard::routes::FormAct;
use crate::pipeline::{BulkActFilter, names};
use backline_model::AccountStatus;
use backline_model::bulk::{BulkAct, BulkAction, BulkFilter, BulkState};
use backline_store::Store;

/// Fields of a filter that can be typed, with what they are called.
const FIELDS: [(&str, &str); 5] = [
    ("platform", "Platform"),
    ("status", "Status of accounts"),
    ("metric", "Metric of values"),
    ("rule", "Rule that withheld values"),
    ("trigger", "What started runs"),
];

/// Fields that links and forms carry on.
const CARRIED: [&str; 2] = ["artist", "run"];

pub(super) async fn list(ask: &Ask<'_>) -> Result<View, Refusal> {
    let before: Option<Uuid> = ask.after()?;
    let filter = BulkActFilter { state: None, before, limit: Some(ROWS + 1) };
    let mut acts = ask.host.bulk().list(&ask.scope(), &filter).await?;
    let next = ask.cut(&mut acts, |act| act.id);
    let goes_on = acts.iter().any(|act| act.state == BulkState::Running);
    let rows = acts.iter().map(|act| row(ask, act)).collect();
    let heads = ["Started", "Action", "State", "Done", "Of", "Skipped", "Failed", "Last problem", "Reason", "End"];
    let acts_table = table("What was done to all that a filter showed", &heads, rows, "There was none.");
    let body = html! {
        (ask.live(goes_on, &acts_table))
        (next)
        @if ask.may(&FormAct::StartBulk) {
            p { (link("/bulk/new", "Begin another one")) }
        }
    };
    Ok(View::new("Bulk acts", "/bulk", body))
}

fn row(ask: &Ask<'_>, act: &BulkAct) -> Vec<Markup> {
    let cancel = FormAct::CancelBulk(act.id.to_string());
    vec![
        time(act.created_at),
        text(act.action),
        text(act.state.as_str()),
        text(act.done),
        text(act.total),
        text(act.skipped),
        text(act.failed),
        or_none(act.problem.as_ref()),
        text(&act.reason),
        html! {
            @if act.state == BulkState::Running && ask.may(&cancel) {
                (button(ask.visitor, &cancel, &[], "Cancel", &format!("{} of {}", act.action, act.created_at)))
            }
        },
    ]
}

/// What a new act would be done to, and the form that begins it.
pub(super) async fn new(ask: &Ask<'_>) -> Result<View, Refusal> {
    let given = |name: &str| ask.text(name).map(str::to_owned).or_else(|| ask.typed(name));
    let chosen = given("action").map(|name| action(&name)).transpose()?;
    let chooser = html! {
        form.row method="get" action="/bulk/new" {
            div {
                label for="action" { "Action" }
                select id="action" name="action" {
                    @for one in BulkAction::ALL {
                        option value=(one.as_str()) selected[Some(one) == chosen] { (one.as_str()) }
                    }
                }
            }
            @for (name, title) in FIELDS {
                div {
                    label for=(name) { (title) }
                    input id=(name) name=(name) value=[given(name)];
                }
            }
            @for name in CARRIED {
                @if let Some(value) = given(name) { input type="hidden" name=(name) value=(value); }
            }
            button.quiet type="submit" { "Count" }
        }
    };
    let counted = match chosen {
        None => Markup::default(),
        Some(action) => {
            let filter = filter(ask.store(), given).await?;
            // It may read all accounts for a few.
            let _turn = ask.turn().await;
            let count = ask.host.bulk().count(&ask.scope(), action, &filter).await?.count;
            begin(ask, action, count, &given)
        }
    };
    let body = html! {
        p { "An action takes its own filters: " (takes()) "." }
        (chooser)
        (counted)
        p { (link("/bulk", "All bulk acts")) }
    };
    Ok(View::new("Act on everything that a filter shows", "/bulk", body))
}

fn begin(ask: &Ask<'_>, action: BulkAction, count: u64, given: &dyn Fn(&str) -> Option<String>) -> Markup {
    let fields = FIELDS.map(|(name, _)| name).into_iter().chain(CARRIED);
    let only: Vec<String> = fields.clone().filter_map(|name| Some(format!("{name} {}", given(name)?))).collect();
    let things = action.things();
    html! {
        h2 { (count) " " (things) }
        @if count == 0 {
            p.none { "The filter shows nothing." }
        } @else {
            p {
                strong { (action.as_str()) } " of " (count) " " (things)
                @if !only.is_empty() { ", " (only.join(", ")) }
            }
            (form(ask.visitor, &FormAct::StartBulk, &html! {
                input type="hidden" name="action" value=(action.as_str());
                input type="hidden" name="count" value=(count);
                @for name in fields {
                    @if let Some(value) = given(name) { input type="hidden" name=(name) value=(value); }
                }
                div {
                    label for="reason" { "Reason" }
                    input id="reason" name="reason" required value=[ask.typed("reason")];
                }
                button.grave type="submit" { "Do it to all " (count) }
            }))
        }
    }
}

/// What each action takes, in words.
fn takes() -> String {
    let of = |action: BulkAction| format!("{action} takes {}", action.takes().join(", "));
    BulkAction::ALL.map(of).join("; ")
}

pub(in crate::dashboard) fn action(name: &str) -> Result<BulkAction, Refusal> {
    BulkAction::parse(name).ok_or_else(|| Refusal::wrong("action is not one that there is"))
}

/// The filter that a query or a form gives.
pub(in crate::dashboard) async fn filter(
    store: &Store,
    given: impl Fn(&str) -> Option<String>,
) -> Result<BulkFilter, Refusal> {
    let platform = match given("platform") {
        Some(name) => Some(names::platform(store, &name).await?),
        None => None,
    };
    let wrong = |name: &str| Refusal::wrong(format!("{name} is not one that can be read"));
    let status = given("status").map(|name| AccountStatus::parse(&name).ok_or_else(|| wrong("status"))).transpose()?;
    Ok(BulkFilter {
        platform,
        artist: given("artist").map(|id| id.parse().map_err(|_| wrong("artist"))).transpose()?,
        run: given("run").map(|id| id.parse().map_err(|_| wrong("run"))).transpose()?,
        status,
        metric: given("metric"),
        rule: given("rule"),
        trigger: given("trigger"),
    })
}
