//! Which of the batches that a pool has under way is the last one of its run: it sees whether the run is over. The
//! others need not ask the database, since their run goes on here.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use backline_model::RunId;

/// How many batches of each run are under way. Cloning shares it.
#[derive(Clone, Default)]
pub(super) struct RunEnds(Arc<Mutex<HashMap<RunId, usize>>>);

/// One of them, until it is dropped.
pub(super) struct UnderWay {
    all: RunEnds,
    run: RunId,
    has_ended: bool,
}

impl RunEnds {
    /// One more batch of a run.
    pub(super) fn begun(&self, run: RunId) -> UnderWay {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(run).or_default() += 1;
        UnderWay { all: self.clone(), run, has_ended: false }
    }

    /// One less; whether it was the last one.
    fn ended(&self, run: RunId) -> bool {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let left = all.get(&run).copied().unwrap_or_default().saturating_sub(1);
        if left == 0 {
            all.remove(&run);
        } else {
            all.insert(run, left);
        }
        left == 0
    }
}

impl UnderWay {
    /// Ends the batch, whose results are committed; whether no other one of its run is under way. Of several that end
    /// at once, one is the last: it ends after the others' commits.
    pub(super) fn end(mut self) -> bool {
        self.has_ended = true;
        self.all.ended(self.run)
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        // One that was given up, or failed, left its batch open.
        if !self.has_ended {
            self.all.ended(self.run);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_batch_of_each_run_is_told() {
        let (ends, one, other) = (RunEnds::default(), RunId::generate(), RunId::generate());
        let [first, second, given_up] = [(); 3].map(|()| ends.begun(one));
        let alone = ends.begun(other);
        assert!(!first.end(), "two are under way");
        assert!(alone.end(), "those of another run do not count");
        drop(given_up);
        assert!(second.end(), "one that was given up does not count");
        assert!(ends.begun(one).end(), "a later one is the last again");
        assert!(ends.0.lock().expect("not poisoned").is_empty());
    }
}
