//! The lifetime of a secret: when to refresh it, and when to retry a failed refresh. Pure.

use chrono::{DateTime, TimeDelta, Utc};

use super::{ACCESS_MARGIN, AccessToken, INSTAGRAM_TOKEN_AGE_MIN, Secret};

/// Lifetime of Instagram's long-lived tokens if it does not say.
const INSTAGRAM_TOKEN_LIFE: TimeDelta = TimeDelta::days(60);

/// Shortest and longest wait before a failed refresh is retried while the old token still works.
const RETRY_AFTER_MIN: TimeDelta = TimeDelta::minutes(1);
const RETRY_AFTER_MAX: TimeDelta = TimeDelta::hours(6);

/// Wait before a failed refresh is retried once nothing works any more, or if the end is not known.
const RETRY_AFTER_END: TimeDelta = TimeDelta::minutes(10);

/// Part of its lifetime by which a retry must have happened.
const CHECKPOINT_NUMERATOR: i32 = 3;
const CHECKPOINT_DENOMINATOR: i32 = 4;

impl Secret {
    /// When half of its lifetime is over, so that there is time for retries if the refresh fails. `None` for secrets
    /// that do not expire or can't be refreshed. A secret that was never exchanged is due at once.
    ///
    /// Instagram's tokens are never due before they are old enough to be refreshed; one of unknown lifetime is due at
    /// that age.
    #[must_use]
    pub fn refresh_at(&self) -> Option<DateTime<Utc>> {
        match self {
            Self::ApiKey { .. } | Self::Bearer { .. } | Self::OauthClient { .. } => None,
            Self::InstagramLongLived { obtained_at, expires_at, .. } => {
                let old_enough = obtained_at.map(|obtained_at| obtained_at + INSTAGRAM_TOKEN_AGE_MIN);
                let half_used = expires_at.map(|expires_at| {
                    let life = obtained_at.map_or(INSTAGRAM_TOKEN_LIFE, |obtained_at| expires_at - obtained_at);
                    expires_at - life / 2
                });
                old_enough.max(half_used).or(Some(DateTime::UNIX_EPOCH))
            }
            Self::ClientCredentials { access, .. }
            | Self::RefreshToken { access, .. }
            | Self::AppleDeveloperToken { access, .. } => match access {
                None => Some(DateTime::UNIX_EPOCH),
                Some(AccessToken { obtained_at, expires_at, .. }) => {
                    expires_at.map(|expires_at| *obtained_at + (expires_at - *obtained_at) / 2)
                }
            },
        }
    }

    /// Whether it should be refreshed now; see [`Secret::refresh_at`].
    #[must_use]
    pub fn refresh_due(&self, now: DateTime<Utc>) -> bool {
        self.refresh_at().is_some_and(|at| now >= at)
    }

    /// When to retry a failed refresh. `spread` is a random number from 0 to 1, so that refreshes that failed together
    /// are not retried together.
    ///
    /// While the token works, the waits are an eighth of the time that is left. One retry happens at three quarters of
    /// its lifetime at the latest, and one exactly at its end.
    #[must_use]
    pub fn retry_at(&self, now: DateTime<Utc>, spread: f64) -> DateTime<Utc> {
        let spread = |wait: TimeDelta| {
            #[expect(clippy::cast_possible_truncation, reason = "a wait of hours, in milliseconds")]
            #[expect(clippy::cast_precision_loss, reason = "a wait of hours, in milliseconds")]
            TimeDelta::milliseconds((wait.num_milliseconds() as f64 * (0.5 + spread.clamp(0.0, 1.0))) as i64)
        };
        let Some((begin, end)) = self.usable_time().filter(|(_, end)| *end > now) else {
            return now + spread(RETRY_AFTER_END);
        };
        let again = now + spread(((end - now) / 8).clamp(RETRY_AFTER_MIN, RETRY_AFTER_MAX));
        let checkpoint = begin + (end - begin) * CHECKPOINT_NUMERATOR / CHECKPOINT_DENOMINATOR;
        again.min(if now < checkpoint { checkpoint } else { end })
    }

    /// Whether it will be renewed in time without a person, as far as is known: its end is known, and the time of its
    /// refresh is still to come.
    #[must_use]
    pub fn is_renewed_in_time(&self, now: DateTime<Utc>) -> bool {
        matches!(self, Self::InstagramLongLived { expires_at: Some(end), .. }
            if self.refresh_at().is_some_and(|at| now < at && at < *end))
    }

    /// Until when its current value can be injected; `None` if there is none, or its end is not known.
    #[must_use]
    pub fn usable_until(&self) -> Option<DateTime<Utc>> {
        self.usable_time().map(|(_, end)| end)
    }

    /// The time span in which its current value can be injected; `None` if there is none, or its end is not known.
    fn usable_time(&self) -> Option<(DateTime<Utc>, DateTime<Utc>)> {
        match self {
            Self::ApiKey { .. } | Self::Bearer { .. } | Self::OauthClient { .. } => None,
            Self::InstagramLongLived { obtained_at, expires_at, .. } => {
                expires_at.map(|end| (obtained_at.unwrap_or(end - INSTAGRAM_TOKEN_LIFE), end))
            }
            Self::ClientCredentials { access, .. }
            | Self::RefreshToken { access, .. }
            | Self::AppleDeveloperToken { access, .. } => {
                let access = access.as_ref()?;
                Some((access.obtained_at, access.expires_at? - ACCESS_MARGIN))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{CANARY, access, at};
    use super::*;

    fn exchanged(obtained_at: &str, expires_at: &str) -> Secret {
        Secret::ClientCredentials {
            client_id: "id".into(),
            client_secret: CANARY.into(),
            access: Some(access(obtained_at, expires_at)),
        }
    }

    fn instagram(obtained_at: Option<&str>, expires_at: Option<&str>) -> Secret {
        Secret::InstagramLongLived {
            token: CANARY.into(),
            obtained_at: obtained_at.map(at),
            expires_at: expires_at.map(at),
        }
    }

    #[test]
    fn an_access_token_is_injected_until_shortly_before_its_end_and_due_at_half_its_life() {
        let secret = exchanged("2026-11-22T10:00:00Z", "2026-11-22T11:00:00Z");
        assert_eq!(secret.refresh_at(), Some(at("2026-11-22T10:30:00Z")));
        for (now, injected, due) in [
            ("2026-11-22T10:29:59Z", true, false),
            ("2026-11-22T10:30:00Z", true, true),
            ("2026-11-22T10:58:59Z", true, true),
            ("2026-11-22T10:59:00Z", false, true),
        ] {
            assert_eq!((secret.injectable(at(now)).is_some(), secret.refresh_due(at(now))), (injected, due), "{now}");
        }
        let never_exchanged =
            Secret::RefreshToken { refresh_token: CANARY.into(), refresh_expires_at: None, access: None };
        assert!(
            never_exchanged.injectable(at("2026-11-22T10:00:00Z")).is_none()
                && never_exchanged.refresh_due(at("2026-11-22T10:00:00Z"))
        );
    }

    #[test]
    fn what_lasts_is_never_due() {
        let endless = AccessToken { token: CANARY.into(), obtained_at: at("2026-11-22T10:00:00Z"), expires_at: None };
        for secret in [
            Secret::ApiKey { value: CANARY.into() },
            Secret::Bearer { value: CANARY.into() },
            Secret::OauthClient { client_id: "id".into(), client_secret: CANARY.into() },
            Secret::RefreshToken { refresh_token: CANARY.into(), refresh_expires_at: None, access: Some(endless) },
        ] {
            assert_eq!(secret.refresh_at(), None, "{}", secret.kind());
        }
    }

    #[test]
    fn an_instagram_token_is_due_at_half_its_life_and_never_in_its_first_day() {
        for (obtained_at, expires_at, now, due) in [
            (Some("2026-11-01T00:00:00Z"), Some("2026-12-31T00:00:00Z"), "2026-11-30T00:00:00Z", false),
            (Some("2026-11-01T00:00:00Z"), Some("2026-12-31T00:00:00Z"), "2026-12-01T00:00:00Z", true),
            (Some("2026-11-01T00:00:00Z"), Some("2026-11-02T00:00:00Z"), "2026-11-01T23:00:00Z", false),
            (Some("2026-11-01T00:00:00Z"), None, "2026-11-01T23:59:59Z", false),
            (Some("2026-11-01T00:00:00Z"), None, "2026-11-02T00:00:00Z", true),
            (None, Some("2026-12-31T00:00:00Z"), "2026-11-30T00:00:00Z", false),
            (None, Some("2026-12-31T00:00:00Z"), "2026-12-01T00:00:00Z", true),
            (None, None, "2026-11-30T00:00:00Z", true),
        ] {
            assert_eq!(
                instagram(obtained_at, expires_at).refresh_due(at(now)),
                due,
                "{obtained_at:?} {expires_at:?} {now}"
            );
        }
        let stored = instagram(None, None).obtained_by(at("2026-11-30T00:00:00Z"));
        assert!(!stored.refresh_due(at("2026-11-30T12:00:00Z")) && stored.refresh_due(at("2026-12-01T00:00:00Z")));
        let expired = instagram(None, Some("2026-11-30T00:00:00Z"));
        assert!(expired.injectable(at("2026-11-30T00:00:00Z")).is_none());
        assert_eq!(expired.expires_at(), Some(at("2026-11-30T00:00:00Z")));
    }

    #[test]
    fn only_secrets_that_extend_themselves_are_renewed_in_time() {
        let token = instagram(Some("2026-11-01T00:00:00Z"), Some("2026-11-11T00:00:00Z"));
        assert!(token.is_renewed_in_time(at("2026-11-05T23:00:00Z")));
        assert!(!token.is_renewed_in_time(at("2026-11-06T00:00:00Z")), "its refresh is due and was not done");
        let young = instagram(Some("2026-11-01T00:00:00Z"), Some("2026-11-01T12:00:00Z"));
        assert!(!young.is_renewed_in_time(at("2026-11-01T01:00:00Z")), "it ends before it may be refreshed");
        let access = Some(access("2026-11-22T10:00:00Z", "2026-11-23T10:00:00Z"));
        let end = Some(at("2026-11-30T00:00:00Z"));
        let refresh = Secret::RefreshToken { refresh_token: CANARY.into(), refresh_expires_at: end, access };
        assert!(!refresh.is_renewed_in_time(at("2026-11-22T10:00:00Z")), "a platform may keep the token and its end");
    }

    #[test]
    fn a_failed_refresh_is_retried_before_the_end_and_at_the_end() {
        let secret = exchanged("2026-11-22T00:00:00Z", "2026-11-23T00:01:00Z");
        let end = at("2026-11-23T00:00:00Z");
        for spread in [0.0, 0.5, 1.0] {
            let (mut now, mut tries) = (at("2026-11-22T12:00:00Z"), Vec::new());
            while now < end {
                let again = secret.retry_at(now, spread);
                assert!(again > now && again - now <= TimeDelta::hours(9), "{now} → {again}");
                now = again;
                tries.push(now);
            }
            assert_eq!(tries.last(), Some(&end), "the last try of a working token falls on its end");
            assert!(tries.contains(&at("2026-11-22T18:00:00Z")), "one falls on three quarters of its life: {tries:?}");
            assert!(tries.len() < 200, "{}", tries.len());
        }
        assert_eq!(secret.retry_at(end, 0.5), end + TimeDelta::minutes(10));
        let spread: Vec<_> = [0.0, 1.0].map(|spread| secret.retry_at(end, spread) - end).into();
        assert_eq!(spread, [TimeDelta::minutes(5), TimeDelta::minutes(15)]);
    }
}
