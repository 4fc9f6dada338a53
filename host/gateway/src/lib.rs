//! The gateway: the only way out of a sandbox, and the only crate that sends HTTP requests to platforms.
//!
//! A request passes through a chain of types, each in its own file with private fields, each made from the previous
//! one: Requested → Permitted → Scanned → Credentialed → Sent → Redacted. So no later edit can swap two steps, and
//! every hop of a redirect starts again at the first one.
//!
//! ```
//! use backline_gateway::is_public;
//! use backline_gateway::secrets::{Keyring, Secret};
//! use backline_model::manifest::{CredentialKind, Owner};
//!
//! // Only public addresses are connected to, unless the operator exempts a host.
//! assert!(is_public("8.8.8.8".parse()?));
//! assert!(!is_public("169.254.169.254".parse()?), "the metadata service of a cloud");
//!
//! // A secret prints as nothing of itself, and is stored sealed, bound to its credential.
//! let secret = Secret::parse(CredentialKind::ApiKey, Owner::Operator, "an-example-key")?;
//! assert!(!format!("{secret:?}").contains("example"));
//! let keyring = Keyring::from_base64(&Keyring::generate_base64())?;
//! let sealed = keyring.seal(&secret, "credential 1");
//! assert_eq!(keyring.open(&sealed, "credential 1")?, secret);
//! assert!(keyring.open(&sealed, "credential 2").is_err());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod address;
#[cfg(feature = "benchmarks")]
#[doc(hidden)]
pub mod benchmarks;
mod breaker;
mod budget;
mod config;
mod credential;
mod download;
mod error;
mod export;
mod headers;
mod mail;
mod owners;
mod pause;
mod policy;
mod redact;
mod redirect;
mod registry;
mod retry;
mod scan;
mod secret_matcher;
pub mod secrets;
mod send;
mod tls;
mod token;
mod trial;
mod unpack;
mod webhook;
mod wire;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::Instant;

use crate::secrets::{Secret, SecretText};
use backline_model::Holder;
use backline_model::clock::Clock;
use backline_model::grant::Grant;
use backline_model::ids::{AccountId, CredentialId};
use backline_model::manifest::{CredentialSlot, Manifest, Method};
use backline_model::origin::Origin;
use backline_model::weakened::{Bound, off};

pub use address::is_public;
pub use budget::{BudgetDemand, BudgetKey, Demand, PlaceDemand, Unspent, defers, window_of};
pub use config::{GatewayConfig, Route};
pub use download::{DownloadError, Downloader};
pub use error::{GatewayError, SendError, TokenError};
pub use export::ExportClient;
pub use mail::{Mail, MailError};
pub use pause::{ASKED_PAUSE_MAX, LEARNED_FOR, LearnedPace, Pause, WAITED_PAUSE_MAX, learned_interval_us};
pub use registry::{Artifact, Pull, Push, RegistryError, pull, push};
pub use trial::{Answers, Asked, Exchange, Trial};
pub use webhook::{WebhookAnswer, WebhookRequest, WebhookRequestError};

use address::AddressPolicy;
use breaker::Breakers;
use budget::{Budgets, Charge};
use credential::Credentialed;
use pause::HolderPauses;
use policy::Requested;
use redact::Redacted;
use scan::Scanned;
use secret_matcher::SecretMatcher;
use send::Sent;
use trial::Passed;
use wire::Wire;

/// A connector's request: `http.request` of the contract.
#[derive(Clone)]
pub struct Request {
    /// HTTP method.
    pub method: Method,
    /// Absolute `https` URL, with the query already encoded.
    pub url: String,
    /// Names and values. Headers that only the host may set are refused.
    pub headers: Vec<(String, String)>,
    /// Body of the request.
    pub body: Option<Vec<u8>>,
    /// Credential to inject.
    pub credential: Option<CredentialRef>,
}

/// Reference to a secret: a slot and, if each account has its own secret, the host's id of the account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CredentialRef {
    /// Slot of the manifest.
    pub slot: String,
    /// Id of the account, as the connector wrote it.
    pub account: Option<String>,
}

/// The answer that a connector gets, with every secret of the session redacted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// HTTP status.
    pub status: u16,
    /// Names in lower case, and values.
    pub headers: Vec<(String, String)>,
    /// Body after decompression.
    pub body: Vec<u8>,
}

/// A secret that a session may use.
#[derive(Clone, Debug)]
pub struct SessionCredential {
    /// Id that its budgets are counted under.
    pub id: CredentialId,
    /// Slot that it belongs to.
    pub slot: String,
    /// Account that it belongs to; `None` for the operator's secret.
    pub account: Option<AccountId>,
    /// The injected value: an access token, a key or a signed developer token.
    pub value: SecretText,
}

/// What a session may do: it serves one batch.
#[derive(Clone, Debug)]
pub struct SessionSetup {
    /// What the connector asks for.
    pub manifest: Arc<Manifest>,
    /// What the operator allowed.
    pub grant: Arc<Grant>,
    /// Secrets of this batch's accounts and of the operator.
    pub credentials: Vec<SessionCredential>,
    /// Accounts of this batch.
    pub accounts: Vec<AccountId>,
    /// Time at which every request of the session ends.
    pub deadline: Instant,
}

/// What a session has used so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Requests sent, including retries and redirects.
    pub requests: u64,
    /// Those, and the ones that an allowance or a pause held back. A connector that goes on asking comes to an end.
    pub asked: u64,
    /// Bytes of received bodies: those of each before or after decompression, whichever are more.
    pub bytes_received: u64,
    /// Units spent, by budget name.
    pub units: BTreeMap<String, u64>,
    /// Requests by origin.
    pub requests_by_origin: BTreeMap<String, u64>,
    /// Answers that limited the rate: 429, and 503 with a `Retry-After`.
    pub throttled: u64,
    /// Requests without a complete answer in time.
    pub timed_out: u64,
    /// Requests that were refused because requests or bytes were used up.
    pub refused: u64,
    /// Requests that were not sent because nobody said whether a budget has units left.
    pub unanswered: u64,
    /// Budgets that held requests back, since they were spent or would be waited for too long. Of a budget of accounts'
    /// own credentials, only those of the accounts concerned.
    pub spent: BTreeSet<BudgetKey>,
}

/// What the sessions of a batch have used of the bounds that they share.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spent {
    /// Requests asked for, whether they were sent or held back.
    pub asked: u64,
    /// Bytes of bodies received.
    pub bytes_received: u64,
}

impl Spent {
    /// Adds what one more session used.
    pub fn add(&mut self, usage: &Usage) {
        self.asked = self.asked.saturating_add(usage.asked);
        self.bytes_received = self.bytes_received.saturating_add(usage.bytes_received);
    }
}

/// State that all sessions of the process share.
struct Core {
    config: GatewayConfig,
    clock: Clock,
    addresses: AddressPolicy,
    wire: Wire,
    breakers: Breakers,
    budgets: Budgets,
    pauses: HolderPauses,
    jitter: Mutex<StdRng>,
}

impl Core {
    /// A random number from 0 to 1 for a jittered wait.
    fn random(&self) -> f64 {
        self.jitter.lock().unwrap_or_else(PoisonError::into_inner).random()
    }
}

/// The gateway of the process. Cloning shares it.
///
/// ```
/// use std::sync::Arc;
/// use std::time::Duration;
///
/// use backline_gateway::{Gateway, GatewayConfig, Request, SessionSetup};
/// use backline_model::manifest::Method;
/// use backline_model::{Clock, Grant, Manifest};
/// use tokio::time::Instant;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let manifest = Manifest::parse(
/// #     r#"
/// #     [connector]
/// #     name = "example"
/// #     platform = "example"
/// #     version = "1.0.0"
/// #     api = "^1.0"
/// #     title = "Example"
/// #     batch_size = 50
/// #
/// #     [[host]]
/// #     origin = "https://api.example.com"
/// #     methods = ["GET"]
/// #     reason = "followers"
/// #     "#,
/// # )?;
/// let (gateway, _budget_demands) = Gateway::new(GatewayConfig::default(), Clock::system())?;
/// let session = gateway.session(SessionSetup {
///     grant: Arc::new(Grant::all_of(&manifest, &[])),
///     manifest: Arc::new(manifest), // allows GET to https://api.example.com
///     credentials: Vec::new(),
///     accounts: Vec::new(),
///     deadline: Instant::now() + Duration::from_secs(10),
/// });
///
/// let request = Request {
///     method: Method::Post,
///     url: "https://api.example.com/v1/users".to_owned(),
///     headers: Vec::new(),
///     body: None,
///     credential: None,
/// };
/// let denied = session.send(request).await.unwrap_err().to_string();
/// assert!(denied.ends_with("methods = [\"GET\", \"POST\"]"), "the line that would allow it");
/// # Ok(())
/// # }
/// ```
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
    /// Builds the gateway. The receiver gets the demands for budget units; they must be answered as long as requests
    /// are sent that have budgets.
    ///
    /// # Errors
    /// If a configured value is not valid, or TLS can't be set up.
    pub fn new(config: GatewayConfig, clock: Clock) -> Result<(Self, mpsc::Receiver<Demand>), GatewayError> {
        config.check()?;
        let addresses = AddressPolicy::of(&config);
        let wire = Wire::new(&config, &addresses)?;
        let (demands, receiver) = mpsc::channel(budget::DEMANDS_MAX);
        let core = Core {
            breakers: Breakers::new(&config),
            budgets: Budgets::new(demands, clock.clone()),
            pauses: HolderPauses::default(),
            jitter: Mutex::new(config.jitter_seed.map_or_else(rand::make_rng, StdRng::seed_from_u64)),
            config,
            clock,
            addresses,
            wire,
        };
        Ok((Self { core: Arc::new(core) }, receiver))
    }

    /// Opens a session for one batch.
    #[must_use]
    pub fn session(&self, setup: SessionSetup) -> Session {
        self.open(setup, None, Spent::default())
    }

    /// Opens a session for a part of a batch whose earlier sessions used `spent`: it may use what they left.
    #[must_use]
    pub fn session_after(&self, setup: SessionSetup, spent: Spent) -> Session {
        self.open(setup, None, spent)
    }

    /// Opens a session whose requests are listed by a trial, and answered by it if it has prepared answers.
    #[must_use]
    pub fn trial(&self, setup: SessionSetup, trial: &Trial) -> Session {
        self.open(setup, Some(trial.clone()), Spent::default())
    }

    fn open(&self, setup: SessionSetup, trial: Option<Trial>, spent: Spent) -> Session {
        Session {
            inner: Some(Arc::new(SessionInner {
                secrets: Arc::new(SecretMatcher::new(
                    setup.credentials.iter().map(|credential| credential.value.expose()),
                )),
                in_flight: Semaphore::new(self.core.config.sends_in_flight_max as usize),
                usage: Mutex::default(),
                core: Arc::clone(&self.core),
                setup,
                spent,
                trial,
            })),
        }
    }

    /// Renews a secret: exchanges, refreshes or signs it, by its kind. The returned secret must replace the old one at
    /// once and atomically, since the platform may have invalidated the old refresh token.
    ///
    /// `client` is the operator's [`Secret::OauthClient`] for refresh tokens of accounts.
    ///
    /// # Errors
    /// [`TokenError`] says whether the owner must reconnect, the operator must fix something, or a later attempt may
    /// work.
    pub async fn refresh(
        &self,
        slot: &CredentialSlot,
        client: Option<&Secret>,
        secret: &Secret,
    ) -> Result<Secret, TokenError> {
        token::refresh(&self.core, slot, client, secret).await
    }

    /// A random number from 0 to 1 for the caller's own jittered wait; repeatable if the configuration has a seed.
    #[must_use]
    pub fn jitter(&self) -> f64 {
        self.core.random()
    }

    /// Pauses the requests of a holder, as another part of the host, or another host, was asked to.
    pub fn pause(&self, pause: &Pause) {
        self.core.pauses.take_up(pause, Instant::now());
    }

    /// Lets go of a pause that a person ended so long ago. What was asked for since then stays.
    pub fn end_pause(&self, holder: &Holder, ago: Duration) {
        self.core.pauses.end(holder, ago, Instant::now());
    }

    /// How much longer the requests of a holder pause.
    #[must_use]
    pub fn pause_left(&self, holder: &Holder) -> Option<Duration> {
        self.core.pauses.left(holder, Instant::now())
    }

    /// How much longer the platform asked a holder to wait that pauses, also where that is longer than it is kept.
    #[must_use]
    pub fn pause_asked(&self, holder: &Holder) -> Option<Duration> {
        self.core.pauses.asked(holder, Instant::now())
    }

    /// Takes back units that were granted and not used. The caller returns them to the store.
    #[must_use]
    pub fn unspent_budgets(&self) -> Vec<Unspent> {
        self.core.budgets.drain()
    }
}

/// Access to the network for one batch. Dropping a future of [`Session::send`] cancels the request.
#[derive(Clone)]
pub struct Session {
    inner: Option<Arc<SessionInner>>,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Session")
    }
}

/// The secrets of a session, to search what a connector answers with. Cloning shares them; none by default.
#[derive(Clone, Default)]
pub struct Secrets {
    matcher: Option<Arc<SecretMatcher>>,
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secrets]")
    }
}

impl Secrets {
    /// Replaces every secret in these texts. Takes time in proportion to the texts and lets others run in between.
    pub async fn blank_all(&self, texts: Vec<&mut String>) {
        if let Some(matcher) = &self.matcher
            && !off(Bound::Redaction)
        {
            matcher.blank_all(texts).await;
        }
    }
}

struct SessionInner {
    core: Arc<Core>,
    setup: SessionSetup,
    secrets: Arc<SecretMatcher>,
    in_flight: Semaphore,
    usage: Mutex<Usage>,
    /// What earlier sessions of the batch used of the same bounds.
    spent: Spent,
    trial: Option<Trial>,
}

impl Session {
    /// A session that denies every request, for the pure stages of a connector.
    #[must_use]
    pub fn without_capabilities() -> Self {
        Self { inner: None }
    }

    /// Sends a request, with every check, redirect and retry.
    ///
    /// # Errors
    /// The cases of the contract. A status of 400 or more is an answer, not an error: 429 and 5xx are returned when the
    /// retries are used up or the platform asks for a longer wait than there is time.
    pub async fn send(&self, request: Request) -> Result<Response, SendError> {
        let Some(session) = &self.inner else {
            return Err(SendError::Denied("requests are only possible in `fetch` and `check`".into()));
        };
        let mut wait = Wait { session, is_over: false };
        let outcome = tokio::time::timeout_at(session.setup.deadline, session.send(request)).await;
        wait.is_over = outcome.is_ok();
        outcome.unwrap_or(Err(SendError::TimedOut)).map_err(|error| error.redacted(&session.secrets))
    }

    /// The session's secrets, for what the connector answers: it must not store what the search of the answers missed.
    #[must_use]
    pub fn secrets(&self) -> Secrets {
        Secrets { matcher: self.inner.as_ref().map(|session| Arc::clone(&session.secrets)) }
    }

    /// What the session has used so far.
    #[must_use]
    pub fn usage(&self) -> Usage {
        self.inner.as_ref().map(|session| session.usage().clone()).unwrap_or_default()
    }
}

/// A request that is waited for. If the session's time ends first it counts as timed out, also where the call that
/// waits for it ends at the same moment and drops it.
struct Wait<'a> {
    session: &'a SessionInner,
    is_over: bool,
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        if !self.is_over && Instant::now() >= self.session.setup.deadline {
            self.session.timed_out();
        }
    }
}

impl SessionInner {
    /// The path of every request.
    async fn send(&self, request: Request) -> Result<Response, SendError> {
        let _permit =
            self.in_flight.acquire().await.map_err(|_| SendError::Unreachable("the session is closed".into()))?;
        let mut redacted = self.hop(Requested::of(request)?).await?;
        let mut redirects = 0;
        while let Some(next) = redirect::next_hop(&redacted)? {
            if redirects == self.core.config.redirects_max && !off(Bound::Redirects) {
                return Err(SendError::Unreachable(format!("more than {redirects} redirects in a row")));
            }
            redirects += 1;
            redacted.let_go();
            let from = redacted.response().1;
            redacted = self.hop(next).await.map_err(|error| redirect::of_redirect(error, from))?;
        }
        Ok(redacted.into_response())
    }

    /// One hop, listed if this is a trial.
    async fn hop(&self, requested: Requested) -> Result<Redacted, SendError> {
        let mut passed = Passed::default();
        let Some(trial) = &self.trial else { return self.pass(requested, &mut passed).await };
        let begun = trial.begin(requested.hop(), &self.secrets);
        let outcome = self.pass(requested, &mut passed).await;
        let answer = match &outcome {
            Ok(redacted) => Ok(redacted.response().0.clone()),
            Err(error) => Err(error.clone().redacted(&self.secrets)),
        };
        trial.end(&begun, &passed, answer);
        outcome
    }

    /// The path of one hop.
    async fn pass(&self, requested: Requested, passed: &mut Passed) -> Result<Redacted, SendError> {
        let SessionSetup { manifest, grant, .. } = &self.setup;
        let permitted = requested.permit(manifest, grant, &self.core.addresses)?;
        let scanned = Scanned::of(permitted, &self.secrets, self.core.config.request_body_bytes_max).await?;
        let credentialed = Credentialed::of(scanned, &self.setup)?;
        let sent = match self.trial.as_ref().and_then(Trial::answers) {
            None => Sent::of(credentialed, self, passed).await?,
            Some(answers) => Sent::prepared(credentialed, self, passed, answers)?,
        };
        Redacted::of(sent, &self.secrets).await
    }

    fn usage(&self) -> MutexGuard<'_, Usage> {
        self.usage.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Admits a request within the session's bounds, before it is known whether an allowance lets it through.
    fn admit(&self) -> Result<(), SendError> {
        let GatewayConfig { requests_max, received_bytes_max, .. } = self.core.config;
        let mut usage = self.usage();
        if usage.asked + self.spent.asked >= requests_max && !off(Bound::Requests) {
            usage.refused += 1;
            return Err(SendError::Denied(format!(
                "the batch has asked for its {requests_max} requests; requests_max under [gateway] allows more"
            )));
        }
        if usage.bytes_received + self.spent.bytes_received >= received_bytes_max && !off(Bound::ReceivedBytes) {
            usage.refused += 1;
            return Err(SendError::Denied(format!(
                "the batch has received its {received_bytes_max} bytes; received_bytes_max under [gateway] allows more"
            )));
        }
        usage.asked += 1;
        Ok(())
    }

    /// Counts a request that nothing holds back any more, and the units that were paid for it.
    fn sent(&self, origin: &Origin, charges: &[Charge]) {
        let mut usage = self.usage();
        usage.requests += 1;
        *usage.requests_by_origin.entry(origin.to_string()).or_default() += 1;
        for (budget, units) in charges.iter().map(Charge::named_units) {
            match usage.units.get_mut(budget) {
                Some(paid) => *paid = paid.saturating_add(units),
                None => {
                    usage.units.insert(budget.to_owned(), units);
                }
            }
        }
    }

    fn received(&self, bytes: u64) {
        let mut usage = self.usage();
        usage.bytes_received = usage.bytes_received.saturating_add(bytes);
    }

    fn held_back_by(&self, budget: &BudgetKey) {
        self.usage().spent.insert(budget.clone());
    }

    fn throttled(&self) {
        self.usage().throttled += 1;
    }

    fn timed_out(&self) {
        self.usage().timed_out += 1;
    }
}
