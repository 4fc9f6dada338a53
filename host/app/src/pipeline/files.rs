//! Files and folders that their owner alone can read, and work on files that ends in time.
//!
//! A folder on a network may not answer for hours, and nothing breaks off a call that waits for it. So nobody waits for
//! such work without a limit, and only a few calls at once can be caught in it: the threads that they hold are also
//! those that compile connectors and look names up.

use std::io::{self, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;

/// How long one piece of file work may take. A disk that is busy answers in far less.
const DONE_WITHIN: Duration = Duration::from_secs(10);

/// Pieces of file work in one folder at once. As many threads may hang.
const AT_ONCE: usize = 4;

/// Work on the files of one folder, off the threads that answer requests and within a time. Cloning shares it.
#[derive(Clone, Debug)]
pub(in crate::pipeline) struct FileWork {
    permits: Arc<Semaphore>,
    within: Duration,
    /// That the folder did not answer the latest piece of work, where it did not.
    trouble: Arc<Mutex<Option<String>>>,
}

impl Default for FileWork {
    fn default() -> Self {
        Self::within(DONE_WITHIN)
    }
}

impl FileWork {
    /// Work of which each piece may take this long.
    pub(in crate::pipeline) fn within(within: Duration) -> Self {
        Self { permits: Arc::new(Semaphore::new(AT_ONCE)), within, trouble: Arc::default() }
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
            let permit = Arc::clone(&self.permits).acquire_owned().await.map_err(io::Error::other)?;
            let work = move || {
                // Held for as long as the thread is.
                let _permit = permit;
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
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = trouble;
        done
    }

    /// That the folder did not answer the latest piece of work, where it did not. Other errors are the caller's.
    pub(in crate::pipeline) fn trouble(&self) -> Option<String> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
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
        let (folder, patient) = (Path::new("/mnt/share"), FileWork::within(Duration::from_secs(60)));
        let files = FileWork { within: Duration::from_millis(20), ..patient.clone() };
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
}
