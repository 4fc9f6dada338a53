//! `backline-simulator`: serves the five platforms on one loopback port until it is interrupted.

use std::io::Write as _;

use backline_simulator::{Simulator, SimulatorConfig, SpotifyMode};
use chrono::NaiveDate;
use clap::{Parser, ValueEnum};

#[derive(Clone, Copy, ValueEnum)]
enum Mode {
    Extended,
    Development,
}

/// Simulates Instagram, Spotify, YouTube, TikTok and Apple Music on loopback, with data generated from a seed.
#[derive(Parser)]
struct Arguments {
    /// Port to listen on; 0 selects a free one.
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// Seed from which all ids and numbers are generated.
    #[arg(long, default_value_t = 7)]
    seed: u64,
    /// Number of artists.
    #[arg(long, default_value_t = 25, value_parser = clap::value_parser!(u32).range(1..=1_048_576))]
    artists: u32,
    /// Simulated date at the start.
    #[arg(long, default_value = "2026-11-20")]
    date: NaiveDate,
    /// Delay of every response, in milliseconds of real time.
    #[arg(long, default_value_t = 0)]
    latency_ms: u64,
    /// Quota mode of the Spotify app.
    #[arg(long, value_enum, default_value = "extended")]
    spotify_mode: Mode,
    /// YouTube quota units per day.
    #[arg(long, default_value_t = 10_000)]
    youtube_quota: u64,
    /// Give some artists accounts that can't be collected.
    #[arg(long)]
    troubles: bool,
    /// Never let tokens expire, however far the simulated date moves.
    #[arg(long)]
    no_token_expiry: bool,
    /// Let TikTok's refresh tokens stay valid when they are used, so that several databases can share the simulator.
    #[arg(long)]
    no_token_rotation: bool,
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
        tiktok_rotates: !arguments.no_token_rotation,
        ..SimulatorConfig::default()
    })
    .await?;
    let ready = serde_json::json!({ "addr": simulator.addr().to_string() });
    let mut stdout = std::io::stdout();
    writeln!(stdout, "{ready}")?;
    stdout.flush()?;
    tokio::signal::ctrl_c().await
}
