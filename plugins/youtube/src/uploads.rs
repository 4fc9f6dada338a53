//! Lists what a channel published, and keeps that list between runs.

use std::collections::BTreeSet;

use backline_sdk::{NotAList, Paging, prelude::*};

use crate::{API, IDS_MAX, SLOT, errors};

/// Maximum number of pages read of one channel. 1,000 videos in 28 days are more than any artist publishes.
const PAGES_MAX: usize = 20;

/// Days after which a channel is listed again although its number of videos is the same, because one video may have
/// replaced another. Each channel has its own day of the week, so that channels first listed together are not all due
/// together.
const WEEK_DAYS: i64 = 7;

/// `kind` of a page of a playlist.
const KIND: &str = "youtube#playlistItemListResponse";

/// Form of the state. Version 1.0.0 wrote none, and kept an empty list for a missing one.
const FORM: i64 = 2;

/// A video in the uploads playlist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Upload {
    /// Id of the video.
    pub id: String,
    /// Time of publication, in Unix seconds.
    pub published: i64,
}

/// The videos that a channel published since a point in time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Uploads {
    /// Start of the time that the list covers, in Unix seconds.
    pub since: i64,
    /// When the list was fetched, in Unix seconds.
    pub listed: i64,
    /// The channel's number of videos at that time, if the platform stated one.
    pub videos: Option<i64>,
    /// The videos, newest first.
    pub items: Vec<Upload>,
    /// Whether the list goes on after what was read: [`PAGES_MAX`] pages, or pages that repeat.
    pub is_cut: bool,
    /// Items of the list that are not understood.
    pub unread: usize,
}

impl Uploads {
    /// The list of a channel that published nothing since the window began.
    pub(crate) fn none(videos: Option<i64>, window: Window) -> Self {
        Self { since: window.since, listed: window.until, videos, items: Vec::new(), is_cut: false, unread: 0 }
    }

    /// The state to keep for the next run.
    pub(crate) fn to_state(&self) -> Json {
        let items: Vec<Json> = self.items.iter().map(|upload| json!([upload.id, upload.published])).collect();
        json!({ "form": FORM, "since": self.since, "listed": self.listed, "videos": self.videos, "uploads": items })
    }

    /// Reads the state of the last run, if it still covers the window and is recent enough.
    pub(crate) fn from_state(state: &Json, channel: &str, videos: Option<i64>, window: Window) -> Option<Self> {
        let (items, unread) = read(state, "uploads").ok()?;
        let remembered = Self {
            since: state["since"].as_i64()?,
            listed: state["listed"].as_i64()?,
            videos: Some(state["videos"].as_i64()?),
            items,
            is_cut: false,
            unread,
        };
        // A list of which something can't be read is fetched again.
        if unread > 0 {
            return None;
        }
        if remembered.items.is_empty() && state["form"].as_i64() != Some(FORM) {
            return None;
        }
        let covers = remembered.since <= window.since && remembered.listed <= window.until;
        let is_fresh = week(channel, remembered.listed) == week(channel, window.until);
        (covers && is_fresh && remembered.videos == videos).then(|| remembered.since(window.since))
    }

    /// Removes the videos before a time in Unix seconds.
    fn since(mut self, since: i64) -> Self {
        self.since = since;
        self.items.retain(|upload| upload.published >= since);
        self
    }
}

/// Number of a channel's week. The day on which it begins is derived from the channel's id.
fn week(channel: &str, moment: i64) -> i64 {
    let offset: i64 = channel.bytes().map(i64::from).sum();
    (moment.div_euclid(86_400) + offset).div_euclid(WEEK_DAYS)
}

/// Reads pairs of id and time, as in documents and state, and counts those that can't be read.
///
/// # Errors
/// If there is no list under the key.
pub(crate) fn read(json: &Json, key: &str) -> Result<(Vec<Upload>, usize), NotAList> {
    list_of(json, key, |pair| Some(Upload { id: text(&pair[0])?, published: pair[1].as_i64()? }))
}

/// Lists what a channel published since the window began.
///
/// # Errors
/// The classified error of a call, also if the playlist does not exist; `Unexpected` for a page that is not a list.
pub(crate) async fn list(
    http: &Http,
    playlist: &str,
    videos: Option<i64>,
    window: Window,
) -> Result<Uploads, FetchError> {
    let mut uploads = Uploads::none(videos, window);
    let mut seen = BTreeSet::new();
    let mut page_token = None;
    let mut paging = Paging::new(PAGES_MAX);
    let (mut has_items, mut is_dated) = (false, false);
    loop {
        let page = page(http, playlist, page_token.as_deref()).await?;
        let (items, unread) = items(&page)?;
        uploads.unread += unread;
        has_items |= !items.is_empty();
        // Videos come newest first, so a page that ends before the window is the last one needed.
        let mut is_past = false;
        for Item { id, published } in &items {
            let Some(published) = *published else { continue };
            is_dated = true;
            is_past = published < window.since;
            if !is_past && seen.insert(id.clone()) {
                uploads.items.push(Upload { id: id.clone(), published });
            }
        }
        let next = match &page["nextPageToken"] {
            Json::Null => None,
            Json::String(token) if token.is_empty() => None,
            token => Some(text(token).ok_or_else(|| FetchError::Unexpected("a page token is no text".to_owned()))?),
        };
        if is_past || next.is_none() {
            // Without dates it is unknown which videos are inside the window, so the count is not 0.
            if has_items && !is_dated {
                return Err(FetchError::Unexpected("the uploads carry no date".to_owned()));
            }
            return Ok(uploads);
        }
        if !paging.goes_on(next.as_deref(), items.into_iter().map(|item| item.id)) {
            uploads.is_cut = true;
            return Ok(uploads);
        }
        page_token = next;
    }
}

/// An item of a page: the video's id and its time of publication, which a private or deleted video lacks.
struct Item {
    id: String,
    published: Option<i64>,
}

/// The items of a page, and how many are not understood. A list without `items` is empty only if the API says that it
/// has none.
fn items(page: &Json) -> Result<(Vec<Item>, usize), FetchError> {
    let total = integer(&page["pageInfo"]["totalResults"]);
    if page.get("items").is_none() && page["kind"] == KIND && total == Some(0) {
        return Ok((Vec::new(), 0));
    }
    let (items, unread) = list_of(page, "items", upload)?;
    if items.is_empty() && page["nextPageToken"].is_null() && total.is_some_and(|total| total > 0) {
        return Err(FetchError::Unexpected("the page has no items of those that it counts".to_owned()));
    }
    Ok((items, unread))
}

async fn page(http: &Http, playlist: &str, page_token: Option<&str>) -> Result<Json, FetchError> {
    let mut request = http
        .get(format!("{API}/playlistItems"))
        .query("part", "contentDetails")
        .query("playlistId", playlist)
        .query("maxResults", IDS_MAX)
        .slot(SLOT);
    if let Some(page_token) = page_token {
        request = request.query("pageToken", page_token);
    }
    errors::classify(&request.send().await.map_err(FetchError::of_operator)?)
}

/// Reads an item of a playlist; `None` if it names no video.
fn upload(item: &Json) -> Option<Item> {
    let (details, snippet) = (&item["contentDetails"], &item["snippet"]);
    // The connector requests contentDetails only. A snippet holds the same data under other names.
    Some(Item {
        id: text(&details["videoId"]).or_else(|| text(&snippet["resourceId"]["videoId"]))?,
        published: timestamp(&details["videoPublishedAt"]).or_else(|| timestamp(&snippet["publishedAt"])),
    })
}
