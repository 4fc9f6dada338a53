//! Classifies Google's error bodies for the host.
//!
//! The README has the table; a test runs each row of it.

use backline_sdk::{NotAList, prelude::*, says, words_of};

/// Why a request failed, as far as the caller distinguishes it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Failure {
    /// The error to report to the host.
    Class(FetchError),
    /// An error that holds for every account: of the operator's Google project.
    App(FetchError),
    /// The query is refused as a whole, which may be the fault of one metric.
    Query(String),
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
            Failure::Query(message) => Self::Unexpected(message),
        }
    }
}

/// The body of a successful response, or the classified error.
///
/// The HTTP status is ambiguous: a spent quota, a disabled API and a missing permission are all 403. The reason
/// decides, in whichever of the two lists it occurs.
pub(crate) fn classify(response: &Response) -> Result<Json, Failure> {
    response.sorted(|body| own_error(body?).map(|error| of_error(response, error))).map_err(|refusal| match refusal {
        Refusal::Own(failure) => failure,
        // Whose limit it is, nobody said; one of the project holds for all.
        Refusal::Foreign(error @ FetchError::RateLimited(_)) => Failure::App(error),
        Refusal::Foreign(error) => Failure::Class(error),
    })
}

/// The error of a body, if it is one of Google's: an object that says something, or a text.
fn own_error(body: &Json) -> Option<&Json> {
    let says =
        |error: &Json| ["message", "code", "errors", "details", "status"].iter().any(|key| !error[*key].is_null());
    body.get("error").filter(|error| error.is_string() || says(error))
}

fn of_error(response: &Response, error: &Json) -> Failure {
    // The shape of the token endpoint: the error is a text.
    if let Some(name) = error.as_str() {
        return match name {
            "invalid_client" | "unauthorized_client" | "deleted_client" => {
                Failure::App(FetchError::Misconfigured(name.to_owned()))
            }
            "invalid_grant" => FetchError::Reconnect(name.to_owned()).into(),
            "invalid_token" => FetchError::Unauthorized(name.to_owned()).into(),
            _ => of_status(response, response.status, format!("HTTP {}: {name}", response.status)),
        };
    }
    let message = text(&error["message"]).unwrap_or_else(|| "no message".to_owned());
    if let Some(failure) = of_reasons(response, error, &message).or_else(|| of_words(response, error, &message)) {
        return failure;
    }
    let status = integer(&error["code"]).and_then(|code| u16::try_from(code).ok()).filter(|code| *code >= 400);
    of_status(response, status.unwrap_or(response.status), message)
}

/// The class of the first reason that the platform documents.
fn of_reasons(response: &Response, error: &Json, message: &str) -> Option<Failure> {
    let entries = |key: &str| list(error, key).unwrap_or(&[]);
    let message = || message.to_owned();
    let limits = || entries("details").iter().map(|detail| &detail["metadata"]);
    let is_daily = || limits().any(is_daily);
    let is_of_user = || limits().any(is_of_user);
    entries("details").iter().chain(entries("errors")).find_map(|entry| {
        Some(match entry["reason"].as_str()? {
            "quotaExceeded" | "dailyLimitExceeded" | "variableTermLimitExceeded" => {
                Failure::App(FetchError::QuotaExhausted(None))
            }
            // The newer form of a spent daily quota has the name of the rate limit, but the unit "1/d/{project}".
            // `errors` repeats `details` in an older and less precise form.
            "rateLimitExceeded" | "userRateLimitExceeded" | "RATE_LIMIT_EXCEEDED" if is_daily() => {
                Failure::App(FetchError::QuotaExhausted(None))
            }
            "userRateLimitExceeded" => FetchError::RateLimited(wait(response, error)).into(),
            "rateLimitExceeded" | "RATE_LIMIT_EXCEEDED" if is_of_user() => {
                FetchError::RateLimited(wait(response, error)).into()
            }
            "rateLimitExceeded" | "RATE_LIMIT_EXCEEDED" | "concurrentLimitExceeded" | "servingLimitExceeded" => {
                Failure::App(FetchError::RateLimited(wait(response, error)))
            }
            "accessNotConfigured"
            | "dailyLimitExceededUnreg"
            | "userRateLimitExceededUnreg"
            | "SERVICE_DISABLED"
            | "BILLING_DISABLED"
            | "CONSUMER_INVALID"
            | "CONSUMER_SUSPENDED"
            | "PROJECT_DISABLED"
            | "USER_PROJECT_DENIED" => Failure::App(FetchError::Misconfigured(message())),
            "authError" | "CREDENTIALS_MISSING" | "ACCESS_TOKEN_EXPIRED" => FetchError::Unauthorized(message()).into(),
            // A new access token would have the same scopes, and the same Google account: the owner has to consent
            // again.
            "insufficientPermissions"
            | "ACCESS_TOKEN_SCOPE_INSUFFICIENT"
            | "youtubeSignupRequired"
            | "NoLinkedYouTubeAccount" => FetchError::Reconnect(message()).into(),
            _ => return None,
        })
    })
}

/// The class of an error whose reason is not documented, by what it says of the account, the service, quota and rate.
///
/// The platform has changed the wording and the status of these answers several times. Taken for "forbidden", they
/// would speak of one account although they hold for all.
fn of_words(response: &Response, error: &Json, message: &str) -> Option<Failure> {
    // Reasons and limits are written as names: `rateLimitExceeded`, `PerDay`.
    let words = words_of(&error.to_string());
    let has = |any: &[&str]| says(&words, any);
    if has(&["no linked you tube account", "nolinkedyoutubeaccount"]) {
        return Some(FetchError::Reconnect(message.to_owned()).into());
    }
    if has(&["has not been used in project", "project has been deleted"]) {
        return Some(Failure::App(FetchError::Misconfigured(message.to_owned())));
    }
    if !has(&["exceed*", "exhaust*", "used up", "too many", "limit reached", "concurren*", "out of quota"]) {
        return None;
    }
    let limited = FetchError::RateLimited(wait(response, error));
    if has(&["per day", "daily", "1 d"]) {
        return Some(Failure::App(FetchError::QuotaExhausted(None)));
    }
    if has(&["per user"]) {
        return Some(limited.into());
    }
    if has(&["rate limit*", "concurren*", "too many", "per minute", "second", "seconds"]) {
        return Some(Failure::App(limited));
    }
    // "Resource has been exhausted (e.g. check quota)" is what Google says of limits of a minute.
    if has(&["resource exhausted", "resource has been exhausted", "limit exceeded"]) {
        return Some(Failure::App(limited));
    }
    has(&["quota*"]).then_some(Failure::App(FetchError::QuotaExhausted(None)))
}

/// Seconds to wait, from `RetryInfo` in the body (`"30s"`), otherwise from `Retry-After`.
fn wait(response: &Response, error: &Json) -> Option<u32> {
    let delays = list(error, "details").unwrap_or(&[]).iter().filter_map(|detail| {
        let seconds = detail["retryDelay"].as_str()?.strip_suffix('s')?;
        seconds.split('.').next()?.parse::<u32>().ok()
    });
    delays.max().or_else(|| response.retry_after())
}

fn is_daily(metadata: &Json) -> bool {
    metadata["quota_unit"].as_str().is_some_and(|unit| unit.starts_with("1/d"))
        || metadata["quota_limit"].as_str().is_some_and(|limit| says(&words_of(limit), &["per day"]))
}

fn is_of_user(metadata: &Json) -> bool {
    metadata["quota_unit"].as_str().is_some_and(|unit| unit.contains("{user}"))
        || metadata["quota_limit"].as_str().is_some_and(|limit| says(&words_of(limit), &["per user"]))
}

fn of_status(response: &Response, status: u16, message: String) -> Failure {
    Failure::Class(match status {
        400 => return Failure::Query(message),
        401 => FetchError::Unauthorized(message),
        // 404 is the answer for a channel that is not the token's, so it does not say that there is no such channel.
        403 | 404 => FetchError::Forbidden(message),
        429 => return Failure::App(FetchError::RateLimited(response.retry_after())),
        500.. => FetchError::Unavailable(message),
        _ => FetchError::Unexpected(message),
    })
}
