//! When an alert fires and when it stops. It fires once when its figure crosses the threshold, and stops only when the
//! figure is better by a margin.

use chrono::{DateTime, TimeDelta, Utc};

use super::config::HealthConfig;
use backline_model::Platform;
use backline_model::clock::latest_believed;
use backline_model::health::{Alert, AlertName, Figures, Health, HealthReport};

/// Largest error of a sum of two decimal fractions.
const ROUNDING: f64 = 1e-9;

/// Most crossings that are counted. The first comes after the last, since what matters is that each has another number
/// than the one before.
const CROSSINGS_MAX: i64 = 1 << 62;

/// A figure that an alert watches.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    /// Alert that watches the figure.
    pub name: AlertName,
    /// Platform of the figure; `None` if it is about all platforms.
    pub platform: Option<Platform>,
    /// The figure. `None` means no data, which changes nothing.
    pub value: Option<f64>,
    /// Threshold that the figure is compared with.
    pub threshold: f64,
    /// Whether a higher figure is worse.
    more_is_worse: bool,
    /// How much better than the threshold the figure must be before the alert stops.
    margin: f64,
    /// How long the figure must have been worse before the alert fires, at least.
    worse_for_min: TimeDelta,
}

/// How long beyond the window nothing may be planned: clocks are set back by an hour in autumn, and runs do not start
/// to the minute.
pub const IDLE_FOR: TimeDelta = TimeDelta::hours(2);

/// A change of an alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crossing {
    /// It started to fire.
    Degraded,
    /// It stopped firing.
    Recovered,
}

/// Result of evaluating a reading.
#[derive(Clone, Debug, PartialEq)]
pub struct AlertStep {
    /// New state of the alert.
    pub alert: Alert,
    /// Whether it has just started or stopped firing.
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
            let worse_for_min = if name == AlertName::NoData { IDLE_FOR } else { TimeDelta::zero() };
            let platform = Some(platform.clone());
            readings.push(Reading { name, platform, value, threshold, more_is_worse, margin, worse_for_min });
        };
        watch(AlertName::Completion, health.completion, bounds.completion, false, margin);
        watch(AlertName::ErrorRate, health.error_rate, bounds.error_rate, true, margin);
        let lag_hours = health.lag_p95_s.map(|seconds| seconds / 3_600.0);
        watch(AlertName::Lag, lag_hours, bounds.lag_hours, true, bounds.lag_hours * margin);
        // A share so close to 1 leaves less room than the margin.
        let quality_margin = margin.min((1.0 - bounds.quality) / 2.0);
        watch(AlertName::Quality, health.accepted, bounds.quality, false, quality_margin);
        watch(AlertName::ReconnectShare, health.reconnect_share, bounds.reconnect_share, true, margin);
        // An account that was known for the whole window must have been planned, unless it waits for a budget or was
        // excluded.
        let was_idle = health.planned + health.under_way + health.deferred == 0;
        let missing = if was_idle { counted.eligible_before } else { 0 };
        // Of a schedule that is rarer than the window, a day without a time tells neither that runs come nor that they
        // don't.
        #[expect(clippy::cast_precision_loss, reason = "a number of accounts")]
        let missing = if was_idle && counted.not_due { None } else { Some(missing as f64) };
        watch(AlertName::NoData, missing, 0.0, true, 0.0);
    }
    let mut watch = |name, value, threshold, margin| {
        let worse_for_min = TimeDelta::zero();
        readings.push(Reading { name, platform: None, value, threshold, more_is_worse: true, margin, worse_for_min });
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

    /// Whether the figure is better than the threshold by the margin, or by exactly the margin.
    fn is_recovered(&self, value: f64) -> bool {
        // If the margin asks for more than is possible, the best possible value is enough. 0.8 + 0.02 is slightly more
        // than 0.82.
        if self.more_is_worse {
            value <= (self.threshold - self.margin).max(0.0) + ROUNDING
        } else {
            value >= (self.threshold + self.margin).min(1.0) - ROUNDING
        }
    }
}

/// State of an alert after a reading; `None` if there is nothing to store: no data, or the alert never fired and does
/// not fire now.
#[must_use]
pub fn step(before: Option<&Alert>, reading: &Reading, now: DateTime<Utc>, config: &HealthConfig) -> Option<AlertStep> {
    let Some(value) = reading.value.filter(|value| value.is_finite()) else {
        // Nothing was due for a while: what was missing before is not missing any longer, and not there either.
        let waits = |alert: &&Alert| reading.name == AlertName::NoData && !alert.firing && alert.worse_since.is_some();
        let alert = before.filter(waits)?;
        return Some(AlertStep {
            alert: Alert { worse_since: None, changed_at: now, ..alert.clone() },
            crossing: None,
        });
    };
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
        if reading.is_recovered(value) {
            crossing = Some(Crossing::Recovered);
        }
    } else if worse {
        // One that a clock ahead wrote would keep the alert from firing until that time has come.
        let since = alert.worse_since.filter(|since| *since <= latest_believed(now)).unwrap_or(now);
        alert.worse_since = Some(since);
        if now - since >= TimeDelta::minutes(config.for_minutes.into()).max(reading.worse_for_min) {
            crossing = Some(Crossing::Degraded);
        }
    } else {
        alert.worse_since = None;
    }
    if let Some(crossing) = crossing {
        alert.firing = crossing == Crossing::Degraded;
        (alert.since, alert.worse_since) = (now, None);
        alert.crossings = crossings_after(alert.crossings);
    }
    Some(AlertStep { alert, crossing })
}

fn crossings_after(crossings: i64) -> i64 {
    if (0..CROSSINGS_MAX).contains(&crossings) { crossings + 1 } else { 1 }
}

/// State of a firing alert that no longer has a reading, because its platform has become optional or has no eligible
/// accounts left. The alert stops, with its last figure. `None` if it has a reading or does not fire.
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
        crossings: crossings_after(alert.crossings),
        changed_at: now,
        ..alert.clone()
    })
}
