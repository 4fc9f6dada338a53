//! Archives in the POSIX ustar format, whose bytes depend on nothing but the names, modes and contents of the files.

use std::io::Write as _;

use anyhow::{Context as _, Result};
use flate2::{Compression, GzBuilder};

/// Size of a block, in bytes.
const BLOCK: usize = 512;

/// Longest name, in bytes: POSIX.1-1988, `name` of the header.
const NAME_BYTES: usize = 100;

/// Longest folder before a name, in bytes: `prefix` of the header.
const PREFIX_BYTES: usize = 155;

/// A file of an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Its path, without a slash before it.
    pub(crate) path: String,
    pub(crate) mode: u32,
    pub(crate) bytes: Vec<u8>,
}

impl Entry {
    /// A file that is read.
    pub(crate) fn file(path: &str, bytes: Vec<u8>) -> Self {
        Self { path: path.to_owned(), mode: 0o644, bytes }
    }

    /// A file that is run.
    pub(crate) fn program(path: &str, bytes: Vec<u8>) -> Self {
        Self { path: path.to_owned(), mode: 0o755, bytes }
    }
}

/// An archive of the files in the order of their paths, with the folders they lie in, all of 1970 and of root.
///
/// # Errors
/// When a path is too long.
pub(crate) fn tar(entries: &[Entry]) -> Result<Vec<u8>> {
    let mut entries: Vec<&Entry> = entries.iter().collect();
    entries.sort_by(|a, b| a.path.cmp(&b.path));
    let mut folders: Vec<String> = Vec::new();
    let mut archive = Vec::new();
    for entry in entries {
        for (end, _) in entry.path.match_indices('/') {
            let folder = entry.path[..=end].to_owned();
            if !folders.contains(&folder) {
                archive.extend(header(&folder, 0o755, 0, b'5')?);
                folders.push(folder);
            }
        }
        archive.extend(header(&entry.path, entry.mode, entry.bytes.len(), b'0')?);
        archive.extend(&entry.bytes);
        archive.resize(archive.len().next_multiple_of(BLOCK), 0);
    }
    // Two empty blocks end it.
    archive.resize(archive.len() + 2 * BLOCK, 0);
    Ok(archive)
}

/// The bytes, compressed, without a name and a time.
///
/// # Errors
/// Never in memory.
pub(crate) fn gzipped(bytes: &[u8]) -> Result<Vec<u8>> {
    // 255 stands for an unknown system (RFC 1952).
    let mut packer = GzBuilder::new().mtime(0).operating_system(255).write(Vec::new(), Compression::best());
    packer.write_all(bytes)?;
    packer.finish().context("failed to compress")
}

fn header(path: &str, mode: u32, size: usize, kind: u8) -> Result<[u8; BLOCK]> {
    let (prefix, name) = split(path).with_context(|| format!("{path} is too long for an archive"))?;
    let mut header = [0; BLOCK];
    let mut put = |at: usize, text: &[u8]| header[at..at + text.len()].copy_from_slice(text);
    put(0, name.as_bytes());
    put(100, format!("{mode:07o}").as_bytes());
    // Owner and group by number, size, and time.
    put(108, b"0000000");
    put(116, b"0000000");
    put(124, format!("{size:011o}").as_bytes());
    put(136, b"00000000000");
    // The sum is counted as if it were blanks.
    put(148, b"        ");
    put(156, &[kind]);
    put(257, b"ustar\x0000");
    put(265, b"root");
    put(297, b"root");
    put(345, prefix.as_bytes());
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    Ok(header)
}

/// A path as the header holds it: what is too long for the name stands in the prefix.
fn split(path: &str) -> Option<(&str, &str)> {
    if path.len() <= NAME_BYTES {
        return Some(("", path));
    }
    let inner = path.strip_suffix('/').unwrap_or(path);
    let mut cuts = inner.match_indices('/').map(|(at, _)| at);
    let at = cuts.find(|at| *at <= PREFIX_BYTES && path.len() - at - 1 <= NAME_BYTES)?;
    Some((&path[..at], &path[at + 1..]))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    fn entries() -> Vec<Entry> {
        let long = format!("share/{}/{}.1", "m".repeat(60), "p".repeat(60));
        vec![
            Entry::file("share/doc/readme", b"text".to_vec()),
            Entry::file(&long, vec![7; BLOCK]),
            Entry::program("bin/backline", vec![1; 700]),
        ]
    }

    #[test]
    fn tar_reads_files_folders_modes_and_times_back() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("a.tar.gz");
        std::fs::write(&file, gzipped(&tar(&entries()).expect("archived")).expect("compressed")).expect("written");
        let listed = Command::new("tar").env("TZ", "UTC").args(["-tvzf"]).arg(&file).output().expect("tar runs");
        assert!(listed.status.success(), "{}", String::from_utf8_lossy(&listed.stderr));
        let listed = String::from_utf8(listed.stdout).expect("text");
        let lines: Vec<Vec<&str>> = listed.lines().map(|line| line.split_whitespace().collect()).collect();
        let names: Vec<&str> = lines.iter().map(|line| line[5]).collect();
        let long = format!("share/{}/", "m".repeat(60));
        assert_eq!(names[..2], ["bin/", "bin/backline"]);
        assert_eq!(names[2..5], ["share/", "share/doc/", "share/doc/readme"]);
        assert_eq!(names[5], long);
        assert!(lines.iter().all(|line| line[1] == "root/root" && line[3] == "1970-01-01"), "{listed}");
        assert_eq!((lines[1][0], lines[1][2]), ("-rwxr-xr-x", "700"));
        let unpacked = Command::new("tar").arg("-xzf").arg(&file).arg("-C").arg(folder.path()).status();
        assert!(unpacked.expect("tar runs").success());
        for entry in entries() {
            assert_eq!(
                std::fs::read(folder.path().join(&entry.path)).expect("unpacked"),
                entry.bytes,
                "{}",
                entry.path
            );
        }
    }

    #[test]
    fn the_order_of_files_does_not_matter() {
        let mut turned = entries();
        turned.reverse();
        assert_eq!(tar(&entries()).expect("archived"), tar(&turned).expect("archived"));
        assert_eq!(tar(&[]).expect("archived"), vec![0; 2 * BLOCK]);
    }

    #[test]
    fn a_path_that_no_header_holds_is_refused() {
        assert_eq!(split("a/b"), Some(("", "a/b")));
        assert_eq!(split(&"x".repeat(101)), None);
        let long = format!("{}/{}", "a".repeat(155), "b".repeat(100));
        assert_eq!(split(&long).map(|(prefix, name)| (prefix.len(), name.len())), Some((155, 100)));
        assert_eq!(split(&format!("a{long}")), None);
    }
}
