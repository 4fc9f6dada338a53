//! New projects of connectors: a template, with the contract and the SDK's sources beside it, so that a project builds
//! from what is in its own folder.

use backline_model::manifest::SCHEMA;
use serde::{Deserialize, Serialize};
use toml::{Table, Value as Toml};

use super::language::Language;

/// Path in the repository and text of every file that a project may be made of.
const SOURCES: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/sources.rs"));

/// Number of the templates, raised by whatever changes a file that is the author's. A step of `update` leads to each.
pub const TEMPLATE: u32 = 4;

/// Where a project says what it was made of.
pub(super) const STAMP: &str = "vendor/template.json";

/// What a project was made of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp {
    /// Number of the templates.
    pub template: u32,
    /// Name of the language.
    pub language: String,
    /// Name of the project.
    pub name: String,
}

/// Names in the templates that stand for the project's: as a package, as an identifier, as a type.
const PLACEHOLDERS: [&str; 3] = ["my-connector", "my_connector", "MyConnector"];

/// Longest name of a project: a manifest takes 64 characters, a platform's id 32.
const NAME_CHARS_MAX: usize = 32;

/// Names that a crate can't have, or that would hide one that it needs.
const RESERVED: [&str; 52] = [
    "abstract",
    "alloc",
    "as",
    "async",
    "await",
    "backline_sdk",
    "become",
    "box",
    "break",
    "const",
    "continue",
    "core",
    "crate",
    "do",
    "dyn",
    "else",
    "enum",
    "extern",
    "false",
    "final",
    "fn",
    "for",
    "futures",
    "gen",
    "if",
    "impl",
    "in",
    "let",
    "loop",
    "macro",
    "match",
    "mod",
    "move",
    "mut",
    "override",
    "priv",
    "proc_macro",
    "pub",
    "ref",
    "return",
    "self",
    "serde_json",
    "static",
    "std",
    "struct",
    "super",
    "test",
    "toml",
    "trait",
    "true",
    "try",
    "type",
];

/// Why there is no project.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScaffoldError {
    /// The name can't be a connector's.
    #[error(
        "'{0}' can't be a connector's name; begin with a lower case letter and use at most {NAME_CHARS_MAX} lower case \
         letters, digits and -"
    )]
    Name(String),
    /// The name is one that a crate can't have.
    #[error("'{0}' is a word of Rust or a library that the project uses; choose another name, such as {0}-connector")]
    Reserved(String),
}

/// A file of a new project.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProjectFile {
    /// Path inside the project's folder, with `/` between its parts.
    pub path: String,
    /// Content of the file.
    pub text: String,
}

impl ProjectFile {
    /// Whether it says what the project was made of.
    #[must_use]
    pub fn is_stamp(&self) -> bool {
        self.path == STAMP
    }
}

/// The files of a new project.
///
/// # Errors
/// If the name can't be a connector's.
pub fn project(name: &str, language: Language) -> Result<Vec<ProjectFile>, ScaffoldError> {
    check_name(name)?;
    let template = format!("sdk/templates/{language}/");
    let mut files: Vec<ProjectFile> = SOURCES
        .iter()
        .filter_map(|(path, text)| Some((path.strip_prefix(&template)?, *text)))
        .map(|(path, text)| ProjectFile { path: path.to_owned(), text: named(path, text, name) })
        .collect();
    files.extend(vendored(name, language));
    files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(files)
}

/// Folders of a project that hold copies alone. What else is in `vendor/` may be an author's: `cargo vendor` and
/// `go mod vendor` write there.
const COPIED: [&str; 3] = ["vendor/wit", "vendor/backline", "vendor/backline-sdk"];

/// Whether a file of a project is a copy that no author edits.
pub(super) fn is_vendored(path: &str, language: Language) -> bool {
    let is_below = |folder: &str| path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'));
    COPIED.into_iter().chain(language.helpers()).any(is_below)
}

/// The files of a project that no author edits: the contract, the SDK or helpers, the schema and the stamp.
pub(super) fn vendored(name: &str, language: Language) -> Vec<ProjectFile> {
    let helpers = format!("sdk/helpers/{language}/");
    let copied = SOURCES.iter().filter_map(|&(path, text)| {
        let path = if let Some(file) = path.strip_prefix("sdk/src/") {
            (language == Language::Rust).then(|| format!("vendor/backline-sdk/src/{file}"))?
        } else if let Some(file) = path.strip_prefix(&helpers) {
            format!("{}/{file}", language.helpers()?)
        } else if path.starts_with("wit/") {
            format!("vendor/{path}")
        } else {
            return None;
        };
        Some(ProjectFile { path, text: text.to_owned() })
    });
    let mut files: Vec<ProjectFile> = copied.collect();
    if language == Language::Rust {
        let text = standalone(source("sdk/Cargo.toml"), source("Cargo.toml"));
        files.push(ProjectFile { path: "vendor/backline-sdk/Cargo.toml".to_owned(), text });
    }
    files.push(ProjectFile { path: "vendor/connector.schema.json".to_owned(), text: SCHEMA.to_owned() });
    let version = env!("CARGO_PKG_VERSION");
    files.push(ProjectFile {
        path: "vendor/README.md".to_owned(),
        text: format!(
            "Copied by `backline plugins new --lang {language}` of version {version}. Don't edit it: `backline plugins \
             update` of a newer version replaces it.\n"
        ),
    });
    let stamp = Stamp { template: TEMPLATE, language: language.to_string(), name: name.to_owned() };
    // A record of numbers and texts always has a form as JSON.
    let text = serde_json::to_string_pretty(&stamp).unwrap_or_default() + "\n";
    files.push(ProjectFile { path: STAMP.to_owned(), text });
    files
}

/// The name as an identifier, and as a type.
fn identifiers(name: &str) -> (String, String) {
    (name.replace('-', "_"), name.split('-').map(capitalised).collect())
}

/// Whether a type of this name would hide one that the Rust template, or what its macro expands to, is written with.
fn hides_a_type(type_name: &str) -> bool {
    let expanded = source("sdk/src/component.rs").split_once("macro_rules! export_connector");
    let used = [source("sdk/templates/rust/src/lib.rs"), expanded.map_or("", |(_, text)| text)];
    let lines = used.iter().flat_map(|text| text.lines()).filter(|line| !line.trim_start().starts_with("//"));
    let mut words = lines.flat_map(|line| line.split(|c: char| !c.is_alphanumeric() && c != '_'));
    type_name != PLACEHOLDERS[2] && words.any(|word| word == type_name)
}

fn check_name(name: &str) -> Result<(), ScaffoldError> {
    let is_plain = name.len() <= NAME_CHARS_MAX
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && !name.ends_with('-')
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    if !is_plain {
        return Err(ScaffoldError::Name(name.chars().take(2 * NAME_CHARS_MAX).collect()));
    }
    let (identifier, type_name) = identifiers(name);
    if RESERVED.contains(&identifier.as_str()) || hides_a_type(&type_name) {
        return Err(ScaffoldError::Reserved(name.to_owned()));
    }
    Ok(())
}

fn source(path: &str) -> &'static str {
    SOURCES.iter().find(|(known, _)| *known == path).map_or("", |(_, text)| text)
}

/// A template's file for a project of this name.
pub(super) fn named(path: &str, text: &str, name: &str) -> String {
    let (identifier, type_name) = identifiers(name);
    let mut text = text.to_owned();
    for (placeholder, own) in PLACEHOLDERS.iter().zip([name, &identifier, &type_name]) {
        text = text.replace(placeholder, own);
    }
    match path {
        "connector.toml" => text.replace("platform = \"example\"", &format!("platform = \"{identifier}\"")),
        "Cargo.toml" => text
            .replace("{ path = \"../..\" }", "{ path = \"vendor/backline-sdk\" }")
            .replace(" In a copy made by hand: the path of your checkout.", ""),
        _ => text,
    }
}

fn capitalised(word: &str) -> String {
    let mut chars = word.chars();
    chars.next().map_or(String::new(), |first| first.to_ascii_uppercase().to_string() + chars.as_str())
}

/// A crate's manifest without what it inherits from its workspace: the values stand in it.
fn standalone(manifest: &str, workspace: &str) -> String {
    let parse = |text: &str| text.parse::<Table>().unwrap_or_default();
    let (mut manifest, workspace) = (parse(manifest), parse(workspace));
    let inherited = |section: &str| workspace.get("workspace").and_then(|all| all.get(section)).cloned();
    let (package, dependencies) = (inherited("package"), inherited("dependencies"));
    manifest.remove("lints");
    if let Some(Toml::Table(own)) = manifest.get_mut("package") {
        inherit(own, package.as_ref());
    }
    for section in ["dependencies", "dev-dependencies"] {
        if let Some(Toml::Table(own)) = manifest.get_mut(section) {
            inherit(own, dependencies.as_ref());
        }
    }
    if let Some(Toml::Table(targets)) = manifest.get_mut("target") {
        for (_, target) in targets.iter_mut() {
            if let Some(Toml::Table(own)) = target.get_mut("dependencies") {
                inherit(own, dependencies.as_ref());
            }
        }
    }
    manifest.to_string()
}

fn inherit(own: &mut Table, workspace: Option<&Toml>) {
    for (key, value) in own.iter_mut() {
        let from_workspace = value.get("workspace").and_then(Toml::as_bool) == Some(true);
        if let Some(inherited) = workspace.and_then(|workspace| workspace.get(key)).filter(|_| from_workspace) {
            *value = inherited.clone();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use backline_model::manifest::Manifest;

    use super::*;

    fn files(name: &str, language: Language) -> BTreeMap<String, String> {
        project(name, language).expect("a project").into_iter().map(|file| (file.path, file.text)).collect()
    }

    #[test]
    fn every_project_is_complete_and_named() {
        for language in Language::ALL {
            let files = files("moon-beam-2", language);
            for path in ["README.md", "connector.toml", ".gitignore", ".github/workflows/ci.yml", "vendor/README.md"] {
                assert!(files.contains_key(path), "{language}: {path}");
            }
            let schema = files["connector.toml"].lines().next().and_then(|line| line.strip_prefix("#:schema "));
            assert_eq!(schema.and_then(|path| files.get(path)).map(String::as_str), Some(SCHEMA), "{language}");
            let answers = files.keys().filter(|path| path.ends_with("/recording.json")).count();
            assert_eq!(answers, 3, "{language}");
            let manifest = Manifest::parse(&files["connector.toml"]).expect("a manifest");
            assert_eq!(manifest.connector.name, "moon-beam-2");
            assert_eq!(manifest.connector.platform.as_str(), "moon_beam_2");
            assert_eq!(files["vendor/wit/connector/1.0.0/connector.wit"], source("wit/connector/1.0.0/connector.wit"));
            for (path, text) in files.iter().filter(|(path, _)| !path.starts_with("vendor/")) {
                for placeholder in PLACEHOLDERS {
                    assert!(!text.contains(placeholder), "{language}: {path} has {placeholder}");
                }
            }
        }
    }

    #[test]
    fn a_rust_project_builds_from_its_own_folder() {
        let files = files("moon", Language::Rust);
        let project: Table = files["Cargo.toml"].parse().expect("TOML");
        assert_eq!(project["dependencies"]["backline-sdk"]["path"].as_str(), Some("vendor/backline-sdk"));
        let sdk: Table = files["vendor/backline-sdk/Cargo.toml"].parse().expect("TOML");
        let text = &files["vendor/backline-sdk/Cargo.toml"];
        assert!(!text.contains("workspace"), "{text}");
        assert_eq!(sdk["package"]["edition"].as_str(), Some("2024"));
        assert!(sdk["dependencies"]["wit-bindgen"].get("version").is_some(), "{text}");
        assert!(files["src/lib.rs"].contains("export_connector!(Moon)"));
        assert!(files["vendor/backline-sdk/src/bindings.rs"].contains("../wit/connector/1.0.0"));
    }

    #[test]
    fn names_that_would_not_build_are_refused() {
        for name in ["", "Moon", "1moon", "moon_beam", "moon-", "-moon", "../moon", "mö", "a b", &"a".repeat(33)] {
            assert!(matches!(project(name, Language::Rust), Err(ScaffoldError::Name(_))), "{name}");
        }
        for name in ["fn", "std", "backline-sdk", "proc-macro", "test"] {
            assert_eq!(project(name, Language::Python), Err(ScaffoldError::Reserved(name.to_owned())));
        }
        // These would hide types of the SDK or of Rust's prelude.
        for name in ["connector", "fetch-error", "fetched", "string", "vec", "result", "component", "batch-result"] {
            assert_eq!(project(name, Language::Rust), Err(ScaffoldError::Reserved(name.to_owned())));
        }
        for name in ["my-connector", "example", "a", "b-52", "moon--beam", "serde", &"a".repeat(32)] {
            let files = files(name, Language::Rust);
            assert_eq!(Manifest::parse(&files["connector.toml"]).expect(name).connector.name, name);
        }
    }
}
