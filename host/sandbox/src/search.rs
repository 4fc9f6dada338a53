//! Searches everything that a connector answers for the secrets of its session, before anything of it is stored, logged
//! or shown.
//!
//! The gateway blanks secrets out of what a connector receives. What it missed, because a platform wrote it in a form
//! that only the connector reads, ends here. It is done within the call, so its time counts for the call.

use backline_gateway::Secrets;
use backline_model::fetch::{FetchError, FetchedBatch};
use backline_model::metric::Value;
use backline_model::snapshot::Snapshot;

use super::error::CallError;
use super::meters::LogLine;

async fn replace(secrets: &Secrets, text: &mut String) {
    *text = secrets.blank(std::mem::take(text)).await;
}

/// Searches an answer of `fetch`: documents, states, errors, and what is said about lost metrics.
pub(super) async fn batch(secrets: &Secrets, mut batch: FetchedBatch) -> FetchedBatch {
    for account in &mut batch.accounts {
        match account {
            Ok(fetched) => {
                replace(secrets, &mut fetched.body).await;
                if let Some(state) = &mut fetched.state {
                    replace(secrets, state).await;
                }
            }
            Err(error) => fetch_error(secrets, error).await,
        }
    }
    for lost in &mut batch.lost_metrics {
        replace(secrets, &mut lost.name).await;
        replace(secrets, &mut lost.reason).await;
    }
    batch
}

/// Searches a connector's typed error.
pub(super) async fn fetch_error(secrets: &Secrets, error: &mut FetchError) {
    match error {
        FetchError::Unauthorized(why)
        | FetchError::Reconnect(why)
        | FetchError::Forbidden(why)
        | FetchError::Misconfigured(why)
        | FetchError::Unavailable(why)
        | FetchError::Unexpected(why) => replace(secrets, why).await,
        FetchError::NotFound | FetchError::RateLimited(_) | FetchError::QuotaExhausted(_) => {}
    }
}

/// Searches an answer of `check`.
pub(super) async fn checked(secrets: &Secrets, mut name: Result<String, FetchError>) -> Result<String, FetchError> {
    match &mut name {
        Ok(name) => replace(secrets, name).await,
        Err(error) => fetch_error(secrets, error).await,
    }
    name
}

/// Searches an answer of `normalize`: names, texts, notes and errors, for the secrets of every session of the batch.
pub(super) async fn snapshots(
    secrets: &[Secrets],
    mut snapshots: Vec<Result<Snapshot, String>>,
) -> Vec<Result<Snapshot, String>> {
    for secrets in secrets {
        for snapshot in &mut snapshots {
            match snapshot {
                Ok(snapshot) => {
                    for metric in &mut snapshot.metrics {
                        replace(secrets, &mut metric.name).await;
                        match &mut metric.value {
                            Ok(Value::Text(text)) => replace(secrets, text).await,
                            Ok(Value::Texts(texts)) => {
                                for text in texts {
                                    replace(secrets, text).await;
                                }
                            }
                            Ok(Value::Integer(_) | Value::Decimal(_)) | Err(_) => {}
                        }
                    }
                    for note in &mut snapshot.notes {
                        replace(secrets, note).await;
                    }
                }
                Err(why) => replace(secrets, why).await,
            }
        }
    }
    snapshots
}

/// Searches a connector's log.
pub(super) async fn log(secrets: &[Secrets], lines: &mut [LogLine]) {
    for secrets in secrets {
        for line in &mut *lines {
            replace(secrets, &mut line.message).await;
        }
    }
}

/// Searches the text of a trap, which the connector may have written.
pub(super) async fn call_error(secrets: &[Secrets], mut error: CallError) -> CallError {
    if let CallError::Trapped(text) = &mut error {
        for secrets in secrets {
            replace(secrets, text).await;
        }
    }
    error
}
