//! Files and folders that their owner alone can read, and work on files that ends in time.
//!
//! A folder on a network may not answer for hours, and nothing breaks off a call that waits for it. So nobody waits for
//! such work without a limit, and only a few calls at once can be caught in it: the threads that they hold are also
//! those that compile connectors and look names up. They are counted for each folder of this process, not for each who
//! works in it: a reload of the configuration makes others, and the threads hang on.

use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::Semaphore;

/// How long one piece of file work may take. A disk that is busy answers in far less.
const DONE_WITHIN: Duration = Duration::from_secs(10);

/// Pieces of file work in one folder at once. As many threads may hang.
const AT_ONCE: usize = 4;

/// A folder in which this process works.
#[derive(Debug)]
struct Folder {
    permits: Arc<Semaphore>,
    /// That it did not answer the latest piece of work, where it did not.
    trouble: Mutex<Option<String>>,
}

impl Folder {
    fn new() -> Arc<Self> {
        Arc::new(Self { permits: Arc::new(Semaphore::new(AT_ONCE)), trouble: Mutex::default() })
    }

    /// The one of a path: there is one for as long as anyone works in it, or hangs there.
    fn of(path: &Path) -> Arc<Self> {
        static FOLDERS: Mutex<BTreeMap<PathBuf, Weak<Folder>>> = Mutex::new(BTreeMap::new());

        // Without a look at the disk, which may not answer.
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
        let mut folders = FOLDERS.lock().unwrap_or_else(PoisonError::into_inner);
        folders.retain(|_, folder| folder.strong_count() > 0);
        if let Some(known) = folders.get(&path).and_then(Weak::upgrade) {
            return known;
        }
        let new = Self::new();
        folders.insert(path, Arc::downgrade(&new));
        new
    }
}

/// Work on the files of one folder, off the threads that answer requests and within a time. Cloning shares it.
#[derive(Clone, Debug)]
pub(in crate::pipeline) struct FileWork {
    folder: Arc<Folder>,
    within: Duration,
}

impl FileWork {
    /// Work in a folder; in none where there is none.
    pub(in crate::pipeline) fn of(folder: Option<&Path>) -> Self {
        Self { folder: folder.map_or_else(Folder::new, Folder::of), within: DONE_WITHIN }
    }

    /// The same, of which each piece may take this long.
    #[cfg(test)]
    pub(in crate::pipeline) fn within(self, within: Duration) -> Self {
        Self { within, ..self }
    }

    /// Does a piece of work in a folder. Where it takes too long it goes on, and its result is lost.
    ///
    /// # Errors
    /// Those of the work; [`io::ErrorKind::TimedOut`] when the folder does not answer.
    pub(in crate::pipeline) async fn run<T: Send + 'static>(
        &self,
        folder: &Path,
        work: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let done = async {
            let of_folder = Arc::clone(&self.folder);
            let permit = Arc::clone(&of_folder.permits).acquire_owned().await.map_err(io::Error::other)?;
            let work = move || {
                // Held for as long as the thread is.
                let _held = (permit, of_folder);
                work()
            };
            tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(io::Error::other(error)))
        };
        let late = |_| {
            let seconds = self.within.as_secs();
            let text = format!("the folder does not answer within {seconds} s; check its disk or the network");
            Err(io::Error::new(io::ErrorKind::TimedOut, text))
        };
        let done = tokio::time::timeout(self.within, done).await.unwrap_or_else(late);
        let error = done.as_ref().err().filter(|error| error.kind() == io::ErrorKind::TimedOut);
        let trouble = error.map(|error| format!("files in {} can't be used: {error}", folder.display()));
        *self.folder.trouble.lock().unwrap_or_else(PoisonError::into_inner) = trouble;
        done
    }

    /// That the folder did not answer the latest piece of work, where it did not. Other errors are the caller's.
    pub(in crate::pipeline) fn trouble(&self) -> Option<String> {
        self.folder.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Makes a folder where there is none.
pub(in crate::pipeline) fn make_folder(folder: &Path) -> io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

/// Writes a file of a folder as a whole, and waits until it is on disk: its content is the old or the new one, whenever
/// this is broken off, and a link in its place is replaced, not followed. `written` is called before the file takes its
/// place.
pub(in crate::pipeline) fn write_whole(
    folder: &Path,
    file: &Path,
    content: &[u8],
    written: impl FnOnce(),
) -> io::Result<()> {
    // A named temporary file can be read and written by its owner only.
    let mut new = tempfile::NamedTempFile::new_in(folder)?;
    new.write_all(content)?;
    new.as_file().sync_all()?;
    written();
    new.persist(file).map_err(|error| error.error)?;
    // The file's name is on disk only once the folder is synced.
    std::fs::File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn work_that_hangs_holds_up_neither_its_caller_nor_all_threads() {
        // How soon a thread begins and ends is up to the machine, so only what hangs is given a short time.
        let (folder, patient) = (Path::new("/mnt/share"), FileWork::of(None).within(Duration::from_secs(60)));
        let files = patient.clone().within(Duration::from_millis(20));
        assert_eq!(patient.run(folder, || Ok(7)).await.expect("it is done"), 7);
        let (go_on, hangs) = mpsc::channel::<()>();
        let (hangs, begun) = (Arc::new(Mutex::new(hangs)), Arc::new(Mutex::new(0)));
        for _ in 0..AT_ONCE * 3 {
            let (hangs, begun) = (Arc::clone(&hangs), Arc::clone(&begun));
            let work = move || {
                *begun.lock().expect("not poisoned") += 1;
                // Until the sender is gone.
                let _ = hangs.lock().expect("not poisoned").recv();
                Ok(())
            };
            let error = files.run(folder, work).await.expect_err("it hangs");
            assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        }
        assert!(*begun.lock().expect("not poisoned") <= AT_ONCE, "no more threads hang");
        let trouble = files.trouble().expect("it is told");
        assert!(trouble.starts_with("files in /mnt/share can't be used: the folder does not answer"), "{trouble}");

        drop(go_on);
        // It answers again.
        assert_eq!(patient.run(folder, || Ok(8)).await.expect("it is done"), 8);
        assert_eq!(files.trouble(), None);
        let missing = patient.run(folder, || std::fs::metadata("/nowhere/at/all").map(drop)).await;
        assert!(missing.is_err() && files.trouble().is_none(), "it answered");
    }

    #[tokio::test]
    async fn threads_that_hang_in_a_folder_are_counted_across_reloads() {
        let folder = Path::new("/mnt/of-this-test-alone");
        let files = FileWork::of(Some(folder)).within(Duration::from_millis(20));
        let (go_on, hangs) = mpsc::channel::<()>();
        let hangs = Arc::new(Mutex::new(hangs));
        for _ in 0..AT_ONCE {
            let hangs = Arc::clone(&hangs);
            // Until the sender is gone.
            let work = move || hangs.lock().expect("not poisoned").recv().map_err(io::Error::other);
            let error = files.run(folder, work).await.expect_err("it hangs");
            assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        }
        // As a reload does, which makes other workers from the configuration.
        drop(files);
        let next = FileWork::of(Some(folder)).within(Duration::from_millis(20));
        assert!(next.trouble().is_some(), "what is known of the folder stays known");
        let error = next.run(folder, || Ok(())).await.expect_err("all its threads hang");
        assert_eq!((error.kind(), next.folder.permits.available_permits()), (io::ErrorKind::TimedOut, 0));
        let other = FileWork::of(Some(&folder.join("another")));
        assert_eq!(other.folder.permits.available_permits(), AT_ONCE, "another folder has threads of its own");

        drop(go_on);
        let patient = next.clone().within(Duration::from_secs(60));
        patient.run(folder, || Ok(())).await.expect("it answers again");
        assert_eq!(next.trouble(), None);
    }
}
