//! `backline credentials …`: secrets are read from standard input or a file, and never printed.

use std::collections::HashMap;
use std::io::{IsTerminal as _, Read as _};
use std::path::{Path, PathBuf};

use clap::Subcommand;
use serde_json::{Value as Json, json};
use zeroize::Zeroizing;

use crate::cli::arguments::ids::Given;
use crate::cli::arguments::names::{self, PlatformName};
use crate::cli::context::Context;
use crate::cli::service::installation;
use crate::cli::terminal::exit::{CommandResult, Exit, Failure};
use crate::cli::terminal::print;
use crate::pipeline::remove_credential;
use backline_gateway::secrets::text_of;
use backline_model::{Account, AccountId, Platform};
use backline_store::{AccountFilter, CredentialFilter, Scope, SealedCredential, Store};

/// Longest secret that is read, in bytes; an Apple key has under 1 KiB.
const SECRET_BYTES_MAX: u64 = 64 * 1024;

/// `backline credentials …`
#[derive(Subcommand)]
pub(in crate::cli) enum Command {
    /// Set a secret, read from standard input or a file
    Set {
        /// The platform, such as youtube
        platform: PlatformName,
        /// The connector's slot; `backline plugins inspect` shows them
        slot: String,
        /// The account, for slots that belong to accounts: id, beginning of it, or id on the platform
        #[arg(long, value_name = "ACCOUNT")]
        account: Option<Given<AccountId>>,
        /// File that holds the secret; standard input unless given
        #[arg(long, value_name = "FILE")]
        file: Option<PathBuf>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// List credentials, without their secrets
    List {
        /// Only credentials of this platform
        #[arg(long, value_name = "NAME")]
        platform: Option<PlatformName>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Ask the platform once whether its credentials work, for an account that can be collected
    Check {
        /// The platform, such as youtube
        platform: PlatformName,
        /// The account to ask about: id, beginning of it, or id on the platform; the platform's first unless given
        #[arg(long, value_name = "ACCOUNT")]
        account: Option<Given<AccountId>>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Remove a credential
    Remove {
        /// The platform
        platform: PlatformName,
        /// The connector's slot
        slot: String,
        /// The account, for slots that belong to accounts: id, beginning of it, or id on the platform
        #[arg(long, value_name = "ACCOUNT")]
        account: Option<Given<AccountId>>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

/// Columns of a credential.
pub(in crate::cli) const HEADERS: [&str; 8] =
    ["platform", "slot", "platform id", "#account", "?kind", "status", "?expires", "??updated"];

/// Runs the command.
pub(in crate::cli) async fn run(context: &Context, command: Command) -> CommandResult {
    match command {
        Command::Set { platform, slot, account, file, json } => {
            let host = context.host().await?;
            installation::warn(context, host.store()).await?;
            let platform = names::platform(host.store(), &platform).await?;
            let account = find_account(host.store(), &platform, account.as_ref()).await?;
            let text = read_secret(file.as_deref())?;
            host.credentials().set(&platform, &slot, account, &text).await?;
            let of_account = account.map_or(String::new(), |account| format!(" of account {account}"));
            print::done(json, &about(&platform, &slot, account), &format!("set {platform}/{slot}{of_account}"))?;
        }
        Command::List { platform, json } => {
            let store = context.store().await?;
            installation::warn(context, &store).await?;
            let platform = names::platform_if_given(&store, platform.as_ref()).await?;
            let credentials = store
                .credentials_list(
                    &Scope::all_tenants(),
                    &CredentialFilter { platform: platform.clone(), ..CredentialFilter::default() },
                )
                .await?;
            for row in store.unreadable_rows().iter().filter(|row| row.table == "credentials") {
                print::note(&format!("{row}; it is neither used nor refreshed: set it again, or correct the row"));
            }
            let mut listed: Vec<Json> = credentials.iter().map(listed).collect();
            let filter = AccountFilter { platform, ..AccountFilter::default() };
            let accounts = store.accounts_list(&Scope::all_tenants(), &filter).await?;
            let accounts: HashMap<AccountId, Account> =
                accounts.into_iter().map(|account| (account.id, account)).collect();
            for (one, credential) in listed.iter_mut().zip(&credentials) {
                let account = credential.account_id.and_then(|account| accounts.get(&account));
                one["platform_id"] = json!(account.map(|account| &account.platform_id));
            }
            let fields =
                ["platform", "slot", "platform_id", "account_id", "kind", "status", "expires_at", "updated_at"];
            let row = |credential: &Json| {
                fields.map(|field| credential[field].as_str().unwrap_or(print::NONE).to_owned()).to_vec()
            };
            print::listing(json, &listed, &HEADERS, row, "no credential is set; `backline credentials set` sets one")?;
        }
        Command::Check { platform, account, json } => return check(context, &platform, account.as_ref(), json).await,
        Command::Remove { platform, slot, account, json } => {
            let store = context.store().await?;
            let platform = names::platform(&store, &platform).await?;
            let account = find_account(&store, &platform, account.as_ref()).await?;
            // One that can't be read has a place too.
            let places =
                store.credential_places_list(&Scope::all_tenants(), &platform, &slot, account.as_slice()).await?;
            let Some(credential) = places.into_iter().find(|place| place.account_id == account) else {
                return Err(Failure::usage(format!(
                    "{platform}/{slot} has no such credential; `backline credentials list` shows them"
                )));
            };
            remove_credential(&store, context.config(), &Scope::all_tenants(), credential.id).await?;
            print::done(json, &about(&platform, &slot, account), &format!("removed {platform}/{slot}"))?;
        }
    }
    Ok(Exit::Done)
}

/// Asks the platform once. The exit code tells whether it answered.
async fn check(
    context: &Context,
    platform: &PlatformName,
    account: Option<&Given<AccountId>>,
    json: bool,
) -> CommandResult {
    let host = context.host().await?;
    installation::warn(context, host.store()).await?;
    let platform = names::platform(host.store(), platform).await?;
    let account = find_account(host.store(), &platform, account).await?;
    let Some(report) = host.conformance().check(&platform, account).await? else {
        return Err(Failure::usage(format!(
            "{platform} has no account that can be collected, so there is nothing to ask; \
             `backline accounts attention` says what to do"
        )));
    };
    if json {
        print::json(&report)?;
    } else {
        let text = report.problem.as_ref().or(report.name.as_ref()).map_or(print::NONE, String::as_str);
        let result = if report.problem.is_some() { "failed" } else { "passed" };
        print::line(&format!("{platform} {} {result}: {text}", report.platform_id))?;
    }
    Ok(if report.problem.is_none() { Exit::Done } else { Exit::Failed })
}

/// What a command set or removed.
fn about(platform: &Platform, slot: &str, account: Option<AccountId>) -> Json {
    json!({ "platform": platform, "slot": slot, "account_id": account })
}

/// What is shown of a credential: everything but the encrypted secret.
fn listed(credential: &SealedCredential) -> Json {
    json!({
        "id": credential.id,
        "platform": credential.platform,
        "slot": credential.slot,
        "account_id": credential.account_id,
        "kind": credential.kind,
        "status": credential.status,
        "expires_at": credential.expires_at.map(print::time),
        "updated_at": print::time(credential.updated_at),
    })
}

async fn find_account(
    store: &Store,
    platform: &Platform,
    given: Option<&Given<AccountId>>,
) -> Result<Option<AccountId>, Failure> {
    let Some(given) = given else { return Ok(None) };
    let id = given.find_on(store, platform).await?;
    match store.account_place_get(&Scope::all_tenants(), id).await? {
        Some(account) if account.platform == *platform => Ok(Some(id)),
        _ => Err(Failure::usage(format!(
            "{platform} has no account '{given}'; `backline accounts list --platform {platform}` shows them"
        ))),
    }
}

/// A secret from a file, or from standard input.
pub(in crate::cli) fn read_secret(file: Option<&Path>) -> Result<Zeroizing<String>, Failure> {
    let place = file.map_or("standard input".to_owned(), |path| path.display().to_string());
    let failed = |error: std::io::Error| Failure::usage(format!("the secret can't be read from {place}: {error}"));
    let mut bytes = Zeroizing::new(Vec::new());
    match file {
        Some(path) => {
            let file = std::fs::File::open(path).map_err(failed)?;
            file.take(SECRET_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(failed)?;
        }
        None => {
            if std::io::stdin().is_terminal() {
                print::note("enter the secret, then Ctrl-D on a line of its own:");
            }
            std::io::stdin().lock().take(SECRET_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(failed)?;
        }
    }
    if bytes.len() as u64 > SECRET_BYTES_MAX {
        return Err(Failure::usage(format!(
            "the text from {place} is longer than {SECRET_BYTES_MAX} bytes, more than any secret; check the file"
        )));
    }
    let text = text_of(&bytes).map_err(|error| Failure::refused(&error).about(&place))?;
    if text.trim().is_empty() {
        return Err(Failure::usage(format!("the secret from {place} is empty; give one")));
    }
    Ok(text)
}
