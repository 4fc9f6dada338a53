//! What the installed connectors say about platforms: their accounts' ids, and the columns that feed them.
//!
//! Nothing here knows a platform by name. A connector of a third party is treated as a first-party one.

use std::collections::BTreeMap;

use crate::nearest;
use backline_model::account_rule::{AccountReader, Gives, column_name};
use backline_model::{Manifest, Platform, Release, ReleaseState};

/// A platform with an installed connector.
#[derive(Clone, Debug)]
pub struct Listed {
    /// The connector's manifest: that of the active release, or of the newest one that may become active.
    pub manifest: Manifest,
    /// Reads the ids of its accounts.
    pub reader: AccountReader,
}

impl Listed {
    /// The platform.
    #[must_use]
    pub fn platform(&self) -> &Platform {
        &self.manifest.connector.platform
    }
}

/// What a column is.
#[derive(Debug)]
pub enum ColumnRole<'a> {
    /// A connector names it.
    Column {
        /// The connector's platform.
        listed: &'a Listed,
        /// What its values are.
        gives: &'a Gives,
        /// Whether they are converted to lower case.
        lower_case: bool,
    },
    /// Several connectors name it.
    Ambiguous(Vec<&'a Platform>),
    /// No connector names it; a similar column, if there is one.
    Unknown(Option<&'a str>),
}

/// A column that feeds a platform's accounts.
#[derive(Clone, Debug)]
struct Fed {
    platform: Platform,
    gives: Gives,
    lower_case: bool,
}

/// The platforms that have an installed connector.
#[derive(Clone, Debug, Default)]
pub struct Directory {
    platforms: BTreeMap<Platform, Listed>,
    columns: BTreeMap<String, Vec<Fed>>,
}

impl Directory {
    /// The directory of these releases, newest first as the store lists them.
    #[must_use]
    pub fn of_releases(releases: &[Release]) -> Self {
        let mut chosen: BTreeMap<&Platform, &Release> = BTreeMap::new();
        for release in releases {
            let may_be_active = matches!(release.state, ReleaseState::Granted | ReleaseState::Waiting);
            match chosen.get(release.platform()) {
                Some(_) if !release.active => {}
                _ if release.active || may_be_active => {
                    chosen.insert(release.platform(), release);
                }
                _ => {}
            }
        }
        Self::of(chosen.into_values().map(|release| &release.manifest))
    }

    /// The directory of these manifests, one for each platform. One whose rule is not valid is left out; installing it
    /// would have been refused.
    #[must_use]
    pub fn of<'a>(manifests: impl IntoIterator<Item = &'a Manifest>) -> Self {
        let mut directory = Self::default();
        for manifest in manifests {
            let Ok(reader) = manifest.account_reader() else { continue };
            let platform = manifest.connector.platform.clone();
            let plain = column_name(platform.as_str());
            directory.feed(format!("{plain}_id"), &platform, Gives::Id, false);
            directory.feed(plain, &platform, Gives::Id, false);
            for column in manifest.account.iter().flat_map(|rule| &rule.columns) {
                directory.feed(column.name.clone(), &platform, column.gives.clone(), column.lower_case);
            }
            directory.platforms.insert(platform, Listed { manifest: manifest.clone(), reader });
        }
        directory
    }

    fn feed(&mut self, column: String, platform: &Platform, gives: Gives, lower_case: bool) {
        let all = self.columns.entry(column).or_default();
        // A rule may name the columns that every platform has.
        all.retain(|fed| fed.platform != *platform);
        all.push(Fed { platform: platform.clone(), gives, lower_case });
    }

    /// The platform with this name, or with a connector of this name.
    #[must_use]
    pub fn platform(&self, name: &str) -> Option<&Listed> {
        self.platforms.get(name).or_else(|| {
            let mut named = self.platforms.values().filter(|listed| listed.manifest.connector.name == name);
            named.next().filter(|_| named.next().is_none())
        })
    }

    /// All platforms, in the order of their names.
    pub fn platforms(&self) -> impl Iterator<Item = &Platform> {
        self.platforms.keys()
    }

    /// What a column is, by its plain name.
    #[must_use]
    pub fn column(&self, name: &str) -> ColumnRole<'_> {
        let listed = |platform: &Platform| self.platforms.get(platform);
        match self.columns.get(name).map(Vec::as_slice) {
            Some([fed]) => match listed(&fed.platform) {
                Some(listed) => ColumnRole::Column { listed, gives: &fed.gives, lower_case: fed.lower_case },
                None => ColumnRole::Unknown(None),
            },
            Some(several) => ColumnRole::Ambiguous(several.iter().map(|fed| &fed.platform).collect()),
            None => match self.without_a_rule(name) {
                Some(listed) => ColumnRole::Column { listed, gives: &Gives::Id, lower_case: false },
                None => ColumnRole::Unknown(nearest::nearest(name, self.columns.keys().map(String::as_str))),
            },
        }
    }

    /// The platform of a column such as `example_user_id`, if its connector says nothing about columns. Connectors of
    /// before `[account]` are fed by the columns that artist platforms usually have.
    fn without_a_rule(&self, name: &str) -> Option<&Listed> {
        self.platforms.values().find(|listed| {
            let rest = name.strip_prefix(&column_name(listed.platform().as_str()));
            let word = rest.and_then(|rest| rest.strip_prefix('_')).and_then(|rest| rest.strip_suffix("_id"));
            listed.manifest.account.is_none() && word.is_some_and(|word| !word.is_empty() && !word.contains('_'))
        })
    }
}
