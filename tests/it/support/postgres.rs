//! A temporary PostgreSQL cluster in its own folder, on a free loopback port.
//!
//! It uses only the standard library, because `cargo xtask` includes this file by its path.
//!
//! A shell supervises the server. It waits on a pipe that this process holds open, so that the server stops and its
//! folder is removed when the cluster is dropped, and also when this process ends without dropping it, as test
//! processes do.

use std::io::Write as _;
use std::net::TcpListener;
use std::os::unix::fs::{DirBuilderExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

/// Maximum wait until the server starts. A loaded machine needs a few seconds.
const START_TIMEOUT: Duration = Duration::from_secs(180);

/// How many ports are tried: another process may take one between the choice and the start.
const PORTS_MAX: u32 = 10;

/// What the server logs when it ends because its port is taken.
const PORT_TAKEN: &str = "could not create any TCP/IP sockets";

/// Script of the supervising shell: `$1` is the folder, the other arguments start the server. With each line that it
/// reads, the server is stopped and started again. The first server alone has the shell's output, to which nothing is
/// written: its reader finds out when that server ends.
const WATCH: &str = r#"trap "" INT TERM HUP
folder=$1
shift
while :; do
    "$@" 3>&1 >>"$folder/log" 2>&1 </dev/null &
    server=$!
    exec >/dev/null
    read -r order || break
    kill -INT "$server"
    wait "$server"
done
kill -QUIT "$server" 2>/dev/null
wait "$server"
rm -rf "$folder""#;

/// A running cluster. Dropping it stops the server and removes its files.
#[derive(Debug)]
pub(crate) struct Cluster {
    port: u16,
    watcher: Child,
}

impl Cluster {
    /// Creates and starts a cluster. It is reachable from this machine only, without a password. Further settings, each
    /// as `name=value`, win over those of every cluster.
    ///
    /// # Errors
    /// A message that names the missing program or the failed step, such as a setting that the server refuses.
    pub fn start(settings: &[&str]) -> Result<Self, String> {
        for _ in 0..PORTS_MAX {
            if let Some(cluster) = Self::start_at_a_port(settings)? {
                return Ok(cluster);
            }
        }
        Err(format!("each of {PORTS_MAX} free ports was taken by another process before the server could listen"))
    }

    /// Starts a cluster at a port that is free. Returns `None` where it is taken meanwhile.
    fn start_at_a_port(settings: &[&str]) -> Result<Option<Self>, String> {
        let programs = programs()?;
        // PostgreSQL refuses to run as root.
        let user = if number("-u", None)? == 0 { Some(unprivileged()?) } else { None };
        let folder = new_folder()?;
        if let Some((user, group)) = user {
            chown(&folder, Some(user), Some(group)).map_err(|error| failed("hand over", &folder, &error))?;
        }
        let command = |program: &Path| {
            let mut command = Command::new(program);
            command.current_dir(&folder);
            if let Some((user, group)) = user {
                command.uid(user).gid(group);
            }
            command
        };
        let data = folder.join("data");
        let made = command(&programs.join("initdb"))
            .args(["--auth=trust", "--username=postgres", "--encoding=UTF8", "--locale=C", "--no-sync", "-D"])
            .arg(&data)
            .output()
            .map_err(|error| failed("run", &programs.join("initdb"), &error))?;
        if !made.status.success() {
            let _ = std::fs::remove_dir_all(&folder);
            return Err(format!("initdb failed: {}", String::from_utf8_lossy(&made.stderr).trim()));
        }

        let port = TcpListener::bind("127.0.0.1:0")
            .and_then(|listener| listener.local_addr())
            .map_err(|error| format!("no free port: {error}"))?
            .port();
        let mut server = command(Path::new("/bin/sh"));
        server.args(["-c", WATCH, "sh"]).arg(&folder).arg(programs.join("postgres")).arg("-D").arg(&data);
        server.args(["-p", &port.to_string()]);
        let own = [
            "listen_addresses=127.0.0.1",
            "unix_socket_directories=",
            // Those of four tests at once, with several hosts each, and of hosts that were killed a moment ago.
            "max_connections=500",
            // Test data need not survive a power failure.
            "fsync=off",
            "synchronous_commit=off",
            "full_page_writes=off",
        ];
        for setting in own.iter().chain(settings) {
            server.args(["-c", setting]);
        }
        let mut watcher = server
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| failed("run", Path::new("/bin/sh"), &error))?;
        let end = end_of(watcher.stdout.take());
        let cluster = Self { port, watcher };

        let started = Instant::now();
        loop {
            // Before the log is read, which then holds all that the server said.
            let has_ended = end.try_recv().is_ok();
            if is_ready(&data) {
                let ready = command(&programs.join("pg_isready"))
                    .args(["-q", "-h", "127.0.0.1", "-p", &port.to_string(), "-U", "postgres"])
                    .status()
                    .map_err(|error| failed("run", &programs.join("pg_isready"), &error))?;
                if ready.success() {
                    return Ok(Some(cluster));
                }
            }
            let log = std::fs::read_to_string(folder.join("log")).unwrap_or_default();
            if log.contains(PORT_TAKEN) {
                return Ok(None);
            }
            if has_ended {
                return Err(format!("the server ended before it accepted connections: {}", log.trim()));
            }
            if started.elapsed() > START_TIMEOUT {
                return Err(format!("the server did not start: {}", log.trim()));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// URL of the `postgres` database.
    #[must_use]
    pub(crate) fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/postgres", self.port)
    }

    /// Lets the server be stopped, as operators stop it, and started again. All connections end, what is not committed
    /// is undone, and no connection is accepted for a moment. It returns before that.
    ///
    /// # Errors
    /// When the supervising shell is gone.
    pub(crate) fn restart(&self) -> std::io::Result<()> {
        let Some(mut orders) = self.watcher.stdin.as_ref() else { return Err(std::io::ErrorKind::BrokenPipe.into()) };
        orders.write_all(b"restart\n")
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        drop(self.watcher.stdin.take());
        let _ = self.watcher.wait();
    }
}

/// Says when every process has ended that may write to a pipe.
fn end_of(pipe: Option<ChildStdout>) -> Receiver<()> {
    let (says, hears) = mpsc::channel();
    std::thread::spawn(move || {
        if let Some(mut pipe) = pipe {
            let _ = std::io::copy(&mut pipe, &mut std::io::sink());
        }
        let _ = says.send(());
    });
    hears
}

/// Whether the server of this folder, and not another one at its port, says that it accepts connections: in the eighth
/// line of its lock file, by which `pg_ctl` waits too.
fn is_ready(data: &Path) -> bool {
    let lock = std::fs::read_to_string(data.join("postmaster.pid")).unwrap_or_default();
    lock.lines().nth(7).is_some_and(|state| state.trim_end() == "ready")
}

/// The folder with PostgreSQL's server programs.
fn programs() -> Result<PathBuf, String> {
    let told = Command::new("pg_config").arg("--bindir").output().ok().filter(|output| output.status.success());
    let told = told.map(|output| PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()));
    let mut found: Vec<PathBuf> = std::fs::read_dir("/usr/lib/postgresql")
        .map(|versions| versions.flatten().map(|version| version.path().join("bin")).collect())
        .unwrap_or_default();
    // The latest version comes last. A client's pg_config may name a folder without a server.
    found.sort();
    found
        .into_iter()
        .chain(told)
        .rev()
        .find(|folder| ["initdb", "postgres", "pg_isready"].iter().all(|program| folder.join(program).is_file()))
        .ok_or_else(|| {
            "PostgreSQL's server programs are missing: install the package postgresql, or set DATABASE_URL".to_owned()
        })
}

/// User and group id for the server if this process runs as root.
fn unprivileged() -> Result<(u32, u32), String> {
    let user = if number("-u", Some("postgres")).is_ok() { "postgres" } else { "nobody" };
    Ok((number("-u", Some(user))?, number("-g", Some(user))?))
}

fn number(which: &str, user: Option<&str>) -> Result<u32, String> {
    let output =
        Command::new("id").arg(which).args(user).output().map_err(|error| format!("failed to run id: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    text.trim().parse().map_err(|_| format!("there is no user {}", user.unwrap_or("id")))
}

fn new_folder() -> Result<PathBuf, String> {
    static CLUSTERS: AtomicU32 = AtomicU32::new(0);
    loop {
        let name = format!("backline-postgres-{}-{}", std::process::id(), CLUSTERS.fetch_add(1, Ordering::Relaxed));
        let folder = std::env::temp_dir().join(name);
        match std::fs::DirBuilder::new().mode(0o700).create(&folder) {
            Ok(()) => return Ok(folder),
            // Left by a process that had this one's number, and was killed together with its supervising shell.
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(failed("create", &folder, &error)),
        }
    }
}

fn failed(what: &str, path: &Path, error: &std::io::Error) -> String {
    format!("failed to {what} {}: {error}", path.display())
}
