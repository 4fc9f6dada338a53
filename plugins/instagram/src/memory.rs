//! What one account's posts refused, kept as the account's state so that it is not asked for every day.

use std::cell::RefCell;
use std::collections::BTreeMap;

use backline_sdk::prelude::*;

/// Seconds after which something refused is asked for again: the platform changes what it offers.
const FORGOTTEN_AFTER_SECONDS: i64 = 7 * 86_400;

/// Most names that are remembered of one account, whatever the state holds.
const NAMES_MAX: usize = 5_000;

/// When each name was refused, in Unix seconds. A key is `<name>` for all posts, `<post>/<name>` for one post, and
/// `<post>/*` for a post that has no insights.
#[derive(Debug)]
pub(crate) struct Memory {
    now: i64,
    refused: RefCell<BTreeMap<String, i64>>,
}

impl Memory {
    /// Reads an account's state. What was refused a week ago is forgotten.
    pub(crate) fn new(account: &Account, now: i64) -> Self {
        let state = account.state_json().unwrap_or_default();
        let entries = state["refused"].as_object().into_iter().flatten().take(NAMES_MAX);
        let refused = entries
            .filter_map(|(name, at)| Some((name.clone(), at.as_i64()?)))
            .filter(|(_, at)| (0..FORGOTTEN_AFTER_SECONDS).contains(&now.saturating_sub(*at)))
            .collect();
        Self { now, refused: RefCell::new(refused) }
    }

    /// Whether a metric is not asked of a post.
    pub(crate) fn is_refused(&self, post: &str, name: &str) -> bool {
        let refused = self.refused.borrow();
        refused.contains_key(name) || refused.contains_key(&format!("{post}/{name}"))
    }

    /// Whether a post is not asked for insights at all.
    pub(crate) fn is_without_insights(&self, post: &str) -> bool {
        self.is_refused(post, "*")
    }

    /// Whether a metric is asked of no post.
    pub(crate) fn is_refused_everywhere(&self, name: &str) -> bool {
        self.refused.borrow().contains_key(name)
    }

    /// Remembers that one post refused a metric.
    pub(crate) fn refuse(&self, post: &str, name: &str) {
        self.refuse_everywhere(&format!("{post}/{name}"));
    }

    /// Remembers that one post has no insights.
    pub(crate) fn without_insights(&self, post: &str) {
        self.refuse(post, "*");
    }

    /// Remembers that the account refused a metric.
    pub(crate) fn refuse_everywhere(&self, name: &str) {
        self.refused.borrow_mut().insert(name.to_owned(), self.now);
    }

    /// The state to keep, with what concerns these posts or all; `None` if nothing was refused.
    pub(crate) fn into_state(self, posts: &[String]) -> Option<Json> {
        let mut refused = self.refused.into_inner();
        refused.retain(|name, _| name.split_once('/').is_none_or(|(post, _)| posts.iter().any(|id| id == post)));
        (!refused.is_empty()).then(|| json!({ "refused": refused }))
    }
}
