//! Parsers of single arguments. Each error says what to write.

use chrono::{DateTime, Datelike as _, NaiveDate, NaiveTime, TimeDelta, Utc};

use crate::cli::terminal::exit::Failure;
use backline_model::zone::ZoneError;
use backline_model::{AccountStatus, CatchUp, Overlap, SubscriptionStatus, Zone};

/// A calendar date within the years that are stored.
pub(in crate::cli) fn date(text: &str) -> Result<NaiveDate, String> {
    let date = plain_date(text).ok_or_else(|| "it is not a calendar date; write YYYY-MM-DD".to_owned())?;
    if is_stored(date) { Ok(date) } else { Err(OUTSIDE.to_owned()) }
}

/// A point in time within the years that are stored: RFC 3339, or the beginning of a date in UTC.
pub(in crate::cli) fn time(text: &str) -> Result<DateTime<Utc>, String> {
    let time = match DateTime::parse_from_rfc3339(text) {
        Ok(time) => time.with_timezone(&Utc),
        Err(_) => {
            let date =
                plain_date(text).ok_or("it is not a time; write one such as 2026-11-22T12:00:00Z or 2026-11-22")?;
            date.and_time(NaiveTime::MIN).and_utc()
        }
    };
    if is_stored(time.date_naive()) { Ok(time) } else { Err(OUTSIDE.to_owned()) }
}

/// What is said of dates that [`is_stored`] refuses.
const OUTSIDE: &str = "it is outside of 1970-01-01 to 9999-12-31; give a date in between";

fn is_stored(date: NaiveDate) -> bool {
    (1970..=9999).contains(&date.year())
}

fn plain_date(text: &str) -> Option<NaiveDate> {
    NaiveDate::parse_from_str(text, "%Y-%m-%d").ok().filter(|date| date.to_string() == text)
}

/// A duration with its unit.
pub(in crate::cli) fn span(text: &str) -> Result<TimeDelta, String> {
    let wrong = || "it is not a duration; write one such as 90s, 15m, 24h or 7d".to_owned();
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let number: u32 = digits.parse().map_err(|_| wrong())?;
    let seconds: i64 = match &text[digits.len()..] {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return Err(wrong()),
    };
    Ok(TimeDelta::seconds(i64::from(number) * seconds))
}

/// The IANA time zone of a name, which the command looks up itself: arguments are parsed before the configuration says
/// where zones are read from.
///
/// # Errors
/// When there is none of that name.
pub(in crate::cli) fn timezone(text: &str) -> Result<Zone, Failure> {
    text.parse().map_err(|error: ZoneError| Failure::usage(format!("--timezone: {error}")))
}

/// An artist's subscription status.
pub(in crate::cli) fn subscription(text: &str) -> Result<SubscriptionStatus, String> {
    SubscriptionStatus::parse(text).ok_or_else(|| {
        let known: Vec<_> = SubscriptionStatus::ALL.iter().map(|status| status.as_str()).collect();
        format!("it is not one of {}", known.join(", "))
    })
}

/// An account's status that an operator may set.
pub(in crate::cli) fn account_status(text: &str) -> Result<AccountStatus, String> {
    match AccountStatus::parse(text) {
        Some(status @ (AccountStatus::Active | AccountStatus::Disabled)) => Ok(status),
        _ => Err("it is not one of active, disabled".to_owned()),
    }
}

/// Any status of an account, to list by.
pub(in crate::cli) fn any_account_status(text: &str) -> Result<AccountStatus, String> {
    AccountStatus::parse(text).ok_or_else(|| {
        let names: Vec<&str> = AccountStatus::ALL.iter().map(|status| status.as_str()).collect();
        format!("it is not one of {}", names.join(", "))
    })
}

/// Which missed fire times a schedule catches up on.
pub(in crate::cli) fn catch_up(text: &str) -> Result<CatchUp, String> {
    CatchUp::parse(text).ok_or_else(|| "it is not one of all, last, none".to_owned())
}

/// What a schedule does when its previous run is still running.
pub(in crate::cli) fn overlap(text: &str) -> Result<Overlap, String> {
    Overlap::parse(text).ok_or_else(|| "it is not one of skip, queue".to_owned())
}

/// Settings of an account: a JSON object.
pub(in crate::cli) fn settings(text: &str) -> Result<serde_json::Value, String> {
    match serde_json::from_str(text) {
        Ok(value @ serde_json::Value::Object(_)) => Ok(value),
        Ok(_) => Err("it is not a JSON object; write one such as '{\"storefronts\":[\"us\"]}'".to_owned()),
        Err(error) => Err(format!("it is not JSON ({error})")),
    }
}

/// A duration of at most a month.
pub(in crate::cli) fn window(text: &str) -> Result<TimeDelta, String> {
    let wrong = || "it is not a duration of at most 31 days; write one such as 90m, 24h or 7d".to_owned();
    let unit = text.char_indices().next_back().ok_or_else(wrong)?;
    let number: u32 = text[..unit.0].parse().map_err(|_| wrong())?;
    let time = match unit.1 {
        'm' => TimeDelta::minutes(number.into()),
        'h' => TimeDelta::hours(number.into()),
        'd' => TimeDelta::days(number.into()),
        _ => return Err(wrong()),
    };
    if time > TimeDelta::zero() && time <= TimeDelta::days(31) { Ok(time) } else { Err(wrong()) }
}

/// A budget's name and its limit in units.
pub(in crate::cli) fn budget(text: &str) -> Result<(String, u64), String> {
    let wrong =
        || "it is not a budget's name and a whole number of units above 0; write one such as units=50000".to_owned();
    let (name, units) = text.split_once('=').ok_or_else(wrong)?;
    let units: u64 = units.trim().parse().map_err(|_| wrong())?;
    if name.trim().is_empty() || units == 0 { Err(wrong()) } else { Ok((name.trim().to_owned(), units)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_calendar_dates_are_dates() {
        assert_eq!(date("2028-02-29").map(|date| date.to_string()), Ok("2028-02-29".to_owned()));
        for text in ["2026-02-29", "2026-2-3", "20260203", "yesterday", "", "+2026-02-03", "2026-02-03 "] {
            assert!(date(text).is_err(), "'{text}' was taken");
        }
    }

    #[test]
    fn dates_and_times_outside_of_the_years_that_are_stored_are_refused_with_these_years() {
        for text in ["1970-01-01", "9999-12-31"] {
            assert!(date(text).is_ok() && time(text).is_ok(), "'{text}' was refused");
        }
        for text in ["1969-12-31", "0000-01-01", "-0001-12-31", "+10000-01-01"] {
            assert!(date(text).is_err_and(|said| said.contains("1970-01-01 to 9999-12-31")), "'{text}'");
        }
        for text in ["1969-12-31T23:59:59Z", "1970-01-01T00:30:00+01:00", "1969-12-31", "9999-12-31T23:30:00-01:00"] {
            assert!(time(text).is_err_and(|said| said.contains("1970-01-01 to 9999-12-31")), "'{text}'");
        }
    }

    #[test]
    fn a_time_may_be_a_date_and_a_span_has_a_unit() {
        let at = |text: &str| time(text).map(|time| time.to_rfc3339());
        assert_eq!(at("2026-11-22"), Ok("2026-11-22T00:00:00+00:00".to_owned()));
        assert_eq!(at("2026-11-22T12:00:00+02:00"), Ok("2026-11-22T10:00:00+00:00".to_owned()));
        assert!(at("yesterday").is_err() && at("12:00").is_err());
        assert_eq!(span("24h"), Ok(TimeDelta::days(1)));
        assert_eq!(span("90s"), Ok(TimeDelta::seconds(90)));
        for text in ["", "h", "24", "-1h", "1.5h", "1w", "99999999999d"] {
            assert!(span(text).is_err(), "'{text}' was taken");
        }
    }

    #[test]
    fn a_budget_is_a_name_and_a_number_above_zero() {
        assert_eq!(budget("units=50000"), Ok(("units".to_owned(), 50_000)));
        for text in ["units", "units=", "units=0", "units=-1", "=5", "units=1.5"] {
            assert!(budget(text).is_err(), "'{text}' was taken");
        }
    }

    #[test]
    fn a_window_is_a_number_and_a_unit() {
        assert_eq!(window("90m"), Ok(TimeDelta::minutes(90)));
        assert_eq!(window("31d"), Ok(TimeDelta::days(31)));
        for text in ["", "h", "0h", "24", "-1h", "32d", "1w", "2é"] {
            assert!(window(text).is_err(), "'{text}' was taken");
        }
    }

    #[test]
    fn an_operator_cannot_set_what_only_a_platform_can_find_out() {
        assert!(account_status("reconnect_needed").is_err());
        let refused = any_account_status("dead").expect_err("no status");
        for status in AccountStatus::ALL {
            assert_eq!(any_account_status(status.as_str()), Ok(status));
            assert!(refused.contains(status.as_str()), "{refused}");
        }
        assert_eq!(account_status("disabled"), Ok(AccountStatus::Disabled));
    }
}
