//! Requests through the host, or through a recording when tests run.

use std::fmt;

use serde_json::Value as Json;

use crate::bindings::backline::connector::http as wit;
pub use crate::bindings::backline::connector::http::{Error as HttpError, Method};
use crate::{Account, FetchError};

/// The way out: the host's `http.send`, or a [`Replay`](crate::testing::Replay) in tests.
#[derive(Clone, Debug)]
pub struct Http {
    #[cfg(not(target_arch = "wasm32"))]
    pub(crate) replay: crate::testing::Replay,
}

impl Http {
    /// The host's. Used by [`export_connector!`](crate::export_connector).
    #[cfg(target_arch = "wasm32")]
    #[must_use]
    pub fn host() -> Self {
        Self {}
    }

    /// The host's, which exists inside a component only: outside one, no answer is prepared for any request.
    #[cfg(not(target_arch = "wasm32"))]
    #[must_use]
    pub fn host() -> Self {
        Self { replay: crate::testing::Replay::new() }
    }

    /// Starts a GET request.
    pub fn get(&self, url: impl Into<String>) -> Request<'_> {
        self.request(Method::Get, url)
    }

    /// Starts a POST request.
    pub fn post(&self, url: impl Into<String>) -> Request<'_> {
        self.request(Method::Post, url)
    }

    /// Starts a request.
    pub fn request(&self, method: Method, url: impl Into<String>) -> Request<'_> {
        Request {
            http: self,
            request: wit::Request { method, url: url.into(), headers: Vec::new(), body: None, credential: None },
        }
    }

    async fn send(&self, request: wit::Request) -> Result<wit::Response, HttpError> {
        #[cfg(target_arch = "wasm32")]
        return wit::send(request).await;
        #[cfg(not(target_arch = "wasm32"))]
        return self.replay.answer(request);
    }
}

/// A request in the making.
#[derive(Debug)]
#[must_use = "a request does nothing until it is sent"]
pub struct Request<'a> {
    http: &'a Http,
    request: wit::Request,
}

impl Request<'_> {
    /// Appends a query parameter, encoding both sides.
    pub fn query(mut self, name: &str, value: impl fmt::Display) -> Self {
        let separator = if self.request.url.contains('?') { '&' } else { '?' };
        self.request.url.push(separator);
        self.request.url.push_str(&encode(name));
        self.request.url.push('=');
        self.request.url.push_str(&encode(&value.to_string()));
        self
    }

    /// Adds a header. `Host`, `Authorization`, `Cookie` and their kin are refused by the host.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.request.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Sends a JSON body.
    pub fn json(mut self, body: &Json) -> Self {
        self.request.body = Some(body.to_string().into_bytes());
        self.header("content-type", "application/json")
    }

    /// Has the operator's own secret of this slot injected.
    pub fn slot(mut self, slot: &str) -> Self {
        self.request.credential = Some(wit::Credential { slot: slot.to_owned(), account: None });
        self
    }

    /// Has this account's secret of this slot injected.
    pub fn account(mut self, slot: &str, account: &Account) -> Self {
        self.request.credential = Some(wit::Credential { slot: slot.to_owned(), account: Some(account.id.clone()) });
        self
    }

    /// Sends it. The host follows redirects and retries what is worth retrying.
    ///
    /// # Errors
    /// As [`HttpError`] says; a status of 400 and above is an answer, not an error.
    pub async fn send(self) -> Result<Response, HttpError> {
        let response = self.http.send(self.request).await?;
        Ok(Response { status: response.status, headers: response.headers, body: response.body })
    }
}

/// An answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Response {
    /// The HTTP status.
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    /// Decompressed.
    pub body: Vec<u8>,
}

impl Response {
    /// The first header of this name (lower case).
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Whether the status is 200 to 299.
    #[must_use]
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// Seconds that `Retry-After` asks to wait, where it is a number; the host has already honoured it in its own retries.
    #[must_use]
    pub fn retry_after(&self) -> Option<u32> {
        self.header("retry-after")?.trim().parse().ok()
    }

    /// The body as JSON, whatever the status; none where it is empty, HTML or cut off.
    #[must_use]
    pub fn json(&self) -> Option<Json> {
        serde_json::from_slice(&self.body).ok()
    }

    /// The body of a successful answer as JSON.
    ///
    /// # Errors
    /// [`FetchError::Unavailable`] for 5xx, [`FetchError::Unexpected`] for any other status and for a body that is not JSON.
    /// Platforms that explain their errors deserve a classifier of their own before this is called.
    pub fn ok_json(&self) -> Result<Json, FetchError> {
        if self.status >= 500 {
            return Err(FetchError::Unavailable(format!("HTTP {}", self.status)));
        }
        if !self.is_success() {
            return Err(FetchError::Unexpected(format!("HTTP {}", self.status)));
        }
        self.json().ok_or_else(|| {
            FetchError::Unexpected(format!(
                "HTTP {} with a body of {} bytes that is not JSON",
                self.status,
                self.body.len()
            ))
        })
    }
}

impl From<HttpError> for FetchError {
    fn from(error: HttpError) -> Self {
        match error {
            HttpError::Denied(why) => Self::Misconfigured(why),
            HttpError::CredentialUnavailable(why) => Self::Reconnect(why),
            HttpError::RateLimited(wait) => Self::RateLimited(wait),
            HttpError::QuotaExhausted(until) => Self::QuotaExhausted(until),
            HttpError::TimedOut => Self::Unavailable("timed out".into()),
            HttpError::Unreachable(why) => Self::Unavailable(why),
            HttpError::TooLarge(limit) => Self::Unexpected(format!("the answer is larger than {limit} bytes")),
        }
    }
}

impl FetchError {
    /// As `From`, for a request with the operator's own secret: where that is missing, no artist can mend it.
    #[must_use]
    pub fn of_operator(error: HttpError) -> Self {
        match error {
            HttpError::CredentialUnavailable(why) => Self::Misconfigured(why),
            error => error.into(),
        }
    }
}

/// Percent-encodes all but the unreserved characters of RFC 3986, plus `,` which every platform here takes as it is.
#[must_use]
pub fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b',' => {
                encoded.push(char::from(byte))
            }
            _ => {
                encoded.push('%');
                for digit in [byte >> 4, byte & 15] {
                    encoded.push(char::from(b"0123456789ABCDEF"[usize::from(digit)]));
                }
            }
        }
    }
    encoded
}
