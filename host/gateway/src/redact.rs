//! Sent → Redacted: the answer without any secret.

use super::Response;
use super::policy::Hop;
use super::secret_matcher::SecretMatcher;
use super::send::Sent;

/// Headers that a connector does not need or must not see.
const WITHHELD_HEADERS: [&str; 5] = ["set-cookie", "set-cookie2", "connection", "keep-alive", "transfer-encoding"];

/// An answer without any secret. Only this becomes a [`Response`] or the next hop of a redirect.
pub(super) struct Redacted {
    response: Response,
    hop: Hop,
}

impl Redacted {
    pub(super) fn of(sent: Sent, secrets: &SecretMatcher) -> Self {
        let (answer, hop) = sent.into_parts();
        let headers = answer
            .headers
            .iter()
            .filter(|(name, _)| !WITHHELD_HEADERS.contains(&name.as_str()))
            .map(|(name, value)| {
                (
                    secrets.blank_text(name.as_str()),
                    String::from_utf8_lossy(&secrets.blank(value.as_bytes().to_vec())).into_owned(),
                )
            })
            .collect();
        Self { response: Response { status: answer.status, headers, body: secrets.blank(answer.body) }, hop }
    }

    /// The answer, and the hop that it answers.
    pub(super) fn response(&self) -> (&Response, &Hop) {
        (&self.response, &self.hop)
    }

    /// The answer for the connector.
    pub(super) fn into_response(self) -> Response {
        self.response
    }
}
