//! Downloads a file the operator named: from allowed origins only, with the address check and the routes of every other request, without
//! credentials, and never more than a bound.

use std::fmt;
use std::time::Duration;

use reqwest::header::{ACCEPT, HeaderMap, HeaderValue, LOCATION};
use url::Url;

use super::address::AddressPolicy;
use super::config::GatewayConfig;
use super::error::GatewayError;
use super::send::{Fault, Wire, WireRequest, WireResponse};
use backline_model::manifest::Method;
use backline_model::origin::{Origin, OriginPattern};

/// Why a file was not downloaded. No text holds a query, in which servers hand out access.
#[derive(Debug, thiserror::Error)]
pub enum DownloadError {
    /// The operator did not allow the origin.
    #[error(
        "{origin} is not among the origins that may be downloaded from; to allow it, add \"{origin}\" to sources under [plugins]"
    )]
    NotAllowed {
        /// Where it lies.
        origin: Origin,
    },
    /// The operator did not allow where the origin sends us.
    #[error(
        "{from} redirects to {to}, which is not among the origins that may be downloaded from; to allow it, add \"{to}\" to sources under [plugins]"
    )]
    RedirectNotAllowed {
        /// Who redirects.
        from: Origin,
        /// Where to.
        to: Origin,
    },
    /// Somewhere that is no `https` origin, or one redirect too many.
    #[error("{from} redirects {problem}")]
    Redirect {
        /// Who redirects.
        from: Origin,
        /// What is wrong.
        problem: String,
    },
    /// There is no such file, or not for us.
    #[error("{origin} answers with status {status}; is the path right, and may everybody read it?")]
    Status {
        /// Who answers.
        origin: Origin,
        /// Not one of success.
        status: u16,
    },
    /// More bytes than allowed.
    #[error("the file has more than {0} bytes")]
    TooLarge(u64),
    /// No whole answer in time.
    #[error("{0} did not deliver the file in time; try again")]
    TimedOut(Origin),
    /// Its address is not public.
    #[error("{0}")]
    Refused(String),
    /// No connection, or it broke.
    #[error("{origin} can't be reached: {problem}")]
    Unreachable {
        /// Who does not answer.
        origin: Origin,
        /// What the network says.
        problem: String,
    },
    /// TLS could not be set up.
    #[error(transparent)]
    Client(#[from] GatewayError),
}

impl DownloadError {
    /// Whether there is no such file. Object stores say "forbidden" of what does not exist.
    #[must_use]
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::Status { status: 403 | 404 | 410, .. })
    }
}

/// Downloads from allowed origins.
pub struct Downloader {
    config: GatewayConfig,
    addresses: AddressPolicy,
    allowed: Vec<OriginPattern>,
}

impl fmt::Debug for Downloader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Downloader").field("allowed", &self.allowed).finish_non_exhaustive()
    }
}

impl Downloader {
    /// Downloads from these origins, each file within `deadline`.
    ///
    /// # Errors
    /// When the gateway's configuration makes no sense.
    pub fn new(config: &GatewayConfig, allowed: &[OriginPattern], deadline: Duration) -> Result<Self, DownloadError> {
        let deadline_ms = u64::try_from(deadline.as_millis()).unwrap_or(u64::MAX).max(1);
        let config = GatewayConfig { request_timeout_ms: deadline_ms, ..config.clone() };
        config.check()?;
        Ok(Self { addresses: AddressPolicy::of(&config), config, allowed: allowed.to_vec() })
    }

    /// Downloads a file of at most `bytes_max` bytes. Redirects are followed from one allowed origin to another.
    ///
    /// # Errors
    /// [`DownloadError`] says what would allow it.
    pub async fn get(&self, url: &Url, bytes_max: u64) -> Result<Vec<u8>, DownloadError> {
        let config = GatewayConfig { body_bytes_max: bytes_max.max(1), ..self.config.clone() };
        let wire = Wire::new(&config, &self.addresses)?;
        let mut url = url.clone();
        let mut origin = self.allowed_origin(&url)?;
        let mut redirects = 0;
        loop {
            let response = self.ask(&wire, &url, &origin).await?;
            if !matches!(response.status, 301 | 302 | 303 | 307 | 308) {
                return match response.status {
                    200 => Ok(response.body),
                    status => Err(DownloadError::Status { origin, status }),
                };
            }
            if redirects == self.config.redirects_max {
                let problem = format!("once more, after {redirects} redirects");
                return Err(DownloadError::Redirect { from: origin, problem });
            }
            redirects += 1;
            (url, origin) = self.next_hop(&url, origin, &response.headers)?;
        }
    }

    fn allowed_origin(&self, url: &Url) -> Result<Origin, DownloadError> {
        let origin = Origin::of(url).map_err(|error| DownloadError::Refused(error.to_string()))?;
        if self.allowed.iter().any(|pattern| pattern.matches(&origin)) {
            Ok(origin)
        } else {
            Err(DownloadError::NotAllowed { origin })
        }
    }

    fn next_hop(&self, url: &Url, from: Origin, headers: &HeaderMap) -> Result<(Url, Origin), DownloadError> {
        let location = headers.get(LOCATION).and_then(|location| location.to_str().ok());
        let Some(mut next) = location.and_then(|location| url.join(location).ok()) else {
            return Err(DownloadError::Redirect { from, problem: "to nowhere that could be understood".to_owned() });
        };
        next.set_fragment(None);
        match self.allowed_origin(&next) {
            Ok(origin) => Ok((next, origin)),
            Err(DownloadError::NotAllowed { origin: to }) => Err(DownloadError::RedirectNotAllowed { from, to }),
            Err(error) => Err(DownloadError::Redirect { from, problem: format!("elsewhere: {error}") }),
        }
    }

    async fn ask(&self, wire: &Wire, url: &Url, origin: &Origin) -> Result<WireResponse, DownloadError> {
        let destination =
            self.addresses.destination(origin).map_err(|error| DownloadError::Refused(error.to_string()))?;
        let headers = HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static("application/wasm, */*"))]);
        let request = WireRequest { method: Method::Get, url: url.clone(), headers, body: None, destination };
        wire.attempt(&request).await.map_err(|fault| match fault {
            Fault::Refused(error) => DownloadError::Refused(error.to_string()),
            Fault::TooLarge(limit) => DownloadError::TooLarge(limit),
            Fault::TimedOut => DownloadError::TimedOut(origin.clone()),
            Fault::NotConnected(problem) | Fault::Broken(problem) => {
                DownloadError::Unreachable { origin: origin.clone(), problem }
            }
        })
    }
}
