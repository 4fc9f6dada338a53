//! Turns a document into a snapshot.

use backline_sdk::prelude::*;

/// The metrics that sum over the window's posts.
const POST_METRICS: [&str; 5] = ["content_views", "video_views", "likes", "comments", "reposts"];

/// Most items of an unknown form that are counted as skipped: as many as the connector lists of one account.
const UNREAD_MAX: usize = 1_000;

/// Builds the snapshot of a document `{account, media | problem | cut, lost_metrics, left_out}`.
pub(crate) fn snapshot(document: &Document) -> Result<Snapshot, String> {
    let body = document.json()?;
    let account = &body["account"];
    if !account.is_object() {
        return Err("the document holds no account".to_owned());
    }
    let is_lost = |field: &str| list(&body, "lost_metrics").is_ok_and(|lost| lost.iter().any(|lost| lost == field));
    let is_left_out = |field: &str| list(&body, "left_out").is_ok_and(|left| left.iter().any(|left| left == field));
    // The platform does not document this one as public. What was not asked for, or can't be read, may be there.
    let is_following_odd = is_left_out("follows_count") || !account["follows_count"].is_null();
    let without_following = if is_following_odd { Absence::Unavailable } else { Absence::NotOffered };
    let snapshot = Snapshot::builder()
        .count("followers", &account["followers_count"], Absence::Unavailable)
        .count("following", &account["follows_count"], without_following)
        .count("posts_count", &account["media_count"], Absence::Unavailable);
    // A sum over a truncated list would be too low.
    if body["cut"] == true {
        let note = "more posts were published inside the window than the connector reads";
        return Ok(snapshot.absent(&POST_METRICS, Absence::Unavailable).note(note).build());
    }
    let Ok(media) = list(&body, "media") else {
        let note = "the posts of the window could not be fetched";
        return Ok(snapshot.absent(&POST_METRICS, Absence::Unavailable).note(note).build());
    };
    let mut posts: Vec<&Json> = media
        .iter()
        .filter(|post| timestamp(&post["timestamp"]).is_some_and(|published| document.window.contains(published)))
        .collect();
    // An item that could not be read is a post whose numbers are missing.
    let undated = media.iter().filter(|post| timestamp(&post["timestamp"]).is_none()).count();
    let unread = usize::try_from(integer(&body["unread"]).unwrap_or(0)).unwrap_or(0);
    let unread = unread.saturating_add(undated).min(UNREAD_MAX);
    let mut snapshot = snapshot;
    if unread > 0 {
        snapshot = snapshot.note(format!("{unread} posts carry no id or no timestamp"));
        posts.extend(std::iter::repeat_n(&Json::Null, unread));
    }
    // The platform leaves a field out of a post that hides it or has none. What is there and can't be read is neither.
    let missing = |field: &str, otherwise: Absence| {
        let is_odd = posts.iter().any(|post| !post[field].is_null());
        let is_unread = posts.iter().all(|post| post.is_null());
        if is_odd || is_unread || is_left_out(field) { Absence::Unavailable } else { otherwise }
    };
    let tally = |field: &str| Tally::of(posts.iter().map(|post| integer(&post[field])));
    // A post of an unknown type may be a video, so its views are missing from the sum.
    let video_views = Tally::of(posts.iter().filter_map(|post| match is_video(post) {
        Some(true) => Some(integer(&post["view_count"])),
        Some(false) => None,
        None => Some(None),
    }));
    let without_views = missing("view_count", Absence::NotOffered);
    snapshot = match is_lost("view_count") {
        true => snapshot.absent(&["content_views", "video_views"], Absence::NotOffered),
        false => snapshot.tally("content_views", tally("view_count"), without_views).tally(
            "video_views",
            video_views,
            without_views,
        ),
    };
    snapshot = match is_lost("reposts_count") {
        true => snapshot.absent(&["reposts"], Absence::NotOffered),
        false => snapshot.tally("reposts", tally("reposts_count"), missing("reposts_count", Absence::NotOffered)),
    };
    Ok(snapshot
        .tally("likes", tally("like_count"), missing("like_count", Absence::Hidden))
        .tally("comments", tally("comments_count"), missing("comments_count", Absence::Unavailable))
        .engagement(Some(engagement(integer(&account["followers_count"]), &posts)))
        .build())
}

/// Whether a post is a video; `None` for a type that the platform does not document.
fn is_video(post: &Json) -> Option<bool> {
    let kind = post["media_type"].as_str()?;
    let is = |known: &str| kind.eq_ignore_ascii_case(known);
    if is("VIDEO") { Some(true) } else { (is("IMAGE") || is("CAROUSEL_ALBUM")).then_some(false) }
}

/// Likes and comments per post by followers, over the posts that show both. A post that hides one would distort the
/// rate.
fn engagement(followers: Option<i64>, posts: &[&Json]) -> Engagement {
    let mut engagement = Engagement {
        interactions: 0,
        base: followers,
        basis: EngagementBasis::Followers,
        posts_counted: 0,
        posts_skipped: 0,
    };
    for post in posts {
        if let [Some(likes), Some(comments)] = ["like_count", "comments_count"].map(|name| count_of(&post[name])) {
            engagement.interactions = engagement.interactions.saturating_add(likes).saturating_add(comments);
            engagement.posts_counted += 1;
        } else {
            engagement.posts_skipped += 1;
        }
    }
    engagement
}
