//! The generated data: artists, their posts and releases, and all their numbers on every date. A pure function of the
//! seed.
//!
//! Traits repeat every 25 artists, so that a demo with 25 artists shows each trait once:
//!
//! | index % 25 | trait | effect |
//! |---|---|---|
//! | 2 | `FloatNumbers` | Spotify writes followers and popularity as floats |
//! | 3 | `HiddenSubscribers` | YouTube hides the subscriber count (even index: no key, odd: "0") |
//! | 4 | `NoGenres` | Spotify's genres are empty |
//! | 5 | `Spike` | followers ×2.5 from the event date on |
//! | 6 | `EmptyPage` | Instagram's first page of media is empty but has a next page |
//! | 7 | `NulInName` | TikTok's display name holds U+0000 |
//! | 8 | `NoUploads` | YouTube has no videos, and the uploads playlist is not found |
//! | 9 | `Drop` | followers ×0.8 from the event date on |
//! | 1 | `ZeroFollowers` | a real 0 followers on every platform; no rows in YouTube Analytics |
//! | 10 | `LikesAboveViews` | TikTok's videos have more likes than views |
//! | 11 | `Stale` | followers and lifetime views never change |
//! | 12 | `NoTracks` | no top tracks |
//!
//! With `troubles` also these, which can't be collected on the platform named:
//!
//! | index % 25 | trait | effect |
//! |---|---|---|
//! | 14 | `YoutubeGone` | responses omit the channel |
//! | 15 | `SpotifyGone` | null in a batch, 404 in a single request |
//! | 16 | `InstagramExpired` | code 190, subcode 463; not found by business discovery |
//! | 17 | `InstagramForbidden` | code 10; not found by business discovery |
//! | 18 | `TiktokScopeMissing` | `user.info.stats` and `video.list` not authorised |
//! | 19 | `TiktokRevoked` | access and refresh tokens are refused |
//! | 20 | `TiktokErrorInOk` | HTTP 200 with `internal_error` |
//! | 21 | `AppleGone` | not in any storefront |
//! | 22 | `AppleOnlyGb` | only in the storefront `gb` |

mod credentials;
mod expected;
mod music;
mod optional;

use std::str::FromStr;

use chrono::{DateTime, Datelike as _, Days, NaiveDate, TimeDelta, Utc};
use p256::ecdsa::SigningKey;
use serde::Serialize;
use uuid::Uuid;

use crate::ids::{self, ARTISTS_MAX, Kind, Token, mix};

pub use credentials::Credential;
pub use expected::Expected;
pub use optional::ANALYTICS_METRICS;

/// A simulated platform.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Platform {
    /// YouTube, `youtube` in the host.
    Youtube,
    /// Spotify, `spotify` in the host.
    Spotify,
    /// Instagram, `instagram` in the host.
    Instagram,
    /// TikTok, `tiktok` in the host.
    Tiktok,
    /// Apple Music, `apple_music` in the host.
    AppleMusic,
}

impl Platform {
    /// All five platforms.
    pub const ALL: [Self; 5] = [Self::Youtube, Self::Spotify, Self::Instagram, Self::Tiktok, Self::AppleMusic];

    /// The platform's name in the host.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Youtube => "youtube",
            Self::Spotify => "spotify",
            Self::Instagram => "instagram",
            Self::Tiktok => "tiktok",
            Self::AppleMusic => "apple_music",
        }
    }
}

impl FromStr for Platform {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = Self::ALL.into_iter().find(|platform| platform.as_str() == text);
        known.ok_or_else(|| format!("'{text}' is no simulated platform"))
    }
}

/// A special property of an artist; see the tables in the module documentation.
#[expect(missing_docs, reason = "the tables at the top of this file describe each trait")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Trait {
    ZeroFollowers,
    FloatNumbers,
    HiddenSubscribers,
    NoGenres,
    Spike,
    EmptyPage,
    NulInName,
    NoUploads,
    Drop,
    LikesAboveViews,
    Stale,
    NoTracks,
    YoutubeGone,
    SpotifyGone,
    InstagramExpired,
    InstagramForbidden,
    TiktokScopeMissing,
    TiktokRevoked,
    TiktokErrorInOk,
    AppleGone,
    AppleOnlyGb,
}

/// One artist with an account on each platform.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SimArtist {
    /// Id of the artist in Backline.
    pub id: Uuid,
    /// Name of the artist.
    pub name: String,
    /// Time zone, as an IANA name.
    pub timezone: String,
    /// YouTube channel id, which starts with `UC`.
    pub youtube_channel_id: String,
    /// Spotify artist id, 22 base62 digits.
    pub spotify_artist_id: String,
    /// Instagram id of the professional account, which starts with `1784`.
    pub instagram_user_id: String,
    /// Instagram long-lived token, issued ten days before the start of the world.
    pub instagram_token: String,
    /// TikTok username.
    pub tiktok_username: String,
    /// TikTok open id, which identifies the account to the application.
    pub tiktok_open_id: String,
    /// TikTok access token, valid for 24 hours from the start of the world.
    pub tiktok_access_token: String,
    /// TikTok refresh token, which is replaced at each use.
    pub tiktok_refresh_token: String,
    /// Apple Music artist id, ten digits.
    pub apple_music_id: String,
}

/// One post: an Instagram media, or a video.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Post {
    /// Number of the post; 0 is the oldest.
    pub number: u32,
    /// Time of publication.
    pub published: DateTime<Utc>,
    /// Whether the post is a video; always true on YouTube and TikTok.
    pub video: bool,
}

/// A post's lifetime numbers on one date. `None` means hidden or not reported.
#[expect(missing_docs, reason = "the fields are named as on the platforms")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PostStats {
    pub views: Option<i64>,
    pub likes: Option<i64>,
    pub comments: Option<i64>,
    pub shares: Option<i64>,
    pub saved: Option<i64>,
    pub reach: Option<i64>,
}

/// One album, single or compilation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Release {
    /// Number of the release; 0 is the oldest.
    pub number: u32,
    /// Release date.
    pub date: NaiveDate,
    /// Title of the release.
    pub title: String,
    /// Kind of release: `album`, `single` or `compilation`.
    pub group: &'static str,
    /// Number of tracks.
    pub tracks: u32,
}

/// Prefixes of tokens, which are part of their signatures.
pub(crate) const INSTAGRAM_TOKEN: &str = "IGAA";
pub(crate) const TIKTOK_ACCESS: &str = "act.";
pub(crate) const TIKTOK_REFRESH: &str = "rft.";
pub(crate) const GOOGLE_ACCESS: &str = "ya29.";
pub(crate) const GOOGLE_REFRESH: &str = "1//";

/// All generated data on every date.
#[derive(Clone, Debug)]
pub struct World {
    seed: u64,
    artists: u32,
    start: NaiveDate,
    event: NaiveDate,
    troubles: bool,
    regular: bool,
    signing_key: SigningKey,
}

const ZONES: [&str; 8] = [
    "UTC",
    "America/New_York",
    "Europe/London",
    "America/Los_Angeles",
    "Asia/Tokyo",
    "Europe/Berlin",
    "America/Sao_Paulo",
    "Australia/Sydney",
];
const FIRST: [&str; 16] = [
    "Velvet", "Paper", "Neon", "Hollow", "Silver", "Midnight", "Static", "Copper", "Glass", "Northern", "Electric",
    "Quiet", "Crimson", "Distant", "Golden", "Ærial",
];
const SECOND: [&str; 16] = [
    "Harbour",
    "Foxes",
    "Atlas",
    "Parade",
    "Signals",
    "Orchard",
    "Motel",
    "Tides",
    "Wolves",
    "Lanterns",
    "Avenue",
    "Satellites",
    "Garden",
    "Choir",
    "Coyotes",
    "Fjörd",
];

/// One salt for each generated value, so that the values are independent.
mod salt {
    pub(super) const NAME: u64 = 100;
    pub(super) const ZONE: u64 = 101;
    pub(super) const FOLLOWERS: u64 = 102;
    pub(super) const RATE: u64 = 103;
    pub(super) const NOISE: u64 = 104;
    pub(super) const FOLLOWING: u64 = 105;
    pub(super) const VIEWS: u64 = 106;
    pub(super) const POSTS: u64 = 107;
    pub(super) const POST: u64 = 108;
    pub(super) const RELEASES: u64 = 109;
    pub(super) const TRACK: u64 = 110;
    pub(super) const GENRE: u64 = 111;
    pub(super) const POPULARITY: u64 = 112;
    pub(super) const KEY: u64 = 113;
    pub(super) const ACCOUNT: u64 = 114;
    pub(super) const ANALYTICS: u64 = 115;
}

/// Weekdays on which a regular artist posts, counted from the weekday of the first post.
const REGULAR_DAYS: [i64; 3] = [0, 2, 4];

fn epoch() -> NaiveDate {
    NaiveDate::from_ymd_opt(2026, 1, 1).expect("a date of the calendar")
}

fn count(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

impl World {
    /// Creates a world that starts on `start`. Events (spike, drop) happen on the next day; see
    /// [`World::with_event_on`].
    ///
    /// # Panics
    ///
    /// If there are more than 1,048,576 artists, the maximum that ids can encode.
    #[must_use]
    pub fn new(seed: u64, artists: u32, start: NaiveDate, troubles: bool) -> Self {
        assert!(artists <= ARTISTS_MAX, "a simulated world has at most {ARTISTS_MAX} artists");
        let signing_key = (0..)
            .find_map(|attempt| {
                let mut bytes = [0_u8; 32];
                for (word, chunk) in bytes.chunks_exact_mut(8).enumerate() {
                    chunk.copy_from_slice(&mix(seed, &[salt::KEY, attempt, word as u64]).to_be_bytes());
                }
                SigningKey::from_slice(&bytes).ok()
            })
            .expect("nearly every 256-bit number is a P-256 key");
        Self { seed, artists, start, event: start + Days::new(1), troubles, regular: false, signing_key }
    }

    /// The same world with artists who all publish equally often: three posts a week on every platform, a release every
    /// 30 days, and no traits. The number of requests of a run can then be predicted exactly.
    #[must_use]
    pub fn made_regular(self) -> Self {
        Self { regular: true, ..self }
    }

    /// The same world with another first date on which `Spike` and `Drop` have an effect.
    #[must_use]
    pub fn with_event_on(self, event: NaiveDate) -> Self {
        Self { event, ..self }
    }

    /// Seed of the world.
    #[must_use]
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// Number of artists.
    #[must_use]
    pub fn artists(&self) -> u32 {
        self.artists
    }

    /// First date of the world.
    #[must_use]
    pub fn start(&self) -> NaiveDate {
        self.start
    }

    /// First date on which `Spike` and `Drop` have an effect.
    #[must_use]
    pub fn event_date(&self) -> NaiveDate {
        self.event
    }

    /// When the artists' initial tokens are issued, in Unix seconds.
    pub(crate) fn started_at(&self) -> i64 {
        noon(self.start).timestamp()
    }

    /// The trait of an artist, if any.
    #[must_use]
    pub fn trait_of(&self, index: u32) -> Option<Trait> {
        if self.regular {
            return None;
        }
        let gentle = match index % 25 {
            1 => Trait::ZeroFollowers,
            2 => Trait::FloatNumbers,
            3 => Trait::HiddenSubscribers,
            4 => Trait::NoGenres,
            5 => Trait::Spike,
            6 => Trait::EmptyPage,
            7 => Trait::NulInName,
            8 => Trait::NoUploads,
            9 => Trait::Drop,
            10 => Trait::LikesAboveViews,
            11 => Trait::Stale,
            12 => Trait::NoTracks,
            other => return self.trouble(other),
        };
        Some(gentle)
    }

    fn trouble(&self, place: u32) -> Option<Trait> {
        if !self.troubles {
            return None;
        }
        Some(match place {
            14 => Trait::YoutubeGone,
            15 => Trait::SpotifyGone,
            16 => Trait::InstagramExpired,
            17 => Trait::InstagramForbidden,
            18 => Trait::TiktokScopeMissing,
            19 => Trait::TiktokRevoked,
            20 => Trait::TiktokErrorInOk,
            21 => Trait::AppleGone,
            22 => Trait::AppleOnlyGb,
            _ => return None,
        })
    }

    pub(crate) fn has(&self, index: u32, special: Trait) -> bool {
        self.trait_of(index) == Some(special)
    }

    fn draw(&self, salt: u64, index: u32, more: u64) -> u64 {
        mix(self.seed, &[salt, u64::from(index), more])
    }

    fn draw_for(&self, salt: u64, platform: Platform, index: u32, more: u64) -> u64 {
        mix(self.seed, &[salt, platform as u64, u64::from(index), more])
    }

    pub(crate) fn id(&self, kind: Kind, index: u32, item: u32) -> String {
        ids::write(self.seed, kind, index, item)
    }

    /// Decodes an id of this world.
    pub(crate) fn read(&self, kind: Kind, text: &str) -> Option<(u32, u32)> {
        ids::read(self.seed, kind, text).filter(|(index, _)| *index < self.artists)
    }

    pub(crate) fn token(&self, prefix: &str, token: Token) -> String {
        ids::write_token(self.seed, prefix, token)
    }

    pub(crate) fn read_token(&self, prefix: &str, text: &str) -> Option<Token> {
        ids::read_token(self.seed, prefix, text).filter(|token| token.index < self.artists)
    }

    /// The artist at an index below [`World::artists`].
    #[must_use]
    pub fn artist(&self, index: u32) -> SimArtist {
        let first = |issued_at| Token { index, generation: 0, issued_at };
        let start = self.started_at();
        SimArtist {
            id: Uuid::new_v5(&Uuid::NAMESPACE_OID, format!("backline-simulator/{}/{index}", self.seed).as_bytes()),
            name: self.name(index),
            timezone: ZONES[usize::from(self.draw(salt::ZONE, index, 0) as u8) % ZONES.len()].to_owned(),
            youtube_channel_id: self.id(Kind::YoutubeChannel, index, 0),
            spotify_artist_id: self.id(Kind::SpotifyArtist, index, 0),
            instagram_user_id: self.id(Kind::InstagramUser, index, 0),
            instagram_token: self.token(INSTAGRAM_TOKEN, first(start - 10 * 86_400)),
            tiktok_username: self.handle(index),
            tiktok_open_id: self.id(Kind::TiktokUser, index, 0),
            tiktok_access_token: self.token(TIKTOK_ACCESS, first(start)),
            tiktok_refresh_token: self.token(TIKTOK_REFRESH, first(start)),
            apple_music_id: self.id(Kind::AppleArtist, index, 0),
        }
    }

    /// An account's id on a platform, as the host stores it.
    #[must_use]
    pub fn platform_id(&self, platform: Platform, index: u32) -> String {
        let kind = match platform {
            Platform::Youtube => Kind::YoutubeChannel,
            Platform::Spotify => Kind::SpotifyArtist,
            Platform::Instagram => Kind::InstagramUser,
            Platform::Tiktok => Kind::TiktokUser,
            Platform::AppleMusic => Kind::AppleArtist,
        };
        self.id(kind, index, 0)
    }

    pub(crate) fn name(&self, index: u32) -> String {
        let draw = self.draw(salt::NAME, index, 0);
        let (first, second) = (FIRST[(draw % 16) as usize], SECOND[(draw / 16 % 16) as usize]);
        if index < 256 { format!("{first} {second}") } else { format!("{first} {second} {index}") }
    }

    pub(crate) fn handle(&self, index: u32) -> String {
        let name = self.name(index).to_lowercase();
        let plain: String = name.chars().filter(char::is_ascii_alphanumeric).collect();
        format!("{plain}.{index}")
    }

    // ---- accounts -------------------------------------------------------------------------------------------------

    /// The real number of followers, before the platform rounds or hides it; `None` for Apple Music.
    #[must_use]
    pub fn followers(&self, platform: Platform, index: u32, date: NaiveDate) -> Option<i64> {
        if platform == Platform::AppleMusic {
            return None;
        }
        let special = self.trait_of(index);
        if special == Some(Trait::ZeroFollowers) {
            return Some(0);
        }
        let date = if special == Some(Trait::Stale) { self.start } else { date };
        let base = self.base_followers(platform, index);
        let rate_ppm = count(self.draw_for(salt::RATE, platform, index, 0) % 4_000);
        let days = (date - epoch()).num_days();
        let noise = self.draw_for(salt::NOISE, platform, index, day(date)) % (base / 1_000 + 2);
        let grown = count(base) + count(base).saturating_mul(rate_ppm) / 1_000_000 * days + count(noise);
        let followers = match special {
            Some(Trait::Spike) if date >= self.event => grown.max(10) * 5 / 2,
            Some(Trait::Drop) if date >= self.event => grown * 4 / 5,
            _ => grown,
        };
        Some(followers.max(1))
    }

    fn base_followers(&self, platform: Platform, index: u32) -> u64 {
        let draw = self.draw_for(salt::FOLLOWERS, platform, index, 0);
        10_u64.pow(3 + (draw % 4) as u32) * (100 + draw / 4 % 900) / 100
    }

    /// Number of followed accounts; `None` except on Instagram and TikTok.
    #[must_use]
    pub fn following(&self, platform: Platform, index: u32, date: NaiveDate) -> Option<i64> {
        let days = u64::try_from((date - epoch()).num_days()).unwrap_or(0);
        matches!(platform, Platform::Instagram | Platform::Tiktok)
            .then(|| count(20 + self.draw_for(salt::FOLLOWING, platform, index, 0) % 900 + days / 9))
    }

    /// Lifetime views of a YouTube channel. They never decrease.
    #[must_use]
    pub fn channel_views(&self, index: u32, date: NaiveDate) -> i64 {
        let date = if self.has(index, Trait::Stale) { self.start } else { date };
        let base = self.base_followers(Platform::Youtube, index) * 380;
        let daily = base / 2_000 + 4;
        let noise = self.draw(salt::VIEWS, index, day(date)) % (daily / 2);
        (count(base) + count(daily) * (date - epoch()).num_days() + count(noise)).max(0)
    }

    /// Views of an Instagram account on one day, or its reach for the metric `reach`.
    pub(crate) fn account_flow(&self, metric: &str, index: u32, date: NaiveDate) -> i64 {
        let base = self.base_followers(Platform::Instagram, index);
        let draw = mix(ids::mix_text(self.seed, metric), &[salt::ACCOUNT, u64::from(index), day(date)]);
        count(base / 8 + draw % (base / 10 + 5))
    }

    // ---- posts ----------------------------------------------------------------------------------------------------

    /// Number of posts at the end of a date.
    #[must_use]
    pub fn posts_until(&self, platform: Platform, index: u32, date: NaiveDate) -> u32 {
        let silent = matches!(platform, Platform::Spotify | Platform::AppleMusic)
            || (platform == Platform::Youtube && self.has(index, Trait::NoUploads));
        let (first, gap) = self.schedule(platform, index);
        let days = (date - first).num_days();
        if self.regular && !silent && days >= 0 {
            let this_week = REGULAR_DAYS.iter().filter(|day| **day <= days % 7).count() as i64;
            return u32::try_from(days / 7 * 3 + this_week).unwrap_or(u32::MAX);
        }
        if silent || days < 0 { 0 } else { u32::try_from(days / gap).unwrap_or(u32::MAX).saturating_add(1) }
    }

    fn schedule(&self, platform: Platform, index: u32) -> (NaiveDate, i64) {
        let draw = self.draw_for(salt::POSTS, platform, index, 0);
        (epoch() - Days::new(draw / 8 % 40), count(1 + draw % 6))
    }

    /// One post. Posts are published in the morning (UTC), at most one per day.
    #[must_use]
    pub fn post(&self, platform: Platform, index: u32, number: u32) -> Post {
        let (first, gap) = self.schedule(platform, index);
        let draw = self.draw_for(salt::POST, platform, index, u64::from(number));
        let day = first
            + TimeDelta::days(if self.regular {
                i64::from(number / 3) * 7 + REGULAR_DAYS[(number % 3) as usize]
            } else {
                gap * i64::from(number)
            });
        let published = midnight(day) + TimeDelta::seconds(count(draw % 43_200));
        let video = platform != Platform::Instagram || (draw / 50_000).is_multiple_of(2);
        Post { number, published, video }
    }

    /// A post's numbers at the end of a date, as the platform shows them.
    #[must_use]
    pub fn post_stats(&self, platform: Platform, index: u32, post: Post, date: NaiveDate) -> PostStats {
        let draw = self.draw_for(salt::POST, platform, index, u64::from(post.number) + 0x1_0000_0000);
        let age = count((date - post.published.date_naive()).num_days().max(0).cast_unsigned());
        let ripe = count((self.base_followers(platform, index) / 5 + 40) * (50 + draw % 150) / 100);
        let views = ripe * (age + 1) / (age + 3) + age;
        let mut likes = views * count(2 + draw / 200 % 7) / 100;
        if platform == Platform::Tiktok && self.has(index, Trait::LikesAboveViews) {
            likes = views + 3;
        }
        let (comments, shares, saved) = (likes / 17, likes / 29, likes / 13);
        let reach = views * 7 / 10;
        let odd = draw / 2_000 % 20;
        match platform {
            Platform::Youtube => PostStats {
                views: Some(views),
                likes: (odd != 3).then_some(likes),
                comments: (odd != 4).then_some(comments),
                shares: None,
                saved: None,
                reach: None,
            },
            // Insights of some media are empty.
            Platform::Instagram => PostStats {
                views: (odd != 5).then_some(views),
                likes: (odd != 3).then_some(likes),
                comments: Some(comments),
                shares: (odd != 5).then_some(shares),
                saved: (odd != 5).then_some(saved),
                reach: (odd != 5).then_some(reach),
            },
            _ => PostStats {
                views: Some(views),
                likes: Some(likes),
                comments: Some(comments),
                shares: Some(shares),
                saved: None,
                reach: None,
            },
        }
    }

    /// The posts inside `[since, until)` that were published by the end of `date`, newest first.
    #[must_use]
    pub fn posts_between(
        &self,
        platform: Platform,
        index: u32,
        since: DateTime<Utc>,
        until: DateTime<Utc>,
        date: NaiveDate,
    ) -> Vec<Post> {
        let newest_first = (0..self.posts_until(platform, index, date)).rev();
        newest_first
            .map(|number| self.post(platform, index, number))
            .skip_while(|post| post.published >= until)
            .take_while(|post| post.published >= since)
            .collect()
    }

    /// Lifetime likes of a TikTok account.
    #[must_use]
    pub fn lifetime_likes(&self, index: u32, date: NaiveDate) -> i64 {
        count(self.base_followers(Platform::Tiktok, index) * 12) + (date - epoch()).num_days() * 3
    }
}

/// Rounds a subscriber count as YouTube does: down to three significant figures.
pub(crate) fn three_figures(value: i64) -> i64 {
    let mut unit = 1;
    while value / unit >= 1_000 {
        unit *= 10;
    }
    value / unit * unit
}

/// Noon UTC of a date, which the simulated clock shows all day.
pub(crate) fn noon(date: NaiveDate) -> DateTime<Utc> {
    midnight(date) + TimeDelta::hours(12)
}

pub(crate) fn midnight(date: NaiveDate) -> DateTime<Utc> {
    date.and_time(chrono::NaiveTime::MIN).and_utc()
}

fn day(date: NaiveDate) -> u64 {
    u64::from(date.num_days_from_ce().unsigned_abs())
}
