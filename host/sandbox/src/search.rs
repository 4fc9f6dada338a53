//! Searches everything that a connector answers for the secrets of its session, before anything of it is stored, logged
//! or shown.
//!
//! The gateway blanks secrets out of what a connector receives. What it missed, because a platform wrote it in a form
//! that only the connector reads, ends here. It is done within the call, so its time counts for the call.
//!
//! Texts are searched as they were written, and only then cut and made printable: a secret of which the end was cut
//! off, or whose letters have U+0000 between them, would not be found any more.

use backline_gateway::Secrets;
use backline_model::fetch::{FetchError, FetchedBatch};
use backline_model::metric::Value;
use backline_model::snapshot::Snapshot;
use backline_model::text::printable;

use super::answer::Breach;
use super::bindings::clip;
use super::error::CallError;
use super::meters::{Cut, LogLine};

/// Searches an answer of `fetch`, or what it says against the contract.
pub(super) async fn fetched(secrets: &Secrets, fetched: Result<FetchedBatch, Breach>) -> Result<FetchedBatch, Breach> {
    match fetched {
        Ok(fetched) => Ok(batch(secrets, fetched).await),
        Err(Breach(mut why)) => {
            secrets.blank_all(vec![&mut why]).await;
            Err(Breach(clip(why)))
        }
    }
}

/// Searches documents, those of past dates too, states, errors, and what is said about lost metrics.
async fn batch(secrets: &Secrets, mut batch: FetchedBatch) -> FetchedBatch {
    let mut texts: Vec<&mut String> = Vec::new();
    for account in &mut batch.accounts {
        match account {
            Ok(fetched) => {
                texts.extend([&mut fetched.body].into_iter().chain(&mut fetched.state));
                texts.extend(fetched.past.iter_mut().map(|past| &mut past.body));
            }
            Err(error) => texts.extend(error.why_mut()),
        }
    }
    texts.extend(batch.lost_metrics.iter_mut().flat_map(|lost| [&mut lost.name, &mut lost.reason]));
    secrets.blank_all(texts).await;
    let errors = batch.accounts.iter_mut().filter_map(|account| account.as_mut().err()?.why_mut());
    clip_all(errors.chain(batch.lost_metrics.iter_mut().flat_map(|lost| [&mut lost.name, &mut lost.reason])));
    batch
}

/// Cuts texts that were searched, and makes them printable.
fn clip_all<'a>(texts: impl Iterator<Item = &'a mut String>) {
    for text in texts {
        *text = clip(std::mem::take(text));
    }
}

/// Searches an answer of `check`.
pub(super) async fn checked(secrets: &Secrets, mut name: Result<String, FetchError>) -> Result<String, FetchError> {
    secrets.blank_all(text_of(&mut name).into_iter().collect()).await;
    clip_all(text_of(&mut name).into_iter());
    name
}

fn text_of(name: &mut Result<String, FetchError>) -> Option<&mut String> {
    match name {
        Ok(name) => Some(name),
        Err(error) => error.why_mut(),
    }
}

/// Searches an answer of `normalize`: names, texts, notes and errors, for the secrets of every session of the batch.
pub(super) async fn snapshots(
    secrets: &[Secrets],
    mut snapshots: Vec<Result<Snapshot, String>>,
) -> Vec<Result<Snapshot, String>> {
    for secrets in secrets {
        secrets.blank_all(snapshots.iter_mut().flat_map(texts_of).collect()).await;
    }
    for snapshot in &mut snapshots {
        match snapshot {
            Ok(Snapshot { metrics, notes, .. }) => {
                clip_all(notes.iter_mut().chain(metrics.iter_mut().map(|metric| &mut metric.name)));
            }
            Err(why) => clip_all(std::iter::once(why)),
        }
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

/// Searches a connector's log, cuts the line that did not fit, and makes it printable.
pub(super) async fn log(secrets: &[Secrets], lines: &mut [LogLine], cut: Option<Cut>) {
    for secrets in secrets {
        secrets.blank_all(lines.iter_mut().map(|line| &mut line.message).collect()).await;
    }
    if let Some(cut) = cut {
        cut.apply(lines);
    }
    for line in lines {
        line.message = printable(&line.message);
    }
}

/// Searches the text of a trap, which the connector may have written. It names functions, one on each line, and a name
/// may have lines of its own: the text becomes one line.
pub(super) async fn call_error(secrets: &[Secrets], mut error: CallError) -> CallError {
    if let CallError::Trapped(text) = &mut error {
        for secrets in secrets {
            secrets.blank_all(vec![&mut *text]).await;
        }
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        *text = clip(lines.collect::<Vec<_>>().join("; "));
    }
    error
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::meters::LogLevel;

    #[tokio::test]
    async fn what_was_searched_is_cut_and_steers_nothing() {
        let (secrets, hostile) = (Secrets::default(), || format!("\u{1b}\0{}", "x".repeat(3_000)));
        let is_harmless = |text: &str| text.starts_with("\u{fffd}\u{fffd}x") && text.ends_with('…');
        let fetched = FetchedBatch {
            accounts: vec![Err(FetchError::Unexpected(hostile()))],
            lost_metrics: vec![backline_model::LostMetric { name: hostile(), reason: hostile() }],
        };
        let fetched = batch(&secrets, fetched).await;
        let why = fetched.accounts[0].as_ref().expect_err("an error").why().expect("a text");
        let lost = &fetched.lost_metrics[0];
        assert!([why, lost.name.as_str(), lost.reason.as_str()].into_iter().all(is_harmless));
        let breach = super::fetched(&secrets, Err(Breach(hostile()))).await;
        assert!(breach.is_err_and(|Breach(why)| is_harmless(&why)));
        assert!(checked(&secrets, Ok(hostile())).await.is_ok_and(|name| is_harmless(&name)));
        let snapshot = Snapshot { metrics: Vec::new(), engagement: None, notes: vec![hostile()] };
        let made = snapshots(&[], vec![Ok(snapshot), Err(hostile())]).await;
        assert!(made[0].as_ref().is_ok_and(|snapshot| is_harmless(&snapshot.notes[0])));
        assert!(made[1].as_ref().is_err_and(|why| is_harmless(why)));
        let trapped = call_error(&[], CallError::Trapped(hostile())).await;
        assert!(matches!(&trapped, CallError::Trapped(text) if is_harmless(text)), "{trapped}");
        let of_names = "backtrace:\n  0: f\nerror: none\n\n  1: g: unreachable".to_owned();
        let trapped = call_error(&[], CallError::Trapped(of_names)).await;
        let expected = CallError::Trapped("backtrace:; 0: f; error: none; 1: g: unreachable".to_owned());
        assert_eq!(trapped, expected);
        let mut lines = [LogLine { level: LogLevel::Info, message: "a\u{1b}[31m\0".to_owned() }];
        log(&[], &mut lines, None).await;
        assert_eq!(lines[0].message, "a\u{fffd}[31m\u{fffd}");
    }
}
