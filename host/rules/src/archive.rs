//! Retention: how long data is kept. Rules are data, and a plan follows from them. Pure: the current time is an
//! argument.
//!
//! Rules come in three layers: built-in rules, each connector's policy, and the operator's rules. Every rule selects
//! what is past its age, so of two that match, the shorter one wins. Only an operator's rule with a reason replaces the
//! rules that it overrules. That is the only way to keep anything longer.
//! one way to keep anything longer.
//!
//! A number's age is counted from its `metric_date` to the current date in the artist's zone. Policies count from the
//! time of observation, since a platform that asks for deletion "unless refreshed" does not care which date a number is
//! for.

use std::collections::BTreeMap;
use std::fmt;

use chrono::{DateTime, Days, Months, NaiveDate, NaiveTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use backline_model::manifest::Policy;
use backline_model::retention::{Action, Before, LocalDay, RetainedTable, RetentionStep, RowFilter};
use backline_model::{Platform, Tenant, Zone};

/// Fewest days for which metrics stay in `metrics`: a late number is compared with 400 days before it, and growth with
/// 90 more.
const METRICS_DAYS_MIN: u32 = 490;

/// Fewest days of a month.
const MONTH_DAYS_MIN: u32 = 28;

/// Fewest days for which runs are kept: the cost of requests is estimated from the last 30 days of their batches.
const RUN_DAYS_MIN: u32 = 40;

/// UTC offset of the zone in which a date begins last.
const LAST_ZONE: TimeDelta = TimeDelta::hours(-12);

/// The earliest date that is used in a comparison: databases write dates before it in different ways.
const EARLIEST: NaiveDate = NaiveDate::from_ymd_opt(1, 1, 1).expect("a date");

/// What a rule is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// Metrics. If they are deleted, this includes archived ones. Their growth is deleted with them.
    Metrics,
    /// Documents: the JSON that platforms sent.
    Documents,
    /// Growth: how metrics changed.
    Growth,
    /// Values that validation withheld, decided or not.
    Quarantine,
    /// Events in the outbox that no delivery waits for.
    Events,
    /// The outcome of each account in each run.
    Outcomes,
    /// Log lines of connectors.
    Logs,
    /// Finished runs with their batches.
    Runs,
    /// Counts of what batches said about their releases.
    Tallies,
    /// What was decided about schedules' times.
    Fires,
}

/// How long something is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Age {
    /// Calendar months, clamped to the last day of a shorter month.
    Months(u32),
    /// A number of days.
    Days(u32),
}

impl fmt::Display for Age {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Months(months) => write!(f, "{months} months"),
            Self::Days(days) => write!(f, "{days} days"),
        }
    }
}

/// When archiving runs, and the operator's own rules.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ArchiveConfig {
    /// Whether `backline serve` archives.
    pub enabled: bool,
    /// When it runs, as five fields of crontab(5).
    pub schedule: String,
    /// Time zone of the fields.
    pub timezone: Zone,
    /// Most rows that one transaction moves or deletes.
    pub rows_per_transaction: u32,
    /// The operator's rules.
    pub rules: Vec<ArchiveRule>,
}

impl Default for ArchiveConfig {
    /// Sundays at four, UTC: two hours after the nightly run.
    fn default() -> Self {
        Self {
            enabled: true,
            schedule: "0 4 * * 0".to_owned(),
            timezone: Zone::utc(),
            rows_per_transaction: 5_000,
            rules: Vec::new(),
        }
    }
}

/// A rule of the operator. Exactly one of `months` and `days` is given.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ArchiveRule {
    /// Kind of data that the rule is about.
    pub what: What,
    /// What happens to it. The default is to archive metrics and to delete everything else.
    #[serde(default)]
    pub action: Option<Action>,
    /// Only on this platform.
    #[serde(default)]
    pub platform: Option<Platform>,
    /// Only of this tenant's artists.
    #[serde(default)]
    pub tenant: Option<Tenant>,
    /// Number of months for which the data is kept.
    #[serde(default)]
    pub months: Option<u32>,
    /// Number of days for which the data is kept.
    #[serde(default)]
    pub days: Option<u32>,
    /// Why this rule replaces built-in rules and a platform's policy, instead of being added to them.
    #[serde(default)]
    pub reason: Option<String>,
}

impl ArchiveConfig {
    /// Checks the values. The schedule's pattern is checked in [`crate::schedule`].
    ///
    /// # Errors
    /// The key, and what is wrong with it.
    pub fn check(&self) -> Result<(), (String, String)> {
        if !(1..=100_000).contains(&self.rows_per_transaction) {
            let problem = format!("{} is not between 1 and 100000", self.rows_per_transaction);
            return Err(("archive.rows_per_transaction".to_owned(), problem));
        }
        for (index, rule) in self.rules.iter().enumerate() {
            rule.check().map_err(|problem| ("archive.rules".to_owned(), format!("rule {}: {problem}", index + 1)))?;
        }
        Ok(())
    }
}

impl ArchiveRule {
    fn check(&self) -> Result<(), String> {
        let age = match (self.months, self.days) {
            (Some(months), None) if months > 0 => Age::Months(months),
            (None, Some(days)) if days > 0 => Age::Days(days),
            _ => return Err("set either months or days, to 1 or more".to_owned()),
        };
        if self.action == Some(Action::Archive) && self.what != What::Metrics {
            return Err("only metrics can be archived; leave action out, or write \"delete\"".to_owned());
        }
        let days = match age {
            Age::Months(months) => months.saturating_mul(MONTH_DAYS_MIN),
            Age::Days(days) => days,
        };
        if self.what == What::Metrics && self.action() == Action::Archive && days < METRICS_DAYS_MIN {
            return Err(format!(
                "numbers are compared with those of more than a year before, but not with archived ones; keep them \
                 {METRICS_DAYS_MIN} days (18 months) or more, or delete them"
            ));
        }
        if !self.what.is_dated() && (self.platform.is_some() || self.tenant.is_some()) {
            return Err("platform and tenant can only be set for metrics, documents, growth and quarantine".to_owned());
        }
        if self.what == What::Runs && matches!(age, Age::Days(days) if days < RUN_DAYS_MIN) {
            return Err(format!(
                "the cost of requests is estimated from runs; keep them for {RUN_DAYS_MIN} days or more"
            ));
        }
        if self.reason.as_ref().is_some_and(|reason| reason.trim().is_empty()) {
            return Err("the reason is empty; write one, or leave it out".to_owned());
        }
        Ok(())
    }

    fn age(&self) -> Age {
        self.months.map_or_else(|| Age::Days(self.days.unwrap_or(u32::MAX)), Age::Months)
    }

    fn action(&self) -> Action {
        self.action.unwrap_or(if self.what == What::Metrics { Action::Archive } else { Action::Delete })
    }
}

impl What {
    /// Whether its rows have a date in an account's time zone.
    fn is_dated(self) -> bool {
        matches!(self, Self::Metrics | Self::Documents | Self::Growth | Self::Quarantine)
    }

    /// Tables that an action is applied to.
    fn tables(self, action: Action) -> &'static [RetainedTable] {
        match (self, action) {
            (Self::Metrics, Action::Archive) => &[RetainedTable::Metrics],
            (Self::Metrics, Action::Delete) => &[RetainedTable::Metrics, RetainedTable::MetricsArchive],
            (Self::Documents, _) => &[RetainedTable::Documents],
            (Self::Growth, _) => &[RetainedTable::Growth, RetainedTable::GrowthArchive],
            (Self::Quarantine, _) => &[RetainedTable::Quarantine],
            (Self::Events, _) => &[RetainedTable::Events],
            (Self::Outcomes, _) => &[RetainedTable::CollectionOutcomes],
            (Self::Logs, _) => &[RetainedTable::PluginLogs],
            (Self::Runs, _) => &[RetainedTable::Batches, RetainedTable::Runs],
            (Self::Tallies, _) => &[RetainedTable::ReleaseBatches],
            (Self::Fires, _) => &[RetainedTable::ScheduleFires],
        }
    }
}

/// Origin of a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Layer {
    /// Built into Backline.
    BuiltIn,
    /// The policy of a platform's connector, as it was granted.
    Policy,
    /// The operator's configuration.
    Operator,
}

/// A rule of any layer.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LayerRule {
    /// Origin of the rule.
    pub layer: Layer,
    /// Kind of data that the rule is about.
    pub what: What,
    /// What happens to rows past their age.
    pub action: Action,
    /// Platform and tenant that the rule is restricted to.
    pub scope: RowFilter,
    /// Age from which the rule selects rows.
    pub age: Age,
    /// Whether accounts with their own credential are left out.
    pub unless_authorised: bool,
    /// Why the rule replaces others; `None` if it does not.
    pub reason: Option<String>,
}

impl fmt::Display for LayerRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.layer {
            Layer::BuiltIn => write!(f, "built in: {}", self.age)?,
            Layer::Policy => {
                write!(f, "policy of {}: {} unless refreshed", self.scope, self.age)?;
                if self.unless_authorised {
                    f.write_str(", of accounts without their own credential")?;
                }
            }
            Layer::Operator => write!(f, "archive.rules: {} for {}", self.age, self.scope)?,
        }
        self.reason.as_ref().map_or(Ok(()), |reason| write!(f, " ({reason})"))
    }
}

/// The built-in rules: what, action, age.
const BUILT_IN: [(What, Action, Age); 9] = [
    (What::Metrics, Action::Archive, Age::Months(24)),
    (What::Documents, Action::Delete, Age::Months(6)),
    (What::Quarantine, Action::Delete, Age::Months(24)),
    // A webhook is retried for a day at most. A month gives readers of the event stream time to catch up.
    (What::Events, Action::Delete, Age::Days(30)),
    // A year of operating, with a month to compare it with the year before.
    (What::Outcomes, Action::Delete, Age::Days(400)),
    (What::Runs, Action::Delete, Age::Days(400)),
    (What::Fires, Action::Delete, Age::Days(400)),
    // A release is judged within days.
    (What::Tallies, Action::Delete, Age::Days(90)),
    (What::Logs, Action::Delete, Age::Days(90)),
];

/// All rules, layer by layer.
#[must_use]
pub fn rules(config: &ArchiveConfig, policies: &[(Platform, Policy)]) -> Vec<LayerRule> {
    let rule = |layer, what, action, scope, age| LayerRule {
        layer,
        what,
        action,
        scope,
        age,
        unless_authorised: false,
        reason: None,
    };
    let mut rules: Vec<LayerRule> = BUILT_IN
        .into_iter()
        .map(|(what, action, age)| rule(Layer::BuiltIn, what, action, RowFilter::default(), age))
        .collect();
    for (platform, policy) in policies {
        let (exception, authorised) = (policy.unless_authorised, policy.authorised_days);
        let asked = [
            (What::Documents, policy.documents_days, exception),
            (What::Metrics, policy.metrics_days, exception),
            // Withheld values are the platform's data too.
            (What::Quarantine, policy.metrics_days, exception),
            // Those of accounts without a credential of their own are gone before: a manifest gives their days too.
            (What::Documents, authorised, false),
            (What::Metrics, authorised, false),
            (What::Quarantine, authorised, false),
        ];
        for (what, days, unless_authorised) in asked {
            let Some(days) = days else { continue };
            let scope = RowFilter { platform: Some(platform.clone()), tenant: None };
            rules.push(LayerRule {
                unless_authorised,
                ..rule(Layer::Policy, what, Action::Delete, scope, Age::Days(days))
            });
        }
    }
    rules.extend(config.rules.iter().map(|own| {
        let scope = RowFilter { platform: own.platform.clone(), tenant: own.tenant.clone() };
        LayerRule { reason: own.reason.clone(), ..rule(Layer::Operator, own.what, own.action(), scope, own.age()) }
    }));
    rules
}

/// A rule that has no effect, because another one does the same or more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PassedOver {
    /// Table that both rules are about.
    pub table: RetainedTable,
    /// Text of the rule without effect.
    pub rule: String,
    /// Text of the rule that wins.
    pub winner: String,
}

/// What to do at a given time.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Plan {
    /// Time that the plan was made for.
    pub now: DateTime<Utc>,
    /// Steps in order. Deletion comes before archiving, so that rows are not moved only to be deleted.
    pub steps: Vec<RetentionStep>,
    /// Rules that have no effect, each with the rule that wins.
    pub passed_over: Vec<PassedOver>,
}

/// The last date that is not past the age.
#[must_use]
pub fn cutoff(today: NaiveDate, age: Age) -> NaiveDate {
    match age {
        Age::Months(months) => today.checked_sub_months(Months::new(months)),
        Age::Days(days) => today.checked_sub_days(Days::new(days.into())),
    }
    .map_or(EARLIEST, |date| date.max(EARLIEST))
}

/// The current date in each of these zones. A zone that can't be parsed counts as the zone where a date begins last, so
/// that nothing is removed early.
fn local_dates(zones: &[String], now: DateTime<Utc>) -> BTreeMap<NaiveDate, Vec<String>> {
    let mut dates: BTreeMap<NaiveDate, Vec<String>> = BTreeMap::new();
    for zone in zones {
        let today = match zone.parse::<Zone>() {
            Ok(zone) => zone.date_at(now),
            Err(_) => last_date(now),
        };
        dates.entry(today).or_default().push(zone.clone());
    }
    dates
}

fn last_date(now: DateTime<Utc>) -> NaiveDate {
    (now + LAST_ZONE).date_naive()
}

/// Plans what to do at a given time. `zones` are the artists' time zones, each once.
#[must_use]
pub fn plan(rules: &[LayerRule], zones: &[String], now: DateTime<Utc>) -> Plan {
    let dates = local_dates(zones, now);
    let mut steps = Vec::new();
    for rule in rules {
        let except: Vec<RowFilter> = rules
            .iter()
            .filter(|other| overrules(other, rule))
            .map(|other| other.scope.clone())
            .filter(|scope| {
                rule.scope.platform.is_none() || scope.platform.is_none() || scope.platform == rule.scope.platform
            })
            .collect();
        let by_date = rule.what.is_dated() && rule.layer != Layer::Policy;
        let before = if by_date {
            let day = |(today, zones): (&NaiveDate, &Vec<String>)| LocalDay {
                today: *today,
                before: cutoff(*today, rule.age),
                zones: zones.clone(),
            };
            Before::Dates(dates.iter().map(day).collect())
        } else {
            Before::Time(cutoff(now.date_naive(), rule.age).and_time(NaiveTime::MIN).and_utc())
        };
        let is_for_all = by_date && rule.scope.is_everything() && except.is_empty();
        for table in rule.what.tables(rule.action) {
            steps.push(RetentionStep {
                table: *table,
                action: rule.action,
                scope: rule.scope.clone(),
                except: except.clone(),
                unless_authorised: rule.unless_authorised,
                before: before.clone(),
                everywhere_before: is_for_all.then(|| cutoff(last_date(now), rule.age)),
                daily: rule.layer == Layer::Policy || rule.what == What::Events,
                rule: rule.to_string(),
                rows: None,
            });
        }
    }
    let mut passed_over = Vec::new();
    let mut kept: Vec<RetentionStep> = Vec::new();
    for (index, step) in steps.iter().enumerate() {
        if step.except.iter().any(|scope| scope.covers(&step.scope)) {
            let winner = rules.iter().find(|rule| {
                rule.reason.is_some()
                    && rule.scope.covers(&step.scope)
                    && rule.what.tables(rule.action).contains(&step.table)
            });
            let winner = winner.map_or_else(String::new, ToString::to_string);
            passed_over.push(PassedOver { table: step.table, rule: step.rule.clone(), winner });
            continue;
        }
        let winner = steps.iter().enumerate().find(|(other, wider)| {
            // Of two steps that do exactly the same, the first one is kept.
            index != *other && does_all_of(wider, step) && (*other < index || !does_all_of(step, wider))
        });
        match winner {
            Some((_, winner)) => {
                let (rule, winner) = (step.rule.clone(), winner.rule.clone());
                passed_over.push(PassedOver { table: step.table, rule, winner });
            }
            None => kept.push(step.clone()),
        }
    }
    kept.sort_by_key(|step| (step.action == Action::Archive, step.table));
    Plan { now, steps: kept, passed_over }
}

/// Whether a rule replaces another one.
fn overrules(rule: &LayerRule, other: &LayerRule) -> bool {
    rule.reason.is_some()
        && (rule.what, rule.action) == (other.what, other.action)
        && (other.layer < rule.layer || other.scope.strictness() < rule.scope.strictness())
}

/// Whether everything that a step selects is selected by another one.
fn does_all_of(wider: &RetentionStep, step: &RetentionStep) -> bool {
    let later = match (&wider.before, &step.before) {
        (Before::Time(wider), Before::Time(before)) => wider >= before,
        (Before::Dates(wider), Before::Dates(before)) => {
            wider.iter().zip(before).all(|(wider, day)| wider.before >= day.before)
        }
        _ => false,
    };
    (wider.table, wider.action) == (step.table, step.action)
        && later
        && wider.scope.covers(&step.scope)
        && wider.except.iter().all(|scope| step.except.contains(scope))
        && (!wider.unless_authorised || step.unless_authorised)
}

#[cfg(test)]
mod tests;
