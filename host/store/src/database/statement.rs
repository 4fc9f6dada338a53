//! A statement on its way to the database, with its parameters.

use sqlx::any::AnyArguments;
use sqlx::query::Query;
use sqlx::{Any, AssertSqlSafe, Encode, SqlSafeStr as _, Type};

use crate::database::dialect::{DatabaseKind, sql, translate};
use crate::database::error::StoreError;
use crate::database::table::Table;
use crate::scope::{Scope, is_limitable};

/// A statement with its parameters.
pub(crate) struct Statement {
    query: Query<'static, Any, AnyArguments>,
    /// The tenant that it is limited to: its last parameter.
    tenant: Option<String>,
    /// It reads or changes whole tables.
    long: bool,
}

impl Statement {
    /// A statement without a scope.
    pub(crate) fn new(kind: DatabaseKind, text: &'static str) -> Self {
        Self { query: sqlx::query(sql(kind, text, false)), tenant: None, long: false }
    }

    /// A statement on the rows of a scope: its text says by words of [`scope`](crate::scope) where it is limited.
    pub(crate) fn scoped(kind: DatabaseKind, scope: &Scope, text: &'static str) -> Self {
        debug_assert!(is_limitable(text), "the statement says nowhere whose rows it is about: {text}");
        let tenant = scope.only().map(ToString::to_string);
        Self { query: sqlx::query(sql(kind, text, tenant.is_some())), tenant, long: false }
    }

    /// A statement made of names that the registry or the database's own catalogue gives, never of what a user entered.
    pub(crate) fn made(kind: DatabaseKind, text: &str) -> Self {
        let query = sqlx::query(AssertSqlSafe(translate(kind, text, false)).into_sql_str());
        Self { query, tenant: None, long: false }
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

    /// Adds a parameter.
    pub(crate) fn bind<'t, T: Parameter + Encode<'t, Any> + Type<Any>>(mut self, value: T) -> Self {
        self.query = self.query.bind(value.storable());
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
}

/// What a statement takes.
pub(crate) trait Parameter: Sized {
    /// The same as PostgreSQL takes it.
    fn storable(self) -> Self {
        self
    }
}

/// A filter, a cursor or a name from outside may have U+0000 in it. PostgreSQL refuses the whole statement then, and
/// nothing is called so.
impl Parameter for String {
    fn storable(self) -> Self {
        if self.contains('\0') { self.replace('\0', "") } else { self }
    }
}

impl<P: Parameter> Parameter for Option<P> {
    fn storable(self) -> Self {
        self.map(P::storable)
    }
}

/// Words of this program, and what was made storable before.
impl<P: ?Sized> Parameter for &P {}

impl Parameter for bool {}
impl Parameter for i32 {}
impl Parameter for i64 {}
impl Parameter for f64 {}
impl Parameter for Vec<u8> {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_taken_without_nul() {
        assert_eq!("a\0b".to_owned().storable(), "ab");
        assert_eq!(Some("\0".to_owned()).storable().as_deref(), Some(""));
        assert_eq!(None::<String>.storable(), None);
        assert_eq!(vec![0_u8].storable(), [0], "bytes are bytes");
    }
}
