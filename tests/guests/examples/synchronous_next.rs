//! A connector without async code, against the synchronous copy of the contract 1.1.0: it asks for all accounts at
//! once.

// Natively there is nothing: no linker there takes the names that wit-bindgen exports.
#![cfg(target_family = "wasm")]
#![expect(unsafe_code, reason = "what wit-bindgen makes calls across the component's boundary")]

mod contract {
    wit_bindgen::generate!({
        path: "../../wit/connector-sync/1.1.0",
        world: "connector",
    });
}

use contract::backline::connector::http::{self, Error, Method, Request, Response};
use contract::backline::connector::types::{
    Account, Answer, BatchResult, Context, Document, FetchError, Fetched, Metric, Snapshot, Value,
};
use contract::exports::backline::connector::source::Guest;

struct Synchronous;

fn request(account: &Account) -> Request {
    Request {
        method: Method::Get,
        url: format!("https://api.example.com/artists/{}", account.platform_id),
        headers: Vec::new(),
        body: None,
        credential: None,
    }
}

fn document(answer: Result<Response, Error>) -> Result<Fetched, FetchError> {
    let answer = answer.map_err(|error| FetchError::Unavailable(format!("{error:?}")))?;
    match answer.status {
        200 => {
            let body = String::from_utf8(answer.body).map_err(|_| FetchError::Unexpected("no text".to_owned()))?;
            Ok(Fetched { body, state: None })
        }
        404 => Err(FetchError::NotFound),
        status => Err(FetchError::Unavailable(format!("HTTP {status}"))),
    }
}

impl Guest for Synchronous {
    fn check(account: Account) -> Result<String, FetchError> {
        document(http::send(&request(&account))).map(|_| account.platform_id)
    }

    fn fetch(accounts: Vec<Account>, _context: Context) -> BatchResult {
        let requests: Vec<Request> = accounts.iter().map(request).collect();
        let answers = accounts.into_iter().zip(http::send_all(&requests)).map(|(account, answer)| Answer {
            account: account.id,
            document: document(answer),
            history: Vec::new(),
        });
        BatchResult { answers: answers.collect(), lost_metrics: Vec::new() }
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
