//! A connector without async code, against the synchronous copy of the contract: what a toolchain makes whose bindings
//! know no async function. It fetches each account with one request, one after the other.

// Natively there is nothing: no linker there takes the names that wit-bindgen exports.
#![cfg(target_family = "wasm")]
#![expect(unsafe_code, reason = "what wit-bindgen makes calls across the component's boundary")]

mod contract {
    wit_bindgen::generate!({
        path: "../../wit/connector-sync/1.0.0",
        world: "connector",
    });
}

use contract::backline::connector::http::{self, Method, Request};
use contract::backline::connector::log::{Level, write};
use contract::backline::connector::types::{
    Account, BatchResult, Context, Document, FetchError, Fetched, Metric, Snapshot, Value,
};
use contract::exports::backline::connector::source::Guest;

struct Synchronous;

fn ask(account: &Account) -> Result<String, FetchError> {
    let request = Request {
        method: Method::Get,
        url: format!("https://api.example.com/artists/{}", account.platform_id),
        headers: Vec::new(),
        body: None,
        credential: None,
    };
    let answer = http::send(&request).map_err(|error| FetchError::Unavailable(format!("{error:?}")))?;
    write(Level::Info, &format!("{} answered {}", account.platform_id, answer.status));
    match answer.status {
        200 => String::from_utf8(answer.body).map_err(|_| FetchError::Unexpected("no text".to_owned())),
        404 => Err(FetchError::NotFound),
        status => Err(FetchError::Unavailable(format!("HTTP {status}"))),
    }
}

impl Guest for Synchronous {
    fn check(account: Account) -> Result<String, FetchError> {
        ask(&account).map(|_| account.platform_id)
    }

    fn fetch(accounts: Vec<Account>, _context: Context) -> BatchResult {
        let fetched = |account: &Account| Ok(Fetched { body: ask(account)?, state: None });
        BatchResult { accounts: accounts.iter().map(fetched).collect(), lost_metrics: Vec::new() }
    }

    fn normalize(documents: Vec<Document>) -> Vec<Result<Snapshot, String>> {
        let snapshot = |document: Document| {
            let followers = Metric {
                name: "followers".to_owned(),
                value: Ok(Value::Integer(i64::try_from(document.body.len()).unwrap_or(i64::MAX))),
                coverage: None,
            };
            Ok(Snapshot { metrics: vec![followers], engagement: None, notes: Vec::new() })
        };
        documents.into_iter().map(snapshot).collect()
    }
}

contract::export!(Synchronous with_types_in contract);
