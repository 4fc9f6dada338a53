//! That the release binary is what operators may run: not built with the feature that tests use to switch bounds off.

use anyhow::{Context as _, Result};

use crate::process::{self, say};

/// A text that the host contains only when it is built with the feature `weakened`.
const MARKER: &[u8] = b"BACKLINE-WEAKENED-BUILD";

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
    let bytes = std::fs::read(&path).with_context(|| format!("failed to read {}", path.display()))?;
    let is_weakened = is_marked(&bytes);
    if is_weakened {
        eprintln!(
            "{}: it was built with the feature `weakened`, which is for tests only; build it again",
            path.display()
        );
    }
    Ok(super::step("release binary", !is_weakened))
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
