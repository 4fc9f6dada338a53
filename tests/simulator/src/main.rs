//! `backline-simulator`: the five platforms on one loopback port, until it is interrupted.

use std::io::Write as _;

use backline_simulator::{Simulator, SimulatorConfig, SpotifyMode};
use chrono::NaiveDate;
use clap::{Parser, ValueEnum};

#[derive(Clone, Copy, ValueEnum)]
enum Mode {
    Extended,
    Development,
}

/// Plays Instagram, Spotify, YouTube, TikTok and Apple Music on loopback, from a seed.
#[derive(Parser)]
struct Arguments {
    /// Port to listen on, 0 for any free one.
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// Decides every id and number.
    #[arg(long, default_value_t = 7)]
    seed: u64,
    /// How many artists there are.
    #[arg(long, default_value_t = 25, value_parser = clap::value_parser!(u32).range(1..=1_048_576))]
    artists: u32,
    /// The simulated date at the start.
    #[arg(long, default_value = "2026-11-20")]
    date: NaiveDate,
    /// Real milliseconds every answer waits.
    #[arg(long, default_value_t = 0)]
    latency_ms: u64,
    /// What Spotify offers.
    #[arg(long, value_enum, default_value = "extended")]
    spotify_mode: Mode,
    /// YouTube units a day.
    #[arg(long, default_value_t = 10_000)]
    youtube_quota: u64,
    /// Give some artists accounts that can't be collected.
    #[arg(long)]
    troubles: bool,
    /// Let no token expire, however far the simulated date is moved.
    #[arg(long)]
    no_token_expiry: bool,
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let arguments = Arguments::parse();
    let simulator = Simulator::start(SimulatorConfig {
        port: arguments.port,
        seed: arguments.seed,
        artists: arguments.artists,
        date: arguments.date,
        latency_ms: arguments.latency_ms,
        spotify_mode: match arguments.spotify_mode {
            Mode::Extended => SpotifyMode::Extended,
            Mode::Development => SpotifyMode::Development,
        },
        youtube_quota: arguments.youtube_quota,
        troubles: arguments.troubles,
        tokens_expire: !arguments.no_token_expiry,
        ..SimulatorConfig::default()
    })
    .await?;
    let ready = serde_json::json!({ "addr": simulator.addr().to_string() });
    let mut stdout = std::io::stdout();
    writeln!(stdout, "{ready}")?;
    stdout.flush()?;
    tokio::signal::ctrl_c().await
}
