//! HTTP requests: sent by the host, or matched with prepared responses in tests.

use std::fmt;

use serde_json::Value as Json;

use crate::bindings::backline::connector::http as wit;
pub use crate::bindings::backline::connector::http::{Error as HttpError, Method};
use crate::{Account, FetchError};

/// Requests that the host takes at once. Source: `send-all` of the contract 1.1.0.
const TOGETHER_MAX: usize = 64;

/// The HTTP client: the host's `http.send`, or a [`Replay`](crate::testing::Replay) in tests.
///
/// ```
/// use backline_sdk::prelude::*;
///
/// async fn profile(http: &Http, account: &Account) -> Result<Json, FetchError> {
///     let request = http.get("https://api.example.com/me").query("fields", "id,name").account("user", account);
///     request.send().await?.ok_json()
/// }
/// ```
#[derive(Clone, Debug)]
pub struct Http {
    #[cfg(not(target_arch = "wasm32"))]
    pub(crate) replay: crate::replay::Replay,
}

impl Http {
    /// The client that sends through the host. Used by [`export_connector!`](crate::export_connector).
    #[cfg(target_arch = "wasm32")]
    #[must_use]
    pub fn host() -> Self {
        Self {}
    }

    /// The client that sends through the host. In a native build there is no host: every request panics, because no
    /// response is prepared for it.
    #[cfg(not(target_arch = "wasm32"))]
    #[must_use]
    pub fn host() -> Self {
        Self { replay: crate::replay::Replay::new() }
    }

    /// Starts a GET request.
    pub fn get(&self, url: impl Into<String>) -> Request<'_> {
        self.request(Method::Get, url)
    }

    /// Starts a POST request.
    pub fn post(&self, url: impl Into<String>) -> Request<'_> {
        self.request(Method::Post, url)
    }

    /// Starts a request with the given method.
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

/// A request that is being built. Created by [`Http::get`], [`Http::post`] and [`Http::request`].
#[derive(Debug)]
#[must_use = "a request does nothing until it is sent"]
pub struct Request<'a> {
    http: &'a Http,
    request: wit::Request,
}

impl Request<'_> {
    /// Appends a query parameter. Name and value are percent-encoded.
    pub fn query(mut self, name: &str, value: impl fmt::Display) -> Self {
        let separator = if self.request.url.contains('?') { '&' } else { '?' };
        self.request.url.push(separator);
        self.request.url.push_str(&encode(name));
        self.request.url.push('=');
        self.request.url.push_str(&encode(&value.to_string()));
        self
    }

    /// Adds a header. The host refuses `Host`, `Authorization`, `Cookie` and others that it sets itself.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.request.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Sets a JSON body and its content type.
    pub fn json(mut self, body: &Json) -> Self {
        self.request.body = Some(body.to_string().into_bytes());
        self.header("content-type", "application/json")
    }

    /// Asks the host to inject the operator's secret of this credential slot.
    pub fn slot(mut self, slot: &str) -> Self {
        self.request.credential = Some(wit::Credential { slot: slot.to_owned(), account: None });
        self
    }

    /// Asks the host to inject this account's secret of this credential slot.
    pub fn account(mut self, slot: &str, account: &Account) -> Self {
        self.request.credential = Some(wit::Credential { slot: slot.to_owned(), account: Some(account.id.clone()) });
        self
    }

    /// Sends the request. The host follows redirects and retries transient failures.
    ///
    /// # Errors
    /// [`HttpError`] if there is no response. A response with a status of 400 or above is not an error here.
    pub async fn send(self) -> Result<Response, HttpError> {
        self.http.send(self.request).await.map(Response::of)
    }

    /// Sends requests together, and answers in their order. With the feature `contract-1-1` they are handed to the host
    /// 64 at a time, without it one by one; either way the host sends as many at once as its operator allows.
    ///
    /// ```
    /// use backline_sdk::prelude::*;
    ///
    /// async fn pages(http: &Http, urls: Vec<String>) -> Vec<Result<Response, HttpError>> {
    ///     let requests = urls.into_iter().map(|url| http.get(url).slot("app")).collect();
    ///     backline_sdk::Request::send_all(requests).await
    /// }
    /// ```
    pub async fn send_all(requests: Vec<Self>) -> Vec<Result<Response, HttpError>> {
        #[cfg(all(target_arch = "wasm32", feature = "contract-1-1"))]
        {
            let mut answers = Vec::with_capacity(requests.len());
            let mut left = requests.into_iter().map(|request| request.request).peekable();
            while left.peek().is_some() {
                let some = left.by_ref().take(TOGETHER_MAX).collect();
                answers.extend(wit::send_all(some).await.into_iter().map(|answer| answer.map(Response::of)));
            }
            return answers;
        }
        #[cfg(not(all(target_arch = "wasm32", feature = "contract-1-1")))]
        return crate::gather(requests, TOGETHER_MAX, Self::send).await;
    }
}

/// The response to a request.
#[derive(Clone, Debug, PartialEq)]
pub struct Response {
    /// The HTTP status.
    pub status: u16,
    /// The headers, with names in lower case.
    pub headers: Vec<(String, String)>,
    /// The decompressed body.
    pub body: Vec<u8>,
}

impl Response {
    fn of(response: wit::Response) -> Self {
        Self { status: response.status, headers: response.headers, body: response.body }
    }

    /// The value of the first header with this name, which must be in lower case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Whether the status is 200 to 299.
    #[must_use]
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The delay in seconds from `Retry-After`, if it is a number. The host has already honoured it in its own retries.
    #[must_use]
    pub fn retry_after(&self) -> Option<u32> {
        self.header("retry-after")?.trim().parse().ok()
    }

    /// The body as JSON, whatever the status; `None` if it is not JSON, such as an empty, HTML or truncated body.
    #[must_use]
    pub fn json(&self) -> Option<Json> {
        serde_json::from_slice(&self.body).ok()
    }

    /// The class that a refusal in the platform's own form usually has by its status, for what its codes don't say
    /// better: 401 `Unauthorized`, 403 `Forbidden`, 404 and 410 `NotFound`, 429 `RateLimited` with the seconds of
    /// `Retry-After`, 408, 425 and from 500 on `Unavailable`, all others `Unexpected`.
    ///
    /// Ask it only about a body that you recognised: the page of a proxy says nothing about the account.
    ///
    /// ```
    /// use backline_sdk::prelude::*;
    ///
    /// let own = |response: &Response| {
    ///     let refused = response.sorted(|body| {
    ///         let why = text(&body?["error"]["message"])?;
    ///         Some(response.usual_class(&why))
    ///     });
    ///     refused.map_err(FetchError::from)
    /// };
    /// let answer = |status: u16, body: &str| Response { status, headers: Vec::new(), body: body.into() };
    /// assert_eq!(own(&answer(404, r#"{ "error": { "message": "unknown artist" } }"#)), Err(FetchError::NotFound));
    /// assert!(matches!(own(&answer(404, "<html>")), Err(FetchError::Unavailable(_))));
    /// ```
    #[must_use]
    pub fn usual_class(&self, why: &str) -> FetchError {
        let status = self.status;
        let described = format!("HTTP {status}: {why}");
        match status {
            401 => FetchError::Unauthorized(described),
            403 => FetchError::Forbidden(described),
            404 | 410 => FetchError::NotFound,
            429 => FetchError::RateLimited(self.retry_after()),
            408 | 425 | 500.. => FetchError::Unavailable(described),
            _ => FetchError::Unexpected(described),
        }
    }

    /// The body of a successful response as JSON, for a platform whose errors have no form of their own. If error
    /// bodies say more, use [`Response::sorted`].
    ///
    /// # Errors
    /// [`FetchError::Unavailable`] for a status of 500 or above and for a body that is not JSON, whatever its status;
    /// [`FetchError::Unexpected`] for JSON with any other status outside 200 to 299.
    pub fn ok_json(&self) -> Result<Json, FetchError> {
        let described = || format!("HTTP {} with a body of {} bytes", self.status, self.body.len());
        match self.json() {
            _ if self.status >= 500 => Err(FetchError::Unavailable(described())),
            None => Err(FetchError::Unavailable(format!("{} that is not JSON", described()))),
            Some(body) if self.is_success() => Ok(body),
            Some(_) => Err(FetchError::Unexpected(described())),
        }
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
            HttpError::TooLarge(limit) => Self::Unexpected(format!("the response is larger than {limit} bytes")),
        }
    }
}

impl FetchError {
    /// As `From`, for a request with the operator's secret: if it is missing, only the operator can fix that.
    #[must_use]
    pub fn of_operator(error: HttpError) -> Self {
        match error {
            HttpError::CredentialUnavailable(why) => Self::Misconfigured(why),
            error => error.into(),
        }
    }
}

/// Percent-encodes all characters but `,` and the unreserved ones of RFC 3986; every supported platform accepts a plain
/// `,`.
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
