//! Lists what a channel published, and keeps that list between runs.

use std::collections::BTreeSet;

use backline_sdk::prelude::*;

use crate::{API, IDS_MAX, SLOT, errors};

/// Maximum number of pages read of one channel. 1,000 videos in 28 days are more than any artist publishes.
const PAGES_MAX: usize = 20;

/// Days after which a channel is listed again although its number of videos is the same, because one video may have
/// replaced another. Each channel has its own day of the week, so that channels first listed together are not all due
/// together.
const WEEK_DAYS: i64 = 7;

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
    /// Whether the list was truncated at [`PAGES_MAX`] pages.
    pub is_cut: bool,
}

impl Uploads {
    /// The list of a channel that published nothing since the window began.
    pub(crate) fn none(videos: Option<i64>, window: Window) -> Self {
        Self { since: window.since, listed: window.until, videos, items: Vec::new(), is_cut: false }
    }

    /// The state to keep for the next run.
    pub(crate) fn to_state(&self) -> Json {
        let items: Vec<Json> = self.items.iter().map(|upload| json!([upload.id, upload.published])).collect();
        json!({ "since": self.since, "listed": self.listed, "videos": self.videos, "uploads": items })
    }

    /// Reads the state of the last run, if it still covers the window and is recent enough.
    pub(crate) fn from_state(state: &Json, channel: &str, videos: Option<i64>, window: Window) -> Option<Self> {
        let remembered = Self {
            since: state["since"].as_i64()?,
            listed: state["listed"].as_i64()?,
            videos: Some(state["videos"].as_i64()?),
            items: read(&state["uploads"])?,
            is_cut: false,
        };
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

/// Reads pairs of id and time, as in documents and state; `None` if the JSON is not a list.
pub(crate) fn read(uploads: &Json) -> Option<Vec<Upload>> {
    let pairs = uploads.as_array()?;
    Some(pairs.iter().filter_map(|pair| Some(Upload { id: text(&pair[0])?, published: pair[1].as_i64()? })).collect())
}

/// Lists what a channel published since the window began. A channel that never published anything may have no playlist,
/// which gives an empty list.
pub(crate) async fn list(
    http: &Http,
    playlist: &str,
    videos: Option<i64>,
    window: Window,
) -> Result<Uploads, FetchError> {
    let mut uploads = Uploads::none(videos, window);
    let mut seen = BTreeSet::new();
    let mut page_token = None;
    let (mut has_items, mut is_dated) = (false, false);
    for _ in 0..PAGES_MAX {
        let page = match page(http, playlist, page_token.as_deref()).await {
            Err(FetchError::NotFound) if page_token.is_none() => return Ok(uploads),
            other => other?,
        };
        // Videos come newest first, so a page that ends before the window is the last one needed.
        let mut is_past = false;
        let items = page["items"].as_array().map(Vec::as_slice).unwrap_or_default();
        has_items |= !items.is_empty();
        for upload in items.iter().filter_map(upload) {
            is_dated = true;
            is_past = upload.published < window.since;
            if !is_past && seen.insert(upload.id.clone()) {
                uploads.items.push(upload);
            }
        }
        let next = text(&page["nextPageToken"]);
        if is_past || next.is_none() {
            // Without dates it is unknown which videos are inside the window, so the count is not 0.
            let is_unknown = has_items && !is_dated;
            return if is_unknown {
                Err(FetchError::Unexpected("the uploads carry no date".to_owned()))
            } else {
                Ok(uploads)
            };
        }
        if next == page_token {
            break;
        }
        page_token = next;
    }
    uploads.is_cut = true;
    Ok(uploads)
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

/// Reads an item of a playlist; `None` for a private or deleted video, which has no publication date.
fn upload(item: &Json) -> Option<Upload> {
    let (details, snippet) = (&item["contentDetails"], &item["snippet"]);
    // The connector requests contentDetails only. A snippet holds the same data under other names.
    Some(Upload {
        id: text(&details["videoId"]).or_else(|| text(&snippet["resourceId"]["videoId"]))?,
        published: timestamp(&details["videoPublishedAt"]).or_else(|| timestamp(&snippet["publishedAt"]))?,
    })
}
