//! Logs a thousand lines of a thousand bytes before it returns.

use backline_guests::{echo_all, followers};
use backline_sdk::prelude::*;

struct Guest;

impl Connector for Guest {
    async fn check(_http: &Http, account: Account) -> Result<String, FetchError> {
        Ok(account.platform_id)
    }

    async fn fetch(_http: &Http, accounts: Vec<Account>, _context: Context) -> BatchResult {
        let line = "x".repeat(1_000);
        for _ in 0..1_000 {
            backline_sdk::log::write(backline_sdk::log::Level::Info, &line);
        }
        echo_all(&accounts)
    }

    fn normalize(document: Document) -> Result<Snapshot, String> {
        followers(&document)
    }
}

backline_sdk::export_connector!(Guest);
