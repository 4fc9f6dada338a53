//! Fetches a batch: each channel with the token of its owner, one day in two requests: its numbers, and its countries.

use backline_sdk::{Stop, absent_part, halves, only_named, part, prelude::*, says};

use crate::day::Day;
use crate::errors::{self, Failure};
use crate::memory::{COUNTRIES, Memory};
use crate::{COUNTRY_METRICS, METRICS, MINE, REPORTS, SLOT, table};

/// How many channels are collected at the same time.
const ACCOUNTS_AT_ONCE: usize = 8;

/// Days after the end of a day at which its numbers are taken for final, unless the account's setting
/// `final_after_days` says otherwise. The platform delivers them after two or three.
const FINAL_AFTER_DAYS: i64 = 3;

/// Most days that the setting may name.
pub(crate) const FINAL_AFTER_DAYS_MAX: i64 = 30;

/// The metric that tells a refused query from a refused metric: every report has it.
const CONTROL: &str = "views";

/// Countries of one report: those with the most views of the day.
pub(crate) const COUNTRIES_MAX: usize = 25;

/// The day that a token is tried with. Any day of the past will do.
const PROBED_DAY: &str = "2026-01-01";

/// Fetches the documents of a batch of accounts.
pub(crate) async fn batch(http: &Http, accounts: Vec<Account>, context: &Context) -> BatchResult {
    let (lost, stop) = (Lost::new(&context.lost_metrics), Stop::default());
    let until = context.window.until;
    let mut result = BatchResult::each(accounts, ACCOUNTS_AT_ONCE, async |account| {
        one(&Api::new(http, &account, &stop), &account, until, &lost).await
    })
    .await;
    result.lost_metrics = lost.into_found();
    result
}

/// The API with the token of one channel's owner.
pub(crate) struct Api<'a> {
    http: &'a Http,
    account: &'a Account,
    stop: &'a Stop,
}

impl<'a> Api<'a> {
    /// The API for one account.
    pub(crate) fn new(http: &'a Http, account: &'a Account, stop: &'a Stop) -> Self {
        Self { http, account, stop }
    }

    /// Asks for one number, to find out whether the token may read the channel.
    ///
    /// # Errors
    /// The classified error of the platform.
    pub(crate) async fn probe(&self) -> Result<(), FetchError> {
        self.report(PROBED_DAY, &[CONTROL]).await?;
        Ok(())
    }

    /// The result table of one day, with one row for it.
    async fn report(&self, day: &str, metrics: &[&str]) -> Result<Json, Failure> {
        self.query(day, table::DAY, metrics, &[]).await
    }

    /// The result table of the countries of one day, those with the most views first.
    async fn countries(&self, day: &str) -> Result<Json, Failure> {
        let metrics = COUNTRY_METRICS.map(|(_, name)| name);
        let most = COUNTRIES_MAX.to_string();
        let more = [("sort", "-views"), ("maxResults", most.as_str())];
        self.query(day, table::COUNTRY, &metrics, &more).await
    }

    /// A result table of one day by a dimension. An error of the operator's project ends the batch: no further request
    /// is sent.
    async fn query(
        &self,
        day: &str,
        dimension: &str,
        metrics: &[&str],
        more: &[(&str, &str)],
    ) -> Result<Json, Failure> {
        self.stop.check()?;
        // The numbers of another channel are never read: with the id, the platform refuses a token that is not its
        // owner's.
        let channel = match self.account.platform_id.as_str() {
            MINE => "MINE",
            id => id,
        };
        let mut request = self
            .http
            .get(REPORTS)
            .query("ids", format!("channel=={channel}"))
            .query("startDate", day)
            .query("endDate", day)
            .query("dimensions", dimension)
            .query("metrics", metrics.join(","))
            .account(SLOT, self.account);
        for (name, value) in more {
            request = request.query(name, value);
        }
        let body = match errors::classify(&request.send().await?) {
            Err(Failure::App(error)) => return Err(Failure::Class(self.stop.halt(error))),
            other => other?,
        };
        table::check(&body, dimension)?;
        Ok(body)
    }
}

async fn one(api: &Api<'_>, account: &Account, until: i64, lost: &Lost) -> Result<Fetched, FetchError> {
    let settings = account.settings_json();
    let day = Day::ending_at(until, integer(&settings["utc_offset_hours"])).text();
    let final_after = integer(&settings["final_after_days"]).unwrap_or(FINAL_AFTER_DAYS);
    let mut memory = Memory::new(account, until);
    let reports = reports(api, &day, lost, &mut memory).await?;
    let countries = match settings["countries"].as_bool() {
        Some(false) => absent_part(Absence::NotOffered, "the account's setting does not ask for countries"),
        _ => countries(api, &day, &mut memory).await?,
    };
    let refused: Vec<&str> = METRICS.iter().map(|(_, name)| *name).filter(|name| lost.has(name)).collect();
    let fetched = Fetched::new(&json!({
        "day": day,
        "final_after_days": final_after.clamp(0, FINAL_AFTER_DAYS_MAX),
        "reports": reports,
        "countries": countries,
        "refused_metrics": refused,
    }));
    Ok(match memory.into_state() {
        Some(state) => fetched.with_state(&state),
        None => fetched,
    })
}

/// The countries of a day: a part of a document. A refusal costs the countries alone, and is remembered for a week.
///
/// # Errors
/// An error that concerns more than these, or that passes: a past day is asked for once.
async fn countries(api: &Api<'_>, day: &str, memory: &mut Memory) -> Result<Json, FetchError> {
    if memory.has(COUNTRIES) {
        return Ok(absent_part(Absence::Unavailable, "the platform refused them within the last week"));
    }
    match api.countries(day).await {
        Ok(table) => part("data", Ok(table)),
        Err(Failure::Query(message)) => {
            memory.refuse(COUNTRIES);
            part("data", Err(FetchError::Unexpected(message)))
        }
        Err(failure) => match FetchError::from(failure) {
            error @ FetchError::Unavailable(_) => Err(error),
            error => part("data", Err(error)),
        },
    }
}

/// The result tables of a day: one, unless the platform refuses a metric without saying which. A metric that it refuses
/// by name is left out.
async fn reports(api: &Api<'_>, day: &str, lost: &Lost, memory: &mut Memory) -> Result<Vec<Json>, FetchError> {
    loop {
        let names: Vec<&'static str> =
            METRICS.iter().map(|(_, name)| *name).filter(|name| !lost.has(name) && !memory.has(name)).collect();
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let message = match api.report(day, &names).await {
            Ok(table) => return Ok(vec![table]),
            Err(Failure::Query(message)) => message,
            Err(failure) => return Err(failure.into()),
        };
        match only_named(&message, &names) {
            Some(name) if is_gone(&message) => lost.add(name, &message),
            Some(name) => memory.refuse(name),
            None => return in_halves(api, day, &names, memory).await,
        }
    }
}

/// Finds the refused metrics if the error does not name them, and remembers them for a week.
async fn in_halves(
    api: &Api<'_>,
    day: &str,
    names: &[&'static str],
    memory: &mut Memory,
) -> Result<Vec<Json>, FetchError> {
    // If the simplest query is refused too, no metric is at fault.
    let mut reports = vec![api.report(day, &[CONTROL]).await?];
    let others: Vec<&str> = names.iter().copied().filter(|name| *name != CONTROL).collect();
    let (first, second) = others.split_at(others.len() / 2);
    for half in [first, second].into_iter().filter(|half| !half.is_empty()) {
        // A table that can't be read is no refusal, so nothing is remembered of it.
        let ask = async |names: Vec<&str>| {
            api.report(day, &names).await.map_err(|failure| match failure {
                Failure::Class(FetchError::Unexpected(why)) => FetchError::Unavailable(why),
                failure => failure.into(),
            })
        };
        for (names, answer) in halves(half, |error| matches!(error, FetchError::Unexpected(_)), ask).await {
            match answer {
                Ok(table) => reports.push(table),
                Err(FetchError::Unexpected(_)) => names.iter().for_each(|name| memory.refuse(name)),
                Err(error) => return Err(error),
            }
        }
    }
    Ok(reports)
}

/// Whether a refusal says that the platform has no metric of the name. Any other may speak of one channel.
fn is_gone(message: &str) -> bool {
    says(message, &["unknown identifier", "no longer supported", "has been removed"])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_one_metric_or_none() {
        let names = METRICS.map(|(_, name)| name);
        for (message, expected) in [
            ("Unknown identifier (engagedViews) given in field parameters.metrics.", Some("engagedViews")),
            ("Unknown identifier (views) given in field parameters.metrics.", Some("views")),
            ("likes can't be combined with shares", None),
            ("The query is not supported. Check the documentation at https://example.test/v2/available_reports", None),
            ("", None),
        ] {
            assert_eq!(only_named(message, &names), expected, "{message}");
        }
        assert!(is_gone("Unknown identifier (likes) given in field parameters.metrics."));
        assert!(!is_gone("likes is not available for this channel"));
    }
}
