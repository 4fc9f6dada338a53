//! What a batch costs on PostgreSQL does not depend on the size of the tables.
//!
//! Each test collects the same batches in a small and in a large database, with the store's own methods, and compares
//! what PostgreSQL counted: the blocks it touched, and scans of whole tables. Nothing is timed.

use std::collections::BTreeMap;
use std::time::Duration;

use backline_model::retention::{Action, Before, LocalDay, RetainedTable, RetentionStep, RowFilter};
use backline_model::{
    Account, AccountId, Artist, ArtistId, Batch, BatchId, Candidate, Consent, DeliveryState, GrowthRow, Lease, Outcome,
    RowEvent, RowFact, Run, RunId, SwapCause, WebhookId, Weights,
};
use backline_store::{
    AccountResult, ArchivePlace, BatchResult, EventCursor, Finish, NewDelivery, Scope, Store, StoreOptions,
    StoredAccount,
};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};
use uuid::Uuid;

use crate::store::fixtures::{
    add_batches, at, batch, create_run, day, demo, document, followers, now, past, release, result, run,
};
use crate::support::fleet::until;
use crate::support::postgres::Cluster;
use crate::support::tables::number;

/// Artists of the small and of the large database. Each has two accounts, one of which was collected before.
const SIZES: [u32; 2] = [2_000, 20_000];

/// How much more a batch may cost in the large one: indexes are a level deeper there.
const GROWTH_MAX: f64 = 1.5;

/// Batches that are counted, after as many in tables that are nearly empty: by then PostgreSQL has made its plans for
/// good.
const BATCHES: u32 = 8;
const ACCOUNTS_PER_BATCH: u32 = 50;
const WEBHOOK: Uuid = Uuid::from_u128(0xD000_0001);

/// Tables that do not grow with artists or with time.
const SMALL: [&str; 17] = [
    "_sqlx_migrations",
    "alert_channels",
    "alert_digests",
    "alert_receivers",
    "alert_routes",
    "alerts",
    "compiled",
    "grants",
    "hosts",
    "leaders",
    "lost_metrics",
    "platforms",
    "release_activations",
    "releases",
    "schedules",
    "trust",
    "webhooks",
];

/// Everything that grows, as after two days of collections, beside what the first batches left. Ids are as random as
/// those that Backline makes.
const FILL: &str = "
    INSERT INTO artists (id, name, tenant, subscription_status, data_collection_enabled, timezone, created_at,
        updated_at)
    SELECT md5('artist' || n)::uuid, 'Artist ' || n, 'default', 'active', TRUE, 'Europe/Berlin', now(), now()
    FROM generate_series(1, {artists}) AS n
    ON CONFLICT DO NOTHING;
    INSERT INTO accounts (id, artist_id, platform, platform_id, settings, status, created_at, updated_at)
    SELECT md5(p || n)::uuid, md5('artist' || n)::uuid, p, 'channel-' || n, '{}', 'active', now(), now()
    FROM generate_series(1, {artists}) AS n, unnest(ARRAY['demo', 'other']) AS p
    ON CONFLICT DO NOTHING;
    INSERT INTO consents (artist_id, platform, granted, scope, source, recorded_at)
    SELECT artist_id, platform, TRUE, 'metrics', 'test', '2026-11-01' FROM accounts
    ON CONFLICT DO NOTHING;
    INSERT INTO credentials (id, platform, slot, account_id, kind, sealed, version, status, created_at, updated_at)
    SELECT md5('credential' || id)::uuid, platform, 'token', id, 'token', 'sealed', 1, 'active', now(), now()
    FROM accounts
    ON CONFLICT DO NOTHING;
    INSERT INTO account_state (account_id, state, last_accepted, updated_at)
    SELECT id, '{}', '{\"followers\": \"2026-11-21\"}', now() FROM accounts
    ON CONFLICT DO NOTHING;
    INSERT INTO batches (id, run_id, turn, tenant, platform, release_digest, window_since, window_until, state,
        attempts, lease_token, available_at, created_at, finished_at)
    SELECT md5('batch' || n)::uuid, (SELECT id FROM runs LIMIT 1), n, 'default', 'demo', 'd', now(), now(), 'done', 1,
        1, '2026-11-21', '2026-11-21', '2026-11-21'
    FROM generate_series(1, {artists} / 10) AS n
    ON CONFLICT DO NOTHING;
    INSERT INTO batches (id, run_id, turn, tenant, platform, release_digest, window_since, window_until, state,
        attempts, lease_token, available_at, created_at)
    SELECT md5('waiting' || n)::uuid, (SELECT id FROM runs LIMIT 1), -n, 'default', 'other', 'd', now(), now(),
        CASE WHEN n % 2 = 0 THEN 'planned' ELSE 'deferred' END, 1, 1, '2026-12-21', '2026-11-21'
    FROM generate_series(1, {artists} / 10) AS n
    ON CONFLICT DO NOTHING;
    INSERT INTO batch_accounts (batch_id, position, account_id, metric_date)
    SELECT md5('batch' || n / 50 + 1)::uuid, n % 50, md5('demo' || n)::uuid, '2026-11-21'
    FROM generate_series(1, {artists}) AS n
    ON CONFLICT DO NOTHING;
    INSERT INTO collection_outcomes (run_id, account_id, artist_id, platform, metric_date, outcome, attempts, at)
    SELECT md5('run')::uuid, id, artist_id, platform, '2026-11-21', 'collected', 1, '2026-11-21'
    FROM accounts WHERE platform = 'demo'
    ON CONFLICT DO NOTHING;
    INSERT INTO metrics (account_id, artist_id, platform, metric_date, followers, extra, absent, coverage, observed,
        window_since, window_until, collection_source, data_quality_score, findings, notes, observed_at, release_digest,
        wit_version, run_id, document_id, created_at, updated_at)
    SELECT id, artist_id, platform, DATE '2026-11-20' + d, 5, '{}', '{}', '{}', '{}', now(), now(), 'api', 1, '[]',
        '[]', now(), 'd', '1.0.0', md5('run')::uuid, md5(id::text || d)::uuid, now(), now()
    FROM accounts, generate_series(0, 1) AS d WHERE platform = 'demo'
    ON CONFLICT DO NOTHING;
    INSERT INTO events (id, type, artist_id, occurred_at, data, row_account, row_date, row_run, row_at)
    SELECT md5('event' || account_id)::uuid, 'metrics.collected', artist_id, '2026-11-21', '{}', account_id,
        metric_date, run_id, updated_at
    FROM metrics WHERE metric_date = '2026-11-21'
    ON CONFLICT DO NOTHING;
    INSERT INTO deliveries (webhook_id, event_seq, event_id, artist_id, line, state, attempts, next_at, finished_at)
    SELECT '00000000-0000-0000-0000-0000d0000001', seq, id, artist_id, 'artist:' || COALESCE(artist_id::text, ''),
        'delivered', 1, '2026-11-21', '2026-11-21'
    FROM events
    ON CONFLICT DO NOTHING;
    UPDATE webhooks SET seen = (SELECT MAX(seq) FROM events);
    UPDATE metrics SET growth = '{}' WHERE metric_date = '2026-11-21' AND growth IS NULL;
    INSERT INTO documents (id, account_id, artist_id, platform, metric_date, run_id, observed_at, window_since,
        window_until, release_digest, body, bytes_raw)
    SELECT md5(id::text || 1)::uuid, id, artist_id, platform, '2026-11-21', md5('run')::uuid, now(), now(), now(), 'd',
        'body', 4
    FROM accounts WHERE platform = 'demo'
    ON CONFLICT DO NOTHING";

/// Few accounts of another platform that fail each day, for years, in the place of outcomes of one time: batches say of
/// all others that they were collected.
const FAILING: &str = "
    TRUNCATE collection_outcomes;
    INSERT INTO collection_outcomes (run_id, account_id, artist_id, platform, metric_date, outcome, attempts, at)
    SELECT md5('run' || d)::uuid, few.id, few.artist_id, few.platform, DATE '2020-01-01' + d, 'failed', 1,
        TIMESTAMPTZ '2020-01-01' + d * INTERVAL '1 day'
    FROM (SELECT id, artist_id, platform FROM accounts WHERE platform = 'other' ORDER BY id LIMIT 20) AS few,
        generate_series(1, {artists} / 10) AS d
    ORDER BY d, few.id";

/// What PostgreSQL counted.
struct Cost {
    /// Blocks of tables and indexes, from memory or disk.
    blocks: i64,
    /// Tables that grow and were read whole, with how often.
    scans: BTreeMap<String, i64>,
    /// Blocks by table, for the message of a failure.
    tables: BTreeMap<String, i64>,
}

/// Which statistics the planner has.
#[derive(Clone, Copy, Debug)]
enum Statistics {
    /// None was ever gathered, and every plan was made while the tables were empty.
    Never,
    /// The tables were vacuumed when they were empty, which counts as knowing that they are, and never since.
    OfEmptyTables,
    /// The tables were analysed when they held what the first batches left, and never since.
    OfFewRows,
    /// Up to date, and plans are made with them.
    UpToDate,
}

#[tokio::test]
async fn a_batch_costs_the_same_in_a_database_ten_times_as_large() {
    for empty in [Statistics::Never, Statistics::OfEmptyTables, Statistics::OfFewRows] {
        let [small, large] = [costs(SIZES[0], empty).await, costs(SIZES[1], empty).await];
        for ((statistics, small), (_, large)) in small.into_iter().zip(large) {
            assert_eq!(large.scans, BTreeMap::new(), "{statistics:?}: tables that grow are read whole");
            #[expect(clippy::cast_precision_loss, reason = "far below 53 bits")]
            let growth = large.blocks as f64 / small.blocks as f64;
            assert!(
                growth <= GROWTH_MAX,
                "{statistics:?}: {} blocks among {} artists, {} among {}: {growth:.2} times; by table: {:#?} and {:#?}",
                small.blocks,
                SIZES[0],
                large.blocks,
                SIZES[1],
                small.tables,
                large.tables
            );
        }
    }
}

/// A server for one measurement: transactions in other databases of a server keep dead rows from being cleared, which
/// are counted then.
struct Server {
    _cluster: Cluster,
    url: String,
}

impl Server {
    async fn start() -> Self {
        // The background worker reads tables too, and its reads would be counted with ours.
        let cluster = Cluster::start(&["autovacuum=off"]).expect("a PostgreSQL cluster starts");
        let mut url = url::Url::parse(&cluster.url()).expect("the server's URL is one");
        let mut server = PgConnection::connect(url.as_str()).await.expect("the PostgreSQL server answers");
        server.execute("CREATE DATABASE plans").await.expect("a database is created");
        server.execute("ALTER DATABASE plans SET search_path = backline, public").await.expect("it is set");
        server.close().await.expect("it closes");
        url.set_path("plans");
        Self { _cluster: cluster, url: url.into() }
    }
}

/// What the batches cost in a database of so many artists, with these statistics, and with those of full tables.
async fn costs(artists: u32, empty: Statistics) -> Vec<(Statistics, Cost)> {
    let server = Server::start().await;
    costs_on(&server.url, artists, empty).await
}

async fn costs_on(url: &str, artists: u32, empty: Statistics) -> Vec<(Statistics, Cost)> {
    // One connection, whose plans are kept.
    let options = StoreOptions { connections_max: 1, ..StoreOptions::default() };
    let store = migrated(url).await;
    let mut database = PgConnection::connect(url).await.unwrap();
    if matches!(empty, Statistics::OfEmptyTables) {
        database.execute("VACUUM").await.unwrap();
    }
    let first = first_accounts(&store, &mut database).await;
    let batches = vec![first; BATCHES as usize];
    collect(&store, &batches).await;
    if matches!(empty, Statistics::OfFewRows) {
        database.execute("ANALYZE").await.unwrap();
        // Plans are made again with these statistics.
        collect(&store, &batches).await;
    }
    counters_hold(&store, &mut database).await;
    database.execute(AssertSqlSafe(FILL.replace("{artists}", &artists.to_string()))).await.unwrap();
    let mut chosen = chosen_accounts(&mut database).await;
    let others = chosen.split_off(BATCHES as usize);
    let mut costs = vec![(empty, cost(url, database, store, async |store| collect(store, &chosen).await).await)];

    if matches!(empty, Statistics::Never) {
        let mut database = PgConnection::connect(url).await.unwrap();
        database.execute("ANALYZE").await.unwrap();
        let store = Store::open(url, options).await.unwrap();
        costs.push((
            Statistics::UpToDate,
            cost(url, database, store, async |store| collect(store, &others).await).await,
        ));
    }
    costs
}

/// A store of one connection, on which nothing was counted yet.
async fn migrated(url: &str) -> Store {
    let store = Store::open(url, StoreOptions::default()).await.unwrap();
    store.migrate().await.unwrap();
    // Making a month's tables reads them, once a month.
    store.months_ensure([day("2026-11-22")].into_iter()).await.unwrap();
    store.close().await;
    Store::open(url, StoreOptions { connections_max: 1, ..StoreOptions::default() }).await.unwrap()
}

/// Counts what work costs.
async fn cost(url: &str, database: PgConnection, store: Store, work: impl AsyncFn(&Store)) -> Cost {
    // What was counted so far reaches the shared counters when a connection ends.
    database.close().await.unwrap();
    let mut database = PgConnection::connect(url).await.unwrap();
    until_alone_but_for(&mut database, 1).await;
    database.execute("SELECT pg_stat_reset()").await.unwrap();
    work(&store).await;
    store.close().await;
    until_alone_but_for(&mut database, 0).await;
    let cost = counted(&mut database).await;
    database.close().await.unwrap();
    cost
}

/// Ten days of numbers that are two years old, of so many accounts.
const OLD: &str = "
    SELECT backline.ensure_months(ARRAY['2024-01-01'::date]);
    INSERT INTO artists (id, name, tenant, subscription_status, data_collection_enabled, timezone, created_at,
        updated_at)
    SELECT md5('artist' || n)::uuid, 'Artist ' || n, 'default', 'active', TRUE, 'Europe/Berlin', now(), now()
    FROM generate_series(1, {artists}) AS n;
    INSERT INTO accounts (id, artist_id, platform, platform_id, settings, status, created_at, updated_at)
    SELECT md5('demo' || n)::uuid, md5('artist' || n)::uuid, 'demo', 'channel-' || n, '{}', 'active', now(), now()
    FROM generate_series(1, {artists}) AS n;
    INSERT INTO metrics (account_id, artist_id, platform, metric_date, followers, extra, absent, coverage, observed,
        window_since, window_until, collection_source, data_quality_score, findings, notes, observed_at, release_digest,
        wit_version, run_id, document_id, created_at, updated_at)
    SELECT id, artist_id, platform, DATE '2024-01-01' + d, 5, '{}', '{}', '{}', '{}', now(), now(), 'api', 1, '[]',
        '[]', now(), 'd', '1.0.0', md5('run')::uuid, md5(id::text || d)::uuid, now(), now()
    FROM accounts, generate_series(0, 9) AS d";

#[tokio::test]
async fn putting_away_a_part_reads_that_part_however_much_is_due() {
    const PARTS: u64 = 6;
    const ROWS: u32 = 200;
    // A rule of one platform, so that the month is not dropped as a whole.
    let step = RetentionStep {
        table: RetainedTable::Metrics,
        action: Action::Delete,
        scope: RowFilter { platform: Some(demo()), tenant: None },
        except: Vec::new(),
        unless_authorised: true,
        before: Before::Dates(vec![LocalDay {
            today: day("2026-11-22"),
            before: day("2024-01-08"),
            zones: vec!["Europe/Berlin".to_owned()],
        }]),
        everywhere_before: None,
        daily: false,
        rule: "a test".to_owned(),
        rows: None,
    };
    costs_the_same(
        async |_, mut database, artists| {
            database.execute(AssertSqlSafe(OLD.replace("{artists}", &artists.to_string()))).await.unwrap();
            database
        },
        async |store| {
            let (mut place, mut rows) = (ArchivePlace::default(), 0);
            for _ in 0..PARTS {
                let (all, zones) = (Scope::all_tenants(), ["Europe/Berlin".to_owned()]);
                let taken = store.archive_due_put_away(&all, &step, &zones, &place, ROWS, past(now())).await.unwrap();
                rows += taken.rows;
                place = taken.next.expect("more is due");
            }
            assert_eq!(rows, PARTS * u64::from(ROWS));
        },
    )
    .await;
}

#[tokio::test]
async fn a_page_of_a_plan_costs_the_same_in_a_database_ten_times_as_large() {
    const PAGES: u32 = 4;
    const ACCOUNTS: u32 = 500;
    costs_the_same(
        async |store, mut database, artists| {
            first_accounts(store, &mut database).await;
            for filled in [FILL, FAILING] {
                database.execute(AssertSqlSafe(filled.replace("{artists}", &artists.to_string()))).await.unwrap();
            }
            // With these statistics the planner knows how many accounts a page has, and may prefer whole tables.
            database.execute("ANALYZE").await.unwrap();
            database
        },
        async |store| {
            let mut after = None;
            for _ in 0..PAGES {
                let all = Scope::all_tenants();
                let page = store.candidates_list(&all, &demo(), None, after, ACCOUNTS, now()).await.unwrap();
                assert_eq!(page.len(), ACCOUNTS as usize);
                after = page.last().map(|candidate| candidate.account_id);
            }
        },
    )
    .await;
}

/// Checks that work reads no table as a whole that grows, and about as many blocks in a database ten times as large.
async fn costs_the_same(fill: impl AsyncFn(&Store, PgConnection, u32) -> PgConnection, work: impl AsyncFn(&Store)) {
    let mut costs = Vec::new();
    for artists in SIZES {
        let server = Server::start().await;
        let store = migrated(&server.url).await;
        let database = PgConnection::connect(&server.url).await.unwrap();
        let database = fill(&store, database, artists).await;
        let cost = cost(&server.url, database, store, &work).await;
        assert_eq!(cost.scans, BTreeMap::new(), "tables that grow are read whole");
        costs.push((cost.blocks, cost.tables));
    }
    #[expect(clippy::cast_precision_loss, reason = "far below 53 bits")]
    let growth = costs[1].0 as f64 / costs[0].0 as f64;
    assert!(growth <= GROWTH_MAX, "of {} and {} artists: {costs:#?}", SIZES[0], SIZES[1]);
}

/// A run, a webhook and fifty accounts of their own, which batches can be collected of before the tables are filled.
async fn first_accounts(store: &Store, database: &mut PgConnection) -> Vec<Account> {
    let all = Scope::all_tenants();
    let numbers = 0..u128::from(ACCOUNTS_PER_BATCH);
    let artists: Vec<Artist> = numbers.clone().map(crate::store::fixtures::artist).collect();
    let accounts: Vec<Account> = numbers.map(crate::store::fixtures::account).collect();
    store.artists_save(&all, &artists, now()).await.unwrap();
    store.accounts_save(&all, &accounts, now()).await.unwrap();
    let consents: Vec<Consent> = accounts.iter().map(consent).collect();
    store.consents_record(&all, &consents).await.unwrap();
    store.release_save(&release(), b"component").await.unwrap();
    store.release_activate(release().digest, SwapCause::Activated, now()).await.unwrap();
    create_run(store, &run(1)).await;
    database
        .execute(
            "INSERT INTO webhooks (id, name, kind, url, events, secret, enabled, seen, created_at, updated_at)
             VALUES ('00000000-0000-0000-0000-0000d0000001', 'w', 'webhook', 'https://example.org', '[]', '', TRUE, 0,
                 now(), now())",
        )
        .await
        .unwrap();
    accounts
}

/// The accounts of the batches that are counted, from all over the table.
async fn chosen_accounts(database: &mut PgConnection) -> Vec<Vec<Account>> {
    let chosen: Vec<(Uuid, Uuid)> = sqlx::query_as(
        "SELECT id, artist_id FROM accounts WHERE platform = 'demo' AND id::text NOT LIKE '00000000-%'
         ORDER BY md5(id::text || 'order') LIMIT $1",
    )
    .bind(i64::from(2 * BATCHES * ACCOUNTS_PER_BATCH))
    .fetch_all(database)
    .await
    .unwrap();
    let accounts: Vec<Account> = chosen
        .into_iter()
        .map(|(id, artist)| Account {
            id: AccountId(id),
            artist_id: ArtistId(artist),
            ..crate::store::fixtures::account(0)
        })
        .collect();
    accounts.chunks(ACCOUNTS_PER_BATCH as usize).map(<[Account]>::to_vec).collect()
}

/// Waits until the counters hold what the first batches did: a connection adds its own once a second at most, when it
/// has ended something.
async fn counters_hold(store: &Store, database: &mut PgConnection) {
    let written = number(database, "SELECT COUNT(*) FROM documents").await;
    let counted =
        "SELECT COALESCE(SUM(n_tup_ins), 0)::bigint FROM pg_stat_user_tables WHERE relname LIKE 'documents_%'";
    until(Duration::from_secs(180), "everything is counted", async || {
        store.hosts_list(now()).await.unwrap();
        (number(database, counted).await == written).then_some(())
    })
    .await;
}

/// Waits until the database has so many other clients: what a connection counted is complete once it has ended.
async fn until_alone_but_for(database: &mut PgConnection, others: i64) {
    let asked = "SELECT COUNT(*) FROM pg_stat_activity WHERE datname = current_database()
        AND pid <> pg_backend_pid() AND backend_type = 'client backend'";
    until(Duration::from_secs(180), "the other connections end", async || {
        (number(database, asked).await <= others).then_some(())
    })
    .await;
}

async fn counted(database: &mut PgConnection) -> Cost {
    let tables: Vec<(String, i64)> = sqlx::query_as(
        "SELECT relname::text, (heap_blks_read + heap_blks_hit + COALESCE(idx_blks_read + idx_blks_hit, 0)
             + COALESCE(toast_blks_read + toast_blks_hit + tidx_blks_read + tidx_blks_hit, 0))::bigint
         FROM pg_statio_user_tables ORDER BY relname",
    )
    .fetch_all(&mut *database)
    .await
    .unwrap();
    let scans: Vec<(String, i64)> =
        sqlx::query_as("SELECT relname::text, seq_scan FROM pg_stat_user_tables WHERE seq_scan > 0")
            .fetch_all(&mut *database)
            .await
            .unwrap();
    let blocks = tables.iter().map(|(_, blocks)| blocks).sum();
    assert!(blocks > i64::from(BATCHES * ACCOUNTS_PER_BATCH), "nothing was counted");
    let scans = scans.into_iter().filter(|(table, _)| !SMALL.contains(&table.as_str())).collect();
    Cost { blocks, scans, tables: tables.into_iter().filter(|(_, blocks)| *blocks > 0).collect() }
}

fn consent(account: &Account) -> Consent {
    Consent {
        artist_id: account.artist_id,
        platform: account.platform.clone(),
        granted: true,
        scope: "metrics".to_owned(),
        source: "test".to_owned(),
        recorded_at: at("2026-11-01T00:00:00Z"),
    }
}

/// Plans these batches and takes each through everything that a worker and the dispatcher of webhooks ask of the store.
async fn collect(store: &Store, batches: &[Vec<Account>]) {
    let all = Scope::all_tenants();
    let mut planned = Vec::new();
    for accounts in batches {
        // An event about a row is written once in each run, and batches may be of the same accounts.
        let own = Run { id: RunId::generate(), ..run(1) };
        create_run(store, &own).await;
        let accounts: Vec<&Account> = accounts.iter().collect();
        planned.push(Batch { id: BatchId::generate(), ..batch(0, &own, &accounts, day("2026-11-22")) });
    }
    add_batches(store, &planned, now()).await;
    for _ in batches {
        store.deferred_batches_wake(&all, &Weights::default(), now()).await.unwrap();
        assert_eq!(store.platforms_with_work_list(&all, None, now()).await.unwrap(), [demo()]);
        assert!(store.lone_platforms_list(&all, None, now()).await.unwrap().is_empty());
        let ttl = Duration::from_secs(60);
        let lease =
            store.batch_lease(&all, None, Some(&demo()), "worker", now(), ttl).await.unwrap().expect("a batch is open");
        store.next_open_get(&all, now()).await.unwrap();
        store.next_batch_get(&all, Some(lease.batch.run_id), None).await.unwrap();
        store.accounts_save(&all, &[crate::store::fixtures::account(1)], now()).await.unwrap();
        let start = store.batch_start_get(&all, &lease.batch, now()).await.unwrap();
        let (planned, candidates) = (lease.batch.accounts.len(), start.candidates);
        assert_eq!((candidates.len(), start.inputs.len()), (planned, planned));
        assert!(candidates.iter().all(|candidate| candidate.consented));
        store.lease_renew(&lease, now(), ttl).await.unwrap();
        complete(store, &lease, &candidates).await;
        deliver(store).await;
    }
    assert!(store.platforms_with_work_list(&all, None, now()).await.unwrap().is_empty());
}

async fn complete(store: &Store, lease: &Lease, candidates: &[Candidate]) {
    let wanted: Vec<_> = lease.batch.accounts.iter().map(|account| (account.account_id, account.metric_date)).collect();
    let artist_of: BTreeMap<AccountId, ArtistId> =
        candidates.iter().map(|candidate| (candidate.account_id, candidate.artist_id)).collect();
    let mut completion = store.completion_begin(lease, now()).await.unwrap();
    assert_eq!(completion.history_load(&wanted).await.unwrap().len(), wanted.len());
    let accounts = wanted
        .iter()
        .map(|(id, date)| {
            let account = Account { id: *id, artist_id: artist_of[id], ..crate::store::fixtures::account(0) };
            let row = followers(&account, *date, 100);
            let growth = GrowthRow {
                account_id: *id,
                artist_id: account.artist_id,
                platform: demo(),
                metric_date: *date,
                changes: BTreeMap::new(),
            };
            AccountResult {
                document: Some(document(&row, "{}".to_owned())),
                stored: Some(StoredAccount {
                    events: vec![RowEvent { id: Uuid::now_v7(), occurred_at: now(), fact: RowFact::Collected }],
                    row: row.clone(),
                    state: Some("{}".to_owned()),
                    withheld: Vec::new(),
                    growth: vec![growth],
                }),
                ..result(&row, Outcome::Collected)
            }
        })
        .collect();
    let completed = completion.commit(BatchResult { accounts, ..BatchResult::default() }).await.unwrap();
    assert_eq!(completed.counts.collected, wanted.len() as u64);
}

/// Hands the batch's events to the webhook, and records each as delivered.
async fn deliver(store: &Store) {
    let all = Scope::all_tenants();
    let seen = store.webhooks_list(&all).await.unwrap()[0].1;
    let heads = store.event_heads_list(&all, seen, 100).await.unwrap();
    // The first ones come with the release's activation.
    assert!(heads.len() >= ACCOUNTS_PER_BATCH as usize, "{}", heads.len());
    let until: EventCursor = heads.last().unwrap().cursor;
    let new: Vec<NewDelivery> = heads
        .iter()
        .map(|head| NewDelivery { event: head.cursor, line: format!("artist:{:?}", head.artist_id) })
        .collect();
    let webhook = WebhookId(WEBHOOK);
    store.deliveries_fan_out(&all, webhook, seen, until, &new, now()).await.unwrap();
    let leases = store.deliveries_lease(&all, webhook, "worker", now(), Duration::from_secs(60), 100).await.unwrap();
    assert_eq!(leases.len(), new.len());
    for lease in &leases {
        let finish = Finish { state: DeliveryState::Delivered, status: Some(200), problem: None };
        assert!(store.delivery_finish(lease, &finish, now()).await.unwrap());
    }
    store.next_delivery_get(&all, now()).await.unwrap();
}
