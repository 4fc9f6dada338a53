//! What a platform refuses by name: which names a refusal speaks of, and which of them are gone for everyone.
//!
//! Platforms say it in prose, so a connector has to read texts. Everything here compares whole words: a refusal of
//! `dislikes` says nothing of `likes`, nor does "history" speak of a story.

use std::cell::RefCell;

use crate::LostMetric;

/// The names that a batch does not ask for any more, shared by all of its accounts: what earlier batches lost, and what
/// this one finds to be lost.
///
/// ```
/// use backline_sdk::Lost;
///
/// let lost = Lost::new(&["plays".to_owned()]);
/// lost.add("shares", "The shares metric is no longer supported.");
/// assert!(lost.has("plays") && lost.has("shares") && !lost.has("reach"));
/// assert_eq!(lost.into_found().len(), 1, "the host knows the other");
/// ```
#[derive(Debug, Default)]
pub struct Lost {
    before: Vec<String>,
    found: RefCell<Vec<LostMetric>>,
}

impl Lost {
    /// Begins with what the host says was lost before: `context.lost_metrics`.
    #[must_use]
    pub fn new(before: &[String]) -> Self {
        Self { before: before.to_vec(), found: RefCell::default() }
    }

    /// Whether a name is not asked for.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.before.iter().any(|lost| lost == name) || self.found.borrow().iter().any(|lost| lost.name == name)
    }

    /// Stops asking for a name, for the platform's reason. A name that is lost already keeps its first reason.
    pub fn add(&self, name: &str, reason: &str) {
        if !self.has(name) {
            self.found.borrow_mut().push(LostMetric { name: name.to_owned(), reason: reason.to_owned() });
        }
    }

    /// All names that are not asked for: lost before, then in this batch.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        let found = self.found.borrow();
        self.before.iter().chain(found.iter().map(|lost| &lost.name)).cloned().collect()
    }

    /// What this batch found to be lost, for the result of `fetch`.
    #[must_use]
    pub fn into_found(self) -> Vec<LostMetric> {
        self.found.into_inner()
    }
}

/// Whether a text has a name as a whole word. ASCII letters, digits and `_` make a word; case matters, as it does in
/// names.
///
/// ```
/// use backline_sdk::has_word;
///
/// assert!(has_word("metric 'likes' is not supported", "likes"));
/// assert!(!has_word("metric 'dislikes' is not supported", "likes"));
/// ```
#[must_use]
pub fn has_word(text: &str, word: &str) -> bool {
    is_found(text, word, false)
}

/// The one of several names that a text has as a whole word; `None` if it has none of them, or several: one of those
/// may be what to use instead.
#[must_use]
pub fn only_named<'a>(text: &str, names: &[&'a str]) -> Option<&'a str> {
    let mut named = names.iter().copied().filter(|name| has_word(text, name));
    named.next().filter(|_| named.next().is_none())
}

/// Whether a text has one of some phrases, in whole words whatever their case. A `*` at the end of a phrase stands for
/// any ending of its last word.
///
/// ```
/// use backline_sdk::says;
///
/// assert!(says("Invalid limit", &["limit"]) && !says("Unlimited", &["limit"]));
/// assert!(says("The quota was exceeded.", &["exceed*"]) && !says("The quota was exceeded.", &["exceed"]));
/// ```
#[must_use]
pub fn says(text: &str, phrases: &[&str]) -> bool {
    let text = text.to_ascii_lowercase();
    phrases.iter().any(|phrase| match phrase.strip_suffix('*') {
        Some(beginning) => is_found(&text, beginning, true),
        None => is_found(&text, phrase, false),
    })
}

/// The words of a text in lower case, with one space between them. Names of several words are taken apart:
/// `rateLimitExceeded`, `RATE_LIMIT_EXCEEDED` and "rate limit exceeded" are the same.
#[must_use]
pub fn words_of(text: &str) -> String {
    let mut words = String::with_capacity(text.len());
    let mut after_lower = false;
    for c in text.chars() {
        let begins_word = c.is_ascii_uppercase() && after_lower;
        after_lower = c.is_ascii_lowercase();
        let is_of_word = c.is_ascii_alphanumeric() || !c.is_ascii();
        if (begins_word || !is_of_word) && !words.is_empty() && !words.ends_with(' ') {
            words.push(' ');
        }
        if is_of_word {
            words.push(c.to_ascii_lowercase());
        }
    }
    words.truncate(words.trim_end().len());
    words
}

/// Whether a text has a phrase that begins with a word, and ends with one unless `is_open`.
fn is_found(text: &str, phrase: &str, is_open: bool) -> bool {
    // Languages without spaces write a name right beside their own characters.
    let is_of_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    !phrase.is_empty()
        && text.match_indices(phrase).any(|(start, _)| {
            let (before, after) = (&text[..start], &text[start + phrase.len()..]);
            !before.ends_with(is_of_word) && (is_open || !after.starts_with(is_of_word))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_found_as_a_whole_word_only() {
        for (text, word, expected) in [
            ("likes", "likes", true),
            ("(#100) likes, shares", "likes", true),
            ("metric[likes]", "likes", true),
            ("dislikes, likes", "likes", true),
            ("dislikes", "likes", false),
            ("likes_received", "likes", false),
            ("video_likes", "likes", false),
            ("likes2", "likes", false),
            ("Likes", "likes", false),
            ("指標likesは無効です", "likes", true),
            ("", "likes", false),
            ("likes", "", false),
        ] {
            assert_eq!(has_word(text, word), expected, "{text:?} {word:?}");
        }
    }

    #[test]
    fn only_one_name_is_meant() {
        let names = ["likes", "dislikes", "shares"];
        for (text, expected) in [
            ("dislikes is not supported", Some("dislikes")),
            ("the metric likes is not supported", Some("likes")),
            ("likes is gone, use shares instead", None),
            ("likes and likes", Some("likes")),
            ("the query is not supported", None),
            ("", None),
        ] {
            assert_eq!(only_named(text, &names), expected, "{text:?}");
        }
    }

    #[test]
    fn phrases_are_found_in_whole_words_whatever_their_case() {
        for (text, phrase, expected) in [
            ("API access BLOCKED.", "api access blocked", true),
            ("Invalid id", "invalid id", true),
            ("Invalid identity provider", "invalid id", false),
            ("a history of it", "story", false),
            ("media_product_type", "product type", false),
            ("stories", "stor*", true),
            ("a restore", "stor*", false),
            ("too many calls", "too many", true),
            ("", "too many", false),
            ("anything", "*", false),
        ] {
            assert_eq!(says(text, &[phrase]), expected, "{text:?} {phrase:?}");
        }
        assert!(says("it was removed", &["deprecated", "was removed"]));
        assert!(!says("it was removed", &[]));
    }

    #[test]
    fn names_of_several_words_are_taken_apart() {
        for (text, words) in [
            ("rateLimitExceeded", "rate limit exceeded"),
            ("RATE_LIMIT_EXCEEDED", "rate limit exceeded"),
            ("{\"quota_unit\":\"1/d/{project}\"}", "quota unit 1 d project"),
            ("defaultPerDayPerProject", "default per day per project"),
            ("  Quota  exceeded. ", "quota exceeded"),
            ("Größe", "größe"),
            ("", ""),
            ("--", ""),
        ] {
            assert_eq!(words_of(text), words, "{text:?}");
        }
    }

    #[test]
    fn what_is_lost_is_reported_once_and_with_its_first_reason() {
        let lost = Lost::new(&["plays".to_owned()]);
        lost.add("plays", "again");
        lost.add("shares", "first");
        lost.add("shares", "second");
        assert_eq!(lost.names(), ["plays", "shares"]);
        assert_eq!(lost.into_found(), [LostMetric { name: "shares".to_owned(), reason: "first".to_owned() }]);
    }
}
