//! Hosts as separate processes: started, killed, paused and stopped.

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use backline::config::Config;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::binary;
use super::stage::Stage;

/// Maximum wait until a host listens. Compiled connectors are on disk by then.
const STARTS_WITHIN: Duration = Duration::from_secs(180);

/// How many lines of a host's log are printed when a test fails.
const TROUBLES_MAX: usize = 60;

/// A folder with the configuration shared by all hosts of a fleet.
pub struct Fleet {
    folder: TempDir,
}

/// One host process. Dropping it kills the process.
pub struct HostProcess {
    child: Child,
    /// Base URL of the host, such as `http://127.0.0.1:4123`.
    pub address: String,
    log: PathBuf,
}

impl Fleet {
    /// Hosts with the stage's database, simulator and key, as separate processes.
    pub fn of(stage: &Stage, change: impl FnOnce(&mut Config)) -> Self {
        let mut config = stage.host.config().clone();
        config.service.listen = "127.0.0.1:0".parse().expect("an address");
        config.service.poll_ms = 50;
        config.log.filter = "info".to_owned();
        // Processes use the machine's clock, which is not at the simulated dates.
        config.collection.late_s = u32::MAX;
        change(&mut config);
        let folder = tempfile::tempdir().expect("a folder");
        let text = toml::to_string(&config).expect("a configuration is TOML");
        std::fs::write(folder.path().join("backline.toml"), text).expect("written");
        Self { folder }
    }

    /// Starts a host and waits until it listens.
    pub fn start(&self, name: &str) -> HostProcess {
        self.start_with(name, &[])
    }

    /// The same, with more in its environment.
    pub fn start_with(&self, name: &str, environment: &[(&str, &str)]) -> HostProcess {
        let log = self.folder.path().join(format!("{name}.log"));
        let file = std::fs::OpenOptions::new().create(true).append(true).open(&log).expect("a log file");
        let mut child = self
            .command(&["serve"])
            .env("BACKLINE_SERVICE__STATE_DIR", self.state_of(name))
            .envs(environment.iter().copied())
            .stdout(Stdio::piped())
            .stderr(file)
            .spawn()
            .expect("the binary starts");
        let (said, hear) = std::sync::mpsc::channel();
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        std::thread::spawn(move || {
            let _ = said.send(lines.next());
            // Keep reading, so that the process never blocks on its output.
            lines.for_each(drop);
        });
        let mut process = HostProcess { child, address: String::new(), log };
        let line = hear.recv_timeout(STARTS_WITHIN).ok().flatten().and_then(Result::ok);
        let line = line.unwrap_or_else(|| panic!("{name} did not start: {}", process.log()));
        let address = line.split_whitespace().find(|word| word.starts_with("http://"));
        process.address = address.unwrap_or_else(|| panic!("no address in '{line}'")).to_owned();
        process
    }

    /// The state folder of a host, which outlives its processes.
    pub fn state_of(&self, name: &str) -> PathBuf {
        self.folder.path().join(format!("{name}.state"))
    }

    /// A command with the same configuration.
    pub fn command(&self, arguments: &[&str]) -> Command {
        binary::command(self.folder.path(), arguments)
    }
}

impl HostProcess {
    /// Kills the process, like a power failure.
    pub fn kill(&mut self) {
        self.child.kill().expect("killed");
        self.child.wait().expect("reaped");
    }

    /// Sends the process a signal.
    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).expect("a process id")).expect("a process id");
        kill_process(pid, signal).expect("the signal is sent");
    }

    /// Waits until the process has ended. Panics with its log if that takes longer than `within`.
    pub async fn ended(&mut self, within: Duration) -> ExitStatus {
        let started = Instant::now();
        let mut look = tokio::time::interval(Duration::from_millis(20));
        loop {
            look.tick().await;
            if let Some(status) = self.child.try_wait().expect("its state is known") {
                return status;
            }
            assert!(started.elapsed() < within, "it did not end within {within:?}: {}", self.log());
        }
    }

    /// The last warnings and errors in its log.
    fn troubles(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().filter(|line| line.contains("WARN") || line.contains("ERROR")).collect();
        lines[lines.len().saturating_sub(TROUBLES_MAX)..].join("\n")
    }

    /// The process's standard error so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for HostProcess {
    fn drop(&mut self) {
        if std::thread::panicking() {
            #[expect(clippy::print_stderr, reason = "says what the host found, to a person who looks for the cause")]
            {
                eprintln!("{}:\n{}", self.log.display(), self.troubles());
            }
        }
        // SIGKILL also ends a stopped process.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Repeats a check until it returns a value. Panics with `what` if that takes longer than `within`.
pub async fn until<T>(within: Duration, what: &str, is_so: impl AsyncFnMut() -> Option<T>) -> T {
    until_told(within, async || what.to_owned(), is_so).await
}

/// The same; `what` is asked for only when it took too long.
pub async fn until_told<T>(
    within: Duration,
    what: impl AsyncFn() -> String,
    mut is_so: impl AsyncFnMut() -> Option<T>,
) -> T {
    let started = Instant::now();
    let mut look = tokio::time::interval(Duration::from_millis(50));
    loop {
        look.tick().await;
        if let Some(value) = is_so().await {
            return value;
        }
        assert!(started.elapsed() < within, "not within {within:?}: {}", what().await);
    }
}
