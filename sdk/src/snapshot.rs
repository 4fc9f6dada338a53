//! Builds snapshots in which a missing number can't become 0 by accident.

use serde_json::Value as Json;

use crate::{Absence, Coverage, Engagement, Metric, Snapshot, Value, integer};

/// A sum over posts that also counts the posts without the number.
///
/// ```
/// use backline_sdk::Tally;
///
/// let likes = Tally::of([Some(3), None, Some(4)]);
/// assert_eq!((likes.sum, likes.counted, likes.skipped), (7, 2, 1));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Sum over the posts that have the number.
    pub sum: i64,
    /// How many posts have the number.
    pub counted: u32,
    /// How many posts lack the number.
    pub skipped: u32,
}

impl Tally {
    /// Adds one post: its number, or `None` if it lacks the number.
    ///
    /// A negative number is one that overflowed on the platform, and would make the sum too low. A post with one lacks
    /// the number, and so does a post with which the sum would not fit into 64 bits.
    pub fn add(&mut self, number: Option<i64>) {
        match number.filter(|number| *number >= 0).and_then(|number| self.sum.checked_add(number)) {
            Some(sum) => {
                self.sum = sum;
                self.counted += 1;
            }
            None => self.skipped += 1,
        }
    }

    /// Adds up one number per post.
    pub fn of(numbers: impl IntoIterator<Item = Option<i64>>) -> Self {
        let mut tally = Self::default();
        numbers.into_iter().for_each(|number| tally.add(number));
        tally
    }
}

impl Snapshot {
    /// Starts a snapshot without metrics.
    pub fn builder() -> SnapshotBuilder {
        SnapshotBuilder { snapshot: Self { metrics: Vec::new(), engagement: None, notes: Vec::new() } }
    }
}

/// Builds a [`Snapshot`]. Created by [`Snapshot::builder`].
///
/// ```
/// use backline_sdk::prelude::*;
///
/// let body = json!({ "followers": 120 });
/// let snapshot = Snapshot::builder()
///     .count("followers", &body["followers"], Absence::Hidden)
///     .count("following", &body["following"], Absence::Hidden)
///     .absent(&["streams"], Absence::NotOffered)
///     .build();
/// assert_eq!(snapshot.metrics[0].value, Ok(Value::Integer(120)));
/// assert_eq!(snapshot.metrics[1].value, Err(Absence::Hidden));
/// ```
#[derive(Debug)]
#[must_use]
pub struct SnapshotBuilder {
    snapshot: Snapshot,
}

impl SnapshotBuilder {
    /// Adds a metric: its value, or the reason why it has none.
    pub fn metric(mut self, name: &str, value: Result<Value, Absence>) -> Self {
        self.snapshot.metrics.push(Metric { name: name.to_owned(), value, coverage: None });
        self
    }

    /// Adds a metric that is computed from several posts, with the number of posts that it covers.
    pub fn metric_with(mut self, name: &str, value: Result<Value, Absence>, coverage: Coverage) -> Self {
        self.snapshot.metrics.push(Metric { name: name.to_owned(), value, coverage: Some(coverage) });
        self
    }

    /// Adds a count in any form that [`integer`] reads; `otherwise` is the reason if there is none.
    pub fn count(self, name: &str, json: &Json, otherwise: Absence) -> Self {
        self.metric(name, integer(json).map(Value::Integer).ok_or(otherwise))
    }

    /// Adds a sum over posts. Without any post the sum is 0; if no post has the number, `otherwise` is the reason.
    pub fn tally(mut self, name: &str, tally: Tally, otherwise: Absence) -> Self {
        let value =
            if tally.counted == 0 && tally.skipped > 0 { Err(otherwise) } else { Ok(Value::Integer(tally.sum)) };
        let coverage = Some(Coverage { counted: tally.counted, skipped: tally.skipped });
        self.snapshot.metrics.push(Metric { name: name.to_owned(), value, coverage });
        self
    }

    /// Adds several metrics that are missing for the same reason.
    pub fn absent(mut self, names: &[&str], reason: Absence) -> Self {
        for name in names {
            self = self.metric(name, Err(reason));
        }
        self
    }

    /// Sets the numbers from which the host computes the engagement rate.
    pub fn engagement(mut self, engagement: Option<Engagement>) -> Self {
        self.snapshot.engagement = engagement;
        self
    }

    /// Adds a note for people who trace the numbers.
    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.snapshot.notes.push(note.into());
        self
    }

    /// Returns the finished snapshot.
    #[must_use]
    pub fn build(self) -> Snapshot {
        self.snapshot
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_that_overflowed_is_missing_and_lowers_no_sum() {
        // TikTok has sent this one for a count of likes.
        let likes = Tally::of([Some(3), Some(-977_433_948), Some(4)]);
        assert_eq!((likes.sum, likes.counted, likes.skipped), (7, 2, 1));
        let views = Tally::of([Some(i64::MAX), Some(1), Some(0)]);
        assert_eq!((views.sum, views.counted, views.skipped), (i64::MAX, 2, 1));
        let none = Snapshot::builder().tally("likes", Tally::of([Some(-1)]), Absence::Unavailable).build();
        assert_eq!(none.metrics[0].value, Err(Absence::Unavailable));
    }
}
