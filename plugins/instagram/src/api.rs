//! Requests to the API for one account, and the end of a batch once the app itself is refused.

use backline_sdk::{Stop, prelude::*};

use crate::errors::{self, Failure};
use crate::refusals::Verdict;
use crate::{API_VERSION, ORIGIN, SLOT};

/// The API with the token of one account.
pub(crate) struct Api<'a> {
    http: &'a Http,
    account: &'a Account,
    base: String,
    /// The names that no account of the batch is asked for.
    pub(crate) lost: &'a Lost,
    stop: &'a Stop,
}

impl<'a> Api<'a> {
    /// The API in the version that the account's settings name.
    pub(crate) fn new(http: &'a Http, account: &'a Account, lost: &'a Lost, stop: &'a Stop) -> Self {
        let settings = account.settings_json();
        let is_version = |version: &&str| {
            let numbers = version.strip_prefix('v').and_then(|numbers| numbers.split_once('.'));
            numbers.is_some_and(|(major, minor)| {
                [major, minor].iter().all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()))
            })
        };
        let version = settings["api_version"].as_str().filter(is_version).unwrap_or(API_VERSION);
        Self { http, account, base: format!("{ORIGIN}/{version}"), lost, stop }
    }

    /// Sends a GET request. An error of the app itself ends the batch: no further request is sent.
    pub(crate) async fn get(&self, path: &str, query: &[(&str, String)]) -> Result<Json, Failure> {
        self.stop.check()?;
        let mut request = self.http.get(format!("{}{path}", self.base)).account(SLOT, self.account);
        for (name, value) in query {
            request = request.query(name, value);
        }
        match errors::classify(&request.send().await?) {
            Err(Failure::App(error)) => Err(Failure::Class(self.stop.halt(error))),
            other => other,
        }
    }

    /// Sends a GET request for some fields. A field that the platform refuses by name is left out: for the whole batch
    /// if it does not exist any more, otherwise for this request. `needed` are the fields without which the answer is
    /// of no use.
    pub(crate) async fn with_fields(
        &self,
        path: &str,
        fields: &[&'static str],
        needed: &[&str],
        query: &[(&str, String)],
    ) -> Result<Json, Failure> {
        let mut without: Vec<&str> = Vec::new();
        loop {
            let names: Vec<&'static str> = fields
                .iter()
                .copied()
                .filter(|name| needed.contains(name) || !(without.contains(name) || self.lost.has(name)))
                .collect();
            let mut query = query.to_vec();
            query.insert(0, ("fields", names.join(",")));
            let failure = match self.get(path, &query).await {
                Err(Failure::Parameter { message, subcode }) => Failure::Parameter { message, subcode },
                other => return other,
            };
            let Failure::Parameter { message, .. } = &failure else { return Err(failure) };
            match Verdict::of(message, &names) {
                Verdict::Gone(name) if !needed.contains(&name) => self.lost.add(name, message),
                Verdict::Here(name) if !needed.contains(&name) => without.push(name),
                _ => return Err(failure),
            }
        }
    }
}
