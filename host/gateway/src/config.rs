//! Configuration of the gateway. Checked once, when the gateway is built.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use url::Url;

use super::error::GatewayError;
use backline_model::origin::OriginPattern;

/// The gateway's limits and exceptions. Every limit has a default that suits a run over all platforms.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GatewayConfig {
    /// Longest wait for a connection in milliseconds, including name resolution and TLS.
    pub connect_timeout_ms: u64,
    /// Longest wait for one complete answer in milliseconds, from the first byte sent to the last byte of its body.
    pub request_timeout_ms: u64,
    /// Largest body of an answer in bytes, after decompression. A page of fifty channels has about 200 KiB.
    pub body_bytes_max: u64,
    /// Largest body of a request in bytes. Connectors send queries, not uploads.
    pub request_body_bytes_max: u64,
    /// Retries after the first attempt of a request.
    pub retries_max: u32,
    /// Upper bound of the first wait between two attempts in milliseconds; it doubles with each attempt.
    pub backoff_base_ms: u64,
    /// Upper bound of any wait that the gateway chooses, in milliseconds. A platform's `Retry-After` may be longer.
    pub backoff_max_ms: u64,
    /// Most redirects that are followed for one request.
    pub redirects_max: u32,
    /// Most concurrent requests of one session; further ones wait.
    pub sends_in_flight_max: u32,
    /// Most requests of one session in total, including retries and redirects.
    pub requests_max: u64,
    /// Most bytes of bodies that one session may receive in total: those of each before or after decompression,
    /// whichever are more. Requests that are running when they are used up may exceed it. A full batch of recorded
    /// answers has less than 50 MiB.
    pub received_bytes_max: u64,
    /// Most bytes that the answers of all sessions hold at once, each beyond its first mebibyte. A large answer waits
    /// for its turn, within its timeout.
    pub large_answers_bytes_max: u64,
    /// Failures of an origin in a row after which its breaker opens.
    pub breaker_failures: u32,
    /// How long the breaker stays open before one request probes the origin, in milliseconds.
    pub breaker_cool_down_ms: u64,
    /// Other destinations for requests to an origin, such as a simulator.
    pub routes: Vec<Route>,
    /// Origins whose addresses need not be public.
    pub exempt: Vec<OriginPattern>,
    /// Seed that makes the waits between attempts repeatable; `None` uses a random one.
    pub jitter_seed: Option<u64>,
}

/// Requests for `origin` are sent to `connect` instead. The `Host` header keeps the original host, and policy,
/// redirects and credentials use the original URL; only the address check is skipped.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// An exact origin, not a wildcard.
    pub origin: OriginPattern,
    /// Scheme, host and port, such as `http://127.0.0.1:4123`.
    pub connect: Url,
}

impl Default for GatewayConfig {
    fn default() -> Self {
        Self {
            connect_timeout_ms: 5_000,
            request_timeout_ms: 30_000,
            body_bytes_max: 16 * 1024 * 1024,
            request_body_bytes_max: 1024 * 1024,
            retries_max: 3,
            backoff_base_ms: 250,
            backoff_max_ms: 8_000,
            redirects_max: 3,
            sends_in_flight_max: 16,
            requests_max: 5_000,
            received_bytes_max: 512 * 1024 * 1024,
            large_answers_bytes_max: 256 * 1024 * 1024,
            breaker_failures: 10,
            breaker_cool_down_ms: 30_000,
            routes: Vec::new(),
            exempt: Vec::new(),
            jitter_seed: None,
        }
    }
}

impl GatewayConfig {
    /// Longest wait for a connection.
    pub(super) fn connect_timeout(&self) -> Duration {
        Duration::from_millis(self.connect_timeout_ms)
    }

    /// Longest wait for one complete answer.
    pub(super) fn request_timeout(&self) -> Duration {
        Duration::from_millis(self.request_timeout_ms)
    }

    /// Checks what types can't express: that limits allow anything at all, and that routes have the right form.
    pub(super) fn check(&self) -> Result<(), GatewayError> {
        let wrong = |field: &str, problem: &str| {
            Err(GatewayError::Config { field: field.to_owned(), problem: problem.to_owned() })
        };
        for (field, value) in [
            ("connect_timeout_ms", self.connect_timeout_ms),
            ("request_timeout_ms", self.request_timeout_ms),
            ("body_bytes_max", self.body_bytes_max),
            ("sends_in_flight_max", u64::from(self.sends_in_flight_max)),
            ("requests_max", self.requests_max),
            ("received_bytes_max", self.received_bytes_max),
            ("large_answers_bytes_max", self.large_answers_bytes_max),
            ("breaker_failures", u64::from(self.breaker_failures)),
        ] {
            if value == 0 {
                return wrong(field, "0 would allow nothing; set 1 or more");
            }
        }
        if let Some(error) = self.exempt.iter().find_map(|origin| origin.check_owner().err()) {
            return wrong("exempt", &error.to_string());
        }
        for route in &self.routes {
            if route.origin.exact().is_none() {
                return wrong("routes", &format!("{} is a wildcard; a route needs an exact origin", route.origin));
            }
            let base = &route.connect;
            let plain = matches!(base.scheme(), "http" | "https")
                && base.host_str().is_some()
                && base.path() == "/"
                && base.query().is_none()
                && base.fragment().is_none()
                && base.username().is_empty()
                && base.password().is_none();
            if !plain {
                return wrong("routes", &format!("the connect of {} must be like http://127.0.0.1:4123", route.origin));
            }
        }
        Ok(())
    }
}
