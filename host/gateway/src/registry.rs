//! Pulls a component from an OCI registry: one manifest, one layer of WebAssembly, and its signature.
//!
//! oci-client implements the protocol (tokens, challenges, references) and sends its own HTTP requests: it accepts
//! neither our client nor our resolver. So **the gateway's address check, routes and redirect rules do not apply
//! here**; a proxy from the environment is used, and the manifest is read before its size is known. This is acceptable
//! because an operator names every registry under `[plugins.registries]`, many of which have private addresses; because
//! no connector can trigger a pull; and because only bytes with the right digest are accepted. This module adds: a size
//! limit on the layer before and while it is read, one media type, its own check of every digest, and errors without
//! URLs, since registries redirect to URLs that grant access.

use std::error::Error as _;
use std::time::Duration;

use futures::StreamExt as _;
use oci_client::client::{ClientConfig, ClientProtocol};
use oci_client::errors::{DigestError, OciDistributionError, OciErrorCode};
use oci_client::manifest::{OCI_IMAGE_INDEX_MEDIA_TYPE, OCI_IMAGE_MEDIA_TYPE, OciDescriptor, OciImageManifest};
use oci_client::secrets::RegistryAuth;
use oci_client::{Client, Reference};

use backline_model::Digest;
use backline_model::text::printable;

/// Media types of a component's layer: of the Wasm ecosystem's artifact layout, and of older tools.
const COMPONENT_TYPES: [&str; 2] = ["application/wasm", "application/vnd.wasm.content.layer.v1+wasm"];

/// Media type of a signature's layer.
const SIGNATURE_TYPE: &str = "application/vnd.minisign.signature";

/// Annotation of the manifest that may hold the signature instead.
const SIGNATURE_ANNOTATION: &str = "dev.backline.minisig";

/// Largest manifest, in bytes, and most layers. The distribution specification asks registries to accept these, and our
/// artifacts have far less.
const MANIFEST_BYTES_MAX: usize = 4 * 1024 * 1024;
const LAYERS_MAX: usize = 100;

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
         [plugins.registries.\"{0}\"] allow to pull it"
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
    /// The signature is not text.
    #[error("the artifact's signature is not text")]
    Signature,
}

/// Pulls a component.
///
/// # Errors
/// [`RegistryError`] says what is wrong with the registry, the login or the artifact.
pub async fn pull(pull: &Pull<'_>) -> Result<Artifact, RegistryError> {
    let error_of = |error| error_of(error, pull.registry);
    let client = client(pull).map_err(error_of)?;
    let reference = reference(pull);
    let auth = match pull.login {
        Some((user, password)) => RegistryAuth::Basic(user.to_owned(), password.to_owned()),
        None => RegistryAuth::Anonymous,
    };
    let accepted = [OCI_IMAGE_MEDIA_TYPE, OCI_IMAGE_INDEX_MEDIA_TYPE];
    let (text, _) = client.pull_manifest_raw(&reference, &auth, &accepted).await.map_err(error_of)?;
    let manifest_digest = Digest::of(&text);
    if pull.digest.is_some_and(|expected| expected != manifest_digest) {
        return Err(RegistryError::Digest { what: "a manifest" });
    }
    let manifest = read_manifest(&text)?;
    let component = only_component(&manifest)?;
    let component =
        read_layer(&client, &reference, component, "the component", pull.component_bytes_max, error_of).await?;
    let signature = match manifest.layers.iter().find(|layer| layer.media_type == SIGNATURE_TYPE) {
        Some(layer) => {
            let bytes =
                read_layer(&client, &reference, layer, "the signature", pull.signature_bytes_max, error_of).await?;
            Some(String::from_utf8(bytes).map_err(|_| RegistryError::Signature)?)
        }
        None => manifest.annotations.as_ref().and_then(|annotations| annotations.get(SIGNATURE_ANNOTATION).cloned()),
    };
    Ok(Artifact { manifest: manifest_digest, component, signature })
}

fn client(pull: &Pull<'_>) -> Result<Client, OciDistributionError> {
    // Fails if a provider is already installed, which is equally good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let protocol = if pull.insecure_http {
        ClientProtocol::HttpsExcept(vec![pull.registry.to_owned()])
    } else {
        ClientProtocol::Https
    };
    Client::try_from(ClientConfig {
        protocol,
        // Our components run on every platform.
        platform_resolver: None,
        connect_timeout: Some(pull.timeout),
        read_timeout: Some(pull.timeout),
        user_agent: concat!("backline/", env!("CARGO_PKG_VERSION")),
        ..ClientConfig::default()
    })
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
    let manifest: OciImageManifest = serde_json::from_slice(text)
        .map_err(|_| RegistryError::NoComponent("its manifest can't be parsed".to_owned()))?;
    if manifest.media_type.as_deref().is_some_and(|media_type| media_type != OCI_IMAGE_MEDIA_TYPE) {
        return Err(RegistryError::NoComponent("it is an index of several artifacts".to_owned()));
    }
    if manifest.layers.len() > LAYERS_MAX {
        return Err(RegistryError::NoComponent(format!("it has {} layers", manifest.layers.len())));
    }
    Ok(manifest)
}

/// The only layer of WebAssembly.
fn only_component(manifest: &OciImageManifest) -> Result<&OciDescriptor, RegistryError> {
    let mut found = manifest.layers.iter().filter(|layer| COMPONENT_TYPES.contains(&layer.media_type.as_str()));
    match (found.next(), found.next()) {
        (Some(one), None) => Ok(one),
        (Some(_), Some(_)) => Err(RegistryError::NoComponent("it has several layers of WebAssembly".to_owned())),
        (None, _) => {
            let types: Vec<&str> = manifest.layers.iter().map(|layer| layer.media_type.as_str()).take(5).collect();
            let types =
                if types.is_empty() { "no layer".to_owned() } else { format!("layers of {}", types.join(", ")) };
            Err(RegistryError::NoComponent(format!("it has {}", shortened(&types))))
        }
    }
}

/// Reads a layer. Its declared size is checked before anything is requested, and enforced while it is read.
async fn read_layer(
    client: &Client,
    reference: &Reference,
    layer: &OciDescriptor,
    what: &'static str,
    bytes_max: u64,
    error_of: impl Fn(OciDistributionError) -> RegistryError,
) -> Result<Vec<u8>, RegistryError> {
    let expected: Digest = match layer.digest.strip_prefix("sha256:").map(str::parse) {
        Some(Ok(digest)) => digest,
        _ => return Err(RegistryError::NoComponent(format!("{what} has no SHA-256 digest"))),
    };
    let size = u64::try_from(layer.size).unwrap_or(0);
    if size > bytes_max {
        return Err(RegistryError::TooLarge { what, bytes_max });
    }
    let mut stream = client.pull_blob_stream(reference, layer).await.map_err(&error_of)?;
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

/// The error, shortened and without a URL.
fn error_of(error: OciDistributionError, registry: &str) -> RegistryError {
    let unreachable = |text: &str| RegistryError::Unreachable(shortened(text));
    match error {
        OciDistributionError::UnauthorizedError { .. } | OciDistributionError::AuthenticationFailure(_) => {
            RegistryError::Unauthorized(registry.to_owned())
        }
        OciDistributionError::ServerError { code: 401 | 403, .. } => RegistryError::Unauthorized(registry.to_owned()),
        OciDistributionError::ServerError { code: 404, .. } => RegistryError::NotFound,
        OciDistributionError::ServerError { code, .. } => unreachable(&format!("it answers with status {code}")),
        OciDistributionError::RegistryError { envelope, .. } => match envelope.errors.first() {
            Some(first) => match first.code {
                OciErrorCode::ManifestUnknown
                | OciErrorCode::NameUnknown
                | OciErrorCode::NotFound
                | OciErrorCode::BlobUnknown => RegistryError::NotFound,
                OciErrorCode::Unauthorized | OciErrorCode::Denied => RegistryError::Unauthorized(registry.to_owned()),
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

fn shortened(text: &str) -> String {
    printable(&text.chars().take(MESSAGE_CHARS_MAX).collect::<String>())
}
