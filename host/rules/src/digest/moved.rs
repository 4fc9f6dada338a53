//! What moved, gathered from rows of growth a page at a time, in memory that does not grow with their number but for
//! the accounts' ids.

use std::cmp::Ordering;
use std::collections::{BTreeMap, HashSet};

use chrono::NaiveDate;

use super::SHOWN_MAX;
use backline_model::{AccountId, ArtistId, GrowthRow, MetricName, NoChange, Platform, Value};

/// The least difference that is named: below it a percentage says nothing, as of 2 followers that became 4.
const DIFFERENCE_MIN: f64 = 10.0;

/// A number that moved.
#[derive(Clone, Debug, PartialEq)]
pub struct Move {
    /// The artist of the account.
    pub artist_id: ArtistId,
    /// Name of the artist; none until it is looked up, or where there is none.
    pub artist: Option<String>,
    /// The account.
    pub account_id: AccountId,
    /// Platform of the account.
    pub platform: Platform,
    /// The number's metric.
    pub metric: MetricName,
    /// The date that it moved until.
    pub date: NaiveDate,
    /// By how much it moved, in the metric's unit.
    pub absolute: f64,
    /// By how much it moved, in percent.
    pub percent: f64,
    /// What it moved to; none until it is looked up.
    pub value: Option<Value>,
}

impl Move {
    /// Which of two is named first: the larger share, then the larger difference.
    fn order(&self, other: &Self) -> Ordering {
        let share = other.percent.abs().total_cmp(&self.percent.abs());
        let difference = other.absolute.abs().total_cmp(&self.absolute.abs());
        share.then(difference).then_with(|| self.account_id.cmp(&other.account_id))
    }
}

/// The accounts of a platform that have numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlatformNumbers {
    /// Number of accounts.
    pub accounts: u64,
    /// The latest date of their numbers.
    pub latest: NaiveDate,
}

/// What moved in a period.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Moved {
    /// The accounts that have numbers, by platform.
    pub platforms: BTreeMap<Platform, PlatformNumbers>,
    /// Numbers that are larger than before.
    pub rose: u64,
    /// Numbers that are smaller than before.
    pub fell: u64,
    /// Numbers that are as before.
    pub stayed: u64,
    /// Numbers whose change is not known, by the reason.
    pub unknown: BTreeMap<NoChange, u64>,
    /// What rose most, an account once.
    pub gains: Vec<Move>,
    /// What fell most, an account once.
    pub losses: Vec<Move>,
}

impl Moved {
    /// Number of accounts that have numbers.
    #[must_use]
    pub fn accounts(&self) -> u64 {
        self.platforms.values().map(|numbers| numbers.accounts).sum()
    }

    /// What is named, to look up names and values.
    pub fn named_mut(&mut self) -> impl Iterator<Item = &mut Move> {
        self.gains.iter_mut().chain(&mut self.losses)
    }
}

/// Gathers what moved over a span. Rows come the latest date first, and of each account the first one counts.
#[derive(Clone, Debug)]
pub struct Movers {
    span: u16,
    seen: HashSet<AccountId>,
    moved: Moved,
}

impl Movers {
    /// Gathers changes over so many days, which is one of the spans that growth is computed for.
    #[must_use]
    pub fn over(span: u16) -> Self {
        Self { span, seen: HashSet::new(), moved: Moved::default() }
    }

    /// Takes a row.
    pub fn take(&mut self, row: &GrowthRow) {
        if !self.seen.insert(row.account_id) {
            return;
        }
        let moved = &mut self.moved;
        let none = PlatformNumbers { accounts: 0, latest: row.metric_date };
        let numbers = moved.platforms.entry(row.platform.clone()).or_insert(none);
        numbers.accounts += 1;
        numbers.latest = numbers.latest.max(row.metric_date);
        let (mut gain, mut loss): (Option<Best<'_>>, Option<Best<'_>>) = (None, None);
        for (metric, spans) in &row.changes {
            let Some(change) = spans.get(&self.span) else { continue };
            let absolute = match (change.reason, change.absolute) {
                // What a platform does not tell can't move.
                (Some(NoChange::Absent), _) => continue,
                // From 0 there is no share, but it is known by how much it moved.
                (None | Some(NoChange::ZeroBase), Some(absolute)) if absolute.is_finite() => absolute,
                (Some(reason), _) => {
                    *moved.unknown.entry(reason).or_default() += 1;
                    continue;
                }
                (None, _) => continue,
            };
            let best = match absolute.total_cmp(&0.0) {
                Ordering::Greater => {
                    moved.rose += 1;
                    &mut gain
                }
                Ordering::Less if absolute < 0.0 => {
                    moved.fell += 1;
                    &mut loss
                }
                Ordering::Less | Ordering::Equal => {
                    moved.stayed += 1;
                    continue;
                }
            };
            // Of a ratio the change is in points, which can't be compared with shares.
            let Some(percent) = change.percent.filter(|percent| percent.is_finite()) else { continue };
            if absolute.abs() >= DIFFERENCE_MIN && best.is_none_or(|best| percent.abs() > best.percent.abs()) {
                *best = Some(Best { metric, absolute, percent });
            }
        }
        if let Some(gain) = gain {
            rank(&mut moved.gains, gain.of(row));
        }
        if let Some(loss) = loss {
            rank(&mut moved.losses, loss.of(row));
        }
    }

    /// What was gathered.
    #[must_use]
    pub fn moved(self) -> Moved {
        self.moved
    }
}

/// The change of an account that is the largest so far.
#[derive(Clone, Copy)]
struct Best<'a> {
    metric: &'a MetricName,
    absolute: f64,
    percent: f64,
}

impl Best<'_> {
    fn of(self, row: &GrowthRow) -> Move {
        Move {
            artist_id: row.artist_id,
            artist: None,
            account_id: row.account_id,
            platform: row.platform.clone(),
            metric: self.metric.clone(),
            date: row.metric_date,
            absolute: self.absolute,
            percent: self.percent,
            value: None,
        }
    }
}

/// Puts a move in its place among the first ones.
fn rank(list: &mut Vec<Move>, found: Move) {
    let place = list.partition_point(|one| one.order(&found) == Ordering::Less);
    if place < SHOWN_MAX {
        list.insert(place, found);
        list.truncate(SHOWN_MAX);
    }
}
