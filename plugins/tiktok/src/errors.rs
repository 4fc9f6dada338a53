//! Classifies TikTok's error bodies for the host.
//!
//! The README has the table; a test runs each row of it.

use backline_sdk::{NotAList, prelude::*, says, words_of};

/// Why a request failed.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Failure {
    /// A scope is missing of those that the requested fields need. The token is good for the others.
    Scope(String),
    /// The error to report to the host.
    Class(FetchError),
}

impl From<FetchError> for Failure {
    fn from(error: FetchError) -> Self {
        Self::Class(error)
    }
}

impl From<HttpError> for Failure {
    fn from(error: HttpError) -> Self {
        Self::Class(error.into())
    }
}

impl From<NotAList> for Failure {
    fn from(missing: NotAList) -> Self {
        Self::Class(missing.into())
    }
}

impl From<Failure> for FetchError {
    fn from(failure: Failure) -> Self {
        match failure {
            // A new token would have the same scopes: the artist has to consent again.
            Failure::Scope(message) => Self::Reconnect(message),
            Failure::Class(error) => error,
        }
    }
}

/// The `data` of a successful response, or the classified error.
///
/// Every response has an `error`, whose code is `ok` if there is none. Errors also come with HTTP 200, so the code
/// decides; the status counts only if the code is unknown.
pub(crate) fn classify(response: &Response) -> Result<Json, Failure> {
    let mut body = response.sorted(|body| own_error(response, body?)).map_err(|refusal| match refusal {
        Refusal::Own(failure) => failure,
        Refusal::Foreign(error) => Failure::Class(error),
    })?;
    match body.get_mut("data").map(Json::take) {
        Some(data) if data.is_object() => Ok(data),
        _ => Err(FetchError::Unexpected(format!("HTTP {}: no data", response.status)).into()),
    }
}

fn own_error(response: &Response, body: &Json) -> Option<Failure> {
    let error = &body["error"];
    // The flat shape of the token endpoint: the error is a text.
    if let Some(name) = error.as_str() {
        let message = text(&body["error_description"]).unwrap_or_else(|| name.to_owned());
        return Some(of_code(response, name, message));
    }
    match text(&error["code"])?.as_str() {
        "ok" if response.is_success() => None,
        "ok" => Some(of_status(response, "the code is ok").into()),
        code => Some(of_code(response, code, text(&error["message"]).unwrap_or_else(|| code.to_owned()))),
    }
}

fn of_code(response: &Response, code: &str, message: String) -> Failure {
    Failure::Class(match code {
        "access_token_invalid" => FetchError::Unauthorized(message),
        // The first is a 401, the second a 400, for the same cause: the artist did not grant a scope.
        "scope_not_authorized" | "scope_permission_missed" => return Failure::Scope(message),
        "invalid_grant" => FetchError::Reconnect(message),
        "rate_limit_exceeded" => FetchError::RateLimited(response.retry_after()),
        "internal_error" => FetchError::Unavailable(message),
        "invalid_params" => FetchError::Unexpected(message),
        "invalid_client" | "unauthorized_client" => FetchError::Misconfigured(message),
        // An unknown code for a limit would speak of one account although it holds for all.
        _ if response.status < 500 && speaks_of_rate(code, &message) => FetchError::RateLimited(response.retry_after()),
        _ => of_status(response, &message),
    })
}

/// Whether an error whose code is not documented says that there were too many requests.
fn speaks_of_rate(code: &str, message: &str) -> bool {
    let words = words_of(&format!("{code} {message}"));
    says(&words, &["rate limit*", "too many requests", "request limit*", "quota exceed*", "exceeded the quota"])
}

fn of_status(response: &Response, message: &str) -> FetchError {
    let message = format!("HTTP {}: {message}", response.status);
    match response.status {
        401 => FetchError::Unauthorized(message),
        403 => FetchError::Forbidden(message),
        429 => FetchError::RateLimited(response.retry_after()),
        500.. => FetchError::Unavailable(message),
        _ => FetchError::Unexpected(message),
    }
}

/// Whether an error holds for every account of the app, so that the rest of the batch would meet it too. The platform
/// states its limits for the application, not for a user.
pub(crate) fn is_of_app(error: &FetchError) -> bool {
    matches!(error, FetchError::RateLimited(_) | FetchError::QuotaExhausted(_) | FetchError::Misconfigured(_))
}
