//! Times in the two usual forms, read and written digit by digit: each row that is read or stored has several. What has
//! another form is for the general parser and writer, which take ten times as long.
//!
//! And times in statements: a file takes any text for one, and PostgreSQL times beyond the calendar. What counts,
//! compares or groups rows by a time leaves those of the rows out that hold none.

use chrono::{DateTime, Datelike as _, NaiveDate, SecondsFormat, Timelike as _, Utc};

use crate::database::counters::replaced;

/// The form that times are written in, with zeros for its digits.
const FORM: [u8; 27] = *b"0000-00-00T00:00:00.000000Z";

/// A time as RFC 3339 writes it, with six digits after the point. Its year must have four digits.
pub(crate) fn written(time: DateTime<Utc>) -> String {
    let micros = time.nanosecond() / 1_000;
    let year = u32::try_from(time.year()).ok().filter(|year| *year <= 9_999);
    // A leap second has more.
    let Some(year) = year.filter(|_| micros < 1_000_000) else {
        return time.to_rfc3339_opts(SecondsFormat::Micros, true);
    };
    let mut text = FORM;
    for (places, number) in [
        (0..4, year),
        (5..7, time.month()),
        (8..10, time.day()),
        (11..13, time.hour()),
        (14..16, time.minute()),
        (17..19, time.second()),
        (20..26, micros),
    ] {
        let mut left = number;
        for place in text[places].iter_mut().rev() {
            *place += u8::try_from(left % 10).unwrap_or_default();
            left /= 10;
        }
    }
    String::from_utf8_lossy(&text).into_owned()
}

/// Reads a time in UTC as [`written`] writes it, or as PostgreSQL does: `2026-11-22 16:00:01.25+00`. `None` for any
/// other form, whether or not it is a time.
pub(crate) fn read(text: &str) -> Option<DateTime<Utc>> {
    let bytes = text.as_bytes();
    let (head, rest) = bytes.split_at_checked(19)?;
    let marks = [4, 7, 10, 13, 16].map(|place| head[place]);
    if !matches!(marks, [b'-', b'-', b' ' | b'T', b':', b':']) {
        return None;
    }
    let date = NaiveDate::from_ymd_opt(
        i32::try_from(number(&head[0..4])?).ok()?,
        number(&head[5..7])?,
        number(&head[8..10])?,
    )?;
    let (fraction, zone) = match rest {
        [b'.', rest @ ..] => rest.split_at(rest.iter().take_while(|byte| byte.is_ascii_digit()).count()),
        _ => (&b"0"[..], rest),
    };
    let digits = u32::try_from(fraction.len()).ok().filter(|digits| (1..=9).contains(digits))?;
    if !matches!(zone, b"Z" | b"+00") {
        return None;
    }
    let nanos = number(fraction)? * 10_u32.pow(9 - digits);
    let time = date.and_hms_nano_opt(number(&head[11..13])?, number(&head[14..16])?, number(&head[17..19])?, nanos)?;
    Some(time.and_utc())
}

/// Replaces the words for times, for a file or for PostgreSQL:
///
/// - `{is_time: a}`: whether what is stored as a time is one. In a file it begins with a date of the calendar, since
///   SQLite takes `now`, `12:00` and numbers of days too; PostgreSQL's type keeps others out.
/// - `{time: a}`: the time, and NULL where a host would read none of the calendar: so that one row spoils no `MIN` or
///   `MAX` of others. In a file it has the form in which times are written, since only those sort as texts.
pub(crate) fn with_times(text: &str, is_file: bool) -> String {
    let text = replaced(text, "{is_time: ", |time| if is_file { is_time(time) } else { "TRUE".to_owned() });
    replaced(&text, "{time: ", |time| {
        let is_calendar = if is_file {
            let is_time = is_time(time);
            format!("{time} LIKE '____-__-__T__:__:__%Z' AND substr({time}, 12, 2) < '24' AND {is_time}")
        } else {
            format!("{time} > '0001-01-01 00:00:00+00' AND {time} < '9999-12-31 23:59:59.999999+00'")
        };
        format!("CASE WHEN {is_calendar} THEN {time} END")
    })
}

fn is_time(time: &str) -> String {
    format!("date(substr({time}, 1, 10), '+0 days') IS substr({time}, 1, 10) AND julianday({time}) IS NOT NULL")
}

/// A number of at most nine digits, and of nothing else.
fn number(digits: &[u8]) -> Option<u32> {
    digits.iter().try_fold(0, |number, digit| digit.is_ascii_digit().then(|| number * 10 + u32::from(digit - b'0')))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Times of all four-digit years, none of them a round one.
    fn times() -> impl Iterator<Item = DateTime<Utc>> {
        let (first, step) = (-62_135_596_800_i64, 31_556_952_i64 * 3 / 7);
        (0..23_000_u32).map_while(move |index| {
            let nanos = index.wrapping_mul(2_654_435_761) % 1_000_000_000;
            DateTime::from_timestamp(first + i64::from(index) * step, nanos).filter(|time| time.year() <= 9_999)
        })
    }

    #[test]
    fn times_are_written_as_the_general_writer_writes_them() {
        assert!(times().count() > 20_000);
        for time in times() {
            assert_eq!(written(time), time.to_rfc3339_opts(SecondsFormat::Micros, true));
        }
        let leap_second = DateTime::from_timestamp(1_483_228_799, 1_500_000_000).expect("a leap second");
        assert_eq!(written(leap_second), "2016-12-31T23:59:60.500000Z");
    }

    #[test]
    fn times_are_read_as_the_general_parser_reads_them() {
        for time in times() {
            let text = written(time);
            assert_eq!(read(&text), Some(text.parse().expect("a time")), "{text}");
            let of_postgres = time.format("%Y-%m-%d %H:%M:%S%.f+00").to_string();
            assert_eq!(read(&of_postgres), Some(time), "{of_postgres}");
        }
        for (text, expected) in [
            ("2026-11-22 16:00:01+00", "2026-11-22T16:00:01Z"),
            ("2026-11-22 16:00:01.25+00", "2026-11-22T16:00:01.25Z"),
            ("2028-02-29T23:59:59Z", "2028-02-29T23:59:59Z"),
        ] {
            assert_eq!(read(text), Some(expected.parse().expect("a time")), "{text}");
        }
    }

    #[test]
    fn a_statement_leaves_out_what_is_no_time() {
        assert_eq!(with_times("NOT ({is_time: d.at}) AND {and_tenant: t}", false), "NOT (TRUE) AND {and_tenant: t}");
        assert_eq!(
            with_times("{is_time: at}", true),
            "date(substr(at, 1, 10), '+0 days') IS substr(at, 1, 10) AND julianday(at) IS NOT NULL"
        );
        assert_eq!(
            with_times("MIN({time: at}), {time: b.at}", false),
            "MIN(CASE WHEN at > '0001-01-01 00:00:00+00' AND at < '9999-12-31 23:59:59.999999+00' THEN at END), \
             CASE WHEN b.at > '0001-01-01 00:00:00+00' AND b.at < '9999-12-31 23:59:59.999999+00' THEN b.at END"
        );
        assert_eq!(
            with_times("MIN({time: at})", true),
            "MIN(CASE WHEN at LIKE '____-__-__T__:__:__%Z' AND substr(at, 12, 2) < '24' \
             AND date(substr(at, 1, 10), '+0 days') IS substr(at, 1, 10) AND julianday(at) IS NOT NULL THEN at END)"
        );
    }

    #[test]
    fn every_other_form_is_left_to_the_general_parser() {
        for text in [
            "",
            "yesterday",
            "infinity",
            "2026-11-22",
            "2026-11-22 16:00:01",
            "2026-11-22 16:00:01+01",
            "2026-11-22 16:00:01+00:00",
            "2026-11-22 16:00:01.+00",
            "2026-11-22 16:00:01.1234567890+00",
            "2026-11-22_16:00:01+00",
            "2026-02-29 16:00:01+00",
            "2026-11-22 24:00:00+00",
            "2026-11-22 16:00:60+00",
            "+026-11-22 16:00:01+00",
            "12026-11-22 16:00:01+00",
            "0044-03-15 12:00:00+00 BC",
            "2026-11-22 1\u{fc}:00:01+00",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
