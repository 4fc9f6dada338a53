//! The source of a component, as an operator writes it: a file, an `https` URL or an OCI reference.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use url::Url;

use backline_model::Digest;
use backline_model::origin::Origin;

/// Longest source, in bytes: what common servers accept as a URL.
const SOURCE_BYTES_MAX: usize = 16 * 1024;

/// Longest repository name and longest tag, in characters, as in the OCI distribution specification.
const REPOSITORY_CHARS_MAX: usize = 255;
const TAG_CHARS_MAX: usize = 128;

/// Why a text is not a source.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{problem}; write a path, https://host/file.wasm or oci://registry/name:version")]
pub struct SourceError {
    problem: String,
}

/// Source of a component.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A local file.
    File(PathBuf),
    /// A URL to download: `https`, without a user or password.
    Url(Url),
    /// An artifact in a registry.
    Oci(OciReference),
}

/// An artifact in a registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OciReference {
    /// Host in lower case, and the port if it is not the default.
    pub registry: String,
    /// Name inside the registry, such as `backline/youtube`.
    pub repository: String,
    /// Tag of the version. Everyone who may push can move it to other bytes.
    pub tag: Option<String>,
    /// SHA-256 digest of the artifact's manifest. It can't be moved; if it is given, the tag is only for people.
    pub digest: Option<Digest>,
}

impl Source {
    /// Whether the bytes are already on this machine, put there by a user with write access.
    #[must_use]
    pub fn is_local(&self) -> bool {
        matches!(self, Self::File(_))
    }
}

impl FromStr for Source {
    type Err = SourceError;

    fn from_str(text: &str) -> Result<Self, SourceError> {
        let wrong = |problem: String| SourceError { problem };
        if text.is_empty() {
            return Err(wrong("the source is empty".to_owned()));
        }
        if text.len() > SOURCE_BYTES_MAX {
            return Err(wrong(format!("the source has more than {SOURCE_BYTES_MAX} bytes")));
        }
        match text.split_once("://") {
            Some(("oci", rest)) => OciReference::parse(rest).map(Self::Oci).map_err(|problem| {
                let shown = text.chars().filter(|c| c.is_ascii_graphic()).collect::<String>();
                wrong(format!("'{shown}' is not an OCI reference: {problem}"))
            }),
            Some(("https", _)) => {
                // The text may hold a secret in its query, so it is not repeated.
                let mut url = Url::parse(text).map_err(|error| wrong(format!("the URL is not valid: {error}")))?;
                Origin::of(&url).map_err(|error| wrong(format!("the URL is not allowed: {error}")))?;
                url.set_fragment(None);
                Ok(Self::Url(url))
            }
            Some(("http", _)) => Err(wrong("a component is downloaded over https only".to_owned())),
            Some((scheme, _)) if scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c)) => {
                Err(wrong(format!("{scheme}:// is not supported")))
            }
            _ => Ok(Self::File(PathBuf::from(text))),
        }
    }
}

/// The form that is stored with a release and shown. A URL's query is left out, since it may grant access.
impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Url(url) => {
                let mut shown = url.clone();
                shown.set_query(None);
                shown.fmt(f)
            }
            Self::Oci(reference) => reference.fmt(f),
        }
    }
}

impl OciReference {
    /// Parses what follows `oci://`.
    fn parse(text: &str) -> Result<Self, &'static str> {
        let (registry, rest) = text.split_once('/').ok_or("the name is missing after the registry")?;
        let (host, port) = registry.split_once(':').map_or((registry, None), |(host, port)| (host, Some(port)));
        let is_host = !host.is_empty()
            && host.split('.').all(|label| {
                let inside = label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
                inside && !label.is_empty() && !label.starts_with('-') && !label.ends_with('-')
            });
        if !is_host || port.is_some_and(|port| port.parse::<u16>().is_err() || port.starts_with(['+', '0'])) {
            return Err("the registry is not host or host:port");
        }
        let (rest, digest) = match rest.split_once('@') {
            None => (rest, None),
            Some((rest, digest)) if digest.starts_with("sha256:") => (
                rest,
                Some(digest.parse::<Digest>().map_err(|_| "the digest is not sha256: and 64 hexadecimal digits")?),
            ),
            Some(_) => return Err("the digest is not sha256: and 64 hexadecimal digits"),
        };
        let (repository, tag) = rest.split_once(':').map_or((rest, None), |(name, tag)| (name, Some(tag)));
        if repository.len() > REPOSITORY_CHARS_MAX || !repository.split('/').all(is_repository_part) {
            return Err(
                "the name does not consist of lower-case letters and digits, with single . _ - or / between them",
            );
        }
        if !tag.is_none_or(is_tag) {
            return Err("the version does not consist of letters, digits, and . _ - after the first of them");
        }
        if tag.is_none() && digest.is_none() {
            return Err("the version is missing, as in :1.2.3");
        }
        Ok(Self {
            registry: registry.to_ascii_lowercase(),
            repository: repository.to_owned(),
            tag: tag.map(str::to_owned),
            digest,
        })
    }
}

fn is_repository_part(part: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    part.starts_with(is_plain) && part.ends_with(is_plain) && part.chars().all(|c| is_plain(c) || "._-".contains(c))
}

fn is_tag(tag: &str) -> bool {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    tag.starts_with(is_word) && tag.len() <= TAG_CHARS_MAX && tag.chars().all(|c| is_word(c) || ".-".contains(c))
}

impl fmt::Display for OciReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "oci://{}/{}", self.registry, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        self.digest.map_or(Ok(()), |digest| write!(f, "@sha256:{digest}"))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Result<Source, String> {
        text.parse().map_err(|error: SourceError| error.to_string())
    }

    #[test]
    fn each_kind_is_told_from_the_others() {
        assert!(matches!(parse("target/youtube.wasm"), Ok(Source::File(_))));
        assert!(matches!(parse("C:\\connectors\\a.wasm"), Ok(Source::File(_))));
        assert!(matches!(parse("./oci:a"), Ok(Source::File(_))));
        assert!(matches!(parse("https://releases.example.com/a.wasm"), Ok(Source::Url(_))));
        let Ok(Source::Oci(reference)) = parse("oci://GHCR.io:443/backline/you-tube:1.2.3-rc.1") else {
            panic!("an OCI reference")
        };
        assert_eq!(reference.registry, "ghcr.io:443");
        assert_eq!(
            (reference.repository.as_str(), reference.tag.as_deref()),
            ("backline/you-tube", Some("1.2.3-rc.1"))
        );
        assert_eq!(reference.digest, None);
    }

    #[test]
    fn what_is_shown_reads_back_and_holds_no_secret() {
        let digest = Digest::of(b"manifest");
        for text in [
            "a/b.wasm".to_owned(),
            "https://releases.example.com:8443/a/b.wasm".to_owned(),
            "oci://registry.example/a:1.0.0".to_owned(),
            format!("oci://127.0.0.1:5000/a/b/c@sha256:{digest}"),
            format!("oci://localhost/a:1@sha256:{digest}"),
        ] {
            assert_eq!(parse(&text).expect("a source").to_string(), text);
        }
        let shown = parse("https://bucket.example/a.wasm?X-Signature=canary#canary").expect("a source").to_string();
        assert_eq!(shown, "https://bucket.example/a.wasm");
    }

    #[test]
    fn what_is_not_a_source_is_refused_with_what_would_be() {
        let digest = Digest::of(b"");
        for (text, expected) in [
            ("", "is empty"),
            ("http://example.com/a.wasm", "https only"),
            ("ftp://example.com/a.wasm", "ftp:// is not supported"),
            ("https://", "the URL is not valid"),
            ("https://user:canary@example.com/a.wasm", "a user or password"),
            ("oci://registry.example", "the name is missing"),
            ("oci://registry.example/", "the name does not consist of"),
            ("oci://registry.example/a", "the version is missing"),
            ("oci:///a:1", "the registry is not"),
            ("oci://registry.example:port/a:1", "the registry is not"),
            ("oci://registry.example:70000/a:1", "the registry is not"),
            ("oci://user@registry.example/a:1", "the registry is not"),
            ("oci://registry..example/a:1", "the registry is not"),
            ("oci://registry.example/A:1", "the name does not consist of"),
            ("oci://registry.example/../a:1", "the name does not consist of"),
            ("oci://registry.example/a//b:1", "the name does not consist of"),
            ("oci://registry.example/a?b:1", "the name does not consist of"),
            ("oci://registry.example/a:", "the version does not consist of"),
            ("oci://registry.example/a:1/2", "the version does not consist of"),
            ("oci://registry.example/a:.1", "the version does not consist of"),
            ("oci://registry.example/a:1@md5:00", "the digest is not"),
            ("oci://registry.example/a@sha256:00", "the digest is not"),
            (&format!("oci://registry.example/a@{digest}"), "the digest is not"),
        ] {
            let error = parse(text).expect_err(text);
            assert!(error.contains(expected), "{text}: {error}");
            assert!(error.ends_with("or oci://registry/name:version") && !error.contains("canary"), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_the_reader_panic(text in "\\PC{0,60}", rest in "[a-z0-9.:/@_-]{0,60}") {
            let _ = parse(&text);
            let _ = parse(&format!("oci://{text}"));
            if let Ok(source) = parse(&format!("oci://{rest}")) {
                prop_assert_eq!(parse(&source.to_string()), Ok(source));
            }
        }
    }
}
