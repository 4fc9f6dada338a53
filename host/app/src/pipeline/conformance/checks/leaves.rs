//! Each value of each answer removed, null, of another type, negative, beyond 2^53 and beyond 2^63: a metric is exactly
//! the number that now stands in the answer, what it was, or missing. Never another number, never zero.

use serde_json::{Value as Json, json};

use super::bench::{Bench, Change, Made};
use super::faults::{distinct, is_same, text};
use super::report::CheckResult;
use backline_gateway::{Asked, Exchange, Response};
use backline_model::Value;
use backline_model::snapshot::Reported;

/// Most cases of one account, spread over its answers: a large answer has thousands of values, most of them alike.
const CASES_MAX: usize = 1_200;

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
        // A step that shares no divisor with the number of replacements reaches each of them.
        let step = (cases.len() / CASES_MAX).max(1) | 1;
        for (index, pointer, replacement) in cases.into_iter().step_by(step) {
            let (target, body) = &bodies[index];
            let Some((body, old)) = replaced(body.clone(), &pointer, replacement.as_ref()) else { continue };
            let change = answering(target, body.to_string());
            let Some(ran) = bench.run_changed(std::slice::from_ref(account), change).await else { continue };
            check.cases += 1;
            let now = replacement.as_ref().map_or("removed".to_owned(), Json::to_string);
            let case = format!("{}: {pointer} of {} is {now}", account.platform_id, target.url);
            match ran.accounts.map(|accounts| accounts.into_iter().next()) {
                Err(why) => check.found(case, why),
                Ok(Some(Ok(made))) => {
                    for (name, metric) in made.numbers() {
                        if !is_honest(good.metric(name), metric, &old, replacement.as_ref()) {
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

/// Whether a number is one that the answers justify.
fn is_honest(before: Option<&Reported>, now: &Reported, old: &Json, new: Option<&Json>) -> bool {
    let Ok(value) = &now.value else { return true };
    let was = before.and_then(|before| before.value.as_ref().ok());
    if was == Some(value) || new.and_then(number).is_some_and(|new| is(value, new)) {
        return true;
    }
    let Value::Integer(value) = value else { return false };
    let value = i128::from(*value);
    let old_number = number(old);
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
    let instead = without.zip(new.and_then(number).and_then(|new| part(Some(new)))).map(|(rest, new)| rest + new);
    let says_so = before.map(|before| before.coverage) != Some(now.coverage);
    Some(value) == without
        || Some(value) == instead
        || (value - was).abs() == 1
        || (says_so && value != 0)
        || (says_so && now.coverage.is_some_and(|coverage| coverage.counted == 0 && coverage.skipped > 0))
}

/// A number as a platform writes it: a number, or digits in a text.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Number {
    Whole(i128),
    Broken(f64),
}

fn number(value: &Json) -> Option<Number> {
    match value {
        Json::Number(number) => {
            let whole = number.as_i64().map(i128::from).or_else(|| number.as_u64().map(i128::from));
            whole.map(Number::Whole).or_else(|| number.as_f64().map(Number::Broken))
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
            assert_eq!(is_honest(Some(&before), &now, &json!(120), new.as_ref()), honest, "{now:?} {new:?}");
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
            assert_eq!(is_honest(Some(&before), &now, &json!(20), new.as_ref()), honest, "{now:?}");
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
