//! Behaves correctly, and stores what it receives as its state.

use backline_guests::{echo_all, followers};
use backline_sdk::prelude::*;

struct Guest;

impl Connector for Guest {
    async fn check(_http: &Http, account: Account) -> Result<String, FetchError> {
        Ok(account.platform_id)
    }

    async fn fetch(_http: &Http, accounts: Vec<Account>, _context: Context) -> BatchResult {
        let mut result = echo_all(&accounts);
        for (fetched, account) in result.accounts.iter_mut().zip(&accounts) {
            if let Ok(fetched) = fetched {
                fetched.state =
                    Some(json!({ "settings": account.settings_json(), "before": account.state_json() }).to_string());
            }
        }
        backline_sdk::log::write(backline_sdk::log::Level::Info, &format!("fetched {} accounts", accounts.len()));
        result
    }

    fn normalize(document: Document) -> Result<Snapshot, String> {
        followers(&document)
    }
}

backline_sdk::export_connector!(Guest);
