//! Decides which platform's batch starts next, and how many run at once. Pure: it does no I/O.
//!
//! - **A limit per platform** adapts to the platform. It grows by one after as many good batches as the limit allows at
//!   once. It halves when the platform says that requests come too fast, or does not answer in time; batches that were
//!   running at that moment do not halve it again.
//! - **A limit for all platforms** is shared by weight. A platform with nothing running goes first, then one with less
//!   than its share, then any that can use what is left. One place is kept free for each platform that has no work at
//!   the moment, so that a slow platform never holds all places when others get work.
//! - **Among the platforms that may start a batch**, turns are taken by weight.

use std::collections::BTreeMap;

use backline_model::{Platform, Weights};

/// Limits of the batches that run at once.
#[derive(Clone, Debug)]
pub(in crate::pipeline) struct Bounds {
    /// Batches of all platforms together.
    pub batches_max: usize,
    /// Batches of one platform, to begin with.
    pub start: usize,
    /// Batches of one platform, at most.
    pub max: usize,
    /// How platforms share the places.
    pub weights: Weights,
}

/// What a finished batch says about its platform.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::pipeline) enum Signal {
    /// The platform answers as it should.
    Good,
    /// The platform said that requests come too fast, or did not answer in time.
    Pressed,
    /// No request was sent, or the batch ended for another reason.
    Silent,
}

/// Number of a batch, in the order in which batches began.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::pipeline) struct Ticket(u64);

/// The state of one platform.
#[derive(Debug)]
struct Lane {
    limit: usize,
    under_way: usize,
    has_work: bool,
    /// Good batches since the limit last changed.
    good: usize,
    /// Batches with a lower number were running when the limit was last halved.
    halved_at: Ticket,
    /// Virtual time of stride scheduling: the lowest goes next.
    turn: i64,
}

/// The places for batches, and which platform gets the next one.
#[derive(Debug)]
pub(in crate::pipeline) struct Dispatch {
    bounds: Bounds,
    lanes: BTreeMap<Platform, Lane>,
    next_ticket: Ticket,
    /// Virtual time of the platform that was served last. A platform that had no work continues from here.
    turn: i64,
}

impl Dispatch {
    /// No batch running, and no work known.
    pub(in crate::pipeline) fn new(bounds: Bounds) -> Self {
        Self { bounds, lanes: BTreeMap::new(), next_ticket: Ticket(1), turn: 0 }
    }

    /// Applies other limits. Running batches are not affected.
    pub(in crate::pipeline) fn rebound(&mut self, bounds: Bounds) {
        self.bounds = bounds;
        let max = self.max();
        for lane in self.lanes.values_mut() {
            lane.limit = lane.limit.min(max);
        }
    }

    /// Adds platforms that may get work at any time.
    pub(in crate::pipeline) fn add_platforms(&mut self, platforms: impl IntoIterator<Item = Platform>) {
        let (limit, turn) = (self.bounds.start.max(1), self.turn);
        for platform in platforms {
            let lane = Lane { limit, under_way: 0, has_work: false, good: 0, halved_at: Ticket(0), turn };
            self.lanes.entry(platform).or_insert(lane);
        }
    }

    /// Says that there may be work for these platforms, and for no others.
    pub(in crate::pipeline) fn work_for(&mut self, platforms: Vec<Platform>) {
        self.add_platforms(platforms.iter().cloned());
        for (platform, lane) in &mut self.lanes {
            lane.has_work = platforms.contains(platform);
            if lane.under_way == 0 {
                // Time without work earns no credit.
                lane.turn = lane.turn.max(self.turn);
            }
        }
    }

    /// The platform whose batch starts next; none while no more may run.
    pub(in crate::pipeline) fn next(&self) -> Option<Platform> {
        let total: usize = self.lanes.values().map(|lane| lane.under_way).sum();
        let free = self.bounds.batches_max.max(1).checked_sub(total).filter(|free| *free > 0)?;
        let can = |lane: &Lane| lane.has_work && lane.under_way < lane.limit;
        let first_of = |may: &dyn Fn(&Platform, &Lane) -> bool| {
            let lanes = self.lanes.iter().filter(|(platform, lane)| can(lane) && may(platform, lane));
            lanes.min_by_key(|(_, lane)| lane.turn).map(|(platform, _)| platform.clone())
        };
        if let Some(platform) = first_of(&|_, lane| lane.under_way == 0) {
            return Some(platform);
        }
        let idle = self.lanes.values().filter(|lane| lane.under_way == 0 && !lane.has_work).count();
        if free <= idle.min(self.bounds.batches_max / 2) {
            return None;
        }
        first_of(&|name, lane| lane.under_way < self.share(name)).or_else(|| first_of(&|_, _| true))
    }

    /// A batch of the platform began.
    pub(in crate::pipeline) fn begun(&mut self, platform: &Platform) -> Ticket {
        let ticket = self.next_ticket;
        self.next_ticket = Ticket(ticket.0 + 1);
        let stride = self.bounds.weights.stride(platform.as_str());
        if let Some(lane) = self.lanes.get_mut(platform) {
            lane.under_way += 1;
            self.turn = lane.turn;
            lane.turn = lane.turn.saturating_add(stride);
        }
        ticket
    }

    /// A batch of the platform has ended.
    pub(in crate::pipeline) fn ended(&mut self, platform: &Platform, ticket: Ticket, signal: Signal) {
        let (max, next_ticket) = (self.max(), self.next_ticket);
        let Some(lane) = self.lanes.get_mut(platform) else { return };
        lane.under_way = lane.under_way.saturating_sub(1);
        match signal {
            Signal::Good => {
                lane.good += 1;
                if lane.good >= lane.limit {
                    lane.good = 0;
                    lane.limit = (lane.limit + 1).min(max);
                }
            }
            Signal::Pressed => {
                lane.good = 0;
                if ticket >= lane.halved_at {
                    lane.limit = (lane.limit / 2).max(1);
                    lane.halved_at = next_ticket;
                }
            }
            Signal::Silent => {}
        }
    }

    /// There was no batch for the platform after all.
    pub(in crate::pipeline) fn nothing_for(&mut self, platform: &Platform) {
        if let Some(lane) = self.lanes.get_mut(platform) {
            lane.has_work = false;
        }
    }

    /// How many batches of the platform run, and how many may.
    pub(in crate::pipeline) fn concurrency(&self, platform: &Platform) -> (usize, usize) {
        self.lanes.get(platform).map_or((0, self.bounds.start), |lane| (lane.under_way, lane.limit))
    }

    fn max(&self) -> usize {
        self.bounds.max.max(self.bounds.start).max(1)
    }

    /// A platform's share of the places among those that have work or a running batch; at least one.
    fn share(&self, platform: &Platform) -> usize {
        let weight = |platform: &Platform| self.bounds.weights.of(platform.as_str()) as usize;
        let busy = self.lanes.iter().filter(|(_, lane)| lane.has_work || lane.under_way > 0);
        let sum: usize = busy.map(|(platform, _)| weight(platform)).sum();
        (self.bounds.batches_max * weight(platform)).checked_div(sum).unwrap_or(1).max(1)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;

    fn platform(name: &str) -> Platform {
        Platform::new(name).expect("a platform's name")
    }

    fn bounds(batches_max: usize, start: usize, max: usize) -> Bounds {
        Bounds { batches_max, start, max, weights: Weights::default() }
    }

    fn weights(of: &[(&str, u32)]) -> Weights {
        Weights(of.iter().map(|(name, weight)| ((*name).to_owned(), *weight)).collect())
    }

    /// Starts as many batches as may run.
    fn fill(dispatch: &mut Dispatch) -> VecDeque<(Platform, Ticket)> {
        std::iter::from_fn(|| {
            let platform = dispatch.next()?;
            let ticket = dispatch.begun(&platform);
            Some((platform, ticket))
        })
        .collect()
    }

    fn limit(dispatch: &Dispatch, name: &str) -> usize {
        dispatch.concurrency(&platform(name)).1
    }

    #[test]
    fn the_limit_grows_by_one_for_each_limit_full_of_good_batches_up_to_its_maximum() {
        let mut dispatch = Dispatch::new(bounds(16, 2, 4));
        dispatch.work_for(vec![platform("a")]);
        let mut limits = Vec::new();
        for _ in 0..10 {
            let ticket = dispatch.begun(&platform("a"));
            dispatch.ended(&platform("a"), ticket, Signal::Good);
            limits.push(limit(&dispatch, "a"));
        }
        assert_eq!(limits, [2, 3, 3, 3, 4, 4, 4, 4, 4, 4]);
    }

    #[test]
    fn a_limit_halves_once_for_all_that_was_under_way() {
        let mut dispatch = Dispatch::new(bounds(16, 8, 8));
        dispatch.work_for(vec![platform("a")]);
        let under_way = fill(&mut dispatch);
        assert_eq!(under_way.len(), 8);
        for (a, ticket) in &under_way {
            dispatch.ended(a, *ticket, Signal::Pressed);
        }
        assert_eq!(limit(&dispatch, "a"), 4, "eight batches of one round halve it once");
        for expected in [2, 1, 1] {
            let ticket = dispatch.begun(&platform("a"));
            dispatch.ended(&platform("a"), ticket, Signal::Pressed);
            assert_eq!(limit(&dispatch, "a"), expected);
        }
        let ticket = dispatch.begun(&platform("a"));
        dispatch.ended(&platform("a"), ticket, Signal::Silent);
        assert_eq!(limit(&dispatch, "a"), 1, "silence says nothing");
    }

    #[test]
    fn a_slow_platform_leaves_a_slot_to_each_other_even_to_one_without_work_yet() {
        let mut dispatch = Dispatch::new(bounds(8, 8, 8));
        dispatch.add_platforms(["b", "c"].map(platform));
        dispatch.work_for(vec![platform("slow")]);
        assert_eq!(fill(&mut dispatch).len(), 6, "the slow one, all of whose batches go on for ever");
        dispatch.work_for(["slow", "b", "c"].map(platform).into());
        let mut others: Vec<_> = fill(&mut dispatch).into_iter().map(|(platform, _)| platform).collect();
        others.sort();
        assert_eq!(others, ["b", "c"].map(platform));
    }

    #[test]
    fn slots_are_shared_by_weight_while_all_have_work() {
        let mut dispatch = Dispatch::new(Bounds { weights: weights(&[("a", 3)]), ..bounds(12, 12, 12) });
        dispatch.work_for(["a", "b"].map(platform).into());
        fill(&mut dispatch);
        assert_eq!(dispatch.concurrency(&platform("a")).0, 9);
        assert_eq!(dispatch.concurrency(&platform("b")).0, 3);
    }

    #[test]
    fn a_single_permit_goes_round_by_weight() {
        let mut dispatch = Dispatch::new(Bounds { weights: weights(&[("a", 2)]), ..bounds(1, 4, 4) });
        dispatch.work_for(["a", "b"].map(platform).into());
        let mut order = String::new();
        for _ in 0..6 {
            let platform = dispatch.next().expect("a permit is free");
            order.push_str(platform.as_str());
            let ticket = dispatch.begun(&platform);
            assert_eq!(dispatch.next(), None, "the permit is taken");
            dispatch.ended(&platform, ticket, Signal::Good);
        }
        assert_eq!((order.matches('a').count(), order.matches('b').count()), (4, 2), "{order}");
    }

    #[test]
    fn other_bounds_take_hold_at_once() {
        let mut dispatch = Dispatch::new(bounds(16, 4, 8));
        dispatch.work_for(vec![platform("a")]);
        dispatch.rebound(bounds(16, 1, 2));
        assert_eq!(fill(&mut dispatch).len(), 2);
    }

    proptest! {
        /// Whatever happens, no limit is passed, and every platform with work gets a turn.
        #[test]
        fn bounds_hold_and_no_platform_starves(
            total in 1usize..12,
            start in 1usize..6,
            max in 1usize..9,
            weights_of in prop::collection::vec(1u32..10, 4),
            steps in prop::collection::vec((0usize..64, 0u8..3), 1..200),
        ) {
            let names = ["a", "b", "c", "d"];
            let weights = Weights(names.iter().map(|name| (*name).to_owned()).zip(weights_of).collect());
            let mut dispatch = Dispatch::new(Bounds { weights, ..bounds(total, start, max) });
            dispatch.work_for(names.map(platform).into());
            let mut under_way = VecDeque::new();
            for (which, signal) in steps {
                under_way.extend(fill(&mut dispatch));
                prop_assert!(!under_way.is_empty() && under_way.len() <= total);
                for name in names {
                    let (now, limit) = dispatch.concurrency(&platform(name));
                    prop_assert!(limit >= 1 && limit <= max.max(start));
                    prop_assert!(total < names.len() || now >= 1, "{name} has work and no place of {total}");
                }
                let (ended, ticket) = under_way.remove(which % under_way.len()).expect("one of them");
                let signal = [Signal::Good, Signal::Pressed, Signal::Silent][usize::from(signal)];
                dispatch.ended(&ended, ticket, signal);
            }
        }

        /// With fewer places than platforms, each still gets its turn.
        #[test]
        fn with_one_place_every_platform_has_a_turn(weights_of in prop::collection::vec(1u32..10, 4)) {
            let names = ["a", "b", "c", "d"];
            let sum: u32 = weights_of.iter().sum();
            let weights = Weights(names.iter().map(|name| (*name).to_owned()).zip(weights_of).collect());
            let mut dispatch = Dispatch::new(Bounds { weights, ..bounds(1, 4, 8) });
            dispatch.work_for(names.map(platform).into());
            let mut served = BTreeMap::new();
            for _ in 0..sum * 10 {
                let platform = dispatch.next().expect("the permit is free");
                let ticket = dispatch.begun(&platform);
                dispatch.ended(&platform, ticket, Signal::Good);
                *served.entry(platform.to_string()).or_insert(0u32) += 1;
            }
            for name in names {
                let fair = dispatch.bounds.weights.of(name) * 10;
                let had = served.get(name).copied().unwrap_or_default();
                prop_assert!(had.abs_diff(fair) <= 3, "{name} had {had} turns, fair were {fair}");
            }
        }
    }
}
