//! Digits of hexadecimal and of base64: where runs of them are, and the bytes that they stand for.
//!
//! A group of digits may begin at each of several places of a run, so a run has as many readings. All of them are the
//! same bits, cut into bytes at other places: the digits are looked up once, and the other readings are moved by some
//! bits.

use std::ops::Range;

/// The value of what is no digit.
const NO_DIGIT: u8 = 255;

/// Bytes that are looked up together where the end of a run is searched.
const BLOCK_BYTES: usize = 8;

static HEXADECIMAL: [u8; 256] = values([b"0123456789abcdef", b"0123456789ABCDEF"]);
static BASE64: [u8; 256] = values([
    b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/",
    b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_",
]);

/// By byte: its value as a digit of either alphabet.
#[expect(clippy::cast_possible_truncation, reason = "an alphabet has at most 64 digits")]
const fn values(alphabets: [&[u8]; 2]) -> [u8; 256] {
    let mut values = [NO_DIGIT; 256];
    let mut which = 0;
    while which < alphabets.len() {
        let mut value = 0;
        while value < alphabets[which].len() {
            values[alphabets[which][value] as usize] = value as u8;
            value += 1;
        }
        which += 1;
    }
    values
}

/// A way of writing bytes as digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Digits {
    /// Digits of 0 to 9 and a to f, in any case.
    Hexadecimal,
    /// Digits of base64 and of base64url.
    Base64,
}

impl Digits {
    /// Both ways.
    pub(super) const ALL: [Self; 2] = [Self::Hexadecimal, Self::Base64];

    /// Digits of a group, which stands for whole bytes. A group may begin at as many places.
    pub(super) fn group(self) -> usize {
        match self {
            Self::Hexadecimal => 2,
            Self::Base64 => 4,
        }
    }

    /// Bytes that a group stands for. Each of them has bits of two digits, and each digit but the last begins one.
    pub(super) fn group_bytes(self) -> usize {
        match self {
            Self::Hexadecimal => 1,
            Self::Base64 => 3,
        }
    }

    /// Whole bytes that so many digits stand for.
    pub(super) fn bytes_of(self, digits: usize) -> usize {
        digits * self.bits() / 8
    }

    /// The first of the two digits of which a byte has bits. Both are counted from where the first group begins.
    pub(super) fn first_of(self, byte: usize) -> usize {
        match self {
            Self::Hexadecimal => byte * 2,
            Self::Base64 => byte / 3 * 4 + byte % 3,
        }
    }

    /// Bits of one digit.
    pub(super) fn bits(self) -> usize {
        match self {
            Self::Hexadecimal => 4,
            Self::Base64 => 6,
        }
    }

    /// Whether a byte is a digit.
    #[inline]
    pub(super) fn has(self, byte: u8) -> bool {
        self.value(byte) != NO_DIGIT
    }

    /// The value of a digit.
    #[inline]
    pub(super) fn value(self, byte: u8) -> u8 {
        self.values()[usize::from(byte)]
    }

    /// Where the run ends that begins at `from` or before it.
    pub(super) fn run_end(self, text: &[u8], from: usize) -> usize {
        let values = self.values();
        let (blocks, _) = text[from..].as_chunks::<BLOCK_BYTES>();
        // The values of digits have no more than six bits, so all of them together are not that of no digit.
        let all = |block: &[u8; BLOCK_BYTES]| block.iter().fold(0, |all, byte| all | values[usize::from(*byte)]);
        let at = from + blocks.iter().take_while(|block| all(block) != NO_DIGIT).count() * BLOCK_BYTES;
        at + text[at..].iter().take_while(|byte| values[usize::from(**byte)] != NO_DIGIT).count()
    }

    /// Number of digits that the text ends with, as far as it is not more than `most`.
    pub(super) fn trailing(self, text: &[u8], most: usize) -> usize {
        let values = self.values();
        text.iter().rev().take(most).take_while(|byte| values[usize::from(**byte)] != NO_DIGIT).count()
    }

    /// The next whole run of at least so many digits, at or after `from`, which is no place within a run.
    pub(super) fn next_run(self, text: &[u8], mut from: usize, digits_min: usize) -> Option<Range<usize>> {
        let values = self.values();
        // From the last byte of a window backwards: a byte that is no digit rules out all before it.
        while let Some(window) = text.get(from..from + digits_min) {
            match window.iter().rposition(|byte| values[usize::from(*byte)] == NO_DIGIT) {
                Some(other) => from += other + 1,
                None => return Some(from..self.run_end(text, from + digits_min)),
            }
        }
        None
    }

    /// Writes the bytes that these digits stand for. What the last group lacks is 0.
    pub(super) fn pack(self, digits: &[u8], packed: &mut Vec<u8>) {
        packed.clear();
        let values = self.values();
        let value = |digit: &u8| values[usize::from(*digit)];
        match self {
            Self::Hexadecimal => {
                let (groups, rest) = digits.as_chunks::<2>();
                packed.extend(groups.iter().map(|[high, low]| value(high) << 4 | value(low)));
                packed.extend(rest.iter().map(|high| value(high) << 4));
            }
            Self::Base64 => {
                let (groups, rest) = digits.as_chunks::<4>();
                packed.resize(groups.len() * 3, 0);
                let (bytes, _) = packed.as_chunks_mut::<3>();
                for (bytes, group) in bytes.iter_mut().zip(groups) {
                    *bytes = three_bytes(group.each_ref().map(value));
                }
                if !rest.is_empty() {
                    let mut group = [0; 4];
                    group.iter_mut().zip(rest).for_each(|(place, digit)| *place = value(digit));
                    packed.extend_from_slice(&three_bytes(group));
                }
            }
        }
    }

    /// Writes the reading whose first group begins `phase` digits later, as many bytes of it as given: at most those
    /// that the digits behind it stand for.
    pub(super) fn moved(self, packed: &[u8], phase: usize, length: usize, bytes: &mut Vec<u8>) {
        let bits = phase * self.bits();
        let packed = &packed[bits / 8..];
        match bits % 8 {
            2 => moved_by::<2>(packed, length, bytes),
            4 => moved_by::<4>(packed, length, bytes),
            6 => moved_by::<6>(packed, length, bytes),
            _ => {
                bytes.clear();
                bytes.extend_from_slice(&packed[..length]);
            }
        }
    }

    #[inline]
    fn values(self) -> &'static [u8; 256] {
        match self {
            Self::Hexadecimal => &HEXADECIMAL,
            Self::Base64 => &BASE64,
        }
    }
}

/// The bytes of four digits of base64.
#[inline]
fn three_bytes(values: [u8; 4]) -> [u8; 3] {
    let [a, b, c, d] = values.map(u32::from);
    let [_, first, second, third] = (a << 18 | b << 12 | c << 6 | d).to_be_bytes();
    [first, second, third]
}

fn moved_by<const BITS: u32>(packed: &[u8], length: usize, bytes: &mut Vec<u8>) {
    bytes.clear();
    let pairs = packed[..length].iter().zip(&packed[1..=length]);
    bytes.extend(pairs.map(|(high, low)| *high << BITS | *low >> (8 - BITS)));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The bytes of a reading, digit by digit.
    fn reading(digits: Digits, text: &[u8], phase: usize) -> Vec<u8> {
        let (mut bytes, mut held, mut bits) = (Vec::new(), 0u64, 0);
        for digit in &text[phase..] {
            held = held << digits.bits() | u64::from(digits.value(*digit));
            bits += digits.bits();
            if bits >= 8 {
                bits -= 8;
                bytes.push((held >> bits & 255) as u8);
            }
        }
        bytes
    }

    #[test]
    fn the_readings_of_a_run_are_the_same_bits_at_other_places() {
        let text: Vec<u8> =
            (0..=255).cycle().take(2_000).filter(|byte| BASE64[usize::from(*byte)] != NO_DIGIT).collect();
        for digits in Digits::ALL {
            let text: Vec<u8> = text.iter().copied().filter(|byte| digits.value(*byte) != NO_DIGIT).collect();
            let (mut packed, mut bytes) = (Vec::new(), Vec::new());
            for count in 1..60 {
                digits.pack(&text[..count], &mut packed);
                for phase in 0..digits.group() {
                    let length = digits.bytes_of(count.saturating_sub(phase));
                    digits.moved(&packed, phase, length, &mut bytes);
                    let expected = if phase < count { reading(digits, &text[..count], phase) } else { Vec::new() };
                    assert_eq!(bytes, expected, "{digits:?}, {count} of them from {phase}");
                }
            }
        }
    }

    #[test]
    fn runs_are_found_with_their_ends() {
        for (text, digits_min, expected) in [
            ("abc, abcdefgh-/+_, x", 4, Some(5..17)),
            ("abc, abcdefgh-/+_, x", 13, None),
            ("abcdefghi", 9, Some(0..9)),
            ("=abcdefghijklmnopqrstuvw=", 2, Some(1..24)),
            ("", 1, None),
        ] {
            assert_eq!(Digits::Base64.next_run(text.as_bytes(), 0, digits_min), expected, "{text}");
        }
        assert_eq!(Digits::Hexadecimal.next_run(b"xyz 0123456789aBcDeFg", 0, 8), Some(4..20));
        assert_eq!(Digits::Hexadecimal.trailing(b"xyz 09aF", 10), 4);
        assert_eq!(Digits::Base64.trailing(b"xyz 09aF", 3), 3);
    }
}
