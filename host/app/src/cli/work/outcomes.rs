//! The accounts of a run as `runs show` lists them: by platform and by how they ended, what needs a person first.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use crate::cli::terminal::exit::Failure;
use crate::cli::terminal::print::{self, Tone};
use backline_model::outcome::Exclusion;
use backline_model::{Outcome, Platform};
use backline_store::NamedOutcome;

/// Most accounts of a group that are named, unless all are asked for.
const NAMED_MAX: usize = 10;

/// Columns of an account's outcome, below what is the same for its group.
pub(in crate::cli) const HEADERS: [&str; 4] = ["artist", "platform id", "?date", "message"];

/// Who has to do something about an outcome; the most urgent first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Concern {
    /// A person: it ends in the same way next time.
    Person,
    /// No one at once: it failed in a way that may pass.
    Time,
    /// No one: it is deferred and taken up again.
    Waits,
    /// No one: it was left out, or is superseded.
    LeftOut,
    /// No one: a later run collected it.
    Fixed,
    /// No one: it was collected.
    Collected,
}

impl Concern {
    fn of(one: &NamedOutcome) -> Self {
        if one.fixed_by.is_some() {
            return Self::Fixed;
        }
        match &one.outcome {
            Outcome::Failed { class, .. } if class.is_retryable() => Self::Time,
            Outcome::Failed { .. } => Self::Person,
            Outcome::Deferred { .. } => Self::Waits,
            Outcome::Superseded => Self::LeftOut,
            Outcome::Collected => Self::Collected,
            Outcome::Excluded { reason } => match reason {
                Exclusion::ReconnectNeeded
                | Exclusion::NoConnector
                | Exclusion::Unreadable
                | Exclusion::HostKilled
                | Exclusion::NotFound => Self::Person,
                Exclusion::NotSubscribed
                | Exclusion::CollectionDisabled
                | Exclusion::NoConsent
                | Exclusion::AccountDisabled
                | Exclusion::Cancelled
                | Exclusion::DateNotServed => Self::LeftOut,
            },
        }
    }

    fn tone(self) -> Tone {
        match self {
            Self::Person => Tone::Bad,
            Self::Time | Self::Waits => Tone::Warning,
            Self::LeftOut | Self::Fixed | Self::Collected => Tone::Strong,
        }
    }
}

/// Accounts of one platform that ended in one way.
struct Group<'a> {
    platform: &'a Platform,
    concern: Concern,
    /// How they ended, as `run` says it: `failed: reconnect`.
    ended: String,
    /// By artist.
    accounts: Vec<&'a NamedOutcome>,
}

impl Group<'_> {
    fn heading(&self) -> String {
        format!("{}: {} {}", self.platform, print::count(self.accounts.len() as u64, "account"), self.ended)
    }

    /// The accounts to name, and how many more there are.
    fn named(&self, all: bool) -> (Vec<Vec<String>>, usize) {
        let shown = if all { self.accounts.len() } else { self.accounts.len().min(NAMED_MAX) };
        (self.accounts[..shown].iter().map(|account| cells(account)).collect(), self.accounts.len() - shown)
    }
}

/// Prints how accounts ended, each of them or the first of each group.
pub(super) fn show(outcomes: &[NamedOutcome], all: bool) -> Result<(), Failure> {
    let groups = grouped(outcomes);
    let for_person = groups.iter().filter(|group| group.concern == Concern::Person);
    let accounts: usize = for_person.map(|group| group.accounts.len()).sum();
    if accounts > 0 {
        let need = if accounts == 1 { "needs" } else { "need" };
        print::line(&format!(
            "\n{} {need} a person; `backline accounts attention` and `backline health` say what to do",
            print::count(accounts as u64, "account")
        ))?;
    }
    for group in &groups {
        print::line("")?;
        print::toned(group.concern.tone(), &group.heading())?;
        let (rows, more) = group.named(all);
        print::table(&HEADERS, rows)?;
        if more > 0 {
            print::line(&format!(" and {more} more; --all names them"))?;
        }
    }
    Ok(())
}

/// The groups in order: platforms with something for a person first, and of each what needs one first.
fn grouped(outcomes: &[NamedOutcome]) -> Vec<Group<'_>> {
    let mut found: BTreeMap<(&Platform, Concern, String), Vec<&NamedOutcome>> = BTreeMap::new();
    for one in outcomes {
        let key = (&one.platform, Concern::of(one), ended(one));
        found.entry(key).or_default().push(one);
    }
    let mut first: BTreeMap<&Platform, Concern> = BTreeMap::new();
    for (platform, concern, _) in found.keys() {
        // They come in order, the most urgent of a platform first.
        first.entry(*platform).or_insert(*concern);
    }
    let mut groups: Vec<Group<'_>> = Vec::with_capacity(found.len());
    for ((platform, concern, ended), mut accounts) in found {
        accounts.sort_by(|a, b| (&a.artist_name, &a.platform_id).cmp(&(&b.artist_name, &b.platform_id)));
        groups.push(Group { platform, concern, ended, accounts });
    }
    groups.sort_by_key(|group| {
        (first.get(group.platform).copied(), group.platform, group.concern, Reverse(group.accounts.len()))
    });
    groups
}

fn ended(one: &NamedOutcome) -> String {
    let ended = match &one.outcome {
        Outcome::Failed { class, .. } => format!("failed: {}", class.as_str()),
        Outcome::Excluded { reason } => format!("left out: {}", reason.as_str()),
        Outcome::Collected | Outcome::Deferred { .. } | Outcome::Superseded => one.outcome.as_str().to_owned(),
    };
    if one.fixed_by.is_some() { format!("{ended}, and collected since") } else { ended }
}

fn cells(one: &NamedOutcome) -> Vec<String> {
    let message = match &one.outcome {
        Outcome::Failed { message, .. } => message.clone(),
        Outcome::Deferred { until, message } => format!("until {}: {message}", print::time(*until)),
        Outcome::Collected | Outcome::Superseded | Outcome::Excluded { .. } => one.note.clone().unwrap_or_default(),
    };
    vec![one.artist_name.clone(), one.platform_id.clone(), one.metric_date.to_string(), message]
}

#[cfg(test)]
mod tests {
    use backline_model::fixtures::day;
    use backline_model::{AccountId, ArtistId, FailureClass};
    use uuid::Uuid;

    use super::*;

    fn one(n: u128, platform: &str, outcome: Outcome) -> NamedOutcome {
        NamedOutcome {
            account_id: AccountId(Uuid::from_u128(n)),
            artist_id: ArtistId(Uuid::from_u128(n)),
            // The last one comes first by name.
            artist_name: format!("artist {}", 99 - n),
            platform: Platform::new(platform).expect("a name"),
            platform_id: format!("id-{n}"),
            metric_date: day("2026-11-22"),
            outcome,
            attempts: 1,
            at: "2026-11-22T12:00:00Z".parse().expect("a time"),
            note: None,
            fixed_by: None,
        }
    }

    fn failed(class: FailureClass) -> Outcome {
        Outcome::Failed { class, message: "it says why".to_owned() }
    }

    #[test]
    fn what_needs_a_person_comes_first_and_each_platform_is_together() {
        let until = "2026-11-23T00:00:00Z".parse().expect("a time");
        let deferred = || Outcome::Deferred { until, message: "the budget is spent".to_owned() };
        let outcomes = [
            one(1, "alpha", Outcome::Collected),
            one(2, "alpha", deferred()),
            one(3, "beta", failed(FailureClass::Unavailable)),
            one(4, "beta", failed(FailureClass::Reconnect)),
            one(5, "beta", failed(FailureClass::NotFound)),
            one(6, "beta", failed(FailureClass::NotFound)),
            one(7, "beta", Outcome::Excluded { reason: Exclusion::NoConsent }),
            one(8, "beta", Outcome::Excluded { reason: Exclusion::NoConnector }),
        ];
        let mut fixed = one(9, "beta", failed(FailureClass::Reconnect));
        fixed.fixed_by = Some(backline_model::RunId(Uuid::from_u128(1)));
        let outcomes: Vec<NamedOutcome> = outcomes.into_iter().chain([fixed]).collect();
        let groups = grouped(&outcomes);
        let headings: Vec<String> = groups.iter().map(Group::heading).collect();
        assert_eq!(
            headings,
            [
                "beta: 2 accounts failed: not_found",
                "beta: 1 account failed: reconnect",
                "beta: 1 account left out: no_connector",
                "beta: 1 account failed: unavailable",
                "beta: 1 account left out: no_consent",
                "beta: 1 account failed: reconnect, and collected since",
                "alpha: 1 account deferred",
                "alpha: 1 account collected",
            ]
        );
        let (rows, more) = groups[0].named(false);
        assert_eq!(rows[0], ["artist 93", "id-6", "2026-11-22", "it says why"], "by artist");
        assert_eq!((rows.len(), more), (2, 0));
        let (rows, _) = groups[6].named(false);
        assert_eq!(rows[0][3], "until 2026-11-23 00:00:00Z: the budget is spent");
    }

    #[test]
    fn a_long_group_is_cut_unless_all_are_asked_for() {
        let outcomes: Vec<NamedOutcome> = (1..=12).map(|n| one(n, "alpha", failed(FailureClass::Trapped))).collect();
        let groups = grouped(&outcomes);
        assert_eq!(groups.len(), 1);
        let counts = |all| {
            let (rows, more) = groups[0].named(all);
            (rows.len(), more)
        };
        assert_eq!(counts(false), (10, 2));
        assert_eq!(counts(true), (12, 0));
    }
}
