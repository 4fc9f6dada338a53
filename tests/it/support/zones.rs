//! Compiled time zones of a known version, which `cargo xtask test` has unpacked.

use std::path::PathBuf;

use super::components;

/// Version of the data, as the folder's own files say it.
pub const VERSION: &str = "2026f";

/// The folder of the compiled files.
pub fn folder() -> PathBuf {
    let folder = components::target().join("tools/tzdata-2026.6/tzdata/zoneinfo");
    assert!(folder.join("Etc/UTC").is_file(), "{} is missing; run `cargo xtask test --suite cli`", folder.display());
    folder
}
