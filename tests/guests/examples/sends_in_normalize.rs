//! Tries to send a request from `normalize`, and reports the result as a note.

use backline_guests::echo_all;
use backline_sdk::prelude::*;
use futures::FutureExt as _;

struct Guest;

impl Connector for Guest {
    async fn check(_http: &Http, account: Account) -> Result<String, FetchError> {
        Ok(account.platform_id)
    }

    async fn fetch(_http: &Http, accounts: Vec<Account>, _context: Context) -> BatchResult {
        echo_all(&accounts)
    }

    fn normalize(document: Document) -> Result<Snapshot, String> {
        let told = match Http::host().get("https://api.example.com/").send().now_or_never() {
            None => "it waits".to_owned(),
            Some(Ok(response)) => format!("status {}", response.status),
            Some(Err(error)) => format!("{error:?}"),
        };
        Ok(Snapshot::builder().count("followers", &document.json()?["followers"], Absence::Hidden).note(told).build())
    }
}

backline_sdk::export_connector!(Guest);
