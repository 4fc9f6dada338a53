//! The layers of a text: what it is, what it is decoded, what that is decoded, and so on.
//!
//! The source is the first layer. Each layer is searched, and written into further ones: one with its escapes decoded,
//! two for hexadecimal (a pair of digits may begin at an even or an odd place), four for base64 (a group may begin at
//! each of four places). A byte of a layer knows which bytes of the source it came from, so a secret found in any layer
//! is a range of the source.
//!
//! The work is linear and nothing is tried twice: each layer reads each of its bytes once, has at most three bytes for
//! four of the layer above in all layers of base64 together, and there are at most [`DECODINGS_MAX`] layers in a row.
//! Memory is bounded too: a layer keeps a batch, its automaton's state, and where the bytes of an unfinished match
//! began.

use aho_corasick::automaton::StateID;

use super::escapes::{ESCAPE_BYTES_MAX, Found, begins_escape, escape_at};
use super::patterns::{Automaton, Following, Patterns};
use super::pieces::{DECODINGS_MAX, Inbox, Piece};

/// Most bytes of the source that are handed down at once. The buffers of all layers stay below some megabytes.
pub(super) const BATCH_BYTES: usize = 2 * 1024;

/// Number of hits after which they are merged for the first time.
const HITS_TO_MERGE: usize = 4_096;

/// The layers that a layer is written into.
const UNESCAPED: usize = 0;
const HEXADECIMAL: usize = 1;
const BASE64: usize = 3;
const CHILDREN: usize = 7;

/// A run of digits that has not ended.
#[derive(Clone, Copy, Default)]
struct Run {
    /// Number of its digits so far.
    length: usize,
    /// The last one, and where it begins in the source.
    digit: u8,
    start: u32,
}

/// One layer.
struct Layer {
    /// Decodings between the source and this layer.
    decodings: u8,
    inbox: Inbox,
    /// The beginning of an escape that the next batch may complete.
    carry: Vec<Piece>,
    state: StateID,
    /// Bytes since no secret had begun: at least as many as the match under way has.
    since: usize,
    /// Where the last bytes begin in the source, as many as the match under way may have.
    starts: Vec<u32>,
    following: Option<Following>,
    hexadecimal: Run,
    base64: Run,
    /// Layers below; 0 is none, since that is the source.
    children: [usize; CHILDREN],
    /// Whether the unescaped layer differs from this one. While it does not, it is not written.
    unescapes: bool,
    /// Bytes since the last one that the layer above has in another form.
    quiet: usize,
}

impl Layer {
    fn new(decodings: u8, state: StateID) -> Self {
        Self {
            decodings,
            inbox: Inbox::default(),
            carry: Vec::new(),
            state,
            since: 0,
            starts: Vec::new(),
            following: None,
            hexadecimal: Run::default(),
            base64: Run::default(),
            children: [0; CHILDREN],
            unescapes: false,
            quiet: 0,
        }
    }

    /// Whether this unescaped layer has become the same as the layer above: nothing that is under way began before the
    /// last escape.
    fn agrees(&self, longest: usize) -> bool {
        self.carry.is_empty()
            && self.following.is_none()
            && !self.inbox.is_between()
            && !self.unescapes
            && self.quiet > longest.max(self.base64.length).max(self.hexadecimal.length)
    }
}

/// One search. Takes the source in chunks of any size.
pub(super) struct Search<'a> {
    patterns: &'a Patterns,
    automaton: &'a Automaton,
    layers: Vec<Layer>,
    /// Layers with something to read.
    waiting: Vec<usize>,
    /// Ranges of the source.
    hits: Vec<(u32, u32)>,
    merge_at: usize,
    position: u32,
    /// Bytes read in all layers.
    steps: u64,
}

impl<'a> Search<'a> {
    pub(super) fn new(patterns: &'a Patterns) -> Self {
        let automaton = patterns.automaton();
        Self {
            layers: vec![Layer::new(0, automaton.start())],
            patterns,
            automaton,
            waiting: Vec::new(),
            hits: Vec::new(),
            merge_at: HITS_TO_MERGE,
            position: 0,
            steps: 0,
        }
    }

    /// Reads the next chunk. All chunks together have less than 4 GiB.
    pub(super) fn read(&mut self, chunk: &[u8]) {
        for batch in chunk.chunks(BATCH_BYTES) {
            for &byte in batch {
                self.layers[0].inbox.push(Piece::of_source(byte, self.position));
                self.position += 1;
            }
            self.work(false);
        }
    }

    /// Ends the search. Returns the ranges to blank, in order and without overlap, and the number of steps.
    pub(super) fn finish(mut self) -> (Vec<(u32, u32)>, u64) {
        self.work(true);
        self.merge_hits();
        (self.hits, self.steps)
    }

    fn work(&mut self, last: bool) {
        self.waiting.push(0);
        while let Some(layer) = self.waiting.pop() {
            self.advance(layer, last);
        }
        if self.hits.len() > self.merge_at {
            self.merge_hits();
            self.merge_at = HITS_TO_MERGE.max(2 * self.hits.len());
        }
    }

    /// Has one layer read its inbox, and fills those of the layers below.
    fn advance(&mut self, index: usize, last: bool) {
        let layer = &mut self.layers[index];
        let mut input = std::mem::take(&mut layer.inbox.pieces);
        if !layer.carry.is_empty() {
            layer.carry.append(&mut input);
            std::mem::swap(&mut layer.carry, &mut input);
        }
        self.steps += input.len() as u64;
        let is_deepest = layer.decodings == DECODINGS_MAX;
        if !is_deepest {
            let read = self.unescape(index, &input, last);
            let layer = &mut self.layers[index];
            layer.carry.clear();
            layer.carry.extend_from_slice(&input[read..]);
            input.truncate(read);
        }
        self.search(index, &input);
        if !is_deepest {
            self.decode_hexadecimal(index, &input);
            self.decode_base64(index, &input);
            let Layer { children, unescapes, .. } = self.layers[index];
            for (kind, child) in children.into_iter().enumerate() {
                let written = child != 0 && (kind != UNESCAPED || unescapes);
                if written && (last || !self.layers[child].inbox.pieces.is_empty()) {
                    self.waiting.push(child);
                }
            }
        }
        // The buffer is used again.
        input.clear();
        self.layers[index].inbox.pieces = input;
    }

    fn search(&mut self, index: usize, input: &[Piece]) {
        let (layer, patterns, automaton) = (&mut self.layers[index], self.patterns, self.automaton);
        let Layer { mut state, mut since, mut following, .. } = *layer;
        let start = automaton.start();
        for (at, piece) in input.iter().enumerate() {
            if let Some(before) = following {
                following = patterns.go_on(before, piece.byte);
                if let Some(Following { start, .. }) = following {
                    hit(&mut self.hits, start, piece.end);
                }
            }
            state = automaton.next(state, piece.byte);
            if state == start {
                since = 0;
                continue;
            }
            since += 1;
            if let Some((pattern, length)) = automaton.ending(state) {
                let began = match (at + 1).checked_sub(length) {
                    Some(first) => input[first].start,
                    None => layer.starts[layer.starts.len() + at + 1 - length],
                };
                hit(&mut self.hits, began, piece.end);
                following = following.or_else(|| patterns.follow(pattern, began));
            }
        }
        (layer.state, layer.since, layer.following) = (state, since, following);
        let kept = since.min(patterns.longest);
        let older = kept.saturating_sub(input.len());
        layer.starts.drain(..layer.starts.len().saturating_sub(older));
        layer.starts.extend(input[input.len() - (kept - older)..].iter().map(|piece| piece.start));
        layer.quiet = match input.iter().rposition(|piece| piece.fresh) {
            Some(at) => input.len() - 1 - at,
            None => layer.quiet.saturating_add(input.len()),
        };
    }

    /// Writes the unescaped layer, if it differs. Returns how much of the input can be read: the rest may be the
    /// beginning of an escape.
    fn unescape(&mut self, index: usize, input: &[Piece], last: bool) -> usize {
        let child = self.layers[index].children[UNESCAPED];
        if self.layers[index].unescapes && self.layers[child].agrees(self.patterns.longest) {
            self.layers[index].unescapes = false;
        }
        let (mut at, mut copied) = (0, 0);
        while at < input.len() {
            if !begins_escape(input[at].byte) {
                at += 1;
                continue;
            }
            match escape_at(input, at, last) {
                Found::Literal => at += 1,
                Found::Incomplete => {
                    at = held_back(input, copied, at);
                    break;
                }
                Found::Escape { bytes, length, end } => {
                    if !self.layers[index].unescapes {
                        self.begin_unescaped(index);
                    }
                    let child = self.layers[index].children[UNESCAPED];
                    let inbox = &mut self.layers[child].inbox;
                    inbox.copy(&input[copied..at]);
                    let (start, until) = (input[at].start, input[end - 1].end);
                    for &byte in &bytes[..length] {
                        inbox.push(Piece { byte, fresh: true, start, end: until });
                    }
                    (at, copied) = (end, end);
                }
            }
        }
        if self.layers[index].unescapes {
            let child = self.layers[index].children[UNESCAPED];
            self.layers[child].inbox.copy(&input[copied..at]);
        }
        at
    }

    /// Makes the unescaped layer what this layer was before the current batch.
    fn begin_unescaped(&mut self, index: usize) {
        self.layers[index].unescapes = true;
        let copy = self.child(index, UNESCAPED);
        self.layers[copy].carry.clear();
        self.layers[copy].unescapes = false;
        // Pairs of a layer and its copy. A copy is one decoding deeper, so it may have fewer layers below.
        let mut pairs = vec![(index, copy)];
        while let Some((from, to)) = pairs.pop() {
            let Layer { state, since, following, hexadecimal, base64, children, unescapes, .. } = self.layers[from];
            let is_top = from == index;
            let starts = self.layers[from].starts.clone();
            // What is between two bytes of the source was left out there already.
            let inbox = if is_top { Inbox::default() } else { self.layers[from].inbox.without_pieces() };
            let carry = if is_top { Vec::new() } else { self.layers[from].carry.clone() };
            let layer = &mut self.layers[to];
            layer.inbox = inbox;
            (layer.state, layer.since, layer.following, layer.starts) = (state, since, following, starts);
            (layer.hexadecimal, layer.base64, layer.carry, layer.quiet) = (hexadecimal, base64, carry, 0);
            if layer.decodings == DECODINGS_MAX {
                continue;
            }
            layer.unescapes = unescapes && !is_top;
            for (kind, child) in children.into_iter().enumerate() {
                if child != 0 && (kind != UNESCAPED || (unescapes && !is_top)) {
                    pairs.push((child, self.child(to, kind)));
                }
            }
        }
    }

    /// The layer below, which is made if there is none.
    fn child(&mut self, index: usize, kind: usize) -> usize {
        if self.layers[index].children[kind] == 0 {
            self.layers[index].children[kind] = self.layers.len();
            let decodings = self.layers[index].decodings + 1;
            self.layers.push(Layer::new(decodings, self.automaton.start()));
        }
        self.layers[index].children[kind]
    }

    fn decode_hexadecimal(&mut self, index: usize, input: &[Piece]) {
        let digits_min = 2 * self.patterns.shortest;
        let mut run = self.layers[index].hexadecimal;
        self.runs::<2>(index, HEXADECIMAL, input, digits_min, &mut run, hexadecimal_digit, |run, digit, piece, out| {
            if run.length > 0 {
                let byte = run.digit << 4 | digit;
                out[(run.length - 1) & 1].push(Piece { byte, fresh: true, start: run.start, end: piece.end });
            }
        });
        self.layers[index].hexadecimal = run;
    }

    fn decode_base64(&mut self, index: usize, input: &[Piece]) {
        let digits_min = self.patterns.base64_digits_min();
        let mut run = self.layers[index].base64;
        self.runs::<4>(index, BASE64, input, digits_min, &mut run, base64_digit, |run, digit, piece, out| {
            for (phase, out) in out.iter_mut().enumerate().take(run.length) {
                // Each digit has six bits, so that each byte has bits of two digits.
                let byte = match (run.length - phase) % 4 {
                    1 => run.digit << 2 | digit >> 4,
                    2 => run.digit << 4 | digit >> 2,
                    3 => run.digit << 6 | digit,
                    _ => continue,
                };
                out.push(Piece { byte, fresh: true, start: run.start, end: piece.end });
            }
        });
        self.layers[index].base64 = run;
    }

    /// Finds the runs of digits and decodes those that are long enough, into one layer for each place at which a group
    /// of digits may begin.
    ///
    /// A run without a byte of this layer's own, or behind one, is part of a run of the layer above, where it is
    /// decoded already.
    #[expect(clippy::too_many_arguments, reason = "one loop for both kinds of digits")]
    fn runs<const PHASES: usize>(
        &mut self,
        index: usize,
        kind: usize,
        input: &[Piece],
        digits_min: usize,
        run: &mut Run,
        digit_of: impl Fn(u8) -> u8,
        decode: impl Fn(&Run, u8, &Piece, &mut [Inbox; PHASES]),
    ) {
        let mut out: Option<[Inbox; PHASES]> = None;
        let mut at = 0;
        while at < input.len() {
            let (from, mut fresh) = (at, false);
            while at < input.len() && digit_of(input[at].byte) != NO_DIGIT {
                fresh |= input[at].fresh;
                at += 1;
            }
            let (is_new, ends) = (run.length == 0, at < input.len());
            let digits = &input[from..at];
            if !digits.is_empty() && (!is_new || !ends || (fresh && digits.len() >= digits_min)) {
                let out = out.get_or_insert_with(|| self.inboxes(index, kind));
                if is_new {
                    out.iter_mut().for_each(|out| out.gap(digits[0].start));
                }
                for piece in digits {
                    let digit = digit_of(piece.byte);
                    decode(run, digit, piece, out);
                    *run = Run { length: run.length + 1, digit, start: piece.start };
                }
            }
            if ends {
                if run.length > 0 {
                    // Nothing that the run leaves unfinished waits for the next one.
                    let out = out.get_or_insert_with(|| self.inboxes(index, kind));
                    out.iter_mut().for_each(|out| out.gap(input[at].start));
                }
                *run = Run::default();
                at += 1;
            }
        }
        for (phase, inbox) in out.into_iter().flatten().enumerate() {
            let child = self.layers[index].children[kind + phase];
            self.layers[child].inbox = inbox;
        }
    }

    /// Takes the inboxes of the layers below, to be put back.
    fn inboxes<const PHASES: usize>(&mut self, index: usize, kind: usize) -> [Inbox; PHASES] {
        std::array::from_fn(|phase| {
            let child = self.child(index, kind + phase);
            std::mem::take(&mut self.layers[child].inbox)
        })
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

/// Where that begins which has to wait for the next batch, if the escape at a place is not complete: what it stands for
/// may complete one before it, in a layer that is not written yet. Nothing before `copied` waits.
fn held_back(input: &[Piece], copied: usize, mut at: usize) -> usize {
    for _ in 0..DECODINGS_MAX {
        let begins = |from: &usize| {
            begins_escape(input[*from].byte) && escape_at(&input[..at], *from, false) == Found::Incomplete
        };
        let Some(from) = (copied.max(at.saturating_sub(ESCAPE_BYTES_MAX))..at).find(begins) else { break };
        at = from;
    }
    at
}

/// Records a hit; one that overlaps the last one becomes part of it, so that repetition needs no memory.
fn hit(hits: &mut Vec<(u32, u32)>, start: u32, end: u32) {
    match hits.last_mut() {
        Some(last) if start < last.1 && last.0 < end => *last = (last.0.min(start), last.1.max(end)),
        _ => hits.push((start, end)),
    }
}

const NO_DIGIT: u8 = 255;

#[inline]
fn hexadecimal_digit(byte: u8) -> u8 {
    match byte {
        b'0'..=b'9' => byte - b'0',
        b'a'..=b'f' => byte - b'a' + 10,
        b'A'..=b'F' => byte - b'A' + 10,
        _ => NO_DIGIT,
    }
}

/// Whether a run of digits goes on with this byte: one of base64, of which those of hexadecimal are a part.
#[inline]
pub(super) fn is_digit(byte: u8) -> bool {
    base64_digit(byte) != NO_DIGIT
}

/// The value of a digit of either alphabet.
#[inline]
fn base64_digit(byte: u8) -> u8 {
    match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'+' | b'-' => 62,
        b'/' | b'_' => 63,
        _ => NO_DIGIT,
    }
}
