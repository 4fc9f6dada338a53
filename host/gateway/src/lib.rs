//! The gateway: the only way out of a sandbox, and the only module that speaks HTTP to platforms.
//!
//! A request passes through types, each in a file of its own with private fields, each made from the one before:
//! Requested → Permitted → Scanned → Credentialed → Sent → Redacted. Two steps can't be swapped by a later edit, and every
//! hop of a redirect starts again at the first.

mod address;
mod breaker;
mod budget;
mod config;
mod credential;
mod download;
mod error;
mod export;
mod policy;
mod redact;
mod redirect;
mod registry;
mod retry;
mod scan;
pub mod secrets;
mod send;
mod token;
mod webhook;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::Instant;

use crate::secrets::{Secret, SecretText};
use backline_model::clock::Clock;
use backline_model::grant::Grant;
use backline_model::ids::{AccountId, CredentialId};
use backline_model::manifest::{CredentialSlot, Manifest, Method};
use backline_model::origin::Origin;

pub use address::is_public;
pub use budget::{BudgetDemand, BudgetKey, Unspent, defers, window_of};
pub use config::{GatewayConfig, Route};
pub use download::{DownloadError, Downloader};
pub use error::{GatewayError, SendError, TokenError};
pub use export::ExportClient;
pub use registry::{Artifact, Pull, RegistryError, pull};
pub use webhook::{HookAnswer, WebhookRequest, WebhookRequestError};

use address::AddressPolicy;
use breaker::Breakers;
use budget::{Budgets, Charge};
use credential::Credentialed;
use policy::Requested;
use redact::{Redacted, SecretMatcher};
use scan::Scanned;
use send::{Sent, Wire};

/// A connector's request: `http.request` of the contract.
#[derive(Clone)]
pub struct Request {
    /// What to do.
    pub method: Method,
    /// Absolute, `https`, with the query already encoded.
    pub url: String,
    /// Names and values; those that are the host's are refused.
    pub headers: Vec<(String, String)>,
    /// What to send along.
    pub body: Option<Vec<u8>>,
    /// Which secret to inject.
    pub credential: Option<CredentialRef>,
}

/// A secret by name: a slot and, where each account has its own, the host's id of the account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CredentialRef {
    /// A slot of the manifest.
    pub slot: String,
    /// The account, as the connector wrote it.
    pub account: Option<String>,
}

/// What a connector gets: decompressed, every secret of the session blanked out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// The HTTP status.
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    /// Decompressed.
    pub body: Vec<u8>,
}

/// A secret one session may use.
#[derive(Clone, Debug)]
pub struct SessionCredential {
    /// Its budgets are counted under this id.
    pub id: CredentialId,
    /// The slot it belongs to.
    pub slot: String,
    /// Whose it is; none for the operator's.
    pub account: Option<AccountId>,
    /// What is injected: an access token, a key, a signed developer token.
    pub value: SecretText,
}

/// What one batch may do.
#[derive(Clone, Debug)]
pub struct SessionSetup {
    /// What the connector asks for.
    pub manifest: Arc<Manifest>,
    /// What the operator allowed.
    pub grant: Arc<Grant>,
    /// The secrets of this batch's accounts and of the operator.
    pub credentials: Vec<SessionCredential>,
    /// The accounts of this batch.
    pub accounts: Vec<AccountId>,
    /// No request outlives it.
    pub deadline: Instant,
}

/// What a session has used so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Requests on the wire, retries and redirects included.
    pub requests: u64,
    /// Bytes of bodies received, after decompression.
    pub bytes_received: u64,
    /// Units paid, by budget name.
    pub units: BTreeMap<String, u64>,
    /// Requests by origin.
    pub requests_by_origin: BTreeMap<String, u64>,
    /// Answers that asked for patience: 429, and 503 with a `Retry-After`.
    pub throttled: u64,
    /// Requests without a whole answer in time.
    pub timed_out: u64,
}

/// What all sessions of the process share.
struct Core {
    config: GatewayConfig,
    clock: Clock,
    addresses: AddressPolicy,
    wire: Wire,
    breakers: Breakers,
    budgets: Budgets,
    jitter: Mutex<StdRng>,
}

impl Core {
    /// A number from 0 to 1 for a jittered wait.
    fn random(&self) -> f64 {
        self.jitter.lock().unwrap_or_else(PoisonError::into_inner).random()
    }
}

/// The gateway of the process.
#[derive(Clone)]
pub struct Gateway {
    core: Arc<Core>,
}

impl fmt::Debug for Gateway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Gateway")
    }
}

impl Gateway {
    /// Builds the gateway. The receiver gets its wishes for budget units and must be answered for as long as requests are sent
    /// with credentials that have budgets.
    ///
    /// # Errors
    /// When a configured value makes no sense, or TLS can't be set up.
    pub fn new(config: GatewayConfig, clock: Clock) -> Result<(Self, mpsc::Receiver<BudgetDemand>), GatewayError> {
        config.check()?;
        let addresses = AddressPolicy::of(&config);
        let wire = Wire::new(&config, &addresses)?;
        let (demands, receiver) = mpsc::channel(budget::DEMANDS_MAX);
        let core = Core {
            breakers: Breakers::new(&config),
            budgets: Budgets::new(demands, clock.clone()),
            jitter: Mutex::new(config.jitter_seed.map_or_else(rand::make_rng, StdRng::seed_from_u64)),
            config,
            clock,
            addresses,
            wire,
        };
        Ok((Self { core: Arc::new(core) }, receiver))
    }

    /// Opens the way out for one batch.
    #[must_use]
    pub fn session(&self, setup: SessionSetup) -> Session {
        Session {
            inner: Some(Arc::new(SessionInner {
                secrets: SecretMatcher::new(setup.credentials.iter().map(|credential| credential.value.expose())),
                in_flight: Semaphore::new(self.core.config.sends_in_flight_max as usize),
                usage: Mutex::default(),
                core: Arc::clone(&self.core),
                setup,
            })),
        }
    }

    /// Makes a secret fresh: exchanges, refreshes or signs anew, by its kind. Returns the whole secret to be saved in place of the
    /// old one, at once and atomically, since a platform may have made the old refresh token worthless.
    ///
    /// `client` is the operator's [`Secret::OauthClient`] for refresh tokens of accounts.
    ///
    /// # Errors
    /// [`TokenError`] says whether the owner must connect anew, the operator must mend something, or time will.
    pub async fn refresh(
        &self,
        slot: &CredentialSlot,
        client: Option<&Secret>,
        secret: &Secret,
    ) -> Result<Secret, TokenError> {
        token::refresh(&self.core, slot, client, secret).await
    }

    /// A number from 0 to 1 for a jittered wait of somebody else's; repeatable where the configuration has a seed.
    #[must_use]
    pub fn jitter(&self) -> f64 {
        self.core.random()
    }

    /// Takes back the units that were granted and not used, for the caller to return to the keeper.
    #[must_use]
    pub fn unspent_budgets(&self) -> Vec<Unspent> {
        self.core.budgets.drain()
    }
}

/// One batch's way out. Dropping a future of [`Session::send`] cancels the request.
#[derive(Clone)]
pub struct Session {
    inner: Option<Arc<SessionInner>>,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Session")
    }
}

struct SessionInner {
    core: Arc<Core>,
    setup: SessionSetup,
    secrets: SecretMatcher,
    in_flight: Semaphore,
    usage: Mutex<Usage>,
}

impl Session {
    /// A session in which every request is denied: what a pure stage of a connector gets.
    #[must_use]
    pub fn without_capabilities() -> Self {
        Self { inner: None }
    }

    /// Sends a request: every check, redirect and retry included.
    ///
    /// # Errors
    /// The cases of the contract. A status of 400 and above is an answer, not an error: 429 and 5xx are returned as they are once
    /// the retries are used up or the platform asks for more patience than there is time.
    pub async fn send(&self, request: Request) -> Result<Response, SendError> {
        let Some(session) = &self.inner else {
            return Err(SendError::Denied(
                "nothing can be sent from here; requests belong in `fetch` and `check`".into(),
            ));
        };
        match tokio::time::timeout_at(session.setup.deadline, session.send(request)).await {
            Ok(outcome) => outcome.map_err(|error| error.redacted(&session.secrets)),
            Err(_) => {
                session.usage().timed_out += 1;
                Err(SendError::TimedOut)
            }
        }
    }

    /// What it has used so far.
    #[must_use]
    pub fn usage(&self) -> Usage {
        self.inner.as_ref().map(|session| session.usage().clone()).unwrap_or_default()
    }
}

impl SessionInner {
    /// The path of every request.
    async fn send(&self, request: Request) -> Result<Response, SendError> {
        let _slot =
            self.in_flight.acquire().await.map_err(|_| SendError::Unreachable("the session is closed".into()))?;
        let mut redacted = self.hop(Requested::of(request)?).await?;
        let mut redirects = 0;
        while let Some(next) = redirect::next_hop(&redacted)? {
            if redirects == self.core.config.redirects_max {
                return Err(SendError::Unreachable(format!("more than {redirects} redirects, one after the other")));
            }
            redirects += 1;
            let from = redacted.response().1;
            redacted = self.hop(next).await.map_err(|error| redirect::of_redirect(error, from))?;
        }
        Ok(redacted.into_response())
    }

    /// The path of one hop.
    async fn hop(&self, requested: Requested) -> Result<Redacted, SendError> {
        let SessionSetup { manifest, grant, .. } = &self.setup;
        let permitted = requested.permit(manifest, grant, &self.core.addresses)?;
        let scanned = Scanned::of(permitted, &self.secrets, self.core.config.request_body_bytes_max)?;
        let credentialed = Credentialed::of(scanned, &self.setup)?;
        let sent = Sent::of(credentialed, self).await?;
        Ok(Redacted::of(sent, &self.secrets))
    }

    fn usage(&self) -> MutexGuard<'_, Usage> {
        self.usage.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a request that is about to be sent.
    fn count(&self, origin: &Origin) -> Result<(), SendError> {
        let GatewayConfig { requests_max, received_bytes_max, .. } = self.core.config;
        let mut usage = self.usage();
        if usage.requests >= requests_max {
            return Err(SendError::Denied(format!(
                "the batch has sent its {requests_max} requests; requests_max under [gateway] would allow more"
            )));
        }
        if usage.bytes_received >= received_bytes_max {
            return Err(SendError::Denied(format!(
                "the batch has received its {received_bytes_max} bytes; received_bytes_max under [gateway] would allow more"
            )));
        }
        usage.requests += 1;
        *usage.requests_by_origin.entry(origin.to_string()).or_default() += 1;
        Ok(())
    }

    fn paid(&self, charges: &[Charge]) {
        let mut usage = self.usage();
        for (budget, units) in charges.iter().map(Charge::named_units) {
            let paid = usage.units.entry(budget.to_owned()).or_default();
            *paid = paid.saturating_add(units);
        }
    }

    fn received(&self, bytes: u64) {
        self.usage().bytes_received += bytes;
    }

    fn throttled(&self) {
        self.usage().throttled += 1;
    }

    fn timed_out(&self) {
        self.usage().timed_out += 1;
    }
}
