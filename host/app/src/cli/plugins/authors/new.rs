//! `backline plugins new`: a project of a connector, to build and try at once.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use super::project::missing_tools;
use crate::cli::terminal::exit::{CommandResult, Exit, Failure};
use crate::cli::terminal::output::{self, Access, Existing};
use crate::cli::terminal::print;
use backline_component::{Language, ProjectFile, project};

/// Arguments of `new`.
#[derive(Args)]
pub(crate) struct NewArguments {
    /// Name of the connector and of its folder, which must not exist
    name: String,
    /// Language of the project: rust, python, go, javascript or c
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
pub(in crate::cli::plugins) fn new(arguments: &NewArguments) -> CommandResult {
    let NewArguments { name, lang, folder, json } = arguments;
    let files = project(name, *lang)?;
    let target = folder.join(name);
    let failed = |error: std::io::Error| {
        Failure::usage(format!(
            "the project can't be made at {}: {error}; choose another name or --folder",
            target.display()
        ))
    };
    // Fails if there is one, so that no work is replaced.
    std::fs::create_dir(&target).map_err(failed)?;
    if let Err(failure) = write(&target, &files) {
        // Everything in it is of this command. What can't be removed is named by the error about the project.
        let _ = std::fs::remove_dir_all(&target);
        return Err(failure);
    }
    print::note(&format!("made {} ({})", target.display(), print::count(files.len() as u64, "file")));
    // What is installed in the project's folder can't be there yet: the README says when to install it.
    let missing = missing_tools(*lang, &target, false);
    for tool in &missing {
        print::note(&format!("warning: {} is missing, which building it needs: {}", tool.name, tool.remedy));
    }
    let missing: Vec<_> = missing.iter().map(|tool| json!({ "name": tool.name, "remedy": tool.remedy })).collect();
    let readme = target.join("README.md");
    let made: Vec<_> = files.iter().map(|file| target.join(&file.path)).collect();
    let what = json!({ "folder": target, "files": made, "missing": missing });
    print::done(*json, &what, &readme.display().to_string())?;
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
