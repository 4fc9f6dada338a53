//! The part of `docs/performance.md` that the command writes: between two comments, everything else stays.

use std::fmt::Write as _;

use anyhow::{Context as _, Result, bail};

use super::report;
use super::results::Results;
use crate::process;

/// The line before the figures.
const BEGIN: &str = "<!-- written by `cargo xtask bench --write-docs` -->";

/// The line after the figures.
const END: &str = "<!-- end of what `cargo xtask bench` wrote -->";

/// Columns of the page.
const COLUMNS: usize = 120;

/// Puts the figures into the page.
///
/// # Errors
/// If the page can't be read or written, or lacks the comments.
pub(crate) fn write(results: &Results) -> Result<()> {
    let path = process::workspace_root().join("docs/performance.md");
    let page = std::fs::read_to_string(&path).with_context(|| format!("failed to read {}", path.display()))?;
    let page = replaced(&page, &part(results)).with_context(|| format!("{} is not as expected", path.display()))?;
    std::fs::write(&path, page).with_context(|| format!("failed to write {}", path.display()))
}

/// The page with another part between the comments.
fn replaced(page: &str, part: &str) -> Result<String> {
    let Some((before, rest)) = page.split_once(BEGIN) else { bail!("it lacks the line `{BEGIN}`") };
    let Some((_, after)) = rest.split_once(END) else { bail!("it lacks the line `{END}` after that which opens it") };
    Ok(format!("{before}{BEGIN}\n\n{part}\n{END}{after}"))
}

/// The figures in Markdown.
fn part(results: &Results) -> String {
    let mut text = String::new();
    let _ = writeln!(text, "{}", wrapped(&format!("Measured on {}. {}", results.date, results.machine.line())));
    text += "\n| row | measured | spread | bar | met |\n|---|---|---|---|---|\n";
    for row in &results.rows {
        let [name, _, unit, spread, bar, median, met] = &report::cells(row)[..] else { continue };
        let figure = if row.met().is_some() { format!("{median} {unit}") } else { median.clone() };
        let _ = writeln!(text, "| `{name}` | {figure} | {spread} | {bar} | {} |", met.to_lowercase());
    }
    text += "\nThe rows (× is a ratio to the native program in the same run):\n\n";
    for row in &results.rows {
        let _ = writeln!(text, "{}", wrapped(&format!("- `{}`: {}, in {}", row.name, row.what, row.unit)));
    }
    let missing: Vec<_> = results.rows.iter().filter_map(report::not_measured).collect();
    if !missing.is_empty() {
        text += "\nNot measured:\n\n";
        for (row, reason) in missing {
            let _ = writeln!(text, "{}", wrapped(&format!("- `{row}`: {reason}")));
        }
    }
    if !results.details.is_empty() {
        text += "\nFigures without a bar:\n\n| what | measured | spread |\n|---|---|---|\n";
        for detail in &results.details {
            let figure = super::figures::shown(detail.figure.median);
            let _ =
                writeln!(text, "| {} | {figure} {} | {} |", detail.what, detail.unit, report::spread(detail.figure));
        }
    }
    for by in report::jobs(results) {
        let _ = writeln!(text, "\nStatements of `{by}` by their time in PostgreSQL, all repetitions together:\n");
        text += "| statement | calls | ms | ms per batch | rows |\n|---|---|---|---|---|\n";
        for cells in report::statements(results, by) {
            let [statement, numbers @ ..] = &cells[..] else { continue };
            let _ = writeln!(text, "| `{}` | {} |", statement.replace('|', "\\|"), numbers.join(" | "));
        }
    }
    if !results.notes.is_empty() {
        text.push('\n');
        for note in &results.notes {
            let _ = writeln!(text, "{}", wrapped(&format!("- {}", note.text)));
        }
    }
    if !results.took.is_empty() {
        let took = |(by, seconds): (&String, &f64)| format!("`{by}` {seconds:.0} s");
        let took: Vec<String> = results.took.iter().map(took).collect();
        let _ = writeln!(text, "\n{}", wrapped(&format!("Measuring took, with what it set up: {}.", took.join(", "))));
    }
    text
}

/// A paragraph or an item of a list, broken into lines that the page may have.
fn wrapped(paragraph: &str) -> String {
    let indent = if paragraph.starts_with("- ") { "  " } else { "" };
    let (mut text, mut columns) = (String::new(), 0);
    for word in paragraph.split_whitespace() {
        let width = word.chars().count();
        if columns > 0 && columns + 1 + width > COLUMNS {
            text.push('\n');
            text.push_str(indent);
            columns = indent.len();
        } else if columns > 0 {
            text.push(' ');
            columns += 1;
        }
        text.push_str(word);
        columns += width;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::results::tests::results;
    use super::*;

    #[test]
    fn only_what_stands_between_the_comments_is_replaced() {
        let page = format!("# Performance\n\nwords\n\n{BEGIN}\nold\n{END}\n\nmore words\n");
        let new = replaced(&page, "new\n").expect("replaced");
        assert_eq!(new, format!("# Performance\n\nwords\n\n{BEGIN}\n\nnew\n\n{END}\n\nmore words\n"));
        assert_eq!(replaced(&new, "new\n").expect("replaced"), new, "the same figures change nothing");
        assert!(replaced("no comment", "new").is_err());
        assert!(replaced(&format!("{END}\n{BEGIN}"), "new").is_err(), "in this order");
    }

    #[test]
    fn the_repositorys_page_has_the_comments() {
        let path = process::workspace_root().join("docs/performance.md");
        let page = std::fs::read_to_string(path).expect("readable");
        assert!(replaced(&page, "new").is_ok());
    }

    #[test]
    fn the_part_is_markdown_with_every_row() {
        let part = part(&results(&[("job", 2.0), ("binary", 61.0)]));
        assert!(part.contains("| `job` | 2.00 × | 1.80 to 2.20 (3) | ≤ 3.00 | yes |"), "{part}");
        assert!(part.contains("| `binary` | 61.0 MB | 54.9 to 67.1 (3) | ≤ 60.0 | no |"), "{part}");
        assert!(part.contains("| `reading` | not measured |  | ≤ 20.0 | – |"), "{part}");
        assert!(part.contains("- `reading`: it needs --long\n"), "{part}");
        assert!(part.contains("| `INSERT INTO metrics \\| of a batch` | 10 | 20 | 2.000 | 500 |"), "{part}");
        assert!(part.contains("- `binary`: release binary as built, in MB\n"), "{part}");
        let widest = part.lines().map(|line| line.chars().count()).max();
        assert!(widest <= Some(COLUMNS), "{part}");
    }

    #[test]
    fn long_notes_are_broken_and_indented() {
        let text = wrapped(&format!("- {}", "word ".repeat(40)));
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 2, "{text}");
        assert!(lines[0].chars().count() <= COLUMNS && lines[1].starts_with("  word"), "{text}");
    }
}
