//! What the filter of a bulk act shows, a page at a time, and what is done to each thing. Lists are read in an order in
//! which what appears meanwhile comes before, or anywhere; nothing is shown twice.

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde::de::DeserializeOwned;
use uuid::Uuid;

use super::Bulk;
use crate::pipeline::collection::quarantine::QuarantineError;
use crate::pipeline::collection::run::CancelError;
use crate::pipeline::error::with_causes;
use crate::pipeline::releases::manager::LookupError;
use backline_model::bulk::{BulkAct, BulkAction, BulkFilter};
use backline_model::row::QuarantineStatus;
use backline_model::{AccountId, AccountStatus, BatchId, BatchState, RunId, RunStatus};
use backline_store::{AccountFilter, BatchFilter, BulkStep, QuarantineFilter, RunFilter, Scope, StoreError};

/// Most things that are read at once.
pub(super) const PAGE_MAX: u32 = 1_000;

/// Longest problem that is kept, in characters.
const PROBLEM_CHARACTERS_MAX: usize = 500;

/// How often the status of an account is read that changes before it is written.
const STATUS_TRIES: usize = 3;

/// A thing that a filter shows.
pub(super) struct Item {
    pub(super) id: Uuid,
    /// Its place in the list.
    pub(super) place: String,
}

impl Item {
    /// The step that passes it over, naming it and why.
    pub(super) fn failed(&self, problem: &str) -> BulkStep {
        let named = format!("{}: {problem}", self.id);
        tracing::warn!(thing = %self.id, problem, "a bulk act can't be done to a thing; it goes on with the next");
        let problem = Some(named.chars().take(PROBLEM_CHARACTERS_MAX).collect());
        BulkStep { place: self.place.clone(), failed: 1, problem, ..BulkStep::default() }
    }
}

/// Some of what a filter shows.
pub(super) struct Page {
    /// May be empty although others follow.
    pub(super) items: Vec<Item>,
    /// The place behind which the next page begins.
    pub(super) place: String,
}

/// What became of a thing.
enum Ended {
    Acted,
    /// It is in another state by now.
    Skipped,
    Failed(String),
}

fn place_of(key: &impl Serialize) -> String {
    // Times and ids are always JSON.
    serde_json::to_string(key).unwrap_or_default()
}

/// A place as the list understands it; one that can't be read is the beginning.
fn key_of<K: DeserializeOwned>(place: Option<&str>) -> Option<K> {
    place.and_then(|place| serde_json::from_str(place).ok())
}

/// A page of rows, of which those are meant that `is_meant` says.
fn page_of<T, K: Serialize>(
    rows: &[T],
    is_meant: impl Fn(&T) -> bool,
    id: impl Fn(&T) -> Uuid,
    key: impl Fn(&T) -> K,
) -> Option<Page> {
    let place = place_of(&key(rows.last()?));
    let meant = rows.iter().filter(|row| is_meant(row));
    Some(Page { items: meant.map(|row| Item { id: id(row), place: place_of(&key(row)) }).collect(), place })
}

impl Bulk {
    /// What the filter shows behind a place, of things that were there until a time where one is given; none at the
    /// end.
    pub(super) async fn page(
        &self,
        scope: &Scope,
        (action, filter): (BulkAction, &BulkFilter),
        until: Option<DateTime<Utc>>,
        place: Option<&str>,
        limit: u32,
    ) -> Result<Option<Page>, StoreError> {
        let (store, limit) = (&self.store, Some(limit));
        Ok(match action {
            BulkAction::BatchesRetry => {
                let before: Option<(DateTime<Utc>, BatchId)> = key_of(place);
                let (run, platform, state) = (filter.run, filter.platform.clone(), Some(BatchState::Dead));
                let dead = BatchFilter { run, platform, state, before, limit, ..BatchFilter::default() };
                let rows = store.batches_list(scope, &dead).await?;
                page_of(&rows, |_| true, |batch| batch.id.0, |batch| (batch.created_at, batch.id))
            }
            BulkAction::QuarantineRelease | BulkAction::QuarantineDiscard => {
                let held = QuarantineFilter {
                    status: Some(QuarantineStatus::Held),
                    platform: filter.platform.clone(),
                    artist: filter.artist,
                    before: key_of(place),
                    limit,
                };
                let rows = store.quarantine_list(scope, &held).await?;
                let is = |wanted: &Option<String>, given: &str| wanted.as_ref().is_none_or(|wanted| wanted == given);
                let is_meant = |value: &backline_model::Quarantined| {
                    is(&filter.metric, &value.metric) && is(&filter.rule, &value.rule)
                };
                page_of(&rows, is_meant, |value| value.id, |value| value.id)
            }
            BulkAction::AccountsResume | BulkAction::AccountsDisable => {
                // What is added meanwhile sorts behind the others, and was not counted.
                let (artist, platform) = (filter.artist, filter.platform.clone());
                let (status, after) = (filter.status, key_of(place));
                let of = AccountFilter { artist, platform, status, after, added_until: until, limit };
                let rows = store.accounts_list(scope, &of).await?;
                let is_meant = |account: &backline_model::Account| is_meant(action, filter, account.status);
                page_of(&rows, is_meant, |account| account.id.0, |account| account.id)
            }
            BulkAction::RunsCancel => {
                let before: Option<(DateTime<Utc>, RunId)> = key_of(place);
                let (status, trigger) = (Some(RunStatus::Running), filter.trigger.clone());
                let running = RunFilter { status, trigger, before, limit };
                let rows = store.runs_filtered_list(scope, &running).await?;
                page_of(&rows, |_| true, |run| run.id.0, |run| (run.started_at, run.id))
            }
        })
    }

    /// Does the act to a thing. What can't be done to it is noted.
    ///
    /// # Errors
    /// Why the act is held up: the database does not answer, or can't be written to. It is tried again later.
    pub(super) async fn done_to(&self, act: &BulkAct, scope: &Scope, item: &Item) -> Result<BulkStep, String> {
        let now = self.clock.now();
        let done = match act.action {
            BulkAction::BatchesRetry => {
                let one = BatchFilter { ids: vec![BatchId(item.id)], ..BatchFilter::default() };
                let weights = &self.config.collection.tenant_weights;
                match self.store.batches_retry(scope, &one, weights, now).await {
                    Ok(retried) if retried.batches == 0 => Ended::Skipped,
                    retried => ended(retried)?,
                }
            }
            BulkAction::QuarantineRelease => ended(self.quarantine.release(scope, item.id).await)?,
            BulkAction::QuarantineDiscard => ended(self.store.quarantine_discard(scope, item.id, now).await)?,
            BulkAction::AccountsResume => self.set_status(act, scope, item.id, AccountStatus::Active).await?,
            BulkAction::AccountsDisable => self.set_status(act, scope, item.id, AccountStatus::Disabled).await?,
            BulkAction::RunsCancel => ended(self.runs.cancel(RunId(item.id), &act.reason).await)?,
        };
        let step = BulkStep { place: item.place.clone(), ..BulkStep::default() };
        Ok(match done {
            Ended::Acted => BulkStep { done: 1, ..step },
            Ended::Skipped => BulkStep { skipped: 1, ..step },
            Ended::Failed(problem) => item.failed(&problem),
        })
    }

    /// Changes an account's status, if the filter still shows the account.
    async fn set_status(&self, act: &BulkAct, scope: &Scope, id: Uuid, status: AccountStatus) -> Result<Ended, String> {
        let id = AccountId(id);
        for _ in 0..STATUS_TRIES {
            let account = match self.store.account_get(scope, id).await {
                Ok(account) => account,
                Err(error) => return ended::<(), _>(Err(error)),
            };
            let before = account.map(|account| account.status);
            let Some(before) = before.filter(|before| is_meant(act.action, &act.filter, *before)) else {
                return Ok(Ended::Skipped);
            };
            match self.store.account_set_status_from(scope, id, before, status, self.clock.now()).await {
                // Another one changed it in between: whether it is meant still is looked at again.
                Ok(false) => {}
                changed => return ended(changed),
            }
        }
        Ok(Ended::Failed("its status was changed by another one again and again".to_owned()))
    }
}

/// Whether an act on accounts is about one with this status.
fn is_meant(action: BulkAction, filter: &BulkFilter, status: AccountStatus) -> bool {
    match filter.status {
        Some(wanted) => status == wanted,
        // Those that are switched off need not be.
        None => action != BulkAction::AccountsDisable || status != AccountStatus::Disabled,
    }
}

/// What a result means for the act: a thing that was decided or ended meanwhile is skipped, an outage of the database
/// holds the act up, and everything else is about the thing alone and is noted: a row that can't be read and a
/// statement that fails would do so each time.
fn ended<T, E: OfThing>(result: Result<T, E>) -> Result<Ended, String> {
    let error = match result {
        Ok(_) => return Ok(Ended::Acted),
        Err(error) => error,
    };
    if error.is_over() {
        return Ok(Ended::Skipped);
    }
    if error.is_outage() { Err(told(&error)) } else { Ok(Ended::Failed(told(&error))) }
}

/// An error of what is done to a thing.
trait OfThing: std::error::Error + 'static {
    /// Whether it says that someone else decided about the thing, or that it is gone.
    fn is_over(&self) -> bool;

    /// Whether it says nothing about the thing: the database does not answer or can't be written to, or another host
    /// works on the act.
    fn is_outage(&self) -> bool;
}

impl OfThing for StoreError {
    fn is_over(&self) -> bool {
        matches!(self, Self::AlreadyDecided { .. } | Self::NotFound { .. })
    }

    fn is_outage(&self) -> bool {
        Self::is_outage(self) || matches!(self, Self::TermLost { .. })
    }
}

impl OfThing for QuarantineError {
    fn is_over(&self) -> bool {
        match self {
            Self::Store(error) => error.is_over(),
            Self::NotHeld(_) => true,
            _ => false,
        }
    }

    fn is_outage(&self) -> bool {
        match self {
            Self::Store(error) | Self::Lookup(LookupError::Store(error)) => OfThing::is_outage(error),
            _ => false,
        }
    }
}

impl OfThing for CancelError {
    fn is_over(&self) -> bool {
        matches!(self, Self::Ended { .. } | Self::NoRun(_))
    }

    fn is_outage(&self) -> bool {
        matches!(self, Self::Store(error) if OfThing::is_outage(error))
    }
}

fn told(error: &(dyn std::error::Error + 'static)) -> String {
    with_causes(error).chars().take(PROBLEM_CHARACTERS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_read_as_it_was_written() {
        let key = (DateTime::UNIX_EPOCH, Uuid::from_u128(7));
        assert_eq!(key_of::<(DateTime<Utc>, Uuid)>(Some(&place_of(&key))), Some(key));
        assert_eq!(key_of::<Uuid>(None), None);
        assert_eq!(key_of::<Uuid>(Some("x")), None);
    }

    #[test]
    fn a_page_without_a_thing_that_is_meant_is_not_the_end() {
        let rows = [3_u128, 2, 1];
        let page = page_of(&rows, |_| false, |n| Uuid::from_u128(*n), |n| n.to_string()).expect("a page");
        assert!(page.items.is_empty());
        assert_eq!(page.place, "\"1\"");
        assert!(page_of(&rows[..0], |_| true, |n| Uuid::from_u128(*n), |n| n.to_string()).is_none());
    }

    #[test]
    fn what_others_decided_is_skipped_and_an_outage_holds_the_act_up() {
        let of = |error: QuarantineError| ended::<(), _>(Err(error));
        let id = Uuid::nil();
        assert!(matches!(of(QuarantineError::NotHeld(id)), Ok(Ended::Skipped)));
        let decided = StoreError::AlreadyDecided { id, status: "released" };
        assert!(matches!(of(QuarantineError::Store(decided)), Ok(Ended::Skipped)));
        let lost = StoreError::TermLost { role: "bulk".to_owned() };
        assert!(of(QuarantineError::Store(lost)).is_err());
        let unknown = StoreError::NotFound { what: "account", id: "1".to_owned() };
        assert!(matches!(ended::<(), _>(Err(unknown)), Ok(Ended::Skipped)));
        let of_others = StoreError::OutOfScope { what: "read", tenant: backline_model::Tenant::default() };
        assert!(matches!(ended::<(), _>(Err(of_others)), Ok(Ended::Failed(_))));
        let late = StoreError::NoAnswer { what: "read", seconds: 9 };
        assert!(of(QuarantineError::Lookup(LookupError::Store(late))).is_err());
        let unreadable = StoreError::Unreadable { column: "value".to_owned(), problem: "no JSON".to_owned() };
        assert!(matches!(of(QuarantineError::Store(unreadable)), Ok(Ended::Failed(_))));
    }

    #[test]
    fn what_is_passed_over_is_named_with_its_reason() {
        let item = Item { id: Uuid::from_u128(7), place: "\"7\"".to_owned() };
        let step = item.failed("its row can't be read");
        assert_eq!((step.failed, step.done, step.skipped, step.place.as_str()), (1, 0, 0, "\"7\""));
        assert_eq!(step.problem, Some(format!("{}: its row can't be read", item.id)));
        let long = item.failed(&"é".repeat(PROBLEM_CHARACTERS_MAX));
        assert_eq!(long.problem.map(|problem| problem.chars().count()), Some(PROBLEM_CHARACTERS_MAX));
    }

    #[test]
    fn accounts_are_meant_by_their_status() {
        let none = BulkFilter::default();
        assert!(!is_meant(BulkAction::AccountsDisable, &none, AccountStatus::Disabled));
        assert!(is_meant(BulkAction::AccountsDisable, &none, AccountStatus::NotFound));
        let unknown = BulkFilter { status: Some(AccountStatus::NotFound), ..BulkFilter::default() };
        assert!(is_meant(BulkAction::AccountsResume, &unknown, AccountStatus::NotFound));
        assert!(!is_meant(BulkAction::AccountsResume, &unknown, AccountStatus::Active));
    }
}
