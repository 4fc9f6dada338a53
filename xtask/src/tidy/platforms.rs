//! Platforms are known from their connectors' manifests alone: the host names none of them, so that a connector of a
//! third party is treated as a first-party one.

use super::{Breach, Source};

/// Checks that no file of the host names a platform, or a column of one, outside of its tests and comments.
pub(crate) fn check(sources: &[Source]) -> Vec<Breach> {
    let platforms: Vec<&str> = sources
        .iter()
        .filter(|source| source.path.starts_with("plugins/") && source.path.ends_with("/connector.toml"))
        .filter_map(|source| {
            let line = source.text.lines().find_map(|line| line.trim().strip_prefix("platform = "))?;
            Some(line.trim_matches('"'))
        })
        .collect();
    let host = sources.iter().filter(|source| is_of_the_host(&source.path));
    host.flat_map(|source| check_file(source, &platforms)).collect()
}

fn is_of_the_host(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or_default();
    path.starts_with("host/")
        && path.contains("/src/")
        && name.ends_with(".rs")
        && !path.contains("/tests/")
        && !["tests.rs", "fixtures.rs", "widths.rs"].contains(&name)
}

fn check_file(source: &Source, platforms: &[&str]) -> Vec<Breach> {
    let code = source.text.lines().enumerate().take_while(|(_, line)| line.trim() != "#[cfg(test)]");
    let code = code.filter(|(_, line)| !line.trim_start().starts_with("//"));
    let mut breaches = Vec::new();
    for (index, line) in code {
        // Every second part between quotes is a literal; one that spans lines has no platform's name to itself.
        for literal in line.split('"').skip(1).step_by(2) {
            let names = |platform: &&str| literal == *platform || literal.starts_with(&format!("{platform}_"));
            if let Some(platform) = platforms.iter().copied().find(|platform| names(platform)) {
                let problem = format!(
                    "the host names the platform {platform}; what is special about a platform belongs into its \
                     connector's manifest"
                );
                breaches.push(Breach { path: source.path.clone(), line: index + 1, problem });
            }
        }
    }
    breaches
}

#[cfg(test)]
mod tests {
    use super::*;

    fn breaches(path: &str, text: &str) -> Vec<usize> {
        let file = |path: &str, text: &str| Source { path: path.to_owned(), text: text.to_owned() };
        let manifest = file("plugins/tempo/connector.toml", "[connector]\nname = \"x\"\nplatform = \"tempo_fm\"\n");
        check(&[manifest, file(path, text)]).iter().map(|breach| breach.line).collect()
    }

    #[test]
    fn the_host_names_no_platform() {
        let text = "//! About tempo_fm.\nconst A: [&str; 2] = [\"other\", \"tempo_fm\"];\nlet b = \"tempo_fm_id\";\n";
        assert_eq!(breaches("host/app/src/a.rs", text), [2, 3]);
        assert_eq!(breaches("host/app/src/a.rs", "let a = \"tempo_fmx\"; // \"tempo\"\n"), [0; 0]);
        let tested = "#[cfg(test)]\nmod tests { const A: &str = \"tempo_fm\"; }\n";
        assert_eq!(breaches("host/app/src/a.rs", tested), [0; 0]);
        for elsewhere in ["host/app/src/a/tests.rs", "host/app/benches/a.rs", "tests/it/a.rs", "xtask/src/a.rs"] {
            assert_eq!(breaches(elsewhere, text), [0; 0], "{elsewhere}");
        }
    }
}
