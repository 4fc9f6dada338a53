//! Bytes that the batches of a host hold before they are stored: documents, and what `normalize` makes of them.
//!
//! A batch reserves what its calls may answer before the first of them, and keeps that until it is stored. It reserves
//! once and never more while it holds some, so batches can't wait for each other. What answers hold is reserved after
//! it, by the gateway.
//!
//! Most batches answer far less than a call may. So the batches of a release begin with a small reservation; where an
//! answer does not fit, the accounts go back to the ledger, and the next batch of the release reserves more, until it
//! is what a call may answer.
//!
//! The batches of one release hold at most half of all, so that a connector that answers as much as it can leaves the
//! rest to others.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use backline_model::Digest;

/// What `fetch` may answer to the first batch of a release, in bytes; the same for `normalize`. Fifty of the largest
/// documents that were recorded have 5 MiB.
const FIRST_BYTES: u64 = 8 << 20;

/// By how much a reservation that was too small grows.
const GROWTH: u64 = 4;

/// Bytes of one permit.
const PERMIT_BYTES: u64 = 1024;

/// What the batches of a host may hold. Cloning shares it.
#[derive(Clone, Debug)]
pub(in crate::pipeline) struct HeldBytes {
    bytes_max: u64,
    permits: Arc<Semaphore>,
    /// What the batches of a release may hold together: half of all.
    shares: Arc<Mutex<BTreeMap<Digest, Arc<Semaphore>>>>,
    /// What `fetch` may answer to a batch, by release; [`FIRST_BYTES`] for those that are not listed.
    sizes: Arc<Mutex<BTreeMap<Digest, u64>>>,
}

/// What a batch reserved; given back when it is dropped.
#[derive(Debug)]
pub(in crate::pipeline) struct Held {
    /// Bytes that `fetch` may answer, and `normalize` as many.
    pub output_bytes: u64,
    /// The most that these may be for the release, on this host.
    pub bound: u64,
    _permits: [Option<OwnedSemaphorePermit>; 2],
}

impl HeldBytes {
    /// Batches may hold `bytes_max` together.
    pub(in crate::pipeline) fn new(bytes_max: u64) -> Self {
        let permits = usize::try_from(permits(bytes_max)).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS);
        let permits = Arc::new(Semaphore::new(permits));
        Self { bytes_max, permits, shares: Arc::default(), sizes: Arc::default() }
    }

    /// Waits until a batch of the release may begin. `allowed` is what one call may answer.
    pub(in crate::pipeline) async fn reserve(&self, release: Digest, allowed: u64) -> Held {
        // Of what all may hold, one batch takes at most the whole: half for each of the two functions.
        let bound = allowed.min(self.bytes_max / 2);
        let size = self.sizes.lock().unwrap_or_else(PoisonError::into_inner).get(&release).copied();
        let output_bytes = size.unwrap_or(FIRST_BYTES).min(bound);
        let wanted = permits(2 * output_bytes).min(permits(self.bytes_max));
        // The semaphores are never closed; if they were, batches would still be collected. No batch that has its part
        // of all waits for its release's share, so they can't wait for each other.
        let (share, half) = (self.share_of(release), permits(self.bytes_max / 2));
        let own = share.acquire_many_owned(wanted.min(half)).await.ok();
        let of_all = Arc::clone(&self.permits).acquire_many_owned(wanted).await.ok();
        Held { output_bytes, bound, _permits: [own, of_all] }
    }

    fn share_of(&self, release: Digest) -> Arc<Semaphore> {
        let half = usize::try_from(permits(self.bytes_max / 2)).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS);
        let mut shares = self.shares.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(shares.entry(release).or_insert_with(|| Arc::new(Semaphore::new(half))))
    }

    /// Lets the next batches of a release answer more than this one was allowed.
    pub(in crate::pipeline) fn enlarge(&self, release: Digest, held: &Held) {
        let mut sizes = self.sizes.lock().unwrap_or_else(PoisonError::into_inner);
        let size = sizes.entry(release).or_insert(FIRST_BYTES);
        *size = (*size).max(held.output_bytes.saturating_mul(GROWTH)).min(held.bound.max(FIRST_BYTES));
    }
}

fn permits(bytes: u64) -> u32 {
    u32::try_from(bytes / PERMIT_BYTES).unwrap_or(u32::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    const MIB: u64 = 1 << 20;

    fn release(name: &str) -> Digest {
        Digest::of(name.as_bytes())
    }

    #[tokio::test]
    async fn batches_wait_for_those_that_hold_what_all_may_hold() {
        let all = HeldBytes::new(32 * MIB);
        let first = all.reserve(release("a"), 64 * MIB).await;
        let second = all.reserve(release("b"), 64 * MIB).await;
        assert_eq!((first.output_bytes, first.bound, second.output_bytes), (8 * MIB, 16 * MIB, 8 * MIB));
        let mut third = Box::pin(all.reserve(release("c"), 64 * MIB));
        assert!((&mut third).now_or_never().is_none(), "all is reserved");
        drop(first);
        assert_eq!(third.await.output_bytes, 8 * MIB);
    }

    #[tokio::test]
    async fn a_release_leaves_half_to_others() {
        let all = HeldBytes::new(64 * MIB);
        let greedy = [(); 2].map(|()| all.reserve(release("a"), 64 * MIB).now_or_never());
        assert!(greedy.iter().all(Option::is_some), "16 MiB each");
        assert!(all.reserve(release("a"), 64 * MIB).now_or_never().is_none(), "half of all is held");
        let other = [(); 2].map(|()| all.reserve(release("b"), 64 * MIB).now_or_never());
        assert!(other.iter().all(Option::is_some), "the rest is another's");
        drop(greedy);
        assert!(all.reserve(release("a"), 64 * MIB).now_or_never().is_some(), "it is given back");
    }

    #[tokio::test]
    async fn a_release_reserves_more_until_it_is_what_a_call_may_answer() {
        let all = HeldBytes::new(1024 * MIB);
        let mut sizes = Vec::new();
        for _ in 0..4 {
            let held = all.reserve(release("a"), 64 * MIB).await;
            sizes.push(held.output_bytes / MIB);
            all.enlarge(release("a"), &held);
        }
        assert_eq!(sizes, [8, 32, 64, 64]);
        assert_eq!(all.reserve(release("b"), 64 * MIB).await.output_bytes, 8 * MIB, "each release for itself");
    }

    #[tokio::test]
    async fn a_batch_that_needs_all_gets_all_and_no_more() {
        let all = HeldBytes::new(16 * MIB);
        for _ in 0..3 {
            let held = all.reserve(release("a"), 64 * MIB).await;
            assert_eq!((held.output_bytes, held.bound), (8 * MIB, 8 * MIB), "it would wait for itself");
            all.enlarge(release("a"), &held);
        }
        let small = HeldBytes::new(64 * MIB);
        assert_eq!(small.reserve(release("a"), MIB).await.output_bytes, MIB, "a call may answer less");
    }
}
