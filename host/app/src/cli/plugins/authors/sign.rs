//! `backline plugins keygen | sign | verify`: signatures of components.

use std::io::{BufRead as _, IsTerminal as _};
use std::path::{Path, PathBuf};

use serde_json::json;
use zeroize::Zeroizing;

use crate::cli::context::Context;
use crate::cli::plugins::read_file;
use crate::cli::plugins::source::SourceArguments;
use crate::cli::terminal::exit::{CommandResult, Exit, Failure};
use crate::cli::terminal::output::{Access, Existing, NewFile, Output};
use crate::cli::terminal::print;
use backline_component::{SIGNATURE_SUFFIX, SigningKey, generate_key, inspect};

/// Largest key file that is read, in bytes; one has under 400.
const KEY_BYTES_MAX: u64 = 8 * 1024;

/// Arguments of `keygen`.
#[derive(clap::Args)]
pub(crate) struct KeygenArguments {
    /// Name of the key; the files are NAME.key and NAME.pub, which must not exist
    #[arg(long)]
    name: String,
    /// Folder to write the files to
    #[arg(long, default_value = ".", value_name = "FOLDER")]
    folder: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Arguments of `sign`.
#[derive(clap::Args)]
pub(crate) struct SignArguments {
    /// The packed component
    file: PathBuf,
    /// The secret key, as `keygen` or minisign writes it; its password, if it has one, is read from standard input
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// Replace the signature if it exists
    #[arg(long)]
    force: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Arguments of `verify`.
#[derive(clap::Args)]
pub(crate) struct VerifyArguments {
    #[command(flatten)]
    source: SourceArguments,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Generates a key: the secret one in a file that only its owner can read, the public one beside it.
pub(in crate::cli::plugins) fn keygen(arguments: &KeygenArguments) -> CommandResult {
    let KeygenArguments { name, folder, json } = arguments;
    if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c)) {
        return Err(Failure::usage(format!("'{name}' can't be a key's name; use only letters, digits, - and _")));
    }
    let files = generate_key(name)?;
    let (secret, public) = (folder.join(format!("{name}.key")), folder.join(format!("{name}.pub")));
    // Without --force: replacing a key that operators trust would end every update that it signs. Both files are
    // complete before either gets its name, so that a full disk does not leave one without the other.
    let existing = Existing::refused("choose another name");
    let mut secret_file = NewFile::create(&secret, Access::Private, existing)?;
    let mut public_file = NewFile::create(&public, Access::Shared, existing)?;
    secret_file.write(files.secret.as_bytes())?;
    public_file.write(files.public.as_bytes())?;
    secret_file.finish()?;
    public_file.finish()?;
    print::note(&format!(
        "wrote {} and {}: keep the first secret; operators who trust you add this to backline.toml",
        secret.display(),
        public.display()
    ));
    let report = json!({ "name": name, "key": files.key, "secret_file": secret, "public_file": public });
    print::done(*json, &report, &format!("[plugins.trusted_keys.{name}]\nkey = \"{}\"", files.key))?;
    Ok(Exit::Done)
}

/// Signs a component and writes the signature beside it.
pub(in crate::cli::plugins) fn sign(context: &Context, arguments: &SignArguments) -> CommandResult {
    let SignArguments { file, key, force, json } = arguments;
    let component = read_file(file)?;
    let about = |failure: Failure| failure.about(&file.display().to_string());
    let inspection = inspect(&component).map_err(|error| about(error.into()))?;
    let target = PathBuf::from(format!("{}{SIGNATURE_SUFFIX}", file.display()));
    let output = Output::open(&target, Access::Shared, Existing::forced(*force))?;
    let signing = signing_key(key)?;
    let name = file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let signature = signing.sign(&component, &name, context.clock.now()).map_err(|error| about(error.into()))?;
    output.finish_with(signature.as_bytes())?;
    let info = &inspection.manifest.connector;
    if *json {
        let digest = inspection.digest;
        let report = json!({ "file": target, "name": info.name, "version": info.version, "digest": digest });
        print::json(&report)?;
    }
    print::note(&format!(
        "wrote {}: the signature of {} {} with sha256 {}",
        target.display(),
        info.name,
        info.version,
        inspection.digest
    ));
    Ok(Exit::Done)
}

pub(in crate::cli::plugins) fn signing_key(path: &Path) -> Result<SigningKey, Failure> {
    let unreadable = |why: String| Failure::usage(format!("the key {} {why}", path.display()));
    let data = std::fs::metadata(path).map_err(|error| unreadable(format!("can't be read: {error}")))?;
    if !data.is_file() || data.len() > KEY_BYTES_MAX {
        return Err(unreadable("is not a key file".to_owned()));
    }
    let text = std::fs::read_to_string(path).map(Zeroizing::new);
    let text = text.map_err(|error| unreadable(format!("can't be read: {error}")))?;
    let password = if SigningKey::is_locked(&text) { Some(password(path)?) } else { None };
    SigningKey::parse(&text, password).map_err(|error| Failure::from(error).about(&path.display().to_string()))
}

/// One line of standard input; refused on a terminal, which would show the password.
fn password(key: &Path) -> Result<String, Failure> {
    if std::io::stdin().is_terminal() {
        let message = "has a password; pass it on standard input, as in `backline plugins sign … < password-file`";
        return Err(Failure::usage(format!("the key {} {message}", key.display())));
    }
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line)?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

/// Obtains a component as `install` does and prints its signer; refuses one without a trusted signature.
pub(in crate::cli::plugins) async fn verify(context: &Context, arguments: &VerifyArguments) -> CommandResult {
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
