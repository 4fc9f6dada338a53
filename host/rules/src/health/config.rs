//! What an operator can configure about health: targets, thresholds of alerts, and prices.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use backline_model::Platform;

/// How health is evaluated.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HealthConfig {
    /// How often a host evaluates health, in seconds.
    pub every_s: u64,
    /// Length of the window, in hours.
    pub window_hours: u32,
    /// How long a figure must be worse than its threshold before an alert fires, in minutes. 0 fires at once.
    pub for_minutes: u32,
    /// How much better than its threshold a figure must be before an alert stops: added to a share; for a time, this
    /// fraction of it.
    pub margin: f64,
    /// The objectives' targets.
    pub targets: Targets,
    /// Thresholds of the alerts.
    pub alerts: AlertBounds,
}

impl Default for HealthConfig {
    fn default() -> Self {
        Self {
            every_s: 60,
            window_hours: 24,
            for_minutes: 0,
            margin: 0.02,
            targets: Targets::default(),
            alerts: AlertBounds::default(),
        }
    }
}

/// The objectives' targets.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Targets {
    /// More than this share of the planned accounts must be collected.
    pub success: f64,
    /// 95 of 100 rows must be stored within this many hours of when their run was due.
    pub lag_hours: f64,
    /// More than this share of all values must pass validation.
    pub quality: f64,
    /// A run must take fewer minutes than this. Accounts that take longer count as not collected.
    pub run_minutes: f64,
    /// Cost of a month in US dollars for each 1,000 artists must be less than this.
    pub cost_per_1000_artists: f64,
}

impl Default for Targets {
    fn default() -> Self {
        Self { success: 0.95, lag_hours: 6.0, quality: 0.99, run_minutes: 30.0, cost_per_1000_artists: 50.0 }
    }
}

/// Thresholds beyond which alerts fire.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AlertBounds {
    /// Completion below this share.
    pub completion: f64,
    /// Error rate above this share.
    pub error_rate: f64,
    /// Lag above this many hours.
    pub lag_hours: f64,
    /// Share of values that pass validation below this.
    pub quality: f64,
    /// Share of accounts that the artists have to reconnect above this.
    pub reconnect_share: f64,
    /// Run time above this many minutes.
    pub run_minutes: f64,
}

impl Default for AlertBounds {
    fn default() -> Self {
        Self {
            completion: 0.8,
            error_rate: 0.1,
            lag_hours: 6.0,
            quality: 0.99,
            reconnect_share: 0.1,
            run_minutes: 30.0,
        }
    }
}

impl HealthConfig {
    /// Checks the values, naming the key.
    ///
    /// # Errors
    /// The key, and what is wrong with its value.
    pub fn check(&self) -> Result<(), (&'static str, String)> {
        let (targets, alerts) = (&self.targets, &self.alerts);
        if self.every_s == 0 {
            return Err(("health.every_s", "0 would evaluate without a pause; set 1 or more".to_owned()));
        }
        if !(1..=24 * 31).contains(&self.window_hours) {
            let text = format!("{} is not between 1 and {} (a month)", self.window_hours, 24 * 31);
            return Err(("health.window_hours", text));
        }
        for (key, share) in [
            ("health.margin", self.margin),
            ("health.targets.success", targets.success),
            ("health.targets.quality", targets.quality),
            ("health.alerts.completion", alerts.completion),
            ("health.alerts.error_rate", alerts.error_rate),
            ("health.alerts.quality", alerts.quality),
            ("health.alerts.reconnect_share", alerts.reconnect_share),
        ] {
            if !(0.0..=1.0).contains(&share) {
                return Err((key, format!("{share} is not a share between 0 and 1; write 0.02 for 2 %")));
            }
        }
        for (key, bound) in [
            ("health.targets.lag_hours", targets.lag_hours),
            ("health.targets.run_minutes", targets.run_minutes),
            ("health.targets.cost_per_1000_artists", targets.cost_per_1000_artists),
            ("health.alerts.lag_hours", alerts.lag_hours),
            ("health.alerts.run_minutes", alerts.run_minutes),
        ] {
            // A run may take a month at most, which limits how much is read.
            if !(bound > 0.0 && bound <= 44_640.0) {
                return Err((key, format!("{bound} is not above 0 and at most 44640")));
            }
        }
        Ok(())
    }
}

/// Prices in US dollars. The APIs of the five platforms are free, so every price is 0 unless configured.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CostsConfig {
    /// Cost of the hosts and the database, per month.
    pub host_monthly: f64,
    /// Prices of each platform.
    pub platforms: BTreeMap<Platform, PlatformPrice>,
}

/// Prices of a platform, in US dollars.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PlatformPrice {
    /// Price of 1,000 requests.
    pub per_1000_requests: f64,
    /// Price of 1,000 units of a budget, by the budget's name.
    pub per_1000_units: BTreeMap<String, f64>,
    /// Fixed price per month.
    pub monthly: f64,
}

impl CostsConfig {
    /// Checks the prices, naming the key.
    ///
    /// # Errors
    /// The key, and what is wrong with its value.
    pub fn check(&self) -> Result<(), (String, String)> {
        let is_price = |price: f64| price.is_finite() && price >= 0.0;
        let wrong =
            |key: String, price: f64| Err((key, format!("{price} is not a price; write US dollars such as 0.5")));
        if !is_price(self.host_monthly) {
            return wrong("costs.host_monthly".to_owned(), self.host_monthly);
        }
        for (platform, prices) in &self.platforms {
            let of_units = prices.per_1000_units.values().copied();
            for (key, price) in [("per_1000_requests", prices.per_1000_requests), ("monthly", prices.monthly)]
                .into_iter()
                .chain(of_units.map(|price| ("per_1000_units", price)))
            {
                if !is_price(price) {
                    return wrong(format!("costs.platforms.{platform}.{key}"), price);
                }
            }
        }
        Ok(())
    }
}
