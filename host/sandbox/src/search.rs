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

/// Searches an answer of `fetch`: documents, states, errors, and what is said about lost metrics.
pub(super) async fn batch(secrets: &Secrets, mut batch: FetchedBatch) -> FetchedBatch {
    let mut texts: Vec<&mut String> = Vec::new();
    for account in &mut batch.accounts {
        match account {
            Ok(fetched) => texts.extend([&mut fetched.body].into_iter().chain(&mut fetched.state)),
            Err(error) => texts.extend(error.why_mut()),
        }
    }
    texts.extend(batch.lost_metrics.iter_mut().flat_map(|lost| [&mut lost.name, &mut lost.reason]));
    secrets.blank_all(texts).await;
    batch
}

/// Searches an answer of `check`.
pub(super) async fn checked(secrets: &Secrets, mut name: Result<String, FetchError>) -> Result<String, FetchError> {
    let text = match &mut name {
        Ok(name) => Some(name),
        Err(error) => error.why_mut(),
    };
    secrets.blank_all(text.into_iter().collect()).await;
    name
}

/// Searches an answer of `normalize`: names, texts, notes and errors, for the secrets of every session of the batch.
pub(super) async fn snapshots(
    secrets: &[Secrets],
    mut snapshots: Vec<Result<Snapshot, String>>,
) -> Vec<Result<Snapshot, String>> {
    for secrets in secrets {
        secrets.blank_all(snapshots.iter_mut().flat_map(texts_of).collect()).await;
    }
    snapshots
}

fn texts_of(snapshot: &mut Result<Snapshot, String>) -> Vec<&mut String> {
    let snapshot = match snapshot {
        Ok(snapshot) => snapshot,
        Err(why) => return vec![why],
    };
    let mut texts: Vec<&mut String> = snapshot.notes.iter_mut().collect();
    for metric in &mut snapshot.metrics {
        texts.push(&mut metric.name);
        match &mut metric.value {
            Ok(Value::Text(text)) => texts.push(text),
            Ok(Value::Texts(more)) => texts.extend(more),
            Ok(Value::Integer(_) | Value::Decimal(_)) | Err(_) => {}
        }
    }
    texts
}

/// Searches a connector's log.
pub(super) async fn log(secrets: &[Secrets], lines: &mut [LogLine]) {
    for secrets in secrets {
        secrets.blank_all(lines.iter_mut().map(|line| &mut line.message).collect()).await;
    }
}

/// Searches the text of a trap, which the connector may have written.
pub(super) async fn call_error(secrets: &[Secrets], mut error: CallError) -> CallError {
    if let CallError::Trapped(text) = &mut error {
        for secrets in secrets {
            secrets.blank_all(vec![&mut *text]).await;
        }
    }
    error
}
