//! What changed since the release before: what breaks readers, operators or stored documents needs a new major version.

use semver::Version;
use serde_json::Value as Json;

use super::batches::only;
use super::bench::{Bench, Made};
use super::faults::invented;
use super::memory::{Expected, compare, with};
use super::report::CheckResult;
use backline_model::{Digest, Manifest};

/// The release before, and both digests.
pub(super) struct EarlierRelease {
    pub bench: Bench,
    pub digest: Digest,
    pub now: Digest,
}

/// Compares with the release before: the manifests, what each makes of the other's documents, and its state.
pub(super) async fn release(bench: &Bench, alone: &[Made], before: &EarlierRelease) -> CheckResult {
    let mut check = CheckResult::new("release");
    let (old, new) = (&*before.bench.manifest, &*bench.manifest);
    let (from, to) = (&old.connector.version, &new.connector.version);
    check.cases += 1;
    if to < from || (to == from && before.digest != before.now) {
        let why = "the release before has the same version or a newer one; raise the version";
        check.found(format!("{from} to {to}"), why);
    }
    let mut breaking: Vec<(String, String)> = changes(old, new);
    breaking.extend(refused_settings(bench, old, new));
    let mut skipped = None;
    for (account, now) in bench.accounts.iter().zip(alone) {
        let id = &account.platform_id;
        let ran = before.bench.run(std::slice::from_ref(account)).await;
        if let Some(missing) = ran.missing.first() {
            skipped = Some(format!("the release before asks other requests: {missing}"));
            continue;
        }
        // What the release before can't do itself is no change.
        let Ok(made) = only(ran) else { continue };
        if let Some(state) = &made.state {
            let ran = bench.run(&[with(account, state)]).await;
            compare(&mut check, &format!("{id}: with the state of {from}"), now, ran, Expected::All);
        }
        check.cases += 1;
        let case = format!("{id}: the document of {from}");
        match bench.normalize(std::slice::from_ref(&made.body), &bench.around()).await {
            Err(why) => check.found(case, why),
            Ok(snapshots) => match snapshots.into_iter().next() {
                Some(Ok(snapshot)) => {
                    let again = Made { snapshot, ..made.clone() };
                    breaking.extend(other_numbers(&made, &again, old, new).map(|found| (case.clone(), found)));
                }
                Some(Err(why)) => breaking.push((case, format!("normalize refuses it: {why}"))),
                None => check.found(case, "normalize gave no snapshot"),
            },
        }
    }
    if !is_major(from, to) {
        for (case, why) in breaking {
            check.found(case, format!("{why}; this needs a new major version, and {from} to {to} is none"));
        }
    }
    check.skipped = skipped;
    check
}

/// Whether readers expect breaking changes: the first number that is not 0 is another one.
fn is_major(from: &Version, to: &Version) -> bool {
    to.major > from.major || (to.major == 0 && from.major == 0 && to.minor > from.minor)
}

/// What the manifests alone say.
fn changes(old: &Manifest, new: &Manifest) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut add = |case: &str, why: String| found.push((case.to_owned(), why));
    if old.connector.name != new.connector.name {
        add("connector.name", format!("it was {}", old.connector.name));
    }
    if old.connector.platform != new.connector.platform {
        add("connector.platform", format!("it was {}", old.connector.platform));
    }
    for was in &old.metrics {
        let name = was.name.as_str();
        let Some(is) = new.metric(name) else {
            add(name, "the metric is no longer in the catalogue".to_owned());
            continue;
        };
        if was.kind != is.kind {
            add(name, "its kind is another one".to_owned());
        }
        if was.unit != is.unit {
            add(name, format!("its unit was {}", was.unit));
        }
        if was.window_days != is.window_days {
            add(name, "it covers another number of days".to_owned());
        }
        if was.history && !is.history {
            add(name, "it is no longer told of past dates".to_owned());
        }
    }
    for was in &old.credentials {
        // A slot that is gone asks nothing of the operator, and a new one is granted before it is used.
        if new.slot(&was.slot).is_some_and(|is| is.kind != was.kind || is.owner != was.owner) {
            add(
                &was.slot,
                "the slot takes another kind of secret, so that those that are stored are of no use".to_owned(),
            );
        }
    }
    found
}

/// The accounts whose settings were valid and no longer are.
fn refused_settings(bench: &Bench, old: &Manifest, new: &Manifest) -> Vec<(String, String)> {
    let schemas = (jsonschema::validator_for(&old.settings), jsonschema::validator_for(&new.settings));
    let (Ok(old), Ok(new)) = schemas else { return Vec::new() };
    let accounts = bench.accounts.iter().filter_map(|account| {
        let settings: Json = serde_json::from_str(&account.settings).ok()?;
        let is_refused = old.is_valid(&settings) && !new.is_valid(&settings);
        is_refused.then(|| (account.platform_id.clone(), "its settings are no longer valid".to_owned()))
    });
    accounts.collect()
}

/// What became another number, or none, in a stored document. A `[[break]]` that is new says so to readers.
fn other_numbers<'a>(
    was: &'a Made,
    is: &'a Made,
    old: &'a Manifest,
    new: &'a Manifest,
) -> impl Iterator<Item = String> + 'a {
    let breaks =
        |manifest: &Manifest, name: &str| manifest.breaks.iter().filter(|known| known.metric.as_str() == name).count();
    let is_told = move |name: &str| breaks(new, name) > breaks(old, name);
    let gone = was.numbers().into_keys().filter(move |name| new.metric(name).is_some());
    let gone = gone.filter(|name| is.metric(name).is_none_or(|metric| metric.value.is_err()));
    let gone: Vec<&str> = gone.collect();
    let others = invented(was, is).into_iter().filter(|(name, _)| was.metric(name).is_some());
    let others: Vec<String> = others.map(|(name, _)| name).collect();
    let gone = gone.into_iter().map(|name| (name.to_owned(), "is missing in it now"));
    let others = others.into_iter().map(|name| (name, "has another number in it now"));
    gone.chain(others).filter(move |(name, _)| !is_told(name.as_str())).map(|(name, why)| format!("{name} {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use backline_model::fixtures::manifest;

    #[test]
    fn a_major_version_is_the_first_number_that_is_not_zero() {
        for (from, to, major) in [
            ("1.2.3", "2.0.0", true),
            ("1.2.3", "1.3.0", false),
            ("0.1.0", "0.2.0", true),
            ("0.1.0", "0.1.1", false),
            ("0.9.0", "1.0.0", true),
        ] {
            let version = |text: &str| Version::parse(text).expect("a version");
            assert_eq!(is_major(&version(from), &version(to)), major, "{from} to {to}");
        }
    }

    #[test]
    fn what_readers_and_operators_rely_on_is_compared() {
        let old = manifest();
        assert!(changes(&old, &old).is_empty());
        let mut new = old.clone();
        let first = new.metrics.remove(0).name;
        new.metrics[0].unit = "dozens".to_owned();
        new.metrics[0].history = true;
        new.connector.name = "other".to_owned();
        let found = changes(&old, &new);
        assert_eq!(found.len(), 3, "{found:?}");
        assert!(found.iter().any(|(case, why)| case == first.as_str() && why.contains("no longer")), "{found:?}");
        assert!(changes(&new, &old).iter().any(|(_, why)| why.contains("past dates")));
    }
}
