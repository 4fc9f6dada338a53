//! The values that labels may have, so that no figure grows without end.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::{PoisonError, RwLock};

use backline_model::Platform;

/// Most platforms that are told apart; those beyond count as `other`.
pub const PLATFORMS_MAX: usize = 64;

/// What platforms are counted as that are not known, or are too many.
const OTHER: &str = "other";

/// A label's value.
pub(super) type Value = Cow<'static, str>;

/// The platforms that have a label of their own. One that is known stays known, so that its figures go on.
#[derive(Default)]
pub(super) struct PlatformLabels {
    known: RwLock<BTreeSet<Platform>>,
}

impl PlatformLabels {
    /// From now on the platform has a label of its own, unless there are too many.
    pub(super) fn know(&self, platform: &Platform) {
        let is_known = |known: &BTreeSet<Platform>| known.len() >= PLATFORMS_MAX || known.contains(platform);
        if is_known(&self.known.read().unwrap_or_else(PoisonError::into_inner)) {
            return;
        }
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        if !is_known(&known) {
            known.insert(platform.clone());
        }
    }

    /// What the platform is counted as.
    pub(super) fn of(&self, platform: &Platform) -> Value {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        if known.contains(platform) { Cow::Owned(platform.to_string()) } else { Cow::Borrowed(OTHER) }
    }
}
