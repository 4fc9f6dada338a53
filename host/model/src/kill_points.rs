//! The named points at which a build for tests can end its process, as a power failure would.
//!
//! Only a build with the feature `weakened` can. In every other build [`point`] is empty. A place in the code that a
//! host may never have got beyond names itself: `point(Point::…)`.

use crate::named::named;

named! {
    /// A point of the work at which a host may end, in the order of the work. Each has its name and what has happened
    /// when it is reached.
    Point;
    PlanWritten, "plan-written", "A run's plan is written and not committed.";
    PlanCommitted, "plan-committed", "It is committed.";
    BatchLeased, "batch-leased", "A batch is leased.";
    BatchFetched, "batch-fetched", "The platform has answered for all of its accounts.";
    BatchNormalised, "batch-normalised", "Its documents are normalised.";
    BatchPrepared, "batch-prepared", "Months and pauses are written, and nothing of the batch.";
    BatchWritten, "batch-written", "Its results are written and not committed.";
    BatchCommitted, "batch-committed", "They are committed.";
    BatchReported, "batch-reported", "The worker knows of it, and has not checked whether the run is over.";
    RunEnded, "run-ended", "The end of a run is committed.";
    RefreshLeased, "refresh-leased", "The refresh of a credential is leased.";
    RefreshAnswered, "refresh-answered", "The platform has granted a new token, which nothing holds.";
    RefreshFileWritten, "refresh-file-written", "It is in a file that has no name in the journal.";
    RefreshJournalled, "refresh-journalled", "It is in the journal.";
    RefreshWritten, "refresh-written", "It is in the database and not committed.";
    RefreshSaved, "refresh-saved", "It is committed.";
    RefreshForgotten, "refresh-forgotten", "It has left the journal.";
    DeliveriesWritten, "deliveries-written", "Events are assigned to a webhook, not committed.";
    DeliveriesNoted, "deliveries-noted", "That is committed.";
    DeliveryLeased, "delivery-leased", "A delivery is leased.";
    DeliverySent, "delivery-sent", "The receiver has answered.";
    DeliveryRecorded, "delivery-recorded", "That is committed.";
    ArchiveBegun, "archive-begun", "A run of the archive is on record.";
    ArchiveMonthStated, "archive-month-stated", "The dates of a month are stated as a constraint.";
    ArchiveMonthChecked, "archive-month-checked", "They are checked.";
    ArchiveMonthPutAway, "archive-month-put-away", "A month is moved or dropped as a whole.";
    ArchiveRowsTaken, "archive-rows-taken", "Rows are moved or deleted, not committed.";
    ArchiveRowsCommitted, "archive-rows-committed", "That is committed.";
    ArchiveRecordsDeleted, "archive-records-deleted", "Rows with a time of their own are deleted.";
    ArchiveStepDone, "archive-step-done", "A step is done.";
    ArchiveWorkDone, "archive-work-done", "All steps are done, which is not on record.";
    EraseTextsBlanked, "erase-texts-blanked", "Texts no longer name the artist, whose rows are there.";
    EraseRowsRemoved, "erase-rows-removed", "The rows are removed, without a tombstone, not committed.";
    EraseWritten, "erase-written", "Tombstone and event are written too, not committed.";
    EraseCommitted, "erase-committed", "That is committed.";
    EraseTokensRemoved, "erase-tokens-removed", "The tokens on the host's disk are removed; traces of rows are there.";
    EraseTracesRemoved, "erase-traces-removed", "Traces are removed, where the database leaves any.";
    ActivationLoaded, "activation-loaded", "A release that is to be activated is loaded here.";
    ActivationStaged, "activation-staged", "It is staged for all hosts.";
    ActivationRehearsed, "activation-rehearsed", "All hosts have loaded it.";
    ActivationWritten, "activation-written", "It is active and the one before is not, not committed.";
    ActivationCommitted, "activation-committed", "That is committed.";
}

impl Point {
    /// What has happened when it is reached, as a sentence.
    #[must_use]
    pub const fn reached(self) -> &'static str {
        self.sentences()[0]
    }
}

/// Does nothing, in this build.
#[cfg(not(feature = "weakened"))]
#[inline]
pub const fn point(_point: Point) {}

#[cfg(feature = "weakened")]
pub use armed::{die_at, point};

#[cfg(feature = "weakened")]
mod armed {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::Point;
    use crate::named::Switch;

    /// The point that ends the process.
    static DEADLY: Switch = Switch::none();

    /// How many times it is still to be reached.
    static LEFT: AtomicU32 = AtomicU32::new(0);

    /// Ends this process when a point is reached for the so-many-th time, counted from 1.
    pub fn die_at(point: Point, times: u32) {
        LEFT.store(times.max(1), Ordering::SeqCst);
        DEADLY.set(Some(point as u8));
    }

    /// Ends the process if it is to die here: at once, without a destructor or a last write, as `kill -9` does.
    pub fn point(point: Point) {
        if DEADLY.is(point as u8) && LEFT.fetch_sub(1, Ordering::SeqCst) == 1 {
            std::process::abort();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_point_has_a_name_of_its_own_and_a_sentence() {
        let names: std::collections::BTreeSet<&str> = Point::ALL.iter().map(|point| point.name()).collect();
        assert_eq!(names.len(), Point::ALL.len(), "{names:?}");
        for (index, point) in Point::ALL.iter().enumerate() {
            assert_eq!(*point as usize, index, "{point:?}");
            assert!(point.name().chars().all(|c| c.is_ascii_lowercase() || c == '-'), "{}", point.name());
            assert!(point.reached().ends_with('.'), "{}", point.reached());
        }
    }
}
