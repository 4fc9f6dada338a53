//! Runs a program on a core of its own and measures its time, CPU time and memory, as the kernel counts them.

use std::io::Read as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, bail};

use super::interrupt::Interrupt;
use crate::process;

/// Time between two looks at a running process. Its CPU time is read after its end, so only the peak of memory in its
/// last moment can be missed.
const LOOK: Duration = Duration::from_millis(5);

/// Ticks a second in which the kernel tells CPU time to programs; it has been 100 on every Linux for decades.
const TICKS_A_SECOND: f64 = 100.0;

/// The core of the measured program.
pub(crate) const MEASURED_CORE: usize = 0;

/// The core of everything else: database, simulator.
pub(crate) const OTHER_CORE: usize = 1;

/// What a program took.
#[derive(Debug)]
pub(crate) struct Run {
    /// Standard output.
    pub(crate) output: String,
    /// Exit code; none after a signal.
    pub(crate) code: Option<i32>,
    /// Seconds from its start to its end.
    pub(crate) seconds: f64,
    /// When it was started, in Unix seconds.
    pub(crate) began: f64,
    /// Seconds of CPU time, user and system, of the process and the children that it waited for.
    pub(crate) cpu_seconds: f64,
    /// Most resident memory, in bytes.
    pub(crate) peak_bytes: u64,
}

/// Whether programs can be pinned: two cores, and `taskset`.
pub(crate) fn can_pin() -> bool {
    std::thread::available_parallelism().is_ok_and(|cores| cores.get() > OTHER_CORE) && process::is_installed("taskset")
}

/// A command of a program on one core; on any where programs can't be pinned.
pub(crate) fn pinned(program: &Path, core: usize) -> Command {
    if !can_pin() {
        return Command::new(program);
    }
    let mut command = Command::new("taskset");
    command.args(["--cpu-list", &core.to_string()]).arg(program);
    command
}

/// Moves a running process with its threads and its children to one core.
///
/// # Errors
/// If `taskset` refuses it.
pub(crate) fn pin(pid: u32, core: usize) -> Result<()> {
    if !can_pin() {
        return Ok(());
    }
    for pid in children(pid).into_iter().chain([pid]) {
        let mut command = Command::new("taskset");
        command.args(["--all-tasks", "--cpu-list", "--pid", &core.to_string(), &pid.to_string()]);
        // A child may have ended since.
        let (_, code) = process::output(&mut command, None)?;
        if code != 0 && Path::new(&format!("/proc/{pid}")).exists() {
            bail!("`{}` ended with exit code {code}", process::shown(&command));
        }
    }
    Ok(())
}

/// Moves the calling thread to one core, and with it the threads that it starts afterwards.
///
/// # Errors
/// If `taskset` refuses it.
pub(crate) fn pin_this_thread(core: usize) -> Result<()> {
    if !can_pin() {
        return Ok(());
    }
    // `PID/task/THREAD`.
    let link = std::fs::read_link("/proc/thread-self").context("the kernel names no thread")?;
    let thread = link.file_name().and_then(|name| name.to_str()).context("the thread has no number")?;
    let mut command = Command::new("taskset");
    command.args(["--cpu-list", "--pid", &core.to_string(), thread]);
    let (_, code) = process::output(&mut command, None)?;
    if code != 0 {
        bail!("`{}` ended with exit code {code}", process::shown(&command));
    }
    Ok(())
}

/// Runs a program to its end.
///
/// # Errors
/// If it can't be started, or the command is interrupted, which ends it.
pub(crate) fn run(mut command: Command, interrupt: &Interrupt) -> Result<Run> {
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    let (began, started) = (now(), Instant::now());
    let child = command.spawn().with_context(|| format!("failed to start `{}`", process::shown(&command)))?;
    let mut child = Ended(child);
    let mut pipe = child.0.stdout.take().context("standard output was piped")?;
    let reader = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        pipe.read_to_end(&mut bytes).map(|_| String::from_utf8_lossy(&bytes).into_owned())
    });
    let pid = child.0.id();
    let mut peak_bytes = 0;
    let cpu_seconds = loop {
        interrupt.check()?;
        peak_bytes = peak_bytes.max(peak_of(pid).unwrap_or(0));
        // A process that has ended keeps its figures until it is waited for.
        let Some(stat) = Stat::of(pid) else { bail!("the kernel tells nothing of `{}`", process::shown(&command)) };
        if stat.has_ended {
            break stat.own_seconds + stat.children_seconds;
        }
        std::thread::sleep(LOOK);
    };
    let seconds = started.elapsed().as_secs_f64();
    let code = child.0.wait().context("failed to wait for a program")?.code();
    let output = reader.join().ok().context("reading a program's output panicked")?.context("unreadable output")?;
    Ok(Run { output, code, seconds, began, cpu_seconds, peak_bytes })
}

/// A process that is ended when it is dropped.
pub(crate) struct Ended(pub(crate) Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Seconds of CPU time of a server: its first process, the children that have ended, and those that run.
///
/// # Errors
/// If there is no such process.
pub(crate) fn cpu_of_server(pid: u32) -> Result<f64> {
    let server = Stat::of(pid).context("the server has ended")?;
    let running = children(pid).into_iter().filter_map(Stat::of).map(|child| child.own_seconds);
    Ok(server.own_seconds + server.children_seconds + running.sum::<f64>())
}

/// The processes whose parent is this one.
fn children(pid: u32) -> Vec<u32> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|child| Stat::of(*child).is_some_and(|stat| stat.parent == pid)).collect()
}

/// What `/proc/PID/stat` says.
#[derive(Debug, PartialEq)]
struct Stat {
    has_ended: bool,
    parent: u32,
    own_seconds: f64,
    /// Of children that have ended and were waited for.
    children_seconds: f64,
}

impl Stat {
    fn of(pid: u32) -> Option<Self> {
        Self::parse(&std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
    }

    fn parse(text: &str) -> Option<Self> {
        // The name in brackets may hold spaces and brackets.
        let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
        let seconds = |field: usize| Some(fields.get(field)?.parse::<f64>().ok()? / TICKS_A_SECOND);
        Some(Self {
            has_ended: matches!(*fields.first()?, "Z" | "X"),
            parent: fields.get(1)?.parse().ok()?,
            own_seconds: seconds(11)? + seconds(12)?,
            children_seconds: seconds(13)? + seconds(14)?,
        })
    }
}

/// The most resident memory of a process so far, in bytes.
pub(crate) fn peak_of(pid: u32) -> Option<u64> {
    memory_of(pid, "VmHWM:")
}

/// The resident memory of a process now, in bytes.
pub(crate) fn resident_of(pid: u32) -> Option<u64> {
    memory_of(pid, "VmRSS:")
}

/// A line of `/proc/PID/status` that is in kibibytes, in bytes.
fn memory_of(pid: u32, line_name: &str) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(line_name))?;
    line.split_whitespace().next()?.parse::<u64>().ok().map(|kib| kib * 1024)
}

/// Unix seconds.
#[expect(clippy::disallowed_methods, reason = "the host takes a clock; this measures one from outside")]
fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_kernel_is_read_whatever_the_program_is_called() {
        let line = "7 (a) b (c) S 3 7 7 0 -1 4194304 1 2 0 0 150 50 300 100 20 0 1 0 5 6 7";
        let stat = Stat { has_ended: false, parent: 3, own_seconds: 2.0, children_seconds: 4.0 };
        assert_eq!(Stat::parse(line), Some(stat));
        assert!(Stat::parse(&line.replace(" S ", " Z ")).expect("read").has_ended);
        assert_eq!(Stat::parse("7 (a) S 3"), None);
    }

    #[test]
    fn a_program_is_run_to_its_end_and_measured() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo words; exit 3"]);
        let run = run(command, &Interrupt::default()).expect("sh runs");
        assert_eq!((run.output.as_str(), run.code), ("words\n", Some(3)));
        assert!(run.seconds > 0.0 && run.began > 1.7e9, "{run:?}");
    }

    #[test]
    fn a_process_has_memory_and_had_at_least_as_much() {
        // Tests beside this one may take some and give it back meanwhile.
        const MEANWHILE: u64 = 16 << 20;
        let resident = resident_of(std::process::id()).expect("it runs");
        let peak = peak_of(std::process::id()).expect("it runs");
        assert!(resident > 0 && resident <= peak + MEANWHILE, "{resident} of {peak}");
        assert_eq!(memory_of(std::process::id(), "VmNothing:"), None);
    }

    #[test]
    fn one_thread_is_moved_and_the_others_stay() {
        let cores = || {
            let status = std::fs::read_to_string("/proc/thread-self/status").expect("readable");
            let line = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
            line.expect("the kernel tells its cores").trim().to_owned()
        };
        let before = cores();
        // Elsewhere this process may not have the core at all.
        if can_pin() && before.starts_with("0-") {
            let moved = std::thread::spawn(move || pin_this_thread(OTHER_CORE).map(|()| cores()));
            assert_eq!(moved.join().expect("it ends").expect("it is moved"), OTHER_CORE.to_string());
            assert_eq!(cores(), before);
        }
    }

    #[test]
    fn a_server_is_this_process_with_its_children() {
        let child = Ended(Command::new("cat").stdin(Stdio::piped()).spawn().expect("cat runs"));
        assert!(children(std::process::id()).contains(&child.0.id()));
        assert!(cpu_of_server(std::process::id()).is_ok());
    }
}
