//! What a message says, in words that every channel shows.

use chrono::{DateTime, Utc};
use serde_json::{Value as Json, json};
use uuid::Uuid;

use backline_model::event::types;
use backline_model::text::one_line;
use backline_model::{AlertPhase, AlertSeverity, Event};

/// Most events of a message that get a line of their own.
pub const SHOWN_MAX: usize = 10;

/// Longest line, in characters.
const LINE_MAX: usize = 300;

/// A message as every channel shows it. No text in it has a line break or another control character.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlertText {
    /// One line that says it all.
    pub title: String,
    /// A line for each of the first events, and how many more there are; of a digest, all its lines.
    pub lines: Vec<String>,
}

impl AlertText {
    /// Title and lines below each other.
    #[must_use]
    pub fn whole(&self) -> String {
        std::iter::once(&self.title).chain(&self.lines).map(String::as_str).collect::<Vec<_>>().join("\n")
    }
}

/// An event with what people are told of it beside its own data.
#[derive(Clone, Debug)]
pub struct Shown {
    /// The event.
    pub event: Event,
    /// Name of its artist.
    pub artist: Option<String>,
    /// Where the artist connects the account again that it is about.
    pub reconnect_url: Option<String>,
}

/// The words for a message of `count` events of a type, the first of which are given.
#[must_use]
pub fn text(kind: &str, severity: AlertSeverity, is_test: bool, count: u64, events: &[Shown]) -> AlertText {
    let data = events.first().map(|shown| &shown.event.data);
    let told = what(kind, count, data.unwrap_or(&Json::Null));
    let test = if is_test { "TEST, nothing happened: " } else { "" };
    let shown = events.len().min(SHOWN_MAX);
    let line = |shown: &Shown| {
        let told = plain(&line(&shown.event, shown.artist.as_deref()));
        // A link that is cut off leads elsewhere.
        shown.reconnect_url.as_ref().map_or_else(|| told.clone(), |link| format!("{told} · {}", one_line(link)))
    };
    let mut lines: Vec<String> = events[..shown].iter().map(line).collect();
    let more = count.saturating_sub(shown as u64);
    if more > 0 {
        lines.push(format!("and {more} more; `backline events tail --type {kind}` shows them"));
    }
    AlertText { title: plain(&format!("[{severity}] {test}{told}")), lines }
}

fn what(kind: &str, count: u64, data: &Json) -> String {
    let of = |key: &str| data[key].as_str().unwrap_or("?").to_owned();
    let platform = data["platform"].as_str().map_or_else(|| "all platforms".to_owned(), str::to_owned);
    let number = |one: &str, many: &str| if count == 1 { format!("1 {one}") } else { format!("{count} {many}") };
    match kind {
        types::RUN_COMPLETED if count == 1 => format!("the run of {} ended: {}", of("date"), of("status")),
        types::RUN_COMPLETED => format!("{count} runs ended"),
        types::HEALTH_DEGRADED => format!("health: {} of {platform} is outside its bound", of("alert")),
        types::HEALTH_RECOVERED => format!("recovered: {} of {platform} is within its bound again", of("alert")),
        types::RECONNECT_NEEDED => format!("{} of {platform} must be reconnected", number("account", "accounts")),
        types::ACCOUNT_NOT_FOUND => format!("{platform} does not know {}", number("account", "accounts")),
        types::ACCOUNT_REMOVED => format!("{platform}: {}", number("account was removed", "accounts were removed")),
        types::CREDENTIAL_EXPIRING => format!("{} of {platform} soon", number("credential ends", "credentials end")),
        types::METRIC_LOST => format!("{platform} refuses {}", number("metric", "metrics")),
        types::WAIT_CUT => format!("{platform} asked for a pause that is too long to be kept"),
        types::CONNECTOR_ACTIVATED => format!("another release of {} collects", of("name")),
        types::CONNECTOR_ROLLED_BACK => format!("{} was rolled back", of("name")),
        types::SIGNIFICANT_CHANGE => number("significant change", "significant changes"),
        types::METRICS_COLLECTED => number("account was collected", "accounts were collected"),
        types::ARTIST_ERASED => number("artist was erased", "artists were erased"),
        other => format!("{count} × {other}"),
    }
}

/// What one event says: its time, its artist, and its data as far as they are words and numbers.
fn line(event: &Event, artist: Option<&str>) -> String {
    let mut parts = vec![event.occurred_at.format("%Y-%m-%d %H:%M UTC").to_string()];
    parts.extend(artist.map(str::to_owned));
    // The data of a change are those of a row; its platform is within them.
    let data = if event.kind == types::SIGNIFICANT_CHANGE { &event.data["new_metrics"] } else { &event.data };
    let known = [
        "platform",
        "alert",
        "value",
        "threshold",
        "status",
        "date",
        "counts",
        "slot",
        "expires_at",
        "days",
        "dates",
        "metric",
        "reason",
        "name",
        "version",
        "kept_until",
        "metric_date",
    ];
    for key in known {
        match &data[key] {
            Json::String(text) => parts.push(format!("{key} {text}")),
            Json::Number(number) => parts.push(format!("{key} {number}")),
            Json::Object(map) => {
                let inner: Vec<String> = map.iter().map(|(name, value)| format!("{name} {value}")).collect();
                parts.push(inner.join(", "));
            }
            _ => {}
        }
    }
    parts.join(" · ")
}

/// One line of bounded length, without characters that act on what shows it.
pub(crate) fn plain(text: &str) -> String {
    let text = one_line(text);
    match text.char_indices().nth(LINE_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// An event of a type with invented data, for tests of a channel.
#[must_use]
pub fn sample(kind: &str, now: DateTime<Utc>) -> Event {
    let date = now.date_naive();
    let data = match kind {
        types::RUN_COMPLETED => json!({ "status": "failed", "date": date, "counts": { "planned": 2, "failed": 2 } }),
        types::HEALTH_DEGRADED => {
            json!({ "alert": "completion", "platform": "example", "value": 0.42, "threshold": 0.8 })
        }
        types::HEALTH_RECOVERED => {
            json!({ "alert": "completion", "platform": "example", "value": 0.97, "threshold": 0.85 })
        }
        types::SIGNIFICANT_CHANGE => json!({ "new_metrics": { "platform": "example", "metric_date": date } }),
        _ => json!({ "platform": "example", "name": "example", "version": "1.0.0", "reason": "an example" }),
    };
    Event { id: Uuid::nil(), kind: kind.to_owned(), artist_id: None, occurred_at: now, dedup_key: None, data }
}

/// The phase of events of a type.
#[must_use]
pub fn phase_of(kind: &str) -> AlertPhase {
    if kind == types::HEALTH_RECOVERED { AlertPhase::Recovered } else { AlertPhase::Firing }
}
