//! Runs connectors: every call in its own store, under every limit, with the gateway's session as the only way out.
//!
//! The only crate that uses wasmtime. `link` shows everything that a component can import, `call` everything that
//! limits it.
//!
//! Everything that can fail about a component fails when it is loaded:
//!
//! ```
//! use backline_model::Digest;
//! use backline_sandbox::{Sandbox, SandboxConfig};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let sandbox = Sandbox::new(SandboxConfig { calls_at_once: 4, ..SandboxConfig::default() })?;
//! let text = b"not a component";
//! let refused = sandbox.load(text, Digest::of(text), None).await.err().expect("it is refused");
//! println!("{refused}");
//! assert_eq!(sandbox.connectors(), 0);
//! # Ok(())
//! # }
//! ```
//!
//! What is loaded is called for one batch at a time:
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use backline_gateway::Session;
//! use backline_model::Digest;
//! use backline_model::fetch::{DocumentInput, FetchAccount, FetchContext};
//! use backline_sandbox::{Sandbox, SandboxConfig};
//! use tokio::time::Instant;
//!
//! # async fn collect(
//! #     session: Session,
//! #     accounts: Vec<FetchAccount>,
//! #     context: FetchContext,
//! # ) -> Result<(), Box<dyn std::error::Error>> {
//! let component = std::fs::read("youtube.wasm")?;
//! let sandbox = Sandbox::new(SandboxConfig::default())?;
//! let (connector, record) = sandbox.load(&component, Digest::of(&component), None).await?;
//! println!("store {} for the next start", record.key);
//!
//! let (window, observed_at) = (context.window, context.window.until);
//! let deadline = Instant::now() + Duration::from_secs(60);
//! let batch = connector.fetch(session, accounts, context, deadline).await?.value;
//! let fetched = batch.accounts.into_iter().flatten();
//! let documents = fetched.map(|fetched| DocumentInput { body: fetched.body, window, observed_at }).collect();
//! for snapshot in connector.normalize(documents).await?.value {
//!     println!("{:?}", snapshot?.metrics);
//! }
//! # Ok(())
//! # }
//! ```

mod answer;
mod bindings;
mod call;
pub mod compile;
mod config;
mod confine;
mod engine;
mod error;
mod link;
mod meters;
mod search;
mod sends;
mod state;
mod wasi;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::Instant;
use wasmtime::Engine;
use wasmtime::component::Component;

pub use call::{Allowance, Call, CallUsage};
pub use compile::CompiledRecord;
pub use config::{CompileLimits, SandboxConfig};
pub use confine::warn_if_lacking;
pub use error::{CallError, LoadError, SandboxError};
pub use meters::{LogLevel, LogLine};

use answer::Breach;
use bindings::{BindingsPre, Version};
use call::Startable;
use engine::Ticker;
use link::Linkers;
use wasi::Surroundings;

use backline_gateway::{Secrets, Session};
use backline_model::fetch::{DocumentInput, FetchAccount, FetchContext, FetchError, FetchedBatch};
use backline_model::snapshot::Snapshot;
use backline_model::{Digest, Manifest};

/// The engine, its pool and its limits. One for each process; cheap to clone.
///
/// Everything that can fail fails in [`Sandbox::load`], before the component is used:
///
/// ```
/// use backline_model::Digest;
/// use backline_sandbox::{Sandbox, SandboxConfig};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let sandbox = Sandbox::new(SandboxConfig { calls_at_once: 4, ..SandboxConfig::default() })?;
///
/// let module = b"\0asm\x01\0\0\0"; // an empty core module
/// let refused = sandbox.load(module, Digest::of(module), None).await.err().expect("not a component");
/// assert!(refused.to_string().contains("`backline plugins pack`"), "the error says how to make it one");
/// assert_eq!(sandbox.connectors(), 0);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Sandbox {
    shared: Arc<Shared>,
}

/// State that the sandbox and all its connectors share.
struct Shared {
    config: SandboxConfig,
    engine: Engine,
    linkers: Linkers,
    /// Permits of the calls that may run at once. First come, first served.
    permits: Semaphore,
    /// Number of loaded connectors.
    connectors: AtomicUsize,
    /// Held while a component is compiled: the compiler uses all cores, and its memory is limited for each process.
    compiling: tokio::sync::Mutex<()>,
    /// Runs until the sandbox and its last connector are dropped.
    _ticker: Ticker,
}

/// One release of a connector, ready to be called. Concurrent calls share nothing.
pub struct Connector {
    shared: Arc<Shared>,
    startable: Startable,
    manifest: Manifest,
    wit_version: String,
    digest: Digest,
}

impl Sandbox {
    /// Sets up the engine and reserves address space for its pool.
    ///
    /// # Errors
    /// If a configured limit is not valid, or the address space can't be reserved.
    pub fn new(config: SandboxConfig) -> Result<Self, SandboxError> {
        config.check()?;
        let engine = engine::pooled_engine(&config)?;
        let linkers = Linkers::new(&engine).map_err(|error| SandboxError::Engine(format!("{error:#}")))?;
        let ticker = Ticker::start(&engine, Duration::from_millis(config.epoch_tick_ms))?;
        let permits = Semaphore::new(config.calls_at_once as usize);
        let compiling = tokio::sync::Mutex::new(());
        Ok(Self {
            shared: Arc::new(Shared {
                config,
                engine,
                linkers,
                permits,
                connectors: AtomicUsize::new(0),
                compiling,
                _ticker: ticker,
            }),
        })
    }

    /// The limits in force.
    #[must_use]
    pub fn config(&self) -> &SandboxConfig {
        &self.shared.config
    }

    /// Number of loaded connectors. A connector is loaded until its last call has ended and no one holds it.
    #[must_use]
    pub fn connectors(&self) -> usize {
        self.shared.connectors.load(Ordering::Relaxed)
    }

    /// The key of a component's [`CompiledRecord`]: its digest, and the engine settings that compiled code depends on.
    #[must_use]
    pub fn cache_key(&self, component: &Digest) -> String {
        compile::key(&self.shared.engine, component)
    }

    /// Loads a component: reads its manifest, checks its imports, compiles it (or loads the compiled code), links it
    /// and starts it once. Everything that can fail fails here, before anything depends on the component.
    ///
    /// `known` is the record that an earlier call returned for this digest; the returned record replaces it.
    ///
    /// # Errors
    /// [`LoadError`] says what is wrong with the component, or which limit its compilation exceeded.
    pub async fn load(
        &self,
        component: &[u8],
        digest: Digest,
        known: Option<&CompiledRecord>,
    ) -> Result<(Arc<Connector>, CompiledRecord), LoadError> {
        let shared = &self.shared;
        let (bytes, limit) = (component.len() as u64, shared.config.component_bytes_max);
        if bytes > limit {
            return Err(LoadError::TooLarge { bytes, limit });
        }
        let inspection = backline_component::inspect(component)?;
        if inspection.digest != digest {
            return Err(LoadError::Digest { expected: digest, actual: inspection.digest });
        }
        let Some(version) = Version::of(&inspection.wit_version) else {
            return Err(LoadError::UnknownVersion { actual: inspection.wit_version, known: bindings::KNOWN });
        };
        let with_wasi = link::check_imports(&inspection.imports, version)?;

        let (compiled, record) = self.compiled(component, digest, known).await?;
        let linked = shared.linkers.link(&compiled, with_wasi)?;
        let bindings =
            BindingsPre::new(version, linked).map_err(|error| LoadError::Link(bindings::clip(format!("{error:#}"))))?;
        let name = inspection.manifest.connector.name.clone();
        shared.connectors.fetch_add(1, Ordering::Relaxed);
        let connector = Connector {
            shared: Arc::clone(shared),
            startable: Startable { name, bindings, with_wasi },
            manifest: inspection.manifest,
            wit_version: inspection.wit_version,
            digest,
        };
        connector.start_for_trial().await?;
        Ok((Arc::new(connector), record))
    }

    /// The component's code: from disk if the record proves its origin, compiled otherwise.
    async fn compiled(
        &self,
        component: &[u8],
        digest: Digest,
        known: Option<&CompiledRecord>,
    ) -> Result<(Component, CompiledRecord), LoadError> {
        let key = self.cache_key(&digest);
        let cached = compile::in_background({
            let (shared, key, known) = (Arc::clone(&self.shared), key.clone(), known.cloned());
            move || {
                let code = compile::cached(&shared.config, &key, known.as_ref())?;
                // SAFETY: the code has the digest that was recorded when this host compiled it.
                #[expect(unsafe_code, reason = "compiled code is loaded, after its digest was checked")]
                let loaded = unsafe { Component::deserialize(&shared.engine, &code) };
                match loaded {
                    Ok(component) => known.map(|known| (component, known)),
                    Err(error) => {
                        tracing::warn!(%error, "the compiled component does not fit this host; compiling it again");
                        None
                    }
                }
            }
        })
        .await?;
        if let Some(found) = cached {
            return Ok(found);
        }

        let code = {
            let _alone = self.shared.compiling.lock().await;
            compile::compile(&self.shared.config, &self.shared.engine, component.to_vec()).await?
        };
        let shared = Arc::clone(&self.shared);
        compile::in_background(move || {
            let record = CompiledRecord { key, compiled: Digest::of(&code) };
            if let Err(error) = compile::keep(&shared.config, &record.key, &code) {
                // The next start compiles again, which only takes time.
                tracing::warn!(%error, "the compiled component could not be stored");
            }
            // SAFETY: this host's own compiler has just produced the code, and it was only in memory and in a folder
            // that only this user can enter.
            #[expect(unsafe_code, reason = "compiled code is loaded that this process has just produced")]
            let component = unsafe { Component::deserialize(&shared.engine, &code) };
            let component = component.map_err(|error| LoadError::Link(bindings::clip(format!("{error:#}"))))?;
            Ok((component, record))
        })
        .await?
    }
}

impl Drop for Connector {
    fn drop(&mut self) {
        self.shared.connectors.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Connector {
    /// The manifest that is embedded in the component.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Version of the contract that it is built against, such as `1.0.0`.
    #[must_use]
    pub fn wit_version(&self) -> &str {
        &self.wit_version
    }

    /// Whether one of its calls may fetch past dates besides: what a [`FetchContext`] says of them reaches it.
    #[must_use]
    pub fn takes_history(&self) -> bool {
        self.startable.bindings.version() != Version::OneZero
    }

    /// Whether its answers name their accounts, in place of standing in their order.
    #[must_use]
    pub fn names_accounts(&self) -> bool {
        self.startable.bindings.version() != Version::OneZero
    }

    /// Digest of the component.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// All that one call may use, for the calls of a batch to share.
    #[must_use]
    pub fn allowance(&self, deadline: Option<Instant>) -> Allowance {
        Allowance::of(&self.shared.config, deadline)
    }

    /// Checks whether an account can be read with its credential, and returns its name on the platform.
    ///
    /// # Errors
    /// [`CallError`] if the connector did not answer; the inner error is the connector's.
    pub async fn check(
        &self,
        session: Session,
        account: FetchAccount,
    ) -> Result<Result<String, FetchError>, CallError> {
        let secrets = [session.secrets()];
        let searched = secrets[0].clone();
        let mut allowance = self.allowance(None);
        let (shared, startable, machine) = (&self.shared, &self.startable, &Surroundings::Machine);
        let call = call::run(shared, startable, session, &secrets, &mut allowance, machine, |accessor, instance| {
            Box::pin(async move {
                let name = instance.check(accessor, account).await?;
                Ok(search::checked(&searched, name).await)
            })
        })
        .await?;
        Ok(call.value)
    }

    /// Fetches a batch: one document or one error for each account, in their order, whether the connector's answers
    /// name their accounts or stand in order. `deadline` also limits the wait for a permit.
    ///
    /// # Errors
    /// [`CallError`] if the connector did not answer, or its answer violates the contract.
    pub async fn fetch(
        &self,
        session: Session,
        accounts: Vec<FetchAccount>,
        context: FetchContext,
        deadline: Instant,
    ) -> Result<Call<FetchedBatch>, CallError> {
        let mut allowance = self.allowance(Some(deadline));
        self.fetch_within(session, accounts, context, &mut allowance).await
    }

    /// Like [`Connector::fetch`], for one of the calls that share an allowance.
    ///
    /// # Errors
    /// The same. An answer that is larger than what is left is a limit that was exceeded.
    pub async fn fetch_within(
        &self,
        session: Session,
        accounts: Vec<FetchAccount>,
        context: FetchContext,
        allowance: &mut Allowance,
    ) -> Result<Call<FetchedBatch>, CallError> {
        let asked = accounts.len();
        let secrets = [session.secrets()];
        let searched = secrets[0].clone();
        let (shared, startable, machine) = (&self.shared, &self.startable, &Surroundings::Machine);
        let call = call::run(shared, startable, session, &secrets, allowance, machine, |accessor, instance| {
            Box::pin(async move {
                let batch = instance.fetch(accessor, accounts, context).await?;
                Ok(search::fetched(&searched, batch).await)
            })
        })
        .await?;
        let limit = allowance.output_bytes.min(self.shared.config.output_bytes_max);
        let checked = call.value.map_err(|Breach(why)| CallError::Contract(why)).and_then(|batch| {
            let output_bytes = answer::check_batch(&batch, asked, limit)?;
            Ok((batch, output_bytes))
        });
        if checked.is_err() {
            allowance.unanswered.extend(call.usage.log_lines.iter().cloned());
        }
        let (value, output_bytes) = checked?;
        allowance.output_bytes = allowance.output_bytes.saturating_sub(output_bytes);
        Ok(Call { value, usage: CallUsage { output_bytes, ..call.usage } })
    }

    /// Converts documents into snapshots, one for each, in order. The connector can do nothing in it but log. If it
    /// imports WASI, its clocks stand at the time of the document's observation, timers end at once, and the document
    /// seeds its random numbers.
    ///
    /// # Errors
    /// [`CallError`] if the connector did not answer, or its answer violates the contract; an inner error says which
    /// part of a document it could not parse.
    pub async fn normalize(
        &self,
        documents: Vec<DocumentInput>,
    ) -> Result<Call<Vec<Result<Snapshot, String>>>, CallError> {
        self.normalize_of(&[], documents).await
    }

    /// Like [`Connector::normalize`], for documents that were fetched in sessions with these secrets: what the
    /// connector makes of them is searched once more.
    ///
    /// # Errors
    /// The same.
    pub async fn normalize_of(
        &self,
        secrets: &[Secrets],
        documents: Vec<DocumentInput>,
    ) -> Result<Call<Vec<Result<Snapshot, String>>>, CallError> {
        let mut allowance = self.allowance(None);
        self.normalize_within(secrets, documents, &mut allowance).await
    }

    /// Like [`Connector::normalize_of`], for one of the calls that share an allowance.
    ///
    /// # Errors
    /// The same. An answer that is larger than what is left is a limit that was exceeded. Nothing is answered then, so
    /// nothing of the allowance for answers is used.
    pub async fn normalize_within(
        &self,
        secrets: &[Secrets],
        documents: Vec<DocumentInput>,
        allowance: &mut Allowance,
    ) -> Result<Call<Vec<Result<Snapshot, String>>>, CallError> {
        if !self.startable.with_wasi {
            return self.normalize_together(secrets, documents, allowance, &Surroundings::Machine).await;
        }
        // Clocks and random numbers are those of one document, so each has a call of its own. For the caller it is one.
        let output_bytes = allowance.output_bytes;
        let mut all = Call { value: Vec::with_capacity(documents.len()), usage: CallUsage::default() };
        for document in documents {
            let surroundings = Surroundings::of(&document);
            match self.normalize_together(secrets, vec![document], allowance, &surroundings).await {
                Ok(call) => {
                    all.value.extend(call.value);
                    all.usage.add(call.usage);
                }
                Err(error) => {
                    // What the documents before made it log comes first.
                    allowance.unanswered.splice(0..0, all.usage.log_lines);
                    let left = allowance.output_bytes.min(self.shared.config.output_bytes_max);
                    // What was answered for the documents before it is dropped with it.
                    allowance.output_bytes = output_bytes;
                    return Err(match error {
                        CallError::LimitExceeded { what: "output_bytes_max", limit } if limit == left => {
                            let limit = output_bytes.min(self.shared.config.output_bytes_max);
                            CallError::LimitExceeded { what: "output_bytes_max", limit }
                        }
                        error => error,
                    });
                }
            }
        }
        Ok(all)
    }

    /// One call of `normalize`.
    async fn normalize_together(
        &self,
        secrets: &[Secrets],
        documents: Vec<DocumentInput>,
        allowance: &mut Allowance,
        surroundings: &Surroundings,
    ) -> Result<Call<Vec<Result<Snapshot, String>>>, CallError> {
        let asked = documents.len();
        let session = Session::without_capabilities();
        let searched = secrets.to_vec();
        let (shared, startable) = (&self.shared, &self.startable);
        let call = call::run(shared, startable, session, secrets, allowance, surroundings, |accessor, instance| {
            Box::pin(async move {
                let snapshots = instance.normalize(accessor, documents).await?;
                Ok(search::snapshots(&searched, snapshots).await)
            })
        })
        .await?;
        let limit = allowance.output_bytes.min(self.shared.config.output_bytes_max);
        let checked = answer::check_snapshots(&call.value, asked, limit);
        if checked.is_err() {
            allowance.unanswered.extend(call.usage.log_lines.iter().cloned());
        }
        let output_bytes = checked?;
        allowance.output_bytes = allowance.output_bytes.saturating_sub(output_bytes);
        Ok(Call { value: call.value, usage: CallUsage { output_bytes, ..call.usage } })
    }

    /// Starts an instance and drops it, to find components that exceed their limits or trap when they start.
    async fn start_for_trial(&self) -> Result<(), LoadError> {
        let session = Session::without_capabilities();
        let mut allowance = self.allowance(None);
        let (shared, startable, machine) = (&self.shared, &self.startable, &Surroundings::Machine);
        call::run(shared, startable, session, &[], &mut allowance, machine, |_, _| Box::pin(std::future::ready(Ok(()))))
            .await
            .map(|_| ())
            .map_err(LoadError::Start)
    }
}
