//! Tests of writes that the database carries out late: their sender gave up, or has gone on to something else since.

use std::time::Duration;

use backline_model::roster::RosterChanges;
use backline_model::{AlertChannel, ChannelId, ChannelTarget, SwapCause};
use backline_store::{Canary, DatabaseKind, Presence, Scope, StoreError};
use chrono::TimeDelta;
use sqlx::{Connection as _, Executor as _, PgConnection};
use uuid::Uuid;

use super::fixtures::{TTL, artist, demo, now, release, release_of, webhook, weekly_digest};
use crate::support::database::{each_database, spoil};
use crate::support::fleet::until;

fn host(name: &str) -> Presence {
    Presence { name: name.to_owned(), version: "1.2.3".to_owned(), state: "ready", started_at: now() }
}

/// Waits until a question about the server has this answer.
async fn count_is(server: &mut PgConnection, question: &'static str, wanted: i64) {
    until(Duration::from_secs(30), question, async || {
        let count: i64 = sqlx::query_scalar(question).fetch_one(&mut *server).await.unwrap();
        (count == wanted).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_report_that_outlives_its_sender_lists_no_host_that_has_left() {
    each_database(async |store, url| {
        if store.kind() == DatabaseKind::Sqlite {
            // Its one writer carries statements out in the order in which they are sent.
            return;
        }
        let host = host("a");
        store.host_announce(&host, now()).await.unwrap();
        let mut leaving = PgConnection::connect(url).await.unwrap();
        let mut looking = PgConnection::connect(url).await.unwrap();
        leaving.execute("BEGIN; DELETE FROM hosts").await.unwrap();
        let waiting = "SELECT COUNT(*) FROM pg_stat_activity
                       WHERE datname = current_database() AND wait_event_type = 'Lock'";
        tokio::select! {
            beaten = store.host_beat(&host, now()) => panic!("it does not wait for the removal: {beaten:?}"),
            () = count_is(&mut looking, waiting, 1) => {}
        }
        // The connection of the report is closed by now, and the server goes on with it.
        leaving.execute("COMMIT").await.unwrap();
        let active = "SELECT COUNT(*) FROM pg_stat_activity
                      WHERE datname = current_database() AND state = 'active' AND pid <> pg_backend_pid()
                          AND backend_type = 'client backend'";
        count_is(&mut looking, active, 0).await;
        assert!(store.hosts_list(now()).await.unwrap().is_empty());
    })
    .await;
}

#[tokio::test]
async fn a_load_report_of_a_host_that_has_left_is_left_out() {
    each_database(async |store, _| {
        let digest = release().digest;
        store.release_save(&release(), b"component").await.unwrap();
        store.host_announce(&host("a"), now()).await.unwrap();
        store.load_report_save("a", digest, None, now()).await.unwrap();
        assert_eq!(store.load_reports_list(digest).await.unwrap().len(), 1);
        store.host_forget("a", now()).await.unwrap();
        store.load_report_save("a", digest, None, now()).await.unwrap();
        assert!(store.load_reports_list(digest).await.unwrap().is_empty());
    })
    .await;
}

#[tokio::test]
async fn an_activation_that_was_given_up_ends_no_later_staging() {
    each_database(async |store, _| {
        let digest = release().digest;
        store.release_save(&release(), b"component").await.unwrap();
        let (first, second) = (now() + TimeDelta::minutes(1), now() + TimeDelta::minutes(2));
        store.release_stage(digest, first).await.unwrap();
        store.release_stage(digest, second).await.unwrap();
        store.release_unstage(digest, first).await.unwrap();
        assert_eq!(store.releases_in_use_list(now()).await.unwrap().len(), 1, "another activation has staged it");
        store.release_unstage(digest, second).await.unwrap();
        assert!(store.releases_in_use_list(now()).await.unwrap().is_empty());
    })
    .await;
}

#[tokio::test]
async fn a_canary_that_has_ended_is_not_promoted() {
    each_database(async |store, _| {
        let (active, next) = (release(), release_of("1.1.0", b"next"));
        store.release_save(&active, b"component").await.unwrap();
        store.release_save(&next, b"next").await.unwrap();
        store.release_activate(active.digest, SwapCause::Activated, now()).await.unwrap();
        let read =
            Canary { platform: demo(), release: next.digest, share: 1_000, started_at: now(), promote_at: Some(now()) };
        store.canary_start(&read).await.unwrap();
        assert!(store.canary_stop(&demo()).await.unwrap());
        assert!(!store.canary_promote(&read, now()).await.unwrap(), "it was stopped");
        let later = Canary { started_at: now() + TimeDelta::hours(1), ..read.clone() };
        store.canary_start(&later).await.unwrap();
        assert!(!store.canary_promote(&read, now()).await.unwrap(), "another one has begun");
        assert_eq!(store.active_release_get(&demo()).await.unwrap().map(|one| one.digest), Some(active.digest));
        assert!(store.canary_promote(&later, now()).await.unwrap());
        assert_eq!(store.active_release_get(&demo()).await.unwrap().map(|one| one.digest), Some(next.digest));
        assert!(!store.canary_promote(&later, now()).await.unwrap(), "another host was faster");
    })
    .await;
}

#[tokio::test]
async fn a_webhook_that_was_switched_on_again_stays_on() {
    each_database(async |store, _| {
        let all = Scope::all_tenants();
        store.webhook_add(&all, &webhook(1, "app"), vec![1], true).await.unwrap();
        let read = store.webhook_get(&all, "app").await.unwrap();
        let later = now() + TimeDelta::seconds(1);
        store.webhook_set_enabled(&all, &read, true, None, later).await.unwrap();
        assert!(!store.webhook_switch_off(&all, &read, "it answered 410", later).await.unwrap());
        let read = store.webhook_get(&all, "app").await.unwrap();
        assert!(read.enabled);
        assert!(store.webhook_switch_off(&all, &read, "it answered 410", later).await.unwrap());
        let off = store.webhook_get(&all, "app").await.unwrap();
        assert_eq!((off.enabled, off.disabled_reason.as_deref()), (false, Some("it answered 410")));
        assert!(!store.webhook_switch_off(&all, &off, "it answered 410", later).await.unwrap(), "it is off already");
    })
    .await;
}

#[tokio::test]
async fn a_time_that_is_written_in_another_form_is_still_the_one_that_was_read() {
    each_database(async |store, url| {
        let (all, later) = (Scope::all_tenants(), now() + TimeDelta::hours(1));
        let in_another_form = async |table: &str, column: &str| {
            spoil(url, table, column, "'2026-11-22 12:00:00.5+00'", "TRUE").await;
        };
        store.webhook_add(&all, &webhook(1, "app"), vec![1], true).await.unwrap();
        in_another_form("webhooks", "updated_at").await;
        let read = store.webhook_get(&all, "app").await.unwrap();
        assert!(store.webhook_switch_off(&all, &read, "it answered 410", later).await.unwrap());

        let (active, next) = (release(), release_of("1.1.0", b"next"));
        store.release_save(&active, b"component").await.unwrap();
        store.release_save(&next, b"next").await.unwrap();
        store.release_activate(active.digest, SwapCause::Activated, now()).await.unwrap();
        let canary =
            Canary { platform: demo(), release: next.digest, share: 1_000, started_at: now(), promote_at: Some(now()) };
        store.canary_start(&canary).await.unwrap();
        in_another_form("canaries", "started_at").await;
        assert!(store.canary_promote(&canary, later).await.unwrap());

        let (id, name) = (ChannelId(Uuid::from_u128(1)), "people".to_owned());
        let channel = AlertChannel { id, name, target: ChannelTarget::Slack, created_at: now() };
        store.alert_channel_add(&all, &channel, vec![1]).await.unwrap();
        store.alert_digest_add(&all, &weekly_digest(Uuid::from_u128(2), "weekly", &channel.name)).await.unwrap();
        in_another_form("alert_digests", "next_at").await;
        let digest = store.alert_digests_list(&all).await.unwrap().remove(0);
        assert!(store.alert_digest_move(&all, &digest, later, None).await.unwrap());
        assert!(!store.alert_digest_move(&all, &digest, later, None).await.unwrap(), "another host was faster");
    })
    .await;
}

#[tokio::test]
async fn a_sync_of_a_host_that_lost_its_role_changes_nothing() {
    each_database(async |store, _| {
        let (all, later) = (Scope::all_tenants(), now() + TTL);
        let lost = store.role_take("scheduler", "a", now(), TTL).await.unwrap().expect("it is free");
        let held = store.role_take("scheduler", "b", later, TTL).await.unwrap().expect("its time is over");
        let changes = RosterChanges { artists_added: vec![artist(1)], ..RosterChanges::default() };
        let refused = store.roster_apply_in_term(&all, &lost, &changes, "test", later).await;
        assert!(matches!(refused, Err(StoreError::TermLost { .. })), "{refused:?}");
        assert_eq!(store.artist_get(&all, artist(1).id).await.unwrap(), None);
        store.roster_apply_in_term(&all, &held, &changes, "test", later).await.unwrap();
        assert_eq!(store.artist_get(&all, artist(1).id).await.unwrap(), Some(artist(1)));
    })
    .await;
}
