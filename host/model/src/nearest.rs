//! The name that is probably meant by one that nobody knows. Pure.

use strsim::osa_distance;

/// Fewest characters of a name that is taken for a slip of another: shorter ones are like too many.
const CHARS_MIN: usize = 4;

/// The known name that is most like this one, if any is like it enough to be a slip of the hand. Case does not count.
#[must_use]
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let (name, length) = (name.to_lowercase(), name.chars().count());
    let near = |other: &'a str| (osa_distance(&name, &other.to_lowercase()), other);
    let (far, best) = known.into_iter().map(near).min()?;
    (length >= CHARS_MIN && far <= 1 + length / 6).then_some(best)
}

/// How many insertions, deletions, changes and swaps of neighbouring characters make one text of another.
#[must_use]
pub fn distance(a: &str, b: &str) -> usize {
    osa_distance(a, b)
}

/// The end of a message about an unknown name: `; did you mean 'youtube'?`, or nothing where no known one is near.
#[must_use]
pub fn meant<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    nearest(name, known).map_or_else(String::new, |nearest| format!("; did you mean '{nearest}'?"))
}

/// The end of a message about an unknown name: `; did you mean 'youtube'?`, or what is known if there are few, or
/// nothing.
#[must_use]
pub fn remark<'a>(name: &str, known: impl IntoIterator<Item = &'a str> + Clone) -> String {
    let meant = meant(name, known.clone());
    if !meant.is_empty() {
        return meant;
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
