//! Turns a document into a snapshot.

use std::collections::BTreeMap;

use backline_sdk::prelude::*;

use crate::uploads;

/// The metrics that sum over the window's videos.
const VIDEO_METRICS: [&str; 4] = ["content_views", "video_views", "likes", "comments"];

/// Builds the snapshot of a document `{channel, uploads, videos, problem?}` or `{channel, problem | cut}`.
pub(crate) fn snapshot(document: &Document) -> Result<Snapshot, String> {
    let body = document.json()?;
    let statistics = &body["channel"]["statistics"];
    if !body["channel"].is_object() {
        return Err("the document holds no channel".to_owned());
    }
    // A hidden number is missing, or "0" together with the flag.
    let subscribers = match statistics["hiddenSubscriberCount"].as_bool() {
        Some(true) => &Json::Null,
        _ => &statistics["subscriberCount"],
    };
    let without_subscribers = if statistics.is_object() { Absence::Hidden } else { Absence::Unavailable };
    let mut snapshot = Snapshot::builder()
        .count("followers", subscribers, without_subscribers)
        .count("posts_count", &statistics["videoCount"], Absence::Unavailable)
        .count("total_views", &statistics["viewCount"], Absence::Unavailable);
    // A sum over a truncated list would be too low.
    if body["cut"] == true {
        let note = "more videos were published inside the window than the connector reads";
        return Ok(snapshot.absent(&VIDEO_METRICS, Absence::Unavailable).note(note).build());
    }
    let (Some(listed), None) = (uploads::read(&body["uploads"]), body["problem"].as_str()) else {
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
    let known: BTreeMap<&str, &Json> = body["videos"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|video| Some((video["id"].as_str()?, &video["statistics"])))
        .collect();
    let inside = listed.iter().filter(|upload| document.window.contains(upload.published));
    let videos: Vec<&Json> = inside.clone().filter_map(|upload| known.get(upload.id.as_str()).copied()).collect();
    let gone = inside.count() - videos.len();
    if gone > 0 {
        snapshot = snapshot.note(format!("{gone} videos of the window were deleted or are no longer public"));
        // Videos were published, but no numbers are known, so the sum is not 0.
        if videos.is_empty() {
            return Ok(snapshot.absent(&VIDEO_METRICS, Absence::NotFound).build());
        }
    }
    let tally = |name: &str| Tally::of(videos.iter().map(|statistics| integer(&statistics[name])));
    let views = tally("viewCount");
    Ok(snapshot
        .tally("content_views", views, Absence::Unavailable)
        .tally("video_views", views, Absence::Unavailable)
        .tally("likes", tally("likeCount"), Absence::Hidden)
        .tally("comments", tally("commentCount"), Absence::Hidden)
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
        let numbers = ["viewCount", "likeCount", "commentCount"].map(|name| integer(&statistics[name]));
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
