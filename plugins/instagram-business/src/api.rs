//! Requests to the API with the operator's token, and the end of a batch once the token or the app is refused.

use std::cell::RefCell;

use backline_sdk::{Stop, prelude::*};

use crate::errors::{self, Failure};
use crate::refusals::Verdict;
use crate::{API_VERSION, ORIGIN, SLOT};

/// Fields of the account that is looked for, without which there is nothing to collect.
const ACCOUNT_FIELDS: [&str; 4] = ["id", "username", "followers_count", "media_count"];

/// Fields of each post, without which it can't be placed or counted.
const POST_FIELDS: [&str; 5] = ["id", "timestamp", "media_type", "like_count", "comments_count"];

/// Fields that are not documented as public, or that only some posts have. Each is left out if it is refused.
const ACCOUNT_EXTRAS: [&str; 1] = ["follows_count"];

/// The same of each post.
const POST_EXTRAS: [&str; 2] = ["view_count", "reposts_count"];

/// Longest user name of the platform, in bytes: its characters are letters, digits, dots and underscores.
const NAME_BYTES_MAX: usize = 30;

/// Most Pages of the operator that are searched for an own account.
const PAGES_OF_OPERATOR: usize = 100;

/// The operator's own professional account that a request is sent from.
pub(crate) type Own = Result<String, FetchError>;

/// The fields that one account refused in this fetch, which its further pages are not asked for.
pub(crate) type LeftOut = RefCell<Vec<&'static str>>;

/// A page of posts to ask for.
#[derive(Clone, Debug)]
pub(crate) struct Page {
    /// Most posts on it.
    pub(crate) size: usize,
    /// Where it begins; at the newest post if none.
    pub(crate) after: Option<String>,
}

/// The API with the operator's token.
pub(crate) struct Api<'a> {
    http: &'a Http,
    /// The fields that no account of the batch is asked for.
    pub(crate) lost: &'a Lost,
    stop: &'a Stop,
}

impl<'a> Api<'a> {
    /// The API for one batch.
    pub(crate) fn new(http: &'a Http, lost: &'a Lost, stop: &'a Stop) -> Self {
        Self { http, lost, stop }
    }

    /// The operator's account for each of the accounts that don't name one in their settings; not asked for if all do.
    pub(crate) async fn own_accounts(&self, accounts: &[Account]) -> Option<Own> {
        let account = accounts.iter().find(|account| own_of(account).is_none())?;
        Some(self.find_own(&version_of(account)).await)
    }

    async fn find_own(&self, version: &str) -> Own {
        let query = [("fields", "instagram_business_account".to_owned()), ("limit", PAGES_OF_OPERATOR.to_string())];
        let body = self.get(&format!("{version}/me/accounts"), &query).await?;
        let mut own = list(&body, "data")?.iter().filter_map(|page| id(&page["instagram_business_account"]["id"]));
        own.next().filter(|own| is_id(own)).ok_or_else(|| {
            let why = "no Page of the token's user has a professional account; link one, or set own_account_id";
            FetchError::Misconfigured(why.to_owned())
        })
    }

    /// What the platform says of an account and a page of its posts. A field that it refuses by name is left out: for
    /// the whole batch if it does not exist any more, otherwise for this account.
    ///
    /// # Errors
    /// The classified failure; `NotFound` also for what can't be a user name.
    pub(crate) async fn discover(
        &self,
        account: &Account,
        own: &str,
        page: Option<&Page>,
        left_out: &LeftOut,
    ) -> Result<Json, Failure> {
        let name = &account.platform_id;
        // The name stands among brackets, which anything else could close.
        let is_of_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'.' || byte == b'_';
        if !(1..=NAME_BYTES_MAX).contains(&name.len()) || !name.bytes().all(is_of_name) {
            return Err(FetchError::NotFound.into());
        }
        let path = format!("{}/{own}", version_of(account));
        loop {
            let extras: Vec<&'static str> = ACCOUNT_EXTRAS
                .into_iter()
                .chain(page.iter().flat_map(|_| POST_EXTRAS))
                .filter(|field| !left_out.borrow().contains(field) && !self.lost.has(field))
                .collect();
            let fields = fields(name, &extras, page);
            let message = match self.get(&path, &[("fields", fields)]).await {
                Err(Failure::Parameter(message)) => message,
                other => return Ok(other?["business_discovery"].take()),
            };
            match Verdict::of(&message, &extras) {
                Verdict::Gone(field) => self.lost.add(field, &message),
                Verdict::Here(field) => left_out.borrow_mut().push(field),
                // It may be any of the extras, so the request is tried once without them.
                Verdict::Unnamed if !extras.is_empty() => left_out.borrow_mut().extend(extras),
                Verdict::Unnamed => return Err(Failure::Parameter(message)),
            }
        }
    }

    /// Sends a GET request. An error of the token or the app ends the batch: no further request is sent.
    async fn get(&self, path: &str, query: &[(&str, String)]) -> Result<Json, Failure> {
        self.stop.check()?;
        let mut request = self.http.get(format!("{ORIGIN}/{path}")).slot(SLOT);
        for (name, value) in query {
            request = request.query(name, value);
        }
        let answer = request.send().await.map_err(|error| self.stop.remember(FetchError::of_operator(error)))?;
        match errors::classify(&answer) {
            Err(Failure::App(error)) => Err(Failure::Class(self.stop.halt(error))),
            other => other,
        }
    }
}

/// The field expansion for an account, with a page of its posts.
fn fields(name: &str, extras: &[&str], page: Option<&Page>) -> String {
    let with = |own: &[&'static str], extras_of: &[&'static str]| {
        let extras = extras_of.iter().filter(|extra| extras.contains(*extra));
        own.iter().chain(extras).copied().collect::<Vec<_>>().join(",")
    };
    let of_account = with(&ACCOUNT_FIELDS, &ACCOUNT_EXTRAS);
    let Some(page) = page else { return format!("business_discovery.username({name}){{{of_account}}}") };
    let after = page.after.as_ref().map(|after| format!(".after({after})")).unwrap_or_default();
    let of_posts = with(&POST_FIELDS, &POST_EXTRAS);
    format!("business_discovery.username({name}){{{of_account},media{after}.limit({}){{{of_posts}}}}}", page.size)
}

/// The operator's account that the account's settings name.
pub(crate) fn own_of(account: &Account) -> Option<String> {
    id(&account.settings_json()["own_account_id"]).filter(|own| is_id(own))
}

fn is_id(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// The version of the API that the account's settings name.
fn version_of(account: &Account) -> String {
    let is_version = |version: &str| {
        let numbers = version.strip_prefix('v').and_then(|numbers| numbers.split_once('.'));
        numbers.is_some_and(|(major, minor)| is_id(major) && is_id(minor))
    };
    text(&account.settings_json()["api_version"])
        .filter(|version| is_version(version))
        .unwrap_or_else(|| API_VERSION.to_owned())
}
