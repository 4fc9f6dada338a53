//! Sends five thousand requests at once, and counts the results.

use backline_guests::followers;
use backline_sdk::prelude::*;

struct Guest;

impl Connector for Guest {
    async fn check(_http: &Http, account: Account) -> Result<String, FetchError> {
        Ok(account.platform_id)
    }

    async fn fetch(http: &Http, accounts: Vec<Account>, _context: Context) -> BatchResult {
        let sends = (0..5_000).map(|_| http.get("https://api.example.com/").send());
        let answers = futures::future::join_all(sends).await;
        let answered = answers.iter().filter(|answer| answer.is_ok()).count();
        let denied = answers.iter().filter(|answer| matches!(answer, Err(HttpError::Denied(_)))).count();
        let body = json!({ "answered": answered, "denied": denied });
        BatchResult { accounts: accounts.iter().map(|_| Ok(Fetched::new(&body))).collect(), lost_metrics: Vec::new() }
    }

    fn normalize(document: Document) -> Result<Snapshot, String> {
        followers(&document)
    }
}

backline_sdk::export_connector!(Guest);
