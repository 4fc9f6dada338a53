//! Tables as text, as wide as they may be: ids are cut to what tells them apart, columns that can be done without are
//! left out, and what is long is wrapped by words. Pure.
//!
//! A column is described by its title with marks before it:
//!
//! | mark | meaning |
//! |---|---|
//! | `>` | it holds numbers, which stand to the right |
//! | `#` | it holds ids |
//! | `?` | it is left out where there is no room; columns with more of these first, then the last ones first |

use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr};

use backline_model::text::one_line;

/// Blanks between two columns.
const GAP: usize = 2;

/// Blanks before the first column.
const MARGIN: usize = 1;

/// A column is not made narrower than this before others are left out.
const COMFORT: usize = 20;

/// Longest word for which a column is kept wide enough; longer ones, such as addresses, are broken.
const WORD_MAX: usize = 32;

/// Fewest characters of an id that is cut.
const ID_CHARS_MIN: usize = 8;

/// A table as text.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::cli) struct Laid {
    /// Its lines, none of which ends in blanks.
    pub text: String,
    /// Titles of the columns that had no room.
    pub left_out: Vec<String>,
}

/// A column with its cells.
struct Column {
    /// Its place in the whole table.
    place: usize,
    title: String,
    right: bool,
    ids: bool,
    /// How readily it is left out; 0 for never.
    spare: usize,
    cells: Vec<String>,
}

impl Column {
    fn new(place: usize, marked: &str, cells: Vec<String>) -> Self {
        let title = marked.trim_start_matches(['>', '#', '?']);
        let marks = &marked[..marked.len() - title.len()];
        Self {
            place,
            title: title.to_uppercase(),
            right: marks.contains('>'),
            ids: marks.contains('#'),
            spare: marks.matches('?').count(),
            cells,
        }
    }

    /// The width at which nothing is wrapped.
    fn natural(&self) -> usize {
        self.cells.iter().map(|cell| cell.width()).max().unwrap_or(0).max(self.title.width())
    }

    /// The width that it should have at least.
    fn least(&self) -> usize {
        let natural = self.natural();
        if self.right || natural <= COMFORT {
            return natural;
        }
        let word = self.longest_word();
        let word = if word > WORD_MAX { COMFORT } else { word };
        word.max(COMFORT).max(self.title.width()).min(natural)
    }

    /// The width below which a word is broken.
    fn longest_word(&self) -> usize {
        if self.right {
            return self.natural();
        }
        let texts = self.cells.iter().chain([&self.title]);
        texts.flat_map(|text| text.split(' ')).map(UnicodeWidthStr::width).max().unwrap_or(0)
    }

    /// Cuts ids to the shortest beginning that differs in all rows.
    fn shorten(&mut self) {
        if !self.ids {
            return;
        }
        let mut whole: Vec<&str> = self.cells.iter().map(String::as_str).collect();
        whole.sort_unstable();
        whole.dedup();
        let shared = |pair: &[&str]| pair[0].bytes().zip(pair[1].bytes()).take_while(|(a, b)| a == b).count();
        let kept = whole.windows(2).map(shared).max().map_or(0, |shared| shared + 1).max(ID_CHARS_MIN);
        for cell in &mut self.cells {
            let cut: String = cell.chars().take(kept).collect();
            // A hyphen at the end tells nothing.
            *cell = cut.trim_end_matches('-').to_owned();
        }
    }
}

/// Lays out a table in lines of at most `width` columns of a terminal; however wide it gets if there is none.
pub(in crate::cli) fn lay_out(headers: &[&str], rows: &[Vec<String>], width: Option<usize>) -> Laid {
    let cells =
        |index: usize| rows.iter().map(move |row| row.get(index).map_or_else(String::new, |cell| one_line(cell)));
    let mut columns: Vec<Column> =
        headers.iter().enumerate().map(|(index, header)| Column::new(index, header, cells(index).collect())).collect();
    let Some(width) = width.filter(|width| total(columns.iter().map(Column::natural)) > *width) else {
        let widths: Vec<usize> = columns.iter().map(Column::natural).collect();
        return Laid { text: render(&columns, &widths), left_out: Vec::new() };
    };
    columns.iter_mut().for_each(Column::shorten);
    let mut left_out = Vec::new();
    while total(columns.iter().map(Column::least)) > width
        && let Some(most) = columns.iter().map(|column| column.spare).max().filter(|spare| *spare > 0)
        && let Some(index) = columns.iter().rposition(|column| column.spare == most)
    {
        left_out.push(columns.remove(index));
    }
    left_out.sort_by_key(|column| column.place);
    let left_out = left_out.into_iter().map(|column| column.title.to_lowercase()).collect();
    let widths = share(&columns, width);
    Laid { text: render(&columns, &widths), left_out }
}

/// The width of a line with columns of these widths.
fn total(widths: impl Iterator<Item = usize>) -> usize {
    let (sum, count) = widths.fold((0, 0_usize), |(sum, count), width| (sum + width, count + 1));
    MARGIN + sum + GAP * count.saturating_sub(1)
}

/// Widths of columns that fill a line: what is left goes to those that want more. If there is too little, the widest
/// ones give that can without breaking a word, and then any.
fn share(columns: &[Column], width: usize) -> Vec<usize> {
    let natural: Vec<usize> = columns.iter().map(Column::natural).collect();
    let mut widths: Vec<usize> = columns.iter().map(Column::least).collect();
    let words: Vec<usize> = columns.iter().map(Column::longest_word).collect();
    while total(widths.iter().copied()) > width {
        let widest = |may_give: &dyn Fn(usize) -> bool| {
            (0..widths.len()).filter(|&index| may_give(index)).max_by_key(|&index| widths[index])
        };
        let by_words = widest(&|index| widths[index] > words[index]);
        let Some(index) = by_words.or_else(|| widest(&|index| widths[index] > 1)) else { break };
        widths[index] -= 1;
    }
    loop {
        let left = width.saturating_sub(total(widths.iter().copied()));
        let wanting: Vec<usize> = (0..widths.len()).filter(|&index| widths[index] < natural[index]).collect();
        if left == 0 || wanting.is_empty() {
            return widths;
        }
        let each = (left / wanting.len()).max(1);
        for index in wanting.into_iter().take(left) {
            widths[index] += each.min(natural[index] - widths[index]);
        }
    }
}

fn render(columns: &[Column], widths: &[usize]) -> String {
    let count = columns.first().map_or(0, |column| column.cells.len());
    let titles = columns.iter().map(|column| column.title.as_str()).collect::<Vec<_>>();
    let mut lines = Vec::new();
    render_row(columns, widths, &titles, &mut lines);
    for row in 0..count {
        let cells = columns.iter().map(|column| column.cells[row].as_str()).collect::<Vec<_>>();
        render_row(columns, widths, &cells, &mut lines);
    }
    lines.join("\n")
}

fn render_row(columns: &[Column], widths: &[usize], cells: &[&str], lines: &mut Vec<String>) {
    let wrapped: Vec<Vec<String>> = cells.iter().zip(widths).map(|(cell, width)| wrap(cell, *width)).collect();
    let height = wrapped.iter().map(Vec::len).max().unwrap_or(1);
    for line in 0..height {
        let mut text = " ".repeat(MARGIN);
        for (index, (column, width)) in columns.iter().zip(widths).enumerate() {
            if index > 0 {
                text.push_str(&" ".repeat(GAP));
            }
            let part = wrapped[index].get(line).map_or("", String::as_str);
            let blanks = " ".repeat(width.saturating_sub(part.width()));
            if column.right {
                text.push_str(&blanks);
                text.push_str(part);
            } else {
                text.push_str(part);
                text.push_str(&blanks);
            }
        }
        lines.push(text.trim_end().to_owned());
    }
}

/// A text in lines of at most this width: by words, and inside of a word only where it alone is wider.
fn wrap(text: &str, width: usize) -> Vec<String> {
    if text.width() <= width {
        return vec![text.to_owned()];
    }
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let last = lines.last_mut().filter(|line| !line.is_empty() && line.width() + 1 + word.width() <= width);
        if let Some(line) = last {
            line.push(' ');
            line.push_str(word);
            continue;
        }
        if lines.last().is_some_and(|line| !line.is_empty()) {
            lines.push(String::new());
        }
        for c in word.chars() {
            let wide = c.width().unwrap_or(0);
            if lines.last().is_some_and(|line| !line.is_empty() && line.width() + wide > width) {
                lines.push(String::new());
            }
            if let Some(line) = lines.last_mut() {
                line.push(c);
            }
        }
    }
    lines
}

/// Sentences in lines of at most `width` columns, which end between words; as they are if there is none. What a line
/// goes on with stands further in than its beginning. A word that is wider by itself, such as an address, stays whole,
/// so that it can be copied.
pub(in crate::cli) fn in_lines(text: &str, width: Option<usize>) -> String {
    let Some(width) = width else { return text.to_owned() };
    let mut lines = Vec::new();
    for line in text.split('\n') {
        if line.width() <= width {
            lines.push(line.to_owned());
            continue;
        }
        let words = line.trim_start_matches(' ');
        let lead = line.len() - words.len();
        let (mut current, mut has_word) = (" ".repeat(lead), false);
        for word in words.split(' ') {
            if has_word && current.width() + 1 + word.width() > width {
                lines.push(std::mem::replace(&mut current, " ".repeat(lead + GAP)));
                has_word = false;
            }
            if has_word {
                current.push(' ');
            }
            current.push_str(word);
            has_word = true;
        }
        lines.push(current);
    }
    lines.join("\n")
}

#[cfg(test)]
pub(in crate::cli) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Renders a table of one row at 80 and at 120 columns and checks what every table promises: no line is wider, and
    /// no word is broken but ids, addresses and what may be left out.
    pub(in crate::cli) fn fits(headers: &[&str], row: &[&str]) {
        assert_eq!(headers.len(), row.len(), "{headers:?}");
        let rows = vec![row.iter().map(|&cell| cell.to_owned()).collect::<Vec<_>>()];
        for width in [80, 120] {
            let laid = lay_out(headers, &rows, Some(width));
            for line in laid.text.lines() {
                assert!(line.width() <= width, "{width}: {line}");
            }
            for header in headers.iter().filter(|header| !header.contains('?')) {
                let title = header.trim_start_matches(['>', '#']).to_uppercase();
                let is_shown = title.split(' ').all(|word| laid.text.contains(word));
                assert!(is_shown, "{width}: {header} is broken or left out:\n{}", laid.text);
            }
            for (header, cell) in headers.iter().zip(row) {
                let is_whole = cell.split(' ').all(|word| word.len() > 20 || laid.text.contains(word));
                assert!(header.contains(['?', '#']) || is_whole, "{width}: '{cell}' is broken:\n{}", laid.text);
            }
        }
    }

    #[test]
    fn numbers_stand_to_the_right_and_no_line_ends_in_blanks() {
        let rows = vec![vec!["Ada".into(), "7".into()], vec!["Bo".into(), "12345678901".into()]];
        let text = lay_out(&["name", ">followers"], &rows, None).text;
        assert_eq!(text, " NAME    FOLLOWERS\n Ada             7\n Bo    12345678901");
    }

    #[test]
    fn a_cell_neither_steers_the_terminal_nor_starts_a_line() {
        let text = lay_out(&["name"], &[vec!["a\u{1b}[2J\nb\u{202e}".into()]], None).text;
        assert_eq!(text.lines().count(), 2, "{text}");
        assert!(text.contains("a\u{fffd}[2J\u{fffd}b\u{fffd}"), "{text}");
    }

    #[test]
    fn what_is_long_is_wrapped_by_words() {
        let rows = vec![vec!["youtube".into(), "the platform refused the key of the operator".into()]];
        let laid = lay_out(&["platform", "message"], &rows, Some(36));
        assert_eq!(
            laid.text,
            " PLATFORM  MESSAGE\n youtube   the platform refused the\n           key of the operator"
        );
        assert_eq!(laid.left_out, Vec::<String>::new());
    }

    #[test]
    fn ids_are_cut_to_what_tells_them_apart_and_stay_whole_where_there_is_room() {
        let ids = ["0199f1de-0000-7aa1-b7a4-0c2b6f5d8e22", "0199f1de-0abc-7aa1-b7a4-0c2b6f5d8e22"];
        let rows: Vec<Vec<String>> = ids.iter().map(|id| vec![(*id).to_owned()]).collect();
        assert!(lay_out(&["#id"], &rows, Some(80)).text.contains(ids[0]));
        assert_eq!(lay_out(&["#id"], &rows, Some(20)).text, " ID\n 0199f1de-00\n 0199f1de-0a");
        assert_eq!(lay_out(&["#id"], &rows[..1], Some(20)).text, " ID\n 0199f1de");
    }

    #[test]
    fn columns_are_left_out_in_their_order_and_named() {
        let rows = vec![["a"; 4].map(|cell| cell.repeat(10)).to_vec()];
        let headers = ["one", "?two", "??three", "?four"];
        let left_out = |width| lay_out(&headers, &rows, Some(width)).left_out;
        assert_eq!(left_out(47), Vec::<String>::new());
        assert_eq!(left_out(46), ["three"]);
        assert_eq!(left_out(30), ["three", "four"]);
        assert_eq!(left_out(20), ["two", "three", "four"], "in the order of the table");
    }

    #[test]
    fn a_word_that_is_wider_than_its_column_is_broken() {
        assert_eq!(wrap("ab cdefgh i", 4), ["ab", "cdef", "gh i"]);
        assert_eq!(wrap("日本語", 4), ["日本", "語"]);
    }

    #[test]
    fn sentences_end_their_lines_between_words() {
        let said = "short\n  the cost is based on 0 requests";
        assert_eq!(in_lines(said, None), said);
        assert_eq!(in_lines(said, Some(16)), "short\n  the cost is\n    based on 0\n    requests");
        assert_eq!(in_lines("see https://example.test/a for it", Some(8)), "see\n  https://example.test/a\n  for it");
        assert_eq!(in_lines("日本 語", Some(5)), "日本\n  語");
    }

    proptest! {
        #[test]
        fn no_line_is_ever_wider_and_no_character_is_lost(
            rows in prop::collection::vec(prop::collection::vec("[a-z]{0,30}( [a-z]{1,50}){0,4}", 5), 0..5),
            width in 30_usize..200,
        ) {
            let headers = ["one", ">two", "three", "?four", "??five"];
            let laid = lay_out(&headers, &rows, Some(width));
            for line in laid.text.lines() {
                prop_assert!(line.width() <= width, "{width}: {line}");
            }
            let count = |text: &str| text.chars().filter(char::is_ascii_lowercase).count();
            let shown = headers.len() - laid.left_out.len();
            let cells: usize = rows.iter().flat_map(|row| &row[..shown]).map(|cell| count(cell)).sum();
            prop_assert_eq!(count(&laid.text), cells);
        }
    }
}
