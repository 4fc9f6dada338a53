//! `backline keys …`: generates and rotates the keys that encrypt credentials.

use std::path::{Path, PathBuf};

use clap::Subcommand;
use serde_json::json;

use crate::cli::context::Context;
use crate::cli::terminal::exit::{CommandResult, Exit};
use crate::cli::terminal::output::{Access, Existing};
use crate::cli::terminal::{output, print, progress};
use crate::pipeline::KeyUse;
use backline_gateway::secrets::Keyring;

/// `backline keys …`
#[derive(Subcommand)]
pub(in crate::cli) enum Command {
    /// Generate a key: print it, or write it to a file that only you can read
    Generate {
        /// File to write it to, which must not exist; - for standard output, which is also the default
        #[arg(long, value_name = "FILE")]
        file: Option<PathBuf>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Encrypt all secrets with the current key; hosts continue to collect meanwhile
    Rotate {
        /// File of another key to encrypt with; every host must have it under secrets.old_key_files already
        #[arg(long, value_name = "FILE")]
        new_key_file: Option<PathBuf>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// List keys with what they encrypt, and whether they can be removed
    Status {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

/// Columns of a key.
pub(in crate::cli) const HEADERS: [&str; 5] = ["key", "role", ">secrets", ">kept tokens", "remark"];

/// Runs a command that needs a database.
pub(in crate::cli) async fn run(context: &Context, command: Command) -> CommandResult {
    match command {
        Command::Generate { file, json } => generate(file.as_deref(), json),
        Command::Rotate { new_key_file, json } => rotate(context, new_key_file.as_deref(), json).await,
        Command::Status { json } => {
            let uses = context.host().await?.credentials().keys_in_use().await?;
            print::listing(json, &uses, &HEADERS, cells, "no key is configured")?;
            Ok(Exit::Done)
        }
    }
}

async fn rotate(context: &Context, new_key_file: Option<&Path>, json: bool) -> CommandResult {
    let keyring = new_key_file.map(|path| context.config().secrets.keyring_sealing_with(path)).transpose()?;
    let host = context.host().await?;
    let bar = progress::spinner();
    let report = host.credentials().rotate_keys(keyring, &|seen| bar.set_message(print::count(seen, "secret"))).await?;
    bar.finish_and_clear();
    if json {
        print::json(&report)?;
    } else {
        print::line(&format!(
            "{} encrypted with key {}; {} were already",
            print::count(report.resealed, "secret"),
            report.key_id,
            report.current
        ))?;
        if report.changed > 0 {
            let changed = print::count(report.changed, "secret");
            print::note(&format!("{changed} changed meanwhile; run `backline keys rotate` again"));
        }
        if report.unreadable > 0 {
            let unreadable = print::count(report.unreadable, "secret");
            print::note(&format!(
                "{unreadable} can't be decrypted with any configured key; add the right key to secrets.old_key_files, \
                 or set the credential again"
            ));
        }
        print::note("`backline keys status` shows when the old key can be removed");
    }
    Ok(if report.unreadable + report.changed > 0 { Exit::Partial } else { Exit::Done })
}

fn cells(one: &KeyUse) -> Vec<String> {
    let secrets: u64 = one.secrets.values().sum();
    let remark = match (one.role, one.can_go) {
        (_, true) => "not used: can be removed from the configuration of every host that shows this",
        ("opens", _) => "`backline keys rotate` encrypts these with the current key",
        ("unknown", _) => "not configured here: these can't be decrypted",
        _ => "",
    };
    vec![one.key_id.clone(), one.role.to_owned(), secrets.to_string(), one.kept_tokens.to_string(), remark.to_owned()]
}

/// Generates a key. This needs neither configuration nor database.
pub(in crate::cli) fn generate(file: Option<&Path>, json: bool) -> CommandResult {
    let key = Keyring::generate_base64();
    let Some(path) = file.filter(|path| !output::is_stdout(path)) else {
        print::done(json, &json!({ "key": key.as_str(), "file": null }), &key)?;
        return Ok(Exit::Done);
    };
    // Without --force: replacing a key that is in use makes every credential sealed with it unreadable.
    let existing = Existing::refused("name another file, or remove this one if nothing needs it");
    output::write(path, format!("{key}\n").as_bytes(), Access::Private, existing)?;
    if json {
        print::json(&json!({ "key": null, "file": path }))?;
    }
    let path = path.display();
    print::note(&format!(
        "wrote a new key to {path}: set secrets.key_file to it and keep a copy; without it, credentials can't be read"
    ));
    Ok(Exit::Done)
}
