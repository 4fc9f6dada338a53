//! `backline backfill`: collects past dates of a platform that tells them, one run for each date, the newest first.
//!
//! What a date still lacks is read from the stored rows, so the same command goes on where an earlier one ended. The
//! newest date comes first, because a plan ends what earlier runs have deferred of its date or an older one. A
//! connector that takes several dates at once may bring older dates with a run: what they lack then is less, or
//! nothing.

use std::collections::BTreeSet;

use chrono::{DateTime, Days, NaiveDate, Utc};
use clap::Args;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::run;
use crate::cli::arguments::ids::{self, Given};
use crate::cli::arguments::names::{self, PlatformName};
use crate::cli::arguments::values;
use crate::cli::context::Context;
use crate::cli::service::installation;
use crate::cli::terminal::exit::{CommandResult, Exit, Failure};
use crate::cli::terminal::print;
use crate::pipeline::collection::report::{RunReport, RunRequest};
use crate::pipeline::{Subject, exclusion, is_told};
use backline_model::run::{BACKFILL, BACKFILL_SINCE, Forecast, RunCounts};
use backline_model::{AccountId, ArtistId, Candidate, Manifest, MetricsRow, Platform, Release, RunId};
use backline_store::{MetricsFilter, Scope, Store};

/// Most dates of one command: a year, and what a month's delay adds.
const DATES_MAX: u64 = 400;

/// Accounts read from the database at once: bounds memory of a page, not the command.
const PAGE: u32 = 1_000;

/// Which dates to collect.
#[derive(Args)]
pub(in crate::cli) struct BackfillArguments {
    /// The platform, whose connector has metrics with history
    #[arg(long, value_name = "NAME")]
    platform: PlatformName,
    /// Earliest date, such as 2026-10-01
    #[arg(long, value_parser = values::date, value_name = "DATE")]
    from: NaiveDate,
    /// Latest date; yesterday in UTC unless given
    #[arg(long, value_parser = values::date, value_name = "DATE")]
    to: Option<NaiveDate>,
    /// Only this artist; may be repeated
    #[arg(long, value_name = "ARTIST")]
    artist: Vec<Given<ArtistId>>,
    /// Collect; without it only the forecast is printed
    #[arg(long)]
    yes: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What a backfill will do, and what it did.
#[derive(Debug, Serialize)]
struct Report {
    platform: Platform,
    from: NaiveDate,
    to: NaiveDate,
    /// Dates of which nothing is lacking.
    complete: u64,
    /// All other dates together, one after the other.
    forecast: Forecast,
    /// Whether a run may bring older dates too, so that it takes less than the forecast.
    several_dates_at_once: bool,
    /// What was collected, the newest date first.
    collected: Vec<Collected>,
    /// Whether it ended before its last date: an allowance is spent, it was interrupted, or nothing could be collected.
    is_cut: bool,
}

/// One date's run.
#[derive(Debug, Serialize)]
struct Collected {
    date: NaiveDate,
    run: RunId,
    counts: RunCounts,
}

/// Whose numbers are lacking, whatever the date.
struct Job {
    platform: Platform,
    manifest: Manifest,
    /// The accounts that can be collected.
    candidates: Vec<Candidate>,
    /// Whether they are all of the platform.
    is_whole: bool,
    /// Whether one call of the connector may fetch several dates.
    takes_history: bool,
    /// The earliest date.
    from: NaiveDate,
}

/// Prints what is lacking, and collects it if that is confirmed.
pub(in crate::cli) async fn run(context: &Context, arguments: BackfillArguments) -> CommandResult {
    let BackfillArguments { platform, from, to, artist, yes, json } = arguments;
    let host = context.host().await?;
    let store = host.store();
    let artist = ids::find_all(store, &artist).await?;
    let now = context.clock.now();
    let dates = dates(from, to, now.date_naive())?;
    let job = Job::load(store, names::platform(store, &platform).await?, &artist, from, now).await?;
    let mut report = Report {
        platform: job.platform.clone(),
        from,
        to: dates.first().copied().unwrap_or(from),
        complete: 0,
        forecast: Forecast::default(),
        several_dates_at_once: job.takes_history,
        collected: Vec::new(),
        is_cut: false,
    };
    for date in &dates {
        match job.request(store, *date).await? {
            Some(request) => add(&mut report.forecast, host.planner().plan(&request).await?.total),
            None => report.complete += 1,
        }
    }
    if !json {
        print_forecast(&report, dates.len() as u64)?;
    }
    if yes && report.forecast.accounts > 0 {
        installation::warn(context, store).await?;
        let stop = CancellationToken::new();
        for date in dates {
            // Another run, or one of a later date, may have collected it since the forecast.
            let Some(request) = job.request(store, date).await? else { continue };
            let done = run::collect(&host, &request, &stop).await?;
            context.subjects.made(Subject::Run(done.run.id));
            let counts = &done.run.counts;
            if !json {
                print::line(&format!("{date}: {} of {} collected", counts.collected, counts.planned))?;
            }
            report.collected.push(Collected { date, run: done.run.id, counts: done.run.counts });
            if stop.is_cancelled() || ends_here(&done) {
                report.is_cut = true;
                break;
            }
        }
    }
    if json {
        print::json(&report)?;
    } else if !yes && report.forecast.accounts > 0 {
        print::note("nothing was collected; repeat with --yes to collect");
    } else if report.is_cut {
        print::note("it ended early: `backline runs show` says what is open; the same command goes on");
    }
    Ok(exit_of(&report))
}

/// The dates from the newest to the oldest.
fn dates(from: NaiveDate, to: Option<NaiveDate>, today: NaiveDate) -> Result<Vec<NaiveDate>, Failure> {
    let yesterday = today.pred_opt().unwrap_or(today);
    let to = to.unwrap_or(yesterday);
    if to > yesterday {
        return Err(Failure::usage(format!("{to} is not over; give a date up to {yesterday}")));
    }
    let dates: Vec<NaiveDate> = (0..=DATES_MAX)
        .map_while(|back| to.checked_sub_days(Days::new(back)))
        .take_while(|date| *date >= from)
        .collect();
    match dates.len() as u64 {
        0 => Err(Failure::usage(format!("--from {from} is after --to {to}"))),
        more if more > DATES_MAX => {
            Err(Failure::usage(format!("more than {DATES_MAX} dates at once; give a later --from, or an earlier --to")))
        }
        _ => Ok(dates),
    }
}

impl Job {
    async fn load(
        store: &Store,
        platform: Platform,
        artists: &[ArtistId],
        from: NaiveDate,
        now: DateTime<Utc>,
    ) -> Result<Self, Failure> {
        for artist in artists {
            ids::read_artist(store, *artist).await?;
        }
        let releases = store.releases_list().await?;
        let active = releases.into_iter().find(|release| release.active && *release.platform() == platform);
        let Some(active) = active else {
            let remedy = "`backline plugins list` shows what is installed, and `plugins activate` activates it";
            return Err(Failure::usage(format!("no connector of {platform} is active; {remedy}")));
        };
        let takes_history = active.takes_history();
        let Release { manifest, .. } = active;
        if !manifest.has_history() {
            let why = "none of the connector's metrics has history, so the platform tells the numbers of now alone";
            return Err(Failure::usage(format!("{platform} has no past dates to collect: {why}")));
        }
        let mut candidates: Vec<Candidate> = Vec::new();
        let mut after = None;
        loop {
            let page = store.candidates_list(&Scope::all_tenants(), &platform, None, after, PAGE, now).await?;
            after = page.last().map(|candidate| candidate.account_id);
            let is_last = page.len() < PAGE as usize;
            candidates.extend(page);
            if is_last {
                break;
            }
        }
        candidates.retain(|candidate| {
            let is_meant = artists.is_empty() || artists.contains(&candidate.artist_id);
            is_meant && exclusion(candidate, &manifest).is_none()
        });
        Ok(Self { platform, manifest, candidates, is_whole: artists.is_empty(), takes_history, from })
    }

    /// The run for what a date lacks; none if it lacks nothing.
    async fn request(&self, store: &Store, date: NaiveDate) -> Result<Option<RunRequest>, Failure> {
        let filter = MetricsFilter {
            platform: Some(self.platform.clone()),
            since: Some(date),
            until: Some(date),
            ..MetricsFilter::default()
        };
        let rows = store.metrics_list(&Scope::all_tenants(), &filter).await?;
        Ok(self.lacking(&rows).map(|artists| RunRequest {
            trigger: self.trigger(),
            date: Some(date),
            due: None,
            platforms: vec![self.platform.clone()],
            artists,
        }))
    }

    /// What says of a run how far its batches may go back.
    fn trigger(&self) -> String {
        if self.takes_history { format!("{BACKFILL_SINCE}{}", self.from) } else { BACKFILL.to_owned() }
    }

    /// The artists whose accounts lack a date with these rows: an empty list stands for all, none for no one.
    fn lacking(&self, rows: &[MetricsRow]) -> Option<Vec<ArtistId>> {
        let told: BTreeSet<AccountId> =
            rows.iter().filter(|row| is_told(row, &self.manifest)).map(|row| row.account_id).collect();
        let lacking = self.candidates.iter().filter(|candidate| !told.contains(&candidate.account_id));
        let artists: BTreeSet<ArtistId> = lacking.map(|candidate| candidate.artist_id).collect();
        match artists.is_empty() {
            true => None,
            // All of them are planned with a query for a thousand accounts, and named ones with two for each.
            false if self.is_whole && told.is_empty() => Some(Vec::new()),
            false => Some(artists.into_iter().collect()),
        }
    }
}

/// Adds what a date takes. The dates are collected one after the other.
fn add(forecast: &mut Forecast, more: Forecast) {
    forecast.batches += more.batches;
    forecast.accounts += more.accounts;
    forecast.requests += more.requests;
    forecast.duration_s += more.duration_s;
    for (budget, units) in more.units {
        *forecast.units.entry(budget).or_default() += units;
    }
}

/// Whether older dates have to wait: what is open of this one waits for an allowance or a pause, or the platform gives
/// nothing at all.
fn ends_here(done: &RunReport) -> bool {
    let counts = &done.run.counts;
    run::is_open(done) || counts.deferred > 0 || (counts.collected == 0 && counts.failed > 0)
}

fn exit_of(report: &Report) -> Exit {
    let sum = |of: fn(&RunCounts) -> u64| report.collected.iter().map(|done| of(&done.counts)).sum::<u64>();
    let (collected, failed) = (sum(|counts| counts.collected), sum(|counts| counts.failed));
    match (collected, failed) {
        (0, 1..) => Exit::Failed,
        (_, 1..) => Exit::Partial,
        (_, 0) if report.is_cut => Exit::Partial,
        (_, 0) => Exit::Done,
    }
}

fn print_forecast(report: &Report, dates: u64) -> Result<(), Failure> {
    let Report { platform, from, to, complete, forecast, several_dates_at_once, .. } = report;
    let dates = print::count(dates, "date");
    print::line(&format!("{platform}: {dates} from {from} to {to}, {complete} of them complete"))?;
    if forecast.accounts == 0 {
        return print::line("nothing is lacking");
    }
    let units: Vec<String> = forecast.units.iter().map(|(budget, units)| format!(", {budget} {units}")).collect();
    print::line(&format!(
        "to collect: {} over all dates, {} {}, about {}{}",
        print::count(forecast.accounts, "account"),
        if *several_dates_at_once { "about" } else { "at least" },
        print::count(forecast.requests, "request"),
        run::duration(forecast.duration_s),
        units.concat()
    ))?;
    if *several_dates_at_once {
        print::note("the connector takes several dates at once: a run may bring older ones too, which then need none");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use backline_model::fixtures::{day, ints, manifest, name, row, zone};
    use backline_model::{Absence, AccountStatus, SubscriptionStatus, Tenant};
    use uuid::Uuid;

    use super::*;

    #[test]
    fn dates_come_newest_first_and_are_over() {
        let today = day("2026-11-22");
        let listed = |from: &str, to: Option<&str>| dates(day(from), to.map(day), today).map_err(|it| it.message);
        assert_eq!(listed("2026-11-20", None), Ok(vec![day("2026-11-21"), day("2026-11-20")]));
        assert_eq!(listed("2026-11-01", Some("2026-11-01")), Ok(vec![day("2026-11-01")]));
        for (from, to, said) in [
            ("2026-11-01", Some("2026-11-22"), "is not over; give a date up to 2026-11-21"),
            ("2026-11-22", None, "is after"),
            ("2020-01-01", None, "more than 400 dates"),
        ] {
            let refused = listed(from, to).expect_err(said);
            assert!(refused.contains(said), "{refused}");
        }
        assert_eq!(listed("2025-10-18", None).map(|dates| dates.len()), Ok(400));
    }

    fn candidate(number: u128) -> Candidate {
        Candidate {
            account_id: AccountId(Uuid::from_u128(number)),
            artist_id: ArtistId(Uuid::from_u128(100 + number)),
            platform: Platform::new("example").expect("a platform"),
            tenant: Tenant::default(),
            timezone: zone("UTC"),
            subscription_status: SubscriptionStatus::Active,
            data_collection_enabled: true,
            account_status: AccountStatus::Active,
            consented: true,
            last_collected: Some(chrono::DateTime::UNIX_EPOCH),
            last_failed: None,
            unreadable: None,
        }
    }

    fn job(is_whole: bool) -> Job {
        let mut manifest = manifest();
        let likes = manifest.metrics.iter_mut().find(|entry| entry.name.as_str() == "likes");
        likes.expect("it is in the fixture").history = true;
        let platform = Platform::new("example").expect("a platform");
        let candidates = vec![candidate(1), candidate(2)];
        Job { platform, manifest, candidates, is_whole, takes_history: false, from: day("2026-10-01") }
    }

    /// A row of an account, with numbers or the reason why the metric with history has none.
    fn of(number: u128, told: Result<i64, Absence>) -> MetricsRow {
        let mut row = row(day("2026-11-01"), ints(&[("followers", 5)]));
        row.account_id = AccountId(Uuid::from_u128(number));
        match told {
            Ok(likes) => row.values.extend(ints(&[("likes", likes)])),
            Err(reason) => row.absent.extend([(name("likes"), reason)]),
        }
        row
    }

    #[test]
    fn what_a_date_lacks_is_read_from_its_rows() {
        let artist = |number: u128| ArtistId(Uuid::from_u128(100 + number));
        for (rows, expected) in [
            (vec![], Some(vec![])),
            (vec![of(1, Err(Absence::Unavailable))], Some(vec![])),
            (vec![of(1, Ok(0))], Some(vec![artist(2)])),
            (vec![of(1, Err(Absence::NotFound))], Some(vec![artist(2)])),
            (vec![of(1, Ok(3)), of(2, Err(Absence::NotOffered))], None),
            (vec![of(7, Ok(3))], Some(vec![artist(1), artist(2)])),
        ] {
            assert_eq!(job(true).lacking(&rows), expected, "{rows:?}");
        }
        assert_eq!(job(false).lacking(&[]), Some(vec![artist(1), artist(2)]), "some were named");
    }

    #[test]
    fn a_run_says_how_far_back_its_batches_may_go() {
        assert_eq!(job(true).trigger(), "backfill");
        let trigger = Job { takes_history: true, ..job(true) }.trigger();
        assert_eq!(trigger, "backfill since 2026-10-01");
        let run = |trigger: String| backline_model::Run {
            id: RunId::generate(),
            trigger,
            date: None,
            status: backline_model::RunStatus::Running,
            started_at: chrono::DateTime::UNIX_EPOCH,
            finished_at: None,
            counts: RunCounts::default(),
        };
        assert_eq!(run(trigger).backfills_since(), Some(day("2026-10-01")));
        assert_eq!(run("backfill".to_owned()).backfills_since(), None);
    }

    #[test]
    fn the_exit_code_tells_what_became_of_it() {
        let report = |counts: &[(u64, u64)], is_cut: bool| Report {
            platform: Platform::new("example").expect("a platform"),
            from: day("2026-11-01"),
            to: day("2026-11-02"),
            complete: 0,
            forecast: Forecast::default(),
            several_dates_at_once: false,
            collected: counts
                .iter()
                .map(|(collected, failed)| Collected {
                    date: day("2026-11-01"),
                    run: RunId::generate(),
                    counts: RunCounts { collected: *collected, failed: *failed, ..RunCounts::default() },
                })
                .collect(),
            is_cut,
        };
        assert_eq!(exit_of(&report(&[], false)), Exit::Done);
        assert_eq!(exit_of(&report(&[(2, 0), (1, 0)], false)), Exit::Done);
        assert_eq!(exit_of(&report(&[(2, 0), (0, 0)], true)), Exit::Partial);
        assert_eq!(exit_of(&report(&[(2, 0), (1, 1)], false)), Exit::Partial);
        assert_eq!(exit_of(&report(&[(0, 1)], true)), Exit::Failed);
    }
}
