//! Acts on everything that a filter shows: counted first, started once with a reason, and worked on by one host, behind
//! which another one goes on. `items` says what a filter shows and what is done to each; `serve` works it off.

mod items;
pub(super) mod serve;

use std::sync::Arc;

use serde::Serialize;
use serde_json::{Value as Json, json};
use uuid::Uuid;

use self::items::PAGE_MAX;
use crate::config::Config;
use crate::pipeline::clocks::Clocks;
use crate::pipeline::collection::quarantine::Quarantine;
use crate::pipeline::collection::run::Runs;
use crate::pipeline::error::{Classified, ErrorClass};
use crate::pipeline::names::{self, NameError};
use backline_model::bulk::{BulkAct, BulkAction, BulkFilter, BulkState};
use backline_model::clock::Clock;
use backline_store::{BulkActFilter, Scope, Store, StoreError};

/// Longest reason, in characters.
const REASON_CHARACTERS_MAX: usize = 500;

/// Most things that a count names.
const SAMPLE_MAX: usize = 10;

/// Why a bulk act was not counted, started or ended.
#[derive(Debug, thiserror::Error)]
pub enum BulkError {
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The filter is not one of the action.
    #[error("{0}")]
    Filter(String),
    /// The filter shows nothing, and names what nothing has.
    #[error(transparent)]
    Name(#[from] NameError),
    /// Runs are of all tenants.
    #[error("runs are of all tenants; a token of one tenant cancels none")]
    Runs,
    /// There is no reason, or it is too long.
    #[error("give a reason of 1 to {REASON_CHARACTERS_MAX} characters")]
    Reason,
    /// Nothing is shown.
    #[error("the filter shows none of these {0}")]
    Nothing(&'static str),
    /// The filter shows another number by now.
    #[error("the filter shows {now} {things} now, and {counted} were counted; count them again")]
    Changed {
        /// What it shows.
        things: &'static str,
        /// How many it shows.
        now: u64,
        /// How many the caller knows of.
        counted: u64,
    },
    /// It has ended.
    #[error("the bulk act {id} has ended already, as {}", state.as_str())]
    Ended {
        /// The act.
        id: Uuid,
        /// How it ended.
        state: BulkState,
    },
}

impl Classified for BulkError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Store(error) => error.class(),
            Self::Name(error) => error.class(),
            Self::Filter(_)
            | Self::Runs
            | Self::Reason
            | Self::Nothing(_)
            | Self::Changed { .. }
            | Self::Ended { .. } => ErrorClass::Refused,
        }
    }
}

/// What a filter shows, without doing anything.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BulkCount {
    /// What would be done to each thing.
    pub action: BulkAction,
    /// How many things.
    pub count: u64,
    /// The ids of the first of them.
    pub sample: Vec<Uuid>,
}

/// A bulk act to be started.
#[derive(Clone, Debug)]
pub struct NewBulkAct {
    /// What is done to each thing.
    pub action: BulkAction,
    /// Which things.
    pub filter: BulkFilter,
    /// Why it is done, in the words of who asked for it.
    pub reason: String,
    /// How many were counted before: where it is another number now, nothing is started.
    pub count: u64,
}

/// Bulk acts of a database. Cloning shares it.
#[derive(Clone)]
pub struct Bulk {
    name: Arc<str>,
    config: Arc<Config>,
    clock: Clock,
    clocks: Clocks,
    store: Store,
    quarantine: Quarantine,
    runs: Runs,
}

/// What bulk acts need of a host.
pub(super) struct Needed {
    pub(super) name: Arc<str>,
    pub(super) config: Arc<Config>,
    pub(super) clock: Clock,
    pub(super) clocks: Clocks,
    pub(super) store: Store,
    pub(super) quarantine: Quarantine,
    pub(super) runs: Runs,
}

impl Bulk {
    pub(super) fn new(needed: Needed) -> Self {
        let Needed { name, config, clock, clocks, store, quarantine, runs } = needed;
        Self { name, config, clock, clocks, store, quarantine, runs }
    }

    /// Counts what a filter shows, and does nothing.
    ///
    /// # Errors
    /// When the filter is not one of the action or shows nothing and names what nothing has, or the database fails.
    pub async fn count(&self, scope: &Scope, action: BulkAction, filter: &BulkFilter) -> Result<BulkCount, BulkError> {
        filter.check(action).map_err(BulkError::Filter)?;
        if action == BulkAction::RunsCancel && scope.only().is_some() {
            return Err(BulkError::Runs);
        }
        let (mut counted, mut place) = (BulkCount { action, count: 0, sample: Vec::new() }, None);
        while let Some(page) = self.page(scope, (action, filter), None, place.as_deref(), PAGE_MAX).await? {
            counted.count += page.items.len() as u64;
            let left = SAMPLE_MAX.saturating_sub(counted.sample.len());
            counted.sample.extend(page.items.iter().take(left).map(|item| item.id));
            place = Some(page.place);
        }
        if counted.count == 0 {
            self.expect_names(scope, filter).await?;
        }
        Ok(counted)
    }

    /// Refuses names that nothing has, so that a slip is not taken for "nothing to do". A name that shows something is
    /// not looked up: what a removed connector or schedule left behind can still be meant.
    async fn expect_names(&self, scope: &Scope, filter: &BulkFilter) -> Result<(), NameError> {
        // Platform, tenant and ids are looked up before there is a filter, and a status is one of few.
        let BulkFilter { platform: _, artist: _, run: _, status: _, metric, rule, trigger } = filter;
        if let Some(metric) = metric {
            names::expect_metric(&self.store, metric).await?;
        }
        if let Some(rule) = rule {
            names::expect_rule(rule)?;
        }
        if let Some(trigger) = trigger {
            names::expect_trigger(&self.store, &self.config, scope, trigger).await?;
        }
        Ok(())
    }

    /// Starts an act on things of the scope; hosts that serve work on it, or [`work_off`](Self::work_off).
    ///
    /// # Errors
    /// When there is no reason, the filter is not one of the action or shows nothing or another number, or the database
    /// fails.
    pub async fn start(&self, scope: &Scope, new: NewBulkAct) -> Result<BulkAct, BulkError> {
        let NewBulkAct { action, filter, reason, count } = new;
        let reason = reason.trim().to_owned();
        if reason.is_empty() || reason.chars().count() > REASON_CHARACTERS_MAX {
            return Err(BulkError::Reason);
        }
        let now = self.count(scope, action, &filter).await?.count;
        if now == 0 {
            return Err(BulkError::Nothing(action.things()));
        }
        if now != count {
            return Err(BulkError::Changed { things: action.things(), now, counted: count });
        }
        let act = BulkAct {
            id: Uuid::now_v7(),
            action,
            filter,
            tenant: scope.only().cloned(),
            reason,
            state: BulkState::Running,
            total: now,
            done: 0,
            skipped: 0,
            failed: 0,
            problem: None,
            created_at: self.clock.now(),
            finished_at: None,
        };
        self.store.bulk_act_add(scope, &act).await?;
        Ok(act)
    }

    /// Acts, the latest first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn list(&self, scope: &Scope, filter: &BulkActFilter) -> Result<Vec<BulkAct>, StoreError> {
        self.store.bulk_acts_list(scope, filter).await
    }

    /// One act; `None` where it is not in the scope.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn get(&self, scope: &Scope, id: Uuid) -> Result<Option<BulkAct>, StoreError> {
        self.store.bulk_act_get(scope, id).await
    }

    /// Ends an act that goes on; what was done stays.
    ///
    /// # Errors
    /// When there is none of this id in the scope, it has ended, or the database fails.
    pub async fn cancel(&self, scope: &Scope, id: Uuid) -> Result<BulkAct, BulkError> {
        let is_ended = !self.store.bulk_act_cancel(scope, id, self.clock.now()).await?;
        let Some(act) = self.store.bulk_act_get(scope, id).await? else {
            return Err(StoreError::NotFound { what: "bulk act", id: id.to_string() }.into());
        };
        if is_ended { Err(BulkError::Ended { id, state: act.state }) } else { Ok(act) }
    }
}

/// What the audit log keeps of an act that was begun. The artist that it is about is named in a field of its own there.
#[must_use]
pub fn bulk_act_details(act: &BulkAct) -> Json {
    let filter = BulkFilter { artist: None, ..act.filter.clone() };
    json!({ "act": act.id, "action": act.action, "filter": filter, "total": act.total })
}

/// Whose things an act is about.
fn scope_of(act: &BulkAct) -> Scope {
    act.tenant.clone().map_or_else(Scope::all_tenants, Scope::tenant)
}
