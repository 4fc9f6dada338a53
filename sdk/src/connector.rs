//! The trait that a connector implements, and what its types can do.

use std::future::Future;

use serde_json::Value as Json;

use crate::numbers::without_nul;
use crate::{Account, BatchResult, Context, Document, FetchError, Fetched, Http, Snapshot, Window, gather};

/// A connector for one platform.
///
/// `fetch` collects, `normalize` interprets. The host runs `normalize` again on stored documents, without network
/// access and perhaps years later, so everything it needs must be in the body that `fetch` returned.
///
/// The [crate's front page](crate) shows a complete implementation.
#[expect(async_fn_in_trait, reason = "a component is single-threaded; its futures need not be Send")]
pub trait Connector {
    /// Checks that the account can be reached with its credential. Returns the account's name on the platform.
    ///
    /// # Errors
    /// The [`FetchError`] variant tells the host how to react.
    async fn check(http: &Http, account: Account) -> Result<String, FetchError>;

    /// Fetches one document per account, in the order of the accounts. One account's failure must not affect another's.
    async fn fetch(http: &Http, accounts: Vec<Account>, context: Context) -> BatchResult;

    /// Fetches past dates of one account, for metrics that the manifest says `history = true` of: one document for each
    /// window that the platform can serve, as a [`fetch`](Connector::fetch) in that window would have made it. It is
    /// called after `fetch`, for accounts that have a document. A date that is not answered, or with an error, is
    /// fetched again in a call of its own; so without this method every date is.
    #[cfg(feature = "contract-1-1")]
    async fn past(
        _http: &Http,
        _account: Account,
        _windows: &[Window],
        _context: &Context,
    ) -> Vec<(Window, Result<Fetched, FetchError>)> {
        Vec::new()
    }

    /// Turns a document into a snapshot. Must be pure: the result depends on the document alone.
    ///
    /// # Errors
    /// A message that says which part of the document can't be understood.
    fn normalize(document: Document) -> Result<Snapshot, String>;
}

impl BatchResult {
    /// Calls `fetch` for each account, at most `at_once` calls at a time, and keeps the order of the accounts.
    pub async fn each<F, Fut>(accounts: Vec<Account>, at_once: usize, fetch: F) -> Self
    where
        F: FnMut(Account) -> Fut,
        Fut: Future<Output = Result<Fetched, FetchError>>,
    {
        Self { accounts: gather(accounts, at_once, fetch).await, lost_metrics: Vec::new() }
    }
}

impl Window {
    /// Whether a time in Unix seconds lies inside the window: `since` is included, `until` is not.
    #[must_use]
    pub fn contains(&self, moment: i64) -> bool {
        self.since <= moment && moment < self.until
    }
}

impl Fetched {
    /// A document without state. NUL characters are removed, because PostgreSQL refuses them.
    #[must_use]
    pub fn new(body: &Json) -> Self {
        let mut text = body.to_string();
        // Search before copying: few documents contain NUL, and most are large.
        if text.contains("\\u0000") {
            text = without_nul(body).to_string();
        }
        Self { body: text, state: None }
    }

    /// Adds state, which the host passes to the next fetch of this account.
    #[must_use]
    pub fn with_state(mut self, state: &Json) -> Self {
        self.state = Some(state.to_string());
        self
    }
}

impl Account {
    /// The account's settings as JSON; an empty object if they can't be parsed.
    #[must_use]
    pub fn settings_json(&self) -> Json {
        serde_json::from_str(&self.settings).unwrap_or_else(|_| Json::Object(serde_json::Map::new()))
    }

    /// The state from the account's last fetch; `None` if there is none or it can't be parsed.
    #[must_use]
    pub fn state_json(&self) -> Option<Json> {
        self.state.as_deref().and_then(|state| serde_json::from_str(state).ok())
    }
}

impl Document {
    /// Parses the body as JSON.
    ///
    /// # Errors
    /// If the body is not valid JSON.
    pub fn json(&self) -> Result<Json, String> {
        serde_json::from_str(&self.body).map_err(|error| format!("the document is not JSON: {error}"))
    }
}
