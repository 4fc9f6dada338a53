//! Classifies TikTok's error bodies for the host.

use backline_sdk::prelude::*;

/// The `data` of a successful response, or the classified error.
///
/// Every response has an `error`, whose code is `ok` if there is none. Errors also come with HTTP 200, so the code
/// decides; the status counts only if the code is missing or unknown.
pub(crate) fn classify(response: &Response) -> Result<Json, FetchError> {
    let Some(mut body) = response.json() else { return Err(of_status(response, "not JSON".to_owned())) };
    let error = &body["error"];
    // The flat shape of the token endpoint: the error is a text.
    if let Some(name) = error.as_str() {
        let message = text(&body["error_description"]).unwrap_or_else(|| name.to_owned());
        return Err(of_code(response, name, message));
    }
    match error["code"].as_str() {
        None | Some("ok") if response.is_success() && body["data"].is_object() => Ok(body["data"].take()),
        None | Some("ok") => Err(of_status(response, "no data".to_owned())),
        Some(code) => Err(of_code(response, code, text(&error["message"]).unwrap_or_else(|| code.to_owned()))),
    }
}

fn of_code(response: &Response, code: &str, message: String) -> FetchError {
    match code {
        "access_token_invalid" | "access_token_expired" => FetchError::Unauthorized(message),
        // This is a 401 too, but a new token would have the same scopes: the artist has to consent again.
        "scope_not_authorized" | "invalid_grant" => FetchError::Reconnect(message),
        "scope_permission_missed" => FetchError::Forbidden(message),
        "rate_limit_exceeded" => FetchError::RateLimited(response.retry_after()),
        "internal_error" => FetchError::Unavailable(message),
        "invalid_params" => FetchError::Unexpected(message),
        "invalid_client" | "unauthorized_client" => FetchError::Misconfigured(message),
        _ => of_status(response, message),
    }
}

fn of_status(response: &Response, message: String) -> FetchError {
    let message = format!("HTTP {}: {message}", response.status);
    match response.status {
        401 => FetchError::Unauthorized(message),
        403 => FetchError::Forbidden(message),
        429 => FetchError::RateLimited(response.retry_after()),
        500.. => FetchError::Unavailable(message),
        _ => FetchError::Unexpected(message),
    }
}
