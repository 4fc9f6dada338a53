//! Returns invalid JSON in the body or, if the account's platform id says so, in the state.

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
            match fetched {
                Ok(fetched) if account.platform_id == "state" => fetched.state = Some("{".to_owned()),
                Ok(fetched) => fetched.body = "<html>502 Bad Gateway</html>".to_owned(),
                Err(_) => {}
            }
        }
        result
    }

    fn normalize(document: Document) -> Result<Snapshot, String> {
        followers(&document)
    }
}

backline_sdk::export_connector!(Guest);
