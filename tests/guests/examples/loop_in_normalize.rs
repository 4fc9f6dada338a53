//! Loops without end in `normalize`.

use backline_guests::echo_all;
use backline_sdk::prelude::*;

struct Guest;

impl Connector for Guest {
    async fn check(_http: &Http, account: Account) -> Result<String, FetchError> {
        Ok(account.platform_id)
    }

    async fn fetch(_http: &Http, accounts: Vec<Account>, _context: Context) -> BatchResult {
        echo_all(&accounts)
    }

    fn normalize(document: Document) -> Result<Snapshot, String> {
        loop {
            std::hint::black_box(&document);
        }
    }
}

backline_sdk::export_connector!(Guest);
