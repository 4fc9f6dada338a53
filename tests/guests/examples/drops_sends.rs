//! Starts requests to the URL in its settings and answers while they are under way.

use backline_guests::{echo_all, followers};
use backline_sdk::prelude::*;
use futures::FutureExt as _;

struct Guest;

impl Connector for Guest {
    async fn check(_http: &Http, account: Account) -> Result<String, FetchError> {
        Ok(account.platform_id)
    }

    async fn fetch(http: &Http, accounts: Vec<Account>, _context: Context) -> BatchResult {
        for account in &accounts {
            let settings = account.settings_json();
            let url = text(&settings["url"]).unwrap_or_default();
            let sends = futures::future::join_all((0..4).map(|_| http.get(&url).send()));
            // Polled once, so that the requests are under way, and dropped.
            let _ = sends.now_or_never();
        }
        echo_all(&accounts)
    }

    fn normalize(document: Document) -> Result<Snapshot, String> {
        followers(&document)
    }
}

backline_sdk::export_connector!(Guest);
