//! Numbers and texts as platforms really send them.

use serde_json::Value as Json;

/// A count, from a whole number, an integral float (`33920.0`) or a decimal string (`"3331930783"`).
///
/// Anything else (absent, null, a fraction, text, beyond 64 bits) is none: missing is never zero.
#[must_use]
pub fn integer(json: &Json) -> Option<i64> {
    match json {
        Json::Number(number) => number.as_i64().or_else(|| {
            let float = number.as_f64()?;
            // 2^53: past it a float no longer says which whole number was meant.
            #[expect(clippy::cast_possible_truncation, reason = "checked to be whole and within 53 bits")]
            (float.fract() == 0.0 && float.abs() < 9_007_199_254_740_992.0).then_some(float as i64)
        }),
        Json::String(text) => text.trim().parse().ok(),
        _ => None,
    }
}

/// A text that is not empty, without NUL characters (PostgreSQL refuses them).
#[must_use]
pub fn text(json: &Json) -> Option<String> {
    let text = json.as_str()?.replace('\0', "");
    (!text.trim().is_empty()).then_some(text)
}
