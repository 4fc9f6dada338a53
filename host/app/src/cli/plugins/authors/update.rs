//! `backline plugins update`: moves a project to the templates of this version.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use super::project;
use crate::cli::terminal::exit::{CommandResult, Exit, Failure};
use crate::cli::terminal::output::{self, Access, Existing};
use crate::cli::terminal::print::{self, Tone};
use backline_component::{StepOutcome, TEMPLATE, VendorUpdate, renew};

/// Arguments of `update`.
#[derive(Args)]
pub(crate) struct UpdateArguments {
    /// The project's folder
    #[arg(default_value = ".", value_name = "FOLDER")]
    folder: PathBuf,
    /// Print what would be done, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Updates the project. What is left to its author is printed, and ends with another exit code.
pub(in crate::cli::plugins) fn update(arguments: &UpdateArguments) -> CommandResult {
    let UpdateArguments { folder, dry_run, json } = arguments;
    let shown = folder.display().to_string();
    let unreadable = |error: std::io::Error| Failure::usage(format!("{shown} can't be read: {error}; name a project"));
    let texts = project::texts(folder).map_err(unreadable)?;
    let renewal = renew(&texts).map_err(|error| Failure::from(error).about(&shown))?;
    if !dry_run {
        let unfinished = format!("{shown} is not updated as a whole; run the command again");
        write(folder, &renewal).map_err(|failure| failure.about(&unfinished))?;
    }
    if *json {
        print::json(&json!({
            "folder": folder,
            "from": renewal.from.template,
            "to": TEMPLATE,
            "written": renewal.write.iter().map(|file| &file.path).collect::<Vec<_>>(),
            "removed": renewal.remove,
            "steps": renewal.steps,
        }))?;
    } else {
        show(&shown, &renewal, *dry_run)?;
    }
    let is_whole = renewal.steps.iter().all(|step| step.outcome != StepOutcome::ByHand);
    Ok(if is_whole { Exit::Done } else { Exit::Partial })
}

/// Writes the stamp last, so that an update that was interrupted is done again.
fn write(folder: &Path, renewal: &VendorUpdate) -> Result<(), Failure> {
    let failed = |path: &Path, error: &std::io::Error| Failure::failed(format!("{}: {error}", path.display()));
    let (stamp, others): (Vec<_>, Vec<_>) = renewal.write.iter().partition(|file| file.is_stamp());
    for file in others.into_iter().chain(stamp) {
        let path = folder.join(&file.path);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).map_err(|error| failed(parent, &error))?;
        }
        output::write(&path, file.text.as_bytes(), Access::Shared, Existing::updated())?;
    }
    for path in renewal.remove.iter().map(|path| folder.join(path)) {
        std::fs::remove_file(&path).map_err(|error| failed(&path, &error))?;
    }
    Ok(())
}

fn show(folder: &str, renewal: &VendorUpdate, dry_run: bool) -> Result<(), Failure> {
    let VendorUpdate { from, write, remove, steps } = renewal;
    if write.is_empty() && remove.is_empty() && steps.is_empty() {
        return print::line(&format!("{folder} is of the templates {TEMPLATE} already"));
    }
    let verb = if dry_run { "would move" } else { "moved" };
    let (written, removed) = (print::count(write.len() as u64, "file"), print::count(remove.len() as u64, "file"));
    print::line(&format!(
        "{verb} {folder} from the templates {} to {TEMPLATE}: {written} written, {removed} removed",
        from.template
    ))?;
    for (number, step) in steps.iter().enumerate() {
        let (tone, result) = match step.outcome {
            StepOutcome::Done => (Tone::Good, "done"),
            StepOutcome::AlreadyDone => (Tone::Plain, "already done"),
            StepOutcome::ByHand => (Tone::Warning, "by hand: the file was edited there; it should have"),
        };
        print::toned(tone, &format!("{}. {}: {}: {result}", number + 1, step.file, step.title))?;
        if step.outcome == StepOutcome::ByHand {
            for line in step.text.lines() {
                print::line(&format!("     {line}"))?;
            }
        }
    }
    Ok(())
}
