//! In development: what an author builds into a folder is collected with as soon as it is there.
//!
//! The folder is looked at in intervals, which works on every file system; a file counts once it has not changed for a whole interval, so that
//! none is taken up half-written.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::pipeline::releases::install::{Approve, InstallOptions};
use crate::pipeline::service::ServiceContext;
use crate::pipeline::{Host, HostError};
use backline_model::{Digest, ReleaseState};

/// How often the folder is looked at.
const LOOK: Duration = Duration::from_millis(250);

/// What tells a file from the one it was before, without reading it.
type Mark = (SystemTime, u64);

/// Installs and activates whatever appears or changes, until the service stops. What is wrong with a file is logged; the release before goes on.
pub(crate) async fn serve(context: ServiceContext, folder: PathBuf) {
    let mut seen: BTreeMap<PathBuf, Mark> = BTreeMap::new();
    let mut taken: BTreeMap<PathBuf, Mark> = BTreeMap::new();
    while !context.stop.is_cancelled() {
        match marks_in(&folder).await {
            Ok(marks) => {
                for (path, mark) in &marks {
                    if seen.get(path) == Some(mark) && taken.get(path) != Some(mark) {
                        taken.insert(path.clone(), *mark);
                        context.stop.run_until_cancelled(take_up(&context.host(), path)).await;
                    }
                }
                seen = marks;
            }
            Err(error) => tracing::error!(folder = %folder.display(), %error, "the watched folder can't be read"),
        }
        context.rest(LOOK).await;
    }
}

/// The folder's components.
async fn marks_in(folder: &Path) -> std::io::Result<BTreeMap<PathBuf, Mark>> {
    let mut entries = tokio::fs::read_dir(folder).await?;
    let mut marks = BTreeMap::new();
    while let Some(entry) = entries.next_entry().await? {
        let path = entry.path();
        if path.extension().is_some_and(|extension| extension == "wasm")
            // One that was removed meanwhile is none.
            && let Ok(data) = entry.metadata().await
        {
            marks.insert(path, (data.modified()?, data.len()));
        }
    }
    Ok(marks)
}

async fn take_up(host: &Host, path: &Path) {
    let shown = path.display();
    match install(host, path).await {
        Ok(Some((name, version, digest))) => {
            tracing::info!(file = %shown, name, version, digest = digest.short(), "collecting with it now");
        }
        Ok(None) => tracing::debug!(file = %shown, "it is active already"),
        Err(error) => {
            let error: &dyn std::error::Error = &*error;
            tracing::error!(file = %shown, error, "not taken up; the release before goes on");
        }
    }
}

type AnyError = Box<dyn std::error::Error + Send + Sync>;

/// Makes a file's component the active one; none where it was. Builds of the same file that are active no longer are removed: an author makes
/// one a minute.
async fn install(host: &Host, path: &Path) -> Result<Option<(String, String, Digest)>, AnyError> {
    let component = tokio::fs::read(path).await?;
    let source = path.display().to_string();
    let before = host.store().release_get(Digest::of(&component)).await?;
    if before.is_some_and(|release| release.active) {
        return Ok(None);
    }
    let options = InstallOptions {
        approve: Approve::All,
        allow_downgrade: true,
        replace_same_version: true,
        source: source.clone(),
        ..InstallOptions::default()
    };
    let release = host.install_release(&component, &options).await?.release;
    remove_builds(host, &source).await?;
    let connector = release.manifest.connector;
    Ok(Some((connector.name, connector.version.to_string(), release.digest)))
}

async fn remove_builds(host: &Host, source: &str) -> Result<(), HostError> {
    for release in host.store().releases_list().await? {
        if release.source == source && !release.active && release.state != ReleaseState::Removed {
            host.store().release_remove(release.digest, "a later build took its place", host.clock().now()).await?;
        }
    }
    Ok(())
}
