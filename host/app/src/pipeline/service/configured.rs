//! The names in a configuration: each is looked up among what the database knows, where the configuration is about to
//! take effect. An artist or a connector may come later, so only what is a slip of a known platform is refused.

use crate::config::{CollectionConfig, Config};
use backline_model::{Platform, Tenant, nearest};
use backline_store::{Scope, Store, StoreError};

/// What has a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Platform,
    Tenant,
}

impl Kind {
    fn as_str(self) -> &'static str {
        match self {
            Self::Platform => "platform",
            Self::Tenant => "tenant",
        }
    }
}

/// A name, and the key of the configuration that has it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct ConfiguredName {
    kind: Kind,
    key: String,
    name: String,
}

/// A name in the configuration that nothing has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key} names the {} '{name}', which does not exist{}", .kind.as_str(), remark(.nearest.as_deref()))]
pub struct UnknownName {
    kind: Kind,
    key: String,
    name: String,
    nearest: Option<String>,
}

fn remark(nearest: Option<&str>) -> String {
    nearest.map_or_else(String::new, |nearest| format!("; did you mean '{nearest}'?"))
}

impl UnknownName {
    /// The key of the configuration that has it.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Whether it is most likely a slip. Names of tenants are often alike, and one that has no artist yet is no slip.
    #[must_use]
    pub fn is_slip(&self) -> bool {
        self.kind == Kind::Platform && self.nearest.is_some()
    }
}

/// Every name of a platform or tenant in a configuration. Each section is named here, so that a new one is thought of.
fn named_in(config: &Config) -> Vec<ConfiguredName> {
    let Config {
        collection,
        schedules,
        validation,
        archive,
        deliveries,
        costs,
        // These name none.
        database: _,
        secrets: _,
        service: _,
        installation: _,
        sync: _,
        telemetry: _,
        gateway: _,
        plugins: _,
        sandbox: _,
        significance: _,
        rollback: _,
        health: _,
        log: _,
        timezones: _,
    } = config;
    let CollectionConfig { platform_weights, tenant_weights, .. } = collection;
    let mut found = Vec::new();
    let mut add = |kind: Kind, key: String, name: &str| found.push(ConfiguredName { kind, key, name: name.to_owned() });
    for name in platform_weights.0.keys() {
        add(Kind::Platform, "collection.platform_weights".to_owned(), name);
    }
    for name in tenant_weights.0.keys() {
        add(Kind::Tenant, "collection.tenant_weights".to_owned(), name);
    }
    for (schedule, spec) in schedules {
        for platform in &spec.platforms {
            add(Kind::Platform, format!("schedules.{schedule}.platforms"), platform.as_str());
        }
    }
    for platform in validation.platforms.keys() {
        add(Kind::Platform, "validation.platform".to_owned(), platform.as_str());
    }
    for rule in &archive.rules {
        if let Some(platform) = &rule.platform {
            add(Kind::Platform, "archive.rules".to_owned(), platform.as_str());
        }
        if let Some(tenant) = &rule.tenant {
            add(Kind::Tenant, "archive.rules".to_owned(), tenant.as_str());
        }
    }
    for platform in deliveries.ai_overrides.keys() {
        add(Kind::Platform, "deliveries.ai_overrides".to_owned(), platform.as_str());
    }
    for platform in costs.platforms.keys() {
        add(Kind::Platform, "costs.platforms".to_owned(), platform.as_str());
    }
    found
}

/// The names in a configuration that nothing has.
///
/// # Errors
/// When the database fails.
pub(super) async fn unknown(store: &Store, config: &Config) -> Result<Vec<UnknownName>, StoreError> {
    let named = named_in(config);
    let has = |kind: Kind| named.iter().any(|one| one.kind == kind);
    let platforms = if has(Kind::Platform) { store.platforms_list().await? } else { Vec::new() };
    let tenants = if has(Kind::Tenant) { store.tenants_list(&Scope::all_tenants()).await? } else { Vec::new() };
    let mut unknown = Vec::new();
    for ConfiguredName { kind, key, name } in named {
        let known: Vec<&str> = match kind {
            Kind::Platform => platforms.iter().map(Platform::as_str).collect(),
            Kind::Tenant => tenants.iter().map(Tenant::as_str).collect(),
        };
        if known.contains(&name.as_str()) {
            continue;
        }
        // One without a connector may have accounts all the same.
        if kind == Kind::Platform
            && let Ok(platform) = Platform::new(&name)
            && store.platform_is_known(&platform).await?
        {
            continue;
        }
        let nearest = nearest::nearest(&name, known.iter().copied()).map(str::to_owned);
        unknown.push(UnknownName { kind, key, name, nearest });
    }
    Ok(unknown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_section_that_names_platforms_or_tenants_is_looked_through() {
        let config: Config = toml::from_str(
            r#"
            [schedules.night]
            platforms = ["p1", "p2"]
            [collection.platform_weights]
            p3 = 2
            [collection.tenant_weights]
            t1 = 2
            [validation.platform.p4.thresholds]
            [[archive.rules]]
            what = "documents"
            platform = "p5"
            tenant = "t2"
            days = 40
            [deliveries.ai_overrides]
            p6 = "a contract"
            [costs.platforms.p7]
            monthly = 1.0
            "#,
        )
        .expect("a configuration");
        let found = named_in(&config);
        let names = |kind: Kind| {
            let mut names: Vec<&str> =
                found.iter().filter(|one| one.kind == kind).map(|one| one.name.as_str()).collect();
            names.sort_unstable();
            names
        };
        assert_eq!(names(Kind::Platform), ["p1", "p2", "p3", "p4", "p5", "p6", "p7"]);
        assert_eq!(names(Kind::Tenant), ["t1", "t2"]);
        assert!(found.iter().any(|one| one.key == "schedules.night.platforms"), "{found:?}");
        assert_eq!(named_in(&Config::default()), [], "nothing is named unless configured");
    }

    #[test]
    fn a_slip_of_a_platform_alone_is_refused() {
        let name = |kind: Kind, nearest: Option<&str>| UnknownName {
            kind,
            key: "costs.platforms".to_owned(),
            name: "yotube".to_owned(),
            nearest: nearest.map(str::to_owned),
        };
        let slip = name(Kind::Platform, Some("youtube"));
        let told = "costs.platforms names the platform 'yotube', which does not exist; did you mean 'youtube'?";
        assert_eq!((slip.to_string().as_str(), slip.is_slip()), (told, true));
        assert!(!name(Kind::Platform, None).is_slip() && !name(Kind::Tenant, Some("youtubes")).is_slip());
    }
}
