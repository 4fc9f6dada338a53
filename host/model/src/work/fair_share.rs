//! Stride scheduling: tenants share the workers by weight, over all runs, and none is starved.
//!
//! Each batch has a *position* in its queue, and workers take the batch with the lowest one. A tenant's batches are one
//! *stride* apart, and the stride is shorter for a larger weight. So over any stretch of the queue, tenants have
//! batches in proportion to their weights. A tenant that joins late starts at the queue's current position, not at its
//! start: it gets its share at once and does not catch up on what it missed.

use std::borrow::Borrow;
use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;

use serde::{Deserialize, Serialize};

/// The stride of weight 1.
pub const STRIDE: i64 = 1_000_000;

/// The largest weight. A stride is a whole number; up to this weight, rounding it changes a share by less than 0.1 %.
pub const WEIGHT_MAX: u32 = 1_000;

/// Weight of each name. A name that is not listed weighs 1.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Weights(pub BTreeMap<String, u32>);

impl Weights {
    /// The weight of a name, between 1 and [`WEIGHT_MAX`].
    #[must_use]
    pub fn of(&self, name: &str) -> u32 {
        self.0.get(name).copied().unwrap_or(1).clamp(1, WEIGHT_MAX)
    }

    /// Distance between two positions of a name.
    #[must_use]
    pub fn stride(&self, name: &str) -> i64 {
        STRIDE / i64::from(self.of(name))
    }

    /// The first entry whose weight is out of bounds.
    #[must_use]
    pub fn wrong(&self) -> Option<(&str, u32)> {
        self.0
            .iter()
            .find(|(_, weight)| !(1..=WEIGHT_MAX).contains(*weight))
            .map(|(name, weight)| (name.as_str(), *weight))
    }
}

/// One queue, and the last position of each name in it.
#[derive(Clone, Debug)]
pub struct StrideQueue<N> {
    /// Position that the queue has reached.
    now: i64,
    last: HashMap<N, i64>,
}

impl<N: Hash + Eq> StrideQueue<N> {
    /// A queue that has reached `now`, with the last position of each name that has batches in it.
    pub fn new(now: i64, last: impl IntoIterator<Item = (N, i64)>) -> Self {
        Self { now, last: last.into_iter().collect() }
    }

    /// Takes the next position for a name.
    pub fn next<Q>(&mut self, name: &Q, stride: i64) -> i64
    where
        N: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = N> + ?Sized,
    {
        let position = match self.last.get(name) {
            Some(last) => last.saturating_add(stride).max(self.now),
            None => self.now,
        };
        self.last.insert(name.to_owned(), position);
        position
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Everything planned in one queue, in order of position. The place in the plan breaks ties, as ids do.
    fn order(mut planned: Vec<(i64, usize, String)>) -> Vec<String> {
        planned.sort();
        planned.into_iter().map(|(_, _, name)| name).collect()
    }

    fn plan(
        queue: &mut StrideQueue<String>,
        weights: &Weights,
        name: &str,
        batches: usize,
    ) -> Vec<(i64, usize, String)> {
        (0..batches).map(|n| (queue.next(name, weights.stride(name)), n, name.to_owned())).collect()
    }

    #[test]
    fn a_tenant_that_joins_late_starts_at_the_queues_position() {
        let weights = Weights::default();
        let mut queue = StrideQueue::new(0, []);
        let mut waiting = plan(&mut queue, &weights, "large", 100);
        waiting.drain(..40);
        let mut queue = StrideQueue::new(waiting[0].0, [("large".to_owned(), waiting[59].0)]);
        waiting.extend(plan(&mut queue, &weights, "small", 3));
        let order = order(waiting);
        assert_eq!(order[..7], ["small", "large", "small", "large", "small", "large", "large"]);
    }

    #[test]
    fn a_tenants_next_run_follows_its_last_one() {
        let mut queue = StrideQueue::new(0, [("a".to_owned(), 7 * STRIDE)]);
        assert_eq!(queue.next("a", STRIDE), 8 * STRIDE);
        assert_eq!(queue.next("a", STRIDE), 9 * STRIDE);
        assert_eq!(queue.next("b", STRIDE), 0);
    }

    #[test]
    fn a_weight_out_of_bounds_is_named() {
        let weights = |weight| Weights(BTreeMap::from([("a".to_owned(), weight)]));
        assert_eq!(weights(0).wrong(), Some(("a", 0)));
        assert_eq!(weights(1001).wrong(), Some(("a", 1001)));
        assert_eq!(weights(1000).wrong(), None);
        assert_eq!(weights(0).of("a"), 1, "every name has a share");
    }

    proptest! {
        /// While all have batches waiting, each has had its share at any time, to within one batch of each tenant.
        #[test]
        fn shares_follow_the_weights_at_any_time(weights in prop::collection::vec(1u32..=20, 2..5)) {
            let names: Vec<String> = (0..weights.len()).map(|n| format!("t{n}")).collect();
            let table = Weights(names.iter().cloned().zip(weights.iter().copied()).collect());
            let mut queue = StrideQueue::new(0, []);
            let planned: Vec<_> = names
                .iter()
                .zip(&weights)
                .flat_map(|(name, weight)| plan(&mut queue, &table, name, *weight as usize * 20))
                .collect();
            let order = order(planned);
            let sum: u32 = weights.iter().sum();
            let mut taken: HashMap<&str, u32> = HashMap::new();
            for (n, name) in order.iter().enumerate() {
                *taken.entry(name).or_default() += 1;
                for (name, weight) in names.iter().zip(&weights) {
                    let fair = f64::from(u32::try_from(n + 1).expect("small") * weight) / f64::from(sum);
                    let had = f64::from(taken.get(name.as_str()).copied().unwrap_or_default());
                    let slack = weights.len() as f64 * 1.01;
                    prop_assert!((had - fair).abs() <= slack, "after {} {name} had {had}, fair were {fair}", n + 1);
                }
            }
        }

        /// A name's positions only grow, and are never before the queue's own position.
        #[test]
        fn positions_grow(now in 0i64..1_000, last in 0i64..2_000_000, weight in 1u32..=1000, batches in 1usize..50) {
            let table = Weights(BTreeMap::from([("a".to_owned(), weight)]));
            let mut queue = StrideQueue::new(now, [("a".to_owned(), last)]);
            let mut before = last;
            for (position, _, _) in plan(&mut queue, &table, "a", batches) {
                prop_assert!(position > before && position >= now);
                before = position;
            }
        }
    }
}
