//! The methods of the store that begin a transaction or write, as the source has them, and the tables of which each
//! locks rows.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Methods that are in no writer, each with the reason.
pub const EXCEPTIONS: [(&str, &str); 7] = [
    (
        "archive_month_put_away",
        "it locks whole tables, for 2 s at most, and gives way itself where it would wait longer",
    ),
    ("months_drop_empty", "as `archive_month_put_away`"),
    ("audit_add", "one statement that adds a row to which none refers"),
    ("installation_claim", "the one row of a table that nothing else writes"),
    ("installation_replace_unreadable", "the one row of a table that nothing else writes"),
    ("migrate", "it has a lock of its own, and no host works before it has ended"),
    ("traces_remove", "it rewrites a SQLite file, which has one writer"),
];

/// What a method contains that begins to write, or that goes on in a transaction which was begun before.
const WRITES: [&str; 6] = [
    ".begin().await",
    ".begin_by_key().await",
    ".begin_durable().await",
    "self.write(",
    "self.write_returning(",
    "self.work",
];

/// Rows are locked by what is read.
const LOCKS: [&str; 2] = ["FOR UPDATE", "FOR NO KEY UPDATE"];

/// A function, a constant or a macro; several where they have the same name.
#[derive(Default)]
struct Item {
    text: String,
    number: usize,
    is_method: bool,
}

/// The items of a source, by their names.
pub struct Source(BTreeMap<String, Item>);

impl Source {
    /// The store's own.
    pub fn of_the_store() -> Self {
        let mut source = Self(BTreeMap::new());
        let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("../store/src")];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    source.add(&std::fs::read_to_string(path).unwrap());
                }
            }
        }
        source
    }

    /// The functions of tests, by the names of which their methods are found.
    pub fn of_tests(texts: &[&str]) -> Self {
        let mut source = Self(BTreeMap::new());
        texts.iter().for_each(|text| source.add(text));
        source
    }

    fn add(&mut self, text: &str) {
        let text = text.split("#[cfg(test)]").next().unwrap_or_default();
        let mut current: Option<String> = None;
        for line in text.lines().filter(|line| !line.trim_start().starts_with("//")) {
            let begins = name_of_item(line);
            let ends = line.starts_with(|first: char| !" })]".contains(first));
            if begins.is_some() || ends {
                current.clone_from(&begins);
            }
            let Some(name) = &current else { continue };
            let item = self.0.entry(name.clone()).or_default();
            item.number += usize::from(begins.is_some());
            item.is_method |= begins.is_some() && line.trim_start().starts_with("pub async fn ");
            item.text.push_str(line);
            item.text.push('\n');
        }
    }

    /// An item and those that it uses. A name that several have, or that is one word, may be another crate's.
    fn closure(&self, name: &str) -> BTreeSet<&str> {
        let (mut found, mut next) = (BTreeSet::new(), vec![name]);
        while let Some(name) = next.pop() {
            let Some((name, item)) = self.0.get_key_value(name) else { continue };
            if !found.insert(name.as_str()) {
                continue;
            }
            let is_own = |word: &&str| {
                let is_telling = word.contains('_') || word.chars().all(|letter| letter.is_ascii_uppercase());
                is_telling && self.0.get(*word).is_some_and(|item| item.number == 1)
            };
            next.extend(words(&item.text).filter(is_own));
        }
        found
    }

    fn texts<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.closure(name).into_iter().filter_map(move |name| Some(self.0.get(name)?.text.as_str()))
    }

    /// The public methods that begin a transaction or write.
    pub fn writing_methods(&self) -> BTreeSet<&str> {
        let takes_self = |item: &Item| item.text.split("->").next().is_some_and(|arguments| arguments.contains("self"));
        let writes = |name: &str| self.texts(name).any(|text| WRITES.iter().any(|begin| text.contains(begin)));
        let methods = self.0.iter().filter(|(_, item)| item.is_method && takes_self(item));
        methods.map(|(name, _)| name.as_str()).filter(|name| writes(name)).collect()
    }

    /// Those of these methods that an item uses, by itself or by others.
    pub fn uses(&self, name: &str, methods: &BTreeSet<&str>, of: &Self) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        for text in self.texts(name) {
            let called = words(text).filter(|word| methods.contains(word) && text.contains(&format!(".{word}(")));
            found.extend(called.flat_map(|word| of.closure(word)).map(str::to_owned));
        }
        found.retain(|name| methods.contains(name.as_str()));
        found
    }

    /// The tables of which a method locks rows, as far as its text says. `children` are the tables that refer to
    /// others: rows of theirs go with what a method deletes. None given means any: the text is made of names of tables.
    pub fn tables(
        &self,
        method: &str,
        known: &BTreeSet<String>,
        children: &[(String, String)],
    ) -> Option<BTreeSet<String>> {
        let texts: Vec<&str> = self.texts(method).collect();
        if texts.iter().any(|text| text.contains("Statement::made(")) {
            return None;
        }
        let reads_lock = texts.iter().any(|text| LOCKS.iter().any(|lock| text.contains(lock)));
        let mut found = BTreeSet::new();
        for text in texts {
            let words: Vec<&str> = words(text).collect();
            for pair in words.windows(2).filter(|pair| known.contains(pair[1])) {
                let table = pair[1];
                let is_deleted = pair[0] == "FROM" && text.contains(&format!("DELETE FROM {table}"));
                let is_locked = match pair[0] {
                    "INTO" | "UPDATE" => true,
                    "FROM" | "JOIN" => reads_lock || is_deleted,
                    _ => false,
                };
                if is_locked {
                    found.insert(table.to_owned());
                }
                if is_deleted {
                    let theirs = children.iter().filter(|(_, parent)| parent == table);
                    found.extend(theirs.map(|(child, _)| child.clone()));
                }
            }
        }
        Some(found)
    }
}

/// The name of the function, constant or macro that a line begins. What is inside of a function is a part of it.
fn name_of_item(line: &str) -> Option<String> {
    let depth = line.len() - line.trim_start().len();
    let mut rest = line.trim_start();
    for word in ["pub(crate) ", "pub(super) ", "pub "] {
        rest = rest.strip_prefix(word).unwrap_or(rest);
    }
    let function = rest.strip_prefix("const fn ").or_else(|| rest.strip_prefix("async fn "));
    let function = function.or_else(|| rest.strip_prefix("fn "));
    let others = || rest.strip_prefix("const ").or_else(|| rest.strip_prefix("macro_rules! "));
    let named = function.or_else(others).filter(|_| depth <= 4)?;
    words(named).next().map(str::to_owned)
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_').filter(|word| !word.is_empty())
}

/// The functions of the writers, as their source has them.
pub fn writers() -> Source {
    Source::of_tests(&[include_str!("../pairs.rs"), include_str!("others.rs"), include_str!("../fixtures.rs")])
}

#[test]
fn every_method_that_writes_is_in_a_writer() {
    let (store, writers) = (Source::of_the_store(), writers());
    let methods = store.writing_methods();
    assert!(methods.len() > 100, "the source is not read: {methods:?}");
    let here = writers.0.keys().filter(|name| super::NAMES.contains(&name.as_str()));
    let written: BTreeSet<String> = here.flat_map(|name| writers.uses(name, &methods, &store)).collect();
    let excepted: BTreeSet<&str> = EXCEPTIONS.iter().map(|(name, _)| *name).collect();
    let missing: Vec<_> =
        methods.iter().filter(|name| !written.contains(**name) && !excepted.contains(*name)).collect();
    assert!(missing.is_empty(), "methods that write and are in no writer: {missing:?}");
    let both: Vec<_> = excepted.iter().filter(|name| written.contains(**name)).collect();
    assert!(both.is_empty(), "they are in a writer, and excepted: {both:?}");
    let gone: Vec<_> = excepted.iter().filter(|name| !store.0.contains_key(**name)).collect();
    assert!(gone.is_empty(), "they are excepted, and there is none: {gone:?}");
}

#[test]
fn what_a_method_writes_is_found_in_what_it_uses() {
    let text = "
const FIND: &str = \"SELECT a FROM artists FOR UPDATE\";
impl Store {
    pub async fn a_write(&self) -> bool {
        const INNER: u8 = 1;
        helper_in_txn(self.begin().await)
    }

    pub async fn a_read(&self) -> bool {
        self.rows(\"SELECT a FROM artists\")
    }

    pub async fn a_single_write(&self, n: u8) -> bool {
        self.write(\"DELETE FROM runs\", n)
    }
}

async fn helper_in_txn(work: &mut Work) -> bool {
    work.query(FIND) && work.query(\"UPDATE accounts SET n = 1\")
}
";
    let source = Source::of_tests(&[text]);
    assert_eq!(source.writing_methods(), BTreeSet::from(["a_single_write", "a_write"]));
    let known = BTreeSet::from(["accounts", "artists", "runs"].map(str::to_owned));
    let children = [("batches".to_owned(), "runs".to_owned())];
    let tables = |method| source.tables(method, &known, &children).unwrap().into_iter().collect::<Vec<_>>();
    assert_eq!(tables("a_write"), ["accounts", "artists"]);
    assert_eq!(tables("a_single_write"), ["batches", "runs"]);
    assert!(tables("a_read").is_empty());
}
