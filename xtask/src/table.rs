//! Plain tables for a terminal, and numbers in them.

use std::fmt::Write as _;

/// A plain table: columns of text, given by their places, to the left, and numbers to the right.
pub(crate) fn table(header: &[&str], rows: &[Vec<String>], texts: &[usize]) -> String {
    let width = |column: usize| {
        rows.iter()
            .map(|row| row[column].chars().count())
            .chain(std::iter::once(header[column].chars().count()))
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..header.len()).map(width).collect();
    let is_text = |column: usize| texts.contains(&column);
    let mut text = String::new();
    let mut line = |cells: Vec<&str>| {
        let mut joined = String::new();
        for (column, (cell, width)) in cells.iter().zip(&widths).enumerate() {
            let gap = if column == 0 { "" } else { "  " };
            let _ = if is_text(column) {
                write!(joined, "{gap}{cell:<width$}")
            } else {
                write!(joined, "{gap}{cell:>width$}")
            };
        }
        text.push_str(joined.trim_end());
        text.push('\n');
    };
    line(header.to_vec());
    let rule: Vec<String> = widths.iter().map(|width| "─".repeat(*width)).collect();
    line(rule.iter().map(String::as_str).collect());
    rows.iter().for_each(|row| line(row.iter().map(String::as_str).collect()));
    text
}

/// 1234567 → 1 234 567.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_grouped() {
        assert_eq!([grouped(0), grouped(999), grouped(1000), grouped(1_234_567)], ["0", "999", "1 000", "1 234 567"]);
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [vec!["a".to_owned(), "1".to_owned()], vec!["µs".to_owned(), "10 000".to_owned()]];
        assert_eq!(table(&["unit", "n"], &rows, &[0]), "unit       n\n────  ──────\na          1\nµs    10 000\n");
    }
}
