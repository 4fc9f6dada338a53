//! Tests of the archive: retention to the day, interruption at any point, and the weekly schedule.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use backline::config::Config;
use backline::pipeline::service::Service;
use backline::pipeline::{ArchiveError, Host, with_causes};
use backline_model::clock::Clock;
use backline_model::health::RecommendationKind;
use backline_model::retention::Action;
use backline_model::{AccountId, ApiToken, ArtistId, Digest, Event, Role, Tenant, TokenId, Zone};
use backline_rules::archive::{ArchiveRule, What};
use backline_simulator::{Fault, FaultKind, RetryAfter, SimulatorConfig};
use backline_store::{ArchiveRun, EventCursor, MetricsFilter, Scope, StoredSession};
use chrono::{DateTime, Datelike as _, Days, NaiveDate, TimeDelta, Utc};
use sqlx::{AnyConnection, AssertSqlSafe, Connection as _, Executor as _, Row as _};

use crate::support::database::{each_database, refuse};
use crate::support::fleet::{Fleet, until};
use crate::support::stage::{Stage, noon, platform};

const ZONES: [&str; 6] =
    ["Pacific/Kiritimati", "Etc/GMT+12", "UTC", "America/New_York", "Asia/Kolkata", "Pacific/Auckland"];

/// First date with rows.
const FIRST: &str = "2022-06-01";

/// Number of days with rows: three years, including a leap day.
const DAYS: u64 = 1096;

/// Maximum wait on a slow machine.
const SOON: Duration = Duration::from_secs(120);

/// Delay in days after which every tenth date was observed again.
const REFRESHED_AFTER: u64 = 300;

pub fn at(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

fn date(text: &str) -> NaiveDate {
    text.parse().unwrap()
}

/// An account of an artist, with the properties that the rules use.
#[derive(Clone, Debug)]
struct Someone {
    zone: Zone,
    youtube: bool,
    authorised: bool,
    tenant: &'static str,
}

fn someone(index: usize) -> Someone {
    Someone {
        zone: ZONES[index % ZONES.len()].parse().unwrap(),
        youtube: index.is_multiple_of(4),
        authorised: index.is_multiple_of(8),
        tenant: if index.is_multiple_of(5) { "short" } else { "default" },
    }
}

fn artist_id(index: usize) -> String {
    format!("00000000-0000-4000-8000-{index:012}")
}

fn account_id(index: usize) -> String {
    format!("00000000-0000-4000-9000-{index:012}")
}

/// The dates with rows, with the time of each date's last observation.
fn days() -> Vec<(NaiveDate, DateTime<Utc>)> {
    (0..DAYS)
        .map(|index| {
            let day = date(FIRST) + Days::new(index);
            let observed = if index % 10 == 0 { day + Days::new(REFRESHED_AFTER) } else { day };
            (day, noon(observed))
        })
        .collect()
}

pub async fn plain(url: &str) -> AnyConnection {
    sqlx::any::install_default_drivers();
    AnyConnection::connect(url).await.unwrap()
}

/// Runs SQL, without its casts on SQLite.
async fn execute(url: &str, database: &mut AnyConnection, sql: &str) {
    let mut sql = sql.to_owned();
    if url.starts_with("sqlite") {
        for cast in ["::date", "::timestamptz", "::uuid", "::jsonb"] {
            sql = sql.replace(cast, "");
        }
    }
    database.execute(AssertSqlSafe(sql)).await.unwrap();
}

/// Fills the database with artists with one account each, and rows for three years. The first few accounts also have
/// documents and growth.
pub async fn fill(stage: &Stage, url: &str, artists: usize) {
    let store = stage.host.store();
    store.months_ensure(days().iter().map(|(day, _)| *day)).await.unwrap();
    let mut database = plain(url).await;
    let (mut people, mut accounts, mut credentials) = (Vec::new(), Vec::new(), Vec::new());
    for index in 0..artists {
        let Someone { zone, youtube, authorised, tenant } = someone(index);
        let (artist, account) = (artist_id(index), account_id(index));
        let on = if youtube { "youtube" } else { "spotify" };
        people.push(format!(
            "('{artist}', 'A', '{tenant}', 'paused', FALSE, '{zone}', \
             '2022-01-01T00:00:00.000000Z', '2022-01-01T00:00:00.000000Z')"
        ));
        accounts.push(format!(
            "('{account}', '{artist}', '{on}', 'p{index}', '{{}}', 'disabled', \
             '2022-01-01T00:00:00.000000Z', '2022-01-01T00:00:00.000000Z')"
        ));
        if authorised {
            credentials.push(format!(
                "('{artist}', '{on}', 'user', '{account}', 'api-key', '', 1, 'active', \
                 '2022-01-01T00:00:00.000000Z', '2022-01-01T00:00:00.000000Z')"
            ));
        }
    }
    let insert = async |database: &mut AnyConnection, into: &str, rows: &[String]| {
        execute(url, database, &format!("INSERT INTO {into} VALUES {}", rows.join(","))).await;
    };
    insert(
        &mut database,
        "artists (id, name, tenant, subscription_status, data_collection_enabled, timezone, created_at, updated_at)",
        &people,
    )
    .await;
    let into = "accounts (id, artist_id, platform, platform_id, settings, status, created_at, updated_at)";
    insert(&mut database, into, &accounts).await;
    let sealed = if url.starts_with("sqlite") { "x''" } else { "''" };
    let credentials: Vec<String> = credentials.iter().map(|row| row.replace("''", sealed)).collect();
    let into = "credentials (id, platform, slot, account_id, kind, sealed, version, status, created_at, updated_at)";
    insert(&mut database, into, &credentials).await;
    let dates: Vec<String> = days()
        .iter()
        .map(|(day, observed)| format!("('{day}', '{}')", observed.format("%Y-%m-%dT%H:%M:%S.000000Z")))
        .collect();
    let with = format!("WITH days (d, o) AS (VALUES {})", dates.join(","));
    execute(
        url,
        &mut database,
        &format!(
            "INSERT INTO metrics (account_id, artist_id, platform, metric_date, followers, extra, absent, coverage,
                 observed, window_since, window_until, collection_source, data_quality_score, findings, notes,
                 observed_at, release_digest, wit_version, run_id, document_id, created_at, updated_at)
             {with} SELECT a.id, a.artist_id, a.platform, d::date, 7, '{{}}'::jsonb, '{{}}'::jsonb, '{{}}'::jsonb,
                 '{{}}'::jsonb, o::timestamptz, o::timestamptz, 'api', 1, '[]'::jsonb, '[]'::jsonb, o::timestamptz,
                 'sha256:0000000000000000000000000000000000000000000000000000000000000000', '1.0.0',
                 '00000000-0000-0000-0000-0000000000cc'::uuid, '00000000-0000-0000-0000-0000000000dd'::uuid,
                 o::timestamptz, o::timestamptz
             FROM accounts a CROSS JOIN days"
        ),
    )
    .await;
    let few = account_id(8);
    execute(url, &mut database, &format!("UPDATE metrics SET growth = '{{}}' WHERE account_id < '{few}'")).await;
    let body = if url.starts_with("sqlite") { "x'00'" } else { "'\\x00'::bytea" };
    let id = if url.starts_with("sqlite") { "a.id || d" } else { "gen_random_uuid()" };
    execute(
        url,
        &mut database,
        &format!(
            "INSERT INTO documents (id, account_id, artist_id, platform, metric_date, run_id, observed_at, window_since,
                 window_until, release_digest, body, bytes_raw)
             {with} SELECT {id}, a.id, a.artist_id, a.platform, d::date, '00000000-0000-0000-0000-0000000000cc'::uuid,
                 o::timestamptz, o::timestamptz, o::timestamptz,
                 'sha256:0000000000000000000000000000000000000000000000000000000000000000', {body}, 1
             FROM accounts a CROSS JOIN days WHERE a.id < '{few}'"
        ),
    )
    .await;
    database.close().await.unwrap();
}

type Rows = BTreeSet<(usize, NaiveDate)>;

/// The dates of each account in a table.
async fn rows(database: &mut AnyConnection, table: &str) -> Rows {
    let query = format!("SELECT CAST(account_id AS TEXT) AS a, CAST(metric_date AS TEXT) AS d FROM {table}");
    sqlx::query(AssertSqlSafe(query))
        .fetch_all(database)
        .await
        .unwrap()
        .iter()
        .map(|row| {
            let (account, day): (String, String) = (row.get("a"), row.get("d"));
            (account[24..].parse().unwrap(), date(&day))
        })
        .collect()
}

/// Number of rows in a table.
async fn count(database: &mut AnyConnection, table: &str) -> i64 {
    let query = format!("SELECT COUNT(*) AS n FROM {table}");
    sqlx::query(AssertSqlSafe(query)).fetch_one(database).await.unwrap().get("n")
}

/// The date some months before, or the last day of that month if it has no such day.
fn months_before(day: NaiveDate, months: i32) -> NaiveDate {
    let month = day.year() * 12 + i32::try_from(day.month0()).unwrap() - months;
    let (year, month) = (month.div_euclid(12), u32::try_from(month.rem_euclid(12)).unwrap() + 1);
    (1..=day.day()).rev().find_map(|day| NaiveDate::from_ymd_opt(year, month, day)).unwrap()
}

/// How far rows move to the archive.
#[derive(Clone, Copy)]
pub enum Moved {
    /// To the day, where the artist is.
    Days,
    /// Whole months that are past their time everywhere: those of PostgreSQL, unless a rule tells artists apart.
    Months,
}

/// How far rows move to a database's archive by the built-in rule.
pub fn moved_in(url: &str) -> Moved {
    if url.starts_with("sqlite") { Moved::Days } else { Moved::Months }
}

/// Where docs/archive.md leaves each row, computed row by row.
fn expected(artists: usize, now: DateTime<Utc>, moved: Moved) -> BTreeMap<&'static str, Rows> {
    let mut tables: BTreeMap<&'static str, Rows> =
        ["metrics", "metrics_archive", "growth", "documents"].map(|table| (table, Rows::new())).into();
    let policy = now.date_naive() - Days::new(30);
    // Where the day begins last on Earth.
    let last_today = (now - TimeDelta::hours(12)).date_naive();
    let whole = months_before(last_today, 24).with_day(1).unwrap();
    for index in 0..artists {
        let Someone { zone, youtube, authorised, tenant } = someone(index);
        let today = zone.date_at(now);
        for (day, observed) in days() {
            let forbidden = youtube && !authorised && observed.date_naive() < policy;
            // The tenant that keeps its numbers for 18 months only.
            let dropped = tenant == "short" && day < months_before(today, 18);
            let mut put = |table: &'static str| tables.get_mut(table).unwrap().insert((index, day));
            let is_archived = match moved {
                Moved::Days => day < months_before(today, 24),
                Moved::Months => day < whole,
            };
            if !forbidden && !dropped {
                put(if is_archived { "metrics_archive" } else { "metrics" });
            }
            if index < 8 && !forbidden && !dropped {
                put("growth");
            }
            if index < 8 && !forbidden && day >= months_before(today, 6) {
                put("documents");
            }
        }
    }
    tables
}

pub async fn expect(database: &mut AnyConnection, artists: usize, now: DateTime<Utc>, moved: Moved) {
    for (table, expected) in expected(artists, now, moved) {
        let found = rows(database, table).await;
        let missing: Vec<_> = expected.difference(&found).take(5).collect();
        let surplus: Vec<_> = found.difference(&expected).take(5).collect();
        assert!(missing.is_empty() && surplus.is_empty(), "{table} at {now}: missing {missing:?}, surplus {surplus:?}");
    }
}

/// A host with YouTube's connector, and a rule for one tenant.
pub async fn stage(url: &str, change: impl FnOnce(&mut Config)) -> Stage {
    let simulator = SimulatorConfig { artists: 1, date: date("2025-06-20"), ..SimulatorConfig::default() };
    let stage = Stage::bare(url, simulator, |config| {
        config.archive.rules = vec![ArchiveRule {
            what: What::Metrics,
            action: Some(Action::Delete),
            platform: None,
            tenant: Some(Tenant::new("short").unwrap()),
            months: Some(18),
            days: None,
            reason: None,
        }];
        change(config);
    })
    .await;
    stage.install(&["youtube"]).await;
    stage
}

async fn archive(stage: &Stage, now: DateTime<Utc>) -> ArchiveRun {
    stage.set_time(now.max(at("2025-06-20T12:00:00Z")));
    stage.host.archive().run(now, &|_| {}).await.unwrap()
}

#[tokio::test]
async fn three_years_of_two_hundred_artists_are_kept_to_the_day() {
    const ARTISTS: usize = 200;
    each_database(async |_, url| {
        let stage = stage(url, |_| {}).await;
        fill(&stage, url, ARTISTS).await;
        let mut database = plain(url).await;
        // Half a day before and after the end of a leap year's February, and of a month that is longer than the one six
        // months before.
        for now in ["2024-08-31T10:30:00Z", "2025-02-28T11:30:00Z", "2025-06-20T12:30:00Z"] {
            let now = at(now);
            let plan = stage.host.archive().plan(now).await.unwrap();
            let planned: u64 = plan.steps.iter().filter_map(|step| step.rows).sum();
            let run = archive(&stage, now).await;
            assert_eq!(run.state, "done");
            assert!(planned > 0 && !run.counts.is_empty(), "{run:?}");
            expect(&mut database, ARTISTS, now, moved_in(url)).await;
            // A second run has nothing to do.
            assert_eq!(archive(&stage, now).await.counts, BTreeMap::new());
        }
        // Archived rows are still found.
        let account = AccountId(account_id(1).parse().unwrap());
        let filter = MetricsFilter { account: Some(account), limit: Some(10_000), ..MetricsFilter::default() };
        assert_eq!(
            stage.host.store().metrics_list(&Scope::all_tenants(), &filter).await.unwrap().len(),
            usize::try_from(DAYS).unwrap()
        );
        if url.starts_with("postgres") {
            let gone = "SELECT COUNT(*) AS n FROM pg_class \
                        WHERE relname IN ('metrics_2022_06', 'documents_2022_06', 'documents_2024_06')";
            let whole = "SELECT COUNT(*) AS n FROM pg_class WHERE relname = 'metrics_archive_2022_06'";
            // A table that moved kept the names of its indexes: months of the first run and of each later one.
            let moved = "SELECT COUNT(*) AS n FROM pg_indexes WHERE (tablename, indexname) IN (
                ('metrics_archive_2022_06', 'metrics_2022_06_pkey'),
                ('metrics_archive_2023_01', 'metrics_2023_01_pkey'),
                ('metrics_archive_2023_05', 'metrics_2023_05_pkey'))";
            for (query, count) in [(gone, 0_i64), (whole, 1), (moved, 3)] {
                let found: i64 = sqlx::query(AssertSqlSafe(query)).fetch_one(&mut database).await.unwrap().get("n");
                assert_eq!(found, count, "{query}");
            }
        }
        database.close().await.unwrap();
    })
    .await;
}

/// Number of rows in the tables that the archive only removes rows from.
async fn rows_left(database: &mut AnyConnection) -> usize {
    let query =
        "SELECT (SELECT COUNT(*) FROM metrics) + (SELECT COUNT(*) FROM growth) + (SELECT COUNT(*) FROM documents) AS n";
    let n: i64 = sqlx::query(query).fetch_one(database).await.unwrap().get("n");
    usize::try_from(n).unwrap()
}

#[tokio::test]
async fn after_kills_at_ten_points_the_result_is_the_same() {
    const ARTISTS: usize = 16;
    const KILLS: usize = 10;
    const NOW: &str = "2025-06-20T12:30:00Z";
    each_database(async |_, url| {
        let stage = stage(url, |config| config.service.leader_ttl_ms = 1_000).await;
        fill(&stage, url, ARTISTS).await;
        let fleet = Fleet::of(&stage, |config| {
            config.archive.rows_per_transaction = 10;
            // A whole month is done in one step, which can't be interrupted. With an exception for one tenant, rows are
            // moved one by one.
            config.archive.rules.extend([What::Metrics, What::Documents].map(|what| ArchiveRule {
                what,
                action: None,
                platform: None,
                tenant: Some(Tenant::new("nobody").unwrap()),
                months: Some(36),
                days: None,
                reason: Some("there is no such tenant".to_owned()),
            }));
        });
        let mut database = plain(url).await;
        let before = rows_left(&mut database).await;
        let tables = expected(ARTISTS, at(NOW), Moved::Days);
        let after: usize = ["metrics", "growth", "documents"].iter().map(|table| tables[table].len()).sum();
        let mut left = before;
        for point in 1..=KILLS {
            // The kills are spread over the work, each after the previous one. What is left after the last one takes
            // longer than a busy machine needs to look.
            let aim = (before - (before - after) * point / (KILLS + 4)).min(left - 1);
            let mut process = fleet
                .command(&["archive", "run", "--at", NOW])
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            until(Duration::from_secs(180), "it has come so far", async || {
                let ended = process.try_wait().unwrap();
                assert!(ended.is_none(), "it ended before it could be killed: {ended:?}");
                (rows_left(&mut database).await <= aim).then_some(())
            })
            .await;
            process.kill().unwrap();
            assert!(!process.wait().unwrap().success(), "killed before its end");
            left = rows_left(&mut database).await;
            assert!(left > after, "there was work left at point {point}");
        }
        let last = fleet.command(&["archive", "run", "--at", NOW, "--json"]).output().unwrap();
        assert!(last.status.success(), "{}", String::from_utf8_lossy(&last.stderr));
        expect(&mut database, ARTISTS, at(NOW), Moved::Days).await;
        let runs = stage.host.store().archive_runs_list(20).await.unwrap();
        let states: Vec<&str> = runs.iter().map(|run| run.state.as_str()).collect();
        assert_eq!(states, [&["done"][..], &["failed"; KILLS]].concat());
        database.close().await.unwrap();
    })
    .await;
}

/// Another transaction holds locks on accounts, as the completion of a batch does before it writes metrics.
#[tokio::test]
async fn a_month_that_cannot_be_locked_is_done_row_by_row() {
    const ARTISTS: usize = 6;
    const NOW: &str = "2024-08-31T10:30:00Z";
    each_database(async |_, url| {
        if url.starts_with("sqlite") {
            return;
        }
        let stage = stage(url, |config| config.service.leader_ttl_ms = 1_000).await;
        fill(&stage, url, ARTISTS).await;
        let fleet = Fleet::of(&stage, |_| {});
        let (mut database, mut holder) = (plain(url).await, plain(url).await);
        execute(url, &mut holder, "BEGIN").await;
        execute(url, &mut holder, "SELECT 1 AS held FROM backline.accounts ORDER BY id FOR NO KEY UPDATE").await;
        // The process is killed while it waits for the accounts.
        let mut process = fleet.command(&["archive", "run", "--at", NOW]).stdout(Stdio::null()).spawn().unwrap();
        until(Duration::from_secs(120), "it waits for the month", async || {
            let ended = process.try_wait().unwrap();
            assert!(ended.is_none(), "it ended before it could be killed: {ended:?}");
            let waiting = "SELECT COUNT(*) AS n FROM pg_stat_activity
                WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE '%archive_month%'";
            let n: i64 = sqlx::query(waiting).fetch_one(&mut database).await.unwrap().get("n");
            (n > 0).then_some(())
        })
        .await;
        process.kill().unwrap();
        process.wait().unwrap();
        let done = fleet.command(&["archive", "run", "--at", NOW, "--json"]).output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        expect(&mut database, ARTISTS, at(NOW), Moved::Months).await;
        // The transaction that held the locks continues.
        execute(url, &mut holder, "UPDATE metrics SET followers = 8 WHERE metric_date = '2025-05-31'").await;
        execute(url, &mut holder, "COMMIT").await;
        expect(&mut database, ARTISTS, at(NOW), Moved::Months).await;
        holder.close().await.unwrap();
        database.close().await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_step_that_fails_keeps_no_other_from_being_done() {
    each_database(async |_, url| {
        let stage = stage(url, |_| {}).await;
        fill(&stage, url, 8).await;
        refuse(url, "documents", "DELETE", "TRUE").await;
        let now = at("2025-06-20T12:30:00Z");
        stage.set_time(now);
        let error = stage.host.archive().run(now, &|_| {}).await.unwrap_err();
        assert!(with_causes(&error).contains("refused by a test"), "{error}");
        let run = stage.host.store().archive_runs_list(1).await.unwrap().remove(0);
        assert_eq!(run.state, "failed");
        assert!(run.message.is_some_and(|message| message.contains("refused by a test")));
        // It comes after all that is deleted.
        assert!(run.counts.contains_key("archive metrics"), "{:?}", run.counts);
    })
    .await;
}

#[tokio::test]
async fn what_one_table_refuses_fails_a_part_of_what_is_removed_between_runs() {
    each_database(async |_, url| {
        let stage = stage(url, |_| {}).await;
        let (store, now) = (stage.host.store(), stage.host.clock().now());
        let token = ApiToken {
            id: TokenId::generate(),
            name: "someone".to_owned(),
            role: Role::Operator,
            tenant: None,
            created_at: now,
            expires_at: None,
            last_used_at: None,
            revoked_at: None,
        };
        store.token_add(&Scope::all_tenants(), &token, Digest::of(b"secret")).await.unwrap();
        let (id, secret, until) = (uuid::Uuid::from_u128(1), Digest::of(b"cookie"), now - TimeDelta::hours(1));
        store.session_open(&StoredSession { id, token: token.id, secret, until, notice: None }).await.unwrap();
        refuse(url, "dashboard_sessions", "DELETE", "TRUE").await;
        let error = stage.host.archive().answers_remove().await.unwrap_err();
        // The loop goes on: only what keeps all of its work from it makes a host unready.
        assert!(matches!(error, ArchiveError::Part(_)), "{error}");
        assert!(with_causes(&error).contains(&id.to_string()), "{error}");
    })
    .await;
}

#[tokio::test]
async fn a_future_time_is_refused() {
    each_database(async |_, url| {
        let stage = stage(url, |_| {}).await;
        let now = stage.host.clock().now();
        let refused = stage.host.archive().run(now + TimeDelta::seconds(1), &|_| {}).await.unwrap_err();
        assert!(refused.to_string().contains("is in the future"), "{refused}");
        assert_eq!(stage.host.store().archive_runs_list(5).await.unwrap(), []);
    })
    .await;
}

#[tokio::test]
async fn once_a_week_one_of_two_hosts_runs_the_archive() {
    each_database(async |_, url| {
        let stage = stage(url, |config| config.service.poll_ms = 5).await;
        // A Saturday.
        stage.set_time(at("2025-06-21T12:00:00Z"));
        let other = stage.another_host(|config| config.service.name = Some("other".to_owned())).await;
        let services = [Service::start(stage.host.clone()).await.unwrap(), Service::start(other).await.unwrap()];
        let store = stage.host.store();
        let of = async |origin: &str| {
            let runs = store.archive_runs_list(50).await.unwrap();
            assert!(runs.iter().all(|run| run.state != "failed"), "{runs:?}");
            runs.into_iter().filter(|run| run.origin == origin && run.state == "done").collect::<Vec<_>>()
        };
        until(SOON, "the first look", async || (!of("start").await.is_empty()).then_some(())).await;
        assert_eq!(of("schedule").await, []);
        for (week, time) in ["2025-06-22T04:00:00Z", "2025-06-29T04:00:00Z", "2025-07-20T09:00:00Z"].iter().enumerate()
        {
            stage.set_time(at(time));
            until(SOON, "it is done", async || (of("schedule").await.len() > week).then_some(())).await;
            // Between the weekly runs only the terms of platforms apply, whatever else was archived.
            until(SOON, "the role is free", async || {
                let earlier = at("2025-01-01T00:00:00Z");
                match stage.host.archive().run(earlier, &|_| {}).await {
                    Ok(run) => Some(run),
                    Err(ArchiveError::Busy { .. }) => None,
                    Err(error) => panic!("{error}"),
                }
            })
            .await;
            // That day's own run, and not one that was due before: the time must not jump while a host has the role.
            let over = at(time) + TimeDelta::hours(30);
            stage.set_time(over);
            let is_over = async || of("terms").await.iter().any(|run| run.as_of == over).then_some(());
            until(SOON, "a day is over", is_over).await;
        }
        // If both hosts had run it, there would be more runs. The last one covers three missed times.
        let times: Vec<DateTime<Utc>> = of("schedule").await.iter().rev().map(|run| run.as_of).collect();
        assert_eq!(times, [at("2025-06-22T04:00:00Z"), at("2025-06-29T04:00:00Z"), at("2025-07-20T09:00:00Z")]);
        for service in services {
            assert!(service.stop().await);
        }
    })
    .await;
}

#[tokio::test]
async fn retention_by_platform_terms_runs_daily_and_nothing_else_does() {
    const ARTISTS: usize = 8;
    each_database(async |_, url| {
        let stage = stage(url, |config| config.service.poll_ms = 5).await;
        fill(&stage, url, ARTISTS).await;
        // A Monday.
        stage.set_time(at("2025-06-23T12:00:00Z"));
        let service = Service::start(stage.host.clone()).await.unwrap();
        let store = stage.host.store();
        let latest = async || store.archive_runs_list(1).await.unwrap().pop().filter(|run| run.state == "done");
        until(SOON, "the first look", async || latest().await).await;
        let mut database = plain(url).await;
        let before = rows(&mut database, "metrics").await;
        let now = at("2025-06-24T12:00:00Z");
        stage.set_time(now);
        until(SOON, "a day is over", async || latest().await.filter(|run| run.origin == "terms")).await;
        let left = rows(&mut database, "metrics").await;
        let gone: Rows = before.difference(&left).copied().collect();
        let policy = now.date_naive() - Days::new(30);
        let forbidden = |index: usize| someone(index).youtube && !someone(index).authorised;
        let expected = days().into_iter().filter(|(_, observed)| observed.date_naive() < policy);
        let expected: Rows = expected
            .flat_map(|(day, _)| (0..ARTISTS).filter(|index| forbidden(*index)).map(move |index| (index, day)))
            .collect();
        assert!(!expected.is_empty());
        assert_eq!(gone, expected);
        assert_eq!(rows(&mut database, "metrics_archive").await, Rows::new());
        assert!(service.stop().await);
        database.close().await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_run_of_a_clock_that_was_ahead_holds_up_no_later_one() {
    each_database(async |store, url| {
        let stage = stage(url, |config| config.service.poll_ms = 5).await;
        // A Monday.
        stage.set_time(at("2025-06-23T12:00:00Z"));
        let ahead = at("2025-08-02T12:00:00Z");
        let run = ArchiveRun {
            id: uuid::Uuid::from_u128(1),
            origin: "schedule".to_owned(),
            as_of: ahead,
            started_at: ahead,
            finished_at: Some(ahead),
            state: "done".to_owned(),
            counts: BTreeMap::new(),
            message: None,
        };
        store.archive_run_save(&run).await.unwrap();
        let service = Service::start(stage.host.clone()).await.unwrap();
        let done = async |origin: &str| {
            let runs = store.archive_runs_list(50).await.unwrap();
            let found = runs.iter().any(|run| run.origin == origin && run.state == "done" && run.as_of < ahead);
            found.then_some(())
        };
        until(SOON, "the first look", async || done("start").await).await;
        stage.set_time(at("2025-06-24T12:00:00Z"));
        until(SOON, "a day is over", async || done("terms").await).await;
        stage.set_time(at("2025-06-29T12:00:00Z"));
        until(SOON, "a week is over", async || done("schedule").await).await;
        assert!(service.stop().await);
    })
    .await;
}

#[tokio::test]
async fn a_late_number_for_an_archived_date_is_merged_with_its_row() {
    each_database(async |_, url| {
        let day = date("2025-06-20");
        let simulator = SimulatorConfig { artists: 1, date: day, ..SimulatorConfig::default() };
        let stage = Stage::set(url, simulator, |_| {}).await;
        stage.run_some(day, &["spotify"]).await;
        let artist = ArtistId(stage.simulator.world().artist(0).id);
        let accounts = stage.host.store().accounts_of(&Scope::all_tenants(), &[artist]).await.unwrap();
        let account = accounts.into_iter().find(|account| account.platform == platform("spotify")).unwrap();
        let filter = MetricsFilter { account: Some(account.id), ..MetricsFilter::default() };
        let before = stage.host.store().metrics_list(&Scope::all_tenants(), &filter).await.unwrap().remove(0);
        let mut database = plain(url).await;
        if url.starts_with("postgres") {
            execute(
                url,
                &mut database,
                "SELECT 1 AS made FROM backline.ensure_month('metrics_archive'::regclass, '2025-06-20')",
            )
            .await;
        }
        execute(url, &mut database, "INSERT INTO metrics_archive SELECT * FROM metrics").await;
        execute(url, &mut database, "DELETE FROM metrics").await;

        let fault = Fault::always(FaultKind::Status { status: 500, retry_after: RetryAfter::Absent });
        stage.simulator.set_faults(vec![fault.on_path(&format!("/v1/artists/{}/albums", account.platform_id))]);
        let report = stage.run_some(day, &["spotify"]).await;
        assert_eq!(report.run.counts.collected, 1, "{report:?}");
        assert_eq!(count(&mut database, "metrics").await, 1);
        let rows = stage.host.store().metrics_list(&Scope::all_tenants(), &filter).await.unwrap();
        assert_eq!(rows.len(), 1, "a date has one row even before the next archive run: {rows:?}");
        assert_ne!(rows[0].run_id, before.run_id, "the later run");
        archive(&stage, at("2027-07-21T12:00:00Z")).await;
        let after = stage.host.store().metrics_list(&Scope::all_tenants(), &filter).await.unwrap();
        assert_eq!(count(&mut database, "metrics").await, 0);
        assert_eq!(after.len(), 1, "{after:?}");
        assert!(before.values.keys().any(|metric| metric.as_str() == "recent_releases"), "{before:?}");
        assert_eq!(after[0].values, before.values, "no known value is lost");
        assert_ne!(after[0].run_id, before.run_id, "the row is from the later run");
        database.close().await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn documents_are_stored_compressed() {
    each_database(async |_, url| {
        let simulator = SimulatorConfig { artists: 1, date: date("2025-06-20"), ..SimulatorConfig::default() };
        let stage = Stage::set(url, simulator, |_| {}).await;
        let report = stage.run_some(date("2025-06-20"), &["youtube"]).await;
        assert_eq!(report.run.counts.collected, 1, "{report:?}");
        let filter = MetricsFilter { platform: Some(platform("youtube")), ..MetricsFilter::default() };
        let rows = stage.host.store().metrics_list(&Scope::all_tenants(), &filter).await.unwrap();
        let body = stage.host.store().document_get(&Scope::all_tenants(), rows[0].document_id).await.unwrap().unwrap();
        let mut database = plain(url).await;
        let row = sqlx::query("SELECT body, bytes_raw FROM documents").fetch_one(&mut database).await.unwrap();
        let (stored, raw): (Vec<u8>, i64) = (row.get("body"), row.get("bytes_raw"));
        assert_eq!(stored[..4], 0xFD2F_B528_u32.to_le_bytes(), "zstd's magic number");
        assert_eq!(usize::try_from(raw).unwrap(), body.len());
        assert!(stored.len() < body.len());
        database.close().await.unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_whose_clock_jumped_deletes_nothing_until_it_is_right_again() {
    each_database(async |store, url| {
        let stage = stage(url, |config| config.service.poll_ms = 5).await;
        let ahead = Arc::new(AtomicI64::new(0));
        let clock = {
            let ahead = Arc::clone(&ahead);
            Clock::of_machine(move || Clock::system().now() + TimeDelta::days(ahead.load(Ordering::SeqCst)))
        };
        let host = Host::open(stage.host.config().clone(), clock).await.unwrap();
        // Younger than the month for which events are kept.
        let event = Event {
            id: uuid::Uuid::from_u128(1),
            kind: "metrics.collected".to_owned(),
            artist_id: None,
            occurred_at: host.clock().now() - TimeDelta::days(5),
            dedup_key: None,
            data: serde_json::json!({}),
        };
        store.events_write(&Scope::all_tenants(), &[event]).await.unwrap();
        let events = async || {
            let all = store.events_list(&Scope::all_tenants(), EventCursor::default(), 100).await.unwrap();
            all.iter().filter(|(_, event)| event.id == uuid::Uuid::from_u128(1)).count()
        };

        ahead.store(40, Ordering::SeqCst);
        let refused = host.archive().run(host.clock().now(), &|_| {}).await.unwrap_err();
        assert!(matches!(refused, ArchiveError::Clock(_)), "{refused}");
        assert!(refused.to_string().contains("nothing is deleted"), "{refused}");
        let report = host.health().report(None).await.unwrap();
        let said = report.recommendations.iter().find(|said| said.kind == RecommendationKind::ClockDiffers);
        let said = said.unwrap_or_else(|| panic!("{:?}", report.recommendations));
        assert!(said.sentence.contains("40 days ahead"), "{said:?}");
        assert_eq!((events().await, store.archive_runs_list(5).await.unwrap().len()), (1, 0));
        // An earlier time has passed by both clocks.
        host.archive().run(host.clock().now() - TimeDelta::days(41), &|_| {}).await.unwrap();
        assert_eq!(events().await, 1);

        ahead.store(0, Ordering::SeqCst);
        host.archive().run(host.clock().now(), &|_| {}).await.unwrap();
        assert_eq!(events().await, 1, "it is five days old");
        let report = host.health().report(None).await.unwrap();
        assert!(report.recommendations.iter().all(|said| said.kind != RecommendationKind::ClockDiffers));
    })
    .await;
}
