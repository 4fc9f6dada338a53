//! Damages documents, and checks that `normalize` neither traps on them nor makes numbers of what is lost.

use serde_json::{Value as Json, json};

use super::{Catalogue, STRANGE_VALUES, check_complete, check_snapshot, walk};
use crate::{Connector, Document, Metric, Snapshot, Value};

/// Most values of one document that are lost in turn, which bounds the time for a large one.
const LOSSES_MAX: usize = 2_000;

/// Random damages of one document: a tenth of a second for a small one, without optimisation.
const ROUNDS: u64 = 300;

/// Most bytes of a document whose rounds are all run; a larger one gets fewer, so that the time stays the same.
const BYTES_OF_ROUNDS: usize = 16_384;

/// Loses each value of a document in turn: it is removed, null, empty, or of a kind that is no number.
///
/// Every number must then be what it was, or missing. A sum or a count may change if it says so: its coverage counts
/// and skips as many items as before, at least. An item whose date can't be read, for example, is one that is skipped,
/// and none that was never there.
///
/// # Panics
/// At the first number that is made of a loss, with the place of the loss.
pub(super) fn check_losses<C: Connector>(document: &Document, good: &Snapshot) {
    let body = document.json().unwrap_or_else(|error| panic!("{error}"));
    let mut paths = Vec::new();
    walk(&body, &mut String::new(), &mut paths);
    for path in paths.iter().filter(|path| !path.is_empty()).take(LOSSES_MAX) {
        for (what, damaged) in losses(&body, path) {
            let damaged = Document { body: damaged.to_string(), ..document.clone() };
            let Ok(got) = C::normalize(damaged) else { continue };
            compare(good, &got, &format!("{path} {what}"));
        }
    }
}

/// The document with one value lost, in every way.
fn losses(body: &Json, path: &str) -> Vec<(String, Json)> {
    let (parent, key) = path.rsplit_once('/').unwrap_or_default();
    let is_item = body.pointer(parent).is_some_and(Json::is_array);
    // In a list, null may mean that there is nothing.
    let others = if is_item { vec![json!({}), json!(true)] } else { vec![json!(null), json!({}), json!(true)] };
    let mut losses: Vec<(String, Json)> = others
        .into_iter()
        .map(|other| {
            let what = format!("is {other}");
            let mut damaged = body.clone();
            if let Some(value) = damaged.pointer_mut(path) {
                *value = other;
            }
            (what, damaged)
        })
        .collect();
    let mut damaged = body.clone();
    if let Some(Json::Object(fields)) = damaged.pointer_mut(parent) {
        fields.remove(&key.replace("~1", "/").replace("~0", "~"));
        losses.push(("is removed".to_owned(), damaged));
    }
    losses
}

fn compare(good: &Snapshot, got: &Snapshot, what: &str) {
    for metric in &got.metrics {
        let before = good.metrics.iter().find(|before| before.name == metric.name);
        assert!(
            is_honest(before, metric),
            "{what}: {} became {:?} {:?}, it was {:?} {:?}",
            metric.name,
            metric.value,
            metric.coverage,
            before.map(|before| &before.value),
            before.and_then(|before| before.coverage)
        );
    }
    if let (Some(before), Some(after)) = (&good.engagement, &got.engagement) {
        let items = |counted: u32, skipped: u32| u64::from(counted) + u64::from(skipped);
        assert!(
            items(after.posts_counted, after.posts_skipped) >= items(before.posts_counted, before.posts_skipped),
            "{what}: the engagement became {after:?}, it was {before:?}"
        );
    }
}

/// Whether a metric is missing, the same as before, or an aggregate that loses no item silently.
fn is_honest(before: Option<&Metric>, after: &Metric) -> bool {
    let items = |metric: &Metric| metric.coverage.map(|it| u64::from(it.counted) + u64::from(it.skipped));
    match (&after.value, before) {
        (Err(_) | Ok(Value::Text(_) | Value::Texts(_)), _) => true,
        (Ok(value), Some(before)) if before.value.as_ref() == Ok(value) => true,
        (Ok(_), Some(before)) => {
            matches!((items(before), items(after)), (Some(before), Some(after)) if after >= before)
        }
        (Ok(_), None) => false,
    }
}

/// Damages a document at random in several places at once, always in the same way for the same document: `normalize`
/// may refuse what comes of it, but must not panic, nor report what the catalogue does not have.
///
/// # Panics
/// If `normalize` does, and at the first violation.
pub(super) fn check_random<C: Connector>(catalogue: &Catalogue, document: &Document) {
    let good = document.json().unwrap_or_else(|error| panic!("{error}"));
    let mut random = Random::of(&document.body);
    let size = u64::try_from(document.body.len().div_ceil(BYTES_OF_ROUNDS).max(1)).unwrap_or(u64::MAX);
    for round in 0..ROUNDS.div_ceil(size) {
        let body = if round % 4 == 0 { random.bytes_of(&document.body) } else { random.value_of(&good) };
        if let Ok(snapshot) = C::normalize(Document { body, ..document.clone() }) {
            check_snapshot(catalogue, &snapshot);
            check_complete(catalogue, &snapshot);
        }
    }
}

/// Numbers that look random (SplitMix64), from a text.
struct Random(u64);

impl Random {
    fn of(text: &str) -> Self {
        // FNV-1a.
        Self(
            text.bytes()
                .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)),
        )
    }

    fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below a bound; 0 for a bound of 0.
    fn below(&mut self, bound: usize) -> usize {
        let bound = u64::try_from(bound).unwrap_or(u64::MAX).max(1);
        usize::try_from(self.number() % bound).unwrap_or(0)
    }

    /// The text with some bytes replaced, cut out or repeated.
    fn bytes_of(&mut self, text: &str) -> String {
        let mut bytes = text.as_bytes().to_vec();
        for _ in 0..=self.below(4) {
            let start = self.below(bytes.len());
            let end = start.saturating_add(self.below(20)).min(bytes.len());
            match self.below(3) {
                0 if start < bytes.len() => bytes[start] = b"{}[]\",:0-9.etn\\ "[self.below(16)],
                1 => drop(bytes.drain(start..end)),
                _ => {
                    let again = bytes[start..end].to_vec();
                    drop(bytes.splice(end..end, again));
                }
            }
        }
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The JSON with one to four of its values replaced, by others of it or by strange ones, or repeated.
    fn value_of(&mut self, good: &Json) -> String {
        let mut damaged = good.clone();
        for _ in 0..=self.below(4) {
            let mut paths = Vec::new();
            walk(&damaged, &mut String::new(), &mut paths);
            let strange: Vec<Json> = STRANGE_VALUES.iter().filter_map(|text| serde_json::from_str(text).ok()).collect();
            let other = match self.below(2) {
                0 => damaged.pointer(&paths[self.below(paths.len())]).cloned().unwrap_or_default(),
                _ => strange[self.below(strange.len())].clone(),
            };
            let Some(value) = damaged.pointer_mut(&paths[self.below(paths.len())]) else { continue };
            match value {
                Json::Array(items) if self.below(2) == 0 => items.push(other),
                value => *value = other,
            }
        }
        damaged.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Absence, Account, BatchResult, Context, Coverage, FetchError, Http, Tally, integer, list};

    /// Sums the likes of posts, and follows `HONEST` in what it does with those of no date.
    struct Example<const HONEST: bool>;

    impl<const HONEST: bool> Connector for Example<HONEST> {
        async fn check(_: &Http, _: Account) -> Result<String, FetchError> {
            Err(FetchError::NotFound)
        }

        async fn fetch(_: &Http, _: Vec<Account>, _: Context) -> BatchResult {
            BatchResult { accounts: Vec::new(), lost_metrics: Vec::new() }
        }

        fn normalize(document: Document) -> Result<Snapshot, String> {
            let body = document.json()?;
            let Ok(posts) = list(&body, "posts") else {
                return Ok(Snapshot::builder().absent(&["likes"], Absence::Unavailable).build());
            };
            let dated = posts.iter().filter(|post| HONEST || integer(&post["at"]).is_some());
            let likes = Tally::of(dated.map(|post| integer(&post["at"]).and(integer(&post["likes"]))));
            Ok(Snapshot::builder().tally("likes", likes, Absence::Unavailable).build())
        }
    }

    fn document() -> Document {
        let body = json!({ "posts": [{ "at": 1, "likes": 5 }, { "at": 2, "likes": 7 }] }).to_string();
        Document { body, window: crate::Window { since: 0, until: 9 }, observed_at: 9 }
    }

    fn check<const HONEST: bool>() {
        let good = Example::<HONEST>::normalize(document()).expect("is normalised");
        check_losses::<Example<HONEST>>(&document(), &good);
    }

    #[test]
    fn an_item_that_is_skipped_is_honest() {
        check::<true>();
    }

    #[test]
    #[should_panic(expected = "likes became")]
    fn an_item_that_is_lost_silently_is_found() {
        check::<false>();
    }

    #[test]
    fn a_number_without_coverage_stays_or_is_missing() {
        let metric = |value: Result<Value, Absence>, coverage: Option<(u32, u32)>| Metric {
            name: "likes".to_owned(),
            value,
            coverage: coverage.map(|(counted, skipped)| Coverage { counted, skipped }),
        };
        let before = metric(Ok(Value::Integer(5)), None);
        assert!(is_honest(Some(&before), &metric(Ok(Value::Integer(5)), None)));
        assert!(is_honest(Some(&before), &metric(Err(Absence::Hidden), None)));
        assert!(!is_honest(Some(&before), &metric(Ok(Value::Integer(0)), None)));
        assert!(!is_honest(Some(&metric(Err(Absence::Hidden), None)), &metric(Ok(Value::Integer(0)), None)));
        let before = metric(Ok(Value::Integer(5)), Some((2, 0)));
        assert!(is_honest(Some(&before), &metric(Ok(Value::Integer(3)), Some((1, 1)))));
        assert!(!is_honest(Some(&before), &metric(Ok(Value::Integer(3)), Some((1, 0)))));
        assert!(!is_honest(None, &metric(Ok(Value::Integer(3)), None)));
    }

    #[test]
    fn the_same_document_is_damaged_in_the_same_way() {
        let damaged = || {
            let mut random = Random::of("seed");
            let good: Json = serde_json::from_str(&document().body).expect("is JSON");
            (0..20).map(|_| random.value_of(&good) + &random.bytes_of(&document().body)).collect::<Vec<_>>()
        };
        assert_eq!(damaged(), damaged());
        let all = damaged();
        assert!(all.iter().any(|one| *one != all[0]));
        assert_eq!(Random::of("").bytes_of(""), "");
    }
}
