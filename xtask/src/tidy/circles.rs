//! No circle of imports between the files of a crate: each file can be read with what it imports alone.
//!
//! Cargo allows no circle between crates, and nobody says so of the files inside one. A path leads to the file that
//! defines what it names, past all re-exports. A module and what lies inside it are one subject, so imports between
//! them are not looked at.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::manifests::ROOMS;
use super::paths::{Crate, Unreadable};
use super::{Breach, Source};

/// Other crates of the workspace that are checked, each by its name in Rust and the folder of its sources.
const OTHERS: [(&str, &str); 2] = [("backline_sdk", "sdk/src/"), ("backline_simulator", "tests/simulator/src/")];

/// The folder whose files `directions.rs` reports where they can't be read.
const REPORTED: &str = "host/app/src/";

/// A circle that stays.
struct Circle {
    /// All of its files, in order of path.
    files: &'static [&'static str],
    /// Why no file of it can do without another.
    reason: &'static str,
}

/// All of them: a new one needs a reason, and one that no longer exists has to go.
const ALLOWED: [Circle; 2] = [
    Circle {
        files: &["host/app/src/pipeline/credentials/manager.rs", "host/app/src/pipeline/credentials/refresh.rs"],
        reason: "a credential that is due is refreshed where it is asked for, and the refresh works with the manager",
    },
    Circle {
        files: &[
            "host/rules/src/validate/config.rs",
            "host/rules/src/validate/rules.rs",
            "host/rules/src/validate/text.rs",
        ],
        reason: "a rule has its bounds and its text in one table, which its configuration refers to",
    },
];

/// Which file imports which, with the line of the first import.
type Imports = BTreeMap<String, BTreeMap<String, usize>>;

/// Checks the files of all crates of the host, of the SDK and of the simulator.
pub(crate) fn check(sources: &[Source]) -> Vec<Breach> {
    let rooms = ROOMS.iter().map(|room| (room.package.replace('-', "_"), format!("{}/src/", room.folder)));
    let others = OTHERS.iter().map(|(name, folder)| ((*name).to_owned(), (*folder).to_owned()));
    let mut breaches = Vec::new();
    let mut met = BTreeSet::new();
    for (name, folder) in rooms.chain(others) {
        let read = Crate::read(&name, &folder, sources);
        if folder != REPORTED {
            breaches.extend(read.unreadable().iter().map(unreadable));
        }
        let imports = imports_of(&read);
        for circle in circles(&imports) {
            match ALLOWED.iter().position(|allowed| allowed.files == circle.as_slice()) {
                Some(index) => {
                    met.insert(index);
                }
                None => breaches.push(told(&imports, &circle)),
            }
        }
    }
    let gone = ALLOWED.iter().enumerate().filter(|(index, _)| !met.contains(index));
    breaches.extend(gone.map(|(_, Circle { files, reason })| Breach {
        path: "xtask/src/tidy/circles.rs".to_owned(),
        line: 0,
        problem: format!(
            "there is no circle of exactly {} any more; remove or change the exception ({reason})",
            files.join(", ")
        ),
    }));
    breaches
}

fn unreadable(file: &Unreadable) -> Breach {
    Breach { path: file.file.clone(), line: file.line, problem: file.problem.clone() }
}

fn imports_of(read: &Crate) -> Imports {
    let mut imports = Imports::new();
    for named in read.named() {
        let Some(definer) = read.definer(&named) else { continue };
        if definer == named.file || is_inside(definer, &named.file) || is_inside(&named.file, definer) {
            continue;
        }
        let first = imports.entry(named.file).or_default().entry(definer.to_owned()).or_insert(named.line);
        *first = named.line.min(*first);
    }
    imports
}

/// Whether the module of one file lies inside the module of the other, at any depth.
fn is_inside(inner: &str, outer: &str) -> bool {
    module_of(inner).strip_prefix(module_of(outer)).is_some_and(|rest| rest.starts_with('/'))
}

/// A file without what may end its name: `a.rs` and `a/mod.rs` are the same module.
fn module_of(file: &str) -> &str {
    let stem = file.strip_suffix(".rs").unwrap_or(file);
    stem.strip_suffix("/mod").or_else(|| stem.strip_suffix("/lib")).unwrap_or(stem)
}

fn imported_by<'a>(imports: &'a Imports, file: &str) -> impl Iterator<Item = &'a str> {
    imports.get(file).into_iter().flat_map(BTreeMap::keys).map(String::as_str)
}

/// Every set of files that reach each other, each in order of path.
fn circles(imports: &Imports) -> BTreeSet<Vec<&str>> {
    let reached: BTreeMap<&str, BTreeSet<&str>> =
        imports.keys().map(|file| (file.as_str(), reached_from(imports, file))).collect();
    let reaches = |from: &str, to: &str| reached.get(from).is_some_and(|files| files.contains(to));
    let in_circle = reached.iter().filter(|(file, files)| files.contains(*file));
    in_circle
        .map(|(file, files)| files.iter().copied().filter(|other| reaches(other, file)).collect::<Vec<_>>())
        .collect()
}

/// All files that a file imports, directly or through others; itself, if it is part of a circle.
fn reached_from<'a>(imports: &'a Imports, file: &str) -> BTreeSet<&'a str> {
    let mut reached = BTreeSet::new();
    let mut left: Vec<&str> = imported_by(imports, file).collect();
    while let Some(next) = left.pop() {
        if reached.insert(next) {
            left.extend(imported_by(imports, next));
        }
    }
    reached
}

/// The breach of a circle, with the shortest way around from its first file.
fn told(imports: &Imports, circle: &[&str]) -> Breach {
    let way = way_around(imports, circle[0]);
    let line = |from: &str, to: &str| imports.get(from).and_then(|files| files.get(to)).copied().unwrap_or(0);
    let steps: Vec<String> =
        way.windows(2).map(|step| format!("{}:{} imports {}", step[0], line(step[0], step[1]), step[1])).collect();
    let is_whole = way.len() > circle.len();
    let others = if is_whole { String::new() } else { format!(" ({} files are part of it)", circle.len()) };
    Breach {
        path: circle[0].to_owned(),
        line: line(way[0], way[1]),
        problem: format!(
            "a circle of imports: {}{others}; move what they share to a file below all of them",
            steps.join(", ")
        ),
    }
}

/// The shortest way from a file of a circle back to itself, which is its first and its last element.
fn way_around<'a>(imports: &'a Imports, start: &'a str) -> Vec<&'a str> {
    let mut before: BTreeMap<&str, &str> = BTreeMap::new();
    let mut left = VecDeque::from([start]);
    while let Some(file) = left.pop_front() {
        for next in imported_by(imports, file) {
            if next == start {
                let back = std::iter::successors(Some(file), |at| before.get(at).copied());
                let mut way: Vec<&str> = std::iter::once(start).chain(back).collect();
                way.reverse();
                return way;
            }
            before.entry(next).or_insert_with(|| {
                left.push_back(next);
                file
            });
        }
    }
    vec![start, start]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn imports(files: &[(&str, &str)]) -> Imports {
        let source = |(path, text): &(&str, &str)| Source { path: format!("src/{path}"), text: (*text).to_owned() };
        let sources: Vec<Source> = files.iter().map(source).collect();
        let read = Crate::read("app", "src/", &sources);
        assert!(read.unreadable().is_empty(), "{:?}", read.unreadable());
        imports_of(&read)
    }

    fn found(files: &[(&str, &str)]) -> Vec<String> {
        let imports = imports(files);
        let shown = |circle: &Vec<&str>| circle.join(" ").replace("src/", "");
        circles(&imports).iter().map(shown).collect()
    }

    const NONE: [&str; 0] = [];

    #[test]
    fn two_files_that_import_each_other_are_a_circle() {
        let a = ("a.rs", "use crate::{\n    b::B,\n};\npub struct A;");
        assert_eq!(found(&[a, ("b.rs", "pub struct B;")]), NONE);
        assert_eq!(found(&[a, ("b.rs", "use crate::a::A;\npub struct B;")]), ["a.rs b.rs"]);
        let imports = imports(&[a, ("b.rs", "pub struct B;\nuse app::a::A;")]);
        let breach = told(&imports, &["src/a.rs", "src/b.rs"]);
        assert_eq!((breach.path.as_str(), breach.line), ("src/a.rs", 2));
        let around = "src/a.rs:2 imports src/b.rs, src/b.rs:2 imports src/a.rs; move";
        assert!(breach.problem.contains(around), "{}", breach.problem);
    }

    #[test]
    fn a_circle_of_three_is_found_and_told_by_its_shortest_way() {
        let a = ("a.rs", "use crate::b::B; pub struct A;");
        let c = ("c.rs", "use crate::a::A; pub struct C;");
        let files = [a, ("b.rs", "use crate::c::C; pub struct B;"), c, ("d.rs", "use crate::a::A; use crate::c::C;")];
        assert_eq!(found(&files), ["a.rs b.rs c.rs"], "what only imports is no part of it");
        let shorter = ("b.rs", "use crate::{a::A, c::C}; pub struct B;");
        let imports = imports(&[a, shorter, c]);
        let breach = told(&imports, &["src/a.rs", "src/b.rs", "src/c.rs"]);
        assert!(breach.problem.contains("src/b.rs:1 imports src/a.rs (3 files are"), "{}", breach.problem);
    }

    #[test]
    fn two_circles_are_told_apart() {
        let files = [
            ("a.rs", "use crate::b::B; use crate::c::C; pub struct A;"),
            ("b.rs", "use crate::a::A; pub struct B;"),
            ("c.rs", "use crate::d::D; pub struct C;"),
            ("d.rs", "use crate::c::C; pub struct D;"),
        ];
        assert_eq!(found(&files), ["a.rs b.rs", "c.rs d.rs"]);
    }

    #[test]
    fn a_reexport_leads_to_the_file_that_defines_the_item() {
        for (root, folder) in [
            ("mod a; mod folder; pub use folder::deep::B;", "pub mod deep;"),
            ("mod a; mod folder; pub use folder::Renamed as B;", "mod deep; pub use self::deep::B as Renamed;"),
            ("mod a; mod folder; pub use folder::*;", "mod deep; pub use deep::*;"),
        ] {
            let files = [
                ("lib.rs", root),
                ("a.rs", "use crate::B; pub struct A;"),
                ("folder/mod.rs", folder),
                ("folder/deep.rs", "use crate::a::A; pub struct B;"),
            ];
            assert_eq!(found(&files), ["a.rs folder/deep.rs"], "{root}");
        }
        let shared = [
            ("folder/mod.rs", "mod a; mod b; pub use a::A; pub use b::B;"),
            ("folder/a.rs", "use super::B; pub struct A;"),
            ("folder/b.rs", "pub struct B;"),
        ];
        assert_eq!(found(&shared), NONE, "the file with the re-exports is no part of it");
    }

    #[test]
    fn super_and_self_are_followed() {
        let files = [
            ("folder/mod.rs", "mod a; mod b; mod c;"),
            ("folder/a.rs", "use super::b::B; pub struct A;"),
            ("folder/b.rs", "mod inner { use super::super::a::A; } pub struct B;"),
            ("folder/c.rs", "use self::inner::C; mod inner { pub struct C; }"),
        ];
        assert_eq!(found(&files), ["folder/a.rs folder/b.rs"]);
    }

    #[test]
    fn a_path_inside_the_code_is_an_import() {
        for text in [
            "pub fn f() -> crate::b::B { crate::b::B }",
            "use crate::b; fn f(b: b::B) {}",
            "use crate::b as other; fn f() { other::g(); }",
            "fn f() { info!(\"{}\", crate::b::B); }",
            "struct S { #[serde(with = \"crate::b\")] a: u8 }",
        ] {
            let files = [("a.rs", text), ("b.rs", "pub struct B; fn g() { super::a::f(); }")];
            assert_eq!(found(&files), ["a.rs b.rs"], "{text}");
        }
        let unused = [("a.rs", "use crate::b;"), ("b.rs", "use crate::a::A;")];
        assert_eq!(found(&unused), NONE, "of a module by itself nothing is taken");
    }

    #[test]
    fn a_function_may_have_the_name_of_its_module() {
        let files = [
            ("lib.rs", "mod a; mod gather; pub use gather::gather;"),
            ("a.rs", "use crate::gather; pub struct A;"),
            ("gather.rs", "use crate::a::A; pub fn gather() {}"),
        ];
        assert_eq!(found(&files), ["a.rs gather.rs"]);
    }

    #[test]
    fn tests_may_combine_what_they_like() {
        let a = ("a.rs", "use crate::b::B; pub struct A;");
        for text in [
            "pub struct B; #[cfg(test)] mod tests { use crate::a::A; }",
            "pub struct B; #[cfg(test)] use crate::a::A;",
            "pub struct B; #[cfg(test)] fn f() { crate::a::A; }",
        ] {
            assert_eq!(found(&[a, ("b.rs", text)]), NONE, "{text}");
        }
        let apart = [a, ("b.rs", "pub struct B; #[cfg(test)] mod tests;"), ("b/tests.rs", "use crate::a::A;")];
        assert_eq!(found(&apart), NONE);
    }

    #[test]
    fn a_module_and_its_submodules_are_one_subject() {
        for path in ["a/mod.rs", "a.rs"] {
            let files = [
                ("lib.rs", "mod a; pub struct Root;"),
                (path, "mod deep; pub use deep::D; use deep::down::E; pub struct A;"),
                ("a/deep.rs", "pub mod down; use super::A; use crate::Root; pub struct D;"),
                ("a/deep/down.rs", "use crate::a::A; use super::D; pub struct E;"),
            ];
            assert_eq!(found(&files), NONE, "{path}");
        }
        let beside = [("a.rs", "use crate::ab::B; pub struct A;"), ("ab.rs", "use crate::a::A; pub struct B;")];
        assert_eq!(found(&beside), ["a.rs ab.rs"], "a name that begins in the same way is another module");
    }

    #[test]
    fn an_exception_has_exactly_its_files_and_has_to_go_with_its_circle() {
        let source = |path: &str, text: &str| Source { path: path.to_owned(), text: text.to_owned() };
        let manager = "use crate::pipeline::credentials::refresh::Renewal; pub struct Manager;";
        let refresh = "use super::manager::Manager; pub struct Renewal;";
        let folder = "host/app/src/pipeline/credentials";
        let mut sources =
            vec![source(&format!("{folder}/manager.rs"), manager), source(&format!("{folder}/refresh.rs"), refresh)];
        let paths = |sources: &[Source]| -> Vec<String> {
            check(sources).into_iter().map(|breach| format!("{}: {}", breach.path, breach.problem)).collect()
        };
        let gone = paths(&sources);
        assert!(matches!(&gone[..], [one] if one.contains("validate/config.rs")), "{gone:?}");
        sources[1].text.push_str(" use super::third::Third;");
        sources.push(source(&format!("{folder}/third.rs"), "use super::manager::Manager; pub struct Third;"));
        let grown = paths(&sources);
        assert_eq!(grown.len(), 3, "{grown:?}");
        assert!(grown[0].starts_with(&format!("{folder}/manager.rs: a circle of imports")), "{grown:?}");
        assert!(check(&[source("sdk/src/a.rs", "fn {")]).iter().any(|breach| breach.path == "sdk/src/a.rs"));
    }
}
