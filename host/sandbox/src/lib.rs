//! Runs connectors: every call in a store of its own, under every bound, with no way out but the gateway's session.
//!
//! The only module that knows wasmtime. `link` shows all that a component can get, `call` all that bounds it.

mod answer;
mod bindings;
mod call;
pub mod compile;
mod config;
mod engine;
mod error;
mod link;
mod state;
mod wasi;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::time::Instant;
use wasmtime::Engine;
use wasmtime::component::Component;

pub use call::{Call, CallUsage};
pub use compile::CompiledRecord;
pub use config::{CompileLimits, SandboxConfig};
pub use error::{CallError, LoadError, SandboxError};
pub use state::{LogLevel, LogLine};

use bindings::BindingsPre;
use call::Startable;
use engine::{CallSlots, Ticker};
use link::Linkers;

use backline_gateway::Session;
use backline_model::fetch::{DocumentInput, FetchAccount, FetchContext, FetchError, FetchedBatch};
use backline_model::snapshot::Snapshot;
use backline_model::{Digest, Manifest};

/// The engine, its pool and its bounds. One per process; cheap to clone.
#[derive(Clone)]
pub struct Sandbox {
    shared: Arc<Shared>,
}

/// What the sandbox and all its connectors share.
struct Shared {
    config: SandboxConfig,
    engine: Engine,
    linkers: Linkers,
    slots: CallSlots,
    /// Connectors that are loaded.
    connectors: AtomicUsize,
    /// One component is compiled at a time: the compiler uses all cores by itself, and its memory is limited per process.
    compiling: tokio::sync::Mutex<()>,
    /// Ends with the sandbox and its last connector.
    _ticker: Ticker,
}

/// One release of a connector, ready to be called. Calls may run side by side; they share nothing.
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
    /// When a configured bound makes no sense, or the address space can't be had.
    pub fn new(config: SandboxConfig) -> Result<Self, SandboxError> {
        config.check()?;
        let engine = engine::pooled_engine(&config)?;
        let linkers = Linkers::new(&engine).map_err(|error| SandboxError::Engine(format!("{error:#}")))?;
        let ticker = Ticker::start(&engine, Duration::from_millis(config.epoch_tick_ms))?;
        let slots = CallSlots::new(config.calls_at_once);
        let compiling = tokio::sync::Mutex::new(());
        Ok(Self {
            shared: Arc::new(Shared {
                config,
                engine,
                linkers,
                slots,
                connectors: AtomicUsize::new(0),
                compiling,
                _ticker: ticker,
            }),
        })
    }

    /// The bounds in force.
    #[must_use]
    pub fn config(&self) -> &SandboxConfig {
        &self.shared.config
    }

    /// How many calls run at present; at most `calls_at_once`.
    #[must_use]
    pub fn calls_running(&self) -> u32 {
        self.shared.slots.in_use()
    }

    /// How many connectors are loaded. One is until its last call has ended and nobody holds it.
    #[must_use]
    pub fn connectors(&self) -> usize {
        self.shared.connectors.load(Ordering::Relaxed)
    }

    /// The key of a component's [`CompiledRecord`]: its digest, and what of the engine its compiled code depends on.
    #[must_use]
    pub fn cache_key(&self, component: &Digest) -> String {
        compile::key(&self.shared.engine, component)
    }

    /// Makes a component callable: reads its manifest, checks its imports, compiles it (or takes what was compiled before),
    /// links it and starts it once for trial. All that can fail fails here, before anything depends on it.
    ///
    /// `known` is what an earlier call answered for this digest; the answer's record is to be remembered in its place.
    ///
    /// # Errors
    /// [`LoadError`] says what is wrong with the component, or which limit its compilation passed.
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
        let with_wasi = link::check_imports(&inspection.imports)?;
        if inspection.wit_version != bindings::VERSION {
            return Err(LoadError::UnknownVersion { actual: inspection.wit_version, known: bindings::VERSION });
        }

        let (compiled, record) = self.compiled(component, digest, known).await?;
        let linked = shared.linkers.link(&compiled, with_wasi)?;
        let bindings =
            BindingsPre::new(linked).map_err(|error| LoadError::Link(bindings::clip(format!("{error:#}"))))?;
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

    /// The component's code: from disk where the record vouches for it, compiled otherwise.
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
                        tracing::warn!(%error, "the compiled component does not fit this machine; compiling it anew");
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
                // The next start compiles anew, which is slow and nothing worse.
                tracing::warn!(%error, "the compiled component could not be kept");
            }
            // SAFETY: the code came from this host's own compiler just now, and never left memory and a folder that only this
            // user can enter.
            #[expect(unsafe_code, reason = "compiled code is loaded that this process has just made")]
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
    /// What the connector says of itself.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The version of the contract it is built against, such as `1.0.0`.
    #[must_use]
    pub fn wit_version(&self) -> &str {
        &self.wit_version
    }

    /// The component's digest.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// Asks whether an account is reachable with its credential; answers with its name on the platform.
    ///
    /// # Errors
    /// [`CallError`] when the connector did not answer; the inner error is the connector's.
    pub async fn check(
        &self,
        session: Session,
        account: FetchAccount,
    ) -> Result<Result<String, FetchError>, CallError> {
        let account = bindings::account_to_wit(account);
        let call = call::run(&self.shared, &self.startable, session, None, |accessor, instance| {
            Box::pin(instance.backline_connector_source().call_check(accessor, account))
        })
        .await?;
        Ok(call.value.map(bindings::clip).map_err(bindings::fetch_error_from_wit))
    }

    /// Fetches a batch: one document or one error for each account, in their order. `deadline` bounds waiting for a slot too.
    ///
    /// # Errors
    /// [`CallError`] when the connector did not answer, or not as the contract demands.
    pub async fn fetch(
        &self,
        session: Session,
        accounts: Vec<FetchAccount>,
        context: FetchContext,
        deadline: Instant,
    ) -> Result<Call<FetchedBatch>, CallError> {
        let asked = accounts.len();
        let accounts = accounts.into_iter().map(bindings::account_to_wit).collect();
        let context = bindings::context_to_wit(context);
        let call = call::run(&self.shared, &self.startable, session, Some(deadline), |accessor, instance| {
            Box::pin(instance.backline_connector_source().call_fetch(accessor, accounts, context))
        })
        .await?;
        let value = bindings::batch_from_wit(call.value);
        let output_bytes = answer::check_batch(&value, asked, self.shared.config.output_bytes_max)?;
        Ok(Call { value, usage: CallUsage { output_bytes, ..call.usage } })
    }

    /// Turns documents into snapshots, one each, in order. No capability works in it but the log.
    ///
    /// # Errors
    /// [`CallError`] when the connector did not answer, or not as the contract demands; an inner error says what in a document
    /// it could not understand.
    pub async fn normalize(
        &self,
        documents: Vec<DocumentInput>,
    ) -> Result<Call<Vec<Result<Snapshot, String>>>, CallError> {
        let asked = documents.len();
        let documents = documents.into_iter().map(bindings::document_to_wit).collect();
        let session = Session::without_capabilities();
        let call = call::run(&self.shared, &self.startable, session, None, |accessor, instance| {
            Box::pin(instance.backline_connector_source().call_normalize(accessor, documents))
        })
        .await?;
        let value: Vec<_> = call
            .value
            .into_iter()
            .map(|snapshot| snapshot.map(bindings::snapshot_from_wit).map_err(bindings::clip))
            .collect();
        let output_bytes = answer::check_snapshots(&value, asked, self.shared.config.output_bytes_max)?;
        Ok(Call { value, usage: CallUsage { output_bytes, ..call.usage } })
    }

    /// Starts an instance and lets it go: a component that needs more than its bounds, or traps at its start, is found out.
    async fn start_for_trial(&self) -> Result<(), LoadError> {
        let session = Session::without_capabilities();
        call::run(&self.shared, &self.startable, session, None, |_, _| Box::pin(std::future::ready(Ok(()))))
            .await
            .map(|_| ())
            .map_err(LoadError::Start)
    }
}
