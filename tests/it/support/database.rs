//! Databases for tests: each test runs on SQLite and on PostgreSQL, each time with a new database.

use std::fmt::Write as _;
use std::panic::AssertUnwindSafe;
use std::sync::OnceLock;

use backline_store::{Store, StoreOptions};
use futures::FutureExt as _;
use sqlx::{AnyConnection, AssertSqlSafe, Connection as _, Executor as _, PgConnection, Row as _};

use super::postgres::Cluster;

/// Runs a test on a new, migrated database of each kind, with the database's URL. The databases are removed afterwards,
/// whether or not the test passed.
pub async fn each_database(test: impl AsyncFn(Store, &str)) {
    each_empty_database(async |url| {
        let store = Store::open(url, StoreOptions { connections_max: 8, ..StoreOptions::default() })
            .await
            .expect("the database opens");
        store.migrate().await.expect("the database migrates");
        test(store.clone(), url).await;
        store.close().await;
    })
    .await;
}

/// Like [`each_database`], with an empty database.
#[expect(clippy::print_stderr, reason = "says on which database a test failed")]
pub async fn each_empty_database(test: impl AsyncFn(&str)) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let url = format!("sqlite://{}", folder.path().join("test.db").display());
    eprintln!("on SQLite");
    test(&url).await;

    let name = format!("it_{}", uuid::Uuid::new_v4().simple());
    let mut server = PgConnection::connect(&server()).await.expect("the PostgreSQL server answers");
    server.execute(AssertSqlSafe(format!("CREATE DATABASE {name}"))).await.expect("a database is created");
    // For the tests' own SQL. Backline does not need the setting, which `lifecycle::layout` tests.
    let names = format!("ALTER DATABASE {name} SET search_path = backline, public");
    server.execute(AssertSqlSafe(names)).await.expect("the database's names are found");
    let mut url = url::Url::parse(&self::server()).expect("the server's URL is one");
    url.set_path(&name);
    eprintln!("on PostgreSQL");
    let outcome = AssertUnwindSafe(test(url.as_str())).catch_unwind().await;
    let dropped = server.execute(AssertSqlSafe(format!("DROP DATABASE {name} WITH (FORCE)"))).await;
    if let Err(panic) = outcome {
        std::panic::resume_unwind(panic);
    }
    dropped.expect("the database is dropped");
}

/// Writes into the tables as another program does, over a connection of its own and past the checks.
pub async fn write(url: &str, sql: &str) {
    sqlx::any::install_default_drivers();
    let mut database = AnyConnection::connect(url).await.expect("the database opens");
    if url.starts_with("sqlite") {
        // Hosts may be writing.
        database.execute("PRAGMA busy_timeout = 10000").await.expect("it waits");
    }
    database.execute(AssertSqlSafe(sql.to_owned())).await.expect("another program writes");
    database.close().await.expect("closed");
}

/// Writes into `artists` past its checks, as a row is that was there before them.
pub async fn write_unchecked(url: &str, sql: &str) {
    sqlx::any::install_default_drivers();
    let mut database = AnyConnection::connect(url).await.expect("the database opens");
    if url.starts_with("sqlite") {
        let alone = "PRAGMA busy_timeout = 10000; PRAGMA foreign_keys = OFF";
        execute(&mut database, alone).await.expect("it waits, and no table checks another");
    }
    unchecked(url, &mut database, sql).await.expect("it was there before");
    database.close().await.expect("closed");
}

/// The same on a connection, in one transaction: where the statement fails, nothing has changed, the checks included.
pub async fn unchecked(url: &str, database: &mut AnyConnection, sql: &str) -> sqlx::Result<()> {
    let is_file = url.starts_with("sqlite");
    execute(database, if is_file { "BEGIN IMMEDIATE" } else { "BEGIN" }).await?;
    let written = without_checks(is_file, database, sql).await;
    execute(database, if written.is_ok() { "COMMIT" } else { "ROLLBACK" }).await?;
    written
}

async fn without_checks(is_file: bool, database: &mut AnyConnection, sql: &str) -> sqlx::Result<()> {
    if !is_file {
        execute(database, "ALTER TABLE artists DISABLE TRIGGER artists_checked").await?;
        execute(database, sql).await?;
        return execute(database, "ALTER TABLE artists ENABLE TRIGGER artists_checked").await;
    }
    // A file has no switch for triggers.
    let checks = "SELECT name, sql FROM sqlite_master WHERE type = 'trigger' AND name LIKE 'artists_checked%'";
    let checks = sqlx::query(checks).fetch_all(&mut *database).await?;
    assert_eq!(checks.len(), 2, "the checks of new and of changed rows");
    for check in &checks {
        execute(database, &format!("DROP TRIGGER {}", check.get::<String, _>("name"))).await?;
    }
    execute(database, sql).await?;
    for check in &checks {
        execute(database, &check.get::<String, _>("sql")).await?;
    }
    Ok(())
}

/// Writes into a table past the check of one of its numbers, which is gone from then on.
pub async fn write_past_check(url: &str, table: &str, column: &str, sql: &str) {
    let without = if url.starts_with("sqlite") {
        format!("DROP TRIGGER {table}_numbers_changed")
    } else {
        format!("ALTER TABLE {table} DROP CONSTRAINT {table}_{column}")
    };
    write(url, &without).await;
    write(url, sql).await;
}

/// Has the database refuse a kind of change of a table's rows from now on, as a trigger of another program may.
pub async fn refuse(url: &str, table: &str, event: &str, condition: &str) {
    let trigger = if url.starts_with("sqlite") {
        format!(
            "CREATE TRIGGER refused BEFORE {event} ON {table} WHEN {condition}
             BEGIN SELECT RAISE(ABORT, 'refused by a test'); END"
        )
    } else {
        format!(
            "CREATE FUNCTION refused() RETURNS TRIGGER LANGUAGE plpgsql AS $$
                 BEGIN RAISE EXCEPTION 'refused by a test'; END $$;
             CREATE TRIGGER refused BEFORE {event} ON {table} FOR EACH ROW WHEN ({condition})
                 EXECUTE FUNCTION refused()"
        )
    };
    write(url, &trigger).await;
}

/// Has it take again what [`refuse`] had it refuse of a table.
pub async fn refuse_no_more(url: &str, table: &str) {
    let of_table = if url.starts_with("sqlite") { String::new() } else { format!(" ON {table}") };
    write(url, &format!("DROP TRIGGER refused{of_table}")).await;
}

async fn execute(database: &mut AnyConnection, sql: &str) -> sqlx::Result<()> {
    database.execute(AssertSqlSafe(sql.to_owned())).await.map(|_| ())
}

/// A name in Latin-1, as an expression of SQLite: a text that is not UTF-8. PostgreSQL takes no such text.
pub const LATIN_1: &str = "CAST(X'4AFC7267656E' AS TEXT)";

/// A text that is not UTF-8 and comes after all ASCII texts that begin so, as an expression of SQLite.
pub fn latin_1_after(start: &str) -> String {
    let mut hex = String::new();
    for byte in start.bytes() {
        let _ = write!(hex, "{byte:02X}");
    }
    format!("CAST(X'{hex}E4' AS TEXT)")
}

/// Sets a column to the value of an expression, in the rows for which a condition holds, as another program does that
/// checks nothing.
pub async fn spoil(url: &str, table: &str, column: &str, value: &str, of: &str) {
    let update = format!("UPDATE {table} SET {column} = {value} WHERE {of}");
    match table {
        "artists" => write_unchecked(url, &update).await,
        _ if url.starts_with("sqlite") => write(url, &format!("PRAGMA foreign_keys = OFF; {update}")).await,
        _ => write(url, &update).await,
    }
}

/// URL of the server: `DATABASE_URL`, or a cluster that this process starts.
pub fn server() -> String {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    #[expect(clippy::disallowed_methods, reason = "DATABASE_URL selects the server for tests")]
    if let Ok(url) = std::env::var("DATABASE_URL") {
        return url;
    }
    CLUSTER.get_or_init(|| Cluster::start(&[]).expect("a PostgreSQL cluster starts")).url()
}
