//! `backline plugins new`: a project of a connector, to build and try at once.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use crate::cli::terminal::exit::{Exit, Failure, Outcome};
use crate::cli::terminal::output::{self, Access, Existing};
use crate::cli::terminal::print;
use backline_component::{Language, ProjectFile, project};

/// Arguments of `new`.
#[derive(Args)]
pub(crate) struct NewArguments {
    /// Name of the connector and of its folder, which must not exist
    name: String,
    /// Language of the project: rust or python
    #[arg(long, value_name = "LANGUAGE", default_value_t = Language::Rust)]
    lang: Language,
    /// Folder to make the project's folder in
    #[arg(long, default_value = ".", value_name = "FOLDER")]
    folder: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Makes the project, complete or not at all.
pub(in crate::cli::plugins) fn new(arguments: &NewArguments) -> Outcome {
    let NewArguments { name, lang, folder, json } = arguments;
    let files = project(name, *lang).map_err(|error| Failure::refused(&error))?;
    let target = folder.join(name);
    let failed = |error: std::io::Error| {
        Failure::usage(format!(
            "the project can't be made at {}: {error}; choose another name or --folder",
            target.display()
        ))
    };
    // Fails if there is one, so that nobody's work is replaced.
    std::fs::create_dir(&target).map_err(failed)?;
    if let Err(failure) = write(&target, &files) {
        // Everything in it is of this command. What can't be removed is named by the error about the project.
        let _ = std::fs::remove_dir_all(&target);
        return Err(failure);
    }
    let next = match lang {
        Language::Rust => "needs rustup and `rustup target add wasm32-unknown-unknown`; then `cargo test`",
        Language::Python => "needs Python 3.12 and `pip install -r requirements.txt`",
    };
    print::note(&format!("made {} ({}): {next}", target.display(), print::count(files.len() as u64, "file")));
    let readme = target.join("README.md");
    let made: Vec<_> = files.iter().map(|file| target.join(&file.path)).collect();
    print::done(*json, &json!({ "folder": target, "files": made }), &readme.display().to_string())?;
    Ok(Exit::Done)
}

fn write(target: &Path, files: &[ProjectFile]) -> Result<(), Failure> {
    for file in files {
        let path = target.join(&file.path);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)
                .map_err(|error| Failure::failed(format!("failed to create {}: {error}", parent.display())))?;
        }
        let existing = Existing::refused("choose another name or --folder");
        output::write(&path, file.text.as_bytes(), Access::Shared, existing)?;
    }
    Ok(())
}
