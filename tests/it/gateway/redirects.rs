//! Tests of redirects: each hop is checked again, and credentials and headers for one origin stay there.

use super::*;

/// Responds to `/to/<n>` with a redirect chain of n hops, and to any other path with that path.
fn redirecting(asked: &Asked) -> axum::response::Response {
    let path = asked.target.split('?').next().unwrap_or_default();
    match path.strip_prefix("/to/").map(str::parse::<u32>) {
        Some(Ok(0)) | None => answer(200, &[], asked.target.clone()),
        Some(Ok(hops)) => answer(302, &[("location", &format!("/to/{}", hops - 1))], ""),
        Some(Err(_)) => answer(500, &[], "?"),
    }
}

#[tokio::test]
async fn three_redirects_are_followed_and_a_fourth_is_not() {
    let server = Server::start(redirecting).await;
    let setup = Setup::new(&server);
    let (_gateway, session, _demands) = setup.open();
    let response = session.send(get("https://api.test/to/3")).await.expect("an answer");
    assert_eq!((response.status, response.body.as_slice(), session.usage().requests), (200, &b"/to/0"[..], 4));
    let outcome = setup.send(get("https://api.test/to/4")).await;
    assert!(
        matches!(&outcome, Err(SendError::Unreachable(why)) if why.contains("more than 3 redirects")),
        "{outcome:?}"
    );
    assert_eq!(server.asked().len(), 8);
}

#[tokio::test]
async fn on_the_same_origin_credential_and_headers_stay_and_the_secret_occurs_once() {
    // The platform repeats the whole query in its redirect, including the secret.
    let server = Server::start(|asked: &Asked| match asked.target.split_once('?') {
        Some(("/old", query)) => answer(307, &[("location", &format!("/new?{query}"))], ""),
        _ => answer(200, &[], "ok"),
    })
    .await;
    let setup = Setup::new(&server);
    let request = Request {
        method: Method::Post,
        headers: vec![("x-a".to_owned(), "1".to_owned()), ("content-type".to_owned(), "text/plain".to_owned())],
        body: Some(b"body".to_vec()),
        ..get("https://api.test/old?id=1")
    };
    setup.send(with_key(request)).await.expect("an answer");
    let second = &server.asked()[1];
    assert_eq!(second.target, "/new?id=1&key=canary-operator%2Fkey%2B1");
    assert_eq!(
        (second.method.as_str(), second.headers["x-a"].as_str(), second.body.as_slice()),
        ("POST", "1", &b"body"[..])
    );
}

#[tokio::test]
async fn to_another_origin_neither_credential_nor_headers_go_and_a_way_back_does_not_bring_them_back() {
    let server = Server::start(|asked: &Asked| match (asked.host(), asked.target.as_str()) {
        ("api.test", "/there") => answer(302, &[("location", "https://a.cdn.test/and-back")], ""),
        ("a.cdn.test", "/and-back") => answer(302, &[("location", "https://api.test/end")], ""),
        _ => answer(200, &[], "ok"),
    })
    .await;
    let setup = Setup::new(&server);
    let request = Request { headers: vec![("x-a".to_owned(), "1".to_owned())], ..get("https://api.test/there") };
    let response = setup.send(with_token(request, setup.account)).await.expect("an answer");
    assert_eq!(response.status, 200);
    let asked = server.asked();
    assert!(asked[0].headers.contains_key("authorization") && asked[0].headers.contains_key("x-a"));
    for later in &asked[1..] {
        assert!(!later.headers.contains_key("authorization") && !later.headers.contains_key("x-a"), "{later:?}");
    }
    assert_eq!(asked.iter().map(Asked::host).collect::<Vec<_>>(), ["api.test", "a.cdn.test", "api.test"]);
}

#[tokio::test]
async fn a_redirect_passes_every_check_again() {
    for (location, expected) in [
        ("https://other.test/", "[[host]]\norigin = \"https://other.test\""),
        ("http://api.test/", "only https is allowed"),
        ("https://localhost/", "not a public address"),
        ("https://127.0.0.1/latest/meta-data", "not a public address"),
        ("https://user@api.test/", "a user or password"),
    ] {
        let server = Server::start(move |_: &Asked| answer(302, &[("location", location)], "")).await;
        let why = denial(Setup::new(&server).send(with_key(get("https://api.test/"))).await);
        assert!(why.starts_with("https://api.test redirects elsewhere") && why.contains(expected), "{location}: {why}");
        assert_eq!(server.asked().len(), 1);
    }
}

#[tokio::test]
async fn see_other_turns_a_post_into_a_get_without_body() {
    let server = Server::start(|asked: &Asked| match asked.target.as_str() {
        "/a" => answer(303, &[("location", "b")], ""),
        _ => answer(200, &[], "ok"),
    })
    .await;
    let request = Request {
        method: Method::Post,
        headers: vec![("Content-Type".to_owned(), "text/plain".to_owned())],
        body: Some(b"body".to_vec()),
        ..get("https://api.test/a")
    };
    Setup::new(&server).send(request).await.expect("an answer");
    let second = &server.asked()[1];
    assert_eq!((second.method.as_str(), second.target.as_str(), second.body.len()), ("GET", "/b", 0));
    assert!(!second.headers.contains_key("content-type"));
}

#[tokio::test]
async fn requests_of_a_session_are_bounded_with_redirects_and_retries_counted() {
    let server = Server::start(redirecting).await;
    let mut setup = Setup::new(&server);
    setup.config.requests_max = 3;
    let (_gateway, session, _demands) = setup.open();
    session.send(get("https://api.test/to/1")).await.expect("two requests");
    let why = denial(session.send(get("https://api.test/to/1")).await);
    assert!(why.contains("requests_max under [gateway]"), "{why}");
    assert_eq!((server.asked().len(), session.usage().requests), (3, 3));
}
