//! Calendar days, as much of them as these tasks need.

use std::fmt;
use std::str::FromStr;
use std::time::{SystemTime, UNIX_EPOCH};

/// A day of the Gregorian calendar, as days since 1970-01-01.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Date(i64);

impl Date {
    /// The day so many days earlier.
    pub(crate) fn days_before(self, days: u32) -> Self {
        Self(self.0 - i64::from(days))
    }

    /// The day so many days later.
    pub(crate) fn days_after(self, days: u32) -> Self {
        Self(self.0 + i64::from(days))
    }

    /// Year, month and day; the algorithm is Howard Hinnant's `civil_from_days`.
    fn civil(self) -> (i64, i64, i64) {
        let shifted = self.0 + 719_468;
        let era = shifted.div_euclid(146_097);
        let day_of_era = shifted.rem_euclid(146_097);
        let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_from_march = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
        let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
        (year_of_era + era * 400 + i64::from(month <= 2), month, day)
    }

    /// The inverse of [`Date::civil`]; any numbers are taken.
    fn of_civil(year: i64, month: i64, day: i64) -> Self {
        let year = year - i64::from(month <= 2);
        let era = year.div_euclid(400);
        let year_of_era = year.rem_euclid(400);
        let day_of_year = (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5 + day - 1;
        Self(era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468)
    }
}

/// Yesterday in UTC: a day that has begun in every time zone, so that it is in no artist's future.
#[expect(clippy::disallowed_methods, reason = "the host takes a clock; a developer task may ask for the day")]
pub(crate) fn yesterday() -> Date {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    Date(i64::try_from(seconds / 86_400).unwrap_or(0)).days_before(1)
}

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = self.civil();
        write!(f, "{year:04}-{month:02}-{day:02}")
    }
}

impl FromStr for Date {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || "it is not a calendar date; write YYYY-MM-DD".to_owned();
        let parts: Vec<i64> = text.split('-').map(str::parse).collect::<Result<_, _>>().map_err(|_| wrong())?;
        let &[year, month, day] = parts.as_slice() else { return Err(wrong()) };
        let date = Self::of_civil(year, month.clamp(1, 12), day.clamp(1, 31));
        if date.to_string() == text { Ok(date) } else { Err(wrong()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_survive_the_way_to_text_and_back() {
        for days in -1_000..60_000 {
            let date = Date(days);
            let (year, month, day) = date.civil();
            assert_eq!(Date::of_civil(year, month, day), date);
        }
        assert_eq!(Date(0).to_string(), "1970-01-01");
        assert_eq!("2026-11-22".parse::<Date>().map(|date| date.0), Ok(20_779));
    }

    #[test]
    fn a_month_and_a_leap_day_are_crossed() {
        let date: Date = "2028-03-01".parse().expect("a date");
        assert_eq!(date.days_before(1).to_string(), "2028-02-29");
        assert_eq!(date.days_before(366).to_string(), "2027-03-01");
    }

    #[test]
    fn what_is_no_date_is_refused() {
        for text in ["", "2026-13-01", "2026-02-29", "2026-1-01", "20261101", "2026-11-01T00", "x-y-z", "2026-00-10"] {
            assert!(text.parse::<Date>().is_err(), "'{text}' was taken");
        }
    }
}
