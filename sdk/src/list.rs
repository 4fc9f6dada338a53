//! Lists in what platforms send: a list is there, or it is missing; a missing one is never an empty one.

use std::fmt;

use serde_json::Value as Json;

use crate::{Absence, FetchError};

/// What should have been a list and is none: missing, null, or of another shape.
///
/// `?` turns it into the error of a fetch ([`FetchError::Unexpected`]) or into the reason why a metric has no value
/// ([`Absence::Unavailable`]). It does not turn into an empty list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotAList(String);

impl fmt::Display for NotAList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for NotAList {}

impl From<NotAList> for FetchError {
    fn from(missing: NotAList) -> Self {
        Self::Unexpected(missing.0)
    }
}

impl From<NotAList> for Absence {
    fn from(_: NotAList) -> Self {
        Self::Unavailable
    }
}

/// Reads the list under `key`. An empty list is one that the platform sent as such.
///
/// ```
/// use backline_sdk::prelude::*;
///
/// let page = json!({ "posts": [], "videos": null });
/// assert_eq!(list(&page, "posts").map(<[Json]>::len), Ok(0));
/// assert!(list(&page, "videos").is_err() && list(&page, "stories").is_err());
/// ```
///
/// # Errors
/// [`NotAList`] if the key is missing or holds anything but a list.
pub fn list<'a>(json: &'a Json, key: &str) -> Result<&'a [Json], NotAList> {
    match json.get(key) {
        Some(Json::Array(items)) => Ok(items),
        Some(Json::Null) | None => Err(NotAList(format!("the response has no list '{key}'"))),
        Some(_) => Err(NotAList(format!("'{key}' of the response is not a list"))),
    }
}

/// Reads the list under `key` item by item. `read` returns `None` for an item that it does not understand.
///
/// An odd item is only left out: the number of such items comes with the others, so that they can count as skipped. If
/// not one item of a list that has some is understood, the list is not what it seems to be.
///
/// ```
/// use backline_sdk::prelude::*;
///
/// let page = json!({ "posts": [{ "id": "a" }, null], "videos": [null, {}] });
/// assert_eq!(list_of(&page, "posts", |post| id(&post["id"])), Ok((vec!["a".to_owned()], 1)));
/// assert!(list_of(&page, "videos", |video| id(&video["id"])).is_err());
/// ```
///
/// # Errors
/// [`NotAList`] as of [`list`], and for a list with items of which none is understood.
pub fn list_of<T>(json: &Json, key: &str, read: impl FnMut(&Json) -> Option<T>) -> Result<(Vec<T>, usize), NotAList> {
    let items = list(json, key)?;
    let understood: Vec<T> = items.iter().filter_map(read).collect();
    if understood.is_empty() && !items.is_empty() {
        return Err(NotAList(format!("no item of the list '{key}' is of a known form")));
    }
    let odd = items.len() - understood.len();
    Ok((understood, odd))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_a_list_is_a_list() {
        for other in [json!(null), json!({}), json!(""), json!(0), json!(true), json!("[]")] {
            assert!(list(&json!({ "items": other }), "items").is_err(), "{other}");
        }
        for body in [json!({}), json!([]), json!(null), json!("items")] {
            assert!(list(&body, "items").is_err(), "{body}");
        }
        assert_eq!(list(&json!({ "items": [1] }), "items"), Ok([json!(1)].as_slice()));
    }

    #[test]
    fn an_odd_item_is_counted_and_a_list_of_odd_items_is_none() {
        let of = |items: Json| list_of(&json!({ "items": items }), "items", Json::as_i64);
        assert_eq!(of(json!([])), Ok((vec![], 0)));
        assert_eq!(of(json!([1, null, "2", {}])), Ok((vec![1], 3)));
        for odd in [json!([null]), json!([{}, []]), json!(null), json!({ "0": 1 })] {
            assert!(of(odd.clone()).is_err(), "{odd}");
        }
    }

    #[test]
    fn a_missing_list_is_an_error_or_a_reason_and_never_nothing() {
        let missing = list(&json!({}), "items").expect_err("it is missing");
        assert_eq!(Absence::from(missing.clone()), Absence::Unavailable);
        assert_eq!(FetchError::from(missing), FetchError::Unexpected("the response has no list 'items'".into()));
    }
}
