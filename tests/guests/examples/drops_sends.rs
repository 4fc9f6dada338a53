//! Starts four requests and one more, and returns as soon as the last one has a response. The four are still in
//! progress.

use backline_guests::{echo_all, followers};
use backline_sdk::prelude::*;
use futures::future::{join_all, select};

struct Guest;

impl Connector for Guest {
    async fn check(_http: &Http, account: Account) -> Result<String, FetchError> {
        Ok(account.platform_id)
    }

    async fn fetch(http: &Http, accounts: Vec<Account>, _context: Context) -> BatchResult {
        let held = join_all((0..4).map(|_| http.get("https://api.example.com/hold").send()));
        let answered = http.get("https://api.example.com/go").send();
        select(Box::pin(held), Box::pin(answered)).await;
        echo_all(&accounts)
    }

    fn normalize(document: Document) -> Result<Snapshot, String> {
        followers(&document)
    }
}

backline_sdk::export_connector!(Guest);
