//! A temporary OCI registry: Debian's `docker-registry` on a free loopback port.
//!
//! A shell supervises it, as in `postgres`, so that it stops when this process ends.

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::components;

/// Maximum wait until the registry starts on a loaded machine.
const STARTS_WITHIN: Duration = Duration::from_secs(180);

/// Script of the supervising shell: it runs the registry until its input pipe is closed.
const WATCH: &str = r#"trap "" INT TERM HUP
"$@" </dev/null &
server=$!
cat >/dev/null
kill -KILL "$server" 2>/dev/null
wait "$server""#;

/// A running registry. Dropping it stops the registry and removes its files.
pub struct Registry {
    folder: TempDir,
    address: String,
    watcher: Child,
}

impl Registry {
    /// Starts an empty registry without authentication.
    pub fn start() -> Self {
        Self::start_with("")
    }

    /// Starts a registry with additional lines in its configuration.
    pub fn start_with(more: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let config = folder.path().join("config.yml");
        let text = format!(
            "version: 0.1\nlog:\n  level: info\nstorage:\n  filesystem:\n    rootdirectory: {}\n\
             http:\n  addr: 127.0.0.1:0\n{more}",
            folder.path().join("data").display()
        );
        std::fs::write(&config, text).expect("written");
        let mut watcher = Command::new("/bin/sh")
            .args(["-c", WATCH, "sh"])
            .arg(program())
            .arg("serve")
            .arg(&config)
            .env("OTEL_TRACES_EXPORTER", "none")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("a shell starts");
        let lines = BufReader::new(watcher.stderr.take().expect("piped")).lines();
        let (said, hear) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            // Keep reading after the start, so that the registry never blocks on its output.
            for line in lines.map_while(Result::ok) {
                let _ = said.send(line);
            }
        });
        let (started, mut log) = (Instant::now(), Vec::new());
        let address = loop {
            let left = STARTS_WITHIN.saturating_sub(started.elapsed());
            let Ok(line) = hear.recv_timeout(left) else { panic!("the registry did not start: {}", log.join("\n")) };
            if let Some((_, rest)) = line.split_once("listening on 127.0.0.1:") {
                let port: String = rest.chars().take_while(char::is_ascii_digit).collect();
                break format!("127.0.0.1:{port}");
            }
            log.push(line);
        };
        Self { folder, address, watcher }
    }

    /// Host and port.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The file with a blob's bytes.
    pub fn blob_file(&self, digest: &str) -> PathBuf {
        let hex = digest.strip_prefix("sha256:").expect("a SHA-256 digest");
        let blobs = self.folder.path().join("data/docker/registry/v2/blobs/sha256");
        blobs.join(&hex[..2]).join(hex).join("data")
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        drop(self.watcher.stdin.take());
        let _ = self.watcher.wait();
    }
}

/// The system's program, or the one `cargo xtask test` has unpacked.
fn program() -> PathBuf {
    let unpacked = components::target().join("tools/docker-registry/usr/bin/docker-registry");
    let path = std::env::var_os("PATH").unwrap_or_default();
    let installed = std::env::split_paths(&path).map(|folder| folder.join("docker-registry"));
    installed.chain([unpacked]).find(|path| path.is_file()).unwrap_or_else(|| {
        panic!(
            "docker-registry is missing: run `cargo xtask test --suite hotswap`, or install the package docker-registry"
        )
    })
}
