//! `backline keys generate`: the key that seals credentials.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use clap::Subcommand;

use super::exit::{Exit, Failure, Outcome};
use super::print;
use crate::secrets::Keyring;

/// `backline keys …`
#[derive(Subcommand)]
pub enum Command {
    /// Make a new key: print it, or write it to a file that only you can read
    Generate {
        /// Where to write it; the file must not exist
        #[arg(long, value_name = "FILE")]
        file: Option<PathBuf>,
    },
}

/// Runs the command. It needs neither configuration nor database.
pub fn run(command: &Command) -> Outcome {
    let Command::Generate { file } = command;
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
pub fn write_private(path: &Path, text: &str) -> Result<(), Failure> {
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
