//! Permitted → Scanned: the connector's headers are valid and only set what a connector may set, and nothing holds a
//! secret.
//!
//! This happens before a secret is injected: a later scan would find the secret that the host injected.

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};

use super::address::Destination;
use super::error::SendError;
use super::headers::{is_the_hosts, splits_the_answer};
use super::policy::{Hop, Permitted};
use super::secret_matcher::SecretMatcher;
use backline_model::weakened::{Bound, off};

/// Most headers of one request.
const HEADERS_MAX: usize = 64;

/// Most bytes of all header names and values of one request.
const HEADER_BYTES_MAX: usize = 16 * 1024;

/// A request in which every byte from the connector was checked.
pub(super) struct Scanned {
    hop: Hop,
    destination: Destination,
    headers: HeaderMap,
}

impl Scanned {
    pub(super) async fn of(
        permitted: Permitted,
        secrets: &SecretMatcher,
        body_bytes_max: u64,
    ) -> Result<Self, SendError> {
        let hop = permitted.hop();
        let headers = header_map(&hop.headers, hop.credential.is_some())?;
        let body = hop.body.as_deref().unwrap_or_default();
        if body.len() as u64 > body_bytes_max && !off(Bound::RequestBody) {
            return Err(SendError::Denied(format!("the request's body has more than {body_bytes_max} bytes")));
        }
        let leaks = |what: &str| {
            SendError::Denied(format!(
                "the request's {what} holds a secret; name a credential slot and the host injects it"
            ))
        };
        let nothing = off(Bound::SecretsInRequests).then(|| SecretMatcher::new([]));
        let secrets = nothing.as_ref().unwrap_or(secrets);
        if secrets.occur_in(hop.url.as_str().as_bytes()) {
            return Err(leaks("URL"));
        }
        if hop
            .headers
            .iter()
            .any(|(name, value)| secrets.occur_in(name.as_bytes()) || secrets.occur_in(value.as_bytes()))
        {
            return Err(leaks("headers"));
        }
        if secrets.occur_in_body(body).await {
            return Err(leaks("body"));
        }
        let (hop, destination) = permitted.into_parts();
        Ok(Self { hop, destination, headers })
    }

    pub(super) fn hop(&self) -> &Hop {
        &self.hop
    }

    pub(super) fn into_parts(self) -> (Hop, Destination, HeaderMap) {
        (self.hop, self.destination, self.headers)
    }
}

fn header_map(headers: &[(String, String)], with_credential: bool) -> Result<HeaderMap, SendError> {
    let denied = |problem: String| Err(SendError::Denied(problem));
    if headers.len() > HEADERS_MAX && !off(Bound::RequestHeaders) {
        return denied(format!("the request has more than {HEADERS_MAX} headers"));
    }
    let bytes: usize = headers.iter().map(|(name, value)| name.len() + value.len()).sum();
    if bytes > HEADER_BYTES_MAX && !off(Bound::RequestHeaders) {
        return denied(format!("the request's headers have more than {HEADER_BYTES_MAX} bytes"));
    }
    let mut map = HeaderMap::with_capacity(headers.len() + 2);
    for (index, (name, value)) in headers.iter().enumerate() {
        let Ok(name) = HeaderName::from_bytes(name.as_bytes()) else {
            return denied(format!("the name of header {} is not a valid HTTP header name", index + 1));
        };
        let lower = name.as_str();
        if is_the_hosts(lower) && !off(Bound::HeadersOfTheHost) {
            return denied(format!("the header {lower} is set by the host; a connector can't set it"));
        }
        if with_credential && splits_the_answer(lower) && !off(Bound::SplitAnswers) {
            return denied(format!(
                "the header {lower} can't be sent with a credential, since the answer could not be searched for it; \
                 leave it out"
            ));
        }
        let Ok(value) = HeaderValue::from_str(value) else {
            return denied(format!("the value of the header {lower} has characters that HTTP does not allow"));
        };
        map.append(name, value);
    }
    Ok(map)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_that_are_the_hosts_are_refused_in_any_case() {
        for name in [
            "Host",
            "AUTHORIZATION",
            "cookie",
            "Connection",
            "Proxy-Authorization",
            "proxy-connection",
            "Transfer-Encoding",
            "Content-Length",
            "TE",
            "Upgrade",
            "Keep-Alive",
            "Trailer",
            "Expect",
            "X-Forwarded-For",
            "x-forwarded-host",
            "Forwarded",
            "Via",
            "Accept-Encoding",
            "Sec-Fetch-Mode",
            "Transfer_Encoding",
            "X_Forwarded_For",
            "X-Method-Override",
            "X-Rewrite-URL",
        ] {
            let error = header_map(&[(name.to_owned(), "x".to_owned())], false).expect_err(name);
            assert!(matches!(&error, SendError::Denied(text) if text.contains(&name.to_ascii_lowercase())), "{error}");
        }
    }

    #[test]
    fn malformed_headers_are_refused_without_repeating_them() {
        for (name, value) in
            [("a b", "x"), ("", "x"), ("x:", "y"), ("x-a", "canary\r\nhost: evil.test"), ("x-a", "canary\0")]
        {
            let error = header_map(&[(name.to_owned(), value.to_owned())], false).expect_err(name);
            assert!(!error.to_string().contains("canary"), "{error}");
        }
    }

    #[test]
    fn what_splits_an_answer_is_refused_with_a_credential_only() {
        for name in ["Range", "If-Range", "If_Range", "accept-charset", "Want-Digest"] {
            let headers = [(name.to_owned(), "x".to_owned())];
            let error = header_map(&headers, true).expect_err(name);
            assert!(error.to_string().contains("can't be sent with a credential"), "{error}");
            assert!(header_map(&headers, false).is_ok(), "{name}");
        }
    }

    #[test]
    fn ordinary_headers_pass() {
        let headers = [
            ("Accept", "application/json"),
            ("content-type", "application/json"),
            ("X-Api-Version", "3"),
            ("accept-language", "en"),
        ];
        let given: Vec<_> = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        assert_eq!(header_map(&given, false).expect("valid").len(), 4);
    }
}
