//! What other programs write into `artists` is checked where it is written, on both databases. What was there before is
//! left out, named, corrected column by column, and erased.

use std::borrow::Cow;

use backline_model::clock::{FIRST_TIME, LAST_TIME};
use backline_model::roster::RosterChanges;
use backline_model::{Artist, ArtistId, Provenance, SubscriptionStatus, Tenant, Zone};
use backline_store::{ArtistFilter, DatabaseKind, Scope, Store, StoreOptions};
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::postgres::PgDatabaseError;
use sqlx::{AnyConnection, AssertSqlSafe, Connection as _, Executor as _, Row as _, SqlSafeStr as _};
use uuid::Uuid;

use super::fixtures::{account, artist, demo, now, people};
use super::schema::raw;
use crate::support::components::workspace;
use crate::support::database::{LATIN_1, each_database, each_empty_database, write, write_unchecked};

/// Id of the artist that other programs add.
const NEW: &str = "018f4e6a-7c1d-7b3a-9c55-3f1d2a4b5c6d";

const AT: &str = "'2026-11-22T16:00:01.250000Z'";

const ID: &str = "no UUID in lower case with hyphens: write one such as";
const NAME: &str = "check that columns are not mixed up";
const TENANT: &str = "use up to 64 of a-z, 0-9, - and _, and begin with a letter";
const STATUS: &str = "no word of up to 64 characters";
const FLAG: &str = "neither true nor false: write 1 or 0";
const ZONE: &str = "such as Europe/Berlin or UTC";
const ORIGIN: &str = "leave it out, or write manual";

/// A column, what is written there as SQL, and what the refusal says.
type Refused = (&'static str, String, &'static str);

/// What both databases refuse.
fn refused_by_both() -> Vec<Refused> {
    let text = |column, text: &str, told| (column, format!("'{text}'"), told);
    vec![
        text("name", &"ü".repeat(501), NAME),
        text("tenant", "Acme Records", TENANT),
        text("tenant", "", TENANT),
        text("tenant", "9lives", TENANT),
        text("tenant", "übung", TENANT),
        text("tenant", &"x".repeat(65), TENANT),
        text("subscription_status", "", STATUS),
        text("subscription_status", "  ", STATUS),
        text("subscription_status", "un\tpaid", STATUS),
        text("subscription_status", &"x".repeat(65), STATUS),
        text("timezone", "europe/berlin", ZONE),
        text("timezone", "", ZONE),
        text("timezone", "UTC+3 ", ZONE),
        text("timezone", "Europe//Berlin", ZONE),
        text("timezone", "Europe/", ZONE),
        text("timezone", "Factory", ZONE),
        text("timezone", &"Z".repeat(65), ZONE),
        text("origin", "crm", ORIGIN),
        text("origin", "", ORIGIN),
    ]
}

/// What a file alone takes for a value: PostgreSQL's types have no such ones, or read them in another way.
fn refused_by_a_file() -> Vec<Refused> {
    let mut refused = vec![
        ("id", "'x'".to_owned(), ID),
        ("id", "7".to_owned(), ID),
        ("id", format!("'{}'", NEW.to_uppercase()), ID),
        ("id", format!("'{}'", NEW.replace('-', "")), ID),
        ("id", format!("'{{{NEW}}}'"), ID),
        ("id", format!("'{NEW}' || char(0)"), ID),
        ("id", format!("' {NEW}'"), ID),
        ("id", "CAST(X'e4' AS TEXT)".to_owned(), ID),
        ("id", "X'00'".to_owned(), "cannot store BLOB value in TEXT column artists.id"),
        ("id", "NULL".to_owned(), "NOT NULL constraint failed: artists.id"),
        ("name", "'A' || char(0) || 'b'".to_owned(), "text with a NUL in it: write it without"),
        ("name", "X'41'".to_owned(), "cannot store BLOB value in TEXT column artists.name"),
        ("name", "NULL".to_owned(), "NOT NULL constraint failed: artists.name"),
        ("tenant", "'default' || char(0)".to_owned(), TENANT),
        ("tenant", "CAST(X'61e4' AS TEXT)".to_owned(), TENANT),
        ("subscription_status", "'active' || char(0)".to_owned(), STATUS),
        ("subscription_status", "CAST(X'70E4' AS TEXT)".to_owned(), "not UTF-8: convert it before it is written"),
        ("subscription_status", "X'41'".to_owned(), "cannot store BLOB value in TEXT column"),
        ("subscription_status", "'Active'".to_owned(), "capitals or blanks around it: write it without"),
        ("subscription_status", "' active'".to_owned(), "capitals or blanks around it: write it without"),
        ("subscription_status", "'ACTIVE '".to_owned(), "capitals or blanks around it: write it without"),
        ("timezone", "CAST(X'55ff' AS TEXT)".to_owned(), ZONE),
        ("timezone", "'UTC' || char(0)".to_owned(), ZONE),
        ("data_collection_enabled", "2".to_owned(), FLAG),
        ("data_collection_enabled", "-1".to_owned(), FLAG),
        ("data_collection_enabled", "'true'".to_owned(), "cannot store TEXT value in INTEGER column"),
    ];
    // Latin-1, a byte alone, one that is missing, a form that is too long, half of a pair, past the last character.
    for bytes in
        ["4AFC7267656E", "80", "C3", "E282", "E282ACAC", "C1A1", "E08080", "EDA080", "F4908080", "F8808080", "FF"]
    {
        refused.push(("name", format!("CAST(X'{bytes}' AS TEXT)"), "not UTF-8: convert it before it is written"));
    }
    refused
}

/// What PostgreSQL alone can check.
fn refused_by_postgres() -> Vec<Refused> {
    let mut refused = vec![
        ("timezone", "'Europe/berlin'".to_owned(), "write it as Europe/Berlin"),
        ("timezone", "'EUROPE/BERLIN'".to_owned(), "write it as Europe/Berlin"),
        ("timezone", "'Etc/gmt+12'".to_owned(), "write it as Etc/GMT+12"),
    ];
    // No zone, another case than the name's, abbreviations, and rules: PostgreSQL itself computes with all but the
    // first two.
    for zone in [
        "Mars/Phobos",
        "Europe",
        "Utc",
        "Gmt",
        "CEST",
        "PDT",
        "Z",
        "UTC+2",
        "UTC+2CEST",
        "Foo5",
        "FOO5",
        "FOO-5BAR",
        "Etc/GMT+99",
        "ETC/GMT+99",
    ] {
        refused.push(("timezone", format!("'{zone}'"), "use the exact name of a zone, such as Europe/Berlin or UTC"));
    }
    refused
}

/// A statement that adds an artist, with this in one column.
fn insert(column: &str, value: &str) -> String {
    let id = format!("'{NEW}'");
    let row = [
        ("id", id.as_str()),
        ("name", "'Ada'"),
        ("tenant", "'default'"),
        ("subscription_status", "'active'"),
        ("data_collection_enabled", "TRUE"),
        ("timezone", "'UTC'"),
        ("origin", "'manual'"),
        ("created_at", AT),
        ("updated_at", AT),
    ];
    let columns = row.map(|(name, _)| name).join(", ");
    let values = row.map(|(name, other)| if name == column { value } else { other }).join(", ");
    format!("INSERT INTO artists ({columns}) VALUES ({values})")
}

/// What is told to the program whose statement is refused, with the hint.
async fn refusal(database: &mut AnyConnection, sql: &str) -> String {
    let error = database.execute(AssertSqlSafe(sql.to_owned())).await.expect_err(sql);
    let error = error.as_database_error().expect("the database itself refuses it");
    let hint = error.try_downcast_ref::<PgDatabaseError>().and_then(PgDatabaseError::hint).unwrap_or_default();
    format!("{} {hint}", error.message())
}

#[tokio::test]
async fn what_nothing_can_read_is_refused_where_it_is_written_with_the_reason() {
    each_database(async |store, url| {
        people(&store, 1).await;
        let own = match store.kind() {
            DatabaseKind::Sqlite => refused_by_a_file(),
            DatabaseKind::Postgres => refused_by_postgres(),
        };
        let mut database = AnyConnection::connect(url).await.unwrap();
        for (column, value, told) in refused_by_both().into_iter().chain(own) {
            let update = format!("UPDATE artists SET {column} = {value} WHERE id = '{}'", artist(1).id);
            for sql in [insert(column, &value), update] {
                let said = refusal(&mut database, &sql).await;
                assert!(said.contains(&format!("artists.{column}")) && said.contains(told), "{sql}: {said}");
            }
        }
        // A file has a way to write in spite of constraints, though not of triggers.
        if store.kind() == DatabaseKind::Sqlite {
            for way in ["IGNORE", "REPLACE", "FAIL"] {
                let sql = insert("tenant", "'Acme Records'").replace("INSERT", &format!("INSERT OR {way}"));
                assert!(refusal(&mut database, &sql).await.contains("artists.tenant is "), "{way}");
            }
        }
        database.close().await.unwrap();
        let all = Scope::all_tenants();
        assert_eq!(
            store.artists_list(&all, &ArtistFilter::default()).await.unwrap(),
            [artist(1)],
            "nothing was written"
        );
    })
    .await;
}

#[tokio::test]
async fn what_hosts_read_passes_from_every_writer() {
    each_database(async |store, url| {
        let all = Scope::all_tenants();
        people(&store, 1).await;
        let statuses =
            ["trialing", "past_due", "inactive", "canceled", "cancelled", "unpaid", "Paused ", "zurückgelegt"];
        let zones = ["UTC", "Europe/Berlin", "America/Argentina/Buenos_Aires", "America/Port-au-Prince", "Etc/GMT+12"];
        let (long, tenant) = ("\u{1f3b5}".repeat(500), "x".repeat(64));
        let names = ["", "Zoë", "ÿ\u{80}\u{7ff}\u{800}\u{ffff}\u{10000}\u{10ffff}", "a\tb\nc\u{7f}", long.as_str()];
        let values = statuses
            .map(|status| ("subscription_status", status))
            .into_iter()
            .chain(zones.map(|zone| ("timezone", zone)))
            .chain(names.map(|name| ("name", name)))
            .chain(["a-b_1", "x", tenant.as_str(), "default"].map(|tenant| ("tenant", tenant)))
            .chain(["import", "sync", "sync-removed", "manual"].map(|origin| ("origin", origin)))
            .chain(["0001-01-01T00:00:00.000000Z", "9999-12-31T23:59:59.999999Z"].map(|time| ("created_at", time)))
            // No host reads these times, so other programs write them as they like.
            .chain(["2028-02-29T23:59:59.000001Z", "2026-11-22 16:00:01"].map(|time| ("updated_at", time)))
            .chain(["2026-11-22T16:00:01.250Z", "2026-11-22 16:00:01"].map(|time| ("created_at", time)));
        for (column, value) in values {
            let id = artist(1).id;
            write(url, &format!("UPDATE artists SET {column} = '{value}' WHERE id = '{id}'")).await;
            write(url, &insert(column, &format!("'{value}'"))).await;
            assert_eq!(store.artists_list(&all, &ArtistFilter::default()).await.unwrap().len(), 2, "{column} {value}");
            assert_eq!(store.unreadable_artists_list(&all).await.unwrap(), [], "{column} {value}");
            write(url, &format!("DELETE FROM artists WHERE id = '{NEW}'")).await;
        }
        if store.kind() == DatabaseKind::Postgres {
            write(url, &insert("id", &format!("'{}'", NEW.to_uppercase()))).await;
        }
    })
    .await;
}

#[tokio::test]
async fn each_zone_that_server_and_hosts_know_passes_and_the_session_keeps_its_own() {
    each_database(async |store, url| {
        if store.kind() == DatabaseKind::Sqlite {
            return; // it knows no zones
        }
        people(&store, 1).await;
        let mut database = AnyConnection::connect(url).await.unwrap();
        database.execute("SET TimeZone = 'Asia/Tokyo'").await.unwrap();
        let rows = sqlx::query("SELECT name FROM pg_timezone_names ORDER BY name").fetch_all(&mut database).await;
        let names = rows.unwrap().into_iter().map(|row| row.get::<String, _>("name"));
        let known: Vec<String> = names.filter(|name| name.parse::<Zone>().is_ok()).collect();
        assert!(known.len() > 300, "{} zones", known.len());
        for zone in &known {
            let sql = format!("UPDATE artists SET timezone = '{zone}'");
            let written = database.execute(AssertSqlSafe(sql)).await;
            written.unwrap_or_else(|error| panic!("{zone}: {error}"));
        }
        let row = sqlx::query("SELECT current_setting('TimeZone') AS zone").fetch_one(&mut database).await.unwrap();
        assert_eq!(row.get::<String, _>("zone"), "Asia/Tokyo", "a check leaves the session as it was");
        // Neither does it change the rest of a transaction.
        let mut transaction = database.begin().await.unwrap();
        let change = sqlx::query("UPDATE artists SET timezone = 'Europe/Paris'");
        change.execute(&mut *transaction).await.unwrap();
        let row = sqlx::query("SELECT current_setting('TimeZone') AS zone").fetch_one(&mut *transaction).await.unwrap();
        assert_eq!(row.get::<String, _>("zone"), "Asia/Tokyo");
        transaction.rollback().await.unwrap();
        database.close().await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_status_that_is_unknown_ends_collection_and_is_told() {
    each_database(async |store, url| {
        let all = Scope::all_tenants();
        people(&store, 2).await;
        let listed = async |status| {
            let filter = ArtistFilter { status, ..ArtistFilter::default() };
            let found = store.artists_list(&all, &filter).await.unwrap();
            found.into_iter().map(|artist| artist.id).collect::<Vec<_>>()
        };
        let longest = "x".repeat(64);
        let words = [
            "unpaid",
            "paused",
            "incomplete",
            "incomplete_expired",
            "expired",
            "überfällig",
            "active\u{a0}",
            "\u{3000}active",
            longest.as_str(),
        ];
        for word in words {
            let id = artist(1).id;
            let ended = format!("UPDATE artists SET subscription_status = '{word}', name = '{word}' WHERE id = '{id}'");
            write(url, &ended).await;
            let found = store.artist_get(&all, artist(1).id).await.unwrap().unwrap();
            assert_eq!((found.subscription_status, found.name.as_str()), (SubscriptionStatus::Inactive, word));
            assert_eq!(listed(Some(SubscriptionStatus::Inactive)).await, [artist(1).id], "{word}");
            assert_eq!(listed(Some(SubscriptionStatus::Active)).await, [artist(2).id], "{word}");
            assert_eq!(listed(None).await.len(), 2, "{word}");
            let candidates = store.candidates_list(&all, &demo(), None, None, 100, now()).await.unwrap();
            let found: Vec<_> = candidates.into_iter().map(|one| (one.subscription_status, one.unreadable)).collect();
            assert_eq!(found, [(SubscriptionStatus::Inactive, None), (SubscriptionStatus::Active, None)], "{word}");
            assert_eq!(store.unreadable_artists_list(&all).await.unwrap(), [], "{word}");
            let told = store.unknown_statuses_list(&all).await.unwrap();
            assert_eq!(told.into_iter().collect::<Vec<_>>(), [(word.to_owned(), 1)]);
        }
        write(url, "UPDATE artists SET subscription_status = 'cancelled'").await;
        assert_eq!(listed(Some(SubscriptionStatus::Canceled)).await.len(), 2);
        assert!(store.unknown_statuses_list(&all).await.unwrap().is_empty());
    })
    .await;
}

#[tokio::test]
async fn a_status_in_capitals_is_stored_as_hosts_write_it_or_refused() {
    each_database(async |store, url| {
        let all = Scope::all_tenants();
        let inactive = Artist { subscription_status: SubscriptionStatus::Inactive, ..artist(1) };
        store.artists_save(&all, &[inactive], now()).await.unwrap();
        assert!(store.activations_list(&all, 10).await.unwrap().is_empty());
        let activate = "UPDATE artists SET subscription_status = '  ACTIVE '";
        if store.kind() == DatabaseKind::Sqlite {
            let mut database = AnyConnection::connect(url).await.unwrap();
            assert!(refusal(&mut database, activate).await.contains("write it without, such as active"));
            database.close().await.unwrap();
            return;
        }
        write(url, activate).await;
        let pool = raw(url).await;
        let stored = sqlx::query_scalar::<_, String>("SELECT subscription_status FROM artists");
        assert_eq!(stored.fetch_all(&pool).await.unwrap(), ["active"]);
        pool.close().await;
        let waiting = store.activations_list(&all, 10).await.unwrap();
        assert_eq!(waiting.len(), 1, "it is collected for the first time");
    })
    .await;
}

#[tokio::test]
async fn what_hosts_write_passes() {
    each_database(async |store, _| {
        let all = Scope::all_tenants();
        let mut saved = Vec::new();
        for (n, status) in (1..).zip(SubscriptionStatus::ALL) {
            for (m, zone) in (0..).zip(["UTC", "Europe/Berlin", "America/Port-au-Prince", "Etc/GMT+12"]) {
                saved.push(Artist {
                    id: ArtistId(Uuid::from_u128(0xF00D_0000_0000 * n + m)),
                    name: if m == 0 { String::new() } else { "Zoë \u{1f3b5}\u{7f}\n".repeat(70) },
                    tenant: Tenant::new(if m == 1 { "x".repeat(64) } else { "a-b_1".to_owned() }).unwrap(),
                    subscription_status: status,
                    data_collection_enabled: m % 2 == 0,
                    timezone: zone.parse().unwrap(),
                });
            }
        }
        saved.sort_by_key(|artist| artist.id);
        let mut round = 0;
        for at in [FIRST_TIME, now(), LAST_TIME] {
            for origin in [Provenance::Manual, Provenance::Import, Provenance::Sync, Provenance::SyncRemoved] {
                round += 1;
                // What was added is written again as a whole.
                let named = |one: &Artist| Artist { name: format!("{}{round}", one.name), ..one.clone() };
                let written: Vec<Artist> = saved.iter().map(named).collect();
                store.artists_save_from(&all, origin, &written, at).await.unwrap();
                assert_eq!(store.artists_list(&all, &ArtistFilter::default()).await.unwrap(), written);
            }
        }
        // What a sync adds, changes and switches off.
        let added = Artist { id: ArtistId::generate(), ..artist(1) };
        let changes = RosterChanges { artists_added: vec![added.clone()], ..RosterChanges::default() };
        store.roster_apply(&all, &changes, "test", now()).await.unwrap();
        let changed = Artist { name: "\u{1f3b5}".repeat(500), ..added.clone() };
        let changes = RosterChanges { artists_changed: vec![changed], ..RosterChanges::default() };
        store.roster_apply(&all, &changes, "test", now()).await.unwrap();
        let changes = RosterChanges { artists_removed: vec![added.id], ..RosterChanges::default() };
        store.roster_apply(&all, &changes, "test", now()).await.unwrap();
        assert!(!store.artist_get(&all, added.id).await.unwrap().unwrap().data_collection_enabled);
        assert!(store.artist_erase(&all, added.id, now()).await.unwrap().is_some());
    })
    .await;
}

/// The schema as an older version left it.
pub(super) async fn migrate_to(version_wanted: i64, url: &str) {
    // Makes the file.
    Store::open(url, StoreOptions::default()).await.unwrap().close().await;
    let is_file = url.starts_with("sqlite");
    let folder = workspace().join("migrations").join(if is_file { "sqlite" } else { "postgres" });
    let files = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
    let mut migrations: Vec<Migration> = files
        .filter_map(|file| {
            let name = file.file_stem().unwrap().to_str().unwrap().to_owned();
            let version: i64 = name.split('_').next().unwrap().parse().unwrap();
            let text = AssertSqlSafe(std::fs::read_to_string(&file).unwrap()).into_sql_str();
            let migration = || Migration::new(version, Cow::Owned(name), MigrationType::Simple, text, false);
            (version <= version_wanted).then(migration)
        })
        .collect();
    migrations.sort_by_key(|migration| migration.version);
    let pool = raw(url).await;
    if !is_file {
        for text in ["CREATE SCHEMA IF NOT EXISTS backline", "SET search_path = backline, public"] {
            sqlx::query(text).execute(&pool).await.unwrap();
        }
    }
    Migrator::with_migrations(migrations).run(&pool).await.unwrap();
    pool.close().await;
}

/// A row of a database of the version before, with this in some columns.
fn row_before(id: &str, changed: &[(&str, &str)]) -> String {
    let added = insert("id", &format!("'{id}'"));
    let set: Vec<String> = changed.iter().map(|(column, value)| format!("{column} = {value}")).collect();
    if set.is_empty() { added } else { format!("{added}; UPDATE artists SET {} WHERE id = '{id}'", set.join(", ")) }
}

#[tokio::test]
async fn rows_that_were_there_before_are_left_out_named_corrected_and_erased() {
    each_empty_database(async |url| {
        migrate_to(21, url).await;
        let is_file = url.starts_with("sqlite");
        let id = |n: u128| artist(n).id.to_string();
        let long = "ü".repeat(600);
        let long_name = format!("'{long}'");
        write(url, &row_before(&id(1), &[])).await;
        write(url, &row_before(&id(2), &[("tenant", "'9lives'")])).await;
        write(url, &row_before(&id(3), &[("subscription_status", "''"), ("origin", "'sync'")])).await;
        // PostgreSQL finds a zone in any case, and hosts find it by its exact name alone.
        write(url, &row_before(&id(4), &[("timezone", "'Europe/berlin'")])).await;
        write(url, &row_before(&id(5), &[("name", long_name.as_str()), ("origin", "'crm'")])).await;
        let spoilt = artist(7).id.to_string().to_uppercase();
        if is_file {
            let odd = [("data_collection_enabled", "7"), ("created_at", "'then'")];
            write(url, &row_before(&id(6), &odd)).await;
            write(url, &row_before(&spoilt, &[])).await;
        }

        let store = Store::open(url, StoreOptions::default()).await.unwrap();
        assert_eq!(store.migrate().await.unwrap().applied, ["0022_artists", "0023_numbers"]);
        let all = Scope::all_tenants();
        let last = if is_file { 6 } else { 5 };
        let accounts: Vec<_> = (1..=last).map(account).collect();
        store.accounts_save(&all, &accounts, now()).await.unwrap();
        if is_file {
            let account = format!(
                "INSERT INTO accounts
                     (id, artist_id, platform, platform_id, settings, status, created_at, updated_at)
                 VALUES ('{}', '{spoilt}', 'demo', 'channel-7', '{{}}', 'active', {AT}, {AT})",
                account(7).id
            );
            write(url, &account).await;
        }

        // They are named and counted, and the others are read.
        let named = async || {
            let found = store.unreadable_artists_list(&all).await.unwrap();
            let mut found: Vec<_> = found.into_iter().map(|odd| (odd.id, odd.column)).collect();
            found.sort();
            found
        };
        let mut expected = vec![(2, "tenant"), (3, "subscription_status"), (4, "timezone")];
        let mut excluded = vec![
            None,
            Some("tenant '9lives'".to_owned()),
            Some("subscription_status ''".to_owned()),
            Some("timezone 'Europe/berlin'".to_owned()),
            None,
        ];
        if is_file {
            expected.extend([(6, "data_collection_enabled"), (7, "id")]);
            excluded.extend([Some("data_collection_enabled 7".to_owned()), Some(format!("artist_id '{spoilt}'"))]);
        }
        let expected: Vec<_> = expected.into_iter().map(|(n, column)| (artist(n).id, column.to_owned())).collect();
        assert_eq!(named().await, expected);
        let listed = store.artists_list(&all, &ArtistFilter::default()).await.unwrap();
        assert_eq!(listed.iter().map(|artist| artist.id).collect::<Vec<_>>(), [artist(1).id, artist(5).id]);
        // They are left out of plans.
        let candidates = store.candidates_list(&all, &demo(), None, None, 100, now()).await.unwrap();
        let unreadable: Vec<_> = candidates.into_iter().map(|candidate| candidate.unreadable).collect();
        assert_eq!(unreadable, excluded);

        // What hosts do with them: erase, switch off, write the others' columns.
        assert!(store.artist_erase(&all, artist(2).id, now()).await.unwrap().is_some(), "it is erased");
        let changes = RosterChanges { artists_removed: vec![artist(3).id], ..RosterChanges::default() };
        store.roster_apply(&all, &changes, "test", now()).await.unwrap();
        let of_five = store.artist_get(&all, artist(5).id).await.unwrap().unwrap();
        assert_eq!(of_five.name, long);
        let inactive = Artist { subscription_status: SubscriptionStatus::Inactive, ..of_five };
        store.artists_save(&all, std::slice::from_ref(&inactive), now()).await.unwrap();
        assert_eq!(store.artist_get(&all, artist(5).id).await.unwrap(), Some(inactive), "a name may stay");
        if is_file {
            store.artists_save(&all, &[artist(6)], now()).await.unwrap();
            write(url, &format!("DELETE FROM artists WHERE id = '{spoilt}'")).await;
        }

        // Another program changes what is right, and corrects what is not, each column by itself.
        write(url, &format!("UPDATE artists SET name = 'Bo', timezone = timezone WHERE id = '{}'", id(4))).await;
        let left = [(3, "subscription_status"), (4, "timezone")];
        assert_eq!(named().await, left.map(|(n, column)| (artist(n).id, column.to_owned())));
        write(url, &format!("UPDATE artists SET timezone = 'Europe/Berlin' WHERE id = '{}'", id(4))).await;
        write(url, &format!("UPDATE artists SET subscription_status = 'canceled' WHERE id = '{}'", id(3))).await;
        assert!(named().await.is_empty());
        let mut database = AnyConnection::connect(url).await.unwrap();
        let again = format!("UPDATE artists SET subscription_status = '' WHERE id = '{}'", id(3));
        assert!(refusal(&mut database, &again).await.contains(STATUS), "what is new is checked");
        database.close().await.unwrap();
        if is_file {
            write_unchecked(url, &format!("UPDATE artists SET name = {LATIN_1} WHERE id = '{}'", id(1))).await;
            let whole = format!(
                "INSERT INTO artists SELECT * FROM artists WHERE id = '{}'
                 ON CONFLICT (id) DO UPDATE SET timezone = 'Asia/Tokyo'",
                id(1)
            );
            write(url, &whole).await;
        }
        store.close().await;
    })
    .await;
}

#[tokio::test]
async fn writing_past_the_checks_leaves_them_as_they_were() {
    each_database(async |store, url| {
        people(&store, 1).await;
        let spoil = "UPDATE artists SET tenant = 'Acme Records'";
        write_unchecked(url, spoil).await;
        assert_eq!(store.unreadable_artists_list(&Scope::all_tenants()).await.unwrap().len(), 1);
        write(url, "UPDATE artists SET tenant = 'default'").await;
        let mut database = AnyConnection::connect(url).await.unwrap();
        assert!(refusal(&mut database, spoil).await.contains(TENANT));
        assert!(refusal(&mut database, &insert("tenant", "'Acme Records'")).await.contains(TENANT));
        database.close().await.unwrap();
    })
    .await;
}
