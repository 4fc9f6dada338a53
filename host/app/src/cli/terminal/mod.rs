//! What all commands print, write out and end with: text and tables, JSON, files, progress, the log, exit codes.

pub(super) mod exit;
pub(super) mod log;
pub(super) mod output;
pub(super) mod print;
pub(super) mod progress;
mod table;
pub(super) mod timeline;
#[cfg(test)]
mod widths;
