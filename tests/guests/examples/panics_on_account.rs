//! Panics if a batch contains the account `poison`, and works for all other accounts.

use backline_guests::{echo_all, followers};
use backline_sdk::prelude::*;

struct Guest;

impl Connector for Guest {
    async fn check(_http: &Http, account: Account) -> Result<String, FetchError> {
        Ok(account.platform_id)
    }

    async fn fetch(_http: &Http, accounts: Vec<Account>, _context: Context) -> BatchResult {
        assert!(accounts.iter().all(|account| account.platform_id != "poison"), "this account is poisonous");
        echo_all(&accounts)
    }

    fn normalize(document: Document) -> Result<Snapshot, String> {
        assert!(!document.body.contains("\"venom\""), "this document is venomous");
        followers(&document)
    }
}

backline_sdk::export_connector!(Guest);
