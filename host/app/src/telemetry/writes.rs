//! The latest write transactions of batches. A histogram has bounds between which it knows nothing; a measurement of a
//! run, which `run --json` and `cargo xtask bench` show, needs the times themselves.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;

/// Transactions that are remembered: those of a run of 50,000 accounts several times over.
const LATEST: usize = 8_192;

/// What the latest write transactions of batches took on this host, 8,192 at most.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct WriteFigures {
    /// How many these figures are of.
    pub transactions: usize,
    /// Median of their times from begin to commit, in milliseconds.
    pub median_ms: f64,
    /// 99th percentile of their times, in milliseconds: the least that so many of a hundred do not exceed.
    pub p99_ms: f64,
    /// Most rows that one read, inserted, changed or deleted.
    pub rows_max: u64,
    /// Most bytes of parameters that one sent.
    pub bytes_max: u64,
}

/// One write transaction.
#[derive(Clone, Copy)]
struct Write {
    took: Duration,
    rows: u64,
    bytes: u64,
}

/// The latest write transactions, the oldest first.
#[derive(Default)]
pub(super) struct LatestWrites(Mutex<VecDeque<Write>>);

impl LatestWrites {
    pub(super) fn add(&self, took: Duration, rows: u64, bytes: u64) {
        let mut latest = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if latest.len() >= LATEST {
            latest.pop_front();
        }
        latest.push_back(Write { took, rows, bytes });
    }

    /// What they took; none where there are none.
    pub(super) fn figures(&self) -> Option<WriteFigures> {
        let latest: Vec<Write> = self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().copied().collect();
        let mut times: Vec<Duration> = latest.iter().map(|write| write.took).collect();
        times.sort_unstable();
        let ms_at = |of_hundred: usize| {
            let rank = (times.len() * of_hundred).div_ceil(100);
            Some(times.get(rank.saturating_sub(1))?.as_secs_f64() * 1000.0)
        };
        Some(WriteFigures {
            transactions: latest.len(),
            median_ms: ms_at(50)?,
            p99_ms: ms_at(99)?,
            rows_max: latest.iter().map(|write| write.rows).max()?,
            bytes_max: latest.iter().map(|write| write.bytes).max()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_of_the_latest_transactions() {
        let writes = LatestWrites::default();
        assert_eq!(writes.figures(), None);
        for ms in (1..=200).rev() {
            writes.add(Duration::from_millis(ms), 1_000 - ms, ms * 10);
        }
        let figures = writes.figures().expect("there are some");
        assert_eq!((figures.transactions, figures.rows_max, figures.bytes_max), (200, 999, 2_000));
        assert!((figures.median_ms - 100.0).abs() < 1e-9 && (figures.p99_ms - 198.0).abs() < 1e-9, "{figures:?}");
        for _ in 0..LATEST {
            writes.add(Duration::from_millis(5), 7, 7);
        }
        let figures = writes.figures().expect("there are some");
        assert_eq!((figures.transactions, figures.rows_max, figures.bytes_max), (LATEST, 7, 7));
        assert!((figures.p99_ms - 5.0).abs() < 1e-9, "{figures:?}");
    }
}
