//! Classifies Google's error bodies for the host.
//!
//! The README has the table; a test runs each row of it.

use backline_sdk::{prelude::*, says, words_of};

/// The body of a successful response, or the classified error.
///
/// The HTTP status is ambiguous: a spent quota, a disabled API and a missing permission are all 403. The reason
/// decides, in whichever of the two lists it occurs.
pub(crate) fn classify(response: &Response) -> Result<Json, FetchError> {
    let own = |body: Option<&Json>| own_error(body?).map(|error| of_error(response, error));
    Ok(response.sorted(own)?)
}

/// The error of a body, if it is one of Google's: an object that says something, or a text.
fn own_error(body: &Json) -> Option<&Json> {
    let says =
        |error: &Json| ["message", "code", "errors", "details", "status"].iter().any(|key| !error[*key].is_null());
    body.get("error").filter(|error| error.is_string() || says(error))
}

fn of_error(response: &Response, error: &Json) -> FetchError {
    // The shape of the token endpoint, which other endpoints sometimes use too: the error is a text.
    if let Some(name) = error.as_str() {
        return match name {
            "invalid_client" | "unauthorized_client" | "deleted_client" => FetchError::Misconfigured(name.to_owned()),
            "invalid_grant" | "invalid_token" => FetchError::Unauthorized(name.to_owned()),
            _ => of_status(response, response.status, format!("HTTP {}: {name}", response.status)),
        };
    }
    let message = text(&error["message"]).unwrap_or_else(|| "no message".to_owned());
    if let Some(class) = of_reasons(response, error, &message) {
        return class;
    }
    let status = integer(&error["code"]).and_then(|code| u16::try_from(code).ok()).filter(|code| *code >= 400);
    of_words(response, error).unwrap_or_else(|| of_status(response, status.unwrap_or(response.status), message))
}

/// The class of the first reason that the platform documents.
fn of_reasons(response: &Response, error: &Json, message: &str) -> Option<FetchError> {
    let entries = |key: &str| list(error, key).unwrap_or(&[]);
    let message = || message.to_owned();
    let is_daily = || entries("details").iter().any(|detail| is_daily(&detail["metadata"]));
    entries("details").iter().chain(entries("errors")).find_map(|entry| {
        Some(match entry["reason"].as_str()? {
            "quotaExceeded" | "dailyLimitExceeded" | "variableTermLimitExceeded" => FetchError::QuotaExhausted(None),
            // The newer form of a spent daily quota has the name of the rate limit, but the unit "1/d/{project}".
            // `errors` repeats `details` in an older and less precise form.
            "rateLimitExceeded" | "userRateLimitExceeded" | "RATE_LIMIT_EXCEEDED" if is_daily() => {
                FetchError::QuotaExhausted(None)
            }
            "rateLimitExceeded"
            | "userRateLimitExceeded"
            | "RATE_LIMIT_EXCEEDED"
            | "concurrentLimitExceeded"
            | "servingLimitExceeded" => FetchError::RateLimited(wait(response, error)),
            "accessNotConfigured"
            | "keyInvalid"
            | "keyExpired"
            | "ipRefererBlocked"
            | "dailyLimitExceededUnreg"
            | "userRateLimitExceededUnreg"
            | "SERVICE_DISABLED"
            | "BILLING_DISABLED"
            | "CONSUMER_INVALID"
            | "CONSUMER_SUSPENDED"
            | "PROJECT_DISABLED"
            | "USER_PROJECT_DENIED" => FetchError::Misconfigured(message()),
            reason if reason.starts_with("API_KEY_") => FetchError::Misconfigured(message()),
            "authError" | "CREDENTIALS_MISSING" => FetchError::Unauthorized(message()),
            "insufficientPermissions" | "ACCESS_TOKEN_SCOPE_INSUFFICIENT" => FetchError::Forbidden(message()),
            "playlistNotFound" | "channelNotFound" | "videoNotFound" | "channelClosed" | "channelSuspended" => {
                FetchError::NotFound
            }
            _ => return None,
        })
    })
}

/// The class of an error whose reason is not documented, by what it says of keys, quota, rate and concurrency.
///
/// The platform has changed the wording and the status of these answers several times. Taken for "forbidden", they
/// would speak of one account although they hold for all.
fn of_words(response: &Response, error: &Json) -> Option<FetchError> {
    // Reasons and limits are written as names: `rateLimitExceeded`, `PerDay`.
    let words = words_of(&error.to_string());
    let has = |any: &[&str]| says(&words, any);
    let message = || text(&error["message"]).unwrap_or_else(|| "no message".to_owned());
    if has(&["unregistered callers", "api key", "has not been used in project", "project has been deleted"]) {
        return Some(FetchError::Misconfigured(message()));
    }
    let is_limit = has(&["exceed*", "exhaust*", "used up", "too many", "limit reached", "concurren*", "out of quota"]);
    if !is_limit {
        return None;
    }
    if has(&["per day", "daily", "1 d"]) {
        return Some(FetchError::QuotaExhausted(None));
    }
    if has(&["rate limit*", "concurren*", "too many", "per minute", "per second", "per 100 seconds", "per user"]) {
        return Some(FetchError::RateLimited(wait(response, error)));
    }
    if has(&["quota*"]) {
        return Some(FetchError::QuotaExhausted(None));
    }
    has(&["resource exhausted", "resource has been exhausted", "limit exceeded"])
        .then(|| FetchError::RateLimited(wait(response, error)))
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

fn of_status(response: &Response, status: u16, message: String) -> FetchError {
    match status {
        401 => FetchError::Unauthorized(message),
        403 => FetchError::Forbidden(message),
        404 => FetchError::NotFound,
        429 => FetchError::RateLimited(response.retry_after()),
        500.. => FetchError::Unavailable(message),
        _ => FetchError::Unexpected(message),
    }
}
