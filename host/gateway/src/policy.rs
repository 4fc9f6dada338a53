//! Requested → Permitted: a request passes only if manifest **and** grant both allow its host and method.

use url::Url;

use super::address::{AddressPolicy, Destination};
use super::error::SendError;
use super::{CredentialRef, Request};
use backline_model::grant::Grant;
use backline_model::manifest::{Manifest, Method};
use backline_model::origin::{Origin, OriginPattern};
use backline_model::weakened::{Bound, off};

/// Longest URL, in bytes: what common servers accept at most.
const URL_BYTES_MAX: usize = 16 * 1024;

/// One request on its way: the connector's own, or the one after a redirect. Holds no secret.
#[derive(Clone)]
pub(super) struct Hop {
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) origin: Origin,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Option<Vec<u8>>,
    pub(super) credential: Option<CredentialRef>,
}

/// A request whose form alone was checked.
pub(super) struct Requested {
    hop: Hop,
}

impl Requested {
    /// Takes a connector's request.
    pub(super) fn of(request: Request) -> Result<Self, SendError> {
        // Before it is parsed, which takes time.
        check_length(&request.url)?;
        // The text of the URL comes from the connector and may be anything, so it is never repeated.
        let url =
            Url::parse(&request.url).map_err(|error| SendError::Denied(format!("the URL is not valid: {error}")))?;
        let Request { method, headers, body, credential, .. } = request;
        Self::to(url, |url, origin| Hop { method, url, origin, headers, body, credential })
    }

    /// Takes the next hop of a redirect.
    pub(super) fn redirected(url: Url, previous: Hop) -> Result<Self, SendError> {
        Self::to(url, |url, origin| Hop { url, origin, ..previous })
    }

    pub(super) fn hop(&self) -> &Hop {
        &self.hop
    }

    fn to(mut url: Url, hop: impl FnOnce(Url, Origin) -> Hop) -> Result<Self, SendError> {
        url.set_fragment(None);
        // Parsing may have made it longer, and that of a redirect is made of two.
        check_length(url.as_str())?;
        let origin = Origin::of(&url).map_err(|error| SendError::Denied(error.to_string()))?;
        origin.name_in(&mut url);
        Ok(Self { hop: hop(url, origin) })
    }

    /// Checks host and method against manifest and grant, and an address in place of a host against the address policy.
    pub(super) fn permit(
        self,
        manifest: &Manifest,
        grant: &Grant,
        addresses: &AddressPolicy,
    ) -> Result<Permitted, SendError> {
        let Hop { method, origin, .. } = &self.hop;
        let declared: Vec<_> = manifest.hosts.iter().map(|host| (&host.origin, host.methods.as_slice())).collect();
        let granted: Vec<_> = grant.hosts.iter().map(|host| (&host.origin, host.methods.as_slice())).collect();
        let name = &manifest.connector.name;
        if let Some(missing) = missing_line(&declared, origin, *method) {
            return Err(SendError::Denied(format!(
                "{} {origin} is not declared by the connector {name}; \
                 to allow it, add to its connector.toml:\n{missing}",
                method.as_str()
            )));
        }
        if let Some(missing) = missing_line(&granted, origin, *method) {
            return Err(SendError::Denied(format!(
                "{} {origin} is declared by the connector {name} but not granted; \
                 to allow it, add to its grant:\n{missing}",
                method.as_str()
            )));
        }
        let destination = addresses.destination(origin).map_err(|error| SendError::Denied(error.to_string()))?;
        Ok(Permitted { hop: self.hop, destination })
    }
}

fn check_length(url: &str) -> Result<(), SendError> {
    if url.len() > URL_BYTES_MAX && !off(Bound::UrlBytes) {
        return Err(SendError::Denied(format!("the URL has more than {URL_BYTES_MAX} bytes")));
    }
    Ok(())
}

/// The lines of an allow-list that would let a request pass; `None` if it passes.
fn missing_line(allowed: &[(&OriginPattern, &[Method])], origin: &Origin, method: Method) -> Option<String> {
    if off(Bound::Hosts) {
        return None;
    }
    let mut same_host = allowed.iter().filter(|(pattern, _)| pattern.matches(origin)).peekable();
    let Some((pattern, methods)) = same_host.peek().copied() else {
        return Some(format!("[[host]]\norigin = \"{origin}\"\nmethods = [\"{}\"]", method.as_str()));
    };
    if same_host.any(|(_, methods)| methods.contains(&method)) {
        return None;
    }
    let methods: Vec<String> =
        methods.iter().chain([&method]).map(|method| format!("\"{}\"", method.as_str())).collect();
    Some(format!("[[host]]\norigin = \"{pattern}\"\nmethods = [{}]", methods.join(", ")))
}

/// A request whose host and method are allowed.
pub(super) struct Permitted {
    hop: Hop,
    destination: Destination,
}

impl Permitted {
    pub(super) fn hop(&self) -> &Hop {
        &self.hop
    }

    pub(super) fn into_parts(self) -> (Hop, Destination) {
        (self.hop, self.destination)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn missing(allowed: &[(&str, &[Method])], origin: &str, method: Method) -> Option<String> {
        let patterns: Vec<(OriginPattern, &[Method])> =
            allowed.iter().map(|(pattern, methods)| (pattern.parse().expect("a pattern"), *methods)).collect();
        let borrowed: Vec<_> = patterns.iter().map(|(pattern, methods)| (pattern, *methods)).collect();
        missing_line(&borrowed, &Origin::of(&origin.parse().expect("a URL")).expect("an origin"), method)
    }

    #[test]
    fn a_denial_names_the_lines_that_would_allow_it() {
        let allowed: &[(&str, &[Method])] =
            &[("https://*.example.com", &[Method::Get]), ("https://api.test:8443", &[Method::Post])];
        assert_eq!(missing(allowed, "https://a.example.com/x", Method::Get), None);
        assert_eq!(
            missing(allowed, "https://a.example.com/x", Method::Post).as_deref(),
            Some("[[host]]\norigin = \"https://*.example.com\"\nmethods = [\"GET\", \"POST\"]")
        );
        assert_eq!(
            missing(allowed, "https://api.test/x", Method::Post).as_deref(),
            Some("[[host]]\norigin = \"https://api.test\"\nmethods = [\"POST\"]")
        );
    }

    #[test]
    fn a_url_is_measured_as_it_is_sent() {
        let request = |url: String| Request { method: Method::Get, url, headers: vec![], body: None, credential: None };
        let path = |character: &str, count: usize| format!("https://a.test/{}", character.repeat(count));
        assert!(Requested::of(request(path("x", URL_BYTES_MAX - 15))).is_ok());
        for long in [path("x", URL_BYTES_MAX), path("\u{e9}", URL_BYTES_MAX / 4)] {
            let refused = Requested::of(request(long)).err().expect("it is too long");
            assert!(refused.to_string().contains("the URL has more than 16384 bytes"), "{refused}");
        }
        let from = Requested::of(request(path("x", 1))).unwrap_or_else(|error| panic!("{error}"));
        let to = path("x", URL_BYTES_MAX).parse().expect("a URL");
        assert!(Requested::redirected(to, from.hop().clone()).is_err(), "a redirect's too");
    }

    #[test]
    fn two_entries_of_one_host_allow_what_either_allows() {
        let allowed: &[(&str, &[Method])] = &[("https://a.test", &[Method::Get]), ("https://a.test", &[Method::Post])];
        assert_eq!(missing(allowed, "https://a.test", Method::Post), None);
    }
}
