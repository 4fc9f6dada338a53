//! Reads one escape: percent-encoding, a backslash escape of JSON and similar formats, or an HTML entity.

use memchr::memchr3;

/// Longest escape in bytes: `&DiacriticalGrave;`.
pub(super) const ESCAPE_BYTES_MAX: usize = 18;

/// Names that HTML has for characters of ASCII, except letters and digits, which have none.
const ENTITIES: [(&str, u8); 45] = [
    ("AMP", b'&'),
    ("DiacriticalGrave", b'`'),
    ("GT", b'>'),
    ("Hat", b'^'),
    ("LT", b'<'),
    ("NewLine", b'\n'),
    ("QUOT", b'"'),
    ("Tab", b'\t'),
    ("UnderBar", b'_'),
    ("VerticalLine", b'|'),
    ("amp", b'&'),
    ("apos", b'\''),
    ("ast", b'*'),
    ("bsol", b'\\'),
    ("colon", b':'),
    ("comma", b','),
    ("commat", b'@'),
    ("dollar", b'$'),
    ("equals", b'='),
    ("excl", b'!'),
    ("grave", b'`'),
    ("gt", b'>'),
    ("lbrace", b'{'),
    ("lbrack", b'['),
    ("lcub", b'{'),
    ("lowbar", b'_'),
    ("lpar", b'('),
    ("lsqb", b'['),
    ("lt", b'<'),
    ("midast", b'*'),
    ("num", b'#'),
    ("percnt", b'%'),
    ("period", b'.'),
    ("plus", b'+'),
    ("quest", b'?'),
    ("quot", b'"'),
    ("rbrace", b'}'),
    ("rbrack", b']'),
    ("rcub", b'}'),
    ("rpar", b')'),
    ("rsqb", b']'),
    ("semi", b';'),
    ("sol", b'/'),
    ("verbar", b'|'),
    ("vert", b'|'),
];

/// Longest of these names, in bytes: as many as a number of 128 bits has.
const NAME_BYTES_MAX: usize = 16;

/// Places of [`PLACES`], as a power of two.
const PLACES_LOG: u32 = 7;

/// The hash of a name is its product with this number, under which no two of the names have one place.
const MULTIPLIER: u64 = 0x9595_7b1c_5d1f_9de5;

/// The names by the hash of each, so that one is looked up by a single comparison: a text may be full of them, and of
/// names that are not here.
static PLACES: [(u128, u8); 1 << PLACES_LOG] = places();

const fn places() -> [(u128, u8); 1 << PLACES_LOG] {
    let mut places = [(0, 0); 1 << PLACES_LOG];
    let mut which = 0;
    while which < ENTITIES.len() {
        let (name, byte) = ENTITIES[which];
        assert!(name.len() <= NAME_BYTES_MAX, "a name is longer than a number");
        let number = number_of(name.as_bytes());
        assert!(places[place_of(number)].0 == 0, "two names have one place: choose another multiplier");
        places[place_of(number)] = (number, byte);
        which += 1;
    }
    places
}

/// A name as a number. Names of up to [`NAME_BYTES_MAX`] bytes that are not zero have different ones.
#[inline]
const fn number_of(name: &[u8]) -> u128 {
    let (mut number, mut at) = (0, 0);
    while at < name.len() {
        number = number << 8 | name[at] as u128;
        at += 1;
    }
    number
}

#[inline]
const fn place_of(number: u128) -> usize {
    let folded = number as u64 ^ (number >> 64) as u64;
    (folded.wrapping_mul(MULTIPLIER) >> (u64::BITS - PLACES_LOG)) as usize
}

/// The character that has a name.
#[inline]
fn named(name: &[u8]) -> Option<u8> {
    if name.is_empty() || name.len() > NAME_BYTES_MAX {
        return None;
    }
    let number = number_of(name);
    let (known, byte) = PLACES[place_of(number)];
    (known == number).then_some(byte)
}

/// What stands at a place of a text.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// No escape begins here.
    Literal,
    /// An escape for these bytes; the text goes on at `end`.
    Escape { bytes: [u8; 4], length: usize, end: usize },
    /// The text ends before it is certain.
    Incomplete,
}

/// Whether an escape may begin with this byte.
#[inline]
pub(super) fn begins_escape(byte: u8) -> bool {
    (byte == b'%') | (byte == b'\\') | (byte == b'&')
}

/// Bytes that are looked at one by one before a search of many at once: that costs more than they do, and in text that
/// is mostly escapes the next one is near.
const NEAR_BYTES: usize = 8;

/// The first byte at or after a place with which an escape may begin.
#[inline]
pub(super) fn first_escape(text: &[u8], from: usize) -> Option<usize> {
    let rest = &text[from..];
    let (near, far) = rest.split_at(rest.len().min(NEAR_BYTES));
    if let Some(place) = near.iter().position(|byte| begins_escape(*byte)) {
        return Some(from + place);
    }
    memchr3(b'%', b'\\', b'&', far).map(|place| from + near.len() + place)
}

/// The pairs of a backslash and the character of punctuation that it stands for, one behind the other from a place on.
/// [`escape_at`] reads each of them in the same way, whatever follows. Of all escapes these stand side by side most:
/// JSON in JSON doubles them.
#[inline]
pub(super) fn backslash_pairs(text: &[u8], at: usize) -> &[[u8; 2]] {
    let (pairs, _) = text[at..].as_chunks::<2>();
    let count = pairs.iter().take_while(|[first, second]| *first == b'\\' && second.is_ascii_punctuation()).count();
    &pairs[..count]
}

/// Reads the escape at `at`. `last`: no more text follows.
#[inline]
pub(super) fn escape_at(text: &[u8], at: usize, last: bool) -> Found {
    let read = match text[at] {
        b'%' => hexadecimal(text, at + 1, 2).map(|byte| of_byte(byte, at + 3)),
        b'\\' => backslash(text, at, last),
        b'&' => entity(text, at),
        _ => Read::No,
    };
    match read {
        Read::Yes(found) => found,
        Read::No => Found::Literal,
        Read::Short if last => Found::Literal,
        Read::Short => Found::Incomplete,
    }
}

/// The result of reading a part of an escape.
enum Read<T> {
    Yes(T),
    No,
    /// The text ends here.
    Short,
}

impl<T> Read<T> {
    fn map<U>(self, convert: impl FnOnce(T) -> U) -> Read<U> {
        match self {
            Self::Yes(value) => Read::Yes(convert(value)),
            Self::No => Read::No,
            Self::Short => Read::Short,
        }
    }
}

#[expect(clippy::cast_possible_truncation, reason = "two hexadecimal digits, or a byte")]
fn of_byte(byte: u32, end: usize) -> Found {
    Found::Escape { bytes: [byte as u8, 0, 0, 0], length: 1, end }
}

/// The UTF-8 of a code point. One that does not exist becomes the replacement character, as decoders make it.
fn of_code_point(code: u32, end: usize) -> Found {
    let mut bytes = [0; 4];
    let length = char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER).encode_utf8(&mut bytes).len();
    Found::Escape { bytes, length, end }
}

/// A number of exactly so many hexadecimal digits.
#[inline]
fn hexadecimal(text: &[u8], from: usize, digits: usize) -> Read<u32> {
    let mut value = 0;
    for at in from..from + digits {
        let Some(byte) = text.get(at) else { return Read::Short };
        let Some(digit) = char::from(*byte).to_digit(16) else { return Read::No };
        value = value * 16 + digit;
    }
    Read::Yes(value)
}

#[inline]
fn backslash(text: &[u8], at: usize, last: bool) -> Read<Found> {
    let Some(next) = text.get(at + 1) else { return Read::Short };
    match *next {
        b'u' => match hexadecimal(text, at + 2, 4) {
            // At the end of the text there is no second half either.
            Read::Yes(high @ 0xd800..=0xdbff) => match low_surrogate(text, at + 6) {
                Read::Short if last => Read::Yes(None),
                low => low,
            }
            .map(|low| match low {
                Some(low) => of_code_point(0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00), at + 12),
                None => of_code_point(high, at + 6),
            }),
            read => read.map(|code| of_code_point(code, at + 6)),
        },
        b'x' => hexadecimal(text, at + 2, 2).map(|byte| of_byte(byte, at + 4)),
        b'b' => Read::Yes(of_byte(8, at + 2)),
        b'f' => Read::Yes(of_byte(12, at + 2)),
        b'n' => Read::Yes(of_byte(10, at + 2)),
        b'r' => Read::Yes(of_byte(13, at + 2)),
        b't' => Read::Yes(of_byte(9, at + 2)),
        other if other.is_ascii_punctuation() => Read::Yes(of_byte(other.into(), at + 2)),
        _ => Read::No,
    }
}

/// The second half of a pair; `None` if something else follows.
fn low_surrogate(text: &[u8], at: usize) -> Read<Option<u32>> {
    for (offset, wanted) in [(0, b'\\'), (1, b'u')] {
        match text.get(at + offset) {
            None => return Read::Short,
            Some(byte) if *byte != wanted => return Read::Yes(None),
            Some(_) => {}
        }
    }
    match hexadecimal(text, at + 2, 4) {
        Read::Yes(low @ 0xdc00..=0xdfff) => Read::Yes(Some(low)),
        Read::Yes(_) | Read::No => Read::Yes(None),
        Read::Short => Read::Short,
    }
}

fn entity(text: &[u8], at: usize) -> Read<Found> {
    let begin = at + 1;
    for end in begin..begin + ESCAPE_BYTES_MAX {
        match text.get(end) {
            None => return Read::Short,
            Some(b';') => return entity_named(&text[begin..end], end + 1),
            Some(b'#') if end == begin => {}
            Some(byte) if byte.is_ascii_alphanumeric() => {}
            Some(_) => return Read::No,
        }
    }
    Read::No
}

fn entity_named(name: &[u8], end: usize) -> Read<Found> {
    let code = match name {
        [b'#', b'x' | b'X', digits @ ..] => number(digits, 16),
        [b'#', digits @ ..] => number(digits, 10),
        _ => named(name).map(u32::from),
    };
    code.map_or(Read::No, |code| Read::Yes(of_code_point(code, end)))
}

fn number(digits: &[u8], radix: u32) -> Option<u32> {
    if digits.is_empty() {
        return None;
    }
    digits
        .iter()
        .try_fold(0u32, |value, &digit| value.checked_mul(radix)?.checked_add(char::from(digit).to_digit(radix)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, last: bool) -> Found {
        escape_at(text.as_bytes(), 0, last)
    }

    #[test]
    fn every_name_is_found() {
        for (name, byte) in ENTITIES {
            let Found::Escape { bytes, length: 1, .. } = read(&format!("&{name};x"), false) else { panic!("{name}") };
            assert_eq!(bytes[0], byte, "{name}");
            // Nothing else is one, not even with its place in the table.
            for other in [format!("{name}x"), format!("x{name}"), name[1..].to_owned(), name.to_uppercase()] {
                let is_known = ENTITIES.iter().any(|(name, _)| *name == other);
                let found = read(&format!("&{other};x"), false);
                assert_eq!(matches!(found, Found::Escape { .. }), is_known, "{other}");
            }
        }
    }

    #[test]
    fn every_escape_is_read_with_its_length() {
        for (text, expected) in [
            ("%2Fx", "/"),
            ("%2fx", "/"),
            (r"\/x", "/"),
            (r"\u002Fx", "/"),
            (r"\u00e9x", "é"),
            (r"\ud83d\ude00x", "😀"),
            (r"\x41x", "A"),
            (r"\nx", "\n"),
            (r"\\x", "\\"),
            ("&amp;x", "&"),
            ("&sol;x", "/"),
            ("&VerticalLine;x", "|"),
            ("&#47;x", "/"),
            ("&#x2F;x", "/"),
            ("&#x0001f600;x", "😀"),
        ] {
            let Found::Escape { bytes, length, end } = read(text, false) else { panic!("{text}") };
            assert_eq!((&bytes[..length], end), (expected.as_bytes(), text.len() - 1), "{text}");
        }
    }

    #[test]
    fn pairs_are_the_escapes_that_are_read_one_by_one() {
        let texts =
            [r"\\\\\/x", r"\\\\\", r#"\"\n\""#, r"\\\u005c", r"\\\x5c", r"\\\q", r"\", r"\é", r"\\ \\", "x", "%5c", ""];
        for text in texts.map(str::as_bytes) {
            for at in 0..=text.len() {
                let mut behind = at;
                for [first, second] in backslash_pairs(text, at) {
                    assert_eq!(*first, b'\\');
                    for last in [false, true] {
                        let Found::Escape { bytes, length: 1, end } = escape_at(text, behind, last) else {
                            panic!("{} at {behind}", text.escape_ascii())
                        };
                        assert_eq!((bytes[0], end), (*second, behind + 2), "{}", text.escape_ascii());
                    }
                    behind += 2;
                }
                let next = text.get(behind..behind + 2);
                let is_one = next.is_some_and(|next| next[0] == b'\\' && next[1].is_ascii_punctuation());
                assert!(!is_one, "{} from {at} ends at {behind}", text.escape_ascii());
            }
        }
    }

    #[test]
    fn what_is_no_escape_is_literal_and_what_may_become_one_is_incomplete() {
        for text in ["%zz", "%2z", r"\q", r"\u00zz", "&no such;", "&;", "&#;", "&#xfffffffff;", "&#12z;", "x", "&&"] {
            assert_eq!(read(text, false), Found::Literal, "{text}");
        }
        for text in ["%", "%2", r"\", r"\u00", r"\ud83d", r"\ud83d\ude", "&", "&am", "&#4"] {
            assert_eq!(read(text, false), Found::Incomplete, "{text}");
        }
        assert_eq!(read("%2", true), Found::Literal);
        assert!(matches!(read(r"\ud83d", true), Found::Escape { end: 6, .. }), "it has no second half");
    }
}
