//! Gets a component from where the operator says it is, and makes sure that it is what it should be: the size, the pin, that it is a
//! connector at all, and who signed it. Nothing is written anywhere.

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::io::AsyncReadExt as _;
use url::Url;

use crate::config::Config;
use crate::pipeline::{Host, HostError};
use backline_component::{
    Demand, InspectError, Inspection, OciReference, SIGNATURE_BYTES_MAX, SIGNATURE_SUFFIX, SignatureError, Source,
    beside, inspect, verify,
};
use backline_gateway::{DownloadError, Downloader, Pull, RegistryError, pull};
use backline_model::Digest;

/// How long getting a component may take as a whole: 64 MiB at 2 Mbit/s.
const DEADLINE: Duration = Duration::from_secs(300);

/// How a component is got.
#[derive(Clone, Debug)]
pub struct ObtainOptions {
    /// The file of the signature, in place of the one beside the component.
    pub signature: Option<PathBuf>,
    /// The digest that the bytes must have.
    pub pin: Option<Digest>,
    /// Whether a trusted key must have signed it, whatever the policy says.
    pub must_be_signed: bool,
    /// How long it may take as a whole.
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
    /// Its bytes.
    pub component: Vec<u8>,
    /// Their digest.
    pub digest: Digest,
    /// What they say of themselves.
    pub inspection: Inspection,
    /// Where they came from, for the record: without anything secret, and of a registry with the manifest's digest.
    pub source: String,
    /// The name of the trusted key that signed them.
    pub signed_by: Option<String>,
    /// What the operator should hear although it is let pass.
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

/// Why a component is not to be had, or not to be used.
#[derive(Debug, thiserror::Error)]
pub enum ObtainError {
    /// A file that can't be read.
    #[error("{} {problem}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// More bytes than a component may have.
    #[error("the component has more than {bytes_max} bytes; component_bytes_max under [sandbox] would allow more")]
    TooLarge {
        /// The bound.
        bytes_max: u64,
    },
    /// A download that failed.
    #[error(transparent)]
    Download(DownloadError),
    /// The signature beside a URL can't be had, and not because there is none.
    #[error("the signature can't be downloaded: {0}")]
    SignatureDownload(#[source] DownloadError),
    /// A registry that nobody allowed.
    #[error(
        "nothing may be pulled from {registry}; to allow it, add the section [plugins.registries.\"{registry}\"] to the configuration"
    )]
    UnknownRegistry {
        /// Host and port.
        registry: String,
    },
    /// A pull that failed.
    #[error(transparent)]
    Registry(RegistryError),
    /// It took too long.
    #[error("it took longer than {} seconds; try again", .0.as_secs())]
    TimedOut(Duration),
    /// Other bytes than those that were asked for.
    #[error(
        "the component has the digest {actual}, not {expected} as asked for; it was exchanged, or is another version"
    )]
    Pin {
        /// Of the bytes.
        actual: Digest,
        /// As asked for.
        expected: Digest,
    },
    /// No connector.
    #[error(transparent)]
    Inspect(#[from] InspectError),
    /// Nobody who is trusted vouches for it.
    #[error(transparent)]
    Signature(#[from] SignatureError),
}

impl Host {
    /// Gets a component and makes sure that it is what it should be. Changes nothing.
    ///
    /// # Errors
    /// As [`obtain`].
    pub async fn obtain(&self, source: &Source, options: &ObtainOptions) -> Result<Obtained, HostError> {
        Ok(obtain(self.config(), source, options).await?)
    }
}

/// What was got, before any of it is believed.
struct Fetched {
    component: Vec<u8>,
    source: String,
    signature: Option<String>,
}

/// Gets a component and makes sure that it is what it should be. Needs no database, and changes nothing.
///
/// # Errors
/// When it can't be had, is too large, is not the one that was asked for, is no connector, or nobody signed it who should have.
pub async fn obtain(config: &Config, source: &Source, options: &ObtainOptions) -> Result<Obtained, ObtainError> {
    let demand = if options.must_be_signed {
        Demand::Required
    } else {
        config.plugins.demand(source, options.signature.is_some())
    };
    let looks_beside = demand != Demand::Ignored && options.signature.is_none();
    let fetching = fetch(config, source, looks_beside, options.deadline);
    let mut fetched = tokio::time::timeout(options.deadline, fetching)
        .await
        .map_err(|_| ObtainError::TimedOut(options.deadline))??;
    if let Some(path) = options.signature.as_deref().filter(|_| demand != Demand::Ignored) {
        fetched.signature = Some(read_signature(path).await?);
    }
    let Fetched { component, source: recorded, signature } = fetched;
    let actual = Digest::of(&component);
    if let Some(expected) = options.pin.filter(|expected| *expected != actual) {
        return Err(ObtainError::Pin { actual, expected });
    }
    let inspection = inspect(&component)?;
    let connector = &inspection.manifest.connector.name;
    let verdict = match (demand, &signature) {
        (Demand::Ignored, _) => Ok(None),
        (Demand::IfPresent, None) => Ok(None),
        (_, None) => Err(SignatureError::Missing { expected: expected_signature(source) }),
        (_, Some(signature)) => verify(&component, signature, &config.plugins.trusted_keys, connector).map(Some),
    };
    let (signed_by, warnings) = match verdict {
        Ok(signed_by) => (signed_by, Vec::new()),
        Err(error) if demand != Demand::Required && error.is_lack_of_trust() => (None, vec![error.to_string()]),
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

async fn download_signature(downloader: &Downloader, url: &Url) -> Result<Option<String>, ObtainError> {
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
    // The version can be moved to other bytes; the manifest's digest says which these were.
    let pulled = OciReference { digest: Some(artifact.manifest), ..reference.clone() };
    Ok(Fetched { component: artifact.component, source: pulled.to_string(), signature: artifact.signature })
}

/// Where a signature was looked for, or should be.
fn expected_signature(source: &Source) -> String {
    match source {
        Source::File(_) | Source::Url(_) => beside(&source.to_string()),
        Source::Oci(_) => "an artifact with a layer of application/vnd.minisign.signature".to_owned(),
    }
}

fn with_suffix(path: &Path) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(SIGNATURE_SUFFIX);
    PathBuf::from(name)
}

async fn read_signature(path: &Path) -> Result<String, ObtainError> {
    match read_file(path, SIGNATURE_BYTES_MAX as u64).await {
        Ok(bytes) => text_of(bytes),
        Err(ObtainError::TooLarge { .. }) => Err(SignatureError::Malformed("it is too long").into()),
        Err(error) => Err(error),
    }
}

fn text_of(bytes: Vec<u8>) -> Result<String, ObtainError> {
    String::from_utf8(bytes).map_err(|_| SignatureError::Malformed("it is not text").into())
}

/// Reads a file, and no more of it than a bound, whatever it says of its size.
async fn read_file(path: &Path, bytes_max: u64) -> Result<Vec<u8>, ObtainError> {
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
