//! Everything that is sealed with the operator's key, wherever it stands: for counting and for sealing it anew.

use crate::artists::privacy::made;
use crate::database::dialect::{Columns as _, DatabaseKind};
use crate::{Store, StoreError};

/// Where something sealed stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SealedPlace {
    /// The table.
    pub table: &'static str,
    /// The column of the row's id, a UUID.
    pub id: &'static str,
    /// The column of the sealed bytes, which may be NULL.
    pub column: &'static str,
    /// What stands before the id in what the bytes are bound to.
    pub bound_to: &'static str,
}

impl SealedPlace {
    /// What the bytes of a row are bound to.
    #[must_use]
    pub fn context(&self, id: &str) -> String {
        format!("{}{id}", self.bound_to)
    }
}

/// Every place where something sealed stands. A rotation of keys seals all of it anew.
pub const SEALED: &[SealedPlace] = &[
    SealedPlace { table: "credentials", id: "id", column: "sealed", bound_to: "" },
    SealedPlace { table: "webhooks", id: "id", column: "secret", bound_to: "webhook " },
    SealedPlace { table: "webhooks", id: "id", column: "previous_secret", bound_to: "webhook " },
];

/// Something sealed.
#[derive(Clone, PartialEq, Eq)]
pub struct Sealed {
    /// The row's id.
    pub id: String,
    /// Encrypted.
    pub bytes: Vec<u8>,
}

impl std::fmt::Debug for Sealed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Sealed({}, {} bytes)", self.id, self.bytes.len())
    }
}

/// How many sealed values of a place begin alike: with the format and the id of the key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keyed {
    /// Where.
    pub place: SealedPlace,
    /// Their first bytes, as many as were asked for.
    pub prefix: Vec<u8>,
    /// How many.
    pub count: u64,
}

impl Store {
    /// A page of what is sealed in a place, in order of id.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn sealed_page(
        &self,
        place: SealedPlace,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<Sealed>, StoreError> {
        let SealedPlace { table, id, column, .. } = place;
        let text = format!(
            "SELECT t.{id}::text AS id, t.{column} AS sealed FROM {table} t
             WHERE t.{id} > $1::uuid AND t.{column} IS NOT NULL ORDER BY t.{id} LIMIT $2"
        );
        let after = after.map_or_else(|| uuid::Uuid::nil().to_string(), str::to_owned);
        let statement = made(self.kind(), &text).bind(after).bind(i64::from(limit));
        let rows = self.rows("read what is sealed", statement).await?;
        rows.iter().map(|row| Ok(Sealed { id: row.text("id")?, bytes: row.bytes("sealed")? })).collect()
    }

    /// Puts bytes that were sealed anew in the place of those that were read, all in one transaction, each only where it is still what was
    /// read: what somebody has saved meanwhile stays. A version is not raised, since what is inside is the same. Answers how many were
    /// replaced.
    ///
    /// # Errors
    /// When the database fails: none is replaced then.
    pub async fn reseal(&self, place: SealedPlace, pairs: &[(Sealed, Vec<u8>)]) -> Result<u64, StoreError> {
        let SealedPlace { table, id, column, .. } = place;
        let text = format!("UPDATE {table} SET {column} = $2 WHERE {id} = $1::uuid AND {column} = $3");
        let mut work = self.begin().await?;
        let mut replaced = 0;
        for (old, new) in pairs {
            let statement = made(self.kind(), &text).bind(old.id.clone()).bind(new.clone()).bind(old.bytes.clone());
            replaced += work.execute("seal a secret anew", statement).await?;
        }
        work.commit().await?;
        Ok(replaced)
    }

    /// What is sealed in a place, counted by its first bytes.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn sealed_by_prefix(&self, place: SealedPlace, bytes: u32) -> Result<Vec<Keyed>, StoreError> {
        let SealedPlace { table, column, .. } = place;
        // Grouping by the bytes themselves would hand them over as another type on either kind.
        let hex = match self.kind() {
            DatabaseKind::Sqlite => format!("lower(hex(substr({column}, 1, {bytes})))"),
            DatabaseKind::Postgres => format!("encode(substr({column}, 1, {bytes}), 'hex')"),
        };
        let text = format!(
            "SELECT {hex} AS prefix, COUNT(*) AS n FROM {table} WHERE {column} IS NOT NULL GROUP BY 1 ORDER BY 1"
        );
        let rows = self.rows("count what is sealed", made(self.kind(), &text)).await?;
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
