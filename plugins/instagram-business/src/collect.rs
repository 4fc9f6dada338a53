//! Fetches a batch: each account with its newest posts in one request, and further pages where the window needs them.

use backline_sdk::{Paging, Stop, prelude::*};

use crate::api::{Api, LeftOut, Own, Page, own_of};
use crate::errors::Failure;

/// How many accounts are collected at the same time.
const ACCOUNTS_AT_ONCE: usize = 4;

/// Posts per page.
const PAGE_SIZE: usize = 50;

/// Maximum number of pages read of one account, empty ones included.
const PAGES_MAX: usize = 20;

/// Fetches the documents of a batch of accounts.
pub(crate) async fn batch(http: &Http, accounts: Vec<Account>, context: &Context) -> BatchResult {
    let (lost, stop) = (Lost::new(&context.lost_metrics), Stop::default());
    let api = Api::new(http, &lost, &stop);
    let window = context.window;
    let own = api.own_accounts(&accounts).await;
    let mut result =
        BatchResult::each(accounts, ACCOUNTS_AT_ONCE, async |account| one(&api, &account, &own, window).await).await;
    result.lost_metrics = lost.into_found();
    result
}

/// The user name of an account, as the platform writes it.
///
/// # Errors
/// The classified error of the platform.
pub(crate) async fn name(api: &Api<'_>, account: &Account, own: &Option<Own>) -> Result<String, FetchError> {
    let own = own_for(account, own)?;
    let found = checked(api.discover(account, &own, None, &LeftOut::default()).await?, account)?;
    text(&found["username"]).ok_or_else(|| FetchError::Unexpected("the account has no user name".to_owned()))
}

/// The operator's account that a request for an account is sent from.
fn own_for(account: &Account, found: &Option<Own>) -> Own {
    match (own_of(account), found) {
        (Some(own), _) => Ok(own),
        (None, Some(found)) => found.clone(),
        (None, None) => Err(FetchError::Misconfigured("set own_account_id".to_owned())),
    }
}

/// Checks that an answer is about the account that was asked for. A user name that its owner gave up may be another's.
fn checked(found: Json, account: &Account) -> Result<Json, FetchError> {
    match text(&found["username"]) {
        Some(name) if name.eq_ignore_ascii_case(&account.platform_id) => {}
        Some(_) => return Err(FetchError::Unexpected("the answer is about another account".to_owned())),
        None => return Err(FetchError::Unexpected("the response has no account".to_owned())),
    }
    match (id(&account.settings_json()["account_id"]), id(&found["id"])) {
        (Some(expected), Some(given)) if expected != given => Err(FetchError::NotFound),
        (Some(_), None) => Err(FetchError::Unexpected("the account has no id".to_owned())),
        _ => Ok(found),
    }
}

async fn one(api: &Api<'_>, account: &Account, own: &Option<Own>, window: Window) -> Result<Fetched, FetchError> {
    let own = own_for(account, own)?;
    let mut page = Page { size: PAGE_SIZE, after: None };
    let of_account = OfAccount { api, account, own, left_out: LeftOut::default() };
    let mut found = of_account.page(&mut page).await?;
    let media = found.as_object_mut().and_then(|fields| fields.remove("media")).unwrap_or_default();
    let total = integer(&found["media_count"]);
    let mut body = json!({ "account": found });
    match posts(&of_account, Listed { total, first: media, page }, window).await {
        // A truncated list can't be summed.
        Ok(posts) if posts.is_cut => body["cut"] = true.into(),
        Ok(posts) => {
            body["media"] = posts.items.into();
            body["unread"] = posts.unread.into();
        }
        // Keep the account's own numbers: the list of its posts has an undocumented form.
        Err(FetchError::Unexpected(_)) => body["problem"] = "unavailable".into(),
        Err(error) => return Err(error),
    }
    body["lost_metrics"] = api.lost.names().into();
    body["left_out"] = of_account.left_out.take().into();
    Ok(Fetched::new(&body))
}

/// Requests for one account.
struct OfAccount<'a> {
    api: &'a Api<'a>,
    account: &'a Account,
    /// The operator's account that they are sent from.
    own: String,
    left_out: LeftOut,
}

impl OfAccount<'_> {
    /// The account with a page of posts; a page that is too large for the platform is asked for in a smaller size.
    async fn page(&self, page: &mut Page) -> Result<Json, FetchError> {
        loop {
            match self.api.discover(self.account, &self.own, Some(&*page), &self.left_out).await {
                Err(Failure::TooMuch) if page.size > 1 => page.size /= 2,
                other => return checked(other?, self.account),
            }
        }
    }
}

/// What is known of an account's posts after the first request.
struct Listed {
    /// How many posts the account says that it has.
    total: Option<i64>,
    /// The first page.
    first: Json,
    /// How the first page was asked for.
    page: Page,
}

/// The posts published inside the window.
#[derive(Default)]
struct Posts {
    items: Vec<Json>,
    /// Items without an id or a timestamp.
    unread: usize,
    /// Whether there are more than the pages that were read.
    is_cut: bool,
}

async fn posts(of_account: &OfAccount<'_>, listed: Listed, window: Window) -> Result<Posts, FetchError> {
    let Listed { total, first, mut page } = listed;
    let mut posts = Posts::default();
    if total == Some(0) && first.is_null() {
        return Ok(posts);
    }
    let (mut media, mut seen) = (first, 0_i64);
    let mut paging = Paging::new(PAGES_MAX);
    loop {
        // Posts come newest first, so a page that ends before the window is the last one needed. Without a date it is
        // unknown whether a post is inside the window, so a list without any date is not an empty one.
        let dated = |post: &Json| Some((id(&post["id"])?, timestamp(&post["timestamp"])?, post.clone()));
        let (items, unread) = list_of(&media, "data", dated)?;
        let count = items.len() + unread;
        seen = seen.saturating_add(i64::try_from(count).unwrap_or(i64::MAX));
        if seen == 0 && page.after.is_none() && total.is_some_and(|total| total > 0) {
            return Err(FetchError::Unexpected("the account has posts, and none is listed".to_owned()));
        }
        posts.unread += unread;
        let is_past = items.last().is_some_and(|(_, published, _)| *published < window.since);
        let ids: Vec<String> = items.iter().map(|(id, ..)| id.clone()).collect();
        for (post_id, published, post) in items {
            let is_known = || posts.items.iter().any(|known| id(&known["id"]).as_ref() == Some(&post_id));
            if window.contains(published) && !is_known() {
                posts.items.push(post);
            }
        }
        // Business discovery names no next page. The cursor is there on the last one too.
        let is_whole = total.is_some_and(|total| seen >= total);
        let after = text(&media["paging"]["cursors"]["after"]).filter(|after| is_cursor(after));
        if is_past || is_whole || (after.is_none() && count < page.size) {
            return Ok(posts);
        }
        if !paging.goes_on(after.as_deref(), ids) {
            posts.is_cut = true;
            return Ok(posts);
        }
        page.after = after;
        media = of_account.page(&mut page).await?["media"].take();
    }
}

/// Whether a text can stand among the brackets of a field expansion.
fn is_cursor(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_=+/".contains(&byte))
}
