//! Classifies Meta's error bodies for the host.
//!
//! The README has the table; a test runs each row of it.

use backline_sdk::{NotAList, prelude::*, says};

/// Why a request failed, as far as the caller distinguishes it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Failure {
    /// The error to report to the host.
    Class(FetchError),
    /// An error that holds for every account of the app.
    App(FetchError),
    /// Code 100: a parameter is invalid, which may be the name of a field or metric.
    Parameter {
        /// The platform's message.
        message: String,
        /// The platform's `error_subcode`, which tells special cases apart.
        subcode: Option<i64>,
    },
    /// The object does not exist, or the token may not see it. The platform does not say which.
    Missing(String),
    /// Fewer people saw the post than the platform reports numbers for.
    TooFewViewers,
    /// The answer would be too large: ask for less at once.
    TooMuch,
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
            Failure::Class(error) | Failure::App(error) => error,
            Failure::Parameter { message, .. } => Self::Unexpected(message),
            // A token always has an account, so what is missing is the permission.
            Failure::Missing(message) => Self::Forbidden(message),
            Failure::TooFewViewers => Self::Unavailable("too few viewers".to_owned()),
            Failure::TooMuch => Self::Unavailable("the answer would be too large".to_owned()),
        }
    }
}

/// The body of a successful response, or the classified error.
///
/// Only the code counts, not the type: `OAuthException` is used for expired tokens, throttling and invalid parameters
/// alike.
pub(crate) fn classify(response: &Response) -> Result<Json, Failure> {
    response.sorted(|body| own_error(response, body?)).map_err(|refusal| match refusal {
        Refusal::Own(failure) => failure,
        // Without a code, only the header tells how long to wait.
        Refusal::Foreign(FetchError::RateLimited(_)) => FetchError::RateLimited(wait(response)).into(),
        Refusal::Foreign(error) => Failure::Class(error),
    })
}

fn own_error(response: &Response, body: &Json) -> Option<Failure> {
    let error = &body["error"];
    if integer(&error["code"]).is_some() || text(&error["message"]).is_some() {
        return Some(of_error(response, error));
    }
    // The flat shape of the OAuth endpoints.
    (text(&body["error_type"]).is_some() || text(&body["error_message"]).is_some())
        .then(|| Failure::Class(of_oauth(response, body)))
}

fn of_error(response: &Response, error: &Json) -> Failure {
    let message = text(&error["message"]).unwrap_or_else(|| "no message".to_owned());
    let subcode = integer(&error["error_subcode"]);
    let Some(code) = integer(&error["code"]) else { return Failure::Class(of_status(response, message)) };
    Failure::Class(match (code, subcode) {
        // Throttling comes first: it is marked as transient too, but needs a longer wait than a failure. 4 and 341 are
        // the limits of the app; the others are those of an account or of one use. Of Meta's limits by business use
        // case (80000 and on) only 80002 is one of Instagram.
        (4 | 341, _) => return Failure::App(FetchError::RateLimited(wait(response))),
        (17 | 32 | 368 | 613 | 80_002, _) => FetchError::RateLimited(wait(response)),
        // 458 app removed, 459 checkpoint, 460 password changed, 463 expired, 464 unconfirmed: such a token can't be
        // refreshed.
        (190 | 102, Some(458 | 459 | 460 | 463 | 464)) => FetchError::Reconnect(message),
        (190 | 102 | 104, _) => FetchError::Unauthorized(message),
        (10, _) if says(&message, &["not enough viewers"]) => return Failure::TooFewViewers,
        (200, _) if says(&message, &["api access blocked"]) => return Failure::App(FetchError::Misconfigured(message)),
        (3 | 101, _) => return Failure::App(FetchError::Misconfigured(message)),
        (10 | 200..=299, _) => FetchError::Forbidden(message),
        (803, _) | (100, Some(33)) => return Failure::Missing(message),
        (1 | 2, _) if says(&message, &["reduce the amount of data"]) => return Failure::TooMuch,
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

/// The class of an error in Meta's form that has no code.
fn of_status(response: &Response, message: String) -> FetchError {
    match response.status {
        401 => FetchError::Unauthorized(message),
        403 => FetchError::Forbidden(message),
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
