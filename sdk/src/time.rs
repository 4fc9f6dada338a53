//! Reads times in the forms in which platforms write them.

use serde_json::Value as Json;

/// Reads Unix seconds from RFC 3339 (`2026-11-20T08:00:00.000Z`), or from Instagram's variant without a colon in the
/// offset (`2026-11-20T08:00:00+0000`).
///
/// Fractions of a second are dropped. `None` for anything else, including a date without a time.
///
/// ```
/// use backline_sdk::prelude::*;
///
/// assert_eq!(timestamp(&json!("1970-01-02T00:00:00Z")), Some(86_400));
/// assert_eq!(timestamp(&json!("1970-01-02")), None);
/// ```
#[must_use]
pub fn timestamp(json: &Json) -> Option<i64> {
    let text = json.as_str()?.trim();
    let number = |from: usize, to: usize| -> Option<i64> {
        let digits = text.get(from..to)?;
        digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
    };
    let is = |at: usize, any_of: &[u8]| text.as_bytes().get(at).is_some_and(|byte| any_of.contains(byte));
    if !(is(4, b"-") && is(7, b"-") && is(10, b"Tt ") && is(13, b":") && is(16, b":")) {
        return None;
    }
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let zone = text.get(19..)?;
    let zone =
        zone.strip_prefix('.').map_or(zone, |fraction| fraction.trim_start_matches(|c: char| c.is_ascii_digit()));
    let local = days_since_epoch(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second;
    Some(local - offset_seconds(zone)?)
}

/// Offset from UTC in seconds, from `Z`, `+02:00` or `+0200`.
fn offset_seconds(zone: &str) -> Option<i64> {
    if zone.eq_ignore_ascii_case("z") {
        return Some(0);
    }
    let (sign, digits) = match zone.split_at_checked(1)? {
        ("+", digits) => (1, digits.replace(':', "")),
        ("-", digits) => (-1, digits.replace(':', "")),
        _ => return None,
    };
    if digits.len() != 4 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some(sign * (digits[..2].parse::<i64>().ok()? * 3_600 + digits[2..].parse::<i64>().ok()? * 60))
}

/// Days from 1970-01-01 to a date of the Gregorian calendar. Years are counted from March, so that the leap day comes
/// last.
pub(crate) fn days_since_epoch(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let month_from_march = (month + 9) % 12;
    let day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_in_every_form_the_platforms_use() {
        let cases = [
            ("1970-01-01T00:00:00Z", Some(0)),
            ("2019-11-21T22:17:43.000Z", Some(1_574_374_663)),
            ("2021-08-13T08:25:28+0000", Some(1_628_843_128)),
            ("2024-02-29T23:59:59+02:00", Some(1_709_243_999)),
            ("2000-03-01T00:00:00-0130", Some(951_874_200)),
            ("2026-11-20", None),
            ("2026-13-20T00:00:00Z", None),
            ("2026-11-20T00:00:00", None),
            ("2026-11-20T00:00:00 soon", None),
            ("20é6-11-20T00:00:00Z", None),
            ("", None),
        ];
        for (text, expected) in cases {
            assert_eq!(timestamp(&Json::from(text)), expected, "{text}");
        }
        assert_eq!(timestamp(&Json::Null), None);
        assert_eq!(timestamp(&Json::from(1_574_374_663)), None);
    }
}
