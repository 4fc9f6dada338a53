//! Deliveries to subscribers: who wants which event, what is sent, what an answer means, and when to try again. Pure: time and chance are
//! arguments.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};

use backline_model::event::types;
use backline_model::{ArtistId, Event, Platform, Webhook, WebhookKind};

mod push;

/// The version of every message's form. A field may be added under the same version; one that changes its meaning gets a new one.
pub const MESSAGE_VERSION: u32 = 1;

/// How long a host that sends a delivery has it for itself. Longer than any answer may take.
pub const LEASE: Duration = Duration::from_secs(60);

/// Longest wait for an answer that may be configured, in milliseconds: half a lease.
const TIMEOUT_MS_MAX: u64 = 30_000;

/// Most deliveries under way at once that may be configured.
const IN_FLIGHT_MAX: u32 = 1_024;

/// Where the artist platform takes the AI trigger, below the address of its application.
const AI_PATH: &str = "/api/ai/analyze-metrics";

/// How deliveries go.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DeliveriesConfig {
    /// Upper bound of the wait after the first failure, in milliseconds; it doubles with each.
    pub backoff_base_ms: u64,
    /// Upper bound of any wait, in milliseconds; also of one that a receiver asks for.
    pub backoff_max_ms: u64,
    /// How long after the first attempt a delivery is parked, in seconds.
    pub give_up_after_s: u64,
    /// Longest wait for a receiver's whole answer, in milliseconds.
    pub timeout_ms: u64,
    /// Deliveries to one webhook that a host has under way at once.
    pub in_flight_per_webhook: u32,
    /// Deliveries to all webhooks that a host has under way at once.
    pub in_flight_max: u32,
    /// Platforms whose terms forbid AI use and whose metrics are sent to the AI trigger all the same, each with the reason in writing.
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
    /// Refuses values that make no sense.
    ///
    /// # Errors
    /// The key, and what is wrong with its value.
    pub fn check(&self) -> Result<(), (String, String)> {
        let wrong = |key: &str, problem: String| Err((format!("deliveries.{key}"), problem));
        if self.backoff_base_ms == 0 {
            return wrong("backoff_base_ms", "0 would try again without a pause; write 1 or more".to_owned());
        }
        if self.backoff_max_ms < self.backoff_base_ms {
            return wrong("backoff_max_ms", format!("{} is under deliveries.backoff_base_ms", self.backoff_max_ms));
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

/// What a webhook of a kind is told of unless it is said otherwise.
#[must_use]
pub fn default_events(kind: WebhookKind) -> Vec<String> {
    match kind {
        WebhookKind::Webhook => vec!["*".to_owned()],
        WebhookKind::Ai | WebhookKind::Push => vec![types::SIGNIFICANT_CHANGE.to_owned()],
    }
}

/// Whether a pattern (a type, `metrics.*` or `*`) means an event of this type.
#[must_use]
pub fn pattern_matches(pattern: &str, kind: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(beginning) => kind.starts_with(beginning),
        None => pattern == kind,
    }
}

/// Refuses a pattern that means no event there is.
///
/// # Errors
/// What would be right.
pub fn check_pattern(pattern: &str) -> Result<(), String> {
    let has_form = match pattern.strip_suffix('*') {
        Some(beginning) => beginning.is_empty() || beginning.ends_with('.'),
        None => true,
    };
    if has_form && types::ALL.iter().any(|kind| pattern_matches(pattern, kind)) {
        return Ok(());
    }
    Err(format!(
        "'{pattern}' is no type of event; there are {}, and beginnings such as metrics.* or *",
        types::ALL.join(", ")
    ))
}

/// Whether a webhook is to be told of an event of this type. `tenant` is whose customer's artist it is about; none where it is about no one's,
/// and then it is not for a webhook of one tenant.
#[must_use]
pub fn wants(webhook: &Webhook, kind: &str, tenant: Option<&str>) -> bool {
    let is_its_tenant = webhook.tenant.as_ref().is_none_or(|only| tenant == Some(only.as_str()));
    is_its_tenant && webhook.events.iter().any(|pattern| pattern_matches(pattern, kind))
}

/// Which line an event stands in: an artist's events are delivered one after the other; those about no artist, one after the other by
/// platform, or else by what they are about (`run`, `artist`).
#[must_use]
pub fn line(artist: Option<ArtistId>, platform: Option<&str>, kind: &str) -> String {
    match (artist, platform) {
        (Some(artist), _) => artist.to_string(),
        (None, Some(platform)) => format!("platform:{platform}"),
        (None, None) => kind.split('.').next().unwrap_or(kind).to_owned(),
    }
}

/// What came of one attempt.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// The receiver answered.
    Status {
        /// The HTTP status.
        status: u16,
        /// What its `Retry-After` asks for.
        retry_after: Option<Duration>,
    },
    /// No answer came.
    Nothing {
        /// Why.
        problem: String,
    },
}

impl Answer {
    /// The receiver's status, where it answered.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Status { status, .. } => Some(*status),
            Self::Nothing { .. } => None,
        }
    }
}

/// What becomes of a delivery after an attempt.
#[derive(Clone, Debug, PartialEq)]
pub enum Next {
    /// The receiver has it.
    Delivered,
    /// It is tried again.
    Again {
        /// When.
        at: DateTime<Utc>,
        /// What went wrong.
        problem: String,
    },
    /// Given up.
    Parked {
        /// What went wrong last.
        problem: String,
    },
    /// The receiver wants no more of anything: the webhook is switched off, and what it has not got waits until it is switched on again.
    Gone {
        /// What it said.
        problem: String,
    },
}

/// One attempt: when the first one was, what time it is, and which one in a row this was, from 1.
#[derive(Clone, Copy, Debug)]
pub struct Attempt {
    /// When it was first tried.
    pub first_at: DateTime<Utc>,
    /// Which attempt this was, from 1.
    pub number: u32,
    /// When it ended.
    pub now: DateTime<Utc>,
}

/// What an answer means. `random` is from 0 to 1.
#[must_use]
pub fn after(config: &DeliveriesConfig, attempt: Attempt, answer: &Answer, random: f64) -> Next {
    let (problem, asked) = match answer {
        Answer::Status { status: 200..=299, .. } => return Next::Delivered,
        Answer::Status { status: 410, .. } => {
            let problem = "it answered 410 Gone, so nothing more is sent to it".to_owned();
            return Next::Gone { problem };
        }
        Answer::Status { status: status @ 300..=399, .. } => {
            (format!("it answered {status}; redirects are not followed, so give the address it redirects to"), None)
        }
        Answer::Status { status: status @ (429 | 503), retry_after } => (format!("it answered {status}"), *retry_after),
        Answer::Status { status, .. } => (format!("it answered {status}"), None),
        Answer::Nothing { problem } => (problem.clone(), None),
    };
    let give_up_at = attempt.first_at + seconds(config.give_up_after_s);
    if attempt.now >= give_up_at {
        return Next::Parked { problem };
    }
    let own = backoff(config, attempt.number, random);
    let longest = Duration::from_millis(config.backoff_max_ms);
    let wait = asked.map_or(own, |asked| asked.min(longest).max(own));
    let at = attempt.now + TimeDelta::from_std(wait).unwrap_or(TimeDelta::MAX);
    // The last attempt is made when the time is over, however long the wait before it would have been.
    Next::Again { at: at.min(give_up_at), problem }
}

/// How long to wait after a failed attempt (the first is 1): exponential with full jitter, anything from zero to the bound, so that what
/// failed together does not come back together.
fn backoff(config: &DeliveriesConfig, attempt: u32, random: f64) -> Duration {
    let doubled =
        config.backoff_base_ms.saturating_mul(1_u64.checked_shl(attempt.saturating_sub(1)).unwrap_or(u64::MAX));
    Duration::from_millis(doubled.min(config.backoff_max_ms)).mul_f64(random.clamp(0.0, 1.0))
}

fn seconds(seconds: u64) -> TimeDelta {
    TimeDelta::seconds(i64::try_from(seconds).unwrap_or(i64::from(u32::MAX)))
}

/// What is known of the platform an event is about when it is sent.
#[derive(Clone, Debug, PartialEq)]
pub struct PlatformFacts {
    /// What people call it.
    pub title: String,
    /// Whether its terms forbid AI use of its data, as its active release and its grant say; none where no release is active.
    pub forbids_ai: Option<bool>,
}

/// What is to be sent.
#[derive(Clone, Debug, PartialEq)]
pub enum Prepared {
    /// This, as JSON.
    Send {
        /// Where to.
        url: String,
        /// The message.
        body: Json,
    },
    /// Nothing, for this reason.
    Skip(String),
}

/// The platform an event is about, where it is about one.
#[must_use]
pub fn platform_of(event: &Event) -> Option<&str> {
    metrics_of(event).unwrap_or(&event.data)["platform"].as_str()
}

/// The metrics that an event holds.
fn metrics_of(event: &Event) -> Option<&Json> {
    match event.kind.as_str() {
        types::METRICS_COLLECTED => Some(&event.data),
        types::SIGNIFICANT_CHANGE => Some(&event.data["new_metrics"]),
        _ => None,
    }
}

/// What a webhook is sent of an event.
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

/// An event as subscribers get it.
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

/// What `backline webhooks test` sends.
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

/// Where a test message, or any other that is no analysis, is sent.
#[must_use]
pub fn target(kind: WebhookKind, url: &str) -> String {
    match kind {
        WebhookKind::Webhook | WebhookKind::Push => url.to_owned(),
        WebhookKind::Ai => format!("{}{AI_PATH}", url.trim_end_matches('/')),
    }
}

/// The trigger of the AI analysis. Metrics of a platform whose terms forbid AI use are left out, and those of a platform of which nobody knows,
/// unless the operator has written down why not.
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
            None => format!("no release is active for {name}, so nobody knows whether its terms allow AI use"),
        };
        return Prepared::Skip(format!(
            "{why}; to send them all the same, write the reason as {name} under [deliveries.ai_overrides]"
        ));
    }
    let body = json!({ "artist_id": artist, "trigger_type": "daily_collection", "new_metrics": metrics });
    Prepared::Send { url: target(WebhookKind::Ai, &webhook.url), body }
}

#[cfg(test)]
mod tests;
