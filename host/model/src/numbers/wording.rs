//! Numbers as people read them, and why there is none, in words. All that shows numbers says it so.

use crate::growth::NoChange;
use crate::metric::Value;

/// A value for people: with separators of thousands, and with two decimals unless it is whole.
#[must_use]
pub fn value_text(value: &Value) -> String {
    match value {
        Value::Integer(number) => with_separators(&number.to_string()),
        Value::Decimal(number) => decimal_text(*number),
        Value::Text(_) | Value::Texts(_) => value.to_string(),
    }
}

/// A count for people: with separators of thousands.
#[must_use]
pub fn count_text(count: u64) -> String {
    with_separators(&count.to_string())
}

/// A difference for people: with its sign and separators, and with two decimals unless it is whole.
#[must_use]
pub fn difference_text(difference: f64) -> String {
    let sign = if difference < 0.0 { '-' } else { '+' };
    format!("{sign}{}", decimal_text(difference.abs()))
}

fn decimal_text(number: f64) -> String {
    let text = decimal(number, 2);
    match text.split_once('.') {
        Some((whole, decimals)) => format!("{}.{decimals}", with_separators(whole)),
        None => with_separators(&text),
    }
}

/// A decimal with so many places, and with none where it is whole.
#[must_use]
pub fn decimal(number: f64, places: usize) -> String {
    // Zero is added since minus zero is a whole number too.
    if number.fract() == 0.0 { format!("{:.0}", number + 0.0) } else { format!("{number:.places$}") }
}

/// The digits of a whole number in groups of three.
fn with_separators(number: &str) -> String {
    let (sign, digits) = number.strip_prefix('-').map_or(("", number), |digits| ("-", digits));
    let mut text = sign.to_owned();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Why there is no change, in a sentence.
#[must_use]
pub fn no_change_text(reason: NoChange) -> &'static str {
    match reason {
        NoChange::First => "there is no earlier value",
        NoChange::ZeroBase => "the earlier value is 0",
        NoChange::Gap => "the day before has no value",
        NoChange::Break => "the platform changed what it counts",
        NoChange::Absent => "there is no value",
        NoChange::Late => "the two values were observed too soon after each other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_has_its_sign_and_separators() {
        let shown = [1_234.0, -1_234_567.5, 0.0, -0.3, -0.0].map(difference_text);
        assert_eq!(shown, ["+1,234", "-1,234,567.50", "+0", "-0.30", "+0"]);
        assert_eq!(count_text(12_345), "12,345");
    }
}
