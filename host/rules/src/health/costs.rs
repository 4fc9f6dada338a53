//! Estimates the monthly cost from the requests in a window of time and a table of prices.

use chrono::TimeDelta;

use super::config::CostsConfig;
use backline_model::health::{CostEstimate, Figures};

/// Days of a month.
const MONTH_DAYS: f64 = 30.0;

/// Estimates the cost of a month for each 1,000 artists: the requests and units of the window at their prices, scaled
/// to a month and to 1,000 artists, plus the fixed monthly prices, which are the same for one artist as for 1,000.
/// `None` if nothing was requested or no artist was collected.
#[must_use]
pub fn estimate(figures: &Figures, window: TimeDelta, prices: &CostsConfig) -> CostEstimate {
    let (mut asked, mut monthly, mut requests) = (0.0, prices.host_monthly, 0);
    let mut priced = Vec::new();
    for (platform, figures) in &figures.platforms {
        requests += figures.requests;
        let Some(price) = prices.platforms.get(platform) else { continue };
        if figures.requests > 0 {
            monthly += price.monthly;
        }
        let of_units: f64 = figures
            .units
            .iter()
            .map(|(budget, units)| thousands(*units) * price.per_1000_units.get(budget).copied().unwrap_or_default())
            .sum();
        asked += thousands(figures.requests) * price.per_1000_requests + of_units;
        priced.push(platform.as_str());
    }
    let hours = window.as_seconds_f64() / 3_600.0;
    let months = hours / 24.0 / MONTH_DAYS;
    let thousands_of_artists = thousands(figures.artists);
    let is_known = requests > 0 && figures.artists > 0 && months > 0.0;
    let a_month = asked / if is_known { months } else { 1.0 };
    let prices = match (priced.is_empty(), prices.host_monthly > 0.0) {
        (true, false) => "no price is configured".to_owned(),
        (true, true) => "only the hosts have a price".to_owned(),
        (false, _) => format!("prices of {}", priced.join(", ")),
    };
    CostEstimate {
        per_1000_artists: is_known.then(|| a_month / thousands_of_artists + monthly / thousands_of_artists.max(1.0)),
        monthly: is_known.then_some(a_month + monthly),
        requests,
        artists: figures.artists,
        basis: format!(
            "{requests} requests for {} artists in {hours:.0} h; {prices}; every rerun counts",
            figures.artists
        ),
    }
}

fn thousands(number: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a sum of money")]
    let number = number as f64;
    number / 1_000.0
}
