//! Finds secrets in bytes and blanks them out.
//!
//! A secret is found in every form in which a platform or a connector may write it: as it is, percent-encoded (up to
//! four times), JSON-escaped, in any mix of these, or inside base64 at any offset. Upper and lower case are the same,
//! since host names and header names lose their case on the way.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use zeroize::Zeroizing;

/// Text that replaces a secret.
pub(super) const BLANK: &str = "[secret]";

/// Shortest base64 form that is searched for, in characters: a shorter one would be found by chance.
const BASE64_CHARS_MIN: usize = 10;

/// How often a secret may be percent-encoded and still be found. Limits the work on `%25252525…`.
const ENCODED_TIMES_MAX: usize = 4;

/// The secrets of one session, prepared for search. Wiped from memory when dropped.
pub(super) struct SecretMatcher {
    patterns: Vec<Zeroizing<Vec<u8>>>,
    /// Indexes into `patterns` by first byte, so that most bytes of a body cost one lookup.
    by_first_byte: Vec<Vec<usize>>,
}

impl SecretMatcher {
    /// Prepares these values and their base64 forms. Empty values are ignored.
    pub(super) fn new<'a>(values: impl IntoIterator<Item = &'a str>) -> Self {
        let mut patterns: Vec<Zeroizing<Vec<u8>>> = Vec::new();
        for value in values.into_iter().filter(|value| !value.is_empty()) {
            patterns.push(Zeroizing::new(value.as_bytes().to_vec()));
            for offset in 0..3 {
                patterns.extend(base64_forms(value.as_bytes(), offset));
            }
        }
        patterns.sort_by(|a, b| a.as_slice().cmp(b.as_slice()));
        patterns.dedup();
        let mut by_first_byte = vec![Vec::new(); 256];
        for (index, pattern) in patterns.iter().enumerate() {
            for first in BTreeSet::from([pattern[0].to_ascii_lowercase(), pattern[0].to_ascii_uppercase()]) {
                by_first_byte[usize::from(first)].push(index);
            }
        }
        Self { patterns, by_first_byte }
    }

    /// Whether any secret occurs in any form.
    pub(super) fn occur_in(&self, bytes: &[u8]) -> bool {
        (0..bytes.len()).any(|at| self.longest_at(bytes, at).is_some())
    }

    /// The bytes with every secret replaced.
    pub(super) fn blank(&self, bytes: Vec<u8>) -> Vec<u8> {
        let Some(first) = (0..bytes.len()).find(|&at| self.longest_at(&bytes, at).is_some()) else { return bytes };
        let mut clean = bytes[..first].to_vec();
        let mut at = first;
        while at < bytes.len() {
            match self.longest_at(&bytes, at) {
                Some(end) => {
                    clean.extend_from_slice(BLANK.as_bytes());
                    at = end;
                }
                None => {
                    clean.push(bytes[at]);
                    at += 1;
                }
            }
        }
        clean
    }

    /// The text with every secret replaced.
    pub(super) fn blank_text(&self, text: &str) -> String {
        String::from_utf8_lossy(&self.blank(text.as_bytes().to_vec())).into_owned()
    }

    /// End of the longest secret that starts here.
    fn longest_at(&self, bytes: &[u8], at: usize) -> Option<usize> {
        let longest_of = |first: u8| {
            self.by_first_byte[usize::from(first)]
                .iter()
                .filter_map(|&index| match_from(bytes, at, &self.patterns[index]))
                .max()
        };
        let plain = longest_of(bytes[at]);
        if starts_encoding(bytes[at]) {
            // Decoded before the look-up, so that a text of escaped letters only is not compared with every secret.
            return encoded(bytes, at).filter_map(|(first, _)| longest_of(first)).chain(plain).max();
        }
        plain
    }
}

/// The base64 characters that a value always produces when `offset` (mod 3) bytes precede it, in both alphabets.
fn base64_forms(value: &[u8], offset: usize) -> Vec<Zeroizing<Vec<u8>>> {
    let mut padded = Zeroizing::new(vec![0u8; offset]);
    padded.extend_from_slice(value);
    let from = (offset * 8).div_ceil(6);
    let until = padded.len() * 8 / 6;
    if until < from + BASE64_CHARS_MIN {
        return Vec::new();
    }
    [&STANDARD_NO_PAD, &URL_SAFE_NO_PAD]
        .into_iter()
        .map(|engine| {
            let encoded = Zeroizing::new(engine.encode(&*padded));
            Zeroizing::new(encoded.as_bytes()[from..until].to_vec())
        })
        .collect()
}

/// End of `pattern`, in any mix of encodings, if it starts at `at`.
fn match_from(bytes: &[u8], mut at: usize, pattern: &[u8]) -> Option<usize> {
    for (index, &wanted) in pattern.iter().enumerate() {
        let byte = *bytes.get(at)?;
        if !starts_encoding(byte) {
            if !byte.eq_ignore_ascii_case(&wanted) {
                return None;
            }
            at += 1;
            continue;
        }
        let mut ends = encoded(bytes, at).filter(|(value, _)| value.eq_ignore_ascii_case(&wanted)).map(|(_, end)| end);
        if starts_encoding(wanted) {
            // A percent sign or backslash of the secret itself may be written in several ways, one of which is the
            // prefix of another: the first that the rest of the secret follows is right.
            let rest = &pattern[index + 1..];
            return (byte == wanted)
                .then_some(at + 1)
                .into_iter()
                .chain(ends)
                .find_map(|end| match_from(bytes, end, rest));
        }
        at = ends.next()?;
    }
    Some(at)
}

fn starts_encoding(byte: u8) -> bool {
    byte == b'%' || byte == b'\\'
}

/// The characters that an encoding at `at` may stand for, each with its end: `%2F`, `%252F` and so on, `\/`, `\u002f`.
fn encoded(bytes: &[u8], at: usize) -> impl Iterator<Item = (u8, usize)> {
    let value_of = |from: usize, until: usize| u8::try_from(hexadecimal(bytes.get(from..until)?)?).ok();
    let percent = (bytes[at] == b'%')
        .then(|| {
            // Each further level inserts "25" between the percent sign and the digits.
            let next_level = move |&from: &usize| (value_of(from, from + 2) == Some(b'%')).then_some(from + 2);
            std::iter::successors(Some(at + 1), next_level)
                .take(ENCODED_TIMES_MAX)
                .filter_map(move |from| Some((value_of(from, from + 2)?, from + 2)))
        })
        .into_iter()
        .flatten();
    let backslash = (bytes[at] == b'\\')
        .then(|| match *bytes.get(at + 1)? {
            b'u' => Some((value_of(at + 2, at + 6)?, at + 6)),
            escaped => (!escaped.is_ascii_alphanumeric()).then_some((escaped, at + 2)),
        })
        .flatten();
    percent.chain(backslash)
}

fn hexadecimal(digits: &[u8]) -> Option<u32> {
    digits.iter().try_fold(0, |value, &digit| Some(value * 16 + char::from(digit).to_digit(16)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "IGQ/canary+token==%7";

    fn blanked(text: &str) -> String {
        SecretMatcher::new([TOKEN]).blank_text(text)
    }

    #[test]
    fn every_way_of_writing_a_secret_is_blanked_out() {
        for written in [
            TOKEN.to_owned(),
            "IGQ%2Fcanary%2Btoken%3D%3D%257".to_owned(),
            "IGQ%2fcanary%2btoken%3d%3d%257".to_owned(),
            "IGQ%252Fcanary%252Btoken%253D%253D%25257".to_owned(),
            r"IGQ\/canary+token==%7".to_owned(),
            r"IGQ\u002fcanary\u002Btoken\u003d\u003D%7".to_owned(),
            r"IGQ\/canary%2Btoken=%3D%7".to_owned(),
            "igq/CANARY+token==%7".to_owned(),
            "%49GQ/canary+token==%7".to_owned(),
        ] {
            assert_eq!(blanked(&format!("a={written}&b=1")), "a=[secret]&b=1", "{written}");
        }
    }

    #[test]
    fn a_secret_inside_base64_is_blanked_out_at_every_offset() {
        for prefix in ["", "a", "ab", "abc", "user:"] {
            let encoded = STANDARD_NO_PAD.encode(format!("{prefix}{TOKEN}:x"));
            assert!(blanked(&encoded).contains(BLANK), "{prefix}");
            let encoded = URL_SAFE_NO_PAD.encode(format!("{prefix}{TOKEN}?"));
            assert!(blanked(&encoded).contains(BLANK), "{prefix}");
        }
    }

    #[test]
    fn everything_else_stays_byte_for_byte() {
        let secrets = SecretMatcher::new([TOKEN, ""]);
        for other in
            ["IGQ/canary+token==", "IGQ/canary-token==%7", "%", "\\", "%2", "\\u00", "[]", "{\"a\":\"\\u0000%zz\"}"]
        {
            assert_eq!(secrets.blank(other.as_bytes().to_vec()), other.as_bytes());
            assert!(!secrets.occur_in(other.as_bytes()));
        }
        assert_eq!(secrets.blank(vec![0xff, 0x00, b'I']), vec![0xff, 0x00, b'I']);
    }

    #[test]
    fn text_that_looks_encoded_all_over_is_searched_in_reasonable_time() {
        let secrets =
            SecretMatcher::new(["canary-one-0123456789", "canary-two-0123456789", "%%%%%%%%%%%%%%%%\\\\\\\\"]);
        for hostile in [
            "%25".repeat(10_000),
            "%".repeat(10_000),
            r"\\".repeat(10_000),
            r"\u0063".repeat(10_000),
            "c".repeat(10_000),
        ] {
            assert!(!secrets.occur_in(hostile.as_bytes()), "{}", &hostile[..6]);
        }
    }

    #[test]
    fn of_two_secrets_with_one_prefix_the_longer_one_is_blanked() {
        let secrets = SecretMatcher::new(["abcdefgh", "abcdefghijkl"]);
        assert_eq!(secrets.blank_text("<abcdefghijkl> <abcdefgh>"), "<[secret]> <[secret]>");
    }
}
