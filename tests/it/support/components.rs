//! The components of the tests: built by `cargo xtask build`, read from the target folder.

use std::path::{Path, PathBuf};

/// The repository's root.
pub fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .expect("the crate lies two folders below the root")
        .to_owned()
}

/// A test guest of `tests/guests/examples`.
pub fn guest(name: &str) -> Vec<u8> {
    component("guests", name)
}

/// A first-party connector of `plugins/`.
pub fn plugin(name: &str) -> Vec<u8> {
    component("plugins", name)
}

/// The build folder.
pub fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace().join("target"), PathBuf::from)
}

fn component(group: &str, name: &str) -> Vec<u8> {
    let path = target().join(group).join(format!("{name}.wasm"));
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}; run `cargo xtask build` first", path.display()))
}
