//! Data that the tests of several crates share.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use chrono::{DateTime, NaiveDate, NaiveTime, Utc};
use uuid::Uuid;

use super::ids::{AccountId, ArtistId, Digest, DocumentId, Platform, RunId};
use super::manifest::Manifest;
use super::metric::{MetricName, Value};
use super::row::MetricsRow;
use super::snapshot::{Engagement, EngagementBasis, Window};
use super::zone::Zone;

/// What every connector has to say, in batches of two accounts.
const CONNECTOR: &str = r#"
[connector]
name = "example"
platform = "example"
version = "1.0.0"
api = "^1.0"
title = "Example"
batch_size = 2
"#;

/// A metric of every kind, a rounded one (`subscribers`), definition breaks, budgets and estimates.
const TABLES: &str = r#"
[[host]]
origin = "https://api.example.com"
methods = ["GET"]
reason = "to read"

[[credential]]
slot = "key"
kind = "api-key"
owner = "operator"
inject = { query = "key" }
hosts = ["https://api.example.com"]

[[credential]]
slot = "token"
kind = "bearer"
owner = "account"
inject = "bearer"
hosts = ["https://api.example.com"]

[[budget]]
name = "daily"
slot = "key"
limit = 10000
window = { daily = { at = "00:00:00", timezone = "America/Los_Angeles" } }
costs = [{ path = "/posts", units = 5 }]

[[budget]]
name = "minute"
slot = "key"
limit = 4
window = { seconds = 60 }

[[budget]]
name = "own"
slot = "token"
limit = 1
window = { seconds = 3600 }

[[request]]
name = "artists"
path = "/artists"
per = "batch"

[[request]]
name = "posts"
path = "/posts/list"
per = "account"
count = 2

[[metric]]
name = "followers"
kind = "gauge"
unit = "followers"

[[metric]]
name = "subscribers"
kind = "gauge"
unit = "subscribers"
significant_figures = 3

[[metric]]
name = "posts_count"
kind = "counter"
unit = "posts"

[[metric]]
name = "total_views"
kind = "counter"
unit = "views"

[[metric]]
name = "content_views"
kind = "flow"
unit = "views"
window_days = 28

[[metric]]
name = "likes"
kind = "flow"
unit = "likes"
window_days = 28

[[metric]]
name = "engagement_rate"
kind = "ratio"
unit = "percent"

[[metric]]
name = "popularity"
kind = "index"
unit = "points"

[[metric]]
name = "top_track"
kind = "label"
unit = "title"

[[metric]]
name = "genres"
kind = "label"
unit = "titles"

[[metric]]
name = "mood"
kind = "label"
unit = "text"

[[break]]
metric = "total_views"
date = "2026-08-27"
note = "a view is counted when playback starts"

[[break]]
metric = "followers"
date = "2026-03-10"
note = "made up"
"#;

/// The text of a manifest whose connector is `example`, with these tables of TOML after it.
pub fn manifest_with(tables: &str) -> String {
    format!("{CONNECTOR}\n{tables}")
}

/// The manifest of the example connector.
pub fn manifest() -> Manifest {
    // Property tests call this thousands of times.
    static PARSED: LazyLock<Manifest> =
        LazyLock::new(|| Manifest::parse(&manifest_with(TABLES)).expect("valid in the fixture"));
    PARSED.clone()
}

/// The example connector, with `followers` rounded to this number of significant figures.
pub fn manifest_with_rounded_followers(figures: u8) -> Manifest {
    let mut manifest = manifest();
    manifest
        .metrics
        .iter_mut()
        .find(|entry| entry.name.as_str() == "followers")
        .expect("valid in the fixture")
        .significant_figures = Some(figures);
    manifest
}

/// Parses a date such as `2026-11-22`.
pub fn day(text: &str) -> NaiveDate {
    text.parse().expect("valid in the fixture")
}

/// Parses an RFC 3339 time.
pub fn time(text: &str) -> DateTime<Utc> {
    text.parse().expect("valid in the fixture")
}

/// The time zone of this name.
pub fn zone(name: &str) -> Zone {
    name.parse().expect("valid in the fixture")
}

/// Parses the name of a metric.
pub fn name(text: &str) -> MetricName {
    MetricName::new(text).expect("valid in the fixture")
}

/// Integer values by metric name.
pub fn ints(pairs: &[(&str, i64)]) -> BTreeMap<MetricName, Value> {
    pairs.iter().map(|(metric, value)| (name(metric), Value::Integer(*value))).collect()
}

/// 30 interactions over 3 posts and a base of 1,000, counted on this `basis`.
pub fn engagement(basis: EngagementBasis) -> Engagement {
    Engagement { interactions: 30, base: Some(1000), basis, posts_counted: 3, posts_skipped: 0 }
}

/// An accepted row of the example platform, observed at noon UTC of its date.
pub fn row(date: NaiveDate, values: BTreeMap<MetricName, Value>) -> MetricsRow {
    let noon = date.and_time(NaiveTime::from_hms_opt(12, 0, 0).expect("valid in the fixture")).and_utc();
    MetricsRow {
        account_id: AccountId(Uuid::from_u128(1)),
        artist_id: ArtistId(Uuid::from_u128(2)),
        platform: Platform::new("example").expect("valid in the fixture"),
        metric_date: date,
        values,
        absent: BTreeMap::new(),
        coverage: BTreeMap::new(),
        observed: BTreeMap::new(),
        engagement: None,
        window: Window { since: noon - chrono::TimeDelta::days(28), until: noon },
        quality_score: 1.0,
        findings: Vec::new(),
        notes: Vec::new(),
        collection_source: "api".to_owned(),
        observed_at: noon,
        release: Digest::of(b"release"),
        wit_version: "1.0.0".to_owned(),
        run_id: RunId(Uuid::from_u128(3)),
        document_id: DocumentId(Uuid::from_u128(4)),
    }
}
