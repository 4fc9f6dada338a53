//! Turns a document into a snapshot.

use backline_sdk::{SnapshotBuilder, prelude::*, read_part};

use crate::account::{self, PREFIX};
use crate::insights::{AVERAGE_WATCH_TIME, WATCH_TIME, is_reel, value};
use crate::stories::with_stories;

/// Metrics that sum an insight over the window's posts: the metric's name, and the platform's name of the insight.
const INSIGHT_METRICS: [(&str, &str); 6] = [
    ("content_views", "views"),
    ("shares", "shares"),
    ("saves", "saved"),
    ("posts_reach", "reach"),
    ("total_interactions", "total_interactions"),
    ("reposts", "reposts"),
];

/// All metrics that sum over the window's posts.
const POST_METRICS: [&str; 11] = [
    "content_views",
    "shares",
    "saves",
    "posts_reach",
    "total_interactions",
    "reposts",
    "video_views",
    "reels_watch_time",
    "reels_average_watch_time",
    "likes",
    "comments",
];

/// Totals of the account over the window: the metric's name, and the platform's name.
const ACCOUNT_METRICS: [(&str, &str); 13] = [
    ("account_reach", "reach"),
    ("account_views", "views"),
    ("accounts_engaged", "accounts_engaged"),
    ("account_interactions", "total_interactions"),
    ("likes_received", "likes"),
    ("comments_received", "comments"),
    ("saves_received", "saves"),
    ("shares_received", "shares"),
    ("replies_received", "replies"),
    ("reposts_received", "reposts"),
    ("profile_link_taps", "profile_links_taps"),
    ("profile_views", "profile_views"),
    ("website_clicks", "website_clicks"),
];

/// Follows of the window: the metric's name, and the platform's word for it in the breakdown.
const FOLLOW_METRICS: [(&str, &str); 2] = [("followers_gained", "FOLLOWER"), ("followers_lost", "NON_FOLLOWER")];

/// Most items of an unknown form that are counted as skipped: as many as the connector lists of one account.
const UNREAD_MAX: usize = 2_000;

/// Builds the snapshot of a document `{me, media, insights, account, stories?, refused_metrics}` or
/// `{me, problem | cut, account, stories?, refused_metrics}`.
pub(crate) fn snapshot(document: &Document) -> Result<Snapshot, String> {
    let body = document.json()?;
    let me = &body["me"];
    if !me.is_object() {
        return Err("the document holds no account".to_owned());
    }
    let mut snapshot = Snapshot::builder();
    for (name, field) in
        [("followers", "followers_count"), ("following", "follows_count"), ("posts_count", "media_count")]
    {
        let missing = if is_refused(&body, field) { Absence::NotOffered } else { Absence::Unavailable };
        snapshot = snapshot.count(name, &me[field], missing);
    }
    let snapshot = with_stories(with_account(snapshot, &body, document.observed_at), &body);
    // A sum over a truncated list would be too low.
    if body["cut"] == true {
        let note = "more posts were published inside the window than the connector reads";
        return Ok(snapshot.absent(&POST_METRICS, Absence::Unavailable).note(note).build());
    }
    let Ok(media) = list(&body, "media") else {
        let reason = if body["problem"] == "not-authorized" { Absence::NotAuthorized } else { Absence::Unavailable };
        return Ok(snapshot.absent(&POST_METRICS, reason).note("the posts of the window could not be fetched").build());
    };
    let mut posts: Vec<Post<'_>> = media
        .iter()
        .filter(|post| timestamp(&post["timestamp"]).is_some_and(|published| document.window.contains(published)))
        .map(|post| Post { post, insights: &body["insights"][id(&post["id"]).unwrap_or_default()] })
        .collect();
    let undated = media.iter().filter(|post| timestamp(&post["timestamp"]).is_none()).count();
    let mut snapshot = snapshot;
    let without = posts.iter().filter(|post| post.insights["problem"].is_string()).count();
    if without > 0 {
        snapshot = snapshot.note(format!("{without} posts of the window have no insights"));
    }
    // An item that could not be read is a post whose numbers are missing.
    let unread = usize::try_from(integer(&body["unread"]).unwrap_or(0)).unwrap_or(0);
    let unread = unread.saturating_add(undated).min(UNREAD_MAX);
    if unread > 0 {
        snapshot = snapshot.note(format!("{unread} posts carry no id or no timestamp"));
        posts.extend(std::iter::repeat_with(|| Post { post: &Json::Null, insights: &Json::Null }).take(unread));
    }
    Ok(with_posts(snapshot, &body, &posts)
        .engagement(Some(engagement(integer(&me["followers_count"]), &posts)))
        .build())
}

/// Adds the totals of the account. A missing total is never 0: the platform sends an empty list where it has none.
fn with_account(mut snapshot: SnapshotBuilder, body: &Json, observed_at: i64) -> SnapshotBuilder {
    let of = |metric: &str, read: &dyn Fn(&Json) -> Option<i64>| {
        if is_refused(body, &format!("{PREFIX}{metric}")) {
            return Err(Absence::NotOffered);
        }
        let group = account::group_of(metric).unwrap_or_default();
        read(read_part(&body["account"][group], "data")?).map(Value::Integer).ok_or(Absence::Unavailable)
    };
    for (name, metric) in ACCOUNT_METRICS {
        // For creators in Europe and Japan the platform sends 0 replies whatever there are.
        let is_known = |number: &i64| metric != "replies" || *number != 0;
        snapshot = snapshot.metric(name, of(metric, &|data| account::total(data, metric).filter(is_known)));
    }
    for (name, kind) in FOLLOW_METRICS {
        snapshot = snapshot.metric(name, of("follows_and_unfollows", &|data| account::follows(data, kind)));
    }
    let series = "follower_count";
    snapshot.metric("new_followers", of(series, &|data| account::settled_day(data, series, observed_at)))
}

/// Adds the sums over the window's posts.
fn with_posts(mut snapshot: SnapshotBuilder, body: &Json, posts: &[Post<'_>]) -> SnapshotBuilder {
    for (name, insight) in INSIGHT_METRICS {
        let tally = Tally::of(posts.iter().map(|post| post.insight(insight)));
        snapshot = snapshot.tally(name, tally, absence(body, posts, insight));
    }
    // A post of an unknown type may be a video, so its views are missing from the sum.
    let video_views = Tally::of(posts.iter().filter_map(|post| match is_video(post.post) {
        Some(true) => Some(post.insight("views")),
        Some(false) => None,
        None => Some(None),
    }));
    let of_reels = |insight: &str| {
        let reels = posts.iter().filter(|post| is_reel(post.post) || may_be_reel(post.post));
        Tally::of(reels.map(|post| post.insight(insight)))
    };
    let average = of_reels(AVERAGE_WATCH_TIME);
    let mean = match average {
        Tally { counted: 0, skipped: 0, .. } => Err(Absence::NotFound),
        Tally { counted: 0, .. } => Err(absence(body, posts, AVERAGE_WATCH_TIME)),
        Tally { sum, counted, .. } => Ok(Value::Integer(sum / i64::from(counted))),
    };
    let coverage = Coverage { counted: average.counted, skipped: average.skipped };
    // The platform leaves out the likes of a post that hides them. What is there and can't be read is not hidden.
    let is_odd = posts.iter().any(|post| !post.post["like_count"].is_null());
    let without_likes =
        if is_odd || posts.iter().all(|post| post.post.is_null()) { Absence::Unavailable } else { Absence::Hidden };
    snapshot
        .tally("video_views", video_views, absence(body, posts, "views"))
        .tally("reels_watch_time", of_reels(WATCH_TIME), absence(body, posts, WATCH_TIME))
        .metric_with("reels_average_watch_time", mean, coverage)
        .tally("likes", Tally::of(posts.iter().map(Post::likes)), without_likes)
        .tally("comments", Tally::of(posts.iter().map(Post::comments)), Absence::Unavailable)
}

/// Whether a post is a video; `None` for a type that the platform does not document.
fn is_video(post: &Json) -> Option<bool> {
    let kind = post["media_type"].as_str()?;
    let is = |known: &str| kind.eq_ignore_ascii_case(known);
    if is("VIDEO") { Some(true) } else { (is("IMAGE") || is("CAROUSEL_ALBUM")).then_some(false) }
}

/// Whether a post may be a reel, which is a video of that product: the platform does not send the product for every
/// account.
fn may_be_reel(post: &Json) -> bool {
    is_video(post) != Some(false) && post["media_product_type"].as_str().is_none()
}

/// Whether the platform does not have a field or metric any more.
fn is_refused(body: &Json, name: &str) -> bool {
    list(body, "refused_metrics").is_ok_and(|refused| refused.iter().any(|refused| refused == name))
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

    /// The post's likes. The owner's insights have them even if the post hides them.
    fn likes(&self) -> Option<i64> {
        count_of(&self.post["like_count"]).or_else(|| self.insight("likes"))
    }

    fn comments(&self) -> Option<i64> {
        count_of(&self.post["comments_count"]).or_else(|| self.insight("comments"))
    }
}

/// The reason if an insight is missing on all posts.
fn absence(body: &Json, posts: &[Post<'_>], insight: &str) -> Absence {
    if is_refused(body, insight) {
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
        let numbers = [post.likes(), post.comments(), post.insight("shares"), post.insight("saved")];
        // A counter that overflowed is negative, and no number.
        let numbers = numbers.map(|number| number.filter(|number| *number >= 0));
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
