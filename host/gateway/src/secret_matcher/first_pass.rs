//! The first pass: rules out texts that hold no secret, in less time than it takes to read them byte by byte. The
//! layered search answers for what is left.
//!
//! It may rule out a text only if the layered search finds nothing in it. What that finds stands in a layer, and there
//! are two kinds of these:
//!
//! - Those below the source by escapes alone. They are one text each, at most five in all, and the first pass makes
//!   the same ones: [`kept`] leaves out what a layer leaves out, [`unescaped`] decodes what a layer decodes. Most texts
//!   have one or two of them. Each is searched for the beginnings of all secrets ([`Windows`]).
//! - Those below a run of digits of one of the first kind. A run too short for the shortest secret holds none, however
//!   it is decoded further. The others are few, and the layered search reads them alone: nothing is found across the
//!   border of a run.

use std::borrow::Cow;
use std::ops::Range;

use super::escapes::{Found, begins_escape, escape_at};
use super::layers::{Search, is_digit};
use super::patterns::Patterns;
use super::pieces::DECODINGS_MAX;
use super::{BETWEEN, SLICE_BYTES};

/// Longest text that is looked at, in bytes: it takes about a millisecond, and a few if it has escapes all over, in
/// which the thread does nothing else. A page of fifty channels has about 200 KiB.
const TEXT_BYTES_MAX: usize = 256 * 1024;

/// Bytes that are compared at once.
const GRAM_LENGTH: u8 = 4;

/// The same, as lengths of texts are counted.
const GRAM_BYTES: usize = GRAM_LENGTH as usize;

/// Longest beginning of a secret that is searched for, in bytes. The longer it is, the more bytes are skipped at once.
const WINDOW_BYTES_MAX: u8 = 32;

/// Places in the table of shifts for each four bytes of a beginning: most places stay free, and skip farthest.
const PLACES_EACH: usize = 8;

/// Fewest and most places in the table of shifts, as powers of two: 1 KiB and 64 KiB.
const TABLE_BITS: (u32, u32) = (10, 16);

/// Bytes of a block that is passed over as a whole, with the processor's wide registers.
const BLOCK_BYTES: usize = 32;

/// Whether the text may hold a secret. `false` is certain: then the layered search finds nothing in it.
pub(super) fn may_hold(patterns: &Patterns, source: &[u8]) -> bool {
    let Some(windows) = patterns.windows.as_ref().filter(|_| source.len() <= TEXT_BYTES_MAX) else { return true };
    let digits_min = patterns.base64_digits_min();
    let digits_max = (source.len() / 2).min(SLICE_BYTES);
    let mut runs: Vec<u8> = Vec::new();
    let mut text = kept(Cow::Borrowed(source));
    for decodings in 0..=DECODINGS_MAX {
        if windows.may_occur(&text) {
            return true;
        }
        // What is below the deepest layer is not searched.
        if decodings == DECODINGS_MAX {
            break;
        }
        let mut from = 0;
        while let Some(run) = next_run(&text, from, digits_min) {
            from = run.end;
            if runs.len() + run.len() > digits_max {
                return true;
            }
            runs.extend_from_slice(&text[run]);
            runs.push(BETWEEN);
        }
        let Some(decoded) = unescaped(&text) else { break };
        text = kept(Cow::Owned(decoded));
    }
    if runs.is_empty() {
        return false;
    }
    let mut search = Search::new(patterns);
    search.read(&runs);
    !search.finish().0.is_empty()
}

/// The beginnings of all patterns, each as long as the shortest pattern or [`WINDOW_BYTES_MAX`], to be found by the
/// algorithm of Wu and Manber (1994): the last four bytes of a window of the text say how far the next beginning must
/// be away. Bytes are told apart without the bit in which upper and lower case differ.
pub(super) struct Windows {
    length: usize,
    /// By the hash of four bytes: how far on a beginning may end that has these four; 0 if one may end with them.
    shifts: Vec<u8>,
    /// Bits of a hash that the table has no places for.
    bits_unused: u32,
    /// Hashes of the beginnings, sorted.
    fingerprints: Vec<u64>,
}

impl Windows {
    /// Prepares the beginnings of these patterns, of which the shortest has so many bytes; `None` if that is too short.
    pub(super) fn of(patterns: &[&[u8]], shortest: usize) -> Option<Self> {
        let length = u8::try_from(shortest).unwrap_or(u8::MAX).min(WINDOW_BYTES_MAX);
        let farthest = (length + 1).checked_sub(GRAM_LENGTH).filter(|farthest| *farthest > 0)?;
        let length = usize::from(length);
        let grams = patterns.len().saturating_mul(length);
        let bits = grams.saturating_mul(PLACES_EACH).max(1).ilog2().clamp(TABLE_BITS.0, TABLE_BITS.1);
        let bits_unused = u32::BITS - bits;
        let mut shifts = vec![farthest; 1 << bits];
        for pattern in patterns {
            // The last four bytes of a beginning are 0 away from its end, those before 1, and so on.
            for (gram, shift) in pattern[..length].windows(GRAM_BYTES).rev().zip(0..) {
                let place = gram.first_chunk().map_or(0, |gram| place_of(*gram, bits_unused));
                shifts[place] = shifts[place].min(shift);
            }
        }
        let mut fingerprints: Vec<u64> = patterns.iter().map(|pattern| fingerprint(&pattern[..length])).collect();
        fingerprints.sort_unstable();
        Some(Self { length, shifts, bits_unused, fingerprints })
    }

    /// Whether a beginning may stand in the text.
    fn may_occur(&self, text: &[u8]) -> bool {
        // A text that nearly is a secret all over is not worth comparing again and again.
        let mut doubts_left = 16 + text.len() / 64;
        let mut at = 0;
        while let Some(window) = text.get(at..at + self.length) {
            let Some(gram) = window.last_chunk() else { return true };
            match self.shifts[place_of(*gram, self.bits_unused)] {
                0 if doubts_left == 0 || self.fingerprints.binary_search(&fingerprint(window)).is_ok() => return true,
                0 => (doubts_left, at) = (doubts_left - 1, at + 1),
                shift => at += usize::from(shift),
            }
        }
        false
    }
}

/// The place of four bytes in the table. The hash is Knuth's: the product with 2^32 divided by the golden ratio.
#[inline]
fn place_of(gram: [u8; GRAM_BYTES], bits_unused: u32) -> usize {
    ((u32::from_le_bytes(gram) | 0x2020_2020).wrapping_mul(0x9e37_79b1) >> bits_unused) as usize
}

/// The hash of a beginning: FNV-1a.
fn fingerprint(window: &[u8]) -> u64 {
    window
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte | 0x20)).wrapping_mul(0x0100_0000_01b3))
}

/// The first place at or after `from` where `is` is not 0.
#[inline]
fn first_place(text: &[u8], from: usize, is: impl Fn(u8) -> u8) -> Option<usize> {
    let mut at = from;
    for block in text[from..].chunks(BLOCK_BYTES) {
        if block.iter().fold(0, |any, byte| any | is(*byte)) != 0 {
            return block.iter().position(|byte| is(*byte) != 0).map(|place| at + place);
        }
        at += block.len();
    }
    None
}

/// The bytes that a layer keeps of a text, as [`Inbox::push`](super::pieces::Inbox::push) leaves out the others.
pub(super) fn kept(text: Cow<'_, [u8]>) -> Cow<'_, [u8]> {
    let is_left_out = |byte: u8| u8::from(byte == 0) | u8::from(byte == b'\r') | u8::from(byte == b'\n');
    let Some(mut at) = first_place(&text, 0, is_left_out) else { return text };
    let mut kept = Vec::with_capacity(text.len());
    kept.extend_from_slice(&text[..at]);
    let mut after_break = false;
    while let Some(&byte) = text.get(at) {
        match byte {
            0 => at += 1,
            b'\r' | b'\n' => (after_break, at) = (true, at + 1),
            b' ' | b'\t' if after_break => at += 1,
            _ => {
                let end = first_place(&text, at, is_left_out).unwrap_or(text.len());
                kept.extend_from_slice(&text[at..end]);
                (after_break, at) = (false, end);
            }
        }
    }
    Cow::Owned(kept)
}

/// The text with its escapes decoded, which makes it no longer; `None` if it has none.
pub(super) fn unescaped(text: &[u8]) -> Option<Vec<u8>> {
    let begins = |byte: u8| u8::from(begins_escape(byte));
    let mut decoded: Option<Vec<u8>> = None;
    let (mut at, mut copied) = (0, 0);
    while let Some(begin) = first_place(text, at, begins) {
        match escape_at(text, begin, true) {
            Found::Escape { bytes, length, end } => {
                let decoded = decoded.get_or_insert_with(|| Vec::with_capacity(text.len()));
                decoded.extend_from_slice(&text[copied..begin]);
                decoded.extend_from_slice(&bytes[..length]);
                (at, copied) = (end, end);
            }
            Found::Literal | Found::Incomplete => at = begin + 1,
        }
    }
    let mut decoded = decoded?;
    decoded.extend_from_slice(&text[copied..]);
    Some(decoded)
}

/// The next whole run of at least so many digits, at or after `from`, which is no place within a run.
fn next_run(text: &[u8], mut from: usize, digits_min: usize) -> Option<Range<usize>> {
    // From the last byte of a window backwards: a byte that is no digit rules out all before it.
    while let Some(window) = text.get(from..from + digits_min) {
        match window.iter().rposition(|byte| !is_digit(*byte)) {
            Some(other) => from += other + 1,
            None => {
                let until = from + digits_min;
                let more = text[until..].iter().take_while(|byte| is_digit(**byte)).count();
                return Some(from..until + more);
            }
        }
    }
    None
}
