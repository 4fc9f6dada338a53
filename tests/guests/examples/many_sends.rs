//! Sends five thousand requests at once to the URL in its settings, and counts how they were answered.

use backline_guests::{echo_all, followers};
use backline_sdk::prelude::*;

struct Guest;

impl Connector for Guest {
    async fn check(_http: &Http, account: Account) -> Result<String, FetchError> {
        Ok(account.platform_id)
    }

    async fn fetch(http: &Http, accounts: Vec<Account>, _context: Context) -> BatchResult {
        let mut result = echo_all(&accounts);
        for (fetched, account) in result.accounts.iter_mut().zip(&accounts) {
            let settings = account.settings_json();
            let url = text(&settings["url"]).unwrap_or_default();
            let sends = (0..5_000).map(|_| http.get(&url).send());
            let answers = futures::future::join_all(sends).await;
            let answered = answers.iter().filter(|answer| answer.is_ok()).count();
            *fetched = Ok(Fetched::new(&json!({ "answered": answered, "sent": answers.len() })));
        }
        result
    }

    fn normalize(document: Document) -> Result<Snapshot, String> {
        followers(&document)
    }
}

backline_sdk::export_connector!(Guest);
