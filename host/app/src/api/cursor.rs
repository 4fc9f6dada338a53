//! Where a page ended, as an opaque text. It is bound to the list, its filters and the caller's scope, so that it can't
//! continue another list.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::problem::Problem;
use backline_model::Digest;

/// The list that cursors belong to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct List(String);

impl List {
    /// The list of an operation, with the filters and the scope that it is read with.
    pub(super) fn new(operation: &str, scope: &str, filters: &[(String, String)]) -> Self {
        let all = serde_json::json!([operation, scope, filters]).to_string();
        Self(Digest::of(all.as_bytes()).short())
    }

    /// The cursor after the row with this key.
    pub(super) fn cursor<K: Serialize>(&self, key: &K) -> Result<String, Problem> {
        let text = serde_json::to_string(&(&self.0, key)).map_err(|_| Problem::internal())?;
        Ok(URL_SAFE_NO_PAD.encode(text))
    }

    /// The key of the row that a cursor stands after.
    ///
    /// # Errors
    /// When it is no cursor, or one of another list.
    pub(super) fn key<K: DeserializeOwned>(&self, cursor: &str) -> Result<K, Problem> {
        let no_cursor =
            || Problem::wrong("the cursor is not one of this list with these filters; leave it out to begin again");
        let text = URL_SAFE_NO_PAD.decode(cursor).map_err(|_| no_cursor())?;
        let (list, key): (String, K) = serde_json::from_slice(&text).map_err(|_| no_cursor())?;
        if list == self.0 { Ok(key) } else { Err(no_cursor()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_continues_its_own_list_only() {
        let filters = |platform: &str| vec![("platform".to_owned(), platform.to_owned())];
        let list = List::new("metrics", "all tenants", &filters("youtube"));
        let cursor = list.cursor(&("2026-11-22", 7)).expect("a cursor");
        assert_eq!(list.key::<(String, u8)>(&cursor).expect("its own"), ("2026-11-22".to_owned(), 7));
        for other in [
            List::new("growth", "all tenants", &filters("youtube")),
            List::new("metrics", "tenant label", &filters("youtube")),
            List::new("metrics", "all tenants", &filters("tiktok")),
        ] {
            other.key::<(String, u8)>(&cursor).expect_err("of another list");
        }
        for text in ["", "x", "e30", &cursor[1..]] {
            list.key::<(String, u8)>(text).expect_err("no cursor");
        }
    }
}
