//! As on Supabase: a client of logical replication reads the publication, each change is told to those who may read its
//! row, and the artist platform reads tables, views and functions by requests as PostgREST makes SQL of them.

use std::path::Path;
use std::time::Duration;

use backline_model::clock::Clock;
use backline_simulator::SimulatorConfig;
use chrono::{Days, TimeDelta};
use serde_json::{Value as Json, json};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};
use tokio::process::Command;

use super::pgoutput::{Change, changes};
use crate::support::companions::{companion, run};
use crate::support::postgres::Cluster;
use crate::support::stage::{PLATFORMS, Stage, noon};

/// Longest wait for the client.
const WAIT_MAX: Duration = Duration::from_secs(120);

/// What Supabase has before Backline comes: its roles, the one that PostgREST connects as, and its publication.
const SUPABASE: &str = "
    CREATE ROLE anon NOLOGIN;
    CREATE ROLE authenticated NOLOGIN;
    CREATE ROLE service_role NOLOGIN BYPASSRLS;
    CREATE ROLE authenticator LOGIN NOINHERIT;
    GRANT anon, authenticated, service_role TO authenticator;
    GRANT USAGE ON SCHEMA public TO anon, authenticated, service_role;
    ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT ALL ON TABLES TO anon, authenticated, service_role;
    ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT ALL ON FUNCTIONS TO anon, authenticated, service_role;
    CREATE PUBLICATION supabase_realtime";

/// What a request gets, as PostgREST sends it: the role and the claims of its token for one transaction, and the rows
/// as one JSON document. None without permission.
async fn request(api: &mut PgConnection, role: &str, claims: &Json, rows: &str) -> Option<Vec<Json>> {
    let mut transaction = api.begin().await.expect("a transaction");
    let set = "SELECT set_config('role', $1, TRUE), set_config('request.jwt.claims', $2, TRUE)";
    sqlx::query(set).bind(role).bind(claims.to_string()).execute(&mut *transaction).await.expect("set");
    let read = format!("SELECT coalesce(json_agg(t), '[]')::text FROM ({rows}) AS t");
    let found: Result<String, sqlx::Error> = sqlx::query_scalar(AssertSqlSafe(read)).fetch_one(&mut *transaction).await;
    transaction.rollback().await.expect("rolled back");
    match found {
        Ok(text) => Some(serde_json::from_str(&text).expect("a list")),
        Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some("42501") => None,
        Err(error) => panic!("{rows} as {role}: {error}"),
    }
}

/// The changes that the server has published until now, as `pg_recvlogical` gets them.
async fn received(program: &Path, url: &str, database: &mut PgConnection, folder: &Path) -> Vec<Change> {
    // What was committed without waiting for the disk is sent once it is there: this commit waits.
    let waits = "SET synchronous_commit = on; CREATE TABLE public.waited (); DROP TABLE public.waited";
    sqlx::raw_sql(waits).execute(&mut *database).await.expect("committed");
    let flushed = "SELECT pg_current_wal_flush_lsn()::text";
    let end: String = sqlx::query_scalar(flushed).fetch_one(&mut *database).await.expect("a position");
    let file = folder.join("changes");
    let _ = std::fs::remove_file(&file);
    let mut command = Command::new(program);
    command
        .args(["--dbname", url, "--slot", "realtime", "--start", "--no-loop", "--endpos", &end, "--file"])
        .arg(&file);
    command.args(["--option", "proto_version=1", "--option", "publication_names=supabase_realtime"]);
    let ended = run(&mut command, folder, WAIT_MAX).await;
    assert_eq!(ended.code, Some(0), "{}", ended.said);
    changes(&std::fs::read(&file).expect("written"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscriber_gets_each_row_and_a_user_reads_its_own() {
    let Some(program) = companion("TESTS_RECVLOGICAL") else { return };
    let cluster = Cluster::start(&["wal_level=logical"]).expect("a PostgreSQL cluster starts");
    let url = cluster.url();
    let folder = tempfile::tempdir().expect("a folder");
    let mut database = PgConnection::connect(&url).await.expect("the server answers");
    database.execute(SUPABASE).await.expect("as Supabase has it");
    // The function for growth looks back from the server's own date.
    let last = Clock::system().now().date_naive() - Days::new(1);
    let date = last - Days::new(1);
    let simulator = SimulatorConfig { artists: 2, date, ..SimulatorConfig::default() };
    let stage = Stage::set(&url, simulator, |_| {}).await;
    database.execute("SELECT pg_create_logical_replication_slot('realtime', 'pgoutput')").await.expect("a slot");

    stage.run(date).await;
    let first = received(&program, &url, &mut database, folder.path()).await;
    stage.set_date(last);
    stage.run(last).await;
    // A second observation of the same day changes its rows.
    stage.set_time(noon(last) + TimeDelta::hours(2));
    stage.run(last).await;
    let second = received(&program, &url, &mut database, folder.path()).await;

    // Subscribers see the table, and never a partition or a table of Backline's own.
    for change in first.iter().chain(&second) {
        assert_eq!(change.table, "public.metrics", "{change:?}");
    }
    let artists = [0, 1].map(|index| stage.simulator.world().artist(index).id.to_string());
    let count = |changes: &[Change], is_insert: bool| changes.iter().filter(|one| one.is_insert == is_insert).count();
    let rows = artists.len() * PLATFORMS.len();
    assert_eq!(count(&first, true), rows, "{first:?}");
    assert_eq!(count(&second, true), rows, "{second:?}");
    assert!(count(&second, false) >= rows, "changed rows come too: {second:?}");
    assert!(first.iter().all(|change| artists.contains(&change.row["artist_id"])), "{first:?}");
    let has_followers = |change: &Change| change.row.get("followers").is_some_and(|value| value.parse::<i64>().is_ok());
    assert!(first.iter().any(has_followers), "{first:?}");

    // PostgREST's connection, which has no right of its own.
    let mut own = url::Url::parse(&url).expect("a URL");
    own.set_username("authenticator").expect("a user");
    let mut api = PgConnection::connect(own.as_str()).await.expect("it may connect");
    let nobody = json!({ "role": "anon" });
    let user = json!({ "role": "authenticated", "sub": artists[0] });
    let server = json!({ "role": "service_role" });

    // As Realtime decides whom it tells of a change: by whether its row can be read.
    for change in &first {
        let (account, day) = (&change.row["account_id"], &change.row["metric_date"]);
        let row = format!("SELECT 1 FROM public.metrics WHERE account_id = '{account}' AND metric_date = '{day}'");
        let is_own = change.row["artist_id"] == artists[0];
        let told = request(&mut api, "authenticated", &user, &row).await.expect("it may read");
        assert_eq!(told.len(), usize::from(is_own), "{change:?}");
        assert!(request(&mut api, "anon", &nobody, &row).await.is_none_or(|rows| rows.is_empty()), "{change:?}");
    }

    // Tables and views, each with the columns that its reader asks for.
    let days = 2;
    for (rows, of_user, of_all) in [
        ("SELECT id, name, timezone FROM public.artists", 1, 2),
        ("SELECT artist_id, platform, metric_date, followers FROM public.metrics", 5 * days, 10 * days),
        ("SELECT artist_id, metric_date, followers FROM public.metrics_all", 5 * days, 10 * days),
        ("SELECT * FROM public.growth", 5 * days, 10 * days),
    ] {
        let read = request(&mut api, "authenticated", &user, rows).await.unwrap_or_else(|| panic!("{rows}: refused"));
        assert_eq!(read.len(), of_user, "{rows}: {read:?}");
        assert!(!serde_json::to_string(&read).expect("JSON").contains(&artists[1]), "{rows}: {read:?}");
        let read = request(&mut api, "service_role", &server, rows).await.unwrap_or_else(|| panic!("{rows}: refused"));
        assert_eq!(read.len(), of_all, "{rows}");
        assert!(request(&mut api, "anon", &nobody, rows).await.is_none_or(|rows| rows.is_empty()), "{rows}");
    }
    for table in ["backline.credentials", "backline.events", "backline.documents"] {
        for (role, claims) in [("anon", &nobody), ("authenticated", &user), ("service_role", &server)] {
            let read = request(&mut api, role, claims, &format!("SELECT * FROM {table}")).await;
            assert_eq!(read, None, "{role} reads {table}");
        }
    }

    // The function that the artist platform calls by its name.
    let called = |artist: &str| {
        format!(
            "SELECT metric_date, follower_growth_rate, engagement_growth_rate
             FROM public.calculate_growth_rates('{artist}', 'youtube')"
        )
    };
    let own = request(&mut api, "authenticated", &user, &called(&artists[0])).await.expect("it may call it");
    let other = request(&mut api, "authenticated", &user, &called(&artists[1])).await.expect("it may call it");
    assert_eq!(other, Vec::<Json>::new(), "another artist's");
    let rates: Vec<(&str, bool)> = own
        .iter()
        .map(|row| (row["metric_date"].as_str().expect("a date"), row["follower_growth_rate"].is_number()))
        .collect();
    let (last, date) = (last.to_string(), date.to_string());
    assert_eq!(rates, [(last.as_str(), true), (date.as_str(), false)], "no rate without a day before: {own:?}");
}
