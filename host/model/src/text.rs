//! Untrusted text, made safe to show to a person.

use super::weakened::{Bound, off};

/// Whether a character steers what shows it instead of being shown. Control characters steer a terminal (and databases
/// refuse U+0000), bidirectional formatting reorders what is shown, and line and paragraph separators start a line.
#[must_use]
pub fn steers(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Whether a character can make text look different from what it is: it steers, or nothing is shown for it. The latter
/// belong into names (a joiner makes one emoji of two) and not into what a person approves.
#[must_use]
pub fn misleads(c: char) -> bool {
    steers(c)
        || matches!(c,
            '\u{ad}' | '\u{34f}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
                | '\u{200b}'..='\u{200d}' | '\u{2060}'..='\u{2065}' | '\u{206a}'..='\u{206f}' | '\u{2800}' | '\u{3164}'
                | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}'
                | '\u{13430}'..='\u{1345f}' | '\u{16fe4}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d159}'
                | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

/// Replaces every character that steers. Line feeds and tabs stay.
#[must_use]
pub fn printable(text: &str) -> String {
    let replaced = |c: char| steers(c) && c != '\n' && c != '\t' && !off(Bound::Characters);
    text.chars().map(|c| if replaced(c) { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

/// The same in one line, for the cell of a table: line feeds and tabs are replaced too.
#[must_use]
pub fn one_line(text: &str) -> String {
    text.chars().map(|c| if steers(c) { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

/// A line of a log: the same, and only the line feed at its end stays, so that no text in it begins a line of its own.
/// `coloured`: sequences that set colours (ECMA-48, SGR) stay too. The log writes them around what it was given; an
/// escape in what it was given is escaped by then.
#[must_use]
pub fn log_line(line: &str, coloured: bool) -> String {
    let (line, end) = line.strip_suffix('\n').map_or((line, ""), |line| (line, "\n"));
    let mut out = String::with_capacity(line.len() + end.len());
    let mut rest = line;
    while let Some(c) = rest.chars().next() {
        let kept = if coloured { colour_length(rest) } else { 0 };
        if kept > 0 {
            out.push_str(&rest[..kept]);
            rest = &rest[kept..];
            continue;
        }
        out.push(if steers(c) && c != '\t' { char::REPLACEMENT_CHARACTER } else { c });
        rest = &rest[c.len_utf8()..];
    }
    out.push_str(end);
    out
}

/// Length in bytes of the sequence that sets a colour and begins here; 0 if none does.
fn colour_length(text: &str) -> usize {
    let Some(numbers) = text.strip_prefix("\u{1b}[") else { return 0 };
    let end = numbers.find(|c: char| !c.is_ascii_digit() && c != ';').filter(|at| numbers[*at..].starts_with('m'));
    end.map_or(0, |at| 2 + at + 1)
}

/// Text for HTML, between tags or in a quoted attribute: nothing in it is markup.
#[must_use]
pub fn html_text(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            other => out.push(other),
        }
    }
    out
}

/// JSON in which every character that steers is written as its escape. It holds the same data.
#[must_use]
pub fn printable_json(json: &str) -> String {
    use std::fmt::Write as _;

    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        // Line feeds are between the values; within them they are escaped already.
        if steers(c) && c != '\n' {
            let _ = write!(out, "\\u{:04x}", u32::from(c));
        } else {
            out.push(c);
        }
    }
    out
}

/// The same for text that is not needed any more, which is nearly always harmless as it is.
#[must_use]
pub fn harmless_json(json: String) -> String {
    if json.chars().any(|c| steers(c) && c != '\n') { printable_json(&json) } else { json }
}

/// What spreadsheets take for the beginning of a formula, or skip before one (OWASP, *CSV Injection*).
const FORMULA_STARTS: [char; 11] = ['=', '+', '-', '@', '\t', '\r', '\n', '＝', '＋', '－', '＠'];

/// What may end a cell for a spreadsheet, whatever it is quoted with: in many countries the separator is a semicolon.
const CELL_ENDS: [char; 4] = [';', '\t', '\r', '\n'];

/// Text for a cell of CSV: what a spreadsheet would run as a formula has an apostrophe before it, at the beginning and
/// wherever a spreadsheet might see one of its own cells begin.
#[must_use]
pub fn csv_text(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut begins = true;
    for c in text.chars() {
        if begins && FORMULA_STARTS.contains(&c) {
            out.push('\'');
        }
        out.push(c);
        // A reader that takes the semicolon for the separator sees the quotation marks of another one's quoting here,
        // and leaves them out; some leave out blanks too.
        begins = CELL_ENDS.contains(&c) || begins && (c == '"' || c.is_whitespace() || misleads(c));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_cell_of_a_table_begins_like_a_formula_wherever_a_spreadsheet_cuts_it() {
        for (text, written) in [
            ("=1+1", "'=1+1"),
            ("\u{ff1d}1", "'\u{ff1d}1"),
            ("@home", "'@home"),
            ("\n=1", "'\n'=1"),
            ("a;=cmd|'/c'!A1", "a;'=cmd|'/c'!A1"),
            ("a\t-b\r\n+c", "a\t'-b\r'\n'+c"),
            ("a;\"=1+1;b", "a;\"'=1+1;b"),
            ("a; \u{200b}\"\"+1", "a; \u{200b}\"\"'+1"),
            ("  =1", "  '=1"),
            ("\u{feff}@home", "\u{feff}'@home"),
            ("say \"=1\"; a\"-b", "say \"=1\"; a\"-b"),
            ("rock, pop - live = fun", "rock, pop - live = fun"),
            ("", ""),
        ] {
            assert_eq!(csv_text(text), written, "{text:?}");
        }
    }

    #[test]
    fn nothing_of_a_text_is_markup() {
        assert_eq!(html_text("<b a='1' c=\"2\">ü & &lt;"), "&lt;b a=&#39;1&#39; c=&quot;2&quot;&gt;ü &amp; &amp;lt;");
    }

    #[test]
    fn json_that_is_harmless_stays_and_other_holds_the_same_data() {
        assert_eq!(harmless_json("{\n\"a\": \"ü\"}".to_owned()), "{\n\"a\": \"ü\"}");
        assert_eq!(harmless_json("\"\u{9b}2J\u{202e}\"".to_owned()), r#""\u009b2J\u202e""#);
    }

    #[test]
    fn what_misleads_is_replaced_and_the_rest_stays() {
        assert_eq!(printable("a\u{1b}[2J\0\u{9b}\u{202e}\u{2028}b"), "a\u{fffd}[2J\u{fffd}\u{fffd}\u{fffd}\u{fffd}b");
        assert_eq!(printable("Ünïcode\n\t🎵 \u{200d}"), "Ünïcode\n\t🎵 \u{200d}");
        assert_eq!(one_line("a\nb\tc\u{200f}🎵"), "a\u{fffd}b\u{fffd}c\u{fffd}🎵");
    }

    #[test]
    fn a_line_of_the_log_is_one_line_and_steers_nothing_but_colours() {
        let line = "\u{1b}[2m12:00\u{1b}[0m a\u{1b}[2J\n13:00 ERROR b\u{202e}\u{9b}31m\tc\r\n";
        let plain = "\u{fffd}[2m12:00\u{fffd}[0m a\u{fffd}[2J\u{fffd}13:00 ERROR b\u{fffd}\u{fffd}31m\tc\u{fffd}\n";
        assert_eq!(log_line(line, false), plain);
        assert_eq!(
            log_line(line, true),
            "\u{1b}[2m12:00\u{1b}[0m a\u{fffd}[2J\u{fffd}13:00 ERROR b\u{fffd}\u{fffd}31m\tc\u{fffd}\n"
        );
        for cut_off in ["\u{1b}", "\u{1b}[", "\u{1b}[3", "\u{1b}[3\u{1b}[4"] {
            assert!(!log_line(cut_off, true).contains('\u{1b}'), "{cut_off:?}");
        }
        assert_eq!(log_line("", true), "");
    }

    #[test]
    fn json_holds_the_same_data_and_steers_nothing() {
        let data = serde_json::json!({ "a\u{9b}": "x\u{1b}[2J\u{202e}\u{7f}\n🎵\u{2028}" });
        let text = printable_json(&serde_json::to_string_pretty(&data).expect("JSON"));
        assert!(!text.chars().any(|c| steers(c) && c != '\n'), "{text:?}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&text).expect("JSON"), data);
    }

    #[test]
    fn what_is_invisible_misleads_in_what_a_person_approves() {
        for c in
            "\u{ad}\u{200b}\u{200c}\u{200d}\u{200e}\u{200f}\u{61c}\u{2060}\u{2064}\u{feff}\u{e0041}\u{3164}".chars()
        {
            assert!(misleads(c), "{c:?}");
        }
        assert!(!"Ünïcode 🎵".chars().any(misleads));
    }
}
