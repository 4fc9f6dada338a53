//! Commands that write a file: what they refuse to write over, and that a failure leaves the old file.

use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _, symlink};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use super::{ARTIST, Place};
use crate::support::components;

/// A command that writes one file, in a folder that has all it reads.
struct Writer {
    place: Place,
    arguments: Vec<String>,
    /// The file it writes, as it is given or derived.
    file: String,
    /// Whether `--force` replaces a file.
    replaces: bool,
    /// Mode of the file, where the umask is 022.
    mode: u32,
}

impl Writer {
    fn of(place: Place, arguments: &[&str], file: &str, replaces: bool, mode: u32) -> Self {
        let arguments = arguments.iter().map(|&argument| argument.to_owned()).collect();
        Self { place, arguments, file: file.to_owned(), replaces, mode }
    }

    /// Every command that writes a file.
    fn all() -> Vec<Self> {
        vec![Self::export(), Self::key(), Self::pack(), Self::signature(), Self::signing_key(), Self::bad_rows()]
    }

    fn export() -> Self {
        let place = Place::migrated();
        place.done(&["artists", "add", "Ada", "--id", ARTIST]);
        Self::of(place, &["privacy", "export", ARTIST, "--out", "ada.zip"], "ada.zip", true, 0o600)
    }

    /// An export of over 100 kB, so that its bound can be above the 32 kB that SQLite needs for a file of its own.
    fn large_export() -> Self {
        let place = Place::migrated();
        let mut state = 1_u32;
        let letters = std::iter::repeat_with(|| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            char::from(b'a' + (state >> 24) as u8 % 26)
        });
        let source: String = letters.take(100_000).collect();
        place.done(&["artists", "add", "Ada", "--id", ARTIST]);
        place.write_row(format!(
            "INSERT INTO consents (artist_id, platform, granted, scope, source, recorded_at)
             VALUES ('{ARTIST}', 'youtube', 0, 'metrics', '{source}', '2026-11-20T02:00:00.000000Z')"
        ));
        Self::of(place, &["privacy", "export", ARTIST, "--out", "ada.zip"], "ada.zip", true, 0o600)
    }

    fn key() -> Self {
        let arguments = ["keys", "generate", "--file", "backline.key"];
        Self::of(Place::empty(), &arguments, "backline.key", false, 0o600)
    }

    fn pack() -> Self {
        let place = Place::empty();
        let core = components::target().join("wasm32-unknown-unknown/plugin/backline_tiktok.wasm");
        std::fs::copy(core, place.path().join("core.wasm")).expect("built by `cargo xtask build`");
        let manifest = components::workspace().join("plugins/tiktok/connector.toml");
        std::fs::copy(manifest, place.path().join("connector.toml")).expect("the manifest");
        Self::of(place, &["plugins", "pack", "core.wasm", "--output", "a.wasm"], "a.wasm", true, 0o644)
    }

    fn signature() -> Self {
        let place = Place::empty();
        std::fs::write(place.path().join("a.wasm"), components::plugin("tiktok")).expect("written");
        place.done(&["plugins", "keygen", "--name", "acme"]);
        Self::of(place, &["plugins", "sign", "a.wasm", "--key", "acme.key"], "a.wasm.minisig", true, 0o644)
    }

    fn signing_key() -> Self {
        Self::of(Place::empty(), &["plugins", "keygen", "--name", "acme"], "acme.key", false, 0o600)
    }

    fn bad_rows() -> Self {
        let place = Place::migrated();
        place.write("artists.csv", &format!("id,name\n{ARTIST},Ada\nx,Bo\n"));
        let arguments = ["artists", "import", "artists.csv", "--skip-bad", "--bad-rows", "bad.ndjson"];
        Self::of(place, &arguments, "bad.ndjson", false, 0o600)
    }

    fn arguments(&self, force: bool) -> Vec<&str> {
        self.arguments.iter().map(String::as_str).chain(force.then_some("--force")).collect()
    }

    fn path(&self) -> std::path::PathBuf {
        self.place.path().join(&self.file)
    }

    /// Runs it with files of at most so many blocks of 512 bytes, as a disk that is full.
    fn run_limited(&self, blocks: u32, force: bool) -> Output {
        let script = format!("umask 022; trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" \"$@\"");
        let mut command = Command::new("sh");
        command.args(["-c", &script, env!("CARGO_BIN_EXE_backline")]).args(self.arguments(force));
        command.current_dir(self.place.path()).stdin(Stdio::null()).output().expect("sh runs")
    }
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Names in a folder, without those that SQLite makes beside its database.
fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .expect("the folder")
        .map(|entry| entry.expect("readable").file_name().to_string_lossy().into_owned())
        .filter(|name| !name.starts_with("backline.db"))
        .collect();
    names.sort();
    names
}

#[test]
fn an_existing_file_is_kept_and_replaced_only_with_force() {
    for writer in Writer::all() {
        let before = names(writer.place.path());
        std::fs::write(writer.path(), "old").expect("written");
        std::fs::set_permissions(writer.path(), std::fs::Permissions::from_mode(0o644)).expect("set");
        let sentence = writer.place.refused(&writer.arguments(false));
        assert!(sentence.contains(&format!("{} exists already; ", writer.file)), "{sentence}");
        assert_eq!(std::fs::read(writer.path()).expect("kept"), b"old");
        if !writer.replaces {
            assert!(writer.place.refused(&writer.arguments(true)).contains("unexpected argument '--force'"));
            continue;
        }
        let done = writer.run_limited(1 << 20, true);
        assert_eq!(done.status.code(), Some(0), "{}", said(&done));
        let file = std::fs::metadata(writer.path()).expect("written");
        assert!(file.len() > 3, "{} was not replaced", writer.file);
        assert_eq!(file.permissions().mode() & 0o777, writer.mode, "{}", writer.file);
        let mut expected = [&before[..], std::slice::from_ref(&writer.file)].concat();
        expected.sort();
        assert_eq!(names(writer.place.path()), expected, "no other file is left");
    }
}

#[test]
fn a_new_file_has_the_mode_that_its_content_needs() {
    for writer in Writer::all() {
        let done = writer.run_limited(1 << 20, false);
        // An import that leaves rows out is done in part.
        let code = if writer.file == "bad.ndjson" { 3 } else { 0 };
        assert_eq!(done.status.code(), Some(code), "{}", said(&done));
        let mode = std::fs::metadata(writer.path()).expect("written").permissions().mode() & 0o777;
        assert_eq!(mode, writer.mode, "{}", writer.file);
    }
}

#[test]
fn anything_but_a_regular_file_is_refused_with_and_without_force() {
    for writer in Writer::all() {
        let path = writer.path();
        let elsewhere = writer.place.path().join("elsewhere");
        let folder = || std::fs::create_dir(&path).expect("made");
        let fifo = || assert!(Command::new("mkfifo").arg(&path).status().expect("mkfifo runs").success());
        let dangling = || symlink("nowhere", &path).expect("made");
        let device = || symlink("/dev/null", &path).expect("made");
        let to_file = || {
            std::fs::write(&elsewhere, "old").expect("written");
            symlink("elsewhere", &path).expect("made");
        };
        let kinds: [(&dyn Fn(), &str); 5] = [
            (&folder, "is a folder"),
            (&fifo, "is a FIFO"),
            (&dangling, "is a symbolic link"),
            (&device, "is a symbolic link"),
            (&to_file, "is a symbolic link"),
        ];
        for (make, kind) in kinds {
            make();
            let found = std::fs::symlink_metadata(&path).expect("made").file_type();
            for force in [false, true].into_iter().filter(|force| !force || writer.replaces) {
                let output = writer.place.run(&writer.arguments(force));
                let said = said(&output);
                assert_eq!(output.status.code(), Some(2), "{} {kind}: {said}", writer.file);
                assert!(said.contains(&format!("{} {kind}", writer.file)), "{said}");
                assert_eq!(std::fs::symlink_metadata(&path).expect("kept").file_type(), found, "{}", writer.file);
            }
            assert!(!writer.place.path().join("nowhere").exists(), "{} was written through a link", writer.file);
            if found.is_dir() { std::fs::remove_dir(&path) } else { std::fs::remove_file(&path) }.expect("removed");
        }
        assert_eq!(std::fs::read(&elsewhere).expect("kept"), b"old", "{} was written through a link", writer.file);
    }
}

/// A device that even root can't replace, since its file system has no other files: a test that fails must not take
/// `/dev/null` from the machine it runs on.
const DEVICE: &str = "/dev/pts/ptmx";

#[test]
fn a_device_is_refused() {
    assert!(std::fs::metadata(DEVICE).expect("there").file_type().is_char_device());
    let place = Writer::export().place;
    let said = place.refused(&["privacy", "export", ARTIST, "--out", DEVICE, "--force"]);
    assert!(said.contains(&format!("{DEVICE} is a device")), "{said}");
}

#[test]
fn a_full_disk_leaves_the_old_file_and_no_other() {
    for (writer, blocks) in [(Writer::large_export(), 100), (Writer::pack(), 16), (Writer::signature(), 0)] {
        let before = names(writer.place.path());
        let full = writer.run_limited(blocks, false);
        assert_failed_to_write(&full, &writer.file);
        assert_eq!(names(writer.place.path()), before, "something is left of {}", writer.file);

        std::fs::write(writer.path(), "old").expect("written");
        let full = writer.run_limited(blocks, true);
        assert_failed_to_write(&full, &writer.file);
        assert_eq!(std::fs::read(writer.path()).expect("kept"), b"old");
        assert_eq!(names(writer.place.path()).len(), before.len() + 1, "something is left of {}", writer.file);
    }
    for writer in [Writer::key(), Writer::signing_key()] {
        assert_failed_to_write(&writer.run_limited(0, false), &writer.file);
        assert_eq!(names(writer.place.path()), Vec::<String>::new(), "something is left of {}", writer.file);
    }
}

fn assert_failed_to_write(output: &Output, file: &str) {
    let said = said(output);
    assert!(!output.status.success() && said.contains("File too large"), "{file}: {said}");
}

#[test]
fn a_dash_is_standard_output() {
    let writer = Writer::pack();
    let output = writer.place.run(&["plugins", "pack", "core.wasm", "--output", "-"]);
    assert!(output.status.success() && output.stdout.starts_with(b"\0asm"), "{}", said(&output));
    let writer = Writer::export();
    let output = writer.place.run(&["privacy", "export", ARTIST, "--out", "-"]);
    assert!(output.status.success() && output.stdout.starts_with(b"PK"), "{}", said(&output));
    assert_eq!(Place::empty().done(&["keys", "generate", "--file", "-"]).trim().len(), 44);
    let writer = Writer::bad_rows();
    let sentence = writer.place.refused(&["artists", "import", "artists.csv", "--skip-bad", "--bad-rows", "-"]);
    assert!(sentence.contains("--bad-rows"), "{sentence}");
    for place in [writer.place, Writer::export().place] {
        assert!(!place.path().join("-").exists());
    }
}
