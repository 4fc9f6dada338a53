//! How long deferred accounts wait, and what is said of it.

use std::collections::BTreeSet;

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use serde_json::json;
use uuid::Uuid;

use crate::pipeline::collection::budgets::DEFER_MIN;
use crate::pipeline::collection::pauses;
use backline_model::clock::LAST_TIME;
use backline_model::event::types;
use backline_model::manifest::Budget;
use backline_model::weakened::{Bound, off};
use backline_model::{Event, Holder, Platform};

/// Wait for a spent budget when neither the platform nor the manifest says when it resets.
const DEFER_DEFAULT: TimeDelta = TimeDelta::hours(1);

/// Until when an account waits whose budget is spent. A wait that a connector asks for is kept for up to 7 days: one
/// beyond would silence the account for good. Only a reset time that the manifest's budgets declare may be later, up to
/// the longest pause there is.
pub(super) fn deferral(asked: Option<DateTime<Utc>>, reset: DateTime<Utc>, now: DateTime<Utc>) -> DateTime<Utc> {
    let reset = reset.min(now + pauses::PAUSE_MAX);
    let latest = if off(Bound::Pauses) { LAST_TIME } else { reset.max(now + pauses::asked_max()) };
    asked.unwrap_or(reset).min(latest).max(now + DEFER_MIN)
}

/// When work goes on that was deferred without a time: when the last of the budgets resets that held it back, or, where
/// the platform refused it, the last of all. Windows that are waited for defer nothing.
pub(super) fn next_reset(budgets: &[Budget], spent: &BTreeSet<&str>, now: DateTime<Utc>) -> DateTime<Utc> {
    let deferring = || budgets.iter().filter(|budget| backline_gateway::defers(&budget.window));
    let reset = |budget: &Budget| backline_gateway::window_of(&budget.window, now).1;
    let held_back = deferring().filter(|budget| spent.contains(budget.name.as_str())).map(reset).max();
    held_back.or_else(|| deferring().map(reset).max()).unwrap_or(now + DEFER_DEFAULT)
}

/// What a deferred account waits for, in words: budgets of the host's own that are `spent`, by name; the pace that was
/// learned from refusals, which has no name; or what the platform said, with a time or without.
pub(super) fn waits_for(
    platform: &Platform,
    spent: &str,
    is_held_back: bool,
    asked: Option<DateTime<Utc>>,
    until: DateTime<Utc>,
) -> String {
    match asked {
        _ if !spent.is_empty() => format!("the budget {spent} of {platform} is spent until {until}"),
        _ if is_held_back => {
            format!("{platform} refused requests, which are spaced since then; the next is at {until}")
        }
        Some(_) => format!("{platform} asked for a pause until {until}"),
        None => format!("{platform} limits requests and named no time; it is asked again at {until}"),
    }
}

/// The event of a wait that is too long to be kept: at most one a day for each credential or platform.
pub(super) fn wait_cut(
    platform: &Platform,
    holder: &Holder,
    asked: DateTime<Utc>,
    kept: DateTime<Utc>,
    now: DateTime<Utc>,
) -> Event {
    let kind = types::WAIT_CUT.to_owned();
    let time = |at: DateTime<Utc>| at.to_rfc3339_opts(SecondsFormat::Secs, true);
    Event {
        id: Uuid::now_v7(),
        dedup_key: Some(format!("{kind}:{holder}:{}", now.date_naive())),
        kind,
        artist_id: None,
        occurred_at: now,
        data: json!({
            "platform": platform, "asked_until": time(asked.min(LAST_TIME)), "kept_until": time(kept),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_kept_up_to_a_week_and_a_declared_reset_up_to_32_days() {
        let now = DateTime::from_timestamp(1_795_000_000, 0).expect("a time");
        let days = chrono::TimeDelta::days;
        let year_58878 = DateTime::from_timestamp(1_795_866_206_000, 0).expect("a time");
        for (asked, reset, kept) in [
            (Some(now + days(3)), now + days(1), now + days(3)),
            (Some(now + days(8)), now + days(1), now + days(7)),
            (Some(year_58878), now + days(1), now + days(7)),
            (Some(year_58878), now + days(30), now + days(30)),
            (Some(now + days(30)), now + days(400), now + days(30)),
            (Some(now - days(400)), now + days(1), now + DEFER_MIN),
            (None, now + days(30), now + days(30)),
            (None, now + days(400), now + days(32)),
        ] {
            assert_eq!(deferral(asked, reset, now), kept, "{asked:?}, {reset}");
        }
    }

    #[test]
    fn work_goes_on_with_the_reset_of_what_held_it_back() {
        let now: DateTime<Utc> = "2026-11-22T12:00:10Z".parse().expect("a time");
        let after = |seconds| now + TimeDelta::seconds(seconds);
        let budget = |name: &str, window: &str| -> Budget {
            toml::from_str(&format!("name = \"{name}\"\nlimit = 9\nwindow = {window}\n")).expect("a budget")
        };
        let minute = budget("minute", "{ seconds = 60 }");
        let rate = budget("rate", "{ rolling = 5 }");
        let hour = budget("hour", "{ seconds = 3600 }");
        let daily = budget("daily", "{ daily = { at = \"00:00:00\", timezone = \"UTC\" } }");
        let at = |budgets: &[&Budget], spent: &[&str]| {
            let budgets: Vec<Budget> = budgets.iter().copied().cloned().collect();
            next_reset(&budgets, &spent.iter().copied().collect(), now)
        };
        let all = [&minute, &rate, &hour, &daily];
        assert_eq!(at(&all, &["hour"]), after(3_590), "the day's is not spent");
        assert_eq!(at(&all, &["hour", "daily"]), after(43_190));
        assert_eq!(at(&all, &["minute"]), after(43_190), "a minute is waited for, so the platform refused");
        assert_eq!(at(&all, &[]), after(43_190));
        assert_eq!(at(&[&minute, &rate], &[]), now + DEFER_DEFAULT, "short windows defer nothing");
        assert_eq!(at(&[&minute, &rate], &["rate"]), now + DEFER_DEFAULT);
        assert_eq!(at(&[], &[]), now + DEFER_DEFAULT);
    }

    #[test]
    fn a_deferral_says_only_what_was_said() {
        let demo = Platform::new("demo").expect("a platform");
        let until = DateTime::from_timestamp(1_795_000_000, 0).expect("a time");
        for (spent, is_held_back, asked, begins) in [
            ("units or requests", true, None, "the budget units or requests of demo is spent until "),
            ("", true, None, "demo refused requests, which are spaced since then; the next is at "),
            ("", false, Some(until), "demo asked for a pause until "),
            ("", false, None, "demo limits requests and named no time; it is asked again at "),
        ] {
            let said = waits_for(&demo, spent, is_held_back, asked, until);
            assert!(said.starts_with(begins) && said.ends_with(&until.to_string()), "{said}");
        }
    }
}
