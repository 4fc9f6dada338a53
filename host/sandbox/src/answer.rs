//! Checks a connector's answer against the contract: one result for each item, valid JSON, sizes within limits.

use serde::de::IgnoredAny;

use super::error::CallError;
use backline_model::fetch::FetchedBatch;
use backline_model::metric::Value;
use backline_model::snapshot::Snapshot;
use backline_model::weakened::{Bound, off};

/// Memory of a value in the host, in addition to its texts.
const VALUE_BYTES: u64 = 64;

/// Most metrics of one snapshot. Each that the catalogue does not know is kept for the operator to look at, which must
/// not fill the database; the longest catalogue in use has 40.
const METRICS_MAX: usize = 256;

/// Longest state of an account, in bytes: a list of ids. A batch is handed the states of all its accounts, and each is
/// kept until the next one.
const STATE_BYTES_MAX: u64 = 64 * 1024;

/// Most lost metrics of one answer. No platform has as many metrics.
pub(super) const LOST_METRICS_MAX: usize = 100;

/// Checks an answer of `fetch` and returns its size in bytes. U+0000 is kept: the stages that store it remove it.
pub(super) fn check_batch(batch: &FetchedBatch, accounts: usize, output_bytes_max: u64) -> Result<u64, CallError> {
    if batch.accounts.len() != accounts && !off(Bound::OneAnswer) {
        let given = batch.accounts.len();
        return Err(CallError::Contract(format!("fetch received {accounts} accounts and returned {given} results")));
    }
    let mut bytes: u64 = 0;
    for (index, account) in batch.accounts.iter().enumerate() {
        bytes += VALUE_BYTES;
        match account {
            Ok(fetched) => {
                bytes += length(&fetched.body) + fetched.state.as_ref().map_or(0, |state| length(state));
                // The size first: a text that is too long is not worth parsing.
                within(bytes, output_bytes_max)?;
                check_json("body", index, &fetched.body)?;
                if let Some(state) = &fetched.state {
                    if length(state) > STATE_BYTES_MAX && !off(Bound::StateBytes) {
                        let (account, bytes) = (index + 1, state.len());
                        return Err(CallError::Contract(format!(
                            "the state of account {account} has {bytes} bytes, more than {STATE_BYTES_MAX}"
                        )));
                    }
                    check_json("state", index, state)?;
                }
            }
            Err(error) => bytes += error.why().map_or(0, length),
        }
    }
    if batch.lost_metrics.len() > LOST_METRICS_MAX && !off(Bound::LostMetrics) {
        let lost = batch.lost_metrics.len();
        return Err(CallError::Contract(format!(
            "fetch reported {lost} lost metrics, and at most {LOST_METRICS_MAX} are allowed"
        )));
    }
    bytes += batch.lost_metrics.iter().map(|lost| VALUE_BYTES + length(&lost.name) + length(&lost.reason)).sum::<u64>();
    within(bytes, output_bytes_max)
}

/// Checks an answer of `normalize` and returns its size in bytes.
pub(super) fn check_snapshots(
    snapshots: &[Result<Snapshot, String>],
    documents: usize,
    output_bytes_max: u64,
) -> Result<u64, CallError> {
    if snapshots.len() != documents && !off(Bound::OneAnswer) {
        let given = snapshots.len();
        return Err(CallError::Contract(format!(
            "normalize received {documents} documents and returned {given} results"
        )));
    }
    for (index, snapshot) in snapshots.iter().enumerate() {
        let metrics = snapshot.as_ref().map_or(0, |snapshot| snapshot.metrics.len());
        if metrics > METRICS_MAX && !off(Bound::Metrics) {
            let document = index + 1;
            return Err(CallError::Contract(format!(
                "normalize returned {metrics} metrics for document {document}, and at most {METRICS_MAX} are allowed"
            )));
        }
    }
    let bytes =
        snapshots.iter().map(|snapshot| snapshot.as_ref().map_or_else(|why| length(why), snapshot_length)).sum();
    within(bytes, output_bytes_max)
}

fn within(bytes: u64, output_bytes_max: u64) -> Result<u64, CallError> {
    if bytes > output_bytes_max && !off(Bound::OutputBytes) {
        return Err(CallError::LimitExceeded { what: "output_bytes_max", limit: output_bytes_max });
    }
    Ok(bytes)
}

fn check_json(what: &str, index: usize, text: &str) -> Result<(), CallError> {
    if off(Bound::Json) {
        return Ok(());
    }
    serde_json::from_str::<IgnoredAny>(text)
        .map(|IgnoredAny| ())
        .map_err(|error| CallError::Contract(format!("the {what} of account {} is not JSON: {error}", index + 1)))
}

fn length(text: &str) -> u64 {
    text.len() as u64
}

fn snapshot_length(snapshot: &Snapshot) -> u64 {
    let metrics = snapshot.metrics.iter().map(|metric| {
        VALUE_BYTES
            + length(&metric.name)
            + match &metric.value {
                Ok(Value::Text(text)) => length(text),
                Ok(Value::Texts(texts)) => texts.iter().map(|text| VALUE_BYTES + length(text)).sum(),
                Ok(Value::Integer(_) | Value::Decimal(_)) | Err(_) => 0,
            }
    });
    VALUE_BYTES + metrics.sum::<u64>() + snapshot.notes.iter().map(|note| VALUE_BYTES + length(note)).sum::<u64>()
}

#[cfg(test)]
mod tests {
    use backline_model::fetch::{Fetched, LostMetric};
    use backline_model::snapshot::Reported;

    use super::*;

    #[test]
    fn states_and_lost_metrics_have_bounds_of_their_own() {
        let batch = |state: usize, lost: usize| FetchedBatch {
            accounts: vec![Ok(Fetched {
                body: "{}".to_owned(),
                state: Some(format!("\"{}\"", "x".repeat(state - 2))),
            })],
            lost_metrics: vec![LostMetric { name: "a".to_owned(), reason: String::new() }; lost],
        };
        assert!(check_batch(&batch(64 << 10, LOST_METRICS_MAX), 1, u64::MAX).is_ok());
        for (batch, said) in [
            (batch((64 << 10) + 1, 0), "state of account 1 has 65537 bytes"),
            (batch(2, LOST_METRICS_MAX + 1), "101 lost metrics"),
        ] {
            let error = check_batch(&batch, 1, u64::MAX).expect_err("too much");
            assert!(matches!(&error, CallError::Contract(why) if why.contains(said)), "{error}");
        }
    }

    #[test]
    fn a_snapshot_with_too_many_metrics_breaks_the_contract() {
        let metric = |n: usize| Reported { name: format!("m{n}"), value: Ok(Value::Integer(1)), coverage: None };
        let snapshot = |metrics: usize| Snapshot {
            metrics: (0..metrics).map(metric).collect(),
            engagement: None,
            notes: Vec::new(),
        };
        let few = [Ok(snapshot(METRICS_MAX)), Err("why".to_owned())];
        assert!(check_snapshots(&few, 2, u64::MAX).is_ok());
        let error = check_snapshots(&[Ok(snapshot(METRICS_MAX + 1))], 1, u64::MAX).expect_err("too many");
        assert!(matches!(&error, CallError::Contract(why) if why.contains("257 metrics for document 1")), "{error}");
    }
}
