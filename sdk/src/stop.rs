//! Ends a batch early once an error concerns all of its further requests.

use std::cell::RefCell;
use std::future::Future;

use crate::FetchError;

/// Remembers the first error that concerns every further request. From then on it returns that error without sending.
///
/// For a batch whose accounts share the operator's credential: after a rate limit or a spent quota, fifty more requests
/// would fail too. Accounts with their own credentials don't need it, because they fail independently.
///
/// ```
/// use backline_sdk::{FetchError, Stop};
///
/// # futures::executor::block_on(async {
/// let stop = Stop::default();
/// let limited = stop.unless(async { Err::<(), _>(FetchError::RateLimited(Some(30))) }).await;
/// assert_eq!(limited, Err(FetchError::RateLimited(Some(30))));
/// assert_eq!(stop.unless(async { Ok(1) }).await, Err(FetchError::RateLimited(Some(30))));
/// # });
/// ```
#[derive(Debug, Default)]
pub struct Stop(RefCell<Option<FetchError>>);

impl Stop {
    /// Runs `act`, unless an error is remembered.
    ///
    /// # Errors
    /// The remembered error, otherwise the error of `act`.
    pub async fn unless<T>(&self, act: impl Future<Output = Result<T, FetchError>>) -> Result<T, FetchError> {
        self.check()?;
        act.await.map_err(|error| self.remember(error))
    }

    /// Checks that no error is remembered, so that requests may still be sent.
    ///
    /// # Errors
    /// The remembered error.
    pub fn check(&self) -> Result<(), FetchError> {
        self.0.borrow().clone().map_or(Ok(()), Err)
    }

    /// Remembers an error as one that concerns every further request, whatever its class, and returns it.
    ///
    /// For accounts with credentials of their own: their errors concern one account, unless the platform says that the
    /// limit or the fault is the app's.
    pub fn halt(&self, error: FetchError) -> FetchError {
        self.0.borrow_mut().get_or_insert_with(|| error.clone());
        error
    }

    /// Remembers an error if it concerns every further request, and returns it.
    pub fn remember(&self, error: FetchError) -> FetchError {
        if error.concerns_all() {
            return self.halt(error);
        }
        error
    }
}

impl FetchError {
    /// Whether every further request with the same credential would fail in the same way: the cause is the credential,
    /// the rate limit, the quota or the configuration, not the requested object.
    #[must_use]
    pub fn concerns_all(&self) -> bool {
        matches!(
            self,
            Self::QuotaExhausted(_)
                | Self::RateLimited(_)
                | Self::Misconfigured(_)
                | Self::Unauthorized(_)
                | Self::Reconnect(_)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_concerns_all_stops_the_rest() {
        let stop = Stop::default();
        let run = |answer: Result<u8, FetchError>| futures::executor::block_on(stop.unless(async { answer }));
        assert_eq!(run(Err(FetchError::NotFound)), Err(FetchError::NotFound));
        assert_eq!(run(Err(FetchError::Unavailable("busy".into()))), Err(FetchError::Unavailable("busy".into())));
        assert_eq!(run(Ok(1)), Ok(1));
        assert_eq!(run(Err(FetchError::RateLimited(Some(30)))), Err(FetchError::RateLimited(Some(30))));
        assert_eq!(run(Ok(2)), Err(FetchError::RateLimited(Some(30))));
        assert_eq!(
            run(Err(FetchError::QuotaExhausted(None))),
            Err(FetchError::RateLimited(Some(30))),
            "the first stays"
        );
    }
}
