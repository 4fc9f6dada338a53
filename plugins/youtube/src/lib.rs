//! Backline connector for youtube.
use backline_sdk::prelude::*;

struct YouTube;

impl Connector for YouTube {
    async fn check(http: &Http, account: Account) -> Result<String, FetchError> {
        let body = http.get("https://youtube.googleapis.com/youtube/v3/channels").query("id", &account.platform_id).slot("app").send().await?.ok_json()?;
        text(&body["items"][0]["snippet"]["title"]).ok_or(FetchError::NotFound)
    }
    async fn fetch(http: &Http, accounts: Vec<Account>, _context: Context) -> BatchResult {
        BatchResult::each(accounts, 8, |account| async move {
            let body = http.get("https://youtube.googleapis.com/youtube/v3/channels").query("id", &account.platform_id).slot("app").send().await?.ok_json()?;
            Ok(Fetched::new(&body))
        }).await
    }
    fn normalize(document: Document) -> Result<Snapshot, String> {
        let body = document.json()?;
        Ok(Snapshot::builder().count("followers", &body["followers"], Absence::Hidden).build())
    }
}
backline_sdk::export_connector!(YouTube);
