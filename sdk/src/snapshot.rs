//! Building a snapshot so that a missing number can't turn into a zero by accident.

use serde_json::Value as Json;

use crate::{Absence, Coverage, Engagement, Metric, Snapshot, Value, integer};

/// A running sum over posts that knows which posts lacked the number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// The sum over the posts counted.
    pub sum: i64,
    /// Posts that carried the number.
    pub counted: u32,
    /// Posts that did not.
    pub skipped: u32,
}

impl Tally {
    /// Counts one post's number, or that it has none.
    pub fn add(&mut self, number: Option<i64>) {
        match number {
            Some(number) => {
                self.sum = self.sum.saturating_add(number);
                self.counted += 1;
            }
            None => self.skipped += 1,
        }
    }

    /// The tally of one number per post.
    pub fn of(numbers: impl IntoIterator<Item = Option<i64>>) -> Self {
        let mut tally = Self::default();
        numbers.into_iter().for_each(|number| tally.add(number));
        tally
    }
}

impl Snapshot {
    /// Starts an empty snapshot.
    pub fn builder() -> SnapshotBuilder {
        SnapshotBuilder { snapshot: Self { metrics: Vec::new(), engagement: None, notes: Vec::new() } }
    }
}

/// A snapshot in the making.
#[derive(Debug)]
#[must_use]
pub struct SnapshotBuilder {
    snapshot: Snapshot,
}

impl SnapshotBuilder {
    /// A value, or why there is none.
    pub fn metric(mut self, name: &str, value: Result<Value, Absence>) -> Self {
        self.snapshot.metrics.push(Metric { name: name.to_owned(), value, coverage: None });
        self
    }

    /// A value computed from several posts, or why there is none, with how many posts it covers.
    pub fn metric_with(mut self, name: &str, value: Result<Value, Absence>, coverage: Coverage) -> Self {
        self.snapshot.metrics.push(Metric { name: name.to_owned(), value, coverage: Some(coverage) });
        self
    }

    /// A count as the platform sends it; `otherwise` where it is not there.
    pub fn count(self, name: &str, json: &Json, otherwise: Absence) -> Self {
        self.metric(name, integer(json).map(Value::Integer).ok_or(otherwise))
    }

    /// A sum over posts. No post at all sums to 0; posts of which none carries the number give `otherwise`.
    pub fn tally(mut self, name: &str, tally: Tally, otherwise: Absence) -> Self {
        let value =
            if tally.counted == 0 && tally.skipped > 0 { Err(otherwise) } else { Ok(Value::Integer(tally.sum)) };
        let coverage = Some(Coverage { counted: tally.counted, skipped: tally.skipped });
        self.snapshot.metrics.push(Metric { name: name.to_owned(), value, coverage });
        self
    }

    /// Several metrics that are missing for one reason.
    pub fn absent(mut self, names: &[&str], reason: Absence) -> Self {
        for name in names {
            self = self.metric(name, Err(reason));
        }
        self
    }

    /// What the host computes the engagement rate from.
    pub fn engagement(mut self, engagement: Option<Engagement>) -> Self {
        self.snapshot.engagement = engagement;
        self
    }

    /// Something a person tracing the numbers should know.
    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.snapshot.notes.push(note.into());
        self
    }

    /// The snapshot.
    #[must_use]
    pub fn build(self) -> Snapshot {
        self.snapshot
    }
}
