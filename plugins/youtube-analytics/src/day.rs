//! The day that a window ends with, and the moment from which the platform has delivered it.

use backline_sdk::prelude::*;

const DAY_SECONDS: i64 = 86_400;

/// Seconds after midnight UTC at which a day ends in California, whose days the platform counts by. In summer it is an
/// hour earlier.
const PACIFIC_MIDNIGHT_SECONDS: i64 = 8 * 3_600;

/// A day of the calendar, as days since 1970-01-01.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Day(i64);

impl Day {
    /// The day that ends at a midnight of the artist's time zone, given in Unix seconds.
    ///
    /// A midnight alone does not say which of two days ends: Hawaii's (UTC-10) is the one at which the next day ends in
    /// Kiribati (UTC+14). Without the zone's offset it is taken for a zone from UTC-10 to UTC+13:45. That leaves out
    /// UTC+14, UTC-11 and UTC-12, for which the setting `utc_offset_hours` says it.
    pub(crate) fn ending_at(until: i64, utc_offset_hours: Option<i64>) -> Self {
        let shift = utc_offset_hours.map_or(14 * 3_600 - 1, |hours| hours.saturating_mul(3_600));
        Self(until.saturating_add(shift).div_euclid(DAY_SECONDS) - 1)
    }

    /// The day as `YYYY-MM-DD`.
    pub(crate) fn text(self) -> String {
        // Years are counted from March, so that the leap day comes last (Howard Hinnant's `civil_from_days`).
        let days = self.0 + 719_468;
        let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
        let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let from_march = (5 * of_year + 2) / 153;
        let day = of_year - (153 * from_march + 2) / 5 + 1;
        let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
        let year = year_of_era + era * 400 + i64::from(month <= 2);
        format!("{year:04}-{month:02}-{day:02}")
    }
}

/// Whether the platform has delivered a day (`YYYY-MM-DD`) by then: so many days after it ended in California. `None`
/// if the text is no day.
pub(crate) fn is_delivered(day: &str, after_days: i64, observed_at: i64) -> Option<bool> {
    let begin = timestamp(&json!(format!("{day}T00:00:00Z")))?;
    let end = begin.saturating_add(DAY_SECONDS + PACIFIC_MIDNIGHT_SECONDS);
    Some(observed_at >= end.saturating_add(after_days.saturating_mul(DAY_SECONDS)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-20T00:00:00Z.
    const MIDNIGHT: i64 = 1_795_132_800;

    #[test]
    fn a_midnight_of_any_zone_ends_its_day() {
        for (offset_minutes, zone) in [
            (-600, "Honolulu"),
            (-480, "Los Angeles"),
            (0, "UTC"),
            (345, "Kathmandu"),
            (660, "Sydney in summer"),
            (780, "Auckland in summer"),
            (825, "Chatham in summer"),
        ] {
            assert_eq!(Day::ending_at(MIDNIGHT - offset_minutes * 60, None).text(), "2026-11-19", "{zone}");
        }
        for hours in -12..=14 {
            assert_eq!(Day::ending_at(MIDNIGHT - hours * 3_600, Some(hours)).text(), "2026-11-19", "UTC{hours:+}");
        }
    }

    #[test]
    fn days_are_written_as_dates() {
        let of = |seconds: i64| Day::ending_at(seconds, Some(0)).text();
        assert_eq!(of(DAY_SECONDS), "1970-01-01");
        assert_eq!(of(0), "1969-12-31");
        assert_eq!(of(951_868_800), "2000-02-29");
        assert_eq!(of(1_709_251_200), "2024-02-29");
        assert_eq!(of(1_735_689_600), "2024-12-31");
        assert_eq!(of(i64::MAX).len(), "292277024627-01-25".len(), "the largest time is no overflow");
        assert!(!of(i64::MIN).is_empty());
    }

    #[test]
    fn a_day_is_delivered_some_days_after_it_ended_in_california() {
        let end = MIDNIGHT + 8 * 3_600;
        assert_eq!(is_delivered("2026-11-19", 3, end + 3 * DAY_SECONDS - 1), Some(false));
        assert_eq!(is_delivered("2026-11-19", 3, end + 3 * DAY_SECONDS), Some(true));
        assert_eq!(is_delivered("2026-11-19", 0, end), Some(true));
        for text in ["", "soon", "2026-11-19T00:00:00Z", "2026-13-01"] {
            assert_eq!(is_delivered(text, 0, i64::MAX), None, "{text}");
        }
    }
}
