//! Reads every row of every table as JSON, on both kinds of database, with the tests' own SQL.

use std::collections::BTreeMap;

use backline_model::privacy::TABLES;
use backline_model::{Account, ArtistId};
use backline_store::{DatabaseKind, Store};
use serde_json::Value as Json;
use sqlx::any::AnyPoolOptions;
use sqlx::{AnyPool, AssertSqlSafe, Row as _};

/// Rows, by table.
pub type Rows = BTreeMap<&'static str, Vec<Json>>;

/// A connection pool of the test.
pub async fn raw(store: &Store, url: &str) -> AnyPool {
    let pool = AnyPoolOptions::new().max_connections(1).connect(url).await.unwrap();
    match store.kind() {
        DatabaseKind::Sqlite => execute(&pool, "PRAGMA foreign_keys = ON").await,
        DatabaseKind::Postgres => execute(&pool, "SET search_path = backline, public").await,
    }
    pool
}

pub async fn execute(pool: &AnyPool, statement: &str) {
    sqlx::query(AssertSqlSafe(statement.to_owned()))
        .execute(pool)
        .await
        .unwrap_or_else(|error| panic!("{statement}: {error}"));
}

/// All tables and columns, except for the list of migrations.
pub async fn columns(store: &Store, pool: &AnyPool) -> BTreeMap<String, Vec<String>> {
    let query = match store.kind() {
        DatabaseKind::Sqlite => {
            "SELECT t.name AS t, c.name AS c FROM sqlite_master t JOIN pragma_table_info(t.name) c
             WHERE t.type = 'table' AND t.name NOT LIKE 'sqlite%' ORDER BY t.name, c.cid"
        }
        DatabaseKind::Postgres => {
            "SELECT c.relname::text AS t, a.attname::text AS c FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
             WHERE c.relnamespace IN ('backline'::regnamespace, 'public'::regnamespace) AND c.relkind IN ('r', 'p')
                 AND NOT c.relispartition AND a.attnum > 0 AND NOT a.attisdropped ORDER BY c.relname, a.attnum"
        }
    };
    let mut tables: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for row in sqlx::query(query).fetch_all(pool).await.unwrap() {
        let table: String = row.get("t");
        if !table.starts_with("_sqlx") {
            tables.entry(table).or_default().push(row.get("c"));
        }
    }
    tables
}

/// Every row of every registered table.
pub async fn all_rows(store: &Store, pool: &AnyPool) -> Rows {
    let columns = columns(store, pool).await;
    let mut all = Rows::new();
    for table in TABLES {
        all.insert(table.name, rows_of(store, pool, table.name, &columns[table.name]).await);
    }
    all
}

/// Every row of a table or view with these columns.
pub async fn rows_of(store: &Store, pool: &AnyPool, from: &str, columns: &[String]) -> Vec<Json> {
    let row = match store.kind() {
        DatabaseKind::Sqlite => {
            let pairs: Vec<String> = columns
                .iter()
                .map(|name| {
                    format!("'{name}', CASE typeof({name}) WHEN 'blob' THEN lower(hex({name})) ELSE {name} END")
                })
                .collect();
            format!("json_object({})", pairs.join(", "))
        }
        DatabaseKind::Postgres => "to_jsonb(t)::text".to_owned(),
    };
    let query = format!("SELECT {row} AS r FROM {from} t");
    let found = sqlx::query(AssertSqlSafe(query)).fetch_all(pool).await.unwrap();
    let mut rows: Vec<Json> =
        found.iter().map(|row| serde_json::from_str(&row.get::<String, _>("r")).unwrap()).collect();
    rows.sort_by_key(Json::to_string);
    rows
}

/// Splits a table's rows into those about an artist and the others.
pub fn split(all: &Rows, table: &str, artist: ArtistId, accounts: &[Account]) -> (Vec<Json>, Vec<Json>) {
    let accounts: Vec<Json> = accounts.iter().map(|account| account.id.to_string().into()).collect();
    let credentials: Vec<&Json> =
        all["credentials"].iter().filter(|row| accounts.contains(&row["account_id"])).map(|row| &row["id"]).collect();
    let artist = Json::from(artist.to_string());
    let is_about = |row: &Json| {
        row["artist_id"] == artist
            || (table == "artists" && row["id"] == artist)
            || accounts.contains(&row["account_id"])
            || credentials.contains(&&row["credential_id"])
    };
    all[table].iter().cloned().partition(is_about)
}
