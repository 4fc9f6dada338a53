//! Prepared responses in place of the network, and which of them a request gets.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use crate::bindings::backline::connector::http as wit;
use crate::bindings::backline::connector::http::Error as HttpError;
use crate::bindings::backline::connector::types::Account;

/// A request as a test sees it: method, URL, headers, body and credential.
pub type SentRequest = wit::Request;

/// What identifies a request for which a response is prepared.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Sent {
    pub(crate) method: wit::Method,
    pub(crate) url: String,
    body: Option<Vec<u8>>,
}

impl Sent {
    fn of(request: &wit::Request) -> Self {
        Self { method: request.method, url: request.url.clone(), body: request.body.clone() }
    }
}

/// What identifies a request whose answer is damaged: several accounts may ask the same address.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Asked {
    pub(crate) sent: Sent,
    /// The host's id of the account whose own credential it named.
    account: Option<String>,
}

/// Which requests a response is prepared for.
#[derive(Clone, Debug, PartialEq)]
enum Wanted {
    /// Those with this method whose URL contains this text.
    Containing(wit::Method, String),
    /// Those that are the same in method, URL and body.
    Exactly(Sent),
}

impl Wanted {
    fn fits(&self, sent: &Sent) -> bool {
        match self {
            Self::Containing(method, part) => *method == sent.method && sent.url.contains(part),
            Self::Exactly(wanted) => wanted == sent,
        }
    }
}

/// The recording that an answer is from.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    /// The platform's id of the recorded account.
    pub(crate) account: String,
    /// Slot of the credential that the request named, and the platform's id of the account whose own it is. Older
    /// recordings do not say it.
    pub(crate) credential: Option<(String, Option<String>)>,
}

/// The credential that a request names: its slot, and the accounts whose own it may be, by the platform's ids.
struct Named<'a> {
    slot: Option<&'a str>,
    accounts: Option<Vec<&'a str>>,
}

impl Named<'_> {
    fn is_of(&self, platform_id: &str) -> bool {
        self.accounts.as_ref().is_some_and(|accounts| accounts.contains(&platform_id))
    }
}

/// A prepared response.
#[derive(Clone, Debug)]
struct Given {
    source: Option<Source>,
    answer: Result<wit::Response, HttpError>,
}

impl Given {
    /// How well it fits a request with this credential; `None` if it is another account's.
    fn rank(&self, named: &Named<'_>) -> Option<u8> {
        let Some(Source { account, credential }) = &self.source else { return Some(0) };
        let of = credential.as_ref().and_then(|(_, of)| of.as_deref());
        if of.is_some_and(|of| !named.is_of(of)) {
            return None;
        }
        let is_the_same = credential
            .as_ref()
            .is_some_and(|(slot, of)| named.slot == Some(slot.as_str()) && of.is_some() == named.accounts.is_some());
        Some(if is_the_same { 2 } else { u8::from(named.is_of(account)) })
    }
}

/// Prepared responses to some requests.
#[derive(Clone, Debug)]
struct Prepared {
    wanted: Wanted,
    answers: VecDeque<Given>,
}

impl Prepared {
    /// The next response to a request with this credential: of those that fit it best.
    fn next(&mut self, named: &Named<'_>) -> Option<Result<wit::Response, HttpError>> {
        let ranks: Vec<Option<u8>> = self.answers.iter().map(|given| given.rank(named)).collect();
        let best = ranks.iter().copied().flatten().max()?;
        let mut places = ranks.iter().enumerate().filter(|(_, rank)| **rank == Some(best)).map(|(place, _)| place);
        let first = places.next()?;
        if places.next().is_none() {
            // The last one is repeated.
            return self.answers.get(first).map(|given| given.answer.clone());
        }
        self.answers.remove(first).map(|given| given.answer)
    }
}

/// Prepared responses, and a record of the requests.
///
/// A request gets the response of the first entry whose method matches and whose text occurs in the URL. An entry with
/// several responses gives them in order and repeats the last one. A request without a matching entry panics with its
/// URL.
///
/// ```
/// use backline_sdk::prelude::*;
/// use backline_sdk::testing::{Replay, account, context, metric};
///
/// struct Example;
///
/// impl Connector for Example {
///     async fn check(_: &Http, account: Account) -> Result<String, FetchError> {
///         Ok(account.platform_id)
///     }
///
///     async fn fetch(http: &Http, accounts: Vec<Account>, _: Context) -> BatchResult {
///         BatchResult::each(accounts, 8, |account| async move {
///             let url = format!("https://api.example.com/artists/{}", account.platform_id);
///             Ok(Fetched::new(&http.get(url).send().await?.ok_json()?))
///         })
///         .await
///     }
///
///     fn normalize(document: Document) -> Result<Snapshot, String> {
///         Ok(Snapshot::builder().count("fans", &document.json()?["fans"], Absence::Hidden).build())
///     }
/// }
///
/// let replay = Replay::new().get("/artists/a1", 200, r#"{ "fans": 7 }"#).get("/artists/a2", 404, "");
/// let snapshot = replay.collect::<Example>(account("account-1", "a1"), context(1_795_132_800)).unwrap();
/// assert_eq!(metric(&snapshot, "fans"), json!(7));
/// assert!(replay.collect::<Example>(account("account-2", "a2"), context(1_795_132_800)).is_err());
/// assert_eq!(replay.urls(), ["https://api.example.com/artists/a1", "https://api.example.com/artists/a2"]);
/// ```
#[derive(Clone, Default)]
pub struct Replay {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    prepared: Vec<Prepared>,
    /// The accounts of the call: the host's id of each, which credentials name, and the platform's.
    accounts: Vec<(String, String)>,
    sent: Vec<SentRequest>,
    /// Each different request that got a response, with the first response to it.
    exchanges: Vec<(Asked, wit::Response)>,
    /// A request that gets another answer than the prepared one.
    damaged: Option<(Asked, wit::Response)>,
    /// Whether a request without a prepared answer gets no response, instead of ending the test.
    is_unreachable_else: bool,
}

impl fmt::Debug for Replay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Replay")
    }
}

impl Replay {
    /// A replay without prepared responses.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Responds to GET requests whose URL contains `url_part` with a status and a body.
    #[must_use]
    pub fn get(self, url_part: &str, status: u16, body: impl Into<Vec<u8>>) -> Self {
        self.on(wit::Method::Get, url_part, Ok(response(status, &[], body)))
    }

    /// Responds to POST requests whose URL contains `url_part` with a status and a body.
    #[must_use]
    pub fn post(self, url_part: &str, status: u16, body: impl Into<Vec<u8>>) -> Self {
        self.on(wit::Method::Post, url_part, Ok(response(status, &[], body)))
    }

    /// Responds with any response or host error. A second call with the same method and text adds the next response.
    #[must_use]
    pub fn on(self, method: wit::Method, url_part: &str, answer: Result<wit::Response, HttpError>) -> Self {
        self.prepare(Wanted::Containing(method, url_part.to_owned()), Given { source: None, answer })
    }

    /// Responds to one request as it was recorded, and to no other. A second call adds the next response.
    pub(crate) fn recorded(
        self,
        method: wit::Method,
        url: &str,
        body: Option<&str>,
        source: Source,
        answer: Result<wit::Response, HttpError>,
    ) -> Self {
        let body = body.map(|body| body.as_bytes().to_vec());
        let wanted = Wanted::Exactly(Sent { method, url: url.to_owned(), body });
        self.prepare(wanted, Given { source: Some(source), answer })
    }

    fn prepare(self, wanted: Wanted, given: Given) -> Self {
        self.with(|state| match state.prepared.iter_mut().find(|entry| entry.wanted == wanted) {
            Some(entry) => entry.answers.push_back(given),
            None => state.prepared.push(Prepared { wanted, answers: [given].into() }),
        });
        self
    }

    /// Takes note of the accounts of a call, whose credentials it may name.
    pub(crate) fn for_accounts(&self, accounts: &[Account]) {
        let ids = accounts.iter().map(|account| (account.id.clone(), account.platform_id.clone())).collect();
        self.with(|state| state.accounts = ids);
    }

    /// Responds in the same way to every request that no earlier entry matches, whatever its method.
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

    /// The requests so far, in order.
    #[must_use]
    pub fn sent(&self) -> Vec<SentRequest> {
        self.with(|state| state.sent.clone())
    }

    /// The URLs of the requests so far, in order.
    #[must_use]
    pub fn urls(&self) -> Vec<String> {
        self.with(|state| state.sent.iter().map(|request| request.url.clone()).collect())
    }

    pub(crate) fn answer(&self, request: wit::Request) -> Result<wit::Response, HttpError> {
        self.with(|state| {
            let credential = request.credential.clone();
            let account = credential.as_ref().and_then(|credential| credential.account.clone());
            let asked = Asked { sent: Sent::of(&request), account };
            state.sent.push(request);
            let answer = state.answer(&asked, credential.as_ref());
            if let Ok(response) = &answer
                && !state.exchanges.iter().any(|(known, _)| *known == asked)
            {
                state.exchanges.push((asked, response.clone()));
            }
            answer
        })
    }

    /// The requests that got a response, each once.
    pub(crate) fn exchanges(&self) -> Vec<(Asked, wit::Response)> {
        self.with(|state| state.exchanges.clone())
    }

    /// Responds to one request in another way, whenever it is sent; see [`Self::or_unreachable`] for the others.
    pub(crate) fn damaged(self, asked: &Asked, answer: wit::Response) -> Self {
        self.with(|state| state.damaged = Some((asked.clone(), answer)));
        self.or_unreachable()
    }

    /// Gives no response to a request that no entry matches, instead of ending the test.
    pub(crate) fn or_unreachable(self) -> Self {
        self.with(|state| state.is_unreachable_else = true);
        self
    }

    fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        act(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl State {
    fn answer(&mut self, asked: &Asked, credential: Option<&wit::Credential>) -> Result<wit::Response, HttpError> {
        let sent = &asked.sent;
        let accounts = &self.accounts;
        let named = Named {
            slot: credential.map(|credential| credential.slot.as_str()),
            accounts: credential.and_then(|credential| credential.account.as_deref()).map(|id| {
                let of_id = accounts.iter().filter(|(host_id, _)| host_id == id);
                of_id.map(|(_, platform_id)| platform_id.as_str()).collect()
            }),
        };
        let mut fitting = self.prepared.iter_mut().filter(|entry| entry.wanted.fits(sent));
        let prepared = match fitting.find_map(|entry| entry.next(&named)) {
            Some(answer) => answer,
            None if self.is_unreachable_else => return Err(HttpError::Unreachable("no response is prepared".into())),
            None => panic!("no response is prepared for {:?} {}", sent.method, sent.url),
        };
        // The damaged answer takes the place of the prepared one, so that the next request gets its own answer.
        match self.damaged.as_ref().filter(|(damaged, _)| damaged == asked) {
            Some((_, answer)) => Ok(answer.clone()),
            None => prepared,
        }
    }
}

/// A response with the given status, headers (names in lower case) and body.
pub fn response(status: u16, headers: &[(&str, &str)], body: impl Into<Vec<u8>>) -> wit::Response {
    let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    wit::Response { status, headers, body: body.into() }
}
