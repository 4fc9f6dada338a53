//! Releases a withheld value: the operator accepts it, and it is stored as if validation had.

use uuid::Uuid;

use crate::pipeline::collection::evaluate;
use crate::pipeline::error::{Classified, ErrorClass};
use crate::pipeline::releases::manager::LookupError;
use backline_model::clock::Clock;
use backline_model::{Manifest, MetricName, Quarantined};
use backline_store::{Scope, Store, StoreError};

/// Why a quarantined value was not released.
#[derive(Debug, thiserror::Error)]
pub enum QuarantineError {
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The platform has no active release.
    #[error(transparent)]
    Lookup(#[from] LookupError),
    /// No such value is held, or it was decided already.
    #[error("no quarantined value is held under the id {0}; `backline quarantine list` shows them")]
    NotHeld(Uuid),
}

impl Classified for QuarantineError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Store(error) => error.class(),
            Self::Lookup(error) => error.class(),
            Self::NotHeld(_) => ErrorClass::Refused,
        }
    }
}

/// Values that validation withheld. Cloning shares it.
#[derive(Clone)]
pub struct Quarantine {
    clock: Clock,
    store: Store,
}

impl Quarantine {
    pub(in crate::pipeline) fn new(clock: Clock, store: Store) -> Self {
        Self { clock, store }
    }

    /// Puts a withheld value into its row, and recomputes the growth it touches.
    ///
    /// # Errors
    /// [`QuarantineError::NotHeld`] when no such value is held, or its row is gone; otherwise when the database fails.
    pub async fn release(&self, scope: &Scope, id: Uuid) -> Result<Quarantined, QuarantineError> {
        let manifest = self.manifest_for(scope, id).await?;
        let mut release = self.store.quarantine_release_begin(scope, id, self.clock.now()).await?;
        let held = release.quarantined().clone();
        let past = release.past_load().await?;
        let (Some(mut row), Ok(metric)) = (past.existing, MetricName::new(held.metric.clone())) else {
            return Err(QuarantineError::NotHeld(id));
        };
        // A value of the same or a later observation may have been accepted too; it stays.
        if !row.values.contains_key(&metric) || row.observed_at(&metric) < held.created_at {
            row.absent.remove(&metric);
            row.observed.remove(&metric);
            if held.created_at != row.observed_at {
                row.observed.insert(metric.clone(), held.created_at);
            }
            row.values.insert(metric, held.value);
        }
        let growth = evaluate::touched_growth(&row, &past.history, &manifest);
        Ok(release.commit(&row, &growth).await?)
    }

    /// The manifest for computing the value's growth. It is read before the release begins, which holds a connection
    /// until it ends.
    async fn manifest_for(&self, scope: &Scope, id: Uuid) -> Result<Manifest, QuarantineError> {
        let Some(held) = self.store.quarantine_get(scope, id).await? else {
            return Err(QuarantineError::NotHeld(id));
        };
        match self.store.active_release_get(&held.platform).await? {
            Some(release) => Ok(release.manifest),
            None => match self.store.release_get(held.release).await? {
                Some(release) => Ok(release.manifest),
                None => Err(LookupError::NoConnector { platform: held.platform }.into()),
            },
        }
    }
}
