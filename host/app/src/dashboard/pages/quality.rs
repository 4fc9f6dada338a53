//! Data quality: values that failed validation, to be released or discarded.

use maud::html;
use uuid::Uuid;

use super::{Ask, ROWS};
use crate::dashboard::frame::{View, button, link, table, text, time};
use crate::dashboard::refusal::Refusal;
use crate::dashboard::routes::FormAct;
use crate::pipeline::words::value_text;
use backline_model::row::QuarantineStatus;
use backline_store::QuarantineFilter;

pub(super) async fn view(ask: &Ask<'_>) -> Result<View, Refusal> {
    let chosen = match ask.text("status") {
        None => Some(QuarantineStatus::Held),
        Some("all") => None,
        Some(given) => {
            let wrong = || Refusal::wrong("status is not one of held, released, discarded, all");
            Some(QuarantineStatus::parse(given).ok_or_else(wrong)?)
        }
    };
    let before: Option<Uuid> = ask.after()?;
    let filter = QuarantineFilter {
        status: chosen,
        platform: ask.platform().await?,
        artist: ask.parsed("artist")?,
        before,
        limit: Some(ROWS + 1),
    };
    let mut values = ask.store().quarantine_list(&ask.scope(), &filter).await?;
    let next = ask.cut(&mut values, |value| value.id);
    let may = ask.may(&FormAct::Release(String::new()));
    let rows = values.iter().map(|value| {
        let (release, discard) = (FormAct::Release(value.id.to_string()), FormAct::Discard(value.id.to_string()));
        let which = format!("{} of {}", value.metric, value.metric_date);
        vec![
            text(&value.metric),
            text(value_text(&value.value)),
            text(value.metric_date),
            text(&value.platform),
            link(&format!("/artists/{}", value.artist_id), value.artist_id),
            text(&value.rule),
            time(value.created_at),
            text(value.status.as_str()),
            html! {
                @if may && value.status == QuarantineStatus::Held {
                    (button(ask.visitor, &release, &[], "Release", &which))
                    (button(ask.visitor, &discard, &[], "Discard", &which))
                }
            },
        ]
    });
    let of_all = |action: &str| {
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        query.append_pair("action", action);
        query.extend_pairs(["platform", "artist"].iter().filter_map(|name| Some((*name, ask.text(name)?))));
        format!("/bulk/new?{}", query.finish())
    };
    let heads = ["Metric", "Value", "Date", "Platform", "Artist", "Rule", "Found", "State", "Decide"];
    let choices = ["held", "released", "discarded", "all"];
    let body = html! {
        p { "A value that is released is stored, and growth that depends on it is computed again. The metric of one \
             that is discarded stays missing." }
        ul {
            @for choice in choices {
                li { a href={ "/quality?status=" (choice) } { "Values: " (choice) } }
            }
        }
        @if ask.may(&FormAct::StartBulk) && chosen == Some(QuarantineStatus::Held) {
            p {
                (link(&of_all("quarantine_release"), "Release all that this shows")) " · "
                (link(&of_all("quarantine_discard"), "Discard all that this shows"))
            }
        }
        (table("Values that failed validation, the latest first", &heads, rows.collect(), "No such value."))
        (next)
    };
    Ok(View::new("Data quality", "/quality", body))
}
