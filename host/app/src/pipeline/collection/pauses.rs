//! Pauses that platforms ask for, as a batch meets them: which are in force when it begins, and which its accounts
//! bring back. A pause is no failure, uses up no attempt, and is shared by all hosts through the database.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::RangeInclusive;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use crate::pipeline::collection::fetch::AccountFailure;
use backline_gateway::{
    ASKED_PAUSE_MAX, BudgetKey, Gateway, LEARNED_FOR, LearnedPace, SessionCredential, WAITED_PAUSE_MAX,
};
use backline_model::{AccountId, Holder, Platform};
use backline_store::{Pause, Store, StoreError};

/// The longest pause that is written and believed: a month and a day, for resets that budgets of manifests declare.
pub(in crate::pipeline) const PAUSE_MAX: TimeDelta = TimeDelta::days(32);

/// How far the clock of the host that wrote a pause may be ahead of this one's.
const CLOCK_AHEAD_MAX: TimeDelta = TimeDelta::minutes(1);

/// The longest pause that is chosen here, where a platform refuses without a word on how long.
const CHOSEN_MAX: TimeDelta = TimeDelta::hours(1);

/// How long the pauses of one batch may take to be written: a help to other hosts, which must not hold up its results.
const WRITTEN_WITHIN: Duration = Duration::from_secs(10);

/// A platform that refuses again within this time of a pause gets a longer one.
const SOON: TimeDelta = TimeDelta::minutes(10);

/// Most time between two requests that is believed, in microseconds: what is slower defers batches.
const INTERVAL_US_MAX: i64 = 60_000_000;

/// What becomes of an account that has to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AccountWait {
    /// It is collected again soon, in the same batch.
    Short(DateTime<Utc>),
    /// It is deferred.
    Long(DateTime<Utc>),
}

/// How long an account waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct AskedWait {
    /// How long it was asked to.
    pub asked: TimeDelta,
    /// What is kept of that.
    pub kept: TimeDelta,
}

impl AskedWait {
    /// `left` is how much longer its requests pause by what is known: that was cut where it began.
    pub(super) fn of(asked: TimeDelta, left: Option<Duration>) -> Self {
        // The gateway tells whole seconds, rounded up.
        let left = left.filter(|left| *left > ASKED_PAUSE_MAX).map(|left| left + Duration::from_secs(1));
        let longest = left.and_then(|left| TimeDelta::from_std(left).ok()).unwrap_or_else(asked_max);
        Self { asked, kept: asked.min(longest) }
    }
}

/// The longest wait that a platform may ask for.
pub(super) fn asked_max() -> TimeDelta {
    TimeDelta::from_std(ASKED_PAUSE_MAX).unwrap_or(TimeDelta::MAX)
}

/// When a stored pause has to have begun to count: one of a later time was written by a clock that was ahead, and one
/// of an earlier time is over.
pub(crate) fn believed(now: DateTime<Utc>) -> RangeInclusive<DateTime<Utc>> {
    now - PAUSE_MAX..=now + CLOCK_AHEAD_MAX
}

/// The pauses that concern a batch.
#[derive(Debug)]
pub(super) struct BatchPauses {
    /// Whose requests an account's are: its own credentials', or else the operator's.
    own: BTreeMap<AccountId, Vec<Holder>>,
    /// The same, by credential.
    owners: HashMap<Holder, AccountId>,
    /// Of accounts without a credential of their own.
    common: Holder,
    platform: Platform,
    /// As they were when the batch began. Those that end later than this are in force.
    known: HashMap<Holder, Pause>,
    now: DateTime<Utc>,
}

impl BatchPauses {
    /// Reads the pauses of a batch's credentials and of its platform, by key.
    pub(super) async fn load(
        store: &Store,
        platform: &Platform,
        credentials: &[SessionCredential],
        now: DateTime<Utc>,
    ) -> Result<Self, StoreError> {
        let mut asked: Vec<Holder> = credentials.iter().map(holder).collect();
        asked.push(Holder::Platform(platform.clone()));
        let known = store.pauses_of(&asked).await?;
        Ok(Self::of(platform, credentials, known, now))
    }

    fn of(
        platform: &Platform,
        credentials: &[SessionCredential],
        mut known: HashMap<Holder, Pause>,
        now: DateTime<Utc>,
    ) -> Self {
        known.retain(|_, pause| believed(now).contains(&pause.began_at));
        known.values_mut().for_each(|pause| pause.until = pause.until.min(pause.began_at + PAUSE_MAX));
        let (mut own, mut owners) = (BTreeMap::<_, Vec<_>>::new(), HashMap::new());
        for (account, holder) in credentials.iter().filter_map(|of| Some((of.account?, holder(of)))) {
            own.entry(account).or_default().push(holder.clone());
            owners.insert(holder, account);
        }
        let operators = credentials.iter().find(|credential| credential.account.is_none());
        let common = operators.map_or_else(|| Holder::Platform(platform.clone()), holder);
        Self { own, owners, common, platform: platform.clone(), known, now }
    }

    /// Whose requests pause when this account is told to wait.
    pub(super) fn holder_of(&self, account: AccountId) -> &Holder {
        self.own.get(&account).and_then(|own| own.last()).unwrap_or(&self.common)
    }

    /// Names of the budgets that held back requests of this account, out of those that held back any of its batch. The
    /// budget of another account's credential says nothing about this one. A pace that was learned has an empty name.
    pub(super) fn spent_of<'a>(&self, account: AccountId, spent: &'a BTreeSet<BudgetKey>) -> BTreeSet<&'a str> {
        let concerns = |key: &&BudgetKey| self.owners.get(&key.holder).is_none_or(|owner| *owner == account);
        spent.iter().filter(concerns).map(|key| key.budget.as_str()).collect()
    }

    /// Until when this account's requests pause by what was known when the batch began, if that is too long to wait.
    pub(super) fn defers(&self, account: AccountId) -> Option<DateTime<Utc>> {
        let platforms = self.known.iter().filter(|(holder, _)| holder.credential().is_none()).map(|(_, pause)| pause);
        let of = self.own.get(&account).into_iter().flatten().chain([&self.common]);
        let pauses = of.filter_map(|holder| self.known.get(holder)).chain(platforms);
        let until = pauses.map(|pause| pause.until).max()?;
        is_long(until - self.now).then_some(until)
    }

    /// Hands the gateway what other hosts were told.
    pub(super) fn tell(&self, gateway: &Gateway) {
        for (holder, pause) in &self.known {
            if pause.is_ended() {
                gateway.end_pause(holder, (self.now - pause.until).to_std().unwrap_or_default());
                continue;
            }
            let age = (self.now - pause.began_at).to_std().unwrap_or_default();
            let wait = (pause.until - self.now).to_std().unwrap_or_default();
            let pace = pace_of(pause, self.now);
            if !wait.is_zero() || pace.is_some() {
                let (holder, platform) = (holder.clone(), self.platform.clone());
                gateway.pause(&backline_gateway::Pause { holder, platform, wait, age, pace });
            }
        }
    }

    /// The accounts whose platform said how long they have to wait: through the connector, or to the gateway.
    pub(super) fn named_waits(
        &self,
        gateway: &Gateway,
        ended: &BTreeMap<AccountId, AccountFailure>,
    ) -> BTreeSet<AccountId> {
        let is_named = |account: &AccountId, failure: &AccountFailure| match failure {
            AccountFailure::Wait { wait } => wait.is_some() || gateway.pause_asked(self.holder_of(*account)).is_some(),
            _ => false,
        };
        ended.iter().filter(|(account, failure)| is_named(account, failure)).map(|(account, _)| *account).collect()
    }

    /// How long an account waits whose platform limits the rate. Where it named no time, or refuses again soon after a
    /// pause, the wait is twice as long as the last one; `least` is the first of them.
    pub(super) fn wait(&self, account: AccountId, asked: Option<Duration>, least: Duration) -> TimeDelta {
        wait_after(self.known.get(self.holder_of(account)), asked, least, self.now)
    }
}

/// How long requests wait that a platform has refused: as it asked, or `least` where it named no time, and twice as
/// long as the last pause where it refuses again soon after that.
pub(in crate::pipeline) fn wait_after(
    before: Option<&Pause>,
    asked: Option<Duration>,
    least: Duration,
    now: DateTime<Utc>,
) -> TimeDelta {
    let before = before.filter(|pause| now - pause.until < SOON);
    let doubled = before.map(|pause| (pause.until - pause.began_at) * 2).unwrap_or_default().min(CHOSEN_MAX);
    // A platform that refuses and asks for no wait, with zero or a time in the past, has named none.
    let asked = asked.filter(|asked| !asked.is_zero()).unwrap_or(least);
    let asked = TimeDelta::from_std(asked).unwrap_or(TimeDelta::MAX);
    asked.max(doubled)
}

fn holder(credential: &SessionCredential) -> Holder {
    Holder::Credential(credential.id)
}

/// Whether a wait is too long for the gateway.
pub(super) fn is_long(wait: TimeDelta) -> bool {
    wait.to_std().is_ok_and(|wait| wait > WAITED_PAUSE_MAX)
}

/// The pace that a stored pause still sets, for as long as it was set when it was learned.
fn pace_of(pause: &Pause, now: DateTime<Utc>) -> Option<LearnedPace> {
    let until = pause.paced_until?.min(pause.until + LEARNED_FOR);
    let kept_for = (until - now).to_std().ok().filter(|left| !left.is_zero())?;
    Some(LearnedPace { interval_us: pause.interval_us?.min(INTERVAL_US_MAX), kept_for })
}

/// What becomes of an account that waits from `now` on.
pub(super) fn sorted(wait: TimeDelta, now: DateTime<Utc>) -> AccountWait {
    let until = now + wait;
    if is_long(wait) { AccountWait::Long(until) } else { AccountWait::Short(until) }
}

/// The pauses that a batch brings back: of each holder the longest.
#[derive(Debug, Default)]
pub(super) struct Asked {
    pauses: BTreeMap<Holder, DateTime<Utc>>,
}

impl Asked {
    pub(super) fn add(&mut self, holder: &Holder, until: DateTime<Utc>) {
        let known = self.pauses.entry(holder.clone()).or_insert(until);
        *known = until.max(*known);
    }

    /// Makes them known, here and to other hosts. Where that fails, or takes too long, they are met again, which does
    /// no harm.
    pub(super) async fn begin(self, store: &Store, gateway: &Gateway, platform: &Platform, now: DateTime<Utc>) {
        let waits = self.pauses.into_iter().map(|(holder, until)| (holder, (until - now).to_std().unwrap_or_default()));
        let waits: Vec<_> = waits.filter(|(_, wait)| !wait.is_zero()).collect();
        for (holder, wait) in &waits {
            let (holder, platform, wait) = (holder.clone(), platform.clone(), *wait);
            gateway.pause(&backline_gateway::Pause { holder, platform, wait, age: Duration::ZERO, pace: None });
        }
        let written = async {
            for (holder, wait) in &waits {
                begin(store, holder, platform, *wait, None, now).await;
            }
        };
        if tokio::time::timeout(WRITTEN_WITHIN, written).await.is_err() {
            tracing::warn!(%platform, "not all pauses that the platform asked for are known to other hosts");
        }
    }
}

/// Writes a pause that begins now.
pub(in crate::pipeline) async fn begin(
    store: &Store,
    holder: &Holder,
    platform: &Platform,
    wait: Duration,
    pace: Option<LearnedPace>,
    now: DateTime<Utc>,
) {
    let until = now + TimeDelta::from_std(wait).map_or(PAUSE_MAX, |wait| wait.min(PAUSE_MAX));
    let (interval_us, paced_until) = (pace.map(|pace| pace.interval_us), pace.map(|pace| now + pace.kept_for));
    let pause = Pause { began_at: now, until, interval_us, paced_until };
    if let Err(error) = store.pause_begin(holder, platform, &pause, believed(now)).await {
        tracing::warn!(%holder, %error, "a pause that the platform asked for is not known to other hosts");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use backline_model::CredentialId;

    fn now() -> DateTime<Utc> {
        "2026-11-22T12:00:00Z".parse().expect("a time")
    }

    fn demo() -> Platform {
        Platform::new("demo").expect("a platform")
    }

    fn pause(began_s: i64, until_s: i64) -> Pause {
        let at = |seconds| now() + TimeDelta::seconds(seconds);
        Pause { began_at: at(began_s), until: at(until_s), interval_us: None, paced_until: None }
    }

    fn credential(slot: &str, account: Option<AccountId>) -> SessionCredential {
        SessionCredential { id: CredentialId::generate(), slot: slot.to_owned(), account, value: "canary".into() }
    }

    #[test]
    fn a_spent_budget_of_one_account_says_nothing_about_another() {
        let [mine, theirs, bare] = [(); 3].map(|()| AccountId::generate());
        let credentials = [credential("app", None), credential("user", Some(mine)), credential("user", Some(theirs))];
        let pauses = BatchPauses::of(&demo(), &credentials, HashMap::new(), now());
        let key = |holder: Holder, budget: &str| BudgetKey { holder, budget: budget.to_owned() };
        let own = |index: usize| holder(&credentials[index]);
        let names = |spent: &[BudgetKey]| {
            let spent: BTreeSet<BudgetKey> = spent.iter().cloned().collect();
            [mine, theirs, bare].map(|account| {
                pauses.spent_of(account, &spent).into_iter().map(str::to_owned).collect::<Vec<_>>().join(" ")
            })
        };
        assert_eq!(names(&[]), ["", "", ""]);
        assert_eq!(names(&[key(own(1), "calls")]), ["calls", "", ""]);
        assert_eq!(names(&[key(own(1), "calls"), key(own(2), "daily")]), ["calls", "daily", ""]);
        assert_eq!(names(&[key(own(0), "units"), key(own(1), "calls")]), ["calls units", "units", "units"]);
        assert_eq!(names(&[key(Holder::Platform(demo()), "rate")]), ["rate", "rate", "rate"]);
    }

    #[test]
    fn a_pause_of_the_accounts_the_operators_or_the_platforms_defers_if_it_is_longer_than_a_minute() {
        let (mine, theirs) = (AccountId::generate(), AccountId::generate());
        let credentials = [credential("app", None), credential("other", Some(mine)), credential("user", Some(mine))];
        let [operators, other, own] = [0, 1, 2].map(|index: usize| holder(&credentials[index]));
        let platform = Holder::Platform(demo());
        let defers = |known: &[(&Holder, i64)]| {
            let known = known.iter().map(|(holder, until)| ((*holder).clone(), pause(-9, *until))).collect();
            let pauses = BatchPauses::of(&demo(), &credentials, known, now());
            [mine, theirs].map(|account| pauses.defers(account).map(|until| (until - now()).num_seconds()))
        };
        assert_eq!(defers(&[]), [None, None]);
        assert_eq!(defers(&[(&own, 61), (&operators, 60), (&platform, -1)]), [Some(61), None]);
        assert_eq!(defers(&[(&own, 61), (&operators, 70)]), [Some(70), Some(70)]);
        assert_eq!(defers(&[(&other, 65)]), [Some(65), None], "each of its credentials counts");
        assert_eq!(defers(&[(&platform, 400)]), [Some(400), Some(400)]);
        assert_eq!(defers(&[(&platform, 2_000_000)]), [Some(2_000_000), Some(2_000_000)], "a declared reset");
        assert_eq!(defers(&[(&platform, 9_000_000)]), [Some(2_764_791), Some(2_764_791)], "32 days from its beginning");
    }

    #[test]
    fn a_pause_that_begins_in_the_future_or_began_long_ago_does_not_count() {
        let holder = Holder::Platform(demo());
        let defers = |began_s: i64, until_s: i64| {
            let known = [(holder.clone(), pause(began_s, until_s))].into();
            BatchPauses::of(&demo(), &[], known, now()).defers(AccountId::generate()).is_some()
        };
        let days = |days: i64| days * 24 * 3_600;
        assert!(defers(60, 3_600), "clocks differ a little");
        assert!(!defers(61, 3_600), "written by a clock that was ahead");
        assert!(!defers(days(365), days(366)));
        assert!(defers(-days(31), 3_600));
        assert!(!defers(-days(33), days(366)));
    }

    #[test]
    fn a_stored_pace_holds_for_as_long_as_it_was_learned_for() {
        let pace = |paced_s: Option<i64>, interval_us| {
            let paced_until = paced_s.map(|seconds| now() + TimeDelta::seconds(seconds));
            pace_of(&Pause { paced_until, interval_us, ..pause(-600, -590) }, now())
                .map(|pace| (pace.interval_us, pace.kept_for.as_secs()))
        };
        assert_eq!(pace(Some(3_010), Some(200_000)), Some((200_000, 3_010)));
        assert_eq!(pace(Some(3_010), Some(i64::MAX)), Some((INTERVAL_US_MAX, 3_010)));
        assert_eq!(pace(Some(9_999_999), Some(200_000)), Some((200_000, 3_010)), "an hour after its pause at most");
        assert_eq!(pace(Some(0), Some(200_000)), None);
        assert_eq!((pace(None, Some(200_000)), pace(Some(3_010), None)), (None, None));
    }

    #[test]
    fn an_asked_wait_is_cut_at_a_week_and_one_in_force_is_not() {
        let (days, day) = (TimeDelta::days, Duration::from_secs(24 * 3_600));
        for (asked, left, kept) in [
            (days(3), None, days(3)),
            (days(8), None, days(7)),
            (TimeDelta::MAX, None, days(7)),
            (days(31), Some(7 * day), days(7)),
            (days(30), Some(30 * day), days(30)),
        ] {
            assert_eq!(AskedWait::of(asked, left), AskedWait { asked, kept }, "{asked}");
        }
    }

    #[test]
    fn a_wait_that_is_asked_for_is_kept_and_one_that_did_not_help_is_doubled() {
        let account = AccountId::generate();
        let holder = Holder::Platform(demo());
        let seconds = Duration::from_secs;
        for (known, asked, least, waited) in [
            (None, Some(seconds(5)), seconds(2), 5),
            (None, None, seconds(2), 2),
            (None, Some(seconds(0)), seconds(2), 2),
            (Some(pause(-70, -30)), Some(seconds(0)), seconds(2), 80),
            (None, Some(seconds(90_000)), seconds(2), 90_000),
            // The last pause took 40 s and is over for 30 s, or for longer.
            (Some(pause(-70, -30)), None, seconds(2), 80),
            (Some(pause(-70, -30)), Some(seconds(5)), seconds(2), 80),
            (Some(pause(-70, -30)), Some(seconds(100)), seconds(2), 100),
            (Some(pause(-700, -660)), None, seconds(2), 2),
            (Some(pause(-7_300, -100)), None, seconds(2), 3_600),
            // Without a wait, as in tests, nothing grows.
            (Some(pause(0, 0)), None, seconds(0), 0),
        ] {
            let known = known.into_iter().map(|pause| (holder.clone(), pause)).collect();
            let pauses = BatchPauses::of(&demo(), &[], known, now());
            assert_eq!(pauses.wait(account, asked, least).num_seconds(), waited, "{asked:?}");
        }
    }

    #[test]
    fn up_to_a_minute_stays_in_the_batch() {
        let at = |seconds| now() + TimeDelta::seconds(seconds);
        assert_eq!(sorted(TimeDelta::seconds(60), now()), AccountWait::Short(at(60)));
        assert_eq!(sorted(TimeDelta::seconds(61), now()), AccountWait::Long(at(61)));
    }
}
