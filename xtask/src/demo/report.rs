//! What the demonstration prints: sums by platform, a table by artist, one JSON object.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anyhow::{Context as _, Result};
use serde_json::{Value as Json, json};

use crate::table::{grouped, table};

/// Accounts by outcome, and requests.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Counts {
    planned: u64,
    collected: u64,
    failed: u64,
    deferred: u64,
    excluded: u64,
    requests: u64,
}

impl Counts {
    fn add(&mut self, other: Self) {
        self.planned += other.planned;
        self.collected += other.collected;
        self.failed += other.failed;
        self.deferred += other.deferred;
        self.excluded += other.excluded;
        self.requests += other.requests;
    }
}

/// All runs of the demonstration together.
#[derive(Debug, Default)]
pub(crate) struct Summary {
    platforms: BTreeMap<String, Counts>,
    /// Failure class → accounts.
    failures: BTreeMap<String, u64>,
    /// From the first step of the set-up to the end of the last run.
    pub(crate) seconds: f64,
    /// The largest of the runs' host processes.
    peak_rss_bytes: u64,
    /// The simulator's own counts, by operation.
    pub(crate) operations: Json,
}

impl Summary {
    /// Adds the report of one `backline run --json`.
    ///
    /// # Errors
    /// When the report lacks a number.
    pub(crate) fn add(&mut self, report: &Json) -> Result<()> {
        let platforms = report["platforms"].as_array().context("the run's report has no list of platforms")?;
        for platform in platforms {
            let name = platform["platform"].as_str().context("a platform of the run's report has no name")?;
            let number = |field: &str| {
                platform[field].as_u64().with_context(|| format!("the run's report has no {field} of {name}"))
            };
            let counts = Counts {
                planned: number("planned")?,
                collected: number("collected")?,
                failed: number("failed")?,
                deferred: number("deferred")?,
                excluded: number("excluded")?,
                requests: number("requests")?,
            };
            self.platforms.entry(name.to_owned()).or_default().add(counts);
            for (class, count) in platform["failures"].as_object().into_iter().flatten() {
                *self.failures.entry(class.clone()).or_default() += count.as_u64().unwrap_or(0);
            }
        }
        self.peak_rss_bytes = self.peak_rss_bytes.max(report["peak_rss_bytes"].as_u64().unwrap_or(0));
        Ok(())
    }

    fn total(&self) -> Counts {
        let mut total = Counts::default();
        self.platforms.values().for_each(|counts| total.add(*counts));
        total
    }

    /// Whether something was planned and all of it collected.
    pub(crate) fn is_complete(&self) -> bool {
        let total = self.total();
        total.planned > 0 && total.collected == total.planned
    }

    /// The one object of `--json`.
    pub(crate) fn to_json(&self) -> Json {
        let total = self.total();
        let requests: BTreeMap<&str, u64> =
            self.platforms.iter().map(|(name, counts)| (name.as_str(), counts.requests)).collect();
        json!({
            "planned": total.planned,
            "collected": total.collected,
            "failed": total.failed,
            "deferred": total.deferred,
            "excluded": total.excluded,
            "requests": requests,
            "failures": self.failures,
            "seconds": (self.seconds * 1000.0).round() / 1000.0,
            "peak_rss_bytes": self.peak_rss_bytes,
            "operations": self.operations,
        })
    }

    /// What was collected, by platform.
    pub(crate) fn platform_table(&self) -> String {
        let row = |name: &str, counts: &Counts| {
            let numbers =
                [counts.planned, counts.collected, counts.failed, counts.deferred, counts.excluded, counts.requests];
            std::iter::once(name.to_owned()).chain(numbers.map(grouped)).collect::<Vec<_>>()
        };
        let mut rows: Vec<Vec<String>> = self.platforms.iter().map(|(name, counts)| row(name, counts)).collect();
        rows.push(row("together", &self.total()));
        let mut text = String::from("\nWhat was collected, all days together\n\n");
        text +=
            &table(&["platform", "planned", "collected", "failed", "deferred", "excluded", "requests"], &rows, &[0]);
        for (class, count) in &self.failures {
            let _ = writeln!(text, "{} failed: {class}", grouped(*count));
        }
        let _ = writeln!(
            text,
            "\n{:.1} seconds; the host's memory peaked at {} MiB",
            self.seconds,
            self.peak_rss_bytes / (1024 * 1024)
        );
        text
    }
}

/// What was stored on the last day.
pub(crate) struct Rows {
    /// As `backline artists list --json` prints them.
    pub(crate) artists: Vec<Json>,
    /// As `backline metrics --json` prints them.
    pub(crate) metrics: Vec<Json>,
    /// As `backline growth --json` prints them.
    pub(crate) growth: Vec<Json>,
}

/// One artist's followers over all platforms.
#[derive(Default)]
struct Audience {
    followers: i64,
    platforms: u64,
    warnings: Vec<String>,
    day: Movement,
    week: Movement,
}

/// The sum of changes of those platforms that have one over the span.
#[derive(Default)]
struct Movement {
    change: f64,
    base: f64,
    known: bool,
}

impl Movement {
    fn add(&mut self, followers: f64, change: &Json) {
        // Only what has its base on the very first day of the span: a change over a gap is none over a day.
        if let (Some(absolute), true) = (change["absolute"].as_f64(), change["reason"].is_null()) {
            self.change += absolute;
            self.base += followers - absolute;
            self.known = true;
        }
    }

    fn text(&self) -> String {
        if self.known && self.base > 0.0 {
            format!("{} ({:+.2} %)", signed(self.change), self.change / self.base * 100.0)
        } else {
            "–".to_owned()
        }
    }
}

/// How many metrics of each platform have a value on the last day, and why the others have none.
pub(crate) fn stored_table(metrics: &[Json]) -> String {
    #[derive(Default)]
    struct Stored {
        accounts: u64,
        values: u64,
        reasons: BTreeMap<String, u64>,
    }
    let mut platforms: BTreeMap<&str, Stored> = BTreeMap::new();
    for row in metrics {
        let stored = platforms.entry(row["platform"].as_str().unwrap_or_default()).or_default();
        stored.accounts += 1;
        stored.values += row["values"].as_object().map_or(0, |values| values.len() as u64);
        for reason in row["absent"].as_object().into_iter().flat_map(serde_json::Map::values) {
            *stored.reasons.entry(reason.as_str().unwrap_or_default().to_owned()).or_default() += 1;
        }
    }
    let line = |(platform, stored): (&&str, &Stored)| {
        let reasons = stored.reasons.iter().map(|(reason, count)| format!("{reason} {}", grouped(*count)));
        let reasons = reasons.collect::<Vec<_>>().join(", ");
        vec![(*platform).to_owned(), grouped(stored.accounts), grouped(stored.values), reasons]
    };
    let lines: Vec<Vec<String>> = platforms.iter().map(line).collect();
    let mut text = String::from("\nWhat was stored on the last day: each metric has a value, or a reason why not\n\n");
    text += &table(&["platform", "accounts", "values", "without a value"], &lines, &[0, 3]);
    text
}

/// Followers, growth and warnings by artist.
pub(crate) fn artist_table(rows: &Rows, shown_max: usize) -> String {
    let mut audiences: BTreeMap<&str, Audience> = BTreeMap::new();
    let mut followers_of: BTreeMap<&str, f64> = BTreeMap::new();
    for row in &rows.metrics {
        let Some(artist) = row["artist_id"].as_str() else { continue };
        let audience = audiences.entry(artist).or_default();
        if let Some(followers) = row["values"]["followers"].as_i64() {
            audience.followers += followers;
            audience.platforms += 1;
            if let (Some(account), Some(followers)) = (row["account_id"].as_str(), row["values"]["followers"].as_f64())
            {
                followers_of.insert(account, followers);
            }
        }
        let platform = row["platform"].as_str().unwrap_or_default();
        for finding in row["findings"].as_array().into_iter().flatten().filter(|finding| finding["severity"] != "note")
        {
            audience.warnings.push(format!("{platform}: {}", finding["rule"].as_str().unwrap_or_default()));
        }
    }
    for row in &rows.growth {
        let (Some(artist), Some(account)) = (row["artist_id"].as_str(), row["account_id"].as_str()) else { continue };
        let (Some(audience), Some(followers)) = (audiences.get_mut(artist), followers_of.get(account)) else {
            continue;
        };
        let changes = &row["changes"]["followers"];
        audience.day.add(*followers, &changes["1"]);
        audience.week.add(*followers, &changes["7"]);
    }
    let line = |artist: &Json| {
        let audience = artist["id"].as_str().and_then(|id| audiences.get(id));
        let followers = audience.map_or("–".to_owned(), |audience| grouped(audience.followers.unsigned_abs()));
        vec![
            artist["name"].as_str().unwrap_or_default().to_owned(),
            audience.map_or(0, |audience| audience.platforms).to_string(),
            followers,
            audience.map_or("–".to_owned(), |audience| audience.day.text()),
            audience.map_or("–".to_owned(), |audience| audience.week.text()),
            audience.map_or(String::new(), |audience| warnings(&audience.warnings)),
        ]
    };
    let lines: Vec<Vec<String>> = rows.artists.iter().take(shown_max).map(line).collect();
    let mut text =
        String::from("\nHow the artists stand on the last day (followers of all platforms that offer the number)\n\n");
    text += &table(&["artist", "platforms", "followers", "1 day", "7 days", "warnings"], &lines, &[0, 5]);
    if rows.artists.len() > shown_max {
        let _ = writeln!(text, "… and {} artists more", grouped((rows.artists.len() - shown_max) as u64));
    }
    text += "– means that there is no number: for growth, that no earlier day of that distance was collected.\n";
    text
}

fn warnings(all: &[String]) -> String {
    match all {
        [] => String::new(),
        [one] => one.clone(),
        [first, rest @ ..] => format!("{first} (+{})", rest.len()),
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "changes of followers are whole numbers below 2^53"
)]
fn signed(number: f64) -> String {
    let sign = if number < 0.0 { '-' } else { '+' };
    format!("{sign}{}", grouped(number.abs().round() as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_value_is_counted_by_its_reason() {
        let none = json!({ "streams": "not-offered", "genres": "not-offered" });
        let text = stored_table(&[
            json!({ "platform": "spotify", "values": { "followers": 7 }, "absent": none }),
            json!({ "platform": "youtube", "values": { "likes": 0, "views": 7 }, "absent": { "comments": "hidden" } }),
            json!({ "platform": "youtube", "values": {}, "absent": { "comments": "unavailable" } }),
        ]);
        let line = |platform: &str| {
            let line = text.lines().find(|line| line.trim_start().starts_with(platform));
            line.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        };
        assert_eq!(line("spotify").as_deref(), Some("spotify 1 1 not-offered 2"), "{text}");
        assert_eq!(line("youtube").as_deref(), Some("youtube 2 2 hidden 1, unavailable 1"), "{text}");
    }

    fn report(collected: u64, failed: u64) -> Json {
        let youtube = json!({
            "platform": "youtube",
            "planned": collected + failed,
            "collected": collected,
            "failed": failed,
            "deferred": 0,
            "excluded": 2,
            "requests": 9,
            "failures": { "unavailable": failed },
        });
        json!({ "platforms": [youtube], "peak_rss_bytes": 1000 * collected })
    }

    #[test]
    fn days_add_up_and_one_failure_makes_it_incomplete() {
        let mut summary = Summary::default();
        summary.add(&report(25, 0)).expect("complete report");
        assert!(summary.is_complete());
        summary.add(&report(24, 1)).expect("complete report");
        assert!(!summary.is_complete());
        let object = summary.to_json();
        assert_eq!(
            (object["planned"].as_u64(), object["collected"].as_u64(), object["failed"].as_u64()),
            (Some(50), Some(49), Some(1))
        );
        assert_eq!(object["requests"], json!({ "youtube": 18 }));
        assert_eq!(object["peak_rss_bytes"], 25_000);
        assert!(summary.platform_table().contains("1 failed: unavailable"), "{}", summary.platform_table());
    }

    #[test]
    fn nothing_planned_is_not_complete() {
        assert!(!Summary::default().is_complete());
    }

    #[test]
    fn an_artists_growth_is_that_of_the_platforms_which_have_one() {
        let rows = Rows {
            artists: vec![json!({ "id": "a", "name": "Ada" })],
            metrics: vec![
                json!({ "artist_id": "a", "account_id": "1", "platform": "youtube",
                    "values": { "followers": 1100 }, "findings": [] }),
                json!({ "artist_id": "a", "account_id": "2", "platform": "tiktok", "values": { "followers": 5000 },
                    "findings": [{ "severity": "warning", "rule": "followers-jump" }] }),
                json!({ "artist_id": "a", "account_id": "3", "platform": "apple_music", "values": {}, "findings": [] }),
            ],
            growth: vec![
                json!({ "artist_id": "a", "account_id": "1", "changes": { "followers": {
                    "1": { "absolute": 100.0 }, "7": { "reason": "gap", "absolute": 9.0 } } } }),
                json!({ "artist_id": "a", "account_id": "2",
                    "changes": { "followers": { "1": { "reason": "first" } } } }),
            ],
        };
        let text = artist_table(&rows, 10);
        assert!(
            text.contains("Ada             2      6 100  +100 (+10.00 %)       –  tiktok: followers-jump"),
            "{text}"
        );
    }

    #[test]
    fn changes_have_a_sign() {
        assert_eq!([signed(-1500.0), signed(20.0)], ["-1 500", "+20"]);
    }
}
