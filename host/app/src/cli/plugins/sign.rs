//! `backline plugins keygen | sign | verify`: who vouches for a component.

use std::io::{BufRead as _, IsTerminal as _};
use std::path::{Path, PathBuf};

use serde_json::json;
use zeroize::Zeroizing;

use super::{SourceArguments, read_file};
use crate::cli::context::Context;
use crate::cli::exit::{Exit, Failure, Outcome, sentence};
use crate::cli::keys::write_private;
use crate::cli::print;
use backline_component::{SIGNATURE_SUFFIX, SigningError, SigningKey, generate_key, inspect};

/// Most bytes of a key file; one has under 400.
const KEY_BYTES_MAX: u64 = 8 * 1024;

/// What `keygen` takes.
#[derive(clap::Args)]
pub(crate) struct KeygenArguments {
    /// What the key is called: the files are NAME.key and NAME.pub
    #[arg(long)]
    name: String,
    /// Where the files go
    #[arg(long, default_value = ".", value_name = "FOLDER")]
    folder: PathBuf,
}

/// What `sign` takes.
#[derive(clap::Args)]
pub(crate) struct SignArguments {
    /// The packed component
    file: PathBuf,
    /// The secret key, as `keygen` or the minisign tool wrote it; its password, where it has one, is read from standard input
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// Replace a signature that is there
    #[arg(long)]
    force: bool,
}

/// What `verify` takes.
#[derive(clap::Args)]
pub(crate) struct VerifyArguments {
    #[command(flatten)]
    source: SourceArguments,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Makes a key: the secret one in a file that only its owner can read, the public one beside it.
pub(super) fn keygen(arguments: &KeygenArguments) -> Outcome {
    let KeygenArguments { name, folder } = arguments;
    if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c)) {
        return Err(Failure::usage(format!("'{name}' can't be a key's name; write letters, digits, - and _")));
    }
    let files = generate_key(name).map_err(|error| Failure::failed(sentence(&error)))?;
    let (secret, public) = (folder.join(format!("{name}.key")), folder.join(format!("{name}.pub")));
    if public.exists() {
        return Err(Failure::usage(format!("{} exists already; choose another name", public.display())));
    }
    write_private(&secret, &files.secret)?;
    std::fs::write(&public, &files.public)
        .map_err(|error| Failure::failed(format!("failed to write {}: {error}", public.display())))?;
    print::note(&format!(
        "wrote {} and {}: keep the first to yourself; whoever trusts you adds this to backline.toml",
        secret.display(),
        public.display()
    ));
    print::line(&format!("[plugins.trusted_keys.{name}]\nkey = \"{}\"", files.key))?;
    Ok(Exit::Done)
}

/// Signs a component: writes the signature beside it.
pub(super) fn sign(context: &Context, arguments: &SignArguments) -> Outcome {
    let SignArguments { file, key, force } = arguments;
    let component = read_file(file)?;
    let about = |error: &(dyn std::error::Error + 'static)| Failure::refused(error).about(&file.display().to_string());
    let inspection = inspect(&component).map_err(|error| about(&error))?;
    let target = PathBuf::from(format!("{}{SIGNATURE_SUFFIX}", file.display()));
    if target.exists() && !force {
        return Err(Failure::usage(format!("{} exists already; add --force to replace it", target.display())));
    }
    let signing = signing_key(key)?;
    let name = file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let signature = signing.sign(&component, &name, context.clock.now()).map_err(|error| about(&error))?;
    std::fs::write(&target, signature)
        .map_err(|error| Failure::failed(format!("failed to write {}: {error}", target.display())))?;
    let info = &inspection.manifest.connector;
    print::note(&format!(
        "wrote {}: it vouches for {} {} with sha256 {}",
        target.display(),
        info.name,
        info.version,
        inspection.digest
    ));
    Ok(Exit::Done)
}

fn signing_key(path: &Path) -> Result<SigningKey, Failure> {
    let unreadable = |why: String| Failure::usage(format!("the key {} {why}", path.display()));
    let data = std::fs::metadata(path).map_err(|error| unreadable(format!("can't be read: {error}")))?;
    if !data.is_file() || data.len() > KEY_BYTES_MAX {
        return Err(unreadable("is no key file".to_owned()));
    }
    let text = std::fs::read_to_string(path).map(Zeroizing::new);
    let text = text.map_err(|error| unreadable(format!("can't be read: {error}")))?;
    let password = if SigningKey::is_locked(&text) { Some(password(path)?) } else { None };
    SigningKey::parse(&text, password).map_err(|error| match error {
        SigningError::NotAKey => Failure::refused(&error).about(&path.display().to_string()),
        error => unreadable(format!("can't be used: {error}")),
    })
}

/// One line of standard input. A terminal would show it, so that somebody has to pipe it in.
fn password(key: &Path) -> Result<String, Failure> {
    if std::io::stdin().is_terminal() {
        let message = "has a password; pass it by standard input, as in `backline plugins sign … < password-file`";
        return Err(Failure::usage(format!("the key {} {message}", key.display())));
    }
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line)?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

/// Gets a component as installing would and says who signed it; refuses one that nobody trusted has signed.
pub(super) async fn verify(context: &Context, arguments: &VerifyArguments) -> Outcome {
    let obtained = arguments.source.obtain(context, true).await?;
    let info = &obtained.inspection.manifest.connector;
    let signer = obtained.signed_by.as_deref().unwrap_or(print::NONE);
    if arguments.json {
        print::json(&json!({
            "name": info.name,
            "version": info.version,
            "digest": obtained.digest,
            "size_bytes": obtained.component.len(),
            "source": obtained.source,
            "signed_by": obtained.signed_by,
        }))?;
    } else {
        print::line(&format!("{} {}\nsha256 {}\nsigned by {signer}", info.name, info.version, obtained.digest))?;
    }
    Ok(Exit::Done)
}
