//! Fetches a batch: each account with its own token, its posts of the window, and their insights.

use backline_sdk::prelude::*;

use crate::insights::{self, Asked};
use crate::{API_VERSION, ORIGIN, SLOT, errors};

const ACCOUNT_FIELDS: &str = "user_id,username,name,account_type,followers_count,follows_count,media_count";
const POST_FIELDS: &str = "id,media_type,media_product_type,timestamp,permalink,like_count,comments_count";

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
    let asked = Asked::new(&context.lost_metrics);
    let window = context.window;
    let mut result =
        BatchResult::each(accounts, ACCOUNTS_AT_ONCE, async |account| one(http, &account, window, &asked).await).await;
    result.lost_metrics = asked.into_lost();
    result
}

/// Base URL of the API for this account, with the version from its settings.
fn base(account: &Account) -> String {
    let settings = account.settings_json();
    let is_version = |version: &&str| {
        let numbers = version.strip_prefix('v').and_then(|numbers| numbers.split_once('.'));
        numbers.is_some_and(|(major, minor)| {
            [major, minor].iter().all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()))
        })
    };
    let version = settings["api_version"].as_str().filter(is_version).unwrap_or(API_VERSION);
    format!("{ORIGIN}/{version}")
}

/// Fetches the account that the token belongs to, and checks that it is the expected one.
///
/// # Errors
/// The classified error of the platform; `Reconnect` if the token belongs to another account.
pub(crate) async fn me(http: &Http, account: &Account) -> Result<Json, FetchError> {
    let request = http.get(format!("{}/me", base(account))).query("fields", ACCOUNT_FIELDS).account(SLOT, account);
    let me = errors::classify(&request.send().await?)?;
    // `user_id` is the id of the professional account, `id` is specific to this app.
    let ids = [id(&me["user_id"]), id(&me["id"])];
    if ids.iter().all(Option::is_none) {
        return Err(FetchError::Unexpected("the account has no id".to_owned()));
    }
    if account.platform_id != "me" && !ids.iter().flatten().any(|id| *id == account.platform_id) {
        return Err(FetchError::Reconnect("the token belongs to another account; connect the right one".to_owned()));
    }
    Ok(me)
}

async fn one(http: &Http, account: &Account, window: Window, asked: &Asked) -> Result<Fetched, FetchError> {
    let me = me(http, account).await?;
    let (posts, is_cut) = match posts(http, account, window).await {
        Ok(posts) => posts,
        // Keep the account's own numbers: only its posts may not be read, or have an undocumented form.
        Err(FetchError::Forbidden(_)) => return Ok(Fetched::new(&json!({ "me": me, "problem": "not-authorized" }))),
        Err(FetchError::Unexpected(_)) => return Ok(Fetched::new(&json!({ "me": me, "problem": "unavailable" }))),
        Err(error) => return Err(error),
    };
    // A truncated list can't be summed, so no insights are requested.
    if is_cut {
        return Ok(Fetched::new(&json!({ "me": me, "cut": true })));
    }
    let base = base(account);
    let answers = gather(&posts, POSTS_AT_ONCE, async |post| {
        let post = id(&post["id"]).unwrap_or_default();
        let insights = insights::of_post(http, &base, account, &post, asked).await;
        (post, insights)
    })
    .await;
    let mut of_posts = serde_json::Map::new();
    let mut failures = Vec::new();
    for (post, insights) in answers {
        let entry = match insights {
            Ok(data) => json!({ "data": data }),
            // A post that was deleted in the meantime, or fails on its own, affects only itself.
            Err(FetchError::NotFound) => json!({ "problem": "not-found" }),
            Err(FetchError::Forbidden(_)) => json!({ "problem": "not-authorized" }),
            Err(error @ (FetchError::Unavailable(_) | FetchError::Unexpected(_))) => {
                failures.push(error);
                json!({ "problem": "unavailable" })
            }
            Err(error) => return Err(error),
        };
        of_posts.insert(post, entry);
    }
    // If all posts fail, the platform is at fault, and the account should be retried.
    if failures.len() == posts.len()
        && let Some(error) = failures.into_iter().find(|error| matches!(error, FetchError::Unavailable(_)))
    {
        return Err(error);
    }
    Ok(Fetched::new(&json!({ "me": me, "media": posts, "insights": of_posts, "refused_metrics": asked.refused() })))
}

/// Fetches the posts published inside the window. Also returns whether the list was truncated.
async fn posts(http: &Http, account: &Account, window: Window) -> Result<(Vec<Json>, bool), FetchError> {
    let mut posts: Vec<Json> = Vec::new();
    let mut after: Option<String> = None;
    for _ in 0..PAGES_MAX {
        let mut request = http
            .get(format!("{}/me/media", base(account)))
            .query("fields", POST_FIELDS)
            .query("limit", PAGE_SIZE)
            .account(SLOT, account);
        if let Some(after) = &after {
            request = request.query("after", after);
        }
        let page = errors::classify(&request.send().await?)?;
        // Posts come newest first, so a page that ends before the window is the last one needed. An empty page may have
        // successors.
        let (mut is_past, mut is_dated) = (false, false);
        let items =
            page["data"].as_array().ok_or_else(|| FetchError::Unexpected("the posts are not a list".to_owned()))?;
        for post in items {
            let (Some(post_id), Some(published)) = (id(&post["id"]), timestamp(&post["timestamp"])) else { continue };
            is_dated = true;
            is_past = published < window.since;
            if window.contains(published) && !posts.iter().any(|known| id(&known["id"]).as_ref() == Some(&post_id)) {
                posts.push(post.clone());
            }
        }
        // Without dates it is unknown which posts are inside the window, so the count is not 0.
        if !items.is_empty() && !is_dated {
            return Err(FetchError::Unexpected("the posts carry no timestamp".to_owned()));
        }
        // `next` holds the token, so it is neither followed nor stored. It only shows that there are more pages.
        let next = text(&page["paging"]["cursors"]["after"]);
        let is_last = page["paging"]["next"].as_str().is_none_or(str::is_empty);
        if is_past || is_last {
            return Ok((posts, false));
        }
        if next.is_none() || next == after {
            return Ok((posts, true));
        }
        after = next;
    }
    Ok((posts, true))
}
