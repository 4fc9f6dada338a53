//! Insights of posts, and which metrics the platform still takes.

use std::cell::RefCell;

use backline_sdk::prelude::*;

use crate::SLOT;
use crate::errors::{self, Failure};

/// What is asked of every post. One name that the platform does not know fails the request with all the others.
const METRICS: [&str; 7] = ["views", "reach", "likes", "comments", "shares", "saved", "total_interactions"];

/// `error_subcode` of a post from before the account became a professional one: it has no insights, and all metrics are fine.
const POSTED_BEFORE_CONVERSION: i64 = 2_108_006;

/// The metrics still asked for, shared by a batch.
#[derive(Debug)]
pub struct Asked {
    refused_before: Vec<String>,
    lost: RefCell<Vec<LostMetric>>,
}

impl Asked {
    /// All but those that were reported as lost before.
    pub fn new(lost_before: &[String]) -> Self {
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

    /// Every metric that is not asked for, now or from before.
    pub fn refused(&self) -> Vec<String> {
        METRICS.into_iter().filter(|name| self.is_refused(name)).map(str::to_owned).collect()
    }

    /// What this batch found to be lost.
    pub fn into_lost(self) -> Vec<LostMetric> {
        self.lost.into_inner()
    }
}

/// A post's insights: `[{name, values | total_value, …}]`.
///
/// # Errors
/// As the platform says. A refused metric is no error: it is dropped, and the rest is asked again.
pub async fn of_post(
    http: &Http,
    base: &str,
    account: &Account,
    post: &str,
    asked: &Asked,
) -> Result<Json, FetchError> {
    // Refused for this kind of post only, such as a metric of reels for a picture.
    let mut not_for_this: Vec<&str> = Vec::new();
    // Each round drops a metric, so there can't be more rounds than metrics.
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

/// Asks for each metric by itself where the refusal does not say which one it means.
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
        // All of them together: it is the post, not the metrics.
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

/// Leaves out the title and description of each metric: they come in the account's language and say nothing of the post.
fn trimmed(mut data: Json) -> Json {
    for insight in data.as_array_mut().into_iter().flatten().filter_map(Json::as_object_mut) {
        for waste in ["title", "description", "id"] {
            insight.remove(waste);
        }
    }
    data
}

/// The one metric that a refusal names: by its place (`metric[2] must be one of the following values: …`, which goes on to list
/// the good ones) or by its name. None where it names none, or several and thus perhaps the replacement.
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

/// The value of a metric in a post's insights, in either of the two shapes.
pub fn value(data: &Json, name: &str) -> Option<i64> {
    let insight = data.as_array()?.iter().find(|insight| insight["name"] == name)?;
    integer(&insight["values"][0]["value"]).or_else(|| integer(&insight["total_value"]["value"]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_one_metric_or_none() {
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
