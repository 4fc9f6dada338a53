//! Sent → Redacted: the answer without any secret.

use reqwest::header::{CONTENT_ENCODING, HeaderMap, HeaderValue, TRANSFER_ENCODING};

use super::Response;
use super::error::SendError;
use super::headers::{WITHHELD, WITHHELD_WHEN_REDACTED};
use super::owners::Taken;
use super::policy::Hop;
use super::secret_matcher::SecretMatcher;
use super::send::Sent;
use backline_model::text::printable;
use backline_model::weakened::{Bound, off};

/// Most characters of a header about codings that an error repeats.
const CODING_CHARS_MAX: usize = 40;

/// An answer without any secret. Only this becomes a [`Response`] or the next hop of a redirect.
pub(super) struct Redacted {
    response: Response,
    hop: Hop,
    /// Its part of what large answers may hold, until the connector gets it.
    held: Option<Taken>,
}

impl Redacted {
    /// Blanks every secret out. The time counts for the call whose request it is, and others run in between.
    ///
    /// # Errors
    /// If the body has a coding that was not decoded, so that it can't be searched.
    pub(super) async fn of(sent: Sent, secrets: &SecretMatcher) -> Result<Self, SendError> {
        let (answer, hop) = sent.into_parts();
        let held = answer.held;
        let nothing = off(Bound::Redaction).then(|| SecretMatcher::new([]));
        let secrets = nothing.as_ref().unwrap_or(secrets);
        if !answer.body.is_empty() && !off(Bound::ContentCodings) {
            refuse_codings(&answer.headers, secrets)?;
        }
        let (body, redacted) = secrets.blank(answer.body).await;
        // The answers to HEAD, and with 304, have no body in which a secret could be found, and yet the length of one.
        let hides = redacted || (body.is_empty() && hop.credential.is_some());
        let headers = answer
            .headers
            .iter()
            .filter(|(name, _)| !WITHHELD.contains(&name.as_str()) || off(Bound::WithheldHeaders))
            .filter(|(name, _)| !hides || !WITHHELD_WHEN_REDACTED.contains(&name.as_str()))
            .map(|(name, value)| (secrets.blank_text(name.as_str()), secrets.blank_lossy(value.as_bytes())))
            .collect();
        Ok(Self { response: Response { status: answer.status, headers, body }, hop, held })
    }

    /// The answer, and the hop that it answers.
    pub(super) fn response(&self) -> (&Response, &Hop) {
        (&self.response, &self.hop)
    }

    /// Lets go of the body, before the next hop is waited for: the body of a redirect is of no use.
    pub(super) fn let_go(&mut self) {
        self.response.body = Vec::new();
        drop(self.held.take());
    }

    /// The answer for the connector.
    pub(super) fn into_response(self) -> Response {
        self.response
    }
}

/// Refuses an answer that is still encoded. The header of the one coding that was decoded has been removed.
fn refuse_codings(headers: &HeaderMap, secrets: &SecretMatcher) -> Result<(), SendError> {
    for (header, plain) in [(CONTENT_ENCODING, "identity"), (TRANSFER_ENCODING, "chunked")] {
        // Codings are applied one after the other, whether they stand in one line or in several.
        let lines: Vec<&[u8]> = headers.get_all(&header).iter().map(HeaderValue::as_bytes).collect();
        let all = lines.join(b", ".as_slice());
        let text = String::from_utf8_lossy(&all);
        let mut codings = text.split(',').map(str::trim).filter(|coding| !coding.is_empty());
        if codings.any(|coding| !coding.eq_ignore_ascii_case(plain)) {
            // Searched before it is cut: a part of a secret would not be found.
            let coding = secrets.blank_lossy(&all);
            let coding: String = printable(&coding).chars().take(CODING_CHARS_MAX).collect();
            return Err(SendError::Unreachable(format!(
                "the answer's {header} is '{coding}', which the gateway does not decode, so it can't be searched for \
                 secrets; gzip, br, zstd and deflate work, once each"
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_coding_that_is_left_is_refused() {
        for (name, value, passes) in [
            (CONTENT_ENCODING, "identity", true),
            (CONTENT_ENCODING, "Identity, ", true),
            (TRANSFER_ENCODING, "chunked", true),
            (CONTENT_ENCODING, "x-gzip", false),
            (CONTENT_ENCODING, "gzip, gzip", false),
            (CONTENT_ENCODING, "identity, compress", false),
            (TRANSFER_ENCODING, "gzip, chunked", false),
        ] {
            let headers = HeaderMap::from_iter([(name, HeaderValue::from_static(value))]);
            assert_eq!(refuse_codings(&headers, &SecretMatcher::new([])).is_ok(), passes, "{value}");
        }
        assert_eq!(refuse_codings(&HeaderMap::new(), &SecretMatcher::new([])), Ok(()));
    }

    #[test]
    fn a_coding_is_searched_before_it_is_cut() {
        let secret = format!("canary-{}", "0123456789".repeat(6));
        let value = HeaderValue::from_str(&format!("gzip, x-{secret}")).expect("a value");
        let headers = HeaderMap::from_iter([(CONTENT_ENCODING, value)]);
        let refused = refuse_codings(&headers, &SecretMatcher::new([secret.as_str()])).expect_err("not decoded");
        let text = refused.to_string();
        assert!(text.contains("'gzip, x-[secret]'") && !text.contains("canary"), "{text}");
    }
}
