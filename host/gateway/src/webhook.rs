//! Posts to subscribers' webhooks: through the address check and the routes of every other request, never through a proxy, never after a
//! redirect, and with no more of the answer read than tells how it went.

use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use url::Url;

use super::Gateway;
use super::address::Destination;
use super::retry::retry_after;
use super::send::{Fault, WireRequest};
use backline_model::manifest::Method;
use backline_model::origin::Origin;

/// Most bytes of an answer that are read. What it says is for people who test a webhook.
const ANSWER_BYTES_MAX: u64 = 16 * 1024;

/// Longest address of a webhook, in bytes.
const URL_BYTES_MAX: usize = 2048;

/// Why a webhook got nothing. No text holds the address beyond its host.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WebhookRequestError {
    /// The address is none that may be used.
    #[error("the address can't be used: {0}")]
    Url(String),
    /// It leads to an address that is not public.
    #[error("{0}")]
    Refused(String),
    /// No whole answer in time.
    #[error("it did not answer within {0} ms")]
    TimedOut(u128),
    /// No connection, or it broke.
    #[error("it can't be reached: {0}")]
    Unreachable(String),
}

/// A message to be posted, as JSON.
#[derive(Clone, Debug)]
pub struct WebhookRequest {
    /// Where to.
    pub url: String,
    /// Names and values beside the usual ones.
    pub headers: Vec<(&'static str, String)>,
    /// The message.
    pub body: Vec<u8>,
}

/// What a receiver answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HookAnswer {
    /// The HTTP status. A redirect is one, and is not followed.
    pub status: u16,
    /// What its `Retry-After` asks for.
    pub retry_after: Option<Duration>,
    /// The beginning of its body.
    pub text: String,
}

impl Gateway {
    /// Refuses an address that no message may be sent to, as far as that can be known now: one that is no `https` (unless its host is exempt),
    /// holds a password, or leads to an address that is not public. A name that can't be resolved now passes; it is checked whenever a
    /// message is sent.
    ///
    /// # Errors
    /// [`WebhookRequestError`] says what would allow it.
    pub async fn check_webhook(&self, url: &str) -> Result<(), WebhookRequestError> {
        let (_, origin, _) = self.hook_target(url)?;
        self.core.addresses.check_name(&origin).await.map_err(|error| WebhookRequestError::Refused(error.to_string()))
    }

    /// Posts a message once. Any status is an answer.
    ///
    /// # Errors
    /// [`WebhookRequestError`] says why there is no answer.
    pub async fn post_webhook(
        &self,
        hook: &WebhookRequest,
        timeout: Duration,
    ) -> Result<HookAnswer, WebhookRequestError> {
        let (url, _, destination) = self.hook_target(&hook.url)?;
        let mut headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/json"))]);
        for (name, value) in &hook.headers {
            let value =
                HeaderValue::from_str(value).map_err(|_| WebhookRequestError::Url(format!("{name} is no header")))?;
            headers.insert(HeaderName::from_static(name), value);
        }
        let request = WireRequest { method: Method::Post, url, headers, body: Some(hook.body.clone()), destination };
        let answer = self.core.wire.attempt_briefly(&request, timeout, ANSWER_BYTES_MAX).await;
        let answer = answer.map_err(|fault| match fault {
            Fault::Refused(error) => WebhookRequestError::Refused(error.to_string()),
            Fault::TimedOut => WebhookRequestError::TimedOut(timeout.as_millis()),
            Fault::NotConnected(problem) | Fault::Broken(problem) => WebhookRequestError::Unreachable(problem),
            Fault::TooLarge(bytes) => {
                WebhookRequestError::Unreachable(format!("it answered with more than {bytes} bytes"))
            }
        })?;
        let now = self.core.clock.now();
        let asked = answer.headers.get(RETRY_AFTER).and_then(|value| retry_after(value.to_str().ok()?, now));
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        Ok(HookAnswer { status: answer.status, retry_after: asked, text })
    }

    /// Where a message really goes.
    fn hook_target(&self, url: &str) -> Result<(Url, Origin, Destination), WebhookRequestError> {
        let wrong = |problem: String| WebhookRequestError::Url(problem);
        if url.len() > URL_BYTES_MAX {
            return Err(wrong(format!("it has more than {URL_BYTES_MAX} bytes")));
        }
        let mut url = Url::parse(url).map_err(|error| wrong(error.to_string()))?;
        url.set_fragment(None);
        let is_plain = url.scheme() == "http";
        let origin = if is_plain { Origin::of(&as_https(&url)) } else { Origin::of(&url) };
        let origin = origin.map_err(|error| wrong(error.to_string()))?;
        let destination = self
            .core
            .addresses
            .destination(&origin)
            .map_err(|error| WebhookRequestError::Refused(error.to_string()))?;
        if is_plain && matches!(destination, Destination::Public) {
            return Err(wrong(format!(
                "only https is allowed; to allow http to this host, add \"{origin}\" to exempt under [gateway]"
            )));
        }
        Ok((url, origin, destination))
    }
}

/// The same address over TLS, by which exemptions are named.
fn as_https(url: &Url) -> Url {
    let port = url.port_or_known_default();
    let mut https = url.clone();
    // Both are ways to speak HTTP, so neither call can fail.
    let _ = https.set_scheme("https");
    let _ = https.set_port(port);
    https
}
