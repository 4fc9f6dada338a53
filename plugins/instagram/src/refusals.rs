//! What the platform refuses by name, and whether a refusal speaks of the name or of one post.

use backline_sdk::{has_word, only_named, says};

/// Words that say that a name is gone for everyone.
const GONE: [&str; 6] = [
    "no longer supported",
    "no longer available",
    "nonexisting field",
    "has been deprecated",
    "is deprecated",
    "has been removed",
];

/// Words that say that a refusal is of one kind of post, whatever else it says.
const OF_A_KIND: [&str; 7] =
    ["media type*", "product type*", "this media", "this post*", "carousel*", "story", "stories"];

/// What a refusal of several names says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The platform does not have this name any more, for any account.
    Gone(&'static str),
    /// The name is refused here: for this post, this kind of post or this account.
    Here(&'static str),
    /// It names none, or several.
    Unnamed,
}

impl Verdict {
    /// Reads the platform's message. A name is gone only if the platform's own list lacks it, or if the message says so
    /// and does not speak of a kind of post.
    pub(crate) fn of(message: &str, names: &[&'static str]) -> Self {
        let Some(name) = named(message, names) else { return Self::Unnamed };
        let is_unlisted = message.split_once("must be one of").is_some_and(|(_, allowed)| !has_word(allowed, name));
        let is_gone = says(message, &GONE) && !says(message, &OF_A_KIND);
        if is_unlisted || is_gone { Self::Gone(name) } else { Self::Here(name) }
    }
}

/// The metric that an error message refers to: by its index (`metric[2] must be one of the following values:`, followed
/// by the valid names) or by its name. `None` if it names no metric, or several, of which one may be the replacement.
fn named(message: &str, names: &[&'static str]) -> Option<&'static str> {
    let (head, allowed) = match message.split_once("must be one of") {
        Some((head, allowed)) => (head, Some(allowed)),
        None => (message, None),
    };
    let place = head.split_once("metric[").and_then(|(_, rest)| rest.split_once(']'));
    if let Some(index) = place.and_then(|(index, _)| index.trim().parse::<usize>().ok()) {
        return names.get(index).copied();
    }
    match (only_named(head, names), allowed) {
        (None, Some(allowed)) => {
            let mut unlisted = names.iter().copied().filter(|name| !has_word(allowed, name));
            unlisted.next().filter(|_| unlisted.next().is_none())
        }
        (found, _) => found,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_message_names_one_metric_or_none() {
        let names = ["views", "reach", "shares", "saved"];
        let cases = [
            ("(#100) metric[2] must be one of the following values: views, reach, saved", Some("shares")),
            ("(#100) metric[9] must be one of the following values: views, reach", None),
            ("(#100) metrics must be one of: views, reach, saved", Some("shares")),
            ("(#100) metrics must be one of: views, reach", None),
            ("(#100) The shares metric is no longer supported for the queried media.", Some("shares")),
            ("(#100) shares is gone, use views instead", None),
            ("(#100) The following metrics are not supported: reshares", None),
            ("(#100) Invalid parameter", None),
        ];
        for (message, expected) in cases {
            assert_eq!(named(message, &names), expected, "{message}");
        }
    }

    #[test]
    fn only_what_speaks_of_the_name_loses_it() {
        let names = ["views", "shares", "follows_count"];
        let cases = [
            ("(#100) metric[1] must be one of the following values: views, reach", Verdict::Gone("shares")),
            ("(#100) metric[1] must be one of the following values: views, shares", Verdict::Here("shares")),
            ("(#100) The shares metric is no longer supported for the queried media.", Verdict::Gone("shares")),
            ("(#100) The shares metric is no longer supported for this media type", Verdict::Here("shares")),
            ("(#100) The metric shares is not supported for this media type", Verdict::Here("shares")),
            ("(#100) The shares metric is not available for this media product type.", Verdict::Here("shares")),
            ("(#100) shares is not supported", Verdict::Here("shares")),
            ("(#100) shares has been removed from the history of a user", Verdict::Gone("shares")),
            ("(#100) reshares is no longer supported", Verdict::Unnamed),
            (
                "(#100) Tried accessing nonexisting field (follows_count) on node type (IGUser)",
                Verdict::Gone("follows_count"),
            ),
            ("(#100) The request is not supported.", Verdict::Unnamed),
        ];
        for (message, expected) in cases {
            assert_eq!(Verdict::of(message, &names), expected, "{message}");
        }
    }
}
