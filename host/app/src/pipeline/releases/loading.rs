//! Keeps all releases in use or about to be used loaded, drops the others, and reports the result to the other hosts.
//!
//! So no batch waits for a compilation, and an activation knows before the swap whether every host can run the release.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::time::Instant;

use crate::pipeline::context::ServiceContext;
use crate::pipeline::releases::cache::ReleaseError;
use crate::pipeline::releases::manager::ReleaseManager;
use crate::pipeline::watchdog::{Things, TurnEnd, Undone};
use backline_model::Digest;
use backline_store::{InUse, StoreError};

/// Wait before a release that could not be loaded is tried again, at first and at most: a try may mean a compilation.
const LOAD_AGAIN: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(300));

/// The result of the last attempt to load a release.
struct Attempt {
    /// End of the staging for which it was made.
    staged_until: Option<DateTime<Utc>>,
    /// Why it failed, when to try again, and the wait after that.
    failure: Option<(String, Instant, Duration)>,
}

/// Runs until the service stops.
pub(in crate::pipeline) async fn serve(context: ServiceContext<ReleaseManager>) {
    let mut attempts = HashMap::new();
    while !context.stop.is_cancelled() {
        let releases = context.current();
        let looked = context.stop.run_until_cancelled(look(&context, &releases, &mut attempts)).await;
        if let Some(Err(undone)) = &looked {
            tracing::warn!(error = %undone.error(), "not all releases to load can be read");
        }
        let end = looked.as_ref().map_or(TurnEnd::Skipped, TurnEnd::of_things);
        tokio::select! {
            () = context.rest(end, context.poll_interval()) => {}
            () = context.releases.notified() => {}
        }
    }
}

async fn look(
    context: &ServiceContext<ReleaseManager>,
    releases: &ReleaseManager,
    attempts: &mut HashMap<Digest, Attempt>,
) -> Result<(), Undone<StoreError>> {
    let in_use = releases.store.releases_in_use_list(releases.clock.now()).await?;
    let digests: BTreeSet<Digest> = in_use.iter().map(|release| release.digest).collect();
    attempts.retain(|digest, _| digests.contains(digest));
    releases.cache.keep_only(&digests);
    let mut loaded = Things::default();
    for release in &in_use {
        if is_due(attempts.get(&release.digest), release) {
            context.heartbeat.work(Duration::from_secs(context.config().sandbox.compile.wall_s_max));
            let attempt = load_and_report(context, releases, release, attempts.get(&release.digest)).await;
            // One that can't be read or reported keeps no other one waiting.
            if let Some(attempt) = loaded.note(release.digest, attempt) {
                attempts.insert(release.digest, attempt);
            }
        }
    }
    // A release that is only staged does not keep anything from being collected.
    let failed: Vec<(&InUse, &String)> = in_use
        .iter()
        .filter(|release| release.collects)
        .filter_map(|release| Some((release, &attempts.get(&release.digest)?.failure.as_ref()?.0)))
        .collect();
    releases.cache.block(failed.iter().map(|(release, _)| release.platform.clone()).collect());
    context.condition.not_loaded(failed.into_iter().map(|(_, problem)| problem.clone()).collect());
    loaded.ended()
}

/// Loads a release, and tells the other hosts what came of it.
async fn load_and_report(
    context: &ServiceContext<ReleaseManager>,
    releases: &ReleaseManager,
    release: &InUse,
    before: Option<&Attempt>,
) -> Result<Attempt, StoreError> {
    let attempt = load(releases, release, before).await?;
    let problem = attempt.failure.as_ref().map(|(problem, ..)| problem.as_str());
    releases.store.load_report_save(&context.name, release.digest, problem, releases.clock.now()).await?;
    Ok(attempt)
}

/// Whether to load a release now: it was not tried yet, its retry is due, or it was staged since the last try.
fn is_due(before: Option<&Attempt>, release: &InUse) -> bool {
    let Some(before) = before else { return true };
    let newly_staged = release.staged_until.is_some() && release.staged_until != before.staged_until;
    newly_staged || before.failure.as_ref().is_some_and(|(_, again_at, _)| Instant::now() >= *again_at)
}

/// Loads a release.
///
/// # Errors
/// When the database is away: that says nothing about the release, and neither blocks it nor stops its activation.
async fn load(releases: &ReleaseManager, release: &InUse, before: Option<&Attempt>) -> Result<Attempt, StoreError> {
    let waited = before.and_then(|before| before.failure.as_ref()).map(|(.., wait)| *wait);
    let failure = match releases.cache.prepare(release.digest).await {
        Ok(()) => None,
        Err(ReleaseError::Store(error)) if error.is_outage() => return Err(error),
        Err(error) => {
            let (platform, digest) = (&release.platform, release.digest.short());
            tracing::error!(%platform, %digest, %error, "a connector can't be loaded");
            let wait = waited.map_or(LOAD_AGAIN.0, |wait| (wait * 2).min(LOAD_AGAIN.1));
            let problem = format!("the connector {digest} of {platform} can't be loaded: {error}");
            Some((problem, Instant::now() + wait, wait))
        }
    };
    Ok(Attempt { staged_until: release.staged_until, failure })
}
