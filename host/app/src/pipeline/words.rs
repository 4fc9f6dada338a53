//! What is said of numbers, in the words that all edges share.

use backline_model::health::Objective;
use backline_model::{Absence, GrowthChange, NoChange};

pub(crate) use backline_model::wording::{decimal, no_change_text, value_text};

/// What stands where there is nothing.
pub(crate) const NONE: &str = "–";

/// Why there is no number, in words.
pub(crate) fn reason_text(absence: &Absence) -> String {
    match absence {
        Absence::NotOffered => "the platform does not offer it".to_owned(),
        Absence::Hidden => "the owner hides it".to_owned(),
        Absence::NotAuthorized => "the permissions that were given do not cover it".to_owned(),
        Absence::NotFound => "there is nothing that would have it".to_owned(),
        Absence::Unavailable => "the platform did not tell it this time".to_owned(),
        Absence::Rejected(rule) => format!("withheld by the rule {rule}; `backline quarantine list` shows it"),
    }
}

/// `+120 (+1.50 %)`, `+0.30 points`, or why there is none.
pub(crate) fn change_text(change: &GrowthChange) -> String {
    match (change.reason, change.absolute, change.percent) {
        (None, Some(absolute), Some(percent)) => format!("{} ({percent:+.2} %)", signed(absolute)),
        (None, Some(points), None) => format!("{} points", signed(points)),
        (Some(reason), ..) => {
            let reason = match reason {
                NoChange::First => "first",
                NoChange::ZeroBase => "from zero",
                NoChange::Gap => "gap",
                NoChange::Break => "redefined",
                NoChange::Absent => "absent",
                NoChange::Late => "late",
            };
            match change.daily_percent {
                Some(daily) => format!("{reason} ({daily:+.2} % a day)"),
                None => reason.to_owned(),
            }
        }
        _ => NONE.to_owned(),
    }
}

fn signed(number: f64) -> String {
    if number.fract() == 0.0 { format!("{number:+.0}") } else { format!("{number:+.2}") }
}

/// An objective in words.
pub(crate) struct ObjectiveText {
    /// What is measured.
    pub(crate) what: &'static str,
    /// The value, with its unit.
    pub(crate) value: String,
    /// The target, with its sign and unit.
    pub(crate) target: String,
}

/// Says what an objective is, where it stands and where it is to stand.
pub(crate) fn objective_text(objective: &Objective) -> ObjectiveText {
    let shown = |value: f64| match objective.name {
        "success" | "quality" => format!("{:.2} %", value * 100.0),
        "lag" => format!("{value:.2} h"),
        "run_time" => format!("{value:.1} min"),
        _ => format!("${value:.2}"),
    };
    let (what, sign) = match objective.name {
        "success" => ("accounts collected of those planned", ">"),
        "lag" => ("from a run's due time to storage, 95th percentile", "<"),
        "quality" => ("values that pass validation", ">"),
        "run_time" => ("longest run", "<"),
        _ => ("cost a month for 1,000 artists", "<"),
    };
    let value = objective.value.map_or_else(|| "no data".to_owned(), shown);
    ObjectiveText { what, value, target: format!("{sign} {}", shown(objective.target)) }
}

#[cfg(test)]
mod tests {
    use backline_model::Value;

    use super::*;

    #[test]
    fn a_whole_decimal_has_no_places() {
        let shown = [81.0, 81.25, -0.3, 0.0, -0.0, 80.999].map(|number| decimal(number, 2));
        assert_eq!(shown, ["81", "81.25", "-0.30", "0", "0", "81.00"], "what is rounded says so");
    }

    #[test]
    fn numbers_are_written_for_people() {
        for (value, text) in [
            (Value::Integer(0), "0"),
            (Value::Integer(999), "999"),
            (Value::Integer(1_000), "1,000"),
            (Value::Integer(-1_234_567), "-1,234,567"),
            (Value::Integer(i64::MIN), "-9,223,372,036,854,775,808"),
            (Value::Decimal(1_234.5), "1,234.50"),
            (Value::Decimal(-0.3), "-0.30"),
            (Value::Decimal(81.0), "81"),
            (Value::Decimal(1_234_567.0), "1,234,567"),
            (Value::Text("Night Owls".to_owned()), "Night Owls"),
            (Value::Texts(vec!["pop".to_owned(), "jazz".to_owned()]), "pop, jazz"),
        ] {
            assert_eq!(value_text(&value), text, "{value:?}");
        }
    }

    #[test]
    fn a_change_says_how_much_or_why_not() {
        let change = GrowthChange { absolute: Some(120.0), percent: Some(1.5), ..GrowthChange::default() };
        assert_eq!(change_text(&change), "+120 (+1.50 %)");
        let points = GrowthChange { absolute: Some(-0.3), ..GrowthChange::default() };
        assert_eq!(change_text(&points), "-0.30 points");
        let points = GrowthChange { absolute: Some(2.0), ..GrowthChange::default() };
        assert_eq!(change_text(&points), "+2 points");
        let gap = GrowthChange { reason: Some(NoChange::Gap), daily_percent: Some(0.5), ..GrowthChange::default() };
        assert_eq!(change_text(&gap), "gap (+0.50 % a day)");
        let first = GrowthChange { reason: Some(NoChange::First), ..GrowthChange::default() };
        assert_eq!(change_text(&first), "first");
    }

    #[test]
    fn an_objective_has_its_unit_and_its_sign() {
        let objective = Objective { name: "success", target: 0.99, value: Some(0.5), met: Some(false) };
        let text = objective_text(&objective);
        assert_eq!((text.value.as_str(), text.target.as_str()), ("50.00 %", "> 99.00 %"));
        assert_eq!(objective_text(&Objective { value: None, ..objective }).value, "no data");
    }
}
