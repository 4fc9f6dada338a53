//! How many requests a token may send, and how many wrong tokens an address.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use chrono::{DateTime, TimeDelta, Utc};

use backline_model::TokenId;

/// Requests that a token may send at once.
const BURST: u32 = 200;

/// Requests a second that it may go on with.
const PER_SECOND: u32 = 50;

/// Wrong tokens that an address may send at once.
const FAILURES_BURST: u32 = 20;

/// Wrong tokens a minute that it may go on with. A token can't be guessed at any rate; each try costs the database a
/// statement.
const FAILURES_PER_MINUTE: u32 = 20;

/// Most callers that are remembered, of each kind. Beyond it those that sent nothing lately are forgotten.
const REMEMBERED_MAX: usize = 4096;

/// Limits of all callers of one host.
pub(super) struct Limits {
    requests: Mutex<Buckets<TokenId>>,
    failures: Mutex<Buckets<IpAddr>>,
}

impl Limits {
    pub(super) fn new() -> Self {
        let second = TimeDelta::seconds(1) / i32::try_from(PER_SECOND).unwrap_or(i32::MAX);
        let minute = TimeDelta::minutes(1) / i32::try_from(FAILURES_PER_MINUTE).unwrap_or(i32::MAX);
        Self {
            requests: Mutex::new(Buckets::new(BURST, second)),
            failures: Mutex::new(Buckets::new(FAILURES_BURST, minute)),
        }
    }

    /// Takes a request of a token; otherwise after how many seconds the next one is taken.
    pub(super) fn request(&self, token: TokenId, now: DateTime<Utc>) -> Result<(), u64> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).take(token, now)
    }

    /// Whether a token sent a request that was taken, and is remembered: this host accepted it before.
    pub(super) fn knows(&self, token: TokenId) -> bool {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).full_at.contains_key(&token)
    }

    /// Whether an address may try another token; it does not count as one yet.
    pub(super) fn may_try(&self, address: IpAddr, now: DateTime<Utc>) -> Result<(), u64> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner).peek(address, now)
    }

    /// Counts a wrong token of an address.
    pub(super) fn failed(&self, address: IpAddr, now: DateTime<Utc>) {
        // The next one asks first.
        let _ = self.failures.lock().unwrap_or_else(PoisonError::into_inner).take(address, now);
    }
}

/// A bucket for each caller, as the time at which it is full again: what fills it is the time that passes.
struct Buckets<K> {
    full_at: HashMap<K, DateTime<Utc>>,
    burst: TimeDelta,
    each: TimeDelta,
}

impl<K: Eq + Hash + Copy> Buckets<K> {
    fn new(burst: u32, each: TimeDelta) -> Self {
        let burst = each * i32::try_from(burst).unwrap_or(i32::MAX);
        Self { full_at: HashMap::new(), burst, each }
    }

    /// When the caller's bucket will be full, if one is taken from it now.
    fn after_taking(&mut self, caller: K, now: DateTime<Utc>) -> Result<DateTime<Utc>, u64> {
        let known = self.full_at.get_mut(&caller).map(|full_at| {
            // It is never further away than an empty bucket's, unless the clock was set back.
            *full_at = (*full_at).clamp(now, now + self.burst);
            *full_at
        });
        let full_at = known.unwrap_or(now) + self.each;
        let missing = full_at - now - self.burst;
        if missing <= TimeDelta::zero() {
            return Ok(full_at);
        }
        // Rounded up: a caller that waits as long as it is told is taken.
        Err(u64::try_from((missing.num_milliseconds() + 999) / 1000).unwrap_or(1).max(1))
    }

    fn peek(&mut self, caller: K, now: DateTime<Utc>) -> Result<(), u64> {
        self.after_taking(caller, now).map(|_| ())
    }

    fn take(&mut self, caller: K, now: DateTime<Utc>) -> Result<(), u64> {
        let full_at = self.after_taking(caller, now)?;
        if self.full_at.len() >= REMEMBERED_MAX {
            self.full_at.retain(|_, full_at| *full_at > now);
        }
        if self.full_at.len() >= REMEMBERED_MAX {
            self.full_at.clear();
        }
        self.full_at.insert(caller, full_at);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_takes_its_burst_and_then_one_at_a_time() {
        let (mut buckets, now) = (Buckets::new(3, TimeDelta::seconds(2)), DateTime::UNIX_EPOCH);
        for _ in 0..3 {
            assert_eq!(buckets.take('a', now), Ok(()));
        }
        assert_eq!(buckets.take('a', now), Err(2));
        assert_eq!(buckets.take('b', now), Ok(()), "another caller has a bucket of its own");
        assert_eq!(buckets.take('a', now + TimeDelta::milliseconds(1500)), Err(1));
        assert_eq!(buckets.take('a', now + TimeDelta::seconds(2)), Ok(()));
        assert_eq!(buckets.peek('a', now + TimeDelta::seconds(2)), Err(2));
        assert_eq!(buckets.peek('a', now + TimeDelta::seconds(60)), Ok(()));
    }

    #[test]
    fn a_clock_that_is_set_back_refuses_nobody_for_long() {
        let (mut buckets, now) = (Buckets::new(3, TimeDelta::seconds(2)), DateTime::UNIX_EPOCH);
        buckets.take('a', now + TimeDelta::hours(1)).expect("the first one");
        assert_eq!(buckets.take('a', now), Err(2));
        assert_eq!(buckets.take('a', now + TimeDelta::seconds(2)), Ok(()));
        assert_eq!(buckets.peek('a', now + TimeDelta::seconds(8)), Ok(()));
    }

    #[test]
    fn a_token_is_known_once_a_request_of_it_was_taken() {
        let (limits, token, now) = (Limits::new(), TokenId::generate(), DateTime::UNIX_EPOCH);
        assert!(!limits.knows(token));
        limits.request(token, now).expect("the first one");
        assert!(limits.knows(token) && !limits.knows(TokenId::generate()));
    }

    #[test]
    fn what_is_remembered_has_a_bound() {
        let (mut buckets, now) = (Buckets::new(3, TimeDelta::seconds(2)), DateTime::UNIX_EPOCH);
        for caller in 0..3 * REMEMBERED_MAX {
            buckets.take(caller, now).expect("the first one");
        }
        assert!(buckets.full_at.len() <= REMEMBERED_MAX);
    }
}
