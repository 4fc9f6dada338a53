//! Releasing a withheld value: an operator's word for it, stored as if it had been accepted at once.

use backline_store::Scope;
use uuid::Uuid;

use crate::pipeline::collection::evaluate;
use crate::pipeline::{Host, HostError};
use backline_model::{Manifest, MetricName, Quarantined};

impl Host {
    /// Puts a withheld value into its row, and recomputes the growth it touches.
    ///
    /// # Errors
    /// [`HostError::NotHeld`] when no such value is held, or its row is gone; otherwise when the database fails.
    pub async fn release_quarantined(&self, id: Uuid) -> Result<Quarantined, HostError> {
        let manifest = self.manifest_for(id).await?;
        let mut release = self.store().quarantine_release_begin(&Scope::all_tenants(), id, self.clock().now()).await?;
        let held = release.quarantined().clone();
        let past = release.past_load().await?;
        let (Some(mut row), Ok(metric)) = (past.existing, MetricName::new(held.metric.clone())) else {
            return Err(HostError::NotHeld(id));
        };
        // A value of the same or a later observation may have been accepted too; that one stays.
        if !row.values.contains_key(&metric) || row.observed_at(&metric) < held.created_at {
            row.absent.remove(&metric);
            row.observed.remove(&metric);
            if held.created_at != row.observed_at {
                row.observed.insert(metric.clone(), held.created_at);
            }
            row.values.insert(metric, held.value);
        }
        let growth = evaluate::touched_growth(&row, &past.history, &manifest);
        Ok(release.commit(&row, &growth, &[]).await?)
    }

    /// The catalogue the value's growth is computed by. Read before the release begins, which holds a connection until it is done.
    async fn manifest_for(&self, id: Uuid) -> Result<Manifest, HostError> {
        let Some(held) = self.store().quarantine_get(&Scope::all_tenants(), id).await? else {
            return Err(HostError::NotHeld(id));
        };
        match self.store().active_release_get(&held.platform).await? {
            Some(release) => Ok(release.manifest),
            None => match self.store().release_get(held.release).await? {
                Some(release) => Ok(release.manifest),
                None => Err(HostError::NoConnector { platform: held.platform }),
            },
        }
    }
}
