//! Metric names, values, and reasons for a missing value.

use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, LazyLock};

use serde::{Deserialize, Serialize};

use crate::ids::{IdError, check_name, name_id};

name_id!(
    /// Name of a metric as in the `metrics` table: `followers`, `engagement_rate`, or an extra metric of a connector.
    MetricName, "metric name", 64, shared
);

/// The text of a name, to be shared by its copies. Those of columns are in every row, and are made once.
fn shared(text: &str) -> Arc<str> {
    static OF_COLUMNS: LazyLock<[Arc<str>; names::COLUMNS.len()]> = LazyLock::new(|| names::COLUMNS.map(Arc::from));
    OF_COLUMNS.iter().find(|known| ***known == *text).map_or_else(|| Arc::from(text), Arc::clone)
}

/// Names with their own column in `metrics`; every other metric of a catalogue is stored in `extra`.
pub mod names {
    /// Followers or subscribers of the account.
    pub const FOLLOWERS: &str = "followers";
    /// Accounts that the account follows.
    pub const FOLLOWING: &str = "following";
    /// Posts or videos published, lifetime.
    pub const POSTS_COUNT: &str = "posts_count";
    /// Engagement rate in percent, computed by the host.
    pub const ENGAGEMENT_RATE: &str = "engagement_rate";
    /// Views of the window's posts, of every kind.
    pub const CONTENT_VIEWS: &str = "content_views";
    /// Streams, as the platform counts them.
    pub const STREAMS: &str = "streams";
    /// Monthly listeners of the artist.
    pub const MONTHLY_LISTENERS: &str = "monthly_listeners";
    /// Views of the window's videos.
    pub const VIDEO_VIEWS: &str = "video_views";
    /// Views of the whole account, lifetime.
    pub const TOTAL_VIEWS: &str = "total_views";
    /// Likes of the window's posts.
    pub const LIKES: &str = "likes";
    /// Comments on the window's posts.
    pub const COMMENTS: &str = "comments";
    /// Shares of the window's posts.
    pub const SHARES: &str = "shares";
    /// The platform's own score, 0 to 100. Never converted into streams.
    pub const POPULARITY: &str = "popularity";
    /// Releases published inside the window.
    pub const RECENT_RELEASES: &str = "recent_releases";
    /// Title of the track that the platform ranks first.
    pub const TOP_TRACK: &str = "top_track";
    /// Genres; an empty list means that the platform has not classified the artist.
    pub const GENRES: &str = "genres";

    /// Every name with its own column.
    pub const COLUMNS: [&str; 16] = [
        FOLLOWERS,
        FOLLOWING,
        POSTS_COUNT,
        ENGAGEMENT_RATE,
        CONTENT_VIEWS,
        STREAMS,
        MONTHLY_LISTENERS,
        VIDEO_VIEWS,
        TOTAL_VIEWS,
        LIKES,
        COMMENTS,
        SHARES,
        POPULARITY,
        RECENT_RELEASES,
        TOP_TRACK,
        GENRES,
    ];
}

/// Value of a metric.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Value {
    /// A count. 64 bits, since counters of more than 2^31 have been seen.
    Integer(i64),
    /// A ratio or an index.
    Decimal(f64),
    /// A single title.
    Text(String),
    /// A list of titles, possibly empty.
    Texts(Vec<String>),
}

impl Value {
    /// The value as a number; `None` for titles.
    #[must_use]
    pub fn as_f64(&self) -> Option<f64> {
        match self {
            #[expect(
                clippy::cast_precision_loss,
                reason = "rates are shown to two decimals; 53 bits are ample for them"
            )]
            Self::Integer(integer) => Some(*integer as f64),
            Self::Decimal(decimal) => Some(*decimal),
            Self::Text(_) | Self::Texts(_) => None,
        }
    }

    /// The value as a count; `None` for everything else.
    #[must_use]
    pub fn as_i64(&self) -> Option<i64> {
        match self {
            Self::Integer(integer) => Some(*integer),
            _ => None,
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Integer(integer) => integer.fmt(f),
            Self::Decimal(decimal) => decimal.fmt(f),
            Self::Text(text) => text.fmt(f),
            Self::Texts(texts) => f.write_str(&texts.join(", ")),
        }
    }
}

/// Why a metric has no value. Missing is never zero.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(try_from = "String")]
pub enum Absence {
    /// The platform does not publish this number.
    NotOffered,
    /// The owner hides it.
    Hidden,
    /// Scope or plan does not include it.
    NotAuthorized,
    /// The object that would carry it does not exist.
    NotFound,
    /// It exists, but could not be fetched this time.
    Unavailable,
    /// The connector reported it, and this validation rule withheld it.
    Rejected(String),
}

impl fmt::Display for Absence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotOffered => f.write_str("not-offered"),
            Self::Hidden => f.write_str("hidden"),
            Self::NotAuthorized => f.write_str("not-authorized"),
            Self::NotFound => f.write_str("not-found"),
            Self::Unavailable => f.write_str("unavailable"),
            Self::Rejected(rule) => write!(f, "rejected:{rule}"),
        }
    }
}

/// The text names no absence.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("'{0}' is not a reason for a missing metric")]
pub struct AbsenceError(String);

impl FromStr for Absence {
    type Err = AbsenceError;

    fn from_str(text: &str) -> Result<Self, AbsenceError> {
        Ok(match text {
            "not-offered" => Self::NotOffered,
            "hidden" => Self::Hidden,
            "not-authorized" => Self::NotAuthorized,
            "not-found" => Self::NotFound,
            "unavailable" => Self::Unavailable,
            _ => match text.strip_prefix("rejected:") {
                Some(rule) if !rule.is_empty() => Self::Rejected(rule.to_owned()),
                _ => return Err(AbsenceError(text.to_owned())),
            },
        })
    }
}

impl TryFrom<String> for Absence {
    type Error = AbsenceError;

    fn try_from(text: String) -> Result<Self, AbsenceError> {
        text.parse()
    }
}

impl Serialize for Absence {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl From<Absence> for String {
    fn from(absence: Absence) -> String {
        absence.to_string()
    }
}

/// What kind of number a metric is. The kind decides which rules and which growth apply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A level that may rise and fall, such as followers.
    Gauge,
    /// A lifetime total that should never fall, such as total views.
    Counter,
    /// A sum over the trailing window, such as likes of the last 28 days' posts.
    Flow,
    /// A quotient in percent, such as the engagement rate.
    Ratio,
    /// A platform's own score, such as popularity.
    Index,
    /// A title, or a list of titles.
    Label,
}

impl Kind {
    /// Whether a value of this kind is a whole number.
    #[must_use]
    pub fn is_count(self) -> bool {
        matches!(self, Self::Gauge | Self::Counter | Self::Flow)
    }

    /// Whether growth is computed for this kind.
    #[must_use]
    pub fn has_growth(self) -> bool {
        !matches!(self, Self::Label)
    }
}
