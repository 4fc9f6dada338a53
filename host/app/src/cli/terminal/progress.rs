//! Progress bars on standard error, and everything else that is written while they are shown.
//!
//! All bars belong to one group, and all output is written through [`aside`]: the bars are taken from the terminal,
//! the text is written, and the bars are drawn below it. Nothing overwrites anything else.

use std::io::{self, IsTerminal as _, Write};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, Ordering};

use indicatif::{MultiProgress, ProgressDrawTarget, ProgressStyle};

pub(in crate::cli) use indicatif::ProgressBar;

/// The bars of this process; hidden unless standard error is a terminal.
static BARS: LazyLock<MultiProgress> = LazyLock::new(|| {
    let target = if io::stderr().is_terminal() { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
    MultiProgress::with_draw_target(target)
});

/// Whether there has been a bar. A service has none, and its log must not depend on a terminal that may be closed.
static USED: AtomicBool = AtomicBool::new(false);

/// A bar that counts so many of these things; 0 where the number is not known yet. Its message takes the rest of the
/// line and is cut there.
pub(in crate::cli) fn bar(length: u64, things: &str) -> ProgressBar {
    let rest = "{elapsed_precise}, {eta} left  {wide_msg}";
    let style = ProgressStyle::with_template(&format!("{{bar:20}} {{pos}}/{{len}} {things}  {rest}"));
    add(ProgressBar::new(length), style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

/// A sign of life for work of unknown length, with what it is at.
pub(in crate::cli) fn spinner() -> ProgressBar {
    let style = ProgressStyle::with_template("{spinner} {elapsed_precise}  {wide_msg}");
    add(ProgressBar::new_spinner(), style.unwrap_or_else(|_| ProgressStyle::default_spinner()))
}

fn add(bar: ProgressBar, style: ProgressStyle) -> ProgressBar {
    USED.store(true, Ordering::Relaxed);
    let bar = BARS.add(bar);
    bar.set_style(style);
    bar
}

/// Writes to the terminal while no bar is there. What it calls must not write through this again.
pub(in crate::cli) fn aside<T>(write: impl FnOnce() -> T) -> T {
    if USED.load(Ordering::Relaxed) { BARS.suspend(write) } else { write() }
}

/// Standard error for the log.
pub(in crate::cli) struct LogWriter;

impl Write for LogWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_all(bytes)?;
        Ok(bytes.len())
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        aside(|| io::stderr().lock().write_all(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}
