//! Everything that is sealed with the operator's key, in whichever table: for counting and for sealing it again.

use sqlx::any::AnyRow;

use crate::database::connection::Store;
use crate::database::dialect::{Columns as _, DatabaseKind};
use crate::database::error::StoreError;
use crate::database::readable::{Extent, left_of, more_after};
use crate::database::statement::Statement;
use crate::scope::Scope;

/// A column of sealed values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SealedPlace {
    /// Name of the table.
    pub table: &'static str,
    /// The column of the row's id, a UUID.
    pub id: &'static str,
    /// The column of the sealed bytes, which may be NULL.
    pub column: &'static str,
    /// Prefix of the context that the bytes are bound to; the id follows.
    pub bound_to: &'static str,
}

impl SealedPlace {
    /// The context that the bytes of a row are bound to.
    #[must_use]
    pub fn context(&self, id: &str) -> String {
        format!("{}{id}", self.bound_to)
    }
}

/// Every column of sealed values. A rotation of keys seals all of it again.
pub const SEALED: &[SealedPlace] = &[
    SealedPlace { table: "credentials", id: "id", column: "sealed", bound_to: "" },
    SealedPlace { table: "webhooks", id: "id", column: "secret", bound_to: "webhook " },
    SealedPlace { table: "webhooks", id: "id", column: "previous_secret", bound_to: "webhook " },
    SealedPlace { table: "alert_channels", id: "id", column: "sealed", bound_to: "alert channel " },
];

/// A sealed value.
#[derive(Clone, PartialEq, Eq)]
pub struct Sealed {
    /// The row's id.
    pub id: String,
    /// The encrypted bytes.
    pub bytes: Vec<u8>,
}

impl std::fmt::Debug for Sealed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Sealed({}, {} bytes)", self.id, self.bytes.len())
    }
}

/// Number of sealed values of a place with the same first bytes: the format and the id of the key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keyed {
    /// Table and column.
    pub place: SealedPlace,
    /// Their first bytes, as many as were asked for.
    pub prefix: Vec<u8>,
    /// Number of values that begin so.
    pub count: u64,
}

impl Store {
    /// A page of the sealed values of a place, in order of id, without those whose ids can't be read: they are bound to
    /// these.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn sealed_list(
        &self,
        scope: &Scope,
        place: SealedPlace,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<Sealed>, StoreError> {
        scope.require_all("read what is sealed")?;
        let SealedPlace { table, id, column, .. } = place;
        let text = format!(
            "SELECT t.{id}::text AS id, t.{column} AS sealed FROM {table} t
             WHERE t.{id} > $1::uuid AND t.{column} IS NOT NULL ORDER BY t.{id} LIMIT $2"
        );
        let sealed_of = |row: &AnyRow| Ok(Sealed { id: row.text("id")?, bytes: row.bytes("sealed")? });
        let mut after = after.map_or_else(|| uuid::Uuid::nil().to_string(), str::to_owned);
        let mut found = Vec::new();
        loop {
            let asked = left_of(limit, found.len());
            let statement = Statement::made(self.kind(), &text).bind(after).bind(i64::from(asked));
            let rows = self.rows("read what is sealed", statement).await?;
            found.extend(self.unreadable.read(table, "id", Extent::Columns, &rows, sealed_of)?);
            let last = more_after(&rows, asked, found.len(), limit);
            let Some(place) = last.and_then(|last| last.above("id")) else { return Ok(found) };
            after = place;
        }
    }

    /// Replaces sealed bytes by those sealed again, all in one transaction, each only where the stored bytes are still
    /// those that were read: a secret that was saved in the meantime stays. A version is not raised, since what is
    /// inside is the same. Returns how many were replaced.
    ///
    /// # Errors
    /// When the database fails: none is replaced then.
    pub async fn sealed_replace(
        &self,
        scope: &Scope,
        place: SealedPlace,
        pairs: &[(Sealed, Vec<u8>)],
    ) -> Result<u64, StoreError> {
        scope.require_all("seal secrets again")?;
        let SealedPlace { table, id, column, .. } = place;
        let text = format!("UPDATE {table} SET {column} = $2 WHERE {id} = $1::uuid AND {column} = $3");
        let mut work = self.begin().await?;
        let mut replaced = 0;
        for (old, new) in pairs {
            let statement =
                Statement::made(self.kind(), &text).bind(old.id.clone()).bind(new.clone()).bind(old.bytes.clone());
            replaced += work.execute("seal a secret again", statement).await?;
        }
        work.commit().await?;
        Ok(replaced)
    }

    /// What is sealed in a place, counted by its first bytes.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn sealed_count(&self, scope: &Scope, place: SealedPlace, bytes: u32) -> Result<Vec<Keyed>, StoreError> {
        scope.require_all("count what is sealed")?;
        let SealedPlace { table, column, .. } = place;
        // Grouping by the bytes themselves would hand them over as another type on either kind.
        let hex = match self.kind() {
            DatabaseKind::Sqlite => format!("lower(hex(substr({column}, 1, {bytes})))"),
            DatabaseKind::Postgres => format!("encode(substr({column}, 1, {bytes}), 'hex')"),
        };
        let text = format!(
            "SELECT {hex} AS prefix, COUNT(*) AS n FROM {table} WHERE {column} IS NOT NULL GROUP BY 1 ORDER BY 1"
        );
        let rows = self.rows("count what is sealed", Statement::made(self.kind(), &text)).await?;
        rows.iter()
            .map(|row| {
                let prefix = row.text("prefix")?;
                let bytes = prefix
                    .as_bytes()
                    .chunks(2)
                    .filter_map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok());
                Ok(Keyed { place, prefix: bytes.collect(), count: row.count("n")? })
            })
            .collect()
    }
}
