//! Counts rows in PostgreSQL's tables after many batches, with plain SQL.

use sqlx::{AssertSqlSafe, PgConnection, Row as _};

/// The number that a query returns.
pub async fn number(database: &mut PgConnection, query: &str) -> i64 {
    let row = sqlx::query(AssertSqlSafe(query.to_owned())).fetch_one(database).await.expect("a number");
    row.get(0)
}

/// Checks that each account's results are stored once: one document, one row, one outcome, one event.
pub async fn expect_each_once(database: &mut PgConnection, accounts: i64) {
    for (what, query) in [
        ("documents", "SELECT COUNT(*) FROM documents"),
        ("accounts with documents", "SELECT COUNT(DISTINCT account_id) FROM documents"),
        ("rows", "SELECT COUNT(*) FROM metrics"),
        ("outcomes", "SELECT COUNT(*) FROM outcomes_all WHERE outcome = 'collected'"),
        ("events", "SELECT COUNT(*) FROM events WHERE type = 'metrics.collected'"),
    ] {
        assert_eq!(number(database, query).await, accounts, "{what}");
    }
    assert_eq!(number(database, "SELECT COUNT(*) FROM batches WHERE finished_at IS NULL").await, 0, "open batches");
    let completed = number(database, "SELECT COUNT(*) FROM events WHERE type = 'run.completed'").await;
    assert_eq!(completed, 1, "the end of the run gives one event");
}
