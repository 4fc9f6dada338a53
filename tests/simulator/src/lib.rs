//! The five platforms, simulated: one HTTP server on loopback that answers as Instagram, Spotify, YouTube, TikTok and
//! Apple Music do, computed from a seed.
//!
//! The platform is chosen by the `Host` header. The truth behind every answer is [`World`], a pure function of seed,
//! artist and date, so a test can compare what was stored with what was there to be seen. Nothing is remembered per
//! artist but rotated tokens, so 100,000 artists cost no more memory than ten. Time is simulated: it moves only when
//! [`Simulator::set_date`] is called.

mod apple;
mod connection;
mod control;
mod counts;
mod faults;
mod ids;
mod instagram;
mod server;
mod spotify;
mod tiktok;
mod world;
mod youtube;

pub use counts::{Counts, SeenRequest};
pub use faults::{Fault, FaultKind, RedirectTarget, RetryAfter};
pub use server::{HOSTS, Simulator, SimulatorConfig, SpotifyMode};
pub use world::{Credential, Expected, Platform, Post, PostStats, Release, SimArtist, Trait, World};
