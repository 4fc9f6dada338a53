//! Fetches insights of posts, and tracks which metrics the platform still accepts.

use std::cell::RefCell;

use backline_sdk::prelude::*;

use crate::SLOT;
use crate::errors::{self, Failure};

/// The metrics requested for every post. One name that the platform does not know fails the whole request.
const METRICS: [&str; 7] = ["views", "reach", "likes", "comments", "shares", "saved", "total_interactions"];

/// `error_subcode` of a post from before the account became professional. It has no insights; no metric is refused.
const POSTED_BEFORE_CONVERSION: i64 = 2_108_006;

/// The metrics that are still requested, shared by all accounts of a batch.
#[derive(Debug)]
pub(crate) struct Asked {
    refused_before: Vec<String>,
    lost: RefCell<Vec<LostMetric>>,
}

impl Asked {
    /// All metrics except those that earlier batches reported as lost.
    pub(crate) fn new(lost_before: &[String]) -> Self {
        let refused_before = METRICS.iter().filter(|name| lost_before.iter().any(|lost| lost == *name));
        Self { refused_before: refused_before.map(|name| (*name).to_owned()).collect(), lost: RefCell::default() }
    }

    fn names(&self) -> Vec<&'static str> {
        METRICS.into_iter().filter(|name| !self.is_refused(name)).collect()
    }

    fn is_refused(&self, name: &str) -> bool {
        self.refused_before.iter().any(|refused| refused == name)
            || self.lost.borrow().iter().any(|lost| lost.name == name)
    }

    fn refuse(&self, name: &str, reason: &str) {
        if !self.is_refused(name) {
            self.lost.borrow_mut().push(LostMetric { name: name.to_owned(), reason: reason.to_owned() });
        }
    }

    /// All metrics that are not requested: lost in this batch or before.
    pub(crate) fn refused(&self) -> Vec<String> {
        METRICS.into_iter().filter(|name| self.is_refused(name)).map(str::to_owned).collect()
    }

    /// The metrics that this batch found to be lost.
    pub(crate) fn into_lost(self) -> Vec<LostMetric> {
        self.lost.into_inner()
    }
}

/// Fetches a post's insights, a list of objects with `name` and either `values` or `total_value`.
///
/// # Errors
/// The classified error of the platform. A refused metric is not an error: it is left out, and the others are requested
/// again.
pub(crate) async fn of_post(
    http: &Http,
    base: &str,
    account: &Account,
    post: &str,
    asked: &Asked,
) -> Result<Json, FetchError> {
    // Metrics refused for this kind of post only, such as a metric of reels for a picture.
    let mut not_for_this: Vec<&str> = Vec::new();
    // Each round drops one metric, which bounds the number of rounds.
    for _ in 0..=METRICS.len() {
        let names: Vec<&str> = asked.names().into_iter().filter(|name| !not_for_this.contains(name)).collect();
        if names.is_empty() {
            return Ok(json!([]));
        }
        let (message, subcode) = match ask(http, base, account, post, &names).await {
            Ok(data) => return Ok(data),
            Err(Failure::Parameter { message, subcode }) => (message, subcode),
            Err(Failure::Class(error)) => return Err(error),
        };
        if subcode == Some(POSTED_BEFORE_CONVERSION) {
            return Ok(json!([]));
        }
        match named(&message, &names) {
            Some(name) if message.contains("product type") => not_for_this.push(name),
            Some(name) => asked.refuse(name, &message),
            None => return one_by_one(http, base, account, post, &names, asked).await,
        }
    }
    Err(FetchError::Unexpected("every metric was refused".to_owned()))
}

/// Requests each metric separately, because the error does not say which one is refused.
async fn one_by_one(
    http: &Http,
    base: &str,
    account: &Account,
    post: &str,
    names: &[&'static str],
    asked: &Asked,
) -> Result<Json, FetchError> {
    let mut data = Vec::new();
    let mut refused = Vec::new();
    for name in names {
        match ask(http, base, account, post, &[*name]).await {
            Ok(Json::Array(items)) => data.extend(items),
            Ok(_) => {}
            Err(Failure::Parameter { message, .. }) => refused.push((*name, message)),
            Err(Failure::Class(error)) => return Err(error),
        }
    }
    if refused.len() == names.len() {
        // If every metric is refused, the post is the cause, not the metrics.
        let message = refused.swap_remove(0).1;
        return Err(FetchError::Unexpected(message));
    }
    for (name, message) in refused {
        asked.refuse(name, &message);
    }
    Ok(Json::Array(data))
}

async fn ask(http: &Http, base: &str, account: &Account, post: &str, names: &[&str]) -> Result<Json, Failure> {
    let url = format!("{base}/{}/insights", backline_sdk::encode(post));
    let response = http.get(url).query("metric", names.join(",")).account(SLOT, account).send().await?;
    let mut body = errors::classify(&response)?;
    let data = body.get_mut("data").map(Json::take).unwrap_or_default();
    Ok(trimmed(data))
}

/// Removes the title and description of each metric: they are in the account's language and say nothing about the post.
fn trimmed(mut data: Json) -> Json {
    for insight in data.as_array_mut().into_iter().flatten().filter_map(Json::as_object_mut) {
        for waste in ["title", "description", "id"] {
            insight.remove(waste);
        }
    }
    data
}

/// The metric that an error message refers to: by its index (`metric[2] must be one of the following values:`, followed
/// by the valid names) or by its name. `None` if it names no metric, or several, of which one may be the replacement.
fn named(message: &str, names: &[&'static str]) -> Option<&'static str> {
    let (head, allowed) = match message.split_once("must be one of") {
        Some((head, allowed)) => (head, Some(allowed)),
        None => (message, None),
    };
    let place = head.split_once("metric[").and_then(|(_, rest)| rest.split_once(']'));
    if let Some(index) = place.and_then(|(index, _)| index.trim().parse::<usize>().ok()) {
        return names.get(index).copied();
    }
    let only = |is_meant: &dyn Fn(&str) -> bool| {
        let mut meant = names.iter().copied().filter(|name| is_meant(name));
        meant.next().filter(|_| meant.next().is_none())
    };
    match (only(&|name| has_word(head, name)), allowed) {
        (None, Some(allowed)) => only(&|name| !has_word(allowed, name)),
        (found, _) => found,
    }
}

fn has_word(text: &str, word: &str) -> bool {
    text.split(|character: char| !character.is_ascii_alphanumeric() && character != '_').any(|part| part == word)
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
    fn an_error_message_names_one_metric_or_none() {
        let names = ["views", "reach", "shares", "saved"];
        let cases = [
            ("(#100) metric[2] must be one of the following values: views, reach, saved", Some("shares")),
            ("(#100) metric[9] must be one of the following values: views, reach", None),
            ("(#100) metrics must be one of: views, reach, saved", Some("shares")),
            ("(#100) metrics must be one of: views, reach", None),
            ("(#100) The shares metric is no longer supported for the queried media.", Some("shares")),
            ("(#100) shares is gone, use views instead", None),
            ("(#100) The following metrics are not supported: reshares", None),
            ("(#100) Invalid parameter", None),
        ];
        for (message, expected) in cases {
            assert_eq!(named(message, &names), expected, "{message}");
        }
    }

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
