//! A row of which one column holds what no version of Backline writes costs itself: whatever the table, the column and
//! the value, the rows of another tenant are served by every list and by one turn of every stage.
//!
//! Tables and columns are those of the database's own catalogue. Each case sets a column of one row to a value that the
//! column's type and constraints let through. An ordinary run draws some of the cases, many at once, each of another
//! table; a long one (`--long`) has all of them. What fails is narrowed down to the cases that fail by themselves.
//!
//! Left out are columns that refer to another row or to which one refers, which constraints keep whole, and numbers
//! that the database draws: behind the greatest there is none left for any row.

mod rows;
mod stages;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;

use backline::config::Config;
use backline::pipeline::{Host, with_causes};
use backline_gateway::secrets::Keyring;
use backline_model::clock::Clock;
use backline_store::{Store, StoreOptions};
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use sqlx::any::AnyRow;
use sqlx::{AnyConnection, AssertSqlSafe, Connection as _, Executor as _, PgConnection, Row as _};

use self::rows::{Marks, fill_twice};
use self::stages::{Told, walk};
use super::fixtures::now;
use crate::support::database::{LATIN_1, each_empty_database, server};
use crate::support::long::is_long;

/// Cases that are spoilt at once in an ordinary run: one of each table.
const DRAWN: usize = 12;

/// Bytes of the stack on which the test runs; what is not used takes no memory. A build for tests has room in a frame
/// for every future that is made there, one beside the other, and here are those of all lists and stages.
const STACK_BYTES: usize = 64 * 1024 * 1024;

/// What the draws begin with.
const SEED: u64 = 20_261_130;

/// Tables that have no two rows, each with the reason.
const SINGLE: [(&str, &str); 1] = [("installation", "it has one row, which says whose the database is")];

/// A case: what a column of a table's row is set to, as an expression of SQL.
#[derive(Clone)]
struct Case {
    table: String,
    column: String,
    value: String,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value: String = self.value.chars().take(80).collect();
        write!(f, "{}.{} = {value}", self.table, self.column)
    }
}

/// A column as the catalogue has it.
struct Column {
    table: String,
    name: String,
    kind: String,
    is_nullable: bool,
    /// Whether a case may change it.
    is_free: bool,
}

/// The columns of all tables. `is_free` is 0 for keys of other tables, and for numbers that the database draws.
const COLUMNS_OF_A_FILE: &str = "SELECT t.name AS tbl, c.name AS col, lower(c.type) AS kind,
     CASE WHEN c.\"notnull\" = 0 AND c.pk = 0 THEN 1 ELSE 0 END AS nullable,
     CASE WHEN EXISTS (SELECT 1 FROM pragma_foreign_key_list(t.name) f WHERE f.\"from\" = c.name)
         OR EXISTS (SELECT 1 FROM sqlite_master o, pragma_foreign_key_list(o.name) f
             WHERE o.type = 'table' AND f.\"table\" = t.name AND f.\"to\" = c.name)
         OR (c.pk = 1 AND lower(c.type) = 'integer' AND
             (SELECT COUNT(*) FROM pragma_table_info(t.name) k WHERE k.pk > 0) = 1)
         THEN 0 ELSE 1 END AS is_free
 FROM sqlite_master t JOIN pragma_table_info(t.name) c
 WHERE t.type = 'table' AND t.name NOT LIKE 'sqlite%' AND t.name NOT LIKE '%sqlx%' ORDER BY t.name, c.cid";
const COLUMNS_OF_A_SERVER: &str = "SELECT c.table_name::text AS tbl, c.column_name::text AS col,
     c.data_type::text AS kind, CASE WHEN c.is_nullable = 'YES' THEN 1 ELSE 0 END::bigint AS nullable,
     CASE WHEN c.is_identity = 'YES' OR c.column_default LIKE 'nextval%' OR EXISTS (
         SELECT 1 FROM pg_constraint k JOIN pg_attribute a
             ON (a.attrelid = k.conrelid AND a.attnum = ANY (k.conkey))
                 OR (a.attrelid = k.confrelid AND a.attnum = ANY (k.confkey))
         WHERE k.contype = 'f' AND a.attname = c.column_name
             AND a.attrelid = format('%I.%I', c.table_schema, c.table_name)::regclass)
         THEN 0 ELSE 1 END::bigint AS is_free
 FROM information_schema.columns c JOIN information_schema.tables t
     ON t.table_schema = c.table_schema AND t.table_name = c.table_name
 WHERE c.table_schema IN ('public', 'backline') AND t.table_type = 'BASE TABLE' AND c.table_name NOT LIKE '%sqlx%'
     AND NOT (SELECT relispartition FROM pg_class
         WHERE oid = format('%I.%I', c.table_schema, c.table_name)::regclass)
 ORDER BY c.table_name, c.ordinal_position";

fn is_file(url: &str) -> bool {
    url.starts_with("sqlite")
}

/// A connection of another program, which passes triggers.
async fn outside(url: &str) -> AnyConnection {
    sqlx::any::install_default_drivers();
    let mut database = AnyConnection::connect(url).await.unwrap();
    if is_file(url) {
        let triggers = "SELECT name FROM sqlite_master WHERE type = 'trigger'";
        for trigger in sqlx::query(triggers).fetch_all(&mut database).await.unwrap() {
            let drop = format!("DROP TRIGGER {}", trigger.get::<String, _>("name"));
            database.execute(AssertSqlSafe(drop)).await.unwrap();
        }
    } else {
        database.execute("SET search_path = backline, public").await.unwrap();
        database.execute("SET session_replication_role = replica").await.unwrap();
    }
    database
}

async fn columns(url: &str) -> Vec<Column> {
    sqlx::any::install_default_drivers();
    let mut database = AnyConnection::connect(url).await.unwrap();
    let text = if is_file(url) { COLUMNS_OF_A_FILE } else { COLUMNS_OF_A_SERVER };
    let of = |row: &AnyRow| Column {
        table: row.get("tbl"),
        name: row.get("col"),
        kind: row.get("kind"),
        is_nullable: row.get::<i64, _>("nullable") != 0,
        is_free: row.get::<i64, _>("is_free") != 0,
    };
    let columns = sqlx::query(text).fetch_all(&mut database).await.unwrap().iter().map(of).collect();
    database.close().await.unwrap();
    columns
}

/// Values of a type that nobody expects, as expressions.
fn values(column: &Column, is_file: bool) -> Vec<String> {
    let texts = ["''", "'No Name! ü'", "'[]'", "'{}'", "'-1'", "'infinity'", "'2999-01-01T00:00:00.000000Z'"];
    let times = ["'infinity'", "'-infinity'", "'0001-01-01'", "'9999-12-31'", "'0044-03-15 BC'"];
    let values: &[&str] = match column.kind.as_str() {
        "text" => &texts,
        "bigint" | "integer" => &["-1", "9223372036854775807", "-9223372036854775807", "4294967296"],
        "boolean" => &["TRUE", "FALSE"],
        "timestamp with time zone" | "date" => &times,
        "json" | "jsonb" => &["'[]'", "'{}'", "'null'", "'7'", "'\"odd\"'"],
        "double precision" | "numeric" => &["'NaN'", "'Infinity'", "-1"],
        "real" => &["9e999", "-1", "1e301"],
        "bytea" => &["'\\x'", "'\\xff00'"],
        "blob" => &["X''", "X'FF00'"],
        "uuid" => &["'00000000-0000-0000-0000-000000000000'", "'ffffffff-ffff-ffff-ffff-ffffffffffff'"],
        other => panic!("{}.{} is a {other}: which values has nobody expected?", column.table, column.name),
    };
    let mut values: Vec<String> = values.iter().map(|value| (*value).to_owned()).collect();
    if is_file && column.kind == "text" {
        values.push(LATIN_1.to_owned());
        values.push("replace(hex(zeroblob(3000)), '00', 'xy')".to_owned());
    } else if column.kind == "text" {
        values.push("repeat('xy', 3000)".to_owned());
    }
    if column.is_nullable {
        values.push("NULL".to_owned());
    }
    values
}

/// The whole row as one text, as an expression.
fn row_text(table: &str, columns: &[Column], is_file: bool) -> String {
    if !is_file {
        return format!("row_to_json({table}.*)::text");
    }
    let own = columns.iter().filter(|column| column.table == table && column.kind != "blob");
    let texts: Vec<String> =
        own.map(|column| format!("COALESCE(CAST({table}.\"{}\" AS TEXT), '-')", column.name)).collect();
    texts.join(" || ';' || ")
}

/// The first row of a table that has one of these texts in it and none of the others.
async fn row_of(
    database: &mut AnyConnection,
    (table, text): (&str, &str),
    own: &[String],
    others: &[String],
) -> Option<String> {
    let all = format!("SELECT {text} AS text FROM {table} ORDER BY 1");
    let rows = sqlx::query(AssertSqlSafe(all)).fetch_all(&mut *database).await.unwrap();
    let has = |row: &str, marks: &[String]| marks.iter().any(|mark| row.contains(mark.as_str()));
    rows.iter().map(|row| row.get::<String, _>("text")).find(|row| has(row, own) && !has(row, others))
}

/// A filled database, of which each trial has a copy.
struct Ground<'a> {
    url: &'a str,
    folder: &'a Path,
    columns: Vec<Column>,
    marks: Marks,
    /// The row of each table that is spoilt, as text.
    rows: BTreeMap<String, String>,
}

impl Ground<'_> {
    async fn copy(&self) -> String {
        let name = format!("spoilt_{}", uuid::Uuid::new_v4().simple());
        if is_file(self.url) {
            let path = self.folder.join(format!("{name}.db"));
            std::fs::copy(self.url.trim_start_matches("sqlite://"), &path).unwrap();
            return format!("sqlite://{}", path.display());
        }
        let mut url = url::Url::parse(self.url).unwrap();
        let from = url.path().trim_start_matches('/').to_owned();
        on_server(&format!("CREATE DATABASE {name} TEMPLATE {from}")).await;
        url.set_path(&name);
        url.to_string()
    }

    async fn remove(&self, url: &str) {
        if is_file(url) {
            std::fs::remove_file(url.trim_start_matches("sqlite://")).unwrap();
        } else {
            let name = url::Url::parse(url).unwrap().path().trim_start_matches('/').to_owned();
            on_server(&format!("DROP DATABASE {name} WITH (FORCE)")).await;
        }
    }

    /// Spoils a copy, and runs all stages on it. Also which cases the database let through.
    async fn trial(&self, cases: &[Case]) -> (Vec<Told>, Vec<Case>) {
        let url = self.copy().await;
        let mut let_through = Vec::new();
        let mut database = outside(&url).await;
        for case in cases {
            let row = self.rows[&case.table].replace('\'', "''");
            let text = row_text(&case.table, &self.columns, is_file(&url));
            let set = format!("UPDATE {} SET \"{}\" = {} WHERE {text} = '{row}'", case.table, case.column, case.value);
            // A type, a check or a unique index may refuse it.
            if database.execute(AssertSqlSafe(set)).await.is_ok_and(|done| done.rows_affected() > 0) {
                let_through.push(case.clone());
            }
        }
        database.close().await.unwrap();
        let store = Store::open(&url, StoreOptions { connections_max: 4, ..StoreOptions::default() }).await.unwrap();
        let mut config = Config::default();
        config.database.url.clone_from(&url);
        config.secrets.key = Some(Keyring::generate_base64());
        config.installation.folder = Some(self.folder.to_owned());
        config.sandbox.cache_dir = Some(self.folder.to_owned());
        let told = match Host::open(config, Clock::fixed(now())).await {
            Ok(host) => {
                let told = walk(&store, &host).await;
                host.store().close().await;
                told
            }
            Err(error) => vec![("opening a host".to_owned(), Err(with_causes(&error)))],
        };
        store.close().await;
        self.remove(&url).await;
        (told, let_through)
    }

    /// The problem that these cases have at once, and the least of them that have one too.
    async fn narrowed(&self, cases: &[Case], before: &BTreeMap<&str, BTreeSet<&str>>) -> Option<String> {
        let (told, mut cases) = self.trial(cases).await;
        let mut problem = problem_of(&told, before)?;
        while cases.len() > 1 {
            let (first, second) = cases.split_at(cases.len() / 2);
            let mut smaller = None;
            for half in [first, second] {
                if let Some(found) = problem_of(&self.trial(half).await.0, before) {
                    (problem, smaller) = (found, Some(half.to_vec()));
                    break;
                }
            }
            let Some(half) = smaller else { break };
            cases = half;
        }
        let cases: Vec<String> = cases.iter().map(ToString::to_string).collect();
        Some(format!("{}\n    {problem}", cases.join(", ")))
    }
}

/// What is missing of what was served before anything was spoilt: the first stage, and why.
fn problem_of(told: &[Told], before: &BTreeMap<&str, BTreeSet<&str>>) -> Option<String> {
    told.iter().find_map(|(stage, told)| {
        let served = match told {
            Ok(served) => served,
            Err(error) => return Some(format!("{stage}: it fails as a whole: {error}")),
        };
        let expected = before.get(stage.as_str())?;
        let missing: Vec<_> = expected.iter().filter(|mark| !served.contains(**mark)).collect();
        (!missing.is_empty()).then(|| {
            let served: String = served.chars().take(2_000).collect();
            format!("{stage}: of the other row it does not tell {missing:?}, but: {served}")
        })
    })
}

async fn on_server(statement: &str) {
    let mut server = PgConnection::connect(&server()).await.unwrap();
    server.execute(AssertSqlSafe(statement.to_owned())).await.unwrap();
    server.close().await.unwrap();
}

/// The cases in the order in which they are spoilt: each list has one of each table that has so many.
fn drawn(ground: &Ground<'_>) -> Vec<Vec<Case>> {
    let mut dice = StdRng::seed_from_u64(SEED);
    let mut of_tables: BTreeMap<&str, Vec<Case>> = BTreeMap::new();
    let free = ground.columns.iter().filter(|column| column.is_free && ground.rows.contains_key(&column.table));
    for column in free {
        let case = |value| Case { table: column.table.clone(), column: column.name.clone(), value };
        let values = values(column, is_file(ground.url)).into_iter().map(case);
        of_tables.entry(&column.table).or_default().extend(values);
    }
    let mut lists: Vec<Vec<Case>> = Vec::new();
    for mut cases in of_tables.into_values() {
        cases.shuffle(&mut dice);
        for (n, case) in cases.into_iter().enumerate() {
            if lists.len() <= n {
                lists.push(Vec::new());
            }
            lists[n].push(case);
        }
    }
    lists
}

#[test]
fn a_row_that_is_spoilt_costs_no_other_one() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let thread = std::thread::Builder::new().name("spoilt".to_owned()).stack_size(STACK_BYTES);
    let ended = thread.spawn(move || runtime.block_on(spoil_and_walk())).unwrap().join();
    ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
}

async fn spoil_and_walk() {
    let is_long = is_long();
    each_empty_database(async |url| {
        let store = Store::open(url, StoreOptions { connections_max: 4, ..StoreOptions::default() }).await.unwrap();
        store.migrate().await.unwrap();
        let marks = fill_twice(&store, url).await;
        store.close().await;
        let folder = tempfile::tempdir().unwrap();
        let columns = columns(url).await;
        let mut ground = Ground { url, folder: folder.path(), columns, marks, rows: BTreeMap::new() };
        find_rows(&mut ground).await;

        let (told, _) = ground.trial(&[]).await;
        let served = |(stage, told): &'_ Told| {
            let told = told.as_ref().unwrap_or_else(|error| panic!("{stage} fails, and nothing is spoilt: {error}"));
            told.clone()
        };
        let mut before: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for one in &told {
            let text = served(one);
            let marks = ground.marks.theirs.iter().map(String::as_str).filter(|mark| text.contains(*mark));
            before.entry(one.0.as_str()).or_default().extend(marks);
        }
        let telling = before.values().filter(|marks| !marks.is_empty()).count();
        assert!(telling > 50, "only {telling} of {} stages tell of the other row", before.len());

        let (mut tried, mut problems) = (0, Vec::new());
        let lists = drawn(&ground);
        let number = if is_long { lists.len() } else { DRAWN };
        for cases in lists.iter().take(number) {
            tried += cases.len();
            problems.extend(ground.narrowed(cases, &before).await);
        }
        assert!(tried > 100, "only {tried} cases were tried");
        let problems = problems.join("\n");
        assert!(problems.is_empty(), "what one row holds costs others:\n{problems}");
    })
    .await;
}

/// Finds the row of each table that is spoilt. Each table has one, and one that is not.
async fn find_rows(ground: &mut Ground<'_>) {
    sqlx::any::install_default_drivers();
    let mut database = AnyConnection::connect(ground.url).await.unwrap();
    if !is_file(ground.url) {
        database.execute("SET search_path = backline, public").await.unwrap();
    }
    let tables = ground.columns.iter().filter(|column| column.is_free).map(|column| column.table.clone());
    let tables: BTreeSet<String> = tables.collect();
    let mut without = Vec::new();
    for table in tables {
        let text = row_text(&table, &ground.columns, is_file(ground.url));
        let Marks { spare, theirs } = &ground.marks;
        let found = row_of(&mut database, (table.as_str(), text.as_str()), spare, theirs).await;
        let other = row_of(&mut database, (table.as_str(), text.as_str()), theirs, spare).await;
        match (found, other) {
            (Some(row), Some(_)) => drop(ground.rows.insert(table, row)),
            _ => without.push(table),
        }
    }
    database.close().await.unwrap();
    without.retain(|table| !SINGLE.iter().any(|(single, _)| single == table));
    assert!(without.is_empty(), "tables without a row of the one and one of the other: {without:?}");
}
