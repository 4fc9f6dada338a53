//! Posts events to webhooks: with the address check and the routes of every other request, never through a proxy,
//! without following redirects, and reading only the beginning of the answer.

use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use url::Url;

use super::Gateway;
use super::address::{AddressError, Destination};
use super::retry::retry_after;
use super::wire::{WireFault, WireRequest};
use backline_model::manifest::Method;
use backline_model::origin::Origin;

/// Most bytes of an answer that are read. They are shown to people who test a webhook.
const ANSWER_BYTES_MAX: u64 = 16 * 1024;

/// Longest URL of a webhook, in bytes.
const URL_BYTES_MAX: usize = 2048;

/// Why a webhook received nothing. No text holds more of its URL than the host.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WebhookRequestError {
    /// The URL is not allowed.
    #[error("the URL can't be used: {0}")]
    Url(String),
    /// It leads to an address that is not public.
    #[error("{0}")]
    Refused(String),
    /// There was no complete answer in time.
    #[error("it did not answer within {0} ms")]
    TimedOut(u128),
    /// No connection was made, so that it received nothing.
    #[error("it can't be reached: {0}")]
    Unreachable(String),
    /// The connection broke, after which nobody knows whether it received the message.
    #[error("{0}")]
    Broken(String),
}

/// A message to post, as JSON.
#[derive(Clone, Debug)]
pub struct WebhookRequest {
    /// URL of the receiver.
    pub url: String,
    /// Names and values, in addition to the usual ones.
    pub headers: Vec<(&'static str, String)>,
    /// The message.
    pub body: Vec<u8>,
}

/// Answer of a receiver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebhookAnswer {
    /// HTTP status. A redirect is an answer too, and is not followed.
    pub status: u16,
    /// Wait that its `Retry-After` asks for.
    pub retry_after: Option<Duration>,
    /// Beginning of its body.
    pub text: String,
}

impl Gateway {
    /// Refuses a URL that no message may be sent to, as far as this is known now: one that is not `https` (unless its
    /// host is exempt), holds a password, or leads to an address that is not public. A name that can't be resolved
    /// passes; it is checked again whenever a message is sent.
    ///
    /// # Errors
    /// [`WebhookRequestError`] says what would allow the URL.
    pub async fn check_webhook(&self, url: &str) -> Result<(), WebhookRequestError> {
        let (_, origin, _) = self.webhook_target(url)?;
        let refused =
            |error: AddressError| WebhookRequestError::Refused(error.of_url(Url::parse(url).ok().as_ref()).to_string());
        self.core.addresses.check_name(&origin).await.map_err(refused)
    }

    /// Posts a message once. Any status is an answer.
    ///
    /// # Errors
    /// [`WebhookRequestError`] says why there is no answer.
    pub async fn post_webhook(
        &self,
        request: &WebhookRequest,
        timeout: Duration,
    ) -> Result<WebhookAnswer, WebhookRequestError> {
        let (url, _, destination) = self.webhook_target(&request.url)?;
        let mut headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/json"))]);
        for (name, value) in &request.headers {
            let value = HeaderValue::from_str(value)
                .map_err(|_| WebhookRequestError::Url(format!("{name} is not a valid header")))?;
            headers.insert(HeaderName::from_static(name), value);
        }
        let request = WireRequest { method: Method::Post, url, headers, body: Some(request.body.clone()), destination };
        let answer = self.core.wire.attempt_briefly(&request, timeout, ANSWER_BYTES_MAX).await;
        let answer = answer.map_err(|fault| match fault {
            WireFault::Refused(error) => WebhookRequestError::Refused(error.to_string()),
            WireFault::TimedOut => WebhookRequestError::TimedOut(timeout.as_millis()),
            WireFault::NotConnected(problem) => WebhookRequestError::Unreachable(problem),
            WireFault::Broken(problem) => WebhookRequestError::Broken(problem),
            WireFault::TooLarge(bytes) => {
                WebhookRequestError::Broken(format!("it answered with more than {bytes} bytes"))
            }
        })?;
        let now = self.core.clock.now();
        let asked = answer.headers.get(RETRY_AFTER).and_then(|value| retry_after(value.to_str().ok()?, now));
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        Ok(WebhookAnswer { status: answer.status, retry_after: asked, text })
    }

    /// The destination of a message.
    fn webhook_target(&self, url: &str) -> Result<(Url, Origin, Destination), WebhookRequestError> {
        let wrong = |problem: String| WebhookRequestError::Url(problem);
        if url.len() > URL_BYTES_MAX {
            return Err(wrong(format!("it has more than {URL_BYTES_MAX} bytes")));
        }
        let mut url = Url::parse(url).map_err(|error| wrong(error.to_string()))?;
        url.set_fragment(None);
        let is_plain = url.scheme() == "http";
        let origin = if is_plain { Origin::of(&as_https(&url)) } else { Origin::of(&url) };
        let origin = origin.map_err(|error| wrong(error.to_string()))?;
        origin.name_in(&mut url);
        let destination = self
            .core
            .addresses
            .destination(&origin)
            .map_err(|error| WebhookRequestError::Refused(error.of_url(Some(&url)).to_string()))?;
        if is_plain && matches!(destination, Destination::Public) {
            return Err(wrong(format!(
                "only https is allowed; to allow http to this host, add \"{origin}\" to exempt under [gateway]"
            )));
        }
        Ok((url, origin, destination))
    }
}

/// The same URL with `https`, which exemptions are named by.
fn as_https(url: &Url) -> Url {
    let port = url.port_or_known_default();
    let mut https = url.clone();
    // Both are HTTP schemes, so neither call can fail.
    let _ = https.set_scheme("https");
    let _ = https.set_port(port);
    https
}
