//! Classifies Meta's error bodies for the host.
//!
//! The README has the table; a test runs each row of it. The token is the operator's, so what Meta says of the token or
//! its limits holds for every account, and no artist can fix it.

use backline_sdk::{NotAList, prelude::*, says};

/// `error_subcode` of an account that business discovery does not find.
const NO_SUCH_ACCOUNT: i64 = 2_207_013;

/// Why a request failed, as far as the caller distinguishes it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Failure {
    /// The error to report to the host.
    Class(FetchError),
    /// An error that holds for every account: of the operator's token or app.
    App(FetchError),
    /// Code 100: a parameter is invalid, which may be the name of a field.
    Parameter(String),
    /// The answer would be too large: ask for less at once.
    TooMuch,
}

impl From<FetchError> for Failure {
    fn from(error: FetchError) -> Self {
        Self::Class(error)
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
            Failure::Parameter(message) => Self::Unexpected(message),
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
        Refusal::Foreign(FetchError::RateLimited(_)) => Failure::App(FetchError::RateLimited(response.retry_after())),
        Refusal::Foreign(FetchError::Unauthorized(why)) => Failure::App(FetchError::Misconfigured(why)),
        Refusal::Foreign(error) => Failure::Class(error),
    })
}

fn own_error(response: &Response, body: &Json) -> Option<Failure> {
    let error = &body["error"];
    (integer(&error["code"]).is_some() || text(&error["message"]).is_some()).then(|| of_error(response, error))
}

fn of_error(response: &Response, error: &Json) -> Failure {
    let message = text(&error["message"]).unwrap_or_else(|| "no message".to_owned());
    let Some(code) = integer(&error["code"]) else { return of_status(response, message) };
    Failure::Class(match (code, integer(&error["error_subcode"])) {
        // Throttling comes first: it is marked as transient too, but needs a longer wait than a failure. One token asks
        // for all accounts, so a limit of the user is one for all. Of Meta's limits by business use case (80000 and on)
        // only 80002 is one of Instagram.
        (4 | 17 | 32 | 341 | 368 | 613 | 80_002, _) => {
            return Failure::App(FetchError::RateLimited(response.retry_after()));
        }
        (190 | 102 | 104, _) => return Failure::App(FetchError::Misconfigured(message)),
        (200, _) if says(&message, &["api access blocked"]) => return Failure::App(FetchError::Misconfigured(message)),
        (3 | 101, _) => return Failure::App(FetchError::Misconfigured(message)),
        // A permission that the operator's token lacks, or an account of the operator's that it can't see. Whether it
        // holds for all is not known: the other accounts are asked for all the same.
        (10 | 200..=299 | 803, _) | (100, Some(33)) => FetchError::Misconfigured(message),
        // Private accounts, renamed ones and those that never were are the same answer.
        (110, Some(NO_SUCH_ACCOUNT)) => FetchError::NotFound,
        (110, None) if says(&message, &["invalid user id"]) => FetchError::NotFound,
        (1 | 2, _) if says(&message, &["reduce the amount of data"]) => return Failure::TooMuch,
        (1 | 2, _) => FetchError::Unavailable(message),
        _ if error["is_transient"] == true => FetchError::Unavailable(message),
        (100, _) => return Failure::Parameter(message),
        _ if response.status >= 500 || response.status == 429 => return of_status(response, message),
        _ => FetchError::Unexpected(message),
    })
}

/// The class of an error in Meta's form that has no code, or an unknown one.
fn of_status(response: &Response, message: String) -> Failure {
    match response.status {
        401 => Failure::App(FetchError::Misconfigured(message)),
        403 => Failure::Class(FetchError::Misconfigured(message)),
        429 => Failure::App(FetchError::RateLimited(response.retry_after())),
        500.. => Failure::Class(FetchError::Unavailable(message)),
        _ => Failure::Class(FetchError::Unexpected(message)),
    }
}
