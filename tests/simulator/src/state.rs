//! What the simulator is configured with, and the state that its handlers share.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::atomic::AtomicU64;
use std::sync::{Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, NaiveDate, Utc};

use crate::counts::{Counts, Tallies};
use crate::faults::{Fault, Faults};
use crate::world::{World, noon};

/// The simulated hosts.
pub const HOSTS: [&str; 11] = [
    "graph.instagram.com",
    "api.instagram.com",
    "api.spotify.com",
    "accounts.spotify.com",
    "youtube.googleapis.com",
    "www.googleapis.com",
    "open.tiktokapis.com",
    "api.music.apple.com",
    "graph.facebook.com",
    "youtubeanalytics.googleapis.com",
    "oauth2.googleapis.com",
];

/// Quota mode of the Spotify app.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SpotifyMode {
    /// Extended quota, with batches, followers, popularity and top tracks.
    #[default]
    Extended,
    /// Development mode since 2026, without these.
    Development,
}

/// Configuration of the simulator.
#[derive(Clone, Debug)]
pub struct SimulatorConfig {
    /// Seed from which all numbers and ids are generated.
    pub seed: u64,
    /// Number of artists, at most 1,048,576.
    pub artists: u32,
    /// Simulated date at the start. The clock shows noon UTC all day.
    pub date: NaiveDate,
    /// Port on loopback; 0 selects a free one.
    pub port: u16,
    /// First date on which followers jump and fall; the day after the first one unless given. See the traits of
    /// [`World`].
    pub event: Option<NaiveDate>,
    /// Whether some artists can't be collected; see the traits of [`World`].
    pub troubles: bool,
    /// Whether all artists publish equally often; see [`World::made_regular`].
    pub regular: bool,
    /// YouTube quota units per day, reset at midnight Pacific time of the simulated clock. `batchGetStats` has the same
    /// number of units of its own.
    pub youtube_quota: u64,
    /// Quota mode of the Spotify app.
    pub spotify_mode: SpotifyMode,
    /// Spotify requests per simulated day, after which the response is 429 with `QUOTA_EXCEEDED`; unlimited if absent.
    pub spotify_quota: Option<u64>,
    /// Instagram calls per account and simulated day, after which the error has code 80002; unlimited if absent.
    pub instagram_calls: Option<u64>,
    /// Removed Instagram metrics: a request that names one fails as a whole.
    pub instagram_lost: Vec<String>,
    /// Whether a TikTok refresh returns a new refresh token and invalidates the old one.
    pub tiktok_rotates: bool,
    /// Simulated seconds for which the previous refresh token keeps working.
    pub tiktok_grace_seconds: i64,
    /// Whether tokens expire. Disable it if the simulated date is far ahead of the host's clock.
    pub tokens_expire: bool,
    /// Delay of every response, in milliseconds of real time.
    pub latency_ms: u64,
    /// The faults to inject.
    pub faults: Vec<Fault>,
    /// How many of the latest requests are recorded for [`Simulator::requests`](crate::Simulator::requests).
    pub remember_requests: usize,
}

impl Default for SimulatorConfig {
    fn default() -> Self {
        Self {
            seed: 7,
            artists: 25,
            date: NaiveDate::from_ymd_opt(2026, 11, 20).expect("a date of the calendar"),
            port: 0,
            event: None,
            troubles: false,
            regular: false,
            youtube_quota: 10_000,
            spotify_mode: SpotifyMode::Extended,
            spotify_quota: None,
            instagram_calls: None,
            instagram_lost: Vec::new(),
            tiktok_rotates: true,
            tiktok_grace_seconds: 0,
            tokens_expire: true,
            latency_ms: 0,
            faults: Vec::new(),
            remember_requests: 0,
        }
    }
}

/// Latest refresh token of a TikTok account that was refreshed at least once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TiktokRotation {
    pub generation: u32,
    pub rotated_at: i64,
}

/// State shared by all handlers.
pub(crate) struct Shared {
    pub config: SimulatorConfig,
    pub world: World,
    now: Mutex<DateTime<Utc>>,
    pub ledger: Mutex<Tallies>,
    pub faults: Mutex<Faults>,
    pub instagram_lost: Mutex<Vec<String>>,
    pub instagram_calls: Mutex<HashMap<u32, (NaiveDate, u64)>>,
    pub tiktok_rotations: Mutex<HashMap<u32, TiktokRotation>>,
    /// Units spent of each allowance, with the date of the allowance.
    pub spent: Mutex<BTreeMap<&'static str, (NaiveDate, u64)>>,
    /// Delay of every response, in milliseconds of real time; begins as configured.
    pub latency_ms: AtomicU64,
    /// Verified Apple tokens and their expiry, cached because verification is slow in a debug build.
    pub apple_tokens: Mutex<HashMap<String, i64>>,
    addr: SocketAddr,
}

/// Locks a mutex, even if a thread panicked while it held the lock.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    /// The state at the start of a server that listens on `addr`.
    pub(crate) fn new(config: SimulatorConfig, addr: SocketAddr) -> Self {
        let world = World::new(config.seed, config.artists, config.date, config.troubles);
        let world = match config.event {
            Some(event) => world.with_event_on(event),
            None => world,
        };
        Self {
            world: if config.regular { world.made_regular() } else { world },
            now: Mutex::new(noon(config.date)),
            ledger: Mutex::default(),
            faults: Mutex::new(Faults::new(config.faults.clone())),
            instagram_lost: Mutex::new(config.instagram_lost.clone()),
            instagram_calls: Mutex::default(),
            tiktok_rotations: Mutex::default(),
            spent: Mutex::default(),
            latency_ms: AtomicU64::new(config.latency_ms),
            apple_tokens: Mutex::default(),
            addr,
            config,
        }
    }

    pub(crate) fn now(&self) -> DateTime<Utc> {
        *lock(&self.now)
    }

    pub(crate) fn today(&self) -> NaiveDate {
        self.now().date_naive()
    }

    pub(crate) fn set_now(&self, now: DateTime<Utc>) {
        *lock(&self.now) = now;
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Whether a token issued at `issued_at` with a lifetime of `seconds` has expired.
    pub(crate) fn expired(&self, issued_at: i64, seconds: i64) -> bool {
        self.config.tokens_expire && self.now().timestamp() >= issued_at + seconds
    }

    /// Spends units of an allowance on a date. Returns false if fewer units are left.
    pub(crate) fn spend(&self, allowance: &'static str, date: NaiveDate, units: u64, limit: u64) -> bool {
        let mut spent = lock(&self.spent);
        let entry = spent.entry(allowance).or_insert((date, 0));
        if entry.0 != date {
            *entry = (date, 0);
        }
        if entry.1 + units > limit {
            return false;
        }
        entry.1 += units;
        lock(&self.ledger).spend(allowance, units);
        true
    }

    pub(crate) fn reset_counts(&self) {
        let mut ledger = lock(&self.ledger);
        ledger.counts = Counts::default();
        ledger.seen.clear();
    }
}
