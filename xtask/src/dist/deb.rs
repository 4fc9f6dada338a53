//! A Debian package: an `ar` archive of a version, what dpkg has to know, and the files (deb(5)).

use anyhow::Result;

use super::UNIT;
use super::tar::{self, Entry};

/// What dpkg calls the architecture.
pub(crate) fn architecture(machine: &str) -> &str {
    match machine {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// The package of files that are installed below `/usr`. It starts nothing: the unit needs a configuration first.
///
/// # Errors
/// When a path is too long.
pub(crate) fn package(version: &str, machine: &str, entries: &[Entry]) -> Result<Vec<u8>> {
    let installed: Vec<Entry> = entries.iter().map(below_usr).collect();
    let bytes: usize = installed.iter().map(|entry| entry.bytes.len()).sum();
    let control = Entry::file("./control", control(version, machine, bytes).into_bytes());
    let members = [
        ("debian-binary", b"2.0\n".to_vec()),
        ("control.tar.gz", tar::gzipped(&tar::tar(&[control])?)?),
        ("data.tar.gz", tar::gzipped(&tar::tar(&installed)?)?),
    ];
    let mut package = b"!<arch>\n".to_vec();
    for (name, bytes) in members {
        // Name, time, owner, group, mode and size (ar(5)).
        package.extend(format!("{name:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`\n", 0, 0, 0, 100_644, bytes.len()).bytes());
        package.extend(&bytes);
        if bytes.len() % 2 == 1 {
            package.push(b'\n');
        }
    }
    Ok(package)
}

/// The file as the package has it: the unit starts the program where the package puts it.
fn below_usr(entry: &Entry) -> Entry {
    let mut entry = Entry { path: format!("./usr/{}", entry.path), ..entry.clone() };
    if entry.path.ends_with(UNIT.1) {
        let unit = String::from_utf8_lossy(&entry.bytes).replace("/usr/local/bin/", "/usr/bin/");
        entry.bytes = unit.into_bytes();
    }
    entry
}

fn control(version: &str, machine: &str, bytes: usize) -> String {
    format!(
        "Package: backline\n\
         Version: {version}\n\
         Architecture: {}\n\
         Maintainer: Backline <backline@localhost>\n\
         Installed-Size: {}\n\
         Depends: libc6 (>= 2.36), libgcc-s1, ca-certificates, tzdata\n\
         Section: net\n\
         Priority: optional\n\
         Description: collects artists' daily metrics\n\
         \x20Runs one sandboxed WebAssembly connector per platform, and stores what it\n\
         \x20fetches as daily metrics in SQLite or PostgreSQL.\n",
        architecture(machine),
        bytes.div_ceil(1024)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries() -> Vec<Entry> {
        let unit = b"[Service]\nExecStart=/usr/local/bin/backline serve\n".to_vec();
        vec![Entry::program("bin/backline", vec![1; 3_000]), Entry::file(UNIT.1, unit)]
    }

    #[test]
    fn the_archive_has_the_three_members_in_their_order() {
        let package = package("0.1.0", "x86_64", &entries()).expect("packed");
        let mut rest = package.strip_prefix(b"!<arch>\n").expect("ar's magic");
        let mut names = Vec::new();
        while !rest.is_empty() {
            let header = std::str::from_utf8(&rest[..60]).expect("text");
            assert!(header.ends_with("`\n"), "{header:?}");
            let size: usize = header[48..58].trim().parse().expect("a size");
            names.push(header[..16].trim().to_owned());
            rest = &rest[60 + size.next_multiple_of(2)..];
        }
        assert_eq!(names, ["debian-binary", "control.tar.gz", "data.tar.gz"]);
    }

    #[test]
    fn control_says_what_dpkg_needs_and_the_unit_starts_the_installed_program() {
        let control = control("0.1.0", "aarch64", 3_001);
        assert!(control.contains("\nArchitecture: arm64\n") && control.contains("\nInstalled-Size: 3\n"), "{control}");
        assert!(control.lines().all(|line| line.starts_with(' ') || line.contains(": ")), "{control}");
        let unit = below_usr(&entries()[1]);
        assert_eq!(unit.path, "./usr/lib/systemd/system/backline.service");
        assert_eq!(unit.bytes, b"[Service]\nExecStart=/usr/bin/backline serve\n");
    }

    #[test]
    fn the_repositorys_unit_names_the_program_as_the_package_expects() {
        let unit = std::fs::read_to_string(crate::process::workspace_root().join(UNIT.0)).expect("the unit");
        assert!(unit.contains("\nExecStart=/usr/local/bin/backline serve\n"), "{unit}");
    }
}
