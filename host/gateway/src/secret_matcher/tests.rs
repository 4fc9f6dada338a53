//! Tests of the search for secrets: every form, any mix of four, and the work that hostile texts cause.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use proptest::collection::vec;
use proptest::prelude::*;

use super::first_pass::may_hold;
use super::layers::{BATCH_BYTES, Search};
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
        r"IGQ\\\/canary+token==%7".to_owned(),
        r"IGQ\\u002fcanary+token\\u003d=%7".to_owned(),
        r"IGQ\x2fcanary+token==%7".to_owned(),
        "IGQ&#47;canary&plus;token&#x3D;&equals;%7".to_owned(),
        "IGQ/canary\r\n +token==%7".to_owned(),
        "IGQ/canary\u{0}+token\u{0}==%7".to_owned(),
        "4947512f63616e6172792b746f6b656e3d3d2537".to_owned(),
        "4947512F63616E6172792B746F6B656E3D3D2537".to_owned(),
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
fn base64_after_any_other_digits_and_over_lines_is_blanked_out() {
    let encoded = STANDARD_NO_PAD.encode(TOKEN);
    for before in ["", "/", "k-", "abc", "path/to/"] {
        let lines: Vec<String> =
            encoded.as_bytes().chunks(9).map(|c| String::from_utf8_lossy(c).into_owned()).collect();
        for joined in
            [encoded.clone(), lines.join("\r\n"), lines.join("\n\t"), lines.join(r"\r\n"), lines.join("&#10;")]
        {
            let text = format!("{{{before}{joined}}}");
            assert_eq!(blanked(&text), format!("{{{before}[secret]}}"), "{text}");
        }
    }
}

#[tokio::test]
async fn texts_that_are_searched_together_are_searched_as_by_themselves() {
    let secrets = SecretMatcher::new([TOKEN]);
    let hex: String = TOKEN.bytes().map(|byte| format!("{byte:02x}")).collect();
    let percent: String = TOKEN.bytes().map(|byte| format!("%{byte:02X}")).collect();
    let json: String = TOKEN.bytes().map(|byte| format!("\\u{byte:04x}")).collect();
    let long = format!("{}{TOKEN}", " ".repeat(JOINED_BYTES_MAX));
    for written in [TOKEN.to_owned(), hex, percent, json, STANDARD_NO_PAD.encode(TOKEN), long] {
        for beside in ["", "%", "%2", "\\", "\\u00", "&#x", "&amp", "6", "abc", "YWJ", "=\n", "\r\n ", "IGQ/canary"] {
            let mut texts = [beside.to_owned(), written.clone(), beside.to_owned(), "other".to_owned()];
            secrets.blank_all(texts.iter_mut().collect()).await;
            assert_eq!(texts[1].trim_start(), BLANK, "{written} beside {beside:?}");
            assert_eq!([&texts[0], &texts[2], &texts[3]], [beside, beside, "other"], "{written}");
        }
    }
    // The halves of a secret in two texts are not one.
    let mut halves = [TOKEN[..9].to_owned(), TOKEN[9..].to_owned()];
    secrets.blank_all(halves.iter_mut().collect()).await;
    assert_eq!(halves.concat(), TOKEN);
}

#[test]
fn utf_16_is_read_as_text() {
    for secret in [TOKEN, "pässwört-中文-😀-ok"] {
        let secrets = SecretMatcher::new([secret]);
        for to_bytes in [u16::to_le_bytes, u16::to_be_bytes] {
            let text: Vec<u8> = format!("{{{secret}}}").encode_utf16().flat_map(to_bytes).collect();
            assert!(secrets.occur_in(&text), "{secret}");
            assert!(!secrets.occur_in(&secrets.blank_bytes(&text)), "{secret}");
        }
        let escaped: String = secret.encode_utf16().map(|unit| format!(r"\u{unit:04x}")).collect();
        assert_eq!(secrets.blank_text(&format!("<{escaped}>")), "<[secret]>");
    }
}

#[test]
fn a_reading_in_utf_16_that_other_texts_have_by_chance_is_not_searched_for() {
    // Its UTF-16 is three backticks, each with a zero.
    let secrets = SecretMatcher::new(["怀怀怀"]);
    for other in ["```", "```json\n{}\n```", "%60%60%60", "YGBgYGBg", "606060606060"] {
        assert_eq!(secrets.blank_text(other), other);
    }
    for written in ["怀怀怀", r"\u6000\u6000\u6000", "&#x6000;&#x6000;&#x6000;", "5oCA5oCA5oCA", "e68080e68080e68080"]
    {
        assert_eq!(secrets.blank_text(&format!("<{written}>")), "<[secret]>", "{written}");
    }
}

#[test]
fn everything_else_stays_byte_for_byte() {
    let secrets = SecretMatcher::new([TOKEN, ""]);
    for other in
        ["IGQ/canary+token==", "IGQ/canary-token==%7", "%", "\\", "%2", "\\u00", "[]", "{\"a\":\"\\u0000%zz\"}"]
    {
        assert_eq!(secrets.blank_bytes(other.as_bytes()), other.as_bytes());
        assert!(!secrets.occur_in(other.as_bytes()));
    }
    assert_eq!(secrets.blank_bytes(&[0xff, 0x00, b'I']), vec![0xff, 0x00, b'I']);
    assert!(!SecretMatcher::new([""]).occur_in(b"anything"));
}

#[test]
fn text_that_looks_encoded_all_over_is_searched_in_reasonable_time() {
    let secrets = SecretMatcher::new(["canary-one-0123456789", "canary-two-0123456789", "%%%%%%%%%%%%%%%%\\\\\\\\"]);
    for hostile in
        ["%25".repeat(10_000), "%".repeat(10_000), r"\\".repeat(10_000), r"\u0063".repeat(10_000), "c".repeat(10_000)]
    {
        assert!(!secrets.occur_in(hostile.as_bytes()), "{}", &hostile[..6]);
    }
}

#[test]
fn of_two_secrets_with_one_prefix_the_longer_one_is_blanked() {
    let secrets = SecretMatcher::new(["abcdefgh", "abcdefghijkl"]);
    assert_eq!(secrets.blank_text("<abcdefghijkl> <abcdefgh>"), "<[secret]> <[secret]>");
}

#[test]
fn a_secret_longer_than_its_pattern_is_blanked_to_its_end() {
    // No part of it stands in it twice.
    let stem: String = (0..250).map(|n| format!("{:02x}", n * 37 % 251)).collect();
    let secrets = [format!("{stem}-one"), format!("{stem}-two-longer"), stem.clone()];
    let matcher = SecretMatcher::new(secrets.iter().map(String::as_str));
    for secret in &secrets {
        assert_eq!(matcher.blank_text(&format!("<{secret}>")), "<[secret]>");
        let percent: String = secret.bytes().map(|byte| format!("%{byte:02x}")).collect();
        assert_eq!(matcher.blank_text(&format!("<{percent}>")), "<[secret]>");
    }
}

#[test]
fn a_secret_that_begins_inside_another_is_blanked_to_its_end() {
    // Anyone may know how it begins: with what all tokens of a host have in front.
    let beginning: String = (0..80).map(|n| format!("{:02x}", n * 37 % 251)).collect();
    let secret = format!("{beginning}-and-the-signature-of-it");
    let other = format!("={beginning}-and-something-else");
    let text = format!("token={secret}&x=1");
    let secrets = SecretMatcher::new([secret.as_str(), other.as_str()]);
    assert_eq!(secrets.blank_text(&text), "token[secret]&x=1");
    for cut in 0..text.len() {
        let found = ranges_of(&secrets, text.as_bytes(), &[cut]);
        assert_eq!(without(text.as_bytes(), &found), b"token[secret]&x=1", "cut at {cut}");
    }
    // The same inside itself: more is blanked than it has, and never less.
    let secrets = SecretMatcher::new([format!("{}-end", "ab".repeat(70))].iter().map(String::as_str));
    let clean = secrets.blank_text(&format!("<{}-end> and so on, and so on", "ab".repeat(75)));
    assert!(clean.starts_with("<[secret]") && clean.ends_with("and so on") && !clean.contains("end"), "{clean}");
}

#[test]
fn a_secret_is_found_wherever_the_batches_of_the_search_end() {
    let hexadecimal = |text: &str| text.bytes().map(|byte| format!("{byte:02x}")).collect::<String>();
    // A line break between the two digits of an escape, which is an escape itself.
    let folded = r"IGQ%2\nFcanary-0123456789 ".to_owned();
    // A backslash in front of digits: the digits stand for its escape's second byte, and then for a secret.
    let behind = format!("{} ", STANDARD_NO_PAD.encode(format!("%5C{}", hexadecimal("b%65arer-0123456789-canary"))));
    let half = STANDARD_NO_PAD.encode(r"%63anary-0123456789\ud83d");
    for (secret, written) in [
        ("IGQ/canary-0123456789", folded),
        ("bearer-0123456789-canary", behind),
        (r"canary-0123456789\ud83d", half.clone()),
        (r"canary-0123456789\ud83d", half + " "),
    ] {
        let secrets = SecretMatcher::new([secret]);
        let is_found = |text: &str, cuts: &[usize]| !ranges_of(&secrets, text.as_bytes(), cuts).is_empty();
        for blanks in 0..20 {
            let text = format!("{}{written}", " ".repeat(blanks));
            for cut in 0..text.len() {
                assert!(is_found(&text, &[cut]), "{secret} behind {blanks} blanks, cut at {cut}");
                assert!(is_found(&text, &[cut, cut + 1]), "{secret} behind {blanks} blanks, cut at {cut} and behind");
            }
        }
        let text = format!("{}{written}", " ".repeat(BATCH_BYTES - written.len() / 2));
        assert!(secrets.occur_in(text.as_bytes()), "{secret} over the end of a batch");
    }
}

#[test]
fn digits_behind_an_escape_are_read_by_themselves() {
    // The escape ends with digits, so the run of the layer above begins with them. What that stands for begins with
    // half of an escape, or with a line break, which takes the first character of the secret away.
    for (escape, behind, secret) in [
        ("%5C", "b%65arer-0123456789", "bearer-0123456789"),
        ("%26", "#65;%61rer-0123456789", "#65;arer-0123456789"),
        (r"\u005c", r"n\u0061rer-0123456789", "narer-0123456789"),
        ("%0a", " %63anary-0123456789", " canary-0123456789"),
    ] {
        let secrets = SecretMatcher::new([secret]);
        let digits = Form::Hexadecimal { upper: false }.write(behind.as_bytes());
        for before in ["", "3", "\u{e9}=", "%2520"] {
            let text = [before.as_bytes(), escape.as_bytes(), &digits, b" "].concat();
            let from = before.len() + escape.len();
            for cut in 0..text.len() {
                let found = ranges_of(&secrets, &text, &[cut]);
                let found: Vec<_> = found.iter().map(|(start, end)| (*start as usize, *end as usize)).collect();
                assert_eq!(found, [(from, from + digits.len())], "{secret} behind {before}{escape}, cut at {cut}");
            }
        }
    }
}

/// The same text, cut as given.
fn ranges_of(secrets: &SecretMatcher, text: &[u8], cuts: &[usize]) -> Vec<(u32, u32)> {
    let mut search = Search::new(secrets.patterns.as_ref().expect("secrets"));
    let mut from = 0;
    for cut in cuts.iter().map(|cut| cut % (text.len() + 1)) {
        if cut > from {
            search.read(&text[from..cut]);
            from = cut;
        }
    }
    search.read(&text[from..]);
    search.finish().0
}

/// Whether the first pass leaves the text to the search.
fn is_left(secrets: &SecretMatcher, text: &[u8]) -> bool {
    may_hold(secrets.patterns.as_ref().expect("secrets"), text)
}

/// One form of writing bytes, with its choices made by a seed.
#[derive(Clone, Debug)]
pub(super) enum Form {
    Percent { all: bool, upper: bool },
    Json { all: bool },
    Html { all: bool, decimal: bool },
    Hexadecimal { upper: bool },
    Base64 { url: bool, before: usize, line: usize },
    Utf16 { big: bool },
    Folded { at: Vec<usize> },
}

pub(super) fn form() -> impl Strategy<Value = Form> {
    prop_oneof![
        (any::<bool>(), any::<bool>()).prop_map(|(all, upper)| Form::Percent { all, upper }),
        any::<bool>().prop_map(|all| Form::Json { all }),
        (any::<bool>(), any::<bool>()).prop_map(|(all, decimal)| Form::Html { all, decimal }),
        any::<bool>().prop_map(|upper| Form::Hexadecimal { upper }),
        (any::<bool>(), 0usize..3, 0usize..20).prop_map(|(url, before, line)| Form::Base64 { url, before, line }),
        any::<bool>().prop_map(|big| Form::Utf16 { big }),
        vec(any::<usize>(), 1..4).prop_map(|at| Form::Folded { at }),
    ]
}

impl Form {
    pub(super) fn write(&self, given: &[u8]) -> Vec<u8> {
        let text = std::str::from_utf8(given);
        match self {
            Self::Percent { all, upper } => {
                let escaped = |byte: u8| *all || !(byte.is_ascii_alphanumeric() || b"-._~".contains(&byte));
                let escape = |byte: u8| if *upper { format!("%{byte:02X}") } else { format!("%{byte:02x}") };
                given.iter().flat_map(|&b| if escaped(b) { escape(b).into_bytes() } else { vec![b] }).collect()
            }
            Self::Json { all } => match text {
                Ok(text) if *all => {
                    text.encode_utf16().flat_map(|unit| format!(r"\u{unit:04X}").into_bytes()).collect()
                }
                Ok(text) => {
                    let quoted = serde_json::to_string(text).expect("a text").replace('/', r"\/");
                    quoted.as_bytes()[1..quoted.len() - 1].to_vec()
                }
                Err(_) => given.to_vec(),
            },
            Self::Html { all, decimal } => match text {
                Ok(text) => text
                    .chars()
                    .flat_map(|c| {
                        match c {
                            '&' => "&amp;".to_owned(),
                            '<' => "&lt;".to_owned(),
                            '"' => "&quot;".to_owned(),
                            '/' => "&sol;".to_owned(),
                            c if *all && *decimal => format!("&#{};", u32::from(c)),
                            c if *all => format!("&#x{:x};", u32::from(c)),
                            c => c.to_string(),
                        }
                        .into_bytes()
                    })
                    .collect(),
                Err(_) => given.to_vec(),
            },
            Self::Hexadecimal { upper } => {
                let digits = |b: &u8| if *upper { format!("{b:02X}") } else { format!("{b:02x}") };
                given.iter().flat_map(|byte| digits(byte).into_bytes()).collect()
            }
            Self::Base64 { url, before, line } => {
                let engine = if *url { &URL_SAFE_NO_PAD } else { &STANDARD_NO_PAD };
                let encoded = engine.encode([b"xyz"[..*before].to_vec(), given.to_vec()].concat());
                match line {
                    0..5 => encoded.into_bytes(),
                    _ => encoded.as_bytes().chunks(*line).collect::<Vec<_>>().join(&b"\r\n"[..]),
                }
            }
            Self::Utf16 { big } => match text {
                Ok(text) if *big => text.encode_utf16().flat_map(u16::to_be_bytes).collect(),
                Ok(text) => text.encode_utf16().flat_map(u16::to_le_bytes).collect(),
                Err(_) => given.to_vec(),
            },
            Self::Folded { at } => {
                let mut folded = given.to_vec();
                // A line is folded between two of its bytes.
                for at in at.iter().filter(|_| given.len() > 1) {
                    let at = 1 + at % (folded.len() - 1);
                    folded.splice(at..at, *b"\r\n ");
                }
                folded
            }
        }
    }

    /// Whether the form writes nothing around what it is given.
    fn is_exact(&self) -> bool {
        match self {
            Self::Base64 { before, .. } => *before == 0,
            Self::Utf16 { .. } => false,
            _ => true,
        }
    }
}

pub(super) fn secret() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "[A-Za-z0-9._~+/=|-]{8,80}",
        1 => "[!-~]{12,40}",
        1 => "[!-~äöüßé€中文😀]{12,30}",
        1 => "[A-Za-z0-9]{200,300}",
    ]
}

/// Text around a secret, with much that looks like escapes and digits.
pub(super) fn around() -> impl Strategy<Value = String> {
    prop_oneof![
        r#"[ -~\r\nü]{0,60}"#,
        r#"([%\\&][0-9a-fA-F#x;u]{0,5}){0,20}"#,
        r#"[A-Za-z0-9+/_=-]{0,3000}"#,
        r#"(\{"k[a-z]{0,12}":"[A-Za-z0-9\\/ ._-]{0,40}"\},?\n?){0,60}"#,
    ]
}

/// What stands directly before a secret: a character that ends an escape or a number that was begun.
const MARKS: [&str; 6] = [" ", "\"", "(", "=", ":", "/"];

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_mix_of_four_forms_hides_a_secret(
        secret in secret(),
        others in vec(secret(), 0..4),
        forms in vec(form(), 0..=4),
        before in around(),
        after in around(),
        mark in 0..MARKS.len(),
        cuts in vec(any::<usize>(), 0..6),
    ) {
        let mut cuts = cuts;
        let matcher = SecretMatcher::new(others.iter().chain([&secret]).map(String::as_str));
        let written = forms.iter().fold(secret.as_bytes().to_vec(), |bytes, form| form.write(&bytes));
        let before = format!("{before}{}", MARKS[mark]);
        // After a blank, since the last characters of a secret may begin an escape that a mark would complete.
        let after = format!(" {after}");
        // The surroundings may hold a secret of their own by chance only.
        prop_assume!(!matcher.occur_in(before.as_bytes()) && !matcher.occur_in(after.as_bytes()));
        let text = [before.as_bytes(), &written, after.as_bytes()].concat();
        cuts.iter_mut().for_each(|cut| *cut %= text.len() + 1);
        cuts.sort_unstable();
        let ranges = ranges_of(&matcher, &text, &cuts);
        prop_assert_eq!(&ranges, &ranges_of(&matcher, &text, &[]), "chunk borders make no difference");
        let clean = without(&text, &ranges);
        prop_assert!(!ranges.is_empty(), "not found: {}", String::from_utf8_lossy(&written));
        prop_assert!(!matcher.occur_in(&clean), "still there: {}", String::from_utf8_lossy(&clean));
        let middle = &written[written.len() / 3..written.len() * 2 / 3 + 1];
        prop_assert!(middle.len() < 3 || !clean.windows(middle.len()).any(|window| window == middle));
        if forms.iter().all(Form::is_exact) {
            let (first, last) = (ranges[0].0 as usize, ranges[ranges.len() - 1].1 as usize);
            prop_assert!(first <= before.len() && last >= before.len() + written.len(), "{:?}", ranges);
        }
    }

    /// The layered search is the oracle: it reads everything. Parts of secrets are written too, some of which hold the
    /// whole secret or nearly.
    #[test]
    fn the_first_pass_rules_out_nothing_that_the_search_finds(
        secrets in vec(secret(), 1..4),
        parts in vec((around(), vec(form(), 0..=3), any::<usize>(), any::<usize>(), 0..4usize), 1..5),
    ) {
        let matcher = SecretMatcher::new(secrets.iter().map(String::as_str));
        let mut text = Vec::new();
        for (beside, forms, which, cut, place) in parts {
            let secret = secrets[which % secrets.len()].as_bytes();
            let written = forms.iter().fold(secret.to_vec(), |bytes, form| form.write(&bytes));
            let cut = cut % (written.len() + 1);
            text.extend_from_slice(beside.as_bytes());
            text.extend_from_slice(match place {
                0 => &written[cut..],
                1 => &written[..cut],
                2 => &written[..],
                _ => &[],
            });
        }
        if !is_left(&matcher, &text) {
            let found = ranges_of(&matcher, &text, &[]);
            prop_assert!(found.is_empty(), "{:?} of {}", found, String::from_utf8_lossy(&text));
        }
    }

    #[test]
    fn the_first_pass_leaves_every_secret_in_any_mix_of_four_forms(
        secret in secret(),
        forms in vec(form(), 0..=4),
        before in around(),
        mark in 0..MARKS.len(),
    ) {
        let matcher = SecretMatcher::new([secret.as_str()]);
        let written = forms.iter().fold(secret.as_bytes().to_vec(), |bytes, form| form.write(&bytes));
        let text = [before.as_bytes(), MARKS[mark].as_bytes(), &written, b" "].concat();
        prop_assert!(is_left(&matcher, &text), "{}", String::from_utf8_lossy(&text));
    }

    #[test]
    fn text_without_secrets_is_unchanged(secrets in vec("[A-Za-z0-9._~+/=|-]{12,60}", 1..20), text in around()) {
        let matcher = SecretMatcher::new(secrets.iter().map(String::as_str));
        prop_assert_eq!(matcher.blank_text(&text), text);
    }
}

/// Steps of one search, and the hits.
fn steps(secret: &[&str], text: &[u8]) -> (u64, usize) {
    let matcher = SecretMatcher::new(secret.iter().copied());
    let mut search = Search::new(matcher.patterns.as_ref().expect("secrets"));
    search.read(text);
    let (hits, steps) = search.finish();
    (steps, hits.len())
}

/// Most bytes read in all layers for one byte of the source, by any of the texts below that repeat one thing.
const STEPS_PER_BYTE_MAX: u64 = 18;

/// The same where escapes of each depth join digits to ever longer runs, or stand in front of them: each of these runs
/// is decoded in all ways.
const JOINED_STEPS_PER_BYTE_MAX: u64 = 48;

#[test]
fn no_text_and_no_secret_makes_the_work_more_than_linear() {
    let percents = "%".repeat(65_000);
    let backslashes = format!("{}b", "\\".repeat(60));
    let many = format!("{}b", "a".repeat(60_000));
    let encoded = |text: &[u8]| STANDARD_NO_PAD.encode(text).into_bytes();
    let (mut nested, mut percent) = (b"canary".repeat(20_000), b"/".repeat(20_000));
    for _ in 0..4 {
        nested = encoded(&nested);
        percent = percent.iter().flat_map(|&b| if b == b'%' { b"%25".to_vec() } else { vec![b] }).collect();
        percent = percent.iter().flat_map(|&b| if b == b'/' { b"%2F".to_vec() } else { vec![b] }).collect();
    }
    let texts: Vec<Vec<u8>> = vec![
        percents.as_bytes().repeat(4),
        "%25".repeat(100_000).into_bytes(),
        "%2525252525".repeat(30_000).into_bytes(),
        "\\".repeat(200_000).into_bytes(),
        r"\u005c".repeat(40_000).into_bytes(),
        "&amp;".repeat(50_000).into_bytes(),
        "&".repeat(200_000).into_bytes(),
        "a".repeat(200_000).into_bytes(),
        "V".repeat(200_000).into_bytes(),
        "56".repeat(100_000).into_bytes(),
        // Pairs of digits stand for pairs of digits, at both places, again and again.
        "3".repeat(200_000).into_bytes(),
        "A".repeat(200_000).into_bytes(),
        "\r\n ".repeat(60_000).into_bytes(),
        vec![0; 200_000],
        r#"{"a%2":"b\/c","#.repeat(15_000).into_bytes(),
        nested,
        percent,
    ];
    let secrets = [percents.as_str(), &backslashes, &many, "aaaaaaaa", "VVVVVVVV", "UUUUUUUUUUUU", "\\\\\\\\\\\\\\\\"];
    for text in texts {
        let shown = String::from_utf8_lossy(&text[..12]).into_owned();
        let (half, _) = steps(&secrets, &text[..text.len() / 2]);
        let (whole, hits) = steps(&secrets, &text);
        assert!(whole <= STEPS_PER_BYTE_MAX * text.len() as u64, "{shown}: {} a byte", whole / text.len() as u64);
        assert!(whole <= 2 * half + 200_000, "{shown}: {half} for the half, {whole} for the whole");
        assert!(hits <= text.len() / 8, "{shown}");
    }
    // They are other digits in each of the unescaped layers.
    let joined = format!("{0}%56{0}%2556{0}%252556", "V".repeat(60)).repeat(800);
    let behind = ["V", "3"].map(|digit| format!("%25252520{}", digit.repeat(150_000)));
    for text in behind.iter().chain([&joined]) {
        let shown = &text[..12];
        let (half, _) = steps(&secrets, &text.as_bytes()[..text.len() / 2]);
        let (whole, _) = steps(&secrets, text.as_bytes());
        let each = whole / text.len() as u64;
        assert!(whole <= JOINED_STEPS_PER_BYTE_MAX * text.len() as u64, "{shown}: {each} a byte");
        assert!(whole <= 2 * half + 200_000, "{shown}: {half} for the half, {whole} for the whole");
    }
}

#[test]
fn what_is_left_of_a_run_of_digits_is_read_when_the_run_ends() {
    // The last character of the secret may begin an escape, and the text goes on without one for long.
    let matcher = SecretMatcher::new(["canary-0123456789%"]);
    let digits = Form::Hexadecimal { upper: false }.write(b"canary-0123456789%");
    let written = Form::Html { all: true, decimal: true }.write(&digits);
    let text = [r"\ and so on, A".as_bytes(), b" ", &written, " and so on".repeat(20).as_bytes()].concat();
    for cut in 0..text.len() {
        assert_eq!(ranges_of(&matcher, &text, &[cut]).len(), 1, "cut at {cut}");
    }
}

#[test]
fn the_first_pass_rules_out_what_platforms_usually_answer() {
    let tokens: Vec<String> = (0..50).map(|n| format!("IGQWR{n:04}{}", "abcDEF123".repeat(18))).collect();
    let key = "AIzaSyA-0123456789_abcdefghijklmnopqrstu";
    let texts = [
        r#"{"id":"17841400008460056","followers_count":12345,"url":"https:\/\/example.com\/p%20q?x=1&amp;y=2"}"#,
        "{\n  \"kind\": \"youtube#channel\",\r\n  \"title\": \"\\u00dcber %C3%BC\",\n\t\"views\": \"1234567\"\n}\n",
        concat!(
            r#"{"etag":"xJ3_0aZ","thumbnails":{"url":"https://yt3.example.com/ytc/"#,
            r#"AIdro_nY1tD8mVZ0kq2aWc9xL3sPfR7uB6hJ5gE4w-Qk1M2n3P4q5=s88","width":88}},"#,
        ),
        "https://api.example.com/v1/users/17841400008460056?fields=id%2Cusername&limit=50",
        "application/json; charset=utf-8",
        "",
    ];
    for secrets in [tokens.iter().map(String::as_str).collect::<Vec<_>>(), vec![key], vec![key, tokens[7].as_str()]] {
        let matcher = SecretMatcher::new(secrets.iter().copied());
        for text in texts {
            assert!(!is_left(&matcher, text.as_bytes()), "{text}");
            assert!(!is_left(&matcher, text.repeat(100).as_bytes()), "{text}");
        }
        for (secret, other) in [(secrets[0], "aBcD"), (secrets[secrets.len() - 1], "\\u00e9\r\n ")] {
            assert!(is_left(&matcher, format!("{other}{secret}").as_bytes()));
            assert!(is_left(&matcher, format!("{}{}", texts[0], STANDARD_NO_PAD.encode(secret)).as_bytes()));
        }
    }
}

#[test]
fn the_first_pass_leaves_what_it_can_not_read_in_time() {
    let matcher = SecretMatcher::new([TOKEN]);
    assert!(!is_left(&matcher, " ".repeat(100_000).as_bytes()));
    assert!(is_left(&matcher, " ".repeat(1 << 20).as_bytes()), "a long text");
    assert!(is_left(&matcher, "V".repeat(1_000).as_bytes()), "digits all over");
    assert!(is_left(&matcher, "xGQ/canary+token==%7 ".repeat(1_000).as_bytes()), "secrets all over, all but a byte");
    assert!(is_left(&SecretMatcher::new(["abc"]), b"none"), "a secret too short to skip by");
    assert!(!is_left(&SecretMatcher::new(["abcd"]), b"none"));
    assert!(is_left(&SecretMatcher::new(["abcd"]), b"xAbCd"));
}

#[test]
fn repetition_is_one_hit() {
    assert_eq!(steps(&["aaaaaaaa"], "a".repeat(100_000).as_bytes()).1, 1);
}

#[tokio::test]
async fn a_long_body_lets_others_run_in_between() {
    let matcher = SecretMatcher::new([TOKEN]);
    let mut body = vec![b'x'; 20 * SLICE_BYTES];
    body.extend_from_slice(TOKEN.as_bytes());
    let mut search = std::pin::pin!(matcher.blank(body));
    let mut polls = 0;
    let (clean, changed) = std::future::poll_fn(|context| {
        polls += 1;
        search.as_mut().poll(context)
    })
    .await;
    assert!(changed && clean.ends_with(b"x[secret]") && polls > 20, "{polls}");
}
