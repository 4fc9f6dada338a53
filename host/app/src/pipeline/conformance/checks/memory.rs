//! What the host gives back to a connector: the state of an earlier day, and the metrics that are lost. Neither may
//! cost a number, or make one.

use serde_json::Value as Json;

use super::batches::shown;
use super::bench::{Around, Bench, Made, Ran};
use super::faults::{Kept, invented};
use super::report::CheckResult;
use backline_model::FetchAccount;

/// States that no release of the connector wrote as they are: cut off, of another type, or of an older form.
const STRANGE_STATES: [&str; 7] = ["", "null", "[]", "{}", "\"text\"", "7", "{\"a\":"];

/// A metric that no platform has.
const UNKNOWN_METRIC: &str = "zq_no_such_metric";

/// The second day gives the numbers of the first one, a state that can't be used counts as none, and what failed on one
/// day is not kept for the next.
pub(super) async fn state(bench: &Bench, alone: &[Made], kept: &[Kept]) -> CheckResult {
    let mut check = CheckResult::new("state");
    for (account, good) in bench.accounts.iter().zip(alone) {
        let id = &account.platform_id;
        if let Some(state) = &good.state {
            let ran = bench.run(&[with(account, state)]).await;
            compare(&mut check, &format!("{id}: the second day, with its state"), good, ran, Expected::All);
        }
        for state in strange_states(good.state.as_deref()) {
            let ran = bench.run(&[with(account, &state)]).await;
            compare(&mut check, &format!("{id}: the state {state}"), good, ran, Expected::NoOther);
        }
    }
    for Kept { account, case, state } in kept {
        let (account, good) = (&bench.accounts[*account], &alone[*account]);
        let ran = bench.run(&[with(account, state)]).await;
        compare(&mut check, &format!("the day after {case}"), good, ran, Expected::All);
    }
    check
}

/// Metrics that are lost are not asked for, and cost no other number.
pub(super) async fn lost(bench: &Bench, alone: &[Made]) -> CheckResult {
    let mut check = CheckResult::new("lost");
    for (account, good) in bench.accounts.iter().zip(alone) {
        let id = &account.platform_id;
        let account = std::slice::from_ref(account);
        let around = Around { lost: vec![UNKNOWN_METRIC.to_owned()], ..bench.around() };
        let ran = bench.run_around(account, &around).await;
        compare(&mut check, &format!("{id}: a metric is lost that it does not ask for"), good, ran, Expected::All);

        let reported = bench.run(account).await.lost;
        if reported.is_empty() {
            continue;
        }
        let names: Vec<String> = reported.into_iter().map(|metric| metric.name).collect();
        let case = format!("{id}: {} {} lost", names.join(", "), if names.len() == 1 { "is" } else { "are" });
        let ran = bench.run_around(account, &Around { lost: names.clone(), ..bench.around() }).await;
        for again in ran.lost.iter().filter(|metric| names.contains(&metric.name)) {
            check.found(&case, format!("it asks for {} again, which context.lost_metrics names", again.name));
        }
        // Requests without the name are others, and not recorded if the platform answered them in no recording.
        if ran.missing.is_empty() {
            compare(&mut check, &case, good, ran, Expected::NoOther);
        } else {
            check.cases += 1;
        }
    }
    check
}

/// Which of the good numbers have to be there.
#[derive(Clone, Copy)]
pub(super) enum Expected {
    /// All of them.
    All,
    /// Any of them, and no other.
    NoOther,
}

/// Compares with what the account gets alone. Requests that are not recorded say nothing.
pub(super) fn compare(check: &mut CheckResult, case: &str, good: &Made, ran: Ran, expected: Expected) {
    if !ran.missing.is_empty() && ran.accounts.is_ok() {
        return;
    }
    check.cases += 1;
    match ran.accounts.map(|accounts| accounts.into_iter().next()) {
        Err(why) => check.found(case, why),
        Ok(Some(Ok(made))) => {
            for (name, message) in invented(good, &made) {
                check.found(case, format!("{name} {message}"));
            }
            let now = made.numbers();
            for name in good.numbers().into_keys().filter(|name| !now.contains_key(name)) {
                if matches!(expected, Expected::All) {
                    check.found(case, format!("{name} is missing, and the answers are good"));
                }
            }
        }
        Ok(Some(Err(why))) => {
            check.found(case, format!("it fails with good answers: {}", shown(&why)));
        }
        Ok(None) => check.found(case, "it gave no answer"),
    }
}

pub(super) fn with(account: &FetchAccount, state: &str) -> FetchAccount {
    FetchAccount { state: Some(state.to_owned()), ..account.clone() }
}

/// States that can't be used, and the good one without each of its first fields.
fn strange_states(good: Option<&str>) -> Vec<String> {
    let mut states: Vec<String> = STRANGE_STATES.map(str::to_owned).into();
    let fields = good.and_then(|good| serde_json::from_str::<Json>(good).ok());
    if let Some(Json::Object(fields)) = fields {
        for name in fields.keys() {
            let mut without = fields.clone();
            without.insert(name.clone(), Json::Null);
            states.push(Json::Object(without).to_string());
        }
    }
    states
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strange_states_lack_one_field_each() {
        assert_eq!(strange_states(None).len(), STRANGE_STATES.len());
        assert_eq!(strange_states(Some("7")).len(), STRANGE_STATES.len());
        let states = strange_states(Some(r#"{"a":1,"b":[2]}"#));
        assert!(states.contains(&r#"{"a":null,"b":[2]}"#.to_owned()), "{states:?}");
        assert!(states.contains(&r#"{"a":1,"b":null}"#.to_owned()), "{states:?}");
    }
}
