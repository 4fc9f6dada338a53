//! A second implementation of patterns and of what they match, written from the grammar alone, to compare with.
//!
//! It works on lists of labels and knows the suffixes of its own hosts only, so it shares neither the parser of URLs
//! nor the Public Suffix List with the first.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use url::Url;

use super::{Origin, OriginPattern};

/// Domains with the number of labels below which anyone can have a host.
const ENDS: [(&str, usize); 6] =
    [("com", 1), ("test", 1), ("co.uk", 2), ("github.io", 2), ("example.com", 1), ("s3.amazonaws.com", 3)];

/// A host as a person writes it, in labels.
#[derive(Clone, Debug)]
struct Written {
    labels: Vec<String>,
    /// Labels of its public suffix.
    suffix: usize,
    port: Option<u16>,
}

impl Written {
    fn text(&self, upper: bool) -> String {
        let host = self.labels.join(".");
        let host = if upper { host.to_ascii_uppercase() } else { host };
        self.port.map_or_else(|| host.clone(), |port| format!("{host}:{port}"))
    }

    fn port(&self) -> u16 {
        self.port.unwrap_or(443)
    }
}

fn written() -> impl Strategy<Value = Written> {
    let labels = vec(select(vec!["qa", "zb", "evilx", "x1-z", "xn--bcher-kva"]), 0..4);
    (labels, select(ENDS.to_vec()), select(vec![None, Some(443), Some(8443)])).prop_map(
        |(labels, (end, suffix), port)| {
            let labels = labels.into_iter().chain(end.split('.')).map(str::to_owned).collect();
            Written { labels, suffix, port }
        },
    )
}

/// Whether a pattern is one: a wildcard needs two labels.
fn is_pattern(star: bool, host: &Written) -> bool {
    !star || host.labels.len() >= 2
}

/// Whether a pattern matches, label by label.
fn matches(star: bool, pattern: &Written, host: &Written) -> bool {
    let (of_pattern, of_host) = (pattern.labels.len(), host.labels.len());
    let agrees = pattern.labels.iter().rev().zip(host.labels.iter().rev()).all(|(one, other)| one == other);
    if pattern.port() != host.port() || !agrees {
        return false;
    }
    if star { of_host > of_pattern && host.suffix < of_pattern } else { of_host == of_pattern }
}

fn pattern_text(star: bool, host: &Written, upper: bool) -> String {
    format!("https://{}{}", if star { "*." } else { "" }, host.text(upper))
}

fn origin(host: &Written, upper: bool, absolute: bool) -> Origin {
    let text = host.text(upper);
    let text = match (absolute, host.port) {
        (false, _) => text,
        (true, None) => format!("{text}."),
        (true, Some(port)) => text.replace(&format!(":{port}"), &format!(".:{port}")),
    };
    let url = Url::parse(&format!("https://{text}/path?query#part")).expect("a URL");
    Origin::of(&url).expect("an origin")
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn both_implementations_agree(
        star in any::<bool>(),
        pattern in written(),
        other in written(),
        below in vec(select(vec!["qa", "zb"]), 0..3),
        related in any::<bool>(),
        upper in any::<bool>(),
        absolute in any::<bool>(),
    ) {
        // Hosts that have nothing to do with each other say little.
        let host = if related {
            let labels = below.into_iter().map(str::to_owned).chain(pattern.labels.iter().cloned()).collect();
            Written { labels, ..pattern.clone() }
        } else {
            other
        };
        let parsed = pattern_text(star, &pattern, upper).parse::<OriginPattern>();
        prop_assert_eq!(parsed.is_ok(), is_pattern(star, &pattern), "{:?}", parsed);
        if let Ok(parsed) = parsed {
            let found = parsed.matches(&origin(&host, !upper, absolute));
            prop_assert_eq!(found, matches(star, &pattern, &host), "{} and {:?}", parsed, host);
            prop_assert_eq!(parsed.to_string().parse::<OriginPattern>(), Ok(parsed));
        }
    }

    #[test]
    fn what_is_within_another_matches_no_more(
        stars in (any::<bool>(), any::<bool>()),
        one in written(),
        other in written(),
        host in written(),
        is_above in any::<bool>(),
    ) {
        let above = one.labels[one.labels.len() / 2..].to_vec();
        let other = if is_above { Written { labels: above, ..one.clone() } } else { other };
        let parse = |star: bool, written: &Written| pattern_text(star, written, false).parse::<OriginPattern>().ok();
        if let (Some(small), Some(large)) = (parse(stars.0, &one), parse(stars.1, &other))
            && small.is_within(&large)
        {
            for host in [&host, &one] {
                let origin = origin(host, false, false);
                prop_assert!(!small.matches(&origin) || large.matches(&origin), "{} {} {}", small, large, origin);
            }
        }
    }

    #[test]
    fn no_text_makes_the_parsers_panic_and_what_is_read_is_written_the_same(
        text in "(https://)?(\\*\\.)?[a-z0-9.*@:/?#%\\\\\\[\\] äﬀ。．-]{0,30}|\\PC{0,40}",
    ) {
        if let Ok(pattern) = text.parse::<OriginPattern>() {
            let again = pattern.to_string();
            prop_assert_eq!(again.parse::<OriginPattern>(), Ok(pattern.clone()), "{}", again);
            if let Some(exact) = pattern.exact() {
                let url = Url::parse(&exact.to_string()).expect("an origin is a URL");
                prop_assert_eq!(Origin::of(&url).ok(), Some(exact.clone()));
                prop_assert!(pattern.matches(&exact));
            }
        }
        if let Ok(url) = Url::parse(&text)
            && let Ok(origin) = Origin::of(&url)
        {
            let mut named = url.clone();
            origin.name_in(&mut named);
            prop_assert_eq!(Origin::of(&named).ok(), Some(origin.clone()), "{}", named);
            prop_assert_eq!(named.host_str(), Some(origin.host()), "{}", named);
        }
    }
}
