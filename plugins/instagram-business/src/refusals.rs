//! Fields that the platform refuses by name, and whether a refusal says that the field is gone.

use backline_sdk::{only_named, says};

/// Words that say that a name is gone for everyone.
const GONE: [&str; 5] =
    ["no longer supported", "no longer available", "nonexisting field", "has been deprecated", "has been removed"];

/// What a refusal of several fields says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The platform does not have this field any more, for any account.
    Gone(&'static str),
    /// The field is refused for this account.
    Here(&'static str),
    /// It names none, or several.
    Unnamed,
}

impl Verdict {
    /// Reads the platform's message.
    pub(crate) fn of(message: &str, fields: &[&'static str]) -> Self {
        match only_named(message, fields) {
            None => Self::Unnamed,
            Some(field) if says(message, &GONE) => Self::Gone(field),
            Some(field) => Self::Here(field),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_one_field_or_none() {
        let fields = ["follows_count", "view_count"];
        let cases = [
            (
                "(#100) Tried accessing nonexisting field (view_count) on node type (IGMedia)",
                Verdict::Gone("view_count"),
            ),
            ("(#100) view_count is not available for this account", Verdict::Here("view_count")),
            ("(#100) view_count and follows_count can't be combined", Verdict::Unnamed),
            ("(#100) Tried accessing nonexisting field (preview_count)", Verdict::Unnamed),
            ("(#100) Invalid parameter", Verdict::Unnamed),
        ];
        for (message, expected) in cases {
            assert_eq!(Verdict::of(message, &fields), expected, "{message}");
        }
    }
}
