//! Tests that secrets are sent only where the manifest allows.

use super::*;
use crate::support::tracing_on::keep_tracing_on;

#[tokio::test]
async fn a_secret_written_by_the_connector_is_never_sent() {
    let server = Server::start(|_: &Asked| answer(200, &[], "ok")).await;
    let setup = Setup::new(&server);
    let post =
        |body: &str| Request { method: Method::Post, body: Some(body.as_bytes().to_vec()), ..get("https://api.test/") };
    let header =
        |value: &str| Request { headers: vec![("x-a".to_owned(), value.to_owned())], ..get("https://api.test/") };
    for request in [
        get(&format!("https://api.test/?t={TOKEN}")),
        get(&format!("https://a.cdn.test/{TOKEN}/x")),
        get("https://api.test/?k=canary-operator%2fkey%2B1"),
        header(&format!("Bearer {TOKEN}")),
        post(&format!("{{\"token\":\"{TOKEN}\"}}")),
        post(r"canary-operator\/key+1"),
        post("SUdRY2FuYXJ5YWNjb3VudHRva2VuMDEyMzQ1Njc4OQ=="),
    ] {
        let why = denial(setup.send(request).await);
        assert!(why.contains("holds a secret") && !why.contains("canary"), "{why}");
    }
    assert!(server.asked().is_empty());
}

#[tokio::test]
async fn a_credential_goes_to_its_own_hosts_for_accounts_of_the_batch_only() {
    let server = Server::start(|_: &Asked| answer(200, &[], "ok")).await;
    let mut setup = Setup::new(&server);
    let account = setup.account;
    setup.send(with_token(get("https://api.test/me"), account)).await.expect("an answer");
    assert_eq!(server.asked()[0].headers["authorization"], format!("Bearer {TOKEN}"));

    let why = denial(setup.send(with_token(get("https://a.cdn.test/"), account)).await);
    assert!(why.ends_with("hosts = [\"https://a.cdn.test\"]"), "{why}");
    let foreign = AccountId::generate();
    setup.credentials.push(SessionCredential {
        id: CredentialId::generate(),
        slot: "user".to_owned(),
        account: Some(foreign),
        value: "canary-of-another-batch".into(),
    });
    for account in [foreign.to_string(), "not an id".to_owned(), String::new()] {
        let why = denial(setup.send(with_token(get("https://api.test/"), account)).await);
        assert!(why.contains("not one of this batch"), "{why}");
    }
    let named = |slot: &str, account: Option<String>| Request {
        credential: Some(CredentialRef { slot: slot.to_owned(), account }),
        ..get("https://api.test/")
    };
    denial(setup.send(named("user", None)).await);
    denial(setup.send(named("app", Some(account.to_string()))).await);
    denial(setup.send(named("nothing", None)).await);
    setup.grant.slots.retain(|slot| slot.slot != "app");
    let why = denial(setup.send(named("app", None)).await);
    assert!(why.contains("to allow it, add to its grant:\n[[credential]]\nslot = \"app\"\n"), "{why}");
    setup.credentials.retain(|credential| credential.account != Some(account));
    let outcome = setup.send(with_token(get("https://api.test/"), account)).await;
    assert!(matches!(&outcome, Err(SendError::CredentialUnavailable(why)) if why.contains("user")), "{outcome:?}");
    assert_eq!(server.asked().len(), 1, "a refused request was sent");
}

#[tokio::test]
async fn a_token_that_a_platform_repeats_in_its_paging_is_redacted() {
    let server = Server::start(|asked: &Asked| {
        let next = format!("https://api.test{}", asked.target).replace('/', "\\/");
        answer(
            200,
            &[("link", &format!("<{}>; rel=next", asked.target))],
            format!("{{\"paging\":{{\"cursors\":{{\"after\":\"QVF\"}},\"next\":\"{next}\"}}}}"),
        )
    })
    .await;
    let mut setup = Setup::new(&server);
    setup.manifest =
        Manifest::parse(&manifest_with(&TABLES.replace("\"bearer\"\nhosts", "{ query = \"access_token\" }\nhosts")))
            .expect("valid");
    setup.grant = Grant::all_of(&setup.manifest, &[]);
    let response =
        setup.send(with_token(get("https://api.test/me/media?limit=25"), setup.account)).await.expect("an answer");
    assert!(server.asked()[0].target.ends_with(&format!("&access_token={TOKEN}")), "{}", server.asked()[0].target);
    let whole = format!("{:?} {}", response.headers, String::from_utf8_lossy(&response.body));
    assert!(!whole.contains("canary") && whole.matches("access_token=[secret]").count() == 2, "{whole}");
}

#[tokio::test]
async fn a_secret_is_found_in_whatever_form_a_platform_echoes_it() {
    let written: Vec<String> = vec![
        TOKEN.bytes().map(|byte| format!("{byte:02x}")).collect(),
        TOKEN.bytes().map(|byte| format!("&#{byte};")).collect(),
        TOKEN.bytes().map(|byte| format!(r"\\u{byte:04x}")).collect(),
        "SUdRY2FuYXJ5YWNj\r\nb3VudHRva2VuMDEy\r\nMzQ1Njc4OQ==".to_owned(),
        TOKEN.chars().map(|c| format!("{c}\u{0}")).collect(),
        TOKEN.bytes().map(|byte| format!("%25{byte:02X}")).collect(),
    ];
    let bodies = written.clone();
    let server = Server::start(move |asked: &Asked| {
        let index: usize = asked.target[1..].parse().expect("a number");
        answer(200, &[("content-digest", "sha-256=:x:"), ("x-kept", "1")], format!("<{}>", bodies[index]))
    })
    .await;
    let setup = Setup::new(&server);
    for (index, form) in written.iter().enumerate() {
        let asked = with_token(get(&format!("https://api.test/{index}")), setup.account);
        let response = setup.send(asked).await.expect("an answer");
        let body = String::from_utf8_lossy(&response.body).into_owned();
        assert!(body.starts_with("<[secret]") && body.len() <= "<[secret]==>".len(), "{form}: {body}");
        let names: Vec<&str> = response.headers.iter().map(|(name, _)| name.as_str()).collect();
        assert!(names.contains(&"x-kept"), "{names:?}");
        assert!(!names.contains(&"content-length") && !names.contains(&"content-digest"), "{names:?}");
    }
}

#[tokio::test]
async fn an_answer_without_a_body_does_not_tell_how_long_one_would_be() {
    let script = "HTTP/1.1 304 Not Modified\r\ncontent-length: 77\r\netag: \"x\"\r\nx-kept: 1\r\n\r\n";
    let server = RawServer::start(vec![script.as_bytes().to_vec()]).await;
    let setup = Setup::at(&server.base());
    let asked = Request { headers: vec![("if-none-match".to_owned(), "*".to_owned())], ..get("https://api.test/x") };
    for (asked, tells) in [(with_token(asked.clone(), setup.account), false), (asked, true)] {
        let response = setup.send(asked).await.expect("an answer");
        let has = |name: &str| response.headers.iter().any(|(given, _)| given == name);
        assert_eq!((response.status, has("x-kept")), (304, true));
        assert_eq!((has("content-length"), has("etag")), (tells, tells), "{:?}", response.headers);
    }
}

#[tokio::test]
async fn a_request_with_a_credential_can_not_ask_for_an_answer_in_pieces() {
    let server = Server::start(|_: &Asked| answer(200, &[], "ok")).await;
    let setup = Setup::new(&server);
    let with =
        |name: &str| Request { headers: vec![(name.to_owned(), "bytes=0-5".to_owned())], ..get("https://api.test/") };
    for name in ["Range", "If-Range", "accept-charset"] {
        let why = denial(setup.send(with_token(with(name), setup.account)).await);
        assert!(why.contains("can't be sent with a credential"), "{why}");
    }
    for name in ["True-Client-IP", "CF-Connecting-IP", "Metadata-Flavor", "Accept-Encoding"] {
        let why = denial(setup.send(with(name)).await);
        assert!(why.contains("is set by the host"), "{why}");
    }
    assert!(server.asked().is_empty());
    setup.send(with("Range")).await.expect("without a credential");
    assert_eq!(server.asked().len(), 1);
}

#[tokio::test]
async fn an_answer_in_a_coding_that_is_not_decoded_is_refused() {
    for lines in ["x-gzip", "gzip, gzip", "compress", "gzip|gzip", "gzip|br", "deflate|gzip", "identity|gzip, zstd"] {
        let packed = move |_: &Asked| {
            let headers: Vec<_> = lines.split('|').map(|line| ("content-encoding", line)).collect();
            answer(200, &headers, "packed")
        };
        let server = Server::start(packed).await;
        let mut setup = Setup::new(&server);
        setup.config.retries_max = 0;
        let outcome = setup.send(with_token(get("https://api.test/"), setup.account)).await;
        let named = lines.split('|').find(|line| *line != "identity").expect("a coding");
        let is_named = |why: &str| why.contains("does not decode") && why.contains(named);
        assert!(matches!(&outcome, Err(SendError::Unreachable(why)) if is_named(why)), "{lines}: {outcome:?}");
    }
}

#[tokio::test]
async fn a_host_is_asked_by_the_name_that_was_checked() {
    let server = Server::start(|_: &Asked| answer(200, &[], "ok")).await;
    let setup = Setup::new(&server);
    setup.send(get("https://API.test./x")).await.expect("the same host");
    assert_eq!(server.asked()[0].host(), "api.test");
    denial(setup.send(get("https://api.test../x")).await);
    assert_eq!(server.asked().len(), 1);
}

/// Collects all trace output.
#[derive(Clone, Default)]
struct Log(Arc<std::sync::Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("not poisoned").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn no_secret_occurs_in_any_error_or_log_line() {
    keep_tracing_on();
    let log = Log::default();
    let writer = log.clone();
    let subscriber =
        tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(move || writer.clone()).finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let echo = Server::start(|asked: &Asked| {
        answer(302, &[("location", &format!("https://other.test{}", asked.target))], asked.target.clone())
    })
    .await;
    let cut = RawServer::start(vec![CUT_SHORT.to_vec()]).await;
    let gone = { Server::start(|_: &Asked| answer(200, &[], "")).await.base() };
    let mut outcomes = Vec::new();
    for base in [echo.base(), cut.base(), gone] {
        let setup = Setup::at(&base);
        let (gateway, session, _demands) = setup.open();
        outcomes.push(format!(
            "{:?} {gateway:?} {session:?} {:?}",
            session.send(with_key(get("https://api.test/x"))).await,
            session.usage()
        ));
        outcomes.push(format!("{:?}", session.send(with_token(get("https://api.test/x"), setup.account)).await));
        outcomes.push(format!("{:?}", session.send(get(&format!("https://{TOKEN}.test/x"))).await));
        outcomes.push(format!("{:?}", session.send(get(&format!("https://api.test:{TOKEN}/x"))).await));
        outcomes.push(format!("{:?}", session.send(with_token(get("https://api.test/"), TOKEN)).await));
        outcomes.push(format!("{:?}", setup.credentials));
    }
    let log = String::from_utf8_lossy(&log.0.lock().expect("not poisoned")).into_owned();
    assert!(log.contains("request sent") && log.contains("https://api.test"), "{log}");
    for text in outcomes.iter().chain([&log]) {
        assert!(!text.to_ascii_lowercase().contains("canary"), "{text}");
    }
}
