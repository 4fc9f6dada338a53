//! Credentialed → Sent: the clients, one attempt, and the loop of attempts around it.

use std::error::Error as _;
use std::time::Duration;

use reqwest::dns::Resolve;
use reqwest::header::{CONTENT_LENGTH, HOST, HeaderMap, HeaderValue, RETRY_AFTER};
use reqwest::{Client, ClientBuilder, redirect};
use tokio::time::Instant;
use url::Url;

use super::address::{AddressError, AddressPolicy, Destination, PublicOnly};
use super::budget::Charge;
use super::config::GatewayConfig;
use super::credential::Credentialed;
use super::error::{GatewayError, SendError};
use super::policy::Hop;
use super::retry::{Ending, backoff, is_worth_retrying, retry_after};
use super::{Core, SessionInner};
use backline_model::manifest::Method;
use backline_model::origin::Origin;

/// Idle connections kept per host. A host speaking HTTP/2 needs one; this is for those that don't.
const IDLE_CONNECTIONS_PER_HOST_MAX: usize = 32;

/// How long an idle connection is kept: shorter than common servers' 60 to 120 seconds, so that few die in our hands.
const IDLE_CONNECTION_TIMEOUT: Duration = Duration::from_secs(50);

/// A request as it goes to the network. May hold a secret, hence no `Debug`.
pub(super) struct WireRequest {
    pub(super) method: Method,
    /// The URL that is meant; a route may lead elsewhere.
    pub(super) url: Url,
    pub(super) headers: HeaderMap,
    pub(super) body: Option<Vec<u8>>,
    pub(super) destination: Destination,
}

/// An answer as it came, decompressed.
pub(super) struct WireResponse {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
}

/// Why one attempt brought no answer.
pub(super) enum Fault {
    /// The name leads to an address that is not public.
    Refused(AddressError),
    /// No connection was made.
    NotConnected(String),
    /// No whole answer in time.
    TimedOut,
    /// The connection broke, or the answer made no sense.
    Broken(String),
    /// More bytes than allowed.
    TooLarge(u64),
}

impl From<Fault> for SendError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Refused(error) => Self::Denied(error.to_string()),
            Fault::NotConnected(text) | Fault::Broken(text) => Self::Unreachable(text),
            Fault::TimedOut => Self::TimedOut,
            Fault::TooLarge(limit) => Self::TooLarge(limit),
        }
    }
}

/// The HTTP clients of the process.
pub(super) struct Wire {
    /// Reaches public addresses only.
    public: Client,
    /// Reaches any address; made only where the configuration has exceptions.
    any: Option<Client>,
    request_timeout: Duration,
    body_bytes_max: u64,
}

impl Wire {
    pub(super) fn new(config: &GatewayConfig, addresses: &AddressPolicy) -> Result<Self, GatewayError> {
        // Fails where a provider is installed already, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let any = if addresses.has_exceptions() { Some(client(config, None)?) } else { None };
        Ok(Self {
            public: client(config, Some(PublicOnly))?,
            any,
            request_timeout: config.request_timeout(),
            body_bytes_max: config.body_bytes_max,
        })
    }

    /// Sends a request once and reads the whole answer.
    pub(super) async fn attempt(&self, request: &WireRequest) -> Result<WireResponse, Fault> {
        match tokio::time::timeout(self.request_timeout, self.exchange(request)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(Fault::TimedOut),
        }
    }

    /// Sends a request once within a time of its own, and reads no more than the beginning of the answer: for receivers whose status says it all.
    pub(super) async fn attempt_briefly(
        &self,
        request: &WireRequest,
        timeout: Duration,
        bytes_max: u64,
    ) -> Result<WireResponse, Fault> {
        let begin = async {
            let mut response = self.open(request).await?;
            let (status, headers) = (response.status().as_u16(), response.headers().clone());
            let mut body = Vec::new();
            // Whatever becomes of the rest, the status has come.
            while let Ok(Some(chunk)) = response.chunk().await {
                let room = usize::try_from(bytes_max).unwrap_or(usize::MAX) - body.len();
                body.extend_from_slice(&chunk[..chunk.len().min(room)]);
                if chunk.len() >= room {
                    break;
                }
            }
            Ok(WireResponse { status, headers, body })
        };
        tokio::time::timeout(timeout, begin).await.unwrap_or(Err(Fault::TimedOut))
    }

    /// Sends a request; answers with the response before its body.
    async fn open(&self, request: &WireRequest) -> Result<reqwest::Response, Fault> {
        let (client, url, host) = match (&request.destination, &self.any) {
            (Destination::Public, _) | (_, None) => (&self.public, request.url.clone(), None),
            (Destination::Exempt, Some(any)) => (any, request.url.clone(), None),
            (Destination::Route(base), Some(any)) => (any, routed(&request.url, base), Some(authority(&request.url))),
        };
        let mut builder = client.request(wire_method(request.method), url).headers(request.headers.clone());
        if let Some(host) = host {
            let host =
                HeaderValue::from_str(&host).map_err(|_| Fault::Broken("the host is not a valid header".into()))?;
            builder = builder.header(HOST, host);
        }
        if let Some(body) = &request.body {
            builder = builder.body(body.clone());
        }
        builder.send().await.map_err(|error| self.fault(error))
    }

    async fn exchange(&self, request: &WireRequest) -> Result<WireResponse, Fault> {
        let mut response = self.open(request).await?;
        let declared =
            response.headers().get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
        if request.method != Method::Head && declared.is_some_and(|length| length > self.body_bytes_max) {
            return Err(Fault::TooLarge(self.body_bytes_max));
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.fault(error))? {
            // Chunks come decompressed, so a small answer that unpacks to gigabytes ends here.
            if (body.len() + chunk.len()) as u64 > self.body_bytes_max {
                return Err(Fault::TooLarge(self.body_bytes_max));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(WireResponse { status: response.status().as_u16(), headers: response.headers().clone(), body })
    }

    fn fault(&self, error: reqwest::Error) -> Fault {
        // The URL may hold a secret and is never part of a message.
        let error = error.without_url();
        let mut chain = Vec::new();
        let mut cause = error.source();
        while let Some(inner) = cause {
            if let Some(refused) = inner.downcast_ref::<AddressError>() {
                return Fault::Refused(refused.clone());
            }
            chain.push(inner.to_string());
            cause = inner.source();
        }
        let text = if chain.is_empty() { error.to_string() } else { chain.join(": ") };
        if error.is_connect() {
            Fault::NotConnected(text)
        } else if error.is_timeout() {
            Fault::TimedOut
        } else if error.is_builder() {
            Fault::Broken(format!("the request can't be sent: {text}"))
        } else {
            Fault::Broken(format!("the connection broke before the answer was complete: {text}"))
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the one place that may")]
fn client(config: &GatewayConfig, resolver: Option<PublicOnly>) -> Result<Client, GatewayError> {
    let builder: ClientBuilder = Client::builder()
        .user_agent(concat!("backline/", env!("CARGO_PKG_VERSION")))
        .redirect(redirect::Policy::none())
        .retry(reqwest::retry::never())
        .referer(false)
        .no_proxy()
        .connect_timeout(config.connect_timeout())
        .pool_max_idle_per_host(IDLE_CONNECTIONS_PER_HOST_MAX)
        .pool_idle_timeout(IDLE_CONNECTION_TIMEOUT);
    let builder = match resolver {
        Some(resolver) => {
            builder.https_only(true).dns_resolver(std::sync::Arc::new(resolver) as std::sync::Arc<dyn Resolve>)
        }
        None => builder,
    };
    builder.build().map_err(|error| {
        let cause = error.source().map(ToString::to_string).unwrap_or_default();
        GatewayError::Client(format!("{error}: {cause}"))
    })
}

/// The URL that is connected to: the route's base with the path and query that were meant.
fn routed(meant: &Url, base: &Url) -> Url {
    let mut url = base.clone();
    url.set_path(meant.path());
    url.set_query(meant.query());
    url
}

/// Host and, where it is not the usual one, port.
fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

fn wire_method(method: Method) -> reqwest::Method {
    match method {
        Method::Get => reqwest::Method::GET,
        Method::Head => reqwest::Method::HEAD,
        Method::Post => reqwest::Method::POST,
        Method::Put => reqwest::Method::PUT,
        Method::Patch => reqwest::Method::PATCH,
        Method::Delete => reqwest::Method::DELETE,
    }
}

/// What every attempt of a session's request is counted against.
pub(super) struct Meter<'a> {
    pub(super) session: &'a SessionInner,
    pub(super) charges: &'a [Charge],
}

/// Sends until an answer is worth keeping, the retries are used up, or the deadline would be passed.
///
/// A 429 or 5xx is returned as the answer it is: its body tells a used-up quota from a rate limit, and only the connector can
/// read it. The wait is the platform's `Retry-After` where it sends one, and never more than the time that is left.
pub(super) async fn deliver(
    core: &Core,
    request: &WireRequest,
    origin: &Origin,
    deadline: Instant,
    meter: Option<&Meter<'_>>,
) -> Result<WireResponse, SendError> {
    let mut attempt = 0;
    let mut last: Option<Result<WireResponse, Fault>> = None;
    loop {
        // What stops a retry must not hide what the attempts before it brought.
        let stopped = |last: Option<Result<WireResponse, Fault>>, error| match last {
            Some(outcome) => outcome.map_err(SendError::from),
            None => Err(error),
        };
        let admission = match core.breakers.admit(origin, core.clock.now()) {
            Ok(admission) => admission,
            Err(until) => {
                let why = SendError::Unreachable(format!("{origin} failed too often and is left alone until {until}"));
                return stopped(last, why);
            }
        };
        if let Some(meter) = meter
            && let Err(error) = meter.pay(core, origin, deadline).await
        {
            return stopped(last, error);
        }
        let outcome = core.wire.attempt(request).await;
        attempt += 1;
        let ending = ending_of(&outcome);
        match ending {
            Ending::Status(status) => admission.settle(status < 500, core.clock.now()),
            Ending::NotConnected | Ending::Broken => admission.settle(false, core.clock.now()),
            Ending::Final => drop(admission),
        }
        if let Some(meter) = meter {
            match &outcome {
                Ok(response) => {
                    meter.session.received(response.body.len() as u64);
                    if asks_for_patience(response) {
                        meter.session.throttled();
                    }
                }
                Err(Fault::TimedOut) => meter.session.timed_out(),
                // It was read up to its bound before it was given up.
                Err(Fault::TooLarge(bytes)) => meter.session.received(*bytes),
                Err(_) => {}
            }
        }
        tracing::debug!(%origin, method = request.method.as_str(), attempt, ?ending, "request sent");
        if attempt > core.config.retries_max || !is_worth_retrying(ending, request.method) {
            return outcome.map_err(SendError::from);
        }
        let asked = outcome
            .as_ref()
            .ok()
            .and_then(|response| retry_after(response.headers.get(RETRY_AFTER)?.to_str().ok()?, core.clock.now()));
        // A platform that asks for no patience (zero, or a date that is over) is not hammered all the same.
        let own = backoff(attempt, core.config.backoff_base_ms, core.config.backoff_max_ms, core.random());
        let wait = asked.map_or(own, |asked| asked.max(own));
        if wait >= deadline.saturating_duration_since(Instant::now()) {
            return outcome.map_err(SendError::from);
        }
        last = Some(outcome);
        tokio::time::sleep(wait).await;
    }
}

/// Whether the platform finds this host too fast. A 503 without a date is an outage, which waiting alone does not mend.
fn asks_for_patience(response: &WireResponse) -> bool {
    response.status == 429 || (response.status == 503 && response.headers.contains_key(RETRY_AFTER))
}

fn ending_of(outcome: &Result<WireResponse, Fault>) -> Ending {
    match outcome {
        Ok(response) => Ending::Status(response.status),
        Err(Fault::NotConnected(_)) => Ending::NotConnected,
        Err(Fault::TimedOut | Fault::Broken(_)) => Ending::Broken,
        Err(Fault::Refused(_) | Fault::TooLarge(_)) => Ending::Final,
    }
}

impl Meter<'_> {
    /// Counts one attempt, and takes its units, before it is sent.
    async fn pay(&self, core: &Core, origin: &Origin, deadline: Instant) -> Result<(), SendError> {
        self.session.count(origin)?;
        core.budgets.pay(self.charges, deadline).await?;
        self.session.paid(self.charges);
        Ok(())
    }
}

/// An answer as it came, and the hop it answers. Not yet fit for a connector's eyes.
pub(super) struct Sent {
    answer: WireResponse,
    hop: Hop,
}

impl Sent {
    pub(super) async fn of(credentialed: Credentialed, session: &SessionInner) -> Result<Self, SendError> {
        let (request, hop, charges) = credentialed.into_parts();
        let meter = Meter { session, charges: &charges };
        let answer = deliver(&session.core, &request, &hop.origin, session.setup.deadline, Some(&meter)).await?;
        Ok(Self { answer, hop })
    }

    pub(super) fn into_parts(self) -> (WireResponse, Hop) {
        (self.answer, self.hop)
    }
}
