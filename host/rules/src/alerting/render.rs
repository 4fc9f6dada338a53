//! A message in the form of each service.

use chrono::{DateTime, Utc};
use serde_json::{Value as Json, json};
use uuid::Uuid;

use super::text::AlertText;
use backline_model::{AlertPhase, AlertSeverity, ChannelId, ChannelTarget};

/// Longest summary that PagerDuty takes, in characters (Events API v2).
const PAGERDUTY_SUMMARY_MAX: usize = 1_024;

/// Longest message that Opsgenie takes, in characters (Alert API).
const OPSGENIE_MESSAGE_MAX: usize = 130;

/// Words that a template may hold in braces.
const WORDS: [&str; 8] = ["title", "text", "severity", "phase", "type", "count", "id", "subject"];

/// A message with everything that a service asks for.
#[derive(Clone, Copy, Debug)]
pub struct Told<'a> {
    /// Id of the message: the same in every attempt.
    pub id: Uuid,
    /// The channel.
    pub channel: ChannelId,
    /// What it is about: the same when that begins and when it is over.
    pub subject: &'a str,
    /// The events' type.
    pub kind: &'a str,
    /// Whether it begins or is over.
    pub phase: AlertPhase,
    /// How urgent it is.
    pub severity: AlertSeverity,
    /// Number of events.
    pub count: u64,
    /// When it is sent.
    pub at: DateTime<Utc>,
    /// The words.
    pub text: &'a AlertText,
}

/// A message to post. It has no `Debug`, since it holds a secret.
#[derive(Clone)]
pub struct Request {
    /// Where to.
    pub url: String,
    /// Headers besides the usual ones.
    pub headers: Vec<(&'static str, String)>,
    /// What is posted.
    pub body: Json,
}

/// The request that tells a channel of a message; none where the channel is mail. `secret` is the channel's.
#[must_use]
pub fn request(target: &ChannelTarget, secret: &str, told: &Told<'_>) -> Option<Request> {
    // The service recognises by it what it was told before.
    let dedup = Uuid::new_v5(&told.channel.0, told.subject.as_bytes()).to_string();
    let over = told.phase == AlertPhase::Recovered;
    let plain = |url: &str, body: Json| Some(Request { url: url.to_owned(), headers: Vec::new(), body });
    match target {
        ChannelTarget::Email(_) => None,
        ChannelTarget::Slack => plain(secret, json!({ "text": escaped(&told.text.whole()) })),
        ChannelTarget::Generic { template } => {
            let headers = vec![("idempotency-key", told.id.to_string())];
            Some(Request { url: secret.to_owned(), headers, body: filled(template, told) })
        }
        ChannelTarget::Pagerduty { url } => {
            let body = json!({
                "routing_key": secret,
                "event_action": if over { "resolve" } else { "trigger" },
                "dedup_key": dedup,
                "payload": {
                    "summary": beginning(&told.text.title, PAGERDUTY_SUMMARY_MAX),
                    "source": "backline",
                    "severity": told.severity,
                    "timestamp": told.at,
                    "class": told.kind,
                    "custom_details": { "events": told.count, "lines": told.text.lines },
                },
            });
            plain(url, body)
        }
        ChannelTarget::Opsgenie { url } => {
            let headers = vec![("authorization", format!("GenieKey {secret}"))];
            let base = url.trim_end_matches('/');
            if over {
                let url = format!("{base}/{dedup}/close?identifierType=alias");
                let body = json!({ "source": "backline", "note": told.text.whole() });
                return Some(Request { url, headers, body });
            }
            let priority = match told.severity {
                AlertSeverity::Critical => "P1",
                AlertSeverity::Warning => "P3",
                AlertSeverity::Info => "P5",
            };
            let body = json!({
                "message": beginning(&told.text.title, OPSGENIE_MESSAGE_MAX),
                "alias": dedup,
                "description": told.text.whole(),
                "priority": priority,
                "source": "backline",
                "details": { "type": told.kind, "events": told.count.to_string() },
            });
            Some(Request { url: base.to_owned(), headers, body })
        }
    }
}

/// Text as Slack shows it: three characters are its syntax, and a mention notifies everyone.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('@', "@\u{200b}")
}

fn beginning(text: &str, characters: usize) -> String {
    text.chars().take(characters).collect()
}

/// The template with its words replaced. It is JSON before and after, whatever the words say.
fn filled(template: &Json, told: &Told<'_>) -> Json {
    match template {
        Json::String(text) => Json::String(filled_text(text, told)),
        Json::Array(items) => items.iter().map(|item| filled(item, told)).collect(),
        Json::Object(fields) => {
            Json::Object(fields.iter().map(|(name, value)| (name.clone(), filled(value, told))).collect())
        }
        other => other.clone(),
    }
}

/// Each word is replaced once: what stands in its place is text, whatever is in it.
fn filled_text(template: &str, told: &Told<'_>) -> String {
    let mut out = String::new();
    let mut rest = template;
    while let Some((before, word, after)) = next_word(rest) {
        out.push_str(before);
        match word {
            "title" => out.push_str(&told.text.title),
            "text" => out.push_str(&told.text.whole()),
            "severity" => out.push_str(told.severity.as_str()),
            "phase" => out.push_str(told.phase.as_str()),
            "type" => out.push_str(told.kind),
            "count" => out.push_str(&told.count.to_string()),
            "id" => out.push_str(&told.id.to_string()),
            "subject" => out.push_str(told.subject),
            // `check_template` has refused any other.
            other => out.push_str(other),
        }
        rest = after;
    }
    out.push_str(rest);
    out
}

fn next_word(text: &str) -> Option<(&str, &str, &str)> {
    let (before, from) = text.split_once('{')?;
    let (word, after) = from.split_once('}')?;
    Some((before, word, after))
}

/// Checks a template: an object, in whose texts only known words stand in braces.
///
/// # Errors
/// What is expected.
pub fn check_template(template: &Json) -> Result<(), String> {
    if !template.is_object() {
        return Err("the template is not a JSON object".to_owned());
    }
    check_words(template)
}

fn check_words(template: &Json) -> Result<(), String> {
    match template {
        Json::String(text) => {
            let mut rest = text.as_str();
            while let Some((_, word, after)) = next_word(rest) {
                if !WORDS.contains(&word) {
                    return Err(format!("the template has {{{word}}}; it may have {{{}}}", WORDS.join("}, {")));
                }
                rest = after;
            }
            Ok(())
        }
        Json::Array(items) => items.iter().try_for_each(check_words),
        Json::Object(fields) => fields.values().try_for_each(check_words),
        _ => Ok(()),
    }
}
