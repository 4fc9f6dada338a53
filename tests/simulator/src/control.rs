//! The endpoints below `/_control/`, with which a test or demo controls the simulator over HTTP.

use std::sync::atomic::Ordering;

use axum::http::Method;
use chrono::{DateTime, NaiveDate, Utc};
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::faults::{Fault, Faults};
use crate::message::{Reply, Request};
use crate::state::{HOSTS, Shared, lock};
use crate::world::{Platform, World, noon};

pub(crate) fn handle(shared: &Shared, request: &Request) -> Reply {
    let method = Method::from_bytes(request.method.as_bytes()).unwrap_or(Method::GET);
    match (method, request.path.as_str()) {
        (Method::GET, "/_control/health") => Reply::ok(&json!({ "ok": true })),
        (Method::GET, "/_control/counts") => as_json(&lock(&shared.ledger).counts),
        (Method::DELETE, "/_control/counts") => {
            shared.reset_counts();
            Reply::empty(204)
        }
        (Method::GET, "/_control/date") => Reply::text(200, "text/plain", shared.today().to_string()),
        (Method::PUT, "/_control/date") => set_date(shared, request),
        (Method::PUT, "/_control/latency-ms") => parsed(request, |latency_ms: u64| {
            shared.latency_ms.store(latency_ms, Ordering::Relaxed);
        }),
        (Method::GET, "/_control/artists.csv") => {
            Reply::text(200, "text/csv; charset=utf-8", shared.world.artists_csv())
        }
        (Method::GET, "/_control/credentials.json") => credentials(&shared.world),
        (Method::GET, "/_control/optional-credentials.json") => {
            as_json(&shared.world.optional_credentials(shared.world.artists()))
        }
        (Method::GET, "/_control/routes.json") => routes(shared),
        (Method::GET, "/_control/expected.json") => expected(shared, request),
        (Method::PUT, "/_control/faults") => parsed(request, |faults: Vec<Fault>| {
            *lock(&shared.faults) = Faults::new(faults);
        }),
        (Method::PUT, "/_control/instagram-lost") => parsed(request, |metrics: Vec<String>| {
            *lock(&shared.instagram_lost) = metrics;
        }),
        _ => wrong(404, &format!("the simulator has no control '{} {}'", request.method, request.path)),
    }
}

fn wrong(status: u16, problem: &str) -> Reply {
    Reply::json(status, &json!({ "error": problem }))
}

fn as_json(value: &impl serde::Serialize) -> Reply {
    serde_json::to_value(value).map_or_else(|error| wrong(500, &error.to_string()), |value| Reply::ok(&value))
}

fn parsed<T: DeserializeOwned>(request: &Request, set: impl FnOnce(T)) -> Reply {
    match serde_json::from_slice(&request.body) {
        Ok(value) => {
            set(value);
            Reply::empty(204)
        }
        Err(error) => wrong(400, &format!("can't parse the body of {}: {error}", request.path)),
    }
}

/// Sets the clock. The body is a date (which sets noon) or a time such as `2026-11-21T09:30:00Z`, with or without
/// quotes.
fn set_date(shared: &Shared, request: &Request) -> Reply {
    let body = String::from_utf8_lossy(&request.body);
    let text = body.trim().trim_matches('"');
    let now = text.parse::<NaiveDate>().map(noon).ok().or_else(|| text.parse::<DateTime<Utc>>().ok());
    let Some(now) = now else {
        return wrong(400, &format!("'{text}' is no date such as 2026-11-21"));
    };
    shared.set_now(now);
    Reply::empty(204)
}

fn credentials(world: &World) -> Reply {
    let mut credentials = world.operator_credentials();
    credentials.extend((0..world.artists()).flat_map(|index| world.artist_credentials(index)));
    as_json(&credentials)
}

fn routes(shared: &Shared) -> Reply {
    let connect = format!("http://{}", shared.addr());
    let routes: Vec<_> =
        HOSTS.iter().map(|host| json!({ "origin": format!("https://{host}"), "connect": connect })).collect();
    as_json(&routes)
}

/// Responds to `?platform=youtube&index=3[&date=2026-11-20]` with the numbers that a collector should store.
fn expected(shared: &Shared, request: &Request) -> Reply {
    let platform = request.param("platform").unwrap_or("").parse::<Platform>();
    let index = request.param("index").and_then(|text| text.parse::<u32>().ok());
    let date = request.param("date").map_or(Ok(shared.today()), str::parse::<NaiveDate>);
    match (platform, index, date) {
        (Ok(platform), Some(index), Ok(date)) if index < shared.world.artists() => {
            as_json(&shared.world.expected(platform, index, date))
        }
        _ => wrong(400, "say platform, index and, if not today, date, as in ?platform=youtube&index=3"),
    }
}
