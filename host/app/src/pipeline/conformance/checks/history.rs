//! Past dates: what one call brings of them is what a call of each date brings, and the window's own date stays as
//! it is.

use chrono::TimeDelta;

use super::batches::shown;
use super::bench::{Around, Bench, Made};
use super::report::CheckResult;
use backline_model::manifest::MetricEntry;
use backline_model::{FetchAccount, Snapshot, Value, Window};

/// How many days before the window's end each of the past dates ends, the oldest first.
const DAYS_BACK: [i64; 2] = [2, 1];

/// Collects each account once more with past dates besides, and those dates alone.
pub(super) async fn history(bench: &Bench, alone: &[Made]) -> CheckResult {
    let mut check = CheckResult::new("history");
    let around = Around { history: DAYS_BACK.map(|days| back(bench.window, days)).to_vec(), ..bench.around() };
    let mut compared = 0_usize;
    for (account, good) in bench.accounts.iter().zip(alone) {
        check.cases += 1;
        let case = format!("{}: {} past dates besides", account.platform_id, DAYS_BACK.len());
        let ran = bench.run_around(std::slice::from_ref(account), &around).await;
        // Requests of past dates may not be recorded. They fail then, and touch no other date.
        let made = match ran.accounts.map(|accounts| accounts.into_iter().next()) {
            Ok(Some(Ok(made))) => made,
            Ok(Some(Err(why))) => {
                check.found(case, format!("the account works without them and fails with them: {}", shown(&why)));
                continue;
            }
            Ok(None) => continue,
            Err(why) => {
                check.found(case, why);
                continue;
            }
        };
        if made.snapshot.metrics != good.snapshot.metrics {
            check.found(&case, "the numbers of the window's own date are others than without past dates");
        }
        for (window, snapshot) in &made.past {
            let case = format!("{}: the past date that ends at {}", account.platform_id, window.until);
            match snapshot {
                Err(why) => check.found(case, format!("normalize refuses the document that fetch made: {why}")),
                Ok(snapshot) => {
                    let own = of_its_own(bench, account, *window).await;
                    compared += usize::from(own.is_some());
                    for name in own.into_iter().flat_map(|own| differing(bench, snapshot, &own)) {
                        check.found(&case, format!("{name} is not what a fetch of that date alone gives"));
                    }
                }
            }
        }
    }
    if compared == 0 && check.findings.is_empty() {
        check.skipped = Some("the recorded answers serve no past date, so none can be compared".to_owned());
    }
    check
}

fn back(window: Window, days: i64) -> Window {
    let earlier = |time: chrono::DateTime<chrono::Utc>| time.checked_sub_signed(TimeDelta::days(days)).unwrap_or(time);
    Window { since: earlier(window.since), until: earlier(window.until) }
}

/// What a fetch of a past date alone gives; none where the platform's answers to it are not recorded.
async fn of_its_own(bench: &Bench, account: &FetchAccount, window: Window) -> Option<Snapshot> {
    let ran = bench.run_around(std::slice::from_ref(account), &Around { window, ..bench.around() }).await;
    if !ran.missing.is_empty() {
        return None;
    }
    Some(ran.accounts.ok()?.into_iter().next()?.ok()?.snapshot)
}

/// Names of the metrics with history that are others in the two. Only these are stored of a past date.
fn differing<'a>(bench: &'a Bench, one: &Snapshot, other: &Snapshot) -> Vec<&'a str> {
    let value = |snapshot: &Snapshot, entry: &MetricEntry| -> Option<Value> {
        let reported = snapshot.metrics.iter().find(|metric| metric.name == entry.name.as_str());
        reported.and_then(|metric| metric.value.clone().ok())
    };
    let of_past = bench.manifest.metrics.iter().filter(|entry| entry.history);
    of_past.filter(|entry| value(one, entry) != value(other, entry)).map(|entry| entry.name.as_str()).collect()
}
