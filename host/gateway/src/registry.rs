//! Pulls a component from an OCI registry: one manifest, one layer of WebAssembly, and the signature beside it.
//!
//! The protocol (tokens, challenges, references) is oci-client's, which brings HTTP requests of its own: it takes neither our client nor
//! our resolver. So **the gateway's address check, routes and redirect rules do not hold here**; a proxy that the environment names is
//! used, and the manifest is read before its size is known. That is bearable because an operator names every registry under
//! `[plugins.registries]`, many of which are at private addresses anyway; because nothing a connector says leads here; and because all
//! that comes back is bytes whose digest must fit. What this module adds: a bound on the layer before and while it is read, one media
//! type, its own check of every digest, and errors without URLs, since registries redirect to URLs that hold access.

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

/// What a component's layer is called: by the Wasm ecosystem's artifact layout, and by tools from before it.
const COMPONENT_TYPES: [&str; 2] = ["application/wasm", "application/vnd.wasm.content.layer.v1+wasm"];

/// What a signature's layer is called.
const SIGNATURE_TYPE: &str = "application/vnd.minisign.signature";

/// The manifest's annotation that may hold the signature instead.
const SIGNATURE_ANNOTATION: &str = "dev.backline.minisig";

/// Largest manifest, in bytes, and most layers: what the distribution specification asks registries to accept, and far more than ours has.
const MANIFEST_BYTES_MAX: usize = 4 * 1024 * 1024;
const LAYERS_MAX: usize = 100;

/// Most characters of a registry's own words that are repeated.
const SAID_CHARS_MAX: usize = 300;

/// What to pull, and how.
pub struct Pull<'a> {
    /// Host and, where it is not the usual one, port.
    pub registry: &'a str,
    /// The name inside the registry.
    pub repository: &'a str,
    /// The version.
    pub tag: Option<&'a str>,
    /// The manifest's digest; where it is given it decides, and the tag does not.
    pub digest: Option<Digest>,
    /// Whether the registry is spoken to in the clear.
    pub insecure_http: bool,
    /// User and password.
    pub login: Option<(&'a str, &'a str)>,
    /// Largest component, in bytes.
    pub component_bytes_max: u64,
    /// Largest signature, in bytes.
    pub signature_bytes_max: u64,
    /// Longest wait for a connection, and for the next bytes of an answer. The caller bounds the whole.
    pub patience: Duration,
}

/// What was pulled.
pub struct Artifact {
    /// Of the manifest that was pulled: names these very bytes for ever.
    pub manifest: Digest,
    /// The layer of WebAssembly.
    pub component: Vec<u8>,
    /// The signature, where the artifact carries one.
    pub signature: Option<String>,
}

/// Why nothing was pulled.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// The reference can't be asked for.
    #[error("the registry has nothing of this name and version")]
    NotFound,
    /// It wants to know who asks.
    #[error(
        "the registry refuses access; is the name right, and do username and password under [plugins.registries.\"{0}\"] allow to pull it?"
    )]
    Unauthorized(String),
    /// It can't be spoken to.
    #[error("the registry can't be reached or does not answer as registries do: {0}")]
    Unreachable(String),
    /// It is no artifact with a component in it.
    #[error(
        "it is no artifact with a component: {0}; push it with `wkg oci push` or `oras push … FILE.wasm:application/wasm`"
    )]
    NoComponent(String),
    /// The bytes are not those that their digest names.
    #[error("the registry delivered {what} whose digest does not fit: it is damaged, or was changed; don't use it")]
    Digest {
        /// Which part.
        what: &'static str,
    },
    /// More bytes than allowed.
    #[error("{what} has more than {bytes_max} bytes")]
    TooLarge {
        /// Which part.
        what: &'static str,
        /// The bound.
        bytes_max: u64,
    },
    /// The signature is not text.
    #[error("the artifact's signature is not text")]
    Signature,
}

/// Pulls a component.
///
/// # Errors
/// [`RegistryError`] says what is wrong with the registry, the access or the artifact.
pub async fn pull(pull: &Pull<'_>) -> Result<Artifact, RegistryError> {
    let said = |error| said(error, pull.registry);
    let client = client(pull).map_err(said)?;
    let reference = reference(pull);
    let auth = match pull.login {
        Some((user, password)) => RegistryAuth::Basic(user.to_owned(), password.to_owned()),
        None => RegistryAuth::Anonymous,
    };
    let accepted = [OCI_IMAGE_MEDIA_TYPE, OCI_IMAGE_INDEX_MEDIA_TYPE];
    let (text, _) = client.pull_manifest_raw(&reference, &auth, &accepted).await.map_err(said)?;
    let manifest_digest = Digest::of(&text);
    if pull.digest.is_some_and(|expected| expected != manifest_digest) {
        return Err(RegistryError::Digest { what: "a manifest" });
    }
    let manifest = read_manifest(&text)?;
    let component = only_component(&manifest)?;
    let component = read_layer(&client, &reference, component, "the component", pull.component_bytes_max, said).await?;
    let signature = match manifest.layers.iter().find(|layer| layer.media_type == SIGNATURE_TYPE) {
        Some(layer) => {
            let bytes = read_layer(&client, &reference, layer, "the signature", pull.signature_bytes_max, said).await?;
            Some(String::from_utf8(bytes).map_err(|_| RegistryError::Signature)?)
        }
        None => manifest.annotations.as_ref().and_then(|annotations| annotations.get(SIGNATURE_ANNOTATION).cloned()),
    };
    Ok(Artifact { manifest: manifest_digest, component, signature })
}

fn client(pull: &Pull<'_>) -> Result<Client, OciDistributionError> {
    // Fails where a provider is installed already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let protocol = if pull.insecure_http {
        ClientProtocol::HttpsExcept(vec![pull.registry.to_owned()])
    } else {
        ClientProtocol::Https
    };
    Client::try_from(ClientConfig {
        protocol,
        // Ours is for every platform.
        platform_resolver: None,
        connect_timeout: Some(pull.patience),
        read_timeout: Some(pull.patience),
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
        .map_err(|_| RegistryError::NoComponent("its manifest can't be read".to_owned()))?;
    if manifest.media_type.as_deref().is_some_and(|media_type| media_type != OCI_IMAGE_MEDIA_TYPE) {
        return Err(RegistryError::NoComponent("it is an index of several".to_owned()));
    }
    if manifest.layers.len() > LAYERS_MAX {
        return Err(RegistryError::NoComponent(format!("it has {} layers", manifest.layers.len())));
    }
    Ok(manifest)
}

/// The one layer of WebAssembly.
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

/// Reads a layer. What it says of its size is checked before anything is asked for, and then kept to.
async fn read_layer(
    client: &Client,
    reference: &Reference,
    layer: &OciDescriptor,
    what: &'static str,
    bytes_max: u64,
    said: impl Fn(OciDistributionError) -> RegistryError,
) -> Result<Vec<u8>, RegistryError> {
    let expected: Digest = match layer.digest.strip_prefix("sha256:").map(str::parse) {
        Some(Ok(digest)) => digest,
        _ => return Err(RegistryError::NoComponent(format!("{what} has no SHA-256 digest"))),
    };
    let size = u64::try_from(layer.size).unwrap_or(0);
    if size > bytes_max {
        return Err(RegistryError::TooLarge { what, bytes_max });
    }
    let mut stream = client.pull_blob_stream(reference, layer).await.map_err(&said)?;
    let mut bytes = Vec::new();
    while let Some(chunk) = stream.stream.next().await {
        let chunk = chunk.map_err(|error| match error.get_ref() {
            Some(inner) if inner.is::<DigestError>() => RegistryError::Digest { what },
            _ => said(OciDistributionError::IoError(error)),
        })?;
        if (bytes.len() + chunk.len()) as u64 > size {
            return Err(RegistryError::Digest { what });
        }
        bytes.extend_from_slice(&chunk);
    }
    if Digest::of(&bytes) == expected { Ok(bytes) } else { Err(RegistryError::Digest { what }) }
}

/// What went wrong, without a URL and in few words.
fn said(error: OciDistributionError, registry: &str) -> RegistryError {
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
            None => unreachable("it refuses without a reason"),
        },
        OciDistributionError::DigestError(_) => RegistryError::Digest { what: "a manifest" },
        OciDistributionError::RequestError(error) => unreachable(&chain(error.without_url())),
        OciDistributionError::IoError(error) => {
            match error.into_inner().map(|inner| inner.downcast::<reqwest::Error>()) {
                Some(Ok(error)) => unreachable(&chain(error.without_url())),
                _ => unreachable("the connection broke"),
            }
        }
        _ => unreachable("its answer makes no sense"),
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
    printable(&text.chars().take(SAID_CHARS_MAX).collect::<String>())
}
