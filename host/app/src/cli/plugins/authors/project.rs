//! A project of a connector on disk: its text files, what it was made of, and whether what builds it is installed.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::SystemTime;

use crate::cli::terminal::exit::Failure;
use backline_component::{Language, ProjectCommand, RenewError, Stamp, Tool, stamp_of};

/// Folders that builds and other programs write.
const NOT_SOURCES: [&str; 6] = ["target", "build", "node_modules", "__pycache__", ".git", ".venv"];

/// Files that builds write among the sources.
const WRITTEN: [&str; 3] = ["Cargo.lock", "package-lock.json", "go.sum"];

/// Largest file that is read as a text, in bytes.
const TEXT_BYTES_MAX: u64 = 1024 * 1024;

/// Deepest folder that is looked into.
const DEPTH_MAX: usize = 16;

/// Modification time and size: they show that a file has changed without reading it.
pub(super) type Mark = (SystemTime, u64);

/// A project.
pub(super) struct Project {
    /// Its folder, as an absolute path.
    pub folder: PathBuf,
    /// What it was made of.
    pub stamp: Stamp,
    /// Its language.
    pub language: Language,
}

impl Project {
    /// Opens the project in a folder.
    pub(super) fn open(folder: &Path) -> Result<Self, Failure> {
        let wrong = |why: String| Failure::usage(format!("{}: {why}", folder.display()));
        let refused = |error: RenewError| Failure::from(error).about(&folder.display().to_string());
        let folder = folder.canonicalize().map_err(|error| wrong(format!("{error}; name a project's folder")))?;
        let texts = texts(&folder).map_err(|error| wrong(format!("the project can't be read: {error}")))?;
        let stamp = stamp_of(&texts).ok_or_else(|| refused(RenewError::NotAProject))?;
        let language = stamp.language.parse().map_err(|error| refused(RenewError::Language(error)))?;
        Ok(Self { folder, stamp, language })
    }
}

/// The text files of a project, by their paths inside its folder with `/` between the parts.
pub(super) fn texts(folder: &Path) -> io::Result<BTreeMap<String, String>> {
    let mut texts = BTreeMap::new();
    for (path, (_, length)) in marks(folder)? {
        if length > TEXT_BYTES_MAX {
            continue;
        }
        // What is no text is no file of a template.
        if let Ok(text) = std::fs::read_to_string(folder.join(&path)) {
            let parts: Vec<_> = path.components().map(|part| part.as_os_str().to_string_lossy()).collect();
            texts.insert(parts.join("/"), text);
        }
    }
    Ok(texts)
}

/// The files of a project that its authors write, by their paths inside its folder.
pub(super) fn marks(folder: &Path) -> io::Result<BTreeMap<PathBuf, Mark>> {
    let mut marks = BTreeMap::new();
    collect(folder, Path::new(""), 0, &mut marks)?;
    Ok(marks)
}

fn collect(folder: &Path, inside: &Path, depth: usize, marks: &mut BTreeMap<PathBuf, Mark>) -> io::Result<()> {
    for entry in std::fs::read_dir(folder.join(inside))? {
        let entry = entry?;
        let (name, kind) = (entry.file_name(), entry.file_type()?);
        let (path, name) = (inside.join(&name), name.to_string_lossy().into_owned());
        if kind.is_dir() && depth < DEPTH_MAX && !NOT_SOURCES.contains(&name.as_str()) {
            collect(folder, &path, depth + 1, marks)?;
        }
        let is_component = path.extension().is_some_and(|extension| extension == "wasm");
        // Links are not followed; a file may have been removed meanwhile.
        if kind.is_file()
            && !is_component
            && !WRITTEN.contains(&name.as_str())
            && let Ok(data) = entry.metadata()
        {
            marks.insert(path, (data.modified()?, data.len()));
        }
    }
    Ok(())
}

/// A project's command, ready to run in its folder, which is an absolute path.
pub(super) fn command(command: &ProjectCommand, folder: &Path) -> Command {
    // Where a program inside the folder is looked for, once the folder is changed, is not the same everywhere.
    let is_inside = command.program.contains('/');
    let program = if is_inside { folder.join(&command.program) } else { PathBuf::from(&command.program) };
    let mut ready = Command::new(program);
    ready.args(&command.arguments).envs(command.variables.iter().copied()).current_dir(folder).stdin(Stdio::null());
    ready
}

/// What is not installed of what a project is built with; of what is installed inside the folder only `with_its_own`.
pub(super) fn missing_tools(language: Language, folder: &Path, with_its_own: bool) -> Vec<Tool> {
    let looked_for = language.tools().into_iter().filter(|tool| with_its_own || !tool.in_project);
    looked_for.filter(|tool| !is_installed(tool, folder)).collect()
}

fn is_installed(tool: &Tool, folder: &Path) -> bool {
    let Ok(output) = command(&tool.probe, folder).output() else { return false };
    let printed = String::from_utf8_lossy(&output.stdout);
    output.status.success() && tool.printed.is_none_or(|word| printed.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_found_and_what_builds_write_is_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let write = |path: &str| {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().expect("a parent")).expect("made");
            std::fs::write(path, "text").expect("written");
        };
        for path in ["connector.toml", "src/lib.rs", ".github/workflows/ci.yml", "vendor/README.md"] {
            write(path);
        }
        for path in ["target/a.rs", "build/core.wasm", "node_modules/a/b.js", "moon.wasm", "Cargo.lock", ".git/HEAD"] {
            write(path);
        }
        std::fs::write(folder.path().join("picture"), [0xff, 0xfe]).expect("written");
        let found: Vec<String> = texts(folder.path()).expect("read").into_keys().collect();
        assert_eq!(found, [".github/workflows/ci.yml", "connector.toml", "src/lib.rs", "vendor/README.md"]);
        assert_eq!(marks(folder.path()).expect("read").len(), 5, "the picture is watched, too");
        assert!(Project::open(folder.path()).is_err_and(|failure| failure.message.contains("not a project of")));
    }

    #[test]
    fn a_tool_is_missing_if_its_program_is_or_if_it_does_not_say_the_word() {
        let folder = tempfile::tempdir().expect("a folder");
        let tool = |program: &str, printed| Tool {
            name: "a tool",
            probe: ProjectCommand { program: program.to_owned(), arguments: vec!["moon".to_owned()], variables: &[] },
            printed,
            in_project: false,
            remedy: "install it",
        };
        assert!(is_installed(&tool("echo", None), folder.path()));
        assert!(is_installed(&tool("echo", Some("moon")), folder.path()));
        assert!(!is_installed(&tool("echo", Some("sun")), folder.path()));
        assert!(!is_installed(&tool("false", None), folder.path()));
        assert!(!is_installed(&tool("build/venv/bin/none", None), folder.path()));
    }
}
