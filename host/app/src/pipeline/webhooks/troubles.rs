//! What fails at the receivers of webhooks, told once a minute for each receiver instead of once for each delivery: a
//! receiver that is down for a night would otherwise fill the log.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};

use backline_model::WebhookId;

/// Time over which the failures of one receiver are told together.
const TOLD_EVERY: TimeDelta = TimeDelta::minutes(1);

/// A delivery that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct DeliveryFailure {
    /// Name of the webhook.
    pub webhook: String,
    /// Why it failed.
    pub reason: String,
    /// What follows from it.
    pub then: Then,
}

/// What follows from a failed delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Then {
    /// It is tried again.
    Retried,
    /// It is given up.
    Parked,
    /// It is tried again once the webhook is switched on, which it is not any more.
    SwitchedOff,
}

/// The failures of one receiver since they were last told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Trouble {
    /// Name of the webhook.
    pub webhook: String,
    /// When the first of them was.
    pub since: DateTime<Utc>,
    /// How many are retried.
    pub retried: u64,
    /// How many were given up.
    pub parked: u64,
    /// Whether the webhook was switched off.
    pub switched_off: bool,
    /// Reason of the first.
    pub first: String,
    /// Reason of the last.
    pub last: String,
}

impl Trouble {
    /// Writes one line to the log.
    fn tell(&self) {
        let Self { webhook, since, retried, parked, switched_off, first, last } = self;
        let failed = retried + parked;
        if *switched_off {
            tracing::warn!(
                webhook, %since, failed, retried, parked, first, last,
                "the webhook is switched off; `backline webhooks enable {webhook}` switches it on"
            );
        } else if *parked > 0 {
            tracing::warn!(
                webhook, %since, failed, retried, parked, first, last,
                "deliveries were given up; `backline webhooks resend {webhook} --parked` sends them again"
            );
        } else {
            tracing::warn!(webhook, %since, failed, first, last, "deliveries failed and are retried");
        }
    }
}

/// Failures that are not told yet, by receiver.
#[derive(Debug, Default)]
pub(super) struct Troubles(BTreeMap<WebhookId, Trouble>);

impl Troubles {
    /// Adds a failure.
    pub(super) fn add(&mut self, webhook: WebhookId, failure: DeliveryFailure, now: DateTime<Utc>) {
        let DeliveryFailure { webhook: name, reason, then } = failure;
        let trouble = self.0.entry(webhook).or_insert_with(|| Trouble {
            webhook: name,
            since: now,
            retried: 0,
            parked: 0,
            switched_off: false,
            first: reason.clone(),
            last: String::new(),
        });
        match then {
            Then::Retried => trouble.retried += 1,
            Then::Parked => trouble.parked += 1,
            Then::SwitchedOff => {
                trouble.retried += 1;
                trouble.switched_off = true;
            }
        }
        trouble.last = reason;
    }

    /// Takes those whose minute is over. One that lies in the future was noted by a clock that was ahead.
    pub(super) fn take_due(&mut self, now: DateTime<Utc>) -> Vec<Trouble> {
        let is_due = |trouble: &Trouble| trouble.since > now || now - trouble.since >= TOLD_EVERY;
        let due: Vec<WebhookId> = self.0.iter().filter(|(_, trouble)| is_due(trouble)).map(|(id, _)| *id).collect();
        due.iter().filter_map(|id| self.0.remove(id)).collect()
    }

    /// Tells those whose minute is over.
    pub(super) fn tell_due(&mut self, now: DateTime<Utc>) {
        self.take_due(now).iter().for_each(Trouble::tell);
    }

    /// Tells all: nothing comes after it.
    pub(super) fn tell_all(&mut self) {
        std::mem::take(&mut self.0).values().for_each(Trouble::tell);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + TimeDelta::days(20_000) + TimeDelta::seconds(seconds)
    }

    fn failure(webhook: &str, reason: &str, then: Then) -> DeliveryFailure {
        DeliveryFailure { webhook: webhook.to_owned(), reason: reason.to_owned(), then }
    }

    #[test]
    fn a_receivers_failures_are_told_together_once_a_minute_with_the_first_and_the_last_reason() {
        let (app, other) = (WebhookId::generate(), WebhookId::generate());
        let mut troubles = Troubles::default();
        for n in 0..1_000 {
            troubles.add(app, failure("app", &format!("answered {n}"), Then::Retried), at(n / 20));
        }
        troubles.add(app, failure("app", "answered 503", Then::Parked), at(50));
        troubles.add(other, failure("other", "no answer", Then::SwitchedOff), at(59));
        assert_eq!(troubles.take_due(at(59)), []);
        let told = troubles.take_due(at(60));
        assert_eq!(told.len(), 1, "{told:?}");
        let Trouble { webhook, since, retried, parked, switched_off, first, last } = &told[0];
        assert_eq!((webhook.as_str(), *since, *retried, *parked, *switched_off), ("app", at(0), 1_000, 1, false));
        assert_eq!((first.as_str(), last.as_str()), ("answered 0", "answered 503"));
        let told = troubles.take_due(at(119));
        assert_eq!((told.len(), told[0].retried, told[0].switched_off), (1, 1, true));
        assert_eq!((told[0].first.as_str(), told[0].last.as_str()), ("no answer", "no answer"));
        assert_eq!(troubles.take_due(at(1_000)), [], "each is told once");
    }

    #[test]
    fn a_clock_that_went_back_delays_nothing() {
        let mut troubles = Troubles::default();
        troubles.add(WebhookId::generate(), failure("app", "no answer", Then::Retried), at(86_400));
        assert_eq!(troubles.take_due(at(0)).len(), 1);
    }
}
