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
}

/// Whether a bound is switched off: never, in this build.
#[cfg(not(feature = "weakened"))]
#[must_use]
pub const fn off(_bound: Bound) -> bool {
    false
}

#[cfg(feature = "weakened")]
pub use switched::{off, only};

#[cfg(feature = "weakened")]
mod switched {
    use std::sync::atomic::{AtomicU8, Ordering};

    use super::Bound;

    /// The bound that is switched off; [`NONE`] if none is.
    static OFF: AtomicU8 = AtomicU8::new(NONE);

    const NONE: u8 = u8::MAX;

    /// Whether a bound is switched off in this process.
    #[must_use]
    pub fn off(bound: Bound) -> bool {
        OFF.load(Ordering::Relaxed) == bound as u8
    }

    /// Switches one bound off in this process and all others on, or all on.
    pub fn only(bound: Option<Bound>) {
        OFF.store(bound.map_or(NONE, |bound| bound as u8), Ordering::Relaxed);
    }
}
