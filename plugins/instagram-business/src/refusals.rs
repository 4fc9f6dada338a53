//! Fields that the platform refuses by name, and whether a refusal says that the field is gone.

use std::cell::RefCell;

use backline_sdk::prelude::*;

/// Words that say that a name is gone for everyone.
const GONE: [&str; 5] =
    ["no longer supported", "no longer available", "nonexisting field", "has been deprecated", "has been removed"];

/// The fields that are not asked for any more, shared by all accounts of a batch.
#[derive(Debug)]
pub(crate) struct Asked {
    lost_before: Vec<String>,
    lost: RefCell<Vec<LostMetric>>,
}

impl Asked {
    /// Everything except what earlier batches reported as lost.
    pub(crate) fn new(lost_before: &[String]) -> Self {
        Self { lost_before: lost_before.to_vec(), lost: RefCell::default() }
    }

    /// Whether a field is not asked for.
    pub(crate) fn is_lost(&self, name: &str) -> bool {
        self.lost_before.iter().any(|lost| lost == name) || self.lost.borrow().iter().any(|lost| lost.name == name)
    }

    /// Stops asking for a field, and reports it to the host.
    pub(crate) fn lose(&self, name: &str, reason: &str) {
        if !self.is_lost(name) {
            self.lost.borrow_mut().push(LostMetric { name: name.to_owned(), reason: reason.to_owned() });
        }
    }

    /// All fields that are not asked for: lost in this batch or before.
    pub(crate) fn lost(&self) -> Vec<String> {
        let lost = self.lost.borrow();
        self.lost_before.iter().chain(lost.iter().map(|lost| &lost.name)).cloned().collect()
    }

    /// The fields that this batch found to be lost.
    pub(crate) fn into_found(self) -> Vec<LostMetric> {
        self.lost.into_inner()
    }
}

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
        let has_word = |word: &str| {
            message.split(|character: char| !character.is_ascii_alphanumeric() && character != '_').any(|it| it == word)
        };
        let mut meant = fields.iter().copied().filter(|field| has_word(field));
        let Some(field) = meant.next().filter(|_| meant.next().is_none()) else { return Self::Unnamed };
        let lower = message.to_ascii_lowercase();
        if GONE.iter().any(|words| lower.contains(words)) { Self::Gone(field) } else { Self::Here(field) }
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
