//! The bounds that a build for tests can switch off, to see that the attacks which they stop would succeed.
//!
//! Only a build with the feature `weakened` has the switch. In every other build [`off`] is a constant, so that each
//! bound is what it is without it. Where a bound is enforced, the code names it: `size > MAX && !off(Bound::…)`.

/// A bound that can be switched off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Bound {
    /// Secrets are blanked out of answers, and of what connectors answer.
    Redaction,
    /// Requests of connectors are searched for secrets.
    SecretsInRequests,
    /// Hosts and methods of manifest and grant.
    Hosts,
    /// Public addresses only.
    PublicAddresses,
    /// Number and size of a request's headers.
    RequestHeaders,
    /// Headers that only the host sets.
    HeadersOfTheHost,
    /// Headers that split an answer, with a credential.
    SplitAnswers,
    /// Content codings that were not decoded.
    ContentCodings,
    /// Size of an answer, decompressed.
    AnswerBytes,
    /// Time for one answer.
    RequestTime,
    /// Requests of one batch.
    Requests,
    /// Bytes received for one batch.
    ReceivedBytes,
    /// Length and characters of tokens that are granted.
    TokenForm,
    /// CPU time of a call.
    CpuTime,
    /// Size of what a call answers.
    OutputBytes,
    /// Size of a log.
    LogBytes,
    /// Size of a state.
    StateBytes,
    /// Metrics of a snapshot.
    Metrics,
    /// Lost metrics of an answer.
    LostMetrics,
    /// Characters that steer what shows them.
    Characters,
    /// The longest pause that a platform or a connector may ask for.
    Pauses,
    /// Memory of a call.
    Memory,
    /// Stack of a call. It is the engine's, so it is switched before the sandbox is made.
    Stack,
    /// Handles and tasks of a call.
    Resources,
    /// Time of a batch.
    BatchTime,
    /// A call that fails is made again for halves of its accounts.
    Halves,
    /// One answer for each account, and one snapshot for each document.
    OneAnswer,
    /// Documents and states are JSON.
    Json,
    /// Length of an error, a name or a reason.
    Texts,
    /// Of two reports of one metric neither is used.
    TwoReports,
    /// Rules that withhold a value.
    Validation,
    /// Notes of a snapshot.
    Notes,
    /// No user or password in a URL.
    UserInUrl,
    /// Length of a URL.
    UrlBytes,
    /// Length of a request's body.
    RequestBody,
    /// Hosts of a credential slot.
    SlotHosts,
    /// Accounts of the batch.
    BatchAccounts,
    /// How often a request is sent again.
    Retries,
    /// Form of HTTP.
    HttpForm,
    /// Number and size of an answer's headers.
    AnswerHeaders,
    /// Headers that a connector does not get.
    WithheldHeaders,
    /// Redirects that are followed.
    Redirects,
    /// Lifetime of tokens that are granted.
    TokenLife,
    /// Length of a value that is withheld.
    WithheldText,
    /// Wildcards within one owner.
    Owners,
}

/// Whether bounds can be switched off in this build.
pub const CAN_SWITCH: bool = cfg!(feature = "weakened");

/// Whether a bound is switched off: never, in this build.
#[cfg(not(feature = "weakened"))]
#[must_use]
pub const fn off(_bound: Bound) -> bool {
    false
}

/// The most pages that a file of SQLite may have in this process: as many as it needs, in this build.
#[cfg(not(feature = "weakened"))]
#[must_use]
pub const fn file_pages_max() -> Option<u32> {
    None
}

/// The file that makes every file of SQLite read-only for this process while it exists: none, in this build.
#[cfg(not(feature = "weakened"))]
#[must_use]
pub const fn read_only_mark() -> Option<&'static std::path::Path> {
    None
}

#[cfg(feature = "weakened")]
pub use switched::{file_pages_max, limit_file_pages, off, only, read_only_mark, read_only_while};

#[cfg(feature = "weakened")]
mod switched {
    use std::path::{Path, PathBuf};
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::Bound;
    use crate::named::Switch;

    /// The bound that is switched off.
    static OFF: Switch = Switch::none();

    /// The most pages of a file; 0 if there is no limit.
    static FILE_PAGES: AtomicU32 = AtomicU32::new(0);

    /// The most pages that a file of SQLite may have in this process.
    #[must_use]
    pub fn file_pages_max() -> Option<u32> {
        Some(FILE_PAGES.load(Ordering::Relaxed)).filter(|pages| *pages > 0)
    }

    /// Sets that limit for connections that are opened from now on. A file that has more already may not grow.
    pub fn limit_file_pages(pages: u32) {
        FILE_PAGES.store(pages, Ordering::Relaxed);
    }

    /// The file that makes files of SQLite read-only while it exists.
    static READ_ONLY_MARK: OnceLock<PathBuf> = OnceLock::new();

    /// The file that makes every file of SQLite read-only for this process while it exists.
    #[must_use]
    pub fn read_only_mark() -> Option<&'static Path> {
        READ_ONLY_MARK.get().map(PathBuf::as_path)
    }

    /// Makes every file of SQLite read-only for this process while that file exists. The first one that is named stays.
    pub fn read_only_while(mark: PathBuf) {
        let _ = READ_ONLY_MARK.set(mark);
    }

    /// Whether a bound is switched off in this process.
    #[must_use]
    pub fn off(bound: Bound) -> bool {
        OFF.is(bound as u8)
    }

    /// Switches one bound off in this process and all others on, or all on.
    pub fn only(bound: Option<Bound>) {
        OFF.set(bound.map(|bound| bound as u8));
    }
}
