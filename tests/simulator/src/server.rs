//! The server: configuration, listener, and the dispatch of requests by their `Host` header.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{ConnectInfo, State};
use axum::http::{HeaderMap, HeaderValue, Request as HttpRequest, Response, StatusCode, header};
use chrono::{DateTime, NaiveDate, Utc};
use serde_json::Value as Json;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use crate::connection::{ResetSwitch, ResettableListener};
use crate::counts::{Counts, SeenRequest, Tallies};
use crate::faults::{self, Fault, FaultKind, Faults};
use crate::ids::{Kind, mix_text};
use crate::world::{INSTAGRAM_TOKEN, TIKTOK_ACCESS, TIKTOK_REFRESH, World, noon};
use crate::{analytics, apple, business, control, instagram, spotify, tiktok, youtube};

/// The simulated hosts.
pub const HOSTS: [&str; 11] = [
    "graph.instagram.com",
    "api.instagram.com",
    "api.spotify.com",
    "accounts.spotify.com",
    "youtube.googleapis.com",
    "www.googleapis.com",
    "open.tiktokapis.com",
    "api.music.apple.com",
    "graph.facebook.com",
    "youtubeanalytics.googleapis.com",
    "oauth2.googleapis.com",
];

/// Maximum size of a request body in bytes. The platforms accept only forms and short lists.
const REQUEST_BYTES_MAX: usize = 256 * 1024;

/// Quota mode of the Spotify app.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SpotifyMode {
    /// Extended quota, with batches, followers, popularity and top tracks.
    #[default]
    Extended,
    /// Development mode since 2026, without these.
    Development,
}

/// Configuration of the simulator.
#[derive(Clone, Debug)]
pub struct SimulatorConfig {
    /// Seed from which all numbers and ids are generated.
    pub seed: u64,
    /// Number of artists, at most 1,048,576.
    pub artists: u32,
    /// Simulated date at the start. The clock shows noon UTC all day.
    pub date: NaiveDate,
    /// Port on loopback; 0 selects a free one.
    pub port: u16,
    /// First date on which followers jump and fall; the day after the first one unless given. See the traits of
    /// [`World`].
    pub event: Option<NaiveDate>,
    /// Whether some artists can't be collected; see the traits of [`World`].
    pub troubles: bool,
    /// Whether all artists publish equally often; see [`World::made_regular`].
    pub regular: bool,
    /// YouTube quota units per day, reset at midnight Pacific time of the simulated clock. `batchGetStats` has the same
    /// number of units of its own.
    pub youtube_quota: u64,
    /// Quota mode of the Spotify app.
    pub spotify_mode: SpotifyMode,
    /// Spotify requests per simulated day, after which the response is 429 with `QUOTA_EXCEEDED`; unlimited if absent.
    pub spotify_quota: Option<u64>,
    /// Instagram calls per account and simulated day, after which the error has code 80002; unlimited if absent.
    pub instagram_calls: Option<u64>,
    /// Removed Instagram metrics: a request that names one fails as a whole.
    pub instagram_lost: Vec<String>,
    /// Whether a TikTok refresh returns a new refresh token and invalidates the old one.
    pub tiktok_rotates: bool,
    /// Simulated seconds for which the previous refresh token keeps working.
    pub tiktok_grace_seconds: i64,
    /// Whether tokens expire. Disable it if the simulated date is far ahead of the host's clock.
    pub tokens_expire: bool,
    /// Delay of every response, in milliseconds of real time.
    pub latency_ms: u64,
    /// The faults to inject.
    pub faults: Vec<Fault>,
    /// How many of the latest requests are recorded for [`Simulator::requests`].
    pub remember_requests: usize,
}

impl Default for SimulatorConfig {
    fn default() -> Self {
        Self {
            seed: 7,
            artists: 25,
            date: NaiveDate::from_ymd_opt(2026, 11, 20).expect("a date of the calendar"),
            port: 0,
            event: None,
            troubles: false,
            regular: false,
            youtube_quota: 10_000,
            spotify_mode: SpotifyMode::Extended,
            spotify_quota: None,
            instagram_calls: None,
            instagram_lost: Vec::new(),
            tiktok_rotates: true,
            tiktok_grace_seconds: 0,
            tokens_expire: true,
            latency_ms: 0,
            faults: Vec::new(),
            remember_requests: 0,
        }
    }
}

/// Latest refresh token of a TikTok account that was refreshed at least once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TiktokRotation {
    pub generation: u32,
    pub rotated_at: i64,
}

/// State shared by all handlers.
pub(crate) struct Shared {
    pub config: SimulatorConfig,
    pub world: World,
    now: Mutex<DateTime<Utc>>,
    pub ledger: Mutex<Tallies>,
    pub faults: Mutex<Faults>,
    pub instagram_lost: Mutex<Vec<String>>,
    pub instagram_calls: Mutex<HashMap<u32, (NaiveDate, u64)>>,
    pub tiktok_rotations: Mutex<HashMap<u32, TiktokRotation>>,
    /// Units spent of each allowance, with the date of the allowance.
    pub spent: Mutex<BTreeMap<&'static str, (NaiveDate, u64)>>,
    /// Delay of every response, in milliseconds of real time; begins as configured.
    pub latency_ms: AtomicU64,
    /// Verified Apple tokens and their expiry, cached because verification is slow in a debug build.
    pub apple_tokens: Mutex<HashMap<String, i64>>,
    addr: SocketAddr,
}

/// Locks a mutex, even if a thread panicked while it held the lock.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    pub(crate) fn now(&self) -> DateTime<Utc> {
        *lock(&self.now)
    }

    pub(crate) fn today(&self) -> NaiveDate {
        self.now().date_naive()
    }

    pub(crate) fn set_now(&self, now: DateTime<Utc>) {
        *lock(&self.now) = now;
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Whether a token issued at `issued_at` with a lifetime of `seconds` has expired.
    pub(crate) fn expired(&self, issued_at: i64, seconds: i64) -> bool {
        self.config.tokens_expire && self.now().timestamp() >= issued_at + seconds
    }

    /// Spends units of an allowance on a date. Returns false if fewer units are left.
    pub(crate) fn spend(&self, allowance: &'static str, date: NaiveDate, units: u64, limit: u64) -> bool {
        let mut spent = lock(&self.spent);
        let entry = spent.entry(allowance).or_insert((date, 0));
        if entry.0 != date {
            *entry = (date, 0);
        }
        if entry.1 + units > limit {
            return false;
        }
        entry.1 += units;
        lock(&self.ledger).spend(allowance, units);
        true
    }

    pub(crate) fn reset_counts(&self) {
        let mut ledger = lock(&self.ledger);
        ledger.counts = Counts::default();
        ledger.seen.clear();
    }
}

/// The running server. Dropping it stops it.
pub struct Simulator {
    shared: Arc<Shared>,
    _stop: oneshot::Sender<()>,
    _tasks: JoinSet<()>,
}

impl Simulator {
    /// Starts listening on loopback. The server is ready when this returns.
    ///
    /// # Errors
    ///
    /// If the port is in use.
    pub async fn start(config: SimulatorConfig) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", config.port)).await?;
        let addr = listener.local_addr()?;
        let world = World::new(config.seed, config.artists, config.date, config.troubles);
        let world = match config.event {
            Some(event) => world.with_event_on(event),
            None => world,
        };
        let shared = Arc::new(Shared {
            world: if config.regular { world.made_regular() } else { world },
            now: Mutex::new(noon(config.date)),
            ledger: Mutex::default(),
            faults: Mutex::new(Faults::new(config.faults.clone())),
            instagram_lost: Mutex::new(config.instagram_lost.clone()),
            instagram_calls: Mutex::default(),
            tiktok_rotations: Mutex::default(),
            spent: Mutex::default(),
            latency_ms: AtomicU64::new(config.latency_ms),
            apple_tokens: Mutex::default(),
            addr,
            config,
        });
        let router = axum::Router::new().fallback(answer).with_state(Arc::clone(&shared));
        let service = router.into_make_service_with_connect_info::<ResetSwitch>();
        let (stop, stopped) = oneshot::channel::<()>();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let serving = axum::serve(ResettableListener(listener), service).with_graceful_shutdown(async move {
                // A sent message and a dropped sender both mean stop.
                let _ = stopped.await;
            });
            // `serve` retries accept errors, so it ends only when it is stopped.
            let _ = serving.await;
        });
        Ok(Self { shared, _stop: stop, _tasks: tasks })
    }

    /// Address on which the server listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.shared.addr
    }

    /// Base URL of the server, as for `connect` in a gateway route.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.shared.addr)
    }

    /// Sets the simulated clock to noon UTC of a date.
    pub fn set_date(&self, date: NaiveDate) {
        self.shared.set_now(noon(date));
    }

    /// Sets the simulated clock.
    pub fn set_now(&self, now: DateTime<Utc>) {
        self.shared.set_now(now);
    }

    /// Counters since the start or the last reset.
    #[must_use]
    pub fn counts(&self) -> Counts {
        lock(&self.shared.ledger).counts.clone()
    }

    /// Resets all counters and the recorded requests. Spent allowances stay spent.
    pub fn reset_counts(&self) {
        self.shared.reset_counts();
    }

    /// The latest requests, oldest first, at most [`SimulatorConfig::remember_requests`].
    #[must_use]
    pub fn requests(&self) -> Vec<SeenRequest> {
        lock(&self.shared.ledger).seen.iter().cloned().collect()
    }

    /// Replaces the faults to inject.
    pub fn set_faults(&self, faults: Vec<Fault>) {
        *lock(&self.shared.faults) = Faults::new(faults);
    }

    /// Replaces the removed Instagram metrics.
    pub fn set_instagram_lost(&self, metrics: Vec<String>) {
        *lock(&self.shared.instagram_lost) = metrics;
    }

    /// The generated data behind the responses.
    #[must_use]
    pub fn world(&self) -> &World {
        &self.shared.world
    }
}

/// A request with its complete body.
pub(crate) struct Request {
    pub method: String,
    pub host: String,
    pub path: String,
    /// Path and query as sent.
    pub target: String,
    pub query: Vec<(String, String)>,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Request {
    /// The decoded value of a query parameter.
    pub(crate) fn param(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The parts of a comma-separated query parameter, without empty ones.
    pub(crate) fn list(&self, name: &str) -> Vec<&str> {
        self.param(name).unwrap_or("").split(',').filter(|part| !part.is_empty()).collect()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The token of `Authorization: Bearer …`.
    pub(crate) fn bearer(&self) -> Option<&str> {
        self.header("authorization")?.strip_prefix("Bearer ")
    }

    /// The fields of a form body; `None` unless it is declared as one.
    pub(crate) fn form(&self) -> Option<HashMap<String, String>> {
        let declared =
            self.header("content-type").is_some_and(|kind| kind.starts_with("application/x-www-form-urlencoded"));
        declared.then(|| url::form_urlencoded::parse(&self.body).into_owned().collect())
    }

    /// Whether the request contains a text, as in [`Fault::contains`].
    fn names(&self, world: &World, text: &str) -> bool {
        if self.target.contains(text) || String::from_utf8_lossy(&self.body).contains(text) {
            return true;
        }
        let instagram = self.param("access_token").and_then(|token| world.read_token(INSTAGRAM_TOKEN, token));
        let access = self.bearer().and_then(|token| world.read_token(TIKTOK_ACCESS, token));
        let refresh = self
            .form()
            .and_then(|form| form.get("refresh_token").and_then(|token| world.read_token(TIKTOK_REFRESH, token)));
        instagram.is_some_and(|token| world.id(Kind::InstagramUser, token.index, 0).contains(text))
            || access.or(refresh).is_some_and(|token| world.id(Kind::TiktokUser, token.index, 0).contains(text))
    }

    /// Sixteen hexadecimal digits derived from the request, for trace ids.
    pub(crate) fn trace(&self) -> String {
        format!("{:016X}", mix_text(0, &self.target))
    }
}

/// A complete response.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    pub body: Vec<u8>,
}

impl Reply {
    pub(crate) fn json(status: u16, body: &Json) -> Self {
        let headers = vec![("content-type", "application/json; charset=utf-8".to_owned())];
        Self { status, headers, body: body.to_string().into_bytes() }
    }

    pub(crate) fn ok(body: &Json) -> Self {
        Self::json(200, body)
    }

    pub(crate) fn text(status: u16, content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        Self { status, headers: vec![("content-type", content_type.to_owned())], body: body.into() }
    }

    pub(crate) fn empty(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Vec::new() }
    }

    pub(crate) fn with(mut self, headers: Vec<(&'static str, String)>) -> Self {
        self.headers.extend(headers);
        self
    }

    fn respond(self) -> Response<Body> {
        respond(self.status, &self.headers, Body::from(self.body))
    }
}

fn respond(status: u16, headers: &[(&'static str, String)], body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    for (name, value) in headers {
        // A fault may have a text that is not a valid header value; the header is left out then.
        if let Ok(value) = HeaderValue::from_str(value) {
            response.headers_mut().append(*name, value);
        }
    }
    response
}

/// The handlers of a platform.
struct Api {
    template: fn(&str) -> &'static str,
    handle: fn(&Shared, &Request) -> Reply,
    error: fn(u16) -> Json,
}

fn api(host: &str) -> Option<Api> {
    Some(match host {
        "graph.instagram.com" | "api.instagram.com" => {
            Api { template: instagram::template, handle: instagram::handle, error: instagram::any_error }
        }
        "api.spotify.com" | "accounts.spotify.com" => {
            Api { template: spotify::template, handle: spotify::handle, error: spotify::any_error }
        }
        "youtube.googleapis.com" | "www.googleapis.com" => {
            Api { template: youtube::template, handle: youtube::handle, error: youtube::any_error }
        }
        "open.tiktokapis.com" => Api { template: tiktok::template, handle: tiktok::handle, error: tiktok::any_error },
        "graph.facebook.com" => {
            Api { template: business::template, handle: business::handle, error: instagram::any_error }
        }
        "youtubeanalytics.googleapis.com" | "oauth2.googleapis.com" => {
            Api { template: analytics::template, handle: analytics::handle, error: analytics::any_error }
        }
        "api.music.apple.com" => Api { template: apple::template, handle: apple::handle, error: apple::any_error },
        _ => return None,
    })
}

/// Counts requests in flight, including those whose client disconnected.
struct InFlight<'a> {
    shared: &'a Shared,
    status: u16,
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        lock(&self.shared.ledger).answered(self.status);
    }
}

async fn answer(
    State(shared): State<Arc<Shared>>,
    ConnectInfo(switch): ConnectInfo<ResetSwitch>,
    request: HttpRequest<Body>,
) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let Ok(body) = to_bytes(body, REQUEST_BYTES_MAX).await else {
        return Reply::text(413, "text/plain", "request body too large").respond();
    };
    let authority = parts.headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or("");
    let host = authority.split(':').next().unwrap_or("").to_ascii_lowercase();
    let request = Request {
        method: parts.method.as_str().to_owned(),
        host,
        path: parts.uri.path().to_owned(),
        target: parts.uri.path_and_query().map_or_else(String::new, ToString::to_string),
        query: url::form_urlencoded::parse(parts.uri.query().unwrap_or("").as_bytes()).into_owned().collect(),
        headers: parts.headers,
        body,
    };
    if request.path.starts_with("/_control/") {
        return control::handle(&shared, &request).respond();
    }
    let Some(api) = api(&request.host) else {
        let known = HOSTS.join(", ");
        return Reply::text(421, "text/plain", format!("no platform at host '{}': use {known}\n", request.host))
            .respond();
    };
    {
        let mut ledger = lock(&shared.ledger);
        ledger.arrived(&request.host, format!("{} {}", request.method, (api.template)(&request.path)));
        if shared.config.remember_requests > 0 {
            ledger.remember(seen(&request), shared.config.remember_requests);
        }
    }
    let mut in_flight = InFlight { shared: &shared, status: 0 };
    let latency_ms = shared.latency_ms.load(Ordering::Relaxed);
    if latency_ms > 0 {
        tokio::time::sleep(Duration::from_millis(latency_ms)).await;
    }
    let fault = lock(&shared.faults).meet(&request.host, &request.path, |text| request.names(&shared.world, text));
    let response = match fault {
        None => (api.handle)(&shared, &request).respond(),
        Some(kind) => {
            lock(&shared.ledger).counts.faults += 1;
            faulty(&shared, &api, &request, &switch, kind).await
        }
    };
    if !switch.is_set() {
        in_flight.status = response.status().as_u16();
    }
    response
}

async fn faulty(
    shared: &Shared,
    api: &Api,
    request: &Request,
    switch: &ResetSwitch,
    kind: FaultKind,
) -> Response<Body> {
    let real = || (api.handle)(shared, request);
    let json = || vec![("content-type", "application/json".to_owned())];
    let reply = match kind {
        FaultKind::Latency { ms } => {
            tokio::time::sleep(Duration::from_millis(ms)).await;
            real()
        }
        FaultKind::Hang => return std::future::pending().await,
        FaultKind::TooManyRequests { retry_after } => {
            Reply::json(429, &(api.error)(429)).with(faults::retry_after(retry_after))
        }
        FaultKind::SpotifyQuotaExceeded => spotify::quota_exceeded(),
        FaultKind::Status { status, retry_after } => {
            Reply::json(status, &(api.error)(status)).with(faults::retry_after(retry_after))
        }
        FaultKind::Raw { status, content_type, body } => Reply::text(status, &content_type, body),
        FaultKind::Reset => {
            switch.set();
            // A body that fails at once, before the head is sent, ends the connection; the switch makes that a reset.
            return respond(200, &json(), faults::half_then_error(&[]));
        }
        FaultKind::ResetMidBody => {
            switch.set();
            return respond(200, &json(), faults::half_then_error(&real().body));
        }
        FaultKind::TruncatedJson => {
            let mut reply = real();
            reply.body.truncate(reply.body.len() / 2);
            reply
        }
        FaultKind::Html { status } => {
            let page =
                format!("<html>\n<head><title>{status}</title></head>\n<body><h1>{status}</h1></body>\n</html>\n");
            Reply::text(status, "text/html; charset=utf-8", page)
        }
        FaultKind::Redirect { status, to } => {
            let location = faults::location(&to, &request.host, &request.target);
            Reply::empty(status).with(vec![("location", location)])
        }
        FaultKind::HugeBody { bytes } => return respond(200, &json(), faults::huge(bytes)),
        FaultKind::Gzip => faults::gzip(real()),
        FaultKind::GzipBomb { bytes } => {
            let mut headers = json();
            headers.push(("content-encoding", "gzip".to_owned()));
            return respond(200, &headers, faults::gzip_bomb(bytes));
        }
    };
    reply.respond()
}

fn seen(request: &Request) -> SeenRequest {
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    SeenRequest {
        method: request.method.clone(),
        host: request.host.clone(),
        target: request.target.clone(),
        headers: request.headers.iter().map(|(name, value)| (name.as_str().to_owned(), text(value))).collect(),
        body: request.body.to_vec(),
    }
}
