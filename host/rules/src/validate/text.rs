//! Text that can be stored and shown. PostgreSQL refuses U+0000 in text, and some platforms send it.

use backline_model::Value;
use backline_model::weakened::{Bound, off};

use super::config::Thresholds;

/// Most characters of a name or value in a message.
const SHOWN_CHARS_MAX: usize = 80;

/// Most characters that are kept of a withheld value: what a connector sends by mistake, such as a document for a
/// number, would fill the database.
const KEPT_CHARS_MAX: usize = 2_000;

/// Most texts that are kept of a withheld list.
const KEPT_TEXTS_MAX: usize = 100;

/// The value that can be stored; `None` if it can stay as it is.
pub(super) fn cleaned(value: &Value, thresholds: &Thresholds) -> Option<Value> {
    let clean =
        |text: &str| -> String { text.chars().filter(|c| *c != '\0').take(thresholds.text_chars_max).collect() };
    let cleaned = match value {
        Value::Text(text) => Value::Text(clean(text)),
        Value::Texts(texts) => Value::Texts(texts.iter().take(thresholds.texts_max).map(|text| clean(text)).collect()),
        Value::Integer(_) | Value::Decimal(_) => return None,
    };
    (cleaned != *value).then_some(cleaned)
}

/// A text for a message: short, and without control characters.
pub(super) fn shown(text: &str) -> String {
    let mut shown: String = text.chars().filter(|c| !c.is_control()).take(SHOWN_CHARS_MAX).collect();
    if text.chars().filter(|c| !c.is_control()).nth(SHOWN_CHARS_MAX).is_some() {
        shown.push('…');
    }
    shown
}

/// A withheld value in a form that JSON and PostgreSQL can store, and of a size that a person can look at.
pub(super) fn storable(value: &Value) -> Value {
    let most = if off(Bound::WithheldText) { usize::MAX } else { KEPT_CHARS_MAX };
    let kept = |text: &str| -> String { text.chars().filter(|c| *c != '\0').take(most).collect() };
    match value {
        Value::Decimal(decimal) if !decimal.is_finite() => Value::Text(decimal.to_string()),
        Value::Text(text) => Value::Text(kept(text)),
        Value::Texts(texts) => {
            let mut left = KEPT_CHARS_MAX;
            let texts = texts.iter().take(KEPT_TEXTS_MAX).map(|text| {
                let text: String = kept(text).chars().take(left).collect();
                left -= text.chars().count();
                text
            });
            Value::Texts(texts.collect())
        }
        Value::Integer(_) | Value::Decimal(_) => value.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_cut_on_a_character_boundary_and_loses_nul() {
        let thresholds = Thresholds { text_chars_max: 3, texts_max: 2, ..Thresholds::default() };
        let text = |text: &str| Value::Text(text.to_owned());
        assert_eq!(cleaned(&text("añ\0øßx"), &thresholds), Some(text("añø")));
        assert_eq!(cleaned(&text("añø"), &thresholds), None);
        let list = Value::Texts(vec!["a\0".to_owned(), "b".to_owned(), "c".to_owned()]);
        assert_eq!(cleaned(&list, &thresholds), Some(Value::Texts(vec!["a".to_owned(), "b".to_owned()])));
        assert_eq!(cleaned(&Value::Integer(1), &thresholds), None);
    }

    #[test]
    fn what_is_withheld_survives_json() {
        for value in [Value::Decimal(f64::NAN), Value::Decimal(f64::NEG_INFINITY), Value::Text("a\0b".to_owned())] {
            let kept = storable(&value);
            let json = serde_json::to_string(&kept).unwrap();
            assert!(!json.contains("\\u0000"), "{json}");
            assert_eq!(serde_json::from_str::<Value>(&json).unwrap(), kept);
        }
    }

    #[test]
    fn what_is_withheld_is_cut_to_what_a_person_looks_at() {
        let length = |value: &Value| match value {
            Value::Text(text) => text.chars().count(),
            Value::Texts(texts) => texts.iter().map(|text| text.chars().count()).sum(),
            other => panic!("{other:?}"),
        };
        assert_eq!(length(&storable(&Value::Text("ø".repeat(1 << 20)))), KEPT_CHARS_MAX);
        let Value::Texts(texts) = storable(&Value::Texts(vec!["x".repeat(30); 10_000])) else { panic!("a list") };
        assert_eq!((texts.len(), length(&Value::Texts(texts))), (KEPT_TEXTS_MAX, KEPT_CHARS_MAX));
    }

    #[test]
    fn a_shown_text_is_short() {
        assert_eq!(shown("a\0b\nc"), "abc");
        assert_eq!(shown(&"x".repeat(100)).chars().count(), SHOWN_CHARS_MAX + 1);
    }
}
