//! Downloads a file that the operator named: from allowed origins only, with the address check and the routes of every
//! other request, without credentials, and up to a size limit.

use std::fmt;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use reqwest::header::{ACCEPT, HeaderMap, HeaderValue, LOCATION};
use url::Url;

use super::address::AddressPolicy;
use super::config::GatewayConfig;
use super::error::GatewayError;
use super::wire::{Wire, WireFault, WireRequest, WireResponse};
use backline_model::manifest::Method;
use backline_model::origin::{Origin, OriginPattern};

/// Why a file was not downloaded. No text holds a query, since queries may grant access.
#[derive(Debug, thiserror::Error)]
pub enum DownloadError {
    /// The operator did not allow the origin.
    #[error(
        "{origin} is not among the origins that may be downloaded from; to allow it, \
         add \"{origin}\" to sources under [plugins]"
    )]
    NotAllowed {
        /// Origin of the file.
        origin: Origin,
    },
    /// The operator did not allow the origin that a redirect leads to.
    #[error(
        "{from} redirects to {to}, which is not among the origins that may be downloaded from; to allow it, \
         add \"{to}\" to sources under [plugins]"
    )]
    RedirectNotAllowed {
        /// Origin that redirects.
        from: Origin,
        /// Target of the redirect.
        to: Origin,
    },
    /// A redirect to something that is not an `https` origin, or one redirect too many.
    #[error("{from} redirects {problem}")]
    Redirect {
        /// Origin that redirects.
        from: Origin,
        /// What is wrong with the redirect.
        problem: String,
    },
    /// There is no such file, or it is not public.
    #[error("{origin} answers with status {status}; check the path, and that the file can be read without a login")]
    Status {
        /// Origin of the file.
        origin: Origin,
        /// Status of the answer, which is not a success.
        status: u16,
    },
    /// The file has more bytes than allowed.
    #[error("the file has more than {0} bytes")]
    TooLarge(u64),
    /// There was no complete answer in time.
    #[error("{0} did not deliver the file in time; try again")]
    TimedOut(Origin),
    /// Its address is not public.
    #[error("{0}")]
    Refused(String),
    /// The connection failed or broke.
    #[error("{origin} can't be reached: {problem}")]
    Unreachable {
        /// Origin that does not answer.
        origin: Origin,
        /// Message of the network.
        problem: String,
    },
    /// TLS could not be set up.
    #[error(transparent)]
    Client(#[from] GatewayError),
}

impl DownloadError {
    /// Whether the file does not exist. Object stores answer "forbidden" for a missing file.
    #[must_use]
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::Status { status: 403 | 404 | 410, .. })
    }
}

/// Downloads files from allowed origins.
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
    /// Creates a downloader for these origins, with a `deadline` for each file.
    ///
    /// # Errors
    /// If the gateway's configuration is not valid.
    pub fn new(config: &GatewayConfig, allowed: &[OriginPattern], deadline: Duration) -> Result<Self, DownloadError> {
        let deadline_ms = u64::try_from(deadline.as_millis()).unwrap_or(u64::MAX).max(1);
        let config = GatewayConfig { request_timeout_ms: deadline_ms, ..config.clone() };
        config.check()?;
        Ok(Self { addresses: AddressPolicy::of(&config), config, allowed: allowed.to_vec() })
    }

    /// Downloads a file of at most `bytes_max` bytes. Redirects between allowed origins are followed.
    ///
    /// # Errors
    /// [`DownloadError`] says what would allow the download.
    pub async fn get(&self, url: &Url, bytes_max: u64) -> Result<Vec<u8>, DownloadError> {
        let config = GatewayConfig { body_bytes_max: bytes_max.max(1), ..self.config.clone() };
        let wire = Wire::new(&config, &self.addresses)?;
        let mut url = url.clone();
        let mut origin = self.allowed_origin(&mut url)?;
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
                let problem = format!("again, after {redirects} redirects");
                return Err(DownloadError::Redirect { from: origin, problem });
            }
            redirects += 1;
            (url, origin) = self.next_hop(&url, origin, &response.headers)?;
        }
    }

    fn allowed_origin(&self, url: &mut Url) -> Result<Origin, DownloadError> {
        let origin = Origin::of(url).map_err(|error| DownloadError::Refused(error.to_string()))?;
        origin.name_in(url);
        if self.allowed.iter().any(|pattern| pattern.matches(&origin)) {
            Ok(origin)
        } else {
            Err(DownloadError::NotAllowed { origin })
        }
    }

    fn next_hop(&self, url: &Url, from: Origin, headers: &HeaderMap) -> Result<(Url, Origin), DownloadError> {
        let location = headers.get(LOCATION).and_then(|location| location.to_str().ok());
        let Some(mut next) = location.and_then(|location| url.join(location).ok()) else {
            return Err(DownloadError::Redirect { from, problem: "without a valid location".to_owned() });
        };
        next.set_fragment(None);
        match self.allowed_origin(&mut next) {
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
        wire.attempt(&request, &AtomicU64::new(0)).await.map_err(|fault| match fault {
            WireFault::Refused(error) => DownloadError::Refused(error.to_string()),
            WireFault::TooLarge(limit) => DownloadError::TooLarge(limit),
            WireFault::TimedOut => DownloadError::TimedOut(origin.clone()),
            WireFault::NotConnected(problem) | WireFault::Broken(problem) => {
                DownloadError::Unreachable { origin: origin.clone(), problem }
            }
        })
    }
}
