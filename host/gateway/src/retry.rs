//! Whether and when to retry: pure functions.

use std::time::Duration;

use chrono::{DateTime, Utc};

use backline_model::manifest::Method;

/// Result of an attempt, as far as it decides about a retry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AttemptEnd {
    /// The platform answered with this status.
    Status(u16),
    /// No connection was made: the platform has not seen the request.
    NotConnected,
    /// The platform may have seen the request; there was no complete answer.
    Broken,
    /// A retry can't help.
    Final,
}

/// Whether a retry may help and does no harm.
///
/// 429 and 503 mean that the request was not executed, and without a connection the platform has not seen it. After
/// anything else, a request that changes something might be executed twice.
pub(super) fn is_worth_retrying(end: AttemptEnd, method: Method) -> bool {
    let harmless = matches!(method, Method::Get | Method::Head | Method::Put | Method::Delete);
    match end {
        AttemptEnd::Status(429 | 503) | AttemptEnd::NotConnected => true,
        AttemptEnd::Status(500..) | AttemptEnd::Broken => harmless,
        AttemptEnd::Status(_) | AttemptEnd::Final => false,
    }
}

/// The wait before attempt `attempt` + 1 (the first one is 1): exponential with full jitter, between zero and the
/// bound, so that hosts which failed together do not retry together.
///
/// `random` is from 0 to 1.
pub(super) fn backoff(attempt: u32, base_ms: u64, max_ms: u64, random: f64) -> Duration {
    let doubled = base_ms.saturating_mul(1u64.checked_shl(attempt.saturating_sub(1)).unwrap_or(u64::MAX));
    Duration::from_millis(doubled.min(max_ms)).mul_f64(random.clamp(0.0, 1.0))
}

/// The wait that a `Retry-After` header asks for: seconds, or a date (RFC 9110, 10.2.3). A date in the past asks for no
/// wait. How much of it is kept is for the caller to say.
pub(super) fn retry_after(value: &str, now: DateTime<Utc>) -> Option<Duration> {
    let value = value.trim();
    // Digits only: Rust's own numbers may have a sign. More of them than fit are longer than any wait that is kept.
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(Duration::from_secs(value.parse().unwrap_or(u64::MAX)));
    }
    let date: DateTime<Utc> = httpdate::parse_http_date(value).ok()?.into();
    Some((date - now).to_std().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_may_have_been_executed_is_not_sent_twice() {
        for (end, method, expected) in [
            (AttemptEnd::Status(429), Method::Get, true),
            (AttemptEnd::Status(429), Method::Post, true),
            (AttemptEnd::Status(503), Method::Post, true),
            (AttemptEnd::Status(500), Method::Get, true),
            (AttemptEnd::Status(500), Method::Post, false),
            (AttemptEnd::Status(502), Method::Patch, false),
            (AttemptEnd::Status(504), Method::Delete, true),
            (AttemptEnd::Status(200), Method::Get, false),
            (AttemptEnd::Status(403), Method::Get, false),
            (AttemptEnd::NotConnected, Method::Post, true),
            (AttemptEnd::Broken, Method::Get, true),
            (AttemptEnd::Broken, Method::Post, false),
            (AttemptEnd::Final, Method::Get, false),
        ] {
            assert_eq!(is_worth_retrying(end, method), expected, "{end:?} {method:?}");
        }
    }

    #[test]
    fn the_wait_doubles_up_to_its_bound_and_is_jittered_from_zero() {
        let longest: Vec<u128> = (1..=7).map(|attempt| backoff(attempt, 250, 8_000, 1.0).as_millis()).collect();
        assert_eq!(longest, [250, 500, 1_000, 2_000, 4_000, 8_000, 8_000]);
        assert_eq!(backoff(3, 250, 8_000, 0.0), Duration::ZERO);
        assert_eq!(backoff(3, 250, 8_000, 0.5), Duration::from_millis(500));
        assert_eq!(backoff(200, u64::MAX, 8_000, 1.0), Duration::from_millis(8_000));
    }

    #[test]
    fn retry_after_is_read_in_both_forms() {
        let now: DateTime<Utc> = "2026-11-22T10:00:00Z".parse().expect("a time");
        for (text, expected) in [
            ("3", Some(3)),
            (" 120 ", Some(120)),
            ("Sun, 22 Nov 2026 10:00:30 GMT", Some(30)),
            ("Sun, 22 Nov 2026 09:00:00 GMT", Some(0)),
            ("18446744073709551615", Some(u64::MAX)),
            ("18446744073709551616", Some(u64::MAX)),
            ("+5", None),
            ("5.0", None),
            ("٣", None),
            ("Fri, 31 Dec 9999 23:59:59 GMT", Some(251_606_959_199)),
            ("soon", None),
            ("-1", None),
            ("", None),
        ] {
            assert_eq!(retry_after(text, now), expected.map(Duration::from_secs), "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_wait_is_what_its_digits_or_its_date_say(
            seconds in any::<u64>(),
            zeros in 0_usize..4,
            of_date in 0_i64..253_402_300_800,
            of_now in 0_i64..253_402_300_800,
        ) {
            let now = DateTime::from_timestamp(of_now, 0).expect("a time");
            let written = format!("{}{seconds}", "0".repeat(zeros));
            prop_assert_eq!(retry_after(&written, now), Some(Duration::from_secs(seconds)));
            // The form of RFC 9110, 5.6.7, written by another library than reads it.
            let date = DateTime::from_timestamp(of_date, 0).expect("a time");
            let written = date.format("%a, %d %b %Y %H:%M:%S GMT").to_string();
            let left = u64::try_from(of_date - of_now).unwrap_or(0);
            prop_assert_eq!(retry_after(&written, now), Some(Duration::from_secs(left)), "{}", written);
        }

        #[test]
        fn no_other_text_is_a_wait(text in "\\PC{0,40}|[ -~]{0,30}|[+-]?[0-9]{1,25}[.,e]?[0-9]{0,3}") {
            let now = DateTime::from_timestamp(1_795_000_000, 0).expect("a time");
            if retry_after(&text, now).is_some() {
                let is_number = text.trim().bytes().all(|byte| byte.is_ascii_digit());
                prop_assert!(is_number || httpdate::parse_http_date(text.trim()).is_ok(), "{}", text);
            }
        }
    }
}
