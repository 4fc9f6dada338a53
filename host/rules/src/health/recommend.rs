//! Recommendations: three about the whole system, and others that name what to act on. Each has a command.

use std::collections::BTreeMap;

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};

use super::{HOST_LOST_AFTER, lost_hosts};
use backline_model::health::{
    Blame, CredentialFigures, Figures, HealthReport, HostFigures, PlatformFigures, Recommendation,
    RecommendationKind as Kind, ReleaseFigures, Suspects, UnreadableRow, Urgency, WebhookFigures,
};
use backline_model::outcome::{Exclusion, FailureClass};
use backline_model::zone::ZoneFault;
use backline_model::{Platform, Tally, ZoneData};

/// Completion below this share is reported; below the second one it is urgent.
const COMPLETION_LOW: f64 = 0.8;
const COMPLETION_URGENT: f64 = 0.5;
const ERROR_RATE_HIGH: f64 = 0.1;

/// If more than this share of a platform's accounts fails for the same kind of reason, that reason counts as the cause.
const MOST: f64 = 0.5;

/// Most rows of a table that are named.
const NAMED_MAX: usize = 5;

/// Fewest failed accounts before a release is blamed: one or two prove nothing.
const BLAMED_MIN: u64 = 3;

/// How long after its activation a release is suspected before other causes.
const SUSPECTED_FOR: TimeDelta = TimeDelta::days(7);

/// Failures that are almost always caused by the release's code.
const OF_THE_CODE: [FailureClass; 6] = [
    FailureClass::Denied,
    FailureClass::Unexpected,
    FailureClass::Trapped,
    FailureClass::TimedOut,
    FailureClass::LimitExceeded,
    FailureClass::NotNormalised,
];

/// Failures of a platform that does not answer, or refuses whatever is asked.
const AWAY: [FailureClass; 3] = [FailureClass::Unavailable, FailureClass::RateLimited, FailureClass::TimedOut];

/// Which recommendation tells of accounts that failed so. Some count what such a failure leaves behind: a batch that is
/// dead, an account that has to be connected again.
fn told_by(class: FailureClass) -> Kind {
    match class {
        FailureClass::NotFound => Kind::AccountsNotFound,
        FailureClass::Forbidden => Kind::AccountsForbidden,
        FailureClass::Misconfigured => Kind::Misconfigured,
        FailureClass::CredentialMissing => Kind::CredentialDead,
        FailureClass::Reconnect => Kind::Reconnect,
        FailureClass::Denied
        | FailureClass::Unexpected
        | FailureClass::Trapped
        | FailureClass::TimedOut
        | FailureClass::LimitExceeded
        | FailureClass::NotNormalised => Kind::ConnectorFailing,
        FailureClass::RateLimited | FailureClass::Unavailable | FailureClass::Internal | FailureClass::HostKilled => {
            Kind::BatchesDead
        }
    }
}

/// How many accounts failed in the ways that a recommendation tells of.
fn failed_as(counted: &PlatformFigures, kind: Kind) -> u64 {
    counted.failed.iter().filter(|(class, _)| told_by(**class) == kind).map(|(_, accounts)| accounts).sum()
}

/// Every recommendation, the most urgent first.
pub(super) fn recommend(
    report: &HealthReport,
    figures: &Figures,
    suspects: &Suspects,
    now: DateTime<Utc>,
) -> Vec<Recommendation> {
    let mut found = in_total(report);
    let to_blame: Vec<&ReleaseFigures> = suspects.releases.iter().filter(|release| is_failing(release, now)).collect();
    found.extend(to_blame.iter().map(|release| release_failing(release)));
    for (platform, counted) in &figures.platforms {
        let is_released = to_blame.iter().any(|release| release.platform == *platform);
        found.extend(of_platform(platform, counted, is_released, suspects));
    }
    found.extend(nothing_planned(report, figures, suspects));
    found.extend(suspects.credentials.iter().filter_map(credential));
    for host in lost_hosts(&figures.hosts, now) {
        let name = &host.name;
        found.push(Recommendation {
            kind: Kind::HostLost,
            urgency: Urgency::Warning,
            sentence: format!(
                "host {name} has not reported itself since {}; other hosts take over its batches",
                time(host.seen_at)
            ),
            remedy: "backline hosts".to_owned(),
            blame: Blame { host: Some(name.clone()), ..Blame::default() },
        });
    }
    found.extend(strangers(&figures.hosts, now));
    found.extend(suspects.webhooks.iter().map(undelivered));
    found.extend(suspects.zone_faults.iter().map(zone_from_copy));
    found.extend(left_out(&suspects.unreadable, &suspects.unreadable_others));
    found.extend(suspects.clock_ahead.map(wrong_clock));
    found.extend(suspects.zones.as_ref().filter(|zones| zones.is_older_than_bundled()).map(old_zones));
    found.sort_by(|a, b| (a.urgency, a.kind, &a.blame.platform).cmp(&(b.urgency, b.kind, &b.blame.platform)));
    found
}

/// Hosts that refresh no token. It is urgent where no other host does.
fn strangers(hosts: &[HostFigures], now: DateTime<Utc>) -> Vec<Recommendation> {
    let live: Vec<&HostFigures> = hosts.iter().filter(|host| now - host.seen_at <= HOST_LOST_AFTER).collect();
    let urgency = if live.iter().any(|host| host.refreshes_tokens) { Urgency::Warning } else { Urgency::Urgent };
    let strangers = live.into_iter().filter(|host| !host.refreshes_tokens);
    let told = strangers.map(|host| Recommendation {
        kind: Kind::TokensNotRefreshed,
        urgency,
        sentence: format!(
            "host {} does not belong to the database's installation and refreshes no token; unless the database is a \
             copy, let it join there",
            host.name
        ),
        remedy: "backline installation join".to_owned(),
        blame: Blame { host: Some(host.name.clone()), ..Blame::default() },
    });
    told.collect()
}

/// Countries change their clocks at short notice, and old rules put numbers under the wrong day.
fn old_zones(zones: &ZoneData) -> Recommendation {
    Recommendation {
        kind: Kind::TimeZonesOld,
        urgency: Urgency::Notice,
        sentence: format!("{zones}: update the system's package tzdata, or set timezones.folder"),
        remedy: "backline config show".to_owned(),
        blame: Blame::default(),
    }
}

/// The copy in the binary may have older rules.
fn zone_from_copy(ZoneFault { name, problem }: &ZoneFault) -> Recommendation {
    let sentence = match name {
        Some(name) => format!(
            "the file of the time zone {name} can't be read ({problem}), so the copy in this binary is used for it; \
             install the system's package tzdata again"
        ),
        None => format!(
            "time zones can't be read any more ({problem}), so the copy in this binary is used for each that was not \
             read before; install the system's package tzdata again, or set timezones.folder"
        ),
    };
    Recommendation {
        kind: Kind::TimeZoneUnreadable,
        urgency: Urgency::Warning,
        sentence,
        remedy: "backline config show".to_owned(),
        blame: Blame::default(),
    }
}

/// A clock that jumped: what depends on ages must wait.
fn wrong_clock(ahead: TimeDelta) -> Recommendation {
    let minutes = (ahead.num_seconds().abs() + 30) / 60;
    let by = match minutes {
        0..120 => format!("{minutes} minutes"),
        120..2880 => format!("{} hours", minutes / 60),
        _ => format!("{} days", minutes / 1440),
    };
    let which = if ahead < TimeDelta::zero() { "behind" } else { "ahead of" };
    Recommendation {
        kind: Kind::ClockDiffers,
        urgency: Urgency::Urgent,
        sentence: format!(
            "the clock of the process that reports is {by} {which} the one it is compared with: nothing is deleted \
             because of its age until they agree; set the machine's clock by NTP"
        ),
        remedy: "backline hosts".to_owned(),
        blame: Blame::default(),
    }
}

/// Rows that can't be read, counted and named by table. `others` are counted only.
fn left_out(rows: &[UnreadableRow], others: &BTreeMap<String, u64>) -> Vec<Recommendation> {
    let mut tables: BTreeMap<&str, Vec<&UnreadableRow>> = BTreeMap::new();
    for row in rows {
        tables.entry(&row.table).or_default().push(row);
    }
    let told = tables.into_iter().map(|(table, rows)| {
        let named = rows.iter().take(NAMED_MAX);
        let names: Vec<_> = named.map(|row| format!("{} ({}: {})", row.name, row.column, row.problem)).collect();
        let count = rows.len() as u64 + others.get(table).copied().unwrap_or_default();
        let more = if count > NAMED_MAX as u64 { " and others" } else { "" };
        let how_many = if count == 1 { "1 row".to_owned() } else { format!("{count} rows") };
        let remedy = match table {
            "schedules" => "backline schedules list",
            "releases" => "backline plugins list",
            "webhooks" => "backline webhooks list",
            "credentials" => "backline credentials list",
            "artists" => "backline artists list",
            _ => "backline health --json",
        };
        Recommendation {
            kind: Kind::RowsUnreadable,
            urgency: Urgency::Warning,
            sentence: format!(
                "{how_many} of {table} can't be read and count for nothing until corrected or removed: {}{more}",
                names.join(", ")
            ),
            remedy: remedy.to_owned(),
            blame: Blame::default(),
        }
    });
    told.collect()
}

/// The three recommendations about all platforms that are not optional.
fn in_total(report: &HealthReport) -> Vec<Recommendation> {
    let mut found = Vec::new();
    let total = &report.total;
    let mut add = |kind, urgency, sentence: String, remedy: &str| {
        found.push(Recommendation { kind, urgency, sentence, remedy: remedy.to_owned(), blame: Blame::default() });
    };
    if let Some(completion) = total.completion {
        let shown = percent(completion);
        if completion < COMPLETION_URGENT {
            let sentence = format!("URGENT: more than half of data collections are failing ({shown} were collected)");
            add(Kind::MostlyFailing, Urgency::Urgent, sentence, "backline runs list");
        } else if completion < COMPLETION_LOW {
            let sentence = format!("collection completion rate is low ({shown}); check API tokens");
            add(Kind::CompletionLow, Urgency::Warning, sentence, "backline credentials list");
        }
    }
    if let Some(errors) = total.error_rate.filter(|errors| *errors > ERROR_RATE_HIGH) {
        let sentence = format!("high error rate ({}); review what failed, and API limits", percent(errors));
        add(Kind::ErrorRateHigh, Urgency::Warning, sentence, "backline runs list");
    }
    found
}

/// Whether a release's code has been failing since it was activated, and the release before did not.
fn is_failing(release: &ReleaseFigures, now: DateTime<Utc>) -> bool {
    let rate = |tally: &Tally| super::share(blamed(tally), tally.accounts).unwrap_or_default();
    let since = rate(&release.since);
    let before = release.before.as_ref().map_or(0.0, rate);
    now - release.activated_at <= SUSPECTED_FOR
        && blamed(&release.since) >= BLAMED_MIN
        && since > ERROR_RATE_HIGH
        && before < since / 2.0
}

fn blamed(tally: &Tally) -> u64 {
    OF_THE_CODE.iter().filter_map(|class| tally.failed.get(class)).sum()
}

fn release_failing(release: &ReleaseFigures) -> Recommendation {
    let ReleaseFigures { platform, name, version, activated_at, since, before, .. } = release;
    let worst = OF_THE_CODE.iter().filter_map(|class| Some((*class, *since.failed.get(class)?)));
    let worst = worst.max_by_key(|(_, accounts)| *accounts).map_or("failed", |(class, _)| class.as_str());
    let (remedy, hint) = match before {
        Some(_) => (format!("backline plugins rollback {platform}"), "the release before did not"),
        None => (format!("backline plugins test {name}"), "it is the first one"),
    };
    Recommendation {
        kind: Kind::ReleaseFailing,
        urgency: Urgency::Urgent,
        sentence: format!(
            "{platform} {version} has been failing since it was activated at {}: {} of {} accounts, mostly '{worst}'; \
             {hint}",
            time(*activated_at),
            blamed(since),
            since.accounts
        ),
        remedy,
        blame: Blame { platform: Some(platform.clone()), release: Some(version.clone()), ..Blame::default() },
    }
}

fn of_platform(
    platform: &Platform,
    counted: &PlatformFigures,
    release_is_to_blame: bool,
    suspects: &Suspects,
) -> Vec<Recommendation> {
    let mut found = Vec::new();
    let urgency = |urgency: Urgency| if counted.optional { Urgency::Notice } else { urgency };
    let blame = Blame { platform: Some(platform.clone()), ..Blame::default() };
    let failed: u64 = counted.failed.values().sum();
    let planned = counted.collected + failed + counted.due + counted.overdue;
    let away: u64 = AWAY.iter().filter_map(|class| counted.failed.get(class)).sum();
    let is_most = super::share(away, planned).is_some_and(|share| share > MOST);
    let is_down = is_most && !release_is_to_blame;
    if is_down {
        found.push(Recommendation {
            kind: Kind::PlatformDown,
            urgency: urgency(Urgency::Urgent),
            sentence: format!(
                "{platform} is down or refuses: {away} of {planned} accounts could not be collected; \
                 retry them once it answers"
            ),
            remedy: format!("backline batches retry --platform {platform}"),
            blame: blame.clone(),
        });
    }
    let missing = failed_as(counted, Kind::CredentialDead);
    if missing > 0 {
        found.push(Recommendation {
            kind: Kind::CredentialDead,
            urgency: urgency(Urgency::Urgent),
            sentence: format!("{platform} lacks a usable credential: {} could not be collected", accounts(missing)),
            remedy: format!("backline credentials list --platform {platform}"),
            blame: Blame { credential: Some(platform.to_string()), ..blame.clone() },
        });
    }
    let told_already: &[FailureClass] = if release_is_to_blame {
        &OF_THE_CODE
    } else if is_down {
        &AWAY
    } else {
        &[]
    };
    found.extend(of_failures(platform, counted, planned, told_already, suspects));
    if counted.eligible > 0 && !counted.has_release {
        found.push(Recommendation {
            kind: Kind::NoRelease,
            urgency: Urgency::Warning,
            sentence: format!("{platform} has {} and no active release", accounts(counted.eligible)),
            remedy: "backline plugins list".to_owned(),
            blame: blame.clone(),
        });
    }
    if counted.reconnect > 0 {
        let first: Vec<_> =
            suspects.reconnect.iter().filter(|account| account.platform == *platform).cloned().collect();
        let names: Vec<&str> = first.iter().map(|account| account.artist.as_str()).collect();
        let more = if counted.reconnect > names.len() as u64 { " and others" } else { "" };
        found.push(Recommendation {
            kind: Kind::Reconnect,
            urgency: urgency(Urgency::Warning),
            sentence: format!(
                "{} of {platform} must be reconnected by their artists: {}{more}",
                accounts(counted.reconnect),
                names.join(", ")
            ),
            remedy: format!("backline accounts attention --platform {platform}"),
            blame: Blame { accounts: first, ..blame.clone() },
        });
    }
    let overdue = counted.due + counted.overdue;
    if overdue > 0 {
        found.push(Recommendation {
            kind: Kind::Overdue,
            urgency: urgency(Urgency::Warning),
            sentence: format!(
                "{} of {platform} should have been collected by now: check that a host runs and has capacity",
                accounts(overdue)
            ),
            remedy: format!("backline batches list --platform {platform}"),
            blame: blame.clone(),
        });
    }
    let pause = suspects.pauses.iter().find(|pause| pause.platform == *platform);
    if let Some(pause) = pause {
        let whose = match pause.credentials {
            0 => String::new(),
            1 => " of one credential".to_owned(),
            number => format!(" of {number} credentials"),
        };
        found.push(Recommendation {
            kind: Kind::PlatformPaused,
            urgency: Urgency::Notice,
            sentence: format!(
                "{platform} asked for a pause{whose} until {}: {} wait",
                time(pause.until),
                accounts(counted.deferred)
            ),
            remedy: "backline pauses list".to_owned(),
            blame: blame.clone(),
        });
    }
    if counted.deferred > 0 && pause.is_none() {
        // A budget that the connector does not declare is one that the platform enforces by itself; it gets the
        // platform's name.
        let release = suspects.releases.iter().find(|release| release.platform == *platform);
        let budgets = release.map(|release| release.spent.join(" or ")).unwrap_or_default();
        let budget = format!("{platform} {budgets}").trim().to_owned();
        let until = counted.deferred_until.map(time).unwrap_or_default();
        found.push(Recommendation {
            kind: Kind::BudgetSpent,
            urgency: Urgency::Notice,
            sentence: format!("the budget {budget} is spent: {} wait until {until}", accounts(counted.deferred)),
            remedy: format!("backline batches list --platform {platform} --state deferred"),
            blame: Blame { budget: Some(budget), ..blame.clone() },
        });
    }
    // A platform that is down has been reported already.
    if counted.dead > 0 && !is_down {
        found.push(Recommendation {
            kind: Kind::BatchesDead,
            urgency: urgency(Urgency::Warning),
            sentence: format!("{} of {platform} used up all attempts and wait to be retried", accounts(counted.dead)),
            remedy: format!("backline batches retry --platform {platform}"),
            blame: blame.clone(),
        });
    }
    if counted.held > 0 {
        found.push(Recommendation {
            kind: Kind::QuarantineHeld,
            urgency: Urgency::Notice,
            sentence: format!("{} of {platform} withheld by validation: release or discard each", values(counted.held)),
            remedy: format!("backline quarantine list --platform {platform}"),
            blame: blame.clone(),
        });
    }
    if counted.without_consent > 0 {
        found.push(Recommendation {
            kind: Kind::NoConsent,
            urgency: Urgency::Notice,
            sentence: format!(
                "{} of {platform} not collected: their active artists have not consented",
                accounts(counted.without_consent)
            ),
            remedy: "backline artists list".to_owned(),
            blame,
        });
    }
    found
}

/// Failures that lie in single accounts, in permissions, in the configuration, or in the connector. `told_already`:
/// those that another recommendation of the platform has told of.
fn of_failures(
    platform: &Platform,
    counted: &PlatformFigures,
    planned: u64,
    told_already: &[FailureClass],
    suspects: &Suspects,
) -> Vec<Recommendation> {
    let mut found = Vec::new();
    let mut add = |kind, urgency, sentence, remedy| {
        let urgency = if counted.optional { Urgency::Notice } else { urgency };
        let blame = Blame { platform: Some(platform.clone()), ..Blame::default() };
        found.push(Recommendation { kind, urgency, sentence, remedy, blame });
    };
    let attention = || format!("backline accounts attention --platform {platform}");
    let runs = || "backline runs list".to_owned();
    let left_out = |reason: Exclusion| counted.excluded.get(&reason).copied().unwrap_or_default();

    let misconfigured = failed_as(counted, Kind::Misconfigured);
    if misconfigured > 0 {
        let sentence = format!(
            "{} of {platform} failed because of the configuration: correct the credential or the setting that the runs \
             name",
            accounts(misconfigured)
        );
        add(Kind::Misconfigured, Urgency::Urgent, sentence, runs());
    }
    // After some days an account is left out, and is listed with what to do about it.
    let unknown = left_out(Exclusion::NotFound);
    let not_found = failed_as(counted, Kind::AccountsNotFound) + unknown;
    if not_found > 0 {
        let sentence = format!(
            "{platform} does not know {}: add the right ids, and remove those that were added by mistake",
            accounts(not_found)
        );
        add(Kind::AccountsNotFound, Urgency::Warning, sentence, if unknown > 0 { attention() } else { runs() });
    }
    let forbidden = failed_as(counted, Kind::AccountsForbidden);
    if forbidden > 0 {
        let sentence = format!(
            "{platform} refuses {} for lack of permissions: check the scopes and the plan of the app, and let artists \
             connect again who did not grant all of them",
            accounts(forbidden)
        );
        add(Kind::AccountsForbidden, Urgency::Warning, sentence, runs());
    }
    let killed = left_out(Exclusion::HostKilled);
    if killed > 0 {
        let sentence = format!(
            "hosts ended while they collected {} of {platform} and nothing else: look at the hosts' logs and memory, \
             then let what is left out in again",
            accounts(killed)
        );
        add(Kind::AccountsHostKilled, Urgency::Warning, sentence, attention());
    }
    let of_code = counted.failed.iter().filter(|(class, accounts)| {
        told_by(**class) == Kind::ConnectorFailing && !told_already.contains(class) && **accounts > 0
    });
    let of_code: Vec<(&FailureClass, &u64)> = of_code.collect();
    if let Some((worst, _)) = of_code.iter().max_by_key(|(_, accounts)| *accounts) {
        let number: u64 = of_code.iter().map(|(_, accounts)| *accounts).sum();
        let is_high = super::share(number, planned).is_some_and(|share| share > ERROR_RATE_HIGH);
        let sentence = format!(
            "{} of {platform} failed in its connector, mostly '{}': test it, and look for a newer release",
            accounts(number),
            worst.as_str()
        );
        let release = suspects.releases.iter().find(|release| release.platform == *platform);
        let test = |release: &ReleaseFigures| format!("backline plugins test {}", release.name);
        let remedy = release.map_or_else(|| "backline plugins list".to_owned(), test);
        add(Kind::ConnectorFailing, if is_high { Urgency::Warning } else { Urgency::Notice }, sentence, remedy);
    }
    found
}

/// Nothing was planned although accounts are eligible.
fn nothing_planned(report: &HealthReport, figures: &Figures, suspects: &Suspects) -> Option<Recommendation> {
    // Where schedules are rarer than the window, a day without a plan is as it should be.
    let awaited = figures.platforms.values().filter(|counted| !counted.not_due);
    let eligible: u64 = awaited.map(|counted| counted.eligible).sum();
    let is_idle = report.platforms.iter().all(|platform| {
        let health = &platform.health;
        health.planned + health.under_way + health.deferred == 0
    });
    if eligible == 0 || !is_idle {
        return None;
    }
    let (why, remedy) = if suspects.schedules == 0 {
        ("no schedule is on", "backline schedules list")
    } else if figures.hosts.is_empty() {
        ("no host runs that would plan a run; start `backline serve`", "backline hosts")
    } else {
        ("check what was decided about each scheduled time", "backline schedules fires")
    };
    Some(Recommendation {
        kind: Kind::NothingPlanned,
        urgency: Urgency::Urgent,
        sentence: format!("nothing was planned although {} to be collected: {why}", are(eligible)),
        remedy: remedy.to_owned(),
        blame: Blame::default(),
    })
}

/// Accounts with dead tokens are already counted by platform, as accounts to reconnect.
fn credential(found: &CredentialFigures) -> Option<Recommendation> {
    let CredentialFigures { platform, slot, of_account, number, expires_at } = found;
    let blame =
        Blame { platform: Some(platform.clone()), credential: Some(format!("{platform} {slot}")), ..Blame::default() };
    match expires_at {
        None if *of_account => None,
        None => Some(Recommendation {
            kind: Kind::CredentialDead,
            urgency: Urgency::Urgent,
            sentence: format!(
                "{platform} permanently refuses the operator's credential {platform} {slot}; set a new one"
            ),
            remedy: format!("backline credentials set {platform} {slot}"),
            blame,
        }),
        Some(at) => {
            let whose = match (*of_account, *number) {
                (false, _) => "the operator's credential".to_owned(),
                (true, 1) => "an account's credential".to_owned(),
                (true, number) => format!("{number} accounts' credentials, the first"),
            };
            Some(Recommendation {
                kind: Kind::CredentialExpiring,
                urgency: Urgency::Notice,
                sentence: format!(
                    "{whose}, {platform} {slot}, expires at {} and is not renewed automatically",
                    time(*at)
                ),
                remedy: format!("backline credentials list --platform {platform}"),
                blame,
            })
        }
    }
}

fn undelivered(found: &WebhookFigures) -> Recommendation {
    let WebhookFigures { name, parked, disabled_reason } = found;
    let (sentence, remedy) = match disabled_reason {
        Some(reason) => (
            format!(
                "webhook {name} was switched off: {reason}; once it is on again, it receives the events since then \
                 that are still stored"
            ),
            format!("backline webhooks enable {name}"),
        ),
        None => {
            let events = if *parked == 1 { "1 event".to_owned() } else { format!("{parked} events") };
            (
                format!("webhook {name} did not get {events}, which were tried for as long as is tried"),
                format!("backline webhooks resend {name} --parked"),
            )
        }
    };
    Recommendation {
        kind: Kind::EventsUndelivered,
        urgency: Urgency::Warning,
        sentence,
        remedy,
        blame: Blame { webhook: Some(name.clone()), ..Blame::default() },
    }
}

fn time(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Secs, true)
}

fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

fn accounts(number: u64) -> String {
    if number == 1 { "1 account".to_owned() } else { format!("{number} accounts") }
}

fn are(number: u64) -> String {
    if number == 1 { "1 account is".to_owned() } else { format!("{number} accounts are") }
}

fn values(number: u64) -> String {
    if number == 1 { "1 value".to_owned() } else { format!("{number} values") }
}
