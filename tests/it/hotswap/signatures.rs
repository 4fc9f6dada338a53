//! Tests of signatures: a component that was changed after signing, or not signed with a trusted key, is refused.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use backline::config::Config;
use backline::pipeline::{ObtainError, ObtainOptions, Obtained, obtain};
use backline_component::{SignatureError, SignaturePolicy, SigningKey, Source, TrustedKey, generate_key, verify};
use backline_model::Digest;
use backline_simulator::SimulatorConfig;
use backline_store::{Store, StoreOptions};
use chrono::DateTime;
use tempfile::TempDir;
use wasmparser::{Parser, Payload};

use crate::support::components;
use crate::support::database::each_database;
use crate::support::fleet::Fleet;
use crate::support::stage::Stage;

/// A folder with a connector and, if it was signed, its signature.
struct Folder(TempDir);

impl Folder {
    fn with(component: &[u8]) -> Self {
        let place = Self(tempfile::tempdir().expect("a folder"));
        place.put("a.wasm", component);
        place
    }

    fn put(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::write(&path, bytes).expect("written");
        path
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    async fn obtain(&self, config: &Config) -> Result<Obtained, ObtainError> {
        obtain(config, &Source::File(self.path("a.wasm")), &ObtainOptions::default()).await
    }
}

/// A key and a configuration that trusts it.
fn trusted() -> (SigningKey, Config) {
    let files = generate_key("acme").expect("a key");
    let mut config = Config::default();
    let trusted = TrustedKey { key: files.key.clone(), connectors: Vec::new() };
    config.plugins.trusted_keys.insert("acme".to_owned(), trusted);
    (SigningKey::parse(&files.secret, None).expect("its own file"), config)
}

fn sign(key: &SigningKey, component: &[u8]) -> String {
    key.sign(component, "a.wasm", DateTime::UNIX_EPOCH).expect("signed")
}

/// Start and end of the sections of a component, including those of its inner modules.
fn section_borders(component: &[u8]) -> Vec<usize> {
    let mut borders = vec![0, component.len()];
    for payload in Parser::new(0).parse_all(component) {
        let payload = payload.expect("the component is whole");
        let range = match &payload {
            Payload::Version { range, .. } => Some(range.clone()),
            other => other.as_section().map(|(_, range)| range),
        };
        let border = |at| usize::try_from(at).expect("inside the file");
        borders.extend(range.into_iter().flat_map(|range| [border(range.start), border(range.end)]));
    }
    borders.sort_unstable();
    borders.dedup();
    borders
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_changed_byte_anywhere_in_a_signed_component_is_refused() {
    let component = components::plugin("tiktok");
    let (key, mut config) = trusted();
    config.plugins.signatures = Some(SignaturePolicy::Warn);
    let signature = sign(&key, &component);
    let trusted = &config.plugins.trusted_keys;
    assert_eq!(verify(&component, &signature, trusted, "tiktok").as_deref(), Ok("acme"));

    // Every byte of a small component, because each takes a hash of the whole file.
    let small = components::guest("loop_in_fetch");
    let of_small = sign(&key, &small);
    assert_eq!(verify(&small, &of_small, trusted, "loop").as_deref(), Ok("acme"));
    let mut changed = small.clone();
    for at in 0..small.len() {
        changed[at] ^= 1 << (at % 8);
        let outcome = verify(&changed, &of_small, trusted, "loop");
        assert_eq!(outcome, Err(SignatureError::Mismatch { name: "acme".to_owned() }), "byte {at}");
        changed[at] = small[at];
    }

    // All borders between a connector's sections, and steps of a prime number, which cover every offset within a page.
    let borders = section_borders(&component);
    let near_borders = borders.iter().flat_map(|border| border.saturating_sub(3)..(border + 3).min(component.len()));
    let mut positions: Vec<usize> = near_borders.chain((0..component.len()).step_by(911)).collect();
    positions.sort_unstable();
    positions.dedup();
    assert!(positions.len() > 400 && borders.len() > 40, "{} positions, {} borders", positions.len(), borders.len());
    let mut changed = component.clone();
    for at in &positions {
        changed[*at] ^= 1 << (at % 8);
        let outcome = verify(&changed, &signature, trusted, "tiktok");
        assert_eq!(outcome, Err(SignatureError::Mismatch { name: "acme".to_owned() }), "byte {at}");
        changed[*at] = component[*at];
    }

    // The same through the operator's command, with the policy that only warns about unsigned components.
    let place = Folder::with(&component);
    place.put("a.wasm.minisig", &signature);
    assert_eq!(place.obtain(&config).await.expect("unchanged").signed_by.as_deref(), Some("acme"));
    for at in positions.iter().step_by(13) {
        changed[*at] ^= 0x10;
        place.put("a.wasm", &changed);
        let error = place.obtain(&config).await.expect_err("a changed byte");
        let is_refused =
            matches!(error, ObtainError::Signature(SignatureError::Mismatch { .. }) | ObtainError::Inspect(_));
        assert!(is_refused, "byte {at}: {error}");
        changed[*at] = component[*at];
    }
}

#[tokio::test]
async fn a_truncated_component_is_refused_signed_or_not() {
    let component = components::plugin("tiktok");
    let (key, mut config) = trusted();
    let signature = sign(&key, &component);
    let place = Folder::with(&component);
    let mut lengths: Vec<usize> = section_borders(&component);
    lengths.extend((0..component.len()).step_by(9_973));
    lengths.retain(|length| *length < component.len());
    for length in lengths {
        place.put("a.wasm", &component[..length]);
        let outcome = verify(&component[..length], &signature, &config.plugins.trusted_keys, "tiktok");
        assert!(matches!(outcome, Err(SignatureError::Mismatch { .. })), "{length} bytes: {outcome:?}");
        place.put("a.wasm.minisig", &signature);
        config.plugins.signatures = Some(SignaturePolicy::Require);
        place.obtain(&config).await.expect_err("a truncated component with the whole one's signature");
        // Without a signature it is not a connector either, because the manifest is the last section.
        config.plugins.signatures = Some(SignaturePolicy::Off);
        let error = place.obtain(&config).await.expect_err("a truncated component");
        assert!(matches!(error, ObtainError::Inspect(_)), "{length} bytes: {error}");
    }
}

#[tokio::test]
async fn a_file_that_is_too_large_not_a_connector_or_another_one_is_refused() {
    let component = components::plugin("tiktok");
    let place = Folder::with(&component);
    let mut config = Config::default();
    let pin = |pin| ObtainOptions { pin: Some(pin), ..ObtainOptions::default() };
    let source = Source::File(place.path("a.wasm"));
    let obtained = obtain(&config, &source, &pin(Digest::of(&component))).await.expect("the digest fits");
    assert_eq!(
        (obtained.digest, obtained.source),
        (Digest::of(&component), place.path("a.wasm").display().to_string())
    );
    let error = obtain(&config, &source, &pin(Digest::of(b"other"))).await.expect_err("refused");
    assert!(matches!(&error, ObtainError::Pin { actual, .. } if *actual == Digest::of(&component)), "{error}");

    config.sandbox.component_bytes_max = component.len() as u64 - 1;
    let error = place.obtain(&config).await.expect_err("refused").to_string();
    assert!(error.contains("component_bytes_max under [sandbox]"), "{error}");
    config.sandbox.component_bytes_max += 1;
    assert!(place.obtain(&config).await.is_ok());

    for (bytes, said) in [(&b""[..], "not a WebAssembly component"), (b"#!/bin/sh", "not a WebAssembly component")] {
        place.put("a.wasm", bytes);
        let error = place.obtain(&config).await.expect_err("refused").to_string();
        assert!(error.contains(said), "{error}");
    }
    let folder = Source::File(place.0.path().to_owned());
    let error = obtain(&config, &folder, &ObtainOptions::default()).await.expect_err("refused").to_string();
    assert!(error.contains("is a folder"), "{error}");
}

#[tokio::test]
async fn a_signature_counts_as_the_policy_says() {
    let component = components::plugin("tiktok");
    let (key, mut config) = trusted();
    let (stranger, _) = trusted();
    let place = Folder::with(&component);
    let signature = place.path("a.wasm.minisig");
    let policies = [None, Some(SignaturePolicy::Warn), Some(SignaturePolicy::Require), Some(SignaturePolicy::Off)];
    // The result under each policy: the signer and the number of warnings, or a refusal.
    type Verdict = Option<(Option<&'static str>, usize)>;
    let cases: [(&str, Option<String>, [Verdict; 4]); 5] = [
        ("unsigned", None, [Some((None, 0)), Some((None, 1)), None, Some((None, 0))]),
        (
            "signed by a trusted key",
            Some(sign(&key, &component)),
            [Some((Some("acme"), 0)), Some((Some("acme"), 0)), Some((Some("acme"), 0)), Some((None, 0))],
        ),
        (
            "signed by an unknown key",
            Some(sign(&stranger, &component)),
            [Some((None, 1)), Some((None, 1)), None, Some((None, 0))],
        ),
        ("with another file's signature", Some(sign(&key, b"other")), [None, None, None, Some((None, 0))]),
        ("with a damaged signature", Some("untrusted comment: a\n".to_owned()), [None, None, None, Some((None, 0))]),
    ];
    for (what, text, verdicts) in cases {
        match text {
            Some(text) => std::fs::write(&signature, text).expect("written"),
            None => assert!(!signature.exists()),
        }
        for (policy, verdict) in policies.into_iter().zip(verdicts) {
            config.plugins.signatures = policy;
            let outcome = place.obtain(&config).await;
            let outcome = outcome.ok().map(|obtained| (obtained.signed_by, obtained.warnings.len()));
            let expected = verdict.map(|(signer, warnings)| (signer.map(str::to_owned), warnings));
            assert_eq!(outcome, expected, "{what}, under {policy:?}");
        }
    }

    // A signature that is given must match, wherever the file is. A required one is checked under any policy.
    std::fs::remove_file(&signature).expect("removed");
    let source = Source::File(place.path("a.wasm"));
    for (text, fits) in [(sign(&key, &component), true), (sign(&stranger, &component), false)] {
        let signature = Some(place.put("elsewhere", text));
        config.plugins.signatures = None;
        let options = ObtainOptions { signature, ..ObtainOptions::default() };
        assert_eq!(obtain(&config, &source, &options).await.is_ok(), fits);
    }
    config.plugins.signatures = Some(SignaturePolicy::Off);
    let options = ObtainOptions { must_be_signed: true, ..ObtainOptions::default() };
    let error = obtain(&config, &source, &options).await.expect_err("refused");
    assert!(matches!(error, ObtainError::Signature(SignatureError::Missing { .. })), "{error}");
}

#[tokio::test]
async fn a_key_signs_only_the_connectors_it_is_trusted_for() {
    let component = components::plugin("tiktok");
    let (key, mut config) = trusted();
    let place = Folder::with(&component);
    place.put("a.wasm.minisig", sign(&key, &component));
    config.plugins.signatures = Some(SignaturePolicy::Require);
    let trust = |config: &mut Config, connectors: &[&str]| {
        let names = connectors.iter().map(|name| (*name).to_owned()).collect();
        config.plugins.trusted_keys.get_mut("acme").expect("there").connectors = names;
    };
    trust(&mut config, &["youtube"]);
    let error = place.obtain(&config).await.expect_err("refused").to_string();
    assert!(error.contains("add \"tiktok\" to connectors under [plugins.trusted_keys.acme]"), "{error}");
    trust(&mut config, &["youtube", "tiktok"]);
    assert_eq!(place.obtain(&config).await.expect("trusted").signed_by.as_deref(), Some("acme"));
    config.plugins.trusted_keys = BTreeMap::new();
    let error = place.obtain(&config).await.expect_err("refused").to_string();
    assert!(error.contains("which is not trusted") && error.contains("[plugins.trusted_keys.NAME]"), "{error}");
}

/// All releases in the database.
async fn releases(url: &str) -> String {
    let store = Store::open(url, StoreOptions { connections_max: 2, ..StoreOptions::default() })
        .await
        .expect("the database opens");
    let releases = store.releases_list().await.expect("releases are read");
    store.close().await;
    format!("{releases:?}")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_require_nothing_changes_until_a_trusted_key_signs() {
    each_database(async |_store: Store, url: &str| {
        let simulator = SimulatorConfig { artists: 1, ..SimulatorConfig::default() };
        let stage = Stage::bare(url, simulator, |_| {}).await;
        let place = Folder::with(&components::plugin("tiktok"));
        let file = place.path("a.wasm");
        let file = file.to_str().expect("text");
        let require = |config: &mut Config| config.plugins.signatures = Some(SignaturePolicy::Require);
        let fleet = Fleet::of(&stage, require);
        let before = releases(url).await;
        let output = fleet.command(&["plugins", "install", "--yes", file]).output().expect("it runs");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains("it is not signed") && said.contains("a.wasm.minisig"), "{said}");
        assert_eq!(releases(url).await, before);

        // The author makes a key and signs. The operator adds the printed section to the configuration.
        let folder = place.0.path().to_str().expect("text");
        let keygen = fleet.command(&["plugins", "keygen", "--name", "acme", "--folder", folder]).output();
        let section = String::from_utf8(keygen.expect("it runs").stdout).expect("text");
        assert_eq!(mode(&place.path("acme.key")), 0o600);
        let key = place.path("acme.key");
        let key = key.to_str().expect("text");
        let signed = fleet.command(&["plugins", "sign", file, "--key", key]).output().expect("it runs");
        assert_eq!(signed.status.code(), Some(0), "{}", String::from_utf8_lossy(&signed.stderr));
        let again = fleet.command(&["plugins", "sign", file, "--key", key]).output().expect("it runs");
        assert_eq!(again.status.code(), Some(2), "a signature is not replaced by accident");

        let output = fleet.command(&["plugins", "install", "--yes", file]).output().expect("it runs");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains("which is not trusted"), "{said}");
        assert_eq!(releases(url).await, before);

        let trusting = Fleet::of(&stage, |config| {
            require(config);
            let keys: toml::Table = section.parse().expect("what it prints is TOML");
            let keys = keys["plugins"]["trusted_keys"].clone();
            config.plugins.trusted_keys = keys.try_into().expect("of the section's form");
        });
        let output = trusting.command(&["plugins", "verify", file]).output().expect("it runs");
        let said = String::from_utf8(output.stdout).expect("text");
        assert!(said.contains("signed by acme"), "{said}");
        let output = trusting.command(&["plugins", "install", "--yes", file]).output().expect("it runs");
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        assert_ne!(releases(url).await, before);
    })
    .await;
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).expect("it is there").permissions().mode() & 0o777
}
