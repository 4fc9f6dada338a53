//! The automaton that finds secrets in decoded text, and what each of its patterns stands for.

use std::borrow::Cow;
use std::sync::OnceLock;

use aho_corasick::automaton::{Automaton as _, StateID};
use aho_corasick::nfa::contiguous::NFA;
use aho_corasick::{Anchored, MatchKind};
use zeroize::Zeroizing;

use super::digits::Digits;
use super::inbox::{DECODINGS_MAX, GAP};
use super::plain;
use super::windows::Windows;

/// Most bytes of a secret that the automaton holds. The first bytes of a longer secret are as good as the secret; what
/// follows them is compared byte by byte. So the automaton of 500 secrets has a few megabytes, however long they are.
pub(super) const PATTERN_BYTES_MAX: usize = 128;

/// Shortest other reading of a secret that is searched for, in bytes. An operator's secret and the token of a token
/// endpoint have at least as many. A shorter reading would be found by chance: `怀怀怀` in UTF-16 is three backticks,
/// without the bytes that are zero.
const READING_BYTES_MIN: usize = 8;

/// The secrets as patterns.
pub(super) struct Patterns {
    /// Made for the first text that the first pass leaves: for the secrets of a batch it takes longer than the first
    /// pass over all answers, and most batches have no such text.
    automaton: OnceLock<Automaton>,
    patterns: Vec<Pattern>,
    /// Beginnings of the patterns, which rule texts out; none if a pattern is too short for it.
    pub(super) windows: Option<Windows>,
    /// Length of the shortest pattern, in bytes.
    pub(super) shortest: usize,
    /// Length of the longest pattern, in bytes.
    pub(super) longest: usize,
}

/// One pattern: the beginning of one secret or of several.
struct Pattern {
    beginning: Zeroizing<Vec<u8>>,
    /// What follows it in each secret that is longer, sorted.
    rests: Vec<Zeroizing<Vec<u8>>>,
}

/// A secret that is longer than its pattern and is still being read.
#[derive(Clone, Copy)]
pub(super) struct Following {
    pattern: usize,
    /// The rests that agree with what was read so far.
    from: usize,
    until: usize,
    /// How much of the rest was read, in bytes.
    read: usize,
    /// Where the secret began in the source.
    pub(super) start: u32,
}

/// Bytes behind a pattern that are blanked out whatever they are. [`Automaton::uncompared`] says when.
#[derive(Clone, Copy)]
pub(super) struct Uncompared {
    /// How many are left.
    bytes: usize,
    /// Where the pattern began in the source.
    pub(super) start: u32,
}

impl Patterns {
    /// Prepares these values; `None` if there is nothing to search for.
    pub(super) fn new<'a>(values: impl IntoIterator<Item = &'a str>) -> Option<Self> {
        let mut secrets: Vec<_> = values.into_iter().flat_map(readings).filter(|reading| !reading.is_empty()).collect();
        secrets.sort_unstable_by(|a, b| a.as_slice().cmp(b.as_slice()));
        secrets.dedup();
        // Secrets with one beginning stand side by side, in the order of what follows it.
        let mut beginnings: Vec<&[u8]> = Vec::new();
        let mut patterns: Vec<Pattern> = Vec::new();
        for secret in &secrets {
            let (beginning, rest) = secret.split_at(secret.len().min(PATTERN_BYTES_MAX));
            if beginnings.last() != Some(&beginning) {
                beginnings.push(beginning);
                patterns.push(Pattern { beginning: Zeroizing::new(beginning.to_vec()), rests: Vec::new() });
            }
            if let Some(pattern) = patterns.last_mut().filter(|_| !rest.is_empty()) {
                pattern.rests.push(Zeroizing::new(rest.to_vec()));
            }
        }
        let lengths = || beginnings.iter().map(|beginning| beginning.len());
        let (shortest, longest) = (lengths().min()?, lengths().max()?);
        let windows = Windows::of(&beginnings, shortest);
        Some(Self { automaton: OnceLock::new(), patterns, windows, shortest, longest })
    }

    /// The automaton that finds the patterns.
    pub(super) fn automaton(&self) -> &Automaton {
        self.automaton.get_or_init(|| Automaton::of(&self.patterns))
    }

    /// Digits that hold as many bytes as the shortest pattern. A run of fewer holds no pattern, in whatever way it is
    /// decoded further.
    pub(super) fn digits_min(&self, digits: Digits) -> usize {
        (8 * self.shortest).div_ceil(digits.bits())
    }

    /// What to follow after a pattern that began at `start`; `None` if no secret goes on after it. Inside what is being
    /// followed none begins, but for those that are not compared.
    pub(super) fn follow(&self, pattern: usize, start: impl FnOnce() -> u32) -> Option<Following> {
        let until = self.patterns[pattern].rests.len();
        (until > 0).then(|| Following { pattern, from: 0, until, read: 0, start: start() })
    }

    /// Reads one more byte; `None` if no secret has it there.
    pub(super) fn go_on(&self, following: Following, byte: u8) -> Option<Following> {
        let Following { pattern, from, until, read, start } = following;
        let (byte, rests) = (Some(byte.to_ascii_lowercase()), &self.patterns[pattern].rests[from..until]);
        let at = |rest: &Zeroizing<Vec<u8>>| rest.get(read).copied();
        let first = leading(rests.len(), |index| at(&rests[index]) < byte);
        let last = leading(rests.len() - first, |index| at(&rests[rests.len() - 1 - index]) > byte);
        let (from, until) = (from + first, until - last);
        (from < until).then_some(Following { pattern, from, until, read: read + 1, start })
    }
}

impl Uncompared {
    /// None yet, behind a pattern that began at `start`.
    pub(super) fn behind(start: u32) -> Self {
        Self { bytes: 0, start }
    }

    /// Goes over one more byte; `None` if it was the last one before, or if this is a gap, which no secret has.
    pub(super) fn go_on(self, byte: u8) -> Option<Self> {
        let bytes = self.bytes.checked_sub(1).filter(|_| byte != GAP)?;
        Some(Self { bytes, ..self })
    }

    /// The same, or more if so many bytes are to be blanked out behind a pattern that ends here.
    pub(super) fn at_least(self, bytes: usize) -> Self {
        Self { bytes: self.bytes.max(bytes), ..self }
    }
}

/// How many of the first of so many are so, if none is behind one that is not. Takes few steps where they are few, and
/// in a hostile text each byte may rule out one secret only.
fn leading(length: usize, is_so: impl Fn(usize) -> bool) -> usize {
    let mut step = 1;
    while step <= length && is_so(step - 1) {
        step *= 2;
    }
    let (mut least, mut most) = (step / 2, length.min(step - 1));
    while least < most {
        let middle = usize::midpoint(least, most);
        if is_so(middle) {
            least = middle + 1;
        } else {
            most = middle;
        }
    }
    least
}

/// What finds patterns in decoded text, byte by byte.
pub(super) struct Automaton {
    states: NFA,
    start: StateID,
    /// By pattern: bytes of [`Self::uncompared`]; 0 if what follows is compared.
    uncompared: Vec<usize>,
}

impl Automaton {
    fn of(patterns: &[Pattern]) -> Self {
        let states = NFA::builder()
            .match_kind(MatchKind::Standard)
            .prefilter(false)
            .build(patterns.iter().map(|pattern| pattern.beginning.as_slice()))
            .expect("the patterns of every secret of a batch are far below the automaton's limit of 2^31 states");
        let start = states.start_state(Anchored::No).expect("the automaton is not anchored");
        let mut automaton = Self { states, start, uncompared: vec![0; patterns.len()] };
        for pattern in patterns.iter().filter(|pattern| !pattern.rests.is_empty()) {
            automaton.find_inside(patterns, pattern);
        }
        automaton
    }

    /// Notes the patterns that stand inside the secrets that begin with this one.
    fn find_inside(&mut self, patterns: &[Pattern], outer: &Pattern) {
        let begun = outer.beginning.iter().fold(self.start, |state, byte| self.next(state, *byte));
        let mut previous: &[u8] = &[];
        for rest in &outer.rests {
            // What it has in common with the one before was read with that, but for what the state depends on.
            let common = rest.iter().zip(previous).take_while(|(one, other)| one == other).count();
            let from = common.saturating_sub(PATTERN_BYTES_MAX);
            let mut state = if from == 0 { begun } else { self.start };
            for byte in &rest[from..] {
                state = self.next(state, *byte);
                // A pattern with rests is as long as a pattern can be, so it is the longest that ends.
                if let Some((inner, _)) = self.ending(state) {
                    self.uncompared[inner] = patterns[inner].rests.iter().map(|rest| rest.len()).max().unwrap_or(0);
                }
            }
            previous = rest.as_slice();
        }
    }

    /// The state in which no secret has begun.
    pub(super) fn start(&self) -> StateID {
        self.start
    }

    /// The state after one more byte.
    #[inline]
    pub(super) fn next(&self, state: StateID, byte: u8) -> StateID {
        self.states.next_state(Anchored::No, state, byte.to_ascii_lowercase())
    }

    /// How many bytes behind a pattern are blanked out without being compared: as many as the longest secret has there,
    /// if the pattern stands inside a secret too, at another place than its beginning. Of the texts that begin like the
    /// one and like the other only one is followed, and the other's end would be left; 0 for all other patterns.
    #[inline]
    pub(super) fn uncompared(&self, pattern: usize) -> usize {
        self.uncompared[pattern]
    }

    /// The longest pattern that ends in this state, and its length in bytes.
    #[inline]
    pub(super) fn ending(&self, state: StateID) -> Option<(usize, usize)> {
        if !self.states.is_special(state) || !self.states.is_match(state) {
            return None;
        }
        // The first pattern of a state is the state's own, so it is the longest; the others are its suffixes.
        let pattern = self.states.match_pattern(state, 0);
        Some((pattern.as_usize(), self.states.pattern_len(pattern)))
    }
}

/// A secret in the forms in which decoding may leave it: as it is, and where it has characters outside ASCII, as UTF-16
/// without the bytes that are zero; each of these also with what looks like escapes in it decoded.
pub(super) fn readings(value: &str) -> Vec<Zeroizing<Vec<u8>>> {
    let mut bases = vec![kept(value.as_bytes())];
    if !value.is_ascii() {
        for to_bytes in [u16::to_le_bytes, u16::to_be_bytes] {
            // No character has more than twice as many bytes as in UTF-8. What grew would leave a copy behind.
            let mut bytes = Zeroizing::new(Vec::<u8>::with_capacity(2 * value.len()));
            bytes.extend(value.encode_utf16().flat_map(to_bytes));
            let base = kept(&bytes);
            if base.len() >= READING_BYTES_MIN {
                bases.push(base);
            }
        }
    }
    let mut readings = Vec::with_capacity(bases.len());
    for base in bases {
        readings.push(base);
        for _ in 0..DECODINGS_MAX {
            let Some(decoded) = unescaped(&readings[readings.len() - 1]) else { break };
            if decoded.len() < READING_BYTES_MIN {
                break;
            }
            readings.push(decoded);
        }
    }
    for reading in &mut readings {
        reading.make_ascii_lowercase();
    }
    readings
}

/// The bytes that a layer keeps.
fn kept(bytes: &[u8]) -> Zeroizing<Vec<u8>> {
    Zeroizing::new(plain::kept(Cow::Borrowed(bytes)).into_owned())
}

/// The text with its escapes decoded; `None` if it has none.
fn unescaped(text: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let decoded = Zeroizing::new(plain::unescaped(text)?);
    Some(kept(&decoded))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_leading_ones_are_counted() {
        for length in 0..40 {
            for so in 0..=length {
                assert_eq!(leading(length, |index| index < so), so, "{so} of {length}");
            }
        }
    }

    #[test]
    fn a_pattern_inside_a_secret_is_noted() {
        let stem: String = (0..80).map(|n| format!("{:02x}", n * 37 % 251)).collect();
        let (inner, outer) = (format!("{stem}-one"), format!("={stem}-two"));
        let patterns = Patterns::new([inner.as_str(), outer.as_str()]).expect("secrets");
        let uncompared = [0, 1].map(|pattern| patterns.automaton().uncompared(pattern));
        assert_eq!(uncompared, [inner.len() - PATTERN_BYTES_MAX, 0]);
        // What two secrets begin with alike is read once, and what stands behind that is found too.
        let long = "a".repeat(300);
        let secrets = [format!("{long}b{inner}"), format!("{long}c{outer}"), inner];
        let patterns = Patterns::new(secrets.iter().map(String::as_str)).expect("secrets");
        assert_eq!(patterns.automaton().uncompared(0), secrets[2].len() - PATTERN_BYTES_MAX);
        assert_eq!(patterns.automaton().uncompared(1), secrets[1].len() - PATTERN_BYTES_MAX);
    }

    #[test]
    fn what_follows_a_pattern_is_followed_as_far_as_a_secret_has_it() {
        let stem = "a".repeat(PATTERN_BYTES_MAX);
        let secrets: Vec<String> = ["aab", "aac", "aacd", "ab", "", "b"].map(|rest| format!("{stem}{rest}")).into();
        let patterns = Patterns::new(secrets.iter().map(String::as_str)).expect("secrets");
        for (text, followed) in [("aab", 3), ("AACDE", 4), ("aacx", 3), ("abb", 2), ("b", 1), ("c", 0), ("", 0)] {
            let mut following = patterns.follow(0, || 7);
            let mut read = 0;
            for byte in text.bytes() {
                following = following.and_then(|before| patterns.go_on(before, byte));
                read += usize::from(following.is_some());
            }
            assert_eq!(read, followed, "{text}");
        }
    }
}
