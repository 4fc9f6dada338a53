//! `backline keys …`: the key that seals credentials, and replacing it by another.

use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};

use clap::Subcommand;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::context::Context;
use super::exit::{Exit, Failure, Outcome};
use super::print;
use crate::pipeline::KeyUse;
use backline_gateway::secrets::Keyring;

/// `backline keys …`
#[derive(Subcommand)]
pub(super) enum Command {
    /// Make a new key: print it, or write it to a file that only you can read
    Generate {
        /// Where to write it; the file must not exist
        #[arg(long, value_name = "FILE")]
        file: Option<PathBuf>,
    },
    /// Seal everything with the key that seals now; hosts go on collecting meanwhile
    Rotate {
        /// Seal with this key instead; every host must have it under secrets.old_key_files already
        #[arg(long, value_name = "FILE")]
        new_key_file: Option<PathBuf>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Show with which keys secrets are sealed, and which key can go
    Status {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

/// Runs a command that needs a database.
pub(super) async fn run(context: &Context, command: Command) -> Outcome {
    match command {
        Command::Generate { file } => generate(file.as_deref()),
        Command::Rotate { new_key_file, json } => rotate(context, new_key_file.as_deref(), json).await,
        Command::Status { json } => {
            let uses = context.host().await?.credentials().keys_in_use().await?;
            print::listing(
                json,
                &uses,
                &["key", "role", ">secrets", ">kept tokens", "remark"],
                cells,
                "no key is configured",
            )?;
            Ok(Exit::Done)
        }
    }
}

async fn rotate(context: &Context, new_key_file: Option<&Path>, json: bool) -> Outcome {
    let keyring = new_key_file.map(|path| context.config().secrets.keyring_sealing_with(path)).transpose()?;
    let host = context.host().await?;
    let target =
        if std::io::stderr().is_terminal() { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
    let bar = ProgressBar::with_draw_target(None, target);
    let style = ProgressStyle::with_template("{spinner} {pos} secrets  {elapsed_precise}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
    let report = host.credentials().rotate_keys(keyring, &|seen| bar.set_position(seen)).await?;
    bar.finish_and_clear();
    if json {
        print::json(&report)?;
    } else {
        print::line(&format!(
            "{} sealed anew with key {}; {} were already",
            print::count(report.resealed, "secret"),
            report.key_id,
            report.current
        ))?;
        if report.changed > 0 {
            print::note(&format!("{} changed meanwhile; run it again", print::count(report.changed, "secret")));
        }
        if report.unreadable > 0 {
            print::note(&format!(
                "{} can't be opened with any key here; set the key it was sealed with under secrets.old_key_files, or set the credential anew",
                print::count(report.unreadable, "secret")
            ));
        }
        print::note("`backline keys status` tells when the old key can go");
    }
    Ok(if report.unreadable + report.changed > 0 { Exit::Partial } else { Exit::Done })
}

fn cells(one: &KeyUse) -> Vec<String> {
    let secrets: u64 = one.secrets.values().sum();
    let remark = match (one.role, one.can_go) {
        (_, true) => "nothing is sealed with it: it can be taken out of the configuration of every host that says so",
        ("opens", _) => "`backline keys rotate` seals these anew",
        ("unknown", _) => "not configured here: nothing opens these",
        _ => "",
    };
    vec![one.key_id.clone(), one.role.to_owned(), secrets.to_string(), one.kept_tokens.to_string(), remark.to_owned()]
}

/// Makes a key. It needs neither configuration nor database.
pub(super) fn generate(file: Option<&Path>) -> Outcome {
    let key = Keyring::generate_base64();
    match file {
        None => print::line(&key)?,
        Some(path) => {
            write_private(path, &format!("{key}\n"))?;
            print::note(&format!(
                "wrote a new key to {}: set secrets.key_file to it and keep a copy, since credentials can't be read without it",
                path.display()
            ));
        }
    }
    Ok(Exit::Done)
}

/// Writes a new file that only its owner can read.
pub(super) fn write_private(path: &Path, text: &str) -> Result<(), Failure> {
    let mut options = std::fs::File::options();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path).map_err(|error| {
        Failure::usage(match error.kind() {
            std::io::ErrorKind::AlreadyExists => {
                format!("{} exists already; name another file, or remove it if nothing needs it", path.display())
            }
            _ => format!("failed to create {}: {error}", path.display()),
        })
    })?;
    file.write_all(text.as_bytes())
        .map_err(|error| Failure::failed(format!("failed to write {}: {error}", path.display())))
}
