//! The machine that figures were measured on.

use std::process::Command;

use serde::{Deserialize, Serialize};

use crate::process;

/// What a reader has to know of the machine and of what ran on it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Machine {
    /// Model of the processor.
    pub(crate) cpu: String,
    /// Cores that this process may use.
    pub(crate) cores: usize,
    /// Memory in bytes.
    pub(crate) memory_bytes: u64,
    /// Name and release of the kernel.
    pub(crate) kernel: String,
    pub(crate) rustc: String,
    pub(crate) postgresql: String,
    /// Commit that was built; `-dirty` after it where files were changed.
    pub(crate) commit: String,
}

impl Machine {
    /// This machine. What can't be found out is `unknown`.
    pub(crate) fn this(postgresql: &str) -> Self {
        let file = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        Self {
            cpu: value(&file("/proc/cpuinfo"), "model name").unwrap_or_else(unknown),
            cores: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            memory_bytes: value(&file("/proc/meminfo"), "MemTotal")
                .and_then(|text| text.split_whitespace().next()?.parse::<u64>().ok())
                .map_or(0, |kib| kib * 1024),
            kernel: said("uname", &["-sr"]),
            rustc: said("rustc", &["--version"]),
            postgresql: postgresql.to_owned(),
            commit: commit(),
        }
    }

    /// What differs from another machine, or from what ran on it; nothing that either does not know counts.
    pub(crate) fn difference(&self, other: &Self) -> Option<String> {
        let pairs = [
            ("commit", &self.commit, &other.commit),
            ("processor", &self.cpu, &other.cpu),
            ("kernel", &self.kernel, &other.kernel),
            ("compiler", &self.rustc, &other.rustc),
            ("PostgreSQL", &self.postgresql, &other.postgresql),
        ];
        let differs = |(_, one, other): &(&str, &String, &String)| !one.is_empty() && !other.is_empty() && one != other;
        if let Some((what, one, other)) = pairs.into_iter().find(differs) {
            return Some(format!("its {what} is {one}, and that of this run is {other}"));
        }
        (self.cores != other.cores).then(|| format!("it has {} cores, and this run {}", self.cores, other.cores))
    }

    /// All of it in one sentence.
    pub(crate) fn line(&self) -> String {
        let Self { cpu, cores, kernel, rustc, postgresql, commit, .. } = self;
        let gigabytes = self.memory_bytes / 1_000_000_000;
        format!("{cpu}, {cores} cores, {gigabytes} GB, {kernel}, {rustc}, PostgreSQL {postgresql}, commit {commit}")
    }
}

/// The value of the first line `name : value`.
fn value(text: &str, name: &str) -> Option<String> {
    text.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == name).then(|| value.trim().to_owned())
    })
}

/// The commit, with `-dirty` after it where files were changed. The page that the figures are written into is none of
/// what is measured.
fn commit() -> String {
    let commit = said("git", &["describe", "--always"]);
    match said("git", &["status", "--porcelain", "--untracked-files=no", "--", ".", ":!docs"]).as_str() {
        "" => commit,
        _ => format!("{commit}-dirty"),
    }
}

fn said(program: &str, arguments: &[&str]) -> String {
    let mut command = Command::new(program);
    command.current_dir(process::workspace_root()).args(arguments);
    match process::output(&mut command, None) {
        Ok((text, 0)) => text.trim().to_owned(),
        _ => unknown(),
    }
}

fn unknown() -> String {
    "unknown".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_the_kernels_files_are_found_by_name() {
        let text = "processor\t: 0\nmodel name\t: Example CPU @ 2.00GHz\nMemTotal:  16 kB\n";
        assert_eq!(value(text, "model name").as_deref(), Some("Example CPU @ 2.00GHz"));
        assert_eq!(value(text, "MemTotal").as_deref(), Some("16 kB"));
        assert_eq!(value(text, "model"), None);
    }

    #[test]
    fn machines_differ_by_what_both_know() {
        let of = |commit: &str, postgresql: &str| Machine {
            commit: commit.to_owned(),
            postgresql: postgresql.to_owned(),
            cores: 2,
            ..Machine::default()
        };
        assert_eq!(of("a", "15.4").difference(&of("a", "")), None, "the server was not asked yet");
        assert!(of("a", "15.4").difference(&of("a", "16.1")).is_some_and(|text| text.contains("PostgreSQL")));
        assert!(of("a", "").difference(&of("b", "")).is_some_and(|text| text.contains("commit")));
        assert!(of("a", "").difference(&Machine { cores: 4, ..of("a", "") }).is_some());
    }

    #[test]
    fn the_line_holds_what_was_found() {
        let machine = Machine { cpu: "Example".into(), cores: 2, memory_bytes: 24_000_000_000, ..Machine::default() };
        assert!(machine.line().starts_with("Example, 2 cores, 24 GB, "), "{}", machine.line());
    }
}
