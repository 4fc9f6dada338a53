//! Files that commands write: complete or not at all, and replaced only with `--force`.
//!
//! A command writes to a temporary file in the target's folder and renames it when it is complete. A full disk or a
//! crash therefore leaves an existing file as it was. Only a regular file is ever replaced: a rename over a device or a
//! FIFO would take it from other programs, and a write through a link would change a file that the user did not name.

use std::fs::{FileType, Permissions};
use std::io::{self, ErrorKind, IsTerminal as _, Write};
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use super::exit::Failure;

/// Names standard output where a command takes a file.
const STDOUT: &str = "-";

/// Who may read the file.
#[derive(Clone, Copy, Debug)]
pub(in crate::cli) enum Access {
    /// Only its owner (mode 0600): it holds secrets or personal data.
    Private,
    /// Everyone that the process's umask allows.
    Shared,
}

impl Access {
    /// The mode that the file is created with; the system takes the umask's bits away.
    fn mode(self) -> u32 {
        match self {
            Self::Private => 0o600,
            Self::Shared => 0o666,
        }
    }
}

/// What to do if a regular file has the name already. It is replaced with `--force`, or if the command adds to it.
#[derive(Clone, Copy, Debug)]
pub(in crate::cli) struct Existing(Rule);

#[derive(Clone, Copy, Debug)]
enum Rule {
    /// Refuse the command, with this advice.
    Refuse(&'static str),
    /// Replace the file.
    Replace,
}

impl Existing {
    /// For a command without `--force`: it is refused with this advice.
    pub(in crate::cli) const fn refused(advice: &'static str) -> Self {
        Self(Rule::Refuse(advice))
    }

    /// For a command with `--force`.
    pub(in crate::cli) fn forced(force: bool) -> Self {
        if force { Self(Rule::Replace) } else { Self::refused("name another file, or add --force to replace it") }
    }

    /// For a command that has read the file and writes it with more in it, and for what goes with such a file.
    pub(in crate::cli) fn updated() -> Self {
        Self(Rule::Replace)
    }
}

/// Where a command writes its result.
#[derive(Debug)]
pub(in crate::cli) enum Output {
    /// The command was given `-`.
    Stdout,
    /// The command was given a file.
    File(NewFile),
}

impl Output {
    /// Prepares to write to `path`, or to standard output for `-`. Call it before long work, so that a wrong name is
    /// refused at once.
    pub(in crate::cli) fn open(path: &Path, access: Access, existing: Existing) -> Result<Self, Failure> {
        if is_stdout(path) {
            return Ok(Self::Stdout);
        }
        NewFile::create(path, access, existing).map(Self::File)
    }

    /// Refuses to print something that is not text on a terminal.
    pub(in crate::cli) fn expect_no_terminal(&self) -> Result<(), Failure> {
        if matches!(self, Self::Stdout) && io::stdout().is_terminal() {
            return Err(Failure::usage("a terminal can't show a binary file; name a file, or pipe the output"));
        }
        Ok(())
    }

    /// A writer that may outlive this borrow, for work that needs to own it.
    pub(in crate::cli) fn writer(&self) -> Result<Box<dyn Write + Send>, Failure> {
        Ok(match self {
            Self::Stdout => Box::new(io::stdout()),
            Self::File(NewFile { file, path, .. }) => {
                Box::new(file.as_file().try_clone().map_err(|error| not_written(path, &error))?)
            }
        })
    }

    /// Writes the whole content and completes the output.
    pub(in crate::cli) fn finish_with(mut self, bytes: &[u8]) -> Result<(), Failure> {
        match &mut self {
            Self::Stdout => io::stdout().write_all(bytes)?,
            Self::File(file) => file.write(bytes)?,
        }
        self.finish()
    }

    /// Completes the output: the file gets its name.
    pub(in crate::cli) fn finish(self) -> Result<(), Failure> {
        match self {
            Self::Stdout => Ok(io::stdout().flush()?),
            Self::File(file) => file.finish(),
        }
    }
}

/// A file that gets its name when it is complete. Dropped before that, it is removed.
#[derive(Debug)]
pub(in crate::cli) struct NewFile {
    path: PathBuf,
    file: NamedTempFile,
    existing: Existing,
}

impl NewFile {
    /// Creates the temporary file, after the checks of [`check`].
    pub(in crate::cli) fn create(path: &Path, access: Access, existing: Existing) -> Result<Self, Failure> {
        check(path, existing)?;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let file = tempfile::Builder::new()
            .permissions(Permissions::from_mode(access.mode()))
            .tempfile_in(folder)
            .map_err(|error| not_created(path, &error))?;
        Ok(Self { path: path.to_path_buf(), file, existing })
    }

    /// Adds to the file.
    pub(in crate::cli) fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.file.as_file_mut().write_all(bytes).map_err(|error| not_written(&self.path, &error))
    }

    /// Gives the file its name.
    pub(in crate::cli) fn finish(self) -> Result<(), Failure> {
        let Self { path, file, existing } = self;
        file.as_file().sync_all().map_err(|error| not_written(&path, &error))?;
        // Another program may have created something at the path meanwhile.
        check(&path, existing)?;
        let renamed = match existing.0 {
            Rule::Refuse(_) => file.persist_noclobber(&path),
            Rule::Replace => file.persist(&path),
        };
        renamed.map(drop).map_err(|error| not_written(&path, &error.error))
    }
}

/// Writes a file, or to standard output for `-`.
pub(in crate::cli) fn write(path: &Path, bytes: &[u8], access: Access, existing: Existing) -> Result<(), Failure> {
    Output::open(path, access, existing)?.finish_with(bytes)
}

/// Whether a path given to a command means standard output.
pub(in crate::cli) fn is_stdout(path: &Path) -> bool {
    path == Path::new(STDOUT)
}

/// Refuses a path that can't be written: anything there that is not a regular file, and, unless it is to be replaced,
/// a regular file.
pub(in crate::cli) fn check(path: &Path, existing: Existing) -> Result<(), Failure> {
    let shown = path.display();
    if path.as_os_str().as_encoded_bytes().ends_with(b"/") {
        return Err(Failure::usage(format!("{shown} is a folder; name a file in it")));
    }
    // The type of the path itself, not of what a link points to.
    let found = match std::fs::symlink_metadata(path) {
        Ok(found) => found.file_type(),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(not_created(path, &error)),
    };
    match existing.0 {
        _ if found.is_dir() => Err(Failure::usage(format!("{shown} is a folder; name a file in it"))),
        _ if !found.is_file() => {
            let kind = kind(found);
            Err(Failure::usage(format!("{shown} is {kind}, and only a regular file is written; name another file")))
        }
        Rule::Refuse(advice) => Err(Failure::usage(format!("{shown} exists already; {advice}"))),
        Rule::Replace => Ok(()),
    }
}

fn kind(found: FileType) -> &'static str {
    if found.is_symlink() {
        "a symbolic link"
    } else if found.is_fifo() {
        "a FIFO"
    } else if found.is_socket() {
        "a socket"
    } else {
        "a device"
    }
}

/// The temporary file can't be created: nothing was changed, and the usual cause is a wrong path.
fn not_created(path: &Path, error: &io::Error) -> Failure {
    if is_full(error) {
        return not_written(path, error);
    }
    Failure::usage(format!("failed to create {}: {error}; name another file", path.display()))
}

fn not_written(path: &Path, error: &io::Error) -> Failure {
    Failure::failed(format!("failed to write {}: {error}", path.display()))
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;

    use super::*;
    use crate::cli::terminal::exit::Exit;

    const REFUSE: Existing = Existing::refused("name another file");

    fn folder() -> tempfile::TempDir {
        tempfile::tempdir().expect("a folder")
    }

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> = std::fs::read_dir(folder)
            .expect("the folder")
            .map(|entry| entry.expect("readable").file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn an_existing_file_is_kept_unless_it_is_to_be_replaced() {
        let folder = folder();
        let path = folder.path().join("a");
        write(&path, b"old", Access::Shared, REFUSE).expect("nothing is there");
        let failure = write(&path, b"new", Access::Shared, REFUSE).expect_err("it exists");
        assert_eq!(failure.exit, Exit::Usage);
        assert!(failure.message.ends_with("a exists already; name another file"), "{}", failure.message);
        assert_eq!(std::fs::read(&path).expect("kept"), b"old");
        write(&path, b"new", Access::Private, Existing::forced(true)).expect("replaced");
        assert_eq!(std::fs::read(&path).expect("replaced"), b"new");
        let mode = std::fs::metadata(&path).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "a private file is private whatever the old one was");
        assert_eq!(names(folder.path()), ["a"]);
    }

    #[test]
    fn a_file_that_appears_meanwhile_is_kept() {
        let folder = folder();
        let path = folder.path().join("a");
        let mut file = NewFile::create(&path, Access::Shared, REFUSE).expect("nothing is there");
        file.write(b"new").expect("written");
        std::fs::write(&path, "other").expect("written");
        assert_eq!(file.finish().expect_err("it exists").exit, Exit::Usage);
        assert_eq!(std::fs::read(&path).expect("kept"), b"other");
        assert_eq!(names(folder.path()), ["a"], "the temporary file is removed");
    }

    #[test]
    fn an_unfinished_file_leaves_the_old_one_and_nothing_else() {
        let folder = folder();
        let path = folder.path().join("a");
        std::fs::write(&path, "old").expect("written");
        let mut file = NewFile::create(&path, Access::Shared, Existing::forced(true)).expect("it may be replaced");
        file.write(b"half").expect("written");
        drop(file);
        assert_eq!(std::fs::read(&path).expect("kept"), b"old");
        assert_eq!(names(folder.path()), ["a"]);
    }

    #[test]
    fn only_a_regular_file_is_replaced() {
        let folder = folder();
        let at = |name: &str| folder.path().join(name);
        std::fs::create_dir(at("folder")).expect("made");
        std::fs::write(at("file"), "old").expect("written");
        symlink("nowhere", at("dangling")).expect("made");
        symlink("/dev/null", at("to-device")).expect("made");
        symlink("file", at("to-file")).expect("made");
        let _socket = UnixListener::bind(at("socket")).expect("bound");
        let fifo = std::process::Command::new("mkfifo").arg(at("fifo")).status().expect("mkfifo runs");
        assert!(fifo.success());
        let before = names(folder.path());
        for (path, said) in [
            (at("folder"), "is a folder"),
            (at("no-folder/"), "is a folder"),
            (at("dangling"), "is a symbolic link"),
            (at("to-device"), "is a symbolic link"),
            (at("to-file"), "is a symbolic link"),
            (at("socket"), "is a socket"),
            (at("fifo"), "is a FIFO"),
            // Not /dev/null, which a failing test would replace if it runs as root: no file can be created beside this.
            (PathBuf::from("/dev/pts/ptmx"), "is a device"),
            (at("missing/file"), "failed to create"),
            (at("file/below"), "failed to create"),
        ] {
            for existing in [REFUSE, Existing::forced(true)] {
                let failure = write(&path, b"new", Access::Shared, existing).expect_err(said);
                assert_eq!(failure.exit, Exit::Usage, "{path:?}");
                assert!(failure.message.contains(said), "{path:?}: {}", failure.message);
            }
        }
        assert_eq!(names(folder.path()), before);
        assert_eq!(std::fs::read(at("file")).expect("kept"), b"old");
    }
}
