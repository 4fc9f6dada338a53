//! What the optional connectors read: days of YouTube Analytics, and accounts found by business discovery. Neither is
//! in the import file nor among the credentials of the five platforms, since a host may do without them.

use chrono::NaiveDate;

use super::{Credential, GOOGLE_ACCESS, GOOGLE_REFRESH, Platform, Trait, World, count, day, salt};
use crate::ids::{Token, mix, mix_text};

/// The metrics of YouTube Analytics, in the order of [`World::analytics_day`].
pub const ANALYTICS_METRICS: [&str; 9] = [
    "views",
    "engagedViews",
    "estimatedMinutesWatched",
    "averageViewDuration",
    "subscribersGained",
    "subscribersLost",
    "likes",
    "comments",
    "shares",
];

impl World {
    /// Client id of the operator's Google project.
    #[must_use]
    pub fn google_client_id(&self) -> String {
        format!("{}.apps.googleusercontent.com", self.secret("google id", 32))
    }

    /// Client secret of the operator's Google project.
    #[must_use]
    pub fn google_client_secret(&self) -> String {
        format!("GOCSPX-{}", self.secret("google secret", 28))
    }

    /// The refresh token of a channel's owner. It is not replaced when it is used.
    #[must_use]
    pub fn google_refresh_token(&self, index: u32) -> String {
        self.token(GOOGLE_REFRESH, Token { index, generation: 0, issued_at: self.started_at() })
    }

    /// The access token that a channel's owner gets at a time in Unix seconds.
    #[must_use]
    pub fn google_access_token(&self, index: u32, issued_at: i64) -> String {
        self.token(GOOGLE_ACCESS, Token { index, generation: 0, issued_at })
    }

    /// The operator's token of Facebook Login.
    #[must_use]
    pub fn facebook_token(&self) -> String {
        format!("EAA{}", self.secret("facebook token", 60))
    }

    /// The operator's own professional account on Instagram.
    #[must_use]
    pub fn facebook_own_account(&self) -> String {
        format!("17849{:012}", mix_text(self.seed, "facebook own account") % 1_000_000_000_000)
    }

    /// An artist's user name on Instagram.
    #[must_use]
    pub fn instagram_name(&self, index: u32) -> String {
        self.handle(index)
    }

    /// The artist with a user name on Instagram, in any case, if business discovery finds the account.
    pub(crate) fn discovered(&self, name: &str) -> Option<u32> {
        let name = name.to_ascii_lowercase();
        let index: u32 = name.rsplit_once('.')?.1.parse().ok()?;
        let is_found = index < self.artists
            && self.handle(index) == name
            && !self.has(index, Trait::InstagramForbidden)
            && !self.has(index, Trait::InstagramExpired);
        is_found.then_some(index)
    }

    /// An artist's numbers of one day on YouTube Analytics; `None` on a day without activity.
    #[must_use]
    pub fn analytics_day(&self, index: u32, date: NaiveDate) -> Option<[i64; 9]> {
        let draw = |what: u64| mix(self.seed, &[salt::ANALYTICS, u64::from(index), day(date), what]);
        if self.has(index, Trait::ZeroFollowers) || (!self.regular && draw(0).is_multiple_of(30)) {
            return None;
        }
        let base = self.base_followers(Platform::Youtube, index) / 5 + 40;
        let views = base + draw(1) % base;
        let seconds = 30 + draw(2) % 240;
        let of_views = |one_in: u64, what: u64| views / one_in + draw(what) % 3;
        Some(
            [
                views,
                views * 9 / 10,
                views * seconds / 60,
                seconds,
                of_views(400, 3),
                of_views(1_500, 4),
                of_views(25, 5),
                of_views(300, 6),
                of_views(200, 7),
            ]
            .map(count),
        )
    }

    /// The countries of an artist's day on YouTube Analytics, each with its views and minutes watched, the most views
    /// first; `None` on a day without activity. Countries with few views are not among them.
    #[must_use]
    pub fn analytics_countries(&self, index: u32, date: NaiveDate) -> Option<Vec<(&'static str, [i64; 2])>> {
        let [views, _, minutes, ..] = self.analytics_day(index, date)?;
        let parts = [("US", 2), ("BR", 5), ("DE", 9), ("ZZ", 20)];
        Some(parts.map(|(country, part)| (country, [views / part, minutes / part])).into())
    }

    /// The credentials that the optional connectors need, of the operator and of the first `artists` artists.
    #[must_use]
    pub fn optional_credentials(&self, artists: u32) -> Vec<Credential> {
        let entry = |platform, account, value| Credential { platform, slot: "user", account, value };
        let client = serde_json::json!({
            "client_id": self.google_client_id(),
            "client_secret": self.google_client_secret(),
        });
        let of_owner = |index| {
            let channel = self.platform_id(Platform::Youtube, index);
            let secret = serde_json::json!({ "refresh_token": self.google_refresh_token(index) });
            entry("youtube_analytics", Some(channel), secret.to_string())
        };
        let of_operator = [
            entry("youtube_analytics", None, client.to_string()),
            entry("instagram_business", None, self.facebook_token()),
        ];
        of_operator.into_iter().chain((0..artists.min(self.artists)).map(of_owner)).collect()
    }
}
