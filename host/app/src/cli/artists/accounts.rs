//! `backline accounts …`: artists' accounts on platforms.

use std::collections::BTreeMap;

use clap::Subcommand;
use serde_json::Value as Json;

use super::attention;
use super::consents::record_collecting;
use super::removal::{self, RemoveArguments};
use crate::cli::arguments::ids::{self, Given, expect_artist};
use crate::cli::arguments::names::{self, PlatformName};
use crate::cli::arguments::values;
use crate::cli::context::Context;
use crate::cli::terminal::exit::{CommandResult, Exit, Failure};
use crate::cli::terminal::print;
use crate::cli::terminal::timeline;
use crate::pipeline::{Subject, TimelineFilter};
use backline_model::{Account, AccountId, AccountStatus, ArtistId, Platform};
use backline_rules::lists::Directory;
use backline_store::{AccountFilter, Scope, Store, StoreError};

/// `backline accounts …`
#[derive(Subcommand)]
pub(in crate::cli) enum Command {
    /// Add an artist's account on a platform, and record consent to collect it
    Add {
        /// The artist: id, beginning of it, or name
        artist: Given<ArtistId>,
        /// The platform, such as youtube
        platform: PlatformName,
        /// The account's id on the platform, or an address that the connector takes it from
        platform_id: String,
        /// Settings that the connector declares, such as '{"storefronts":["us"]}'
        #[arg(long, value_parser = values::settings, value_name = "JSON")]
        settings: Option<Json>,
        /// Record no consent; the account stays excluded until `artists set` records it
        #[arg(long)]
        no_consent: bool,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// List accounts
    List {
        /// Only accounts of this artist
        #[arg(long, value_name = "ARTIST")]
        artist: Option<Given<ArtistId>>,
        /// Only accounts on this platform
        #[arg(long, value_name = "NAME")]
        platform: Option<PlatformName>,
        /// Only accounts with this status: active, disabled, reconnect_needed, host_killed or not_found
        #[arg(long, value_parser = values::any_account_status)]
        status: Option<AccountStatus>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// List what happened to an account, the latest first
    Timeline {
        /// The account: id, beginning of it, or id on the platform
        account: Given<AccountId>,
        /// At most this many
        #[arg(long, default_value_t = 100, value_name = "N")]
        limit: u32,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// List the accounts that can't be collected until someone does something, and what that is
    Attention {
        /// Only accounts on this platform
        #[arg(long, value_name = "NAME")]
        platform: Option<PlatformName>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Change an account
    Set {
        /// The account: id, beginning of it, or id on the platform
        account: Given<AccountId>,
        /// New status: active or disabled
        #[arg(long, value_parser = values::account_status)]
        status: Option<AccountStatus>,
        /// New settings; they replace all current ones
        #[arg(long, value_parser = values::settings, value_name = "JSON")]
        settings: Option<Json>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Remove accounts that were added by mistake, with all that was collected of them
    Remove(RemoveArguments),
}

/// Columns of an account.
pub(in crate::cli) const HEADERS: [&str; 7] =
    ["#id", "artist", "??#artist id", "platform", "platform id", "status", "??settings"];

/// Runs the command.
pub(in crate::cli) async fn run(context: &Context, command: Command) -> CommandResult {
    let store = context.store().await?;
    match command {
        Command::Add { artist, platform, platform_id, settings, no_consent, json } => {
            let artist = artist.find(&store).await?;
            expect_artist(&store, artist).await?;
            let platform = names::platform(&store, &platform).await?;
            let directory = Directory::of_releases(&store.releases_list().await?);
            let Some(listed) = directory.platform(platform.as_str()) else {
                return Err(Failure::usage(format!(
                    "no installed connector collects {platform}, so its ids can't be checked; \
                     install one with `backline plugins install FILE.wasm`"
                )));
            };
            let platform_id = listed.reader.read(&platform_id).map_err(|error| Failure::usage(error.to_string()))?;
            expect_valid_settings(&store, &platform, settings.as_ref()).await?;
            let existing = find(&store, artist, &platform, &platform_id).await?;
            let account = Account {
                id: existing
                    .as_ref()
                    .map_or_else(|| AccountId::of(artist, &platform, &platform_id), |account| account.id),
                artist_id: artist,
                platform,
                platform_id,
                settings: settings
                    .or(existing.as_ref().map(|account| account.settings.clone()))
                    .unwrap_or_else(|| serde_json::json!({})),
                status: existing.as_ref().map_or(AccountStatus::Active, |account| account.status),
            };
            store.accounts_save(&Scope::all_tenants(), std::slice::from_ref(&account), context.clock.now()).await?;
            if existing.is_none() {
                context.subjects.made(Subject::Account(account.id));
            }
            if !no_consent {
                let now = context.clock.now();
                record_collecting(&store, context.config(), artist, &account.platform, true, now).await?;
            }
            if json {
                print::json(&account)?;
            } else {
                print::line(&format!(
                    "{} {}",
                    if existing.is_some() { "exists already: account" } else { "added account" },
                    account.id
                ))?;
            }
        }
        Command::List { artist, platform, status, json } => {
            let artist = ids::find_if_given(&store, artist.as_ref()).await?;
            if let Some(artist) = artist {
                expect_artist(&store, artist).await?;
            }
            let platform = names::platform_if_given(&store, platform.as_ref()).await?;
            let filter = AccountFilter { artist, platform, status, ..AccountFilter::default() };
            let accounts = store.accounts_list(&Scope::all_tenants(), &filter).await?;
            let artists = match json {
                true => BTreeMap::new(),
                false => ids::names_of(&store, accounts.iter().map(|account| account.artist_id)).await?,
            };
            let row = |account: &Account| {
                vec![
                    account.id.to_string(),
                    ids::name_in(&artists, account.artist_id),
                    account.artist_id.to_string(),
                    account.platform.to_string(),
                    account.platform_id.clone(),
                    account.status.as_str().to_owned(),
                    account.settings.to_string(),
                ]
            };
            print::listing(json, &accounts, &HEADERS, row, "no account matches; `backline accounts add` adds one")?;
        }
        Command::Timeline { account, limit, json } => {
            let account = account.find(&store).await?;
            let filter = TimelineFilter { after: None, with_acts: true, limit: Some(limit) };
            let found = store.account_timeline_list(&Scope::all_tenants(), account, &filter).await?;
            return timeline::show(found.unwrap_or_default(), json);
        }
        Command::Attention { platform, json } => {
            let platform = names::platform_if_given(&store, platform.as_ref()).await?;
            let reconnect = context.config().service.reconnect_url.as_ref();
            return attention::run(&store, reconnect, platform, json).await;
        }
        Command::Set { account, status, settings, json } => {
            let account = account.find(&store).await?;
            let place = store.account_place_get(&Scope::all_tenants(), account).await?;
            let place = place.ok_or_else(|| no_account(account))?;
            if status.is_none() && settings.is_none() {
                return Err(Failure::usage("nothing to change; give --status or --settings"));
            }
            let now = context.clock.now();
            if let Some(settings) = settings {
                let mut changed = expect_account(&store, account).await?;
                expect_valid_settings(&store, &changed.platform, Some(&settings)).await?;
                changed.settings = settings;
                store.accounts_save(&Scope::all_tenants(), std::slice::from_ref(&changed), now).await?;
            }
            if let Some(status) = status {
                store.account_set_status(&Scope::all_tenants(), account, status, now).await?;
            }
            let said = format!("changed account {account}");
            match store.account_get(&Scope::all_tenants(), account).await {
                // Its status is another one all the same, so that nothing is asked of its platform any more.
                Err(StoreError::Unreadable { .. }) => print::done(json, &place, &said)?,
                found => print::done(json, &found?.ok_or_else(|| no_account(account))?, &said)?,
            }
        }
        Command::Remove(arguments) => return removal::run(context, &store, arguments).await,
    }
    Ok(Exit::Done)
}

/// Reads an account; refuses an id that no account has.
async fn expect_account(store: &Store, account: AccountId) -> Result<Account, Failure> {
    store.account_get(&Scope::all_tenants(), account).await?.ok_or_else(|| no_account(account))
}

fn no_account(account: AccountId) -> Failure {
    Failure::usage(format!("no account has the id {account}; `backline accounts list` shows them"))
}

async fn find(
    store: &Store,
    artist: ArtistId,
    platform: &Platform,
    platform_id: &str,
) -> Result<Option<Account>, Failure> {
    let filter = AccountFilter { artist: Some(artist), platform: Some(platform.clone()), ..AccountFilter::default() };
    Ok(store
        .accounts_list(&Scope::all_tenants(), &filter)
        .await?
        .into_iter()
        .find(|account| account.platform_id == platform_id))
}

/// Checks settings against the schema of the platform's active connector, where there is one.
async fn expect_valid_settings(store: &Store, platform: &Platform, settings: Option<&Json>) -> Result<(), Failure> {
    let Some(settings) = settings else { return Ok(()) };
    let Some(release) = store.active_release_get(platform).await? else { return Ok(()) };
    let validator = jsonschema::validator_for(&release.manifest.settings).map_err(|error| {
        Failure::usage(format!("the connector's schema for settings is invalid: {error}; report it to its author"))
    })?;
    match validator.iter_errors(settings).next() {
        None => Ok(()),
        Some(error) => {
            let place = error.instance_path().to_string();
            let place = if place.is_empty() { "the settings".to_owned() } else { format!("settings{place}") };
            Err(Failure::usage(format!(
                "{place}: {error}; `backline plugins inspect FILE --json` shows the settings of {platform}"
            )))
        }
    }
}
