//! Tests of every class of error, for the artist and for a part, and of which accounts it affects.

use backline_sdk::HttpError;
use backline_sdk::testing::response;

use super::*;

/// The class of the error when the artist request of a single account is refused.
fn refused(status: u16, headers: &[(&str, &str)], body: &str) -> String {
    let replay = Replay::new().on(Method::Get, "/artists/", Ok(response(status, headers, body)));
    class(&replay.fetch::<AppleMusic>(accounts(&[ARIA]), context()).accounts.remove(0).expect_err("refused"))
}

#[test]
fn every_error_has_its_class() {
    assert_eq!(refused(401, &[], ""), r#"FetchError::Unauthorized("HTTP 401 without a body")"#);
    assert_eq!(refused(404, &[], fixture!("error_40400.json")), "FetchError::NotFound");
    assert!(refused(404, &[], "").starts_with("FetchError::Unavailable"), "Apple says which resource is missing");
    assert_eq!(refused(200, &[], fixture!("none.json")), "FetchError::NotFound");
    assert!(
        refused(400, &[], fixture!("error_40005.json"))
            .starts_with(r#"FetchError::Unexpected("HTTP 400: 40005, Invalid"#)
    );
    assert!(refused(400, &[], fixture!("error_40008.json")).starts_with(r#"FetchError::Unexpected("HTTP 400: 40008"#));
    assert!(refused(400, &[], fixture!("error_40012.json")).starts_with(r#"FetchError::Forbidden("HTTP 400: 40012"#));
    assert_eq!(
        refused(400, &[], "{\"errors\":[{\"code\":40012}]}"),
        r#"FetchError::Forbidden("HTTP 400")"#,
        "a number too"
    );
    assert!(refused(403, &[], "").starts_with("FetchError::Unavailable"));
    assert_eq!(refused(429, &[], fixture!("error_429.json")), "FetchError::RateLimited(None)");
    assert_eq!(refused(429, &[("retry-after", "30")], ""), "FetchError::RateLimited(Some(30))");
    assert!(refused(504, &[], fixture!("error_504.html")).starts_with("FetchError::Unavailable"));
    assert_eq!(
        refused(500, &[], fixture!("error_40400.json")),
        r#"FetchError::Unavailable("HTTP 500: 40400, Resource Not Found, Resource with requested id was not found")"#
    );
    for body in ["", "<html>", "{\"data\":["] {
        assert!(refused(200, &[], body).starts_with("FetchError::Unavailable"), "{body}");
    }
    for body in ["[]", "{}", "{\"data\":{}}", "{\"data\":[{}]}", "{\"data\":[{\"id\":\"1001\",\"type\":\"songs\"}]}"] {
        assert!(refused(200, &[], body).starts_with("FetchError::Unexpected"), "{body}");
    }
}

#[test]
fn the_hosts_errors_have_their_class_too() {
    let of = |error: HttpError| {
        let replay = Replay::new().on(Method::Get, "/artists/", Err(error));
        class(&replay.fetch::<AppleMusic>(accounts(&[ARIA]), context()).accounts.remove(0).expect_err("refused"))
    };
    assert_eq!(of(HttpError::CredentialUnavailable("no key".into())), r#"FetchError::Misconfigured("no key")"#);
    assert_eq!(of(HttpError::RateLimited(Some(3))), "FetchError::RateLimited(Some(3))");
    assert_eq!(of(HttpError::TimedOut), r#"FetchError::Unavailable("timed out")"#);
}

#[test]
fn a_failed_list_fails_every_account_with_its_class() {
    for (status, body, expected) in [
        (401, "", "FetchError::Unauthorized"),
        (429, fixture!("error_429.json"), "FetchError::RateLimited"),
        (503, "", "FetchError::Unavailable"),
        (400, fixture!("error_40012.json"), "FetchError::Forbidden"),
    ] {
        let replay = Replay::new().get("/artists?ids=", status, body);
        let batch = replay.fetch::<AppleMusic>(accounts(&[ARIA, BORA]), context()).accounts;
        assert!(batch.iter().all(|answer| class(answer.as_ref().expect_err("refused")).starts_with(expected)));
        assert_eq!(replay.urls().len(), 1);
    }
}

#[test]
fn a_part_that_fails_affects_its_metrics_only() {
    for (status, body, reason) in [
        (504, fixture!("error_504.html"), "unavailable"),
        (400, fixture!("error_40012.json"), "not-authorized"),
        (404, fixture!("error_40400.json"), "not-found"),
        (200, "{}", "unavailable"),
    ] {
        let replay = Replay::new()
            .get("/albums?", status, body)
            .get("/view/top-songs", 200, fixture!("top_songs.json"))
            .get("/artists/", 200, fixture!("artist.json"));
        let snapshot = replay.collect::<AppleMusic>(accounts(&[ARIA]).remove(0), context()).expect("collected");
        assert_eq!(metric(&snapshot, "recent_releases"), absent(reason), "HTTP {status}");
        assert_eq!(metric(&snapshot, "top_track"), json!("Harbour Lights"));
        assert!(snapshot.notes.iter().any(|note| note.starts_with("albums: ")));
    }
    for (status, body, reason) in [
        (504, fixture!("error_504.html"), "unavailable"),
        (404, fixture!("error_40403.json"), "not-found"),
        (200, fixture!("none.json"), "not-found"),
    ] {
        let replay = Replay::new()
            .get("/albums?", 200, fixture!("albums_page2.json"))
            .get("/view/top-songs", status, body)
            .get("/artists/", 200, fixture!("artist.json"));
        let snapshot = replay.collect::<AppleMusic>(accounts(&[ARIA]).remove(0), context()).expect("collected");
        assert_eq!(metric(&snapshot, "top_track"), absent(reason), "HTTP {status}");
        assert_eq!(metric(&snapshot, "recent_releases"), json!(2));
    }
}

#[test]
fn a_refused_token_or_a_rate_limit_stops_the_batch() {
    for (status, expected) in [(401, "FetchError::Unauthorized"), (429, "FetchError::RateLimited")] {
        let replay = Replay::new()
            .get("/2002/view/top-songs", status, "")
            .get("/view/top-songs", 200, fixture!("top_songs.json"))
            .get("/albums?", 404, fixture!("error_40403.json"))
            .get("/artists?ids=", 200, artists_of(&[ARIA, BORA, GHOST]));
        let batch = replay.fetch::<AppleMusic>(accounts(&[ARIA, BORA, GHOST]), context()).accounts;
        assert!(batch[0].is_ok(), "accounts collected before stay collected");
        for outcome in &batch[1..] {
            assert!(class(outcome.as_ref().expect_err("refused")).starts_with(expected), "HTTP {status}");
        }
        assert!(!replay.urls().iter().any(|url| url.contains("/3003/view")), "{:?}", replay.urls());
    }
}
