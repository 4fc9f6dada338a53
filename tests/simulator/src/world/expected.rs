//! The numbers that a collector should store, for comparison with the database.

use chrono::{DateTime, Days, NaiveDate, Utc};
use serde::Serialize;

use super::{Platform, Post, PostStats, Release, Trait, World, midnight, three_figures};

/// The numbers that a collector should store. `None`: the platform does not have or show the number.
#[expect(missing_docs, reason = "the fields are named as the host's metrics")]
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Expected {
    pub followers: Option<i64>,
    pub following: Option<i64>,
    pub posts_count: Option<i64>,
    pub total_views: Option<i64>,
    /// Sum over the posts of the window that have the number; the fields below likewise.
    pub content_views: Option<i64>,
    /// Like `content_views`, over videos only.
    pub video_views: Option<i64>,
    pub likes: Option<i64>,
    pub comments: Option<i64>,
    pub shares: Option<i64>,
    pub saved: Option<i64>,
    /// Lifetime likes of a TikTok account.
    pub lifetime_likes: Option<i64>,
    /// Spotify's popularity index of the artist.
    pub popularity: Option<i64>,
    /// Mean popularity of the top tracks.
    pub track_popularity: Option<f64>,
    pub recent_releases: Option<i64>,
    pub top_track: Option<String>,
    pub genres: Option<Vec<String>>,
    /// Number of posts published inside the window.
    pub posts_in_window: u32,
}

impl World {
    /// The numbers to collect on a date, with a window of the 28 days that end with this date (UTC).
    #[must_use]
    pub fn expected(&self, platform: Platform, index: u32, date: NaiveDate) -> Expected {
        self.expected_in(platform, index, date, midnight(date - Days::new(27)), midnight(date + Days::new(1)))
    }

    /// The numbers to collect on a date, with the window `[since, until)`.
    #[must_use]
    pub fn expected_in(
        &self,
        platform: Platform,
        index: u32,
        date: NaiveDate,
        since: DateTime<Utc>,
        until: DateTime<Utc>,
    ) -> Expected {
        let mut expected = Expected {
            followers: self.followers(platform, index, date),
            following: self.following(platform, index, date),
            ..Expected::default()
        };
        match platform {
            Platform::Youtube => {
                let hidden = self.has(index, Trait::HiddenSubscribers);
                expected.followers = expected.followers.filter(|_| !hidden).map(three_figures);
                expected.total_views = Some(self.channel_views(index, date));
            }
            Platform::Tiktok => expected.lifetime_likes = Some(self.lifetime_likes(index, date)),
            Platform::Instagram => {}
            Platform::Spotify | Platform::AppleMusic => {
                self.expect_music(&mut expected, platform, index, date, since, until);
                return expected;
            }
        }
        expected.posts_count = Some(i64::from(self.posts_until(platform, index, date)));
        let posts = self.posts_between(platform, index, since, until, date);
        expected.posts_in_window = u32::try_from(posts.len()).unwrap_or(u32::MAX);
        let stats: Vec<(Post, PostStats)> =
            posts.into_iter().map(|post| (post, self.post_stats(platform, index, post, date))).collect();
        // Without any post the sum is 0. If posts exist but none shows the number, the sum is unknown.
        let sum = |pick: &dyn Fn(&PostStats) -> Option<i64>, of: &dyn Fn(&Post) -> bool| {
            let numbers: Vec<Option<i64>> =
                stats.iter().filter(|(post, _)| of(post)).map(|(_, stats)| pick(stats)).collect();
            (numbers.is_empty() || numbers.iter().any(Option::is_some)).then(|| numbers.into_iter().flatten().sum())
        };
        let every = |_: &Post| true;
        // The owner's insights have the likes of a post that hides them.
        let likes = |stats: &PostStats| match platform {
            Platform::Instagram => stats.likes.or_else(|| stats.views.map(|views| views / 25)),
            _ => stats.likes,
        };
        expected.content_views = sum(&|stats| stats.views, &every);
        expected.video_views = sum(&|stats| stats.views, &|post| post.video);
        expected.likes = sum(&likes, &every);
        expected.comments = sum(&|stats| stats.comments, &every);
        if platform != Platform::Youtube {
            expected.shares = sum(&|stats| stats.shares, &every);
        }
        if platform == Platform::Instagram {
            expected.saved = sum(&|stats| stats.saved, &every);
        }
        expected
    }

    fn expect_music(
        &self,
        expected: &mut Expected,
        platform: Platform,
        index: u32,
        date: NaiveDate,
        since: DateTime<Utc>,
        until: DateTime<Utc>,
    ) {
        let tracks = self.top_tracks(index);
        if platform == Platform::Spotify {
            expected.popularity = Some(self.popularity(index, date));
            let popularity: Vec<i64> =
                (0..tracks.len() as u32).map(|rank| self.track_popularity(index, rank, date)).collect();
            #[expect(clippy::cast_precision_loss, reason = "sums of ten numbers below 101")]
            let mean = |sum: i64, of: usize| sum as f64 / of as f64;
            expected.track_popularity =
                (!popularity.is_empty()).then(|| mean(popularity.iter().sum(), popularity.len()));
        }
        expected.genres = Some(self.genres(platform, index));
        expected.top_track = tracks.into_iter().next();
        let inside = |release: &Release| {
            let out = midnight(release.date);
            out >= since && out < until
        };
        let recent = self.releases(index, date, false).iter().filter(|release| inside(release)).count();
        expected.recent_releases = Some(i64::try_from(recent).unwrap_or(i64::MAX));
    }
}
