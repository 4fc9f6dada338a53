//! What the connectors of job A share. Job A is the work that `cargo xtask bench` compares with a plain native program:
//! the account-level numbers of five platforms, with as few requests as each platform allows.
//!
//! They are for measurements only. The connectors in `plugins/` collect posts, videos and releases too, and sort the
//! platforms' errors.

use std::collections::BTreeMap;

use backline_sdk::{Request, prelude::*};

/// How many accounts of a batch are collected at the same time where each takes a request of its own. With 8 such
/// batches of each of two platforms, 64 requests are in flight, as the native program has.
const ACCOUNTS_AT_ONCE: usize = 4;

/// The ids of a batch's accounts, as list endpoints take them.
#[must_use]
pub fn ids(accounts: &[Account]) -> String {
    accounts.iter().map(|account| account.platform_id.as_str()).collect::<Vec<_>>().join(",")
}

/// Collects all accounts of a batch with one request. `list` names the list in the response.
pub async fn listed(accounts: &[Account], request: Request<'_>, list: &str) -> BatchResult {
    let documents = match answer(request).await {
        Ok(mut body) => by_id(body[list].take()),
        Err(error) => {
            let accounts = accounts.iter().map(|_| Err(error.clone())).collect();
            return BatchResult { accounts, lost_metrics: Vec::new() };
        }
    };
    let document = |account: &Account| documents.get(&account.platform_id).map(Fetched::new);
    let accounts = accounts.iter().map(|account| document(account).ok_or(FetchError::NotFound)).collect();
    BatchResult { accounts, lost_metrics: Vec::new() }
}

/// Collects each account of a batch with a request of its own.
pub async fn single<'a>(accounts: Vec<Account>, request: impl Fn(&Account) -> Request<'a>) -> BatchResult {
    BatchResult::each(accounts, ACCOUNTS_AT_ONCE, |account| {
        let request = request(&account);
        async move { Ok(Fetched::new(&answer(request).await?)) }
    })
    .await
}

async fn answer(request: Request<'_>) -> Result<Json, FetchError> {
    request.send().await?.ok_json()
}

fn by_id(list: Json) -> BTreeMap<String, Json> {
    let Json::Array(items) = list else { return BTreeMap::new() };
    items.into_iter().filter_map(|item| Some((text(&item["id"])?, item))).collect()
}

/// A list of genres, as Spotify and Apple Music send it.
///
/// # Errors
/// [`Absence::Unavailable`] if there is no list.
pub fn genres(list: &Json) -> Result<Value, Absence> {
    let genres = list.as_array().ok_or(Absence::Unavailable)?;
    Ok(Value::Texts(genres.iter().filter_map(text).collect()))
}
