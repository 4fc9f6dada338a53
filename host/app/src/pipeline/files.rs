//! Files and folders that their owner alone can read.

use std::io::{self, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

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
