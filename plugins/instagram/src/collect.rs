//! Fetches a batch: each account with its own token, its posts of the window, and the insights of both.

use backline_sdk::{Paging, Stop, prelude::*};

use crate::account;
use crate::api::Api;
use crate::errors::Failure;
use crate::insights::{self, Findings};
use crate::memory::Memory;
use crate::stories;

const ACCOUNT_FIELDS: [&str; 7] =
    ["user_id", "username", "name", "account_type", "followers_count", "follows_count", "media_count"];
const POST_FIELDS: [&str; 7] =
    ["id", "media_type", "media_product_type", "timestamp", "permalink", "like_count", "comments_count"];

/// Fields without which a post can't be placed in the window.
const POST_FIELDS_NEEDED: [&str; 2] = ["id", "timestamp"];

/// How many accounts are collected at the same time.
const ACCOUNTS_AT_ONCE: usize = 4;

/// How many posts of one account have their insights requested at the same time.
const POSTS_AT_ONCE: usize = 4;

/// Posts per page.
const PAGE_SIZE: usize = 50;

/// Maximum number of pages read of one account, empty ones included.
const PAGES_MAX: usize = 40;

/// Fetches the documents of a batch of accounts.
pub(crate) async fn batch(http: &Http, accounts: Vec<Account>, context: &Context) -> BatchResult {
    let lost = Lost::new(&context.lost_metrics);
    let stop = Stop::default();
    let window = context.window;
    let mut result = BatchResult::each(accounts, ACCOUNTS_AT_ONCE, async |account| {
        one(&Api::new(http, &account, &lost, &stop), &account, window).await
    })
    .await;
    result.lost_metrics = lost.into_found();
    result
}

/// Fetches the account that the token belongs to, and checks that it is the expected one.
///
/// # Errors
/// The classified error of the platform; `Reconnect` if the token belongs to another account.
pub(crate) async fn me(api: &Api<'_>, account: &Account) -> Result<Json, FetchError> {
    let me = api.with_fields("/me", &ACCOUNT_FIELDS, &[], &[]).await?;
    // `user_id` is the id of the professional account, `id` is specific to this app.
    let ids = [id(&me["user_id"]), id(&me["id"])];
    if ids.iter().all(Option::is_none) {
        return Err(FetchError::Unexpected("the account has no id".to_owned()));
    }
    if account.platform_id == "me" || ids.iter().flatten().any(|id| *id == account.platform_id) {
        return Ok(me);
    }
    if ids[0].is_none() {
        return Err(FetchError::Unexpected("without user_id it is unknown whose token this is".to_owned()));
    }
    Err(FetchError::Reconnect("the token belongs to another account; connect the right one".to_owned()))
}

async fn one(api: &Api<'_>, account: &Account, window: Window) -> Result<Fetched, FetchError> {
    let memory = Memory::new(account, window.until);
    let me = me(api, account).await?;
    let mut body = json!({ "me": me });
    let mut ids = Vec::new();
    match posts(api, window).await {
        // A truncated list can't be summed, so no insights are requested.
        Ok(posts) if posts.is_cut => body["cut"] = true.into(),
        Ok(posts) => {
            ids = posts.items.iter().filter_map(|post| id(&post["id"])).collect();
            body["insights"] = of_posts(api, &posts.items, &memory).await?;
            body["media"] = posts.items.into();
            body["unread"] = posts.unread.into();
        }
        // Keep the account's own numbers: only its posts may not be read, or have an undocumented form.
        Err(Failure::Missing(_) | Failure::Class(FetchError::Forbidden(_))) => {
            body["problem"] = "not-authorized".into()
        }
        Err(Failure::Parameter { .. } | Failure::Class(FetchError::Unexpected(_))) => {
            body["problem"] = "unavailable".into();
        }
        Err(failure) => return Err(failure.into()),
    }
    body["account"] = account::insights(api, window, &memory).await?;
    if stories::are_wanted(account) {
        body["stories"] = stories::stories(api).await?;
    }
    body["refused_metrics"] = api.lost.names().into();
    let fetched = Fetched::new(&body);
    Ok(match memory.into_state(&ids) {
        Some(state) => fetched.with_state(&state),
        None => fetched,
    })
}

/// Fetches the insights of posts: for each id `{"data": […]}` or `{"problem": …}`.
async fn of_posts(api: &Api<'_>, posts: &[Json], memory: &Memory) -> Result<Json, FetchError> {
    let findings = Findings::default();
    let answers = gather(posts, POSTS_AT_ONCE, async |post| {
        let insights = insights::of_post(api, post, memory, &findings).await;
        (id(&post["id"]).unwrap_or_default(), insights)
    })
    .await;
    let mut of_posts = serde_json::Map::new();
    let mut failures = Vec::new();
    for (post, insights) in answers {
        let entry = match insights {
            Ok(data) => json!({ "data": data }),
            // A post that was deleted in the meantime, or fails on its own, affects only itself.
            Err(Failure::Missing(_)) => json!({ "problem": "not-found" }),
            Err(Failure::Class(FetchError::Forbidden(_))) => json!({ "problem": "not-authorized" }),
            Err(Failure::TooFewViewers) => json!({ "problem": "unavailable" }),
            Err(failure) => match FetchError::from(failure) {
                error @ (FetchError::Unavailable(_) | FetchError::Unexpected(_)) => {
                    failures.push(error);
                    json!({ "problem": "unavailable" })
                }
                error => return Err(error),
            },
        };
        of_posts.insert(post, entry);
    }
    // If all posts fail, the platform is at fault, and the account should be retried.
    if failures.len() == posts.len()
        && let Some(error) = failures.into_iter().find(|error| matches!(error, FetchError::Unavailable(_)))
    {
        return Err(error);
    }
    Ok(of_posts.into())
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

async fn posts(api: &Api<'_>, window: Window) -> Result<Posts, Failure> {
    let mut posts = Posts::default();
    let mut after: Option<String> = None;
    let mut page_size = PAGE_SIZE;
    let mut paging = Paging::new(PAGES_MAX);
    loop {
        let mut query = vec![("limit", page_size.to_string())];
        query.extend(after.iter().map(|after| ("after", after.clone())));
        let page = match api.with_fields("/me/media", &POST_FIELDS, &POST_FIELDS_NEEDED, &query).await {
            Err(Failure::TooMuch) if page_size > 1 => {
                page_size /= 2;
                continue;
            }
            other => other?,
        };
        // Posts come newest first, so a page that ends before the window is the last one needed. Without a date it is
        // unknown whether a post is inside the window, so a list without any date is not an empty one.
        let dated = |post: &Json| Some((id(&post["id"])?, timestamp(&post["timestamp"])?, post.clone()));
        let (items, unread) = list_of(&page, "data", dated)?;
        posts.unread += unread;
        let is_past = items.last().is_some_and(|(_, published, _)| *published < window.since);
        let ids: Vec<String> = items.iter().map(|(id, ..)| id.clone()).collect();
        for (post_id, published, post) in items {
            let is_known = || posts.items.iter().any(|known| id(&known["id"]).as_ref() == Some(&post_id));
            if window.contains(published) && !is_story(&post) && !is_known() {
                posts.items.push(post);
            }
        }
        // `next` holds the token, so it is neither followed nor stored. It only shows that there are more pages.
        let is_last = match &page["paging"]["next"] {
            Json::Null => true,
            Json::String(next) => next.is_empty(),
            _ => return Err(FetchError::Unexpected("the next page is no address".to_owned()).into()),
        };
        if is_past || is_last {
            return Ok(posts);
        }
        // An empty page may have successors.
        let next = text(&page["paging"]["cursors"]["after"]);
        if !paging.goes_on(next.as_deref(), ids) {
            posts.is_cut = true;
            return Ok(posts);
        }
        after = next;
    }
}

/// Whether an item is a story, which lives for a day and is no post.
fn is_story(post: &Json) -> bool {
    post["media_product_type"].as_str().is_some_and(|it| it.eq_ignore_ascii_case("STORY"))
}
