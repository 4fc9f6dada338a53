//! Keeps the spans and events of this process reachable for tests that collect them.
//!
//! Whether anyone wants a span is remembered for all threads, by what subscribers there are at that moment. Where tests
//! set and drop subscribers of their own at the same time, one of them can be remembered as unwanted while a test
//! waits for it. A subscriber of the whole process that may want everything, and takes nothing, rules that out.

use std::sync::Once;

use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::Interest;
use tracing::{Event, Metadata, Subscriber};

struct Undecided;

impl Subscriber for Undecided {
    fn register_callsite(&self, _: &'static Metadata<'static>) -> Interest {
        Interest::sometimes()
    }

    fn enabled(&self, _: &Metadata<'_>) -> bool {
        false
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, _: &Event<'_>) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// Call it before a subscriber is set for a thread.
pub fn keep_tracing_on() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| tracing::subscriber::set_global_default(Undecided).expect("no other is set for the process"));
}
