//! Keeps every release loaded that batches are collected with or are about to be, lets go of the others, and tells the other hosts how it went.
//!
//! So no batch waits for a compiler, and whoever activates a release knows before the swap whether every host can run it.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::time::Instant;

use crate::pipeline::service::ServiceContext;
use crate::pipeline::{Host, HostError};
use backline_model::Digest;
use backline_store::InUse;

/// How long a release that could not be loaded is left alone, at first and at most: trying may mean compiling.
const LOAD_AGAIN: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(300));

/// What the last attempt to load a release came to.
struct Attempt {
    /// For which staging it was made.
    staged_until: Option<DateTime<Utc>>,
    /// Why it failed, when it is tried again, and how long is waited after that.
    failure: Option<(String, Instant, Duration)>,
}

/// Goes on until the service stops.
pub(crate) async fn serve(context: ServiceContext) {
    let mut attempts = HashMap::new();
    while !context.stop.is_cancelled() {
        let host = context.host();
        // Readiness asks the database by itself.
        if let Some(Err(error)) = context.stop.run_until_cancelled(look(&context, &host, &mut attempts)).await {
            tracing::warn!(%error, "it can't be looked up which connectors are to be loaded");
        }
        tokio::select! {
            () = context.rest(Duration::from_millis(host.config().service.poll_ms)) => {}
            () = context.releases.notified() => {}
        }
    }
}

async fn look(context: &ServiceContext, host: &Host, attempts: &mut HashMap<Digest, Attempt>) -> Result<(), HostError> {
    let in_use = host.store().releases_in_use_list(host.clock().now()).await?;
    let digests: BTreeSet<Digest> = in_use.iter().map(|release| release.digest).collect();
    attempts.retain(|digest, _| digests.contains(digest));
    host.releases().keep_only(&digests);
    for release in &in_use {
        if is_due(attempts.get(&release.digest), release) {
            let attempt = load(host, release, attempts.get(&release.digest)).await;
            let problem = attempt.failure.as_ref().map(|(problem, ..)| problem.as_str());
            host.store().load_report_save(&context.name, release.digest, problem, host.clock().now()).await?;
            attempts.insert(release.digest, attempt);
        }
    }
    // One that is only about to be activated keeps nothing from being collected.
    let failed: Vec<(&InUse, &String)> = in_use
        .iter()
        .filter(|release| release.collects)
        .filter_map(|release| Some((release, &attempts.get(&release.digest)?.failure.as_ref()?.0)))
        .collect();
    host.releases().block(failed.iter().map(|(release, _)| release.platform.clone()).collect());
    context.condition.not_loaded(failed.into_iter().map(|(_, problem)| problem.clone()).collect());
    Ok(())
}

/// Whether a release is to be loaded now: it never was, its time to be tried again has come, or somebody waits for it who did not before.
fn is_due(before: Option<&Attempt>, release: &InUse) -> bool {
    let Some(before) = before else { return true };
    let newly_staged = release.staged_until.is_some() && release.staged_until != before.staged_until;
    newly_staged || before.failure.as_ref().is_some_and(|(_, again_at, _)| Instant::now() >= *again_at)
}

async fn load(host: &Host, release: &InUse, before: Option<&Attempt>) -> Attempt {
    let waited = before.and_then(|before| before.failure.as_ref()).map(|(.., wait)| *wait);
    let failure = match host.releases().prepare(release.digest).await {
        Ok(()) => None,
        Err(error) => {
            let (platform, digest) = (&release.platform, release.digest.short());
            tracing::error!(%platform, %digest, %error, "a connector can't be loaded");
            let wait = waited.map_or(LOAD_AGAIN.0, |wait| (wait * 2).min(LOAD_AGAIN.1));
            let problem = format!("the connector {digest} of {platform} can't be loaded: {error}");
            Some((problem, Instant::now() + wait, wait))
        }
    };
    Attempt { staged_until: release.staged_until, failure }
}
