//! Backline connector for TikTok: accounts connected by their artists, read through the Display API v2.
//!
//! Each account is read with the token of its artist: the account's counts, and its public videos of the window.

mod collect;
mod errors;
mod normalize;

use backline_sdk::prelude::*;

/// Base URL of the Display API.
const API: &str = "https://open.tiktokapis.com/v2";

/// Credential slot in the manifest.
const SLOT: &str = "user";

/// The connector for TikTok.
#[derive(Debug)]
pub struct TikTok;

impl Connector for TikTok {
    async fn check(http: &Http, account: Account) -> Result<String, FetchError> {
        let user = collect::user(http, &account).await?.body;
        let name = text(&user["display_name"]).or_else(|| text(&user["open_id"]));
        name.ok_or_else(|| FetchError::Unexpected("the account has no name".to_owned()))
    }

    async fn fetch(http: &Http, accounts: Vec<Account>, context: Context) -> BatchResult {
        collect::batch(http, accounts, context.window).await
    }

    fn normalize(document: Document) -> Result<Snapshot, String> {
        normalize::snapshot(&document)
    }
}

backline_sdk::export_connector!(TikTok);
