//! TikTok: a request for each account, with its own token.

use backline_bench_connectors::single;
use backline_sdk::prelude::*;

struct TikTok;

impl Connector for TikTok {
    async fn check(_http: &Http, account: Account) -> Result<String, FetchError> {
        Ok(account.platform_id)
    }

    async fn fetch(http: &Http, accounts: Vec<Account>, _context: Context) -> BatchResult {
        let fields = "open_id,display_name,follower_count,following_count,likes_count,video_count";
        let request = |account: &Account| {
            http.get("https://open.tiktokapis.com/v2/user/info/").query("fields", fields).account("user", account)
        };
        single(accounts, request).await
    }

    fn normalize(document: Document) -> Result<Snapshot, String> {
        let body = document.json()?;
        let user = &body["data"]["user"];
        Ok(Snapshot::builder()
            .count("followers", &user["follower_count"], Absence::NotAuthorized)
            .count("following", &user["following_count"], Absence::NotAuthorized)
            .count("posts_count", &user["video_count"], Absence::NotAuthorized)
            .count("account_likes", &user["likes_count"], Absence::NotAuthorized)
            .build())
    }
}

backline_sdk::export_connector!(TikTok);
