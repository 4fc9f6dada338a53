//! The values that labels may have, so that no metric grows without bound.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::{PoisonError, RwLock};

use backline_model::Platform;

/// Most platforms with a label of their own; the others count as `other`.
pub const PLATFORMS_MAX: usize = 64;

/// Label of platforms that are unknown, or one too many.
const OTHER: &str = "other";

/// The value of a label.
pub(super) type Value = Cow<'static, str>;

/// The platforms that have a label of their own. A platform keeps its label, so that its series continue.
#[derive(Default)]
pub(super) struct PlatformLabels {
    known: RwLock<BTreeSet<Platform>>,
}

impl PlatformLabels {
    /// Gives the platform its own label, unless there are too many.
    pub(super) fn register(&self, platform: &Platform) {
        let is_known = |known: &BTreeSet<Platform>| known.len() >= PLATFORMS_MAX || known.contains(platform);
        if is_known(&self.known.read().unwrap_or_else(PoisonError::into_inner)) {
            return;
        }
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        if !is_known(&known) {
            known.insert(platform.clone());
        }
    }

    /// The platform's label.
    pub(super) fn of(&self, platform: &Platform) -> Value {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        if known.contains(platform) { Cow::Owned(platform.to_string()) } else { Cow::Borrowed(OTHER) }
    }
}
