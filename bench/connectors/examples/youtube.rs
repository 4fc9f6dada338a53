//! YouTube: 50 channels a request.

use backline_bench_connectors::{ids, listed};
use backline_sdk::prelude::*;

struct YouTube;

impl Connector for YouTube {
    async fn check(_http: &Http, account: Account) -> Result<String, FetchError> {
        Ok(account.platform_id)
    }

    async fn fetch(http: &Http, accounts: Vec<Account>, _context: Context) -> BatchResult {
        let request = http
            .get("https://youtube.googleapis.com/youtube/v3/channels")
            .query("part", "snippet,statistics")
            .query("id", ids(&accounts))
            .query("maxResults", 50)
            .slot("app");
        listed(&accounts, request, "items").await
    }

    fn normalize(document: Document) -> Result<Snapshot, String> {
        let body = document.json()?;
        let statistics = &body["statistics"];
        Ok(Snapshot::builder()
            .count("followers", &statistics["subscriberCount"], Absence::Hidden)
            .count("posts_count", &statistics["videoCount"], Absence::Unavailable)
            .count("total_views", &statistics["viewCount"], Absence::Unavailable)
            .build())
    }
}

backline_sdk::export_connector!(YouTube);
