//! Releases a withheld value: the operator accepts it, and it is stored as if validation had.

use std::sync::Arc;

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use uuid::Uuid;

use crate::config::Config;
use crate::pipeline::collection::evaluate;
use crate::pipeline::error::{Classified, ErrorClass};
use crate::pipeline::releases::manager::LookupError;
use backline_model::clock::Clock;
use backline_model::{Manifest, MetricName, Quarantined, Zone};
use backline_rules::dates;
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
    /// It was observed too early or too late for the date it was withheld under.
    #[error(
        "the value was observed at {observed} UTC, which is too far from {date} in the artist's time zone ({zone}): \
         {metric} of then is not a number of that date; `backline quarantine discard {id}` discards it",
        observed = observed.format("%Y-%m-%d %H:%M")
    )]
    OfAnotherDate {
        /// Id of the value.
        id: Uuid,
        /// Name of the metric.
        metric: String,
        /// The date it was withheld under.
        date: NaiveDate,
        /// When it was observed.
        observed: DateTime<Utc>,
        /// The artist's time zone.
        zone: Zone,
    },
}

impl Classified for QuarantineError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Store(error) => error.class(),
            Self::Lookup(error) => error.class(),
            Self::NotHeld(_) | Self::OfAnotherDate { .. } => ErrorClass::Refused,
        }
    }
}

/// Values that validation withheld. Cloning shares it.
#[derive(Clone)]
pub struct Quarantine {
    config: Arc<Config>,
    clock: Clock,
    store: Store,
}

/// What a release from quarantine needs that is read before it begins, since it holds a connection until it ends.
struct Rules {
    /// For computing growth: that of the platform's active release.
    manifest: Manifest,
    /// Of the release that produced the value.
    origin: Manifest,
    zone: Zone,
}

impl Quarantine {
    pub(in crate::pipeline) fn new(config: Arc<Config>, clock: Clock, store: Store) -> Self {
        Self { config, clock, store }
    }

    /// Puts a withheld value into its row, by the rules by which a collection would, and recomputes the growth it
    /// touches.
    ///
    /// # Errors
    /// [`QuarantineError::NotHeld`] when no such value is held, or its row is gone;
    /// [`QuarantineError::OfAnotherDate`] when it may not stand under its date; otherwise when the database fails.
    pub async fn release(&self, scope: &Scope, id: Uuid) -> Result<Quarantined, QuarantineError> {
        let Rules { manifest, origin, zone } = self.rules_for(scope, id).await?;
        let collection = &self.config.collection;
        let mut release = self.store.quarantine_release_begin(scope, id, self.clock.now()).await?;
        let held = release.quarantined().clone();
        let (date, observed) = (held.metric_date, held.created_at);
        // Where it belongs was decided before it was fetched, which its batch had this time for.
        let fetching = TimeDelta::milliseconds(i64::try_from(collection.batch_deadline_ms).unwrap_or(i64::MAX / 4));
        let late = collection.late() + fetching * 3;
        if !dates::may_hold(date, &held.metric, &zone, observed, late, &origin) {
            return Err(QuarantineError::OfAnotherDate { id, metric: held.metric, date, observed, zone });
        }
        let mut known = release.account_history_load().await?;
        if !collection.times_count() {
            known.history.forget_times();
        }
        let (Some(mut row), Ok(metric)) = (known.existing, MetricName::new(&held.metric)) else {
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
        let growth = evaluate::touched_growth(&row, &known.history, &manifest);
        Ok(release.commit(&row, &growth).await?)
    }

    /// What the release goes by. It is read before the release begins, which holds a connection until it ends.
    async fn rules_for(&self, scope: &Scope, id: Uuid) -> Result<Rules, QuarantineError> {
        let Some(held) = self.store.quarantine_get(scope, id).await? else {
            return Err(QuarantineError::NotHeld(id));
        };
        let Some(account) = self.store.candidates_of(scope, &[held.account_id]).await?.pop() else {
            return Err(QuarantineError::NotHeld(id));
        };
        let active = self.store.active_release_get(&held.platform).await?.map(|release| release.manifest);
        let origin = self.store.release_get(held.release).await?.map(|release| release.manifest);
        let Some(manifest) = active.or_else(|| origin.clone()) else {
            return Err(LookupError::NoConnector { platform: held.platform }.into());
        };
        let origin = origin.unwrap_or_else(|| manifest.clone());
        Ok(Rules { manifest, origin, zone: account.timezone })
    }
}
