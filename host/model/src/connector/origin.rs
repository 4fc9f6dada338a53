//! Where a connector may send requests: exact origins, and the patterns of the allow-list.
//!
//! The grammar is `https://host[:port]` or `https://*.domain[:port]`, and nothing else: no path, no query, no user, no
//! bare `*`, no `*foo`, no IP range. A pattern is parsed, never compared as text, so that `https://*.example.com` can't
//! match `https://evil-example.com` or `https://a.example.com.evil.test`.
//!
//! A wildcard stands for the hosts of one owner. Below a public suffix (`com`, `co.uk`, `github.io`) anyone can have a
//! host, so a wildcard never matches across one: neither `https://*.github.io` nor `https://*.amazonaws.com` matches a
//! host of a stranger. The list of suffixes is part of the binary, with the section of private ones.

use std::fmt;
use std::str::FromStr;

use psl::Psl as _;
use serde::{Deserialize, Serialize};
use url::{Host, Url};

use crate::weakened::{Bound, off};

/// Why an origin or a pattern is not valid.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("'{given}' is not an allowed origin: {problem}; write https://host, https://host:port or https://*.domain")]
pub struct OriginError {
    given: String,
    problem: &'static str,
}

/// An exact origin: scheme `https`, host, port.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Origin {
    host: String,
    port: u16,
}

impl Origin {
    /// The origin of a URL.
    ///
    /// # Errors
    /// If the scheme is not `https`, if a user or password is present, or if there is no host.
    pub fn of(url: &Url) -> Result<Self, OriginError> {
        let wrong =
            |problem| OriginError { given: format!("{}://{}", url.scheme(), url.host_str().unwrap_or("")), problem };
        if url.scheme() != "https" {
            return Err(wrong("only https is allowed"));
        }
        if (!url.username().is_empty() || url.password().is_some()) && !off(Bound::UserInUrl) {
            return Err(wrong("a user or password in a URL is not allowed"));
        }
        let host = url.host_str().filter(|host| !host.is_empty()).ok_or_else(|| wrong("the host is missing"))?;
        // One dot at the end makes a name absolute; it names the same host.
        let host = host.strip_suffix('.').unwrap_or(host);
        if host.split('.').any(str::is_empty) {
            return Err(wrong("a label of the host is empty"));
        }
        Ok(Self { host: host.to_owned(), port: url.port_or_known_default().unwrap_or(443) })
    }

    /// The host, in lower case and punycode, or an IP literal (IPv6 in brackets).
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Writes the host into the URL that the origin is of, so that what was checked and what is sent have one name.
    pub fn name_in(&self, url: &mut Url) {
        if url.host_str() != Some(self.host.as_str()) {
            // The name is one that the URL was parsed with, without its last dot.
            let _ = url.set_host(Some(&self.host));
        }
    }

    /// The port, 443 if none was given.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "https://{}", self.host)?;
        if self.port == 443 { Ok(()) } else { write!(f, ":{}", self.port) }
    }
}

/// One entry of an allow-list.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct OriginPattern {
    /// The exact host, or the domain below the wildcard.
    host: String,
    port: u16,
    /// Whether the pattern matches every host *below* the domain (never the domain itself).
    any_subdomain: bool,
}

impl OriginPattern {
    /// Whether the pattern allows a request to this origin.
    #[must_use]
    pub fn matches(&self, origin: &Origin) -> bool {
        if origin.port != self.port {
            return false;
        }
        if !self.any_subdomain {
            return origin.host == self.host;
        }
        is_below(&origin.host, &self.host) && is_of_owner(&origin.host, &self.host)
    }

    /// Whether `other` matches every origin that this pattern matches.
    #[must_use]
    pub fn is_within(&self, other: &Self) -> bool {
        self == other || self.is_below(other) && is_of_owner(&self.host, &other.host)
    }

    /// Whether this pattern is the other one or is written below it, no matter who owns the hosts. This is for what is
    /// taken away: `https://*.github.io` takes away `https://a.github.io`.
    #[must_use]
    pub fn is_below(&self, other: &Self) -> bool {
        if self.port != other.port {
            return false;
        }
        match (self.any_subdomain, other.any_subdomain) {
            (false, false) => self.host == other.host,
            (true, false) => false,
            (false, true) => is_below(&self.host, &other.host),
            (true, true) => self.host == other.host || is_below(&self.host, &other.host),
        }
    }

    /// Refuses a wildcard over a public suffix. Patterns are checked where they enter, and not where they are parsed: a
    /// stored one that a later list would refuse must stay readable. It matches nothing.
    ///
    /// # Errors
    /// If anyone can have a host below the pattern's domain.
    pub fn check_owner(&self) -> Result<(), OriginError> {
        let is_anyones = self.any_subdomain && public_suffix_length(&self.host) == self.host.len();
        if is_anyones && !off(Bound::Owners) {
            let problem = "anyone can have a host below this domain (https://publicsuffix.org)";
            return Err(OriginError { given: self.to_string(), problem });
        }
        Ok(())
    }

    /// The exact origin; `None` if the pattern is a wildcard.
    #[must_use]
    pub fn exact(&self) -> Option<Origin> {
        (!self.any_subdomain).then(|| Origin { host: self.host.clone(), port: self.port })
    }
}

/// Whether a host is below a domain, both in their one form.
fn is_below(host: &str, domain: &str) -> bool {
    host.strip_suffix(domain).is_some_and(|rest| rest.len() > 1 && rest.ends_with('.'))
}

/// Whether a host below a domain has the domain's owner: no public suffix lies between the two. `host` may be the
/// domain itself.
fn is_of_owner(host: &str, domain: &str) -> bool {
    public_suffix_length(host) < domain.len()
}

/// The registered domain that a host is in: both have one owner. It is the host itself where that is a public suffix.
/// For addresses it says nothing about owners.
#[must_use]
pub fn domain_of(host: &str) -> &str {
    let domain = psl::List.domain(host.as_bytes()).map_or(host.len(), |domain| domain.as_bytes().len());
    host.get(host.len() - domain..).unwrap_or(host)
}

/// Length of a host's public suffix in bytes. An unknown last label is one too.
fn public_suffix_length(host: &str) -> usize {
    psl::List.suffix(host.as_bytes()).map_or(0, |suffix| suffix.as_bytes().len())
}

impl FromStr for OriginPattern {
    type Err = OriginError;

    fn from_str(text: &str) -> Result<Self, OriginError> {
        let wrong = |problem| OriginError { given: text.to_owned(), problem };
        let rest = text.strip_prefix("https://").ok_or_else(|| wrong("it must start with https://"))?;
        let (any_subdomain, authority) = match rest.strip_prefix("*.") {
            Some(domain) => (true, domain),
            None => (false, rest),
        };
        if authority.contains('*') {
            return Err(wrong("a wildcard stands alone as the first label, as in https://*.domain"));
        }
        if authority.contains(['/', '?', '#', '\\']) {
            return Err(wrong("a path, query or fragment is not allowed"));
        }
        if authority.contains('@') {
            return Err(wrong("a user or password is not allowed"));
        }
        if authority.chars().any(|c| c.is_whitespace() || c.is_control() || c == '%') {
            return Err(wrong("white space, control characters and percent signs are not allowed"));
        }
        let url = Url::parse(&format!("https://{authority}/")).map_err(|_| wrong("the host or port is not valid"))?;
        let host = match url.host() {
            Some(Host::Domain(domain)) => domain.to_owned(),
            Some(_) if any_subdomain => return Err(wrong("an IP address has no subdomains")),
            Some(address) => address.to_string(),
            None => return Err(wrong("the host is missing")),
        };
        if host.ends_with('.') || host.split('.').any(str::is_empty) {
            return Err(wrong("a label of the host is empty"));
        }
        if any_subdomain && !host.contains('.') {
            return Err(wrong("a wildcard needs at least two labels after it"));
        }
        // `Url` rewrites forms such as 0x7f.1 to an address. A pattern must be written as the host it means.
        let written = authority
            .rsplit_once(':')
            .filter(|(_, port)| !port.is_empty() && port.chars().all(|c| c.is_ascii_digit()))
            .map_or(authority, |(h, _)| h);
        if written.is_ascii() && !written.eq_ignore_ascii_case(&host) {
            return Err(wrong("the host is not in its plain form"));
        }
        Ok(Self { host, port: url.port().unwrap_or(443), any_subdomain })
    }
}

impl fmt::Display for OriginPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "https://{}{}", if self.any_subdomain { "*." } else { "" }, self.host)?;
        if self.port == 443 { Ok(()) } else { write!(f, ":{}", self.port) }
    }
}

impl TryFrom<String> for OriginPattern {
    type Error = OriginError;

    fn try_from(text: String) -> Result<Self, OriginError> {
        text.parse()
    }
}

impl From<OriginPattern> for String {
    fn from(pattern: OriginPattern) -> String {
        pattern.to_string()
    }
}

#[cfg(test)]
mod second;

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> OriginPattern {
        text.parse().unwrap_or_else(|error| panic!("{error}"))
    }

    fn origin(text: &str) -> Origin {
        Origin::of(&Url::parse(text).expect("a URL")).unwrap_or_else(|error| panic!("{error}"))
    }

    #[test]
    fn refuses_everything_outside_the_grammar() {
        for text in [
            "",
            "*",
            "https://*",
            "https://",
            "http://example.com",
            "https://*foo.com",
            "https://a.*.com",
            "https://*.com",
            "https://example.com/",
            "https://example.com/v1",
            "https://example.com?x",
            "https://example.com#x",
            "https://user@example.com",
            "https://exa mple.com",
            "https://example..com",
            "https://example.com.",
            "https://*.1.2.3.4",
            "https://0x7f.1",
            "https://example.com:99999",
            "https://example.com:",
            "https://ex%61mple.com",
            "https://192.168.1.*",
            "ftp://example.com",
            "example.com",
            "https://*.*.example.com",
            "https://example.com\\@evil.test",
        ] {
            assert!(text.parse::<OriginPattern>().is_err(), "'{text}' was accepted");
        }
    }

    #[test]
    fn a_wildcard_covers_what_is_below_the_domain_and_nothing_else() {
        let wildcard = pattern("https://*.example.com");
        assert!(wildcard.matches(&origin("https://a.example.com/x")));
        assert!(wildcard.matches(&origin("https://a.b.example.com")));
        for other in [
            "https://example.com",
            "https://evil-example.com",
            "https://a.example.com.evil.test",
            "https://a.example.com:8443",
        ] {
            assert!(!wildcard.matches(&origin(other)), "{other} matched");
        }
    }

    #[test]
    fn an_exact_origin_covers_itself_with_its_port() {
        let exact = pattern("https://Example.com:8443");
        assert_eq!(exact.to_string(), "https://example.com:8443");
        assert!(exact.matches(&origin("https://EXAMPLE.com:8443/y")));
        assert!(!exact.matches(&origin("https://example.com")));
        assert!(pattern("https://example.com").matches(&origin("https://example.com:443")));
        assert!(
            pattern("https://example.com").matches(&origin("https://example.com.")),
            "a trailing dot names the same host"
        );
    }

    #[test]
    fn a_host_has_one_name() {
        let mut url = Url::parse("https://API.example.com./x?y").expect("a URL");
        let origin = Origin::of(&url).expect("an origin");
        origin.name_in(&mut url);
        assert_eq!((origin.host(), url.as_str()), ("api.example.com", "https://api.example.com/x?y"));
        for text in ["https://example.com../", "https://a..example.com/", "https://./", "https://.example.com/"] {
            assert!(Url::parse(text).map_or(true, |url| Origin::of(&url).is_err()), "{text}");
        }
        assert!(Origin::of(&Url::parse("https://[::1]/").expect("a URL")).is_ok());
    }

    #[test]
    fn containment_is_what_a_grant_comparison_needs() {
        assert!(pattern("https://a.example.com").is_within(&pattern("https://*.example.com")));
        assert!(pattern("https://*.a.example.com").is_within(&pattern("https://*.example.com")));
        assert!(!pattern("https://*.example.com").is_within(&pattern("https://a.example.com")));
        assert!(!pattern("https://example.com").is_within(&pattern("https://*.example.com")));
        assert!(!pattern("https://*.badexample.com").is_within(&pattern("https://*.example.com")));
    }

    #[test]
    fn a_wildcard_over_a_public_suffix_is_refused_however_it_is_written() {
        for text in [
            "https://*.co.uk",
            "https://*.CO.UK",
            "https://*.co.uk:8443",
            "https://*.github.io",
            "https://*.GitHub.io",
            "https://*.azurewebsites.net",
            "https://*.s3.amazonaws.com",
            "https://*.example.ck",
            "https://*.\u{516c}\u{53f8}.cn",
            "https://*.xn--55qx5d.cn",
            "https://*.XN--55QX5D.CN",
            "https://*.co\u{3002}uk",
            "https://*.\u{ff43}\u{ff4f}.uk",
        ] {
            let refused = pattern(text).check_owner().expect_err(text).to_string();
            assert!(refused.contains("anyone can have a host below this domain"), "{text}: {refused}");
        }
        // What the grammar refuses already.
        for text in
            ["https://*.com", "https://*.COM", "https://*.com.", "https://*.co.uk.", "https://*.\u{4e2d}\u{56fd}"]
        {
            assert!(text.parse::<OriginPattern>().is_err(), "{text}");
        }
        for text in ["https://*.example.co.uk", "https://*.me.github.io", "https://*.www.ck", "https://co.uk"] {
            assert_eq!(pattern(text).check_owner(), Ok(()), "{text}");
        }
    }

    #[test]
    fn a_host_is_in_the_domain_that_was_registered() {
        for (host, domain) in [
            ("a.b.example.com", "example.com"),
            ("example.com", "example.com"),
            ("a.example.co.uk", "example.co.uk"),
            ("a.me.github.io", "me.github.io"),
            ("co.uk", "co.uk"),
            ("localhost", "localhost"),
            ("", ""),
        ] {
            assert_eq!(domain_of(host), domain, "{host}");
        }
    }

    #[test]
    fn a_wildcard_reaches_no_host_of_another_owner() {
        for (wildcard, other) in [
            ("https://*.github.io", "https://a.github.io"),
            ("https://*.co.uk", "https://a.co.uk"),
            ("https://*.amazonaws.com", "https://a.s3.amazonaws.com"),
            ("https://*.amazonaws.com", "https://s3.amazonaws.com"),
        ] {
            assert!(!pattern(wildcard).matches(&origin(other)), "{wildcard} matched {other}");
            assert!(!pattern(other).is_within(&pattern(wildcard)), "{other} within {wildcard}");
            assert!(pattern(other).is_below(&pattern(wildcard)), "{other} is not taken away by {wildcard}");
        }
        assert!(pattern("https://*.me.github.io").matches(&origin("https://a.me.github.io")));
        assert!(!pattern("https://*.me.github.io").is_within(&pattern("https://*.github.io")));
        assert!(pattern("https://*.github.io").is_within(&pattern("https://*.github.io")), "it is the same");
    }

    #[test]
    fn a_url_with_a_user_or_without_tls_has_no_origin() {
        for text in ["http://example.com", "https://u@example.com", "https://u:p@example.com", "data:text/plain,x"] {
            assert!(Origin::of(&Url::parse(text).expect("a URL")).is_err(), "{text}");
        }
    }
}
