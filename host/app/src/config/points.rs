//! At which point a process of a build for tests ends, as its environment says.

use backline_model::kill_points::{Point, die_at};

/// The environment variable that names the point, such as `batch-leased`, or `batch-leased:3` for the third time that
/// it is reached.
pub const DIES_AT_VARIABLE: &str = "WEAKENED_DIES_AT";

/// Lets this process end at the point that the environment names.
///
/// # Panics
/// When it names none: a test would wait for an end that never comes.
pub(crate) fn arm_kill_point() {
    let Some(given) = std::env::var_os(DIES_AT_VARIABLE) else { return };
    let given = given.to_string_lossy();
    let (name, times) = given.split_once(':').unwrap_or((&*given, "1"));
    let point = Point::ALL.iter().find(|point| point.name() == name);
    let (Some(point), Ok(times)) = (point, times.parse()) else {
        panic!("{DIES_AT_VARIABLE} is '{given}', which names no point");
    };
    die_at(*point, times);
}
