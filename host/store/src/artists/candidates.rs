//! Which accounts can be collected, and what a plan and a worker read of them.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use sqlx::any::AnyRow;

use crate::database::connection::Store;
use crate::database::dialect::{Columns as _, time_text};
use crate::database::error::StoreError;
use crate::database::link::Link;
use crate::database::readable::{Extent, left_of, more_after};
use crate::database::rows::id_rows;
use crate::scope::Scope;
use crate::work::leases::readable_time;
use backline_model::{
    AccountId, AccountStatus, ArtistId, Candidate, FetchAccount, Platform, SubscriptionStatus, Tenant, Zone,
};

/// Candidates, with further columns. When they last failed is asked for only where they are planned, up to the time in
/// the parameter given first: a clock that was ahead may have left failures that are still to come.
macro_rules! candidates_sql {
    (until $now:literal, $which:literal) => {
        $crate::artists::candidates::candidates_sql!(
            // The greatest of a value that no index has. In the order of an index by time, PostgreSQL would go through
            // the failures of all accounts to find that one has none.
            [
                ", (SELECT MAX(CASE WHEN o.at <= ",
                $now,
                "::timestamptz THEN {time: o.at} END)::text FROM collection_outcomes o
                 WHERE o.account_id = a.id AND o.outcome = 'failed') AS last_failed"
            ],
            $which
        )
    };
    ([$($columns:literal),+], $which:literal) => {
        concat!(
            "SELECT a.id::text AS account_id, a.artist_id::text AS artist_id, a.platform, a.status, t.tenant,
                 t.timezone, ",
            "t.subscription_status, t.data_collection_enabled::int AS data_collection_enabled, ",
            "COALESCE((SELECT c.granted::int FROM consents c WHERE c.artist_id = a.artist_id
                 AND c.platform = a.platform ",
            "AND c.scope = 'metrics' ORDER BY c.seq DESC LIMIT 1), 0) AS consented",
            // Not by a join: for a page of a plan, PostgreSQL would read the whole table instead, to hash it.
            ", (SELECT s.updated_at::text FROM account_state s WHERE s.account_id = a.id) AS last_collected",
            $($columns,)+
            " FROM accounts a JOIN artists t ON t.id = a.artist_id ",
            $which
        )
    };
}

pub(crate) use candidates_sql;

impl Store {
    /// A page of a platform's accounts, in order of id, with the facts that a plan decides by `now`; an empty page is
    /// the end. Consent is the latest entry of scope `metrics`.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn candidates_list(
        &self,
        scope: &Scope,
        platform: &Platform,
        artist: Option<ArtistId>,
        after: Option<AccountId>,
        limit: u32,
        now: DateTime<Utc>,
    ) -> Result<Vec<Candidate>, StoreError> {
        let text = match artist {
            None => candidates_sql!(
                until "$4",
                "WHERE a.platform = $1 AND a.id > $2::uuid {and_tenant: t.tenant} ORDER BY a.id LIMIT $3"
            ),
            Some(_) => candidates_sql!(
                until "$4",
                "WHERE a.platform = $1 AND a.id > $2::uuid AND a.artist_id = $5::uuid {and_tenant: t.tenant}
                 ORDER BY a.id LIMIT $3"
            ),
        };
        let mut after = after.map_or_else(|| uuid::Uuid::nil().to_string(), |id| id.to_string());
        let mut found = Vec::new();
        loop {
            let asked = left_of(limit, found.len());
            let statement = self.scoped(scope, text);
            let statement = statement.bind(platform.as_str().to_owned()).bind(after).bind(i64::from(asked));
            let mut statement = statement.bind(time_text(now));
            if let Some(artist) = artist {
                statement = statement.bind(artist.to_string());
            }
            let rows = self.rows("read candidates", statement).await?;
            found.extend(self.unreadable.read("accounts", "account_id", Extent::Part, &rows, candidate_of)?);
            let last = more_after(&rows, asked, found.len(), limit);
            let Some(place) = last.and_then(|last| last.above("account_id")) else { return Ok(found) };
            after = place;
        }
    }

    /// The same for given accounts, in order of id, without their last failures: what a worker checks before it
    /// collects a batch planned a while ago. Accounts that have been erased are left out.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn candidates_of(&self, scope: &Scope, accounts: &[AccountId]) -> Result<Vec<Candidate>, StoreError> {
        let statement = self.scoped(
            scope,
            candidates_sql!(
                [", NULL::text AS last_failed"],
                "WHERE a.id {in_ids} {and_tenant: t.tenant} ORDER BY a.id"
            ),
        );
        let rows = self.rows("read candidates", statement.bind(id_rows(accounts)?)).await?;
        let candidates = self.unreadable.read("accounts", "account_id", Extent::Part, &rows, candidate_of)?;
        self.candidates_drop_erased(candidates).await
    }

    /// What a worker reads of a batch's accounts before it collects them, in one statement: what
    /// [`candidates_of`](Self::candidates_of) and [`fetch_inputs_of`](Self::fetch_inputs_of) return, except that
    /// nothing is left out yet because of tombstones, and whether there are any.
    pub(crate) async fn batch_inputs_on(
        &self,
        link: &mut Link,
        scope: &Scope,
        accounts: &[AccountId],
    ) -> Result<(Vec<Candidate>, Vec<FetchAccount>, bool), StoreError> {
        let statement = self.scoped(
            scope,
            candidates_sql!(
                [", NULL::text AS last_failed, a.platform_id, a.settings::text AS settings,
                     (SELECT s.state FROM account_state s WHERE s.account_id = a.id) AS state,
                     (EXISTS (SELECT 1 FROM erasures e WHERE e.readmitted_at IS NULL))::int AS has_tombstones"],
                "WHERE a.id {in_ids} {and_tenant: t.tenant} ORDER BY a.id"
            ),
        );
        let rows = link.rows("read a batch's accounts", statement.bind(id_rows(accounts)?)).await?;
        let candidates = self.unreadable.read("accounts", "account_id", Extent::Part, &rows, candidate_of)?;
        let has_tombstones = rows.first().map_or(Ok(false), |row| row.truth("has_tombstones"))?;
        let of = |row: &AnyRow| fetch_account_of(row, "account_id");
        let inputs = self.unreadable.read("accounts", "account_id", Extent::Part, &rows, of)?;
        Ok((candidates, in_order_of(accounts, inputs), has_tombstones))
    }

    /// What `fetch` is given for these accounts, in the order given: platform id, settings and the state kept from the
    /// last time. Accounts that have been erased are left out, and those whose settings can't be read.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn fetch_inputs_of(
        &self,
        scope: &Scope,
        accounts: &[AccountId],
    ) -> Result<Vec<FetchAccount>, StoreError> {
        let statement = self.scoped(
            scope,
            "SELECT a.id::text AS id, a.platform_id, a.settings::text AS settings, s.state
             FROM accounts a LEFT JOIN account_state s ON s.account_id = a.id
             WHERE a.id {in_ids} {and_artist: a.artist_id}",
        );
        let rows = self.rows("read a batch's accounts", statement.bind(id_rows(accounts)?)).await?;
        let of = |row: &AnyRow| fetch_account_of(row, "id");
        Ok(in_order_of(accounts, self.unreadable.read("accounts", "id", Extent::Part, &rows, of)?))
    }
}

/// What `fetch` is given for an account, whose id is in this column.
fn fetch_account_of(row: &AnyRow, id: &str) -> Result<FetchAccount, StoreError> {
    // Parsed and written again, so that the connector sees the same text whichever database it comes from.
    let settings: serde_json::Value = row.json("settings")?;
    Ok(FetchAccount {
        id: row.parsed(id)?,
        platform_id: row.text("platform_id")?,
        settings: settings.to_string(),
        state: row.text_or_null("state")?,
    })
}

fn in_order_of(accounts: &[AccountId], inputs: Vec<FetchAccount>) -> Vec<FetchAccount> {
    let mut by_id: BTreeMap<AccountId, FetchAccount> = inputs.into_iter().map(|input| (input.id, input)).collect();
    accounts.iter().filter_map(|id| by_id.remove(id)).collect()
}

/// A candidate. What can't be read of it keeps no other one from being read: it is noted, and the account is not
/// collected. Other programs write into `artists`.
pub(crate) fn candidate_of(row: &AnyRow) -> Result<Candidate, StoreError> {
    let mut unreadable = None;
    let tenant = or_noted(row.parsed("tenant"), Tenant::default(), &mut unreadable)?;
    let timezone = or_noted(row.parsed("timezone"), Zone::utc(), &mut unreadable)?;
    let subscription_status = row.named("subscription_status", SubscriptionStatus::stored);
    let subscription_status = or_noted(subscription_status, SubscriptionStatus::Inactive, &mut unreadable)?;
    let account_status = row.named("status", AccountStatus::parse);
    let account_status = or_noted(account_status, AccountStatus::Disabled, &mut unreadable)?;
    let platform = or_noted(row.parsed("platform"), Platform::unreadable(), &mut unreadable)?;
    let artist_id = or_noted(row.exact_uuid("artist_id"), uuid::Uuid::nil(), &mut unreadable)?;
    let data_collection_enabled = or_noted(row.flag("data_collection_enabled"), false, &mut unreadable)?;
    Ok(Candidate {
        account_id: row.parsed("account_id")?,
        artist_id: ArtistId(artist_id),
        platform,
        tenant,
        timezone,
        subscription_status,
        data_collection_enabled,
        account_status,
        consented: row.truth("consented")?,
        // They decide about the order alone, so one that can't be read leaves no account out.
        last_collected: readable_time(row, "last_collected")?,
        last_failed: readable_time(row, "last_failed")?,
        unreadable,
    })
}

/// A value, or the default where the column can't be read, which is noted.
fn or_noted<T>(value: Result<T, StoreError>, default: T, noted: &mut Option<String>) -> Result<T, StoreError> {
    match value {
        Err(StoreError::Unreadable { column, problem }) => {
            noted.get_or_insert_with(|| format!("{column} {problem}"));
            Ok(default)
        }
        value => value,
    }
}
