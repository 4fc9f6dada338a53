//! An index of connectors: a file that someone hosts, in which operators search and from which they install by name.
//!
//! It is signed as components are. It only says where a component is and what its digest is: who must have signed the
//! component, and where it may come from, is decided as for one that the operator named directly.

use std::collections::BTreeSet;
use std::path::Path;

use chrono::{DateTime, Utc};
use semver::Version;
use serde::{Deserialize, Serialize};

use super::inspect::Inspection;
use super::source::{Source, SourceError};
use backline_model::manifest::Manifest;
use backline_model::metric::MetricName;
use backline_model::nearest::remark;
use backline_model::origin::OriginPattern;
use backline_model::text::misleads;
use backline_model::{Digest, Platform};

/// Largest index that is read, in bytes: thousands of connectors with dozens of releases each.
pub const INDEX_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Characters that are shown before the first one in which a text differs from the one that the index has.
const SAME_CHARS_SHOWN: usize = 16;

/// The format that is written and read.
const FORMAT: u32 = 1;

/// JSON Schema (draft 7) of an index.
pub const INDEX_SCHEMA: &str = include_str!("index.schema.json");

/// An index of connectors.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Index {
    /// Version of the format: 1.
    pub format: u32,
    /// When it was last changed.
    pub updated_at: DateTime<Utc>,
    /// The connectors, by name.
    pub connectors: Vec<IndexedConnector>,
}

/// A connector of an index.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IndexedConnector {
    /// Name of the connector.
    pub name: String,
    /// Platform that it collects.
    pub platform: Platform,
    /// Title of the newest release.
    pub title: String,
    /// Description of the newest release.
    #[serde(default)]
    pub description: String,
    /// Its releases, the newest version first.
    pub releases: Vec<IndexedRelease>,
}

/// A release of an index.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IndexedRelease {
    /// Version of the release.
    pub version: Version,
    /// SHA-256 digest of the component.
    pub digest: Digest,
    /// Where it is: `https://…`, `oci://…`, or a path relative to the index.
    pub source: String,
    /// Size of the component, in bytes.
    pub size_bytes: u64,
    /// Metrics that it may report.
    pub metrics: Vec<MetricName>,
    /// Hosts that it may send requests to.
    pub hosts: Vec<OriginPattern>,
}

/// Why an index can't be used.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// Not JSON, or not in the form of an index.
    #[error("it is not an index of connectors: {0}; `backline plugins schema --index` prints its form")]
    Form(String),
    /// Made by a later version.
    #[error("it has format {0}, and this version reads format {FORMAT}; update `backline`")]
    Format(u32),
    /// An entry that is not valid.
    #[error("its entry of {0} {1}; `backline plugins index add` writes valid ones")]
    Entry(String, String),
    /// No such connector.
    #[error("it has no connector '{name}'{remark}")]
    NoConnector {
        /// The name that was searched for.
        name: String,
        /// The nearest name, if there is one.
        remark: String,
    },
    /// No such version.
    #[error("it has no version {version} of {name}; it has {known}")]
    NoVersion {
        /// Name of the connector.
        name: String,
        /// The version that was searched for.
        version: Version,
        /// The versions that it has.
        known: String,
    },
    /// The version stands in the index with other bytes.
    #[error(
        "it has {name} {version} with the digest {digest} already; raise the version in connector.toml, or add --force"
    )]
    Exists {
        /// Name of the connector.
        name: String,
        /// Version of the release.
        version: Version,
        /// Digest that the index has.
        digest: Digest,
    },
    /// The connector stands in the index for another platform.
    #[error("it has a connector {name} for {known}, not for {given}; choose another name")]
    OtherPlatform {
        /// Name of the connector.
        name: String,
        /// Platform in the index.
        known: Platform,
        /// Platform of the component.
        given: Platform,
    },
    /// A source that can't be used.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// A component that is not what the index says.
    #[error("the index says that it is {indexed}, and it is {actual}; report it to the index's owner")]
    Other {
        /// What the index says.
        indexed: String,
        /// What the component is.
        actual: String,
    },
}

impl Index {
    /// An index without connectors.
    #[must_use]
    pub fn empty(now: DateTime<Utc>) -> Self {
        Self { format: FORMAT, updated_at: now, connectors: Vec::new() }
    }

    /// Reads an index and checks every entry.
    ///
    /// # Errors
    /// [`IndexError`] says which entry is wrong.
    pub fn parse(bytes: &[u8]) -> Result<Self, IndexError> {
        #[derive(Deserialize)]
        struct Head {
            format: u32,
        }
        let form = |error: serde_json::Error| IndexError::Form(error.to_string());
        // A later format may have other keys.
        let head: Head = serde_json::from_slice(bytes).map_err(form)?;
        if head.format != FORMAT {
            return Err(IndexError::Format(head.format));
        }
        let index: Self = serde_json::from_slice(bytes).map_err(form)?;
        let mut names = BTreeSet::new();
        for connector in &index.connectors {
            connector.check().map_err(|problem| IndexError::Entry(shown(&connector.name), problem))?;
            if !names.insert(&connector.name) {
                return Err(IndexError::Entry(connector.name.clone(), "stands there twice".to_owned()));
            }
        }
        Ok(index)
    }

    /// The index as it is written.
    #[must_use]
    pub fn to_text(&self) -> String {
        let text = serde_json::to_string_pretty(self).unwrap_or_default();
        format!("{text}\n")
    }

    /// The connectors that have every one of these words in their name, platform, title, description, metrics or hosts;
    /// all of them for no word.
    pub fn search(&self, words: &[String]) -> Vec<&IndexedConnector> {
        let words: Vec<String> = words.iter().map(|word| word.to_lowercase()).collect();
        let has = |connector: &IndexedConnector| {
            let text = connector.searched();
            words.iter().all(|word| text.contains(word.as_str()))
        };
        self.connectors.iter().filter(|connector| has(connector)).collect()
    }

    /// A release by its connector's name; without a version, the highest one that is no pre-release, if there is one.
    ///
    /// # Errors
    /// If there is none, with the names or versions that there are.
    pub fn find(
        &self,
        name: &str,
        version: Option<&Version>,
    ) -> Result<(&IndexedConnector, &IndexedRelease), IndexError> {
        let Some(connector) = self.connectors.iter().find(|connector| connector.name == name) else {
            let names: Vec<&str> = self.connectors.iter().map(|connector| connector.name.as_str()).collect();
            return Err(IndexError::NoConnector { name: shown(name), remark: remark(name, names) });
        };
        let found = match version {
            Some(version) => connector.releases.iter().find(|release| release.version == *version),
            None => connector.newest(),
        };
        let release = found.ok_or_else(|| {
            let known: Vec<String> = connector.releases.iter().map(|release| release.version.to_string()).collect();
            let version = version.cloned().unwrap_or(Version::new(0, 0, 0));
            IndexError::NoVersion { name: name.to_owned(), version, known: known.join(", ") }
        })?;
        Ok((connector, release))
    }

    /// Adds a release of a component that lies at `source`.
    ///
    /// # Errors
    /// If the version stands there with other bytes and is not to be replaced, or the source can't be used.
    pub fn add(
        &mut self,
        inspection: &Inspection,
        source: &str,
        replace: bool,
        now: DateTime<Utc>,
    ) -> Result<(), IndexError> {
        let Inspection { manifest, digest, size_bytes, .. } = inspection;
        let Manifest { connector: info, hosts, metrics, .. } = manifest;
        let release = IndexedRelease {
            version: info.version.clone(),
            digest: *digest,
            source: source.to_owned(),
            size_bytes: *size_bytes,
            metrics: metrics.iter().map(|metric| metric.name.clone()).collect(),
            hosts: hosts.iter().map(|host| host.origin.clone()).collect(),
        };
        release.check().map_err(|problem| IndexError::Entry(info.name.clone(), problem))?;
        let at = match self.connectors.iter().position(|connector| connector.name == info.name) {
            Some(at) => at,
            None => {
                let at = self.connectors.iter().filter(|connector| connector.name < info.name).count();
                let connector = IndexedConnector {
                    name: info.name.clone(),
                    platform: info.platform.clone(),
                    title: String::new(),
                    description: String::new(),
                    releases: Vec::new(),
                };
                self.connectors.insert(at, connector);
                at
            }
        };
        let connector = &mut self.connectors[at];
        if connector.platform != info.platform {
            let (known, given) = (connector.platform.clone(), info.platform.clone());
            return Err(IndexError::OtherPlatform { name: info.name.clone(), known, given });
        }
        if let Some(there) = connector.releases.iter().position(|there| there.version == release.version) {
            let known = &connector.releases[there];
            if known.digest != release.digest && !replace {
                let (version, digest) = (known.version.clone(), known.digest);
                return Err(IndexError::Exists { name: info.name.clone(), version, digest });
            }
            connector.releases.remove(there);
        }
        let before = connector.releases.iter().filter(|there| there.version > release.version).count();
        connector.releases.insert(before, release);
        if before == 0 {
            (connector.title, connector.description) = (info.title.clone(), info.description.clone());
        }
        // What is written can be read again: one entry that can't would cost all others.
        connector.check().map_err(|problem| IndexError::Entry(info.name.clone(), problem))?;
        self.updated_at = now;
        Ok(())
    }
}

impl IndexedConnector {
    /// The highest version that is no pre-release, or else the highest one.
    #[must_use]
    pub fn newest(&self) -> Option<&IndexedRelease> {
        let newest = |finished: bool| {
            let releases = self.releases.iter().filter(|release| !finished || release.version.pre.is_empty());
            releases.max_by(|a, b| a.version.cmp(&b.version))
        };
        newest(true).or_else(|| newest(false))
    }

    fn searched(&self) -> String {
        let mut words =
            vec![self.name.clone(), self.platform.to_string(), self.title.clone(), self.description.clone()];
        for release in &self.releases {
            words.extend(release.metrics.iter().map(ToString::to_string));
            words.extend(release.hosts.iter().map(ToString::to_string));
        }
        words.join("\n").to_lowercase()
    }

    fn check(&self) -> Result<(), String> {
        let plain = self.name.starts_with(|c: char| c.is_ascii_lowercase())
            && self.name.len() <= 64
            && self.name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_".contains(&b));
        if !plain {
            return Err("has a name that no connector can have".to_owned());
        }
        // These are shown to an operator who chooses. A description may have what a manifest's may have.
        let is_wrong = |c: char| misleads(c) && !matches!(c, '\n' | '\t' | '\r');
        if self.title.chars().any(misleads) || self.description.chars().any(is_wrong) {
            return Err("has control or invisible characters in its title or description".to_owned());
        }
        let mut versions = BTreeSet::new();
        for release in &self.releases {
            if !versions.insert(&release.version) {
                return Err(format!("has version {} twice", release.version));
            }
            release.check()?;
        }
        Ok(())
    }
}

impl IndexedRelease {
    fn check(&self) -> Result<(), String> {
        self.located(&Source::File("index.json".into()))
            .map(drop)
            .map_err(|error| format!("has a source for {} that can't be used: {error}", self.version))
    }

    /// Where the component is, in an index that lies at `index`.
    ///
    /// # Errors
    /// If it is neither a URL, nor in a registry, nor a path below the index.
    pub fn located(&self, index: &Source) -> Result<Source, IndexError> {
        let source: Source = self.source.parse()?;
        let Source::File(path) = source else { return Ok(source) };
        let inside = |part: std::path::Component<'_>| matches!(part, std::path::Component::Normal(_));
        let is_plain = self.source.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.+/".contains(&b));
        if !is_plain || !path.components().all(inside) {
            return Err(IndexError::Entry(
                shown(&self.source),
                "is a path that does not lie below the index; write letters, digits and -_.+/".to_owned(),
            ));
        }
        Ok(match index {
            Source::File(index) => Source::File(index.parent().unwrap_or(Path::new("")).join(path)),
            Source::Url(url) => {
                let mut url = url.clone();
                url.set_query(None);
                let joined = url.join(&self.source).map_err(|error| IndexError::Form(error.to_string()))?;
                joined.as_str().parse()?
            }
            Source::Oci(_) => return Err(IndexError::Form("an index does not lie in a registry".to_owned())),
        })
    }

    /// Checks that a component is the one that the index names under `connector`, and that the index told the truth of
    /// it.
    ///
    /// # Errors
    /// [`IndexError::Other`] with what differs.
    pub fn expect(&self, connector: &IndexedConnector, inspection: &Inspection) -> Result<(), IndexError> {
        let (name, platform) = (&connector.name, &connector.platform);
        let info = &inspection.manifest.connector;
        let names = |names: &mut Vec<String>| {
            names.sort();
            names.join(", ")
        };
        let mut indexed_metrics = self.metrics.iter().map(ToString::to_string).collect();
        let mut actual_metrics = inspection.manifest.metrics.iter().map(|metric| metric.name.to_string()).collect();
        let mut indexed_hosts = self.hosts.iter().map(ToString::to_string).collect();
        let mut actual_hosts = inspection.manifest.hosts.iter().map(|host| host.origin.to_string()).collect();
        for (indexed, actual) in [
            (format!("{name} {}", self.version), format!("{} {}", info.name, info.version)),
            (format!("sha256 {}", self.digest), format!("sha256 {}", inspection.digest)),
            (format!("{} bytes long", self.size_bytes), format!("{} bytes long", inspection.size_bytes)),
            (format!("a connector for {platform}"), format!("a connector for {}", info.platform)),
            (
                format!("one that reports {}", names(&mut indexed_metrics)),
                format!("one that reports {}", names(&mut actual_metrics)),
            ),
            (
                format!("one that asks {}", names(&mut indexed_hosts)),
                format!("one that asks {}", names(&mut actual_hosts)),
            ),
        ] {
            if indexed != actual {
                return Err(IndexError::Other { indexed, actual });
            }
        }
        // They are those of the newest release, and may have been others before.
        let is_newest = connector.releases.iter().all(|release| release.version <= self.version);
        let texts =
            [("title", &connector.title, &info.title), ("description", &connector.description, &info.description)];
        for (what, indexed, actual) in texts.into_iter().filter(|_| is_newest) {
            if indexed != actual {
                let same = indexed.chars().zip(actual.chars()).take_while(|(one, other)| one == other).count();
                let differs = |text: &str| {
                    let from: String = text.chars().skip(same.saturating_sub(SAME_CHARS_SHOWN)).collect();
                    format!("one with '{}' in its {what}", shown(&from))
                };
                return Err(IndexError::Other { indexed: differs(indexed), actual: differs(actual) });
            }
        }
        Ok(())
    }
}

/// A connector's name with an optional version, as an operator writes it: `youtube` or `youtube@1.2.0`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameInIndex {
    /// Name of the connector.
    pub name: String,
    /// Version; the newest unless given.
    pub version: Option<Version>,
}

impl NameInIndex {
    /// The name that a source is, if it is none of a file, a URL or an artifact: nothing in it could be a path.
    #[must_use]
    pub fn of(source: &Source) -> Option<Self> {
        let Source::File(path) = source else { return None };
        let text = path.to_str()?;
        let (name, version) = match text.split_once('@') {
            Some((name, version)) => (name, Some(version.parse().ok()?)),
            None => (text, None),
        };
        let plain = name.starts_with(|c: char| c.is_ascii_lowercase())
            && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_".contains(&b));
        plain.then(|| Self { name: name.to_owned(), version })
    }
}

fn shown(text: &str) -> String {
    backline_model::text::one_line(&text.chars().take(64).collect::<String>())
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use backline_model::fixtures::{manifest_with, time};
    use proptest::prelude::*;

    use super::*;

    const TABLES: &str = "[[host]]\norigin = \"https://api.test\"\nmethods = [\"GET\"]\nreason = \"numbers\"\n\
                          [[metric]]\nname = \"followers\"\nkind = \"gauge\"\nunit = \"followers\"\n";

    fn inspection(name: &str, version: &str) -> Inspection {
        let text = manifest_with(TABLES)
            .replace("name = \"example\"", &format!("name = \"{name}\""))
            .replace("version = \"1.0.0\"", &format!("version = \"{version}\""));
        Inspection {
            digest: Digest::of(format!("{name} {version}").as_bytes()),
            size_bytes: 7,
            wit_version: "1.0.0".to_owned(),
            manifest: Manifest::parse(&text).expect("valid"),
            imports: Vec::new(),
            exports: Vec::new(),
        }
    }

    fn index() -> Index {
        let mut index = Index::empty(time("2026-11-29T00:00:00Z"));
        for (name, version) in
            [("tempo", "1.0.0"), ("beat", "1.0.0"), ("beat", "1.10.0"), ("beat", "2.0.0-rc.1"), ("beat", "1.9.0")]
        {
            let source = format!("{name}-{version}.wasm");
            index.add(&inspection(name, version), &source, false, time("2026-11-30T00:00:00Z")).expect("added");
        }
        index
    }

    #[test]
    fn what_is_written_reads_back_in_order_and_the_newest_finished_version_is_found() {
        let index = index();
        assert_eq!(Index::parse(index.to_text().as_bytes()).expect("valid"), index);
        let names: Vec<&str> = index.connectors.iter().map(|connector| connector.name.as_str()).collect();
        assert_eq!(names, ["beat", "tempo"]);
        let versions: Vec<String> = index.connectors[0].releases.iter().map(|one| one.version.to_string()).collect();
        assert_eq!(versions, ["2.0.0-rc.1", "1.10.0", "1.9.0", "1.0.0"]);
        assert_eq!(index.find("beat", None).expect("found").1.version.to_string(), "1.10.0");
        let candidate = Version::parse("2.0.0-rc.1").expect("a version");
        assert_eq!(index.find("beat", Some(&candidate)).expect("found").1.version, candidate);
        assert!(index.find("beats", None).expect_err("none").to_string().contains("did you mean 'beat'?"));
        let error = index.find("tempo", Some(&candidate)).expect_err("none").to_string();
        assert!(error.contains("it has 1.0.0"), "{error}");
        assert_eq!(index.updated_at, time("2026-11-30T00:00:00Z"));
    }

    #[test]
    fn a_version_keeps_its_digest_unless_it_is_replaced() {
        let mut index = index();
        let (mut other, now) = (inspection("tempo", "1.0.0"), time("2026-12-01T00:00:00Z"));
        index.add(&other, "elsewhere.wasm", false, now).expect("the same bytes may move");
        other.digest = Digest::of(b"other");
        assert!(matches!(index.add(&other, "a.wasm", false, now), Err(IndexError::Exists { .. })));
        index.add(&other, "a.wasm", true, now).expect("replaced");
        assert_eq!(index.find("tempo", None).expect("found").1.digest, other.digest);
        assert_eq!(index.connectors[1].releases.len(), 1);
    }

    #[test]
    fn every_description_that_a_manifest_may_have_reads_back() {
        let mut index = index();
        let mut described = inspection("waltz", "1.0.0");
        described.manifest.connector.description = "Followers:\tall\r\nPosts: none".to_owned();
        index.add(&described, "waltz.wasm", false, time("2026-12-01T00:00:00Z")).expect("added");
        assert_eq!(Index::parse(index.to_text().as_bytes()).expect("valid"), index);
        described.manifest.connector.description = "\u{202e}".to_owned();
        described.manifest.connector.version = Version::new(1, 1, 0);
        let refused = index.add(&described, "waltz.wasm", false, time("2026-12-01T00:00:00Z"));
        assert!(refused.expect_err("it could not be read").to_string().contains("invisible characters"));
    }

    #[test]
    fn every_word_must_be_found_somewhere() {
        let index = index();
        let found = |words: &[&str]| {
            let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
            index.search(&words).iter().map(|connector| connector.name.clone()).collect::<Vec<_>>()
        };
        assert_eq!(found(&[]), ["beat", "tempo"]);
        assert_eq!(found(&["FOLLOW", "beat"]), ["beat"]);
        assert_eq!(found(&["api.test", "tempo"]), ["tempo"]);
        assert!(found(&["streams"]).is_empty());
    }

    #[test]
    fn a_path_lies_below_the_index_and_nowhere_else() {
        let release =
            |source: &str| IndexedRelease { source: source.to_owned(), ..index().connectors[1].releases[0].clone() };
        let file = Source::File(PathBuf::from("/srv/index/index.json"));
        let url: Source = "https://a.test/x/index.json?key=canary".parse().expect("a URL");
        assert_eq!(release("b/a-1.wasm").located(&file).expect("below"), Source::File("/srv/index/b/a-1.wasm".into()));
        assert_eq!(release("b/a-1.wasm").located(&url).expect("below").to_string(), "https://a.test/x/b/a-1.wasm");
        assert_eq!(
            release("https://b.test/a.wasm").located(&file).expect("a URL").to_string(),
            "https://b.test/a.wasm"
        );
        assert!(matches!(release("oci://b.test/a:1").located(&url), Ok(Source::Oci(_))));
        for wrong in
            ["../a.wasm", "/etc/passwd", "a/../../b", "a b", "a?b", "//evil.test/a", "%2e%2e/a", "http://a.test/a", ""]
        {
            assert!(release(wrong).located(&file).is_err() && release(wrong).located(&url).is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_index_that_is_wrong_is_refused_with_the_entry() {
        let text = index().to_text();
        for (from, to, said) in [
            ("\"format\": 1", "\"format\": 2, \"new\": 1", "format 2"),
            ("\"name\": \"beat\"", "\"name\": \"Beat\"", "name that no connector can have"),
            ("\"name\": \"beat\"", "\"name\": \"tempo\"", "twice"),
            ("\"version\": \"1.9.0\"", "\"version\": \"1.10.0\"", "1.10.0 twice"),
            ("\"title\": \"Example\"", "\"title\": \"\\u202e\"", "invisible characters"),
            ("beat-1.9.0.wasm", "../a.wasm", "can't be used"),
            ("\"size_bytes\": 7", "\"size\": 7", "not an index"),
        ] {
            assert!(text.contains(from), "{from}");
            let error = Index::parse(text.replacen(from, to, 1).as_bytes()).expect_err(to).to_string();
            assert!(error.contains(said) && !error.contains('\u{202e}'), "{to}: {error}");
        }
    }

    #[test]
    fn a_component_must_be_what_the_index_says() {
        let index = index();
        let (connector, release) = index.find("tempo", None).expect("found");
        let mut actual = inspection("tempo", "1.0.0");
        release.expect(connector, &actual).expect("the same");
        let said = |connector: IndexedConnector, actual: &Inspection| {
            release.expect(&connector, actual).expect_err("another").to_string()
        };
        let error = said(IndexedConnector { name: "beat".to_owned(), ..connector.clone() }, &actual);
        assert!(error.contains("says that it is beat 1.0.0, and it is tempo 1.0.0"), "{error}");
        let platform = Platform::new("elsewhere").expect("a platform");
        let error = said(IndexedConnector { platform, ..connector.clone() }, &actual);
        assert!(error.contains("a connector for elsewhere, and it is a connector for example"), "{error}");
        let error = said(IndexedConnector { title: "Another".to_owned(), ..connector.clone() }, &actual);
        assert!(error.contains("one with 'Another' in its title, and it is one with 'Example'"), "{error}");
        let long = format!("{}\u{202e} here", "a".repeat(100));
        actual.manifest.connector.description = format!("{} there", "a".repeat(100));
        let error = said(IndexedConnector { description: long, ..connector.clone() }, &actual);
        let expected =
            "one with 'aaaaaaaaaaaaaaaa\u{fffd} here' in its description, and it is one with 'aaaaaaaaaaaaaaaa there'";
        assert!(error.contains(expected), "{error}");
        actual.manifest.connector.description = connector.description.clone();
        let shorter = IndexedRelease { size_bytes: 6, ..release.clone() };
        let error = shorter.expect(connector, &actual).expect_err("another").to_string();
        assert!(error.contains("6 bytes long, and it is 7 bytes long"), "{error}");
        // An older release may have had another title.
        let older = index.find("beat", Some(&Version::new(1, 9, 0))).expect("found");
        let renamed = IndexedConnector { title: "New name".to_owned(), ..older.0.clone() };
        older.1.expect(&renamed, &inspection("beat", "1.9.0")).expect("the same");
        actual.manifest.hosts[0].origin = "https://other.test".parse().expect("an origin");
        assert!(said(connector.clone(), &actual).contains("https://other.test"));
    }

    #[test]
    fn a_name_is_no_path() {
        let name = |text: &str| NameInIndex::of(&text.parse().expect("a source"));
        assert_eq!(name("youtube"), Some(NameInIndex { name: "youtube".to_owned(), version: None }));
        assert_eq!(name("a-b_2@1.2.0").and_then(|name| name.version), Some(Version::new(1, 2, 0)));
        for text in ["youtube.wasm", "./youtube", "a/b", "A", "a@b", "https://a.test/a", "oci://a.test/a:1"] {
            assert_eq!(name(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), at in 0_usize..500) {
            let _ = Index::parse(&bytes);
            let mut text = index().to_text().into_bytes();
            let at = at.min(text.len());
            text.splice(at..(at + bytes.len()).min(text.len()), bytes);
            let _ = Index::parse(&text);
        }
    }
}
