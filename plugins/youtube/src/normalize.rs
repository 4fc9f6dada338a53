//! Turns a document into a snapshot.

use std::collections::BTreeMap;

use backline_sdk::prelude::*;

use crate::uploads;

/// The metrics that sum over the window's videos.
const VIDEO_METRICS: [&str; 4] = ["content_views", "video_views", "likes", "comments"];

/// Most items of an unknown form that are counted as skipped: as many as the connector lists of one channel.
const UNREAD_MAX: usize = 1_000;

/// Builds the snapshot of a document `{channel, uploads, videos, problem?}` or `{channel, problem | cut}`.
pub(crate) fn snapshot(document: &Document) -> Result<Snapshot, String> {
    let body = document.json()?;
    let statistics = &body["channel"]["statistics"];
    if !body["channel"].is_object() {
        return Err("the document holds no channel".to_owned());
    }
    // A hidden number is missing, or "0" together with the flag. Without the flag it is unknown what a 0 means.
    let subscribers = match statistics["hiddenSubscriberCount"].as_bool() {
        Some(true) => &Json::Null,
        None if integer(&statistics["subscriberCount"]) == Some(0) => &Json::Null,
        _ => &statistics["subscriberCount"],
    };
    // A number that is not sent is hidden, unless the flag says that it is not. One that can't be read is not hidden.
    let is_hidden = match statistics["hiddenSubscriberCount"].as_bool() {
        Some(flag) => flag,
        None => statistics.is_object() && statistics["subscriberCount"].is_null(),
    };
    let without_subscribers = if is_hidden { Absence::Hidden } else { Absence::Unavailable };
    let mut snapshot = Snapshot::builder()
        .count("followers", subscribers, without_subscribers)
        .count("posts_count", &statistics["videoCount"], Absence::Unavailable)
        .count("total_views", &statistics["viewCount"], Absence::Unavailable);
    // A sum over a truncated list would be too low.
    if body["cut"] == true {
        let note = "more videos were published inside the window than the connector reads";
        return Ok(snapshot.absent(&VIDEO_METRICS, Absence::Unavailable).note(note).build());
    }
    let (Ok((listed, odd)), Ok(videos), None) =
        (uploads::read(&body, "uploads"), list(&body, "videos"), body["problem"].as_str())
    else {
        let reason = match body["problem"].as_str() {
            Some("not-authorized") => Absence::NotAuthorized,
            Some("not-found") => Absence::NotFound,
            _ => Absence::Unavailable,
        };
        return Ok(snapshot
            .absent(&VIDEO_METRICS, reason)
            .note("the videos of the window could not be fetched")
            .build());
    };
    let known: BTreeMap<&str, &Json> =
        videos.iter().filter_map(|video| Some((video["id"].as_str()?, &video["statistics"]))).collect();
    let inside: Vec<_> = listed.iter().filter(|upload| document.window.contains(upload.published)).collect();
    // A video that was listed and is gone, or could not be read, is one whose numbers are missing.
    let mut videos: Vec<&Json> =
        inside.iter().map(|upload| known.get(upload.id.as_str()).copied().unwrap_or(&Json::Null)).collect();
    let gone = inside.iter().filter(|upload| !known.contains_key(upload.id.as_str())).count();
    if gone > 0 {
        snapshot = snapshot.note(format!("{gone} videos of the window were deleted or are no longer public"));
        // Videos were published, but no numbers are known, so the sum is not 0.
        if gone == videos.len() {
            return Ok(snapshot.absent(&VIDEO_METRICS, Absence::NotFound).build());
        }
    }
    let unread = usize::try_from(integer(&body["unread"]).unwrap_or(0)).unwrap_or(0);
    let unread = unread.saturating_add(odd).min(UNREAD_MAX);
    if unread > 0 {
        snapshot = snapshot.note(format!("{unread} items of the uploads are of an unknown form"));
        videos.extend(std::iter::repeat_n(&Json::Null, unread));
    }
    let tally = |name: &str| Tally::of(videos.iter().map(|statistics| integer(&statistics[name])));
    // Ratings and comments that are switched off are not sent. Without statistics nothing is known of them.
    let is_sent = videos.iter().any(|statistics| statistics.is_object());
    let switched_off = |name: &str| {
        let is_odd = videos.iter().any(|statistics| !statistics[name].is_null());
        if is_sent && !is_odd { Absence::Hidden } else { Absence::Unavailable }
    };
    let views = tally("viewCount");
    Ok(snapshot
        .tally("content_views", views, Absence::Unavailable)
        .tally("video_views", views, Absence::Unavailable)
        .tally("likes", tally("likeCount"), switched_off("likeCount"))
        .tally("comments", tally("commentCount"), switched_off("commentCount"))
        .engagement(Some(engagement(&videos)))
        .build())
}

/// Likes and comments by views, over the videos that show all three. A video that hides one would distort the rate.
fn engagement(videos: &[&Json]) -> Engagement {
    let mut engagement = Engagement {
        interactions: 0,
        base: Some(0),
        basis: EngagementBasis::Views,
        posts_counted: 0,
        posts_skipped: 0,
    };
    let mut views_counted: i64 = 0;
    for statistics in videos {
        let numbers = ["viewCount", "likeCount", "commentCount"].map(|name| count_of(&statistics[name]));
        if let [Some(views), Some(likes), Some(comments)] = numbers {
            engagement.interactions = engagement.interactions.saturating_add(likes).saturating_add(comments);
            views_counted = views_counted.saturating_add(views);
            engagement.posts_counted += 1;
        } else {
            engagement.posts_skipped += 1;
        }
    }
    engagement.base = Some(views_counted);
    engagement
}
