//! How long the redaction of the largest answer takes: 500 secrets and 16 MiB, for an ordinary text and for those that
//! make the search work hardest. Fails if one of them takes more than twice as long as the ordinary one.
//!
//! `cargo bench --package backline-gateway --bench redaction` runs it. It takes a minute, so it is no part of
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

/// A token as long as Instagram's.
fn token(number: usize) -> String {
    format!("IGQWR{number:04}{}", "abcDEF123".repeat(18))
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

/// Four times base64 of a text.
fn nested(text: &str) -> Vec<u8> {
    (0..4).fold(text.repeat(20_000).into_bytes(), |bytes, _| STANDARD_NO_PAD.encode(bytes).into_bytes())
}

/// The texts, the ordinary one first.
fn texts() -> Vec<(&'static str, Vec<u8>)> {
    let almost = token(7);
    vec![
        ("ordinary JSON", filled(ORDINARY.as_bytes())),
        ("one letter", filled(b"a")),
        ("almost a secret", filled(&almost.as_bytes()[..almost.len() - 1])),
        ("percent signs", filled(b"%")),
        ("percent escapes", filled(b"%25")),
        ("percent escapes of percent escapes", filled(b"%2525252525")),
        ("backslashes", filled(br"\")),
        ("escapes of JSON", filled(br"\u005c")),
        ("ampersands", filled(b"&")),
        ("entities", filled(b"&amp;")),
        ("digits of base64", filled(b"V")),
        ("base64 of base64 of base64 of base64", filled(&nested("canary"))),
        ("digits of hexadecimal", filled(b"56")),
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
    let mut too_slow = Vec::new();
    for (secrets, of) in
        [("500 tokens", token as fn(usize) -> String), ("500 hostile tokens", hostile_token as fn(usize) -> String)]
    {
        let tokens: Vec<String> = (0..SECRETS).map(of).collect();
        let redaction = Redaction::of(&tokens);
        let mut ordinary = Duration::ZERO;
        for (text, body) in &texts {
            let took = fastest(&runtime, &redaction, body);
            if ordinary.is_zero() {
                ordinary = took;
            }
            let times = took.as_secs_f64() / ordinary.as_secs_f64();
            println!("{secrets}, 16 MiB of {text}: {} ms, {times:.1} times as long as JSON", took.as_millis());
            if times > WORST {
                too_slow.push(format!("{secrets}, {text}: {times:.1}"));
            }
        }
    }
    assert!(too_slow.is_empty(), "more than {WORST} times as long as ordinary JSON:\n{}", too_slow.join("\n"));
}
