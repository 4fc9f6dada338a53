//! The name that is probably meant by one that nobody knows.

use strsim::levenshtein;

/// The known name that is most like this one, if any is like it enough to be a slip of the hand. Case does not count.
pub(crate) fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let name = name.to_lowercase();
    let near = |other: &&'a str| levenshtein(&name, &other.to_lowercase());
    let best = known.into_iter().min_by_key(near)?;
    (near(&best) <= 2 + name.chars().count() / 4).then_some(best)
}

/// The end of a message about an unknown name: `; did you mean 'youtube'?`, or what is known if there are few, or
/// nothing.
pub(crate) fn remark<'a>(name: &str, known: impl IntoIterator<Item = &'a str> + Clone) -> String {
    if let Some(nearest) = nearest(name, known.clone()) {
        return format!("; did you mean '{nearest}'?");
    }
    let known: Vec<&str> = known.into_iter().collect();
    match known.len() {
        0 | 13.. => String::new(),
        _ => format!("; known are {}", known.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_recognised_and_another_word_is_not() {
        let known = ["apple_music", "spotify", "youtube"];
        for (name, expected) in [
            ("yotube", Some("youtube")),
            ("YouTube", Some("youtube")),
            ("apple-music", Some("apple_music")),
            ("spotfy", Some("spotify")),
            ("soundcloud", None),
            ("", None),
        ] {
            assert_eq!(nearest(name, known), expected, "{name}");
        }
        assert_eq!(remark("yotube", known), "; did you mean 'youtube'?");
        assert_eq!(remark("soundcloud", known), "; known are apple_music, spotify, youtube");
        assert_eq!(remark("soundcloud", []), "");
    }
}
