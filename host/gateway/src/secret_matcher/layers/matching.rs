//! The search of one layer for secrets, byte by byte or, where nothing can be found, faster.

use aho_corasick::automaton::StateID;

use super::super::patterns::{Automaton, Following, Patterns, Uncompared};
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
    behind: Behind,
}

/// What goes on behind patterns that were found.
#[derive(Clone, Copy, Default)]
struct Behind {
    following: Option<Following>,
    uncompared: Option<Uncompared>,
}

/// A batch of a layer while it is searched. Places of hits count from the first byte whose start is known, which an
/// earlier batch may have read.
struct Batch {
    layer: usize,
    /// Where the last bytes before the batch begin in the source.
    older: Vec<u32>,
    /// The last hit, which may go on.
    open: Option<Hit>,
}

/// A part of a batch that is blanked out.
struct Hit {
    from: usize,
    end: usize,
    /// Where it begins in the source.
    start: u32,
}

impl Matching {
    pub(super) fn new(automaton: &Automaton) -> Self {
        Self { state: automaton.start(), since: 0, starts: Vec::new(), behind: Behind::default() }
    }

    /// Whether a secret was found that may go on.
    pub(super) fn is_following(&self) -> bool {
        !self.behind.is_nothing()
    }
}

impl Behind {
    #[inline]
    fn is_nothing(&self) -> bool {
        self.following.is_none() && self.uncompared.is_none()
    }

    /// What goes on with one more byte.
    #[inline]
    fn go_on(self, patterns: &Patterns, byte: u8) -> Self {
        Self {
            following: self.following.and_then(|secret| patterns.go_on(secret, byte)),
            uncompared: self.uncompared.and_then(|bytes| bytes.go_on(byte)),
        }
    }

    /// Where that began in the source; `None` if nothing goes on.
    #[inline]
    fn start(&self) -> Option<u32> {
        self.following.map(|secret| secret.start).or(self.uncompared.map(|bytes| bytes.start))
    }

    /// The same, and what goes on behind one more pattern, which began at `start`.
    #[inline]
    fn and_behind(self, search: &Search<'_>, pattern: usize, start: impl FnOnce() -> u32) -> Self {
        let Self { following, uncompared } = self;
        match search.automaton.uncompared(pattern) {
            0 => Self { following: following.or_else(|| search.patterns.follow(pattern, start)), uncompared },
            bytes => {
                let behind = uncompared.unwrap_or_else(|| Uncompared::behind(start()));
                Self { following, uncompared: Some(behind.at_least(bytes)) }
            }
        }
    }
}

impl Search<'_> {
    /// Searches the next bytes of a layer, with which its inbox begins.
    pub(super) fn search(&mut self, index: usize, text: &[u8]) {
        let (patterns, automaton) = (self.patterns, self.automaton);
        let start = automaton.start();
        let Some(matching) = self.layers[index].matching.take() else { return };
        let Matching { mut state, mut since, starts, mut behind } = matching;
        let mut batch = Batch { layer: index, older: starts, open: None };
        let mut windows = patterns.windows.as_ref().filter(|_| self.layers[index].is_skimmed);
        let mut doubts = Doubts::of(text.len());
        let mut is_first = true;
        let mut at = 0;
        while at < text.len() {
            if let Some(beginnings) = windows
                && state == start
                && behind.is_nothing()
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
            if !behind.is_nothing() {
                behind = behind.go_on(patterns, byte);
                if let Some(began) = behind.start() {
                    self.goes_on(&mut batch, at, began);
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
                let end = batch.older.len() + at;
                self.ends(&mut batch, end - length, end);
                behind = behind.and_behind(self, pattern, || self.start_of(index, &batch.older, end - length));
            }
        }
        if let Some(done) = &batch.open {
            self.record(index, batch.older.len(), done);
        }
        let starts = self.last_starts(batch, text.len(), since.min(patterns.longest));
        self.layers[index].matching = Some(Matching { state, since, starts, behind });
    }

    /// A secret that began at `start` goes on with the byte at a place of the batch's text.
    fn goes_on(&mut self, batch: &mut Batch, place: usize, start: u32) {
        let before = batch.older.len();
        let place = before + place;
        match &mut batch.open {
            Some(hit) if hit.end == place => hit.end = place + 1,
            _ => {
                // It began with an earlier batch.
                if let Some(done) = batch.open.replace(Hit { from: 0, end: place + 1, start }) {
                    self.record(batch.layer, before, &done);
                }
            }
        }
    }

    /// A pattern stands between these places. It is one hit with the last one if that reaches into it.
    #[inline]
    fn ends(&mut self, batch: &mut Batch, from: usize, end: usize) {
        let Batch { layer, older, open } = batch;
        match open {
            Some(hit) if from < hit.end => {
                hit.end = end;
                if from < hit.from {
                    hit.from = from;
                    hit.start = self.start_of(*layer, older, from);
                }
            }
            _ => {
                let hit = Hit { from, end, start: self.start_of(*layer, older, from) };
                if let Some(done) = open.replace(hit) {
                    self.record(*layer, older.len(), &done);
                }
            }
        }
    }

    /// Where a byte begins in the source that this batch or an earlier one has read.
    fn start_of(&self, index: usize, older: &[u32], place: usize) -> u32 {
        match older.get(place) {
            Some(start) => *start,
            None => self.in_source(index, place - older.len(), Edge::Start),
        }
    }

    /// Where the last bytes begin in the source, so many of those of a batch that was read and of the ones before it.
    fn last_starts(&self, batch: Batch, read: usize, kept: usize) -> Vec<u32> {
        let Batch { layer, older: mut starts, .. } = batch;
        let from_older = kept.saturating_sub(read);
        starts.drain(..starts.len().saturating_sub(from_older));
        let places = read - (kept - from_older)..read;
        starts.extend(places.map(|place| self.in_source(layer, place, Edge::Start)));
        starts
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
