//! Events about rows: what they say is read from the row, and stays the same whatever becomes of it.

use std::borrow::Cow;

use backline_model::event::{row_event_data, types};
use backline_model::growth::{Changes, SPANS_DAYS};
use backline_model::retention::{Before, LocalDay, RetainedTable, RetentionStep};
use backline_model::{
    Batch, BatchAccount, BatchId, Event, GrowthChange, GrowthRow, MetricsRow, NoChange, Quarantined, RowEvent, RowFact,
    Value,
};
use backline_store::{
    AccountFilter, ArchivePlace, BatchResult, EventCursor, MetricsFilter, QuarantineFilter, Scope, Store, StoreOptions,
    StoredAccount,
};
use serde_json::{Value as Json, json};
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::{AnyPool, AssertSqlSafe, Row as _, SqlSafeStr as _};
use uuid::Uuid;

use crate::store::fixtures::{
    add_batches, batch, create_run, day, followers, lease, metric, now, past, people, run, stored,
};
use crate::store::schema::raw;
use crate::store::scope::step;
use crate::support::database::{each_database, each_empty_database};

/// Stores a row in a run of its own, with what is added to it.
async fn store_row(store: &Store, n: u128, row: &MetricsRow, add: impl FnOnce(&mut StoredAccount)) {
    let accounts = vec![BatchAccount { account_id: row.account_id, metric_date: row.metric_date }];
    let of_run = Batch { id: BatchId::generate(), accounts, ..batch(n, &run(n), &[], row.metric_date) };
    add_batches(store, &[of_run], now()).await;
    let lease = lease(store).await;
    let mut completion = store.completion_begin(&lease, now()).await.unwrap();
    completion.history_load(&[(row.account_id, row.metric_date)]).await.unwrap();
    let mut account = stored(row.clone());
    add(account.stored.as_mut().unwrap());
    completion.commit(BatchResult { accounts: vec![account], ..BatchResult::default() }).await.unwrap();
}

/// The same with both of its events.
async fn collect(store: &Store, n: u128, row: &MetricsRow, withheld: Vec<Quarantined>) {
    let event = |fact| RowEvent { id: Uuid::now_v7(), occurred_at: now(), fact };
    let events = vec![event(RowFact::Collected), event(RowFact::Changed { change: json!({ "first": true }) })];
    store_row(store, n, row, |stored| (stored.events, stored.withheld) = (events, withheld)).await;
}

async fn events(store: &Store) -> Vec<Event> {
    let all = store.events_list(&Scope::all_tenants(), EventCursor::default(), 1_000).await.unwrap();
    all.into_iter().map(|(_, event)| event).collect()
}

/// What is stored of each event itself.
async fn own_data(pool: &AnyPool) -> Vec<Json> {
    let rows = sqlx::query("SELECT CAST(data AS TEXT) AS data FROM events ORDER BY seq").fetch_all(pool).await.unwrap();
    rows.iter().map(|row| serde_json::from_str(&row.get::<String, _>("data")).unwrap()).collect()
}

#[tokio::test]
async fn an_event_of_a_row_is_stored_without_a_copy_and_says_the_same_once_the_row_is_replaced() {
    each_database(async |store, url| {
        let [account] = people(&store, 1).await.try_into().unwrap();
        let date = day("2026-11-22");
        let first = followers(&account, date, 100);
        collect(&store, 1, &first, Vec::new()).await;
        let pool = raw(url).await;
        assert_eq!(own_data(&pool).await, [json!({}), json!({ "change": { "first": true } })]);
        let told = events(&store).await;
        let change = json!({ "change": { "first": true } });
        assert_eq!(told[0].data, row_event_data(types::METRICS_COLLECTED, &json!({}), &first));
        assert_eq!(told[1].data, row_event_data(types::SIGNIFICANT_CHANGE, &change, &first));
        assert_eq!(told[0].data["values"]["followers"], 100);
        let keys: Vec<_> = told.iter().map(|event| event.dedup_key.clone().unwrap()).collect();
        let once = format!("{}:{date}", account.id);
        let of_run = format!("metrics.collected:{}:{once}", run(1).id);
        assert_eq!(keys, [of_run, format!("metrics.significant_change:{once}")]);

        // The same date again: the change is told once, and what was told stays as it was.
        let second = followers(&account, date, 200);
        create_run(&store, &run(2)).await;
        collect(&store, 2, &second, Vec::new()).await;
        let after = events(&store).await;
        assert_eq!(after[..2], told);
        assert_eq!(after.len(), 3, "{after:?}");
        assert_eq!(after[2].data["values"]["followers"], 200);
        let (_, by_id) = store.event_get(&Scope::all_tenants(), told[1].id).await.unwrap();
        assert_eq!(by_id, told[1]);
        pool.close().await;
    })
    .await;
}

#[tokio::test]
async fn an_event_keeps_its_data_when_a_value_is_released_or_its_row_deleted() {
    each_database(async |store, _| {
        let [account] = people(&store, 1).await.try_into().unwrap();
        let date = day("2026-11-22");
        let row = followers(&account, date, 100);
        let likes = Quarantined {
            id: Uuid::from_u128(7),
            account_id: account.id,
            artist_id: account.artist_id,
            platform: account.platform.clone(),
            metric_date: date,
            metric: "likes".to_owned(),
            value: Value::Integer(-5),
            rule: "negative".to_owned(),
            release: row.release,
            document_id: row.document_id,
            status: backline_model::row::QuarantineStatus::Held,
            created_at: now(),
        };
        collect(&store, 1, &row, vec![likes]).await;
        let told = events(&store).await;

        let held = store.quarantine_list(&Scope::all_tenants(), &QuarantineFilter::default()).await.unwrap();
        let mut release = store.quarantine_release_begin(&Scope::all_tenants(), held[0].id, now()).await.unwrap();
        let mut released = release.account_history_load().await.unwrap().existing.unwrap();
        released.values.insert(metric("likes"), Value::Integer(-5));
        release.commit(&released, &[]).await.unwrap();
        assert_eq!(events(&store).await, told);

        create_run(&store, &run(2)).await;
        collect(&store, 2, &followers(&account, date, 300), Vec::new()).await;
        let told = events(&store).await;
        let step = RetentionStep {
            table: RetainedTable::Metrics,
            before: Before::Dates(vec![LocalDay {
                today: day("2026-12-30"),
                before: day("2026-12-01"),
                zones: store.artist_zones_list(&Scope::all_tenants()).await.unwrap(),
            }]),
            ..step()
        };
        let zones = store.artist_zones_list(&Scope::all_tenants()).await.unwrap();
        let (all, from) = (Scope::all_tenants(), ArchivePlace::default());
        let taken = store.archive_due_put_away(&all, &step, &zones, &from, 10, past(now())).await.unwrap();
        assert_eq!(taken.rows, 1);
        assert_eq!(events(&store).await, told);
    })
    .await;
}

#[tokio::test]
async fn an_event_of_an_archived_row_says_the_same_before_and_after_a_late_number() {
    each_database(async |store, url| {
        let [account] = people(&store, 1).await.try_into().unwrap();
        let date = day("2026-11-22");
        collect(&store, 1, &followers(&account, date, 100), Vec::new()).await;
        let told = events(&store).await;
        let pool = raw(url).await;
        if !url.starts_with("sqlite") {
            let month = "SELECT 1 FROM backline.ensure_month('metrics_archive'::regclass, '2026-11-22')";
            sqlx::query(month).execute(&pool).await.unwrap();
        }
        for text in ["INSERT INTO metrics_archive SELECT * FROM metrics", "DELETE FROM metrics"] {
            sqlx::query(text).execute(&pool).await.unwrap();
        }
        assert_eq!(events(&store).await, told);

        create_run(&store, &run(2)).await;
        collect(&store, 2, &followers(&account, date, 200), Vec::new()).await;
        let after = events(&store).await;
        assert_eq!(after[..2], told);
        assert_eq!((after.len(), &after[2].data["values"]["followers"]), (3, &json!(200)));
        pool.close().await;
    })
    .await;
}

#[tokio::test]
async fn an_event_says_so_when_another_program_replaced_or_deleted_its_row() {
    each_database(async |store, url| {
        let [one, two] = people(&store, 2).await.try_into().unwrap();
        let date = day("2026-11-22");
        collect(&store, 1, &followers(&one, date, 100), Vec::new()).await;
        create_run(&store, &run(2)).await;
        collect(&store, 2, &followers(&two, date, 100), Vec::new()).await;
        let pool = raw(url).await;
        let later = if url.starts_with("sqlite") { "'2026-12-24T00:00:00.000000Z'" } else { "updated_at + '1 day'" };
        for text in [
            format!("UPDATE metrics SET followers = 7, updated_at = {later} WHERE account_id = '{}'", one.id),
            format!("DELETE FROM metrics WHERE account_id = '{}'", two.id),
        ] {
            sqlx::query(AssertSqlSafe(text)).execute(&pool).await.unwrap();
        }
        let told = events(&store).await;
        assert_eq!(told.len(), 4);
        for event in told {
            let metrics = event.data.get("new_metrics").unwrap_or(&event.data);
            assert_eq!((&metrics["replaced"], &metrics["values"]), (&json!(true), &json!({})), "{event:?}");
            assert_eq!((&metrics["metric_date"], &metrics["platform"]), (&json!(date), &json!("demo")));
        }
        pool.close().await;
    })
    .await;
}

/// The migrations before this one, on SQLite and on PostgreSQL.
macro_rules! before {
    ($($version:literal $name:literal),*) => {
        [$((
            $version,
            include_str!(concat!("../../../migrations/sqlite/", $name, ".sql")),
            include_str!(concat!("../../../migrations/postgres/", $name, ".sql")),
        )),*]
    };
}

const BEFORE: [(i64, &str, &str); 10] = before![
    1 "0001_first", 2 "0002_service", 3 "0003_releases", 4 "0004_layout", 5 "0005_deliveries", 6 "0006_health",
    7 "0007_archive", 8 "0008_privacy", 9 "0009_reading", 10 "0010_linear"
];

/// An artist with one account, one row with growth, both events of it and its outcome, as versions before wrote them.
const FILL: [&str; 7] = [
    "INSERT INTO artists
         (id, name, tenant, subscription_status, data_collection_enabled, timezone, created_at, updated_at)
     VALUES ('00000000-0000-0000-0000-0000000000aa', 'A', 'default', 'active', TRUE, 'UTC', '{at}', '{at}')",
    "INSERT INTO accounts (id, artist_id, platform, platform_id, settings, status, created_at, updated_at)
     VALUES ('00000000-0000-0000-0000-0000000000bb', '00000000-0000-0000-0000-0000000000aa', 'demo', 'x', '{}',
         'active', '{at}', '{at}')",
    "INSERT INTO metrics (account_id, artist_id, platform, metric_date, followers, extra, absent, coverage, observed,
         window_since, window_until, collection_source, data_quality_score, findings, notes, observed_at,
         release_digest, wit_version, run_id, document_id, created_at, updated_at)
     VALUES ('00000000-0000-0000-0000-0000000000bb', '00000000-0000-0000-0000-0000000000aa', 'demo', '2026-11-22', 5,
         '{}', '{}', '{}', '{}', '{at}', '{at}', 'api', 1, '[]', '[]', '{at}', '{digest}', '1.0.0',
         '00000000-0000-0000-0000-0000000000cc', '00000000-0000-0000-0000-0000000000dd', '{at}', '{at}')",
    "INSERT INTO growth (account_id, artist_id, platform, metric_date, changes, updated_at)
     VALUES ('00000000-0000-0000-0000-0000000000bb', '00000000-0000-0000-0000-0000000000aa', 'demo', '2026-11-22',
         '{changes}', '{at}')",
    "INSERT INTO events (id, type, artist_id, occurred_at, dedup_key, data)
     VALUES ('00000000-0000-0000-0000-0000000000e1', 'metrics.collected', '00000000-0000-0000-0000-0000000000aa',
         '{at}', '{collected}',
         '{\"told\": 1}')",
    "INSERT INTO events (id, type, artist_id, occurred_at, dedup_key, data)
     VALUES ('00000000-0000-0000-0000-0000000000e2', 'metrics.significant_change',
         '00000000-0000-0000-0000-0000000000aa', '{at}',
         'metrics.significant_change:00000000-0000-0000-0000-0000000000bb:2026-11-22', '{\"told\": 2}')",
    "INSERT INTO collection_outcomes (run_id, account_id, artist_id, platform, metric_date, outcome, attempts, at)
     VALUES ('00000000-0000-0000-0000-0000000000cc', '00000000-0000-0000-0000-0000000000bb',
         '00000000-0000-0000-0000-0000000000aa', 'demo', '2026-11-22', 'collected', 1, '{at}')",
];

const COLLECTED: &str =
    "metrics.collected:00000000-0000-0000-0000-0000000000cc:00000000-0000-0000-0000-0000000000bb:2026-11-22";

const CHANGES: &str = r#"{"followers": {"1": {"absolute": 2.0, "gap_days": 1, "percent": 66.67}}}"#;

#[tokio::test]
async fn an_older_database_keeps_its_events_and_its_growth() {
    each_empty_database(async |url| {
        let sqlite = url.starts_with("sqlite");
        // Makes the file.
        Store::open(url, StoreOptions::default()).await.unwrap().close().await;
        let pool = raw(url).await;
        let migrations = BEFORE.map(|(version, of_sqlite, of_postgres)| {
            let text = if sqlite { of_sqlite } else { of_postgres };
            let name = "before";
            Migration::new(version, Cow::Borrowed(name), MigrationType::Simple, text.into_sql_str(), false)
        });
        if !sqlite {
            for text in ["CREATE SCHEMA IF NOT EXISTS backline", "SET search_path = backline, public"] {
                sqlx::query(text).execute(&pool).await.unwrap();
            }
        }
        Migrator::with_migrations(migrations.to_vec()).run(&pool).await.unwrap();
        if !sqlite {
            let months = "SELECT 1 FROM backline.ensure_months(ARRAY['2026-11-22'::date])";
            sqlx::query(months).execute(&pool).await.unwrap();
        }
        for text in FILL {
            let text = text.replace("{at}", "2026-11-22T09:00:00.000000Z").replace("{changes}", CHANGES);
            let text = text.replace("{digest}", &"0".repeat(64)).replace("{collected}", COLLECTED);
            sqlx::query(AssertSqlSafe(text)).execute(&pool).await.unwrap();
        }
        pool.close().await;

        let store = Store::open(url, StoreOptions::default()).await.unwrap();
        assert_eq!(
            store.migrate().await.unwrap().applied,
            [
                "0011_order",
                "0012_lean",
                "0013_compact",
                "0014_allowances",
                "0015_installation",
                "0016_access",
                "0017_logs",
                "0018_answers",
                "0019_alerts",
                "0020_acts",
                "0021_digests",
                "0022_artists",
                "0023_numbers"
            ]
        );
        let before = events(&store).await;
        let told: Vec<_> = before.iter().map(|event| event.data["told"].clone()).collect();
        assert_eq!(told, [1, 2]);
        let growth = store.growth_list(&Scope::all_tenants(), &MetricsFilter::default()).await.unwrap();
        assert_eq!(growth[0].changes, serde_json::from_str(CHANGES).unwrap());
        let before_run = backline_model::RunId(Uuid::from_u128(0xCC));
        let outcomes = store.run_outcomes_list(&Scope::all_tenants(), before_run, None, 10).await.unwrap();
        assert_eq!(outcomes.iter().map(|one| one.outcome.as_str()).collect::<Vec<_>>(), ["collected"]);
        let pool = raw(url).await;
        let logs = "SELECT COUNT(*) AS n FROM data_collection_logs WHERE status = 'success'";
        assert_eq!(sqlx::query(logs).fetch_one(&pool).await.unwrap().get::<i64, _>("n"), 1);
        pool.close().await;

        // What was told is not told again.
        let accounts = store.accounts_list(&Scope::all_tenants(), &AccountFilter::default()).await.unwrap();
        let date = day("2026-11-22");
        create_run(&store, &run(2)).await;
        collect(&store, 2, &followers(&accounts[0], date, 9), Vec::new()).await;
        let after = events(&store).await;
        assert_eq!(after[..2], before);
        assert_eq!(after[2..].iter().map(|event| event.kind.as_str()).collect::<Vec<_>>(), ["metrics.collected"]);
        store.close().await;
    })
    .await;
}

#[tokio::test]
async fn programs_read_growth_in_full() {
    each_database(async |store, url| {
        let [account] = people(&store, 1).await.try_into().unwrap();
        let date = day("2026-11-22");
        let change = |absolute, percent, gap_days, daily_percent, reason| GrowthChange {
            absolute,
            percent,
            gap_days,
            daily_percent,
            reason,
        };
        let of = |changes: [GrowthChange; 4]| SPANS_DAYS.into_iter().zip(changes).collect();
        let absent = change(None, None, None, None, Some(NoChange::Absent));
        let growth = GrowthRow {
            account_id: account.id,
            artist_id: account.artist_id,
            platform: account.platform.clone(),
            metric_date: date,
            changes: [
                (metric("streams"), of([absent; 4])),
                (
                    metric("followers"),
                    of([
                        change(Some(45.0), Some(0.13), Some(1), None, None),
                        change(Some(3.0), None, Some(7), None, Some(NoChange::ZeroBase)),
                        change(None, None, Some(9), Some(-0.5), Some(NoChange::Gap)),
                        change(None, None, Some(90), None, Some(NoChange::Break)),
                    ]),
                ),
                (
                    metric("engagement_rate"),
                    of([
                        change(Some(-0.25), None, Some(1), None, None),
                        change(None, None, Some(9), None, Some(NoChange::Gap)),
                        change(None, None, None, None, Some(NoChange::First)),
                        change(None, Some(2.0), None, None, None),
                    ]),
                ),
                (metric("likes"), std::collections::BTreeMap::from([(7, absent)])),
            ]
            .into(),
        };
        let row = followers(&account, date, 100);
        store_row(&store, 1, &row, |stored| stored.growth = vec![growth.clone()]).await;

        assert_eq!(
            store.growth_list(&Scope::all_tenants(), &MetricsFilter::default()).await.unwrap(),
            std::slice::from_ref(&growth)
        );
        let pool = raw(url).await;
        let row = sqlx::query("SELECT CAST(changes AS TEXT) AS changes FROM growth").fetch_one(&pool).await.unwrap();
        let seen: Changes = serde_json::from_str(&row.get::<String, _>("changes")).unwrap();
        assert_eq!(seen, growth.changes);
        pool.close().await;
    })
    .await;
}
