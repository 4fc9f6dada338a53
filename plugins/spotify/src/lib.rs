//! Backline connector for Spotify: artists from the public catalogue of the Web API, with the app's token.
//!
//! `api` calls the endpoints and classifies their errors, `collect` decides which requests are made in which order,
//! `interpret` turns stored documents into metrics.

mod api;
mod collect;
mod interpret;

use backline_sdk::prelude::*;

/// The connector for Spotify.
#[derive(Debug)]
pub struct Spotify;

impl Connector for Spotify {
    async fn check(http: &Http, account: Account) -> Result<String, FetchError> {
        let artist = api::Api::new(http).artist(&account.platform_id).await?;
        // The name may be empty after a takedown. The account can still be reached.
        Ok(text(&artist["name"]).unwrap_or(account.platform_id))
    }

    async fn fetch(http: &Http, accounts: Vec<Account>, context: Context) -> BatchResult {
        collect::batch(&api::Api::new(http), accounts, context.window.until).await
    }

    fn normalize(document: Document) -> Result<Snapshot, String> {
        interpret::snapshot(&document)
    }
}

backline_sdk::export_connector!(Spotify);

#[cfg(test)]
mod tests;
