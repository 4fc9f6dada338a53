//! For development: a component that appears in a folder is installed, and collects named artists at once.
//!
//! The folder is read at intervals, which works on every file system. A file counts once it has not changed for a whole
//! interval, so that a partly written file is not installed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures::future::BoxFuture;

use crate::pipeline::context::ServiceContext;
use crate::pipeline::releases::install::{Approve, InstallOptions};
use crate::pipeline::releases::manager::ReleaseManager;
use crate::pipeline::watchdog::{TurnEnd, TurnFailure};
use backline_model::{Digest, Platform, ReleaseState};
use backline_store::StoreError;

/// How often the folder is read.
const LOOK: Duration = Duration::from_millis(250);

/// How long an installation may take before the loop counts as stuck: it compiles, and waits for other hosts.
const INSTALL_MAX: Duration = Duration::from_secs(600);

/// Modification time and size: they show that a file has changed without reading it.
type Mark = (SystemTime, u64);

/// Collects with a platform's new build; logs what hinders it.
pub(in crate::pipeline) type Collect = Arc<dyn Fn(Platform) -> BoxFuture<'static, ()> + Send + Sync>;

/// Installs and activates components that appear or change, and collects with each, until the service stops. Problems
/// with a file are logged, and the previous release stays active.
pub(in crate::pipeline) async fn serve(context: ServiceContext<ReleaseManager>, folder: PathBuf, collect: Collect) {
    let mut seen: BTreeMap<PathBuf, Mark> = BTreeMap::new();
    let mut taken: BTreeMap<PathBuf, Mark> = BTreeMap::new();
    while !context.stop.is_cancelled() {
        let end = match marks_in(&folder).await {
            Ok(marks) => {
                for (path, mark) in &marks {
                    if seen.get(path) == Some(mark) && taken.get(path) != Some(mark) {
                        taken.insert(path.clone(), *mark);
                        context.heartbeat.work(INSTALL_MAX);
                        let releases = context.current();
                        let active = context.stop.run_until_cancelled(take_up(&releases, path)).await.flatten();
                        if let Some(platform) = active {
                            collect(platform).await;
                        }
                    }
                }
                seen = marks;
                TurnEnd::Good
            }
            Err(error) => {
                tracing::error!(folder = %folder.display(), %error, "the watched folder can't be read");
                TurnEnd::Failed(TurnFailure::other(&error))
            }
        };
        context.rest(end, LOOK).await;
    }
}

/// The folder's components.
async fn marks_in(folder: &Path) -> std::io::Result<BTreeMap<PathBuf, Mark>> {
    let mut entries = tokio::fs::read_dir(folder).await?;
    let mut marks = BTreeMap::new();
    while let Some(entry) = entries.next_entry().await? {
        let path = entry.path();
        if path.extension().is_some_and(|extension| extension == "wasm")
            // The file may have been removed meanwhile.
            && let Ok(data) = entry.metadata().await
        {
            marks.insert(path, (data.modified()?, data.len()));
        }
    }
    Ok(marks)
}

/// Activates a file's component; the platform that it collects now, if it was not active already.
async fn take_up(releases: &ReleaseManager, path: &Path) -> Option<Platform> {
    let shown = path.display();
    match install(releases, path).await {
        Ok(Some(Taken { name, version, digest, platform })) => {
            tracing::info!(file = %shown, name, version, digest = digest.short(), "collecting with it now");
            Some(platform)
        }
        Ok(None) => {
            tracing::debug!(file = %shown, "it is active already");
            None
        }
        Err(error) => {
            let error: &dyn std::error::Error = &*error;
            tracing::error!(file = %shown, error, "not installed; the previous release stays active");
            None
        }
    }
}

/// A build that was activated.
struct Taken {
    name: String,
    version: String,
    digest: Digest,
    platform: Platform,
}

type AnyError = Box<dyn std::error::Error + Send + Sync>;

/// Activates a file's component; none if it is active already. Older builds of the same file are removed: an author
/// makes one a minute.
async fn install(releases: &ReleaseManager, path: &Path) -> Result<Option<Taken>, AnyError> {
    let component = tokio::fs::read(path).await?;
    let source = path.display().to_string();
    let before = releases.store.release_get(Digest::of(&component)).await?;
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
    let release = releases.install(&component, &options).await?.release;
    remove_builds(releases, &source).await?;
    let connector = release.manifest.connector;
    let (name, version, platform) = (connector.name, connector.version.to_string(), connector.platform);
    Ok(Some(Taken { name, version, digest: release.digest, platform }))
}

async fn remove_builds(releases: &ReleaseManager, source: &str) -> Result<(), StoreError> {
    for release in releases.store.releases_list().await? {
        if release.source == source && !release.active && release.state != ReleaseState::Removed {
            releases.store.release_remove(release.digest, "a later build took its place", releases.clock.now()).await?;
        }
    }
    Ok(())
}
