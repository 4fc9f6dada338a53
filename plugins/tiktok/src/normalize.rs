//! Turns a document into a snapshot.

use backline_sdk::prelude::*;

/// The metrics that sum over the window's videos.
const VIDEO_METRICS: [&str; 5] = ["content_views", "video_views", "likes", "comments", "shares"];

/// Most items of an unknown form that are counted as skipped: as many as the connector lists of one account.
const UNREAD_MAX: usize = 1_000;

/// 10000-01-01T00:00:00Z in Unix seconds.
const YEAR_10000: i64 = 253_402_300_800;

/// Builds the snapshot of a document `{user, videos | problem | cut}`.
pub(crate) fn snapshot(document: &Document) -> Result<Snapshot, String> {
    let body = document.json()?;
    let user = &body["user"];
    if !user.is_object() {
        return Err("the document holds no account".to_owned());
    }
    // The platform sends counts only with the scope user.info.stats. With the others there, a missing one was not sent.
    let counts = ["follower_count", "following_count", "video_count", "likes_count"];
    let is_without_stats = body["stats"] == "not-authorized" || counts.iter().all(|name| user.get(*name).is_none());
    let missing = if is_without_stats { Absence::NotAuthorized } else { Absence::Unavailable };
    let mut snapshot = Snapshot::builder()
        .count("followers", &user["follower_count"], missing)
        .count("following", &user["following_count"], missing)
        .count("posts_count", &user["video_count"], missing)
        .count("account_likes", &user["likes_count"], missing);
    // A sum over a truncated list would be too low.
    if body["cut"] == true {
        let note = "more videos were published inside the window than the connector reads";
        return Ok(snapshot.absent(&VIDEO_METRICS, Absence::Unavailable).note(note).build());
    }
    let Ok(listed) = list(&body, "videos") else {
        let reason = if body["problem"] == "not-authorized" { Absence::NotAuthorized } else { Absence::Unavailable };
        return Ok(snapshot
            .absent(&VIDEO_METRICS, reason)
            .note("the videos of the window could not be fetched")
            .build());
    };
    let mut videos: Vec<&Json> =
        listed.iter().filter(|video| created(video).is_some_and(|created| document.window.contains(created))).collect();
    // An item that could not be read is a video whose numbers are missing.
    let undated = listed.iter().filter(|video| created(video).is_none()).count();
    let unread = usize::try_from(integer(&body["unread"]).unwrap_or(0)).unwrap_or(0);
    let unread = unread.saturating_add(undated).min(UNREAD_MAX);
    if unread > 0 {
        snapshot = snapshot.note(format!("{unread} items of the video list are of an unknown form"));
        videos.extend(std::iter::repeat_n(&Json::Null, unread));
    }
    let tally = |name: &str| Tally::of(videos.iter().map(|video| integer(&video[name])));
    let views = tally("view_count");
    Ok(snapshot
        .tally("content_views", views, Absence::Unavailable)
        .tally("video_views", views, Absence::Unavailable)
        .tally("likes", tally("like_count"), Absence::Unavailable)
        .tally("comments", tally("comment_count"), Absence::Unavailable)
        .tally("shares", tally("share_count"), Absence::Unavailable)
        .engagement(Some(engagement(&videos)))
        .build())
}

/// When a video was created, in Unix seconds. `None` for a time that is none: 0 stands for a missing one, and a time
/// past the year 9999 is in another unit. Taken for times they would place the video outside of every window.
pub(crate) fn created(video: &Json) -> Option<i64> {
    integer(&video["create_time"]).filter(|created| (1..YEAR_10000).contains(created))
}

/// Likes, comments and shares by views, over the videos that show all four. A video that lacks one would distort the
/// rate.
fn engagement(videos: &[&Json]) -> Engagement {
    let (mut interactions, mut views_counted) = (0_i64, 0_i64);
    let (mut posts_counted, mut posts_skipped) = (0, 0);
    for video in videos {
        let numbers = ["view_count", "like_count", "comment_count", "share_count"].map(|name| count_of(&video[name]));
        if let [Some(views), Some(likes), Some(comments), Some(shares)] = numbers {
            interactions = interactions.saturating_add(likes).saturating_add(comments).saturating_add(shares);
            views_counted = views_counted.saturating_add(views);
            posts_counted += 1;
        } else {
            posts_skipped += 1;
        }
    }
    Engagement { interactions, base: Some(views_counted), basis: EngagementBasis::Views, posts_counted, posts_skipped }
}
