//! Returns a body with the number of bytes that the platform id states.

use backline_guests::followers;
use backline_sdk::prelude::*;

struct Guest;

impl Connector for Guest {
    async fn check(_http: &Http, account: Account) -> Result<String, FetchError> {
        Ok(account.platform_id)
    }

    async fn fetch(_http: &Http, accounts: Vec<Account>, _context: Context) -> BatchResult {
        let answer = |account: &Account| {
            let bytes: usize = account.platform_id.parse().unwrap_or_default();
            Ok(Fetched { body: format!("\"{}\"", "x".repeat(bytes)), state: None })
        };
        BatchResult { accounts: accounts.iter().map(answer).collect(), lost_metrics: Vec::new() }
    }

    fn normalize(document: Document) -> Result<Snapshot, String> {
        followers(&document)
    }
}

backline_sdk::export_connector!(Guest);
