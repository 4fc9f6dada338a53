//! What the hosts of one owner may take of what all platforms share: threads that look names up, connections that are
//! kept for the next request, and room for large answers.
//!
//! A wildcard lets a connector name a new host with every request. Each would take a thread for as long as its name
//! server likes, also after the request gave up, and leave an open connection behind. So both are counted by the domain
//! that someone registered, which a connector can't make up.

use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use url::Url;

use backline_model::origin::domain_of;

/// Look-ups at a time for the hosts of one owner. A platform has a few hosts, whose names are known within
/// milliseconds.
const LOOKUPS_PER_OWNER_MAX: u32 = 8;

/// Look-ups at a time of the process: half of the threads that all blocking work shares.
const LOOKUPS_MAX: u32 = 256;

/// Hosts of one owner to which idle connections are kept.
const KEPT_HOSTS_PER_OWNER_MAX: usize = 8;

/// Owners that are remembered before those that need nothing are forgotten.
const OWNERS_MAX: usize = 256;

/// Places that all owners share, of which each has a few.
#[derive(Debug)]
pub(super) struct Shares {
    all: Arc<Semaphore>,
    /// Places of one owner.
    each: u32,
    owners: Mutex<HashMap<String, Arc<Semaphore>>>,
}

/// Places that were taken; given back when this is dropped.
#[derive(Debug)]
pub(super) struct Taken {
    _places: [Option<OwnedSemaphorePermit>; 2],
}

impl Shares {
    /// So many places for all, and for each owner.
    pub(super) fn new(all: u32, each: u32) -> Self {
        Self { all: Arc::new(Semaphore::new(all as usize)), each: each.max(1), owners: Mutex::default() }
    }

    /// Waits for so many places for a host: first among those of its owner, then among all. What has both waits for
    /// neither, so owners can't wait for each other.
    pub(super) async fn take(&self, host: &str, places: u32) -> Taken {
        let own = {
            let mut owners = self.owners.lock().unwrap_or_else(PoisonError::into_inner);
            let owner = domain_of(host);
            // For a new one only: each request comes here.
            if owners.len() >= OWNERS_MAX && !owners.contains_key(owner) {
                // Places and those that wait for one hold the semaphore too.
                owners.retain(|_, own| Arc::strong_count(own) > 1);
            }
            let own = owners.entry(owner.to_owned());
            Arc::clone(own.or_insert_with(|| Arc::new(Semaphore::new(self.each as usize))))
        };
        // The semaphores are never closed; if they were, all would go on without places.
        let own = own.acquire_many_owned(places.min(self.each)).await.ok();
        Taken { _places: [own, Arc::clone(&self.all).acquire_many_owned(places).await.ok()] }
    }
}

/// The look-ups of names under way.
#[derive(Debug)]
pub(super) struct Lookups {
    places: Shares,
}

impl Default for Lookups {
    fn default() -> Self {
        Self { places: Shares::new(LOOKUPS_MAX, LOOKUPS_PER_OWNER_MAX) }
    }
}

impl Lookups {
    /// The addresses of a host. What is looked up keeps its place until the system answers, also where no one waits for
    /// it any more.
    ///
    /// # Errors
    /// The system's.
    pub(super) async fn look_up(&self, host: &str) -> io::Result<Vec<SocketAddr>> {
        let places = self.places.take(host, 1).await;
        let host = host.to_owned();
        let looked_up = tokio::task::spawn_blocking(move || {
            let found = (host.as_str(), 0).to_socket_addrs().map(Iterator::collect::<Vec<SocketAddr>>);
            drop(places);
            found
        });
        looked_up.await.map_err(io::Error::other)?
    }
}

/// The hosts to which idle connections are kept.
#[derive(Debug)]
pub(super) struct KeptHosts {
    /// Owner → host and port → when it was last asked.
    owners: Mutex<HashMap<String, HashMap<String, Instant>>>,
    /// How long an idle connection is kept.
    kept_for: Duration,
}

impl KeptHosts {
    pub(super) fn new(kept_for: Duration) -> Self {
        Self { owners: Mutex::default(), kept_for }
    }

    /// Whether a connection to the URL's host may be kept after its request, and counts it if it may.
    pub(super) fn may_keep(&self, url: &Url, now: Instant) -> bool {
        let host = url.host_str().unwrap_or_default();
        let mut owners = self.owners.lock().unwrap_or_else(PoisonError::into_inner);
        let is_kept = |since: &Instant| now.saturating_duration_since(*since) < self.kept_for;
        let owner = domain_of(host);
        // For a new one only: each request comes here.
        if owners.len() >= OWNERS_MAX && !owners.contains_key(owner) {
            owners.retain(|_, hosts| hosts.values().any(is_kept));
        }
        let hosts = owners.entry(owner.to_owned()).or_default();
        hosts.retain(|_, since| is_kept(since));
        let name = format!("{host}:{}", url.port_or_known_default().unwrap_or_default());
        if hosts.len() >= KEPT_HOSTS_PER_OWNER_MAX && !hosts.contains_key(&name) {
            return false;
        }
        hosts.insert(name, now);
        true
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    fn url(text: &str) -> Url {
        text.parse().expect("a URL")
    }

    #[test]
    fn an_owner_with_many_hosts_leaves_others_their_look_ups() {
        let lookups = Lookups::default();
        let place = |host: &str| lookups.places.take(host, 1).now_or_never();
        let mut taken: Vec<_> = (0..LOOKUPS_PER_OWNER_MAX).map(|n| place(&format!("a{n}.evil.test"))).collect();
        assert!(taken.iter().all(Option::is_some));
        assert!(place("b.evil.test").is_none(), "one too many");
        assert!(place("api.example.com").is_some(), "another owner");
        assert!(place("a.github.io").is_some() && place("b.github.io").is_some(), "two owners below a public suffix");
        taken.pop();
        assert!(place("b.evil.test").is_some(), "one has ended");
    }

    #[test]
    fn an_owner_with_large_answers_leaves_others_half_of_the_room() {
        let room = Shares::new(100, 50);
        let greedy = [(); 3].map(|()| room.take("a.evil.test", 20).now_or_never());
        assert_eq!(greedy.map(|taken| taken.is_some()), [true, true, false]);
        let room = Shares::new(100, 50);
        let all = room.take("a.evil.test", 100).now_or_never();
        assert!(all.is_some(), "one that needs all gets all");
        assert!(room.take("api.example.com", 1).now_or_never().is_none());
        drop(all);
        assert!(room.take("api.example.com", 1).now_or_never().is_some());
    }

    #[tokio::test]
    async fn a_name_is_looked_up_and_gives_its_place_back() {
        let lookups = Lookups::default();
        let found = lookups.look_up("127.0.0.1").await.expect("an address");
        assert_eq!(found, ["127.0.0.1:0".parse().expect("an address")]);
        assert_eq!(lookups.places.all.available_permits(), LOOKUPS_MAX as usize);
    }

    #[test]
    fn connections_are_kept_to_a_few_hosts_of_an_owner() {
        let (kept, now) = (KeptHosts::new(Duration::from_secs(50)), Instant::now());
        for n in 0..KEPT_HOSTS_PER_OWNER_MAX {
            assert!(kept.may_keep(&url(&format!("https://a{n}.evil.test/")), now));
        }
        assert!(!kept.may_keep(&url("https://b.evil.test/"), now), "one too many");
        assert!(!kept.may_keep(&url("https://a0.evil.test:8443/"), now), "a port has connections of its own");
        assert!(kept.may_keep(&url("https://a0.evil.test/again"), now), "one of them");
        assert!(kept.may_keep(&url("https://api.example.com/"), now), "another owner");
        let later = now + Duration::from_secs(51);
        assert!(kept.may_keep(&url("https://b.evil.test/"), later), "the others were closed meanwhile");
    }

    #[test]
    fn what_is_remembered_does_not_grow_with_the_owners() {
        let (kept, now) = (KeptHosts::new(Duration::from_secs(50)), Instant::now());
        for n in 0..2_000 {
            let at = now + Duration::from_secs(n);
            assert!(kept.may_keep(&url(&format!("https://evil{n}.test/")), at));
        }
        assert!(kept.owners.lock().expect("not poisoned").len() <= OWNERS_MAX);
        let lookups = Lookups::default();
        for n in 0..2_000 {
            drop(lookups.places.take(&format!("evil{n}.test"), 1).now_or_never());
        }
        assert!(lookups.places.owners.lock().expect("not poisoned").len() <= OWNERS_MAX);
    }
}
