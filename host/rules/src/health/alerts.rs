//! When an alert fires and when it ceases: on crossing its bound, once; and back only when the figure is better by a margin.

use chrono::{DateTime, TimeDelta, Utc};

use super::config::HealthConfig;
use backline_model::Platform;
use backline_model::health::{Alert, AlertName, Figures, Health, HealthReport};

/// How much a sum of two decimal fractions may be off.
const ROUNDING: f64 = 1e-9;

/// A figure that an alert watches.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    /// Which alert.
    pub name: AlertName,
    /// Of which platform, where it is of one.
    pub platform: Option<Platform>,
    /// The figure; none is no data, which changes nothing.
    pub value: Option<f64>,
    /// What it is held against.
    pub threshold: f64,
    /// Whether more is worse.
    more_is_worse: bool,
    /// How much better than the threshold it must be before the alert ceases.
    margin: f64,
    /// For how long it must have been worse before the alert fires, at least.
    patience: TimeDelta,
}

/// For how long nothing may be planned beyond the window: clocks are put back by an hour in autumn, and runs are not planned to the minute.
const IDLE_FOR: TimeDelta = TimeDelta::hours(2);

/// What an alert did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crossing {
    /// It began to fire.
    Degraded,
    /// It ceased.
    Recovered,
}

/// What comes of a look.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// Where the alert stands now.
    pub alert: Alert,
    /// Whether it has just begun or ceased to fire.
    pub crossing: Option<Crossing>,
}

/// The figures that alerts watch. Optional platforms have none.
#[must_use]
pub fn readings(report: &HealthReport, figures: &Figures, config: &HealthConfig) -> Vec<Reading> {
    let (bounds, margin) = (&config.alerts, config.margin);
    let mut readings = Vec::new();
    for (platform, counted) in figures.platforms.iter().filter(|(_, counted)| !counted.optional) {
        let Some(of) = report.platforms.iter().find(|of| of.platform == *platform) else { continue };
        let health: &Health = &of.health;
        let mut watch = |name, value, threshold, more_is_worse, margin| {
            let patience = if name == AlertName::NoData { IDLE_FOR } else { TimeDelta::zero() };
            let platform = Some(platform.clone());
            readings.push(Reading { name, platform, value, threshold, more_is_worse, margin, patience });
        };
        watch(AlertName::Completion, health.completion, bounds.completion, false, margin);
        watch(AlertName::ErrorRate, health.error_rate, bounds.error_rate, true, margin);
        let lag_hours = health.lag_p95_s.map(|seconds| seconds / 3_600.0);
        watch(AlertName::Lag, lag_hours, bounds.lag_hours, true, bounds.lag_hours * margin);
        // A share so near to 1 leaves less room than the margin.
        let quality_margin = margin.min((1.0 - bounds.quality) / 2.0);
        watch(AlertName::Quality, health.accepted, bounds.quality, false, quality_margin);
        watch(AlertName::ReconnectShare, health.reconnect_share, bounds.reconnect_share, true, margin);
        // Somebody who was known all the time should have been planned, or waits for an allowance, or could not be planned.
        let was_idle = health.planned + health.under_way + health.deferred == 0;
        let missing = if was_idle { counted.eligible_before } else { 0 };
        #[expect(clippy::cast_precision_loss, reason = "a number of accounts")]
        watch(AlertName::NoData, Some(missing as f64), 0.0, true, 0.0);
    }
    let mut watch = |name, value, threshold, margin| {
        let patience = TimeDelta::zero();
        readings.push(Reading { name, platform: None, value, threshold, more_is_worse: true, margin, patience });
    };
    let run_minutes = report.run_s.map(|seconds| seconds / 60.0);
    watch(AlertName::RunTime, run_minutes, bounds.run_minutes, bounds.run_minutes * margin);
    #[expect(clippy::cast_precision_loss, reason = "a number of hosts")]
    watch(AlertName::HostLost, Some(super::lost_hosts(&figures.hosts, report.at).len() as f64), 0.0, 0.0);
    readings
}

impl Reading {
    fn is_worse(&self, value: f64) -> bool {
        if self.more_is_worse { value > self.threshold } else { value < self.threshold }
    }

    /// Whether it is better than the threshold by the margin: equal to that is enough.
    fn is_well(&self, value: f64) -> bool {
        // Where the margin would ask for more than there is, the best there is will do. 0.8 + 0.02 is a little more than 0.82.
        if self.more_is_worse {
            value <= (self.threshold - self.margin).max(0.0) + ROUNDING
        } else {
            value >= (self.threshold + self.margin).min(1.0) - ROUNDING
        }
    }
}

/// Where an alert stands after a look; none where there is nothing to write down: no data, or all is well and always was.
#[must_use]
pub fn step(before: Option<&Alert>, reading: &Reading, now: DateTime<Utc>, config: &HealthConfig) -> Option<Step> {
    let value = reading.value.filter(|value| value.is_finite())?;
    let worse = reading.is_worse(value);
    let before = match before {
        Some(alert) => alert.clone(),
        None if !worse => return None,
        None => Alert {
            name: reading.name,
            platform: reading.platform.clone(),
            firing: false,
            since: now,
            value,
            threshold: reading.threshold,
            worse_since: None,
            crossings: 0,
            changed_at: now,
        },
    };
    let mut alert = Alert { value, threshold: reading.threshold, changed_at: now, ..before };
    let mut crossing = None;
    if alert.firing {
        if reading.is_well(value) {
            crossing = Some(Crossing::Recovered);
        }
    } else if worse {
        let since = *alert.worse_since.get_or_insert(now);
        if now - since >= TimeDelta::minutes(config.for_minutes.into()).max(reading.patience) {
            crossing = Some(Crossing::Degraded);
        }
    } else {
        alert.worse_since = None;
    }
    if let Some(crossing) = crossing {
        alert.firing = crossing == Crossing::Degraded;
        (alert.since, alert.worse_since) = (now, None);
        alert.crossings += 1;
    }
    Some(Step { alert, crossing })
}

/// Where a firing alert stands that nobody reads a figure for any more, since its platform is optional now or nobody is left to be collected from
/// it: it ceases, with the figure it had last. None where it is read, or does not fire.
#[must_use]
pub fn cease(alert: &Alert, readings: &[Reading], figures: &Figures, now: DateTime<Utc>) -> Option<Alert> {
    let reading = readings.iter().find(|reading| reading.name == alert.name && reading.platform == alert.platform);
    let is_idle = || {
        let counted = alert.platform.as_ref().and_then(|platform| figures.platforms.get(platform));
        counted.is_none_or(|counted| counted.eligible == 0)
    };
    let is_watched = match reading {
        Some(reading) => reading.value.is_some() || alert.platform.is_none() || !is_idle(),
        None => false,
    };
    (alert.firing && !is_watched).then(|| Alert {
        firing: false,
        since: now,
        worse_since: None,
        crossings: alert.crossings + 1,
        changed_at: now,
        ..alert.clone()
    })
}
