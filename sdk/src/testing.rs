//! Runs a connector offline, natively, against answers written down beforehand.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value as Json;

use crate::bindings::backline::connector::http as wit;
use crate::{Account, BatchResult, Connector, Context, Document, FetchError, Http, HttpError, Snapshot, Window};

/// A request as a test sees it.
pub type SentRequest = wit::Request;

/// One prepared answer.
#[derive(Clone, Debug)]
struct Prepared {
    method: wit::Method,
    url_part: String,
    answers: VecDeque<Result<wit::Response, HttpError>>,
}

/// Prepared answers, and a record of what was asked.
///
/// An answer belongs to the first entry whose method fits and whose text occurs in the URL; several answers of an entry are
/// given one after the other, the last one for ever. A request that no entry fits panics with the URL.
#[derive(Clone, Default)]
pub struct Replay {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    prepared: Vec<Prepared>,
    sent: Vec<SentRequest>,
}

impl fmt::Debug for Replay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Replay")
    }
}

impl Replay {
    /// Nothing prepared yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Answers GET requests whose URL contains `url_part` with a status and a body.
    #[must_use]
    pub fn get(self, url_part: &str, status: u16, body: impl Into<Vec<u8>>) -> Self {
        self.on(wit::Method::Get, url_part, Ok(response(status, &[], body)))
    }

    /// Answers POST requests whose URL contains `url_part` with a status and a body.
    #[must_use]
    pub fn post(self, url_part: &str, status: u16, body: impl Into<Vec<u8>>) -> Self {
        self.on(wit::Method::Post, url_part, Ok(response(status, &[], body)))
    }

    /// Answers with anything, also with the host's own errors. A second call with the same method and text adds the next answer.
    #[must_use]
    pub fn on(self, method: wit::Method, url_part: &str, answer: Result<wit::Response, HttpError>) -> Self {
        self.with(|state| {
            match state.prepared.iter_mut().find(|entry| entry.method == method && entry.url_part == url_part) {
                Some(entry) => entry.answers.push_back(answer),
                None => {
                    state.prepared.push(Prepared { method, url_part: url_part.to_owned(), answers: [answer].into() })
                }
            }
        });
        self
    }

    /// Answers every request that nothing prepared before fits, of any method, with the same.
    #[must_use]
    pub fn always(self, answer: Result<wit::Response, HttpError>) -> Self {
        let methods = [
            wit::Method::Get,
            wit::Method::Head,
            wit::Method::Post,
            wit::Method::Put,
            wit::Method::Patch,
            wit::Method::Delete,
        ];
        methods.into_iter().fold(self, |replay, method| replay.on(method, "", answer.clone()))
    }

    /// Everything that was asked so far, in order.
    #[must_use]
    pub fn sent(&self) -> Vec<SentRequest> {
        self.with(|state| state.sent.clone())
    }

    /// The URLs that were asked so far, in order.
    #[must_use]
    pub fn urls(&self) -> Vec<String> {
        self.with(|state| state.sent.iter().map(|request| request.url.clone()).collect())
    }

    /// Runs a connector's `check`.
    ///
    /// # Errors
    /// As the connector's.
    pub fn check<C: Connector>(&self, account: Account) -> Result<String, FetchError> {
        futures::executor::block_on(C::check(&Http { replay: self.clone() }, account))
    }

    /// Runs a connector's `fetch`.
    ///
    /// # Panics
    /// When the connector does not answer once for each account, in which case the host would refuse the batch.
    pub fn fetch<C: Connector>(&self, accounts: Vec<Account>, context: Context) -> BatchResult {
        let expected = accounts.len();
        let result = futures::executor::block_on(C::fetch(&Http { replay: self.clone() }, accounts, context));
        assert_eq!(result.accounts.len(), expected, "fetch must answer once for each account");
        result
    }

    /// Fetches one account and normalises its document.
    ///
    /// # Errors
    /// As the connector's `fetch`.
    ///
    /// # Panics
    /// When `normalize` fails on what `fetch` returned.
    pub fn collect<C: Connector>(&self, account: Account, context: Context) -> Result<Snapshot, FetchError> {
        let window = context.window;
        let fetched = self.fetch::<C>(vec![account], context).accounts.remove(0)?;
        let document = Document { body: fetched.body, window, observed_at: window.until };
        Ok(C::normalize(document).unwrap_or_else(|error| panic!("normalize failed: {error}")))
    }

    pub(crate) fn answer(&self, request: wit::Request) -> Result<wit::Response, HttpError> {
        self.with(|state| {
            let url = request.url.clone();
            let method = request.method;
            state.sent.push(request);
            let entry = state
                .prepared
                .iter_mut()
                .find(|entry| entry.method == method && url.contains(&entry.url_part))
                .unwrap_or_else(|| panic!("no answer is prepared for {method:?} {url}"));
            if entry.answers.len() > 1 {
                entry.answers.pop_front().unwrap_or_else(|| unreachable!("more than one answer is left"))
            } else {
                entry.answers[0].clone()
            }
        })
    }

    fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        act(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// An answer with headers (names in lower case).
pub fn response(status: u16, headers: &[(&str, &str)], body: impl Into<Vec<u8>>) -> wit::Response {
    let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    wit::Response { status, headers, body: body.into() }
}

/// An account without settings or state.
#[must_use]
pub fn account(id: &str, platform_id: &str) -> Account {
    Account { id: id.to_owned(), platform_id: platform_id.to_owned(), settings: "{}".to_owned(), state: None }
}

/// A context of the 28 days before `until` (Unix seconds), with nothing lost.
#[must_use]
pub fn context(until: i64) -> Context {
    Context { window: Window { since: until - 28 * 86_400, until }, lost_metrics: Vec::new() }
}

/// Accounts `account-0`, `account-1`, … with these platform ids, without settings or state.
#[must_use]
pub fn accounts(platform_ids: &[&str]) -> Vec<Account> {
    platform_ids.iter().enumerate().map(|(index, id)| account(&format!("account-{index}"), id)).collect()
}

/// The snapshot of a body fetched at the end of the 28 days before `until`.
///
/// # Panics
/// When `normalize` refuses it.
#[must_use]
pub fn snapshot<C: Connector>(body: &str, until: i64) -> Snapshot {
    let document = Document { body: body.to_owned(), window: context(until).window, observed_at: until };
    C::normalize(document).unwrap_or_else(|error| panic!("normalize failed: {error}"))
}

/// The bodies of a folder of collected answers, by file name, sorted; none where the folder does not exist.
///
/// For tests against a collection that is not part of the repository: with it they check, without it they pass.
///
/// # Panics
/// When the folder is there and can't be read.
#[must_use]
pub fn bodies(folder: &std::path::Path) -> Option<Vec<(String, Vec<u8>)>> {
    let entries = std::fs::read_dir(folder).ok()?;
    let mut bodies: Vec<(String, Vec<u8>)> = entries
        .map(|entry| {
            let entry = entry.unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
            let body =
                std::fs::read(entry.path()).unwrap_or_else(|error| panic!("{}: {error}", entry.path().display()));
            (entry.file_name().to_string_lossy().into_owned(), body)
        })
        .collect();
    bodies.sort();
    Some(bodies)
}

/// The value of a metric in a snapshot as JSON: a number, a text, a list, or why it is missing, as [`absent`] writes it; null
/// where it was not reported.
#[must_use]
pub fn metric(snapshot: &Snapshot, name: &str) -> Json {
    let Some(metric) = snapshot.metrics.iter().find(|metric| metric.name == name) else { return Json::Null };
    match &metric.value {
        Ok(crate::Value::Integer(integer)) => (*integer).into(),
        Ok(crate::Value::Decimal(decimal)) => (*decimal).into(),
        Ok(crate::Value::Text(text)) => text.as_str().into(),
        Ok(crate::Value::Texts(texts)) => texts.clone().into(),
        Err(reason) => absent(crate::absence_name(*reason)),
    }
}

/// What [`metric`] makes of a missing value: `{"absent": "hidden"}`.
#[must_use]
pub fn absent(reason: &str) -> Json {
    serde_json::json!({ "absent": reason })
}

/// The posts that an aggregate counted, and those it had to leave out.
///
/// # Panics
/// When the metric was not reported, or is no aggregate.
#[must_use]
pub fn coverage(snapshot: &Snapshot, name: &str) -> (u32, u32) {
    let metric = snapshot.metrics.iter().find(|metric| metric.name == name);
    let coverage = metric.unwrap_or_else(|| panic!("{name} was not reported")).coverage;
    coverage.map_or_else(|| panic!("{name} is no aggregate"), |coverage| (coverage.counted, coverage.skipped))
}
