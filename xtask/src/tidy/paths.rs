//! The paths that Rust files name, resolved to the module or crate they lead to.
//!
//! Files are parsed, not searched: a list over several lines, a nested list, `super::`, a renamed import and a path
//! inside a macro call all lead to the same answer. Test modules are left out, since tests may combine parts.

use std::collections::{BTreeMap, BTreeSet};

use proc_macro2::{Delimiter, Ident, Spacing, TokenStream, TokenTree};
use syn::visit::{self, Visit};

use super::Source;

/// A path as a list of its segments; below a crate's root it does not begin with `crate`.
pub(crate) type Segments = Vec<String>;

/// How many re-exports are followed before a path is taken for a circle.
const HOPS_MAX: usize = 8;

/// Where a path leads.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Target {
    /// Below the root of the file's own crate.
    Internal(Segments),
    /// Another crate, or a name that only the compiler can resolve, such as a local type.
    External(Segments),
}

/// A path that a file names outside its tests.
#[derive(Debug)]
pub(crate) struct Named {
    /// The module whose code names it.
    pub(crate) module: Segments,
    /// Path of the file from the workspace's root.
    pub(crate) file: String,
    /// Line, from 1.
    pub(crate) line: usize,
    /// Where it leads as written.
    pub(crate) target: Target,
    /// Where the re-exports on its way lead, one by one.
    pub(crate) reexports: Vec<Target>,
    /// Whether everything in the target is imported: `use …::*`.
    pub(crate) is_glob: bool,
    /// Whether it is a `use`, and not a path inside the code.
    is_import: bool,
}

/// A problem with a file that the check can't look into.
#[derive(Debug)]
pub(crate) struct Unreadable {
    /// Path of the file from the workspace's root.
    pub(crate) file: String,
    /// Line, from 1.
    pub(crate) line: usize,
    /// What is wrong and what to do.
    pub(crate) problem: String,
}

/// The modules of one crate.
pub(crate) struct Crate {
    name: String,
    modules: BTreeMap<Segments, Module>,
    tests: BTreeSet<Segments>,
    unreadable: Vec<Unreadable>,
}

#[derive(Default)]
struct Module {
    file: String,
    /// Names of modules, types, functions and so on that are declared here.
    items: BTreeSet<String>,
    imports: Vec<Import>,
    paths: Vec<Written>,
}

/// One name that a `use` brings into a module.
struct Import {
    path: Written,
    /// The name it gets here; none for `*`.
    alias: Option<String>,
}

#[derive(Clone)]
struct Written {
    line: usize,
    segments: Segments,
    has_leading_colons: bool,
}

impl Crate {
    /// Reads the files below a crate's source folder, such as `host/app/src/`.
    pub(crate) fn read(name: &str, folder: &str, sources: &[Source]) -> Self {
        let mut read = Self::empty(name);
        for source in sources {
            let Some(inside) = source.path.strip_prefix(folder) else { continue };
            let Some(file) = inside.strip_suffix(".rs") else { continue };
            let mut module: Segments = file.split('/').map(str::to_owned).collect();
            if module.last().is_some_and(|last| last == "mod" || (last == "lib" && module.len() == 1)) {
                module.pop();
            }
            read.add(source, module);
        }
        read
    }

    /// Reads one file by itself, for rules that need no more.
    pub(crate) fn read_file(source: &Source) -> Self {
        let mut read = Self::empty("");
        read.add(source, Segments::new());
        read
    }

    fn empty(name: &str) -> Self {
        Self { name: name.to_owned(), modules: BTreeMap::new(), tests: BTreeSet::new(), unreadable: Vec::new() }
    }

    fn add(&mut self, source: &Source, module: Segments) {
        let file = match syn::parse_file(&source.text) {
            Ok(file) => file,
            Err(error) => {
                let problem = format!("it is no Rust that can be parsed: {error}");
                self.unreadable.push(Unreadable {
                    file: source.path.clone(),
                    line: error.span().start().line,
                    problem,
                });
                return;
            }
        };
        self.modules.entry(module.clone()).or_default().file.clone_from(&source.path);
        Reader { read: self, file: &source.path, module }.visit_file(&file);
    }

    /// Files that could not be read, or hide modules from the check.
    pub(crate) fn unreadable(&self) -> &[Unreadable] {
        &self.unreadable
    }

    /// Every path that is named outside tests.
    pub(crate) fn named(&self) -> Vec<Named> {
        let mut named = Vec::new();
        for (key, module) in &self.modules {
            if self.tests.iter().any(|test| key.starts_with(test)) {
                continue;
            }
            let mut name = |path: &Written, target: Target, import: Option<&Import>| {
                let reexports = self.reexports(&target);
                named.push(Named {
                    module: key.clone(),
                    file: module.file.clone(),
                    line: path.line,
                    target,
                    reexports,
                    is_glob: import.is_some_and(|import| import.alias.is_none()),
                    is_import: import.is_some(),
                });
            };
            for (index, import) in module.imports.iter().enumerate() {
                let target = self.resolve(key, &import.path, Some(index), 0);
                name(&import.path, target, Some(import));
            }
            for path in &module.paths {
                name(path, self.resolve(key, path, None, 0), None);
            }
        }
        named
    }

    /// The file that defines what a path leads to, past all re-exports. None for another crate, and for the import of a
    /// module by itself: what is taken out of the module has a path of its own.
    pub(crate) fn definer(&self, named: &Named) -> Option<&str> {
        let Target::Internal(path) = named.reexports.last().unwrap_or(&named.target) else { return None };
        if named.is_import && !named.is_glob && self.modules.contains_key(path) {
            // A function may have the name of its module: `pub use gather::gather`.
            let (name, parent) = path.split_last()?;
            let Target::Internal(path) = self.import_of(parent, name, 0)? else { return None };
            return self.file_of(&path);
        }
        self.file_of(path)
    }

    /// The file of the innermost module on a path.
    fn file_of(&self, path: &[String]) -> Option<&str> {
        let module = (0..=path.len()).rev().find_map(|length| self.modules.get(&path[..length]))?;
        Some(&module.file)
    }

    /// Resolves a path as code of a module means it. An import does not resolve itself: `own` says which.
    fn resolve(&self, module: &[String], path: &Written, own: Option<usize>, depth: usize) -> Target {
        let segments = &path.segments;
        let first = segments[0].as_str();
        if path.has_leading_colons {
            return self.outside(segments);
        }
        // `main.rs` is a crate of its own, which has this one as a dependency.
        let root: &[String] = if module.first().is_some_and(|first| first == "main") { &module[..1] } else { &[] };
        let joined = |base: &[String], rest: &[String]| Target::Internal([base, rest].concat());
        match first {
            "crate" => return joined(root, &segments[1..]),
            "self" | "super" => {
                let steps = segments.iter().take_while(|segment| ["self", "super"].contains(&segment.as_str())).count();
                let climbs = steps - usize::from(first == "self");
                return joined(&module[..module.len().saturating_sub(climbs)], &segments[steps..]);
            }
            _ => {}
        }
        let Some(scope) = self.modules.get(module) else { return self.outside(segments) };
        if depth < HOPS_MAX {
            let alias = |(index, import): &(usize, &Import)| {
                Some(*index) != own && import.alias.as_deref() == Some(first) && import.path.segments[0] != first
            };
            if let Some((index, import)) = scope.imports.iter().enumerate().find(alias) {
                return extended(self.resolve(module, &import.path, Some(index), depth + 1), &segments[1..]);
            }
        }
        if scope.items.contains(first) {
            return joined(module, segments);
        }
        if depth < HOPS_MAX {
            for (index, import) in scope.imports.iter().enumerate() {
                if import.alias.is_some() || Some(index) == own {
                    continue;
                }
                if let Target::Internal(base) = self.resolve(module, &import.path, Some(index), depth + 1)
                    && self.knows(&base, first, depth + 1)
                {
                    return joined(&base, segments);
                }
            }
        }
        self.outside(segments)
    }

    /// A path that begins with a crate's name; the own crate's name leads to its root.
    fn outside(&self, segments: &[String]) -> Target {
        if !self.name.is_empty() && segments[0] == self.name {
            Target::Internal(segments[1..].to_vec())
        } else {
            Target::External(segments.to_vec())
        }
    }

    /// Whether a module declares or imports a name.
    fn knows(&self, module: &[String], name: &str, depth: usize) -> bool {
        let Some(scope) = self.modules.get(module) else { return false };
        scope.items.contains(name) || self.import_of(module, name, depth).is_some()
    }

    /// Where the import that gives a module a name leads.
    fn import_of(&self, module: &[String], name: &str, depth: usize) -> Option<Target> {
        if depth >= HOPS_MAX {
            return None;
        }
        let scope = self.modules.get(module)?;
        for (index, import) in scope.imports.iter().enumerate() {
            let target = || self.resolve(module, &import.path, Some(index), depth + 1);
            match &import.alias {
                Some(alias) if alias == name => return Some(target()),
                Some(_) => {}
                None => {
                    if let Target::Internal(base) = target()
                        && base != module
                        && self.knows(&base, name, depth + 1)
                    {
                        return Some(extended(Target::Internal(base), &[name.to_owned()]));
                    }
                }
            }
        }
        None
    }

    /// What a path reaches through imports of the modules on its way, one after the other.
    fn reexports(&self, target: &Target) -> Vec<Target> {
        let mut found = Vec::new();
        let mut current = target.clone();
        while let Target::Internal(path) = &current
            && found.len() < HOPS_MAX
        {
            let next = (0..path.len()).find_map(|at| {
                let scope = self.modules.get(&path[..at])?;
                if scope.items.contains(&path[at]) {
                    return None;
                }
                Some(extended(self.import_of(&path[..at], &path[at], 0)?, &path[at + 1..]))
            });
            match next {
                Some(next) if next != current => {
                    found.push(next.clone());
                    current = next;
                }
                _ => break,
            }
        }
        found
    }
}

fn extended(target: Target, rest: &[String]) -> Target {
    match target {
        Target::Internal(path) => Target::Internal([&path, rest].concat()),
        Target::External(path) => Target::External([&path, rest].concat()),
    }
}

/// Collects what one file declares and names.
struct Reader<'a> {
    read: &'a mut Crate,
    file: &'a str,
    module: Segments,
}

impl Reader<'_> {
    fn here(&mut self) -> &mut Module {
        self.read.modules.entry(self.module.clone()).or_default()
    }

    fn path(&mut self, line: usize, segments: Segments, has_leading_colons: bool) {
        // A single name is a local one, or was imported by a `use` that is looked at by itself.
        if segments.len() > 1 {
            self.here().paths.push(Written { line, segments, has_leading_colons });
        }
    }

    fn import(&mut self, before: &[String], tree: &syn::UseTree, has_leading_colons: bool) {
        let mut add = |ident: &Ident, alias: Option<String>, segments: Segments| {
            let path = Written { line: ident.span().start().line, segments, has_leading_colons };
            self.here().imports.push(Import { path, alias });
        };
        let with = |ident: &Ident| [before, &[name_of(ident)]].concat();
        match tree {
            syn::UseTree::Path(path) => self.import(&with(&path.ident), &path.tree, has_leading_colons),
            // `use a::{self}` imports `a` itself.
            syn::UseTree::Name(name) if name.ident == "self" && !before.is_empty() => {
                add(&name.ident, before.last().cloned(), before.to_vec());
            }
            syn::UseTree::Name(name) => add(&name.ident, Some(name_of(&name.ident)), with(&name.ident)),
            syn::UseTree::Rename(name) if name.ident == "self" && !before.is_empty() => {
                add(&name.ident, Some(name_of(&name.rename)), before.to_vec());
            }
            syn::UseTree::Rename(name) => add(&name.ident, Some(name_of(&name.rename)), with(&name.ident)),
            syn::UseTree::Glob(glob) if !before.is_empty() => {
                let line = glob.star_token.spans[0].start().line;
                let path = Written { line, segments: before.to_vec(), has_leading_colons };
                self.here().imports.push(Import { path, alias: None });
            }
            syn::UseTree::Group(group) => {
                for tree in &group.items {
                    self.import(before, tree, has_leading_colons);
                }
            }
            _ => {}
        }
    }

    /// Finds paths in what a macro is called with, which is no syntax tree yet.
    fn tokens(&mut self, before: &[String], tokens: TokenStream) {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        let mut at = 0;
        while at < tokens.len() {
            let follows_dot = at > 0 && matches!(&tokens[at - 1], TokenTree::Punct(dot) if dot.as_char() == '.');
            match &tokens[at] {
                TokenTree::Group(group) => {
                    self.tokens(&[], group.stream());
                    at += 1;
                }
                TokenTree::Ident(first) if !follows_dot => {
                    let line = first.span().start().line;
                    let has_leading_colons = before.is_empty() && at > 1 && colons(&tokens, at - 2);
                    let mut segments = [before, &[name_of(first)]].concat();
                    at += 1;
                    let mut is_list = false;
                    while colons(&tokens, at) {
                        match tokens.get(at + 2) {
                            Some(TokenTree::Ident(next)) => segments.push(name_of(next)),
                            Some(TokenTree::Group(list)) if list.delimiter() == Delimiter::Brace => {
                                self.tokens(&segments, list.stream());
                                is_list = true;
                            }
                            _ => break,
                        }
                        at += 3;
                    }
                    if !is_list {
                        self.path(line, segments, has_leading_colons);
                    }
                }
                _ => at += 1,
            }
        }
    }

    /// Finds paths in an attribute's arguments, also those that derives take as text: `with = "crate::text"`.
    fn attribute(&mut self, tokens: TokenStream) {
        for token in tokens.clone() {
            match token {
                TokenTree::Group(group) => self.attribute(group.stream()),
                TokenTree::Literal(literal) => {
                    let line = literal.span().start().line;
                    let Ok(text) = syn::parse_str::<syn::LitStr>(&literal.to_string()) else { continue };
                    if let Ok(path) = syn::parse_str::<syn::Path>(&text.value()) {
                        self.path(line, segments_of(&path), path.leading_colon.is_some());
                    }
                }
                _ => {}
            }
        }
        self.tokens(&[], tokens);
    }
}

impl<'ast> Visit<'ast> for Reader<'_> {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        let (attributes, name): (&[syn::Attribute], Option<&Ident>) = match item {
            syn::Item::Const(item) => (&item.attrs, Some(&item.ident)),
            syn::Item::Enum(item) => (&item.attrs, Some(&item.ident)),
            syn::Item::ExternCrate(item) => (&item.attrs, None),
            syn::Item::Fn(item) => (&item.attrs, Some(&item.sig.ident)),
            syn::Item::Impl(item) => (&item.attrs, None),
            syn::Item::Macro(item) => (&item.attrs, item.ident.as_ref()),
            syn::Item::Mod(item) => (&item.attrs, Some(&item.ident)),
            syn::Item::Static(item) => (&item.attrs, Some(&item.ident)),
            syn::Item::Struct(item) => (&item.attrs, Some(&item.ident)),
            syn::Item::Trait(item) => (&item.attrs, Some(&item.ident)),
            syn::Item::Type(item) => (&item.attrs, Some(&item.ident)),
            syn::Item::Use(item) => (&item.attrs, None),
            _ => (&[], None),
        };
        if attributes.iter().any(is_test) {
            if let syn::Item::Mod(module) = item {
                let path = [self.module.as_slice(), &[name_of(&module.ident)]].concat();
                self.read.tests.insert(path);
            }
            return;
        }
        if let Some(name) = name {
            self.here().items.insert(name_of(name));
        }
        visit::visit_item(self, item);
    }

    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        if let Some(path) = item.attrs.iter().find(|attribute| attribute.path().is_ident("path")) {
            self.read.unreadable.push(Unreadable {
                file: self.file.to_owned(),
                line: path.pound_token.span.start().line,
                problem: "#[path] hides a module from this check; put the file where its module's name says".to_owned(),
            });
        }
        if item.content.is_none() {
            return;
        }
        self.module.push(name_of(&item.ident));
        let file = self.file.to_owned();
        self.here().file = file;
        visit::visit_item_mod(self, item);
        self.module.pop();
    }

    fn visit_item_extern_crate(&mut self, item: &'ast syn::ItemExternCrate) {
        let alias = item.rename.as_ref().map_or(&item.ident, |(_, rename)| rename);
        let segments = if item.ident == "self" { vec!["crate".to_owned()] } else { vec![name_of(&item.ident)] };
        let path = Written { line: item.ident.span().start().line, segments, has_leading_colons: false };
        let alias = Some(name_of(alias));
        self.here().imports.push(Import { path, alias });
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.import(&[], &item.tree, item.leading_colon.is_some());
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        if !item.attrs.iter().any(is_test) {
            visit::visit_impl_item_fn(self, item);
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        if let Some(first) = path.segments.first() {
            self.path(first.ident.span().start().line, segments_of(path), path.leading_colon.is_some());
        }
        visit::visit_path(self, path);
    }

    // `pub(in crate::…)` names an ancestor and imports nothing.
    fn visit_visibility(&mut self, _: &'ast syn::Visibility) {}

    fn visit_attribute(&mut self, attribute: &'ast syn::Attribute) {
        if let syn::Meta::List(list) = &attribute.meta {
            self.attribute(list.tokens.clone());
        }
        visit::visit_attribute(self, attribute);
    }

    fn visit_macro(&mut self, item: &'ast syn::Macro) {
        self.tokens(&[], item.tokens.clone());
        visit::visit_macro(self, item);
    }
}

/// Whether two tokens from this one on are `::`.
fn colons(tokens: &[TokenTree], at: usize) -> bool {
    let is_colon = |token: Option<&TokenTree>, spacing: Option<Spacing>| {
        matches!(token, Some(TokenTree::Punct(punct)) if punct.as_char() == ':'
            && spacing.is_none_or(|spacing| punct.spacing() == spacing))
    };
    is_colon(tokens.get(at), Some(Spacing::Joint)) && is_colon(tokens.get(at + 1), None)
}

/// A name without the `r#` of a raw identifier.
fn name_of(ident: &Ident) -> String {
    let name = ident.to_string();
    name.strip_prefix("r#").map_or(name.clone(), str::to_owned)
}

fn segments_of(path: &syn::Path) -> Segments {
    path.segments.iter().map(|segment| name_of(&segment.ident)).collect()
}

/// Whether an attribute keeps something for tests only: `#[cfg(test)]`, `#[cfg(all(test, …))]`.
fn is_test(attribute: &syn::Attribute) -> bool {
    let syn::Meta::List(list) = &attribute.meta else { return false };
    if !list.path.is_ident("cfg") {
        return false;
    }
    let condition: String = list.tokens.to_string().split_whitespace().collect();
    condition == "test" || condition.starts_with("all(test,")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named_in(files: &[(&str, &str)]) -> Vec<(String, usize, String)> {
        let source = |(path, text): &(&str, &str)| Source { path: format!("src/{path}"), text: (*text).to_owned() };
        let sources: Vec<Source> = files.iter().map(source).collect();
        let read = Crate::read("app", "src/", &sources);
        assert!(read.unreadable().is_empty(), "{:?}", read.unreadable());
        let shown = |target: &Target| match target {
            Target::Internal(path) => format!("crate::{}", path.join("::")),
            Target::External(path) => path.join("::"),
        };
        let mut all: Vec<_> = read
            .named()
            .iter()
            .map(|named| {
                let hops: Vec<String> = std::iter::once(&named.target).chain(&named.reexports).map(shown).collect();
                (named.module.join("::"), named.line, hops.join(" -> "))
            })
            .collect();
        all.sort();
        all
    }

    fn targets(files: &[(&str, &str)]) -> Vec<String> {
        named_in(files).into_iter().map(|(_, _, target)| target).collect()
    }

    #[test]
    fn every_form_of_import_leads_to_the_same_module() {
        for text in [
            "use crate::cli::Table;",
            "use crate::{\n    cli::Table,\n};",
            "use crate::{cli::{Table}};",
            "use super::cli::Table;",
            "use app::cli::Table;",
            "use self::super::cli::Table;",
            "fn f() { crate::cli::Table::new(); }",
            "fn f(table: &crate::cli::Table) {}",
            "fn f() { tracing::info!(\"{}\", crate::cli::Table::NAME); }",
            "macro_rules! m { () => { $crate::cli::Table::new() } }",
            "macro_rules! m { () => { use crate::{cli::Table}; } }",
            "#[derive(Deserialize)] struct S { #[serde(with = \"crate::cli::Table\")] a: u8 }",
            "impl crate::cli::Table for u8 {}",
            "use super as up; use up::cli::Table;",
            "mod inner { use super::super::cli::Table; }",
        ] {
            let found = targets(&[("config.rs", text), ("cli.rs", "pub struct Table;")]);
            assert!(found.iter().any(|target| target.starts_with("crate::cli::Table")), "{text}: {found:?}");
        }
    }

    #[test]
    fn lines_are_those_of_the_names_and_modules_those_of_the_code() {
        let text =
            "use crate::{\n    config::Config,\n    cli::Table,\n};\nmod inner {\n    use super::super::api::serve;\n}";
        assert_eq!(
            named_in(&[("pipeline/run.rs", text)]),
            [
                ("pipeline::run".to_owned(), 2, "crate::config::Config".to_owned()),
                ("pipeline::run".to_owned(), 3, "crate::cli::Table".to_owned()),
                ("pipeline::run::inner".to_owned(), 6, "crate::pipeline::api::serve".to_owned()),
            ]
        );
    }

    #[test]
    fn a_module_that_was_imported_leads_on() {
        let found = targets(&[
            ("lib.rs", "mod pipeline;"),
            ("pipeline/mod.rs", "pub mod service; pub mod run;"),
            ("pipeline/service.rs", "pub struct Service;"),
            ("pipeline/run.rs", "use crate::pipeline; fn f() { pipeline::service::Service; }"),
        ]);
        assert_eq!(found, ["crate::pipeline", "crate::pipeline::service::Service"]);
        let found = targets(&[
            ("pipeline/mod.rs", "pub mod service;"),
            ("pipeline/run.rs", "use super::*; fn f() { service::Service; }"),
        ]);
        assert_eq!(found, ["crate::pipeline", "crate::pipeline::service::Service"]);
    }

    #[test]
    fn reexports_are_followed_to_where_they_lead() {
        let found = targets(&[
            ("lib.rs", "pub mod pipeline;"),
            ("pipeline/mod.rs", "pub mod service; pub use service::{Service as Loops}; pub use service::inner::*;"),
            ("pipeline/service/mod.rs", "pub struct Service; pub mod inner;"),
            ("pipeline/service/inner.rs", "pub struct Deep;"),
            ("pipeline/run.rs", "use super::Loops;"),
            ("pipeline/walk.rs", "use crate::pipeline::Deep;"),
        ]);
        assert!(found.contains(&"crate::pipeline::Loops -> crate::pipeline::service::Service".to_owned()), "{found:?}");
        assert!(found.contains(&"crate::pipeline::Deep -> crate::pipeline::service::inner::Deep".to_owned()));
    }

    #[test]
    fn circles_of_imports_come_to_an_end() {
        let found = targets(&[
            ("lib.rs", "mod a; mod b;"),
            ("a.rs", "pub use crate::b::*; pub use crate::b::x; fn f() { x::y; }"),
            ("b.rs", "pub use crate::a::*; pub use crate::a::x;"),
        ]);
        assert!(!found.is_empty());
    }

    #[test]
    fn tests_comments_texts_and_fields_name_nothing() {
        let text = "//! crate::cli::Table
            #[cfg(test)] mod tests { use crate::cli::A; }
            #[cfg(test)] use crate::cli::B;
            fn f() { let text = \"crate::cli::C\"; g!(self.a::<u8>()); }
            #[cfg(all(test, unix))] fn g() { crate::cli::D; }";
        assert_eq!(targets(&[("config.rs", text)]), Vec::<String>::new());
        let by_declaration = [("config.rs", "#[cfg(test)]\nmod tests;"), ("config/tests.rs", "use crate::cli::A;")];
        assert_eq!(targets(&by_declaration), Vec::<String>::new());
        assert_eq!(targets(&[("a.rs", "#[cfg(not(test))] use crate::cli::A;")]), ["crate::cli::A"]);
    }

    #[test]
    fn other_crates_are_told_from_modules() {
        let found = targets(&[("a.rs", "use ::axum::Router; use clap as c; fn f() { c::value_parser!(u8); x::y(); }")]);
        assert_eq!(found, ["axum::Router", "clap", "clap::value_parser", "x::y"]);
        let found = targets(&[("main.rs", "mod own; fn main() { app::cli::main(); crate::own::f(); }")]);
        assert_eq!(found, ["crate::cli::main", "crate::main::own::f"]);
    }

    #[test]
    fn what_can_t_be_looked_into_is_told() {
        let source = |text: &str| [Source { path: "src/a.rs".to_owned(), text: text.to_owned() }];
        let broken = Crate::read("app", "src/", &source("fn {"));
        assert_eq!((broken.unreadable().len(), broken.unreadable()[0].line), (1, 1));
        let hidden = Crate::read("app", "src/", &source("//! A.\n#[path = \"../cli/b.rs\"]\nmod b;"));
        assert_eq!((hidden.unreadable().len(), hidden.unreadable()[0].line), (1, 2));
    }
}
