//! Rows that have served their time: one that another program keeps costs no other its removal.

use backline_model::retention::{Before, RetainedTable, RetentionStep};
use backline_model::{AlertChannel, ApiToken, ChannelId, ChannelTarget, Digest, Role, TokenId};
use backline_store::{AlertFilter, ArchivePlace, EventCursor, Scope, Store, StoreError, StoredSession};
use chrono::TimeDelta;
use uuid::Uuid;

use super::fixtures::{day, event, followers, now, past, people, store_rows};
use super::scope::step;
use crate::support::database::{each_database, refuse, refuse_no_more, write};

/// Sessions of a token, which end in an hour.
async fn sessions(store: &Store, numbers: std::ops::RangeInclusive<u128>) {
    let id = TokenId::generate();
    let token = ApiToken {
        id,
        name: id.to_string(),
        role: Role::Operator,
        tenant: None,
        created_at: now(),
        expires_at: None,
        last_used_at: None,
        revoked_at: None,
    };
    store.token_add(&Scope::all_tenants(), &token, Digest::of(token.id.to_string().as_bytes())).await.unwrap();
    for n in numbers {
        let (id, secret, until) = (Uuid::from_u128(n), Digest::of(b"cookie"), now() + TimeDelta::hours(1));
        store.session_open(&StoredSession { id, token: token.id, secret, until, notice: None }).await.unwrap();
    }
}

/// What the rows are called that the database keeps.
fn kept(error: &StoreError) -> Vec<&str> {
    match error {
        StoreError::Kept { rows, .. } => rows.split(", ").collect(),
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn a_session_that_another_program_keeps_is_named_and_keeps_no_other() {
    each_database(async |store, url| {
        sessions(&store, 1..=9).await;
        let (three, later) = (Uuid::from_u128(3), past(now() + TimeDelta::hours(2)));
        refuse(url, "dashboard_sessions", "DELETE", &format!("OLD.id = '{three}'")).await;
        let error = store.sessions_remove(later).await.unwrap_err();
        assert_eq!(kept(&error), [three.to_string()]);
        assert!(!error.is_outage(), "the archive goes on to what else there is");
        for n in 1..=9 {
            let found = store.session_get(Uuid::from_u128(n)).await.unwrap();
            assert_eq!(found.is_some(), n == 3, "session {n}");
        }
        refuse_no_more(url, "dashboard_sessions").await;
        assert_eq!(store.sessions_remove(later).await.unwrap(), 1);
    })
    .await;
}

#[tokio::test]
async fn a_table_that_refuses_all_is_left_alone_after_some() {
    each_database(async |store, url| {
        for numbers in [1..=15, 16..=30] {
            sessions(&store, numbers).await;
        }
        refuse(url, "dashboard_sessions", "DELETE", "TRUE").await;
        let error = store.sessions_remove(past(now() + TimeDelta::hours(2))).await.unwrap_err();
        assert_eq!(kept(&error).len(), 20);
    })
    .await;
}

#[tokio::test]
async fn what_alerts_told_is_removed_beside_what_another_program_keeps() {
    each_database(async |store, url| {
        let (all, ended) = (Scope::all_tenants(), "2026-11-22T12:00:00.000000Z");
        let (id, name) = (ChannelId(Uuid::from_u128(0x9000_0001)), "people".to_owned());
        let channel = AlertChannel { id, name, target: ChannelTarget::Slack, created_at: now() };
        store.alert_channel_add(&all, &channel, vec![1]).await.unwrap();
        store.events_write(&all, &[1, 2, 3].map(|n| event(n, None))).await.unwrap();
        let heads = store.event_heads_list(&all, EventCursor::default(), 10).await.unwrap();
        let messages = [1, 2, 3].map(Uuid::from_u128);
        for (message, head) in messages.iter().zip(&heads) {
            let told = format!(
                "INSERT INTO alert_messages (id, channel_id, subject, group_key, type, phase, severity, is_test,
                     state, events, attempts, due_at, next_at, finished_at)
                 VALUES ('{message}', '{id}', 's', 'g', 'run.completed', 'firing', 'info', FALSE, 'sent', 1, 1,
                     '{ended}', '{ended}', '{ended}')"
            );
            write(url, &told).await;
            let event = format!(
                "INSERT INTO alert_events (channel_id, event_seq, message_id) VALUES ('{id}', {}, '{message}')",
                head.cursor
            );
            write(url, &event).await;
        }
        refuse(url, "alert_events", "DELETE", &format!("OLD.event_seq = {}", heads[1].cursor)).await;
        let later = past(now() + TimeDelta::days(40));
        let error = store.alert_messages_remove(later).await.unwrap_err();
        assert_eq!(kept(&error), [messages[1].to_string()]);
        let left = store.alert_messages_list(&all, &AlertFilter::default()).await.unwrap();
        assert_eq!(left.iter().map(|message| message.id).collect::<Vec<_>>(), [messages[1]], "its events lead to it");
        refuse_no_more(url, "alert_events").await;
        assert_eq!(store.alert_messages_remove(later).await.unwrap(), 1);
    })
    .await;
}

#[tokio::test]
async fn the_archive_goes_on_behind_a_row_of_numbers_that_another_program_keeps() {
    each_database(async |store, url| {
        let (accounts, date) = (people(&store, 7).await, day("2026-11-20"));
        store_rows(&store, accounts.iter().map(|account| followers(account, date, 5)).collect()).await;
        let id = accounts[2].id;
        refuse(url, "metrics", "DELETE", &format!("OLD.account_id = '{id}'")).await;
        let step = RetentionStep {
            table: RetainedTable::Metrics,
            before: Before::Time(now() + TimeDelta::hours(1)),
            ..step()
        };
        let (all, later) = (Scope::all_tenants(), past(now() + TimeDelta::days(1)));
        let (mut place, mut rows, mut refused, mut turns) = (Some(ArchivePlace::default()), 0, Vec::new(), 0);
        while let Some(from) = place {
            let taken = store.archive_due_put_away(&all, &step, &[], &from, 4, later).await.unwrap();
            (rows, turns) = (rows + taken.rows, turns + 1);
            refused.extend(taken.refused);
            place = taken.next;
            assert!(turns < 50, "it ends");
        }
        assert_eq!(rows, 6, "all others");
        let names: Vec<&str> = refused.iter().flat_map(kept).collect();
        assert_eq!(names, [format!("metrics of {id} of {date}")]);
    })
    .await;
}
