//! Trials: sessions that list every request, and may be answered from prepared answers instead of the network.
//!
//! Everything else is as in a collection: policy, scan, credentials, cost, redirects and redaction. What is listed is
//! the request before a secret is injected and the answer after secrets were redacted; what the connector itself wrote
//! into a request is redacted too.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

use super::budget::Charge;
use super::error::SendError;
use super::policy::Hop;
use super::secret_matcher::SecretMatcher;
use super::{CredentialRef, Response};
use backline_model::manifest::Method;

/// A request of a connector, or the one after a redirect, as it was before a secret was injected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// HTTP method.
    pub method: Method,
    /// Absolute URL without the injected secret.
    pub url: String,
    /// Names and values of the connector's own headers.
    pub headers: Vec<(String, String)>,
    /// Body of the request.
    pub body: Option<Vec<u8>>,
    /// Credential that it named.
    pub credential: Option<CredentialRef>,
}

impl Asked {
    pub(super) fn of(hop: &Hop) -> Self {
        Self {
            method: hop.method,
            url: hop.url.to_string(),
            headers: hop.headers.clone(),
            body: hop.body.clone(),
            credential: hop.credential.clone(),
        }
    }

    /// The same without any secret. A request that holds one is refused, and listed all the same.
    fn without(self, secrets: &SecretMatcher) -> Self {
        let headers = self.headers.iter().map(|(name, value)| (secrets.blank_text(name), secrets.blank_text(value)));
        // A connector may name what it likes.
        let named = |credential: CredentialRef| CredentialRef {
            slot: secrets.blank_text(&credential.slot),
            account: credential.account.map(|account| secrets.blank_text(&account)),
        };
        Self {
            method: self.method,
            url: secrets.blank_text(&self.url),
            headers: headers.collect(),
            body: self.body.map(|body| secrets.blank_bytes(&body)),
            credential: self.credential.map(named),
        }
    }
}

/// A request of a trial, and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exchange {
    /// The request.
    pub asked: Asked,
    /// Units of one attempt, by budget name.
    pub units: BTreeMap<String, u64>,
    /// How often it was sent; 0 if it was refused before, or answered from prepared answers.
    pub attempts: u32,
    /// Time from the request to its answer in milliseconds, with the waits between attempts.
    pub wall_ms: u64,
    /// The answer as the connector got it; `None` if the connector did not wait for it.
    pub answer: Option<Result<Response, SendError>>,
}

/// Prepared answers.
pub trait Answers: Send + Sync {
    /// Answers a request that passed every check.
    ///
    /// # Errors
    /// The error that the connector is to get.
    fn answer(&self, asked: &Asked) -> Result<Response, SendError>;
}

/// A trial, for sessions opened with [`Gateway::trial`](super::Gateway::trial). Cloning shares it.
#[derive(Clone, Default)]
pub struct Trial {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    answers: Option<Box<dyn Answers>>,
    exchanges: Mutex<Vec<Exchange>>,
}

impl fmt::Debug for Trial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Trial")
    }
}

impl Trial {
    /// A trial whose requests are sent.
    #[must_use]
    pub fn live() -> Self {
        Self::default()
    }

    /// A trial whose requests are answered from prepared answers; nothing is sent.
    #[must_use]
    pub fn answered(answers: impl Answers + 'static) -> Self {
        Self { shared: Arc::new(Shared { answers: Some(Box::new(answers)), exchanges: Mutex::default() }) }
    }

    /// Takes the requests so far, in the order in which they were made.
    #[must_use]
    pub fn take(&self) -> Vec<Exchange> {
        std::mem::take(&mut *self.exchanges())
    }

    pub(super) fn answers(&self) -> Option<&dyn Answers> {
        self.shared.answers.as_deref()
    }

    /// Lists a request that is about to be checked and sent.
    pub(super) fn begin(&self, hop: &Hop, secrets: &SecretMatcher) -> Begun {
        let asked = Asked::of(hop).without(secrets);
        let mut exchanges = self.exchanges();
        exchanges.push(Exchange { asked, units: BTreeMap::new(), attempts: 0, wall_ms: 0, answer: None });
        Begun { index: exchanges.len() - 1, started: Instant::now() }
    }

    /// Records what became of a request.
    pub(super) fn end(&self, begun: &Begun, passed: &Passed, answer: Result<Response, SendError>) {
        // A list that was taken meanwhile has no place for it.
        if let Some(exchange) = self.exchanges().get_mut(begun.index) {
            exchange.units.clone_from(&passed.units);
            exchange.attempts = passed.attempts;
            exchange.wall_ms = u64::try_from(begun.started.elapsed().as_millis()).unwrap_or(u64::MAX);
            exchange.answer = Some(answer);
        }
    }

    fn exchanges(&self) -> MutexGuard<'_, Vec<Exchange>> {
        self.shared.exchanges.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The place of a request in the list.
pub(super) struct Begun {
    index: usize,
    started: Instant,
}

/// What a request cost on its way.
#[derive(Debug, Default)]
pub(super) struct Passed {
    pub(super) units: BTreeMap<String, u64>,
    pub(super) attempts: u32,
}

impl Passed {
    pub(super) fn charged(&mut self, charges: &[Charge]) {
        for (budget, units) in charges.iter().map(Charge::named_units) {
            *self.units.entry(budget.to_owned()).or_default() += units;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_listed_of_a_request_holds_no_secret() {
        let secrets = SecretMatcher::new(["canary-0123456789"]);
        let asked = Asked {
            method: Method::Post,
            url: "https://a.test/?k=canary%2D0123456789&b=1".to_owned(),
            headers: vec![("x-canary-0123456789".to_owned(), "Y2FuYXJ5LTAxMjM0NTY3ODk".to_owned())],
            body: Some(b"{\"k\":\"canary-0123456789\"}".to_vec()),
            credential: Some(CredentialRef {
                slot: "canary-0123456789".to_owned(),
                account: Some("a canary-0123456789".to_owned()),
            }),
        };
        let listed = asked.without(&secrets);
        assert_eq!(listed.url, "https://a.test/?k=[secret]&b=1");
        assert_eq!(listed.headers, [("x-[secret]".to_owned(), "[secret]".to_owned())]);
        assert_eq!(listed.body.as_deref(), Some(b"{\"k\":\"[secret]\"}".as_slice()));
        assert_eq!(listed.method, Method::Post);
        let named = CredentialRef { slot: "[secret]".to_owned(), account: Some("a [secret]".to_owned()) };
        assert_eq!(listed.credential, Some(named));
    }
}
