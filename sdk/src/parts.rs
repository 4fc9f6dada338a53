//! Documents made of parts: one key per request, so that a failed request affects only the metrics of its own part.
//!
//! A part is `{ "<key>": <response> }`. A missing part says why: `{ "absent": "unavailable", "why": "HTTP 504" }`.

use serde_json::{Value as Json, json};

use crate::{Absence, FetchError};

/// Builds a part of a document from a response, or from the error if it concerns this part only.
///
/// ```
/// use backline_sdk::{part, prelude::*, read_part};
///
/// let albums = part("pages", Err(FetchError::Unavailable("HTTP 504".into()))).unwrap();
/// assert_eq!(albums, json!({ "absent": "unavailable", "why": "HTTP 504" }));
/// assert_eq!(read_part(&albums, "pages"), Err(Absence::Unavailable));
/// ```
///
/// # Errors
/// An error that concerns more than this part (token, rate limit, quota, configuration) stays an error of the account,
/// because the host must react to it.
pub fn part(key: &str, answer: Result<Json, FetchError>) -> Result<Json, FetchError> {
    match answer {
        Ok(answer) => Ok(json!({ key: answer })),
        Err(FetchError::NotFound) => Ok(absent_part(Absence::NotFound, "not found")),
        Err(FetchError::Forbidden(why)) => Ok(absent_part(Absence::NotAuthorized, &why)),
        Err(FetchError::Unavailable(why) | FetchError::Unexpected(why)) => Ok(absent_part(Absence::Unavailable, &why)),
        Err(error) => Err(error),
    }
}

/// Builds a part that is missing, with the reason and a short explanation.
#[must_use]
pub fn absent_part(reason: Absence, why: &str) -> Json {
    json!({ "absent": absence_name(reason), "why": why })
}

/// Reads what a part holds under its key.
///
/// # Errors
/// The reason why the part is missing; [`Absence::Unavailable`] if the document gives no known reason.
pub fn read_part<'a>(part: &'a Json, key: &str) -> Result<&'a Json, Absence> {
    const REASONS: [Absence; 4] = [Absence::NotOffered, Absence::Hidden, Absence::NotAuthorized, Absence::NotFound];
    match part["absent"].as_str() {
        Some(name) => {
            Err(REASONS.into_iter().find(|reason| absence_name(*reason) == name).unwrap_or(Absence::Unavailable))
        }
        None => part.get(key).ok_or(Absence::Unavailable),
    }
}

/// The name of a reason, as used in documents and in the database.
#[must_use]
pub fn absence_name(reason: Absence) -> &'static str {
    match reason {
        Absence::NotOffered => "not-offered",
        Absence::Hidden => "hidden",
        Absence::NotAuthorized => "not-authorized",
        Absence::NotFound => "not-found",
        Absence::Unavailable => "unavailable",
    }
}

/// Removes keys at every depth. For bulky values that no metric needs, such as picture URLs.
pub fn drop_keys(json: &mut Json, keys: &[&str]) {
    match json {
        Json::Object(fields) => {
            fields.retain(|key, _| !keys.contains(&key.as_str()));
            fields.values_mut().for_each(|field| drop_keys(field, keys));
        }
        Json::Array(items) => items.iter_mut().for_each(|item| drop_keys(item, keys)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_read_back_as_it_was_written() {
        let answered = part("pages", Ok(json!([1]))).expect("answered");
        assert_eq!(read_part(&answered, "pages"), Ok(&json!([1])));
        assert_eq!(read_part(&answered, "answer"), Err(Absence::Unavailable));
        for (error, reason) in [
            (FetchError::NotFound, Absence::NotFound),
            (FetchError::Forbidden("no".into()), Absence::NotAuthorized),
            (FetchError::Unavailable("HTTP 504".into()), Absence::Unavailable),
            (FetchError::Unexpected("odd".into()), Absence::Unavailable),
        ] {
            assert_eq!(read_part(&part("pages", Err(error)).expect("a part"), "pages"), Err(reason));
        }
        for reason in [Absence::NotOffered, Absence::Hidden] {
            assert_eq!(read_part(&absent_part(reason, "so"), "pages"), Err(reason));
        }
        assert_eq!(
            read_part(&json!({ "absent": "a reason from a later version" }), "pages"),
            Err(Absence::Unavailable)
        );
        assert_eq!(read_part(&Json::Null, "pages"), Err(Absence::Unavailable));
    }

    #[test]
    fn an_error_that_the_host_must_react_to_stays_an_error() {
        for error in [
            FetchError::Unauthorized("expired".into()),
            FetchError::Reconnect("gone".into()),
            FetchError::Misconfigured("off".into()),
            FetchError::RateLimited(Some(3)),
            FetchError::QuotaExhausted(None),
        ] {
            assert_eq!(part("pages", Err(error.clone())), Err(error));
        }
    }

    #[test]
    fn keys_are_dropped_at_every_depth() {
        let mut json = json!({ "images": [1], "items": [{ "id": 1, "images": {}, "more": { "images": 2 } }] });
        drop_keys(&mut json, &["images"]);
        assert_eq!(json, json!({ "items": [{ "id": 1, "more": {} }] }));
    }
}
