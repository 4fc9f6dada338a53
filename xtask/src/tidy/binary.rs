//! That the release binary is what operators may run: without the feature that tests use to switch bounds off, and of
//! a size that can be handed out.

use std::path::Path;

use anyhow::{Context as _, Result};

use crate::process::{self, say};

/// A text that the host contains only when it is built with the feature `weakened`.
const MARKER: &[u8] = b"BACKLINE-WEAKENED-BUILD";

/// The greatest size of the binary as it is built.
const BYTES_MAX: usize = 60_000_000;

/// Checks the release binary where there is one; says whether it may be handed out.
///
/// # Errors
/// When it can't be read.
pub(crate) fn check() -> Result<bool> {
    let path = process::target_folder().join("release/backline");
    if !path.is_file() {
        say("release binary: not checked, there is none");
        return Ok(true);
    }
    check_file(&path)
}

/// Checks a release binary; says whether it may be handed out.
///
/// # Errors
/// When it can't be read.
pub(crate) fn check_file(path: &Path) -> Result<bool> {
    let bytes = std::fs::read(path).with_context(|| format!("failed to read {}", path.display()))?;
    let problem = problem_of(&bytes);
    if let Some(problem) = &problem {
        eprintln!("{}: {problem}", path.display());
    }
    Ok(super::step("release binary", problem.is_none()))
}

fn problem_of(bytes: &[u8]) -> Option<String> {
    if is_marked(bytes) {
        return Some("it was built with the feature `weakened`, which is for tests only; build it again".to_owned());
    }
    let megabytes = |bytes: usize| bytes / 1_000_000;
    let sizes = (megabytes(bytes.len()), megabytes(BYTES_MAX));
    (bytes.len() > BYTES_MAX).then(|| format!("it has {} MB, more than {}; see [profile.release]", sizes.0, sizes.1))
}

/// Whether some bytes contain the marker.
fn is_marked(bytes: &[u8]) -> bool {
    // The first byte alone rules most places out, which is what takes the time in a build that is not optimised.
    bytes.windows(MARKER.len()).any(|window| window[0] == MARKER[0] && window == MARKER)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_weakened_or_a_large_binary_is_refused() {
        assert_eq!(problem_of(&[0; 100]), None);
        assert_eq!(problem_of(&vec![0; BYTES_MAX]), None);
        let problem = |bytes: &[u8]| problem_of(bytes).expect("refused");
        assert!(problem(&vec![0; BYTES_MAX + 1]).contains("60 MB"));
        assert!(problem(&[&[0; 9], MARKER].concat()).contains("`weakened`"));
    }

    #[test]
    fn the_marker_is_what_the_host_writes_where_bounds_can_be_switched() {
        let path = process::workspace_root().join("host/app/src/config.rs");
        let text = std::fs::read_to_string(path).expect("the host's configuration");
        let marker = std::str::from_utf8(MARKER).expect("a word");
        let version = text.split("pub const VERSION: &str =").nth(1).and_then(|rest| rest.split(';').next());
        let version = version.expect("a constant");
        let (weakened, ordinary) = version.split_once("else").expect("one of two versions");
        assert!(weakened.contains("if CAN_SWITCH {") && weakened.contains(&format!(" {marker}\"")), "{weakened}");
        assert!(!ordinary.contains(marker), "{ordinary}");
    }

    #[test]
    fn the_marker_is_found_wherever_it_stands() {
        for (before, after) in [(0, 0), (0, 9), (1, 0), (1000, 1000)] {
            let mut bytes = vec![b'B'; before];
            assert!(!is_marked(&bytes), "without it");
            bytes.extend(&MARKER[..MARKER.len() - 1]);
            assert!(!is_marked(&bytes), "without its end");
            bytes.extend(&MARKER[MARKER.len() - 1..]);
            bytes.extend(vec![b'D'; after]);
            assert!(is_marked(&bytes), "{before} bytes before it, {after} after it");
        }
    }
}
