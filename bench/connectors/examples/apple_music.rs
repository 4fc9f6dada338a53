//! Apple Music: 25 artists a request.

use backline_bench_connectors::{genres, ids, listed};
use backline_sdk::prelude::*;

struct AppleMusic;

impl Connector for AppleMusic {
    async fn check(_http: &Http, account: Account) -> Result<String, FetchError> {
        Ok(account.platform_id)
    }

    async fn fetch(http: &Http, accounts: Vec<Account>, _context: Context) -> BatchResult {
        let request =
            http.get("https://api.music.apple.com/v1/catalog/us/artists").query("ids", ids(&accounts)).slot("app");
        listed(&accounts, request, "data").await
    }

    fn normalize(document: Document) -> Result<Snapshot, String> {
        let body = document.json()?;
        Ok(Snapshot::builder().metric("genres", genres(&body["attributes"]["genreNames"])).build())
    }
}

backline_sdk::export_connector!(AppleMusic);
