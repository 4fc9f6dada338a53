//! Rules about texts: how wide a line is, which words are not used, and that a doc comment says more than one word.

use super::{Breach, Source};

/// Columns of a line, in characters.
pub(crate) const COLUMNS_MAX: usize = 120;

/// The last released migration, by number: what is released stays as it is, byte for byte.
const MIGRATION_RELEASED: u32 = 8;

/// Words that are not used, in all their forms. Pieced together, so that this list does not breach its own rule.
const BANNED_WORDS: [&str; 12] = [
    concat!("men", "d"),
    concat!("men", "ds"),
    concat!("men", "ded"),
    concat!("men", "ding"),
    concat!("an", "ew"),
    concat!("who", "ever"),
    concat!("some", "body"),
    concat!("bu", "ry"),
    concat!("bu", "ries"),
    concat!("bu", "ried"),
    concat!("bu", "rying"),
    concat!("bu", "rial"),
];

/// Checks one file.
pub(crate) fn check(source: &Source) -> Vec<Breach> {
    if is_frozen(&source.path) {
        return Vec::new();
    }
    let mut breaches = Vec::new();
    let mut breach = |line: usize, problem: String| breaches.push(Breach { path: source.path.clone(), line, problem });
    let columns = Columns::of(&source.path);
    let is_rust = source.path.ends_with(".rs");
    let is_recorded = is_recorded(&source.path);
    let lines: Vec<&str> = source.text.lines().collect();
    let mut in_fence = false;
    for (index, line) in lines.iter().enumerate() {
        if columns == Columns::Prose && line.trim_start().starts_with("```") {
            in_fence = !in_fence;
        }
        let width = columns.width(line);
        if width > COLUMNS_MAX && !in_fence && !is_one_url(line) {
            breach(index + 1, format!("{width} columns; break the line after {COLUMNS_MAX} at the latest"));
        }
        if !is_recorded {
            for word in banned_words(line) {
                breach(index + 1, format!("`{word}` is not used here; write a common word instead"));
            }
        }
        if is_rust && is_one_word_doc(&lines, index) {
            breach(index + 1, "a doc comment of one word; leave it out, or say what the name does not".to_owned());
        }
    }
    breaches
}

/// Whether a file was published or released, so that it never changes.
fn is_frozen(path: &str) -> bool {
    let migration = || {
        let name = path.strip_prefix("migrations/")?.rsplit('/').next()?;
        name.split('_').next()?.parse::<u32>().ok()
    };
    path.starts_with("wit/") || migration().is_some_and(|number| number <= MIGRATION_RELEASED)
}

/// Whether a file is what a platform answered, which may hold any text.
fn is_recorded(path: &str) -> bool {
    path.contains("/fixtures/") && !path.ends_with(".rs")
}

/// Which lines of a file have a greatest width.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Columns {
    /// Every one.
    All,
    /// Every one outside code fences; in tables, the targets of links don't count.
    Prose,
    /// Comments that begin with `#`.
    Comments,
    /// None: the line breaks are not ours to choose.
    Any,
}

impl Columns {
    fn of(path: &str) -> Self {
        let name = path.rsplit('/').next().unwrap_or(path);
        match name.rsplit_once('.').map_or(name, |(_, ending)| ending) {
            _ if is_recorded(path) => Self::Any,
            "rs" | "toml" | "sql" | "wit" | "sh" | "run" | "Dockerfile" | "js" | "css" | "py" | "go" | "c" | "h" => {
                Self::All
            }
            "md" => Self::Prose,
            "yml" | "yaml" => Self::Comments,
            _ => Self::Any,
        }
    }

    fn width(self, line: &str) -> usize {
        match self {
            Self::All => line.chars().count(),
            Self::Prose if line.trim_start().starts_with('|') => without_link_targets(line),
            Self::Prose => line.chars().count(),
            Self::Comments if line.trim_start().starts_with('#') => line.chars().count(),
            Self::Comments | Self::Any => 0,
        }
    }
}

/// The width of a table's row as a reader sees it: a row can't be broken, and a link's target can't be shortened.
fn without_link_targets(line: &str) -> usize {
    let mut parts = line.split("](");
    let first = parts.next().map_or(0, |part| part.chars().count());
    first
        + parts
            .map(|part| part.split_once(')').map_or(part, |(_, rest)| rest).chars().count() + "]()".len())
            .sum::<usize>()
}

/// Whether a line holds nothing but one URL, after what marks it as a comment, a list's item or a link's definition.
fn is_one_url(line: &str) -> bool {
    let mut words = line.split_whitespace();
    let (Some(last), rest) = (words.next_back(), words) else { return false };
    let is_marker = |word: &str| {
        matches!(word, "//" | "///" | "//!" | "#" | "-" | "*" | ">" | "--")
            || (word.starts_with('[') && word.ends_with("]:"))
    };
    last.contains("://") && rest.into_iter().all(is_marker)
}

/// The banned words of a line; names are taken apart at `_` and at capitals.
fn banned_words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut was_lower = false;
    for c in line.chars() {
        if !c.is_alphabetic() || (was_lower && c.is_uppercase()) {
            words.push(String::new());
        }
        if c.is_alphabetic() {
            words.last_mut().expect("never empty").extend(c.to_lowercase());
        }
        was_lower = c.is_lowercase();
    }
    words.retain(|word| BANNED_WORDS.contains(&word.as_str()));
    words
}

/// Whether a line is a whole doc comment and holds one word with a full stop.
fn is_one_word_doc(lines: &[&str], index: usize) -> bool {
    let doc = |at: usize| lines.get(at).and_then(|line| line.trim_start().strip_prefix("///"));
    let Some(text) = doc(index) else { return false };
    let stands_alone = doc(index + 1).is_none() && (index == 0 || doc(index - 1).is_none());
    let word = text.trim().strip_suffix('.');
    stands_alone && word.is_some_and(|word| !word.is_empty() && word.chars().all(|c| c.is_alphanumeric() || c == '\''))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(path: &str, text: &str) -> Vec<usize> {
        check(&Source { path: path.to_owned(), text: text.to_owned() }).iter().map(|breach| breach.line).collect()
    }

    const NONE: [usize; 0] = [];

    #[test]
    fn a_line_has_120_columns_at_most() {
        let (fits, long) = ("é ".repeat(COLUMNS_MAX / 2), "é ".repeat(COLUMNS_MAX / 2) + "x");
        for path in ["host/app/src/a.rs", "README.md", "Cargo.toml", "deploy/Dockerfile", ".ci/run", "deploy/a.sql"] {
            assert_eq!(problems(path, &fits), NONE, "{path}");
            assert_eq!(problems(path, &format!("\n{long}\n")), [2], "{path}");
        }
        for path in ["a.json", "plugins/youtube/fixtures/a.toml"] {
            assert_eq!(problems(path, &long), NONE, "{path}");
        }
    }

    #[test]
    fn what_is_published_or_released_stays_as_it_is() {
        let long = "x ".repeat(COLUMNS_MAX);
        let text = format!("{long}\n-- {}\n", concat!("an", "ew"));
        assert_eq!(problems("wit/connector/1.0.0/connector.wit", &text), NONE);
        assert_eq!(problems("migrations/sqlite/0008_privacy.sql", &text), NONE);
        assert_eq!(problems("migrations/sqlite/0009_next.sql", &text), [1, 2]);
        assert_eq!(problems("host/store/src/0001_first.sql", &text), [1, 2]);
    }

    #[test]
    fn what_can_t_be_broken_may_be_long() {
        let url = format!("https://example.com/{}", "x".repeat(COLUMNS_MAX));
        assert_eq!(problems("README.md", &url), NONE);
        assert_eq!(problems("README.md", &format!("[site]: {url}\n- {url}\n")), NONE);
        assert_eq!(problems("README.md", &format!("see {url}\n")), [1], "the word before it goes on a line of its own");
        assert_eq!(problems("a.rs", &format!("    /// <{url}>\n")), NONE);
        assert_eq!(problems("a.rs", &format!("let url = \"{url}\";\n")), [1], "a text can be joined");
        assert_eq!(problems("README.md", &"x".repeat(COLUMNS_MAX + 1)), [1], "only URLs");
        let long = "x ".repeat(COLUMNS_MAX);
        assert_eq!(problems("README.md", &format!("```\n{long}\n```\n{long}\n")), [4], "code fences are free");
    }

    #[test]
    fn rows_of_tables_count_as_they_are_shown() {
        let link = format!("[a](host/{})", "x".repeat(COLUMNS_MAX));
        assert_eq!(problems("README.md", &format!("| {link} | {link} |\n")), NONE);
        assert_eq!(
            problems("README.md", &format!("{link}\n")),
            [1],
            "outside a table it can be broken before the link"
        );
        assert_eq!(problems("README.md", &format!("| {} |\n", "x ".repeat(COLUMNS_MAX))), [1]);
        assert_eq!(without_link_targets("| [a](b) | [c](d) e |"), "| [a]() | [c]() e |".len());
    }

    #[test]
    fn of_yaml_only_comments_are_measured() {
        let long = "x ".repeat(COLUMNS_MAX);
        assert_eq!(problems("docs/ops/a.yml", &format!("  # {long}\n  expr: {long}\n")), [1]);
        assert_eq!(problems("deploy/compose.yaml", &format!("# {long}\n")), [1]);
    }

    #[test]
    fn banned_words_are_found_in_all_forms_and_in_names() {
        for text in [
            concat!("// men", "d it"),
            concat!("// Men", "ding"),
            concat!("fn men", "d_after() {}"),
            concat!("fn f() { lease_bu", "ried(); }"),
            concat!("enum A { Bu", "ryCredential }"),
            concat!("enum A { CredentialBu", "ry }"),
            concat!("// some", "body's"),
            concat!("\"set it an", "ew\""),
            concat!("// WHO", "EVER"),
        ] {
            assert_eq!(problems("host/app/src/a.rs", text), [1], "{text}");
            assert_eq!(problems("README.md", text), [1], "{text}");
        }
        let innocent = "// amend, recommend, commended, an ewe, some body, buryat, newt, canew";
        assert_eq!(problems("host/app/src/a.rs", innocent), NONE);
        assert_eq!(problems("plugins/tiktok/fixtures/a.json", concat!("men", "d")), NONE, "recorded bodies may");
    }

    #[test]
    fn a_doc_comment_says_more_than_one_word() {
        assert_eq!(problems("a.rs", "struct A {\n    /// Which.\n    a: u8,\n}"), [2]);
        assert_eq!(problems("a.rs", "/// Somewhere's.\nfn f() {}\n/// Where.\nfn g() {}"), [1, 3]);
        assert_eq!(problems("a.rs", "/// Which account.\nfn f() {}"), NONE);
        assert_eq!(problems("a.rs", "/// Which account it\n/// has.\nfn f() {}"), NONE, "the end of a sentence");
        assert_eq!(problems("a.rs", "/// First.\n///\n/// More words.\nfn f() {}"), NONE);
        assert_eq!(problems("a.md", "/// Which.\n"), NONE);
    }
}
