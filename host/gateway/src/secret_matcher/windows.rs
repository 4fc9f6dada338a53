//! Finds where secrets may begin in a text, in less time than it takes to read it byte by byte.

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

/// Parts of a text that are searched side by side: while the processor waits for one place of the table, it looks up
/// the others.
const LANES: usize = 4;

/// The bit in which upper and lower case differ.
const CASE: u8 = 0x20;

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

/// How many more windows of a text are compared with all beginnings. A text that nearly is a secret all over is not
/// worth comparing again and again: when none is left, anything may be a beginning.
pub(super) struct Doubts(usize);

impl Doubts {
    /// Doubts about a text of so many bytes.
    pub(super) fn of(bytes: usize) -> Self {
        Self(16 + bytes / 64)
    }

    /// Whether none is left.
    pub(super) fn are_spent(&self) -> bool {
        self.0 == 0
    }
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

    /// Length of each beginning, in bytes.
    pub(super) fn length(&self) -> usize {
        self.length
    }

    /// Whether no beginning stands in the text. `true` is certain.
    pub(super) fn rule_out(&self, text: &[u8]) -> bool {
        let Some(places) = (text.len() + 1).checked_sub(self.length) else { return true };
        let mut doubts = Doubts::of(text.len());
        let each = places.div_ceil(LANES);
        // Where each part goes on, and where it ends: with the last window that begins in it.
        let part = |lane: usize| ((lane * each).min(places), ((lane + 1) * each).min(places));
        let mut parts: [(usize, usize); LANES] = std::array::from_fn(part);
        loop {
            let mut is_done = true;
            for (at, end) in &mut parts {
                if *at < *end {
                    is_done = false;
                    match self.shift(&text[*at..*at + self.length], &mut doubts) {
                        0 => return false,
                        shift => *at += shift,
                    }
                }
            }
            if is_done {
                return true;
            }
        }
    }

    /// The first place at or after `from` where a beginning may stand as a whole; `None` is certain. When no doubt is
    /// left it may be any place.
    pub(super) fn next_place(&self, text: &[u8], from: usize, doubts: &mut Doubts) -> Option<usize> {
        let mut at = from;
        while let Some(window) = text.get(at..at + self.length) {
            match self.shift(window, doubts) {
                0 => return Some(at),
                shift => at += shift,
            }
        }
        None
    }

    /// How far the next beginning must be away, in bytes; 0 if the window may be one.
    #[inline]
    fn shift(&self, window: &[u8], doubts: &mut Doubts) -> usize {
        let place = window.last_chunk().map_or(0, |gram| place_of(*gram, self.bits_unused));
        match self.shifts[place] {
            0 => usize::from(!self.may_be(window, doubts)),
            shift => usize::from(shift),
        }
    }

    /// Whether a window may be a beginning, by all its bytes.
    fn may_be(&self, window: &[u8], doubts: &mut Doubts) -> bool {
        if doubts.are_spent() {
            return true;
        }
        doubts.0 -= 1;
        self.fingerprints.binary_search(&fingerprint(window)).is_ok()
    }
}

/// The place of four bytes in the table. The hash is Knuth's: the product with 2^32 divided by the golden ratio.
#[inline]
fn place_of(gram: [u8; GRAM_BYTES], bits_unused: u32) -> usize {
    let gram = u32::from_le_bytes(gram) | u32::from_le_bytes([CASE; GRAM_BYTES]);
    (gram.wrapping_mul(0x9e37_79b1) >> bits_unused) as usize
}

/// The hash of a beginning. Eight bytes are taken in at once, since this is done for many windows of a hostile text; a
/// text that is made to have the hash of a beginning is only searched more closely.
fn fingerprint(window: &[u8]) -> u64 {
    let mix = |hash: u64, word: u64| {
        let mixed = (hash ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        mixed ^ mixed >> 32
    };
    let (words, rest) = window.as_chunks::<8>();
    let word = |bytes: &[u8; 8]| u64::from_le_bytes(*bytes) | u64::from_le_bytes([CASE; 8]);
    let hash = words.iter().fold(0xcbf2_9ce4_8422_2325, |hash, bytes| mix(hash, word(bytes)));
    rest.iter().fold(hash, |hash, byte| mix(hash, u64::from(byte | CASE)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_beginning_is_found_wherever_it_stands() {
        for secret in ["abcdefgh", "Abcdefgh01234567-xyz", "0123456789abcdefghijklmnopqrstuvwxyz"] {
            let windows = Windows::of(&[secret.as_bytes()], secret.len()).expect("long enough");
            for before in (0..70).chain([250, 1_000, 1_001]) {
                for after in [0, 1, 2, 3, 40, 301] {
                    let text = [".".repeat(before), secret.to_uppercase(), ".".repeat(after)].concat();
                    assert!(!windows.rule_out(text.as_bytes()), "{secret} behind {before}");
                    let mut doubts = Doubts::of(text.len());
                    assert_eq!(windows.next_place(text.as_bytes(), 0, &mut doubts), Some(before), "{secret}");
                    assert_eq!(windows.next_place(text.as_bytes(), before + 1, &mut doubts), None, "{secret}");
                    let cut = &text.as_bytes()[..before + windows.length() - 1];
                    assert!(windows.rule_out(cut), "{secret} behind {before}, without its end");
                }
            }
        }
        assert!(Windows::of(&[b"abc"], 3).is_none());
    }

    #[test]
    fn what_is_nearly_a_secret_all_over_is_not_ruled_out() {
        let windows = Windows::of(&[b"abcdefgh"], 8).expect("long enough");
        assert!(windows.rule_out("xbcdefgh".repeat(10).as_bytes()));
        assert!(!windows.rule_out("xbcdefgh".repeat(1_000).as_bytes()));
    }
}
