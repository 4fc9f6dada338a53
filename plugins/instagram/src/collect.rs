//! One batch: each account with its own token, its posts of the window, and their insights.

use backline_sdk::prelude::*;

use crate::insights::{self, Asked};
use crate::{API_VERSION, ORIGIN, SLOT, errors};

const ACCOUNT_FIELDS: &str = "user_id,username,name,account_type,followers_count,follows_count,media_count";
const POST_FIELDS: &str = "id,media_type,media_product_type,timestamp,permalink,like_count,comments_count";

/// Accounts collected at the same time, and posts of each whose insights are asked at the same time.
const ACCOUNTS_AT_ONCE: usize = 4;
const POSTS_AT_ONCE: usize = 4;

/// Posts a page; most pages read of one account, empty ones included.
const PAGE_SIZE: usize = 50;
const PAGES_MAX: usize = 40;

/// Fetches a batch.
pub async fn batch(http: &Http, accounts: Vec<Account>, context: &Context) -> BatchResult {
    let asked = Asked::new(&context.lost_metrics);
    let window = context.window;
    let mut result =
        BatchResult::each(accounts, ACCOUNTS_AT_ONCE, async |account| one(http, &account, window, &asked).await).await;
    result.lost_metrics = asked.into_lost();
    result
}

/// The API's address for this account, with the version that its settings name.
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

/// The account behind the token, if it is the one that is meant.
///
/// # Errors
/// As the platform says; `reconnect` where the token belongs to somebody else.
pub async fn me(http: &Http, account: &Account) -> Result<Json, FetchError> {
    let request = http.get(format!("{}/me", base(account))).query("fields", ACCOUNT_FIELDS).account(SLOT, account);
    let me = errors::classify(&request.send().await?)?;
    // Two ids: the professional account's, and one that only this app knows.
    let ids = [id(&me["user_id"]), id(&me["id"])];
    if ids.iter().all(Option::is_none) {
        return Err(FetchError::Unexpected("the account has no id".to_owned()));
    }
    if account.platform_id != "me" && !ids.iter().flatten().any(|id| *id == account.platform_id) {
        return Err(FetchError::Reconnect(
            "the token belongs to another account; connect the one that is meant".to_owned(),
        ));
    }
    Ok(me)
}

async fn one(http: &Http, account: &Account, window: Window, asked: &Asked) -> Result<Fetched, FetchError> {
    let me = me(http, account).await?;
    let (posts, is_cut) = match posts(http, account, window).await {
        Ok(posts) => posts,
        // The account's own numbers are good; its posts may not be read, or are not what is documented.
        Err(FetchError::Forbidden(_)) => return Ok(Fetched::new(&json!({ "me": me, "problem": "not-authorized" }))),
        Err(FetchError::Unexpected(_)) => return Ok(Fetched::new(&json!({ "me": me, "problem": "unavailable" }))),
        Err(error) => return Err(error),
    };
    // Past the bound nothing can be summed, so nothing more is asked.
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
            // A post that was deleted meanwhile, or that has a fault of its own, costs itself.
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
    // When all fail alike it is the platform; the account is better tried again.
    if failures.len() == posts.len()
        && let Some(error) = failures.into_iter().find(|error| matches!(error, FetchError::Unavailable(_)))
    {
        return Err(error);
    }
    Ok(Fetched::new(&json!({ "me": me, "media": posts, "insights": of_posts, "refused_metrics": asked.refused() })))
}

/// The posts published inside the window, and whether there were more pages than are read.
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
        // Newest first: once a page ends before the window, the next one holds nothing of it. A page may be empty and not the last.
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
        // Nothing tells which of them are inside the window: that is no zero.
        if !items.is_empty() && !is_dated {
            return Err(FetchError::Unexpected("the posts carry no timestamp".to_owned()));
        }
        // `next` only says that there is more: it carries the token, so it is neither followed nor kept.
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
