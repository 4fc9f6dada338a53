//! `backline consents …`: which consents artists gave or withdrew, for which platform, and when.

use chrono::{DateTime, Utc};
use clap::Subcommand;
use serde_json::json;

use crate::cli::arguments::ids::{Given, expect_artist};
use crate::cli::arguments::names::{self, PlatformName};
use crate::cli::context::Context;
use crate::cli::terminal::exit::{CommandResult, Exit, Failure};
use crate::cli::terminal::print;
use crate::config::Config;
use crate::pipeline;
use backline_model::{ArtistId, Consent, Platform};
use backline_store::{COLLECTING_SCOPE, RecordedConsents, Scope, Store};

/// `backline consents …`
#[derive(Subcommand)]
pub(in crate::cli) enum Command {
    /// Record that an artist gives consent
    Grant {
        #[command(flatten)]
        about: About,
    },
    /// Record that an artist withdraws consent: tokens are removed, and running batches store nothing more
    Withdraw {
        #[command(flatten)]
        about: About,
    },
    /// List all consents and withdrawals of an artist, the latest last
    List {
        /// The artist: id, beginning of it, or name
        artist: Given<ArtistId>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

/// What a consent is about.
#[derive(clap::Args)]
pub(in crate::cli) struct About {
    /// The artist: id, beginning of it, or name
    artist: Given<ArtistId>,
    /// The platform, such as youtube
    platform: PlatformName,
    /// What the consent covers; collection needs `metrics`
    #[arg(long, default_value = COLLECTING_SCOPE)]
    scope: String,
    /// Where it was given, such as a form or a letter; kept as evidence
    #[arg(long, default_value = "operator")]
    source: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Columns of a consent.
pub(in crate::cli) const HEADERS: [&str; 5] = ["recorded at", "platform", "scope", "consent", "source"];

/// Runs the command.
pub(in crate::cli) async fn run(context: &Context, command: Command) -> CommandResult {
    let store = context.store().await?;
    match command {
        Command::Grant { about } => record_and_print(context, &store, about, true).await,
        Command::Withdraw { about } => record_and_print(context, &store, about, false).await,
        Command::List { artist, json } => {
            let artist = artist.find(&store).await?;
            expect_artist(&store, artist).await?;
            let history = store.consents_list(&Scope::all_tenants(), artist).await?;
            let cells = |consent: &Consent| {
                vec![
                    print::time(consent.recorded_at),
                    consent.platform.to_string(),
                    consent.scope.clone(),
                    if consent.granted { "granted" } else { "withdrawn" }.to_owned(),
                    consent.source.clone(),
                ]
            };
            let none = "no consent is recorded; `backline consents grant` records one";
            print::listing(json, &history, &HEADERS, cells, none)?;
            Ok(Exit::Done)
        }
    }
}

async fn record_and_print(context: &Context, store: &Store, about: About, granted: bool) -> CommandResult {
    let About { artist, platform, scope, source, json } = about;
    let artist = artist.find(store).await?;
    expect_artist(store, artist).await?;
    let platform = names::platform_of_artist(store, artist, &platform).await?;
    for (name, text) in [("--scope", &scope), ("--source", &source)] {
        if text.trim().is_empty() {
            return Err(Failure::usage(format!("{name} is empty; give a value, or leave it out")));
        }
    }
    let consent = Consent { artist_id: artist, platform, granted, scope, source, recorded_at: context.clock.now() };
    let said = if granted { "granted" } else { "withdrawn" };
    let what = format!("{} for {}", consent.scope, consent.platform);
    let recorded = record(store, context.config(), &consent).await?;
    let tokens = recorded.as_ref().map_or(0, |recorded| recorded.credentials.len() as u64);
    let sentence = match &recorded {
        None => format!("{what} is {said} already; nothing was recorded"),
        Some(_) if granted => format!("recorded that {what} is {said}"),
        Some(_) => format!("recorded that {what} is {said}; {} removed", print::count(tokens, "token")),
    };
    let report = json!({ "consent": consent, "recorded": recorded.is_some(), "tokens_removed": tokens });
    print::done(json, &report, &sentence)?;
    Ok(Exit::Done)
}

/// Records consent to collection, or its withdrawal, unless the latest record says the same.
pub(in crate::cli) async fn record_collecting(
    store: &Store,
    config: &Config,
    artist_id: ArtistId,
    platform: &Platform,
    granted: bool,
    now: DateTime<Utc>,
) -> Result<(), Failure> {
    let (scope, source) = (COLLECTING_SCOPE.to_owned(), "operator".to_owned());
    let consent = Consent { artist_id, platform: platform.clone(), granted, scope, source, recorded_at: now };
    record(store, config, &consent).await.map(drop)
}

async fn record(store: &Store, config: &Config, consent: &Consent) -> Result<Option<RecordedConsents>, Failure> {
    Ok(pipeline::record_consent(store, config, consent).await?)
}
