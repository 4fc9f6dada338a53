//! Tests of first collections: the triggers record pending ones for every writer, and send notifications.

use std::time::Duration;

use backline_model::outcome::{Exclusion, Outcome};
use backline_model::{Account, AccountId, AccountStatus, Artist, Consent, Platform, Run, RunId, SubscriptionStatus};
use backline_store::{BatchResult, DatabaseKind, PlanGuard, Scope, Store, Topic};
use chrono::TimeDelta;
use sqlx::any::AnyPoolOptions;
use sqlx::{AnyPool, AssertSqlSafe, Connection as _, Executor as _, PgConnection};

use super::fixtures::{
    account, add_batches, artist, batch, day, demo, followers, lease, now, people, result, run, take_out,
};
use crate::support::database::each_database;

/// Maximum wait for a notification on a loaded machine. A listener hears by nothing else: it never asks by itself.
const WAIT_MAX: Duration = Duration::from_secs(60);

/// A connection like that of other software.
async fn foreign(url: &str) -> AnyPool {
    AnyPoolOptions::new().max_connections(1).connect(url).await.unwrap()
}

async fn execute(pool: &AnyPool, statement: &str) {
    sqlx::query(AssertSqlSafe(statement.to_owned())).execute(pool).await.unwrap();
}

/// Removes all pending activations, and returns them as `artist platform cause`.
async fn taken(store: &Store) -> Vec<String> {
    let waiting = store.activations_list(&Scope::all_tenants(), 10_000).await.unwrap();
    let mut texts: Vec<String> = waiting
        .iter()
        .map(|activation| {
            let platform = activation.platform.as_ref().map_or("everywhere", |platform| platform.as_str());
            format!("{} {platform} {}", activation.artist_id, activation.cause)
        })
        .collect();
    texts.sort();
    assert_eq!(take_out(store, &waiting).await, waiting.len());
    texts
}

#[tokio::test]
async fn becoming_active_asks_for_a_collection_once_for_every_writer() {
    each_database(async |store, url| {
        let mut one = artist(1);
        one.subscription_status = SubscriptionStatus::Inactive;
        store.artists_save(&Scope::all_tenants(), &[one, artist(2)], now()).await.unwrap();
        let two = format!("{} everywhere activation", artist(2).id);
        assert_eq!(taken(&store).await, [two], "only the active artist");

        let platform_code = foreign(url).await;
        let update = async |what: &str| {
            execute(&platform_code, &format!("UPDATE artists SET {what} WHERE id = '{}'", artist(1).id)).await;
            taken(&store).await
        };
        let expected = [format!("{} everywhere activation", artist(1).id)];
        assert_eq!(update("subscription_status = 'past_due'").await, [""; 0]);
        assert_eq!(update("subscription_status = 'active'").await, expected);
        assert_eq!(update("subscription_status = 'active', name = 'Ada'").await, [""; 0], "no transition");
        assert_eq!(update("data_collection_enabled = FALSE").await, [""; 0]);
        assert_eq!(update("name = 'Bo'").await, [""; 0]);
        assert_eq!(update("data_collection_enabled = TRUE").await, expected, "paused and resumed");
        assert_eq!(update("subscription_status = 'canceled', data_collection_enabled = FALSE").await, [""; 0]);
        assert_eq!(update("data_collection_enabled = TRUE").await, [""; 0], "both conditions are needed");
        assert_eq!(update("subscription_status = 'active'").await, expected);
        platform_code.close().await;
    })
    .await;
}

#[tokio::test]
async fn granting_a_consent_asks_for_a_collection_and_granting_it_again_does_not() {
    each_database(async |store, _| {
        people(&store, 1).await;
        taken(&store).await;
        let said = async |granted, hours, scope: &str| {
            let consent = Consent {
                artist_id: artist(1).id,
                platform: demo(),
                granted,
                scope: scope.to_owned(),
                source: "test".to_owned(),
                recorded_at: now() + TimeDelta::hours(hours),
            };
            store.consents_record(&Scope::all_tenants(), &[consent]).await.unwrap();
            taken(&store).await
        };
        let expected = [format!("{} demo consent", artist(1).id)];
        assert_eq!(said(false, 0, "metrics").await, [""; 0]);
        assert_eq!(said(true, 1, "metrics").await, expected);
        assert_eq!(said(true, 2, "metrics").await, [""; 0]);
        assert_eq!(said(true, 2, "newsletter").await, [""; 0]);
        assert_eq!(said(false, 3, "metrics").await, [""; 0]);
        assert_eq!(said(true, 3, "metrics").await, expected, "withdrawn and granted again");
    })
    .await;
}

#[tokio::test]
async fn an_account_that_is_new_or_active_again_asks_for_a_collection() {
    each_database(async |store, _| {
        people(&store, 1).await;
        taken(&store).await;
        let expected = [format!("{} demo account", artist(1).id)];
        let more: Vec<Account> = ["x", "y"]
            .map(|name| Account { id: AccountId::generate(), platform_id: name.to_owned(), ..account(1) })
            .into();
        store.accounts_save(&Scope::all_tenants(), &more, now()).await.unwrap();
        assert_eq!(taken(&store).await, expected, "two accounts of one platform are one collection");
        let disabled = Account { status: AccountStatus::Disabled, platform_id: "z".to_owned(), ..account(9) };
        store
            .accounts_save(&Scope::all_tenants(), &[Account { artist_id: artist(1).id, ..disabled }], now())
            .await
            .unwrap();
        assert_eq!(taken(&store).await, [""; 0]);

        let set = async |status| {
            store.account_set_status(&Scope::all_tenants(), account(1).id, status, now()).await.unwrap();
            taken(&store).await
        };
        assert_eq!(set(AccountStatus::Active).await, [""; 0]);
        assert_eq!(set(AccountStatus::ReconnectNeeded).await, [""; 0]);
        assert_eq!(store.accounts_reconnect(&Scope::all_tenants(), &[account(1).id], now()).await.unwrap(), 1);
        assert_eq!(taken(&store).await, expected);
        assert_eq!(set(AccountStatus::Disabled).await, [""; 0]);
        assert_eq!(set(AccountStatus::Active).await, expected);
    })
    .await;
}

#[tokio::test]
async fn an_activation_repeated_during_planning_is_kept() {
    each_database(async |store, url| {
        store.artists_save(&Scope::all_tenants(), &[artist(1), artist(2)], now()).await.unwrap();
        let planned = store.activations_list(&Scope::all_tenants(), 10).await.unwrap();
        assert_eq!(planned.len(), 2);
        let platform_code = foreign(url).await;
        for status in ["inactive", "active"] {
            let update = format!("UPDATE artists SET subscription_status = '{status}' WHERE id = '{}'", artist(1).id);
            execute(&platform_code, &update).await;
        }
        assert_eq!(take_out(&store, &planned).await, 1, "the plan covered the second artist only");
        let left = store.activations_list(&Scope::all_tenants(), 10).await.unwrap();
        assert_eq!(left.iter().map(|activation| activation.artist_id).collect::<Vec<_>>(), [artist(1).id]);
        assert_eq!(store.activations_list(&Scope::all_tenants(), 0).await.unwrap(), []);
        platform_code.close().await;
    })
    .await;
}

#[tokio::test]
async fn a_first_collection_asked_for_during_a_batch_waits_for_its_end() {
    each_database(async |store, _| {
        let accounts = people(&store, 2).await;
        taken(&store).await;
        let planned = batch(1, &run(1), &[&accounts[0]], day("2026-11-22"));
        add_batches(&store, &[planned], now()).await;
        let ask = async |platform: &str| {
            let consent = |granted| Consent {
                artist_id: artist(1).id,
                platform: Platform::new(platform).unwrap(),
                granted,
                scope: "metrics".to_owned(),
                source: "test".to_owned(),
                recorded_at: now(),
            };
            store.consents_record(&Scope::all_tenants(), &[consent(false), consent(true)]).await.unwrap();
        };
        ask("demo").await;
        let waiting = async || store.activations_list(&Scope::all_tenants(), 10).await.unwrap().len();
        assert_eq!(waiting().await, 1, "nothing has judged the account yet");
        let held = lease(&store).await;
        // The batch has asked for consents before they were granted again.
        assert_eq!(waiting().await, 0);
        ask("elsewhere").await;
        assert_eq!(waiting().await, 1, "another platform's does not wait");
        let ended = Outcome::Excluded { reason: Exclusion::NoConsent };
        let left_out = result(&followers(&accounts[0], day("2026-11-22"), 1), ended);
        let judged = BatchResult { accounts: vec![left_out], ..BatchResult::default() };
        store.batch_complete(&held, judged, now()).await.unwrap();
        let expected = ["demo", "elsewhere"].map(|platform| format!("{} {platform} consent", artist(1).id));
        assert_eq!(taken(&store).await, expected, "it was not lost");
    })
    .await;
}

#[tokio::test]
async fn a_run_of_one_platform_leaves_a_first_collection_due_on_the_others_only() {
    each_database(async |store, _| {
        let all = Scope::all_tenants();
        people(&store, 3).await;
        let elsewhere = Platform::new("elsewhere").unwrap();
        let another = |n| Account { id: AccountId::generate(), platform: elsewhere.clone(), ..account(n) };
        store.accounts_save(&all, &[another(1), another(3)], now()).await.unwrap();
        taken(&store).await;
        // They become active again: they are to be collected on all their platforms.
        for status in [SubscriptionStatus::Inactive, SubscriptionStatus::Active] {
            let artists = [1, 2, 3].map(|n| Artist { subscription_status: status, ..artist(n) });
            store.artists_save(&all, &artists, now()).await.unwrap();
        }
        let waiting = store.activations_list(&all, 10).await.unwrap();
        assert_eq!(waiting.iter().filter(|one| one.is_covered_by(&[demo()], &[])).count(), 3);
        let covered: Vec<_> = waiting.into_iter().filter(|one| one.artist_id != artist(3).id).collect();
        let own = Run { id: RunId::generate(), ..run(0) };
        let mut planning = store.plan_begin(&own, PlanGuard::Manual, now()).await.unwrap();
        planning.activations_take(&covered, &[demo()]).await.unwrap();
        planning.commit_without_run().await.unwrap();
        let expected =
            [format!("{} elsewhere activation", artist(1).id), format!("{} everywhere activation", artist(3).id)];
        assert_eq!(taken(&store).await, expected, "the second artist is on no other platform");
    })
    .await;
}

#[tokio::test]
async fn rows_that_no_connector_can_have_keep_nothing_from_its_turn() {
    each_database(async |store, url| {
        store.artists_save(&Scope::all_tenants(), &[artist(1)], now()).await.unwrap();
        taken(&store).await;
        let own = foreign(url).await;
        for n in 1..=5 {
            let add = format!(
                "INSERT INTO activations (artist_id, platform, cause, at)
                 SELECT id, 'No Platform {n}', 'account', created_at FROM artists"
            );
            execute(&own, &add).await;
        }
        let account = Account { artist_id: artist(1).id, ..account(1) };
        store.accounts_save(&Scope::all_tenants(), &[account], now()).await.unwrap();
        let listed = store.activations_list(&Scope::all_tenants(), 2).await.unwrap();
        let platforms: Vec<_> = listed.iter().filter_map(|activation| activation.platform.clone()).collect();
        assert_eq!(platforms, [demo()], "five of them are before it, two were asked for");
        own.close().await;
    })
    .await;
}

#[tokio::test]
async fn an_open_transaction_keeps_its_activation_and_blocks_no_planning() {
    each_database(async |store, url| {
        if store.kind() == DatabaseKind::Sqlite {
            return; // SQLite has one writer, so no other transaction is open during planning
        }
        store.artists_save(&Scope::all_tenants(), &[artist(1), artist(2)], now()).await.unwrap();
        let planned = store.activations_list(&Scope::all_tenants(), 10).await.unwrap();
        let mut platform_code = PgConnection::connect(url).await.unwrap();
        let mut open = platform_code.begin().await.unwrap();
        for status in ["inactive", "active"] {
            let update = format!("UPDATE artists SET subscription_status = '{status}' WHERE id = '{}'", artist(1).id);
            open.execute(AssertSqlSafe(update)).await.unwrap();
        }
        assert_eq!(take_out(&store, &planned).await, 1);
        open.commit().await.unwrap();
        let left = store.activations_list(&Scope::all_tenants(), 10).await.unwrap();
        assert_eq!(left.iter().map(|activation| activation.artist_id).collect::<Vec<_>>(), [artist(1).id]);
    })
    .await;
}

#[tokio::test]
async fn a_role_that_may_only_change_artists_fires_the_trigger_and_reads_nothing() {
    each_database(async |store, url| {
        if store.kind() == DatabaseKind::Sqlite {
            return; // SQLite has no roles
        }
        store.artists_save(&Scope::all_tenants(), &[artist(1)], now()).await.unwrap();
        let platform_code = foreign(url).await;
        let role = format!("platform_{}", uuid::Uuid::new_v4().simple());
        execute(&platform_code, &format!("CREATE ROLE {role}")).await;
        execute(&platform_code, &format!("GRANT SELECT, UPDATE ON artists TO {role}")).await;
        execute(&platform_code, &format!("CREATE POLICY {role} ON artists TO {role} USING (TRUE) WITH CHECK (TRUE)"))
            .await;
        taken(&store).await;
        execute(&platform_code, &format!("SET ROLE {role}")).await;
        // A table in a schema before Backline's on the search path is not used by mistake.
        execute(&platform_code, "CREATE TEMP TABLE activations (artist_id UUID)").await;
        for status in ["inactive", "active"] {
            execute(&platform_code, &format!("UPDATE artists SET subscription_status = '{status}'")).await;
        }
        execute(&platform_code, "DROP TABLE activations").await;
        let denied = sqlx::query("SELECT * FROM backline.activations").execute(&platform_code).await.unwrap_err();
        assert!(denied.to_string().contains("permission denied"), "{denied}");
        execute(&platform_code, "RESET ROLE").await;
        assert_eq!(taken(&store).await, [format!("{} everywhere activation", artist(1).id)]);
        execute(&platform_code, &format!("DROP OWNED BY {role}")).await;
        execute(&platform_code, &format!("DROP ROLE {role}")).await;
        platform_code.close().await;
    })
    .await;
}

#[tokio::test]
async fn an_update_by_other_software_is_notified_at_once() {
    each_database(async |store, url| {
        let mut one = artist(1);
        one.subscription_status = SubscriptionStatus::Inactive;
        store.artists_save(&Scope::all_tenants(), std::slice::from_ref(&one), now()).await.unwrap();
        let mut listener = store.listener().await.unwrap();
        match store.kind() {
            DatabaseKind::Postgres => {
                let platform_code = foreign(url).await;
                execute(&platform_code, "SELECT pg_notify('backline', 'what a newer host says')").await;
                let update = format!("UPDATE artists SET subscription_status = 'active' WHERE id = '{}'", one.id);
                execute(&platform_code, &update).await;
                platform_code.close().await;
            }
            DatabaseKind::Sqlite => {
                one.subscription_status = SubscriptionStatus::Active;
                store.artists_save(&Scope::all_tenants(), std::slice::from_ref(&one), now()).await.unwrap();
            }
        }
        let heard = tokio::time::timeout(WAIT_MAX, listener.next()).await.expect("it is heard");
        assert_eq!(heard.unwrap(), Topic::Activations);
        assert_eq!(
            store.activations_list(&Scope::all_tenants(), 10).await.unwrap().len(),
            1,
            "the activation exists when the notification arrives"
        );
    })
    .await;
}

#[tokio::test]
async fn a_listener_reports_a_broken_connection_and_a_new_one_works() {
    each_database(async |store, url| {
        if store.kind() == DatabaseKind::Sqlite {
            return; // SQLite has no connection that could break
        }
        let mut listener = store.listener().await.unwrap();
        let server = foreign(url).await;
        let kill = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                    WHERE datname = current_database() AND query LIKE 'LISTEN%'";
        let killed = sqlx::query(kill).execute(&server).await.unwrap().rows_affected();
        assert_eq!(killed, 1);
        let broken = tokio::time::timeout(WAIT_MAX, listener.next()).await.expect("the broken connection is detected");
        assert!(broken.is_err(), "{broken:?}");
        let mut listener = store.listener().await.unwrap();
        execute(&server, "SELECT pg_notify('backline', 'work')").await;
        let heard = tokio::time::timeout(WAIT_MAX, listener.next()).await.expect("it is heard");
        assert_eq!(heard.unwrap(), Topic::Work);
        server.close().await;
    })
    .await;
}
