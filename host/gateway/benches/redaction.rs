//! How long the redaction of the largest answer takes: 500 secrets and 16 MiB, for an ordinary text and for those that
//! make the search work hardest. Fails if one of them takes more than twice as long as the ordinary one, except the
//! last two, for which decision 93 says why.
//!
//! `cargo bench --package backline-gateway --bench redaction` runs it. It takes minutes, so it is no part of
//! `cargo xtask bench`.

use std::time::{Duration, Instant};

use backline_gateway::benchmarks::Redaction;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;

/// Secrets of a session: those of the largest batch.
const SECRETS: usize = 500;

/// Bytes of an answer: `gateway.body_bytes_max`.
const BODY_BYTES: usize = 16 << 20;

/// How often each text is searched; the fastest time counts, since everything else on the machine only adds to it.
const ROUNDS: usize = 3;

/// How many times as long as an ordinary text any other may take.
const WORST: f64 = 2.0;

/// An object as platforms send them, with links and escapes.
const ORDINARY: &str = concat!(
    r#"{"id":"17841400008460056","username":"artist","followers_count":12345,"#,
    r#""profile_picture_url":"https:\/\/example.com\/p%20q?x=1"},"#
);

/// Makes the token of each account.
type TokenOf = fn(usize) -> String;

/// A token as long as Instagram's.
fn token(number: usize) -> String {
    format!("IGQWR{number:04}{}", "abcDEF123".repeat(18))
}

/// The shortest token that is accepted.
fn short_token(number: usize) -> String {
    format!("{:08x}", 0x9e37_79b9usize.wrapping_mul(number + 1) & 0xffff_ffff)
}

/// Tokens that a hostile endpoint grants: of one letter, as long as tokens may be, each with another end.
fn hostile_token(number: usize) -> String {
    format!("{}{number:04}", "a".repeat(8_000))
}

/// A text again and again, up to the size of an answer.
fn filled(text: &[u8]) -> Vec<u8> {
    let mut body = text.repeat(BODY_BYTES / text.len() + 1);
    body.truncate(BODY_BYTES);
    body
}

/// Four times base64 of a text that has about so many bytes.
fn nested(text: &str, bytes: usize) -> Vec<u8> {
    let text = text.repeat(bytes / text.len() + 1);
    (0..4).fold(text.into_bytes(), |bytes, _| STANDARD_NO_PAD.encode(bytes).into_bytes())
}

/// The digits of hexadecimal of the bytes.
fn hexadecimal(bytes: impl IntoIterator<Item = u8>) -> Vec<u8> {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes.into_iter().flat_map(|byte| [byte >> 4, byte & 15].map(|digit| DIGITS[usize::from(digit)])).collect()
}

/// Numbers that look random, the same each time: a linear congruential generator's high bits.
fn numbers() -> impl Iterator<Item = u8> {
    let next = |state: &u32| Some(state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223));
    std::iter::successors(Some(1u32), next).map(|state| state.to_be_bytes()[0])
}

/// Digits of hexadecimal that stand for such digits, wherever a pair begins, four times over in most places.
fn ambiguous() -> Vec<u8> {
    let nibbles: Vec<u8> = numbers().take(BODY_BYTES).map(|number| [3, 4, 6][usize::from(number) % 3]).collect();
    hexadecimal(nibbles.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]))
}

/// The ordinary text as a text of JSON in a text of JSON in a text of JSON: it has escapes of four depths.
fn json_in_json() -> Vec<u8> {
    let quoted = |text: String| text.replace('\\', r"\\").replace('"', r#"\""#);
    (0..3).fold(ORDINARY.to_owned(), |text, _| quoted(text)).into_bytes()
}

/// Texts that take longer than [`WORST`] times as long as the ordinary one: escapes of each depth join digits to longer
/// runs, or stand in front of them, and each run is decoded in all ways.
fn beyond() -> Vec<(&'static str, Vec<u8>)> {
    let joined = format!("{0}%56{0}%2556{0}%252556", "V".repeat(240));
    let behind = format!("%25252520{}", "V".repeat(BODY_BYTES));
    vec![
        ("digits joined by escapes of each depth", filled(joined.as_bytes())),
        ("digits behind an escape of four depths", filled(behind.as_bytes())),
    ]
}

/// The texts, the ordinary one first.
fn texts() -> Vec<(&'static str, Vec<u8>)> {
    let almost = token(7);
    let almost = &almost[..almost.len() - 1];
    let far_apart = format!("{}%25252541 ", "Nothing to see here. ".repeat(10));
    vec![
        ("ordinary JSON", filled(ORDINARY.as_bytes())),
        ("one letter", filled(b"a")),
        ("almost a secret", filled(almost.as_bytes())),
        ("the first quarter of a secret", filled(&almost.as_bytes()[..40])),
        ("percent signs", filled(b"%")),
        ("percent escapes", filled(b"%25")),
        ("percent escapes of percent escapes", filled(b"%2525252525")),
        ("backslashes", filled(br"\")),
        ("escapes of JSON", filled(br"\u005c")),
        ("ampersands", filled(b"&")),
        ("entities", filled(b"&amp;")),
        ("names that are no entities", filled(b"&zzzzz;")),
        ("JSON in JSON in JSON", filled(&json_in_json())),
        ("escapes of four depths, far apart", filled(far_apart.as_bytes())),
        ("digits of base64", filled(b"V")),
        ("base64 of base64 of base64 of base64", filled(&nested("canary", 120_000))),
        ("the same of almost a secret", filled(&nested(almost, 120_000))),
        ("a picture in base64", STANDARD_NO_PAD.encode(numbers().take(BODY_BYTES / 4 * 3).collect::<Vec<_>>()).into()),
        ("digits of hexadecimal", filled(b"56")),
        ("the same digit", filled(b"3")),
        ("digits that begin anywhere", ambiguous()),
        ("short runs of digits", filled(b"3333333333333333 ")),
        ("hexadecimal of almost a secret", filled(&hexadecimal(almost.bytes()))),
        ("folded lines", filled(b"\r\n ")),
        ("U+0000", filled(&[0])),
    ]
}

fn fastest(runtime: &tokio::runtime::Runtime, redaction: &Redaction, body: &[u8]) -> Duration {
    let round = |_| {
        let body = body.to_vec();
        let began = Instant::now();
        let left = runtime.block_on(redaction.redact(body));
        std::hint::black_box(left);
        began.elapsed()
    };
    (0..ROUNDS).map(round).min().unwrap_or_default()
}

#[expect(clippy::print_stdout, reason = "a program of its own, which says what it measured")]
fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let texts = texts();
    let beyond = beyond();
    let mut too_slow = Vec::new();
    let sets: [(&str, TokenOf); 3] =
        [("500 tokens", token), ("500 hostile tokens", hostile_token), ("500 short tokens", short_token)];
    for (secrets, of) in sets {
        let tokens: Vec<String> = (0..SECRETS).map(of).collect();
        let redaction = Redaction::of(&tokens);
        let mut ordinary = Duration::ZERO;
        let mut times = |text: &str, body: &[u8]| {
            let took = fastest(&runtime, &redaction, body);
            if ordinary.is_zero() {
                ordinary = took;
            }
            let times = took.as_secs_f64() / ordinary.as_secs_f64();
            println!("{secrets}, 16 MiB of {text}: {} ms, {times:.1} times as long as JSON", took.as_millis());
            times
        };
        for (text, body) in &texts {
            let times = times(text, body);
            if times > WORST {
                too_slow.push(format!("{secrets}, {text}: {times:.1}"));
            }
        }
        for (text, body) in &beyond {
            times(text, body);
        }
    }
    assert!(too_slow.is_empty(), "more than {WORST} times as long as ordinary JSON:\n{}", too_slow.join("\n"));
}
