//! A connector of the contract 1.1.0, against its bindings: its answers name their accounts and hold past dates. The
//! first account's platform id names what it does wrong, or how many requests it sends at once. What it does wrong with
//! past dates, it does only where it is asked for some.

// Natively there is nothing: no linker there takes the names that wit-bindgen exports.
#![cfg(target_family = "wasm")]
#![expect(unsafe_code, reason = "what wit-bindgen makes calls across the component's boundary")]

mod contract {
    wit_bindgen::generate!({
        path: "../../wit/connector/1.1.0",
        world: "connector",
    });
}

use contract::backline::connector::http::{self, Method, Request};
use contract::backline::connector::types::{
    Absence, Account, Answer, BatchResult, Context, Document, FetchError, Fetched, Metric, Snapshot, Value, Window,
};
use contract::exports::backline::connector::source::Guest;

struct Named;

fn fetched(body: String) -> Result<Fetched, FetchError> {
    Ok(Fetched { body, state: None })
}

/// A document that says which account and which date it is of.
fn answer(account: &Account, context: &Context) -> Answer {
    let body = |window: &Window| format!("{{\"platform_id\":\"{}\",\"until\":{}}}", account.platform_id, window.until);
    let mixes_up = account.platform_id == "now for then";
    let past = |window: &Window| (*window, fetched(body(if mixes_up { &context.window } else { window })));
    Answer {
        account: account.id.clone(),
        document: fetched(body(&context.window)),
        history: context.history.iter().map(past).collect(),
    }
}

/// Sends this many requests at once, and returns what became of each, as JSON.
async fn sent(requests: usize) -> String {
    let request = |number: usize| Request {
        method: Method::Get,
        url: format!("https://api.example.com/artists/{number}"),
        headers: Vec::new(),
        body: None,
        credential: None,
    };
    let answers = http::send_all((0..requests).map(request).collect()).await;
    let shown = answers.into_iter().map(|answer| match answer {
        Ok(answer) => String::from_utf8(answer.body).unwrap_or_default(),
        Err(http::Error::Denied(why)) => format!("\"denied: {why}\""),
        Err(_) => "\"failed\"".to_owned(),
    });
    format!("[{}]", shown.collect::<Vec<_>>().join(","))
}

impl Guest for Named {
    async fn check(account: Account) -> Result<String, FetchError> {
        Ok(account.platform_id)
    }

    async fn fetch(accounts: Vec<Account>, context: Context) -> BatchResult {
        let mut answers: Vec<Answer> = accounts.iter().map(|account| answer(account, &context)).collect();
        let (is_asked, busy) = (!context.history.is_empty(), || FetchError::Unavailable("busy".to_owned()));
        let does = accounts.first().map(|account| account.platform_id.as_str()).unwrap_or_default();
        match does {
            "backwards" => answers.reverse(),
            "twice" => answers.push(answer(&accounts[0], &context)),
            "omits" => drop(answers.pop()),
            "foreign" => answers[0].account = "the account of another batch".to_owned(),
            "foreign date" if is_asked => {
                answers[0].history.push((Window { since: 1, until: 2 }, fetched("{}".to_owned())));
            }
            "date twice" if is_asked => {
                let first = answers[0].history[0].clone();
                answers[0].history.push(first);
            }
            "fails for a date" if is_asked => answers[0].history[0].1 = Err(busy()),
            "fails with dates" if is_asked => answers[0].document = Err(busy()),
            "leaves a date out" if is_asked => drop(answers[0].history.remove(0)),
            _ => {
                if let Some(requests) = does.strip_prefix("sends ").and_then(|number| number.parse().ok()) {
                    answers[0].document = fetched(sent(requests).await);
                }
            }
        }
        BatchResult { answers, lost_metrics: Vec::new() }
    }

    /// The number of days from 1970 to the end of the window that the document is of.
    fn normalize(documents: Vec<Document>) -> Vec<Result<Snapshot, String>> {
        let snapshot = |document: Document| {
            let until = document.body.rsplit(':').next().and_then(|last| last.trim_end_matches('}').parse().ok());
            let followers = Metric {
                name: "followers".to_owned(),
                value: until.map(|until: i64| Value::Integer(until / 86_400)).ok_or(Absence::Unavailable),
                coverage: None,
            };
            Ok(Snapshot { metrics: vec![followers], engagement: None, notes: Vec::new() })
        };
        documents.into_iter().map(snapshot).collect()
    }
}

contract::export!(Named with_types_in contract);
