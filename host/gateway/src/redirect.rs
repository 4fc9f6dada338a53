//! Redacted → Requested: the request that follows a redirect. The new hop passes every check again.

use super::error::SendError;
use super::policy::{Hop, Requested};
use super::redact::Redacted;
use backline_model::manifest::Method;
use backline_model::origin::Origin;

/// The next hop, if the answer is a redirect (RFC 9110, 15.4).
///
/// When the origin changes, the credential and the connector's headers are dropped for good: a redirect back does not
/// restore them.
pub(super) fn next_hop(redacted: &Redacted) -> Result<Option<Requested>, SendError> {
    let (response, hop) = redacted.response();
    if !matches!(response.status, 301 | 302 | 303 | 307 | 308) {
        return Ok(None);
    }
    let Some((_, location)) = response.headers.iter().find(|(name, _)| name == "location") else { return Ok(None) };
    let url = hop.url.join(location).map_err(|error| {
        SendError::Unreachable(format!("{} redirects to a URL that is not valid: {error}", hop.origin))
    })?;
    let mut next = hop.clone();
    if becomes_get(response.status, hop.method) {
        next.method = Method::Get;
        next.body = None;
        next.headers.retain(|(name, _)| !name.to_ascii_lowercase().starts_with("content-"));
    }
    if Origin::of(&url).ok().as_ref() != Some(&hop.origin) {
        next.credential = None;
        next.headers.clear();
    }
    Requested::redirected(url, next).map(Some).map_err(|error| of_redirect(error, hop))
}

/// Adds to a refusal that a redirect led to it.
pub(super) fn of_redirect(error: SendError, from: &Hop) -> SendError {
    match error {
        SendError::Denied(why) => SendError::Denied(format!("{} redirects elsewhere: {why}", from.origin)),
        other => other,
    }
}

fn becomes_get(status: u16, method: Method) -> bool {
    match status {
        301 | 302 => method == Method::Post,
        303 => method != Method::Head,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_method_changes_as_the_standard_says() {
        for (status, method, expected) in [
            (301, Method::Post, true),
            (302, Method::Post, true),
            (301, Method::Put, false),
            (302, Method::Head, false),
            (303, Method::Put, true),
            (303, Method::Head, false),
            (307, Method::Post, false),
            (308, Method::Post, false),
        ] {
            assert_eq!(becomes_get(status, method), expected, "{status} {method:?}");
        }
    }
}
