//! Gets a component from the operator's source, and checks its size, its digest, that it is a connector, and who signed
//! it. Writes nothing.

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::io::AsyncReadExt as _;
use url::Url;

use crate::config::Config;
use crate::pipeline::error::{Classified, ErrorClass};
use crate::pipeline::releases::manager::ReleaseManager;
use backline_component::{
    InspectError, Inspection, OciReference, SIGNATURE_BYTES_MAX, SIGNATURE_SUFFIX, SignatureError, SignatureRule,
    Source, beside, inspect, verify,
};
use backline_gateway::{DownloadError, Downloader, Pull, RegistryError, pull};
use backline_model::Digest;

/// Total time to get a component: enough for 64 MiB at 2 Mbit/s.
const DEADLINE: Duration = Duration::from_secs(300);

/// Options of getting a component.
#[derive(Clone, Debug)]
pub struct ObtainOptions {
    /// File of the signature, instead of the one beside the component.
    pub signature: Option<PathBuf>,
    /// Digest that the bytes must have.
    pub pin: Option<Digest>,
    /// Whether a trusted key must have signed it, whatever the configured policy is.
    pub must_be_signed: bool,
    /// Total time allowed.
    pub deadline: Duration,
}

impl Default for ObtainOptions {
    fn default() -> Self {
        Self { signature: None, pin: None, must_be_signed: false, deadline: DEADLINE }
    }
}

/// A component that may be used.
#[derive(Clone)]
pub struct Obtained {
    /// Bytes of the component.
    pub component: Vec<u8>,
    /// Digest of the bytes.
    pub digest: Digest,
    /// The component's manifest and imports.
    pub inspection: Inspection,
    /// Source, for the record: without secrets, and for a registry with the manifest's digest.
    pub source: String,
    /// Name of the trusted key that signed it.
    pub signed_by: Option<String>,
    /// Problems that the operator should know of, although they are tolerated.
    pub warnings: Vec<String>,
}

impl fmt::Debug for Obtained {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Obtained")
            .field("digest", &self.digest)
            .field("source", &self.source)
            .field("signed_by", &self.signed_by)
            .field("warnings", &self.warnings)
            .finish_non_exhaustive()
    }
}

/// Why a component can't be obtained or isn't allowed.
#[derive(Debug, thiserror::Error)]
pub enum ObtainError {
    /// A file that can't be read.
    #[error("{} {problem}", path.display())]
    File {
        /// Path of the file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// The component is larger than allowed.
    #[error("the component has more than {bytes_max} bytes; component_bytes_max under [sandbox] would allow more")]
    TooLarge {
        /// Largest allowed size, in bytes.
        bytes_max: u64,
    },
    /// The download failed.
    #[error(transparent)]
    Download(DownloadError),
    /// The signature beside a URL can't be downloaded, although it may exist.
    #[error("the signature can't be downloaded: {0}")]
    SignatureDownload(#[source] DownloadError),
    /// The registry is not in the configuration.
    #[error(
        "nothing may be pulled from {registry}; to allow it, add the section [plugins.registries.\"{registry}\"] to \
         the configuration"
    )]
    UnknownRegistry {
        /// Host and port of the registry.
        registry: String,
    },
    /// The pull from the registry failed.
    #[error(transparent)]
    Registry(RegistryError),
    /// The total time is over.
    #[error("it took longer than {} seconds; try again", .0.as_secs())]
    TimedOut(Duration),
    /// The digest is not the one that was asked for.
    #[error(
        "the component has the digest {actual}, not {expected} as asked for; it was replaced, or is another version"
    )]
    Pin {
        /// Digest of the bytes.
        actual: Digest,
        /// Digest that was asked for.
        expected: Digest,
    },
    /// The file is not a connector.
    #[error(transparent)]
    Inspect(#[from] InspectError),
    /// No trusted key signed it.
    #[error(transparent)]
    Signature(#[from] SignatureError),
}

impl Classified for ObtainError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Download(error) | Self::SignatureDownload(error) => match error {
                DownloadError::TimedOut(_) | DownloadError::Unreachable { .. } => ErrorClass::Unavailable,
                _ => ErrorClass::Refused,
            },
            Self::Registry(RegistryError::Unreachable(_)) | Self::TimedOut(_) => ErrorClass::Unavailable,
            _ => ErrorClass::Refused,
        }
    }
}

impl ReleaseManager {
    /// Gets a component and checks it. Changes nothing.
    ///
    /// # Errors
    /// As [`obtain`].
    pub async fn obtain(&self, source: &Source, options: &ObtainOptions) -> Result<Obtained, ObtainError> {
        obtain(&self.config, source, options).await
    }
}

/// What was fetched, before it is checked.
struct Fetched {
    component: Vec<u8>,
    source: String,
    signature: Option<String>,
}

/// Gets a component and checks it. Needs no database, and changes nothing.
///
/// # Errors
/// When it can't be fetched, is too large, has another digest, is not a connector, or lacks a required signature.
pub async fn obtain(config: &Config, source: &Source, options: &ObtainOptions) -> Result<Obtained, ObtainError> {
    let rule = if options.must_be_signed {
        SignatureRule::Required
    } else {
        config.plugins.signature_rule(source, options.signature.is_some())
    };
    let looks_beside = rule != SignatureRule::Ignored && options.signature.is_none();
    let fetching = fetch(config, source, looks_beside, options.deadline);
    let mut fetched = tokio::time::timeout(options.deadline, fetching)
        .await
        .map_err(|_| ObtainError::TimedOut(options.deadline))??;
    if let Some(path) = options.signature.as_deref().filter(|_| rule != SignatureRule::Ignored) {
        fetched.signature = Some(read_signature(path).await?);
    }
    let Fetched { component, source: recorded, signature } = fetched;
    let actual = Digest::of(&component);
    if let Some(expected) = options.pin.filter(|expected| *expected != actual) {
        return Err(ObtainError::Pin { actual, expected });
    }
    let inspection = inspect(&component)?;
    let connector = &inspection.manifest.connector.name;
    let verdict = match (rule, &signature) {
        (SignatureRule::Ignored, _) => Ok(None),
        (SignatureRule::IfPresent, None) => Ok(None),
        (_, None) => Err(SignatureError::Missing { expected: expected_signature(source) }),
        (_, Some(signature)) => verify(&component, signature, &config.plugins.trusted_keys, connector).map(Some),
    };
    let (signed_by, warnings) = match verdict {
        Ok(signed_by) => (signed_by, Vec::new()),
        Err(error) if rule != SignatureRule::Required && error.is_lack_of_trust() => (None, vec![error.to_string()]),
        Err(error) => return Err(error.into()),
    };
    Ok(Obtained { digest: actual, source: recorded, component, inspection, signed_by, warnings })
}

async fn fetch(
    config: &Config,
    source: &Source,
    looks_beside: bool,
    deadline: Duration,
) -> Result<Fetched, ObtainError> {
    let bytes_max = config.sandbox.component_bytes_max;
    match source {
        Source::File(path) => {
            let component = read_file(path, bytes_max).await?;
            let beside = with_suffix(path);
            let signature = match looks_beside && beside.exists() {
                true => Some(read_signature(&beside).await?),
                false => None,
            };
            Ok(Fetched { component, source: source.to_string(), signature })
        }
        Source::Url(url) => {
            let downloader =
                Downloader::new(&config.gateway, &config.plugins.sources, deadline).map_err(ObtainError::Download)?;
            let component = downloader.get(url, bytes_max).await.map_err(|error| match error {
                DownloadError::TooLarge(bytes_max) => ObtainError::TooLarge { bytes_max },
                error => ObtainError::Download(error),
            })?;
            let signature = if looks_beside { download_signature(&downloader, url).await? } else { None };
            Ok(Fetched { component, source: source.to_string(), signature })
        }
        Source::Oci(reference) => pull_component(config, reference).await,
    }
}

pub(super) async fn download_signature(downloader: &Downloader, url: &Url) -> Result<Option<String>, ObtainError> {
    let mut beside_it = url.clone();
    beside_it.set_path(&beside(url.path()));
    match downloader.get(&beside_it, SIGNATURE_BYTES_MAX as u64).await {
        Ok(bytes) => Ok(Some(text_of(bytes)?)),
        Err(error) if error.is_missing() => Ok(None),
        Err(DownloadError::TooLarge(_)) => Err(SignatureError::Malformed("it is too long").into()),
        Err(error) => Err(ObtainError::SignatureDownload(error)),
    }
}

async fn pull_component(config: &Config, reference: &OciReference) -> Result<Fetched, ObtainError> {
    let bytes_max = config.sandbox.component_bytes_max;
    let Some(registry) = config.plugins.registries.get(&reference.registry) else {
        return Err(ObtainError::UnknownRegistry { registry: reference.registry.clone() });
    };
    let wanted = Pull {
        registry: &reference.registry,
        repository: &reference.repository,
        tag: reference.tag.as_deref(),
        digest: reference.digest,
        insecure_http: registry.insecure_http,
        login: registry.username.as_deref().zip(registry.password.as_deref()),
        component_bytes_max: bytes_max,
        signature_bytes_max: SIGNATURE_BYTES_MAX as u64,
        timeout: Duration::from_millis(config.gateway.request_timeout_ms),
    };
    let artifact = pull(&wanted).await.map_err(|error| match error {
        RegistryError::TooLarge { bytes_max: limit, .. } if limit == bytes_max => ObtainError::TooLarge { bytes_max },
        error => ObtainError::Registry(error),
    })?;
    // A tag can be moved to other bytes; the manifest's digest says which ones these are.
    let pulled = OciReference { digest: Some(artifact.manifest), ..reference.clone() };
    Ok(Fetched { component: artifact.component, source: pulled.to_string(), signature: artifact.signature })
}

/// Where a signature is expected.
fn expected_signature(source: &Source) -> String {
    match source {
        Source::File(_) | Source::Url(_) => beside(&source.to_string()),
        Source::Oci(_) => "an artifact with a layer of application/vnd.minisign.signature".to_owned(),
    }
}

pub(super) fn with_suffix(path: &Path) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(SIGNATURE_SUFFIX);
    PathBuf::from(name)
}

pub(super) async fn read_signature(path: &Path) -> Result<String, ObtainError> {
    match read_file(path, SIGNATURE_BYTES_MAX as u64).await {
        Ok(bytes) => text_of(bytes),
        Err(ObtainError::TooLarge { .. }) => Err(SignatureError::Malformed("it is too long").into()),
        Err(error) => Err(error),
    }
}

fn text_of(bytes: Vec<u8>) -> Result<String, ObtainError> {
    String::from_utf8(bytes).map_err(|_| SignatureError::Malformed("it is not text").into())
}

/// Reads at most `bytes_max` bytes of a file, whatever size it reports.
pub(super) async fn read_file(path: &Path, bytes_max: u64) -> Result<Vec<u8>, ObtainError> {
    let wrong = |problem: String| ObtainError::File { path: path.to_path_buf(), problem };
    let failed = |error: std::io::Error| wrong(format!("can't be read: {error}"));
    let file = tokio::fs::File::open(path).await.map_err(failed)?;
    if file.metadata().await.map_err(failed)?.is_dir() {
        return Err(wrong("is a folder; name the .wasm file in it".to_owned()));
    }
    let mut bytes = Vec::new();
    file.take(bytes_max.saturating_add(1)).read_to_end(&mut bytes).await.map_err(failed)?;
    if bytes.len() as u64 > bytes_max { Err(ObtainError::TooLarge { bytes_max }) } else { Ok(bytes) }
}
