//! Installs connectors: everything that can fail is tried before anything is changed, and nothing beyond the grant goes
//! unnoticed.
//!
//! inspect → load → versions → permissions → save → activate.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::pipeline::error::{Classified, ErrorClass};
use crate::pipeline::releases::activate::{ActivateError, ActivateOptions};
use crate::pipeline::releases::cache::ReleaseError;
use crate::pipeline::releases::manager::ReleaseManager;
use backline_component::{InspectError, Inspection, inspect};
use backline_model::manifest::ManifestError;
use backline_model::origin::OriginError;
use backline_model::{
    Difference, Digest, Grant, Manifest, OriginPattern, Permissions, Platform, Release, ReleaseState,
};
use backline_store::{NarrowedGrants, StoreError};

/// What the operator agrees to of what a connector asks for.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Approve {
    /// Everything: `--yes`, or an answer at the terminal.
    All,
    /// What is within this grant: `--grant-file`. Its budget limits are the operator's own.
    Only(Grant),
    /// Nothing beyond what is already granted to the connector.
    #[default]
    Nothing,
}

/// Options of an installation.
#[derive(Clone, Debug)]
pub struct InstallOptions {
    /// What the operator agrees to.
    pub approve: Approve,
    /// Whether a version below the active one may be installed.
    pub allow_downgrade: bool,
    /// Whether it is activated as soon as it is granted.
    pub activate: bool,
    /// Whether the same version may have other bytes, as while a connector is being written.
    pub replace_same_version: bool,
    /// Units per window in place of the manifest's, by budget name.
    pub budgets: BTreeMap<String, u64>,
    /// Source of the component: a path, a URL or an OCI reference.
    pub source: String,
    /// Name of the trusted key that signed it.
    pub signed_by: Option<String>,
}

impl Default for InstallOptions {
    fn default() -> Self {
        Self {
            approve: Approve::Nothing,
            allow_downgrade: false,
            activate: true,
            replace_same_version: false,
            budgets: BTreeMap::new(),
            source: String::new(),
            signed_by: None,
        }
    }
}

/// The result of an installation or an approval.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Ended {
    /// The release is active.
    Activated,
    /// The release is granted and may be activated.
    Granted,
    /// The release asks for more than is granted, and waits for the operator.
    Waiting,
    /// The same bytes were installed before, and were revoked or rolled back since. Installing them again does not undo
    /// that.
    Refused,
}

/// A release after an installation or an approval.
#[derive(Clone, Debug)]
pub struct Installed {
    /// The release as it is now.
    pub release: Release,
    /// What it asks for, compared with the earlier grant, or with the grant that was given.
    pub difference: Difference,
    /// How the operation ended.
    pub ended: Ended,
}

/// What installing a component would mean. Nothing is changed to find out.
#[derive(Clone, Debug)]
pub struct Proposal {
    /// The inspected component.
    pub inspection: Inspection,
    /// The release whose grant applies to it; none if nothing is granted to a connector of this name, so that
    /// everything is new.
    pub before: Option<Release>,
    /// What it asks for, compared with that grant.
    pub difference: Difference,
    /// The installed release of the same bytes.
    pub installed: Option<Release>,
}

impl Proposal {
    /// Whether the operator has to be asked.
    #[must_use]
    pub fn needs_approval(&self) -> bool {
        match self.installed.as_ref().map(|release| release.state) {
            None | Some(ReleaseState::Waiting | ReleaseState::Removed) => {
                self.before.is_none() || !self.difference.added.is_empty()
            }
            Some(_) => false,
        }
    }
}

/// A release compared with the one whose grant applies.
#[derive(Clone, Debug)]
pub struct ReleaseComparison {
    /// The release it was compared with; none if nothing is granted to the connector.
    pub against: Option<Release>,
    /// What it asks for, compared with that release's grant.
    pub permissions: Difference,
    /// Its metrics, compared with that release's.
    pub metrics: CatalogueDifference,
}

/// Metrics that only one of two releases reports. One that is defined differently is in both lists.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct CatalogueDifference {
    /// Reported only by the new one.
    pub added: Vec<String>,
    /// Reported only by the old one.
    pub removed: Vec<String>,
}

/// The part of a grant to revoke.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Revoke {
    /// All of it: the connector may not do anything any more.
    All,
    /// Requests to origins within a pattern.
    Host(OriginPattern),
    /// The use of a secret.
    Slot(String),
}

/// Why a component was not installed, or a release not approved.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// The file is not a connector.
    #[error(transparent)]
    Inspect(#[from] InspectError),
    /// It asks for more than may be granted.
    #[error(transparent)]
    Hosts(#[from] ManifestError),
    /// The grant holds more than may be granted.
    #[error("nothing is granted: {0}")]
    Grant(#[from] OriginError),
    /// The release can't be used on this host.
    #[error(transparent)]
    Release(#[from] ReleaseError),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The same version is installed with other bytes.
    #[error(
        "{name} {version} is already installed with another digest ({installed}); raise the version in connector.toml"
    )]
    SameVersion {
        /// Name of the connector.
        name: String,
        /// Version that is installed twice.
        version: String,
        /// Digest of the installed release.
        installed: Digest,
    },
    /// The version is lower than the active one.
    #[error(
        "{name} {version} is below {active}, which is active; to go back, `backline plugins rollback` activates the \
         release before, or install it with --allow-downgrade"
    )]
    Downgrade {
        /// Name of the connector.
        name: String,
        /// Version of the component.
        version: String,
        /// Version that is active.
        active: String,
    },
    /// The manifest has no such budget.
    #[error("the connector of {platform} has no budget '{budget}'; it has: {known}")]
    NoBudget {
        /// Platform of the connector.
        platform: Platform,
        /// Budget that was asked for.
        budget: String,
        /// Budgets of the manifest, for the message.
        known: String,
    },
    /// A limit of the operator's own is less than one request costs.
    #[error(
        "the limit of {limit} units for the budget '{budget}' is less than the {costliest} that one request costs, \
         which could never be sent; give at least --budget {budget}={costliest}"
    )]
    LimitTooLow {
        /// Name of the budget.
        budget: String,
        /// The operator's limit.
        limit: u64,
        /// Units of the costliest request, at least 1.
        costliest: u64,
    },
    /// The release is installed and granted, but could not be activated.
    #[error("it is installed and granted, but was not activated")]
    Activate(#[from] ActivateError),
}

impl Classified for InstallError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Release(error) => error.class(),
            Self::Store(error) => error.class(),
            Self::Activate(_) => ErrorClass::Partial,
            Self::Inspect(_)
            | Self::Hosts(_)
            | Self::Grant(_)
            | Self::SameVersion { .. }
            | Self::Downgrade { .. }
            | Self::NoBudget { .. }
            | Self::LimitTooLow { .. } => ErrorClass::Refused,
        }
    }
}

/// Why nothing was revoked.
#[derive(Debug, thiserror::Error)]
pub enum RevokeError {
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Nothing of the kind is granted.
    #[error("{name} is not granted {thing}; `backline plugins grant {name} --print` shows what it is granted")]
    NotRevocable {
        /// Name of the connector.
        name: String,
        /// The part of the grant that was to be revoked.
        thing: String,
    },
}

impl Classified for RevokeError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Store(error) => error.class(),
            Self::NotRevocable { .. } => ErrorClass::Refused,
        }
    }
}

impl ReleaseManager {
    /// Says what installing a component would mean. Changes nothing.
    ///
    /// # Errors
    /// When the file is not a connector or asks for hosts that may not be granted, or the database fails.
    pub async fn propose(&self, component: &[u8]) -> Result<Proposal, InstallError> {
        let inspection = inspect(component)?;
        inspection.manifest.check_owners()?;
        let installed = self.store.releases_list().await?;
        self.proposal(inspection, installed).await
    }

    async fn proposal(&self, inspection: Inspection, mut installed: Vec<Release>) -> Result<Proposal, InstallError> {
        let known = installed.iter().position(|release| release.digest == inspection.digest);
        let same_bytes = known.map(|index| installed.remove(index));
        let before = self.granted_before(&inspection.manifest, &installed).await?;
        let asked = Permissions::asked(&inspection.manifest, &inspection.imports);
        let nothing = Grant::default();
        let difference = Difference::between(before.as_ref().map_or(&nothing, |release| &release.grant), &asked);
        Ok(Proposal { inspection, before, difference, installed: same_bytes })
    }

    /// The release whose grant applies to an update of the connector: the platform's active one, or else the one
    /// granted last. None if a connector of another name is active for the platform, or nothing is granted to this
    /// name: everything is new then.
    async fn granted_before(
        &self,
        manifest: &Manifest,
        installed: &[Release],
    ) -> Result<Option<Release>, InstallError> {
        let info = &manifest.connector;
        let of_platform = || installed.iter().filter(|release| *release.platform() == info.platform);
        let is_own =
            |release: &&Release| release.manifest.connector.name == info.name && release.state == ReleaseState::Granted;
        let found = match of_platform().find(|release| release.active) {
            Some(active) => Some(active).filter(is_own),
            None => of_platform().find(is_own),
        };
        let Some(mut before) = found.cloned() else { return Ok(None) };
        // Releases installed before imports were recorded were granted what they import.
        if before.imports.is_empty() {
            before.grant.imports = self.imports_of(&before).await?;
        }
        Ok(Some(before))
    }

    /// Installs a component. An update that asks for no more than was granted is activated. One that asks for more is
    /// saved and waits, and so does a new connector, unless the operator has agreed. Installing the same bytes again
    /// changes nothing, except that a waiting release can be approved.
    ///
    /// # Errors
    /// When the file is not a connector or can't be compiled or linked, it or the grant has hosts that may not be
    /// granted, the same version is installed with other bytes, it is a downgrade that is not allowed, it has no
    /// budget of a given name, or a request costs more than the operator's limit: nothing has changed then.
    /// [`InstallError::Activate`] when it is granted but could not be activated.
    pub async fn install(&self, component: &[u8], options: &InstallOptions) -> Result<Installed, InstallError> {
        let inspection = inspect(component)?;
        check_owners(&inspection.manifest, &options.approve)?;
        self.cache.load(component, inspection.digest).await?;
        let installed = self.store.releases_list().await?;
        check_versions(&inspection, &installed, options)?;
        let active = installed
            .iter()
            .find(|release| release.active && *release.platform() == inspection.manifest.connector.platform);
        let budgets = granted_budgets(&inspection.manifest, active, options)?;
        let Proposal { inspection, before, difference, installed } = self.proposal(inspection, installed).await?;
        let asked = Permissions::asked(&inspection.manifest, &inspection.imports);

        let known = installed.filter(|release| release.state != ReleaseState::Removed);
        if let Some(mut release) = known.clone().filter(|release| release.state != ReleaseState::Waiting) {
            if release.state != ReleaseState::Granted {
                return Ok(Installed { release, difference, ended: Ended::Refused });
            }
            if release.grant.budgets != budgets {
                release.grant.budgets = budgets;
                self.store.release_grant(release.digest, &release.grant).await?;
            }
            return self.activate_if(options.activate, release, difference).await;
        }
        let (agreed, difference) = match &options.approve {
            Approve::All => (true, difference),
            Approve::Only(grant) => (grant.allows(&asked), Difference::between(grant, &asked)),
            Approve::Nothing => (before.is_some() && difference.added.is_empty(), difference),
        };
        let release = Release {
            digest: inspection.digest,
            // Only what it asks for is granted, so that a later update that asks for more is noticed.
            grant: if agreed { Grant::of(asked) } else { Grant::default() }.with_budgets(budgets),
            imports: inspection.imports,
            state: if agreed { ReleaseState::Granted } else { ReleaseState::Waiting },
            state_reason: None,
            wanted: options.activate && !agreed,
            source: options.source.clone(),
            signed_by: options.signed_by.clone(),
            manifest: inspection.manifest,
            wit_version: inspection.wit_version,
            active: false,
            installed_at: known.as_ref().map_or_else(|| self.clock.now(), |known| known.installed_at),
            size_bytes: inspection.size_bytes,
        };
        if known.as_ref() != Some(&release) {
            self.store.release_save(&release, component).await?;
        }
        if !agreed {
            return Ok(Installed { release, difference, ended: Ended::Waiting });
        }
        self.activate_if(options.activate, release, difference).await
    }

    async fn activate_if(
        &self,
        wanted: bool,
        mut release: Release,
        difference: Difference,
    ) -> Result<Installed, InstallError> {
        if wanted && !release.active {
            self.activate(release.digest, &ActivateOptions::default()).await?;
            release.active = true;
        }
        let ended = if release.active { Ended::Activated } else { Ended::Granted };
        Ok(Installed { release, difference, ended })
    }

    /// Grants what the operator agrees to, to a release that waits or whose grant was revoked or narrowed, and
    /// activates it if that was requested and nothing newer is active. A release that asks for more than the given
    /// grant keeps waiting. The operator's budget limits stay where no other is given.
    ///
    /// # Errors
    /// [`ReleaseError::Gone`] when its component was removed, [`InstallError::Hosts`] and [`InstallError::Grant`] when
    /// hosts are asked for or granted that may not be, and those of an activation.
    pub async fn approve(&self, digest: Digest, approve: &Approve) -> Result<Installed, InstallError> {
        let gone = InstallError::Release(ReleaseError::Gone { digest });
        let Some(mut release) = self.store.release_get(digest).await? else { return Err(gone) };
        if release.state == ReleaseState::Removed {
            return Err(gone);
        }
        check_owners(&release.manifest, approve)?;
        let asked = Permissions::asked(&release.manifest, &self.imports_of(&release).await?);
        let mut budgets = release.grant.budgets.clone();
        let (agreed, difference) = match approve {
            Approve::All => (true, Difference::between(&release.grant, &asked)),
            Approve::Only(grant) => {
                budgets.extend(grant.budgets.clone());
                check_limits(&release.manifest, &budgets)?;
                (grant.allows(&asked), Difference::between(grant, &asked))
            }
            Approve::Nothing => (release.grant.allows(&asked), Difference::between(&release.grant, &asked)),
        };
        if !agreed {
            return Ok(Installed { release, difference, ended: Ended::Waiting });
        }
        release.grant = Grant::of(asked).with_budgets(budgets);
        self.store.release_grant(digest, &release.grant).await?;
        if release.state == ReleaseState::Withdrawn {
            return Ok(Installed { release, difference, ended: Ended::Refused });
        }
        (release.state, release.state_reason) = (ReleaseState::Granted, None);
        let wanted = release.wanted && self.nothing_newer_is_active(&release).await?;
        self.activate_if(wanted, release, difference).await
    }

    /// Compares a release with its connector's grant and with the active release. The active release is compared with
    /// its own grant.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn compare(&self, release: &Release) -> Result<ReleaseComparison, InstallError> {
        let mut others = self.store.releases_list().await?;
        others.retain(|other| release.active == (other.digest == release.digest));
        let against = self.granted_before(&release.manifest, &others).await?;
        let nothing = Grant::default();
        let granted = against.as_ref().map_or(&nothing, |against| &against.grant);
        let asked = Permissions::asked(&release.manifest, &self.imports_of(release).await?);
        let catalogue = |release: &Release| -> Vec<String> {
            let described = release.manifest.metrics.iter().map(|metric| {
                let days = metric.window_days.map_or(String::new(), |days| format!(" over {days} days"));
                format!("{} ({:?}, {}{days})", metric.name, metric.kind, metric.unit).to_lowercase()
            });
            described.collect()
        };
        let (old, new) = (against.as_ref().map(catalogue).unwrap_or_default(), catalogue(release));
        let beyond =
            |of: &[String], other: &[String]| of.iter().filter(|metric| !other.contains(metric)).cloned().collect();
        Ok(ReleaseComparison {
            permissions: Difference::between(granted, &asked),
            metrics: CatalogueDifference { added: beyond(&new, &old), removed: beyond(&old, &new) },
            against,
        })
    }

    /// The imports of a release. Those of releases installed before imports were recorded are read from the component.
    async fn imports_of(&self, release: &Release) -> Result<Vec<String>, InstallError> {
        match self.store.component_get(release.digest).await? {
            Some(component) if release.imports.is_empty() => Ok(inspect(&component)?.imports),
            _ => Ok(release.imports.clone()),
        }
    }

    async fn nothing_newer_is_active(&self, release: &Release) -> Result<bool, InstallError> {
        let (active, info) = (self.store.active_release_get(release.platform()).await?, &release.manifest.connector);
        Ok(active.is_none_or(|active| {
            let active = &active.manifest.connector;
            active.name != info.name || active.version <= info.version
        }))
    }

    /// Revokes a connector's grant, or a part of it, for all its releases; each host applies it with its next batch. A
    /// connector without a grant is no longer active, and its platform's batches end. Returns how many releases this
    /// was about, with those whose grant could not be read.
    ///
    /// # Errors
    /// [`RevokeError::NotRevocable`] when nothing of the kind is granted.
    pub async fn revoke(&self, name: &str, what: &Revoke, reason: &str) -> Result<NarrowedGrants, RevokeError> {
        let (narrowed, thing) = match what {
            Revoke::All => {
                let revoked = self.store.releases_revoke(name, reason, self.clock.now()).await?;
                let changed = revoked.len() as u64;
                (NarrowedGrants { changed, ..NarrowedGrants::default() }, "anything".to_owned())
            }
            Revoke::Host(origin) => {
                let narrowed = self.store.grants_narrow(name, |grant| grant.without_host(origin)).await?;
                (narrowed, format!("the host {origin}"))
            }
            Revoke::Slot(slot) => {
                let narrowed = self.store.grants_narrow(name, |grant| grant.without_slot(slot)).await?;
                (narrowed, format!("the credential slot '{slot}'"))
            }
        };
        if narrowed.changed == 0 {
            return Err(RevokeError::NotRevocable { name: name.to_owned(), thing });
        }
        Ok(narrowed)
    }
}

/// Wildcards over public suffixes are neither asked for nor granted.
fn check_owners(manifest: &Manifest, approve: &Approve) -> Result<(), InstallError> {
    manifest.check_owners()?;
    if let Approve::Only(grant) = approve {
        grant.check_owners()?;
    }
    Ok(())
}

/// Version rules: a version has one digest, and a downgrade must be allowed explicitly.
fn check_versions(
    inspection: &Inspection,
    installed: &[Release],
    options: &InstallOptions,
) -> Result<(), InstallError> {
    let info = &inspection.manifest.connector;
    let mut of_name = installed
        .iter()
        .filter(|release| release.manifest.connector.name == info.name && release.digest != inspection.digest);
    let twin = of_name.clone().find(|release| release.manifest.connector.version == info.version);
    if let Some(twin) = twin.filter(|_| !options.replace_same_version) {
        return Err(InstallError::SameVersion {
            name: info.name.clone(),
            version: info.version.to_string(),
            installed: twin.digest,
        });
    }
    let above = of_name.find(|release| release.active && release.manifest.connector.version > info.version);
    match above.filter(|_| !options.allow_downgrade) {
        Some(active) => Err(InstallError::Downgrade {
            name: info.name.clone(),
            version: info.version.to_string(),
            active: active.manifest.connector.version.to_string(),
        }),
        None => Ok(()),
    }
}

/// The budget limits besides the manifest's own: those of the active release, then those of a given grant, then the
/// options; later ones win.
fn granted_budgets(
    manifest: &Manifest,
    active: Option<&Release>,
    options: &InstallOptions,
) -> Result<BTreeMap<String, u64>, InstallError> {
    let mut wanted = match &options.approve {
        Approve::Only(grant) => grant.budgets.clone(),
        _ => BTreeMap::new(),
    };
    wanted.extend(options.budgets.clone());
    let has = |name: &str| manifest.budgets.iter().any(|budget| budget.name == name);
    if let Some(unknown) = wanted.keys().find(|name| !has(name)) {
        return Err(InstallError::NoBudget {
            platform: manifest.connector.platform.clone(),
            budget: unknown.clone(),
            known: manifest.budgets.iter().map(|budget| budget.name.as_str()).collect::<Vec<_>>().join(", "),
        });
    }
    let mut granted = active.map(|release| release.grant.budgets.clone()).unwrap_or_default();
    granted.retain(|name, _| has(name));
    granted.extend(wanted);
    check_limits(manifest, &granted)?;
    Ok(granted)
}

/// Refuses limits that no request fits into: one that resets would defer every batch for ever, and one that rolls would
/// be broken by the first request.
fn check_limits(manifest: &Manifest, limits: &BTreeMap<String, u64>) -> Result<(), InstallError> {
    for budget in &manifest.budgets {
        let costliest = budget.costliest().max(1);
        if let Some(limit) = limits.get(&budget.name).copied().filter(|limit| *limit < costliest) {
            return Err(InstallError::LimitTooLow { budget: budget.name.clone(), limit, costliest });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use backline_model::fixtures::manifest;

    #[test]
    fn a_limit_of_the_operators_own_fits_one_request() {
        let (manifest, limits) = (manifest(), |limit| BTreeMap::from([("daily".to_owned(), limit)]));
        assert!(check_limits(&manifest, &limits(5)).is_ok() && check_limits(&manifest, &BTreeMap::new()).is_ok());
        for limit in [0, 4] {
            let error = check_limits(&manifest, &limits(limit)).expect_err("too low").to_string();
            assert!(error.contains(&format!("limit of {limit}")) && error.ends_with("--budget daily=5"), "{error}");
        }
    }
}
