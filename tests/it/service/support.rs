//! Runs the real binary as a service in its own folder, and stops it with the test.

use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::Instant;

use crate::support::binary;

/// Maximum wait on a loaded machine.
pub const WAIT_MAX: Duration = Duration::from_secs(180);

/// Interval between checks of a condition.
const LOOK: Duration = Duration::from_millis(50);

/// A folder with a configuration.
pub struct Place {
    folder: TempDir,
}

impl Place {
    /// Writes a configuration for a database, on a free port, with additional lines at its end.
    pub fn new(url: &str, more: &str) -> Self {
        let place = Self { folder: tempfile::tempdir().expect("a folder") };
        place.configure(url, more);
        place
    }

    /// Rewrites the configuration.
    pub fn configure(&self, url: &str, more: &str) {
        let text = format!("[database]\nurl = \"{url}\"\n[service]\nlisten = \"127.0.0.1:0\"\n{more}");
        std::fs::write(self.path().join("backline.toml"), text).expect("written");
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// A command of the binary in this folder, without Backline variables in the environment.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::from(binary::command(self.path(), arguments));
        command.env("XDG_STATE_HOME", self.path().join("state"));
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        command
    }

    /// Runs a command. Returns its exit code, standard output and standard error.
    pub async fn run(&self, arguments: &[&str]) -> (Option<i32>, String, String) {
        let output = tokio::time::timeout(WAIT_MAX, self.command(arguments).output()).await;
        let output = output.expect("it ends in time").expect("it starts");
        let text = |bytes| String::from_utf8(bytes).expect("text");
        (output.status.code(), text(output.stdout), text(output.stderr))
    }

    /// Starts a service, and waits until it prints its address.
    pub async fn serve(&self, arguments: &[&str]) -> Serving {
        let log = self.path().join(format!("log-{}", uuid::Uuid::new_v4().simple()));
        let mut command = self.command(&["serve"]);
        command.args(arguments).stderr(std::fs::File::create(&log).expect("a log"));
        let mut child = command.spawn().expect("it starts");
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let line = tokio::time::timeout(WAIT_MAX, lines.next_line()).await.expect("it says so in time");
        let said = || std::fs::read_to_string(&log).expect("a log");
        let line = line.expect("readable").unwrap_or_else(|| panic!("it ended: {}", said()));
        let (name, url) = line.split_once(" listens on ").expect("where it listens");
        let (_, address) = url.split_once("://").expect("a URL");
        let name = name.strip_prefix("backline ").expect("its name").to_owned();
        Serving { child, name, address: address.to_owned(), log }
    }
}

/// A running service.
pub struct Serving {
    child: Child,
    pub name: String,
    pub address: String,
    log: PathBuf,
}

impl Serving {
    /// Sends a signal by its name, such as `TERM`.
    pub async fn signal(&self, name: &str) {
        let id = self.child.id().expect("it runs").to_string();
        let status = Command::new("kill").args([&format!("-{name}"), &id]).status().await.expect("kill runs");
        assert!(status.success());
    }

    /// Waits for the end of the process.
    pub async fn end(&mut self) -> ExitStatus {
        tokio::time::timeout(WAIT_MAX, self.child.wait()).await.expect("it ends in time").expect("it ends")
    }

    /// The log output so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).expect("a log")
    }

    /// Waits until the log contains a text this many times.
    pub async fn logged(&self, text: &str, times: usize) {
        let (until, mut looks) = (Instant::now() + WAIT_MAX, tokio::time::interval(LOOK));
        while self.log().matches(text).count() < times {
            assert!(Instant::now() < until, "'{text}' was not logged {times} times: {}", self.log());
            looks.tick().await;
        }
    }

    /// Sends a GET request. Returns the status, the headers in lower case, and the body.
    pub async fn get(&self, path: &str) -> (u16, String, String) {
        ask(&self.address, &format!("GET {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n")).await
    }

    /// Waits until a GET request for a path returns a status. Returns the body.
    pub async fn answers(&self, path: &str, status: u16) -> String {
        let (until, mut looks) = (Instant::now() + WAIT_MAX, tokio::time::interval(LOOK));
        loop {
            let (found, _, body) = self.get(path).await;
            if found == status {
                return body;
            }
            assert!(Instant::now() < until, "{path} still answers {found}: {body}");
            looks.tick().await;
        }
    }
}

/// Sends a raw request. Returns the status, the headers in lower case, and the body.
pub async fn ask(address: &str, request: &str) -> (u16, String, String) {
    let mut stream = TcpStream::connect(address).await.expect("it listens");
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("answered");
    let (head, body) = answer.split_once("\r\n\r\n").expect("an HTTP answer");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    (status, head.to_ascii_lowercase(), body.to_owned())
}
