//! Rules about files: how they open, what must not stand in them, and that ARCHITECTURE.md tells the truth.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context as _, Result};

use super::{Breach, Source};

/// Lines past which a file is to be split; a warning, not a breach.
pub(crate) const LINES_MAX: usize = 800;

/// Endings of the files that are read.
const TEXT_ENDINGS: [&str; 19] = [
    ".rs",
    ".toml",
    ".md",
    ".sql",
    ".wit",
    ".json",
    ".yml",
    ".yaml",
    ".html",
    ".service",
    ".sh",
    "run",
    "Dockerfile",
    ".js",
    ".css",
    ".py",
    ".go",
    ".c",
    ".h",
];

/// What the name of a file says whose text a tool wrote, for machines.
const MINIFIED: &str = ".min.";

/// Folders that are not ours to check.
const SKIPPED_FOLDERS: [&str; 3] = ["target", ".git", "node_modules"];

/// What no file may contain, with what to do instead. Pieced together, so that this file does not breach its own rule.
const FORBIDDEN_EVERYWHERE: [(&str, &str); 4] = [
    (concat!("/ho", "me/"), "a path of one machine; write it relative to the repository"),
    (concat!("/Us", "ers/"), "a path of one machine; write it relative to the repository"),
    (concat!("/ro", "ot/"), "a path of one machine; write it relative to the repository"),
    (concat!("/wo", "rk/"), "a path of one machine; write it relative to the repository"),
];

/// What no test may contain.
const FORBIDDEN_IN_TESTS: [(&str, &str); 3] = [
    (concat!("#[ig", "nore"), "an ignored test; make it run or remove it"),
    (concat!("thread::sl", "eep("), "a sleeping test; wait for a signal"),
    (concat!("time::sl", "eep("), "a sleeping test; wait for a signal, or use tokio's paused time"),
];

/// Reads every text file of the workspace, in order of path.
///
/// # Errors
/// When a folder or file can't be read.
pub(crate) fn read_sources(root: &Path) -> Result<Vec<Source>> {
    let mut sources = Vec::new();
    let mut folders = vec![root.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).with_context(|| format!("failed to read {}", folder.display()))? {
            let path = entry?.path();
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            if path.is_dir() {
                if !SKIPPED_FOLDERS.contains(&name.as_str()) {
                    folders.push(path);
                }
            } else if TEXT_ENDINGS.iter().any(|ending| name.ends_with(ending)) && !name.contains(MINIFIED) {
                let text =
                    std::fs::read_to_string(&path).with_context(|| format!("failed to read {}", path.display()))?;
                let path = path.strip_prefix(root).unwrap_or(&path).to_string_lossy().replace('\\', "/");
                sources.push(Source { path, text });
            }
        }
    }
    sources.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(sources)
}

/// Checks one file.
pub(crate) fn check(source: &Source) -> Vec<Breach> {
    let mut breaches = Vec::new();
    let breach = |line: usize, problem: String| Breach { path: source.path.clone(), line, problem };
    let is_rust = source.path.ends_with(".rs");
    if is_rust && !opens_with_a_word(&source.text) {
        breaches.push(breach(1, "it opens without `//!`; say in its first line what lives here".to_owned()));
    }
    // Recorded bodies may hold any text.
    let is_recorded = source.path.contains("/fixtures/");
    // What starts a server for the tests may have to wait for it.
    let mut in_tests = source.path.starts_with("tests/it/") && !source.path.starts_with("tests/it/support/");
    for (index, line) in source.text.lines().enumerate() {
        if is_rust && line.contains("#[cfg(test)]") {
            in_tests = true;
        }
        for (text, problem) in FORBIDDEN_EVERYWHERE {
            if !is_recorded && names_absolute(line, text) {
                breaches.push(breach(index + 1, problem.to_owned()));
            }
        }
        if !is_rust || line.trim_start().starts_with("//") {
            continue;
        }
        if line.contains(concat!("to", "do!(")) || line.contains(concat!("unimpl", "emented!(")) {
            breaches.push(breach(index + 1, "unfinished code; finish it or leave it out".to_owned()));
        }
        for (text, problem) in FORBIDDEN_IN_TESTS {
            if in_tests && line.contains(text) {
                breaches.push(breach(index + 1, problem.to_owned()));
            }
        }
    }
    breaches
}

/// Whether a line has a path that begins with a folder, and not only one that has the folder in its middle.
fn names_absolute(line: &str, folder: &str) -> bool {
    line.match_indices(folder).any(|(at, _)| {
        !line[..at].ends_with(|c: char| c.is_alphanumeric() || matches!(c, '.' | '_' | '-' | '}' | '>' | '*'))
    })
}

/// Whether a file begins with `//!`, possibly after a `#!` line.
fn opens_with_a_word(text: &str) -> bool {
    text.lines()
        .find(|line| !line.starts_with("#!") && !line.trim().is_empty())
        .is_some_and(|line| line.starts_with("//! ") && line.len() > 8)
}

/// The number of lines, where there are too many.
pub(crate) fn too_long(source: &Source) -> Option<usize> {
    let lines = source.text.lines().count();
    (source.path.ends_with(".rs") && lines > LINES_MAX).then_some(lines)
}

/// Checks that every file the documents name exists: link targets and paths in backticks, and in the documents about
/// the code bare file names too.
pub(crate) fn check_map(sources: &[Source]) -> Vec<Breach> {
    let root = crate::process::workspace_root();
    let is_document = |path: &str| path.ends_with(".md") && (!path.contains('/') || path.starts_with("docs/"));
    let documents = sources.iter().filter(|source| is_document(&source.path));
    documents
        .flat_map(|source| {
            check_document(source, &|path| root.join(path).exists(), &|name| {
                sources.iter().any(|file| file.path.rsplit('/').next() == Some(name))
            })
        })
        .collect()
}

fn check_document(source: &Source, exists: &dyn Fn(&str) -> bool, is_file_name: &dyn Fn(&str) -> bool) -> Vec<Breach> {
    let mut breaches = Vec::new();
    let mut missing = |line: usize, path: &str| {
        let problem = format!("`{path}` does not exist; name the file as it is called now");
        breaches.push(Breach { path: source.path.clone(), line, problem });
    };
    let folder = source.path.rsplit_once('/').map_or(String::new(), |(folder, _)| format!("{folder}/"));
    for (line, path) in linked_paths(&source.text) {
        if !exists(&format!("{folder}{path}")) {
            missing(line, &path);
        }
    }
    for (line, path) in named_paths(&source.text) {
        if !exists(&path) && !is_built(&path) {
            missing(line, &path);
        }
    }
    if is_about_code(&source.path) {
        for (line, name) in named_files(&source.text) {
            if !is_file_name(&name) {
                missing(line, &name);
            }
        }
    }
    breaches
}

/// Whether a document is for those who change the code; in others a bare file name may be one of the reader's own.
fn is_about_code(path: &str) -> bool {
    ["ARCHITECTURE.md", "CONTRIBUTING.md", "STYLE.md"].contains(&path) || path.starts_with("docs/decisions/")
}

/// Checks that CONTRIBUTING.md says what is changed in each crate of the host, by its folder.
pub(crate) fn check_rooms(sources: &[Source], folders: &[&str]) -> Vec<Breach> {
    let path = "CONTRIBUTING.md";
    let Some(source) = sources.iter().find(|source| source.path == path) else { return Vec::new() };
    let missing = folders.iter().filter(|folder| !source.text.contains(&format!("`{folder}/")));
    let problem = |folder: &&str| format!("no row says what is changed in `{folder}/`");
    missing.map(|folder| Breach { path: path.to_owned(), line: 0, problem: problem(folder) }).collect()
}

/// Folders whose parts have rows of their own in CONTRIBUTING.md: in the table below the line that ends with its name.
const TABLES: [&str; 3] = ["host/app/src", "host/app/src/pipeline", "host/store/src"];

/// Files that hold nothing but what they are made of.
const ROOTS: [&str; 3] = ["lib.rs", "main.rs", "mod.rs"];

/// Checks that CONTRIBUTING.md says what is changed in each part of the folders of [`TABLES`]: a subfolder, or a file
/// that has none.
pub(crate) fn check_parts(sources: &[Source]) -> Vec<Breach> {
    let path = "CONTRIBUTING.md";
    let Some(source) = sources.iter().find(|source| source.path == path) else { return Vec::new() };
    let mut breaches = Vec::new();
    for folder in TABLES {
        let (line, rows) = table_of(&source.text, folder);
        for part in parts_of(folder, sources) {
            if !rows.iter().any(|row| row.contains(&format!("`{part}"))) {
                let problem = format!("no row below `{folder}/` says what is changed in `{part}`");
                breaches.push(Breach { path: path.to_owned(), line, problem });
            }
        }
    }
    breaches
}

/// The parts of a folder: `name/` for a subfolder, also where a file has its name, and `name.rs`.
fn parts_of(folder: &str, sources: &[Source]) -> BTreeSet<String> {
    let inside = |source: &Source| source.path.strip_prefix(folder)?.strip_prefix('/').map(str::to_owned);
    let files: Vec<String> = sources.iter().filter_map(inside).filter(|path| path.ends_with(".rs")).collect();
    let folders: BTreeSet<&str> = files.iter().filter_map(|path| Some(path.split_once('/')?.0)).collect();
    let has_its_own = |name: &&str| TABLES.contains(&format!("{folder}/{name}").as_str());
    let alone = files.iter().filter(|file| {
        let name = file.strip_suffix(".rs").unwrap_or(file);
        !file.contains('/') && !folders.contains(name) && !ROOTS.contains(&file.as_str())
    });
    let named = folders.iter().filter(|name| !has_its_own(name)).map(|name| format!("{name}/"));
    named.chain(alone.cloned()).collect()
}

/// The line that ends with a folder, from 1, and the rows of the table below it; no rows where there is none.
fn table_of<'a>(text: &'a str, folder: &str) -> (usize, Vec<&'a str>) {
    let opening = format!("`{folder}/`:");
    let mut lines = text.lines();
    let Some(index) = lines.position(|line| line.ends_with(&opening)) else { return (0, Vec::new()) };
    (index + 1, lines.take_while(|line| line.is_empty() || line.starts_with('|')).collect())
}

/// Checks that CONTRIBUTING.md lists the suites of `cargo xtask test`, in their order.
pub(crate) fn check_suites(sources: &[Source], suites: &[&str]) -> Option<Breach> {
    const OPENING: &str = "The suites are ";
    let path = "CONTRIBUTING.md";
    let wanted = suites.join(", ");
    let text = &sources.iter().find(|source| source.path == path)?.text;
    let Some(at) = text.find(OPENING) else {
        let problem = format!("it does not list the suites; write `{OPENING}{wanted}.`");
        return Some(Breach { path: path.to_owned(), line: 0, problem });
    };
    let listed = text[at + OPENING.len()..].split('.').next().unwrap_or_default();
    let names = listed.split(|c: char| c == ',' || c.is_whitespace()).filter(|word| !word.is_empty() && *word != "and");
    let line = text[..at].matches('\n').count() + 1;
    let problem = || format!("the suites are {wanted}; list these, in this order");
    (!names.eq(suites.iter().copied())).then(|| Breach { path: path.to_owned(), line, problem: problem() })
}

/// What the links lead to within the repository, with their lines.
fn linked_paths(text: &str) -> Vec<(usize, String)> {
    let mut paths = Vec::new();
    for (index, line) in text.lines().enumerate() {
        for rest in line.split("](").skip(1) {
            let target = rest.split(')').next().unwrap_or(rest);
            let path = target.split('#').next().unwrap_or(target);
            if !path.is_empty() && !path.contains(':') {
                paths.push((index + 1, path.to_owned()));
            }
        }
    }
    paths
}

/// Bare names of source files in backticks, such as `clock.rs`, and the last part of shortened paths, with their lines.
fn named_files(text: &str) -> Vec<(usize, String)> {
    let mut names = Vec::new();
    for (index, line) in text.lines().enumerate() {
        for quoted in line.split('`').skip(1).step_by(2) {
            let name = quoted.rsplit('/').next().unwrap_or(quoted);
            let is_file = [".rs", ".toml", ".md", ".sql", ".wit"].iter().any(|ending| name.ends_with(ending));
            if is_file && !quoted.contains([' ', '<', '*', '{', '…']) {
                names.push((index + 1, name.to_owned()));
            }
        }
    }
    names
}

/// Whether a path is something a build or a run leaves behind.
fn is_built(path: &str) -> bool {
    path.starts_with("target/")
}

/// Paths in backticks, with their lines: words with a slash that begin with a folder of the workspace.
fn named_paths(text: &str) -> Vec<(usize, String)> {
    const FOLDERS: [&str; 15] = [
        "bench/",
        "host/",
        "wit/",
        "sdk/",
        "plugins/",
        "migrations/",
        "tests/",
        "xtask/",
        "docs/",
        "target/",
        "deploy/",
        ".github/",
        ".ci/",
        ".cargo/",
        "templates/",
    ];
    let mut paths = Vec::new();
    for (index, line) in text.lines().enumerate() {
        for quoted in line.split('`').skip(1).step_by(2) {
            let is_path =
                FOLDERS.iter().any(|folder| quoted.starts_with(folder)) && !quoted.contains([' ', '<', '*', '{', '…']);
            if is_path {
                paths.push((index + 1, quoted.split("::").next().unwrap_or(quoted).to_owned()));
            }
        }
    }
    paths
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: [usize; 0] = [];

    fn problems(path: &str, text: &str) -> Vec<usize> {
        check(&Source { path: path.to_owned(), text: text.to_owned() }).iter().map(|breach| breach.line).collect()
    }

    #[test]
    fn a_source_file_says_what_lives_there() {
        assert_eq!(problems("host/src/a.rs", "//! What lives here.\n"), NONE);
        assert_eq!(problems("host/src/a.rs", "#![allow(x)]\n//! What lives here.\n"), NONE);
        assert_eq!(problems("host/src/a.rs", "use std::fmt;\n//! Too late.\n"), [1]);
        assert_eq!(problems("host/src/a.rs", ""), [1]);
    }

    #[test]
    fn a_test_neither_sleeps_nor_is_ignored() {
        let sleep = concat!("//! A test.\n std::thread::sl", "eep(x);\n");
        assert_eq!(problems("tests/it/a.rs", sleep), [2]);
        assert_eq!(problems("host/src/a.rs", sleep), NONE, "only tests are meant");
        assert_eq!(problems("host/src/a.rs", &format!("//! Has tests.\n#[cfg(test)]\n{sleep}")), [4]);
        assert_eq!(problems("tests/it/a.rs", concat!("//! A test.\n#[ig", "nore = \"slow\"]\n")), [2]);
    }

    #[test]
    fn no_file_names_a_machine_or_is_unfinished() {
        assert_eq!(problems("README.md", concat!("see /ho", "me/me/x\n")), [1]);
        assert_eq!(problems("README.md", concat!("(/wo", "rk/x) and \"/wo", "rk/x\"\n")), [1]);
        assert_eq!(problems("README.md", concat!("host/store/src/wo", "rk/x and ../wo", "rk/x\n")), NONE);
        assert_eq!(problems("sdk/src/a.rs", concat!("//! A file.\nto", "do!()\n")), [2]);
    }

    #[test]
    fn paths_in_backticks_are_found_and_other_words_are_not() {
        let text =
            "`host/src/plan.rs` and `plan`\n`host/src/domain/ids.rs::Digest`, `plugins/<name>/x`, `cargo xtask`\n";
        assert_eq!(named_paths(text), [(1, "host/src/plan.rs".to_owned()), (2, "host/src/domain/ids.rs".to_owned())]);
    }

    #[test]
    fn a_document_names_only_files_that_exist() {
        let breaches = |path: &str, text: &str| -> Vec<usize> {
            let source = Source { path: path.to_owned(), text: text.to_owned() };
            let exists = |path: &str| ["host/src/plan.rs", "docs/authors.md"].contains(&path);
            let found = check_document(&source, &exists, &|name| name == "plan.rs");
            found.iter().map(|breach| breach.line).collect()
        };
        assert_eq!(
            breaches("ARCHITECTURE.md", "[`plan.rs`](host/src/plan.rs), https://x, [site](https://x/y)\n"),
            NONE
        );
        assert_eq!(breaches("ARCHITECTURE.md", "\n[the plan](host/src/plans.rs)\n"), [2]);
        assert_eq!(breaches("ARCHITECTURE.md", "`host/src/plan.rs` and `host/src/gone.rs`\n"), [1, 1], "path and name");
        assert_eq!(breaches("ARCHITECTURE.md", "`plan.rs` and `gone.rs`\n"), [1]);
        assert_eq!(breaches("CONTRIBUTING.md", "`plan.rs` and `gone.rs`\n"), [1]);
        assert_eq!(breaches("docs/decisions/001-plan.md", "`plan.rs`, `gone.rs`, [gone](gone.md)\n"), [1, 1]);
        assert_eq!(
            breaches("README.md", "`artists.md`, `target/plugins/youtube.wasm`\n"),
            NONE,
            "a reader's own files"
        );
        assert_eq!(breaches("docs/operators.md", "[authors](authors.md#manifest) and [there](#here)\n"), NONE);
        assert_eq!(breaches("docs/operators.md", "[authors](docs/authors.md)\n"), [1], "links start at their document");
    }

    #[test]
    fn contributing_covers_every_crate_of_the_host() {
        let text = "| stages | `host/rules/src/plan.rs` |\n| tables | `host/store/`, `migrations/` |\n".to_owned();
        let source = [Source { path: "CONTRIBUTING.md".to_owned(), text }];
        assert_eq!(check_rooms(&source, &["host/rules", "host/store"]), []);
        let missing = check_rooms(&source, &["host/rules", "host/store", "host/sandbox"]);
        assert_eq!(missing.len(), 1);
        assert!(missing[0].problem.contains("host/sandbox"));
    }

    #[test]
    fn contributing_covers_the_parts_of_the_large_folders() {
        let source = |path: &str, text: &str| Source { path: path.to_owned(), text: text.to_owned() };
        let text = "The store, `host/store/src/`:\n\n| to change | look in |\n|---|---|\n| runs | `work/` |\n\n\
                    The edges, `host/app/src/`:\n\n| tables | `cli/terminal/` |\n| keys | `config/` |\n\n\
                    More: `scope.rs`\n";
        let files = [
            "host/store/src/lib.rs",
            "host/store/src/work/mod.rs",
            "host/store/src/work/runs.rs",
            "host/app/src/main.rs",
            "host/app/src/cli/mod.rs",
            "host/app/src/config.rs",
            "host/app/src/config/layers.rs",
        ];
        let mut sources: Vec<Source> = files.iter().map(|path| source(path, "")).collect();
        sources.push(source("CONTRIBUTING.md", text));
        let found = |sources: &[Source]| -> Vec<String> {
            check_parts(sources).into_iter().map(|breach| format!("{}: {}", breach.line, breach.problem)).collect()
        };
        assert_eq!(found(&sources), Vec::<String>::new());
        for path in ["host/store/src/scope.rs", "host/store/src/events/mod.rs", "host/app/src/pipeline/host.rs"] {
            sources.push(source(path, ""));
        }
        let below = |line: usize, folder: &str, part: &str| {
            format!("{line}: no row below `{folder}/` says what is changed in `{part}`")
        };
        let expected = [
            below(0, "host/app/src/pipeline", "host.rs"),
            below(1, "host/store/src", "events/"),
            below(1, "host/store/src", "scope.rs"),
        ];
        assert_eq!(found(&sources), expected);
    }

    #[test]
    fn contributing_lists_the_suites_of_the_code() {
        let check = |text: &str| {
            let source = Source { path: "CONTRIBUTING.md".to_owned(), text: text.to_owned() };
            check_suites(&[source], &["unit", "store", "xtask"]).map(|breach| breach.line)
        };
        assert_eq!(check("# A\n\nThe suites are unit,\nstore and xtask. More.\n"), None);
        assert_eq!(check("The suites are unit, store, xtask.\n"), None);
        assert_eq!(check("# A\n\nThe suites are unit and xtask.\n"), Some(3));
        assert_eq!(check("# A\n\nThe suites are store, unit and xtask.\n"), Some(3), "in their order");
        assert_eq!(check("# A\n"), Some(0));
    }

    #[test]
    fn only_a_long_source_file_is_too_long() {
        let long = "//! Long.\n".repeat(LINES_MAX + 1);
        assert_eq!(too_long(&Source { path: "a.rs".into(), text: long.clone() }), Some(LINES_MAX + 1));
        assert_eq!(too_long(&Source { path: "a.md".into(), text: long }), None);
    }
}
