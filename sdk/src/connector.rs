//! The trait a connector implements, and how it becomes a component.

use std::future::Future;

use futures::stream::{self, StreamExt as _};
use serde_json::Value as Json;

use crate::numbers::without_nul;
use crate::{Account, BatchResult, Context, Document, FetchError, Fetched, Http, Snapshot, Window};

/// A connector for one platform.
///
/// `fetch` collects, `normalize` interprets. Everything `normalize` needs must be in the body that `fetch` returned, since it
/// is run again on stored documents, without any capability, perhaps years later.
#[expect(async_fn_in_trait, reason = "a component is single-threaded; its futures need not be Send")]
pub trait Connector {
    /// Is this account reachable with its credential? Answers with the account's name on the platform.
    ///
    /// # Errors
    /// As [`FetchError`] says.
    async fn check(http: &Http, account: Account) -> Result<String, FetchError>;

    /// Fetches one document per account, in the order of the accounts. One account's failure must not touch another's.
    async fn fetch(http: &Http, accounts: Vec<Account>, context: Context) -> BatchResult;

    /// Turns a document into a snapshot. Pure: it sees the document and nothing else.
    ///
    /// # Errors
    /// A sentence that says what in the document can't be understood.
    fn normalize(document: Document) -> Result<Snapshot, String>;
}

impl BatchResult {
    /// Fetches every account by itself, at most `at_once` at a time, and keeps their order.
    pub async fn each<F, Fut>(accounts: Vec<Account>, at_once: usize, fetch: F) -> Self
    where
        F: FnMut(Account) -> Fut,
        Fut: Future<Output = Result<Fetched, FetchError>>,
    {
        Self { accounts: gather(accounts, at_once, fetch).await, lost_metrics: Vec::new() }
    }
}

/// Does something for every item, at most `at_once` at a time, and answers in the order of the items.
pub async fn gather<T, F, Fut>(items: impl IntoIterator<Item = T>, at_once: usize, act: F) -> Vec<Fut::Output>
where
    F: FnMut(T) -> Fut,
    Fut: Future,
{
    stream::iter(items).map(act).buffered(at_once.max(1)).collect().await
}

impl Window {
    /// Whether a moment (Unix seconds) lies inside.
    #[must_use]
    pub fn contains(&self, moment: i64) -> bool {
        self.since <= moment && moment < self.until
    }
}

impl Fetched {
    /// A body without state. NUL characters, which PostgreSQL refuses, are left out.
    #[must_use]
    pub fn new(body: &Json) -> Self {
        let mut text = body.to_string();
        // A quick look first: hardly any document has one, and most are large.
        if text.contains("\\u0000") {
            text = without_nul(body).to_string();
        }
        Self { body: text, state: None }
    }

    /// Keeps something for the next fetch of this account.
    #[must_use]
    pub fn with_state(mut self, state: &Json) -> Self {
        self.state = Some(state.to_string());
        self
    }
}

impl Account {
    /// The account's settings; an empty object where they can't be read.
    #[must_use]
    pub fn settings_json(&self) -> Json {
        serde_json::from_str(&self.settings).unwrap_or_else(|_| Json::Object(serde_json::Map::new()))
    }

    /// What this connector kept the last time, if it can still be read.
    #[must_use]
    pub fn state_json(&self) -> Option<Json> {
        self.state.as_deref().and_then(|state| serde_json::from_str(state).ok())
    }
}

impl Document {
    /// The body as JSON.
    ///
    /// # Errors
    /// When it is not JSON.
    pub fn json(&self) -> Result<Json, String> {
        serde_json::from_str(&self.body).map_err(|error| format!("the document is not JSON: {error}"))
    }
}

/// Has a panic's message and place logged before it traps: without this, all the host sees is `unreachable`.
#[cfg(target_arch = "wasm32")]
pub fn log_panics() {
    std::panic::set_hook(Box::new(|panic| crate::log::write(crate::log::Level::Error, &panic.to_string())));
}

/// Makes a type that implements [`Connector`] the component's export.
#[macro_export]
macro_rules! export_connector {
    ($connector:ty) => {
        // Outside a component nothing is exported, yet what can't be exported must not compile.
        #[cfg(not(target_arch = "wasm32"))]
        const _: fn() = || {
            fn is_connector<C: $crate::Connector>() {}
            is_connector::<$connector>();
        };

        #[cfg(target_arch = "wasm32")]
        mod backline_component {
            use $crate::{Account, BatchResult, Connector, Context, Document, FetchError, Snapshot};

            use super::*;

            struct Component;

            impl $crate::bindings::exports::backline::connector::source::Guest for Component {
                async fn check(account: Account) -> Result<String, FetchError> {
                    $crate::log_panics();
                    <$connector as Connector>::check(&$crate::Http::host(), account).await
                }

                async fn fetch(accounts: Vec<Account>, context: Context) -> BatchResult {
                    $crate::log_panics();
                    <$connector as Connector>::fetch(&$crate::Http::host(), accounts, context).await
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
