//! A connector of the contract 1.1.0, with the SDK: it serves past dates, and sends its requests together.

use backline_guests::followers;
use backline_sdk::Request;
use backline_sdk::prelude::*;

struct Guest;

fn body(account: &Account, window: Window) -> Fetched {
    Fetched::new(&json!({ "platform_id": account.platform_id, "followers": window.until }))
}

impl Connector for Guest {
    async fn check(_http: &Http, account: Account) -> Result<String, FetchError> {
        Ok(account.platform_id)
    }

    async fn fetch(http: &Http, accounts: Vec<Account>, context: Context) -> BatchResult {
        let url = |account: &Account| format!("https://api.example.com/artists/{}", account.platform_id);
        let requests = accounts.iter().map(|account| http.get(url(account))).collect();
        let answers = Request::send_all(requests).await.into_iter().zip(&accounts);
        let document = |(answer, account): (Result<Response, HttpError>, &Account)| match answer?.status {
            404 => Err(FetchError::NotFound),
            _ => Ok(body(account, context.window)),
        };
        BatchResult { accounts: answers.map(document).collect(), lost_metrics: Vec::new() }
    }

    async fn past(
        _http: &Http,
        account: Account,
        windows: &[Window],
        _context: &Context,
    ) -> Vec<(Window, Result<Fetched, FetchError>)> {
        windows.iter().map(|window| (*window, Ok(body(&account, *window)))).collect()
    }

    fn normalize(document: Document) -> Result<Snapshot, String> {
        followers(&document)
    }
}

backline_sdk::export_connector!(Guest);
