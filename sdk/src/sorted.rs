//! Sorts every response into an answer of the platform, an error in the platform's own form, or neither.

use serde_json::Value as Json;

use crate::{FetchError, Response};

/// Why a response holds no answer.
#[derive(Clone, Debug, PartialEq)]
pub enum Refusal<E> {
    /// An error in the platform's own form, as the connector read it.
    Own(E),
    /// Not from the platform's API: a block page, a gateway's page, a body that was cut off. It says nothing of the
    /// account, the credential or the connector's release.
    Foreign(FetchError),
}

impl From<Refusal<FetchError>> for FetchError {
    fn from(refusal: Refusal<FetchError>) -> Self {
        match refusal {
            Refusal::Own(error) | Refusal::Foreign(error) => error,
        }
    }
}

impl Response {
    /// The answer of a response, after the one check that every response passes.
    ///
    /// `own` reads an error in the platform's own form from the body, which is `None` if it is not JSON; the status
    /// alone is not such an error. It is asked first, whatever the status: some platforms send errors with HTTP 200.
    /// Everything else is sorted here:
    ///
    /// | response without an error of the platform's form | becomes |
    /// |---|---|
    /// | 200 to 299 with a JSON object | the answer |
    /// | 200 to 299 with JSON of another kind | `Unexpected` |
    /// | 429 | `RateLimited` |
    /// | 500 and above, 403, 404, 408, 410, 425, 451 | `Unavailable` |
    /// | 401 with an empty body or a JSON object | `Unauthorized` |
    /// | any status with text that is not JSON: HTML, a body that was cut off, nothing | `Unavailable` |
    /// | any other status with JSON | `Unexpected` |
    ///
    /// ```
    /// use backline_sdk::prelude::*;
    ///
    /// let own = |body: Option<&Json>| body?.get("error").map(|_| FetchError::NotFound);
    /// let of = |status: u16, body: &str| {
    ///     Response { status, headers: Vec::new(), body: body.into() }.sorted(own).map_err(FetchError::from)
    /// };
    /// assert_eq!(of(200, r#"{ "fans": 7 }"#), Ok(json!({ "fans": 7 })));
    /// assert_eq!(of(404, r#"{ "error": "unknown" }"#), Err(FetchError::NotFound));
    /// assert!(matches!(of(404, "<html>"), Err(FetchError::Unavailable(_))), "a page of a gateway");
    /// assert!(matches!(of(200, r#"{ "fans": "#), Err(FetchError::Unavailable(_))), "cut off");
    /// ```
    ///
    /// # Errors
    /// [`Refusal::Own`] with what `own` read, [`Refusal::Foreign`] with the class from the table above.
    pub fn sorted<E>(&self, own: impl FnOnce(Option<&Json>) -> Option<E>) -> Result<Json, Refusal<E>> {
        let body = self.json();
        if let Some(error) = own(body.as_ref()) {
            return Err(Refusal::Own(error));
        }
        match body {
            Some(body) if self.is_success() && body.is_object() => Ok(body),
            body => Err(Refusal::Foreign(self.foreign(body.as_ref()))),
        }
    }

    /// The class of a response that is no answer and no error of the platform's form.
    fn foreign(&self, body: Option<&Json>) -> FetchError {
        let status = self.status;
        let is_empty = self.body.iter().all(u8::is_ascii_whitespace);
        let described = match body {
            _ if is_empty => format!("HTTP {status} without a body"),
            None => format!("HTTP {status} with {} bytes that are not JSON", self.body.len()),
            Some(_) => format!("HTTP {status} with JSON of an unknown form"),
        };
        match status {
            429 => FetchError::RateLimited(self.retry_after()),
            401 if is_empty || body.is_some_and(Json::is_object) => FetchError::Unauthorized(described),
            500.. | 403 | 404 | 408 | 410 | 425 | 451 => FetchError::Unavailable(described),
            _ if body.is_none() => FetchError::Unavailable(described),
            _ => FetchError::Unexpected(described),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(status: u16, body: &str) -> String {
        let response = Response { status, headers: Vec::new(), body: body.into() };
        match response.sorted(|_| None::<FetchError>) {
            Ok(_) => "answer".to_owned(),
            Err(refusal) => crate::testing::class_name(&refusal.into()).to_owned(),
        }
    }

    #[test]
    fn what_is_not_from_the_platform_is_unavailable_whatever_its_status() {
        for status in [200, 201, 204, 206, 300, 400, 403, 404, 408, 410, 418, 451, 500, 502, 503, 521, 999] {
            for body in ["", " ", "<html>busy</html>", "{", "[", "Access Denied", "\u{feff}{}"] {
                assert_eq!(class(status, body), "unavailable", "HTTP {status} {body:?}");
            }
        }
        for status in [403, 404, 500, 503] {
            for body in ["{}", "[]", "null", r#"{"success":false}"#] {
                assert_eq!(class(status, body), "unavailable", "HTTP {status} {body:?}");
            }
        }
        for body in ["<html>", "{", "Access Denied"] {
            assert_eq!(class(401, body), "unavailable", "{body:?}");
        }
    }

    #[test]
    fn other_responses_have_the_class_of_their_status() {
        for body in ["", "<html>", "{}", "[]"] {
            assert_eq!(class(429, body), "rate-limited", "{body:?}");
        }
        for body in ["", "{}", r#"{"message":"no"}"#] {
            assert_eq!(class(401, body), "unauthorized", "{body:?}");
        }
        assert_eq!(class(200, "{}"), "answer");
        for body in ["[]", "null", "0", "\"text\""] {
            assert_eq!(class(200, body), "unexpected", "{body:?}");
        }
        assert_eq!(class(400, "{}"), "unexpected");
        assert_eq!(class(302, "{}"), "unexpected");
    }

    #[test]
    fn the_platforms_own_error_comes_first() {
        let response = Response { status: 200, headers: Vec::new(), body: b"{}".to_vec() };
        assert_eq!(response.sorted(|_| Some("own")), Err(Refusal::Own("own")));
        let text = Response { status: 403, headers: Vec::new(), body: b"pay".to_vec() };
        assert_eq!(text.sorted(|body| body.is_none().then_some("own")), Err(Refusal::Own("own")));
    }
}
