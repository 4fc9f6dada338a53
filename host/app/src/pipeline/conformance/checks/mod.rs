//! Checks a component against what its platform answered, in the real sandbox and for every language: from the good
//! answers of several accounts it derives what else a platform may answer.

mod batches;
mod bench;
mod declared;
mod faults;
mod history;
mod leaves;
mod memory;
mod paging;
mod release;
mod report;
mod window;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use chrono::NaiveDate;
use serde_json::Value as Json;

use self::bench::{Bench, Made};
use self::release::EarlierRelease;
pub use self::report::{CheckFinding, CheckResult, ConformanceReport};
use crate::config::Config;
use crate::pipeline::conformance::trial::TrialError;
use crate::pipeline::conformance::trial::recording::Recording;
use crate::pipeline::conformance::trial::replay::Replay;
use backline_component::inspect;
use backline_gateway::{Exchange, Gateway};
use backline_model::clock::Clock;
use backline_model::{AccountId, FetchAccount, Grant};
use backline_sandbox::Sandbox;

/// Fewest accounts: with two, a swap and a reversal are the same.
const ACCOUNTS_MIN: usize = 3;

/// What a component is checked with.
#[derive(Clone, Copy, Debug)]
pub struct CheckedWith<'a> {
    /// Folder with the recordings, one folder for each account.
    pub answers: &'a Path,
    /// The packed component of the release before, if there is one to compare with.
    pub before: Option<&'a [u8]>,
    /// The date on which bypasses are looked at, in UTC.
    pub today: NaiveDate,
    /// A part of the cases; all of them unless given.
    pub sample: Option<Sample>,
}

/// A part of the cases of those checks that derive hundreds, spread over all of them.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// Cases of one account in each such check, up to about twice as many.
    pub cases: usize,
    /// Which of them: another number gives others.
    pub seed: usize,
}

/// Runs every check on a component.
///
/// # Errors
/// [`TrialError`] if the checks could not be made at all. What they find is in the report.
pub async fn check_component(
    config: Config,
    component: &[u8],
    with: CheckedWith<'_>,
) -> Result<ConformanceReport, TrialError> {
    let inspection = inspect(component)?;
    let recordings = recordings_in(with.answers)?;
    let first = recordings[0].about.clone();
    let accounts: Vec<FetchAccount> = recordings.iter().map(account).collect();
    let names = accounts.iter().map(|account| account.platform_id.clone()).collect();
    let (gateway, _demands) = Gateway::new(config.gateway.clone(), Clock::fixed(first.observed_at))?;
    let sandbox = Sandbox::new(config.sandbox.clone())?;
    let (connector, _) = sandbox.load(component, inspection.digest, None).await?;
    let bench = Bench {
        connector,
        grant: Arc::new(Grant::all_of(&inspection.manifest, &inspection.imports)),
        manifest: Arc::new(inspection.manifest.clone()),
        gateway,
        accounts,
        answers: Replay::of(recordings),
        window: first.window,
        now: first.observed_at,
        sample: with.sample,
    };
    let before = match with.before {
        None => None,
        Some(component) => {
            let before = inspect(component)?;
            let (connector, _) = sandbox.load(component, before.digest, None).await?;
            let grant = Arc::new(Grant::all_of(&before.manifest, &before.imports));
            let (digest, now) = (before.digest, inspection.digest);
            Some(EarlierRelease { bench: bench.of_another(connector, Arc::new(before.manifest), grant), digest, now })
        }
    };
    let mut checks = checks(&bench, before.as_ref()).await;
    for check in &mut checks {
        check.bypass(&inspection.manifest.bypasses, with.today);
    }
    let info = &inspection.manifest.connector;
    Ok(ConformanceReport {
        connector: info.name.clone(),
        version: info.version.to_string(),
        digest: inspection.digest,
        platform: info.platform.clone(),
        accounts: names,
        checks,
    })
}

async fn checks(bench: &Bench, before: Option<&EarlierRelease>) -> Vec<CheckResult> {
    // The others compare with what each account gets alone, so they wait until that works.
    let (recorded, good) = alone(bench).await;
    let Some((alone, exchanges)) = good else { return vec![recorded] };
    let mut checks = vec![
        recorded,
        declared::catalogue(bench, &alone),
        declared::used(bench, &alone, &exchanges),
        batches::determinism(bench, &alone).await,
        batches::batch(bench, &alone).await,
        batches::isolation(bench, &alone).await,
        declared::cost(bench).await,
        declared::ids(bench).await,
    ];
    let (faults, kept) = faults::faults(bench, &alone, &exchanges).await;
    checks.push(faults);
    checks.push(leaves::leaves(bench, &alone, &exchanges).await);
    checks.push(window::window(bench, &alone).await);
    if bench.connector.takes_history() && bench.manifest.has_history() {
        checks.push(history::history(bench, &alone).await);
    }
    checks.push(paging::paging(bench, &alone, &exchanges).await);
    checks.push(memory::state(bench, &alone, &kept).await);
    checks.push(memory::lost(bench, &alone).await);
    if let Some(before) = before {
        checks.push(release::release(bench, &alone, before).await);
    }
    checks
}

/// What each account gets alone, and its requests; none if any does not work.
async fn alone(bench: &Bench) -> (CheckResult, Option<(Vec<Made>, Vec<Vec<Exchange>>)>) {
    let mut check = CheckResult::new("recorded");
    let (mut alone, mut exchanges) = (Vec::new(), Vec::new());
    for account in &bench.accounts {
        check.cases += 1;
        let mut ran = bench.run(std::slice::from_ref(account)).await;
        exchanges.push(std::mem::take(&mut ran.exchanges));
        match batches::only(ran) {
            Ok(made) => alone.push(made),
            Err(why) => check.found(&account.platform_id, format!("its recording does not give numbers: {why}")),
        }
    }
    let works = check.findings.is_empty();
    (check, works.then_some((alone, exchanges)))
}

fn recordings_in(answers: &Path) -> Result<Vec<Recording>, TrialError> {
    let unreadable = |source: std::io::Error| TrialError::Unreadable { path: answers.to_owned(), source };
    let mut folders: Vec<PathBuf> = Vec::new();
    for entry in std::fs::read_dir(answers).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        // Hidden ones are other programs', or what a killed `try --record` left.
        let is_hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if path.is_dir() && !is_hidden {
            folders.push(path);
        }
    }
    folders.sort();
    let recordings = folders.iter().map(|folder| Recording::load(folder)).collect::<Result<Vec<_>, _>>()?;
    if recordings.len() < ACCOUNTS_MIN {
        let found = recordings.len();
        let problem = format!("the checks need the answers of {ACCOUNTS_MIN} accounts, and it has {found}");
        return Err(TrialError::Recording { path: answers.to_owned(), problem });
    }
    Ok(recordings)
}

fn account(recording: &Recording) -> FetchAccount {
    let settings = &recording.about.settings;
    FetchAccount {
        id: AccountId::generate(),
        platform_id: recording.about.account.clone(),
        settings: if settings.is_null() { "{}".to_owned() } else { Json::to_string(settings) },
        state: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hidden_folders_and_files_are_no_recordings() {
        let answers = tempfile::tempdir().expect("a folder");
        let about = serde_json::json!({
            "format": 1, "connector": "example 1.0.0", "account": "a1", "settings": {},
            "observed_at": "2026-11-28T12:00:00Z",
            "window": { "since": "2026-10-31T12:00:00Z", "until": "2026-11-28T12:00:00Z" },
        });
        for name in ["a1", "a2", "a3"] {
            let folder = answers.path().join(name);
            std::fs::create_dir(&folder).expect("made");
            std::fs::write(folder.join("recording.json"), about.to_string()).expect("written");
            if name == "a2" {
                let few = recordings_in(answers.path()).expect_err("two").to_string();
                assert!(few.contains("need the answers of 3 accounts, and it has 2"), "{few}");
            }
        }
        std::fs::create_dir(answers.path().join(".tmpA")).expect("made");
        std::fs::write(answers.path().join("README.md"), "").expect("written");
        assert_eq!(recordings_in(answers.path()).expect("three").len(), 3);
    }
}
