//! Backline connector for Instagram by business discovery: public numbers of any professional account, read through the
//! Instagram API with Facebook Login.
//!
//! All accounts are read with the operator's token, from the operator's own professional account: the account that is
//! looked for is a parameter of the request, found by its user name. One request has the account and its newest posts.

mod api;
mod collect;
mod errors;
mod normalize;
mod refusals;

use backline_sdk::{Stop, prelude::*};

/// Origin of the API.
const ORIGIN: &str = "https://graph.facebook.com";

/// API version, unless the account's setting `api_version` names another. Meta retires a version after two years.
const API_VERSION: &str = "v25.0";

/// Credential slot in the manifest.
const SLOT: &str = "user";

/// The connector for Instagram by business discovery.
#[derive(Debug)]
pub struct InstagramBusiness;

impl Connector for InstagramBusiness {
    async fn check(http: &Http, account: Account) -> Result<String, FetchError> {
        let (lost, stop) = (Lost::default(), Stop::default());
        let api = api::Api::new(http, &lost, &stop);
        let own = api.own_accounts(std::slice::from_ref(&account)).await;
        collect::name(&api, &account, &own).await
    }

    async fn fetch(http: &Http, accounts: Vec<Account>, context: Context) -> BatchResult {
        collect::batch(http, accounts, &context).await
    }

    fn normalize(document: Document) -> Result<Snapshot, String> {
        normalize::snapshot(&document)
    }
}

backline_sdk::export_connector!(InstagramBusiness);
