//! Runs a component's `fetch` and `normalize` against prepared answers, as often as a check wants, in the real sandbox.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::time::Instant;

use super::Sample;
use crate::pipeline::conformance::trial::replay::Replay;
use crate::pipeline::conformance::trial::secrets::stand_ins;
use backline_gateway::{Answers, Asked, Exchange, Gateway, Response, SendError, SessionSetup, Trial};
use backline_model::manifest::Manifest;
use backline_model::snapshot::Reported;
use backline_model::{
    AccountId, DocumentInput, FetchAccount, FetchContext, FetchError, Fetched, Grant, LostMetric, PastDocument,
    Snapshot, Value, Window,
};
use backline_sandbox::Connector;

/// Longest time of one call: far more than a call without a network takes.
const CALL_TIME: Duration = Duration::from_secs(60);

/// A document and what `normalize` made of it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Made {
    pub body: String,
    /// What the connector wants to get back the next time.
    pub state: Option<String>,
    pub snapshot: Snapshot,
    /// What was made of the documents of past dates that came with it.
    pub past: Vec<(Window, Result<Snapshot, String>)>,
}

impl Made {
    pub(super) fn metric(&self, name: &str) -> Option<&Reported> {
        self.snapshot.metrics.iter().find(|metric| metric.name == name)
    }

    /// The numbers among the metrics.
    pub(super) fn numbers(&self) -> BTreeMap<&str, &Reported> {
        let is_number = |metric: &&Reported| matches!(metric.value, Ok(Value::Integer(_) | Value::Decimal(_)));
        self.snapshot.metrics.iter().filter(is_number).map(|metric| (metric.name.as_str(), metric)).collect()
    }
}

/// Why an account has no snapshot.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Unmade {
    /// `fetch` reported it.
    Fetch(FetchError),
    /// `normalize` refuses the document.
    Normalize(String),
}

/// What one batch came to.
#[derive(Debug)]
pub(super) struct Ran {
    /// One for each account, in order; or why a call gave no answer: a trap, a limit, a breach of the contract.
    pub accounts: Result<Vec<Result<Made, Unmade>>, String>,
    /// The requests.
    pub exchanges: Vec<Exchange>,
    /// Requests that are not recorded.
    pub missing: Vec<String>,
    /// What it reports as lost.
    pub lost: Vec<LostMetric>,
}

/// What the host tells a batch of beside its accounts, and when.
#[derive(Clone, Debug)]
pub(super) struct Around {
    pub window: Window,
    pub now: DateTime<Utc>,
    /// Names that were reported as lost before.
    pub lost: Vec<String>,
    /// Past dates to fetch besides, oldest first.
    pub history: Vec<Window>,
}

/// A component, ready for any number of batches.
pub(super) struct Bench {
    pub connector: Arc<Connector>,
    pub manifest: Arc<Manifest>,
    pub grant: Arc<Grant>,
    pub gateway: Gateway,
    pub accounts: Vec<FetchAccount>,
    pub answers: Replay,
    pub window: Window,
    pub now: DateTime<Utc>,
    pub sample: Option<Sample>,
}

/// Changes the answers to some requests.
pub(super) type Change = Box<dyn Fn(&Asked, Result<Response, SendError>) -> Result<Response, SendError> + Send + Sync>;

/// Recorded answers, some of them changed.
struct Changed {
    answers: Replay,
    change: Change,
    /// Whether any answer was changed.
    used: Arc<Mutex<bool>>,
}

impl Answers for Changed {
    fn answer(&self, asked: &Asked) -> Result<Response, SendError> {
        let before = self.answers.answer(asked);
        let after = (self.change)(asked, before.clone());
        if after != before {
            *self.used.lock().unwrap_or_else(PoisonError::into_inner) = true;
        }
        after
    }
}

impl Bench {
    /// The same accounts and answers for another component.
    pub(super) fn of_another(&self, connector: Arc<Connector>, manifest: Arc<Manifest>, grant: Arc<Grant>) -> Self {
        Self {
            connector,
            manifest,
            grant,
            gateway: self.gateway.clone(),
            accounts: self.accounts.clone(),
            answers: self.answers.clone(),
            window: self.window,
            now: self.now,
            sample: self.sample,
        }
    }

    /// The cases that are tried of these: `most` of them or somewhat more, spread over all, or the sample.
    pub(super) fn spread<T>(&self, cases: Vec<T>, most: usize) -> impl Iterator<Item = T> + use<T> {
        spread(self.sample, cases, most)
    }

    /// What the recordings were made with.
    pub(super) fn around(&self) -> Around {
        Around { window: self.window, now: self.now, lost: Vec::new(), history: Vec::new() }
    }

    /// Fetches and normalises a batch with the recorded answers.
    pub(super) async fn run(&self, accounts: &[FetchAccount]) -> Ran {
        self.run_around(accounts, &self.around()).await
    }

    /// The same in another window, or with lost metrics.
    pub(super) async fn run_around(&self, accounts: &[FetchAccount], around: &Around) -> Ran {
        let answers = self.answers_for(accounts);
        let mut ran = self.run_with(accounts, &Trial::answered(answers.clone()), around).await;
        ran.missing = answers.missing();
        ran
    }

    /// Fetches and normalises a batch with some answers changed; none if no answer was.
    pub(super) async fn run_changed(&self, accounts: &[FetchAccount], change: Change) -> Option<Ran> {
        let answers = self.answers_for(accounts);
        let used = Arc::new(Mutex::new(false));
        let changed = Changed { answers: answers.clone(), change, used: Arc::clone(&used) };
        let mut ran = self.run_with(accounts, &Trial::answered(changed), &self.around()).await;
        ran.missing = answers.missing();
        let was_used = *used.lock().unwrap_or_else(PoisonError::into_inner);
        was_used.then_some(ran)
    }

    fn answers_for(&self, accounts: &[FetchAccount]) -> Replay {
        self.answers.again(accounts.iter().map(|account| (account.id, account.platform_id.as_str())))
    }

    async fn run_with(&self, accounts: &[FetchAccount], trial: &Trial, around: &Around) -> Ran {
        let ids: Vec<AccountId> = accounts.iter().map(|account| account.id).collect();
        let deadline = Instant::now() + CALL_TIME;
        let session = self.gateway.trial(
            SessionSetup {
                manifest: Arc::clone(&self.manifest),
                grant: Arc::clone(&self.grant),
                credentials: stand_ins(&self.manifest, &ids),
                accounts: ids,
                deadline,
            },
            trial,
        );
        let context =
            FetchContext { window: around.window, lost_metrics: around.lost.clone(), history: around.history.clone() };
        let called = self.connector.fetch(session, accounts.to_vec(), context, deadline).await;
        let exchanges = trial.take();
        let (accounts, lost) = match called {
            Ok(call) => (self.normalised(call.value.accounts, around).await, call.value.lost_metrics),
            Err(error) => (Err(format!("fetch: {error}")), Vec::new()),
        };
        Ran { accounts, exchanges, missing: Vec::new(), lost }
    }

    async fn normalised(
        &self,
        fetched: Vec<Result<Fetched, FetchError>>,
        around: &Around,
    ) -> Result<Vec<Result<Made, Unmade>>, String> {
        let bodies: Vec<String> = fetched.iter().flatten().map(|fetched| fetched.body.clone()).collect();
        let mut snapshots = self.normalize(&bodies, around).await?.into_iter();
        let mut all = Vec::with_capacity(fetched.len());
        for fetched in fetched {
            let Fetched { body, state, past } = match fetched {
                Ok(fetched) => fetched,
                Err(error) => {
                    all.push(Err(Unmade::Fetch(error)));
                    continue;
                }
            };
            let snapshot = snapshots.next().unwrap_or_else(|| Err("it gave too few snapshots".to_owned()));
            let past = self.normalised_past(past, around).await?;
            let made = snapshot.map(|snapshot| Made { body, state, snapshot, past });
            all.push(made.map_err(Unmade::Normalize));
        }
        Ok(all)
    }

    /// Normalises documents of past dates, each in its own window.
    async fn normalised_past(
        &self,
        past: Vec<PastDocument>,
        around: &Around,
    ) -> Result<Vec<(Window, Result<Snapshot, String>)>, String> {
        let mut all = Vec::with_capacity(past.len());
        for PastDocument { window, body } in past {
            let snapshot = self.normalize(&[body], &Around { window, ..around.clone() }).await?.pop();
            all.push((window, snapshot.unwrap_or_else(|| Err("it gave too few snapshots".to_owned()))));
        }
        Ok(all)
    }

    /// Normalises documents alone.
    pub(super) async fn normalize(
        &self,
        bodies: &[String],
        around: &Around,
    ) -> Result<Vec<Result<Snapshot, String>>, String> {
        let document =
            |body: &String| DocumentInput { body: body.clone(), window: around.window, observed_at: around.now };
        match self.connector.normalize(bodies.iter().map(document).collect()).await {
            Ok(call) => Ok(call.value),
            Err(error) => Err(format!("normalize: {error}")),
        }
    }
}

fn spread<T>(sample: Option<Sample>, cases: Vec<T>, most: usize) -> impl Iterator<Item = T> {
    let (most, seed) = sample.map_or((most, 0), |sample| (most.min(sample.cases.max(1)), sample.seed));
    // Cases stand in rows of eight or sixteen changes of one place. An odd step reaches each of the changes.
    let step = (cases.len() / most).max(1) | 1;
    let first = seed % step.min(cases.len().max(1));
    cases.into_iter().skip(first).step_by(step)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_sample_is_spread_over_all_cases_and_reaches_every_change() {
        let all: Vec<usize> = (0..1_600).collect();
        assert_eq!(spread(None, all.clone(), usize::MAX).collect::<Vec<_>>(), all);
        let of_seed = |seed| spread(Some(Sample { cases: 24, seed }), all.clone(), usize::MAX).collect::<Vec<usize>>();
        for seed in [0, 1, 20_261_130] {
            let some = of_seed(seed);
            assert!((12..48).contains(&some.len()), "{}", some.len());
            let changes: BTreeSet<usize> = some.iter().map(|case| case % 8).collect();
            assert_eq!(changes.len(), 8, "{some:?}");
        }
        assert_ne!(of_seed(0), of_seed(1));
        let few = Some(Sample { cases: 0, seed: 7 });
        assert_eq!(spread(few, vec![1, 2], 10).count(), 1, "never none of those that there are");
        assert_eq!(spread(few, Vec::<u8>::new(), 10).count(), 0);
    }
}
