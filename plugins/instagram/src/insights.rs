//! Fetches insights of posts, at the cost of one more request for a post that refuses them.

use std::cell::Cell;

use backline_sdk::prelude::*;

use crate::api::Api;
use crate::errors::Failure;
use crate::memory::Memory;
use crate::refusals::Verdict;

/// The metrics that every kind of post has. One name that the platform does not know fails the whole request.
const CORE: [&str; 7] = ["views", "reach", "likes", "comments", "shares", "saved", "total_interactions"];

/// Metrics that came later, or that only reels have. If a request with them is refused without a word which of them is
/// at fault, it is repeated without them.
const LATER: [&str; 3] = ["reposts", WATCH_TIME, AVERAGE_WATCH_TIME];

/// Time for which all people watched a reel, in milliseconds.
pub(crate) const WATCH_TIME: &str = "ig_reels_video_view_total_time";

/// Mean time for which one person watched a reel, in milliseconds.
pub(crate) const AVERAGE_WATCH_TIME: &str = "ig_reels_avg_watch_time";

/// Metrics of reels only: asked of any other post, they fail its request.
const OF_REELS: [&str; 2] = [WATCH_TIME, AVERAGE_WATCH_TIME];

/// The metrics that tell a post without insights from a refused metric, in turn: one of them may itself be the refused
/// one.
const CONTROLS: [&str; 2] = ["views", "reach"];

/// `error_subcode` of a post from before the account became professional. It has no insights; no metric is refused.
const POSTED_BEFORE_CONVERSION: i64 = 2_108_006;

/// What the posts of one account have shown so far.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    /// Posts that refused the control metric.
    faults: Cell<usize>,
    /// Whether the metrics were asked for one by one already. That costs seven requests, so it is done once.
    is_resolved: Cell<bool>,
}

/// Whether a post is a reel.
pub(crate) fn is_reel(post: &Json) -> bool {
    post["media_product_type"].as_str().is_some_and(|it| it.eq_ignore_ascii_case("REELS"))
}

/// Fetches a post's insights, a list of objects with `name` and either `values` or `total_value`.
///
/// # Errors
/// The failure of the request. A refused metric is not one: it is left out, and the others are requested again.
pub(crate) async fn of_post(api: &Api<'_>, post: &Json, memory: &Memory, findings: &Findings) -> Result<Json, Failure> {
    let post_id = id(&post["id"]).unwrap_or_default();
    if memory.is_without_insights(&post_id) {
        return Ok(json!([]));
    }
    let mut is_named_before = false;
    // Each round leaves out one metric more, which bounds the number of rounds.
    for _ in 0..=CORE.len() + LATER.len() {
        let names: Vec<&'static str> = CORE
            .into_iter()
            .chain(LATER)
            .filter(|name| !OF_REELS.contains(name) || is_reel(post))
            .filter(|name| !api.lost.has(name) && !memory.is_refused(&post_id, name))
            .collect();
        if names.is_empty() {
            return Ok(json!([]));
        }
        let (message, subcode) = match ask(api, &post_id, &names).await {
            Err(Failure::Parameter { message, subcode }) => (message, subcode),
            other => return other,
        };
        if subcode == Some(POSTED_BEFORE_CONVERSION) {
            memory.without_insights(&post_id);
            return Ok(json!([]));
        }
        match Verdict::of(&message, &names) {
            Verdict::Gone(name) => api.lost.add(name, &message),
            Verdict::Here(name) => {
                is_named_before = true;
                memory.refuse(&post_id, name);
            }
            // It was asked without the metric that it refused, and refuses the rest too.
            Verdict::Unnamed if is_named_before => {
                memory.without_insights(&post_id);
                return Ok(json!([]));
            }
            Verdict::Unnamed => return find_out(api, &post_id, &names, memory, findings).await,
        }
    }
    Err(FetchError::Unexpected("every metric was refused".to_owned()).into())
}

/// Finds out what is refused if the error does not say it: one request shows whether it is the post.
async fn find_out(
    api: &Api<'_>,
    post: &str,
    names: &[&'static str],
    memory: &Memory,
    findings: &Findings,
) -> Result<Json, Failure> {
    let controls: Vec<&'static str> = CONTROLS.into_iter().filter(|control| names.contains(control)).collect();
    let control = match controls.len() {
        0 => names[0],
        count => controls[findings.faults.get() % count],
    };
    let data = match ask(api, post, &[control]).await {
        Err(Failure::Parameter { .. }) => {
            findings.faults.set(findings.faults.get() + 1);
            memory.without_insights(post);
            return Ok(json!([]));
        }
        other => other?,
    };
    let (core, later): (Vec<&'static str>, Vec<&'static str>) =
        names.iter().copied().partition(|name| CORE.contains(name));
    if !later.is_empty() {
        match ask(api, post, &core).await {
            Ok(data) => {
                later.iter().for_each(|name| memory.refuse_everywhere(name));
                return Ok(data);
            }
            Err(Failure::Parameter { .. }) => {}
            Err(failure) => return Err(failure),
        }
    }
    if findings.is_resolved.replace(true) {
        names.iter().filter(|name| **name != control).for_each(|name| memory.refuse(post, name));
        return Ok(data);
    }
    one_by_one(api, post, names, control, data, memory).await
}

/// Requests each metric but the control separately. What is refused is not asked of this account again for a week, and
/// of no other account less: the error did not say that it is the metric.
async fn one_by_one(
    api: &Api<'_>,
    post: &str,
    names: &[&'static str],
    control: &str,
    data: Json,
    memory: &Memory,
) -> Result<Json, Failure> {
    let mut all = list(&json!({ "data": data }), "data")?.to_vec();
    for name in names.iter().filter(|name| **name != control) {
        match ask(api, post, &[*name]).await {
            Ok(data) => all.extend(list(&json!({ "data": data }), "data")?.to_vec()),
            Err(Failure::Parameter { .. }) => memory.refuse_everywhere(name),
            Err(failure) => return Err(failure),
        }
    }
    Ok(Json::Array(all))
}

async fn ask(api: &Api<'_>, post: &str, names: &[&str]) -> Result<Json, Failure> {
    let path = format!("/{}/insights", backline_sdk::encode(post));
    let body = api.get(&path, &[("metric", names.join(","))]).await?;
    Ok(trimmed(list(&body, "data")?))
}

/// The insights without the title and description of each: they are in the account's language and say nothing about the
/// numbers.
pub(crate) fn trimmed(data: &[Json]) -> Json {
    let mut data = data.to_vec();
    for insight in data.iter_mut().filter_map(Json::as_object_mut) {
        for waste in ["title", "description", "id"] {
            insight.remove(waste);
        }
    }
    Json::Array(data)
}

/// The value of a metric in a post's insights, in either of its two shapes.
pub(crate) fn value(data: &Json, name: &str) -> Option<i64> {
    let insight = data.as_array()?.iter().find(|insight| insight["name"] == name)?;
    integer(&insight["values"][0]["value"]).or_else(|| integer(&insight["total_value"]["value"]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_shapes_of_a_value_are_read() {
        let data = json!([
            { "name": "reach", "values": [{ "value": 5 }] },
            { "name": "views", "total_value": { "value": 14_516_883 } },
            { "name": "saved", "values": [] },
        ]);
        assert_eq!(value(&data, "reach"), Some(5));
        assert_eq!(value(&data, "views"), Some(14_516_883));
        assert_eq!(value(&data, "saved"), None);
        assert_eq!(value(&json!([]), "reach"), None);
    }
}
