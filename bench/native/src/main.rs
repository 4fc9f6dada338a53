//! `backline-bench-native`: job A as a plain program, to measure Backline against.
//!
//! It sends the same requests to the simulator as Backline with the connectors of `bench/connectors`, 64 of them in
//! flight, and stores each batch with one upsert of several rows. It has no sandbox, documents, validation, growth,
//! ledger or events, and gives up at the first error.

mod client;
mod platforms;
mod secrets;
mod tables;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context as _, Result};
use chrono::NaiveDate;
use clap::Parser;
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use serde::Deserialize;
use tokio::sync::Semaphore;
use uuid::Uuid;

use crate::client::Client;
use crate::platforms::{Account, PLATFORMS};
use crate::secrets::Secrets;
use crate::tables::Tables;

/// Requests in flight at most, of all platforms together.
const REQUESTS_AT_ONCE: usize = 64;

/// Collects job A once, as a plain program would.
#[derive(Parser)]
struct Arguments {
    /// Address of the simulator
    #[arg(long)]
    simulator: SocketAddr,
    /// The simulator's artists, as CSV
    #[arg(long)]
    artists: PathBuf,
    /// The simulator's credentials of the operator, as JSON
    #[arg(long)]
    credentials: PathBuf,
    /// sqlite://file or postgres://user@host/name; the table is made if it is missing
    #[arg(long)]
    database: String,
    /// Date that the rows are of
    #[arg(long)]
    date: NaiveDate,
}

/// An artist of the simulator's CSV.
#[derive(Deserialize)]
struct Artist {
    id: Uuid,
    instagram_token: String,
    instagram_user_id: String,
    spotify_artist_id: String,
    youtube_channel_id: String,
    tiktok_open_id: String,
    tiktok_access_token: String,
    apple_music_artist_id: String,
}

impl Artist {
    /// The artist's account on a platform, with its token where it has one.
    fn account(&self, platform: &str) -> Account {
        let (platform_id, token) = match platform {
            "youtube" => (&self.youtube_channel_id, None),
            "spotify" => (&self.spotify_artist_id, None),
            "apple_music" => (&self.apple_music_artist_id, None),
            "instagram" => (&self.instagram_user_id, Some(&self.instagram_token)),
            _ => (&self.tiktok_open_id, Some(&self.tiktok_access_token)),
        };
        let name = format!("{platform}/{platform_id}");
        Account {
            id: Uuid::new_v5(&self.id, name.as_bytes()),
            artist_id: self.id,
            platform_id: platform_id.clone(),
            token: token.cloned().unwrap_or_default(),
        }
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let artists: Vec<Artist> = csv::Reader::from_path(&arguments.artists)
        .and_then(|mut reader| reader.deserialize().collect())
        .with_context(|| format!("failed to read {}", arguments.artists.display()))?;
    let text = std::fs::read_to_string(&arguments.credentials)
        .with_context(|| format!("failed to read {}", arguments.credentials.display()))?;
    let client = Client::new(arguments.simulator)?;
    let secrets = Secrets::of(&text, &client).await?;
    let tables = Tables::open(&arguments.database).await?;

    let mut batches = Vec::new();
    for platform in &PLATFORMS {
        let accounts: Vec<Account> = artists.iter().map(|artist| artist.account(platform.name)).collect();
        batches.extend(accounts.chunks(platform.batch_size).map(|batch| (platform, batch.to_vec())));
    }
    let permits = Semaphore::new(REQUESTS_AT_ONCE);
    let started = Instant::now();
    let rows: u64 = stream::iter(batches)
        .map(|(platform, batch)| {
            let (client, secrets, permits, tables) = (&client, &secrets, &permits, &tables);
            async move {
                let rows = platform.fetch(client, secrets, permits, batch).await?;
                tables.upsert(platform.name, arguments.date, &rows).await?;
                anyhow::Ok(rows.len() as u64)
            }
        })
        .buffer_unordered(REQUESTS_AT_ONCE)
        .try_fold(0, async |sum, rows| Ok(sum + rows))
        .await?;
    let report = serde_json::json!({ "seconds": started.elapsed().as_secs_f64(), "rows": rows });
    #[expect(clippy::print_stdout, reason = "the report is what the program is for")]
    {
        println!("{report}");
    }
    Ok(())
}
