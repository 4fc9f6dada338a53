//! Simulates the five platforms: one HTTP server on loopback that responds like Instagram, Spotify, YouTube, TikTok and
//! Apple Music, with data computed from a seed. It also has what the optional connectors read: YouTube Analytics and
//! Instagram's business discovery.
//!
//! The `Host` header selects the platform. All data comes from [`World`], a pure function of seed, artist and date, so
//! a test can compare stored numbers with the expected ones. Rotated tokens are the only state per artist, so 100,000
//! artists take no more memory than ten. Time is simulated: it changes only when [`Simulator::set_date`] or
//! [`Simulator::set_now`] is called.

mod analytics;
mod apple;
mod business;
mod connection;
mod control;
mod counts;
mod faults;
mod ids;
mod instagram;
mod message;
mod server;
mod spotify;
mod state;
mod story;
mod tiktok;
mod world;
mod youtube;

pub use counts::{Counts, SeenRequest};
pub use faults::{Fault, FaultKind, RedirectTarget, RetryAfter};
pub use server::Simulator;
pub use state::{HOSTS, SimulatorConfig, SpotifyMode};
pub use story::Story;
pub use world::{ANALYTICS_METRICS, Credential, Expected, Platform, Post, PostStats, Release, SimArtist, Trait, World};
