//! The transaction that stores a batch takes no more rows and bytes than the bounds of a batch allow, however much a
//! connector writes. They are counted, not timed.

use backline_model::Outcome;
use backline_store::Store;

use super::table::{Attack, Ends};
use super::{Battle, LOG_BYTES_MAX};
use crate::support::database::each_database;

/// What the guest is told to do: 250 unknown metrics of 10,000 characters, a text of half a MiB, 200 texts of 600
/// characters, 100 notes of 1,000, 100 lost metrics, a log without end, a state of 60 KiB and a document of a quarter
/// MiB that hardly compresses.
const MOST: &str = "most-rows-and-bytes";

/// Rows of the transaction for one account, besides what is withheld: the account twice, its row, document, state and
/// two events, an outcome, and what is read of the batch.
const ROWS_AN_ACCOUNT: u64 = 12;

/// Accounts of the batch: the hostile one and two neighbours.
const ACCOUNTS: u64 = 3;

/// A withheld value for each unknown metric, and for each lost metric a row and an event. A line of this log has more
/// than 16 bytes.
const ROWS_MAX: u64 = ROWS_AN_ACCOUNT * ACCOUNTS + 250 + 2 * 100 + LOG_BYTES_MAX / 16;

/// What was written is 3 MB without the document; 2,000 characters of each withheld value are stored, and 500 of each
/// text.
const BYTES_MAX: u64 = 2 << 20;

fn attack() -> Attack {
    let bound = "rows and bytes of a transaction";
    Attack { name: MOST, class: "snapshot", bound, ends: Ends::Collected, send: None, says: "" }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_transaction_of_a_batch_is_bounded_by_rows_and_bytes() {
    let cache = tempfile::tempdir().expect("a folder");
    each_database(async |_store: Store, url: &str| {
        let battle = Battle::prepare(url, cache.path(), vec![attack()], |_| {}).await;
        let report = battle.run(battle.artists(false)).await;
        let outcomes = battle.outcomes(&report).await;
        assert_eq!(outcomes.get(MOST).map(|named| &named.outcome), Some(&Outcome::Collected), "{:?}", report.run);
        let writes = battle.host.telemetry().write_transactions().expect("batches were stored");
        assert!((500..=ROWS_MAX).contains(&writes.rows_max), "{writes:?}, at most {ROWS_MAX} rows");
        assert!((700_000..=BYTES_MAX).contains(&writes.bytes_max), "{writes:?}, at most {BYTES_MAX} bytes");
    })
    .await;
}
