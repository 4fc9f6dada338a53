//! HTTPS by files: what is served, what is refused, and what happens when the files change.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use backline::api::{Tls, TlsError};
use backline::config::Config;
use backline::pipeline::Host;
use backline::pipeline::service::Service;
use backline_model::clock::Clock;
use backline_store::{Store, StoreOptions};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{self, ClientConfig, RootCertStore};

use crate::service::support::Place;
use crate::store::fixtures::now;
use crate::support::certificates::{ONE, Pair, TWO};

/// A folder with a certificate and its key.
struct Files(TempDir);

impl Files {
    fn of(pair: &Pair) -> Self {
        let files = Self(tempfile::tempdir().expect("a folder"));
        files.write(pair.certificate, pair.key);
        files
    }

    fn write(&self, certificate: &str, key: &str) {
        std::fs::write(self.certificate(), certificate).expect("written");
        std::fs::write(self.key(), key).expect("written");
        self.let_read(0o600);
    }

    fn let_read(&self, mode: u32) {
        std::fs::set_permissions(self.key(), std::fs::Permissions::from_mode(mode)).expect("changed");
    }

    fn certificate(&self) -> PathBuf {
        self.0.path().join("certificate.pem")
    }

    fn key(&self) -> PathBuf {
        self.0.path().join("key.pem")
    }

    fn read(&self) -> Result<Tls, TlsError> {
        Tls::read(&self.certificate(), &self.key())
    }
}

/// What a host answers over TLS to a client that trusts a certificate.
async fn ask(address: &str, trusted: &Pair) -> std::io::Result<String> {
    let mut roots = RootCertStore::empty();
    let certificate = CertificateDer::from_pem_slice(trusted.certificate.as_bytes()).expect("a certificate");
    roots.add(certificate).expect("it can be trusted");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.expect("versions").with_root_certificates(roots).with_no_client_auth();
    let name = ServerName::try_from("localhost").expect("a name");
    let stream = TcpStream::connect(address).await?;
    let mut stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
    stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await?;
    stream.flush().await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}

/// A host that answers over TLS. Dropping the set stops it.
async fn serve(folder: &Path, tls: Tls) -> (String, JoinSet<()>) {
    let mut config = Config::default();
    config.database.url = format!("sqlite://{}", folder.join("test.db").display());
    let store = Store::open(&config.database.url, StoreOptions::default()).await.expect("it opens");
    store.migrate().await.expect("migrated");
    store.close().await;
    let host = Host::open(config, Clock::fixed(now())).await.expect("the host opens");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    let mut serving = JoinSet::new();
    serving.spawn(async move {
        let status = Service::new(host).status();
        backline::api::serve_over(listener, Some(tls), status, std::future::pending()).await.expect("it serves");
    });
    (address, serving)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_with_a_certificate_speaks_https_alone() {
    let files = Files::of(&ONE);
    let (address, _serving) = serve(files.0.path(), files.read().expect("read")).await;
    let answer = ask(&address, &ONE).await.expect("answered");
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("ok"), "{answer}");
    ask(&address, &TWO).await.expect_err("it is another certificate");

    let mut plain = TcpStream::connect(&address).await.expect("it listens");
    plain.write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n").await.expect("sent");
    let mut answer = Vec::new();
    // Closed, or an alert of TLS: nothing of HTTP.
    let _ = plain.read_to_end(&mut answer).await;
    assert!(!answer.starts_with(b"HTTP"), "{}", String::from_utf8_lossy(&answer));
    ask(&address, &ONE).await.expect("others are still answered");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whether_a_host_with_a_certificate_is_ready_is_asked_over_tls() {
    let files = Files::of(&ONE);
    let (address, _serving) = serve(files.0.path(), files.read().expect("read")).await;
    let (certificate, key) = (files.certificate(), files.key());
    let more = format!("tls_certificate = \"{}\"\ntls_key = \"{}\"\n", certificate.display(), key.display());
    let place = Place::new("sqlite://unused.db", &more);
    let listen = format!("service.listen={address}");
    let (code, told, said) = place.run(&["ready", "--set", &listen, "--log", "off"]).await;
    assert_eq!((code, said.as_str()), (Some(0), ""), "{told}");
    assert!(told.contains("\"ready\":true"), "{told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_renewed_certificate_is_served_and_a_wrong_one_is_not() {
    let files = Files::of(&ONE);
    let tls = files.read().expect("read");
    let (address, _serving) = serve(files.0.path(), tls.clone()).await;
    // As when a program writes one file and has yet to write the other.
    files.write(TWO.certificate, ONE.key);
    let error = tls.read_again().expect_err("they do not belong together");
    assert!(matches!(error, TlsError::Pair { .. }), "{error}");
    ask(&address, &ONE).await.expect("the old one stays in force");
    files.write(TWO.certificate, TWO.key);
    tls.read_again().expect("read again");
    ask(&address, &TWO).await.expect("the new one is served");
    ask(&address, &ONE).await.expect_err("the old one is not");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ready_asks_a_host_over_https_where_it_speaks_that_alone() {
    let files = Files::of(&ONE);
    let database = format!("sqlite://{}", files.0.path().join("test.db").display());
    let more =
        format!("tls_certificate = \"{}\"\ntls_key = \"{}\"\n", files.certificate().display(), files.key().display());
    let place = Place::new(&database, &more);
    let (code, _, said) = place.run(&["migrate"]).await;
    assert_eq!(code, Some(0), "{said}");
    let serving = place.serve(&[]).await;
    // Its certificate is not valid for the address, and signed by no one.
    let listen = format!("service.listen={}", serving.address);
    let (_, told, said) = place.run(&["ready", "--set", &listen, "--log", "off"]).await;
    let told: serde_json::Value = serde_json::from_str(&told).unwrap_or_else(|_| panic!("{told} {said}"));
    assert!(told["ready"].is_boolean() && told["problems"].is_array(), "it is the answer of the host: {told}");
}

#[test]
fn files_that_can_not_be_used_are_named_and_nothing_of_the_key_is_told() {
    let files = Files::of(&ONE);
    let told =
        |files: &Files| files.read().err().map(|error| backline::pipeline::with_causes(&error)).expect("refused");
    files.let_read(0o604);
    let problem = told(&files);
    assert!(problem.contains("key.pem") && problem.contains("chmod o="), "{problem}");
    files.let_read(0o640);
    files.read().map(drop).expect("a group may read it");

    let cut = &ONE.key[..ONE.key.len() / 2];
    files.write(ONE.certificate, cut);
    let problem = told(&files);
    assert!(problem.contains("service.tls_key") && problem.contains("no private key"), "{problem}");
    assert!(!ONE.key.lines().any(|line| problem.contains(line)), "{problem}");
    files.write("", ONE.key);
    assert!(told(&files).contains("service.tls_certificate"), "{}", told(&files));
    files.write(ONE.certificate, TWO.key);
    assert!(told(&files).contains("can't be used together"), "{}", told(&files));
    std::fs::remove_file(files.certificate()).expect("removed");
    assert!(told(&files).contains("can't be read"), "{}", told(&files));
}
