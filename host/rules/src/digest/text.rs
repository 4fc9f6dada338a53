//! The words of a digest, as text for chats and as HTML for mail. Both are made of the same lines, and what others
//! wrote is text in either.

use chrono::NaiveDate;
use serde_json::Value as Json;

use super::{Moved, SHOWN_MAX};
use crate::alerting::{AlertText, plain};
use backline_model::outcome::{Exclusion, FailureClass};
use backline_model::text::html_text;
use backline_model::wording::{count_text, difference_text, no_change_text, value_text};
use backline_model::{AlertDigest, ArtistId, MissingNumbers, NoChange, Platform};

/// Most kinds of missing numbers that are named.
const MISSING_MAX: usize = 20;

/// An account that someone has to do something about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Needy {
    /// The artist of the account.
    pub artist_id: ArtistId,
    /// Name of the artist.
    pub artist: String,
    /// Platform of the account.
    pub platform: Platform,
    /// What is wrong.
    pub problem: String,
}

/// What a digest tells.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// The digest.
    pub digest: &'a AlertDigest,
    /// The day that it is of.
    pub day: NaiveDate,
    /// What moved.
    pub moved: &'a Moved,
    /// What is missing.
    pub missing: &'a [MissingNumbers],
    /// The first accounts that need someone; one more than [`SHOWN_MAX`] where there are more.
    pub needy: &'a [Needy],
    /// Where the dashboard is, without a slash at the end; none where that is not known.
    pub dashboard: Option<&'a str>,
}

/// A digest in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DigestText {
    /// Subject and lines.
    pub text: AlertText,
    /// The same as a page for mail, which asks for nothing from elsewhere.
    pub html: String,
}

/// A part with its heading.
struct Part {
    head: &'static str,
    lines: Vec<Line>,
}

/// A line of a part.
enum Line {
    /// A sentence.
    Said(String),
    /// An entry of a list, with the page that says more.
    Entry { text: String, link: Option<String> },
}

/// The words of a digest.
#[must_use]
pub fn written(facts: &Facts<'_>) -> DigestText {
    let title = plain(&title(facts));
    let mut parts = vec![moved(facts), missing(facts), needy(facts)];
    if let Some(dashboard) = facts.dashboard {
        let link = Some(format!("{dashboard}/"));
        parts.push(Part { head: "More", lines: vec![Line::Entry { text: "The dashboard".to_owned(), link }] });
    }
    for line in parts.iter_mut().flat_map(|part| &mut part.lines) {
        let (Line::Said(text) | Line::Entry { text, .. }) = line;
        *text = plain(text);
    }
    let html = html(&title, &parts);
    DigestText { text: AlertText { title, lines: parts.iter().flat_map(lines).collect() }, html }
}

fn title(facts: &Facts<'_>) -> String {
    let kind = if facts.digest.every.span_days() == 1 { "Daily" } else { "Weekly" };
    let (with, without) = (facts.moved.accounts(), lacking(facts.missing));
    let lack = match without {
        0 => "none lacks any".to_owned(),
        1 => "1 lacks some".to_owned(),
        several => format!("{} lack some", count_text(several)),
    };
    let have = format!("{} {}", counted(with, "account"), if with == 1 { "has" } else { "have" });
    let day = facts.day.format("%-d %B %Y");
    format!("{kind} digest of {}, {day}: {have} numbers, {lack}", facts.digest.tenant)
}

/// How many accounts lack numbers that they should have, each once however many reasons it has.
fn lacking(missing: &[MissingNumbers]) -> u64 {
    missing.iter().filter(|one| why(one).is_some()).map(|one| one.newest).sum()
}

fn moved(facts: &Facts<'_>) -> Part {
    let (moved, span) = (facts.moved, facts.digest.every.span_days());
    let over = if span == 1 { "a day".to_owned() } else { format!("{span} days") };
    let mut lines = Vec::new();
    if moved.platforms.is_empty() {
        lines.push(Line::Said("No numbers came in.".to_owned()));
        return Part { head: "What moved", lines };
    }
    let (rose, [fell, stayed]) = (counted(moved.rose, "number"), [moved.fell, moved.stayed].map(count_text));
    lines.push(Line::Said(format!("Over {over}, {rose} rose, {fell} fell and {stayed} did not change.")));
    for (said, list) in [("Rose most:", &moved.gains), ("Fell most:", &moved.losses)] {
        if list.is_empty() {
            continue;
        }
        lines.push(Line::Said(said.to_owned()));
        lines.extend(list.iter().map(|one| {
            let artist = one.artist.clone().unwrap_or_else(|| one.artist_id.to_string());
            let to = one.value.as_ref().map_or_else(String::new, |value| format!(" to {}", value_text(value)));
            let text = format!(
                "{artist}, {}: {} {} ({:+.2} %){to} on {}",
                one.platform,
                one.metric,
                difference_text(one.absolute),
                one.percent,
                one.date
            );
            Line::Entry { text, link: facts.dashboard.map(|at| format!("{at}/artists/{}", one.artist_id)) }
        }));
    }
    if !moved.unknown.is_empty() {
        lines.push(Line::Said("Numbers whose change is not known:".to_owned()));
        let told = |(reason, count): (&NoChange, &u64)| format!("{}: {}", count_text(*count), no_change_text(*reason));
        lines.extend(moved.unknown.iter().map(told).map(entry));
    }
    lines.push(Line::Said("Latest numbers:".to_owned()));
    let latest = moved.platforms.iter().map(|(platform, numbers)| {
        entry(format!("{platform}: {}, {}", numbers.latest, counted(numbers.accounts, "account")))
    });
    lines.extend(latest.take(MISSING_MAX));
    Part { head: "What moved", lines }
}

fn missing(facts: &Facts<'_>) -> Part {
    let known: Vec<(&MissingNumbers, &'static str)> =
        facts.missing.iter().filter_map(|one| Some((one, why(one)?))).collect();
    let mut lines: Vec<Line> = known
        .iter()
        .take(MISSING_MAX)
        .map(|(one, why)| {
            let rows =
                if one.dates > one.accounts { format!(", {}", counted(one.dates, "row")) } else { String::new() };
            entry(format!("{}: {}{rows}: {why}", one.platform, counted(one.accounts, "account")))
        })
        .collect();
    if known.len() > MISSING_MAX {
        lines.push(Line::Said(format!("and {} more", known.len() - MISSING_MAX)));
    }
    if known.is_empty() {
        lines.push(Line::Said("Nothing that was collected is missing.".to_owned()));
    }
    Part { head: "What is missing", lines }
}

fn needy(facts: &Facts<'_>) -> Part {
    let mut lines: Vec<Line> = facts
        .needy
        .iter()
        .take(SHOWN_MAX)
        .map(|one| Line::Entry {
            text: format!("{}, {}: {}", one.artist, one.platform, one.problem),
            link: facts.dashboard.map(|at| format!("{at}/artists/{}", one.artist_id)),
        })
        .collect();
    if facts.needy.len() > SHOWN_MAX {
        let link = facts.dashboard.map(|at| format!("{at}/attention"));
        lines.push(Line::Entry { text: "and more: `backline accounts attention` shows them".to_owned(), link });
    }
    if lines.is_empty() {
        lines.push(Line::Said("No account needs anyone.".to_owned()));
    }
    Part { head: "Who needs someone", lines }
}

/// A number with its noun: `1 account`, `1,200 accounts`.
fn counted(count: u64, one: &str) -> String {
    format!("{} {one}{}", count_text(count), if count == 1 { "" } else { "s" })
}

fn entry(text: String) -> Line {
    Line::Entry { text, link: None }
}

/// Why numbers are missing, in words; none where they are not expected: the artist or the operator wants none.
fn why(missing: &MissingNumbers) -> Option<&'static str> {
    let reason = || missing.reason.clone().map_or(Json::Null, Json::String);
    match missing.outcome.as_str() {
        "deferred" => Some("waiting for a budget, or for a pause that the platform asked for"),
        "superseded" => Some("collected too late for its date"),
        "excluded" => match serde_json::from_value::<Exclusion>(reason()) {
            Ok(reason) => excluded(reason),
            Err(_) => Some("left out"),
        },
        _ => match serde_json::from_value::<FailureClass>(reason()) {
            Ok(class) => Some(failed(class)),
            Err(_) => Some("the collection failed"),
        },
    }
}

fn excluded(reason: Exclusion) -> Option<&'static str> {
    match reason {
        Exclusion::NotSubscribed
        | Exclusion::CollectionDisabled
        | Exclusion::NoConsent
        | Exclusion::AccountDisabled => None,
        Exclusion::ReconnectNeeded => Some("the artist has to connect it again"),
        Exclusion::NoConnector => Some("no connector collects the platform"),
        Exclusion::Unreadable => Some("what is stored of it can't be read"),
        Exclusion::HostKilled => Some("left out until an operator retries it: hosts ended when they collected it"),
        Exclusion::NotFound => Some("the platform has not known it for days"),
        Exclusion::Cancelled => Some("the run was cancelled"),
        Exclusion::DateNotServed => Some("the platform does not tell numbers of that date"),
    }
}

fn failed(class: FailureClass) -> &'static str {
    match class {
        FailureClass::NotFound => "the platform does not know it",
        FailureClass::Reconnect => "the artist has to connect it again",
        FailureClass::Forbidden => "the permissions that were given do not cover it",
        FailureClass::Misconfigured => "the operator's configuration is wrong",
        FailureClass::Denied => "the connector needs more than it is granted",
        FailureClass::CredentialMissing => "a credential is missing",
        FailureClass::RateLimited => "the platform limited the rate",
        FailureClass::Unavailable => "the platform failed",
        FailureClass::Unexpected => "the platform answered in an unknown way",
        FailureClass::Trapped | FailureClass::NotNormalised => "the connector failed",
        FailureClass::TimedOut => "the connector took too long",
        FailureClass::LimitExceeded => "the connector exceeded a limit",
        FailureClass::Internal => "the host failed",
        FailureClass::HostKilled => "hosts ended when they collected it",
    }
}

/// The lines of a part as text.
fn lines(part: &Part) -> Vec<String> {
    let heading = [String::new(), part.head.to_owned()];
    let lines = part.lines.iter().map(|line| match line {
        Line::Said(text) => text.clone(),
        Line::Entry { text, link: None } => format!("- {text}"),
        Line::Entry { text, link: Some(link) } => format!("- {text} · {link}"),
    });
    heading.into_iter().chain(lines).collect()
}

/// The page for mail: no style from elsewhere, no picture, no script.
fn html(title: &str, parts: &[Part]) -> String {
    let title = html_text(title);
    let mut page = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\"><title>{title}</title></head>\n\
         <body style=\"font-family: sans-serif; max-width: 48em\">\n<h1 style=\"font-size: 1.25em\">{title}</h1>\n"
    );
    for part in parts {
        page.push_str(&format!("<h2 style=\"font-size: 1.1em\">{}</h2>\n", html_text(part.head)));
        let mut in_list = false;
        for line in &part.lines {
            let is_entry = matches!(line, Line::Entry { .. });
            if is_entry != in_list {
                page.push_str(if is_entry { "<ul>\n" } else { "</ul>\n" });
                in_list = is_entry;
            }
            page.push_str(&match line {
                Line::Said(text) => format!("<p>{}</p>\n", html_text(text)),
                Line::Entry { text, link: None } => format!("<li>{}</li>\n", html_text(text)),
                Line::Entry { text, link: Some(link) } => {
                    format!("<li><a href=\"{}\">{}</a></li>\n", html_text(link), html_text(text))
                }
            });
        }
        if in_list {
            page.push_str("</ul>\n");
        }
    }
    page.push_str("</body>\n</html>\n");
    page
}
