//! Tests of components from a URL: only from allowed sources, up to a size limit, and only with a signature.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::response::Response;
use backline::config::Config;
use backline::pipeline::{ObtainError, ObtainOptions, Obtained, obtain, read_index};
use backline_component::{
    Index, NameInIndex, SignatureError, SignaturePolicy, SigningKey, Source, TrustedKey, generate_key, inspect,
};
use backline_gateway::DownloadError;
use backline_model::Digest;
use chrono::DateTime;
use serde_json::json;

use crate::support::components;
use crate::support::http::{Asked, Server, answer};

const ORIGIN: &str = "https://releases.example.com";
const MIRROR: &str = "https://mirror.example.com";
const ELSEWHERE: &str = "https://elsewhere.example.com";

/// A configuration that downloads from an origin and its mirror, with all requests routed to the test's server.
fn open_to(server: &Server) -> Config {
    let mut config = Config::default();
    let routes: Vec<_> = [ORIGIN, MIRROR, ELSEWHERE]
        .iter()
        .map(|origin| json!({ "origin": origin, "connect": server.base() }))
        .collect();
    config.gateway.routes = serde_json::from_value(json!(routes)).expect("routes");
    config.plugins.sources = [ORIGIN, MIRROR].iter().map(|origin| origin.parse().expect("an origin")).collect();
    config
}

async fn get(config: &Config, url: &str) -> Result<Obtained, ObtainError> {
    obtain(config, &url.parse::<Source>().expect("a URL"), &ObtainOptions::default()).await
}

/// A server with a component and its signature, if any. It records the requests.
async fn serving(component: Vec<u8>, signature: Option<String>) -> Server {
    Server::start(move |asked: &Asked| match (asked.target.split('?').next().unwrap_or_default(), &signature) {
        ("/a.wasm", _) => answer(200, &[("content-type", "application/wasm")], component.clone()),
        ("/a.wasm.minisig", Some(signature)) => answer(200, &[], signature.clone()),
        ("/moved.wasm", _) => answer(302, &[("location", &format!("{MIRROR}/a.wasm"))], ""),
        ("/moved.wasm.minisig", _) => answer(302, &[("location", "/a.wasm.minisig")], ""),
        ("/away.wasm", _) => answer(302, &[("location", &format!("{ELSEWHERE}/a.wasm"))], ""),
        ("/plain.wasm", _) => answer(302, &[("location", "http://releases.example.com/a.wasm")], ""),
        ("/round.wasm", _) => answer(302, &[("location", "/round.wasm")], ""),
        _ => answer(404, &[], "nothing"),
    })
    .await
}

#[tokio::test]
async fn a_signed_component_is_downloaded_with_its_signature() {
    let component = components::guest("well_behaved");
    let files = generate_key("acme").expect("a key");
    let key = SigningKey::parse(&files.secret, None).expect("its own file");
    let signature = key.sign(&component, "a.wasm", DateTime::UNIX_EPOCH).expect("signed");
    let server = serving(component.clone(), Some(signature)).await;
    let mut config = open_to(&server);
    let error = get(&config, &format!("{ORIGIN}/a.wasm")).await.expect_err("refused");
    assert!(matches!(error, ObtainError::Signature(SignatureError::UnknownKey { .. })), "{error}");

    let trusted = TrustedKey { key: files.key, connectors: Vec::new() };
    config.plugins.trusted_keys.insert("acme".to_owned(), trusted);
    for path in ["/a.wasm", "/a.wasm?access=canary", "/moved.wasm"] {
        let obtained = get(&config, &format!("{ORIGIN}{path}")).await.unwrap_or_else(|error| panic!("{path}: {error}"));
        assert_eq!(obtained.signed_by.as_deref(), Some("acme"), "{path}");
        assert_eq!(obtained.digest, Digest::of(&component), "{path}");
        let recorded = path.split('?').next().unwrap_or_default();
        assert_eq!(obtained.source, format!("{ORIGIN}{recorded}"), "without its query, which may be a secret");
    }
    let asked = server.asked();
    assert!(
        asked.iter().any(|asked| asked.target == "/a.wasm.minisig?access=canary"),
        "the query is used for both requests"
    );
    assert!(asked.iter().any(|asked| asked.host() == "mirror.example.com"), "the redirect was followed");
    assert!(asked.iter().all(|asked| !asked.headers.contains_key("authorization")), "no credentials");
}

#[tokio::test]
async fn an_unsigned_component_is_refused_unless_the_policy_allows_it() {
    let server = serving(components::guest("well_behaved"), None).await;
    let mut config = open_to(&server);
    let error = get(&config, &format!("{ORIGIN}/a.wasm")).await.expect_err("refused").to_string();
    assert!(error.contains(&format!("there is no {ORIGIN}/a.wasm.minisig")), "{error}");
    config.plugins.signatures = Some(SignaturePolicy::Warn);
    let obtained = get(&config, &format!("{ORIGIN}/a.wasm")).await.expect("let pass");
    assert_eq!((obtained.signed_by, obtained.warnings.len()), (None, 1));
}

#[tokio::test]
async fn a_source_that_the_operator_did_not_allow_is_refused() {
    let server = serving(components::guest("well_behaved"), None).await;
    let mut config = open_to(&server);
    config.plugins.signatures = Some(SignaturePolicy::Off);
    get(&config, &format!("{ORIGIN}/a.wasm")).await.expect("allowed");
    let before = server.asked().len();
    let error = get(&config, &format!("{ELSEWHERE}/a.wasm")).await.expect_err("refused").to_string();
    assert!(error.contains(&format!("add \"{ELSEWHERE}\" to sources under [plugins]")), "{error}");
    assert_eq!(server.asked().len(), before, "no request was sent");

    let error = get(&config, &format!("{ORIGIN}/away.wasm")).await.expect_err("refused");
    assert!(matches!(&error, ObtainError::Download(DownloadError::RedirectNotAllowed { .. })), "{error}");
    assert!(error.to_string().contains(&format!("add \"{ELSEWHERE}\" to sources")), "{error}");
    for (path, said) in [("plain", "only https is allowed"), ("round", "after 3 redirects"), ("none", "status 404")] {
        let error = get(&config, &format!("{ORIGIN}/{path}.wasm")).await.expect_err(path).to_string();
        assert!(error.contains(said), "{path}: {error}");
    }
    assert!(
        server.asked().iter().all(|asked| asked.host() != "elsewhere.example.com"),
        "the redirect was not followed"
    );

    // Without an exemption in [gateway] a host with a private address is not connected to.
    config.gateway.routes.clear();
    config.plugins.sources = vec!["https://127.0.0.1".parse().expect("an origin")];
    let error = get(&config, "https://127.0.0.1/a.wasm").await.expect_err("refused").to_string();
    assert!(error.contains("not a public address") && error.contains("exempt under [gateway]"), "{error}");
}

#[tokio::test]
async fn an_endless_body_is_cut_off_and_one_that_never_starts_times_out() {
    let sent = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&sent);
    let server = Server::start_slow(move |asked: Asked| {
        let count = Arc::clone(&count);
        async move {
            if asked.target == "/silent.wasm" {
                std::future::pending::<()>().await;
            }
            let endless = futures::stream::repeat_with(move || {
                count.fetch_add(4096, Ordering::Relaxed);
                Ok::<_, Infallible>(Bytes::from_static(&[0; 4096]))
            });
            Response::new(Body::from_stream(endless))
        }
    })
    .await;
    let mut config = open_to(&server);
    config.sandbox.component_bytes_max = 1024 * 1024;
    let error = get(&config, &format!("{ORIGIN}/endless.wasm")).await.expect_err("cut");
    assert!(matches!(error, ObtainError::TooLarge { bytes_max: 1_048_576 }), "{error}");
    let sent = sent.load(Ordering::Relaxed);
    assert!((1_048_576..32 * 1_048_576).contains(&sent), "{sent} bytes were sent before the connection was closed");

    let source: Source = format!("{ORIGIN}/silent.wasm").parse().expect("a URL");
    let options = ObtainOptions { deadline: Duration::from_millis(300), ..ObtainOptions::default() };
    let error = obtain(&config, &source, &options).await.expect_err("given up");
    assert!(error.to_string().contains("try again"), "{error}");
}

#[tokio::test]
async fn an_index_and_what_it_names_are_downloaded_by_the_rules_for_components() {
    let component = components::guest("well_behaved");
    let files = generate_key("acme").expect("a key");
    let key = SigningKey::parse(&files.secret, None).expect("its own file");
    let inspection = inspect(&component).expect("a connector");
    let name = inspection.manifest.connector.name.clone();
    let mut index = Index::empty(DateTime::UNIX_EPOCH);
    index.add(&inspection, "a.wasm", false, DateTime::UNIX_EPOCH).expect("added");
    let text = index.to_text();
    let signed = |bytes: &[u8], name: &str| key.sign(bytes, name, DateTime::UNIX_EPOCH).expect("signed");
    let (of_index, of_component) = (signed(text.as_bytes(), "index.json"), signed(&component, "a.wasm"));
    let server = Server::start(move |asked: &Asked| match asked.target.as_str() {
        "/x/index.json" | "/bare/index.json" => answer(200, &[], text.clone()),
        "/x/index.json.minisig" => answer(200, &[], of_index.clone()),
        "/x/a.wasm" => answer(200, &[], component.clone()),
        "/x/a.wasm.minisig" => answer(200, &[], of_component.clone()),
        _ => answer(404, &[], "nothing"),
    })
    .await;
    let mut config = open_to(&server);
    config.plugins.trusted_keys.insert("acme".to_owned(), TrustedKey { key: files.key, connectors: Vec::new() });
    config.plugins.index = Some(format!("{ORIGIN}/x/index.json"));
    let read = read_index(&config, None, false).await.expect("read");
    assert_eq!(read.signed_by.as_deref(), Some("acme"));
    let named = NameInIndex { name, version: None };
    let obtained = read.obtain(&config, &named, &ObtainOptions::default()).await.expect("downloaded");
    assert_eq!((obtained.source, obtained.signed_by.as_deref()), (format!("{ORIGIN}/x/a.wasm"), Some("acme")));

    let at = |url: String| url.parse::<Source>().expect("a URL");
    let bare = at(format!("{ORIGIN}/bare/index.json"));
    let error = read_index(&config, Some(&bare), false).await.expect_err("refused").to_string();
    assert!(error.contains("the index can't be trusted") && error.contains("it is not signed"), "{error}");
    let elsewhere = at(format!("{ELSEWHERE}/x/index.json"));
    let error = read_index(&config, Some(&elsewhere), false).await.expect_err("refused").to_string();
    assert!(error.contains("is not among the origins"), "{error}");
    config.plugins.signatures = Some(SignaturePolicy::Warn);
    assert_eq!(read_index(&config, Some(&bare), false).await.expect("read").warnings.len(), 1);
    assert!(read_index(&config, Some(&bare), true).await.is_err(), "verifying needs a signature");
}
