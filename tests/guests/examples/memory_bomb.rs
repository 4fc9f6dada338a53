//! Allocates memory until none is left.

use backline_guests::followers;
use backline_sdk::prelude::*;

struct Guest;

impl Connector for Guest {
    async fn check(_http: &Http, account: Account) -> Result<String, FetchError> {
        Ok(account.platform_id)
    }

    async fn fetch(_http: &Http, accounts: Vec<Account>, _context: Context) -> BatchResult {
        let mut bombs = Vec::new();
        loop {
            bombs.push(vec![1_u8; 1 << 20]);
            std::hint::black_box((&bombs, &accounts));
        }
    }

    fn normalize(document: Document) -> Result<Snapshot, String> {
        followers(&document)
    }
}

backline_sdk::export_connector!(Guest);
