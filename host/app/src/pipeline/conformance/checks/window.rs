//! The window: what lies outside it is not counted, and what is asked of past dates is that of the window.

use chrono::{DateTime, TimeDelta, Utc};

use super::batches::shown;
use super::bench::{Around, Bench, Made, Unmade};
use super::faults::text;
use super::report::CheckResult;
use backline_model::manifest::MetricEntry;
use backline_model::snapshot::Reported;
use backline_model::{Kind, Value, Window};

/// How far the window is moved: so far that no recorded post, nor one that was announced, lies inside.
const LATER_DAYS: i64 = 400;

/// Collects each account once more in a window that lies so late that nothing recorded is inside it.
pub(super) async fn window(bench: &Bench, alone: &[Made]) -> CheckResult {
    let mut check = CheckResult::new("window");
    let entries: Vec<&MetricEntry> =
        bench.manifest.metrics.iter().filter(|entry| entry.kind == Kind::Flow || entry.history).collect();
    if entries.is_empty() {
        check.skipped = Some("the catalogue has no metric of a window or of past dates".to_owned());
        return check;
    }
    let later =
        |time: DateTime<Utc>| time.checked_add_signed(TimeDelta::days(LATER_DAYS)).unwrap_or(DateTime::<Utc>::MAX_UTC);
    let Window { since, until } = bench.window;
    let moved = Window { since: later(since), until: later(until) };
    let around = Around { window: moved, now: later(bench.now), ..bench.around() };
    for (account, good) in bench.accounts.iter().zip(alone) {
        let ran = bench.run_around(std::slice::from_ref(account), &around).await;
        let id = &account.platform_id;
        let case = format!("{id}: a window that ends {LATER_DAYS} days later");
        let made = match ran.accounts.map(|accounts| accounts.into_iter().next()) {
            Err(why) => {
                check.cases += 1;
                check.found(case, why);
                continue;
            }
            // The platform decides what is inside.
            _ if !ran.missing.is_empty() => continue,
            Ok(Some(Ok(made))) => made,
            Ok(Some(Err(why @ Unmade::Normalize(_)))) => {
                check.cases += 1;
                check.found(case, shown(&why));
                continue;
            }
            Ok(Some(Err(Unmade::Fetch(_))) | None) => continue,
        };
        check.cases += 1;
        for entry in &entries {
            let name = entry.name.as_str();
            let (before, now) = (value_of(good.metric(name)), value_of(made.metric(name)));
            let Some(number) = now else { continue };
            if entry.kind == Kind::Flow && !is_zero(number) {
                let number = text(number);
                check.found(
                    &case,
                    format!("{name} is {number}; nothing is inside, so count what `since` and `until` enclose"),
                );
            } else if entry.history && before == now && !is_zero(number) {
                let number = text(number);
                check.found(
                    &case,
                    format!("{name} is {number} as before, and it says history = true; ask for the window's last date"),
                );
            }
        }
    }
    if check.cases == 0 {
        let why = "every account's requests depend on the window, so another one's answers are not recorded";
        check.skipped = Some(why.to_owned());
    }
    check
}

fn value_of(metric: Option<&Reported>) -> Option<&Value> {
    metric.and_then(|metric| metric.value.as_ref().ok())
}

fn is_zero(value: &Value) -> bool {
    match value {
        Value::Integer(value) => *value == 0,
        Value::Decimal(value) => value.abs() < f64::EPSILON,
        // No sum.
        Value::Text(_) | Value::Texts(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_number_that_is_not_zero_was_counted() {
        for (value, zero) in [
            (Value::Integer(0), true),
            (Value::Integer(-1), false),
            (Value::Decimal(0.0), true),
            (Value::Decimal(0.5), false),
            (Value::Text("0.5".to_owned()), true),
        ] {
            assert_eq!(is_zero(&value), zero, "{value:?}");
        }
    }
}
