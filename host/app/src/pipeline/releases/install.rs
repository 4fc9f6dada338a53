//! Installing connectors: everything that can fail is tried before anything is changed, and nothing asks for more than was granted unnoticed.
//!
//! inspect → load → versions → permissions → save → activate.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::pipeline::{ActivateOptions, Host, HostError};
use backline_component::{Inspection, inspect};
use backline_model::{Difference, Digest, Grant, Manifest, OriginPattern, Permissions, Release, ReleaseState};

/// What of a connector's wishes the operator has agreed to.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Approve {
    /// All of them: `--yes`, or an answer at the terminal.
    All,
    /// What lies within this grant: `--grant-file`. Its limits of budgets are the operator's own.
    Only(Grant),
    /// Nothing beyond what the connector has been granted already.
    #[default]
    Nothing,
}

/// How a component is installed.
#[derive(Clone, Debug)]
pub struct InstallOptions {
    /// What the operator has agreed to.
    pub approve: Approve,
    /// Whether a version below the active one may be installed.
    pub allow_downgrade: bool,
    /// Whether it is activated as soon as it is granted.
    pub activate: bool,
    /// Whether the same version may come with other bytes: while a connector is being written.
    pub replace_same_version: bool,
    /// Units per window in place of the manifest's, by budget name.
    pub budgets: BTreeMap<String, u64>,
    /// Where it came from: a path, a URL or an OCI reference.
    pub source: String,
    /// The name of the operator's key that vouches for it.
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

/// How an installation or an approval ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Ended {
    /// Its platform is collected with it.
    Activated,
    /// It may be activated.
    Granted,
    /// It asks for more than is granted, and waits for the operator.
    Waiting,
    /// The same bytes were installed before, and the operator took their grant back or they were rolled back: installing brings nothing back.
    Refused,
}

/// A release after an installation or an approval.
#[derive(Clone, Debug)]
pub struct Installed {
    /// As it is now.
    pub release: Release,
    /// What it asks for, compared with what was granted before or, where a grant was given, with that.
    pub difference: Difference,
    /// How it ended.
    pub ended: Ended,
}

/// What installing a component would mean, found out without changing anything.
#[derive(Clone, Debug)]
pub struct Proposal {
    /// The component.
    pub inspection: Inspection,
    /// The release whose grant counts for it; none where nothing of the name is granted, so that everything is new.
    pub before: Option<Release>,
    /// What it asks for, compared with that grant.
    pub difference: Difference,
    /// The same bytes, where they are installed.
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

/// What a release would change.
#[derive(Clone, Debug)]
pub struct Comparison {
    /// The release it was compared with; none where nothing of the connector is granted.
    pub against: Option<Release>,
    /// What it asks for, compared with that one's grant.
    pub permissions: Difference,
    /// What it reports, compared with that one.
    pub metrics: CatalogueDifference,
}

/// Metrics that another release reports, and those that it reports no more; one that is defined otherwise is in both.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct CatalogueDifference {
    /// Reported only by the new one.
    pub added: Vec<String>,
    /// Reported only by the old one.
    pub removed: Vec<String>,
}

/// What of a grant is taken back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Revoke {
    /// All of it: the connector may do nothing any more.
    All,
    /// Requests to what lies within a pattern.
    Host(OriginPattern),
    /// The use of a secret.
    Slot(String),
}

impl Host {
    /// Installs a component with a grant of all it asks for and makes it the platform's active release, whatever version that is.
    ///
    /// The caller has shown the operator what it asks for. The same bytes installed twice change nothing.
    ///
    /// # Errors
    /// As [`Host::install_release`].
    pub async fn install(&self, component: &[u8]) -> Result<Release, HostError> {
        self.install_with(component, &BTreeMap::new()).await
    }

    /// The same, with limits of budgets in place of the manifest's. Those of the release that was active before go on where nothing
    /// else is said.
    ///
    /// # Errors
    /// As [`Host::install_release`].
    pub async fn install_with(&self, component: &[u8], budgets: &BTreeMap<String, u64>) -> Result<Release, HostError> {
        let options = InstallOptions {
            approve: Approve::All,
            allow_downgrade: true,
            budgets: budgets.clone(),
            ..InstallOptions::default()
        };
        Ok(self.install_release(component, &options).await?.release)
    }

    /// Says what installing a component would mean. Changes nothing.
    ///
    /// # Errors
    /// When the file is no connector, or the database fails.
    pub async fn propose(&self, component: &[u8]) -> Result<Proposal, HostError> {
        let inspection = inspect(component)?;
        let installed = self.store().releases_list().await?;
        self.proposal(inspection, installed).await
    }

    async fn proposal(&self, inspection: Inspection, mut installed: Vec<Release>) -> Result<Proposal, HostError> {
        let known = installed.iter().position(|release| release.digest == inspection.digest);
        let same_bytes = known.map(|index| installed.remove(index));
        let before = self.granted_before(&inspection.manifest, &installed).await?;
        let asked = Permissions::asked(&inspection.manifest, &inspection.imports);
        let nothing = Grant::default();
        let difference = Difference::between(before.as_ref().map_or(&nothing, |release| &release.grant), &asked);
        Ok(Proposal { inspection, before, difference, installed: same_bytes })
    }

    /// The release whose grant an update of the connector goes by: the platform's active one, or else the one granted last. None where the
    /// platform is collected by a connector of another name, or nothing of the name is granted: then everything is new.
    async fn granted_before(&self, manifest: &Manifest, installed: &[Release]) -> Result<Option<Release>, HostError> {
        let info = &manifest.connector;
        let of_platform = || installed.iter().filter(|release| *release.platform() == info.platform);
        let is_own =
            |release: &&Release| release.manifest.connector.name == info.name && release.state == ReleaseState::Granted;
        let found = match of_platform().find(|release| release.active) {
            Some(active) => Some(active).filter(is_own),
            None => of_platform().find(is_own),
        };
        let Some(mut before) = found.cloned() else { return Ok(None) };
        // Releases installed before imports were written down were granted what they import.
        if before.imports.is_empty() {
            before.grant.imports = self.imports_of(&before).await?;
        }
        Ok(Some(before))
    }

    /// Installs a component: an update that asks for no more than was granted goes through, one that asks for more is saved and waits, and so
    /// does a connector that is new, unless the operator has agreed. The same bytes installed twice change nothing, except that what
    /// waited may be agreed to.
    ///
    /// # Errors
    /// When the file is no connector, can't be compiled or linked, the same version is installed with other bytes, it is a downgrade that is
    /// not allowed, or a budget is named that it does not have: nothing has changed then. When it can't be activated it stays granted.
    pub async fn install_release(&self, component: &[u8], options: &InstallOptions) -> Result<Installed, HostError> {
        let inspection = inspect(component)?;
        self.releases().load(component, inspection.digest).await?;
        let installed = self.store().releases_list().await?;
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
                self.store().release_grant(release.digest, &release.grant).await?;
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
            // Nothing is granted that is not asked: a later update that asks for it is to be noticed.
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
            installed_at: known.as_ref().map_or_else(|| self.clock().now(), |known| known.installed_at),
            size_bytes: inspection.size_bytes,
        };
        if known.as_ref() != Some(&release) {
            self.store().release_save(&release, component).await?;
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
    ) -> Result<Installed, HostError> {
        if wanted && !release.active {
            self.activate(release.digest, &ActivateOptions::default()).await?;
            release.active = true;
        }
        let ended = if release.active { Ended::Activated } else { Ended::Granted };
        Ok(Installed { release, difference, ended })
    }

    /// Grants a release that waits, or whose grant was taken back or narrowed, what the operator agrees to, and activates it where that was
    /// wanted and nothing newer is active. What lies beyond a grant that was given keeps it waiting. The operator's limits of budgets go
    /// on where nothing else is said.
    ///
    /// # Errors
    /// [`HostError::ReleaseGone`] when its component was removed, and what activating can end with.
    pub async fn approve(&self, digest: Digest, approve: &Approve) -> Result<Installed, HostError> {
        let gone = HostError::ReleaseGone { digest };
        let Some(mut release) = self.store().release_get(digest).await? else { return Err(gone) };
        if release.state == ReleaseState::Removed {
            return Err(gone);
        }
        let asked = Permissions::asked(&release.manifest, &self.imports_of(&release).await?);
        let mut budgets = release.grant.budgets.clone();
        let (agreed, difference) = match approve {
            Approve::All => (true, Difference::between(&release.grant, &asked)),
            Approve::Only(grant) => {
                budgets.extend(grant.budgets.clone());
                (grant.allows(&asked), Difference::between(grant, &asked))
            }
            Approve::Nothing => (release.grant.allows(&asked), Difference::between(&release.grant, &asked)),
        };
        if !agreed {
            return Ok(Installed { release, difference, ended: Ended::Waiting });
        }
        release.grant = Grant::of(asked).with_budgets(budgets);
        self.store().release_grant(digest, &release.grant).await?;
        if release.state == ReleaseState::Withdrawn {
            return Ok(Installed { release, difference, ended: Ended::Refused });
        }
        (release.state, release.state_reason) = (ReleaseState::Granted, None);
        let wanted = release.wanted && self.nothing_newer_is_active(&release).await?;
        self.activate_if(wanted, release, difference).await
    }

    /// Compares a release with what its connector is granted, and with what is active. The active one is compared with its own grant.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn compare_release(&self, release: &Release) -> Result<Comparison, HostError> {
        let mut others = self.store().releases_list().await?;
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
        Ok(Comparison {
            permissions: Difference::between(granted, &asked),
            metrics: CatalogueDifference { added: beyond(&new, &old), removed: beyond(&old, &new) },
            against,
        })
    }

    /// What a release imports; those that were installed before it was written down are read again.
    async fn imports_of(&self, release: &Release) -> Result<Vec<String>, HostError> {
        match self.store().component_get(release.digest).await? {
            Some(component) if release.imports.is_empty() => Ok(inspect(&component)?.imports),
            _ => Ok(release.imports.clone()),
        }
    }

    async fn nothing_newer_is_active(&self, release: &Release) -> Result<bool, HostError> {
        let (active, info) = (self.store().active_release_get(release.platform()).await?, &release.manifest.connector);
        Ok(active.is_none_or(|active| {
            let active = &active.manifest.connector;
            active.name != info.name || active.version <= info.version
        }))
    }

    /// Takes a connector's grant back, or a part of it, for all its releases, from the next batch of each host on. A connector without a grant
    /// is active no longer, and its platform's batches wait. Answers how many releases were concerned.
    ///
    /// # Errors
    /// [`HostError::NotRevocable`] when nothing of the kind is granted.
    pub async fn revoke(&self, name: &str, what: &Revoke, reason: &str) -> Result<u64, HostError> {
        let (count, thing) = match what {
            Revoke::All => {
                let revoked = self.store().releases_revoke(name, reason, self.clock().now()).await?;
                (revoked.len() as u64, "anything".to_owned())
            }
            Revoke::Host(origin) => {
                let narrowed = self.store().grants_narrow(name, |grant| grant.without_host(origin)).await?;
                (narrowed, format!("the host {origin}"))
            }
            Revoke::Slot(slot) => {
                let narrowed = self.store().grants_narrow(name, |grant| grant.without_slot(slot)).await?;
                (narrowed, format!("the credential slot '{slot}'"))
            }
        };
        if count == 0 {
            return Err(HostError::NotRevocable { name: name.to_owned(), thing });
        }
        Ok(count)
    }
}

/// The version rules: a version is one digest, and the way down is taken only on purpose.
fn check_versions(inspection: &Inspection, installed: &[Release], options: &InstallOptions) -> Result<(), HostError> {
    let info = &inspection.manifest.connector;
    let mut of_name = installed
        .iter()
        .filter(|release| release.manifest.connector.name == info.name && release.digest != inspection.digest);
    let twin = of_name.clone().find(|release| release.manifest.connector.version == info.version);
    if let Some(twin) = twin.filter(|_| !options.replace_same_version) {
        return Err(HostError::SameVersion {
            name: info.name.clone(),
            version: info.version.to_string(),
            installed: twin.digest,
        });
    }
    let above = of_name.find(|release| release.active && release.manifest.connector.version > info.version);
    match above.filter(|_| !options.allow_downgrade) {
        Some(active) => Err(HostError::Downgrade {
            name: info.name.clone(),
            version: info.version.to_string(),
            active: active.manifest.connector.version.to_string(),
        }),
        None => Ok(()),
    }
}

/// The limits that hold besides the manifest's own: those of the active release go on, then a grant that was given, then what was said.
fn granted_budgets(
    manifest: &Manifest,
    active: Option<&Release>,
    options: &InstallOptions,
) -> Result<BTreeMap<String, u64>, HostError> {
    let mut wanted = match &options.approve {
        Approve::Only(grant) => grant.budgets.clone(),
        _ => BTreeMap::new(),
    };
    wanted.extend(options.budgets.clone());
    let has = |name: &str| manifest.budgets.iter().any(|budget| budget.name == name);
    if let Some(unknown) = wanted.keys().find(|name| !has(name)) {
        return Err(HostError::NoBudget {
            platform: manifest.connector.platform.clone(),
            budget: unknown.clone(),
            known: manifest.budgets.iter().map(|budget| budget.name.as_str()).collect::<Vec<_>>().join(", "),
        });
    }
    let mut granted = active.map(|release| release.grant.budgets.clone()).unwrap_or_default();
    granted.retain(|name, _| has(name));
    granted.extend(wanted);
    Ok(granted)
}
