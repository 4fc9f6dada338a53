//! How far a reader of events has come, and the columns that events are read with.

use std::fmt;
use std::str::FromStr;

/// How far a reader has come. The default is the beginning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct EventCursor(i64);

/// The columns of an event, and the statement that reads events with them.
macro_rules! event_sql {
    (columns) => {
        "SELECT e.seq, e.id::text AS id, e.type, e.artist_id::text AS artist_id, e.occurred_at::text AS occurred_at,
             e.dedup_key, e.data::text AS data, e.row_account::text AS row_account, e.row_date::text AS row_date,
             e.row_run::text AS row_run, e.row_at::text AS row_at"
    };
    ($which:literal) => {
        concat!($crate::events::cursor::event_sql!(columns), " FROM events e ", $which)
    };
}

pub(crate) use event_sql;

impl EventCursor {
    pub(crate) fn number(self) -> i64 {
        self.0
    }
}

impl From<i64> for EventCursor {
    fn from(number: i64) -> Self {
        Self(number)
    }
}

impl fmt::Display for EventCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for EventCursor {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number: i64 =
            text.trim().parse().map_err(|_| "it is not a cursor; `backline events tail` prints one with each event")?;
        Ok(Self(number.max(0)))
    }
}

impl EventCursor {
    /// The cursor after which the event with this one comes.
    #[must_use]
    pub fn before(self) -> Self {
        Self(self.0.saturating_sub(1))
    }
}
