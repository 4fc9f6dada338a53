//! Many rows as parameters of a statement: on PostgreSQL an array of each column, on SQLite one JSON array of them all.
//!
//! A statement says which columns it takes where it takes the rows, `FROM {columns: account uuid, since date}`, and
//! reads `r.account`. Their parameters come after all others. Rows as one JSON array (`{rows}`) cost PostgreSQL more:
//! it makes a tree of them, and takes each value out of it as a text. So what each batch writes comes as columns.

use serde_json::{Map, Value as Json};

use crate::database::dialect::{DatabaseKind, json, pairs, split, without_escaped_nul};
use crate::database::error::StoreError;

/// Rows for a statement.
pub(crate) struct Table {
    kind: DatabaseKind,
    names: Vec<&'static str>,
    /// On PostgreSQL: the array of each column, without its end.
    columns: Vec<String>,
    /// On SQLite.
    rows: Vec<Json>,
    len: usize,
}

impl Table {
    /// No rows yet for a statement.
    pub(crate) fn of(kind: DatabaseKind, statement: &'static str) -> Self {
        debug_assert_eq!(statement.matches("{columns: ").count(), 1, "rows are taken once: {statement}");
        debug_assert!(!statement.contains("{rows}"), "both kinds of rows are called r: {statement}");
        let names: Vec<&'static str> =
            split(statement).map(|(_, columns, _)| pairs(columns).map(|(name, _)| name).collect()).unwrap_or_default();
        let columns = names.iter().map(|_| String::new()).collect();
        Self { kind, names, columns, rows: Vec::new(), len: 0 }
    }

    /// Adds a row: a value for each column, in the statement's order. Null is NULL. What becomes JSON in the database
    /// may be given as its text.
    pub(crate) fn add(&mut self, values: impl IntoIterator<Item = (&'static str, Json)>) {
        let mut given = 0;
        let mut row = Map::new();
        for (name, value) in values {
            debug_assert_eq!(self.names.get(given), Some(&name), "a value for another column");
            match self.kind {
                DatabaseKind::Sqlite => drop(row.insert(name.to_owned(), value)),
                DatabaseKind::Postgres => {
                    if let Some(cells) = self.columns.get_mut(given) {
                        add_cell(cells, &value);
                    }
                }
            }
            given += 1;
        }
        debug_assert_eq!(given, self.names.len(), "a value for each column");
        if self.kind == DatabaseKind::Sqlite {
            self.rows.push(Json::Object(row));
        }
        self.len += 1;
    }

    /// How many rows there are.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The parameters, in the order of their numbers.
    pub(crate) fn parameters(self) -> Result<Vec<String>, StoreError> {
        match self.kind {
            DatabaseKind::Sqlite => Ok(vec![json("rows", &self.rows)?]),
            DatabaseKind::Postgres => {
                let ended = |cells: String| if cells.is_empty() { "{}".to_owned() } else { cells + "}" };
                Ok(self.columns.into_iter().map(ended).collect())
            }
        }
    }
}

/// Adds an element to an array, as PostgreSQL reads it.
fn add_cell(cells: &mut String, value: &Json) {
    cells.push(if cells.is_empty() { '{' } else { ',' });
    match value {
        Json::Null => cells.push_str("NULL"),
        Json::Bool(_) | Json::Number(_) => cells.push_str(&value.to_string()),
        Json::String(text) => add_quoted(cells, text),
        Json::Array(_) | Json::Object(_) => add_quoted(cells, &without_escaped_nul(value.to_string())),
    }
}

fn add_quoted(cells: &mut String, text: &str) {
    cells.push('"');
    for character in text.chars() {
        if matches!(character, '"' | '\\') {
            cells.push('\\');
        }
        cells.push(character);
    }
    cells.push('"');
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::database::dialect::translate;

    const TEXT: &str = "SELECT r.id, $2 FROM {columns: id uuid,
        n bigint, text text} WHERE $1 = r.n";

    #[test]
    fn columns_are_the_last_parameters() {
        assert_eq!(
            translate(DatabaseKind::Postgres, TEXT, false),
            "SELECT r.id, $2 FROM unnest($3::uuid[], $4::bigint[], $5::text[]) AS r(id, n, text) WHERE $1 = r.n"
        );
        assert_eq!(
            translate(DatabaseKind::Sqlite, TEXT, false),
            "SELECT r.id, $2 FROM (SELECT r.value->>'id' AS id, r.value->>'n' AS n, r.value->>'text' AS text \
             FROM json_each($3) AS r) AS r WHERE $1 = r.n"
        );
    }

    #[test]
    fn a_value_is_one_element_of_its_array_whatever_is_in_it() {
        let rows = |kind| {
            let mut table = Table::of(kind, TEXT);
            table.add([("id", json!("a")), ("n", json!(1)), ("text", json!("{\"x\\y\", NULL}"))]);
            table.add([("id", json!("")), ("n", json!(null)), ("text", json!({ "k": "v\0" }))]);
            assert_eq!(table.len(), 2);
            table.parameters().unwrap()
        };
        let text = r#"{"{\"x\\y\", NULL}","{\"k\":\"v\"}"}"#;
        assert_eq!(rows(DatabaseKind::Postgres), [r#"{"a",""}"#, "{1,NULL}", text]);
        let [rows]: [String; 1] = rows(DatabaseKind::Sqlite).try_into().unwrap();
        let rows: Json = serde_json::from_str(&rows).unwrap();
        assert_eq!(rows[0], json!({ "id": "a", "n": 1, "text": "{\"x\\y\", NULL}" }));
        assert_eq!(Table::of(DatabaseKind::Postgres, TEXT).parameters().unwrap(), ["{}", "{}", "{}"]);
    }
}
