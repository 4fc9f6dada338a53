//! Classifies Meta's error bodies for the host.

use backline_sdk::prelude::*;

/// Why a request failed, with the details that identify a refused metric.
#[derive(Clone, Debug, PartialEq)]
pub enum Failure {
    /// The error to report to the host.
    Class(FetchError),
    /// Code 100: a parameter is invalid, which may be the name of a metric.
    Parameter {
        /// The platform's message.
        message: String,
        /// The platform's `error_subcode`, which tells special cases apart.
        subcode: Option<i64>,
    },
}

impl From<HttpError> for Failure {
    fn from(error: HttpError) -> Self {
        Self::Class(error.into())
    }
}

impl From<Failure> for FetchError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Class(error) => error,
            Failure::Parameter { message, .. } => Self::Unexpected(message),
        }
    }
}

/// The body of a successful response, or the classified error.
///
/// Only the code counts, not the type: `OAuthException` is used for expired tokens, throttling and invalid parameters
/// alike.
pub(crate) fn classify(response: &Response) -> Result<Json, Failure> {
    let body = response.json();
    if let Some(body) = &body {
        if let Some(error) = body.get("error").filter(|error| error.is_object()) {
            return Err(of_error(response, error));
        }
        // The flat shape of the OAuth endpoints.
        if body.get("error_type").is_some() || body.get("error_message").is_some() {
            return Err(Failure::Class(of_oauth(response, body)));
        }
    }
    match body {
        Some(body) if response.is_success() && body.is_object() => Ok(body),
        _ => Err(Failure::Class(of_status(response, format!("HTTP {} without a usable body", response.status)))),
    }
}

fn of_error(response: &Response, error: &Json) -> Failure {
    let message = text(&error["message"]).unwrap_or_else(|| "no message".to_owned());
    let subcode = integer(&error["error_subcode"]);
    let Some(code) = integer(&error["code"]) else { return Failure::Class(of_status(response, message)) };
    Failure::Class(match (code, subcode) {
        // Throttling comes first: it is marked as transient too, but needs a longer wait than a failure.
        (4 | 17 | 32 | 613 | 80_002, _) => FetchError::RateLimited(wait(response)),
        // 458 app removed, 459 checkpoint, 460 password changed, 463 expired, 464 unconfirmed: such a token can't be
        // refreshed.
        (190 | 102, Some(458 | 459 | 460 | 463 | 464)) => FetchError::Reconnect(message),
        (190 | 102, _) => FetchError::Unauthorized(message),
        (10 | 200..=299, _) => FetchError::Forbidden(message),
        (803, _) | (100, Some(33)) => FetchError::NotFound,
        (1 | 2, _) => FetchError::Unavailable(message),
        _ if error["is_transient"] == true => FetchError::Unavailable(message),
        (100, _) => return Failure::Parameter { message, subcode },
        _ if response.status >= 500 || response.status == 429 => of_status(response, message),
        _ => FetchError::Unexpected(message),
    })
}

fn of_oauth(response: &Response, body: &Json) -> FetchError {
    let message = text(&body["error_message"]).unwrap_or_else(|| "no message".to_owned());
    match integer(&body["code"]) {
        Some(429) => FetchError::RateLimited(wait(response)),
        _ if response.status >= 500 || response.status == 429 => of_status(response, message),
        _ => FetchError::Unauthorized(message),
    }
}

fn of_status(response: &Response, message: String) -> FetchError {
    match response.status {
        401 => FetchError::Unauthorized(message),
        403 => FetchError::Forbidden(message),
        404 => FetchError::NotFound,
        429 => FetchError::RateLimited(wait(response)),
        500.. => FetchError::Unavailable(message),
        _ => FetchError::Unexpected(message),
    }
}

/// Seconds to wait: the longest time in `X-Business-Use-Case-Usage`, which is in minutes, otherwise `Retry-After`.
fn wait(response: &Response) -> Option<u32> {
    let usage: Option<Json> =
        response.header("x-business-use-case-usage").and_then(|header| serde_json::from_str(header).ok());
    let minutes = usage
        .iter()
        .filter_map(Json::as_object)
        .flat_map(|by_account| by_account.values())
        .filter_map(Json::as_array)
        .flatten()
        .filter_map(|entry| integer(&entry["estimated_time_to_regain_access"]))
        .max()
        .filter(|minutes| *minutes > 0);
    match minutes.and_then(|minutes| u32::try_from(minutes).ok()) {
        Some(minutes) => Some(minutes.saturating_mul(60)),
        None => response.retry_after(),
    }
}
