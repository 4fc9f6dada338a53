//! Names as people write them, of platforms, tenants, metrics, rules and what starts runs: looked up among those that
//! the installation knows, and refused with the nearest one.

use std::collections::{BTreeMap, BTreeSet};

use crate::config::Config;
use crate::pipeline::error::{Classified, ErrorClass};
use backline_model::metric::names::COLUMNS;
use backline_model::run::BACKFILL_SINCE;
use backline_model::{Platform, Run, Tenant};
use backline_rules::schedule::NAMES_TAKEN;
use backline_rules::{nearest, validate};
use backline_store::{COLLECTING_SCOPE, RunFilter, Scope, Store, StoreError};

/// Why nothing is known by a name.
#[derive(Debug, thiserror::Error)]
pub enum NameError {
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Connectors of this name collect from several platforms.
    #[error("'{given}' is a connector of several platforms; name one of {platforms}")]
    Ambiguous {
        /// The name that was given.
        given: String,
        /// Names of the platforms.
        platforms: String,
    },
    /// No platform has the name.
    #[error("there is no platform '{given}'{remark}; {remedy}")]
    Platform {
        /// The name that was given.
        given: String,
        /// The nearest known one.
        remark: String,
        /// What shows or makes known ones.
        remedy: &'static str,
    },
    /// No tenant has the name.
    #[error("no artist belongs to a tenant '{given}'{remark}; `backline artists list` shows them")]
    Tenant {
        /// The name that was given.
        given: Tenant,
        /// The nearest known one.
        remark: String,
    },
    /// Nothing of this kind has the name.
    #[error("there is no {what} '{given}'{remark}; {remedy}")]
    Other {
        /// What it should be a name of.
        what: &'static str,
        /// The name that was given.
        given: String,
        /// The nearest known one.
        remark: String,
        /// What shows known ones.
        remedy: &'static str,
    },
}

impl Classified for NameError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Store(error) => error.class(),
            Self::Ambiguous { .. } | Self::Platform { .. } | Self::Tenant { .. } | Self::Other { .. } => {
                ErrorClass::Refused
            }
        }
    }
}

/// The platform that is meant: by its own name, or by the name of the connector that collects it.
///
/// # Errors
/// When nothing has the name, or a connector of that name is installed for several platforms.
pub async fn platform(store: &Store, given: &str) -> Result<Platform, NameError> {
    if let Ok(platform) = Platform::new(given)
        && store.platform_is_known(&platform).await?
    {
        return Ok(platform);
    }
    let mut connectors: BTreeMap<String, Vec<Platform>> = BTreeMap::new();
    for release in store.releases_list().await? {
        let platforms = connectors.entry(release.manifest.connector.name.clone()).or_default();
        if !platforms.contains(release.platform()) {
            platforms.push(release.platform().clone());
        }
    }
    match connectors.get(given).map(Vec::as_slice) {
        Some([one]) => return Ok(one.clone()),
        Some(several @ [_, _, ..]) => {
            let names: Vec<&str> = several.iter().map(Platform::as_str).collect();
            return Err(NameError::Ambiguous { given: given.to_owned(), platforms: names.join(", ") });
        }
        Some([]) | None => {}
    }
    let known = store.platforms_list().await?;
    let remedy = match known.len() {
        0 => "no connector is installed; install one with `backline plugins install FILE.wasm`",
        _ => "`backline plugins list` shows those that have a connector",
    };
    let remark = nearest::remark(given, known.iter().map(Platform::as_str));
    Err(NameError::Platform { given: given.to_owned(), remark, remedy })
}

/// Refuses a tenant that no artist belongs to.
///
/// # Errors
/// When no artist has it.
pub async fn expect_tenant(store: &Store, tenant: &Tenant) -> Result<(), NameError> {
    let known = store.tenants_list(&Scope::all_tenants()).await?;
    if known.contains(tenant) {
        return Ok(());
    }
    let remark = nearest::remark(tenant.as_str(), known.iter().map(Tenant::as_str));
    Err(NameError::Tenant { given: tenant.clone(), remark })
}

/// Refuses a metric that no table and no installed connector has.
///
/// # Errors
/// When there is none, or the database fails.
pub async fn expect_metric(store: &Store, given: &str) -> Result<(), NameError> {
    let releases = store.releases_list().await?;
    let declared = releases.iter().flat_map(|release| &release.manifest.metrics).map(|metric| metric.name.as_str());
    let known: BTreeSet<&str> = declared.chain(COLUMNS).collect();
    let remedy = "`backline plugins list` shows the connectors, and docs/metrics.md what each collects";
    expect("metric", given, &known, remedy)
}

/// Refuses a rule of validation that is not in the table.
///
/// # Errors
/// When there is none.
pub fn expect_rule(given: &str) -> Result<(), NameError> {
    let known: BTreeSet<&str> = validate::rules::RULES.iter().map(|rule| rule.id).collect();
    expect("rule of validation", given, &known, "docs/metrics.md lists them")
}

/// Runs that match a filter, the latest first. Where none does at all, a trigger that is none is refused: a slip is not
/// to be taken for a schedule that has not run yet.
///
/// # Errors
/// When there is no such trigger, or the database fails.
pub async fn runs_list(
    store: &Store,
    config: &Config,
    scope: &Scope,
    filter: &RunFilter,
) -> Result<Vec<Run>, NameError> {
    let runs = store.runs_filtered_list(scope, filter).await?;
    // A further page may well be empty.
    if let (true, None, Some(trigger)) = (runs.is_empty(), &filter.before, &filter.trigger) {
        expect_trigger(store, config, scope, trigger).await?;
    }
    Ok(runs)
}

/// Refuses what starts no run and has started none: a schedule's name, `manual`, `activation` and `backfill` do. Who
/// sees one tenant alone sees no schedules, and is not told which there are.
///
/// # Errors
/// When there is none, or the database fails.
pub(in crate::pipeline) async fn expect_trigger(
    store: &Store,
    config: &Config,
    scope: &Scope,
    given: &str,
) -> Result<(), NameError> {
    if scope.only().is_some() || given.starts_with(BACKFILL_SINCE) {
        return Ok(());
    }
    let stored = store.schedules_list().await?;
    let schedules = stored.iter().map(|schedule| &schedule.name).chain(config.schedules.keys()).map(String::as_str);
    let known: BTreeSet<&str> = schedules.chain(NAMES_TAKEN).collect();
    // A schedule that was removed started runs, and one that can't be read is there.
    let filter = RunFilter { trigger: Some(given.to_owned()), limit: Some(1), ..RunFilter::default() };
    let is_left_out = store.unreadable_rows().iter().any(|row| row.table == "schedules" && row.name == given);
    if is_left_out || !store.runs_filtered_list(scope, &filter).await?.is_empty() {
        return Ok(());
    }
    expect("trigger of runs", given, &known, "`backline schedules list` shows schedules")
}

/// Refuses a scope of consents that is a slip of the one that collection needs: a withdrawal under another one
/// withdraws nothing. Any other scope is kept as evidence.
///
/// # Errors
/// When it is a slip.
pub fn expect_consent_scope(given: &str) -> Result<(), NameError> {
    if given == COLLECTING_SCOPE || nearest::nearest(given, [COLLECTING_SCOPE]).is_none() {
        return Ok(());
    }
    let remedy = "collection needs `metrics`, and any other scope is evidence alone";
    expect("scope of consents", given, &BTreeSet::from([COLLECTING_SCOPE]), remedy)
}

/// What a store did to the thing of a name. Where there is none, the error has the nearest of those that there are,
/// which are read only then.
///
/// # Errors
/// That of the store.
pub(in crate::pipeline) async fn or_nearest<T>(
    done: Result<T, StoreError>,
    given: &str,
    known: impl Future<Output = Result<Vec<String>, StoreError>>,
) -> Result<T, StoreError> {
    match done {
        Err(error @ StoreError::NotFound { .. }) => {
            // Without the list, the error says what it said before.
            let known = known.await.unwrap_or_default();
            Err(with_nearest(error, given, known.iter().map(String::as_str)))
        }
        done => done,
    }
}

/// The error of a store that has nothing of a name, with the nearest of the names that there are.
pub(in crate::pipeline) fn with_nearest<'a>(
    error: StoreError,
    given: &str,
    known: impl IntoIterator<Item = &'a str>,
) -> StoreError {
    match error {
        StoreError::NotFound { what, id } => {
            let quoted = format!("'{given}'");
            let meant = nearest::nearest(given, known).map(|name| format!("{quoted}; did you mean '{name}'?"));
            let id = meant.map_or_else(|| id.clone(), |meant| id.replacen(&quoted, &meant, 1));
            StoreError::NotFound { what, id }
        }
        error => error,
    }
}

fn expect(what: &'static str, given: &str, known: &BTreeSet<&str>, remedy: &'static str) -> Result<(), NameError> {
    if known.contains(given) {
        return Ok(());
    }
    let remark = nearest::remark(given, known.iter().copied());
    Err(NameError::Other { what, given: given.to_owned(), remark, remedy })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_scope_that_collection_needs_is_refused_and_another_scope_is_not() {
        for given in ["metric", "Metrics", "metrcis"] {
            let refused = expect_consent_scope(given).expect_err(given).to_string();
            assert!(refused.contains("did you mean 'metrics'?"), "{refused}");
        }
        for given in ["metrics", "marketing", "press"] {
            expect_consent_scope(given).expect(given);
        }
    }

    #[test]
    fn what_is_not_found_by_its_name_is_told_with_the_nearest() {
        let unknown = || StoreError::NotFound { what: "digest", id: "named 'nroth'; a list shows them".to_owned() };
        let told = |known: &[&str]| with_nearest(unknown(), "nroth", known.iter().copied()).to_string();
        let expected = "there is no digest named 'nroth'; did you mean 'north'?; a list shows them";
        assert_eq!(told(&["south", "north"]), expected);
        assert_eq!(told(&["south"]), "there is no digest named 'nroth'; a list shows them");
        let other = StoreError::NotFound { what: "run", id: "1".to_owned() };
        assert_eq!(with_nearest(other, "nroth", ["north"]).to_string(), "there is no run 1");
    }

    #[tokio::test]
    async fn what_there_is_is_read_only_where_there_is_nothing_of_the_name() {
        type Known = Result<Vec<String>, StoreError>;
        let known = async || -> Known { Ok(vec!["south".to_owned(), "north".to_owned()]) };
        let unknown = || StoreError::NotFound { what: "digest", id: "named 'nroth'; a list shows them".to_owned() };
        let told = or_nearest(Err::<(), _>(unknown()), "nroth", known()).await.expect_err("there is none").to_string();
        assert!(told.contains("did you mean 'north'?"), "{told}");
        let unread = async || -> Known { Err(StoreError::NoAnswer { what: "list digests", seconds: 1 }) };
        let told = or_nearest(Err::<(), _>(unknown()), "nroth", unread()).await.expect_err("there is none").to_string();
        assert_eq!(told, "there is no digest named 'nroth'; a list shows them");
        let never = async || -> Known { panic!("nobody asked for it") };
        assert_eq!(or_nearest(Ok(7), "nroth", never()).await.expect("it is done"), 7);
    }
}
