//! Damages the answers that a connector gets, one at a time, and checks that no number is invented from the rest.

use serde_json::{Value as Json, json};

use super::walk;
use crate::replay::{Replay, Sent, response};
use crate::{Account, Connector, Context, Document, FetchError, Fetched, Metric, Snapshot, Value};

/// A batch as it came back: for every account the fetched document and its snapshot, or the error.
type Collected = Vec<Result<(Fetched, Snapshot), FetchError>>;

/// A damaged answer, and what was done to it.
struct Damage {
    what: String,
    status: u16,
    body: String,
}

/// Damages every list of every good answer, and every good answer as a whole, and collects the accounts again.
///
/// A list is removed, or replaced by null, by values of other shapes and by a list of items that mean nothing. An
/// answer is replaced by a page of HTML, by nothing, by half of itself, by an empty object, and by a 403 and a 404 that
/// are no error of the platform's own form. After each, every metric must have its value of the good answers, or none:
/// a different number is allowed only for a sum that counted some posts and skipped more than before. State that was
/// kept must give the good numbers as soon as the platform answers as it should.
///
/// `platform` prepares the good answers again for every run. A request that they do not cover, which a connector may
/// send after a damaged answer, gets no response.
///
/// # Panics
/// At the first invented number, with the request and the damage.
pub fn check_answers<C: Connector>(platform: impl Fn() -> Replay, accounts: &[Account], context: &Context) {
    let replay = platform();
    let good = collect::<C>(&replay, accounts, context);
    assert!(good.iter().any(Result::is_ok), "pass answers from which at least one account is collected");
    let mut damaged = 0_usize;
    for (asked, answer) in replay.exchanges() {
        let sent = &asked.sent;
        let Ok(body) = serde_json::from_slice::<Json>(&answer.body) else { continue };
        for damage in damages(&body, &answer.body) {
            damaged += 1;
            let what = format!("{} {}: {}", sent.name(), sent.url, damage.what);
            let replay = platform().damaged(&asked, response(damage.status, &[], damage.body));
            let got = collect::<C>(&replay, accounts, context);
            compare(&good, &got, &what);
            check_state::<C>(&platform, accounts, context, &good, &got, &what);
        }
    }
    assert!(damaged > 0, "no answer was JSON");
}

/// Every damage to one answer: to each of its lists, and to the whole.
fn damages(body: &Json, bytes: &[u8]) -> Vec<Damage> {
    let mut paths = Vec::new();
    walk(body, &mut String::new(), &mut paths);
    let mut damages = Vec::new();
    for path in paths.iter().filter(|path| body.pointer(path).is_some_and(Json::is_array)) {
        let others = [json!(null), json!({}), json!("text"), json!(0), json!(true), json!([null, 1, {}, []])];
        damages.extend(others.into_iter().map(|other| {
            let what = format!("{path} is {other}");
            let mut damaged = body.clone();
            if let Some(list) = damaged.pointer_mut(path) {
                *list = other;
            }
            Damage { what, status: 200, body: damaged.to_string() }
        }));
        let mut damaged = body.clone();
        let (parent, key) = path.rsplit_once('/').unwrap_or_default();
        if let Some(Json::Object(fields)) = damaged.pointer_mut(parent) {
            fields.remove(&key.replace("~1", "/").replace("~0", "~"));
            damages.push(Damage { what: format!("{path} is removed"), status: 200, body: damaged.to_string() });
        }
    }
    let half = String::from_utf8_lossy(&bytes[..bytes.len() / 2]).into_owned();
    let wholes = [
        (200, "<html>busy</html>".to_owned()),
        (200, String::new()),
        (200, half),
        (200, "{}".to_owned()),
        (200, r#"{"message":"busy"}"#.to_owned()),
        (403, "<HTML><TITLE>Access Denied</TITLE></HTML>".to_owned()),
        (403, String::new()),
        (404, "<html>Not Found</html>".to_owned()),
        (404, String::new()),
        (404, "{}".to_owned()),
        (503, String::new()),
    ];
    damages.extend(wholes.into_iter().map(|(status, body)| Damage {
        what: format!("HTTP {status} with {:?}", body.chars().take(60).collect::<String>()),
        status,
        body,
    }));
    damages
}

fn collect<C: Connector>(replay: &Replay, accounts: &[Account], context: &Context) -> Collected {
    let outcomes = replay.fetch::<C>(accounts.to_vec(), context.clone()).accounts;
    let window = context.window;
    outcomes
        .into_iter()
        .map(|outcome| {
            outcome.map(|fetched| {
                let document = Document { body: fetched.body.clone(), window, observed_at: window.until };
                let snapshot = C::normalize(document)
                    .unwrap_or_else(|error| panic!("normalize refuses what fetch returned: {error}"));
                (fetched, snapshot)
            })
        })
        .collect()
}

fn compare(good: &Collected, got: &Collected, what: &str) {
    for (good, got) in good.iter().zip(got) {
        let Ok((fetched, got)) = got else { continue };
        let good = good.as_ref().ok().map(|(_, good)| good);
        for metric in &got.metrics {
            let before = good.and_then(|good| good.metrics.iter().find(|before| before.name == metric.name));
            assert!(
                is_justified(before, metric),
                "{what}: {} became {:?} {:?}, it was {:?}; the document is {}",
                metric.name,
                metric.value,
                metric.coverage,
                before.map(|before| &before.value),
                fetched.body
            );
        }
        let before = good.and_then(|good| good.engagement.as_ref());
        if let Some(engagement) = &got.engagement {
            let same = before.is_some_and(|it| {
                (it.interactions, it.posts_counted, it.posts_skipped)
                    == (engagement.interactions, engagement.posts_counted, engagement.posts_skipped)
            });
            let skipped_more = before.is_some_and(|it| engagement.posts_skipped > it.posts_skipped);
            assert!(same || skipped_more, "{what}: the engagement became {engagement:?}, it was {before:?}");
        }
    }
}

/// Whether a metric is missing, the same as before, or a sum that says that it skipped more than before.
fn is_justified(before: Option<&Metric>, after: &Metric) -> bool {
    let (Ok(value), Some(before)) = (&after.value, before) else { return after.value.is_err() };
    let is_sum = matches!(value, Value::Integer(_) | Value::Decimal(_));
    let skips_more = match (before.coverage, after.coverage) {
        (Some(before), Some(after)) => after.counted > 0 && after.skipped > before.skipped,
        _ => false,
    };
    before.value.as_ref() == Ok(value) || (is_sum && skips_more)
}

/// State that was kept after a damaged answer must not outlive the damage.
fn check_state<C: Connector>(
    platform: &impl Fn() -> Replay,
    accounts: &[Account],
    context: &Context,
    good: &Collected,
    got: &Collected,
    what: &str,
) {
    if !got.iter().flatten().any(|(fetched, _)| fetched.state.is_some()) {
        return;
    }
    let mut accounts = accounts.to_vec();
    for (account, got) in accounts.iter_mut().zip(got) {
        if let Ok((fetched, _)) = got {
            account.state.clone_from(&fetched.state);
        }
    }
    let healthy = platform().or_unreachable();
    for (good, again) in good.iter().zip(collect::<C>(&healthy, &accounts, context)) {
        let (Ok((_, good)), Ok((_, again))) = (good, &again) else { continue };
        assert_eq!(again.metrics, good.metrics, "{what}: the state that was kept still shows when all is well again");
    }
}

impl Sent {
    fn name(&self) -> String {
        format!("{:?}", self.method).to_uppercase()
    }
}
