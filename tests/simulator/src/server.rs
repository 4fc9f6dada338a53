//! The server: listener, and the dispatch of requests by their `Host` header.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::{ConnectInfo, State};
use axum::http::{HeaderValue, Request as HttpRequest, Response, header};
use chrono::{DateTime, NaiveDate, Utc};
use serde_json::Value as Json;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use crate::connection::{ResetSwitch, ResettableListener};
use crate::counts::{Counts, SeenRequest};
use crate::faults::{self, Fault, FaultKind, Faults};
use crate::message::{Reply, Request, respond};
use crate::state::{HOSTS, Shared, SimulatorConfig, lock};
use crate::world::{World, noon};
use crate::{analytics, apple, business, control, instagram, spotify, tiktok, youtube};

/// Maximum size of a request body in bytes. The platforms accept only forms and short lists.
const REQUEST_BYTES_MAX: usize = 256 * 1024;

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
        let shared = Arc::new(Shared::new(config, addr));
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
        self.shared.addr()
    }

    /// Base URL of the server, as for `connect` in a gateway route.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.shared.addr())
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
