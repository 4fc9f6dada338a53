//! The plain way to search for secrets, which is slow: decodes everything in every order, and compares each place with
//! each secret. The fast search finds the same, neither less nor more.

use proptest::collection::vec;
use proptest::prelude::*;

use super::escapes::{Found, begins_escape, escape_at};
use super::inbox::DECODINGS_MAX;
use super::layers::Search;
use super::patterns::{PATTERN_BYTES_MAX, Patterns, readings};
use super::tests::{Form, around, form, secret};
use super::{SecretMatcher, without};

/// A byte, and where it begins and ends in the source.
type Piece = (u8, u32, u32);

/// What is compared with a text.
fn all_readings(secrets: &[String]) -> Vec<Vec<u8>> {
    let all = secrets.iter().flat_map(|secret| readings(secret)).map(|reading| reading.to_vec());
    all.filter(|reading| !reading.is_empty()).collect()
}

/// The ranges that hold secrets, in order and without overlap.
fn ranges(readings: &[Vec<u8>], source: &[u8]) -> Vec<(u32, u32)> {
    // The first bytes of a long secret are as good as the secret, so they are what digits have to hold.
    let shortest = readings.iter().map(|reading| reading.len().min(PATTERN_BYTES_MAX)).min().unwrap_or(1);
    let mut hits = Vec::new();
    let mut layers = vec![kept(source.iter().copied().zip(0..).map(|(byte, at)| (byte, at, at + 1)))];
    for decodings in 0..=DECODINGS_MAX {
        for layer in &layers {
            compare(readings, layer, &mut hits);
        }
        if decodings < DECODINGS_MAX {
            layers = layers.iter().flat_map(|layer| below(layer, shortest)).collect();
        }
    }
    hits.sort_unstable();
    let mut merged: Vec<(u32, u32)> = Vec::new();
    for (start, end) in hits {
        match merged.last_mut() {
            Some(last) if start < last.1 => last.1 = last.1.max(end),
            _ => merged.push((start, end)),
        }
    }
    merged
}

fn compare(readings: &[Vec<u8>], layer: &[Piece], hits: &mut Vec<(u32, u32)>) {
    let text: Vec<u8> = layer.iter().map(|piece| piece.0.to_ascii_lowercase()).collect();
    for reading in readings {
        let beginning = &reading[..reading.len().min(PATTERN_BYTES_MAX)];
        let uncompared = uncompared(readings, beginning);
        for at in 0..text.len() {
            if text[at..].starts_with(beginning) {
                let same = || reading.iter().zip(&text[at..]).take_while(|(one, other)| one == other).count();
                let length = uncompared.map_or_else(same, |bytes| bytes.min(text.len() - at));
                hits.push((layer[at].1, layer[at + length - 1].2));
            }
        }
    }
}

/// The bytes that are blanked out where a long secret begins, if these first bytes also stand inside a secret, at
/// another place: as many as the longest secret has that begins with them.
fn uncompared(readings: &[Vec<u8>], beginning: &[u8]) -> Option<usize> {
    let is_inside = |reading: &Vec<u8>| reading[1..].windows(beginning.len()).any(|window| window == beginning);
    let whole = readings.iter().filter(|reading| reading.starts_with(beginning)).map(Vec::len).max()?;
    (whole > PATTERN_BYTES_MAX && readings.iter().any(is_inside)).then_some(whole)
}

/// Everything that a layer may be decoded as, but for runs of digits that are too short for any secret.
fn below(layer: &[Piece], shortest: usize) -> Vec<Vec<Piece>> {
    let mut all = Vec::new();
    all.extend(unescaped(layer));
    let hexadecimal = |byte: u8| char::from(byte).to_digit(16);
    let base64 = |byte: u8| {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            _ => return None,
        };
        Some(u32::from(value))
    };
    for run in layer.split(|piece| hexadecimal(piece.0).is_none()) {
        all.extend((0..2).filter_map(|from| reading(run.get(from..)?, 4, shortest, hexadecimal)));
    }
    for run in layer.split(|piece| base64(piece.0).is_none()) {
        all.extend((0..4).filter_map(|from| reading(run.get(from..)?, 6, shortest, base64)));
    }
    all
}

/// The bytes that digits stand for; `None` if they are fewer than the shortest secret.
fn reading(digits: &[Piece], bits: u32, shortest: usize, value: impl Fn(u8) -> Option<u32>) -> Option<Vec<Piece>> {
    let (mut bytes, mut held, mut count) = (Vec::new(), 0, 0);
    for (at, digit) in digits.iter().enumerate() {
        held = (held << bits | value(digit.0)?) & 0xffff;
        count += bits;
        if count >= 8 {
            count -= 8;
            bytes.push(((held >> count & 255) as u8, digits[at - 1].1, digit.2));
        }
    }
    (bytes.len() >= shortest).then(|| kept(bytes))
}

fn unescaped(layer: &[Piece]) -> Option<Vec<Piece>> {
    let text: Vec<u8> = layer.iter().map(|piece| piece.0).collect();
    let (mut decoded, mut at, mut any) = (Vec::new(), 0, false);
    while at < text.len() {
        let found = if begins_escape(text[at]) { escape_at(&text, at, true) } else { Found::Literal };
        match found {
            Found::Escape { bytes, length, end } => {
                decoded.extend(bytes[..length].iter().map(|byte| (*byte, layer[at].1, layer[end - 1].2)));
                (at, any) = (end, true);
            }
            Found::Literal | Found::Incomplete => {
                decoded.push(layer[at]);
                at += 1;
            }
        }
    }
    any.then(|| kept(decoded))
}

/// The pieces without those that never belong to a secret.
fn kept(pieces: impl IntoIterator<Item = Piece>) -> Vec<Piece> {
    let mut after_break = false;
    let is_kept = |piece: &Piece| match piece.0 {
        0 => false,
        b'\r' | b'\n' => {
            after_break = true;
            false
        }
        b' ' | b'\t' if after_break => false,
        _ => {
            after_break = false;
            true
        }
    };
    pieces.into_iter().filter(is_kept).collect()
}

/// What the fast search finds in a text that comes in chunks of this size, in bytes.
fn found(secrets: &[String], text: &[u8], chunk_bytes: usize) -> Vec<(u32, u32)> {
    let patterns = Patterns::new(secrets.iter().map(String::as_str)).expect("secrets");
    let mut search = Search::new(&patterns);
    text.chunks(chunk_bytes).for_each(|chunk| search.read(chunk));
    search.finish().0
}

/// What texts of many layers are made of: escapes of each depth, digits that stand for digits, and what is left out.
const TOKENS: &str = concat!(
    r"%41|%2541|%252541|%25252541|%25|V|VVVVVVVV|3333333|3|\\|\n|&amp;| |%0a|%0d%0a |%00|56|e6|",
    r"\u0056|&#86;|%5c|%56|\|%|&|#86;|u0041|M3MzMz|JTQx",
);

/// A text written in these forms, one after the other, as long as it does not become too long for the plain way.
fn written(text: &[u8], forms: &[Form]) -> Vec<u8> {
    let write = |bytes: Vec<u8>, form: &Form| if bytes.len() > 4_000 { bytes } else { form.write(&bytes) };
    forms.iter().fold(text.to_vec(), write)
}

/// Secrets, of which some begin inside themselves or inside another.
fn secrets() -> impl Strategy<Value = Vec<String>> {
    let repeated = ("[a-c]{1,4}", 40..150usize, "[a-z0-9]{0,30}");
    let repeated = repeated.prop_map(|(stem, times, end)| stem.repeat(times) + &end);
    let one = prop_oneof![4 => secret(), 1 => repeated];
    (vec(one, 1..4), any::<bool>(), 1..20usize, "[a-z0-9]{0,30}").prop_map(|(mut secrets, overlap, from, end)| {
        let inner: String = secrets[0].chars().skip(from).chain(end.chars()).collect();
        if overlap && inner.len() >= 8 {
            secrets.push(inner);
        }
        secrets
    })
}

/// Escapes, of which some end with digits.
const ESCAPES: [&str; 13] =
    ["%20", "%5C", "%26", "%0a", "%00", "%2525", r"\x5c", r"\u005c", r"\n", r"\\", r#"\""#, "&#92;", "&amp;"];

/// What the beginning of an escape, or a line break, makes another text of.
const HALVES: [&str; 10] = ["", "b", "n", "u0041", "x41", "#65;", "amp;", " x", "41", "\""];

/// What stands beside an escape and the digits behind it.
const BESIDE: [&str; 7] = ["", "3", "V5", "=", "%25", " ", "%20V"];

fn digits() -> impl Strategy<Value = Form> {
    prop_oneof![
        any::<bool>().prop_map(|upper| Form::Hexadecimal { upper }),
        (any::<bool>(), 0usize..3).prop_map(|(url, before)| Form::Base64 { url, before, line: 0 }),
    ]
}

fn many_layered() -> impl Strategy<Value = String> {
    let tokens: Vec<&str> = TOKENS.split('|').chain(["\0\r\n\t"]).collect();
    // Few tokens in each text, so that there are long runs of each.
    (vec(0..tokens.len(), 1..8), vec(any::<usize>(), 1..80))
        .prop_map(move |(few, picked)| picked.iter().map(|pick| tokens[few[pick % few.len()]]).collect())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn secrets_and_parts_of_them_are_found_as_the_plain_way_finds_them(
        secrets in secrets(),
        parts in vec((around(), vec(form(), 0..=5), any::<usize>(), any::<usize>(), 0..4usize), 1..4),
        chunk_bytes in 1..400usize,
    ) {
        let mut text = Vec::new();
        for (beside, forms, which, cut, place) in parts {
            let secret = secrets[which % secrets.len()].as_bytes();
            let written = written(secret, &forms);
            let cut = cut % (written.len() + 1);
            text.extend_from_slice(beside.as_bytes());
            text.extend_from_slice(match place {
                0 => &written[cut..],
                1 => &written[..cut],
                _ => &written[..],
            });
        }
        let expected = ranges(&all_readings(&secrets), &text);
        prop_assert_eq!(&found(&secrets, &text, chunk_bytes), &expected, "{}", String::from_utf8_lossy(&text));
        let clean = SecretMatcher::new(secrets.iter().map(String::as_str)).blank_bytes(&text);
        prop_assert_eq!(clean, without(&text, &expected));
    }

    /// The secret is any part of any layer of the text, so that it stands in the text in ways that nobody thought of.
    #[test]
    fn whatever_stands_in_a_layer_is_found(
        inner in many_layered(),
        forms in vec(form(), 0..=2),
        before in many_layered(),
        after in many_layered(),
        way in vec(any::<usize>(), 0..=4),
        (from, length) in (any::<usize>(), 8..24usize),
        chunk_bytes in 1..100usize,
    ) {
        let written = written(inner.as_bytes(), &forms);
        let text = [before.as_bytes(), &written, after.as_bytes()].concat();
        let mut layer = kept(text.iter().copied().zip(0..).map(|(byte, at)| (byte, at, at + 1)));
        for turn in way {
            let mut all = below(&layer, length);
            if !all.is_empty() {
                layer = all.swap_remove(turn % all.len());
            }
        }
        let from = from % (layer.len() + 1);
        let part: Vec<u8> = layer[from..].iter().take(length).map(|piece| piece.0).collect();
        // Operators' secrets and tokens have at least eight characters.
        let Some(secret) = String::from_utf8(part).ok().filter(|secret| secret.len() >= 8) else { return Ok(()) };
        let secrets = [secret];
        let expected = ranges(&all_readings(&secrets), &text);
        prop_assert!(!expected.is_empty());
        prop_assert_eq!(found(&secrets, &text, chunk_bytes), expected, "{:?} in {}", secrets, text.escape_ascii());
    }

    /// Digits behind an escape stand for another text than they do together with those that the escape ends with.
    #[test]
    fn digits_behind_an_escape_are_found_as_the_plain_way_finds_them(
        (before, escape, half, after) in (0..BESIDE.len(), 0..ESCAPES.len(), 0..HALVES.len(), 0..BESIDE.len()),
        (first, escaped, rest) in ("[c-m]", "[a-o]", "[0-9-]{8,12}"),
        forms in vec(digits(), 1..3),
        outer in proptest::option::of(digits()),
        chunk_bytes in 1..60usize,
    ) {
        let [before, escape, half, after] = [BESIDE[before], ESCAPES[escape], HALVES[half], BESIDE[after]];
        let percent: String = escaped.bytes().map(|byte| format!("%{byte:02x}")).collect();
        let inner = written(format!("{half}{first}{percent}{rest}").as_bytes(), &forms);
        let text = [before.as_bytes(), escape.as_bytes(), &inner, after.as_bytes()].concat();
        let text = outer.map_or(text.clone(), |outer| outer.write(&text));
        let secrets = [format!("{half}{first}{escaped}{rest}")];
        let expected = ranges(&all_readings(&secrets), &text);
        prop_assert_eq!(found(&secrets, &text, chunk_bytes), expected, "{:?} in {}", secrets, text.escape_ascii());
    }
}
