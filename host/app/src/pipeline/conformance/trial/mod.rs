//! Tries a component with one account, without a database: check, fetch, normalize and everything the host makes of it.
//! Requests are listed with their cost, and may be recorded, or answered from a recording.

mod budgets;
pub(super) mod recording;
pub(super) mod replay;
mod report;
mod scrub;
pub(super) mod secrets;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::{Value as Json, json};
use tokio::task::JoinSet;
use tokio::time::Instant;

use self::recording::{About, NewRecording, Recording};
use self::replay::Replay;
pub use self::report::{TrialCall, TrialFailure, TrialLog, TrialMetric, TrialReport, TrialRequestSent};
use crate::config::Config;
use crate::pipeline::collection::evaluate::{self, DocumentOrigin, RowContext};
use crate::pipeline::collection::fetch::AccountFailure;
use crate::pipeline::conformance::shadow::class_of;
use crate::pipeline::error::{Classified, ErrorClass};
use crate::pipeline::releases::cache::LoadedRelease;
use backline_component::{InspectError, Inspection, inspect};
use backline_gateway::secrets::{SecretError, SecretText};
use backline_gateway::{Gateway, GatewayError, Route, SessionCredential, SessionSetup, TokenError, Trial};
use backline_model::clock::Clock;
use backline_model::origin::OriginPattern;
use backline_model::{
    AccountId, AccountStatus, ArtistId, Candidate, DocumentId, DocumentInput, FetchAccount, FetchContext, Grant, RunId,
    Snapshot, SubscriptionStatus, Tenant, Window, Zone,
};
use backline_sandbox::{CallError, Connector, LoadError, Sandbox, SandboxError};
use backline_store::AccountHistory;

/// What to try.
#[derive(Clone, Debug, Default)]
pub struct TrialRequest {
    /// The platform's id of the account; that of the recording unless given.
    pub account: Option<String>,
    /// The account's settings; those of the recording, or none, unless given.
    pub settings: Option<Json>,
    /// Secret by slot, in the form that `credentials set` takes.
    pub secrets: Vec<(String, SecretText)>,
    /// Other destinations for requests to an origin, besides those of the configuration.
    pub routes: Vec<(OriginPattern, url::Url)>,
    /// Folder to write a recording to; it does not exist or is empty.
    pub record: Option<PathBuf>,
    /// Folder of the recording that answers every request.
    pub replay: Option<PathBuf>,
    /// Most requests of a call, retries and redirects included; the configuration's bound unless given.
    pub requests_max: Option<u64>,
}

/// Why nothing was tried.
#[derive(Debug, thiserror::Error)]
pub enum TrialError {
    /// The file is not a connector.
    #[error(transparent)]
    Inspect(#[from] InspectError),
    /// The component can't be compiled or linked.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The sandbox can't be built.
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    /// The gateway can't be built, mostly because of a route.
    #[error(transparent)]
    Gateway(#[from] GatewayError),
    /// No request is allowed.
    #[error("no request may be sent; give at least 1 as --max-requests")]
    NoRequest,
    /// No account is named, or an empty one.
    #[error("no account is named; add --account with the platform's id of one")]
    NoAccount,
    /// The settings do not match the manifest's schema.
    #[error("the settings are not those that the connector takes: {0}; its connector.toml has the schema")]
    Settings(String),
    /// The manifest has no such slot.
    #[error("the connector has no credential slot '{slot}'; it has: {known}")]
    UnknownSlot {
        /// The slot that was named.
        slot: String,
        /// The slots that it has.
        known: String,
    },
    /// A secret can't be used.
    #[error("the secret of the slot {slot} can't be used")]
    Secret {
        /// The slot.
        slot: String,
        /// What is wrong, and what is expected; never the secret.
        source: SecretError,
    },
    /// A secret is of no use in a trial.
    #[error("the secret of the slot {slot} can't be used: {problem}")]
    NoToken {
        /// The slot.
        slot: String,
        /// What is wrong, and what is expected; never the secret.
        problem: &'static str,
    },
    /// A secret gives no token.
    #[error("no token can be made from the secret of the slot {slot}")]
    Token {
        /// The slot.
        slot: String,
        /// What the token endpoint says, or why none can be signed; never the secret.
        source: TokenError,
    },
    /// A recording holds too much or too little, or is of another version.
    #[error("{} can't be read as a recording: {problem}; `backline plugins try --record` makes one", path.display())]
    Recording {
        /// The file or folder.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// A file or folder of a recording can't be read.
    #[error("{} can't be read as a recording; `backline plugins try --record` makes one", path.display())]
    Unreadable {
        /// The file or folder.
        path: PathBuf,
        /// Error of the system.
        source: std::io::Error,
    },
    /// A file of a recording is no JSON, or has another form.
    #[error("{} is not part of a recording; `backline plugins try --record` makes one", path.display())]
    Form {
        /// The file.
        path: PathBuf,
        /// Where it differs.
        source: serde_json::Error,
    },
    /// No recording can be written there.
    #[error("a recording can't be made at {}; name another folder, or remove it first", folder.display())]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// What is in the way.
        source: std::io::Error,
    },
    /// A recording could not be written.
    #[error("failed to write the recording to {}", folder.display())]
    Write {
        /// The folder.
        folder: PathBuf,
        /// Error of the system.
        source: std::io::Error,
    },
}

impl Classified for TrialError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Gateway(error) => error.class(),
            Self::Sandbox(SandboxError::Ticker(_))
            | Self::Token { source: TokenError::Unavailable(_) | TokenError::RateLimited { .. }, .. }
            | Self::Write { .. } => ErrorClass::Unavailable,
            _ => ErrorClass::Refused,
        }
    }
}

/// Tries a component. Nothing is stored but the recording, if one is wanted; beside the report stands whether it was
/// written, since what the platform answered must not be lost to a full disk.
///
/// # Errors
/// [`TrialError`] if nothing could be tried. What goes wrong in the trial is in the report.
pub async fn try_component(
    config: Config,
    clock: Clock,
    component: &[u8],
    request: TrialRequest,
) -> Result<(TrialReport, Result<(), TrialError>), TrialError> {
    let inspection = inspect(component)?;
    let mut loader = Loader { component, loaded: None };
    try_loaded(config, clock, &inspection, &mut loader, request).await
}

/// Replays several recordings with one component, which is compiled once.
///
/// # Errors
/// [`TrialError`] of the first recording that could not be tried.
pub async fn replay_component(
    config: &Config,
    clock: &Clock,
    component: &[u8],
    recordings: &[PathBuf],
) -> Result<Vec<TrialReport>, TrialError> {
    let inspection = inspect(component)?;
    let mut loader = Loader { component, loaded: None };
    let mut reports = Vec::new();
    for recording in recordings {
        let request = TrialRequest { replay: Some(recording.clone()), ..TrialRequest::default() };
        let (report, saved) = try_loaded(config.clone(), clock.clone(), &inspection, &mut loader, request).await?;
        saved?;
        reports.push(report);
    }
    Ok(reports)
}

/// A component that is compiled when it is first needed, after everything that can be refused without it.
struct Loader<'a> {
    component: &'a [u8],
    /// The sandbox stays as long as its connector.
    loaded: Option<(Sandbox, Arc<Connector>)>,
}

impl Loader<'_> {
    async fn connector(&mut self, config: &Config, inspection: &Inspection) -> Result<Arc<Connector>, TrialError> {
        if let Some((_, connector)) = &self.loaded {
            return Ok(Arc::clone(connector));
        }
        let sandbox = Sandbox::new(config.sandbox.clone())?;
        let (connector, _) = sandbox.load(self.component, inspection.digest, None).await?;
        self.loaded = Some((sandbox, Arc::clone(&connector)));
        Ok(connector)
    }
}

async fn try_loaded(
    mut config: Config,
    clock: Clock,
    inspection: &Inspection,
    loader: &mut Loader<'_>,
    request: TrialRequest,
) -> Result<(TrialReport, Result<(), TrialError>), TrialError> {
    if let Some(requests_max) = request.requests_max {
        config.gateway.requests_max = Some(requests_max).filter(|most| *most > 0).ok_or(TrialError::NoRequest)?;
    }
    let recording = request.replay.as_deref().map(Recording::load).transpose()?;
    let about = recording.as_ref().map(|recording| recording.about.clone());
    let new_recording = request.record.as_deref().map(NewRecording::create).transpose()?;
    let account = request.account.clone().or_else(|| about.as_ref().map(|about| about.account.clone()));
    let account = account.filter(|account| !account.is_empty()).ok_or(TrialError::NoAccount)?;
    let settings = request.settings.clone().or_else(|| about.as_ref().map(|about| about.settings.clone()));
    let settings = settings.unwrap_or_else(|| json!({}));
    check_settings(inspection, &settings)?;

    // A recording is tried at the time at which it was made, so that the same numbers come of it every day.
    let now = about.as_ref().map_or_else(|| clock.now(), |about| about.observed_at);
    let days = chrono::TimeDelta::days(config.collection.window_days.into());
    let window = about.as_ref().map_or(Window { since: now - days, until: now }, |about| about.window);
    let replay = recording.map(|recording| Replay::of([recording]));

    config.gateway.routes.extend(
        request.routes.iter().map(|(origin, connect)| Route { origin: origin.clone(), connect: connect.clone() }),
    );
    let clock = if replay.is_some() { Clock::fixed(now) } else { clock };
    let (gateway, demands) = Gateway::new(config.gateway.clone(), clock)?;
    let mut background = JoinSet::new();
    background.spawn(budgets::serve(demands));

    let id = AccountId::generate();
    let replay = replay.map(|replay| replay.again([(id, account.as_str())]));
    let manifest = &inspection.manifest;
    let credentials = match &replay {
        Some(_) => secrets::stand_ins(manifest, &[id]),
        None => secrets::given(&gateway, manifest, &request.secrets, id, now).await?,
    };
    let connector = loader.connector(&config, inspection).await?;
    let tried = Tried { config: &config, inspection, connector, gateway, credentials, id, now, window };
    let report = tried.run(&account, &settings, replay.as_ref()).await;
    let saved = new_recording.map_or(Ok(()), |new| {
        let about = About::new(manifest, &account, &settings, now, window);
        new.finish(&about, &report.exchanges, manifest)
    });
    Ok((report, saved))
}

fn check_settings(inspection: &Inspection, settings: &Json) -> Result<(), TrialError> {
    let validator = jsonschema::validator_for(&inspection.manifest.settings)
        .map_err(|error| TrialError::Settings(format!("its schema for settings is not valid: {error}")))?;
    match validator.iter_errors(settings).next() {
        None => Ok(()),
        Some(error) => Err(TrialError::Settings(format!("settings{}: {error}", error.instance_path()))),
    }
}

/// Everything that a trial's calls have in common.
struct Tried<'a> {
    config: &'a Config,
    inspection: &'a Inspection,
    connector: Arc<Connector>,
    gateway: Gateway,
    credentials: Vec<SessionCredential>,
    id: AccountId,
    now: DateTime<Utc>,
    window: Window,
}

impl Tried<'_> {
    async fn run(&self, account: &str, settings: &Json, replay: Option<&Replay>) -> TrialReport {
        let trial = replay.map_or_else(Trial::live, |replay| Trial::answered(replay.clone()));
        let mut report = TrialReport::new(self.inspection, account, self.now, self.window, replay.is_some());
        let account =
            FetchAccount { id: self.id, platform_id: account.to_owned(), settings: settings.to_string(), state: None };
        let deadline = Instant::now() + Duration::from_millis(self.config.collection.batch_deadline_ms);
        let session = || {
            let setup = SessionSetup {
                manifest: Arc::new(self.inspection.manifest.clone()),
                grant: Arc::new(Grant::all_of(&self.inspection.manifest, &self.inspection.imports)),
                credentials: self.credentials.clone(),
                accounts: vec![self.id],
                deadline,
            };
            self.gateway.trial(setup, &trial)
        };

        let checking = session();
        let name = self.connector.check(checking.clone(), account.clone()).await;
        report.check = Some(match name {
            Ok(Ok(name)) => Ok(name),
            Ok(Err(error)) => Err(failure_of(AccountFailure::of(error))),
            Err(error) => Err(failure_of_call(&error)),
        });
        report.sent(TrialCall::Check, trial.take());
        report.cut += checking.usage().refused;

        let context = FetchContext { window: self.window, lost_metrics: Vec::new(), history: Vec::new() };
        let fetching = session();
        let secrets = [fetching.secrets()];
        let mut allowance = self.connector.allowance(Some(deadline));
        let called = self.connector.fetch_within(fetching.clone(), vec![account], context, &mut allowance).await;
        report.logged(TrialCall::Fetch, std::mem::take(&mut allowance.unanswered));
        report.sent(TrialCall::Fetch, trial.take());
        report.cut += fetching.usage().refused;
        match called {
            Err(error) => report.failed(TrialCall::Fetch, failure_of_call(&error)),
            Ok(call) => {
                report.used(TrialCall::Fetch, call.usage);
                report.lost_metrics = call.value.lost_metrics;
                match call.value.accounts.into_iter().next() {
                    Some(Ok(fetched)) => {
                        report.fetched(&fetched);
                        self.call_normalize(&secrets, fetched.body, &mut report).await;
                    }
                    Some(Err(error)) => report.failed(TrialCall::Fetch, failure_of(AccountFailure::of(error))),
                    // The sandbox has counted the answers.
                    None => {}
                }
            }
        }
        report.not_recorded = replay.map(Replay::missing).unwrap_or_default();
        report
    }

    async fn call_normalize(&self, secrets: &[backline_gateway::Secrets], body: String, report: &mut TrialReport) {
        let document = DocumentInput { body, window: self.window, observed_at: self.now };
        let mut allowance = self.connector.allowance(None);
        let called = self.connector.normalize_within(secrets, vec![document], &mut allowance).await;
        report.logged(TrialCall::Normalize, allowance.unanswered);
        let call = match called {
            Ok(call) => call,
            Err(error) => return report.failed(TrialCall::Normalize, failure_of_call(&error)),
        };
        report.used(TrialCall::Normalize, call.usage);
        match call.value.into_iter().next() {
            Some(Ok(snapshot)) => self.evaluate(snapshot, report),
            Some(Err(why)) => report.failed(TrialCall::Normalize, TrialFailure::not_normalised(why)),
            None => {}
        }
    }

    /// What the host makes of a snapshot: conform and validate, as for the first day of an account.
    fn evaluate(&self, snapshot: Snapshot, report: &mut TrialReport) {
        let manifest = Arc::new(self.inspection.manifest.clone());
        let release = LoadedRelease {
            connector: Arc::clone(&self.connector),
            grant: Arc::new(Grant::all_of(&manifest, &self.inspection.imports)),
            digest: self.inspection.digest,
            wit_version: self.inspection.wit_version.clone(),
            manifest,
        };
        let candidate = Candidate {
            account_id: self.id,
            artist_id: ArtistId::generate(),
            platform: release.manifest.connector.platform.clone(),
            tenant: Tenant::default(),
            timezone: Zone::utc(),
            subscription_status: SubscriptionStatus::Active,
            data_collection_enabled: true,
            account_status: AccountStatus::Active,
            consented: true,
            last_collected: None,
            last_failed: None,
            unreadable: None,
        };
        let origin = DocumentOrigin {
            metric_date: self.now.date_naive(),
            observed_at: self.now,
            window: self.window,
            run_id: RunId::generate(),
            document_id: DocumentId::generate(),
            only_history: false,
        };
        let context = RowContext::new(&release, self.config, &candidate, origin);
        report.evaluated(evaluate::make(&context, snapshot, AccountHistory::default()).row, &release.manifest);
    }
}

fn failure_of(failure: AccountFailure) -> TrialFailure {
    // A trial has no later try, so what is retried or deferred in a run ends here.
    let (class, message) = class_of(failure);
    TrialFailure { class: class.as_str().to_owned(), message }
}

fn failure_of_call(error: &CallError) -> TrialFailure {
    failure_of(crate::pipeline::collection::fetch::failure_of_call(error))
}
