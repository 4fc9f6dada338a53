//! Fetches a batch: each account with its own token, and its videos of the window.

use backline_sdk::{Paging, Stop, prelude::*};

use crate::errors::{self, Failure};
use crate::normalize::created;
use crate::{API, SLOT};

/// Fields of the scope `user.info.basic`, which every token has. The API sends only requested fields.
const BASIC_FIELDS: &str = "open_id,display_name";

/// These and the fields of `user.info.stats`. The username is left out because it needs a third scope.
const USER_FIELDS: &str = "open_id,display_name,follower_count,following_count,likes_count,video_count";
const VIDEO_FIELDS: &str = "id,create_time,like_count,comment_count,share_count,view_count";

/// How many accounts are collected at the same time.
const ACCOUNTS_AT_ONCE: usize = 8;

/// Videos per page, the maximum of the API.
const PAGE_SIZE: usize = 20;

/// Maximum number of pages read of one account. 1,000 videos in 28 days are more than any artist publishes.
const PAGES_MAX: usize = 50;

/// Fetches the documents of a batch of accounts.
pub(crate) async fn batch(http: &Http, accounts: Vec<Account>, window: Window) -> BatchResult {
    let stop = Stop::default();
    BatchResult::each(accounts, ACCOUNTS_AT_ONCE, async |account| {
        stop.check()?;
        one(http, &account, window).await.map_err(
            |error| {
                if errors::is_of_app(&error) { stop.halt(error) } else { error }
            },
        )
    })
    .await
}

/// The account that a token belongs to, as far as the token's scopes allow.
pub(crate) struct User {
    /// The platform's object.
    pub(crate) body: Json,
    /// Whether the artist did not grant `user.info.stats`.
    pub(crate) is_without_stats: bool,
}

/// Fetches the account that the token belongs to, and checks that it is the expected one.
///
/// One field whose scope was not granted fails the whole request. The fields of the scope that every token has are then
/// requested alone.
///
/// # Errors
/// The classified error of the platform; `Reconnect` if the token belongs to another account.
pub(crate) async fn user(http: &Http, account: &Account) -> Result<User, FetchError> {
    let (mut data, is_without_stats) = match user_info(http, account, USER_FIELDS).await {
        Err(Failure::Scope(_)) => (user_info(http, account, BASIC_FIELDS).await?, true),
        other => (other?, false),
    };
    let body = data["user"].take();
    match id(&body["open_id"]) {
        None => Err(FetchError::Unexpected("the response has no account".to_owned())),
        Some(open_id) if open_id != account.platform_id => {
            Err(FetchError::Reconnect("the token belongs to another account; connect the right one".to_owned()))
        }
        Some(_) => Ok(User { body, is_without_stats }),
    }
}

async fn user_info(http: &Http, account: &Account, fields: &str) -> Result<Json, Failure> {
    let request = http.get(format!("{API}/user/info/")).query("fields", fields).account(SLOT, account);
    errors::classify(&request.send().await?)
}

async fn one(http: &Http, account: &Account, window: Window) -> Result<Fetched, FetchError> {
    let user = user(http, account).await?;
    let mut body = json!({ "user": user.body });
    if user.is_without_stats {
        body["stats"] = "not-authorized".into();
    }
    match videos(http, account, window).await {
        Ok(videos) if videos.is_cut => body["cut"] = true.into(),
        Ok(videos) => {
            body["videos"] = videos.items.into();
            body["unread"] = videos.unread.into();
        }
        // Keep the account's own numbers: only the scope video.list is missing, or the list has an undocumented form.
        Err(Failure::Scope(_) | Failure::Class(FetchError::Forbidden(_))) => body["problem"] = "not-authorized".into(),
        Err(Failure::Class(FetchError::Unexpected(_))) => body["problem"] = "unavailable".into(),
        Err(Failure::Class(error)) => return Err(error),
    }
    Ok(Fetched::new(&body))
}

/// The public videos published inside the window.
#[derive(Default)]
struct Videos {
    items: Vec<Json>,
    /// Items without an id or a time of creation.
    unread: usize,
    /// Whether there are more than the pages that were read.
    is_cut: bool,
}

async fn videos(http: &Http, account: &Account, window: Window) -> Result<Videos, Failure> {
    let mut videos = Videos::default();
    let mut cursor: Option<i64> = None;
    let mut paging = Paging::new(PAGES_MAX);
    loop {
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
        // Videos come newest first, so a page that ends before the window is the last one needed. Without a date it is
        // unknown whether a video is inside the window, so a list without any date is not an empty one.
        let dated = |video: &Json| Some((id(&video["id"])?, created(video)?, video.clone()));
        let (items, unread) = list_of(&page, "videos", dated)?;
        videos.unread += unread;
        let is_past = items.last().is_some_and(|(_, published, _)| *published < window.since);
        let ids: Vec<String> = items.iter().map(|(id, ..)| id.clone()).collect();
        for (video_id, published, video) in items {
            if window.contains(published)
                && !videos.items.iter().any(|known| id(&known["id"]).as_ref() == Some(&video_id))
            {
                videos.items.push(video);
            }
        }
        // The last page has a cursor too. Without the flag it is unknown whether this is the last one.
        let has_more = page["has_more"].as_bool();
        if is_past || has_more == Some(false) {
            return Ok(videos);
        }
        if has_more.is_none() {
            return Err(FetchError::Unexpected("the page does not say whether there are more".to_owned()).into());
        }
        let next = integer(&page["cursor"]);
        if !paging.goes_on(next.map(|next| next.to_string()).as_deref(), ids) {
            videos.is_cut = true;
            return Ok(videos);
        }
        cursor = next;
    }
}
