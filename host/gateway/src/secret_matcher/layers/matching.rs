//! The search of one layer for secrets, byte by byte or, where nothing can be found, faster.

use std::ops::Range;

use aho_corasick::automaton::StateID;

use super::super::patterns::{Automaton, Following, Uncompared};
use super::super::windows::Doubts;
use super::{Edge, Search};

/// How far the search of a layer is. It is the same whether the layer was skimmed or not.
#[derive(Clone)]
pub(in crate::secret_matcher) struct Matching {
    state: StateID,
    /// Bytes since no secret had begun: at least as many as the match under way has.
    since: usize,
    /// Where the last bytes begin in the source, as many as the match under way may have.
    starts: Vec<u32>,
    following: Option<Following>,
    uncompared: Option<Uncompared>,
}

/// A hit that may go on. Places count from the first byte whose start is known, which an earlier batch may have read.
struct Hit {
    from: usize,
    end: usize,
    /// Where it begins in the source.
    start: u32,
}

impl Matching {
    pub(super) fn new(automaton: &Automaton) -> Self {
        Self { state: automaton.start(), since: 0, starts: Vec::new(), following: None, uncompared: None }
    }

    /// Whether a secret was found that may go on.
    pub(super) fn is_following(&self) -> bool {
        self.following.is_some() || self.uncompared.is_some()
    }
}

impl Search<'_> {
    /// Searches the next bytes of a layer, with which its inbox begins.
    pub(super) fn search(&mut self, index: usize, text: &[u8]) {
        let (patterns, automaton) = (self.patterns, self.automaton);
        let start = automaton.start();
        let Some(matching) = self.layers[index].matching.take() else { return };
        let Matching { mut state, mut since, starts: mut older, mut following, mut uncompared } = matching;
        let before = older.len();
        let mut windows = patterns.windows.as_ref().filter(|_| self.layers[index].is_skimmed);
        let mut doubts = Doubts::of(text.len());
        let mut is_first = true;
        let mut open: Option<Hit> = None;
        let mut at = 0;
        while at < text.len() {
            if let Some(beginnings) = windows
                && state == start
                && following.is_none()
                && uncompared.is_none()
            {
                // Most texts are passed over as a whole.
                let is_ruled_out = std::mem::take(&mut is_first) && beginnings.rule_out(&text[at..]);
                let place = if is_ruled_out { None } else { beginnings.next_place(text, at, &mut doubts) };
                if place.is_none() || doubts.are_spent() {
                    windows = None;
                }
                // The last bytes are read in any case: a beginning may go on with the next batch.
                at = place.unwrap_or(at.max(text.len().saturating_sub(beginnings.length() - 1)));
            }
            let byte = text[at];
            if following.is_some() || uncompared.is_some() {
                following = following.and_then(|secret| patterns.go_on(secret, byte));
                uncompared = uncompared.and_then(|bytes| bytes.go_on(byte));
                let began = following.map(|secret| secret.start).or(uncompared.map(|bytes| bytes.start));
                if let Some(began) = began {
                    self.goes_on(index, before, &mut open, before + at, began);
                }
            }
            state = automaton.next(state, byte);
            at += 1;
            if state == start {
                since = 0;
                continue;
            }
            since += 1;
            if let Some((pattern, length)) = automaton.ending(state) {
                let (from, end) = (before + at - length, before + at);
                match &mut open {
                    Some(hit) if from < hit.end => {
                        hit.end = end;
                        if from < hit.from {
                            hit.from = from;
                            hit.start = self.start_of(index, &older, from);
                        }
                    }
                    _ => {
                        let hit = Hit { from, end, start: self.start_of(index, &older, from) };
                        if let Some(done) = open.replace(hit) {
                            self.record(index, before, &done);
                        }
                    }
                }
                let began = || self.start_of(index, &older, from);
                match automaton.uncompared(pattern) {
                    0 => following = following.or_else(|| patterns.follow(pattern, began)),
                    bytes => {
                        let behind = uncompared.unwrap_or_else(|| Uncompared::behind(began()));
                        uncompared = Some(behind.at_least(bytes));
                    }
                }
            }
        }
        if let Some(done) = open {
            self.record(index, before, &done);
        }
        let kept = since.min(patterns.longest);
        let from_older = kept.saturating_sub(text.len());
        older.drain(..before - before.min(from_older));
        older.extend(self.starts_of(index, text.len() - (kept - from_older)..text.len()));
        self.layers[index].matching = Some(Matching { state, since, starts: older, following, uncompared });
    }

    /// Where a byte begins in the source that this batch or an earlier one has read.
    fn start_of(&self, index: usize, older: &[u32], place: usize) -> u32 {
        match older.get(place) {
            Some(start) => *start,
            None => self.in_source(index, place - older.len(), Edge::Start),
        }
    }

    /// Where the bytes at these places begin in the source.
    fn starts_of(&self, index: usize, places: Range<usize>) -> impl Iterator<Item = u32> {
        places.map(move |place| self.in_source(index, place, Edge::Start))
    }

    /// A secret that began at `start` goes on with the byte at a place.
    fn goes_on(&mut self, index: usize, before: usize, open: &mut Option<Hit>, place: usize, start: u32) {
        match open {
            Some(hit) if hit.end == place => hit.end = place + 1,
            _ => {
                // It began with an earlier batch.
                if let Some(done) = open.replace(Hit { from: 0, end: place + 1, start }) {
                    self.record(index, before, &done);
                }
            }
        }
    }

    /// Writes down a hit; one that overlaps the last one becomes part of it, so that repetition needs no memory.
    /// `before`: number of bytes whose places were counted before those of this batch.
    fn record(&mut self, index: usize, before: usize, hit: &Hit) {
        let (start, end) = (hit.start, self.in_source(index, hit.end - 1 - before, Edge::End));
        match self.hits.last_mut() {
            Some(last) if start < last.1 && last.0 < end => *last = (last.0.min(start), last.1.max(end)),
            _ => self.hits.push((start, end)),
        }
    }
}
