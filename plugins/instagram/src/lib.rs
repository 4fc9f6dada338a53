//! Backline connector for Instagram: professional accounts, read through the Instagram API with Instagram Login.
//!
//! Each account is read with the token of its artist: the account, the posts of the window, each post's insights, and
//! the account's own. One refused name fails a whole request, so `refusals` decides what a refusal speaks of, `memory`
//! keeps what one account's posts refused, and the rest is requested again.

mod account;
mod api;
mod collect;
mod errors;
mod insights;
mod memory;
mod normalize;
mod refusals;
mod stories;

use backline_sdk::{Stop, prelude::*};

/// Origin of the API.
const ORIGIN: &str = "https://graph.instagram.com";

/// API version, unless the account's setting `api_version` names another. Meta retires a version after two years.
const API_VERSION: &str = "v25.0";

/// Credential slot in the manifest.
const SLOT: &str = "user";

/// The connector for Instagram.
#[derive(Debug)]
pub struct Instagram;

impl Connector for Instagram {
    async fn check(http: &Http, account: Account) -> Result<String, FetchError> {
        let (lost, stop) = (Lost::default(), Stop::default());
        let me = collect::me(&api::Api::new(http, &account, &lost, &stop), &account).await?;
        let name = text(&me["username"]).or_else(|| text(&me["name"]));
        name.ok_or_else(|| FetchError::Unexpected("the account has no name".to_owned()))
    }

    async fn fetch(http: &Http, accounts: Vec<Account>, context: Context) -> BatchResult {
        collect::batch(http, accounts, &context).await
    }

    fn normalize(document: Document) -> Result<Snapshot, String> {
        normalize::snapshot(&document)
    }
}

backline_sdk::export_connector!(Instagram);
