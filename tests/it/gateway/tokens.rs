//! Tests of the refresh of every kind of credential.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use backline_gateway::TokenError;
use backline_gateway::secrets::{AccessToken, Secret};
use backline_model::manifest::{CredentialKind, CredentialSlot, Inject, Owner};
use chrono::{DateTime, TimeDelta, Utc};

use super::{CUT_SHORT, KEY, Setup, TOKEN, noon};
use crate::support::http::{Asked, RawServer, Server, answer};

fn slot(kind: CredentialKind, owner: Owner, token_url: Option<&str>) -> CredentialSlot {
    CredentialSlot {
        slot: "user".to_owned(),
        kind,
        owner,
        inject: Inject::Bearer,
        hosts: vec!["https://api.test".parse().expect("an origin")],
        token_url: token_url.map(|url| url.parse().expect("a URL")),
        client_id_param: "client_id".to_owned(),
        description: String::new(),
    }
}

fn client() -> Secret {
    Secret::OauthClient { client_id: "client-1".into(), client_secret: "canary-client-secret".into() }
}

fn refresh_token(refresh_expires_at: Option<DateTime<Utc>>) -> Secret {
    Secret::RefreshToken { refresh_token: "canary-refresh-1".into(), refresh_expires_at, access: None }
}

fn fresh(token: &str, hours: i64) -> Option<AccessToken> {
    Some(AccessToken { token: token.into(), obtained_at: noon(), expires_at: Some(noon() + TimeDelta::hours(hours)) })
}

#[tokio::test]
async fn client_credentials_are_exchanged_for_a_token() {
    let server = Server::start(|_: &Asked| {
        answer(200, &[], r#"{"access_token":"fresh-token","token_type":"Bearer","expires_in":3600}"#)
    })
    .await;
    let (gateway, ..) = Setup::new(&server).open();
    let slot = slot(CredentialKind::Oauth2ClientCredentials, Owner::Operator, Some("https://api.test/api/token"));
    let stored = Secret::ClientCredentials {
        client_id: "client-1".into(),
        client_secret: "canary-client-secret".into(),
        access: None,
    };
    let refreshed = gateway.refresh(&slot, None, &stored).await.expect("refreshed");
    let expected = Secret::ClientCredentials {
        client_id: "client-1".into(),
        client_secret: "canary-client-secret".into(),
        access: fresh("fresh-token", 1),
    };
    assert!(refreshed == expected, "{refreshed:?}");
    let asked = &server.asked()[0];
    assert_eq!((asked.method.as_str(), asked.host(), asked.target.as_str()), ("POST", "api.test", "/api/token"));
    assert_eq!(asked.body, b"grant_type=client_credentials");
    assert_eq!(asked.headers["content-type"], "application/x-www-form-urlencoded");
    assert_eq!(asked.headers["authorization"], "Basic Y2xpZW50LTE6Y2FuYXJ5LWNsaWVudC1zZWNyZXQ=");
}

#[tokio::test]
async fn a_refresh_token_is_replaced_if_the_platform_rotates_it_and_kept_otherwise() {
    let seen = Arc::new(AtomicUsize::new(0));
    let server = Server::start(move |_: &Asked| match seen.fetch_add(1, Ordering::SeqCst) {
        0 => answer(503, &[], ""),
        1 => answer(
            200,
            &[],
            r#"{"access_token":"fresh-token","expires_in":86400,"refresh_token":"canary-refresh-2",
                "refresh_expires_in":31536000,"open_id":"o","scope":"a,b"}"#,
        ),
        _ => answer(200, &[], r#"{"access_token":"fresh-token","expires_in":86400}"#),
    })
    .await;
    let (gateway, ..) = Setup::new(&server).open();
    let mut slot = slot(CredentialKind::Oauth2RefreshToken, Owner::Account, Some("https://api.test/v2/oauth/token/"));
    slot.client_id_param = "client_key".to_owned();
    let rotated = gateway.refresh(&slot, Some(&client()), &refresh_token(None)).await.expect("refreshed");
    let expected = Secret::RefreshToken {
        refresh_token: "canary-refresh-2".into(),
        refresh_expires_at: Some(noon() + TimeDelta::days(365)),
        access: fresh("fresh-token", 24),
    };
    assert!(rotated == expected, "{rotated:?}");
    assert_eq!(
        String::from_utf8_lossy(&server.asked()[1].body),
        "grant_type=refresh_token&refresh_token=canary-refresh-1&client_key=client-1&client_secret=canary-client-secret"
    );
    let kept = gateway.refresh(&slot, Some(&client()), &rotated).await.expect("refreshed");
    assert!(kept == expected, "{kept:?}");
    assert!(
        String::from_utf8_lossy(&server.asked()[2].body).contains("canary-refresh-2"),
        "the old refresh token was used"
    );

    let outcome = gateway.refresh(&slot, None, &rotated).await;
    assert!(matches!(outcome, Err(TokenError::Misconfigured(_))), "{outcome:?}");
    let expired = refresh_token(Some(noon()));
    assert_eq!(gateway.refresh(&slot, Some(&client()), &expired).await, Err(TokenError::Expired(noon())));
    assert_eq!(server.asked().len(), 3);
}

#[tokio::test]
async fn an_instagram_token_is_refreshed_with_itself_once_it_is_a_day_old() {
    let server = Server::start(|_: &Asked| {
        answer(200, &[], r#"{"access_token":"canary-token-2","token_type":"bearer","expires_in":5183999}"#)
    })
    .await;
    let (gateway, ..) = Setup::new(&server).open();
    let slot = slot(CredentialKind::InstagramLongLived, Owner::Account, Some("https://api.test/refresh_access_token"));
    let stored = |age: TimeDelta, left: TimeDelta| Secret::InstagramLongLived {
        token: TOKEN.into(),
        obtained_at: Some(noon() - age),
        expires_at: Some(noon() + left),
    };
    let young = stored(TimeDelta::hours(23), TimeDelta::days(59));
    assert_eq!(gateway.refresh(&slot, None, &young).await, Err(TokenError::TooYoung(noon() + TimeDelta::hours(1))));
    let expired = stored(TimeDelta::days(60), TimeDelta::zero());
    assert_eq!(gateway.refresh(&slot, None, &expired).await, Err(TokenError::Expired(noon())));
    assert!(server.asked().is_empty());
    let refreshed =
        gateway.refresh(&slot, None, &stored(TimeDelta::hours(24), TimeDelta::days(59))).await.expect("refreshed");
    let expected = Secret::InstagramLongLived {
        token: "canary-token-2".into(),
        obtained_at: Some(noon()),
        expires_at: Some(noon() + TimeDelta::seconds(5_183_999)),
    };
    assert!(refreshed == expected, "{refreshed:?}");
    assert_eq!(
        server.asked()[0].target,
        format!("/refresh_access_token?grant_type=ig_refresh_token&access_token={TOKEN}")
    );
}

#[tokio::test]
async fn a_refused_refresh_says_who_must_act_and_repeats_no_secret() {
    let token_slot = slot(CredentialKind::Oauth2RefreshToken, Owner::Account, Some("https://api.test/token"));
    for (status, body, expected) in [
        (200, r#"{"error":"invalid_grant","error_description":"canary-refresh-1 is expired","log_id":"x"}"#, "refused"),
        (400, r#"{"error":{"message":"Session of canary-refresh-1 has expired","code":190}}"#, "refused"),
        (401, r#"{"error":"invalid_client","error_description":"canary-client-secret is wrong"}"#, "misconfigured"),
        (500, "canary-client-secret", "unavailable"),
        (302, "", "unavailable"),
    ] {
        let server =
            Server::start(move |_: &Asked| answer(status, &[("location", "https://api.test/canary")], body)).await;
        let (gateway, ..) = Setup::new(&server).open();
        let error = gateway.refresh(&token_slot, Some(&client()), &refresh_token(None)).await.expect_err(body);
        let class = match &error {
            TokenError::Refused(_) => "refused",
            TokenError::Misconfigured(_) => "misconfigured",
            TokenError::Unavailable(_) => "unavailable",
            other => panic!("{other}"),
        };
        assert_eq!(class, expected, "{body}: {error}");
        assert!(!error.to_string().contains("canary"), "{error}");
        assert_eq!(
            server.asked().len(),
            1,
            "a refresh that may have rotated the token was sent twice, or a redirect was followed"
        );
    }
    let cut = RawServer::start(vec![CUT_SHORT.to_vec()]).await;
    let (gateway, ..) = Setup::at(&cut.base()).open();
    let outcome = gateway.refresh(&token_slot, Some(&client()), &refresh_token(None)).await;
    assert!(matches!(outcome, Err(TokenError::Unavailable(_))) && cut.connections() == 1, "{outcome:?}");
}

#[tokio::test]
async fn a_token_endpoint_passes_the_address_check_and_keys_are_used_as_they_are() {
    let server = Server::start(|_: &Asked| answer(200, &[], "")).await;
    let (gateway, ..) = Setup::new(&server).open();
    for url in ["https://localhost/token", "https://127.0.0.1/token"] {
        let slot = slot(CredentialKind::Oauth2RefreshToken, Owner::Account, Some(url));
        let error = gateway.refresh(&slot, Some(&client()), &refresh_token(None)).await.expect_err(url);
        assert!(matches!(&error, TokenError::Misconfigured(why) if why.contains("not a public address")), "{error}");
    }
    let key = Secret::ApiKey { value: KEY.into() };
    let outcome = gateway.refresh(&slot(CredentialKind::ApiKey, Owner::Operator, None), None, &key).await;
    assert_eq!(outcome, Err(TokenError::NotRefreshable(CredentialKind::ApiKey)));
    let outcome =
        gateway.refresh(&slot(CredentialKind::Oauth2ClientCredentials, Owner::Operator, None), None, &key).await;
    assert!(matches!(outcome, Err(TokenError::Misconfigured(_))), "{outcome:?}");
}

#[tokio::test]
async fn a_token_that_no_platform_grants_is_refused() {
    let bodies = [
        "%".repeat(65_000),
        format!("{}b", r"\\".repeat(60)),
        format!("{}b", "a".repeat(60_000)),
        "canary token".to_owned(),
        "short".to_owned(),
    ];
    for token in bodies {
        let body = format!(r#"{{"access_token":"{token}","expires_in":1000000000000}}"#);
        let server = Server::start(move |_: &Asked| answer(200, &[], body.clone())).await;
        let (gateway, ..) = Setup::new(&server).open();
        let slot = slot(CredentialKind::Oauth2RefreshToken, Owner::Account, Some("https://api.test/token"));
        let outcome = gateway.refresh(&slot, Some(&client()), &refresh_token(None)).await;
        assert!(matches!(&outcome, Err(TokenError::Unavailable(why)) if why.contains("RFC 6750")), "{outcome:?}");
    }
}

#[tokio::test]
async fn a_lifetime_that_no_calendar_holds_counts_as_not_given() {
    let server =
        Server::start(|_: &Asked| answer(200, &[], r#"{"access_token":"fresh-token","expires_in":1000000000000}"#))
            .await;
    let (gateway, ..) = Setup::new(&server).open();
    let slot = slot(CredentialKind::Oauth2RefreshToken, Owner::Account, Some("https://api.test/token"));
    let refreshed = gateway.refresh(&slot, Some(&client()), &refresh_token(None)).await.expect("refreshed");
    let Secret::RefreshToken { access: Some(access), .. } = &refreshed else { panic!("{refreshed:?}") };
    assert_eq!(access.expires_at, None);
}
