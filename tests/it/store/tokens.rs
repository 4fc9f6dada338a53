//! Tests of tokens of the HTTP API, as they are stored.

use backline_model::{ApiToken, Digest, Role, Tenant, TokenId};
use backline_store::{Scope, StoreError, StoredSession};
use chrono::TimeDelta;
use uuid::Uuid;

use super::fixtures::{now, past};
use crate::support::database::each_database;

fn token(name: &str, expires_after: Option<TimeDelta>) -> ApiToken {
    ApiToken {
        id: TokenId::generate(),
        name: name.to_owned(),
        role: Role::Operator,
        tenant: None,
        created_at: now(),
        expires_at: expires_after.map(|after| now() + after),
        last_used_at: None,
        revoked_at: None,
    }
}

#[tokio::test]
async fn a_token_is_read_as_it_was_added_and_is_revoked_once() {
    each_database(async |store, _| {
        let all = Scope::all_tenants();
        let added = ApiToken { tenant: Some(Tenant::new("label").unwrap()), ..token("a", Some(TimeDelta::days(1))) };
        store.token_add(&all, &added, Digest::of(b"secret")).await.unwrap();
        assert_eq!(store.token_get(added.id).await.unwrap(), Some((added.clone(), Digest::of(b"secret"))));
        assert_eq!(store.token_get(TokenId::generate()).await.unwrap(), None);
        let revoked = store.token_revoke(&all, added.id, now()).await.unwrap();
        assert_eq!(revoked, ApiToken { revoked_at: Some(now()), ..added });
        let again = store.token_revoke(&all, revoked.id, now() + TimeDelta::hours(1)).await.unwrap();
        assert_eq!(again, revoked, "the first time stays");
        let unknown = store.token_revoke(&all, TokenId::generate(), now()).await.unwrap_err();
        assert!(matches!(unknown, StoreError::NotFound { what: "token", .. }), "{unknown}");
    })
    .await;
}

#[tokio::test]
async fn only_tokens_in_force_are_counted() {
    each_database(async |store, _| {
        let all = Scope::all_tenants();
        assert_eq!(store.active_tokens_count(now()).await.unwrap(), 0);
        let tokens = [token("a", None), token("b", Some(TimeDelta::hours(1))), token("c", None)];
        for one in &tokens {
            store.token_add(&all, one, Digest::of(one.name.as_bytes())).await.unwrap();
        }
        store.token_revoke(&all, tokens[2].id, now()).await.unwrap();
        assert_eq!(store.active_tokens_count(now()).await.unwrap(), 2);
        assert_eq!(store.active_tokens_count(now() + TimeDelta::hours(1)).await.unwrap(), 1);
    })
    .await;
}

#[tokio::test]
async fn the_last_use_is_written_once_in_a_while() {
    each_database(async |store, _| {
        let used = token("a", None);
        store.token_add(&Scope::all_tenants(), &used, Digest::of(b"secret")).await.unwrap();
        let last = async || store.token_get(used.id).await.unwrap().unwrap().0.last_used_at;
        let minute = TimeDelta::minutes(1);
        store.token_use(used.id, now(), now() - minute).await.unwrap();
        assert_eq!(last().await, Some(now()));
        let soon = now() + TimeDelta::seconds(30);
        store.token_use(used.id, soon, soon - minute).await.unwrap();
        assert_eq!(last().await, Some(now()), "half a minute later it stays");
        let later = now() + minute + minute;
        store.token_use(used.id, later, later - minute).await.unwrap();
        assert_eq!(last().await, Some(later));
    })
    .await;
}

#[tokio::test]
async fn sessions_of_a_clock_that_was_ahead_close_no_others() {
    each_database(async |store, _| {
        let one = token("a", None);
        store.token_add(&Scope::all_tenants(), &one, Digest::of(b"a")).await.unwrap();
        for n in 1..=20 {
            store.session_open(&session(n, &one, TimeDelta::days(400))).await.unwrap();
        }
        for n in 21..=23 {
            // Each by a clock that is a little behind the one before.
            let lasts = TimeDelta::hours(12) - TimeDelta::seconds(i64::try_from(n).unwrap());
            store.session_open(&session(n, &one, lasts)).await.unwrap();
        }
        for n in 21..=23 {
            assert!(store.session_get(Uuid::from_u128(n)).await.unwrap().is_some(), "session {n}");
        }
    })
    .await;
}

fn session(n: u128, token: &ApiToken, lasts: TimeDelta) -> StoredSession {
    let (id, secret) = (Uuid::from_u128(n), Digest::of(b"cookie"));
    StoredSession { id, token: token.id, secret, until: now() + lasts, notice: None }
}

#[tokio::test]
async fn a_token_has_so_many_sessions_and_the_first_to_end_are_closed() {
    each_database(async |store, _| {
        let all = Scope::all_tenants();
        let (one, other) = (token("a", None), token("b", None));
        let none = store.session_open(&session(1, &one, TimeDelta::hours(1))).await.unwrap_err();
        assert!(matches!(none, StoreError::NotFound { what: "token", .. }), "{none}");
        for added in [&one, &other] {
            store.token_add(&all, added, Digest::of(added.name.as_bytes())).await.unwrap();
        }
        let kept = session(100, &other, TimeDelta::seconds(1));
        store.session_open(&kept).await.unwrap();
        for n in 1..=25 {
            store.session_open(&session(n, &one, TimeDelta::minutes(i64::try_from(n).unwrap()))).await.unwrap();
        }
        for n in 1..=25 {
            let found = store.session_get(Uuid::from_u128(n)).await.unwrap();
            assert_eq!(found.is_some(), n > 5, "session {n}");
        }
        assert_eq!(store.session_get(kept.id).await.unwrap(), Some(kept.clone()), "another token's is left alone");
        store.session_set_notice(kept.id, Some("said\0")).await.unwrap();
        let told = store.session_get(kept.id).await.unwrap().and_then(|session| session.notice);
        assert_eq!(told.as_deref(), Some("said"));
        store.session_close(kept.id).await.unwrap();
        assert_eq!(store.session_get(kept.id).await.unwrap(), None);
    })
    .await;
}

#[tokio::test]
async fn sessions_that_are_over_are_removed() {
    each_database(async |store, _| {
        let all = Scope::all_tenants();
        let (one, other) = (token("a", None), token("b", None));
        for added in [&one, &other] {
            store.token_add(&all, added, Digest::of(added.name.as_bytes())).await.unwrap();
        }
        store.session_open(&session(1, &one, TimeDelta::hours(1))).await.unwrap();
        store.session_open(&session(2, &one, TimeDelta::hours(2))).await.unwrap();
        store.session_open(&session(3, &other, TimeDelta::hours(2))).await.unwrap();
        let hour = now() + TimeDelta::hours(1);
        assert_eq!(store.sessions_remove(past(hour)).await.unwrap(), 0);
        assert_eq!(store.sessions_remove(past(hour + TimeDelta::seconds(1))).await.unwrap(), 1);
        store.token_revoke(&all, other.id, now()).await.unwrap();
        assert_eq!(store.sessions_remove(past(now())).await.unwrap(), 1, "its token is revoked");
        assert!(store.session_get(Uuid::from_u128(2)).await.unwrap().is_some());
    })
    .await;
}
