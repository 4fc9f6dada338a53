//! Each value of each answer removed, null, of another type, negative, beyond 2^53 and beyond 2^63: a metric is exactly
//! the number that now stands in the answer, what it was, or missing. Never another number, never zero.

use serde_json::{Value as Json, json};

use super::bench::{Bench, Change, Made};
use super::faults::{distinct, is_same, text};
use super::report::CheckResult;
use backline_gateway::{Asked, Exchange, Response};
use backline_model::snapshot::Reported;
use backline_model::{Kind, Value};

/// Most cases of one account, spread over its answers: a large answer has thousands of values, most of them alike.
const CASES_MAX: usize = 1_200;

/// How far a sum may be off for the sake of its floats, as a part of it.
const SUM_ERROR: f64 = 1e-9;

/// What a value is replaced by; none removes it.
fn replacements() -> [Option<Json>; 8] {
    [
        None,
        Some(Json::Null),
        Some(json!("some text")),
        Some(json!(1.5)),
        Some(json!(-7)),
        Some(json!(9_007_199_254_740_993_u64)),
        Some(json!(9_223_372_036_854_775_809_u64)),
        Some(json!({})),
    ]
}

/// Tries each replacement of each value in the answers of each account.
pub(super) async fn leaves(bench: &Bench, alone: &[Made], exchanges: &[Vec<Exchange>]) -> CheckResult {
    let mut check = CheckResult::new("values");
    for ((account, good), exchanges) in bench.accounts.iter().zip(alone).zip(exchanges) {
        let (mut bodies, mut cases) = (Vec::new(), Vec::new());
        for target in distinct(exchanges) {
            let answer = exchanges.iter().find(|exchange| is_same(&exchange.asked, target));
            let Some(Ok(response)) = answer.and_then(|exchange| exchange.answer.as_ref()) else { continue };
            let Ok(body) = serde_json::from_slice::<Json>(&response.body) else { continue };
            let mut pointers = Vec::new();
            walk(&body, &mut String::new(), &mut pointers);
            for pointer in pointers {
                cases.extend(replacements().map(|replacement| (bodies.len(), pointer.clone(), replacement)));
            }
            bodies.push((target, body));
        }
        for (index, pointer, replacement) in bench.spread(cases, CASES_MAX) {
            let (target, body) = &bodies[index];
            let is_item = is_item(body, &pointer);
            let Some((body, old)) = replaced(body.clone(), &pointer, replacement.as_ref()) else { continue };
            let changed = Changed { old: &old, new: replacement.as_ref(), is_item };
            let change = answering(target, body.to_string());
            let Some(ran) = bench.run_changed(std::slice::from_ref(account), change).await else { continue };
            check.cases += 1;
            let now = replacement.as_ref().map_or("removed".to_owned(), Json::to_string);
            let case = format!("{}: {pointer} of {} is {now}", account.platform_id, target.url);
            match ran.accounts.map(|accounts| accounts.into_iter().next()) {
                Err(why) => check.found(case, why),
                Ok(Some(Ok(made))) => {
                    for (name, metric) in made.numbers() {
                        let entry = bench.manifest.metric(name);
                        let is_sum = entry.is_some_and(|entry| matches!(entry.kind, Kind::Flow | Kind::Counter));
                        if !is_honest(good.metric(name), metric, changed, is_sum) {
                            let value = metric.value.as_ref().map_or(String::new(), text);
                            let message = format!("{name} is {value}; it may be the value in the answer, or missing");
                            check.found(&case, message);
                        }
                    }
                }
                // An answer of another shape may be refused as a whole.
                Ok(Some(Err(_)) | None) => {}
            }
        }
    }
    check
}

/// Collects the JSON pointer of every value that is not a list or an object with something in it.
pub(super) fn walk(value: &Json, path: &mut String, pointers: &mut Vec<String>) {
    let length = path.len();
    let mut step = |key: &str, inner: &Json| {
        path.push('/');
        path.push_str(&key.replace('~', "~0").replace('/', "~1"));
        walk(inner, path, pointers);
        path.truncate(length);
    };
    match value {
        Json::Array(items) if !items.is_empty() => {
            items.iter().enumerate().for_each(|(index, item)| step(&index.to_string(), item));
        }
        Json::Object(fields) if !fields.is_empty() => fields.iter().for_each(|(key, inner)| step(key, inner)),
        _ => pointers.push(path.clone()),
    }
}

/// Whether a pointer leads to an item of a list.
fn is_item(body: &Json, pointer: &str) -> bool {
    pointer.rsplit_once('/').and_then(|(parent, _)| body.pointer(parent)).is_some_and(Json::is_array)
}

/// A body with one value replaced or removed, and the value that it had.
fn replaced(mut body: Json, pointer: &str, replacement: Option<&Json>) -> Option<(Json, Json)> {
    let Some(new) = replacement else {
        let (parent, key) = pointer.rsplit_once('/')?;
        let key = key.replace("~1", "/").replace("~0", "~");
        let old = match body.pointer_mut(parent)? {
            Json::Object(fields) => fields.remove(&key)?,
            Json::Array(items) => {
                let index: usize = key.parse().ok()?;
                (index < items.len()).then(|| items.remove(index))?
            }
            _ => return None,
        };
        return Some((body, old));
    };
    let old = std::mem::replace(body.pointer_mut(pointer)?, new.clone());
    Some((body, old))
}

fn answering(target: &Asked, body: String) -> Change {
    let target = target.clone();
    Box::new(move |asked, before| match (before, is_same(asked, &target)) {
        (Ok(before), true) => Ok(Response { body: body.clone().into_bytes(), ..before }),
        (before, _) => before,
    })
}

/// A value of an answer that was changed.
#[derive(Clone, Copy, Debug)]
struct Changed<'a> {
    old: &'a Json,
    /// What stands there now; none if it was removed.
    new: Option<&'a Json>,
    /// Whether it is an item of a list, of which nothing is left if it is removed.
    is_item: bool,
}

/// Whether a number is one that the answers justify. What is declared as a sum is no mean.
fn is_honest(before: Option<&Reported>, now: &Reported, changed: Changed<'_>, is_sum: bool) -> bool {
    let Ok(value) = &now.value else { return true };
    let was = before.and_then(|before| before.value.as_ref().ok());
    if was == Some(value) || changed.new.and_then(number).is_some_and(|new| is(value, new)) {
        return true;
    }
    if !is_sum && before.is_some_and(|before| is_mean(before, now, changed)) {
        return true;
    }
    let Value::Integer(value) = value else { return false };
    let value = i128::from(*value);
    let old_number = number(changed.old);
    let was = match was {
        Some(Value::Integer(was)) => i128::from(*was),
        _ => return false,
    };
    // A number that was taken as it stood has no part that could have changed.
    let is_the_number_itself = old_number == Some(Number::Whole(was)) && now.coverage.is_none();
    if is_the_number_itself {
        return false;
    }
    // A sum or a count: without this part, with another part in its place, or with one more or less to count.
    let part = |number: Option<Number>| match number {
        Some(Number::Whole(whole)) => Some(whole),
        _ => None,
    };
    let without = part(old_number).map(|old| was - old);
    let new = part(changed.new.and_then(number));
    let instead = without.zip(new).map(|(rest, new)| rest + new);
    let says_so = before.map(|before| before.coverage) != Some(now.coverage);
    Some(value) == without
        || Some(value) == instead
        || (value - was).abs() == 1
        || (says_so && value != 0)
        || (says_so && now.coverage.is_some_and(|coverage| coverage.counted == 0 && coverage.skipped > 0))
}

/// Whether a number is the mean that the coverages say: of the same numbers without this one, which then is one more
/// that was skipped, or of as many with another one in its place.
fn is_mean(before: &Reported, now: &Reported, changed: Changed<'_>) -> bool {
    // The value, and how far one that was rounded may be off.
    let as_float = |value: &Value| match value {
        #[expect(clippy::cast_precision_loss, reason = "what is rounded is allowed for")]
        Value::Integer(value) => Some((*value as f64, 1.0)),
        Value::Decimal(value) => Some((*value, 0.0)),
        Value::Text(_) | Value::Texts(_) => None,
    };
    let (Ok(was), Ok(is)) = (&before.value, &now.value) else { return false };
    let (Some((was, _)), Some((is, rounded))) = (as_float(was), as_float(is)) else { return false };
    let (Some(covered), Some(covers)) = (before.coverage, now.coverage) else { return false };
    let Some(old) = number(changed.old).map(Number::as_float) else { return false };
    let rest = was * f64::from(covered.counted) - old;
    let expected = if covers == covered {
        // The mean of one number is this number, which is compared as it stands.
        changed.new.and_then(number).filter(|_| covers.counted > 1).map(|new| rest + new.as_float())
    } else {
        let says_so = covers.skipped > covered.skipped || (changed.new.is_none() && changed.is_item);
        (says_so && covers.counted > 0 && covered.counted.checked_sub(1) == Some(covers.counted)).then_some(rest)
    };
    // It may have been rounded both times.
    let counted = f64::from(covers.counted);
    expected.is_some_and(|sum| {
        let error = (sum.abs() + old.abs()) * SUM_ERROR + rounded * (2.0 * counted + 1.0);
        (is * counted - sum).abs() <= error
    })
}

/// A number as a platform writes it: a number, or digits in a text.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Number {
    Whole(i128),
    Broken(f64),
}

impl Number {
    /// Platforms write whole numbers as floats too, such as `33920.0`.
    fn of_float(float: f64) -> Self {
        #[expect(clippy::cast_possible_truncation, reason = "checked to be whole and within 53 bits")]
        let whole = (float.fract() == 0.0 && float.abs() < 9_007_199_254_740_992.0).then_some(float as i64);
        whole.map_or(Self::Broken(float), |whole| Self::Whole(whole.into()))
    }

    fn as_float(self) -> f64 {
        match self {
            #[expect(clippy::cast_precision_loss, reason = "for means, which are rounded anyway")]
            Self::Whole(whole) => whole as f64,
            Self::Broken(broken) => broken,
        }
    }
}

fn number(value: &Json) -> Option<Number> {
    match value {
        Json::Number(number) => {
            let whole = number.as_i64().map(i128::from).or_else(|| number.as_u64().map(i128::from));
            whole.map(Number::Whole).or_else(|| number.as_f64().map(Number::of_float))
        }
        Json::String(text) => text.parse().ok().map(Number::Whole),
        _ => None,
    }
}

fn is(value: &Value, number: Number) -> bool {
    match (value, number) {
        (Value::Integer(value), Number::Whole(number)) => i128::from(*value) == number,
        (Value::Decimal(value), Number::Broken(number)) => value.to_bits() == number.to_bits(),
        #[expect(clippy::cast_precision_loss, reason = "a decimal metric has this precision anyway")]
        (Value::Decimal(value), Number::Whole(number)) => value.to_bits() == (number as f64).to_bits(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use backline_model::Absence;
    use backline_model::snapshot::Coverage;

    use super::*;

    fn reported(value: Result<i64, Absence>, coverage: Option<(u32, u32)>) -> Reported {
        let coverage = coverage.map(|(counted, skipped)| Coverage { counted, skipped });
        Reported { name: "likes".to_owned(), value: value.map(Value::Integer), coverage }
    }

    #[test]
    fn a_number_may_be_what_stands_there_or_missing() {
        let before = reported(Ok(120), None);
        for (now, new, honest) in [
            (Ok(120), Some(json!("elsewhere")), true),
            (Err(Absence::Hidden), None, true),
            (Ok(-7), Some(json!(-7)), true),
            (Ok(7), Some(json!(-7)), false),
            (Ok(0), None, false),
            (Ok(0), Some(Json::Null), false),
            (Ok(1), Some(json!(1.5)), false),
            (Ok(i64::MAX), Some(json!(9_223_372_036_854_775_809_u64)), false),
            (Ok(9_007_199_254_740_992), Some(json!(9_007_199_254_740_993_u64)), false),
            (Ok(9_007_199_254_740_993), Some(json!(9_007_199_254_740_993_u64)), true),
        ] {
            let now = reported(now, None);
            let changed = Changed { old: &json!(120), new: new.as_ref(), is_item: false };
            assert_eq!(is_honest(Some(&before), &now, changed, true), honest, "{now:?} {new:?}");
        }
    }

    #[test]
    fn a_sum_may_lose_or_change_a_part() {
        let before = reported(Ok(120), Some((3, 0)));
        for (now, new, honest) in [
            (reported(Ok(100), Some((2, 1))), None, true),
            (reported(Ok(93), Some((3, 0))), Some(json!(-7)), true),
            (reported(Ok(100), Some((3, 0))), Some(json!(-7)), true),
            (reported(Ok(0), Some((3, 0))), None, false),
            (reported(Ok(777), Some((3, 0))), None, false),
        ] {
            let changed = Changed { old: &json!(20), new: new.as_ref(), is_item: false };
            assert_eq!(is_honest(Some(&before), &now, changed, true), honest, "{now:?}");
        }
    }

    #[test]
    fn a_mean_may_leave_out_what_its_coverage_says_that_it_skipped() {
        let covering = |value: Value, counted, skipped| {
            let coverage = Some(Coverage { counted, skipped });
            Reported { name: "mean".to_owned(), value: Ok(value), coverage }
        };
        let decimal = |value: f64, counted, skipped| covering(Value::Decimal(value), counted, skipped);
        let whole = |value: i64, counted, skipped| covering(Value::Integer(value), counted, skipped);
        // Of 20, 30, 40 and 70.
        let (before, before_whole) = (decimal(40.0, 4, 1), whole(40, 4, 1));
        for (now, new, is_item, honest) in [
            (decimal(140.0 / 3.0, 3, 2), Some(Json::Null), false, true),
            (decimal(140.0 / 3.0, 3, 2), None, false, true),
            (decimal(47.5, 4, 1), Some(json!(50)), false, true),
            (decimal(140.0 / 3.0, 3, 1), None, true, true),
            (whole(46, 3, 2), Some(Json::Null), false, true),
            (whole(47, 4, 1), Some(json!(50)), false, true),
            // It says nothing of what it left out, or something else.
            (decimal(140.0 / 3.0, 3, 1), Some(Json::Null), false, false),
            (decimal(140.0 / 3.0, 3, 1), None, false, false),
            (decimal(140.0 / 3.0, 4, 1), Some(Json::Null), false, false),
            (decimal(140.0 / 3.0, 2, 3), Some(Json::Null), false, false),
            // Another number, with zero for what was left out among them.
            (decimal(45.0, 3, 2), Some(Json::Null), false, false),
            (decimal(35.0, 4, 1), Some(Json::Null), false, false),
            (decimal(35.0, 3, 2), Some(Json::Null), false, false),
            (decimal(0.0, 0, 5), Some(Json::Null), false, false),
        ] {
            let before = if matches!(now.value, Ok(Value::Integer(_))) { &before_whole } else { &before };
            let changed = Changed { old: &json!(20), new: new.as_ref(), is_item };
            assert_eq!(is_honest(Some(before), &now, changed, false), honest, "{now:?} {new:?}");
        }
        let (old, new) = (json!(20), json!(50));
        let changed = Changed { old: &old, new: Some(&new), is_item: false };
        assert!(!is_honest(Some(&before_whole), &whole(47, 4, 1), changed, true), "a sum would be 70");
    }

    #[test]
    fn a_whole_number_may_be_written_as_a_float_or_as_a_text() {
        for whole in [json!(33_920), json!(33_920.0), json!("33920")] {
            assert_eq!(number(&whole), Some(Number::Whole(33_920)), "{whole}");
        }
        assert_eq!(number(&json!(1.5)), Some(Number::Broken(1.5)));
        // From 2^53 on, a float no longer identifies one whole number.
        assert_eq!(number(&json!(9_007_199_254_740_992.0)), Some(Number::Broken(9_007_199_254_740_992.0)));
        assert_eq!((number(&json!("1.5")), number(&Json::Null)), (None, None));
    }

    #[test]
    fn an_item_stands_in_a_list() {
        let body = json!({ "a": [1, { "b": 2 }] });
        for (pointer, expected) in [("/a/0", true), ("/a/1/b", false), ("/a", false), ("", false)] {
            assert_eq!(is_item(&body, pointer), expected, "{pointer}");
        }
    }

    #[test]
    fn every_value_is_found_and_removed() {
        let body = json!({ "a/b": [1, { "~": null }], "c": {}, "d": [] });
        let mut pointers = Vec::new();
        walk(&body, &mut String::new(), &mut pointers);
        assert_eq!(pointers, ["/a~1b/0", "/a~1b/1/~0", "/c", "/d"]);
        for pointer in pointers {
            let (after, old) = replaced(body.clone(), &pointer, None).expect("removed");
            assert_eq!(Some(&old), body.pointer(&pointer), "{pointer}");
            assert_ne!(after, body);
        }
    }
}
