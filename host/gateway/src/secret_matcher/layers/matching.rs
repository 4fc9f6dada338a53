//! The search of one layer for secrets, byte by byte or, where nothing can be found, faster.

use std::ops::Range;

use aho_corasick::automaton::StateID;

use super::super::patterns::{Automaton, Following, PATTERN_BYTES_MAX};
use super::super::windows::{Doubts, Windows};
use super::{Edge, Search};

/// Fewest bytes of a long secret that are followed without the automaton. It must read again what its state depends on
/// then, which is at most half as many bytes.
const FOLLOWED_ALONE_MIN: usize = 2 * PATTERN_BYTES_MAX;

/// How far the search of a layer is.
#[derive(Clone)]
pub(in crate::secret_matcher) struct Matching {
    state: StateID,
    /// Bytes since no secret had begun: at least as many as the match under way has.
    since: usize,
    /// Where the last bytes begin in the source, as many as the match under way may have.
    starts: Vec<u32>,
    following: Option<Following>,
    /// The last bytes of a layer that is skimmed, while no secret has begun; and where they begin in the source. What
    /// begins in them may go on with the next batch.
    tail: Vec<u8>,
    tail_starts: Vec<u32>,
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
        Self {
            state: automaton.start(),
            since: 0,
            starts: Vec::new(),
            following: None,
            tail: Vec::new(),
            tail_starts: Vec::new(),
        }
    }

    /// Whether a long secret is being followed.
    pub(super) fn is_following(&self) -> bool {
        self.following.is_some()
    }

    /// Whether no secret has begun.
    fn is_idle(&self, automaton: &Automaton) -> bool {
        self.state == automaton.start() && self.following.is_none()
    }

    /// Reads the tail again from where a secret may begin in it, if it may go on in the text.
    fn wake(&mut self, windows: &Windows, automaton: &Automaton, text: &[u8]) {
        if self.tail.is_empty() {
            return;
        }
        let next = &text[..text.len().min(windows.length() - 1)];
        let joined = [self.tail.as_slice(), next].concat();
        let from = windows.next_place(&joined, 0, &mut Doubts::of(joined.len())).unwrap_or(joined.len());
        // No pattern is as short as the tail, so none ends in it.
        for &byte in self.tail.iter().skip(from) {
            self.state = automaton.next(self.state, byte);
            self.since = if self.state == automaton.start() { 0 } else { self.since + 1 };
        }
        self.starts = self.tail_starts.split_off(self.tail.len() - self.since);
        self.tail_starts.extend_from_slice(&self.starts);
    }
}

impl Search<'_> {
    /// Searches the next bytes of a layer, with which its inbox begins.
    pub(super) fn search(&mut self, index: usize, text: &[u8]) {
        let (patterns, automaton) = (self.patterns, self.automaton);
        let start = automaton.start();
        let Some(mut matching) = self.layers[index].matching.take() else { return };
        let skimmed_by = patterns.windows.as_ref().filter(|_| self.layers[index].is_skimmed);
        let mut windows = skimmed_by;
        let mut at = 0;
        if let Some(windows) = windows
            && matching.is_idle(automaton)
        {
            matching.wake(windows, automaton, text);
            if matching.is_idle(automaton) && windows.rule_out(text) {
                at = text.len();
            }
        }
        let Matching { mut state, mut since, mut following, starts: mut older, mut tail, mut tail_starts } = matching;
        let before = older.len();
        let mut doubts = Doubts::of(text.len());
        // Up to where the text agrees with all secrets that are being followed.
        let mut agreed = 0;
        let mut open: Option<Hit> = None;
        while at < text.len() {
            if let Some(beginnings) = windows
                && state == start
                && following.is_none()
            {
                match beginnings.next_place(text, at, &mut doubts) {
                    Some(place) => at = place,
                    None => break,
                }
                if doubts.are_spent() {
                    windows = None;
                }
            }
            if let Some(secret) = following {
                if at >= agreed {
                    agreed = at + patterns.agreeing(&secret, &text[at..]);
                    if agreed - at >= FOLLOWED_ALONE_MIN {
                        // What is found meanwhile is a part of this.
                        following = Some(secret.further(agreed - at));
                        self.goes_on(index, &older, &mut open, (before + at, before + agreed), secret.start);
                        at = agreed;
                        (state, since) = (start, 0);
                        for &byte in &text[at - patterns.longest..at] {
                            state = automaton.next(state, byte);
                            since = if state == start { 0 } else { since + 1 };
                        }
                        continue;
                    }
                }
                following = if at < agreed { Some(secret.further(1)) } else { patterns.go_on(secret, text[at]) };
                if following.is_some() {
                    self.goes_on(index, &older, &mut open, (before + at, before + at + 1), secret.start);
                }
            }
            state = automaton.next(state, text[at]);
            at += 1;
            if state == start {
                since = 0;
                continue;
            }
            since += 1;
            // While a secret is followed, what else ends is a part of it.
            if following.is_none()
                && let Some((pattern, length)) = automaton.ending(state)
            {
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
                            self.record(index, &older, &done);
                        }
                    }
                }
                following = patterns.follow(pattern, || self.start_of(index, &older, from));
                agreed = at;
            }
        }
        if let Some(done) = open {
            self.record(index, &older, &done);
        }
        let kept = since.min(patterns.longest);
        let from_older = kept.saturating_sub(text.len());
        older.drain(..before - before.min(from_older));
        older.extend(self.starts_of(index, text.len() - (kept - from_older)..text.len()));
        if let Some(windows) = skimmed_by.filter(|_| state == start && following.is_none()) {
            let most = windows.length() - 1;
            let from_text = text.len().min(most);
            let left = tail.len().saturating_sub(most - from_text);
            tail.drain(..left);
            tail_starts.drain(..left);
            tail.extend_from_slice(&text[text.len() - from_text..]);
            tail_starts.extend(self.starts_of(index, text.len() - from_text..text.len()));
        } else {
            tail.clear();
            tail_starts.clear();
        }
        let matching = Matching { state, since, starts: older, following, tail, tail_starts };
        self.layers[index].matching = Some(matching);
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

    /// A secret that began at `start` goes on over these bytes.
    fn goes_on(
        &mut self,
        index: usize,
        older: &[u32],
        open: &mut Option<Hit>,
        (from, end): (usize, usize),
        start: u32,
    ) {
        match open {
            Some(hit) if hit.end == from => hit.end = end,
            _ => {
                // It began with an earlier batch.
                if let Some(done) = open.replace(Hit { from: 0, end, start }) {
                    self.record(index, older, &done);
                }
            }
        }
    }

    /// Writes down a hit; one that overlaps the last one becomes part of it, so that repetition needs no memory.
    fn record(&mut self, index: usize, older: &[u32], hit: &Hit) {
        let (start, end) = (hit.start, self.in_source(index, hit.end - 1 - older.len(), Edge::End));
        match self.hits.last_mut() {
            Some(last) if start < last.1 && last.0 < end => *last = (last.0.min(start), last.1.max(end)),
            _ => self.hits.push((start, end)),
        }
    }
}
