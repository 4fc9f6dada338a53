//! Hosts as processes of their own: started, killed, paused and told to stop, as operators and machines do.

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use backline::config::Config;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::stage::Stage;

/// How long a host may take to say that it listens: compiled connectors are on disk by then.
const STARTS_WITHIN: Duration = Duration::from_secs(60);

/// A folder with the configuration that all of a fleet's hosts share.
pub struct Fleet {
    folder: TempDir,
}

/// One host; dropping it kills it.
pub struct HostProcess {
    child: Child,
    /// Where it listens, such as `http://127.0.0.1:4123`.
    pub address: String,
    log: PathBuf,
}

impl Fleet {
    /// Hosts on the stage's database and simulator, with its key, told apart from the stage's own only by being processes.
    pub fn of(stage: &Stage, change: impl FnOnce(&mut Config)) -> Self {
        let mut config = stage.host.config().clone();
        config.service.listen = "127.0.0.1:0".parse().expect("an address");
        config.service.poll_ms = 50;
        config.log.filter = "info".to_owned();
        change(&mut config);
        let folder = tempfile::tempdir().expect("a folder");
        let text = toml::to_string(&config).expect("a configuration is TOML");
        std::fs::write(folder.path().join("backline.toml"), text).expect("written");
        Self { folder }
    }

    /// Starts a host and waits until it listens.
    pub fn start(&self, name: &str) -> HostProcess {
        let log = self.folder.path().join(format!("{name}.log"));
        let file = std::fs::OpenOptions::new().create(true).append(true).open(&log).expect("a log file");
        let mut child = self
            .command(&["serve"])
            .env("BACKLINE_SERVICE__STATE_DIR", self.state_of(name))
            .stdout(Stdio::piped())
            .stderr(file)
            .spawn()
            .expect("the binary starts");
        let (said, hear) = std::sync::mpsc::channel();
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        std::thread::spawn(move || {
            let _ = said.send(lines.next());
            // Read on, so that it never waits for a reader.
            lines.for_each(drop);
        });
        let mut process = HostProcess { child, address: String::new(), log };
        let line = hear.recv_timeout(STARTS_WITHIN).ok().flatten().and_then(Result::ok);
        let line = line.unwrap_or_else(|| panic!("{name} did not start: {}", process.log()));
        let address = line.split_whitespace().find(|word| word.starts_with("http://"));
        process.address = address.unwrap_or_else(|| panic!("no address in '{line}'")).to_owned();
        process
    }

    /// The folder of a host's that outlives its processes.
    pub fn state_of(&self, name: &str) -> PathBuf {
        self.folder.path().join(format!("{name}.state"))
    }

    /// A command of the same installation.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_backline"));
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("BACKLINE_") {
                command.env_remove(name);
            }
        }
        command.current_dir(self.folder.path()).args(arguments).stdin(Stdio::null());
        command
    }
}

impl HostProcess {
    /// Ends it as a power cut would.
    pub fn kill(&mut self) {
        self.child.kill().expect("killed");
        self.child.wait().expect("reaped");
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).expect("a process id")).expect("a process id");
        kill_process(pid, signal).expect("the signal is sent");
    }

    /// Waits until it has ended; panics with its log where it has not within that time.
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

    /// What it wrote to standard error.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for HostProcess {
    fn drop(&mut self) {
        // A stopped process must go on before it can be told to end; SIGKILL does both.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Asks until it is so; panics with what is said where it is not within that time.
pub async fn until<T>(within: Duration, what: &str, mut is_so: impl AsyncFnMut() -> Option<T>) -> T {
    let started = Instant::now();
    let mut look = tokio::time::interval(Duration::from_millis(50));
    loop {
        look.tick().await;
        if let Some(value) = is_so().await {
            return value;
        }
        assert!(started.elapsed() < within, "not within {within:?}: {what}");
    }
}
