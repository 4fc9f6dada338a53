//! The beginnings of all secrets, and whether one may stand in a text.

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
    pub(super) fn may_occur(&self, text: &[u8]) -> bool {
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
