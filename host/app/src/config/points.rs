//! What goes wrong in a process of a build for tests, as its environment says.

use backline_model::kill_points::{Point, die_at};
use backline_model::remedies::{Remedy, without};
use backline_model::weakened::{limit_file_pages, read_only_while};

/// The environment variable that names the point, such as `batch-leased`, or `batch-leased:3` for the third time that
/// it is reached.
pub const DIES_AT_VARIABLE: &str = "WEAKENED_DIES_AT";

/// The environment variable that limits the pages of a SQLite file.
pub const FILE_PAGES_VARIABLE: &str = "WEAKENED_FILE_PAGES_MAX";

/// The environment variable that names a file: while it exists, the process may write to no file of SQLite.
pub const FILE_READ_ONLY_VARIABLE: &str = "WEAKENED_FILE_READ_ONLY_WHILE";

/// The environment variable that names the remedy which is switched off, such as `lock-limit`.
pub const WITHOUT_VARIABLE: &str = "WEAKENED_WITHOUT";

/// Lets go wrong in this process what the environment names.
///
/// # Panics
/// When it names nothing that can: a test would wait for what never comes.
pub(crate) fn let_go_wrong() {
    if let Some(given) = std::env::var_os(FILE_PAGES_VARIABLE) {
        limit_file_pages(given.to_string_lossy().parse().expect("a number of pages"));
    }
    if let Some(mark) = std::env::var_os(FILE_READ_ONLY_VARIABLE) {
        read_only_while(mark.into());
    }
    if let Some(given) = std::env::var_os(WITHOUT_VARIABLE) {
        let remedy = Remedy::ALL.iter().copied().find(|remedy| given.to_str() == Some(remedy.name()));
        assert!(remedy.is_some(), "{WITHOUT_VARIABLE} is '{}', which names no remedy", given.to_string_lossy());
        without(remedy);
    }
    let Some(given) = std::env::var_os(DIES_AT_VARIABLE) else { return };
    let given = given.to_string_lossy();
    let (name, times) = given.split_once(':').unwrap_or((&*given, "1"));
    let point = Point::ALL.iter().find(|point| point.name() == name);
    let (Some(point), Ok(times)) = (point, times.parse()) else {
        panic!("{DIES_AT_VARIABLE} is '{given}', which names no point");
    };
    die_at(*point, times);
}
