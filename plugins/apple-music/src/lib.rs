//! Backline connector for Apple Music: artists from the public catalogue, with the developer's token.
//!
//! `api` calls the endpoints and classifies their errors, `collect` decides which requests are made in which order,
//! `charts` reads places in charts, `interpret` turns stored documents into metrics.

mod api;
mod charts;
mod collect;
mod interpret;

use backline_sdk::prelude::*;

/// The connector for Apple Music.
#[derive(Debug)]
pub struct AppleMusic;

impl Connector for AppleMusic {
    async fn check(http: &Http, account: Account) -> Result<String, FetchError> {
        collect::name(&api::Api::new(http), account).await
    }

    async fn fetch(http: &Http, accounts: Vec<Account>, _context: Context) -> BatchResult {
        collect::batch(&api::Api::new(http), accounts).await
    }

    fn normalize(document: Document) -> Result<Snapshot, String> {
        interpret::snapshot(&document)
    }
}

backline_sdk::export_connector!(AppleMusic);

#[cfg(test)]
mod tests;
