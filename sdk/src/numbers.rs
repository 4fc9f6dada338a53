//! Reads numbers, texts and ids in the forms in which platforms send them.

use serde_json::Value as Json;

/// Reads a count from a whole number, an integral float (`33920.0`) or a decimal string (`"3331930783"`).
///
/// `None` for anything else, such as null, a fraction, other text, or a number beyond 64 bits. A missing number is
/// never 0.
///
/// ```
/// use backline_sdk::prelude::*;
///
/// assert_eq!(integer(&json!("3331930783")), Some(3_331_930_783));
/// assert_eq!(integer(&json!(null)), None);
/// ```
#[must_use]
pub fn integer(json: &Json) -> Option<i64> {
    match json {
        Json::Number(number) => number.as_i64().or_else(|| {
            let float = number.as_f64()?;
            // From 2^53 on, a float no longer identifies one whole number.
            #[expect(clippy::cast_possible_truncation, reason = "checked to be whole and within 53 bits")]
            (float.fract() == 0.0 && float.abs() < 9_007_199_254_740_992.0).then_some(float as i64)
        }),
        Json::String(text) => text.trim().parse().ok(),
        _ => None,
    }
}

/// Reads a count as [`integer`] does; `None` also for a negative number, which no count is.
///
/// For numbers that are added up: a platform whose counter overflowed sends a negative one, and the sum would look
/// right. A number that is a metric of its own is read by [`integer`], so that the host withholds it and says why.
///
/// ```
/// use backline_sdk::prelude::*;
///
/// assert_eq!((count_of(&json!("7")), count_of(&json!(-977_433_948))), (Some(7), None));
/// ```
#[must_use]
pub fn count_of(json: &Json) -> Option<i64> {
    integer(json).filter(|number| *number >= 0)
}

/// Reads a text that is not blank. NUL characters are removed, because PostgreSQL refuses them.
#[must_use]
pub fn text(json: &Json) -> Option<String> {
    let text = json.as_str()?.replace('\0', "");
    (!text.trim().is_empty()).then_some(text)
}

/// Reads an id as an opaque string, from a string or from a whole JSON number of up to 64 bits.
///
/// `None` for a larger number: it was parsed as a float, and its last digits are lost.
#[must_use]
pub fn id(json: &Json) -> Option<String> {
    match json {
        Json::Number(number) => (number.is_i64() || number.is_u64()).then(|| number.to_string()),
        _ => text(json),
    }
}

/// Copies JSON without the NUL characters in its texts and keys, because PostgreSQL refuses them.
#[must_use]
pub fn without_nul(json: &Json) -> Json {
    match json {
        Json::String(text) => Json::String(text.replace('\0', "")),
        Json::Array(items) => items.iter().map(without_nul).collect(),
        Json::Object(fields) => {
            fields.iter().map(|(name, value)| (name.replace('\0', ""), without_nul(value))).collect()
        }
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_count_is_whole_and_within_64_bits_or_none() {
        let cases = [
            (json!(0), Some(0)),
            (json!("3331930783"), Some(3_331_930_783)),
            (json!(33_920.0), Some(33_920)),
            (json!(i64::MAX), Some(i64::MAX)),
            (json!(u64::MAX), None),
            (json!(0.5), None),
            (json!("12.5"), None),
            (json!(""), None),
            (json!(null), None),
            (json!(true), None),
        ];
        for (json, expected) in cases {
            assert_eq!(integer(&json), expected, "{json}");
        }
    }

    #[test]
    fn an_id_past_2_to_the_53_keeps_its_last_digits() {
        assert_eq!(id(&json!(7_386_111_312_293_610_271_i64)).as_deref(), Some("7386111312293610271"));
        assert_eq!(id(&json!("0017")).as_deref(), Some("0017"));
        assert_eq!(id(&json!(1.5)), None);
        assert_eq!(id(&json!("")), None);
    }

    #[test]
    fn nul_is_removed_everywhere() {
        assert_eq!(
            without_nul(&json!({ "a\0": ["x\0y", { "b": "\0" }], "n": 1 })),
            json!({ "a": ["xy", { "b": "" }], "n": 1 })
        );
    }
}
