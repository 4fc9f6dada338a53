//! Spotify: 50 artists a request.

use backline_bench_connectors::{genres, ids, listed};
use backline_sdk::prelude::*;

struct Spotify;

impl Connector for Spotify {
    async fn check(_http: &Http, account: Account) -> Result<String, FetchError> {
        Ok(account.platform_id)
    }

    async fn fetch(http: &Http, accounts: Vec<Account>, _context: Context) -> BatchResult {
        let request = http.get("https://api.spotify.com/v1/artists").query("ids", ids(&accounts)).slot("app");
        listed(&accounts, request, "artists").await
    }

    fn normalize(document: Document) -> Result<Snapshot, String> {
        let body = document.json()?;
        Ok(Snapshot::builder()
            .count("followers", &body["followers"]["total"], Absence::NotOffered)
            .count("popularity", &body["popularity"], Absence::NotOffered)
            .metric("genres", genres(&body["genres"]))
            .build())
    }
}

backline_sdk::export_connector!(Spotify);
