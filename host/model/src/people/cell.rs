//! The value of one cell of a list, without what spreadsheets and copying add to it.
//!
//! A list passes through spreadsheets, exports and chats before it is imported. What they add is taken off where
//! nothing is lost; what they destroyed is refused with the remedy. Artists' names and secrets do not pass here: a
//! name may look like anything.

use std::sync::LazyLock;

use regex::Regex;

use crate::text::{misleads, one_line};

/// Longest cell that is interpreted, in characters.
pub const CELL_CHARS_MAX: usize = 2_048;

/// Longest value that a message repeats whole, in characters. A longer one may be a token in the wrong column.
const SHOWN_CHARS_MAX: usize = 100;

/// Characters of a longer value that a message shows.
const SHOWN_CHARS_OF_LONG: usize = 16;

/// Digits that a spreadsheet keeps of a number (IEEE 754 double precision).
const EXACT_DIGITS: usize = 15;

/// What exports and people write where there is no value. In lower case.
const PLACEHOLDERS: [&str; 53] = [
    "-",
    "--",
    "---",
    "–",
    "—",
    "―",
    "−",
    "‐",
    "‑",
    "_",
    "__",
    "*",
    "/",
    "\\",
    ".",
    "?",
    "??",
    "n/a",
    "n/a.",
    "n / a",
    "na",
    "n.a.",
    "n.a",
    "n\\a",
    "null",
    "none",
    "nil",
    "nan",
    "nat",
    "undefined",
    "unknown",
    "not available",
    "not applicable",
    "k.a.",
    "k. a.",
    "tbd",
    "tba",
    "\\n",
    "<na>",
    "<null>",
    "(null)",
    "(none)",
    "(blank)",
    "(empty)",
    "#n/a",
    "#nv",
    "#n/d",
    "#n/b",
    "#i/t",
    "#н/д",
    "#yok",
    "#hiányzik",
    "#δ/υ",
];

/// Spreadsheets' words for a value that is not there, as no name is written. The others may be names.
const NO_VALUE: [&str; 6] = ["#N/A", "#N/D", "#N/B", "#I/T", "#Н/Д", "#Δ/Υ"];

/// A number in which the digits past the first few are lost.
static ROUNDED: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"\A[+-]?[0-9]+([.,][0-9]*)?[eE][+-]?[0-9]{1,3}\z").ok());

/// A whole number that was written as a decimal.
static DECIMAL: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"\A([0-9]+)[.,]0*\z").ok());

/// A whole number with separators between its thousands, with or without decimals, as any language writes it; or
/// between its lakhs (`17,84,140`), as India does.
static THOUSANDS: LazyLock<Option<Regex>> = LazyLock::new(|| {
    const BLANK: &str = r"[ \u{a0}\u{2000}-\u{200a}\u{202f}\u{205f}]";
    let groups = [
        r"(?:,[0-9]{3})+(?:\.[0-9]*)?".to_owned(),
        r"(?:\.[0-9]{3})+(?:,[0-9]*)?".to_owned(),
        r"(?:['’][0-9]{3})+(?:[.,][0-9]*)?".to_owned(),
        format!("(?:{BLANK}[0-9]{{3}})+(?:[.,][0-9]*)?"),
    ];
    let lakhs = r"[0-9]{1,2}(?:,[0-9]{2})+,[0-9]{3}(?:\.[0-9]*)?";
    Regex::new(&format!(r"\A(?:[0-9]{{1,3}}(?:{})|{lakhs})\z", groups.join("|"))).ok()
});

/// A spreadsheet's word for an error, in any of its languages (`#REF!`, `#NAME?`, `#BEZUG!`, `Err:502`), or what it
/// shows while it computes.
static ERROR_WORD: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(r"\A(?:#[\p{L}¡¿0-9/_ -]{1,30}[!?]|#+|[Ee]rr:[0-9]{3}|#ERR.*|#GETTING_DATA|[Ll]oading(?:\.{2,3}|…))\z")
        .ok()
});

/// Why a cell has no usable value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CellError {
    /// A spreadsheet's error.
    #[error("'{0}' is an error of the spreadsheet; correct the cell and save the list again")]
    ErrorWord(String),
    /// A number whose last digits are lost.
    #[error(
        "'{0}' is a rounded number, and its last digits are lost; format the column as text and enter the ids again"
    )]
    Rounded(String),
    /// A number with separators between its thousands.
    #[error("'{0}' has separators between its digits; format the column as text")]
    Thousands(String),
    /// A formula that was not computed.
    #[error("'{0}' is a formula; replace it by its value")]
    Formula(String),
    /// More text than any value has.
    #[error("it is longer than {CELL_CHARS_MAX} characters; check that the columns are not mixed up")]
    Long,
}

/// The value of a cell; `None` if it is empty or holds a placeholder such as `N/A`.
///
/// White space and invisible characters are removed, and so are the quotes, the apostrophe and the `="…"` by which
/// spreadsheets mark text. `1234567890.0` is the number it was. Digits and signs are those of ASCII afterwards,
/// whatever the keyboard wrote.
///
/// # Errors
/// [`CellError`] for what stands there instead of a value.
pub fn value(text: &str) -> Result<Option<String>, CellError> {
    if text.chars().count() > CELL_CHARS_MAX {
        return Err(CellError::Long);
    }
    let plain = unwrapped(text);
    if plain.is_empty() || PLACEHOLDERS.contains(&plain.to_lowercase().as_str()) {
        return Ok(None);
    }
    let is = |pattern: &LazyLock<Option<Regex>>| pattern.as_ref().is_some_and(|pattern| pattern.is_match(&plain));
    if is(&ERROR_WORD) {
        return Err(CellError::ErrorWord(shown(&plain)));
    }
    if is(&ROUNDED) {
        return Err(CellError::Rounded(shown(&plain)));
    }
    if is(&THOUSANDS) {
        return Err(CellError::Thousands(shown(&plain)));
    }
    if plain.starts_with('=') {
        return Err(CellError::Formula(shown(&plain)));
    }
    let whole = DECIMAL.as_ref().and_then(|pattern| pattern.captures(&plain)).and_then(|found| found.get(1));
    match whole.map(|digits| digits.as_str().to_owned()) {
        Some(digits) if digits.len() > EXACT_DIGITS => Err(CellError::Rounded(shown(&plain))),
        Some(digits) => Ok(Some(digits)),
        None => Ok(Some(plain)),
    }
}

/// Whether nothing is to be seen in a cell: white space, invisible characters, and the end of a file of DOS (U+001A).
#[must_use]
pub fn is_blank(text: &str) -> bool {
    text.chars().all(|c| c.is_whitespace() || misleads(c))
}

/// Whether a spreadsheet's error stands in a cell. For cells whose text is free otherwise, such as names.
#[must_use]
pub fn is_error_word(text: &str) -> bool {
    let text = text.trim();
    // A name may be a single sign or a hash tag; Excel's own words have at least four characters.
    text.len() >= 4
        && (NO_VALUE.contains(&text) || ERROR_WORD.as_ref().is_some_and(|pattern| pattern.is_match(text)))
        && text.starts_with('#')
}

/// Whether a whole number may be one that a spreadsheet has rounded to its 15 digits and filled up with zeros.
#[must_use]
pub fn may_be_rounded(text: &str) -> bool {
    text.len() > EXACT_DIGITS
        && text.bytes().all(|byte| byte.is_ascii_digit())
        && text.bytes().skip(EXACT_DIGITS).all(|byte| byte == b'0')
}

/// A free text such as a name: line breaks and tabs become blanks; other control characters, and what is invisible at
/// its ends, are removed.
#[must_use]
pub fn free_text(text: &str) -> String {
    let blanks: String = text
        .chars()
        .map(|c| if matches!(c, '\n' | '\r' | '\t' | '\u{2028}' | '\u{2029}') { ' ' } else { c })
        .filter(|c| !c.is_control())
        .collect();
    let words: Vec<&str> = blanks.split(' ').filter(|word| !word.is_empty()).collect();
    words.join(" ").trim_matches(|c: char| c.is_whitespace() || misleads(c)).to_owned()
}

/// A value as a message repeats it: safe to show and, since a long one may be a token in the wrong column, short.
#[must_use]
pub fn shown(text: &str) -> String {
    let count = text.chars().count();
    if count <= SHOWN_CHARS_MAX {
        return one_line(text);
    }
    let start: String = text.chars().take(SHOWN_CHARS_OF_LONG).collect();
    format!("{}… ({count} characters)", one_line(&start))
}

/// A character of ASCII for its full-width form (U+FF01 to U+FF5E), as East Asian keyboards write it, and for the
/// digits and separators of Arabic and Persian. Any other character is itself.
#[must_use]
pub fn narrow(c: char) -> char {
    let shifted = |from: u32, to: char| char::from_u32(u32::from(c) - from + u32::from(to)).unwrap_or(c);
    match c {
        '\u{ff01}'..='\u{ff5e}' => shifted(0xff01, '!'),
        '\u{660}'..='\u{669}' => shifted(0x660, '0'),
        '\u{6f0}'..='\u{6f9}' => shifted(0x6f0, '0'),
        '\u{66b}' => '.',
        '\u{66c}' => ',',
        _ => c,
    }
}

/// Without white space around it, invisible characters in it, and quotes or a mark of text around it.
fn unwrapped(text: &str) -> String {
    let is_kept = |c: &char| matches!(c, '\n' | '\r' | '\t') || !misleads(*c);
    let visible: String = text.chars().filter(is_kept).map(narrow).collect();
    let mut plain = visible.trim();
    loop {
        let before = plain;
        if let Some(inner) = plain.strip_prefix("=\"").and_then(|rest| rest.strip_suffix('"')) {
            plain = inner.trim();
        }
        for (open, close) in [('"', '"'), ('\'', '\''), ('“', '”'), ('„', '“'), ('‘', '’'), ('«', '»'), ('`', '`')]
        {
            if let Some(inner) = plain.strip_prefix(open).and_then(|rest| rest.strip_suffix(close)) {
                plain = inner.trim();
            }
        }
        if let Some(inner) = plain.strip_prefix("<http").and_then(|rest| rest.strip_suffix('>')) {
            plain = &plain[1..=inner.len() + 4];
        }
        // The apostrophe by which a spreadsheet marks text has no partner.
        if let Some(inner) = plain.strip_prefix(['\'', '’']) {
            plain = inner.trim();
        }
        if plain == before {
            return plain.to_owned();
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_spreadsheets_and_copying_add_is_taken_off() {
        for (cell, expected) in [
            ("  UC1 ", "UC1"),
            ("\u{feff}UC1\u{200b}\u{a0}", "UC1"),
            ("\u{202a}UC\u{ad}1\u{202c}", "UC1"),
            ("'17841400000000001", "17841400000000001"),
            ("=\"17841400000000002\"", "17841400000000002"),
            ("\"abc\"", "abc"),
            ("“abc”", "abc"),
            ("<https://a.test/x>", "https://a.test/x"),
            ("1234567890.0", "1234567890"),
            ("1234567890,00", "1234567890"),
            ("1234567890", "1234567890"),
            ("178,834299", "178,834299"),
            ("178,834,5", "178,834,5"),
            ("1234,5678", "1234,5678"),
            ("１７８４０３", "178403"),
            ("ＵＣ１＿ａ", "UC1_a"),
            ("\u{661}\u{662}\u{6f3}", "123"),
        ] {
            assert_eq!(value(cell), Ok(Some(expected.to_owned())), "{cell}");
        }
    }

    #[test]
    fn placeholders_are_empty() {
        for cell in [
            "",
            " ",
            "\u{200b}",
            "\"\"",
            "''",
            "N/A",
            "n/a",
            "NULL",
            "null",
            "None",
            "nil",
            "NaN",
            "-",
            "–",
            "#N/A",
            "#NV",
            "\\N",
            "(blank)",
            "'-",
            "=\"\"",
            "undefined",
            "n / a",
            "Not available",
            "k.A.",
            "−",
            "‑",
            "―",
            "*",
            "#N/D",
            "#N/B",
            "#Н/Д",
            "#Δ/Υ",
            "#HIÁNYZIK",
            "\u{1a}",
            "－",
            "ｎ／ａ",
            "＃Ｎ／Ａ",
        ] {
            assert_eq!(value(cell), Ok(None), "{cell}");
        }
    }

    #[test]
    fn what_is_destroyed_is_refused_with_the_remedy() {
        for (cell, remedy) in [
            ("1.78403E+16", "format the column as text"),
            ("1,78403E+16", "format the column as text"),
            ("1.23457e+09", "format the column as text"),
            ("1.78403e16", "format the column as text"),
            ("17841400000000000.0", "format the column as text"),
            ("17,841,400", "format the column as text"),
            ("17.841.400.000", "format the column as text"),
            ("17 841 400", "format the column as text"),
            ("17'841'400", "format the column as text"),
            ("17,841,400.00", "format the column as text"),
            ("17.841.400,00", "format the column as text"),
            ("17\u{a0}841\u{a0}400,00", "format the column as text"),
            ("17\u{2009}841\u{2009}400", "format the column as text"),
            ("1,78,41,400", "format the column as text"),
            ("1,78,41,400.00", "format the column as text"),
            ("１．７８Ｅ＋１６", "format the column as text"),
            ("\u{661}\u{66b}\u{667}E+\u{661}\u{666}", "format the column as text"),
            ("\u{661}\u{66c}\u{662}\u{663}\u{664}", "format the column as text"),
            ("#REF!", "correct the cell"),
            ("#NAME?", "correct the cell"),
            ("#BEZUG!", "correct the cell"),
            ("#¡REF!", "correct the cell"),
            ("#DIV/0!", "correct the cell"),
            ("########", "correct the cell"),
            ("#GETTING_DATA", "correct the cell"),
            ("Loading...", "correct the cell"),
            ("Err:502", "correct the cell"),
            ("=VLOOKUP(A1;B:C;2)", "replace it by its value"),
        ] {
            let error = value(cell).expect_err(cell).to_string();
            assert!(error.contains(remedy), "{cell}: {error}");
        }
        assert_eq!(value(&"x".repeat(CELL_CHARS_MAX + 1)), Err(CellError::Long));
    }

    #[test]
    fn a_long_value_is_not_repeated_whole() {
        let error = value(&format!("={}", "canary".repeat(20))).expect_err("a formula").to_string();
        assert!(error.contains("(121 characters)") && !error.contains("canarycanarycanary"), "{error}");
    }

    #[test]
    fn a_name_may_be_anything_but_an_error_word() {
        for name in [
            "NULL",
            "None",
            "N/A",
            "-",
            "#NV",
            "#YOK",
            "Loading...",
            "=LOVE",
            "#1",
            "#",
            "#!",
            "'Til Tuesday",
            "1E6",
            "17,841",
            "!!!",
        ] {
            assert!(!is_error_word(name), "{name}");
            assert_eq!(free_text(name), name);
        }
        for word in ["#REF!", " #NAME? ", "#N/A", "#WERT!", "#N/D", "#Н/Д", "#GETTING_DATA"] {
            assert!(is_error_word(word), "{word}");
        }
        assert_eq!(free_text(" The \"Night\"\r\nOwls\0\u{feff} "), "The \"Night\" Owls");
        assert_eq!(free_text("👩\u{200d}🎤"), "👩\u{200d}🎤");
        assert_eq!(free_text("\u{200b}\u{feff}"), "");
    }

    #[test]
    fn what_can_not_be_seen_is_blank() {
        for blank in ["", " \t", "\u{a0}\u{200b}", "\u{1a}", "\u{3000}\u{feff}"] {
            assert!(is_blank(blank), "{blank:?}");
        }
        assert!(!is_blank("-") && !is_blank("\u{200b}a"));
    }

    #[test]
    fn zeros_past_the_fifteenth_digit_may_be_rounding() {
        assert!(may_be_rounded("17841405793187200"));
        assert!(!may_be_rounded("17841405793187218") && !may_be_rounded("178414057931872"));
    }

    proptest! {
        #[test]
        fn a_value_is_visible_and_gives_itself_again(text in "\\PC{0,40}|[ -~]{0,40}") {
            if let Ok(Some(found)) = value(&text) {
                prop_assert!(!found.is_empty() && found.trim() == found);
                prop_assert!(!found.chars().any(|c| misleads(c) && !c.is_whitespace()), "{:?}", found);
                prop_assert_eq!(value(&found), Ok(Some(found.clone())));
            }
        }
    }
}
