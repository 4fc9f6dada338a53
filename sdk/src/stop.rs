//! Ends a batch early once an error concerns every further request of it.

use std::cell::RefCell;
use std::future::Future;

use crate::FetchError;

/// Remembers the first error that concerns every further request; from then on it is the answer to all of them, and nothing
/// more is sent.
///
/// For a batch whose accounts share the operator's credential: a platform that has said "too fast" or "that was all for today"
/// should not be asked fifty times more. Accounts with credentials of their own fail each by itself.
#[derive(Debug, Default)]
pub struct Stop(RefCell<Option<FetchError>>);

impl Stop {
    /// Acts, unless an error before it concerns this too.
    ///
    /// # Errors
    /// The remembered error, else the act's own.
    pub async fn unless<T>(&self, act: impl Future<Output = Result<T, FetchError>>) -> Result<T, FetchError> {
        self.check()?;
        act.await.map_err(|error| self.remember(error))
    }

    /// Whether anything may be sent still.
    ///
    /// # Errors
    /// The remembered error.
    pub fn check(&self) -> Result<(), FetchError> {
        self.0.borrow().clone().map_or(Ok(()), Err)
    }

    /// Remembers an error if it concerns every further request, and hands it back.
    pub fn remember(&self, error: FetchError) -> FetchError {
        if error.concerns_all() {
            self.0.borrow_mut().get_or_insert_with(|| error.clone());
        }
        error
    }
}

impl FetchError {
    /// Whether every further request with the same credential would end the same way: what is wrong is the credential, the pace,
    /// the allowance or the configuration, not the thing that was asked for.
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
