//! The runs of digits of a layer, and the layers that they stand for: one for each place at which a group of digits may
//! begin.

use std::ops::Range;

use super::super::digits::Digits;
use super::super::inbox::Inbox;
use super::{Edge, Search, child_of};

/// A run of digits that goes on with the next batch.
#[derive(Clone, Debug, Default)]
pub(in crate::secret_matcher) struct Run {
    /// Number of its digits so far; 0 if there is no run.
    length: usize,
    /// The last ones: the last whole group, which the first reading has in full, and what is behind it.
    pending: Vec<Digit>,
    /// Whether a part of it is in no run of the layer above.
    is_new: bool,
}

/// A digit, and where it begins and ends in the source.
#[derive(Clone, Copy, Debug)]
struct Digit {
    byte: u8,
    start: u32,
    end: u32,
}

/// Buffers that each run uses.
#[derive(Default)]
pub(in crate::secret_matcher) struct Scratch {
    digits: Vec<u8>,
    packed: Vec<u8>,
    moved: Vec<u8>,
    pending: Vec<Digit>,
}

impl Run {
    /// Whether there is one.
    pub(super) fn is_under_way(&self) -> bool {
        self.length > 0
    }

    /// Whether there is one of which a part is in no run of the layer above.
    pub(super) fn is_new(&self) -> bool {
        self.is_under_way() && self.is_new
    }

    /// The same run, of a layer that is the same as the one above so far.
    pub(super) fn of_copy(&self) -> Self {
        Self { is_new: false, ..self.clone() }
    }
}

impl Search<'_> {
    /// Decodes the runs that are long enough. One that ends with the text goes on with the next one, unless this is
    /// the `last`.
    ///
    /// A run without anything of this layer's own is part of a run of the layer above, where it is decoded already.
    pub(super) fn decode(&mut self, index: usize, digits: Digits, text: &[u8], last: bool) {
        let mut at = 0;
        if self.layers[index].runs[digits as usize].is_under_way() {
            at = digits.run_end(text, 0);
            self.decode_part(index, digits, text, 0..at, false);
            if at < text.len() || last {
                self.end_run(index, digits);
            }
        }
        let digits_min = self.patterns.digits_min(digits);
        while let Some(run) = digits.next_run(text, at, digits_min) {
            at = run.end;
            let ends = at < text.len() || last;
            if !ends || self.layers[index].inbox.has_news(run.clone(), true) {
                for phase in 0..digits.group() {
                    self.reading(index, digits, phase).gap();
                }
                self.decode_part(index, digits, text, run, true);
                if ends {
                    self.end_run(index, digits);
                }
            }
        }
    }

    /// Where the digits begin with which the text ends, if there are too few of them to know whether they are a run
    /// that is long enough; they wait for the next batch. Otherwise the text's end.
    pub(super) fn undecided_digits(&self, index: usize, text: &[u8]) -> usize {
        let most = |digits: Digits| self.patterns.digits_min(digits);
        let goes_on = |digits: Digits, count: usize| {
            count == text.len() && self.layers[index].runs[digits as usize].is_under_way()
        };
        let base64 = Digits::Base64.trailing(text, most(Digits::Base64) + most(Digits::Hexadecimal));
        let is_run = |count: usize| count >= most(Digits::Base64) || goes_on(Digits::Base64, base64);
        if !is_run(base64) {
            return text.len() - base64;
        }
        let hexadecimal = Digits::Hexadecimal.trailing(text, most(Digits::Hexadecimal));
        if hexadecimal >= most(Digits::Hexadecimal) || goes_on(Digits::Hexadecimal, hexadecimal) {
            return text.len();
        }
        // Too few digits of base64 may be left before them.
        text.len() - if is_run(base64 - hexadecimal) { hexadecimal } else { base64 }
    }

    /// Decodes the next digits of a run. `begins`: they are the first.
    fn decode_part(&mut self, index: usize, digits: Digits, text: &[u8], part: Range<usize>, begins: bool) {
        if part.is_empty() {
            return;
        }
        let (group, group_bytes) = (digits.group(), digits.group_bytes());
        let is_new = self.layers[index].inbox.has_news(part.clone(), begins);
        let mut run = std::mem::take(&mut self.layers[index].runs[digits as usize]);
        run.length += part.len();
        run.is_new |= is_new;
        let mut scratch = std::mem::take(&mut self.scratch);
        scratch.digits.clear();
        scratch.digits.extend(run.pending.iter().map(|digit| digit.byte));
        scratch.digits.extend_from_slice(&text[part.clone()]);
        digits.pack(&scratch.digits, &mut scratch.packed);
        let groups = scratch.digits.len() / group;
        let length = groups.saturating_sub(1) * group_bytes;
        for phase in (0..group).filter(|_| groups > 0) {
            let (bytes, from) = if phase == 0 {
                (&scratch.packed, if run.pending.len() >= group { group_bytes } else { 0 })
            } else {
                digits.moved(&scratch.packed, phase, length, &mut scratch.moved);
                (&scratch.moved, 0)
            };
            // Groups that begin with an earlier batch, byte by byte.
            let earlier = run.pending.len().saturating_sub(phase).div_ceil(group);
            let cut = bytes.len().min((earlier * group_bytes).max(from));
            for (at, byte) in bytes.iter().enumerate().take(cut).skip(from) {
                let first = phase + at / group_bytes * group + at % group_bytes;
                let start = self.digit(index, text, &run.pending, &part, first).start;
                let end = self.digit(index, text, &run.pending, &part, first + 1).end;
                self.reading(index, digits, phase).write_byte(*byte, start, end);
            }
            if cut < bytes.len() {
                let first = phase + cut / group_bytes * group - run.pending.len();
                self.reading(index, digits, phase).write_digits(&bytes[cut..], digits, part.start + first);
            }
        }
        let kept = groups.saturating_sub(1) * group..scratch.digits.len();
        scratch.pending.clear();
        scratch.pending.extend(kept.map(|at| self.digit(index, text, &run.pending, &part, at)));
        std::mem::swap(&mut run.pending, &mut scratch.pending);
        self.scratch = scratch;
        self.layers[index].runs[digits as usize] = run;
    }

    /// Decodes what is left of a run, and ends it.
    #[expect(clippy::cast_possible_truncation, reason = "the eight bits that are next")]
    fn end_run(&mut self, index: usize, digits: Digits) {
        let Run { mut pending, .. } = std::mem::take(&mut self.layers[index].runs[digits as usize]);
        let (group, bits) = (digits.group(), digits.bits());
        for phase in 0..group {
            let inbox = self.reading(index, digits, phase);
            let from = if phase == 0 && pending.len() >= group { group } else { phase };
            let (mut held, mut count) = (0u64, 0);
            for (at, digit) in pending.iter().enumerate().skip(from) {
                held = held << bits | u64::from(digits.value(digit.byte));
                count += bits;
                if count >= 8 {
                    count -= 8;
                    inbox.write_byte((held >> count) as u8, pending[at - 1].start, digit.end);
                }
            }
            // Nothing that the run leaves unfinished waits for the next one.
            inbox.gap();
        }
        // The buffer is used again.
        pending.clear();
        self.layers[index].runs[digits as usize].pending = pending;
    }

    /// The inbox of one reading of a layer's runs.
    fn reading(&mut self, index: usize, digits: Digits, phase: usize) -> &mut Inbox {
        let child = self.child(index, child_of(digits, phase));
        &mut self.layers[child].inbox
    }

    /// A digit of those that are pending and of this part.
    fn digit(&self, index: usize, text: &[u8], pending: &[Digit], part: &Range<usize>, at: usize) -> Digit {
        match pending.get(at) {
            Some(digit) => *digit,
            None => {
                let place = part.start + at - pending.len();
                let [start, end] = [Edge::Start, Edge::End].map(|edge| self.in_source(index, place, edge));
                Digit { byte: text[place], start, end }
            }
        }
    }
}
