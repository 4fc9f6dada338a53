//! Figures that the tests of health share with the tests of its readers.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};

use super::*;
use backline_model::health::{AccountName, CredentialFigures, ReleaseFigures, WebhookFigures};
use backline_model::outcome::{Exclusion, FailureClass};
use backline_model::{AccountId, Digest, Platform, Tally, ZoneData};

/// The current time of the fixtures: noon UTC on 20 November 2026.
pub fn now() -> DateTime<Utc> {
    "2026-11-20T12:00:00Z".parse().expect("a time")
}

/// The start of the window: a day before [`now`].
pub fn since() -> DateTime<Utc> {
    now() - TimeDelta::hours(24)
}

/// A platform with this name.
pub fn platform(name: &str) -> Platform {
    Platform::new(name).expect("a name")
}

/// Figures of a platform with every account collected.
pub fn healthy(collected: u64) -> PlatformFigures {
    PlatformFigures {
        collected,
        has_release: true,
        eligible: collected,
        eligible_before: collected,
        lags: vec![Lag { seconds: 60.0, accounts: collected }],
        values: collected * 10,
        scored: collected,
        score_percent: collected * 100,
        requests: collected,
        ..PlatformFigures::default()
    }
}

/// Figures of a platform with this many collected accounts, and this many that failed with one class.
pub fn failing(collected: u64, class: FailureClass, failed: u64) -> PlatformFigures {
    PlatformFigures { failed: BTreeMap::from([(class, failed)]), eligible: collected + failed, ..healthy(collected) }
}

/// Figures of these platforms, with ten artists.
pub fn figures<const N: usize>(platforms: [(&str, PlatformFigures); N]) -> Figures {
    Figures {
        platforms: platforms.into_iter().map(|(name, figures)| (platform(name), figures)).collect(),
        artists: 10,
        ..Figures::default()
    }
}

/// The report at [`now`], with default settings.
pub fn report_of(figures: &Figures, suspects: &Suspects) -> HealthReport {
    report(figures, suspects, since(), now(), &HealthConfig::default(), &CostsConfig::default())
}

/// A report with every kind of recommendation.
pub fn everything_wrong() -> HealthReport {
    let troubled = PlatformFigures {
        due: 1,
        deferred: 2,
        deferred_until: Some(now() + TimeDelta::hours(3)),
        reconnect: 5,
        dead: 3,
        held: 1,
        without_consent: 2,
        has_release: false,
        ..failing(1, FailureClass::CredentialMissing, 2)
    };
    let classes =
        [FailureClass::NotFound, FailureClass::Forbidden, FailureClass::Misconfigured, FailureClass::Unexpected];
    let refused = PlatformFigures {
        failed: classes.map(|class| (class, 1)).into(),
        excluded: BTreeMap::from([(Exclusion::HostKilled, 1)]),
        ..healthy(90)
    };
    let mut wrong = figures([
        ("youtube", troubled),
        ("spotify", failing(0, FailureClass::Unavailable, 50)),
        ("instagram", failing(90, FailureClass::Trapped, 10)),
        ("deezer", failing(90, FailureClass::Trapped, 10)),
        ("tiktok", refused),
    ]);
    let host = |name: &str, seen_at| HostFigures {
        name: name.to_owned(),
        started_at: since(),
        seen_at,
        refreshes_tokens: name != "stranger",
    };
    wrong.hosts = vec![host("lost", since()), host("stranger", now())];
    let release = |name: &str, before| ReleaseFigures {
        platform: platform(name),
        digest: Digest::of(name.as_bytes()),
        name: name.to_owned(),
        version: "1.2.0".to_owned(),
        spent: Vec::new(),
        activated_at: now() - TimeDelta::hours(2),
        since: Tally { accounts: 20, failed: BTreeMap::from([(FailureClass::Trapped, 10)]), ..Tally::default() },
        before,
    };
    let credential = |of_account, expires_at| CredentialFigures {
        platform: platform("spotify"),
        slot: "app".to_owned(),
        of_account,
        number: 2,
        expires_at,
    };
    let spent = ReleaseFigures { spent: vec!["units".to_owned()], since: Tally::default(), ..release("youtube", None) };
    let suspects = Suspects {
        reconnect: vec![AccountName {
            account_id: AccountId(uuid::Uuid::nil()),
            platform: platform("youtube"),
            platform_id: "UC1".to_owned(),
            artist: "Ada".to_owned(),
        }],
        credentials: vec![credential(false, None), credential(true, Some(now())), credential(true, None)],
        releases: vec![
            spent,
            release("instagram", Some(Tally { accounts: 20, ..Tally::default() })),
            release("deezer", None),
        ],
        schedules: 1,
        webhooks: vec![
            WebhookFigures { name: "app".to_owned(), parked: 3, disabled_reason: None },
            WebhookFigures { name: "gone".to_owned(), parked: 1, disabled_reason: Some("it answered 410".to_owned()) },
        ],
        zones: Some(ZoneData::of_folder("/usr/share/zoneinfo".to_owned(), Some("2025b".to_owned()))),
        pauses: Vec::new(),
        zone_faults: Vec::new(),
        unreadable: Vec::new(),
        unreadable_others: BTreeMap::new(),
        clock_ahead: None,
        simulated: false,
    };
    let mut report = report_of(&wrong, &suspects);
    let idle = PlatformFigures { eligible: 1, has_release: true, ..PlatformFigures::default() };
    report.recommendations.extend(report_of(&figures([("youtube", idle)]), &Suspects::default()).recommendations);
    report
}
