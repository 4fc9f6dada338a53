//! Credentials as sealed bytes: the store never sees what is in them.

use std::cmp::Ordering;

use chrono::{DateTime, Utc};
use sqlx::any::AnyRow;

use crate::artists::tombstones::erasures_hold_off_in_txn;
use crate::database::connection::Store;
use crate::database::dialect::{Columns as _, clean, time_text};
use crate::database::error::StoreError;
use crate::database::link::Link;
use crate::database::readable::Extent;
use crate::database::rows::id_rows;
use crate::database::statement::Statement;
use crate::scope::Scope;
use backline_model::{AccountId, CredentialId, Platform};

/// A stored credential.
#[derive(Clone, PartialEq)]
pub struct SealedCredential {
    /// Its id; also what the bytes are bound to.
    pub id: CredentialId,
    /// For which platform.
    pub platform: Platform,
    /// For which slot of the platform's connector.
    pub slot: String,
    /// The account's own, or none where it is the operator's.
    pub account_id: Option<AccountId>,
    /// What kind of secret it is, for people.
    pub kind: String,
    /// The secret, encrypted with the operator's key.
    pub sealed: Vec<u8>,
    /// Grows with every save; 0 has never been saved.
    pub version: i64,
    /// When it stops working, where known.
    pub expires_at: Option<DateTime<Utc>>,
    /// When it is to be refreshed, or a failed refresh to be tried again; none where that is unknown or never.
    pub refresh_at: Option<DateTime<Utc>>,
    /// Whether it works: `active`, or `dead` once the platform has refused it for good.
    pub status: String,
    /// When it was last saved.
    pub updated_at: DateTime<Utc>,
}

impl std::fmt::Debug for SealedCredential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SealedCredential({}, {}/{}, version {})", self.id, self.platform, self.slot, self.version)
    }
}

/// Where a credential is stored, without what is stored of it: enough to save another secret over it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CredentialPlace {
    /// Id of the credential.
    pub id: CredentialId,
    /// The account that owns it, or none where it is the operator's.
    pub account_id: Option<AccountId>,
    /// Version that is stored.
    pub version: i64,
}

/// In which slot a credential is, without what is stored of it: enough to remove one that can't be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CredentialSlot {
    /// The platform; one that can't be read is called so.
    pub platform: Platform,
    /// Name of the connector's slot, as far as it can be read.
    pub slot: String,
    /// The account that owns it, or none where it is the operator's.
    pub account_id: Option<AccountId>,
}

/// Which credentials to list. A field that is none does not restrict.
#[derive(Clone, Debug, Default)]
pub struct CredentialFilter {
    /// Only this platform's.
    pub platform: Option<Platform>,
    /// Only this account's.
    pub account: Option<AccountId>,
}

macro_rules! credential_sql {
    ($which:literal) => {
        concat!(
            "SELECT id::text AS id, platform, slot, account_id::text AS account_id, kind, sealed, version, ",
            "expires_at::text AS expires_at, refresh_at::text AS refresh_at, status, updated_at::text AS updated_at
                 FROM credentials ",
            $which
        )
    };
}

pub(crate) use credential_sql;

/// How many any few credentials are.
const ANY_OF: i64 = 100;

impl Store {
    /// Saves a credential unless it was saved since it was read: `version` is the version read, 0 for a new one.
    /// Returns it with its new version. A lease to refresh the old one ends.
    ///
    /// # Errors
    /// [`StoreError::VersionConflict`] when the stored version is another one, or a new one's slot is taken.
    pub async fn credential_save(
        &self,
        scope: &Scope,
        credential: &SealedCredential,
        now: DateTime<Utc>,
    ) -> Result<SealedCredential, StoreError> {
        if credential.version == 0 {
            self.credentials_save(scope, std::slice::from_ref(credential), now).await?;
        } else {
            let statement = save_statement(self.scoped(scope, save_sql(credential)), credential, now);
            if self.write("save a credential", statement).await? == 0 {
                return Err(conflict(credential));
            }
        }
        Ok(SealedCredential { version: credential.version + 1, updated_at: now, ..credential.clone() })
    }

    /// Saves many credentials as [`Store::credential_save`] does, in one transaction: all or none.
    ///
    /// # Errors
    /// [`StoreError::VersionConflict`] for one that was saved since it was read.
    pub async fn credentials_save(
        &self,
        scope: &Scope,
        credentials: &[SealedCredential],
        now: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        let mut ordered: Vec<&SealedCredential> = credentials.iter().collect();
        ordered.sort_unstable_by(|a, b| in_turn(a, b));
        let mut work = self.begin_durable().await?;
        // An erasure locks all credentials of its artist at once. One that another transaction added meanwhile would
        // be in the hands of others, who wait for the artist's accounts.
        if ordered.iter().any(|credential| credential.version == 0 && credential.account_id.is_some()) {
            erasures_hold_off_in_txn(&mut work).await?;
        }
        for credential in ordered {
            let statement = save_statement(work.scoped(scope, save_sql(credential)), credential, now);
            if work.execute("save credentials", statement).await? == 0 {
                return Err(conflict(credential));
            }
        }
        work.commit().await
    }

    /// The credential of a slot: an account's own, or the operator's where `account` is none.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn credential_get(
        &self,
        scope: &Scope,
        platform: &Platform,
        slot: &str,
        account: Option<AccountId>,
    ) -> Result<Option<SealedCredential>, StoreError> {
        let statement = self.scoped(
            scope,
            credential_sql!(
                "WHERE platform = $1 AND slot = $2 AND COALESCE(account_id, '00000000-0000-0000-0000-000000000000')
                 = COALESCE($3::uuid, '00000000-0000-0000-0000-000000000000') {and_account: credentials.account_id}"
            ),
        );
        let statement =
            statement.bind(platform.as_str().to_owned()).bind(slot.to_owned()).bind(account.map(|id| id.to_string()));
        let row = self.row("read a credential", statement).await?;
        row.as_ref().map(credential_of).transpose()
    }

    /// A credential by its id.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn credential_get_by_id(
        &self,
        scope: &Scope,
        id: CredentialId,
    ) -> Result<Option<SealedCredential>, StoreError> {
        let statement = self
            .scoped(scope, credential_sql!("WHERE id = $1::uuid {and_account: credentials.account_id}"))
            .bind(id.to_string());
        let row = self.row("read a credential", statement).await?;
        row.as_ref().map(credential_of).transpose()
    }

    /// Credentials that can be read, in the order they were made.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn credentials_list(
        &self,
        scope: &Scope,
        filter: &CredentialFilter,
    ) -> Result<Vec<SealedCredential>, StoreError> {
        let statement = self.scoped(
            scope,
            credential_sql!(
                "WHERE ($1::text IS NULL OR platform = $1) AND ($2::uuid IS NULL OR account_id = $2::uuid)
                 {and_account: credentials.account_id}
             ORDER BY created_at, id"
            ),
        );
        let statement = statement
            .bind(filter.platform.as_ref().map(|platform| platform.as_str().to_owned()))
            .bind(filter.account.map(|id| id.to_string()));
        let rows = self.rows("list credentials", statement).await?;
        self.unreadable.read("credentials", "id", Extent::Part, &rows, credential_of)
    }

    /// Any few credentials that can be read, those changed last first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn credentials_any_list(&self, scope: &Scope) -> Result<Vec<SealedCredential>, StoreError> {
        let statement = self.scoped(
            scope,
            credential_sql!("WHERE TRUE {and_account: credentials.account_id} ORDER BY updated_at DESC, id LIMIT $1"),
        );
        let rows = self.rows("read a credential", statement.bind(ANY_OF)).await?;
        self.unreadable.read("credentials", "id", Extent::Part, &rows, credential_of)
    }

    /// The operator's credentials for a platform, and those of these accounts.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn credentials_of(
        &self,
        scope: &Scope,
        platform: &Platform,
        accounts: &[AccountId],
    ) -> Result<Vec<SealedCredential>, StoreError> {
        let mut link = self.link("read a batch's credentials").await?;
        self.credentials_on(&mut link, scope, platform, accounts).await
    }

    pub(crate) async fn credentials_on(
        &self,
        link: &mut Link,
        scope: &Scope,
        platform: &Platform,
        accounts: &[AccountId],
    ) -> Result<Vec<SealedCredential>, StoreError> {
        let statement = self.scoped(
            scope,
            credential_sql!(
                // The platform is compared as a text that no index has: else all of its credentials are read.
                "WHERE platform || '' = $2 AND (account_id IS NULL OR account_id {in_ids})
                 {and_account: credentials.account_id}
             ORDER BY created_at, id"
            ),
        );
        let statement = statement.bind(id_rows(accounts)?).bind(platform.as_str().to_owned());
        let rows = link.rows("read a batch's credentials", statement).await?;
        self.unreadable.read("credentials", "id", Extent::Part, &rows, credential_of)
    }

    /// Where the operator's credential of a slot is stored, and those of these accounts. A credential of which a time
    /// or another column can't be read has its place too, so that a new secret replaces it.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn credential_places_list(
        &self,
        scope: &Scope,
        platform: &Platform,
        slot: &str,
        accounts: &[AccountId],
    ) -> Result<Vec<CredentialPlace>, StoreError> {
        let statement = self.scoped(
            scope,
            // The platform is compared as in `credentials_of`.
            "SELECT id::text AS id, account_id::text AS account_id, version FROM credentials
             WHERE platform || '' = $2 AND slot = $3 AND (account_id IS NULL OR account_id {in_ids})
                 {and_account: credentials.account_id}",
        );
        let statement = statement.bind(id_rows(accounts)?).bind(platform.as_str().to_owned()).bind(slot.to_owned());
        let rows = self.rows("find where credentials are stored", statement).await?;
        self.unreadable.read("credentials", "id", Extent::Part, &rows, place_of)
    }

    /// In which slot a credential is; none where it is unknown or outside of the scope.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn credential_slot_get(
        &self,
        scope: &Scope,
        id: CredentialId,
    ) -> Result<Option<CredentialSlot>, StoreError> {
        let statement = self.scoped(
            scope,
            "SELECT platform, slot, account_id::text AS account_id FROM credentials
             WHERE id = $1::uuid {and_account: credentials.account_id}",
        );
        let row = self.row("find a credential", statement.bind(id.to_string())).await?;
        let Some(row) = row else { return Ok(None) };
        Ok(Some(CredentialSlot {
            platform: row.parsed("platform").unwrap_or_else(|_| Platform::unreadable()),
            slot: row.told("slot")?,
            account_id: row.parsed_or_null("account_id")?,
        }))
    }

    /// Removes a credential, with its budgets. Returns whether there was one.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn credential_remove(&self, scope: &Scope, id: CredentialId) -> Result<bool, StoreError> {
        let statement =
            self.scoped(scope, "DELETE FROM credentials WHERE id = $1::uuid {and_account: credentials.account_id}");
        Ok(self.write("remove a credential", statement.bind(id.to_string())).await? > 0)
    }
}

/// In which order credentials are saved: those that are there by id, as others lock them, then the new ones by what no
/// two have the same.
fn in_turn(one: &SealedCredential, other: &SealedCredential) -> Ordering {
    let is_new = |credential: &SealedCredential| credential.version == 0;
    let place = |credential: &SealedCredential| {
        let SealedCredential { platform, slot, account_id, .. } = credential;
        (platform.as_str().to_owned(), slot.clone(), *account_id)
    };
    is_new(one)
        .cmp(&is_new(other))
        .then_with(|| if is_new(one) { place(one).cmp(&place(other)) } else { one.id.cmp(&other.id) })
}

/// The statement that saves a credential: a new one, or over the version that was read.
pub(crate) fn save_sql(credential: &SealedCredential) -> &'static str {
    if credential.version == 0 {
        "INSERT INTO credentials (id, platform, slot, account_id, kind, sealed, version, expires_at, status,
             created_at, updated_at, refresh_at)
         SELECT $1::uuid, $2, $3, $4::uuid, $5, $6, $7 + 1, $8::timestamptz, $9, $10::timestamptz, $10::timestamptz,
             $11::timestamptz
         WHERE TRUE {and_account: $4::uuid}
         ON CONFLICT DO NOTHING"
    } else {
        "UPDATE credentials SET kind = $5, sealed = $6, version = {raised: version + 1}, expires_at = $8::timestamptz,
             status = $9,
             updated_at = $10::timestamptz, refresh_at = $11::timestamptz, refresh_owner = NULL, refresh_until = NULL,
             refresh_began = NULL
         WHERE id = $1::uuid AND platform = $2 AND slot = $3 AND COALESCE(account_id,
             '00000000-0000-0000-0000-000000000000')
             = COALESCE($4::uuid, '00000000-0000-0000-0000-000000000000')
             AND version = $7 {and_account: credentials.account_id}"
    }
}

pub(crate) fn save_statement(statement: Statement, credential: &SealedCredential, now: DateTime<Utc>) -> Statement {
    statement
        .bind(credential.id.to_string())
        .bind(credential.platform.as_str().to_owned())
        .bind(clean(&credential.slot))
        .bind(credential.account_id.map(|id| id.to_string()))
        .bind(clean(&credential.kind))
        .bind(credential.sealed.clone())
        .bind(credential.version)
        .bind(credential.expires_at.map(time_text))
        .bind(clean(&credential.status))
        .bind(time_text(now))
        .bind(credential.refresh_at.map(time_text))
}

pub(crate) fn conflict(credential: &SealedCredential) -> StoreError {
    StoreError::VersionConflict { platform: credential.platform.clone(), slot: credential.slot.clone() }
}

fn place_of(row: &AnyRow) -> Result<CredentialPlace, StoreError> {
    Ok(CredentialPlace {
        id: row.parsed("id")?,
        account_id: row.parsed_or_null("account_id")?,
        version: row.counter("version")?,
    })
}

pub(crate) fn credential_of(row: &AnyRow) -> Result<SealedCredential, StoreError> {
    Ok(SealedCredential {
        id: row.parsed("id")?,
        platform: row.parsed("platform")?,
        slot: row.text("slot")?,
        account_id: row.parsed_or_null("account_id")?,
        kind: row.text("kind")?,
        sealed: row.bytes("sealed")?,
        version: row.counter("version")?,
        expires_at: row.time_or_null("expires_at")?,
        refresh_at: row.time_or_null("refresh_at")?,
        status: row.text("status")?,
        updated_at: row.time("updated_at")?,
    })
}
