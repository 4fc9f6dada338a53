//! `cargo xtask reproduce`: builds the connectors from two clean clones in two folders, and compares their digests.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use sha2::{Digest as _, Sha256};

use crate::build;
use crate::process::{self, say};

/// Builds twice, prints each digest, and says whether all are the same.
///
/// # Errors
/// Names the step that failed.
pub(crate) fn reproduce() -> Result<bool> {
    // One packer for both: it is the host's code, and not what is compared.
    let packer = build::packer()?;
    let folders = [(); 2].map(|()| tempfile::tempdir());
    let mut built = Vec::new();
    for (folder, place) in folders.iter().zip(["a", "another/place"]) {
        let folder = folder.as_ref().map_err(|error| anyhow::anyhow!("failed to create a folder: {error}"))?;
        // Paths of other lengths, so that a path that is compiled in is seen.
        let root = folder.path().join(place);
        say(format!("a clean clone in {}", root.display()));
        clone(&root)?;
        built.push(digests(&build::connectors_of(&root, &root.join("target"), &packer)?)?);
    }
    let lines = compared(&built[0], &built[1]);
    for (_, line) in &lines {
        println!("{line}");
    }
    Ok(lines.iter().all(|(is_same, _)| *is_same))
}

/// What is committed, without anything else that lies here.
fn clone(root: &Path) -> Result<()> {
    process::run(Command::new("git").args(["clone", "--quiet", "--no-local"]).arg(process::workspace_root()).arg(root))
}

fn digests(components: &BTreeMap<String, PathBuf>) -> Result<BTreeMap<String, String>> {
    let digest = |(name, path): (&String, &PathBuf)| {
        let bytes = std::fs::read(path).with_context(|| format!("failed to read {}", path.display()))?;
        let digest: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        Ok::<_, anyhow::Error>((name.clone(), digest))
    };
    components.iter().map(digest).collect()
}

/// A line for each connector, and whether both builds of it are the same.
fn compared(first: &BTreeMap<String, String>, second: &BTreeMap<String, String>) -> Vec<(bool, String)> {
    let names: BTreeSet<&String> = first.keys().chain(second.keys()).collect();
    let line = |name: &String| match (first.get(name), second.get(name)) {
        (Some(one), Some(other)) if one == other => (true, format!("{name}: {one}")),
        (one, other) => {
            let shown = |digest: Option<&String>| digest.map_or("was not built", String::as_str).to_owned();
            (false, format!("{name} differs: {} and {}", shown(one), shown(other)))
        }
    };
    names.into_iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_or_is_missing_is_named() {
        let built = |all: &[(&str, &str)]| -> BTreeMap<String, String> {
            all.iter().map(|(name, digest)| ((*name).to_owned(), (*digest).to_owned())).collect()
        };
        let lines = compared(
            &built(&[("spotify", "aa"), ("tiktok", "bb"), ("youtube", "cc")]),
            &built(&[("spotify", "aa"), ("tiktok", "dd")]),
        );
        let expected = [
            (true, "spotify: aa"),
            (false, "tiktok differs: bb and dd"),
            (false, "youtube differs: cc and was not built"),
        ];
        assert_eq!(lines, expected.map(|(is_same, line)| (is_same, line.to_owned())));
    }
}
