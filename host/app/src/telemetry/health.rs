//! The gauges of health. A value without data has no series, rather than zero or NaN.

use std::borrow::Cow;
use std::sync::atomic::AtomicU64;

use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::families::{One, Two, added, signed};
use super::labels::{PlatformLabels, Value};
use backline_model::Platform;
use backline_model::health::{Health, HealthReport};

/// Label of all platforms together.
const TOTAL: &str = "total";

type Float = Gauge<f64, AtomicU64>;

/// A gauge without labels, as a family of at most one series, so that it can be removed.
type Lone = Family<NoLabel, Float>;
type NoLabel = [(&'static str, Value); 0];

/// All gauges of health.
pub(super) struct HealthGauges {
    score: Family<One, Float>,
    completion: Family<One, Float>,
    error_rate: Family<One, Float>,
    lag: Family<Two, Float>,
    oldest: Family<One, Float>,
    accepted: Family<One, Float>,
    quality: Family<One, Float>,
    accounts: Family<Two, Gauge>,
    failed: Family<Two, Gauge>,
    excluded: Family<Two, Gauge>,
    never_collected: Family<One, Gauge>,
    reconnect: Family<One, Gauge>,
    reconnect_share: Family<One, Float>,
    quarantined: Family<One, Gauge>,
    run: Lone,
    cost: Lone,
    monthly: Lone,
    requests: Lone,
    objectives: Family<One, Gauge>,
    alerts: Family<Two, Gauge>,
    looked: Lone,
}

impl HealthGauges {
    pub(super) fn new(r: &mut Registry) -> Self {
        Self {
            score: added(r, "backline_health_score", "Health score from 0 to 100, over the window of health"),
            completion: added(r, "backline_health_completion_ratio", "Share of planned accounts that were collected"),
            error_rate: added(r, "backline_health_error_ratio", "Share of planned accounts that failed"),
            lag: added(r, "backline_health_lag_seconds", "Time from a run's due time to the storage of its rows"),
            oldest: added(r, "backline_health_oldest_seconds", "Longest time since any account was last collected"),
            accepted: added(r, "backline_health_accepted_ratio", "Share of reported values that passed validation"),
            quality: added(r, "backline_health_quality_score", "Mean quality score of rows, from 0 to 1"),
            accounts: added(r, "backline_health_accounts", "Accounts by state, over the window of health"),
            failed: added(r, "backline_health_failed_accounts", "Accounts that failed, by class"),
            excluded: added(r, "backline_health_excluded_accounts", "Accounts that were excluded, by reason"),
            never_collected: added(r, "backline_health_never_collected_accounts", "Accounts that were never collected"),
            reconnect: added(r, "backline_health_reconnect_accounts", "Accounts that need the artist to reconnect"),
            reconnect_share: added(
                r,
                "backline_health_reconnect_ratio",
                "Share of accounts that need the artist to reconnect",
            ),
            quarantined: added(r, "backline_health_quarantined_values", "Values that wait for an operator"),
            run: added(r, "backline_health_run_seconds", "The longest time that batches of one run were running"),
            cost: added(
                r,
                "backline_health_cost_dollars",
                "Estimated cost in US dollars a month per 1,000 artists, from requests and prices",
            ),
            monthly: added(r, "backline_health_cost_monthly_dollars", "US dollars a month, estimated for all artists"),
            requests: added(
                r,
                "backline_health_requests",
                "Requests that the cost estimate is based on, over the window of health",
            ),
            objectives: added(r, "backline_health_objective_met", "1 where the objective is met, 0 where it is missed"),
            alerts: added(r, "backline_health_alert_firing", "1 while the alert fires, 0 once it has ended"),
            looked: added(
                r,
                "backline_health_looked_timestamp_seconds",
                "When health was last evaluated, in seconds since 1970",
            ),
        }
    }

    /// Shows a report, and nothing of the one before; without a report, nothing.
    pub(super) fn show(&self, platforms: &PlatformLabels, report: Option<&HealthReport>) {
        self.clear();
        let Some(report) = report else { return };
        self.show_one(Cow::Borrowed(TOTAL), &report.total);
        for platform in &report.platforms {
            platforms.register(&platform.platform);
            self.show_one(platforms.of(&platform.platform), &platform.health);
            let label = || ("platform", platforms.of(&platform.platform));
            for (class, accounts) in &platform.failures {
                self.failed.get_or_create(&[label(), ("class", class.as_str().into())]).set(signed(*accounts));
            }
            for (reason, accounts) in &platform.exclusions {
                self.excluded.get_or_create(&[label(), ("reason", reason.as_str().into())]).set(signed(*accounts));
            }
        }
        set(&self.run, [], report.run_s);
        set(&self.cost, [], report.cost.per_1000_artists);
        set(&self.monthly, [], report.cost.monthly);
        #[expect(clippy::cast_precision_loss, reason = "a count of requests fits a float's 53 bits")]
        set(&self.requests, [], Some(report.cost.requests as f64));
        for objective in &report.objectives {
            if let Some(met) = objective.met {
                self.objectives.get_or_create(&[("objective", objective.name.into())]).set(met.into());
            }
        }
        let label = |platform: &Option<Platform>| match platform {
            Some(platform) => platforms.of(platform),
            None => Cow::Borrowed(TOTAL),
        };
        for alert in &report.alerts {
            let labels = [("alert", alert.name.as_str().into()), ("platform", label(&alert.platform))];
            self.alerts.get_or_create(&labels).set(alert.firing.into());
        }
        #[expect(clippy::cast_precision_loss, reason = "milliseconds since 1970 fit a float's 53 bits")]
        set(&self.looked, [], Some(report.at.timestamp_millis() as f64 / 1_000.0));
    }

    fn show_one(&self, platform: Value, health: &Health) {
        let one = || [("platform", platform.clone())];
        set(&self.score, one(), health.score);
        set(&self.completion, one(), health.completion);
        set(&self.error_rate, one(), health.error_rate);
        for (stat, value) in [("p95", health.lag_p95_s), ("worst", health.lag_worst_s)] {
            set(&self.lag, [("platform", platform.clone()), ("stat", stat.into())], value);
        }
        set(&self.oldest, one(), health.oldest_s);
        set(&self.accepted, one(), health.accepted);
        set(&self.quality, one(), health.quality_score);
        for (state, accounts) in [
            ("collected", health.collected),
            ("failed", health.failed),
            ("superseded", health.superseded),
            ("overdue", health.overdue),
            ("under_way", health.under_way),
            ("deferred", health.deferred),
            ("excluded", health.excluded),
        ] {
            let labels = [("platform", platform.clone()), ("state", state.into())];
            self.accounts.get_or_create(&labels).set(signed(accounts));
        }
        self.never_collected.get_or_create(&one()).set(signed(health.never_collected));
        self.reconnect.get_or_create(&one()).set(signed(health.reconnect));
        set(&self.reconnect_share, one(), health.reconnect_share);
        self.quarantined.get_or_create(&one()).set(signed(health.quarantined));
    }

    fn clear(&self) {
        for family in [&self.score, &self.completion, &self.error_rate, &self.oldest, &self.accepted, &self.quality] {
            family.clear();
        }
        self.reconnect_share.clear();
        self.lag.clear();
        for family in [&self.never_collected, &self.reconnect, &self.quarantined, &self.objectives] {
            family.clear();
        }
        for family in [&self.accounts, &self.failed, &self.excluded, &self.alerts] {
            family.clear();
        }
        for lone in [&self.run, &self.cost, &self.monthly, &self.requests, &self.looked] {
            lone.clear();
        }
    }
}

fn set<L>(family: &Family<L, Float>, labels: L, value: Option<f64>)
where
    L: Clone + std::hash::Hash + Eq,
{
    if let Some(value) = value.filter(|value| value.is_finite()) {
        family.get_or_create(&labels).set(value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::Telemetry;
    use backline_model::health::{Alert, AlertName, CostEstimate, Objective, PlatformHealth};

    fn report(completion: Option<f64>) -> HealthReport {
        let at = chrono::DateTime::UNIX_EPOCH + chrono::TimeDelta::seconds(90);
        let youtube = Platform::new("youtube").expect("a name");
        let health = Health { completion, collected: 3, ..Health::default() };
        let objective = |name, met| Objective { name, target: 0.9, value: completion, met };
        HealthReport {
            at,
            since: at,
            total: Health { score: Some(f64::NAN), ..health.clone() },
            platforms: vec![PlatformHealth {
                platform: youtube.clone(),
                optional: false,
                health,
                failures: [(backline_model::outcome::FailureClass::Trapped, 2)].into(),
                exclusions: Default::default(),
                deferred_until: None,
            }],
            run_s: None,
            cost: CostEstimate {
                per_1000_artists: Some(12.5),
                monthly: None,
                requests: 1,
                artists: 1,
                basis: String::new(),
            },
            objectives: vec![objective("success", Some(true)), objective("lag", None)],
            recommendations: Vec::new(),
            time_zones: None,
            simulated: false,
            alerts: vec![Alert {
                name: AlertName::Completion,
                platform: Some(youtube),
                firing: true,
                since: at,
                value: 0.5,
                threshold: 0.8,
                worse_since: None,
                crossings: 1,
                changed_at: at,
            }],
        }
    }

    #[test]
    fn a_value_without_data_is_absent_and_nothing_stays_of_the_previous_report() {
        let telemetry = Telemetry::default();
        telemetry.health(Some(report(Some(0.5))));
        let text = telemetry.render(None);
        for line in [
            "backline_health_completion_ratio{platform=\"youtube\"} 0.5",
            "backline_health_completion_ratio{platform=\"total\"} 0.5",
            "backline_health_accounts{platform=\"youtube\",state=\"collected\"} 3",
            "backline_health_objective_met{objective=\"success\"} 1",
            "backline_health_alert_firing{alert=\"completion\",platform=\"youtube\"} 1",
            "backline_health_cost_dollars{} 12.5",
            "backline_health_looked_timestamp_seconds{} 90.0",
            "backline_health_failed_accounts{platform=\"youtube\",class=\"trapped\"} 2",
            "backline_health_requests{} 1.0",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is missing in {text}");
        }
        for absent in ["NaN", "health_score{", "health_run_seconds{", "objective=\"lag\"", "health_lag_seconds{"] {
            assert!(!text.contains(absent), "{absent} is in {text}");
        }
        telemetry.health(Some(report(None)));
        assert!(!telemetry.render(None).contains("completion_ratio{"), "the previous value is gone");
        telemetry.health(None);
        assert!(!telemetry.render(None).contains("backline_health_accounts{"), "another host shows it now");
    }
}
