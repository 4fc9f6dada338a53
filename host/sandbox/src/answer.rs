//! Checks a connector's answer against the contract: one result for each item, valid JSON, sizes within limits.

use std::collections::HashMap;

use serde::de::IgnoredAny;

use super::error::CallError;
use backline_model::AccountId;
use backline_model::fetch::{FetchError, Fetched, FetchedBatch, PastDocument};
use backline_model::metric::Value;
use backline_model::snapshot::{Snapshot, Window};
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

/// What an answer says against the contract. It may hold what a connector wrote, so it is searched and cut before it is
/// shown.
#[derive(Debug)]
pub(super) struct Breach(pub(super) String);

/// One answer of a `fetch` whose answers name their accounts.
pub(super) struct Named {
    /// The account's id, as the connector wrote it.
    pub(super) account: String,
    /// What was fetched; nothing of past dates yet.
    pub(super) document: Result<Fetched, FetchError>,
    /// Begin and end of each window of a past date that it names, in seconds since 1970, with the document if there is
    /// one.
    pub(super) history: Vec<((i64, i64), Option<String>)>,
}

/// Puts answers into the order of the accounts that were asked for, by the ids that they name, with the documents of
/// those past dates that were asked for. Every account must be named once and no other at all, and so must a date.
///
/// This bound has no switch: without it there is no order.
pub(super) fn in_order(
    answers: Vec<Named>,
    accounts: &[AccountId],
    history: &[Window],
) -> Result<Vec<Result<Fetched, FetchError>>, Breach> {
    let places: HashMap<String, usize> =
        accounts.iter().enumerate().map(|(place, account)| (account.to_string(), place)).collect();
    let mut ordered: Vec<Option<Result<Fetched, FetchError>>> = accounts.iter().map(|_| None).collect();
    for Named { account, document, history: past } in answers {
        let Some(place) = places.get(&account).copied() else {
            return Err(Breach(format!("fetch answered for an account that is not of the batch: {account}")));
        };
        let past = past_documents(past, history)
            .map_err(|problem| Breach(format!("fetch answered for account {account} {problem}")))?;
        // Without a document of its own date an account is fetched again, and its past dates with it.
        let document = document.map(|fetched| Fetched { past, ..fetched });
        if ordered[place].replace(document).is_some() {
            return Err(Breach(format!("fetch answered twice for account {account}")));
        }
    }
    if let Some(place) = ordered.iter().position(Option::is_none) {
        return Err(Breach(format!("fetch did not answer for account {}", accounts[place])));
    }
    Ok(ordered.into_iter().flatten().collect())
}

/// The documents of past dates, each for a window that was asked for.
fn past_documents(
    named: Vec<((i64, i64), Option<String>)>,
    history: &[Window],
) -> Result<Vec<PastDocument>, &'static str> {
    let mut left: Vec<Window> = history.to_vec();
    let mut documents = Vec::new();
    for ((since, until), body) in named {
        let is_named = |window: &Window| (window.since.timestamp(), window.until.timestamp()) == (since, until);
        if !history.iter().any(is_named) {
            return Err("with a past date that was not asked for");
        }
        let Some(place) = left.iter().position(is_named) else { return Err("with the same past date twice") };
        let window = left.swap_remove(place);
        documents.extend(body.map(|body| PastDocument { window, body }));
    }
    Ok(documents)
}

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
                for past in &fetched.past {
                    bytes += VALUE_BYTES + length(&past.body);
                    within(bytes, output_bytes_max)?;
                    check_json("body of a past date", index, &past.body)?;
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
    use backline_model::fetch::LostMetric;
    use backline_model::snapshot::Reported;

    use super::*;

    fn fetched(body: &str) -> Result<Fetched, FetchError> {
        Ok(Fetched { body: body.to_owned(), state: None, past: Vec::new() })
    }

    fn named(account: &str, document: Result<Fetched, FetchError>) -> Named {
        Named { account: account.to_owned(), document, history: Vec::new() }
    }

    #[test]
    fn answers_belong_to_the_accounts_that_they_name() {
        let ids = [(); 3].map(|()| AccountId::generate());
        let texts = ids.map(|id| id.to_string());
        let [a, b, c] = texts.each_ref().map(String::as_str);
        let answers = |names: &[&str]| names.iter().map(|name| named(name, fetched(name))).collect::<Vec<_>>();
        let ordered = in_order(answers(&[c, a, b]), &ids, &[]).expect("one for each");
        assert_eq!(ordered, [fetched(a), fetched(b), fetched(c)]);
        for (names, said) in [
            (vec![a, b, c, b], format!("twice for account {b}")),
            (vec![a, b], format!("did not answer for account {c}")),
            (vec![], format!("did not answer for account {a}")),
            (vec![a, b, c, "another"], "not of the batch: another".to_owned()),
            (vec![a, b, ""], "not of the batch: ".to_owned()),
        ] {
            let Breach(why) = in_order(answers(&names), &ids, &[]).expect_err("a breach");
            assert!(why.contains(&said), "{names:?}: {why}");
        }
        assert_eq!(in_order(Vec::new(), &[], &[]).expect("nothing was asked for"), []);
    }

    #[test]
    fn a_past_date_is_taken_once_and_only_if_it_was_asked_for() {
        let window = |day: i64| {
            let time = |day: i64| chrono::DateTime::from_timestamp(day * 86_400, 0).expect("a time");
            Window { since: time(day), until: time(day + 1) }
        };
        let id = AccountId::generate();
        let taken = |days: &[i64], document: Result<Fetched, FetchError>| {
            let day = |day: &i64| ((day * 86_400, (day + 1) * 86_400), (*day != 2).then(|| format!("{day}")));
            let history = days.iter().map(day).collect();
            let answer = Named { account: id.to_string(), document, history };
            in_order(vec![answer], &[id], &[window(1), window(2), window(3)])
        };
        let past = |days: &[i64]| {
            let accounts = taken(days, fetched("{}")).expect("no breach");
            accounts[0].as_ref().expect("a document").past.clone()
        };
        let document = |day: i64| PastDocument { window: window(day), body: format!("{day}") };
        assert_eq!(past(&[3, 1]), [document(3), document(1)]);
        assert_eq!(past(&[2, 3]), [document(3)], "one with an error is fetched again");
        assert_eq!(past(&[]), []);
        for (days, said) in [(vec![1, 1], "same past date twice"), (vec![2, 2], "twice"), (vec![4], "not asked for")] {
            let Breach(why) = taken(&days, fetched("{}")).expect_err("a breach");
            assert!(why.contains(said) && why.contains(&id.to_string()), "{why}");
        }
        assert_eq!(taken(&[1], Err(FetchError::NotFound)).expect("no breach"), [Err(FetchError::NotFound)]);
    }

    #[test]
    fn documents_of_past_dates_are_counted_and_must_be_json() {
        let epoch = chrono::DateTime::UNIX_EPOCH;
        let batch = |body: &str| {
            let past = PastDocument { window: Window { since: epoch, until: epoch }, body: body.to_owned() };
            let fetched = Fetched { body: "{}".to_owned(), state: None, past: vec![past] };
            FetchedBatch { accounts: vec![Ok(fetched)], lost_metrics: Vec::new() }
        };
        assert_eq!(check_batch(&batch("[1]"), 1, u64::MAX), Ok(2 * VALUE_BYTES + 5));
        let error = check_batch(&batch("[1]"), 1, 2 * VALUE_BYTES + 4).expect_err("too large");
        assert!(matches!(error, CallError::LimitExceeded { what: "output_bytes_max", .. }), "{error}");
        let error = check_batch(&batch("{"), 1, u64::MAX).expect_err("no JSON").to_string();
        assert!(error.contains("the body of a past date of account 1 is not JSON"), "{error}");
    }

    #[test]
    fn states_and_lost_metrics_have_bounds_of_their_own() {
        let batch = |state: usize, lost: usize| FetchedBatch {
            accounts: vec![Ok(Fetched {
                body: "{}".to_owned(),
                state: Some(format!("\"{}\"", "x".repeat(state - 2))),
                past: Vec::new(),
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
