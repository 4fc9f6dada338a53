//! Instagram: a request for each account, with its own token.

use backline_bench_connectors::single;
use backline_sdk::prelude::*;

struct Instagram;

impl Connector for Instagram {
    async fn check(_http: &Http, account: Account) -> Result<String, FetchError> {
        Ok(account.platform_id)
    }

    async fn fetch(http: &Http, accounts: Vec<Account>, _context: Context) -> BatchResult {
        let fields = "user_id,username,followers_count,follows_count,media_count";
        let request = |account: &Account| {
            http.get("https://graph.instagram.com/v25.0/me").query("fields", fields).account("user", account)
        };
        single(accounts, request).await
    }

    fn normalize(document: Document) -> Result<Snapshot, String> {
        let body = document.json()?;
        Ok(Snapshot::builder()
            .count("followers", &body["followers_count"], Absence::Hidden)
            .count("following", &body["follows_count"], Absence::Hidden)
            .count("posts_count", &body["media_count"], Absence::Unavailable)
            .build())
    }
}

backline_sdk::export_connector!(Instagram);
