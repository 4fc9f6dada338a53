//! Untrusted text, made safe to show to a person.

/// Whether a character can make text look different from what it is. Control characters steer a terminal (and databases
/// refuse U+0000), bidirectional formatting reorders what is shown, and line and paragraph separators start a line.
#[must_use]
pub fn misleads(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Replaces every character that misleads. Line feeds and tabs stay.
#[must_use]
pub fn printable(text: &str) -> String {
    text.chars().map(|c| if misleads(c) && c != '\n' && c != '\t' { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_misleads_is_replaced_and_the_rest_stays() {
        assert_eq!(printable("a\u{1b}[2J\0\u{9b}\u{202e}\u{2028}b"), "a\u{fffd}[2J\u{fffd}\u{fffd}\u{fffd}\u{fffd}b");
        assert_eq!(printable("Ünïcode\n\t🎵 \u{200d}"), "Ünïcode\n\t🎵 \u{200d}");
    }
}
