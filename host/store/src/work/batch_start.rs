//! What a worker reads before it fetches a batch.
//!
//! All of it is read over one connection: to take one of the pool and to give it back costs a round trip each, which
//! asks whether the server still answers.

use chrono::{DateTime, Utc};

use crate::credentials::sealed::SealedCredential;
use crate::database::connection::Store;
use crate::database::error::StoreError;
use crate::scope::Scope;
use backline_model::{AccountId, Batch, Candidate, FetchAccount, Grant, ReleaseState};

/// What a batch is fetched with.
#[derive(Debug)]
pub struct BatchStart {
    /// Where its release stands, and what that was granted; none where there is no such release.
    pub grant: Option<(ReleaseState, Grant)>,
    /// Platform metrics that are not asked for, as in [`Store::lost_metrics_list`].
    pub lost_metrics: Vec<String>,
    /// What decides whether its accounts may be collected, in order of id. Those that have been erased are left out.
    pub candidates: Vec<Candidate>,
    /// What `fetch` is given for its accounts, in the batch's order. Those whose settings can't be read are left out.
    pub inputs: Vec<FetchAccount>,
    /// The operator's credentials for its platform, and those of its accounts.
    pub credentials: Vec<SealedCredential>,
}

impl Store {
    /// What a batch is fetched with, each part as of its own moment.
    ///
    /// # Errors
    /// When the database fails, or what was granted can't be read.
    pub async fn batch_start_get(
        &self,
        scope: &Scope,
        batch: &Batch,
        now: DateTime<Utc>,
    ) -> Result<BatchStart, StoreError> {
        let ids: Vec<AccountId> = batch.accounts.iter().map(|account| account.account_id).collect();
        let mut link = self.link("read what a batch is fetched with").await?;
        let grant = self.grant_on(&mut link, batch.release).await?;
        let lost_metrics = self.lost_metrics_on(&mut link, batch.release, now).await?;
        let (mut candidates, inputs, has_tombstones) = self.batch_inputs_on(&mut link, scope, &ids).await?;
        let credentials = self.credentials_on(&mut link, scope, &batch.platform, &ids).await?;
        // What follows takes another one, and there may be no other.
        drop(link);
        if has_tombstones {
            candidates = self.candidates_drop_erased(candidates).await?;
        }
        Ok(BatchStart { grant, lost_metrics, candidates, inputs, credentials })
    }
}
