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
    /// The last ones: the last whole group of the first reading, if there is one, and what is behind it. The next bytes
    /// of every reading are made of these and of what follows.
    pending: Vec<Digit>,
    /// Whether the layer above has another one, or none, where this is.
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

    /// Whether there is one that the layer above does not have too, from its first digit on.
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
    /// A run that the layer above has too, from its first digit to its last, is decoded there already.
    pub(super) fn decode(&mut self, index: usize, digits: Digits, text: &[u8], last: bool) {
        let mut at = 0;
        if self.layers[index].runs[digits as usize].is_under_way() {
            at = digits.run_end(text, 0);
            self.decode_part(index, digits, text, 0..at, at < text.len() || last);
        }
        let digits_min = self.patterns.digits_min(digits);
        while let Some(run) = digits.next_run(text, at, digits_min) {
            at = run.end;
            let ends = at < text.len() || last;
            if !ends || self.layers[index].inbox.has_news(run.clone(), true) {
                self.decode_part(index, digits, text, run, ends);
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

    /// Decodes the next digits of a run, into every byte that is whole. `ends`: no more digits follow.
    fn decode_part(&mut self, index: usize, digits: Digits, text: &[u8], part: Range<usize>, ends: bool) {
        let group = digits.group();
        let mut run = std::mem::take(&mut self.layers[index].runs[digits as usize]);
        run.is_new |= self.layers[index].inbox.has_news(part.clone(), !run.is_under_way());
        run.length += part.len();
        let mut scratch = std::mem::take(&mut self.scratch);
        let earlier = run.pending.len();
        let all = if earlier == 0 {
            &text[part.clone()]
        } else {
            scratch.digits.clear();
            scratch.digits.extend(run.pending.iter().map(|digit| digit.byte));
            scratch.digits.extend_from_slice(&text[part.clone()]);
            scratch.digits.as_slice()
        };
        let count = all.len();
        digits.pack(all, &mut scratch.packed);
        for phase in 0..group {
            let written = digits.bytes_of(earlier.saturating_sub(phase));
            let length = digits.bytes_of(count.saturating_sub(phase));
            digits.moved(&scratch.packed, phase, length, &mut scratch.moved);
            // Bytes of groups that begin in an earlier batch, one by one.
            let cut = length.min(earlier.saturating_sub(phase).div_ceil(group) * digits.group_bytes());
            for (at, byte) in scratch.moved.iter().enumerate().take(cut).skip(written) {
                let first = phase + digits.first_of(at);
                let start = self.digit(index, text, &run.pending, &part, first).start;
                let end = self.digit(index, text, &run.pending, &part, first + 1).end;
                self.reading(index, digits, phase).write_byte(*byte, start, end);
            }
            let reading = self.reading(index, digits, phase);
            if cut < length {
                let first = phase + digits.first_of(cut) - earlier;
                reading.write_digits(&scratch.moved[cut..], digits, part.start + first);
            }
            if ends {
                // Nothing that the run leaves unfinished waits for the next one.
                reading.gap();
            }
        }
        scratch.pending.clear();
        if ends {
            (run.length, run.is_new) = (0, false);
        } else {
            let kept = (count / group).saturating_sub(1) * group..count;
            scratch.pending.extend(kept.map(|at| self.digit(index, text, &run.pending, &part, at)));
        }
        std::mem::swap(&mut run.pending, &mut scratch.pending);
        self.scratch = scratch;
        self.layers[index].runs[digits as usize] = run;
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
