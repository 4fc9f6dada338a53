//! A statement on its way to the database, with its parameters.

use sqlx::any::AnyArguments;
use sqlx::query::Query;
use sqlx::{Any, Arguments as _, AssertSqlSafe, Column, Encode, SqlSafeStr as _, SqlStr, Type};

use crate::database::dialect::{DatabaseKind, is_returning, sql, text_in_bytes, translate};
use crate::database::error::StoreError;
use crate::database::table::Table;
use crate::scope::{Scope, is_limitable};

/// A statement with its parameters.
pub(crate) struct Statement {
    query: Query<'static, Any, AnyArguments>,
    /// The same to be run again, where it only reads a file.
    again: Option<Again>,
    /// The tenant that it is limited to: its last parameter.
    tenant: Option<String>,
    /// It reads or changes whole tables.
    long: bool,
    /// Size of its parameters, in bytes.
    bytes: u64,
}

impl Statement {
    /// A statement without a scope.
    pub(crate) fn new(kind: DatabaseKind, text: &'static str) -> Self {
        let text = sql(kind, text, false);
        Self { again: Again::of(kind, &text), query: sqlx::query(text), tenant: None, long: false, bytes: 0 }
    }

    /// A statement on the rows of a scope: its text says by words of [`scope`](crate::scope) where it is limited.
    pub(crate) fn scoped(kind: DatabaseKind, scope: &Scope, text: &'static str) -> Self {
        debug_assert!(is_limitable(text), "the statement says nowhere whose rows it is about: {text}");
        let tenant = scope.only().map(ToString::to_string);
        let text = sql(kind, text, tenant.is_some());
        Self { again: Again::of(kind, &text), query: sqlx::query(text), tenant, long: false, bytes: 0 }
    }

    /// A statement made of names that the registry or the database's own catalogue gives, never of what a user entered.
    pub(crate) fn made(kind: DatabaseKind, text: &str) -> Self {
        let text = AssertSqlSafe(translate(kind, text, false)).into_sql_str();
        Self { again: Again::of(kind, &text), query: sqlx::query(text), tenant: None, long: false, bytes: 0 }
    }

    /// The same, planned for each execution by the size that tables have then. Planning costs a part of a millisecond,
    /// so it is for statements whose best index depends on the size.
    pub(crate) fn replanned(mut self) -> Self {
        self.query = self.query.persistent(false);
        self
    }

    /// The same for a statement that reads or changes whole tables: it may take
    /// [`StoreLimits::long_statement`](crate::StoreLimits::long_statement).
    pub(crate) fn long(mut self) -> Self {
        self.long = true;
        self
    }

    pub(crate) fn is_long(&self) -> bool {
        self.long
    }

    /// Size of its parameters, in bytes.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Adds a parameter.
    pub(crate) fn bind<'t, T: Parameter + Encode<'t, Any> + Type<Any>>(mut self, value: T) -> Self {
        let value = value.storable();
        self.bytes += value.bound_bytes() as u64;
        self.again = self.again.and_then(|again| again.with(value.clone()));
        self.query = self.query.bind(value);
        self
    }

    /// Adds rows, after all other parameters.
    ///
    /// # Errors
    /// When a value has no JSON.
    pub(crate) fn bind_table(mut self, table: Table) -> Result<Self, StoreError> {
        for parameter in table.parameters()? {
            self = self.bind(parameter);
        }
        Ok(self)
    }

    /// The query with all its parameters.
    pub(crate) fn into_query(self) -> Query<'static, Any, AnyArguments> {
        match self.tenant {
            Some(tenant) => self.query.bind(tenant),
            None => self.query,
        }
    }

    /// The same, and what to run where a row holds a text that is none.
    pub(crate) fn into_query_and_again(mut self) -> (Query<'static, Any, AnyArguments>, Option<Again>) {
        let again = self.again.take().and_then(|again| match &self.tenant {
            Some(tenant) => again.with(tenant.clone()),
            None => Some(again),
        });
        (self.into_query(), again)
    }
}

/// A statement that reads a SQLite file, with its parameters, to be run again in a form that returns the bytes of each
/// text. A file takes any bytes as text, such as a name in Latin-1 that another program wrote, and sqlx fails the whole
/// statement for the sake of one.
pub(crate) struct Again {
    text: SqlStr,
    arguments: AnyArguments,
}

impl Again {
    /// None where the statement writes: it is not run twice, and what it returns comes as bytes at once (see
    /// `database::dialect`). PostgreSQL keeps such texts out.
    fn of(kind: DatabaseKind, text: &SqlStr) -> Option<Self> {
        let begin = text.as_str().trim_start();
        let reads = (begin.starts_with("SELECT") || begin.starts_with("WITH")) && !is_returning(begin);
        (kind == DatabaseKind::Sqlite && reads).then(|| Self { text: text.clone(), arguments: AnyArguments::default() })
    }

    fn with<'t, T: Encode<'t, Any> + Type<Any>>(mut self, value: T) -> Option<Self> {
        self.arguments.add(value).is_ok().then_some(self)
    }

    /// The text of the statement, to find its columns.
    pub(crate) fn text(&self) -> SqlStr {
        self.text.clone()
    }

    /// The query that returns the bytes of each text in these columns.
    pub(crate) fn in_bytes(self, columns: &[impl Column]) -> Query<'static, Any, AnyArguments> {
        let text = in_bytes(self.text.as_str(), columns.iter().map(Column::name));
        sqlx::query_with::<Any, _>(AssertSqlSafe(text), self.arguments).persistent(false)
    }
}

/// A statement around another one that returns texts as bytes, and everything else as it is.
fn in_bytes<'a>(statement: &str, columns: impl Iterator<Item = &'a str>) -> String {
    let columns: Vec<String> = columns
        .map(|name| {
            let name = format!("\"{}\"", name.replace('"', "\"\""));
            text_in_bytes(&name, &name)
        })
        .collect();
    format!("SELECT {} FROM ({statement}\n) AS q", columns.join(", "))
}

/// What a statement takes.
pub(crate) trait Parameter: Clone {
    /// The same as PostgreSQL takes it.
    fn storable(self) -> Self {
        self
    }

    /// Its size, in bytes.
    fn bound_bytes(&self) -> usize {
        size_of_val(self)
    }
}

/// A filter, a cursor or a name from outside may have U+0000 in it. PostgreSQL refuses the whole statement then, and
/// nothing is called so.
impl Parameter for String {
    fn storable(self) -> Self {
        if self.contains('\0') { self.replace('\0', "") } else { self }
    }

    fn bound_bytes(&self) -> usize {
        self.len()
    }
}

impl<P: Parameter> Parameter for Option<P> {
    fn storable(self) -> Self {
        self.map(P::storable)
    }

    fn bound_bytes(&self) -> usize {
        self.as_ref().map_or(0, P::bound_bytes)
    }
}

/// Words of this program, and what was made storable before.
impl<P: ?Sized> Parameter for &P {
    fn bound_bytes(&self) -> usize {
        size_of_val(*self)
    }
}

impl Parameter for bool {}
impl Parameter for i32 {}
impl Parameter for i64 {}
impl Parameter for f64 {}
impl Parameter for Vec<u8> {
    fn bound_bytes(&self) -> usize {
        self.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_is_run_again_only_where_it_reads_a_file() {
        let again = |kind, text| Statement::new(kind, text).bind(1_i64).into_query_and_again().1;
        assert!(again(DatabaseKind::Sqlite, "\n    SELECT name FROM artists WHERE seq = $1").is_some());
        assert!(again(DatabaseKind::Sqlite, "UPDATE artists SET seq = $1 RETURNING name").is_none());
        let after_reading = "WITH few AS (SELECT seq FROM events) UPDATE artists SET seq = $1 RETURNING name";
        assert!(again(DatabaseKind::Sqlite, after_reading).is_none());
        assert!(again(DatabaseKind::Postgres, "SELECT name FROM artists WHERE seq = $1").is_none());
        let made = |text| Statement::made(DatabaseKind::Sqlite, text).into_query_and_again().1;
        assert!(made("SELECT \"odd\" FROM t").is_some() && made("DELETE FROM t").is_none());
        assert_eq!(
            in_bytes("SELECT a AS \"b\"\"\" FROM d", ["b\""].into_iter()),
            "SELECT CASE typeof(\"b\"\"\") WHEN 'text' THEN CAST(\"b\"\"\" AS BLOB) ELSE \"b\"\"\" END AS \"b\"\"\" \
             FROM (SELECT a AS \"b\"\"\" FROM d\n) AS q"
        );
    }

    #[test]
    fn a_text_is_taken_without_nul() {
        assert_eq!("a\0b".to_owned().storable(), "ab");
        assert_eq!(Some("\0".to_owned()).storable().as_deref(), Some(""));
        assert_eq!(None::<String>.storable(), None);
        assert_eq!(vec![0_u8].storable(), [0], "bytes are bytes");
    }

    #[test]
    fn the_size_of_a_statement_is_that_of_its_parameters() {
        let statement = Statement::new(DatabaseKind::Sqlite, "UPDATE artists SET name = $1, seq = $2, x = $3, y = $4")
            .bind("four")
            .bind(7_i64)
            .bind(Some("sixty\0".to_owned()))
            .bind(vec![0_u8; 100]);
        assert_eq!(statement.bytes(), 4 + 8 + 5 + 100);
    }
}
