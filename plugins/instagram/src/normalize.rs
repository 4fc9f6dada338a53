//! Turns a document into a snapshot.

use backline_sdk::prelude::*;

use crate::insights::value;

/// Metrics that sum an insight over the window's posts: the metric's name, and the platform's name of the insight.
const INSIGHT_METRICS: [(&str, &str); 5] = [
    ("content_views", "views"),
    ("shares", "shares"),
    ("saves", "saved"),
    ("posts_reach", "reach"),
    ("total_interactions", "total_interactions"),
];

/// All metrics that sum over the window's posts.
const POST_METRICS: [&str; 8] =
    ["content_views", "shares", "saves", "posts_reach", "total_interactions", "video_views", "likes", "comments"];

/// Builds the snapshot of a document `{me, media, insights, refused_metrics}` or `{me, problem | cut}`.
pub(crate) fn snapshot(document: &Document) -> Result<Snapshot, String> {
    let body = document.json()?;
    let me = &body["me"];
    if !me.is_object() {
        return Err("the document holds no account".to_owned());
    }
    let mut snapshot = Snapshot::builder()
        .count("followers", &me["followers_count"], Absence::Unavailable)
        .count("following", &me["follows_count"], Absence::Unavailable)
        .count("posts_count", &me["media_count"], Absence::Unavailable);
    // A sum over a truncated list would be too low.
    if body["cut"] == true {
        let note = "more posts were published inside the window than the connector reads";
        return Ok(snapshot.absent(&POST_METRICS, Absence::Unavailable).note(note).build());
    }
    let Some(media) = body["media"].as_array() else {
        let reason = if body["problem"] == "not-authorized" { Absence::NotAuthorized } else { Absence::Unavailable };
        return Ok(snapshot.absent(&POST_METRICS, reason).note("the posts of the window could not be fetched").build());
    };
    let posts: Vec<Post<'_>> = media
        .iter()
        .filter(|post| timestamp(&post["timestamp"]).is_some_and(|published| document.window.contains(published)))
        .map(|post| Post { post, insights: &body["insights"][id(&post["id"]).unwrap_or_default()] })
        .collect();
    for (name, insight) in INSIGHT_METRICS {
        let tally = Tally::of(posts.iter().map(|post| post.insight(insight)));
        snapshot = snapshot.tally(name, tally, absence(&body, &posts, insight));
    }
    let videos =
        posts.iter().filter(|post| post.post["media_type"].as_str().is_some_and(|it| it.eq_ignore_ascii_case("VIDEO")));
    let without = posts.iter().filter(|post| post.insights["problem"].is_string()).count();
    if without > 0 {
        snapshot = snapshot.note(format!("{without} posts of the window have no insights"));
    }
    Ok(snapshot
        .tally("video_views", Tally::of(videos.map(|post| post.insight("views"))), absence(&body, &posts, "views"))
        // The platform omits the number if the owner hides it.
        .tally("likes", Tally::of(posts.iter().map(|post| integer(&post.post["like_count"]))), Absence::Hidden)
        .tally(
            "comments",
            Tally::of(posts.iter().map(|post| integer(&post.post["comments_count"]))),
            Absence::Unavailable,
        )
        .engagement(Some(engagement(integer(&me["followers_count"]), &posts)))
        .build())
}

/// A post with its insights.
struct Post<'a> {
    post: &'a Json,
    insights: &'a Json,
}

impl Post<'_> {
    fn insight(&self, name: &str) -> Option<i64> {
        value(&self.insights["data"], name)
    }
}

/// The reason if an insight is missing on all posts.
fn absence(body: &Json, posts: &[Post<'_>], insight: &str) -> Absence {
    let refused = body["refused_metrics"].as_array();
    if refused.is_some_and(|refused| refused.iter().any(|name| name == insight)) {
        return Absence::NotOffered;
    }
    if posts.iter().all(|post| post.insights["problem"] == "not-authorized") {
        return Absence::NotAuthorized;
    }
    Absence::Unavailable
}

/// Interactions per post by followers, over the posts that show all four kinds. A post that hides one would distort the
/// rate.
fn engagement(followers: Option<i64>, posts: &[Post<'_>]) -> Engagement {
    let mut engagement = Engagement {
        interactions: 0,
        base: followers,
        basis: EngagementBasis::Followers,
        posts_counted: 0,
        posts_skipped: 0,
    };
    for post in posts {
        let numbers = [
            integer(&post.post["like_count"]),
            integer(&post.post["comments_count"]),
            post.insight("shares"),
            post.insight("saved"),
        ];
        if let [Some(likes), Some(comments), Some(shares), Some(saves)] = numbers {
            let sum = likes.saturating_add(comments).saturating_add(shares).saturating_add(saves);
            engagement.interactions = engagement.interactions.saturating_add(sum);
            engagement.posts_counted += 1;
        } else {
            engagement.posts_skipped += 1;
        }
    }
    engagement
}
