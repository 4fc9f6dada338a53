//! A statement on its way to the database, with its parameters.

use sqlx::any::AnyArguments;
use sqlx::query::Query;
use sqlx::{Any, AssertSqlSafe, Encode, SqlSafeStr as _, Type};

use crate::database::dialect::{DatabaseKind, sql, translate};
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
    pub(crate) fn bind<'t, T: Encode<'t, Any> + Type<Any>>(mut self, value: T) -> Self {
        self.query = self.query.bind(value);
        self
    }

    /// The query with all its parameters.
    pub(crate) fn into_query(self) -> Query<'static, Any, AnyArguments> {
        match self.tenant {
            Some(tenant) => self.query.bind(tenant),
            None => self.query,
        }
    }
}
