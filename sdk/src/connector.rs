//! The trait that a connector implements, and the macro that exports it as a component.

use std::future::Future;

use futures::stream::{self, StreamExt as _};
use serde_json::Value as Json;

use crate::numbers::without_nul;
use crate::{Account, BatchResult, Context, Document, FetchError, Fetched, Http, Snapshot, Window};

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

/// Calls `act` for every item, at most `at_once` calls at a time, and returns the results in the order of the items.
///
/// ```
/// # futures::executor::block_on(async {
/// let doubled = backline_sdk::gather([1, 2, 3], 2, |number| async move { number * 2 }).await;
/// assert_eq!(doubled, [2, 4, 6]);
/// # });
/// ```
pub async fn gather<T, F, Fut>(items: impl IntoIterator<Item = T>, at_once: usize, act: F) -> Vec<Fut::Output>
where
    F: FnMut(T) -> Fut,
    Fut: Future,
{
    stream::iter(items).map(act).buffered(at_once.max(1)).collect().await
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

/// Logs the message and location of a panic before it traps. Without this the host sees only `unreachable`.
#[cfg(target_arch = "wasm32")]
pub fn log_panics() {
    std::panic::set_hook(Box::new(|panic| crate::log::write(crate::log::Level::Error, &panic.to_string())));
}

/// Exports a type that implements [`Connector`] from the component.
#[macro_export]
macro_rules! export_connector {
    ($connector:ty) => {
        // A native build exports nothing, but a type that can't be exported must still fail to compile.
        #[cfg(not(target_arch = "wasm32"))]
        const _: fn() = || {
            fn is_connector<C: $crate::Connector>() {}
            is_connector::<$connector>();
        };

        #[cfg(target_arch = "wasm32")]
        mod backline_component {
            use $crate::exported::{BatchResult, Context};
            use $crate::{Account, Connector, Document, FetchError, Snapshot};

            use super::*;

            struct Component;

            impl $crate::bindings::exports::backline::connector::source::Guest for Component {
                async fn check(account: Account) -> Result<String, FetchError> {
                    $crate::log_panics();
                    <$connector as Connector>::check(&$crate::Http::host(), account).await
                }

                async fn fetch(accounts: Vec<Account>, context: Context) -> BatchResult {
                    $crate::log_panics();
                    $crate::exported::fetch::<$connector>(&$crate::Http::host(), accounts, context).await
                }

                fn normalize(documents: Vec<Document>) -> Vec<Result<Snapshot, String>> {
                    $crate::log_panics();
                    documents.into_iter().map(<$connector as Connector>::normalize).collect()
                }
            }

            $crate::bindings::export!(Component with_types_in $crate::bindings);
        }
    };
}
