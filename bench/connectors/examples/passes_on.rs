//! For micro-benchmarks: returns each account's state as its document, unparsed, so that a call costs what the sandbox
//! and the boundary cost. For an account with the id `sends:N` it calls the host's `http.send` N times.

use backline_sdk::prelude::*;

struct PassesOn;

impl Connector for PassesOn {
    async fn check(_http: &Http, account: Account) -> Result<String, FetchError> {
        Ok(account.platform_id)
    }

    async fn fetch(http: &Http, accounts: Vec<Account>, _context: Context) -> BatchResult {
        let mut documents = Vec::with_capacity(accounts.len());
        for account in accounts {
            let sends = account.platform_id.strip_prefix("sends:").and_then(|count| count.parse::<u32>().ok());
            for _ in 0..sends.unwrap_or(0) {
                // A session without capabilities refuses it at once: what is left is the call into the host.
                let _ = http.get("https://api.example.com/").send().await;
            }
            documents.push(Ok(Fetched { body: account.state.unwrap_or_else(|| "{}".to_owned()), state: None }));
        }
        BatchResult { accounts: documents, lost_metrics: Vec::new() }
    }

    fn normalize(_document: Document) -> Result<Snapshot, String> {
        Ok(Snapshot::builder().metric("followers", Ok(Value::Integer(1))).build())
    }
}

backline_sdk::export_connector!(PassesOn);
