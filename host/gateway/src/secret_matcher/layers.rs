//! The layers of a text: what it is, what it is decoded, what that is decoded, and so on.
//!
//! The source is the first layer. Each layer is searched, and written into further ones: one with its escapes decoded,
//! two for hexadecimal (a pair of digits may begin at an even or an odd place), four for base64 (a group may begin at
//! each of four places). Each stretch of a layer knows where in the layer above it comes from, so a secret found in any
//! layer is a range of the source.
//!
//! The work is linear and nothing is tried again and again: each layer reads each of its bytes a bounded number of
//! times, has at most three bytes for four of the layer above in each layer of base64, and there are at most
//! [`DECODINGS_MAX`] layers in a row. Memory is bounded too: a layer keeps a batch, its automaton's state, and where
//! the bytes of an unfinished match began.

mod matching;
mod runs;

use matching::Matching;
use runs::{Run, Scratch};

use super::SLICE_BYTES;
use super::digits::Digits;
use super::escapes::{ESCAPE_BYTES_MAX, Found, backslash_pairs, begins_escape, escape_at, first_escape};
use super::inbox::{DECODINGS_MAX, HeldByte, Inbox, MadeOf};
use super::patterns::{Automaton, Patterns};

/// Most bytes of the source that are handed down at once. The fewer they are, the more a batch costs beside its bytes;
/// the more, the fewer layers stay near the processor. A layer gives room for more than some kilobytes back after each.
pub(super) const BATCH_BYTES: usize = SLICE_BYTES;

/// Decodings from which on a layer is skimmed: the automaton reads it only where a secret may begin, and where a batch
/// ends. A layer below a run of digits always is, since one run makes several of them. An ordinary answer is its
/// source, and that with the escapes decoded; these two are read byte by byte, in the same time whatever they hold.
const SKIMMED_DECODINGS_MIN: u8 = 2;

/// Number of hits after which they are merged for the first time.
const HITS_TO_MERGE: usize = 4_096;

/// The layers that a layer is written into: this one, and those of [`child_of`].
const UNESCAPED: usize = 0;
const CHILDREN: usize = 7;

/// The layer that a reading of a layer's runs is written into.
pub(super) fn child_of(digits: Digits, phase: usize) -> usize {
    match digits {
        Digits::Hexadecimal => UNESCAPED + 1 + phase,
        Digits::Base64 => UNESCAPED + 3 + phase,
    }
}

/// An end of a byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Edge {
    /// Where it begins.
    Start,
    /// Where it ends.
    End,
}

/// One layer.
pub(super) struct Layer {
    /// The layer that this one is decoded from.
    above: usize,
    /// Decodings between the source and this layer.
    decodings: u8,
    is_below_digits: bool,
    /// Whether most of it need not be read byte by byte.
    pub(super) is_skimmed: bool,
    pub(super) inbox: Inbox,
    /// What the next batch begins with: an escape or a run that it may complete.
    carry: Vec<HeldByte>,
    /// How far the search is; `None` only while it goes on.
    pub(super) matching: Option<Matching>,
    /// By [`Digits`].
    pub(super) runs: [Run; 2],
    /// Layers below; 0 is none, since that is the source.
    children: [usize; CHILDREN],
    /// Whether the unescaped layer differs from this one. While it does not, it is not written.
    unescapes: bool,
    /// Bytes since the last one that the layer above has in another form.
    quiet: usize,
}

impl Layer {
    fn of_source(automaton: &Automaton) -> Self {
        Self {
            above: 0,
            decodings: 0,
            is_below_digits: false,
            is_skimmed: SKIMMED_DECODINGS_MIN == 0,
            inbox: Inbox::default(),
            carry: Vec::new(),
            matching: Some(Matching::new(automaton)),
            runs: Default::default(),
            children: [0; CHILDREN],
            unescapes: false,
            quiet: 0,
        }
    }

    /// A layer of that kind below this one, which has this place.
    fn below(&self, place: usize, kind: usize, automaton: &Automaton) -> Self {
        let decodings = self.decodings + 1;
        let is_below_digits = self.is_below_digits || kind != UNESCAPED;
        Self {
            above: place,
            decodings,
            is_below_digits,
            is_skimmed: is_below_digits || decodings >= SKIMMED_DECODINGS_MIN,
            inbox: if kind == UNESCAPED { Inbox::of_unescaped() } else { Inbox::default() },
            ..Self::of_source(automaton)
        }
    }

    /// Whether this unescaped layer has become the same as the layer above: nothing that is under way began before the
    /// last escape.
    fn agrees(&self, longest: usize) -> bool {
        self.inbox.bytes.is_empty()
            && !self.matching.as_ref().is_some_and(Matching::is_following)
            && !self.inbox.is_between()
            && !self.unescapes
            && self.quiet > longest
            && !self.runs.iter().any(Run::is_new)
    }
}

/// One search. Takes the source in chunks of any size.
pub(super) struct Search<'a> {
    pub(super) patterns: &'a Patterns,
    pub(super) automaton: &'a Automaton,
    pub(super) layers: Vec<Layer>,
    /// Layers with something to read.
    waiting: Vec<usize>,
    /// Layers that have read their part of the batch. The layers below still ask them where their bytes come from.
    advanced: Vec<usize>,
    pub(super) scratch: Scratch,
    /// Ranges of the source.
    pub(super) hits: Vec<(u32, u32)>,
    merge_at: usize,
    position: u32,
    /// Bytes read in all layers.
    steps: u64,
}

impl<'a> Search<'a> {
    pub(super) fn new(patterns: &'a Patterns) -> Self {
        let automaton = patterns.automaton();
        Self {
            layers: vec![Layer::of_source(automaton)],
            patterns,
            automaton,
            waiting: Vec::new(),
            advanced: Vec::new(),
            scratch: Scratch::default(),
            hits: Vec::new(),
            merge_at: HITS_TO_MERGE,
            position: 0,
            steps: 0,
        }
    }

    /// Reads the next chunk. All chunks together have less than 4 GiB.
    #[expect(clippy::cast_possible_truncation, reason = "a batch has few bytes")]
    pub(super) fn read(&mut self, chunk: &[u8]) {
        for batch in chunk.chunks(BATCH_BYTES) {
            self.layers[0].inbox.write_source(batch, self.position);
            self.position += batch.len() as u32;
            self.work(false);
        }
    }

    /// Ends the search. Returns the ranges to blank, in order and without overlap, and the number of steps.
    pub(super) fn finish(mut self) -> (Vec<(u32, u32)>, u64) {
        self.work(true);
        self.merge_hits();
        (self.hits, self.steps)
    }

    /// Where a byte of a layer's batch begins or ends in the source.
    pub(super) fn in_source(&self, mut index: usize, mut place: usize, edge: Edge) -> u32 {
        loop {
            let Layer { inbox, above, .. } = &self.layers[index];
            match (inbox.made_of(place), edge) {
                (MadeOf::Source { start, .. }, Edge::Start) => return start,
                (MadeOf::Source { end, .. }, Edge::End) => return end,
                (MadeOf::Above { first, .. }, Edge::Start) => place = first,
                (MadeOf::Above { last, .. }, Edge::End) => place = last,
            }
            index = *above;
        }
    }

    /// The layer below, which is made if there is none.
    pub(super) fn child(&mut self, index: usize, kind: usize) -> usize {
        if self.layers[index].children[kind] == 0 {
            self.layers[index].children[kind] = self.layers.len();
            self.layers.push(self.layers[index].below(index, kind, self.automaton));
        }
        self.layers[index].children[kind]
    }

    fn work(&mut self, last: bool) {
        self.waiting.push(0);
        while let Some(layer) = self.waiting.pop() {
            self.advance(layer, last);
            self.advanced.push(layer);
        }
        while let Some(layer) = self.advanced.pop() {
            let Layer { inbox, carry, .. } = &mut self.layers[layer];
            inbox.settle(carry);
        }
        if self.hits.len() > self.merge_at {
            self.merge_hits();
            self.merge_at = HITS_TO_MERGE.max(2 * self.hits.len());
        }
    }

    /// Has one layer read its inbox, and fills those of the layers below.
    fn advance(&mut self, index: usize, last: bool) {
        let bytes = std::mem::take(&mut self.layers[index].inbox.bytes);
        self.steps += bytes.len() as u64;
        let is_deepest = self.layers[index].decodings == DECODINGS_MAX;
        let decided = if is_deepest || last { bytes.len() } else { self.undecided_digits(index, &bytes) };
        let read = if is_deepest { decided } else { self.unescape(index, &bytes[..decided], last) };
        let text = &bytes[..read];
        self.search(index, text);
        if !is_deepest {
            for digits in Digits::ALL {
                self.decode(index, digits, text, last);
            }
            let Layer { children, unescapes, .. } = self.layers[index];
            for (kind, child) in children.into_iter().enumerate() {
                let written = child != 0 && (kind != UNESCAPED || unescapes);
                if written && (last || !self.layers[child].inbox.bytes.is_empty()) {
                    self.waiting.push(child);
                }
            }
        }
        for (place, byte) in bytes.iter().enumerate().skip(read) {
            let [start, end] = [Edge::Start, Edge::End].map(|edge| self.in_source(index, place, edge));
            let layer = &mut self.layers[index];
            layer.carry.push(layer.inbox.waiting(place, *byte, start, end));
        }
        let layer = &mut self.layers[index];
        layer.quiet = layer.inbox.quiet(read).unwrap_or(layer.quiet + read);
        // The buffer is used again.
        layer.inbox.bytes = bytes;
    }

    /// Writes the unescaped layer, if it differs. Returns how much of the text can be read: the rest may be the
    /// beginning of an escape, or digits before it that may be few.
    fn unescape(&mut self, index: usize, text: &[u8], last: bool) -> usize {
        let Layer { children, unescapes, ref inbox, .. } = self.layers[index];
        let may_escape = inbox.may_escape;
        let mut child = Some(children[UNESCAPED]).filter(|_| unescapes);
        if child.is_some_and(|child| self.layers[child].agrees(self.patterns.longest)) {
            self.layers[index].unescapes = false;
            child = None;
        }
        let mut written = child.map(|child| std::mem::take(&mut self.layers[child].inbox));
        let (mut at, mut copied) = (0, 0);
        let read = loop {
            let next = if may_escape { next_escape(text, at) } else { None };
            let Some(begin) = next else { break text.len() };
            let pairs = backslash_pairs(text, begin);
            if !pairs.is_empty() {
                let inbox = self.begun(index, &mut child, &mut written);
                inbox.copy(&text[copied..begin], copied, before(text, copied));
                inbox.write_pairs(pairs, begin);
                at = begin + 2 * pairs.len();
                copied = at;
                continue;
            }
            match escape_at(text, begin, last) {
                Found::Literal => at = begin + 1,
                Found::Incomplete => {
                    let held = held_back(text, copied, begin);
                    // Where an unescaped layer begins it is the same as this one, which is not to have ended a run yet
                    // that goes on in it.
                    let undecided = self.undecided_digits(index, &text[..held]);
                    break if undecided < copied { held } else { undecided };
                }
                Found::Escape { bytes, length, end } => {
                    let inbox = self.begun(index, &mut child, &mut written);
                    inbox.copy(&text[copied..begin], copied, before(text, copied));
                    inbox.write_escape(&bytes[..length], begin, end);
                    (at, copied) = (end, end);
                }
            }
        };
        if let (Some(child), Some(mut inbox)) = (child, written) {
            inbox.copy(&text[copied..read], copied, before(text, copied));
            self.layers[child].inbox = inbox;
        }
        read
    }

    /// The inbox that a layer is written into with its escapes decoded. If there is none yet, the layer below begins.
    #[inline]
    fn begun<'w>(&mut self, index: usize, child: &mut Option<usize>, written: &'w mut Option<Inbox>) -> &'w mut Inbox {
        written.get_or_insert_with(|| {
            let begun = self.begin_unescaped(index);
            *child = Some(begun);
            std::mem::take(&mut self.layers[begun].inbox)
        })
    }

    /// Makes the unescaped layer what this layer was before the current batch, and those below it what those below this
    /// one were.
    fn begin_unescaped(&mut self, index: usize) -> usize {
        self.layers[index].unescapes = true;
        let copy = self.child(index, UNESCAPED);
        // Pairs of a layer and its copy. A copy is one decoding deeper, so it may have fewer layers below.
        let mut pairs = vec![(index, copy)];
        while let Some((from, to)) = pairs.pop() {
            let is_top = from == index;
            let Layer { children, unescapes, ref inbox, ref matching, ref runs, .. } = self.layers[from];
            let unescapes = unescapes && !is_top;
            // What waits between two bytes of the source was left out there already.
            let inbox = if is_top { Inbox::of_unescaped() } else { inbox.clone() };
            let runs = if is_top { runs.each_ref().map(Run::of_copy) } else { runs.clone() };
            let matching = matching.clone();
            let layer = &mut self.layers[to];
            (layer.inbox, layer.matching, layer.runs, layer.quiet) = (inbox, matching, runs, 0);
            layer.carry.clear();
            layer.unescapes = false;
            if layer.decodings == DECODINGS_MAX {
                continue;
            }
            layer.unescapes = unescapes;
            let below = layer.children;
            for (kind, child) in children.into_iter().enumerate() {
                // An unescaped layer that is not written is made when it is begun.
                let is_written = kind != UNESCAPED || unescapes;
                if child != 0 && is_written {
                    pairs.push((child, self.child(to, kind)));
                } else if below[kind] != 0 && is_written {
                    self.forget(below[kind]);
                }
            }
        }
        copy
    }

    /// Makes a layer and those below it what they were when they were made.
    fn forget(&mut self, layer: usize) {
        let mut all = vec![layer];
        while let Some(layer) = all.pop() {
            let matching = Matching::new(self.automaton);
            let layer = &mut self.layers[layer];
            layer.inbox.forget();
            layer.carry.clear();
            (layer.matching, layer.runs, layer.unescapes, layer.quiet) = (Some(matching), Default::default(), false, 0);
            all.extend(layer.children.into_iter().skip(UNESCAPED + 1).filter(|child| *child != 0));
        }
    }

    /// Sorts the hits, and makes one of those that overlap.
    fn merge_hits(&mut self) {
        self.hits.sort_unstable();
        let mut merged: Vec<(u32, u32)> = Vec::with_capacity(self.hits.len());
        for &(start, end) in &self.hits {
            match merged.last_mut() {
                Some(before) if start < before.1 => before.1 = before.1.max(end),
                _ => merged.push((start, end)),
            }
        }
        self.hits = merged;
    }
}

/// The byte before a place of a batch; `None` if an earlier batch had it.
#[inline]
fn before(text: &[u8], place: usize) -> Option<u8> {
    place.checked_sub(1).map(|before| text[before])
}

/// The next place at which an escape may begin.
#[inline]
fn next_escape(text: &[u8], at: usize) -> Option<usize> {
    // Where there is one escape there often is another.
    match text.get(at) {
        Some(byte) if begins_escape(*byte) => Some(at),
        Some(_) => first_escape(text, at),
        None => None,
    }
}

/// Where that begins which has to wait for the next batch, if the escape at a place is not complete: what it stands for
/// may complete one before it, in a layer that is not written yet. Nothing before `copied` waits.
fn held_back(text: &[u8], copied: usize, mut at: usize) -> usize {
    for _ in 0..DECODINGS_MAX {
        let begins =
            |from: &usize| begins_escape(text[*from]) && escape_at(&text[..at], *from, false) == Found::Incomplete;
        let Some(from) = (copied.max(at.saturating_sub(ESCAPE_BYTES_MAX))..at).find(begins) else { break };
        at = from;
    }
    at
}
