//! Pulls a component from an OCI registry, and pushes one: one manifest, one layer of WebAssembly, and its signature.
//!
//! oci-client implements the protocol (tokens, challenges, references) and sends its own HTTP requests: it accepts
//! neither our client nor our resolver. So **the gateway's address check, routes and redirect rules do not apply
//! here**; a proxy from the environment is used, and the manifest is read before its size is known. This is acceptable
//! because an operator names every registry under `[plugins.registries]`, many of which have private addresses; because
//! no connector can trigger a pull or a push; and because only bytes with the right digest are accepted. This module
//! adds: a size limit on the layer before and while it is read, one media type, its own check of every digest and of
//! every token, and errors without URLs, since registries redirect to URLs that grant access.

use std::collections::BTreeMap;
use std::error::Error as _;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures::{FutureExt as _, StreamExt as _};
use oci_client::client::{ClientConfig, ClientProtocol};
use oci_client::errors::{DigestError, OciDistributionError, OciErrorCode};
use oci_client::manifest::{OCI_IMAGE_INDEX_MEDIA_TYPE, OCI_IMAGE_MEDIA_TYPE, OciDescriptor, OciImageManifest};
use oci_client::secrets::RegistryAuth;
use oci_client::{Client, Reference, RegistryOperation};
use reqwest::header::HeaderValue;
use serde_json::json;
use tokio::time::Instant;
use zeroize::Zeroizing;

use super::secret_matcher::SecretMatcher;
use super::tls::provide_cryptography;
use backline_model::Digest;
use backline_model::text::printable;

/// Media types of a component's layer: of the Wasm ecosystem's artifact layout, and of older tools.
const COMPONENT_TYPES: [&str; 2] = ["application/wasm", "application/vnd.wasm.content.layer.v1+wasm"];

/// Media type of a signature's layer.
const SIGNATURE_TYPE: &str = "application/vnd.minisign.signature";

/// Media type of the description of what a pushed artifact is for.
const CONFIG_TYPE: &str = "application/vnd.wasm.config.v0+json";

/// Annotation of the manifest that may hold the signature instead.
const SIGNATURE_ANNOTATION: &str = "dev.backline.minisig";

/// Largest manifest, in bytes, and most layers. The distribution specification asks registries to accept these, and our
/// artifacts have far less.
const MANIFEST_BYTES_MAX: usize = 4 * 1024 * 1024;
const LAYERS_MAX: usize = 100;

/// How long a token is used for further requests. Registries grant them for a minute at least, as the distribution
/// project says (Token Authentication Specification, `expires_in`).
const TOKEN_USED_FOR: Duration = Duration::from_secs(30);

/// Most characters of a registry's own message that are repeated.
const MESSAGE_CHARS_MAX: usize = 300;

/// What to pull, and how.
pub struct Pull<'a> {
    /// Host, and the port if it is not the default.
    pub registry: &'a str,
    /// Name inside the registry.
    pub repository: &'a str,
    /// Tag of the version.
    pub tag: Option<&'a str>,
    /// Digest of the manifest. If it is given, the tag is ignored.
    pub digest: Option<Digest>,
    /// Whether plain HTTP is used instead of HTTPS.
    pub insecure_http: bool,
    /// User name and password.
    pub login: Option<(&'a str, &'a str)>,
    /// Largest component, in bytes.
    pub component_bytes_max: u64,
    /// Largest signature, in bytes.
    pub signature_bytes_max: u64,
    /// Longest wait for a connection, and for the next bytes of an answer. The caller limits the total time.
    pub timeout: Duration,
}

/// What to push, and how.
pub struct Push<'a> {
    /// Host, and the port if it is not the default.
    pub registry: &'a str,
    /// Name inside the registry.
    pub repository: &'a str,
    /// Tag of the version.
    pub tag: &'a str,
    /// Whether plain HTTP is used instead of HTTPS.
    pub insecure_http: bool,
    /// User name and password.
    pub login: Option<(&'a str, &'a str)>,
    /// The packed component.
    pub component: &'a [u8],
    /// Its signature.
    pub signature: Option<&'a str>,
    /// What is said of it to those who have not pulled it.
    pub annotations: &'a BTreeMap<String, String>,
    /// Whether a tag that names other bytes is moved.
    pub replace: bool,
    /// Longest wait for a connection, and for the next bytes of an answer. The caller limits the total time.
    pub timeout: Duration,
}

/// A pulled artifact.
pub struct Artifact {
    /// Digest of the manifest, which identifies exactly these bytes.
    pub manifest: Digest,
    /// Content of the WebAssembly layer.
    pub component: Vec<u8>,
    /// Signature, if the artifact has one.
    pub signature: Option<String>,
}

/// Why nothing was pulled.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// The reference does not exist.
    #[error("the registry has nothing of this name and version")]
    NotFound,
    /// The registry requires a login, or refuses this one.
    #[error(
        "the registry refuses access; check the name, and that username and password under \
         [plugins.registries.\"{0}\"] allow it"
    )]
    Unauthorized(String),
    /// The registry can't be reached, or its answer is not valid.
    #[error("the registry can't be reached or its answer is not valid: {0}")]
    Unreachable(String),
    /// The artifact has no component.
    #[error(
        "the artifact has no component: {0}; push it with `wkg oci push` or `oras push … FILE.wasm:application/wasm`"
    )]
    NoComponent(String),
    /// The digest of the bytes does not match.
    #[error("the digest of {what} from the registry does not match: it is damaged or was changed; don't use it")]
    Digest {
        /// Part of the artifact.
        what: &'static str,
    },
    /// A part has more bytes than allowed.
    #[error("{what} has more than {bytes_max} bytes")]
    TooLarge {
        /// Part of the artifact.
        what: &'static str,
        /// Limit in bytes.
        bytes_max: u64,
    },
    /// The tag names other bytes.
    #[error(
        "the registry has other bytes of version {0}, which others may have pulled; raise the connector's version, or \
         repeat with --force"
    )]
    Exists(String),
    /// The signature is not text.
    #[error("the artifact's signature is not text")]
    Signature,
}

/// Pulls a component.
///
/// # Errors
/// [`RegistryError`] says what is wrong with the registry, the login or the artifact.
pub async fn pull(pull: &Pull<'_>) -> Result<Artifact, RegistryError> {
    guarded(pull_unguarded(pull)).await
}

/// Pushes a component. Returns the digest of the manifest, which is the same whenever the same bytes are pushed.
///
/// # Errors
/// [`RegistryError`] says what is wrong with the registry or the login, or that the tag names other bytes.
pub async fn push(push: &Push<'_>) -> Result<Digest, RegistryError> {
    guarded(push_unguarded(push)).await
}

/// What the work ends with, or an error if it panics. The library does where a registry says what can't be the header
/// or the URL that the library makes of it.
async fn guarded<T>(work: impl Future<Output = Result<T, RegistryError>>) -> Result<T, RegistryError> {
    let unreadable = || RegistryError::Unreachable("it says what the library for registries can't handle".to_owned());
    AssertUnwindSafe(work).catch_unwind().await.unwrap_or_else(|_| Err(unreadable()))
}

async fn pull_unguarded(pull: &Pull<'_>) -> Result<Artifact, RegistryError> {
    let reference = reference(pull);
    let server = Server { registry: pull.registry, insecure_http: pull.insecure_http, timeout: pull.timeout };
    let mut session = Session::new(server, pull.login, reference.clone(), RegistryOperation::Pull)?;
    let accepted = [OCI_IMAGE_MEDIA_TYPE, OCI_IMAGE_INDEX_MEDIA_TYPE];
    let text = session.manifest(&reference, &accepted).await?;
    let manifest_digest = Digest::of(&text);
    if pull.digest.is_some_and(|expected| expected != manifest_digest) {
        return Err(RegistryError::Digest { what: "a manifest" });
    }
    let manifest = read_manifest(&text)?;
    let component = only_component(&manifest, &session.heard)?;
    let component = session.layer(component, "the component", pull.component_bytes_max).await?;
    let signature = match manifest.layers.iter().find(|layer| layer.media_type == SIGNATURE_TYPE) {
        Some(layer) => {
            let bytes = session.layer(layer, "the signature", pull.signature_bytes_max).await?;
            Some(String::from_utf8(bytes).map_err(|_| RegistryError::Signature)?)
        }
        None => manifest.annotations.as_ref().and_then(|annotations| annotations.get(SIGNATURE_ANNOTATION).cloned()),
    };
    Ok(Artifact { manifest: manifest_digest, component, signature })
}

async fn push_unguarded(push: &Push<'_>) -> Result<Digest, RegistryError> {
    let (registry, repository) = (push.registry.to_owned(), push.repository.to_owned());
    let reference = Reference::with_tag(registry.clone(), repository.clone(), push.tag.to_owned());
    let server = Server { registry: push.registry, insecure_http: push.insecure_http, timeout: push.timeout };
    let mut session = Session::new(server, push.login, reference.clone(), RegistryOperation::Push)?;
    let accepted = [OCI_IMAGE_MEDIA_TYPE];

    let config = config_of(push);
    let manifest = manifest_of(push, &config);
    let digest = Digest::of(manifest.as_bytes());
    if !push.replace {
        match session.manifest(&reference, &accepted).await {
            Ok(there) if Digest::of(&there) == digest => return Ok(digest),
            Ok(_) => return Err(RegistryError::Exists(push.tag.to_owned())),
            // Some registries do not say that a name is new, and refuse to answer. The push decides.
            Err(RegistryError::NotFound | RegistryError::Unauthorized(_)) => {}
            Err(other) => return Err(other),
        }
    }
    let signature = push.signature.map(str::as_bytes);
    for blob in [Some(push.component), signature, Some(config.as_bytes())].into_iter().flatten() {
        session.push_blob(blob).await?;
    }
    session.push_manifest(manifest).await?;
    // What others will pull is what was pushed.
    let by_digest = Reference::with_digest(registry, repository, format!("sha256:{digest}"));
    let there = session.manifest(&by_digest, &accepted).await?;
    if Digest::of(&there) == digest { Ok(digest) } else { Err(RegistryError::Digest { what: "the manifest" }) }
}

/// The description of the artifact, as other tools for WebAssembly write it. It names no time, so that the same bytes
/// always make the same artifact.
fn config_of(push: &Push<'_>) -> String {
    let config = json!({
        "architecture": "wasm",
        "os": "wasip2",
        "created": "1970-01-01T00:00:00Z",
        "layerDigests": [sha256(push.component)],
    });
    config.to_string()
}

fn manifest_of(push: &Push<'_>, config: &str) -> String {
    let described = |media_type: &str, bytes: &[u8]| {
        let (digest, size) = (sha256(bytes), bytes.len());
        json!({ "mediaType": media_type, "digest": digest, "size": size })
    };
    let mut layers = vec![described(COMPONENT_TYPES[0], push.component)];
    layers.extend(push.signature.map(|signature| described(SIGNATURE_TYPE, signature.as_bytes())));
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": OCI_IMAGE_MEDIA_TYPE,
        "config": described(CONFIG_TYPE, config.as_bytes()),
        "layers": layers,
        "annotations": push.annotations,
    });
    manifest.to_string()
}

fn sha256(bytes: &[u8]) -> String {
    format!("sha256:{}", Digest::of(bytes))
}

fn auth(login: Option<(&str, &str)>) -> RegistryAuth {
    match login {
        Some((user, password)) => RegistryAuth::Basic(user.to_owned(), password.to_owned()),
        None => RegistryAuth::Anonymous,
    }
}

fn reference(pull: &Pull<'_>) -> Reference {
    let (registry, repository) = (pull.registry.to_owned(), pull.repository.to_owned());
    match (pull.digest, pull.tag) {
        (Some(digest), _) => Reference::with_digest(registry, repository, format!("sha256:{digest}")),
        (None, tag) => Reference::with_tag(registry, repository, tag.unwrap_or("latest").to_owned()),
    }
}

fn read_manifest(text: &[u8]) -> Result<OciImageManifest, RegistryError> {
    if text.len() > MANIFEST_BYTES_MAX {
        return Err(RegistryError::TooLarge { what: "the manifest", bytes_max: MANIFEST_BYTES_MAX as u64 });
    }
    let mut manifest: OciImageManifest = serde_json::from_slice(text)
        .map_err(|_| RegistryError::NoComponent("its manifest can't be parsed".to_owned()))?;
    if manifest.media_type.as_deref().is_some_and(|media_type| media_type != OCI_IMAGE_MEDIA_TYPE) {
        return Err(RegistryError::NoComponent("it is an index of several artifacts".to_owned()));
    }
    if manifest.layers.len() > LAYERS_MAX {
        return Err(RegistryError::NoComponent(format!("it has {} layers", manifest.layers.len())));
    }
    for layer in &mut manifest.layers {
        // The library would ask these hosts for a layer that the registry lacks. The operator named the registry.
        layer.urls = None;
    }
    Ok(manifest)
}

/// The only layer of WebAssembly.
fn only_component<'a>(manifest: &'a OciImageManifest, heard: &Heard<'_>) -> Result<&'a OciDescriptor, RegistryError> {
    let mut found = manifest.layers.iter().filter(|layer| COMPONENT_TYPES.contains(&layer.media_type.as_str()));
    match (found.next(), found.next()) {
        (Some(one), None) => Ok(one),
        (Some(_), Some(_)) => Err(RegistryError::NoComponent("it has several layers of WebAssembly".to_owned())),
        (None, _) => {
            let types: Vec<&str> = manifest.layers.iter().map(|layer| layer.media_type.as_str()).take(5).collect();
            let types =
                if types.is_empty() { "no layer".to_owned() } else { format!("layers of {}", types.join(", ")) };
            Err(RegistryError::NoComponent(format!("it has {}", heard.shortened(&types))))
        }
    }
}

/// Where a registry is, and how long it is waited for.
#[derive(Clone, Copy)]
struct Server<'a> {
    registry: &'a str,
    insecure_http: bool,
    timeout: Duration,
}

impl Server<'_> {
    fn client(&self) -> Result<Client, OciDistributionError> {
        provide_cryptography();
        let plain = || ClientProtocol::HttpsExcept(vec![self.registry.to_owned()]);
        Client::try_from(ClientConfig {
            protocol: if self.insecure_http { plain() } else { ClientProtocol::Https },
            // Our components run on every platform.
            platform_resolver: None,
            connect_timeout: Some(self.timeout),
            read_timeout: Some(self.timeout),
            user_agent: concat!("backline/", env!("CARGO_PKG_VERSION")),
            ..ClientConfig::default()
        })
    }
}

/// Requests to one repository of a registry. All requests of the library are made here.
///
/// By itself the library asks for a token whenever it has none that lasts, takes for granted that it can be sent, and
/// tells nobody what it is. So each token is asked for here, checked, and given to a client of its own: one that has a
/// token never asks. A registry that grants none then, since it needs none or only the login, or since it fails, has
/// the library's own way. If it grants one later all the same, that one is not known, and where it can't be sent the
/// library panics.
struct Session<'a> {
    server: Server<'a>,
    login: RegistryAuth,
    reference: Reference,
    /// What tokens are asked for. One for pushes is good for pulls, too.
    operation: RegistryOperation,
    heard: Heard<'a>,
    /// Asks for tokens.
    asking: Client,
    granted: Option<Granted>,
}

/// A client that sends what a registry granted.
#[derive(Clone)]
struct Granted {
    client: Client,
    auth: RegistryAuth,
    at: Instant,
}

impl<'a> Session<'a> {
    fn new(
        server: Server<'a>,
        login: Option<(&str, &str)>,
        reference: Reference,
        operation: RegistryOperation,
    ) -> Result<Self, RegistryError> {
        let heard = Heard::new(server.registry, login);
        let asking = server.client().map_err(|error| heard.error_of(error))?;
        Ok(Self { server, login: auth(login), reference, operation, heard, asking, granted: None })
    }

    /// What the next request is sent by.
    ///
    /// # Errors
    /// If a token that is granted can't be sent.
    async fn granted(&mut self) -> Result<Granted, RegistryError> {
        if let Some(granted) = self.granted.as_ref().filter(|granted| granted.at.elapsed() < TOKEN_USED_FOR) {
            return Ok(granted.clone());
        }
        let at = Instant::now();
        // What fails here fails again where the token is needed; without a login, it may not be.
        let token = self.asking.auth(&self.reference, &self.login, self.operation).await.ok().flatten();
        let (client, auth) = match token.map(Zeroizing::new) {
            None => (self.asking.clone(), self.login.clone()),
            Some(token) => {
                if HeaderValue::from_str(&token).is_err() {
                    return Err(RegistryError::Unreachable("it grants a token that can't be sent".to_owned()));
                }
                let auth = RegistryAuth::Bearer(token.to_string());
                self.heard.learn([token]);
                let client = self.server.client().map_err(|error| self.heard.error_of(error))?;
                client.store_auth_if_needed(self.reference.resolve_registry(), &auth).await;
                (client, auth)
            }
        };
        Ok(self.granted.insert(Granted { client, auth, at }).clone())
    }

    /// The bytes of a manifest.
    async fn manifest(&mut self, reference: &Reference, accepted: &[&str]) -> Result<Vec<u8>, RegistryError> {
        let Granted { client, auth, .. } = self.granted().await?;
        let answer = client.pull_manifest_raw(reference, &auth, accepted).await;
        answer.map(|(text, _)| text.to_vec()).map_err(|error| self.heard.error_of(error))
    }

    /// Reads a layer. Its declared size is checked before anything is requested, and enforced while it is read.
    async fn layer(
        &mut self,
        layer: &OciDescriptor,
        what: &'static str,
        bytes_max: u64,
    ) -> Result<Vec<u8>, RegistryError> {
        let expected: Digest = match layer.digest.strip_prefix("sha256:").map(str::parse) {
            Some(Ok(digest)) => digest,
            _ => return Err(RegistryError::NoComponent(format!("{what} has no SHA-256 digest"))),
        };
        let size = u64::try_from(layer.size).unwrap_or(0);
        if size > bytes_max {
            return Err(RegistryError::TooLarge { what, bytes_max });
        }
        let client = self.granted().await?.client;
        let error_of = |error| self.heard.error_of(error);
        let mut stream = client.pull_blob_stream(&self.reference, layer).await.map_err(error_of)?;
        let mut bytes = Vec::new();
        while let Some(chunk) = stream.stream.next().await {
            let chunk = chunk.map_err(|error| match error.get_ref() {
                Some(inner) if inner.is::<DigestError>() => RegistryError::Digest { what },
                _ => error_of(OciDistributionError::IoError(error)),
            })?;
            if (bytes.len() + chunk.len()) as u64 > size {
                return Err(RegistryError::Digest { what });
            }
            bytes.extend_from_slice(&chunk);
        }
        if Digest::of(&bytes) == expected { Ok(bytes) } else { Err(RegistryError::Digest { what }) }
    }

    /// Sends a blob. One whose last part is sent after its token has expired fails: the library asks for no other.
    async fn push_blob(&mut self, blob: &[u8]) -> Result<(), RegistryError> {
        let client = self.granted().await?.client;
        let pushed = client.push_blob(&self.reference, blob.to_vec(), &sha256(blob)).await;
        pushed.map(drop).map_err(|error| self.heard.error_of(error))
    }

    async fn push_manifest(&mut self, manifest: String) -> Result<(), RegistryError> {
        let client = self.granted().await?.client;
        let media_type = HeaderValue::from_static(OCI_IMAGE_MEDIA_TYPE);
        let pushed = client.push_manifest_raw(&self.reference, manifest.into_bytes(), media_type).await;
        pushed.map(drop).map_err(|error| self.heard.error_of(error))
    }
}

/// What a registry says. It may repeat the login that it was sent, and the tokens that it granted, in any form.
struct Heard<'a> {
    registry: &'a str,
    known: Vec<Zeroizing<String>>,
    secrets: SecretMatcher,
}

impl<'a> Heard<'a> {
    fn new(registry: &'a str, login: Option<(&str, &str)>) -> Self {
        let mut heard = Self { registry, known: Vec::new(), secrets: SecretMatcher::new([]) };
        heard.learn(login.map(|(_, password)| Zeroizing::new(password.to_owned())));
        heard
    }

    fn learn(&mut self, secrets: impl IntoIterator<Item = Zeroizing<String>>) {
        self.known.extend(secrets);
        self.secrets = SecretMatcher::new(self.known.iter().map(|secret| secret.as_str()));
    }

    /// A text as one to show: searched for the password, which base64 of the whole login holds too, and for the tokens,
    /// and then cut.
    fn shortened(&self, text: &str) -> String {
        printable(&self.secrets.blank_text(text).chars().take(MESSAGE_CHARS_MAX).collect::<String>())
    }

    /// The error, shortened and without a URL.
    fn error_of(&self, error: OciDistributionError) -> RegistryError {
        let unreachable = |text: &str| RegistryError::Unreachable(self.shortened(text));
        match error {
            OciDistributionError::UnauthorizedError { .. } | OciDistributionError::AuthenticationFailure(_) => {
                RegistryError::Unauthorized(self.registry.to_owned())
            }
            OciDistributionError::ServerError { code: 401 | 403, .. } => {
                RegistryError::Unauthorized(self.registry.to_owned())
            }
            OciDistributionError::ServerError { code: 404, .. } => RegistryError::NotFound,
            OciDistributionError::ServerError { code, .. } => unreachable(&format!("it answers with status {code}")),
            OciDistributionError::RegistryError { envelope, .. } => match envelope.errors.first() {
                Some(first) => match first.code {
                    OciErrorCode::ManifestUnknown
                    | OciErrorCode::NameUnknown
                    | OciErrorCode::NotFound
                    | OciErrorCode::BlobUnknown => RegistryError::NotFound,
                    OciErrorCode::Unauthorized | OciErrorCode::Denied => {
                        RegistryError::Unauthorized(self.registry.to_owned())
                    }
                    _ => unreachable(&first.message),
                },
                None => unreachable("it refuses and gives no reason"),
            },
            OciDistributionError::DigestError(_) => RegistryError::Digest { what: "a manifest" },
            OciDistributionError::RequestError(error) => unreachable(&chain(error.without_url())),
            OciDistributionError::IoError(error) => {
                match error.into_inner().map(|inner| inner.downcast::<reqwest::Error>()) {
                    Some(Ok(error)) => unreachable(&chain(error.without_url())),
                    _ => unreachable("the connection broke"),
                }
            }
            _ => unreachable("its answer is not valid"),
        }
    }
}

/// The causes of an error, which reqwest leaves out of its text.
fn chain(error: reqwest::Error) -> String {
    let mut causes = Vec::new();
    let mut cause = error.source();
    while let Some(inner) = cause {
        causes.push(inner.to_string());
        cause = inner.source();
    }
    if causes.is_empty() { error.to_string() } else { causes.join(": ") }
}

#[cfg(test)]
mod tests {
    use oci_client::errors::{OciEnvelope, OciError};
    use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
    use tokio::net::TcpListener;

    use super::*;

    #[test]
    fn what_a_registry_repeats_of_the_login_is_not_shown() {
        let (user, password, token) = ("someone", "canary-registry-password", "canary-granted-token");
        let mut heard = Heard::new("registry.test", Some((user, password)));
        heard.learn([Zeroizing::new(token.to_owned())]);
        let login = base64_of(&format!("{user}:{password}"));
        for repeated in [password, login.as_str(), token] {
            // Across the end of what is shown, too.
            for before in [0, MESSAGE_CHARS_MAX - 10] {
                let message = format!("no {} {repeated}", "-".repeat(before));
                let error = OciError { code: OciErrorCode::Unsupported, message, detail: serde_json::Value::Null };
                let envelope = OciEnvelope { errors: vec![error] };
                let url = "https://registry.test/v2/".to_owned();
                let told = heard.error_of(OciDistributionError::RegistryError { envelope, url }).to_string();
                let is_clean = |told: &str| {
                    !told.contains("canar") && !told.contains(&repeated[repeated.len() - 12..repeated.len() - 4])
                };
                assert!(told.contains(": no ") && is_clean(&told), "{told}");
                // A manifest is the registry's text, too.
                let layers = vec![OciDescriptor { media_type: repeated.to_owned(), ..OciDescriptor::default() }];
                let manifest = OciImageManifest { layers, ..OciImageManifest::default() };
                let told = only_component(&manifest, &heard).expect_err("no component").to_string();
                assert!(told.contains("[secret]") && is_clean(&told), "{told}");
            }
        }
        assert_eq!(Heard::new("registry.test", None).shortened("no such tag"), "no such tag");
    }

    #[tokio::test]
    async fn a_token_is_sent_for_a_while_and_every_one_is_known() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let server = Server { registry: &address, insecure_http: true, timeout: Duration::from_secs(20) };
        let reference = Reference::with_tag(address.clone(), "a".to_owned(), "1".to_owned());
        let mut session = Session::new(server, None, reference, RegistryOperation::Pull).expect("a session");
        let requests = async {
            let mut sent = Vec::new();
            for later in [Duration::ZERO, Duration::ZERO, TOKEN_USED_FOR] {
                if let Some(granted) = &mut session.granted {
                    granted.at = granted.at.checked_sub(later).expect("the machine runs for longer");
                }
                match session.granted().await.expect("granted").auth {
                    RegistryAuth::Bearer(token) => sent.push(token),
                    other => panic!("{other:?}"),
                }
            }
            sent
        };
        let sent = tokio::select! {
            sent = requests => sent,
            () = grant_tokens(&listener, &address) => Vec::new(),
        };
        assert_eq!(sent, ["canary-granted-1", "canary-granted-1", "canary-granted-2"]);
        assert_eq!(session.heard.shortened("canary-granted-1, canary-granted-2"), "[secret], [secret]");
    }

    /// Answers as a registry that grants another token each time.
    async fn grant_tokens(listener: &TcpListener, address: &str) {
        let mut granted = 0;
        loop {
            let (stream, _) = listener.accept().await.expect("a connection");
            let mut stream = BufReader::new(stream);
            let (mut request, mut header) = (String::new(), String::new());
            stream.read_line(&mut request).await.expect("a request");
            while header != "\r\n" {
                header.clear();
                assert!(stream.read_line(&mut header).await.expect("a header") > 0, "{request}");
            }
            let (head, body) = if request.starts_with("GET /token") {
                granted += 1;
                ("200 OK".to_owned(), json!({ "token": format!("canary-granted-{granted}") }).to_string())
            } else {
                let challenge = format!("Bearer realm=\"http://{address}/token\",service=\"registry\"");
                (format!("401 Unauthorized\r\nwww-authenticate: {challenge}"), String::new())
            };
            let length = body.len();
            let answer = format!("HTTP/1.1 {head}\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}");
            stream.write_all(answer.as_bytes()).await.expect("an answer");
        }
    }

    fn base64_of(text: &str) -> String {
        use base64::Engine as _;

        base64::engine::general_purpose::STANDARD.encode(text)
    }
}
