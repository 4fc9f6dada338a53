//! Text that can be stored and shown. PostgreSQL refuses U+0000 in text, and some platforms send it.

use backline_model::Value;

use super::config::Thresholds;

/// Most characters of a name or value in a message.
const SHOWN_CHARS_MAX: usize = 80;

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

/// A withheld value in a form that JSON and PostgreSQL can store.
pub(super) fn storable(value: &Value) -> Value {
    let without_nul = |text: &str| text.replace('\0', "");
    match value {
        Value::Decimal(decimal) if !decimal.is_finite() => Value::Text(decimal.to_string()),
        Value::Text(text) => Value::Text(without_nul(text)),
        Value::Texts(texts) => Value::Texts(texts.iter().map(|text| without_nul(text)).collect()),
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
    fn a_shown_text_is_short() {
        assert_eq!(shown("a\0b\nc"), "abc");
        assert_eq!(shown(&"x".repeat(100)).chars().count(), SHOWN_CHARS_MAX + 1);
    }
}
