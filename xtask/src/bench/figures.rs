//! Repeated measurements: the median, and how far they spread.

use serde::{Deserialize, Serialize};

/// Several measurements of the same thing.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Spread {
    /// The middle one, or the mean of the two in the middle.
    pub(crate) median: f64,
    /// The smallest.
    pub(crate) low: f64,
    /// The largest.
    pub(crate) high: f64,
    /// How many there are.
    pub(crate) count: usize,
}

impl Spread {
    /// The spread of some measurements; none where there are none, or one is no number.
    pub(crate) fn of(measurements: &[f64]) -> Option<Self> {
        if measurements.iter().any(|number| !number.is_finite()) {
            return None;
        }
        let mut sorted = measurements.to_vec();
        sorted.sort_by(f64::total_cmp);
        let (low, high) = (*sorted.first()?, *sorted.last()?);
        let middle = sorted.len() / 2;
        let median = if sorted.len().is_multiple_of(2) {
            f64::midpoint(sorted[middle - 1], sorted[middle])
        } else {
            sorted[middle]
        };
        Some(Self { median, low, high, count: sorted.len() })
    }

    /// Each measurement by the one beside it, as both were made in turn.
    pub(crate) fn of_ratios(measurements: &[f64], by: &[f64]) -> Option<Self> {
        let ratios: Vec<f64> = measurements.iter().zip(by).map(|(one, other)| one / other).collect();
        Self::of(&ratios)
    }

    /// The same in another unit.
    pub(crate) fn scaled(self, factor: f64) -> Self {
        Self { median: self.median * factor, low: self.low * factor, high: self.high * factor, count: self.count }
    }
}

/// The least measurement that so many of a hundred do not exceed (the nearest rank); none where there are none.
pub(crate) fn percentile(measurements: &[f64], of_hundred: usize) -> Option<f64> {
    let mut sorted = measurements.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = (sorted.len() * of_hundred).div_ceil(100);
    sorted.get(rank.saturating_sub(1)).copied()
}

/// A number with three significant figures, but never fewer than its whole part has.
pub(crate) fn shown(number: f64) -> String {
    let decimals = match number.abs() {
        size if size >= 100.0 || size == 0.0 => 0,
        size if size >= 10.0 => 1,
        size if size >= 1.0 => 2,
        _ => 3,
    };
    format!("{number:.decimals$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_one_of_the_measurements() {
        let measurements: Vec<f64> = (1..=200_u8).rev().map(f64::from).collect();
        assert_eq!(percentile(&measurements, 99), Some(198.0));
        assert_eq!(percentile(&measurements, 50), Some(100.0));
        assert_eq!(percentile(&measurements[..1], 99), Some(200.0));
        assert_eq!(percentile(&[], 99), None);
    }

    #[test]
    fn the_median_is_in_the_middle_however_they_come() {
        let spread = |list: &[f64]| Spread::of(list).map(|spread| (spread.low, spread.median, spread.high));
        assert_eq!(spread(&[]), None);
        assert_eq!(spread(&[5.0]), Some((5.0, 5.0, 5.0)));
        assert_eq!(spread(&[9.0, 1.0, 2.0]), Some((1.0, 2.0, 9.0)));
        assert_eq!(spread(&[9.0, 1.0, 2.0, 4.0]), Some((1.0, 3.0, 9.0)));
        assert_eq!(spread(&[1.0, f64::NAN]), None, "a measurement that failed is no measurement");
    }

    #[test]
    fn ratios_are_of_what_was_measured_side_by_side() {
        let ratios = Spread::of_ratios(&[2.0, 9.0, 4.0], &[1.0, 3.0, 4.0]).expect("three");
        assert_eq!((ratios.low, ratios.median, ratios.high, ratios.count), (1.0, 2.0, 3.0, 3));
        assert_eq!(Spread::of_ratios(&[1.0], &[0.0]), None, "nothing is infinitely slower");
    }

    #[test]
    fn numbers_are_shown_as_precisely_as_they_are_worth() {
        let all = [0.0, 0.123_45, 1.234_5, 12.345, 123.45, 12_345.6].map(shown);
        assert_eq!(all, ["0", "0.123", "1.23", "12.3", "123", "12346"]);
    }
}
