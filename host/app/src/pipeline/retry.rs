//! Repeats a transaction that the database undid because of another one.

use std::future::Future;

use backline_store::StoreError;

/// How many times a transaction is tried in all.
const TRIES: u32 = 5;

/// Runs a transaction, and runs it again after a transient error: a deadlock, a serialisation failure, a restart of the
/// server. One whose commit may have been carried out is not among them
/// ([`StoreError::InDoubt`]): a second time there would be nothing to remove, or the name would be taken.
///
/// # Errors
/// The transaction's error, when it is not transient or no try is left.
pub(in crate::pipeline) async fn retry_transient<T, F: Future<Output = Result<T, StoreError>>>(
    work: impl Fn() -> F,
) -> Result<T, StoreError> {
    let mut tries = 1;
    loop {
        match work().await {
            Err(error) if error.is_transient() && tries < TRIES => {
                tries += 1;
                tracing::debug!(%error, tries, "the transaction is retried");
            }
            done => return done,
        }
    }
}
