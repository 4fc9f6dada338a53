//! Backline connector for Instagram: professional accounts, by the Instagram API with Instagram Login.
//!
//! Each account is read with its own artist's token: the account, the posts of the window, and each post's insights. A metric
//! that the platform refuses by name is dropped for the rest of the batch and reported, since one refused name fails the whole
//! request.

mod collect;
mod errors;
mod insights;
mod normalize;

use backline_sdk::prelude::*;

/// Where the API lives.
const ORIGIN: &str = "https://graph.instagram.com";

/// The version asked for, unless the account's setting `api_version` names another. Meta retires a version after two years.
const API_VERSION: &str = "v25.0";

/// The manifest's credential slot.
const SLOT: &str = "user";

/// The connector.
#[derive(Debug)]
pub struct Instagram;

impl Connector for Instagram {
    async fn check(http: &Http, account: Account) -> Result<String, FetchError> {
        let me = collect::me(http, &account).await?;
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
