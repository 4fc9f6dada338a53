//! Deliveries to webhooks: which webhook wants which event, what is sent, what an answer means, and when to retry.
//! Pure: time and chance are arguments.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};

use crate::nearest;
use backline_model::event::types;
use backline_model::{ArtistId, Event, Platform, Webhook, WebhookKind};

mod push;

/// Version of every message's format. A field may be added within a version; changing a field's meaning needs a new
/// one.
pub const MESSAGE_VERSION: u32 = 1;

/// How long a host holds a delivery while it sends it. Longer than any answer may take.
pub const LEASE: Duration = Duration::from_secs(60);

/// Longest configurable wait for an answer, in milliseconds: half a lease.
const TIMEOUT_MS_MAX: u64 = 30_000;

/// Largest configurable number of concurrent deliveries.
const IN_FLIGHT_MAX: u32 = 1_024;

/// Path of the artist platform's AI trigger, below the URL of its application.
const AI_PATH: &str = "/api/ai/analyze-metrics";

/// Settings of deliveries.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DeliveriesConfig {
    /// Upper bound of the wait after the first failure, in milliseconds; it doubles with each failure.
    pub backoff_base_ms: u64,
    /// Upper bound of every wait, in milliseconds, including one that a receiver asks for.
    pub backoff_max_ms: u64,
    /// Time from the first attempt until a delivery is parked, in seconds.
    pub give_up_after_s: u64,
    /// Longest wait for a receiver's complete answer, in milliseconds.
    pub timeout_ms: u64,
    /// Most concurrent deliveries of a host to one webhook.
    pub in_flight_per_webhook: u32,
    /// Most concurrent deliveries of a host to all webhooks.
    pub in_flight_max: u32,
    /// Platforms whose metrics are sent to the AI trigger although their terms forbid AI use, each with the reason.
    pub ai_overrides: BTreeMap<Platform, String>,
}

impl Default for DeliveriesConfig {
    fn default() -> Self {
        Self {
            backoff_base_ms: 5_000,
            backoff_max_ms: 3_600_000,
            give_up_after_s: 86_400,
            timeout_ms: 10_000,
            in_flight_per_webhook: 8,
            in_flight_max: 64,
            ai_overrides: BTreeMap::new(),
        }
    }
}

impl DeliveriesConfig {
    /// Checks the values.
    ///
    /// # Errors
    /// The key, and what is wrong with its value.
    pub fn check(&self) -> Result<(), (String, String)> {
        let wrong = |key: &str, problem: String| Err((format!("deliveries.{key}"), problem));
        if self.backoff_base_ms == 0 {
            return wrong("backoff_base_ms", "0 would retry without a pause; set 1 or more".to_owned());
        }
        if self.backoff_max_ms < self.backoff_base_ms {
            return wrong("backoff_max_ms", format!("{} is less than deliveries.backoff_base_ms", self.backoff_max_ms));
        }
        if self.give_up_after_s == 0 || self.give_up_after_s > 30 * 86_400 {
            return wrong("give_up_after_s", format!("{} is not between 1 second and 30 days", self.give_up_after_s));
        }
        if !(1..=TIMEOUT_MS_MAX).contains(&self.timeout_ms) {
            return wrong("timeout_ms", format!("{} is not between 1 and {TIMEOUT_MS_MAX}", self.timeout_ms));
        }
        for (key, value) in
            [("in_flight_per_webhook", self.in_flight_per_webhook), ("in_flight_max", self.in_flight_max)]
        {
            if !(1..=IN_FLIGHT_MAX).contains(&value) {
                return wrong(key, format!("{value} is not between 1 and {IN_FLIGHT_MAX}"));
            }
        }
        if let Some((platform, _)) = self.ai_overrides.iter().find(|(_, reason)| reason.trim().is_empty()) {
            let problem = "it gives no reason; write why the platform's terms allow it here".to_owned();
            return wrong(&format!("ai_overrides.{platform}"), problem);
        }
        Ok(())
    }
}

/// The events that a webhook of this kind receives unless configured.
#[must_use]
pub fn default_events(kind: WebhookKind) -> Vec<String> {
    match kind {
        WebhookKind::Webhook => vec!["*".to_owned()],
        WebhookKind::Ai | WebhookKind::Push => vec![types::SIGNIFICANT_CHANGE.to_owned()],
    }
}

/// Whether a pattern (a type, `metrics.*` or `*`) matches an event type.
#[must_use]
pub fn pattern_matches(pattern: &str, kind: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(beginning) => kind.starts_with(beginning),
        None => pattern == kind,
    }
}

/// Checks that a pattern matches at least one event type.
///
/// # Errors
/// What is expected.
pub fn check_pattern(pattern: &str) -> Result<(), String> {
    let has_form = match pattern.strip_suffix('*') {
        Some(beginning) => beginning.is_empty() || beginning.ends_with('.'),
        None => true,
    };
    if has_form && types::ALL.iter().any(|kind| pattern_matches(pattern, kind)) {
        return Ok(());
    }
    let prefixes = types::ALL.into_iter().filter_map(|kind| Some(format!("{}.*", kind.split_once('.')?.0)));
    let known: Vec<String> = types::ALL.map(str::to_owned).into_iter().chain(prefixes).collect();
    let meant = nearest::meant(pattern, known.iter().map(String::as_str));
    Err(format!(
        "'{pattern}' is not a type of event{meant}; write one of {}, a prefix such as metrics.*, or *",
        types::ALL.join(", ")
    ))
}

/// Whether a webhook receives an event of this type. `tenant` is the tenant of the event's artist; an event without one
/// is not sent to a webhook that is restricted to a tenant.
#[must_use]
pub fn wants(webhook: &Webhook, kind: &str, tenant: Option<&str>) -> bool {
    let is_its_tenant = webhook.tenant.as_ref().is_none_or(|only| tenant == Some(only.as_str()));
    is_its_tenant && webhook.events.iter().any(|pattern| pattern_matches(pattern, kind))
}

/// Name of the sequence that an event belongs to. An artist's events are delivered in order; events without an artist,
/// in order for each platform, or otherwise for each subject (`run`, `artist`).
#[must_use]
pub fn line(artist: Option<ArtistId>, platform: Option<&str>, kind: &str) -> String {
    match (artist, platform) {
        (Some(artist), _) => artist.to_string(),
        (None, Some(platform)) => format!("platform:{platform}"),
        (None, None) => kind.split('.').next().unwrap_or(kind).to_owned(),
    }
}

/// Result of one attempt.
#[derive(Clone, Debug, PartialEq)]
pub enum AttemptResult {
    /// The receiver answered.
    Status {
        /// HTTP status of the answer.
        status: u16,
        /// Wait that its `Retry-After` asks for.
        retry_after: Option<Duration>,
    },
    /// There was no answer.
    Nothing {
        /// Reason why there was none.
        problem: String,
    },
}

impl AttemptResult {
    /// The receiver's HTTP status; `None` if there was no answer.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Status { status, .. } => Some(*status),
            Self::Nothing { .. } => None,
        }
    }
}

/// What happens to a delivery after an attempt.
#[derive(Clone, Debug, PartialEq)]
pub enum DeliveryNext {
    /// The receiver accepted it.
    Delivered,
    /// It is retried.
    Again {
        /// Time of the next attempt.
        at: DateTime<Utc>,
        /// Problem of this attempt.
        problem: String,
    },
    /// It is given up.
    Parked {
        /// Problem of the last attempt.
        problem: String,
    },
    /// The receiver wants no more events: the webhook is switched off. What was not delivered waits until it is
    /// switched on again.
    Gone {
        /// What the receiver answered.
        problem: String,
    },
}

/// One attempt of a delivery.
#[derive(Clone, Copy, Debug)]
pub struct Attempt {
    /// When the first attempt was made.
    pub first_at: DateTime<Utc>,
    /// Number of this attempt, from 1.
    pub number: u32,
    /// When this attempt ended.
    pub now: DateTime<Utc>,
}

/// What an answer means. `random` is between 0 and 1.
#[must_use]
pub fn after(config: &DeliveriesConfig, attempt: Attempt, answer: &AttemptResult, random: f64) -> DeliveryNext {
    let (problem, asked) = match answer {
        AttemptResult::Status { status: 200..=299, .. } => return DeliveryNext::Delivered,
        AttemptResult::Status { status: 410, .. } => {
            let problem = "it answered 410 Gone, so nothing more is sent to it".to_owned();
            return DeliveryNext::Gone { problem };
        }
        AttemptResult::Status { status: status @ 300..=399, .. } => {
            (format!("it answered {status}; redirects are not followed; configure the URL that it redirects to"), None)
        }
        AttemptResult::Status { status: status @ (429 | 503), retry_after } => {
            (format!("it answered {status}"), *retry_after)
        }
        AttemptResult::Status { status, .. } => (format!("it answered {status}"), None),
        AttemptResult::Nothing { problem } => (problem.clone(), None),
    };
    let give_up_at = attempt.first_at + seconds(config.give_up_after_s);
    if attempt.now >= give_up_at {
        return DeliveryNext::Parked { problem };
    }
    let own = backoff(config, attempt.number, random);
    let longest = Duration::from_millis(config.backoff_max_ms);
    let wait = asked.map_or(own, |asked| asked.min(longest).max(own));
    let at = attempt.now + TimeDelta::from_std(wait).unwrap_or(TimeDelta::MAX);
    // The last attempt is made when the time is over, even if the wait before it would have been longer.
    DeliveryNext::Again { at: at.min(give_up_at), problem }
}

/// The wait after a failed attempt (the first one is 1): exponential with full jitter, between zero and the bound, so
/// that deliveries that failed together are not retried together.
fn backoff(config: &DeliveriesConfig, attempt: u32, random: f64) -> Duration {
    let doubled =
        config.backoff_base_ms.saturating_mul(1_u64.checked_shl(attempt.saturating_sub(1)).unwrap_or(u64::MAX));
    Duration::from_millis(doubled.min(config.backoff_max_ms)).mul_f64(random.clamp(0.0, 1.0))
}

fn seconds(seconds: u64) -> TimeDelta {
    TimeDelta::seconds(i64::try_from(seconds).unwrap_or(i64::from(u32::MAX)))
}

/// Facts about the platform of an event at the time of sending.
#[derive(Clone, Debug, PartialEq)]
pub struct PlatformFacts {
    /// Title shown to people.
    pub title: String,
    /// Whether its terms forbid AI use of its data, according to its active release and grant; `None` if no release is
    /// active.
    pub forbids_ai: Option<bool>,
}

/// What to send.
#[derive(Clone, Debug, PartialEq)]
pub enum Prepared {
    /// A message, as JSON.
    Send {
        /// URL that it is sent to.
        url: String,
        /// Body of the request.
        body: Json,
    },
    /// Nothing, for this reason.
    Skip(String),
}

/// Platform of an event, if it has one.
#[must_use]
pub fn platform_of(event: &Event) -> Option<&str> {
    metrics_of(event).unwrap_or(&event.data)["platform"].as_str()
}

/// The metrics in an event.
fn metrics_of(event: &Event) -> Option<&Json> {
    match event.kind.as_str() {
        types::METRICS_COLLECTED => Some(&event.data),
        types::SIGNIFICANT_CHANGE => Some(&event.data["new_metrics"]),
        _ => None,
    }
}

/// What is sent to a webhook for an event.
#[must_use]
pub fn prepare(
    webhook: &Webhook,
    event: &Event,
    platform: Option<&PlatformFacts>,
    ai_overrides: &BTreeMap<Platform, String>,
) -> Prepared {
    match webhook.kind {
        WebhookKind::Webhook => Prepared::Send { url: webhook.url.clone(), body: message(event) },
        WebhookKind::Ai => analysis(webhook, event, platform, ai_overrides),
        WebhookKind::Push => match push::notification(event, platform) {
            Ok(body) => Prepared::Send { url: webhook.url.clone(), body },
            Err(reason) => Prepared::Skip(reason),
        },
    }
}

/// An event as webhooks receive it.
#[must_use]
pub fn message(event: &Event) -> Json {
    json!({
        "id": event.id,
        "type": event.kind,
        "version": MESSAGE_VERSION,
        "timestamp": event.occurred_at,
        "artist_id": event.artist_id,
        "data": event.data,
    })
}

/// The message that `backline webhooks test` sends.
#[must_use]
pub fn test_message(id: uuid::Uuid, now: DateTime<Utc>) -> Json {
    json!({
        "id": id,
        "type": "webhook.test",
        "version": MESSAGE_VERSION,
        "timestamp": now,
        "artist_id": null,
        "data": { "text": "Backline can reach this webhook." },
    })
}

/// URL for a test message, or any other that is not an analysis.
#[must_use]
pub fn target(kind: WebhookKind, url: &str) -> String {
    match kind {
        WebhookKind::Webhook | WebhookKind::Push => url.to_owned(),
        WebhookKind::Ai => format!("{}{AI_PATH}", url.trim_end_matches('/')),
    }
}

/// The trigger of the AI analysis. Metrics of a platform whose terms forbid AI use, or whose terms are not known, are
/// left out unless the operator has written down a reason.
fn analysis(
    webhook: &Webhook,
    event: &Event,
    platform: Option<&PlatformFacts>,
    ai_overrides: &BTreeMap<Platform, String>,
) -> Prepared {
    let (Some(artist), Some(metrics)) = (event.artist_id, metrics_of(event)) else {
        return Prepared::Skip(format!("an event of type {} holds no metrics to analyse", event.kind));
    };
    let name = metrics["platform"].as_str().unwrap_or_default();
    let is_overridden = ai_overrides.keys().any(|platform| platform.as_str() == name);
    let forbids = platform.and_then(|platform| platform.forbids_ai);
    if !is_overridden && forbids != Some(false) {
        let why = match forbids {
            Some(_) => format!("the terms of {name} forbid AI use of its metrics"),
            None => format!("no release is active for {name}, so it is not known whether its terms allow AI use"),
        };
        return Prepared::Skip(format!(
            "{why}; to send them, write the reason as {name} under [deliveries.ai_overrides]"
        ));
    }
    let body = json!({ "artist_id": artist, "trigger_type": "daily_collection", "new_metrics": metrics });
    Prepared::Send { url: target(WebhookKind::Ai, &webhook.url), body }
}

#[cfg(test)]
mod tests;
