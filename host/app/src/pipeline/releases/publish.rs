//! Publishes a packed component in a registry: with its signature beside it, and its manifest as annotations.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::config::Config;
use crate::pipeline::error::{Classified, ErrorClass};
use crate::pipeline::releases::obtain::{ObtainError, ObtainOptions, obtain, read_signature, with_suffix};
use backline_component::{Inspection, OciReference, SIGNATURE_SUFFIX, SignaturePolicy, Source};
use backline_gateway::{Push, RegistryError, push};

/// Total time to push a component: as for a pull, enough for 64 MiB at 2 Mbit/s.
const DEADLINE: Duration = Duration::from_secs(300);

/// What to publish, and where.
#[derive(Clone, Debug)]
pub struct PublishRequest {
    /// The packed component.
    pub component: PathBuf,
    /// File of its signature, instead of the one beside it.
    pub signature: Option<PathBuf>,
    /// Whether it may be published without a signature.
    pub unsigned: bool,
    /// Host and port of the registry.
    pub registry: String,
    /// Name inside the registry.
    pub repository: String,
    /// Tag; the connector's version unless given.
    pub tag: Option<String>,
    /// Whether a tag that names other bytes is moved.
    pub replace: bool,
}

/// What was published.
#[derive(Clone, Debug)]
pub struct Published {
    /// Where it can be pulled from, by tag and digest.
    pub reference: OciReference,
    /// The component's manifest and digest.
    pub inspection: Inspection,
    /// Name of the trusted key that signed it, if this configuration trusts the key.
    pub signed_by: Option<String>,
    /// What operators may meet, although it was published.
    pub warnings: Vec<String>,
}

/// Why nothing was published.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// The file is no component, or its signature does not match.
    #[error(transparent)]
    Component(#[from] ObtainError),
    /// There is no signature.
    #[error(
        "it is not signed: there is no {0}; sign it with `backline plugins sign FILE --key KEY`, or add --unsigned, \
         and most operators can't install it"
    )]
    Unsigned(String),
    /// The registry is not in the configuration.
    #[error(
        "nothing may be pushed to {0}; to allow it, add the section [plugins.registries.\"{0}\"] to the configuration, \
         with username and password if it needs a login"
    )]
    UnknownRegistry(String),
    /// The push failed.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The total time is over.
    #[error("the push took longer than {} seconds; try again", .0.as_secs())]
    TimedOut(Duration),
}

impl Classified for PublishError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Component(error) => error.class(),
            Self::Registry(RegistryError::Unreachable(_)) | Self::TimedOut(_) => ErrorClass::Unavailable,
            _ => ErrorClass::Refused,
        }
    }
}

/// Publishes a component. The same bytes published again change nothing.
///
/// # Errors
/// [`PublishError`] says what is wrong with the file, its signature or the registry.
pub async fn publish(config: &Config, request: &PublishRequest) -> Result<Published, PublishError> {
    // The author's own key need not be trusted here; a signature that does not match is refused all the same.
    let mut lenient = config.clone();
    lenient.plugins.signatures = Some(SignaturePolicy::Warn);
    let signature = match &request.signature {
        Some(path) => Some(path.clone()),
        None => Some(with_suffix(&request.component)).filter(|beside| beside.exists()),
    };
    if signature.is_none() && !request.unsigned {
        return Err(PublishError::Unsigned(expected(&request.component)));
    }
    let options = ObtainOptions { signature: signature.clone(), ..ObtainOptions::default() };
    let obtained = obtain(&lenient, &Source::File(request.component.clone()), &options).await?;
    let signature = match &signature {
        Some(path) => Some(read_signature(path).await?),
        None => None,
    };
    let Some(registry) = config.plugins.registries.get(&request.registry) else {
        return Err(PublishError::UnknownRegistry(request.registry.clone()));
    };
    // A tag has no +, which versions have before their build.
    let version = obtained.inspection.manifest.connector.version.to_string().replace('+', "_");
    let mut warnings = obtained.warnings;
    let tag = request.tag.clone().unwrap_or_else(|| version.clone());
    // Words such as `latest` are moved on purpose; a tag that is another version misleads those who ask for it.
    if tag != version && semver::Version::parse(&tag).is_ok() {
        warnings.push(format!("it is published as {tag}, and it is version {version}"));
    }
    let annotations = annotations(&obtained.inspection);
    let wanted = Push {
        registry: &request.registry,
        repository: &request.repository,
        tag: &tag,
        insecure_http: registry.insecure_http,
        login: registry.username.as_deref().zip(registry.password.as_deref()),
        component: &obtained.component,
        signature: signature.as_deref(),
        annotations: &annotations,
        replace: request.replace,
        timeout: Duration::from_millis(config.gateway.request_timeout_ms),
    };
    let pushed =
        tokio::time::timeout(DEADLINE, push(&wanted)).await.map_err(|_| PublishError::TimedOut(DEADLINE))??;
    let reference = OciReference {
        registry: request.registry.clone(),
        repository: request.repository.clone(),
        tag: Some(tag),
        digest: Some(pushed),
    };
    Ok(Published { reference, inspection: obtained.inspection, signed_by: obtained.signed_by, warnings })
}

fn expected(component: &Path) -> String {
    format!("{}{SIGNATURE_SUFFIX}", component.display())
}

/// What is said of a component to those who have not pulled it. It proves nothing: the manifest inside counts.
fn annotations(inspection: &Inspection) -> BTreeMap<String, String> {
    let Inspection { manifest, digest, .. } = inspection;
    let info = &manifest.connector;
    let mut said = vec![
        ("org.opencontainers.image.title", info.title.clone()),
        ("org.opencontainers.image.version", info.version.to_string()),
        ("dev.backline.connector", info.name.clone()),
        ("dev.backline.platform", info.platform.to_string()),
        ("dev.backline.component", format!("sha256:{digest}")),
        ("dev.backline.manifest", serde_json::to_string(manifest).unwrap_or_default()),
    ];
    if !info.description.is_empty() {
        said.push(("org.opencontainers.image.description", info.description.clone()));
    }
    said.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}
