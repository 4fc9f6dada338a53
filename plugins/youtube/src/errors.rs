//! Classifies Google's error bodies for the host.

use backline_sdk::prelude::*;

/// The body of a successful response, or the classified error.
///
/// The HTTP status is ambiguous: a spent quota, a disabled API and a missing permission are all 403. The reason
/// decides, in whichever of the two lists it occurs.
pub(crate) fn classify(response: &Response) -> Result<Json, FetchError> {
    let body = response.json();
    let error = body.as_ref().and_then(|body| body.get("error")).filter(|error| !error.is_null());
    match error {
        Some(error) => Err(of_error(response, error)),
        None if response.is_success() => match body {
            Some(body) if body.is_object() => Ok(body),
            _ => Err(FetchError::Unexpected(format!("HTTP {} without a JSON object", response.status))),
        },
        None => Err(of_status(response, response.status, format!("HTTP {}", response.status))),
    }
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
    let details = error["details"].as_array().map(Vec::as_slice).unwrap_or_default();
    let errors = error["errors"].as_array().map(Vec::as_slice).unwrap_or_default();
    for entry in details.iter().chain(errors) {
        let reason = entry["reason"].as_str().unwrap_or_default();
        let class = match reason {
            // The newer form of a spent daily quota has the name of the rate limit, but the unit "1/d/{project}".
            "RATE_LIMIT_EXCEEDED" if is_daily(&entry["metadata"]) => FetchError::QuotaExhausted(None),
            "quotaExceeded" | "dailyLimitExceeded" => FetchError::QuotaExhausted(None),
            "rateLimitExceeded" | "userRateLimitExceeded" | "RATE_LIMIT_EXCEEDED" => {
                // `errors` repeats `details` in an older and less precise form.
                if details.iter().any(|detail| is_daily(&detail["metadata"])) {
                    FetchError::QuotaExhausted(None)
                } else {
                    FetchError::RateLimited(response.retry_after())
                }
            }
            "accessNotConfigured"
            | "keyInvalid"
            | "keyExpired"
            | "ipRefererBlocked"
            | "dailyLimitExceededUnreg"
            | "SERVICE_DISABLED"
            | "BILLING_DISABLED"
            | "CONSUMER_INVALID"
            | "CONSUMER_SUSPENDED" => FetchError::Misconfigured(message),
            _ if reason.starts_with("API_KEY_") => FetchError::Misconfigured(message),
            "authError" | "CREDENTIALS_MISSING" => FetchError::Unauthorized(message),
            "insufficientPermissions" | "ACCESS_TOKEN_SCOPE_INSUFFICIENT" => FetchError::Forbidden(message),
            "playlistNotFound" | "channelNotFound" | "videoNotFound" | "channelClosed" | "channelSuspended" => {
                FetchError::NotFound
            }
            _ => continue,
        };
        return class;
    }
    let status = integer(&error["code"]).and_then(|code| u16::try_from(code).ok()).filter(|code| *code >= 400);
    of_status(response, status.unwrap_or(response.status), message)
}

fn is_daily(metadata: &Json) -> bool {
    metadata["quota_unit"].as_str().is_some_and(|unit| unit.starts_with("1/d"))
        || metadata["quota_limit"].as_str().is_some_and(|limit| limit.contains("PerDay"))
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
