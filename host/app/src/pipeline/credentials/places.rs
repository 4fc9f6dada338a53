//! What the file of an installation says: where its database is, as each host finds it, and which one it is there.
//!
//! A copy is at another address *and* is another database. A database that was restored in place is another one at the
//! same address; one whose folder was renamed is the same at another address. Neither is a copy.

use std::fmt;
use std::io::{self, Read as _};
use std::path::Path;

/// How the file begins, for people who find it.
const HEADING: &str = "Processes with this file refresh the tokens of the Backline database that has this id.\n";

/// How the line of a place begins.
const PLACE: &str = "place: ";

/// What stands between a database's identity and its address.
const AT: &str = " at ";

/// What stands for an identity that is not known.
const UNKNOWN: &str = "-";

/// Most places that are kept; there is one for each address by which hosts that share the file find the database.
const PLACES_MAX: usize = 16;

/// Most bytes of a file that are read; a place has under 4 KiB.
const BYTES_MAX: u64 = 64 * 1024;

/// Where a database is, and which one it is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) address: String,
    /// None where the file system or the server does not say.
    pub(super) identity: Option<String>,
}

/// The places of an installation's database, the latest last. Shown as their addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Places(Vec<Place>);

impl Places {
    /// Reads the file of an installation, or what a link leads to; `None` if that is no file.
    ///
    /// # Errors
    /// When there is none, or it can't be read.
    pub(super) fn read(path: &Path) -> io::Result<Option<Self>> {
        // Opening something else, such as a pipe, could wait for ever.
        if !std::fs::metadata(path)?.is_file() {
            return Ok(None);
        }
        let mut content = Vec::new();
        std::fs::File::open(path)?.take(BYTES_MAX).read_to_end(&mut content)?;
        Ok(Some(Self::parse(&String::from_utf8_lossy(&content))))
    }

    fn parse(text: &str) -> Self {
        let places = text.lines().filter_map(|line| {
            let (identity, address) = line.strip_prefix(PLACE)?.split_once(AT)?;
            let identity = (identity != UNKNOWN).then(|| identity.to_owned());
            Some(Place { address: address.to_owned(), identity })
        });
        Self(places.collect())
    }

    /// What the file is to contain.
    pub(super) fn to_text(&self) -> String {
        let lines = self.0.iter().map(|Place { address, identity }| {
            let identity = identity.as_deref().unwrap_or(UNKNOWN);
            format!("{PLACE}{identity}{AT}{address}\n")
        });
        std::iter::once(HEADING.to_owned()).chain(lines).collect()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn has_address(&self, address: &str) -> bool {
        self.0.iter().any(|place| place.address == address)
    }

    pub(super) fn has_identity(&self, identity: &str) -> bool {
        self.0.iter().any(|place| place.identity.as_deref() == Some(identity))
    }

    /// Adds a place, in the stead of what was known of its address before.
    pub(super) fn note(&mut self, place: Place) {
        if self.0.contains(&place) {
            return;
        }
        self.0.retain(|known| known.address != place.address);
        self.0.push(place);
        let surplus = self.0.len().saturating_sub(PLACES_MAX);
        self.0.drain(..surplus);
    }
}

impl fmt::Display for Places {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let addresses: Vec<&str> = self.0.iter().map(|place| place.address.as_str()).collect();
        f.write_str(&addresses.join(" and "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(address: &str, identity: Option<&str>) -> Place {
        Place { address: address.to_owned(), identity: identity.map(str::to_owned) }
    }

    #[test]
    fn places_are_read_as_they_were_written() {
        let mut places = Places::default();
        places.note(place("/var/lib/a file at home.db", Some("1/2/3")));
        places.note(place("h:5432/numbers", None));
        let text = places.to_text();
        assert_eq!(Places::parse(&text), places, "{text}");
        assert!(places.has_address("/var/lib/a file at home.db") && places.has_identity("1/2/3"));
        assert!(!places.has_address("/var/lib") && !places.has_identity(UNKNOWN) && !places.has_identity(""));
        assert_eq!(places.to_string(), "/var/lib/a file at home.db and h:5432/numbers");
        for other in ["", HEADING, "place: ", "place: 1/2/3", "nonsense\u{0}\n"] {
            assert!(Places::parse(other).is_empty(), "{other}");
        }
    }

    #[test]
    fn an_address_has_one_place_and_the_latest_are_kept() {
        let mut places = Places::default();
        places.note(place("/a", Some("1")));
        places.note(place("/b", Some("1")));
        places.note(place("/a", Some("2")));
        assert!(places.has_address("/a") && places.has_identity("2") && places.has_identity("1"));
        places.note(place("/b", Some("2")));
        assert!(!places.has_identity("1"), "what was replaced in place is forgotten");
        for n in 0..100 {
            places.note(place(&format!("/{n}"), None));
        }
        assert_eq!(places.0.len(), PLACES_MAX);
        assert!(places.has_address("/99") && !places.has_address("/a"));
    }

    #[test]
    fn what_is_no_file_is_not_read() {
        let folder = tempfile::tempdir().expect("a folder");
        assert_eq!(Places::read(folder.path()).expect("it is looked at"), None);
        let missing = Places::read(&folder.path().join("none")).expect_err("there is none");
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
    }
}
