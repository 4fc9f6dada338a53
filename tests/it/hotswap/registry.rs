//! Tests with an OCI registry: a component is pushed like other Wasm tools do it, pulled, installed and used.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::response::Response;
use backline::config::Config;
use backline::pipeline::{ObtainError, ObtainOptions, Obtained, PublishRequest, obtain, publish};
use backline_component::{RegistryConfig, SignatureError, SigningKey, Source, TrustedKey, generate_key, inspect};
use backline_gateway::{Push, RegistryError, push};
use backline_model::{Digest, RunStatus};
use backline_simulator::SimulatorConfig;
use backline_store::Store;
use chrono::{DateTime, NaiveDate};
use serde_json::{Value as Json, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::components;
use crate::support::database::each_database;
use crate::support::host::HostExt as _;
use crate::support::http::{Asked, Server, answer};
use crate::support::registry::Registry;
use crate::support::stage::Stage;

const WASM: &str = "application/wasm";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const SIGNATURE: &str = "application/vnd.minisign.signature";

/// HTTP client that pushes to the registry.
struct Pusher<'a> {
    registry: &'a str,
    repository: &'a str,
}

impl Pusher<'_> {
    /// Sends one request. Returns the status and the `Location` of the response.
    async fn send(&self, method: &str, target: &str, media_type: &str, body: &[u8]) -> (u16, String) {
        let mut stream = TcpStream::connect(self.registry).await.expect("the registry listens");
        let head = format!(
            "{method} {target} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer pusher\r\nContent-Type: {media_type}\r\n\
             Content-Length: {}\r\nConnection: close\r\n\r\n",
            self.registry,
            body.len()
        );
        stream.write_all(head.as_bytes()).await.expect("sent");
        stream.write_all(body).await.expect("sent");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.expect("an answer");
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
        let location = answer.lines().find_map(|line| line.strip_prefix("Location: ")).unwrap_or_default();
        (status, location.trim().to_owned())
    }

    /// Pushes one blob and returns its descriptor.
    async fn blob(&self, media_type: &str, bytes: &[u8]) -> Json {
        let digest = format!("sha256:{}", Digest::of(bytes));
        let (status, location) = self.send("POST", &format!("/v2/{}/blobs/uploads/", self.repository), WASM, b"").await;
        assert_eq!(status, 202, "the upload starts");
        let target = location.split_once(self.registry).map_or(location.as_str(), |(_, target)| target);
        let separator = if target.contains('?') { '&' } else { '?' };
        let target = format!("{target}{separator}digest={digest}");
        let (status, _) = self.send("PUT", &target, "application/octet-stream", bytes).await;
        assert_eq!(status, 201, "the blob is stored");
        json!({ "mediaType": media_type, "digest": digest, "size": bytes.len() })
    }

    /// Pushes a manifest under a tag and returns its digest.
    async fn manifest(&self, tag: &str, layers: Vec<Json>, annotations: Json) -> String {
        let config = br#"{"created":"2026-11-18T00:00:00Z","architecture":"wasm","os":"wasip2","layerDigests":[]}"#;
        let config = self.blob("application/vnd.wasm.config.v0+json", config).await;
        let manifest = json!({
            "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers, "annotations": annotations,
        });
        let manifest = manifest.to_string();
        let target = format!("/v2/{}/manifests/{tag}", self.repository);
        let (status, _) = self.send("PUT", &target, MANIFEST, manifest.as_bytes()).await;
        assert_eq!(status, 201, "the manifest is stored");
        format!("sha256:{}", Digest::of(manifest.as_bytes()))
    }

    /// Pushes a component as `wkg oci push` does.
    async fn component(&self, tag: &str, component: &[u8]) -> String {
        let layer = self.blob(WASM, component).await;
        self.manifest(tag, vec![layer], json!({})).await
    }
}

fn allow(config: &mut Config, registry: &str) {
    let plain = RegistryConfig { insecure_http: true, ..RegistryConfig::default() };
    config.plugins.registries.insert(registry.to_owned(), plain);
}

/// A configuration that pulls from a registry and asks for no signatures.
fn open_to(registry: &Registry) -> Config {
    let mut config = Config::default();
    allow(&mut config, registry.address());
    config.plugins.signatures = Some(backline_component::SignaturePolicy::Off);
    config
}

async fn pull(config: &Config, reference: &str) -> Result<Obtained, ObtainError> {
    obtain(config, &reference.parse::<Source>().expect("a reference"), &ObtainOptions::default()).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_release_of_a_registry_is_pulled_verified_installed_and_collected_with() {
    let registry = Registry::start();
    let component = components::plugin("youtube");
    let files = generate_key("acme").expect("a key");
    let key = SigningKey::parse(&files.secret, None).expect("its own file");
    let signature = key.sign(&component, "youtube.wasm", DateTime::UNIX_EPOCH).expect("signed");
    let pusher = Pusher { registry: registry.address(), repository: "backline/youtube" };
    let layers = vec![pusher.blob(WASM, &component).await, pusher.blob(SIGNATURE, signature.as_bytes()).await];
    let manifest = pusher.manifest("0.1.0", layers, json!({})).await;
    let reference = format!("oci://{}/backline/youtube:0.1.0", registry.address());

    each_database(async |_store: Store, url: &str| {
        let date = NaiveDate::from_ymd_opt(2026, 11, 18).expect("a date");
        let simulator = SimulatorConfig { artists: 3, date, ..SimulatorConfig::default() };
        let stage = Stage::bare(url, simulator, |config| {
            allow(config, registry.address());
            let trusted = TrustedKey { key: files.key.clone(), connectors: vec!["youtube".to_owned()] };
            config.plugins.trusted_keys.insert("acme".to_owned(), trusted);
        })
        .await;
        let source: Source = reference.parse().expect("a reference");
        let obtained = stage.host.releases().obtain(&source, &ObtainOptions::default()).await.expect("pulled");
        assert_eq!(obtained.signed_by.as_deref(), Some("acme"));
        assert_eq!(obtained.source, format!("{reference}@{manifest}"), "what was pulled can be pulled again");
        assert!(obtained.component == component, "the very bytes that were pushed");
        let release = stage.host.install(&obtained.component).await.expect("installed");
        assert_eq!(release.digest, Digest::of(&component));

        stage.import_some(&["youtube"], |_| Default::default()).await;
        let report = stage.run_some(date, &["youtube"]).await;
        assert_eq!(report.run.status, RunStatus::Success, "{:?}", report.platforms);
        assert_eq!(report.run.counts.collected, 3);
    })
    .await;
}

#[tokio::test]
async fn older_layers_and_annotated_signatures_are_understood() {
    let registry = Registry::start();
    let component = components::guest("well_behaved");
    let files = generate_key("acme").expect("a key");
    let key = SigningKey::parse(&files.secret, None).expect("its own file");
    let signature = key.sign(&component, "a.wasm", DateTime::UNIX_EPOCH).expect("signed");
    let pusher = Pusher { registry: registry.address(), repository: "a" };
    let layer = pusher.blob("application/vnd.wasm.content.layer.v1+wasm", &component).await;
    pusher.manifest("signed", vec![layer.clone()], json!({ "dev.backline.minisig": signature })).await;
    pusher.manifest("unsigned", vec![layer], json!({})).await;
    let mut config = open_to(&registry);
    config.plugins.signatures = None;
    let trusted = TrustedKey { key: files.key, connectors: Vec::new() };
    config.plugins.trusted_keys.insert("acme".to_owned(), trusted);
    let signed = pull(&config, &format!("oci://{}/a:signed", registry.address())).await.expect("pulled");
    assert_eq!(signed.signed_by.as_deref(), Some("acme"));
    let error = pull(&config, &format!("oci://{}/a:unsigned", registry.address())).await.expect_err("refused");
    assert!(matches!(error, ObtainError::Signature(SignatureError::Missing { .. })), "{error}");
}

#[tokio::test]
async fn a_tag_that_moves_to_other_bytes_does_not_match_the_pinned_digest() {
    let registry = Registry::start();
    let (first, second) = (components::guest("well_behaved"), components::guest("many_sends"));
    let pusher = Pusher { registry: registry.address(), repository: "a" };
    let manifest = pusher.component("1", &first).await;
    let config = open_to(&registry);
    let reference = format!("oci://{}/a:1", registry.address());
    let source: Source = reference.parse().expect("a reference");
    let pinned = ObtainOptions { pin: Some(Digest::of(&first)), ..ObtainOptions::default() };
    assert_eq!(obtain(&config, &source, &pinned).await.expect("pulled").digest, Digest::of(&first));

    pusher.component("1", &second).await;
    let error = obtain(&config, &source, &pinned).await.expect_err("refused");
    assert!(matches!(&error, ObtainError::Pin { actual, .. } if *actual == Digest::of(&second)), "{error}");
    // The manifest's digest always refers to the first component, wherever the tag points.
    let by_manifest = pull(&config, &format!("{reference}@{manifest}")).await.expect("pulled");
    assert_eq!(by_manifest.digest, Digest::of(&first));
    assert_eq!(pull(&config, &reference).await.expect("pulled").digest, Digest::of(&second));
}

#[tokio::test]
async fn bytes_that_do_not_match_their_digest_are_refused() {
    let registry = Registry::start();
    let component = components::guest("well_behaved");
    let pusher = Pusher { registry: registry.address(), repository: "a" };
    let manifest = pusher.component("1", &component).await;
    let config = open_to(&registry);
    let reference = format!("oci://{}/a:1", registry.address());
    pull(&config, &reference).await.expect("the registry sends the right bytes");

    let blob = registry.blob_file(&format!("sha256:{}", Digest::of(&component)));
    let mut other = component.clone();
    other[component.len() / 2] ^= 1;
    std::fs::write(&blob, &other).expect("the registry's disk is written to");
    let error = pull(&config, &reference).await.expect_err("refused");
    assert!(matches!(error, ObtainError::Registry(RegistryError::Digest { what: "the component" })), "{error}");
    other.extend_from_slice(b"more");
    std::fs::write(&blob, &other).expect("the registry's disk is written to");
    let error = pull(&config, &reference).await.expect_err("refused");
    assert!(matches!(error, ObtainError::Registry(RegistryError::Digest { what: "the component" })), "{error}");

    let file = registry.blob_file(&manifest);
    let lying = String::from_utf8(std::fs::read(&file).expect("read")).expect("text").replace("wasip2", "wasip3");
    std::fs::write(&file, lying.replacen("schemaVersion", "schemaVersioN", 1)).expect("written");
    let error = pull(&config, &format!("{reference}@{manifest}")).await.expect_err("refused");
    assert!(matches!(error, ObtainError::Registry(_)), "{error}");
}

#[tokio::test]
async fn an_unknown_registry_a_missing_or_a_too_large_component_is_refused_with_the_remedy() {
    let registry = Registry::start();
    let component = components::guest("well_behaved");
    let pusher = Pusher { registry: registry.address(), repository: "a" };
    pusher.component("1", &component).await;
    let text = pusher.blob("text/plain", b"hello").await;
    pusher.manifest("text", vec![text], json!({})).await;
    let layer = pusher.blob(WASM, &component).await;
    pusher.manifest("two", vec![layer.clone(), layer], json!({})).await;
    let base = format!("oci://{}/a", registry.address());

    let error = pull(&Config::default(), &format!("{base}:1")).await.expect_err("refused").to_string();
    assert!(error.contains(&format!("add the section [plugins.registries.\"{}\"]", registry.address())), "{error}");

    let mut config = open_to(&registry);
    for (version, said) in [
        (":2", "nothing of this name and version"),
        ("b:1", "nothing of this name and version"),
        (":text", "layers of text/plain"),
        (":two", "several layers of WebAssembly"),
    ] {
        let error = pull(&config, &format!("{base}{version}")).await.expect_err(version).to_string();
        assert!(error.contains(said), "{version}: {error}");
    }
    config.sandbox.component_bytes_max = component.len() as u64 - 1;
    let error = pull(&config, &format!("{base}:1")).await.expect_err("refused").to_string();
    assert!(error.contains("component_bytes_max under [sandbox]"), "{error}");

    let nobody = "127.0.0.1:1";
    allow(&mut config, nobody);
    let error = pull(&config, &format!("oci://{nobody}/a:1")).await.expect_err("refused").to_string();
    assert!(error.contains("can't be reached"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_registry_with_authentication_works_and_the_password_is_shown_nowhere() {
    // The realm issues tokens for the right password. The registry itself accepts any token.
    let asked: Arc<Mutex<Vec<String>>> = Arc::default();
    let heard = Arc::clone(&asked);
    let realm = Server::start(move |request| {
        let login = request.headers.get("authorization").cloned().unwrap_or_default();
        heard.lock().expect("not poisoned").push(request.target.clone());
        // "robot:canary"
        if login == "Basic cm9ib3Q6Y2FuYXJ5" {
            answer(200, &[("content-type", "application/json")], json!({ "token": "granted" }).to_string())
        } else {
            answer(401, &[], "who are you, canary?")
        }
    })
    .await;
    let auth = format!("auth:\n  silly:\n    realm: {}/token\n    service: registry\n", realm.base());
    let registry = Registry::start_with(&auth);
    let component = components::guest("well_behaved");
    let pusher = Pusher { registry: registry.address(), repository: "a" };
    pusher.component("1", &component).await;
    let reference = format!("oci://{}/a:1", registry.address());

    let mut config = open_to(&registry);
    let error = pull(&config, &reference).await.expect_err("refused").to_string();
    assert!(
        error.contains("refuses access") && error.contains("username and password under [plugins.registries"),
        "{error}"
    );
    assert!(!error.contains("canary"), "{error}");

    let entry = config.plugins.registries.get_mut(registry.address()).expect("there");
    (entry.username, entry.password) = (Some("robot".to_owned()), Some("canary".to_owned()));
    assert_eq!(pull(&config, &reference).await.expect("pulled").digest, Digest::of(&component));
    assert!(!format!("{config:?}").contains("canary"), "the password is masked");
    let asked = asked.lock().expect("not poisoned");
    assert!(
        asked.iter().any(|target| target.contains("repository%3Aa%3Apull") || target.contains("repository:a:pull")),
        "{asked:?}"
    );
}

#[tokio::test]
async fn a_token_that_a_registry_grants_is_not_shown_when_it_repeats_it() {
    for (token, said) in [
        ("canary-granted-token", "can't be reached or its answer is not valid: no [secret] for you"),
        ("canary\ngranted", "it grants a token that can't be sent"),
    ] {
        let registry = Server::start(move |request| match request.target.as_str() {
            "/v2/" => challenge(request),
            target if target.starts_with("/token") => answer(200, &[], json!({ "token": token }).to_string()),
            _ => {
                let granted = request.headers.get("authorization").cloned().unwrap_or_default();
                let message = format!("no {} for you", granted.trim_start_matches("Bearer "));
                let error = json!({ "code": "UNSUPPORTED", "message": message, "detail": null });
                answer(400, &[], json!({ "errors": [error] }).to_string())
            }
        })
        .await;
        let error = refusal_of(&registry).await;
        assert!(error.contains(said), "{error}");
    }
}

/// Left to itself, the library asks again for a token that it can't keep. The one that it gets then is neither checked
/// nor known.
#[tokio::test]
async fn a_token_is_asked_for_once_and_no_later_one_is_used_unchecked() {
    let registry = Server::start(|request| match request.target.as_str() {
        "/v2/" => challenge(request),
        // It looks like a signed token, and is none that a time can be read of.
        target if target.starts_with("/token") => {
            answer(200, &[], json!({ "token": "canary.granted.token" }).to_string())
        }
        _ => {
            let granted = request.headers.get("authorization").cloned().unwrap_or_default();
            let message = format!("no {} for you", granted.trim_start_matches("Bearer "));
            answer(400, &[], json!({ "errors": [{ "code": "UNSUPPORTED", "message": message }] }).to_string())
        }
    })
    .await;
    let error = refusal_of(&registry).await;
    assert!(error.contains("no [secret] for you"), "{error}");
    let tokens = registry.asked().iter().filter(|request| request.target.starts_with("/token")).count();
    assert_eq!(tokens, 1);
}

#[tokio::test]
async fn what_makes_the_library_panic_is_an_error() {
    // It first says that it needs no token, so that the library asks for one by itself.
    let visits = Arc::new(AtomicUsize::new(0));
    let registry = Server::start(move |request| match request.target.as_str() {
        "/v2/" if visits.fetch_add(1, Ordering::SeqCst) == 0 => answer(200, &[], ""),
        "/v2/" => challenge(request),
        target if target.starts_with("/token") => answer(200, &[], json!({ "token": "canary\nlater" }).to_string()),
        _ => answer(200, &[], "{}"),
    })
    .await;
    let error = refusal_of(&registry).await;
    assert!(error.contains("the library for registries can't handle"), "{error}");

    // It takes no parts, so that the library begins again, and says that the whole is to be sent to no URL.
    let uploads = Arc::new(AtomicUsize::new(0));
    let registry = Server::start(move |request| match (request.method.as_str(), request.target.as_str()) {
        ("GET", "/v2/") => answer(200, &[], ""),
        ("POST", _) if uploads.fetch_add(1, Ordering::SeqCst) == 0 => answer(202, &[("location", "/upload")], ""),
        ("POST", _) => answer(202, &[("location", "nowhere")], ""),
        ("PATCH", _) => answer(201, &[], ""),
        _ => answer(404, &[], ""),
    })
    .await;
    let base = registry.base();
    let wanted = Push {
        registry: base.trim_start_matches("http://"),
        repository: "a",
        tag: "1",
        insecure_http: true,
        login: None,
        component: b"a component",
        signature: None,
        annotations: &BTreeMap::new(),
        replace: false,
        timeout: Duration::from_secs(20),
    };
    let error = push(&wanted).await.expect_err("refused");
    assert!(matches!(&error, RegistryError::Unreachable(why) if why.contains("can't handle")), "{error}");
    let sent: Vec<String> =
        registry.asked().into_iter().map(|request| request.method).filter(|method| method != "GET").collect();
    assert_eq!(sent, ["POST", "PATCH", "POST"], "up to the second beginning");
}

/// A manifest may name hosts that have a layer too. The operator named only the registry.
#[tokio::test]
async fn a_layer_is_taken_from_the_registry_alone() {
    let component = b"a component";
    let elsewhere = Server::start(move |_| answer(200, &[], component.as_slice())).await;
    let layer = json!({
        "mediaType": WASM,
        "digest": format!("sha256:{}", Digest::of(component)),
        "size": component.len(),
        "urls": [format!("{}/component", elsewhere.base())],
    });
    let manifest = json!({ "schemaVersion": 2, "mediaType": MANIFEST, "config": layer, "layers": [layer] }).to_string();
    let registry = Server::start(move |request| match request.target.as_str() {
        "/v2/" => answer(200, &[], ""),
        "/v2/a/manifests/1" => answer(200, &[], manifest.clone()),
        _ => answer(404, &[], ""),
    })
    .await;
    let error = refusal_of(&registry).await;
    assert!(error.contains("nothing of this name and version"), "{error}");
    assert_eq!(elsewhere.asked().len(), 0, "nobody else is asked");
}

/// Sends who asks to the registry's own tokens.
fn challenge(request: &Asked) -> Response {
    let challenge = format!("Bearer realm=\"http://{}/token\",service=\"registry\"", request.host());
    answer(401, &[("www-authenticate", challenge.as_str())], "")
}

/// What a registry's refusal of a component is told as, which holds no secret.
async fn refusal_of(registry: &Server) -> String {
    let address = registry.base().trim_start_matches("http://").to_owned();
    let mut config = Config::default();
    allow(&mut config, &address);
    let error = pull(&config, &format!("oci://{address}/a:1")).await.expect_err("refused").to_string();
    assert!(!error.contains("canary"), "{error}");
    error
}

/// A folder with a packed component, and its signature by a new key whose public part is returned.
fn signed_folder(name: &str) -> (tempfile::TempDir, Vec<u8>, String) {
    let folder = tempfile::tempdir().expect("a folder");
    let component = components::guest(name);
    let files = generate_key("acme").expect("a key");
    let key = SigningKey::parse(&files.secret, None).expect("its own file");
    let signature = key.sign(&component, "a.wasm", DateTime::UNIX_EPOCH).expect("signed");
    std::fs::write(folder.path().join("a.wasm"), &component).expect("written");
    std::fs::write(folder.path().join("a.wasm.minisig"), signature).expect("written");
    (folder, component, files.key)
}

fn request(folder: &tempfile::TempDir, registry: &Registry) -> PublishRequest {
    PublishRequest {
        component: folder.path().join("a.wasm"),
        signature: None,
        unsigned: false,
        registry: registry.address().to_owned(),
        repository: "acme/guest".to_owned(),
        tag: None,
        replace: false,
    }
}

#[tokio::test]
async fn what_is_published_is_pulled_with_its_signature_and_described_by_its_manifest() {
    let registry = Registry::start();
    let (folder, component, key) = signed_folder("well_behaved");
    let mut config = open_to(&registry);
    config.plugins.signatures = None;
    let request = request(&folder, &registry);
    let published = publish(&config, &request).await.expect("published");
    let warned = published.warnings.iter().any(|warning| warning.contains("not trusted"));
    assert!(warned && published.signed_by.is_none(), "the author's key is not trusted here: {published:?}");

    // An operator who trusts the key gets the very bytes, by tag and by digest.
    config.plugins.trusted_keys.insert("acme".to_owned(), TrustedKey { key, connectors: Vec::new() });
    let reference = published.reference.to_string();
    let version = &published.inspection.manifest.connector.version;
    let start = format!("oci://{}/acme/guest:{version}@sha256:", registry.address());
    assert!(reference.starts_with(&start), "{reference}");
    let obtained = pull(&config, &reference).await.expect("pulled");
    assert_eq!((obtained.signed_by.as_deref(), obtained.digest), (Some("acme"), Digest::of(&component)));
    assert!(obtained.component == component);

    let digest = published.reference.digest.expect("a digest");
    let text = std::fs::read(registry.blob_file(&format!("sha256:{digest}"))).expect("it is stored");
    let manifest: Json = serde_json::from_slice(&text).expect("JSON");
    assert_eq!(manifest["annotations"]["dev.backline.platform"], "guest");
    assert_eq!(manifest["annotations"]["dev.backline.component"], format!("sha256:{}", Digest::of(&component)));
    let said: Json =
        serde_json::from_str(manifest["annotations"]["dev.backline.manifest"].as_str().expect("a text")).expect("JSON");
    assert_eq!(said["connector"]["platform"], "guest");

    let again = publish(&config, &request).await.expect("published");
    assert_eq!(again.reference, published.reference, "the same bytes make the same artifact");
}

#[tokio::test]
async fn a_version_keeps_its_bytes_and_what_is_wrong_is_not_published() {
    let registry = Registry::start();
    let (folder, _, _) = signed_folder("well_behaved");
    let config = open_to(&registry);
    let first = request(&folder, &registry);
    publish(&config, &first).await.expect("published");

    let (other, _, _) = signed_folder("many_sends");
    let version = inspect(&components::guest("well_behaved")).expect("a component").manifest.connector.version;
    let moved = PublishRequest { tag: Some(version.to_string()), ..request(&other, &registry) };
    let error = publish(&config, &moved).await.expect_err("refused").to_string();
    assert!(error.contains("raise the connector's version") && error.contains("--force"), "{error}");
    let forced = PublishRequest { replace: true, ..moved };
    let published = publish(&config, &forced).await.expect("published");
    let pulled = pull(&config, &format!("oci://{}/acme/guest:{version}", registry.address())).await.expect("pulled");
    assert_eq!(pulled.digest, published.inspection.digest);

    let error = publish(&Config::default(), &first).await.expect_err("refused").to_string();
    assert!(error.contains("nothing may be pushed to") && error.contains("[plugins.registries"), "{error}");
    std::fs::remove_file(folder.path().join("a.wasm.minisig")).expect("removed");
    let error = publish(&config, &first).await.expect_err("refused").to_string();
    assert!(error.contains("backline plugins sign") && error.contains("--unsigned"), "{error}");
    publish(&config, &PublishRequest { unsigned: true, replace: true, ..first.clone() }).await.expect("published");

    // A signature of other bytes by a key that is trusted.
    let (_, _, key) = signed_folder("well_behaved");
    let mut trusting = config.clone();
    trusting.plugins.trusted_keys.insert("acme".to_owned(), TrustedKey { key, connectors: Vec::new() });
    let (third, _, key) = signed_folder("well_behaved");
    trusting.plugins.trusted_keys.insert("third".to_owned(), TrustedKey { key, connectors: Vec::new() });
    std::fs::write(third.path().join("a.wasm"), components::guest("many_sends")).expect("written");
    let error = publish(&trusting, &request(&third, &registry)).await.expect_err("refused").to_string();
    assert!(error.contains("does not match"), "{error}");
}
