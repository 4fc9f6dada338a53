//! Compiles components in a child process with limited memory and time, without network and files of others, and caches
//! the result on disk.
//!
//! Compiled code is machine code that runs with the host's own authority once it is loaded. So a file is loaded only if
//! its digest is the one that the database recorded when this host compiled it; a file of unknown origin never is.

use std::fs::File;
use std::hash::{Hash as _, Hasher as _};
use std::io::{self, Read as _, Write as _};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, Signal, getrlimit, setrlimit};
use serde::{Deserialize, Serialize};
use tokio::io::AsyncReadExt as _;
use tokio::time::Instant;
use wasmtime::Engine;

use super::bindings::clip;
use super::config::{CompileLimits, SandboxConfig};
use super::confine;
use super::engine::compiler_config;
use super::error::LoadError;
use backline_model::Digest;

/// The hidden subcommand of `backline` that compiles:
/// `backline compile-component <component> <compiled> <memory_bytes_max> <cpu_s_max> <wall_s_max>`.
pub const SUBCOMMAND: &str = "compile-component";

/// Compiled code is at most this many times as large as its component; no compiler produces more.
const GROWTH_MAX: u64 = 64;

/// Most threads of the compiling child. More would mostly reserve memory.
const THREADS_MAX: usize = 4;

/// Most bytes that are read of what the child says; its own messages have a few hundred.
const SAID_BYTES_MAX: u64 = 64 * 1024;

/// Begins a line in which the child says what keeps it from nothing on this machine.
const UNCONFINED: &str = "not confined: ";

/// What the database records about a compiled component.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CompiledRecord {
    /// Digest of the component, with a hash of the engine's version and settings.
    pub key: String,
    /// SHA-256 digest of the compiled code.
    pub compiled: Digest,
}

/// Error of the compiling child, which sends it to the parent as text on standard error.
#[derive(Debug, thiserror::Error)]
pub enum ChildError {
    /// A limit could not be set, so nothing was compiled.
    #[error("failed to limit the compiling process: {0}")]
    Limit(#[source] io::Error),
    /// The component could not be read.
    #[error("failed to read {path}: {error}")]
    Read {
        /// Path of the file.
        path: PathBuf,
        /// Cause of the failure.
        error: io::Error,
    },
    /// The compiler refused the component.
    #[error("{0}")]
    Compile(String),
    /// The result could not be written.
    #[error("failed to write {path}: {error}")]
    Write {
        /// Path of the file.
        path: PathBuf,
        /// Cause of the failure.
        error: io::Error,
    },
}

/// Main function of the hidden subcommand: limits itself, opens its two files, gives up the network and all other
/// files, reads the component, and writes its compiled code. Returns lines for standard error about what it could not
/// give up.
///
/// # Errors
/// [`ChildError`], to be printed on standard error with exit status 1.
pub fn child_main(component: &Path, compiled: &Path, limits: &CompileLimits) -> Result<Vec<String>, ChildError> {
    let unreadable = |error| ChildError::Read { path: component.to_owned(), error };
    let unwritable = |error| ChildError::Write { path: compiled.to_owned(), error };
    limit_this_process(limits).map_err(ChildError::Limit)?;
    let mut input = File::open(component).map_err(unreadable)?;
    let mut output = File::create(compiled).map_err(unwritable)?;
    let lacking = confine::confine();
    let mut bytes = Vec::new();
    input.read_to_end(&mut bytes).map_err(unreadable)?;
    let engine = Engine::new(&compiler_config()).map_err(|error| ChildError::Compile(format!("{error:#}")))?;
    let code = engine.precompile_component(&bytes).map_err(|error| ChildError::Compile(format!("{error:#}")))?;
    output.write_all(&code).map_err(unwritable)?;
    Ok(lacking.into_iter().map(|lacking| format!("{UNCONFINED}{lacking}")).collect())
}

/// Lowers this process's own limits; a limit that is already lower stays.
fn limit_this_process(limits: &CompileLimits) -> io::Result<()> {
    for (resource, value) in [
        (Resource::As, limits.memory_bytes_max),
        (Resource::Cpu, limits.cpu_s_max),
        // A crash must not write its memory into a dump.
        (Resource::Core, 0),
    ] {
        let now = getrlimit(resource);
        let lowest = [now.current, now.maximum, Some(value)].into_iter().flatten().min();
        setrlimit(resource, Rlimit { current: lowest, maximum: lowest })?;
    }
    Ok(())
}

/// Name of a component's compiled code on disk, so that another engine's code is not mistaken for this one's.
pub(super) fn key(engine: &Engine, component: &Digest) -> String {
    // This is only a name and no protection: the SHA-256 digest decides what is loaded, and wasmtime checks its own
    // version.
    let mut hasher = std::hash::DefaultHasher::new();
    engine.precompile_compatibility_hash().hash(&mut hasher);
    format!("{component}-{:016x}", hasher.finish())
}

/// The compiled code on disk, if the record proves that this host compiled it.
pub(super) fn cached(config: &SandboxConfig, key: &str, known: Option<&CompiledRecord>) -> Option<Vec<u8>> {
    let known = known.filter(|known| known.key == key)?;
    let path = path_of(config, key)?;
    let code = std::fs::read(&path).ok()?;
    if Digest::of(&code) != known.compiled {
        tracing::warn!(path = %path.display(), "the compiled component on disk has changed; compiling it again");
        return None;
    }
    Some(code)
}

fn path_of(config: &SandboxConfig, key: &str) -> Option<PathBuf> {
    config.cache_dir.as_ref().map(|folder| folder.join(format!("{key}.cwasm")))
}

/// Stores compiled code on disk: readable for this user only, and either complete or not at all.
pub(super) fn keep(config: &SandboxConfig, key: &str, code: &[u8]) -> io::Result<()> {
    let Some(path) = path_of(config, key) else { return Ok(()) };
    let folder = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder)?;
    // Created with mode 0600 by tempfile.
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(code)?;
    file.as_file().sync_all()?;
    file.persist(&path).map_err(|error| error.error)?;
    Ok(())
}

/// Compiles a component.
///
/// # Errors
/// If the compiler refuses it or exceeds a limit.
pub(super) async fn compile(config: &SandboxConfig, engine: &Engine, component: Vec<u8>) -> Result<Vec<u8>, LoadError> {
    match &config.compiler {
        Some(compiler) => compile_in_child(compiler, &config.compile, component).await,
        None => {
            let engine = engine.clone();
            in_background(move || engine.precompile_component(&component))
                .await?
                .map_err(|error| LoadError::Compile(clip(format!("{error:#}"))))
        }
    }
}

/// Runs blocking work on other threads than those that calls run on.
pub(super) async fn in_background<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, LoadError> {
    tokio::task::spawn_blocking(work).await.map_err(|error| LoadError::Internal(error.to_string()))
}

/// Compiles on several threads, and if that takes too much memory, on one.
async fn compile_in_child(compiler: &Path, limits: &CompileLimits, component: Vec<u8>) -> Result<Vec<u8>, LoadError> {
    let until = Instant::now() + Duration::from_secs(limits.wall_s_max);
    let threads = std::thread::available_parallelism().map_or(1, |threads| threads.get().min(THREADS_MAX));
    match child(compiler, limits, &component, threads, until).await {
        Err(error) if threads > 1 && is_lack_of_memory(&error) => {
            tracing::info!("compiling a component again on one thread, since several took too much memory");
            child(compiler, limits, &component, 1, until).await
        }
        outcome => outcome,
    }
}

async fn child(
    compiler: &Path,
    limits: &CompileLimits,
    component: &[u8],
    threads: usize,
    until: Instant,
) -> Result<Vec<u8>, LoadError> {
    let internal =
        |error: io::Error| LoadError::Internal(format!("failed to exchange files with the compiler: {error}"));
    let not_run = |source: io::Error| LoadError::Compiler { path: compiler.to_owned(), source };

    // A folder that only this user can enter.
    let folder = tempfile::tempdir().map_err(internal)?;
    let (input, output) = (folder.path().join("component.wasm"), folder.path().join("component.cwasm"));
    tokio::fs::write(&input, component).await.map_err(internal)?;

    let mut command = std::process::Command::new(compiler);
    // Without the environment: a process that parses untrusted input needs no database URL and no key.
    command.arg(SUBCOMMAND).arg(&input).arg(&output);
    command.args([limits.memory_bytes_max, limits.cpu_s_max, limits.wall_s_max].map(|limit| limit.to_string()));
    command.env_clear();
    // Read by the library that the compiler shares its work with, and by glibc, which reserves memory for each thread.
    command.env("RAYON_NUM_THREADS", threads.to_string()).env("MALLOC_ARENA_MAX", threads.to_string());
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let (own_limits, file_bytes_max) = (*limits, (component.len() as u64).saturating_mul(GROWTH_MAX).max(1 << 20));
    // SAFETY: between fork and exec only `setrlimit` and `getrlimit` are called. Both are system calls that neither
    // allocate memory nor take locks.
    #[expect(unsafe_code, reason = "the limits of a child process are set between fork and exec")]
    unsafe {
        command.pre_exec(move || {
            limit_this_process(&own_limits)?;
            setrlimit(Resource::Fsize, Rlimit { current: Some(file_bytes_max), maximum: Some(file_bytes_max) })?;
            Ok(())
        });
    }
    let mut command = tokio::process::Command::from(command);
    command.kill_on_drop(true);
    let mut child = command.spawn().map_err(not_run)?;
    let stderr = child.stderr.take();
    let ending = async {
        let mut said = Vec::new();
        if let Some(stderr) = stderr {
            // What it says beyond is not read; it then writes to a pipe without a reader.
            stderr.take(SAID_BYTES_MAX).read_to_end(&mut said).await?;
        }
        Ok::<_, io::Error>((child.wait().await?, said))
    };
    let (status, said) = tokio::time::timeout_at(until, ending)
        .await
        .map_err(|_| LoadError::CompileLimit { what: format!("wall_s_max = {} seconds", limits.wall_s_max) })?
        .map_err(not_run)?;
    let said = String::from_utf8_lossy(&said);
    let (lacking, message): (Vec<&str>, Vec<&str>) = said.lines().partition(|line| line.starts_with(UNCONFINED));
    if !status.success() {
        return Err(why_it_failed(status, clip(message.join("\n").trim().to_owned()), limits));
    }
    confine::warn_once(&lacking.into_iter().map(|line| clip(line.replacen(UNCONFINED, "", 1))).collect::<Vec<_>>());
    tokio::fs::read(&output).await.map_err(internal)
}

fn is_lack_of_memory(error: &LoadError) -> bool {
    matches!(error, LoadError::CompileLimit { what } if what.starts_with("memory_bytes_max"))
}

fn why_it_failed(status: std::process::ExitStatus, message: String, limits: &CompileLimits) -> LoadError {
    let signal = status.signal();
    let is = |expected: Signal| signal == Some(expected.as_raw());
    // At the limit the kernel sends SIGXCPU; if soft and hard limit are equal, SIGKILL.
    if is(Signal::XCPU) || is(Signal::KILL) {
        return LoadError::CompileLimit { what: format!("cpu_s_max = {} seconds", limits.cpu_s_max) };
    }
    // Rust and wasmtime abort with a message when they get no memory. A thread that can't get a stack reports it in its
    // own words.
    let out_of_memory =
        ["memory allocation of", "out of memory", "Cannot allocate memory", "Resource temporarily unavailable"];
    if out_of_memory.iter().any(|words| message.contains(words)) || is(Signal::SEGV) || is(Signal::ABORT) {
        return LoadError::CompileLimit { what: format!("memory_bytes_max = {} bytes", limits.memory_bytes_max) };
    }
    LoadError::Compile(if message.is_empty() { format!("the compiler ended with {status}") } else { message })
}
