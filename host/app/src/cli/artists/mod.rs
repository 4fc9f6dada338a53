//! `backline artists …`: the artists whose metrics are collected; beside it, the commands about their accounts, their
//! consents and their privacy.

pub(super) mod accounts;
pub(super) mod attention;
pub(super) mod consents;
mod import;
pub(super) mod privacy;
mod removal;
mod sync;

use std::path::PathBuf;

use clap::Subcommand;
use serde_json::json;

use crate::cli::arguments::ids::{Given, read_artist};
use crate::cli::arguments::names::{self, PlatformName};
use crate::cli::arguments::values;
use crate::cli::context::Context;
use crate::cli::terminal::exit::{CommandResult, Exit, Failure};
use crate::cli::terminal::print;
use crate::pipeline::{Subject, SyncRequest};
use backline_model::{Artist, ArtistId, SubscriptionStatus, Tenant};
use backline_store::{AccountFilter, ArtistFilter, COLLECTING_SCOPE, Scope, Store, UnreadableArtist};
use consents::record_collecting;
use import::ImportOptions;

/// `backline artists …`
#[derive(Subcommand)]
pub(super) enum Command {
    /// Add an artist
    Add {
        /// The artist's name
        name: String,
        /// The artist's id (a UUID) in your own system; generated unless given
        #[arg(long)]
        id: Option<ArtistId>,
        /// The customer of yours that the artist belongs to
        #[arg(long, default_value = "default")]
        tenant: Tenant,
        /// Time zone that decides which day a value belongs to, such as Europe/Berlin
        #[arg(long, value_name = "ZONE", default_value = "UTC")]
        timezone: String,
        /// Subscription status; only active artists are collected
        #[arg(long, value_parser = values::subscription, default_value = "active")]
        status: SubscriptionStatus,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Import artists with their accounts and tokens from CSV or JSON
    Import {
        /// CSV with a header, a JSON array, or one JSON object per line; - for standard input
        file: PathBuf,
        /// Import the valid rows, and write the invalid ones to a file
        #[arg(long)]
        skip_bad: bool,
        /// File to write invalid rows to, which must not exist; FILE.bad.ndjson unless given
        #[arg(long, value_name = "FILE", requires = "skip_bad")]
        bad_rows: Option<PathBuf>,
        /// Leave out a column that no installed connector names; may be repeated
        #[arg(long = "ignore-column", value_name = "NAME")]
        ignored_columns: Vec<String>,
        /// Record no consent; the accounts stay excluded until it is given
        #[arg(long)]
        no_consent: bool,
        /// Replace stored tokens; otherwise they are kept, since they may be fresher than those in the file
        #[arg(long)]
        replace_credentials: bool,
        /// Ask the platforms once about each imported account, up to 1,000 of them and within allowances
        #[arg(long, conflicts_with = "dry_run")]
        check: bool,
        /// Check the file and change nothing
        #[arg(long)]
        dry_run: bool,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Synchronise artists and accounts with a table of yours (sync.url, sync.query)
    Sync {
        /// Show what would change, and change nothing
        #[arg(long)]
        dry_run: bool,
        /// Switch off artists and accounts that the table no longer has, however many they are
        #[arg(long)]
        allow_removals: bool,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// List artists
    List {
        /// Only artists with this status
        #[arg(long, value_parser = values::subscription)]
        status: Option<SubscriptionStatus>,
        /// Only artists of this tenant
        #[arg(long)]
        tenant: Option<Tenant>,
        /// At most this many
        #[arg(long, value_name = "N")]
        limit: Option<u32>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Show an artist with accounts and consents
    Show {
        /// The artist: id, beginning of it, or name
        artist: Given<ArtistId>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Change an artist
    Set {
        /// The artist: id, beginning of it, or name
        artist: Given<ArtistId>,
        /// New name
        #[arg(long)]
        name: Option<String>,
        /// New subscription status; only active artists are collected
        #[arg(long, value_parser = values::subscription)]
        status: Option<SubscriptionStatus>,
        /// Whether the artist is collected at all: true or false
        #[arg(long, value_name = "BOOL")]
        collection: Option<bool>,
        /// Time zone that decides which day a value belongs to
        #[arg(long, value_name = "ZONE")]
        timezone: Option<String>,
        /// Record consent for a platform; may be repeated
        #[arg(long, value_name = "PLATFORM")]
        consent: Vec<PlatformName>,
        /// Record the withdrawal of consent for a platform; may be repeated
        #[arg(long, value_name = "PLATFORM")]
        withdraw: Vec<PlatformName>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

/// Columns of an artist.
pub(super) const HEADERS: [&str; 6] = ["#id", "name", "?tenant", "status", "?collection", "?time zone"];

/// Columns of an artist's account.
pub(super) const ACCOUNT_HEADERS: [&str; 5] = ["#account", "platform", "platform id", "status", "consent"];

/// Runs the command.
pub(super) async fn run(context: &Context, command: Command) -> CommandResult {
    match command {
        Command::Add { name, id, tenant, timezone, status, json } => {
            let timezone = values::timezone(&timezone)?;
            let store = context.store().await?;
            let artist = Artist {
                id: id.unwrap_or_else(ArtistId::generate),
                name: checked_name(&name)?,
                tenant,
                subscription_status: status,
                data_collection_enabled: true,
                timezone,
            };
            if store.artist_get(&Scope::all_tenants(), artist.id).await?.is_some() {
                return Err(Failure::usage(format!(
                    "artist {} exists already; `backline artists set` changes it",
                    artist.id
                )));
            }
            let saved =
                store.artists_save(&Scope::all_tenants(), std::slice::from_ref(&artist), context.clock.now()).await?;
            if saved.left_out > 0 {
                return Err(Failure::usage(format!(
                    "artist {id} was erased and is not added; if the artist wants to come back, \
                     run `backline privacy readmit {id}` first",
                    id = artist.id
                )));
            }
            context.subjects.made(Subject::Artist(artist.id));
            if json {
                print::json(&artist)?;
            } else {
                print::line(&format!("added artist {}", artist.id))?;
            }
            Ok(Exit::Done)
        }
        Command::Import {
            file,
            skip_bad,
            bad_rows,
            ignored_columns,
            no_consent,
            replace_credentials,
            check,
            dry_run,
            json,
        } => {
            let consent = !no_consent;
            let options = ImportOptions {
                skip_bad,
                bad_rows,
                ignored_columns,
                consent,
                replace_credentials,
                check,
                dry_run,
                json,
            };
            import::run(context, &file, &options).await
        }
        Command::Sync { dry_run, allow_removals, json } => {
            sync::run(context, SyncRequest { dry_run, allow_removals }, json).await
        }
        Command::List { status, tenant, limit, json } => {
            let store = context.store().await?;
            names::expect_tenant(&store, tenant.as_ref()).await?;
            let artists = store
                .artists_list(&Scope::all_tenants(), &ArtistFilter { tenant, status, limit, ..ArtistFilter::default() })
                .await?;
            for UnreadableArtist { id, column, problem } in store.unreadable_artists_list(&Scope::all_tenants()).await?
            {
                print::note(&print::hanging(&format!(
                    "artist {id} is left out and not collected: {column} holds {problem}, which this binary can't \
                     read; correct the row in `artists`"
                )));
            }
            for (word, artists) in store.unknown_statuses_list(&Scope::all_tenants()).await? {
                print::note(&print::hanging(&format!(
                    "the subscription_status '{word}' is none of Backline's and counts as inactive; artists with it: \
                     {artists}"
                )));
            }
            print::listing(
                json,
                &artists,
                &HEADERS,
                cells,
                "no artist matches; `backline artists add` or `backline artists import` adds some",
            )?;
            Ok(Exit::Done)
        }
        Command::Show { artist, json } => {
            let store = context.store().await?;
            let artist = artist.find(&store).await?;
            show(&store, artist, json).await
        }
        Command::Set { artist, name, status, collection, timezone, consent, withdraw, json } => {
            let timezone = timezone.as_deref().map(values::timezone).transpose()?;
            let store = context.store().await?;
            let artist = artist.find(&store).await?;
            let mut changed = read_artist(&store, artist).await?;
            let before = changed.clone();
            if let Some(name) = name {
                changed.name = checked_name(&name)?;
            }
            changed.subscription_status = status.unwrap_or(changed.subscription_status);
            changed.data_collection_enabled = collection.unwrap_or(changed.data_collection_enabled);
            changed.timezone = timezone.unwrap_or(changed.timezone);
            let consent = names::platforms(&store, &consent).await?;
            let withdraw = names::platforms(&store, &withdraw).await?;
            if let Some(both) = consent.iter().find(|platform| withdraw.contains(platform)) {
                return Err(Failure::usage(format!("consent for {both} is both given and withdrawn; remove one")));
            }
            if changed == before && consent.is_empty() && withdraw.is_empty() {
                print::done(json, &changed, "nothing to change")?;
                return Ok(Exit::Done);
            }
            let now = context.clock.now();
            store.artists_save(&Scope::all_tenants(), std::slice::from_ref(&changed), now).await?;
            for (platform, granted) in
                consent.iter().map(|platform| (platform, true)).chain(withdraw.iter().map(|platform| (platform, false)))
            {
                record_collecting(&store, context.config(), artist, platform, granted, now).await?;
            }
            print::done(json, &changed, &format!("changed artist {artist}"))?;
            Ok(Exit::Done)
        }
    }
}

async fn show(store: &Store, id: ArtistId, as_json: bool) -> CommandResult {
    let artist = read_artist(store, id).await?;
    let accounts = store
        .accounts_list(&Scope::all_tenants(), &AccountFilter { artist: Some(id), ..AccountFilter::default() })
        .await?;
    let consents = store.latest_consents_get(&Scope::all_tenants(), id).await?;
    if as_json {
        print::json(&json!({ "artist": artist, "accounts": accounts, "consents": consents }))?;
        return Ok(Exit::Done);
    }
    print::table(&HEADERS, vec![cells(&artist)])?;
    let rows: Vec<Vec<String>> = accounts
        .iter()
        .map(|account| {
            let consent = consents
                .iter()
                .find(|consent| consent.platform == account.platform && consent.scope == COLLECTING_SCOPE);
            let consent = match consent {
                Some(consent) if consent.granted => "given",
                Some(_) => "withdrawn",
                None => "none",
            };
            vec![
                account.id.to_string(),
                account.platform.to_string(),
                account.platform_id.clone(),
                account.status.as_str().to_owned(),
                consent.to_owned(),
            ]
        })
        .collect();
    if rows.is_empty() {
        print::note("\nno accounts; `backline accounts add` adds one");
    } else {
        print::line("")?;
        print::table(&ACCOUNT_HEADERS, rows)?;
    }
    Ok(Exit::Done)
}

fn cells(artist: &Artist) -> Vec<String> {
    vec![
        artist.id.to_string(),
        artist.name.clone(),
        artist.tenant.to_string(),
        artist.subscription_status.as_str().to_owned(),
        if artist.data_collection_enabled { "on" } else { "off" }.to_owned(),
        artist.timezone.to_string(),
    ]
}

fn checked_name(name: &str) -> Result<String, Failure> {
    match name.trim() {
        "" => Err(Failure::usage("the artist's name is empty; give one")),
        long if long.chars().count() > Artist::NAME_CHARS_MAX => {
            let most = Artist::NAME_CHARS_MAX;
            Err(Failure::usage(format!("the artist's name is longer than {most} characters; give a shorter one")))
        }
        name => Ok(name.to_owned()),
    }
}
