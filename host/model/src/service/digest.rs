//! Digests: what moved and what is missing of a tenant's numbers, told to people every day or every week by a channel
//! of alerts.

use std::fmt;

use chrono::{DateTime, Datelike as _, NaiveDate, Utc, Weekday};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::alerting::QuietHours;
use crate::ids::{Platform, Tenant};
use crate::zone::Zone;

/// The days on which a digest is sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DigestDays {
    /// Every day; it tells of the day before.
    #[default]
    Day,
    /// Every Monday; it tells of the week before, as those of the other weekdays do.
    Monday,
    /// Every Tuesday.
    Tuesday,
    /// Every Wednesday.
    Wednesday,
    /// Every Thursday.
    Thursday,
    /// Every Friday.
    Friday,
    /// Every Saturday.
    Saturday,
    /// Every Sunday.
    Sunday,
}

impl DigestDays {
    /// Every value.
    pub const ALL: &'static [Self] = &[
        Self::Day,
        Self::Monday,
        Self::Tuesday,
        Self::Wednesday,
        Self::Thursday,
        Self::Friday,
        Self::Saturday,
        Self::Sunday,
    ];

    /// The name used in tables and arguments.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Monday => "monday",
            Self::Tuesday => "tuesday",
            Self::Wednesday => "wednesday",
            Self::Thursday => "thursday",
            Self::Friday => "friday",
            Self::Saturday => "saturday",
            Self::Sunday => "sunday",
        }
    }

    /// Reads the name used in tables and arguments.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|days| days.as_str() == text)
    }

    /// Whether a digest is sent on a date.
    #[must_use]
    pub fn holds(self, date: NaiveDate) -> bool {
        let weekday = match self {
            Self::Day => return true,
            Self::Monday => Weekday::Mon,
            Self::Tuesday => Weekday::Tue,
            Self::Wednesday => Weekday::Wed,
            Self::Thursday => Weekday::Thu,
            Self::Friday => Weekday::Fri,
            Self::Saturday => Weekday::Sat,
            Self::Sunday => Weekday::Sun,
        };
        date.weekday() == weekday
    }

    /// How many days a digest tells of: 1 or 7. It is one of the spans that growth is computed for.
    #[must_use]
    pub fn span_days(self) -> u16 {
        match self {
            Self::Day => 1,
            _ => 7,
        }
    }
}

impl fmt::Display for DigestDays {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A digest that is sent again and again.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AlertDigest {
    /// Backline's id of the digest.
    pub id: Uuid,
    /// Name of the digest, unique among all.
    pub name: String,
    /// Name of the channel that it is sent to.
    pub channel: String,
    /// Tenant whose numbers it tells.
    pub tenant: Tenant,
    /// On which days it is sent.
    pub every: DigestDays,
    /// At which hour of the day, from 0 to 23, by the clocks of the zone.
    pub hour: u32,
    /// Zone of the hour and of the days.
    pub timezone: Zone,
    /// Hours in which it is not sent: one that comes late waits until they are over.
    pub quiet: Option<QuietHours>,
    /// When it is due next.
    pub next_at: DateTime<Utc>,
    /// When it was added.
    pub created_at: DateTime<Utc>,
}

/// How many accounts of a platform lack numbers for one reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MissingNumbers {
    /// Platform of the accounts.
    pub platform: Platform,
    /// How they ended: `deferred`, `excluded`, `superseded` or `failed`.
    pub outcome: String,
    /// The failure's class or the exclusion's reason.
    pub reason: Option<String>,
    /// Number of accounts.
    pub accounts: u64,
    /// Number of pairs of an account and a date without numbers.
    pub dates: u64,
    /// Number of accounts whose newest date this is the reason of: over all reasons, each account counts once.
    pub newest: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_read_as_they_are_written_and_hold_their_dates() {
        let sunday: NaiveDate = "2026-11-22".parse().expect("a date");
        for days in DigestDays::ALL {
            assert_eq!(DigestDays::parse(days.as_str()), Some(*days));
            let json = serde_json::to_value(days).expect("JSON");
            assert_eq!(json, days.as_str());
            let held = sunday.iter_days().take(7).filter(|date| days.holds(*date)).count();
            assert_eq!(held, 7 / usize::from(days.span_days()), "{days}");
        }
        assert!(DigestDays::Sunday.holds(sunday) && !DigestDays::Monday.holds(sunday));
        assert_eq!(DigestDays::parse("fortnight"), None);
    }
}
