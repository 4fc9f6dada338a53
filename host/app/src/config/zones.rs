//! Where the rules of time zones are read from: a folder that an operator can update, or the copy in this binary.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use backline_model::ZoneData;
use backline_model::zone::{self, FileMark, ZoneFiles};

/// Where systems keep compiled time zones, in order of precedence.
const SYSTEM_FOLDERS: [&str; 3] = ["/usr/share/zoneinfo", "/usr/share/lib/zoneinfo", "/etc/zoneinfo"];

/// How compiled rules begin.
const MAGIC: &[u8] = b"TZif";

/// Most bytes of a zone's file that are read; the largest have under 4 KiB, and fat ones 8.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// Most bytes of a file that are searched for the version; it stands in its first line.
const VERSION_BYTES_MAX: u64 = 4096;

/// Where the rules of time zones are read from.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TimezonesConfig {
    /// Folder of compiled time zones, such as `/usr/share/zoneinfo`; unless given, the system's, or else the copy in
    /// this binary.
    pub folder: Option<PathBuf>,
}

impl TimezonesConfig {
    /// Chooses the data for the whole process, before the first zone is read.
    ///
    /// # Errors
    /// When the configured folder holds no time zones, or other data was chosen before. The text says what to do.
    pub(super) fn install(&self) -> Result<(), String> {
        let folder = match &self.folder {
            None => SYSTEM_FOLDERS.iter().map(Path::new).find(|folder| problem_of(folder).is_none()),
            Some(folder) => match problem_of(folder) {
                None => Some(folder.as_path()),
                Some(problem) => return Err(format!("{problem}; name a folder like {}", SYSTEM_FOLDERS[0])),
            },
        };
        let folder = folder.map(Path::to_path_buf);
        let files = folder.map(|folder| Box::new(Folder(folder)) as Box<dyn ZoneFiles>);
        zone::install(files).map_err(|error| error.to_string())
    }
}

/// What is wrong with a folder as a whole; nothing if its time zones can be read.
fn problem_of(folder: &Path) -> Option<String> {
    match read_at_most(&folder.join("Etc/UTC"), FILE_BYTES_MAX) {
        Ok(Some(file)) if zone::counts_leap_seconds(&file) => {
            Some(format!("{} can't be used ({})", folder.display(), zone::LEAP_SECONDS))
        }
        Ok(Some(file)) if file.starts_with(MAGIC) => None,
        Ok(_) => Some(format!("{} holds no compiled time zones (no Etc/UTC)", folder.display())),
        Err(error) => Some(error.to_string()),
    }
}

/// A folder of compiled time zones.
struct Folder(PathBuf);

impl ZoneFiles for Folder {
    fn read(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        read_at_most(&self.0.join(name), FILE_BYTES_MAX)
    }

    fn mark(&self, name: &str) -> Option<FileMark> {
        let data = std::fs::metadata(self.0.join(name)).ok().filter(std::fs::Metadata::is_file)?;
        Some((data.modified().ok()?, data.len()))
    }

    fn data(&self) -> ZoneData {
        ZoneData::of_folder(self.0.display().to_string(), version_of(&self.0))
    }

    fn problem(&self) -> Option<String> {
        problem_of(&self.0)
    }
}

/// The version of a folder's data, from the files that say it.
fn version_of(folder: &Path) -> Option<String> {
    let first_line = |name: &str| {
        let text = read_at_most(&folder.join(name), VERSION_BYTES_MAX).ok()??;
        String::from_utf8_lossy(&text).lines().next().map(|line| line.trim().to_owned())
    };
    let source = first_line("tzdata.zi").and_then(|line| Some(line.strip_prefix("# version ")?.trim().to_owned()));
    source.or_else(|| first_line("+VERSION")).or_else(|| first_line("version")).filter(|version| is_version(version))
}

/// Whether a text is a version such as `2026f`, or `2026f-rearguard`.
fn is_version(text: &str) -> bool {
    text.len() <= 40
        && text.len() > 4
        && text.bytes().take(4).all(|byte| byte.is_ascii_digit())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

/// The beginning of a file; `None` if there is no such file.
///
/// # Errors
/// When it can't be read. The text names its path.
fn read_at_most(path: &Path, bytes: u64) -> io::Result<Option<Vec<u8>>> {
    use std::io::Read as _;

    let read = || -> io::Result<Option<Vec<u8>>> {
        let file = std::fs::File::open(path)?;
        if !file.metadata()?.is_file() {
            return Ok(None);
        }
        let mut content = Vec::new();
        file.take(bytes).read_to_end(&mut content)?;
        Ok(Some(content))
    };
    match read() {
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
        Err(error) => Err(io::Error::new(error.kind(), format!("{} can't be read: {error}", path.display()))),
        read => read,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_read_from_the_files_that_say_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).expect("written");
        assert_eq!(version_of(folder.path()), None);
        write("+VERSION", "2024a\n");
        assert_eq!(version_of(folder.path()).as_deref(), Some("2024a"));
        write("tzdata.zi", "# version 2026f\n# This zic input file is in the public domain.\nR d 1916 o\n");
        assert_eq!(version_of(folder.path()).as_deref(), Some("2026f"));
        write("tzdata.zi", "# version unknown\n");
        write("+VERSION", "");
        assert_eq!(version_of(folder.path()), None, "no version is shown rather than a wrong one");
    }

    #[test]
    fn a_folder_without_time_zones_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let config = TimezonesConfig { folder: Some(folder.path().to_path_buf()) };
        let error = config.install().expect_err("refused");
        assert!(error.contains("holds no compiled time zones (no Etc/UTC)"), "{error}");
        std::fs::create_dir(folder.path().join("Etc")).expect("created");
        std::fs::write(folder.path().join("Etc/UTC"), "UTC").expect("written");
        assert!(problem_of(folder.path()).is_some(), "what is no TZif file is no time zone");
        std::fs::write(folder.path().join("Etc/UTC"), "TZif2").expect("written");
        assert_eq!(problem_of(folder.path()), None);
        // One part, with a leap second.
        let mut right = vec![0; 44];
        right[..4].copy_from_slice(MAGIC);
        right[31] = 1;
        std::fs::write(folder.path().join("Etc/UTC"), right).expect("written");
        let error = config.install().expect_err("refused");
        assert!(error.contains("counts leap seconds"), "{error}");
    }

    #[test]
    fn what_is_no_file_is_not_read() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::create_dir(folder.path().join("America")).expect("created");
        let files = Folder(folder.path().to_path_buf());
        let read = |name: &str| files.read(name).expect("it can be read");
        assert_eq!((read("America"), files.mark("America")), (None, None));
        assert_eq!((read("America/Vancouver"), files.mark("America/Vancouver")), (None, None));
        std::fs::write(folder.path().join("America/Vancouver"), "TZif").expect("written");
        assert_eq!(read("America/Vancouver").as_deref(), Some(&b"TZif"[..]));
        assert_eq!(read("America/Vancouver/East"), None, "what is below a file is no file");
        let before = files.mark("America/Vancouver").expect("there is a file");
        std::fs::write(folder.path().join("America/Vancouver"), "TZif2").expect("written");
        assert_ne!(files.mark("America/Vancouver"), Some(before), "it has another size");
    }
}
