//! The HTTP clients: one request, one answer.

use std::error::Error as _;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::StreamExt as _;
use reqwest::dns::Resolve;
use reqwest::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH, HOST, HeaderMap, HeaderValue};
use reqwest::{Client, ClientBuilder, redirect};
use rustls::ClientConfig;
use rustls::client::Resumption;
use tokio::io::AsyncReadExt as _;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::io::StreamReader;
use url::Url;

use super::address::{AddressError, AddressPolicy, Destination, PublicOnly};
use super::config::GatewayConfig;
use super::error::{GatewayError, SendError};
use super::owners::{KeptHosts, Shares, Taken};
use super::tls::{client_tls, provide_cryptography};
use super::unpack::{ACCEPTED, Coding, PackedMeter, Parts, TooManyPacked, codings};
use backline_model::manifest::Method;
use backline_model::weakened::{Bound, off};

/// Idle connections kept per host: those of two batches that send as much as they may.
const IDLE_CONNECTIONS_PER_HOST_MAX: usize = 32;

/// How long an idle connection is kept. Shorter than the usual 60 to 120 seconds of servers, so that they rarely close
/// one that is about to be used.
const IDLE_CONNECTION_TIMEOUT: Duration = Duration::from_secs(50);

/// Most headers of an answer.
pub(super) const ANSWER_HEADERS_MAX: usize = 128;

/// Most bytes of all header names and values of an answer.
pub(super) const ANSWER_HEADER_BYTES_MAX: usize = 64 * 1024;

/// Headers of an answer that are read where that bound is switched off.
const LENIENT_HEADERS_MAX: usize = 20_000;

/// Bytes of an answer beyond which it is a large one. A page of fifty channels has about 200 KiB.
const LARGE_ANSWER_BYTES: usize = 1024 * 1024;

/// Bytes for which memory is taken before they have come, because an answer declares them.
const EXPECTED_BYTES_MAX: usize = 64 * 1024;

/// Bytes that are unpacked at a time.
const UNPACKED_BYTES: usize = 16 * 1024;

/// Bytes of one permit for large answers.
const PERMIT_BYTES: u64 = 1024;

/// A request as it is sent to the network. It has no `Debug`, since it may hold a secret.
pub(super) struct WireRequest {
    pub(super) method: Method,
    /// URL of the request; a route may connect elsewhere.
    pub(super) url: Url,
    pub(super) headers: HeaderMap,
    pub(super) body: Option<Vec<u8>>,
    pub(super) destination: Destination,
}

/// An answer as it was received, unpacked if it has one coding that is known. The headers of any other stay.
pub(super) struct WireResponse {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
    /// Its part of what large answers may hold; given back when the answer is dropped or let go.
    pub(super) held: Option<Taken>,
}

impl WireResponse {
    /// Lets go of a large body and of its part of what large answers may hold, before something else is waited for:
    /// answers that wait for room while others keep theirs would wait for each other. Small bodies stay.
    pub(super) fn let_go(&mut self) {
        if self.held.take().is_some() {
            self.body = Vec::new();
        }
    }
}

/// A body as far as it was read.
struct Kept {
    body: Vec<u8>,
    /// Its part of what large answers may hold.
    held: Option<Taken>,
    /// Most bytes that it may have.
    bytes_max: u64,
}

/// Why an attempt has no answer.
pub(super) enum WireFault {
    /// The name resolves to an address that is not public.
    Refused(AddressError),
    /// No connection was made.
    NotConnected(String),
    /// There was no complete answer in time.
    TimedOut,
    /// The connection broke, or the answer was not valid HTTP.
    Broken(String),
    /// The answer has more bytes than allowed.
    TooLarge(u64),
}

impl From<WireFault> for SendError {
    fn from(fault: WireFault) -> Self {
        match fault {
            WireFault::Refused(error) => Self::Denied(error.to_string()),
            WireFault::NotConnected(text) | WireFault::Broken(text) => Self::Unreachable(text),
            WireFault::TimedOut => Self::TimedOut,
            WireFault::TooLarge(limit) => Self::TooLarge(limit),
        }
    }
}

/// The HTTP clients of the process.
pub(super) struct Wire {
    /// Connects to public addresses only.
    public: Client,
    /// The same, for hosts to which no connection is kept.
    public_once: Client,
    kept_hosts: KeptHosts,
    /// Connects to any address; built only if the configuration has exceptions.
    any: Option<Client>,
    request_timeout: Duration,
    body_bytes_max: u64,
    /// Permits for large answers, each for [`PERMIT_BYTES`]. Those of one owner hold at most half.
    large_answers: Shares,
    /// Permits that one large answer takes. It takes them at once: answers that each waited for more while they hold
    /// some would wait for each other.
    large_answer_permits: u32,
}

impl Wire {
    pub(super) fn new(config: &GatewayConfig, addresses: &AddressPolicy) -> Result<Self, GatewayError> {
        let idle = IDLE_CONNECTIONS_PER_HOST_MAX;
        let tls = client_tls().map_err(|error| GatewayError::Client(error.to_string()))?;
        let any = if addresses.has_exceptions() { Some(client(config, &tls, None, idle)?) } else { None };
        let resolver = PublicOnly { lookups: Arc::default() };
        let permits = |bytes: u64| u32::try_from(bytes.div_ceil(PERMIT_BYTES)).unwrap_or(u32::MAX);
        let all = permits(config.large_answers_bytes_max)
            .min(u32::try_from(Semaphore::MAX_PERMITS).unwrap_or(u32::MAX))
            .max(1);
        Ok(Self {
            public: client(config, &tls, Some(resolver.clone()), idle)?,
            public_once: client(config, &tls, Some(resolver), 0)?,
            kept_hosts: KeptHosts::new(IDLE_CONNECTION_TIMEOUT),
            any,
            request_timeout: config.request_timeout(),
            body_bytes_max: config.body_bytes_max,
            large_answers: Shares::new(all, all / 2),
            large_answer_permits: permits(config.body_bytes_max).min(all),
        })
    }

    /// Sends a request once and reads the whole answer. `received` counts the bytes of its body, also if it breaks off.
    pub(super) async fn attempt(&self, request: &WireRequest, received: &AtomicU64) -> Result<WireResponse, WireFault> {
        let longest = if off(Bound::RequestTime) { Duration::MAX } else { self.request_timeout };
        match tokio::time::timeout(longest, self.exchange(request, received)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(WireFault::TimedOut),
        }
    }

    /// Sends a request once with its own timeout, and reads only the beginning of the answer: for receivers of which
    /// only the status matters.
    pub(super) async fn attempt_briefly(
        &self,
        request: &WireRequest,
        timeout: Duration,
        bytes_max: u64,
    ) -> Result<WireResponse, WireFault> {
        let begin = async {
            let mut response = self.open(request, false).await?;
            let (status, headers) = (response.status().as_u16(), response.headers().clone());
            let mut body = Vec::new();
            if !codings(&headers).is_empty() {
                // It was not asked to pack its text, which nobody could read.
                return Ok(WireResponse { status, headers, body, held: None });
            }
            // The status is known, whatever happens to the rest.
            while let Ok(Some(chunk)) = response.chunk().await {
                let room = usize::try_from(bytes_max).unwrap_or(usize::MAX) - body.len();
                body.extend_from_slice(&chunk[..chunk.len().min(room)]);
                if chunk.len() >= room {
                    break;
                }
            }
            Ok(WireResponse { status, headers, body, held: None })
        };
        tokio::time::timeout(timeout, begin).await.unwrap_or(Err(WireFault::TimedOut))
    }

    /// Sends a request and returns the response before its body, with all its headers. `unpacks`: whether the answer
    /// may be packed.
    async fn open(&self, request: &WireRequest, unpacks: bool) -> Result<reqwest::Response, WireFault> {
        let (client, url, host) = match (&request.destination, &self.any) {
            (Destination::Public, _) | (_, None) => {
                let keeps = self.kept_hosts.may_keep(&request.url, Instant::now());
                (if keeps { &self.public } else { &self.public_once }, request.url.clone(), None)
            }
            (Destination::Exempt, Some(any)) => (any, request.url.clone(), None),
            (Destination::Route(base), Some(any)) => (any, routed(&request.url, base), Some(authority(&request.url))),
        };
        let lenient = if off(Bound::HttpForm) || off(Bound::AnswerHeaders) { Some(lenient_client()?) } else { None };
        let client = lenient.as_ref().unwrap_or(client);
        let mut builder = client.request(wire_method(request.method), url).headers(request.headers.clone());
        if let Some(host) = host {
            let host =
                HeaderValue::from_str(&host).map_err(|_| WireFault::Broken("the host is not a valid header".into()))?;
            builder = builder.header(HOST, host);
        }
        if unpacks && !request.headers.contains_key(ACCEPT_ENCODING) {
            builder = builder.header(ACCEPT_ENCODING, HeaderValue::from_static(ACCEPTED));
        }
        if let Some(body) = &request.body {
            builder = builder.body(body.clone());
        }
        let response = builder.send().await.map_err(|error| self.fault(error))?;
        let headers = response.headers();
        let bytes: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
        let is_too_large = headers.len() > ANSWER_HEADERS_MAX || bytes > ANSWER_HEADER_BYTES_MAX;
        if is_too_large && !off(Bound::AnswerHeaders) {
            return Err(WireFault::Broken(format!(
                "the answer has more than {ANSWER_HEADERS_MAX} headers or {ANSWER_HEADER_BYTES_MAX} bytes of them"
            )));
        }
        Ok(response)
    }

    async fn exchange(&self, request: &WireRequest, received: &AtomicU64) -> Result<WireResponse, WireFault> {
        let mut response = self.open(request, true).await?;
        let coding = Coding::of(response.headers());
        let declared =
            response.headers().get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
        let bytes_max = if off(Bound::AnswerBytes) { u64::MAX } else { self.body_bytes_max };
        if request.method != Method::Head && declared.is_some_and(|length| length > bytes_max) {
            return Err(WireFault::TooLarge(bytes_max));
        }
        // What an answer says of its length is no reason to take much memory at once.
        let expected = if request.method == Method::Head { 0 } else { declared.unwrap_or(0) };
        let expected = usize::try_from(expected).unwrap_or(usize::MAX).min(EXPECTED_BYTES_MAX);
        let (status, mut headers) = (response.status().as_u16(), std::mem::take(response.headers_mut()));
        let host = request.url.host_str().unwrap_or_default();
        let mut kept = Kept { body: Vec::with_capacity(expected), held: None, bytes_max };
        if let Some(coding) = coding {
            self.unpack(response, coding, host, &mut kept, received).await?;
            // They are of the packed body.
            headers.remove(CONTENT_ENCODING);
            headers.remove(CONTENT_LENGTH);
        } else {
            while let Some(chunk) = response.chunk().await.map_err(|error| self.fault(error))? {
                received.fetch_add(chunk.len() as u64, Ordering::Relaxed);
                self.keep(&mut kept, host, &chunk).await?;
            }
        }
        Ok(WireResponse { status, headers, body: kept.body, held: kept.held })
    }

    /// Reads a packed body to its end. It ends early where it has too many bytes, packed or unpacked.
    async fn unpack(
        &self,
        response: reqwest::Response,
        coding: Coding,
        host: &str,
        kept: &mut Kept,
        received: &AtomicU64,
    ) -> Result<(), WireFault> {
        let bytes_max = kept.bytes_max;
        let meter = PackedMeter::new(received, bytes_max);
        let fault = |error: io::Error| self.unpacking_fault(error, coding, bytes_max);
        let packed = response.bytes_stream().map(|chunk| {
            let chunk = chunk.map_err(io::Error::other)?;
            meter.packed(chunk.len())?;
            Ok::<_, io::Error>(chunk)
        });
        let mut parts = Parts::new(coding, StreamReader::new(packed.boxed()));
        let mut buffer = vec![0; UNPACKED_BYTES];
        while let Some(mut unpacked) = parts.next_part().await.map_err(fault)? {
            loop {
                let read = unpacked.read(&mut buffer).await.map_err(fault)?;
                if read == 0 {
                    break;
                }
                meter.unpacked(read);
                // So a small answer that unpacks to gigabytes ends here.
                self.keep(kept, host, &buffer[..read]).await?;
            }
        }
        Ok(())
    }

    /// Keeps one more part of a body.
    async fn keep(&self, kept: &mut Kept, host: &str, chunk: &[u8]) -> Result<(), WireFault> {
        let bytes = kept.body.len() + chunk.len();
        if bytes as u64 > kept.bytes_max {
            return Err(WireFault::TooLarge(kept.bytes_max));
        }
        if kept.held.is_none() && bytes > LARGE_ANSWER_BYTES {
            kept.held = Some(self.large_answers.take(host, self.large_answer_permits).await);
        }
        kept.body.extend_from_slice(chunk);
        Ok(())
    }

    fn unpacking_fault(&self, error: io::Error, coding: Coding, bytes_max: u64) -> WireFault {
        if error.get_ref().is_some_and(|inner| inner.is::<TooManyPacked>()) {
            return WireFault::TooLarge(bytes_max);
        }
        match error.downcast::<reqwest::Error>() {
            Ok(error) => self.fault(error),
            Err(error) => WireFault::Broken(format!("the answer can't be unpacked by {}: {error}", coding.name())),
        }
    }

    fn fault(&self, error: reqwest::Error) -> WireFault {
        // The URL may hold a secret and is never part of a message.
        let url = error.url().cloned();
        let error = error.without_url();
        let mut chain = Vec::new();
        let mut cause = error.source();
        while let Some(inner) = cause {
            if let Some(refused) = inner.downcast_ref::<AddressError>() {
                return WireFault::Refused(refused.clone().of_url(url.as_ref()));
            }
            chain.push(inner.to_string());
            cause = inner.source();
        }
        let text = if chain.is_empty() { error.to_string() } else { chain.join(": ") };
        if error.is_connect() {
            WireFault::NotConnected(text)
        } else if error.is_timeout() {
            WireFault::TimedOut
        } else if error.is_builder() {
            WireFault::Broken(format!("the request can't be sent: {text}"))
        } else {
            WireFault::Broken(format!("the connection broke before the answer was complete: {text}"))
        }
    }
}

/// What every client of the gateway begins with, but for that of registries, which is a library's own. It follows no
/// redirect, retries nothing, uses no proxy and no user's settings, and hands answers over as they came. The HTTP
/// library is built without its decoders; the client says so too, for the case that another crate builds them.
///
/// It speaks HTTP/1.1 only. With HTTP/2 a host can send frames that no body, header or answer pays for: settings,
/// pings, resets, and interim answers, of which ten bytes on the wire are hundreds in memory. The library bounds
/// neither their number nor what they hold, so the host speaks a version that has none. Interim answers of HTTP/1.1 are
/// read and forgotten one by one.
#[expect(clippy::disallowed_methods, reason = "the one place that may")]
pub(super) fn client_builder() -> ClientBuilder {
    provide_cryptography();
    Client::builder()
        .user_agent(concat!("backline/", env!("CARGO_PKG_VERSION")))
        .redirect(redirect::Policy::none())
        .retry(reqwest::retry::never())
        .referer(false)
        .no_gzip()
        .no_brotli()
        .no_zstd()
        .no_deflate()
        .http1_only()
        .no_proxy()
}

/// A client for platforms. `idle_max`: idle connections that are kept to each host.
fn client(
    config: &GatewayConfig,
    tls: &ClientConfig,
    resolver: Option<PublicOnly>,
    idle_max: usize,
) -> Result<Client, GatewayError> {
    // What is trusted is shared; the sessions that a client resumes are its own.
    let mut tls = tls.clone();
    tls.resumption = Resumption::default();
    let builder = client_builder()
        .tls_backend_preconfigured(tls)
        .http1_max_headers(ANSWER_HEADERS_MAX)
        .connect_timeout(config.connect_timeout())
        .pool_max_idle_per_host(idle_max)
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

/// A client that takes what is no HTTP, and any number of headers: for builds that can switch these bounds off.
fn lenient_client() -> Result<Client, WireFault> {
    let builder = client_builder()
        .http1_max_headers(LENIENT_HEADERS_MAX)
        .http1_ignore_invalid_headers_in_responses(true)
        .http09_responses();
    builder.build().map_err(|error| WireFault::Broken(error.to_string()))
}

/// The URL to connect to: the route's base with the path and query of the request.
fn routed(meant: &Url, base: &Url) -> Url {
    let mut url = base.clone();
    url.set_path(meant.path());
    url.set_query(meant.query());
    url
}

/// The host, and the port if it is not the default.
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
