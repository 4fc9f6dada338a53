//! Tests of the sync of artists and accounts with the artist platform's table, on both databases.

use std::path::Path;
use std::process::Output;
use std::time::Duration;

use backline::config::Config;
use backline::pipeline::{Host, SyncError, SyncReport, SyncRequest};
use backline_model::clock::Clock;
use backline_model::{Account, AccountId, AccountStatus, ArtistId, Platform, SubscriptionStatus};
use backline_store::{AccountFilter, ArtistFilter, DatabaseKind, Scope, Store};
use sqlx::any::AnyPoolOptions;
use sqlx::{AnyPool, AssertSqlSafe, Connection as _, PgConnection};
use uuid::Uuid;

use backline_simulator::SimulatorConfig;

use crate::support::binary;
use crate::support::components;
use crate::support::database::each_database;
use crate::support::host::HostExt as _;
use crate::support::stage::Stage;
use crate::support::variants::{replace, variant_of};

/// How long a sync may take that ends by a limit, on a slow machine.
const WAIT_MAX: Duration = Duration::from_secs(40);

/// Number of artists in the platform's table: more than are read or written at once.
const ARTISTS: u32 = 1_203;

/// The artist platform's table, in the same database as Backline's.
const TABLE: &str = "CREATE TABLE platform_artists (id TEXT PRIMARY KEY, name TEXT, email TEXT,
    subscription_status TEXT, data_collection_enabled BOOLEAN, instagram_token TEXT, spotify_artist_id TEXT,
    youtube_channel_id TEXT, tiktok_username TEXT)";

const QUERY: &str = "SELECT id, name, subscription_status, data_collection_enabled, spotify_artist_id AS spotify,
    youtube_channel_id AS youtube FROM platform_artists -- the operator's own\n;";

/// A query that tries to delete rows.
const TWO_STATEMENTS: &str =
    "SELECT id FROM platform_artists) q; DELETE FROM platform_artists; COMMIT; SELECT * FROM (SELECT 1 AS id";

fn id(n: u32) -> ArtistId {
    ArtistId(Uuid::from_u128(0x5000_0000 + u128::from(n)))
}

fn platform(name: &str) -> Platform {
    Platform::new(name).unwrap()
}

async fn execute(pool: &AnyPool, statement: &str) {
    sqlx::query(AssertSqlSafe(statement.to_owned())).execute(pool).await.unwrap();
}

/// Creates the platform's table with its artists, each with a channel, and every other one on Spotify.
async fn platform_table(url: &str) -> AnyPool {
    let pool = AnyPoolOptions::new().max_connections(1).connect(url).await.unwrap();
    execute(&pool, TABLE).await;
    let rows: Vec<String> = (0..ARTISTS)
        .map(|n| {
            let spotify = if n % 2 == 0 { format!("'s{n}'") } else { "NULL".to_owned() };
            format!("('{}', 'Artist {n}', 'a@b.c', 'active', TRUE, 'canary', {spotify}, 'UC{n}', 'tt{n}')", id(n))
        })
        .collect();
    execute(&pool, &format!("INSERT INTO platform_artists VALUES {}", rows.join(", "))).await;
    pool
}

/// A connector of a platform whose ids may be anything.
fn connector(name: &str) -> Vec<u8> {
    variant_of(&components::guest("well_behaved"), "1.0.0", |manifest| {
        replace(manifest, "name = \"guest\"", &format!("name = \"{name}\""));
        replace(manifest, "platform = \"guest\"", &format!("platform = \"{name}\""));
    })
}

async fn host(url: &str, query: Option<&str>) -> Host {
    host_with(url, query, |_| {}).await
}

async fn host_with(url: &str, query: Option<&str>, change: impl FnOnce(&mut Config)) -> Host {
    let mut config = Config::default();
    config.database.url = url.to_owned();
    config.sync.query = query.map(str::to_owned);
    change(&mut config);
    let host = Host::open(config, Clock::system()).await.unwrap();
    for name in ["youtube", "spotify"] {
        if host.store().active_release_get(&platform(name)).await.unwrap().is_none() {
            host.install(&connector(name)).await.unwrap();
        }
    }
    host
}

async fn sync(host: &Host) -> SyncReport {
    host.artist_sync().sync(SyncRequest::default()).await.unwrap()
}

/// Summary of a sync: artists added, changed, removed; accounts added, restored, removed.
fn done(report: &SyncReport) -> [u64; 6] {
    [
        report.artists_added,
        report.artists_changed,
        report.artists_removed,
        report.accounts_added,
        report.accounts_restored,
        report.accounts_removed,
    ]
}

async fn account(store: &Store, n: u32, name: &str) -> Account {
    let filter = AccountFilter { artist: Some(id(n)), platform: Some(platform(name)), ..AccountFilter::default() };
    store.accounts_list(&Scope::all_tenants(), &filter).await.unwrap().pop().expect("the account is there")
}

#[tokio::test]
async fn a_table_is_followed_row_by_row() {
    each_database(async |store, url| {
        let table = platform_table(url).await;
        let host = host(url, Some(QUERY)).await;
        let first = sync(&host).await;
        assert_eq!((first.rows, first.bad.len()), (u64::from(ARTISTS), 0));
        assert_eq!(done(&first), [1_203, 0, 0, 1_203 + 602, 0, 0]);
        assert!(!first.speaks_of_consent && first.consents_granted == 0);
        let artists = store.artists_list(&Scope::all_tenants(), &ArtistFilter::default()).await.unwrap();
        assert_eq!(artists.len(), ARTISTS as usize);
        assert_eq!((artists[7].id, artists[7].name.as_str()), (id(7), "Artist 7"));
        assert_eq!(account(&store, 4, "spotify").await.platform_id, "s4");
        assert!(
            !store.activations_list(&Scope::all_tenants(), 1).await.unwrap().is_empty(),
            "a first collection is due"
        );

        assert_eq!(done(&sync(&host).await), [0; 6], "nothing has changed");

        let set = "name = 'Ada', spotify_artist_id = NULL, youtube_channel_id = 'A,B'";
        execute(&table, &format!("UPDATE platform_artists SET {set} WHERE id = '{}'", id(0))).await;
        let set = "subscription_status = 'canceled'";
        execute(&table, &format!("UPDATE platform_artists SET {set} WHERE id = '{}'", id(1))).await;
        execute(&table, &format!("DELETE FROM platform_artists WHERE id = '{}'", id(2))).await;
        assert_eq!(done(&sync(&host).await), [0, 2, 1, 2, 0, 2]);
        assert_eq!(store.artist_get(&Scope::all_tenants(), id(0)).await.unwrap().unwrap().name, "Ada");
        assert_eq!(account(&store, 0, "spotify").await.status, AccountStatus::Disabled, "disabled, not deleted");
        let one = store.artist_get(&Scope::all_tenants(), id(1)).await.unwrap().unwrap();
        assert_eq!(one.subscription_status, SubscriptionStatus::Canceled);
        let two = store.artist_get(&Scope::all_tenants(), id(2)).await.unwrap().unwrap();
        assert!(!two.data_collection_enabled && two.subscription_status == SubscriptionStatus::Active);
        assert_eq!(done(&sync(&host).await), [0; 6]);

        let values = format!("'{}', 'Artist 2', '', 'active', TRUE, '', 's2', 'UC2', ''", id(2));
        execute(&table, &format!("INSERT INTO platform_artists VALUES ({values})")).await;
        execute(&table, &format!("UPDATE platform_artists SET spotify_artist_id = 's0' WHERE id = '{}'", id(0))).await;
        assert_eq!(done(&sync(&host).await), [0, 1, 0, 0, 1, 0]);
        assert!(store.artist_get(&Scope::all_tenants(), id(2)).await.unwrap().unwrap().data_collection_enabled);
        assert_eq!(account(&store, 0, "spotify").await.status, AccountStatus::Active);
        table.close().await;
    })
    .await;
}

#[tokio::test]
async fn an_artist_added_by_hand_is_never_disabled() {
    each_database(async |store, url| {
        let table = platform_table(url).await;
        let host = host(url, Some(QUERY)).await;
        sync(&host).await;
        let now = host.clock().now();
        let by_hand = backline_model::Artist {
            id: id(9_999),
            name: "By hand".to_owned(),
            ..store.artist_get(&Scope::all_tenants(), id(0)).await.unwrap().unwrap()
        };
        store.artists_save(&Scope::all_tenants(), std::slice::from_ref(&by_hand), now).await.unwrap();
        let own = |artist_id, id| Account {
            id: AccountId(Uuid::from_u128(id)),
            artist_id,
            platform: platform("youtube"),
            platform_id: "own".to_owned(),
            settings: serde_json::json!({}),
            status: AccountStatus::Active,
        };
        store.accounts_save(&Scope::all_tenants(), &[own(by_hand.id, 1), own(id(0), 2)], now).await.unwrap();
        assert_eq!(done(&sync(&host).await), [0; 6]);
        assert_eq!(
            store.account_get(&Scope::all_tenants(), AccountId(Uuid::from_u128(2))).await.unwrap(),
            Some(own(id(0), 2))
        );
        assert_eq!(store.artist_get(&Scope::all_tenants(), by_hand.id).await.unwrap(), Some(by_hand));
        table.close().await;
    })
    .await;
}

#[tokio::test]
async fn bad_rows_are_named_and_skipped_and_the_others_are_synced() {
    each_database(async |store, url| {
        let table = platform_table(url).await;
        let host = host(url, Some(QUERY)).await;
        sync(&host).await;
        for (n, change) in [
            (3, "subscription_status = 'lapsed'"),
            (4, "youtube_channel_id = 'U C'"),
            (5, "id = 'no-uuid'"),
            (6, "name = 'Cy'"),
        ] {
            execute(&table, &format!("UPDATE platform_artists SET {change} WHERE id = '{}'", id(n))).await;
        }
        let report = sync(&host).await;
        assert_eq!(done(&report), [0, 1, 1, 0, 0, 0], "a row without a valid id counts as missing");
        let mut bad: Vec<_> =
            report.bad.iter().map(|bad| (bad.id.clone().unwrap_or_default(), bad.column.as_str())).collect();
        bad.sort();
        let expected =
            [(id(3).to_string(), "subscription_status"), (id(4).to_string(), "youtube"), ("no-uuid".to_owned(), "id")];
        assert_eq!(bad, expected);
        assert!(store.artist_get(&Scope::all_tenants(), id(3)).await.unwrap().unwrap().data_collection_enabled);
        assert_eq!(account(&store, 4, "spotify").await.status, AccountStatus::Active);
        table.close().await;
    })
    .await;
}

#[tokio::test]
async fn a_row_of_a_file_that_is_no_text_is_named_and_stays_as_it_is() {
    each_database(async |store, url| {
        if store.kind() == DatabaseKind::Postgres {
            return; // its encoding keeps such texts out
        }
        let table = platform_table(url).await;
        let query = "SELECT id, name, subscription_status, CASE WHEN name = 'Artist 2' THEN 9e999
            ELSE data_collection_enabled END AS data_collection_enabled FROM platform_artists";
        let host = host(url, Some(query)).await;
        sync(&host).await;
        execute(&table, "UPDATE platform_artists SET name = CAST(x'4afc7267' AS TEXT) WHERE name = 'Artist 1'").await;
        let report = sync(&host).await;
        assert_eq!(done(&report), [0; 6], "it is there, so it is not switched off");
        let bad: Vec<_> = report.bad.iter().map(|bad| (bad.id.clone(), bad.column.as_str())).collect();
        let expected = [(Some(id(1).to_string()), "name"), (Some(id(2).to_string()), "data_collection_enabled")];
        assert_eq!(bad, expected);
        assert!(report.bad[0].problem.contains("not UTF-8"), "{report:?}");
        table.close().await;
    })
    .await;
}

#[tokio::test]
async fn a_source_that_looks_broken_disables_no_artist() {
    each_database(async |store, url| {
        let table = platform_table(url).await;
        let whole = host(url, Some(QUERY)).await;
        sync(&whole).await;
        for (query, what, going) in [
            ("SELECT id FROM platform_artists WHERE subscription_status = 'none'", "artists", 1_203),
            ("SELECT id FROM platform_artists WHERE youtube_channel_id < 'UC7'", "artists", 0),
            ("SELECT id, NULL AS spotify FROM platform_artists", "spotify accounts", 602),
        ] {
            let broken = host(url, Some(query)).await;
            let error = broken.artist_sync().sync(SyncRequest::default()).await.unwrap_err();
            let SyncError::Removals { going: found, what: about, .. } = &error else { panic!("{error}") };
            assert!(about == what && (going == 0 || going == *found), "{error}");
            assert!(error.to_string().contains("--allow-removals"), "{error}");
        }
        assert_eq!(done(&sync(&whole).await), [0; 6], "nothing was changed");

        // A query without a column for a platform does not change its accounts.
        let silent = host(url, Some("SELECT id FROM platform_artists")).await;
        assert_eq!(done(&sync(&silent).await), [0; 6]);
        let few = host(url, Some("SELECT id FROM platform_artists WHERE youtube_channel_id < 'UC7'")).await;
        let allowed = SyncRequest { allow_removals: true, ..SyncRequest::default() };
        let report = few.artist_sync().sync(allowed).await.unwrap();
        assert!(report.artists_removed > 300, "{report:?}");
        let still = store.artists_list(&Scope::all_tenants(), &ArtistFilter::default()).await.unwrap();
        let on = still.iter().filter(|artist| artist.data_collection_enabled).count() as u64;
        assert_eq!((still.len() as u64, on), (1_203, 1_203 - report.artists_removed));
        table.close().await;
    })
    .await;
}

#[tokio::test]
async fn consent_follows_its_column_and_nothing_else() {
    each_database(async |store, url| {
        let table = platform_table(url).await;
        let query = "SELECT id, youtube_channel_id AS youtube, data_collection_enabled AS consent_youtube
            FROM platform_artists";
        let host = host(url, Some(query)).await;
        let first = sync(&host).await;
        assert_eq!((first.speaks_of_consent, first.consents_granted), (true, 1_203));
        let youtube = account(&store, 5, "youtube").await;
        let consented = async || store.candidates_of(&Scope::all_tenants(), &[youtube.id]).await.unwrap()[0].consented;
        assert!(consented().await);
        let set = "data_collection_enabled = FALSE";
        execute(&table, &format!("UPDATE platform_artists SET {set} WHERE id = '{}'", id(5))).await;
        let second = sync(&host).await;
        assert_eq!((second.consents_granted, second.consents_withdrawn), (0, 1));
        assert!(!consented().await);
        assert_eq!(sync(&host).await.consents_withdrawn, 0);
        table.close().await;
    })
    .await;
}

#[tokio::test]
async fn a_dry_run_shows_the_changes_and_writes_nothing() {
    each_database(async |store, url| {
        let table = platform_table(url).await;
        let host = host(url, Some(QUERY)).await;
        let report = host.artist_sync().sync(SyncRequest { dry_run: true, ..SyncRequest::default() }).await.unwrap();
        assert_eq!(done(&report), [1_203, 0, 0, 1_203 + 602, 0, 0]);
        assert_eq!(report.differences.len(), 1_203 * 2 + 602);
        assert_eq!(store.artists_list(&Scope::all_tenants(), &ArtistFilter::default()).await.unwrap(), []);
        table.close().await;
    })
    .await;
}

#[tokio::test]
async fn a_table_that_another_program_locks_ends_one_sync_and_no_more() {
    each_database(async |store, url| {
        if store.kind() == DatabaseKind::Sqlite {
            return; // it locks no tables
        }
        let table = platform_table(url).await;
        let host = host_with(url, Some(QUERY), |config| config.database.lock_timeout_ms = 500).await;
        let mut other = PgConnection::connect(url).await.unwrap();
        let mut lock = other.begin().await.unwrap();
        sqlx::query("LOCK TABLE platform_artists IN ACCESS EXCLUSIVE MODE").execute(&mut *lock).await.unwrap();
        let sources = host.artist_sync();
        let synced = tokio::time::timeout(WAIT_MAX, sources.sync(SyncRequest::default())).await.expect("in time");
        let error = synced.unwrap_err();
        assert!(matches!(&error, SyncError::Source(error) if error.is_outage()), "{error}");
        lock.rollback().await.unwrap();
        assert_eq!(sync(&host).await.artists_added, 1_203, "it goes on");
        table.close().await;
    })
    .await;
}

#[tokio::test]
async fn an_unreadable_source_is_refused_with_a_remedy_and_never_written_to() {
    each_database(async |_, url| {
        let table = platform_table(url).await;
        for (query, said) in [
            (None, "Backline's own; set sync.query"),
            (Some("SELECT id, email FROM platform_artists"), "unknown columns: email;"),
            (Some("SELECT name FROM platform_artists"), "no column id"),
            (Some("SELECT id FROM no_such_table"), "sync.query can't be run"),
            (Some("DELETE FROM platform_artists RETURNING id"), "sync.query can't be run"),
            (Some(TWO_STATEMENTS), "sync.query can't be run"),
        ] {
            let error = host(url, query).await.artist_sync().sync(SyncRequest::default()).await.unwrap_err();
            assert!(error.to_string().contains(said), "{query:?}: {error}");
        }
        let left: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM platform_artists").fetch_one(&table).await.unwrap();
        assert_eq!(left, i64::from(ARTISTS));
        table.close().await;
    })
    .await;
}

#[tokio::test]
async fn a_manual_run_is_the_first_collection_of_its_accounts() {
    each_database(async |store, url| {
        let stage = Stage::set(url, SimulatorConfig { artists: 3, ..SimulatorConfig::default() }, |_| {}).await;
        let waiting = async || store.activations_list(&Scope::all_tenants(), 100).await.unwrap().len();
        assert_eq!(waiting().await, 3 + 3 * 5, "each artist, and each of its accounts");
        let date = stage.host.clock().now().date_naive();
        let report = stage.run_some(date, &["spotify"]).await;
        assert_eq!(report.run.counts.collected, 3);
        assert_eq!(waiting().await, 3 * 4, "the other platforms are still pending, each by itself");
        stage.run(date).await;
        assert_eq!(waiting().await, 0);
    })
    .await;
}

/// The real binary in its own folder, with the platform's database beside Backline's.
struct Place(tempfile::TempDir);

impl Place {
    fn path(&self) -> &Path {
        self.0.path()
    }

    fn run(&self, arguments: &[&str]) -> Output {
        binary::command(self.path(), arguments).output().expect("the binary starts")
    }
}

#[tokio::test]
async fn the_command_syncs_from_a_table_in_another_database_without_reading_its_tokens() {
    let place = Place(tempfile::tempdir().unwrap());
    assert_eq!(place.run(&["migrate"]).status.code(), Some(0));
    for name in ["youtube", "spotify"] {
        std::fs::write(place.path().join("connector.wasm"), connector(name)).unwrap();
        assert_eq!(place.run(&["plugins", "install", "connector.wasm", "--yes"]).status.code(), Some(0), "{name}");
    }
    let url = format!("sqlite://{}?mode=rwc", place.path().join("platform.db").display());
    sqlx::any::install_default_drivers();
    let table = platform_table(&url).await;
    execute(&table, "ALTER TABLE platform_artists RENAME TO artists").await;
    let sync = |more: &[&str]| {
        let arguments = [&["--set", "sync.url=sqlite://platform.db", "artists", "sync"], more].concat();
        let output = place.run(&arguments);
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code(), text(output.stdout), text(output.stderr))
    };
    let (code, said, noted) = sync(&["--dry-run"]);
    assert_eq!(code, Some(0), "{noted}");
    assert!(said.contains("and 2988 more; --json prints them all"), "{said}");
    assert!(said.contains("1203 rows: 1203 artists would be added"), "{said}");
    let (code, said, noted) = sync(&["--json"]);
    assert_eq!(code, Some(0), "{noted}");
    let report: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!(report["artists_added"], 1_203);
    let query = report["query"].as_str().unwrap();
    assert!(query.contains("spotify_artist_id") && !query.contains("token") && !query.contains("email"), "{query}");
    assert!(!said.contains("canary"));

    execute(&table, &format!("UPDATE artists SET subscription_status = 'lapsed' WHERE id = '{}'", id(3))).await;
    let (code, said, noted) = sync(&[]);
    assert_eq!(code, Some(3), "{said}{noted}");
    assert!(said.contains("0 artists added, 0 changed"), "{said}");
    assert!(noted.contains(&format!("({}): subscription_status: 'lapsed' is not one of", id(3))), "{noted}");
    assert!(noted.contains("being listed is not consent"), "{noted}");
    execute(&table, "DELETE FROM artists WHERE youtube_channel_id < 'UC7'").await;
    let (code, _, noted) = sync(&[]);
    assert_eq!(code, Some(2), "{noted}");
    assert!(noted.starts_with("error: nothing was synced: ") && noted.lines().count() == 1, "{noted}");
    table.close().await;
}
