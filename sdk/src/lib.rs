//! Everything a Backline connector depends on.
//!
//! A connector implements [`Connector`] and exports itself with [`export_connector!`]. [`Http`] is its only way to the
//! network. It never sees a secret, and its tests run offline with [`testing::Replay`]:
//!
//! ```
//! use backline_sdk::prelude::*;
//!
//! struct Example;
//!
//! impl Connector for Example {
//!     async fn check(http: &Http, account: Account) -> Result<String, FetchError> {
//!         let body = http.get("https://api.example.com/me").account("user", &account).send().await?.ok_json()?;
//!         text(&body["name"]).ok_or_else(|| FetchError::Unexpected("no name".into()))
//!     }
//!
//!     async fn fetch(http: &Http, accounts: Vec<Account>, _context: Context) -> BatchResult {
//!         BatchResult::each(accounts, 8, |account| async move {
//!             let body = http.get("https://api.example.com/me").account("user", &account).send().await?.ok_json()?;
//!             Ok(Fetched::new(&body))
//!         })
//!         .await
//!     }
//!
//!     fn normalize(document: Document) -> Result<Snapshot, String> {
//!         let body = document.json()?;
//!         Ok(Snapshot::builder().count("followers", &body["followers"], Absence::Hidden).build())
//!     }
//! }
//!
//! backline_sdk::export_connector!(Example);
//!
//! # fn main() {
//! // In a test:
//! use backline_sdk::testing::{Replay, account, context, metric};
//!
//! let replay = Replay::new().get("/me", 200, r#"{ "name": "Ada", "followers": 120 }"#);
//! let snapshot = replay.collect::<Example>(account("account-1", "ada"), context(1_795_132_800)).unwrap();
//! assert_eq!(metric(&snapshot, "followers"), json!(120));
//! # }
//! ```

mod batch;
pub mod bindings;
mod calendar;
mod component;
#[cfg(not(target_arch = "wasm32"))]
pub mod conformance;
mod connector;
#[doc(hidden)]
pub mod exported;
mod gather;
mod halves;
mod http;
mod list;
pub mod log;
mod lost;
#[cfg(feature = "contract-1-1")]
mod named;
mod numbers;
mod paging;
mod parts;
#[cfg(not(target_arch = "wasm32"))]
pub mod recordings;
#[cfg(not(target_arch = "wasm32"))]
mod replay;
mod snapshot;
mod sorted;
mod stop;
#[cfg(not(target_arch = "wasm32"))]
pub mod testing;
mod time;

pub use batch::Named;
pub use bindings::backline::connector::types::{
    Absence, Account, Coverage, Document, Engagement, EngagementBasis, FetchError, Fetched, LostMetric, Metric,
    Snapshot, Value, Window,
};
#[cfg(not(feature = "contract-1-1"))]
pub use bindings::backline::connector::types::{BatchResult, Context};
pub use calendar::Placement;
#[cfg(target_arch = "wasm32")]
#[doc(hidden)]
pub use component::log_panics;
pub use connector::Connector;
pub use gather::gather;
pub use halves::halves;
pub use http::{Http, HttpError, Method, Request, Response, encode};
pub use list::{NotAList, list, list_of};
pub use lost::{Lost, has_word, only_named, says, words_of};
#[cfg(feature = "contract-1-1")]
pub use named::{BatchResult, Context};
pub use numbers::{count_of, id, integer, text, without_nul};
pub use paging::Paging;
pub use parts::{absence_name, absent_part, drop_keys, part, read_part};
/// The JSON library that the SDK's types are of, so that a connector needs no dependency of its own.
pub use serde_json;
pub use snapshot::{SnapshotBuilder, Tally};
pub use sorted::Refusal;
pub use stop::Stop;
pub use time::timestamp;

/// The examples of the authors' guide, which are tested as those of this crate are.
#[cfg(doctest)]
mod guide {
    #[doc = include_str!("../../docs/authors/concepts.md")]
    mod concepts {}

    #[doc = include_str!("../../docs/authors/recipes.md")]
    mod recipes {}

    #[doc = include_str!("../../docs/authors/rust.md")]
    mod rust {}

    #[doc = include_str!("../../docs/authors/testing.md")]
    mod testing {}
}

/// The types and functions that most connectors use, for a glob import.
pub mod prelude {
    pub use crate::{
        Absence, Account, BatchResult, Connector, Context, Coverage, Document, Engagement, EngagementBasis, FetchError,
        Fetched, Http, HttpError, Lost, LostMetric, Method, Refusal, Response, Snapshot, Tally, Value, Window,
        count_of, gather, id, integer, list, list_of, text, timestamp,
    };
    pub use serde_json::{Value as Json, json};
}
