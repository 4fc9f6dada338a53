//! Tests of every class of error, for the artist and for a part, and of which accounts it affects.

use backline_sdk::HttpError;
use backline_sdk::testing::response;

use super::*;

/// The class of the error when the artist request of a single account is refused.
fn refused(answer: Result<backline_sdk::bindings::backline::connector::http::Response, HttpError>) -> String {
    let replay = Replay::new().on(Method::Get, "/artists/", answer);
    class(&replay.fetch::<Spotify>(accounts(&[ARIA]), context()).accounts.remove(0).expect_err("refused"))
}

#[test]
fn every_status_has_its_class() {
    let retry = |seconds: &str| Ok(response(429, &[("retry-after", seconds)], fixture!("error_429")));
    assert_eq!(
        refused(Ok(response(401, &[], fixture!("error_401")))),
        r#"FetchError::Unauthorized("HTTP 401: The access token expired")"#
    );
    assert_eq!(
        refused(Ok(response(403, &[], fixture!("error_403")))),
        r#"FetchError::Forbidden("HTTP 403: Forbidden")"#
    );
    assert_eq!(refused(Ok(response(404, &[], fixture!("error_404")))), "FetchError::NotFound");
    assert_eq!(refused(Ok(response(400, &[], fixture!("error_400_invalid_id")))), "FetchError::NotFound");
    assert_eq!(
        refused(Ok(response(400, &[], fixture!("error_400_invalid_limit")))),
        r#"FetchError::Unexpected("HTTP 400: Invalid limit")"#
    );
    assert_eq!(
        refused(Ok(response(400, &[], fixture!("error_invalid_client")))),
        r#"FetchError::Misconfigured("HTTP 400: Invalid client")"#
    );
    assert_eq!(refused(retry("17")), "FetchError::RateLimited(Some(17))");
    assert_eq!(refused(retry("soon")), "FetchError::RateLimited(None)");
    assert_eq!(refused(Ok(response(429, &[], ""))), "FetchError::RateLimited(None)");
    assert_eq!(refused(Ok(response(429, &[], fixture!("error_429_quota")))), "FetchError::QuotaExhausted(None)");
    assert_eq!(
        refused(Ok(response(503, &[], fixture!("error_503")))),
        r#"FetchError::Unavailable("HTTP 503: Service unavailable")"#
    );
    assert!(refused(Ok(response(502, &[], "<html>Bad gateway</html>"))).starts_with("FetchError::Unavailable"));
    assert!(refused(Ok(response(418, &[], "[]"))).starts_with("FetchError::Unexpected"));
    assert!(refused(Ok(response(200, &[], "<html>"))).starts_with("FetchError::Unavailable"));
    assert!(refused(Ok(response(200, &[], "[]"))).starts_with("FetchError::Unexpected"));
    assert!(refused(Ok(response(200, &[], ""))).starts_with("FetchError::Unavailable"));
}

#[test]
fn the_hosts_errors_have_their_class_too() {
    assert_eq!(
        refused(Err(HttpError::CredentialUnavailable("no secret".into()))),
        r#"FetchError::Misconfigured("no secret")"#
    );
    assert_eq!(refused(Err(HttpError::RateLimited(Some(3)))), "FetchError::RateLimited(Some(3))");
    assert_eq!(refused(Err(HttpError::QuotaExhausted(Some(9)))), "FetchError::QuotaExhausted(Some(9))");
    assert_eq!(refused(Err(HttpError::TimedOut)), r#"FetchError::Unavailable("timed out")"#);
    assert!(refused(Err(HttpError::Denied("a line".into()))).starts_with("FetchError::Misconfigured"));
    assert!(refused(Err(HttpError::TooLarge(5))).starts_with("FetchError::Unexpected"));
}

#[test]
fn a_part_that_fails_affects_its_metrics_only() {
    for (status, body, reason) in [
        (503, fixture!("error_503"), "unavailable"),
        (403, fixture!("error_403"), "not-authorized"),
        (404, fixture!("error_404"), "not-found"),
        (200, "{}", "unavailable"),
        (200, "not JSON", "unavailable"),
    ] {
        let replay = Replay::new().get("/top-tracks", 200, fixture!("top_tracks")).get("/albums", status, body).get(
            "/artists/",
            200,
            fixture!("artist"),
        );
        let snapshot = replay.collect::<Spotify>(accounts(&[ARIA]).remove(0), context()).expect("collected");
        assert_eq!(metric(&snapshot, "recent_releases"), absent(reason), "HTTP {status}");
        assert_eq!(metric(&snapshot, "top_track"), json!("Harbour Lights"));
        assert!(snapshot.notes.iter().any(|note| note.starts_with("releases: ")));
    }
    for (status, body, reason) in [
        (403, fixture!("error_403"), "not-offered"),
        (500, "", "unavailable"),
        (200, "{\"tracks\":null}", "unavailable"),
    ] {
        let replay = Replay::new().get("/top-tracks", status, body).get("/albums", 200, fixture!("albums_none")).get(
            "/artists/",
            200,
            fixture!("artist"),
        );
        let snapshot = replay.collect::<Spotify>(accounts(&[ARIA]).remove(0), context()).expect("collected");
        for name in ["top_track", "top_tracks_popularity"] {
            assert_eq!(metric(&snapshot, name), absent(reason), "HTTP {status}");
        }
        assert_eq!(metric(&snapshot, "recent_releases"), json!(0), "no release is a real 0");
    }
}

#[test]
fn a_token_error_or_rate_limit_in_a_part_fails_the_account() {
    for (status, body, expected) in [
        (401, fixture!("error_401"), "FetchError::Unauthorized"),
        (429, fixture!("error_429"), "FetchError::RateLimited"),
        (429, fixture!("error_429_quota"), "FetchError::QuotaExhausted"),
    ] {
        let replay = Replay::new().get("/top-tracks", 200, fixture!("top_tracks")).get("/albums", status, body).get(
            "/artists/",
            200,
            fixture!("artist"),
        );
        let error = replay.fetch::<Spotify>(accounts(&[ARIA]), context()).accounts.remove(0).expect_err("refused");
        assert!(class(&error).starts_with(expected), "{error:?}");
    }
}

#[test]
fn one_accounts_failure_does_not_affect_others() {
    for (status, body) in [(404, fixture!("error_404")), (500, "")] {
        let replay = Replay::new()
            .get(&format!("{ARIA}/albums"), status, body)
            .get("/albums", 200, fixture!("albums_none"))
            .get(&format!("{ARIA}/top-tracks"), status, body)
            .get("/top-tracks", 200, fixture!("top_tracks"))
            .get("/artists?ids=", 200, fixture!("artists_extended"));
        let batch = replay.fetch::<Spotify>(accounts(&[ARIA, GHOST, BORA]), context()).accounts;
        let bora = snapshot_of(&batch[2].as_ref().expect("untouched").body);
        assert_eq!(metric(&bora, "top_track"), json!("Harbour Lights"), "HTTP {status}");
    }
}

#[test]
fn a_refused_token_a_rate_limit_or_a_spent_quota_stops_the_batch() {
    for (status, body, expected) in [
        (401, fixture!("error_401"), "FetchError::Unauthorized"),
        (429, fixture!("error_429"), "FetchError::RateLimited"),
        (429, fixture!("error_429_quota"), "FetchError::QuotaExhausted"),
    ] {
        let replay =
            Replay::new().get("/top-tracks", status, body).get("/artists?ids=", 200, fixture!("artists_extended"));
        let batch = replay.fetch::<Spotify>(accounts(&[ARIA, GHOST, BORA]), context()).accounts;
        assert!(matches!(batch[1], Err(FetchError::NotFound)), "results before the error stay");
        for index in [0, 2] {
            assert!(class(batch[index].as_ref().expect_err("refused")).starts_with(expected), "HTTP {status}");
        }
        assert_eq!(replay.urls().len(), 2, "no further request is sent: {:?}", replay.urls());
    }
}

#[test]
fn a_failed_list_fails_every_account_with_its_class() {
    for (status, body, expected) in [
        (401, fixture!("error_401"), "FetchError::Unauthorized"),
        (429, fixture!("error_429"), "FetchError::RateLimited"),
        (503, fixture!("error_503"), "FetchError::Unavailable"),
    ] {
        let replay = Replay::new().get("/artists?ids=", status, body);
        let batch = replay.fetch::<Spotify>(accounts(&[ARIA, BORA]), context()).accounts;
        assert!(batch.iter().all(|answer| class(answer.as_ref().expect_err("refused")).starts_with(expected)));
    }
}
