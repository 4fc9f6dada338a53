//! Insights of the account as a whole: what happened in the window on all of its posts, old ones and stories included.

use backline_sdk::{halves, part, prelude::*};

use crate::api::Api;
use crate::errors::Failure;
use crate::insights::trimmed;
use crate::memory::Memory;
use crate::refusals::Verdict;

/// Longest window of one request, in seconds. The platform allows 30 days; the catalogue says 28.
const WINDOW_SECONDS_MAX: i64 = 28 * 86_400;

/// Days of a series that are asked for: enough for one that is settled whatever the hour of the collection.
const SERIES_SECONDS: i64 = 5 * 86_400;

/// Seconds after the end of a day at which its number is taken for settled: the platform's documents say that data may
/// be late by 48 hours. Until then it sends nothing, a part of the number, or 0.
const SETTLED_AFTER_SECONDS: i64 = 48 * 3_600;

/// Prefix of a name in the list of lost metrics, because posts have metrics of the same names.
pub(crate) const PREFIX: &str = "account_insights.";

/// The metrics of one request. Those that can be broken down, and those that may be withdrawn, are asked for apart,
/// since one refused name fails the whole request.
pub(crate) struct Group {
    /// Key of the answer in the document.
    pub(crate) key: &'static str,
    /// The platform's names.
    names: &'static [&'static str],
    breakdown: Option<&'static str>,
    /// Whether the platform tells these by day, and no total of a window.
    is_series: bool,
}

/// The requests for one account.
pub(crate) const GROUPS: [Group; 4] = [
    Group {
        key: "totals",
        names: &[
            "reach",
            "views",
            "accounts_engaged",
            "total_interactions",
            "likes",
            "comments",
            "saves",
            "shares",
            "replies",
            "reposts",
            "profile_links_taps",
        ],
        breakdown: None,
        is_series: false,
    },
    // Without the breakdown the platform sends neither a value nor results.
    Group { key: "follows", names: &["follows_and_unfollows"], breakdown: Some("follow_type"), is_series: false },
    // Listed as withdrawn since 2024, and still answered in 2026.
    Group { key: "visits", names: &["profile_views", "website_clicks"], breakdown: None, is_series: false },
    // Left out of the documents' table, and still answered in 2026.
    Group { key: "new_followers", names: &["follower_count"], breakdown: None, is_series: true },
];

/// The key of the group that has a metric.
pub(crate) fn group_of(name: &str) -> Option<&'static str> {
    GROUPS.iter().find(|group| group.names.contains(&name)).map(|group| group.key)
}

/// Fetches the insights of the account: one part of a document for each group, `{"data": […]}` or why it is missing.
///
/// # Errors
/// An error that concerns more than these numbers, such as a rate limit.
pub(crate) async fn insights(api: &Api<'_>, window: Window, memory: &Memory) -> Result<Json, FetchError> {
    let mut parts = serde_json::Map::new();
    for group in &GROUPS {
        let answer = of_group(api, group, window, memory).await.map_err(|failure| match failure {
            // Each of these costs the group alone.
            Failure::Parameter { message, .. } => FetchError::Unexpected(message),
            failure => failure.into(),
        });
        let is_forbidden = matches!(answer, Err(FetchError::Forbidden(_)));
        parts.insert(group.key.to_owned(), part("data", answer)?);
        if is_forbidden && parts.len() == 1 {
            // The scope for insights is missing, so the other groups would be refused too. Once another group was
            // answered the scope is there, and a refusal loses its group alone.
            let refused = parts[group.key].clone();
            parts.extend(GROUPS.iter().map(|other| (other.key.to_owned(), refused.clone())));
            break;
        }
    }
    Ok(parts.into())
}

async fn of_group(api: &Api<'_>, group: &Group, window: Window, memory: &Memory) -> Result<Json, Failure> {
    let key = |name: &str| format!("{PREFIX}{name}");
    loop {
        let asked: Vec<&'static str> = group
            .names
            .iter()
            .copied()
            .filter(|name| !api.lost.has(&key(name)) && !memory.is_refused_everywhere(&key(name)))
            .collect();
        if asked.is_empty() {
            return Ok(json!([]));
        }
        let message = match ask(api, group, &asked, window).await {
            Err(Failure::Parameter { message, .. }) => message,
            other => return other,
        };
        match Verdict::of(&message, &asked) {
            Verdict::Gone(name) => api.lost.add(&key(name), &message),
            Verdict::Here(name) => memory.refuse_everywhere(&key(name)),
            Verdict::Unnamed if asked.len() == 1 => {
                memory.refuse_everywhere(&key(asked[0]));
                return Err(FetchError::Unexpected(message).into());
            }
            Verdict::Unnamed => return in_halves(api, group, &asked, window, memory).await,
        }
    }
}

/// Finds the refused metrics if the error does not name them, and remembers them for a week.
async fn in_halves(
    api: &Api<'_>,
    group: &Group,
    asked: &[&'static str],
    window: Window,
    memory: &Memory,
) -> Result<Json, Failure> {
    let (first, second) = asked.split_at(asked.len() / 2);
    let mut data = Vec::new();
    let mut refused = None;
    for half in [first, second] {
        let ask = async |names: Vec<&'static str>| Ok(ask(api, group, &names, window).await?);
        for (names, answer) in halves(half, |error| matches!(error, FetchError::Unexpected(_)), ask).await {
            match answer {
                Ok(answer) => data.extend(list(&json!({ "data": answer }), "data")?.to_vec()),
                Err(FetchError::Unexpected(message)) => {
                    names.iter().for_each(|name| memory.refuse_everywhere(&format!("{PREFIX}{name}")));
                    refused = Some(message);
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
    match refused {
        Some(message) if data.is_empty() => Err(FetchError::Unexpected(message).into()),
        _ => Ok(Json::Array(data)),
    }
}

async fn ask(api: &Api<'_>, group: &Group, names: &[&str], window: Window) -> Result<Json, Failure> {
    let mut query = vec![("metric", names.join(",")), ("period", "day".to_owned())];
    let since = if group.is_series {
        window.until.saturating_sub(SERIES_SECONDS)
    } else {
        query.push(("metric_type", "total_value".to_owned()));
        window.since.max(window.until.saturating_sub(WINDOW_SECONDS_MAX))
    };
    query.push(("since", since.to_string()));
    // Both ends are inclusive.
    query.push(("until", window.until.saturating_sub(1).to_string()));
    query.extend(group.breakdown.map(|breakdown| ("breakdown", breakdown.to_owned())));
    let body = api.get("/me/insights", &query).await?;
    Ok(trimmed(list(&body, "data")?))
}

/// The total of a metric over the window; `None` if the platform sent none, which is not 0. A series of days has no
/// total.
pub(crate) fn total(data: &Json, name: &str) -> Option<i64> {
    integer(&entry(data, name)?["total_value"]["value"])
}

/// The number of the newest day that is settled, of a metric that the platform tells by day. `None` if there is none,
/// or if one of the days can't be placed: it may be the newest.
pub(crate) fn settled_day(data: &Json, name: &str, observed_at: i64) -> Option<i64> {
    let day = |day: &Json| Some((timestamp(&day["end_time"])?, day.clone()));
    let (days, odd) = list_of(entry(data, name)?, "values", day).ok()?;
    let is_settled =
        |end: i64| (SETTLED_AFTER_SECONDS..=SERIES_SECONDS).contains(&observed_at.saturating_sub(end)) && odd == 0;
    let newest = days.into_iter().filter(|(end, _)| is_settled(*end)).max_by_key(|(end, _)| *end)?;
    integer(&newest.1["value"])
}

/// New followers (`FOLLOWER`) or lost ones (`NON_FOLLOWER`) of the window.
pub(crate) fn follows(data: &Json, kind: &str) -> Option<i64> {
    let breakdowns = &entry(data, "follows_and_unfollows")?["total_value"]["breakdowns"];
    let results = breakdowns.as_array()?.iter().filter_map(|breakdown| breakdown["results"].as_array()).flatten();
    let mut of_kind = results.filter(|result| result["dimension_values"][0] == kind);
    integer(&of_kind.next()?["value"])
}

fn entry<'a>(data: &'a Json, name: &str) -> Option<&'a Json> {
    data.as_array()?.iter().find(|insight| insight["name"] == name)
}
