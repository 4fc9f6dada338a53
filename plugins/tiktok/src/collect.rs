//! Fetches a batch: each account with its own token, and its videos of the window.

use backline_sdk::prelude::*;

use crate::{API, SLOT, errors};

/// The API sends only requested fields. The username is left out because it needs another scope.
const USER_FIELDS: &str = "open_id,display_name,follower_count,following_count,likes_count,video_count";
const VIDEO_FIELDS: &str = "id,create_time,title,duration,like_count,comment_count,share_count,view_count";

/// How many accounts are collected at the same time.
const ACCOUNTS_AT_ONCE: usize = 8;

/// Videos per page, the maximum of the API.
const PAGE_SIZE: usize = 20;

/// Maximum number of pages read of one account. 1,000 videos in 28 days are more than any artist publishes.
const PAGES_MAX: usize = 50;

/// Fetches the documents of a batch of accounts.
pub(crate) async fn batch(http: &Http, accounts: Vec<Account>, window: Window) -> BatchResult {
    BatchResult::each(accounts, ACCOUNTS_AT_ONCE, async |account| one(http, &account, window).await).await
}

/// Fetches the account that the token belongs to, and checks that it is the expected one.
///
/// # Errors
/// The classified error of the platform; `Reconnect` if the token belongs to another account.
pub(crate) async fn user(http: &Http, account: &Account) -> Result<Json, FetchError> {
    let request = http.get(format!("{API}/user/info/")).query("fields", USER_FIELDS).account(SLOT, account);
    let mut data = errors::classify(&request.send().await?)?;
    let user = data["user"].take();
    match id(&user["open_id"]) {
        None => Err(FetchError::Unexpected("the response has no account".to_owned())),
        Some(open_id) if open_id != account.platform_id => {
            Err(FetchError::Reconnect("the token belongs to another account; connect the right one".to_owned()))
        }
        Some(_) => Ok(user),
    }
}

async fn one(http: &Http, account: &Account, window: Window) -> Result<Fetched, FetchError> {
    let user = user(http, account).await?;
    let mut body = json!({ "user": user });
    match videos(http, account, window).await {
        Ok((_, true)) => body["cut"] = true.into(),
        Ok((videos, false)) => body["videos"] = videos.into(),
        // Keep the account's own numbers: only the scope video.list is missing, or the list has an undocumented form.
        Err(FetchError::Reconnect(_) | FetchError::Forbidden(_)) => body["problem"] = "not-authorized".into(),
        Err(FetchError::Unexpected(_)) => body["problem"] = "unavailable".into(),
        Err(error) => return Err(error),
    }
    Ok(Fetched::new(&body))
}

/// Fetches the public videos published inside the window. Also returns whether the list was truncated.
async fn videos(http: &Http, account: &Account, window: Window) -> Result<(Vec<Json>, bool), FetchError> {
    let mut videos: Vec<Json> = Vec::new();
    let mut cursor: Option<i64> = None;
    for _ in 0..PAGES_MAX {
        let mut question = json!({ "max_count": PAGE_SIZE });
        if let Some(cursor) = cursor {
            question["cursor"] = cursor.into();
        }
        let request = http
            .post(format!("{API}/video/list/"))
            .query("fields", VIDEO_FIELDS)
            .json(&question)
            .account(SLOT, account);
        let page = errors::classify(&request.send().await?)?;
        // Videos come newest first, so a page that ends before the window is the last one needed.
        let (mut is_past, mut is_dated) = (false, false);
        let items = page["videos"].as_array().map(Vec::as_slice).unwrap_or_default();
        for video in items {
            let (Some(video_id), Some(created)) = (id(&video["id"]), integer(&video["create_time"])) else { continue };
            is_dated = true;
            is_past = created < window.since;
            if window.contains(created) && !videos.iter().any(|known| id(&known["id"]).as_ref() == Some(&video_id)) {
                videos.push(video.clone());
            }
        }
        // Without dates it is unknown which videos are inside the window, so the count is not 0.
        if !items.is_empty() && !is_dated {
            return Err(FetchError::Unexpected("the videos carry no creation time".to_owned()));
        }
        // The last page has a cursor too.
        if is_past || page["has_more"] != true {
            return Ok((videos, false));
        }
        let next = integer(&page["cursor"]);
        if next.is_none() || next == cursor {
            return Ok((videos, true));
        }
        cursor = next;
    }
    Ok((videos, true))
}
