//! Reads an index of connectors, and finds in it what an operator names.

use std::time::Duration;

use crate::config::Config;
use crate::pipeline::error::{Classified, ErrorClass};
use crate::pipeline::releases::obtain::{
    ObtainError, ObtainOptions, Obtained, download_signature, obtain, read_file, read_signature, with_suffix,
};
use backline_component::{
    INDEX_BYTES_MAX, Index, IndexError, NameInIndex, SignatureError, SignatureRule, Source, SourceError, beside, verify,
};
use backline_gateway::{DownloadError, Downloader};
use backline_model::Digest;

/// Total time to get an index.
const DEADLINE: Duration = Duration::from_secs(60);

/// An index that may be used.
#[derive(Clone, Debug)]
pub struct ReadIndex {
    /// What it says.
    pub index: Index,
    /// Where it lies, which relative paths in it start from.
    pub source: Source,
    /// Name of the trusted key that signed it.
    pub signed_by: Option<String>,
    /// Problems that the operator should know of, although they are tolerated.
    pub warnings: Vec<String>,
}

/// Why an index can't be used, or a component in it.
#[derive(Debug, thiserror::Error)]
pub enum ReadIndexError {
    /// No index is configured, and none was named.
    #[error(
        "no index of connectors is configured; set index under [plugins] to its URL or file, or name one with --index"
    )]
    NotConfigured,
    /// The place of the index is none.
    #[error("the index {0} can't be used: it is a file or an https URL")]
    Place(String),
    /// The configured place is no source.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The index is larger than allowed.
    #[error("the index has more than {INDEX_BYTES_MAX} bytes; name another one")]
    TooLarge,
    /// The index, or its signature, can't be read.
    #[error(transparent)]
    Read(ObtainError),
    /// No trusted key signed it.
    #[error("the index can't be trusted: {0}")]
    Signature(#[source] SignatureError),
    /// A key that is trusted for some connectors only signed it.
    #[error(
        "the index is signed with the key '{0}', which is trusted for some connectors only; an index names any, so \
         trust the key for all of them by removing connectors under [plugins.trusted_keys.{0}], or use another index"
    )]
    Restricted(String),
    /// What it says is not valid, or it lacks what was searched for.
    #[error("the index {0}: {1}")]
    Index(String, #[source] IndexError),
    /// The digest that was asked for is not that of the index.
    #[error("the index has the digest {indexed} for {name}, not {asked} as asked for; leave one of the two out")]
    Pin {
        /// Name and version.
        name: String,
        /// Digest in the index.
        indexed: Digest,
        /// Digest that was asked for.
        asked: Digest,
    },
    /// The component can't be obtained.
    #[error(transparent)]
    Obtain(ObtainError),
}

impl Classified for ReadIndexError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Read(error) | Self::Obtain(error) => error.class(),
            _ => ErrorClass::Refused,
        }
    }
}

/// Reads an index: the one that is given, or else the configured one. A signature is checked by the rules for
/// components from the same place, and its key must be trusted for all connectors.
///
/// # Errors
/// [`ReadIndexError`] says whether the index is missing, unsigned or not valid.
pub async fn read_index(
    config: &Config,
    given: Option<&Source>,
    must_be_signed: bool,
) -> Result<ReadIndex, ReadIndexError> {
    let source = match (given, &config.plugins.index) {
        (Some(given), _) => given.clone(),
        (None, Some(configured)) => configured.parse()?,
        (None, None) => return Err(ReadIndexError::NotConfigured),
    };
    let rule = if must_be_signed { SignatureRule::Required } else { config.plugins.signature_rule(&source, false) };
    let (bytes, signature) = fetch(config, &source, rule != SignatureRule::Ignored).await?;
    let verdict = match (rule, &signature) {
        (SignatureRule::Ignored, _) | (SignatureRule::IfPresent, None) => Ok(None),
        (_, None) => Err(SignatureError::Missing { expected: beside(&source.to_string()) }),
        (_, Some(signature)) => verify(&bytes, signature, &config.plugins.trusted_keys, "").map(Some),
    };
    let (signed_by, warnings) = match verdict {
        Ok(signed_by) => (signed_by, Vec::new()),
        Err(SignatureError::OtherConnector { name, .. }) if rule == SignatureRule::Required => {
            return Err(ReadIndexError::Restricted(name));
        }
        Err(error) if rule != SignatureRule::Required && error.is_lack_of_trust() => {
            (None, vec![format!("the index {source}: {error}")])
        }
        Err(error) => return Err(ReadIndexError::Signature(error)),
    };
    let index = Index::parse(&bytes).map_err(|error| ReadIndexError::Index(source.to_string(), error))?;
    Ok(ReadIndex { index, source, signed_by, warnings })
}

async fn fetch(
    config: &Config,
    source: &Source,
    with_signature: bool,
) -> Result<(Vec<u8>, Option<String>), ReadIndexError> {
    match source {
        Source::File(path) => {
            let bytes = read_file(path, INDEX_BYTES_MAX).await.map_err(|error| match error {
                ObtainError::TooLarge { .. } => ReadIndexError::TooLarge,
                error => ReadIndexError::Read(error),
            })?;
            let beside = with_suffix(path);
            let signature = match with_signature && beside.exists() {
                true => Some(read_signature(&beside).await.map_err(ReadIndexError::Read)?),
                false => None,
            };
            Ok((bytes, signature))
        }
        Source::Url(url) => {
            let failed = |error| ReadIndexError::Read(ObtainError::Download(error));
            let downloader = Downloader::new(&config.gateway, &config.plugins.sources, DEADLINE).map_err(failed)?;
            let getting = async {
                let bytes = downloader.get(url, INDEX_BYTES_MAX).await.map_err(|error| match error {
                    DownloadError::TooLarge(_) => ReadIndexError::TooLarge,
                    error => failed(error),
                })?;
                let signature = match with_signature {
                    true => download_signature(&downloader, url).await.map_err(ReadIndexError::Read)?,
                    false => None,
                };
                Ok((bytes, signature))
            };
            let late = |_| ReadIndexError::Read(ObtainError::TimedOut(DEADLINE));
            tokio::time::timeout(DEADLINE, getting).await.map_err(late)?
        }
        Source::Oci(_) => Err(ReadIndexError::Place(source.to_string())),
    }
}

impl ReadIndex {
    /// Gets a component by its name, as if the operator had named its source: with the digest of the index, and by the
    /// rules of that source.
    ///
    /// # Errors
    /// [`ReadIndexError`] if the index does not have it, or it can't be obtained, or is not what the index says.
    pub async fn obtain(
        &self,
        config: &Config,
        named: &NameInIndex,
        options: &ObtainOptions,
    ) -> Result<Obtained, ReadIndexError> {
        let of_index = |error| ReadIndexError::Index(self.source.to_string(), error);
        let (connector, release) = self.index.find(&named.name, named.version.as_ref()).map_err(of_index)?;
        if let Some(asked) = options.pin.filter(|asked| *asked != release.digest) {
            let name = format!("{} {}", connector.name, release.version);
            return Err(ReadIndexError::Pin { name, indexed: release.digest, asked });
        }
        let source = release.located(&self.source).map_err(of_index)?;
        let pinned = ObtainOptions { pin: Some(release.digest), ..options.clone() };
        let obtained = obtain(config, &source, &pinned).await.map_err(ReadIndexError::Obtain)?;
        release.expect(connector, &obtained.inspection).map_err(of_index)?;
        Ok(obtained)
    }
}
