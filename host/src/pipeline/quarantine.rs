//! Releasing a withheld value: an operator's word for it, stored as if it had been accepted at once.

use uuid::Uuid;

use super::{Host, HostError, rows};
use crate::domain::{MetricName, Quarantined};

impl Host {
    /// Puts a withheld value into its row, and recomputes the growth it touches.
    ///
    /// # Errors
    /// [`HostError::NotHeld`] when no such value is held, or its row is gone; otherwise when the database fails.
    pub async fn release_quarantined(&self, id: Uuid) -> Result<Quarantined, HostError> {
        let mut release = self.store().begin_quarantine_release(id, self.clock().now()).await?;
        let held = release.quarantined().clone();
        let past = release.past().await?;
        let (Some(mut row), Ok(metric)) = (past.existing, MetricName::new(held.metric.clone())) else {
            return Err(HostError::NotHeld(id));
        };
        // A later observation may have been accepted meanwhile; it is newer than what was withheld and stays.
        if !row.values.contains_key(&metric) {
            row.absent.remove(&metric);
            row.observed.insert(metric.clone(), held.created_at);
            row.values.insert(metric, held.value);
        }
        let manifest = match self.store().get_release(row.release).await? {
            Some(release) => release.manifest,
            None => self.active(&row.platform).await?.manifest,
        };
        let growth = rows::touched_growth(&row, &past.history, &manifest);
        Ok(release.commit(&row, &growth, &[]).await?)
    }
}
