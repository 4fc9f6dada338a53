//! What is sent, when, and to which webhook.

use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use backline_model::{Tenant, WebhookId};

fn now() -> DateTime<Utc> {
    "2026-11-22T12:00:00Z".parse().unwrap()
}

fn webhook(kind: WebhookKind, events: &[&str]) -> Webhook {
    Webhook {
        id: WebhookId(Uuid::nil()),
        name: "app".to_owned(),
        kind,
        url: "https://app.test/hooks".to_owned(),
        events: events.iter().map(|&text| text.to_owned()).collect(),
        tenant: None,
        enabled: true,
        disabled_reason: None,
        previous_until: None,
        created_at: now(),
        updated_at: now(),
    }
}

fn change(platform: &str) -> Event {
    let artist = ArtistId(Uuid::from_u128(7));
    Event {
        id: Uuid::from_u128(1),
        kind: types::SIGNIFICANT_CHANGE.to_owned(),
        artist_id: Some(artist),
        occurred_at: now(),
        dedup_key: Some("a host's own business".to_owned()),
        data: json!({
            "artist_id": artist,
            "trigger_type": "daily_collection",
            "new_metrics": {
                "account_id": Uuid::from_u128(8),
                "platform": platform,
                "metric_date": "2026-11-22",
                "values": { "followers": 1200 },
            },
            "change": { "first": false, "followers_percent": 20.0 },
        }),
    }
}

fn facts(forbids_ai: Option<bool>) -> PlatformFacts {
    PlatformFacts { title: "Spotify".to_owned(), forbids_ai }
}

#[test]
fn a_pattern_is_a_type_or_the_beginning_of_some() {
    for (pattern, kind, expected) in [
        ("metrics.collected", "metrics.collected", true),
        ("metrics.collected", "metrics.collected.more", false),
        ("metrics.*", "metrics.significant_change", true),
        ("metrics.*", "metricsx.collected", false),
        ("*", "run.completed", true),
        ("run.*", "metrics.collected", false),
    ] {
        assert_eq!(pattern_matches(pattern, kind), expected, "{pattern} {kind}");
    }
    for right in ["*", "metrics.*", "artist.erased"] {
        assert_eq!(check_pattern(right), Ok(()), "{right}");
    }
    for wrong in ["", "metrics", "metrics*", "metric.*", "metrics.collect", "*.collected", "metrics.**"] {
        assert!(check_pattern(wrong).is_err_and(|problem| problem.contains("run.completed")), "'{wrong}' was taken");
    }
}

#[test]
fn a_webhook_of_one_tenant_receives_nothing_else() {
    let of_one = Webhook {
        tenant: Some(Tenant::new("label").unwrap()),
        ..webhook(WebhookKind::Webhook, &["metrics.*", "run.completed"])
    };
    assert!(wants(&of_one, "metrics.collected", Some("label")));
    assert!(!wants(&of_one, "metrics.collected", Some("other")));
    assert!(!wants(&of_one, "run.completed", None), "a run belongs to no tenant");
    assert!(!wants(&of_one, "account.reconnect_needed", Some("label")));
    assert!(wants(&webhook(WebhookKind::Webhook, &["run.*"]), "run.completed", None));
}

#[test]
fn events_of_one_artist_or_one_platform_share_a_line() {
    let artist = ArtistId(Uuid::from_u128(7));
    assert_eq!(line(Some(artist), Some("youtube"), "metrics.collected"), artist.to_string());
    assert_eq!(line(None, Some("youtube"), "connector.activated"), "platform:youtube");
    assert_eq!(line(None, None, "run.completed"), "run");
}

#[test]
fn answers_mean_what_the_documentation_says() {
    let config = DeliveriesConfig::default();
    let attempt = Attempt { first_at: now(), number: 1, now: now() };
    let status =
        |status, after: Option<u64>| AttemptResult::Status { status, retry_after: after.map(Duration::from_secs) };
    let wait = |answer: &AttemptResult, random| match after(&config, attempt, answer, random) {
        DeliveryNext::Again { at, problem } => ((at - now()).num_milliseconds(), problem),
        other => panic!("{other:?}"),
    };
    for good in [200, 202, 204, 299] {
        assert_eq!(after(&config, attempt, &status(good, None), 0.5), DeliveryNext::Delivered);
    }
    assert!(matches!(after(&config, attempt, &status(410, None), 0.5), DeliveryNext::Gone { .. }));
    assert_eq!(wait(&status(500, None), 1.0).0, 5_000);
    assert_eq!(wait(&status(500, None), 0.0).0, 0);
    assert!(wait(&status(302, None), 0.5).1.contains("redirects are not followed"));
    assert_eq!(wait(&status(429, Some(120)), 1.0).0, 120_000);
    assert_eq!(wait(&status(503, Some(1)), 1.0).0, 5_000, "no sooner than by itself");
    assert_eq!(wait(&status(503, Some(86_400)), 1.0).0, 3_600_000, "no later than the longest wait");
    assert_eq!(wait(&status(500, Some(120)), 1.0).0, 5_000, "only 429 and 503 may ask for a wait");
    assert_eq!(wait(&AttemptResult::Nothing { problem: "no route".to_owned() }, 1.0).1, "no route");
}

#[test]
fn waits_double_up_to_an_hour_and_a_day_is_the_end() {
    let config = DeliveriesConfig::default();
    let longest: Vec<u64> = (1..=12).map(|attempt| backoff(&config, attempt, 1.0).as_secs()).collect();
    assert_eq!(longest, [5, 10, 20, 40, 80, 160, 320, 640, 1_280, 2_560, 3_600, 3_600]);
    let failed = AttemptResult::Status { status: 500, retry_after: None };
    let at = |seconds| Attempt { first_at: now(), number: 40, now: now() + TimeDelta::seconds(seconds) };
    let day = now() + TimeDelta::days(1);
    assert!(matches!(after(&config, at(86_400 - 60), &failed, 1.0), DeliveryNext::Again { at, .. } if at == day));
    assert!(matches!(after(&config, at(86_400), &failed, 1.0), DeliveryNext::Parked { .. }));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_delivery_is_tried_until_a_day_has_passed_and_never_after(
        statuses in prop::collection::vec(
            (300_u16..600, prop::option::of(0_u64..100_000), 0.0_f64..=1.0, 1_i64..30),
            1..400,
        ),
    ) {
        let config = DeliveriesConfig::default();
        let (first_at, mut time) = (now(), now());
        for (number, (status, retry_after, random, took)) in (1..).zip(statuses) {
            let status = if status == 410 { 500 } else { status };
            time += TimeDelta::seconds(took);
            let answer = AttemptResult::Status { status, retry_after: retry_after.map(Duration::from_secs) };
            match after(&config, Attempt { first_at, number, now: time }, &answer, random) {
                DeliveryNext::Again { at, .. } => {
                    prop_assert!(time < first_at + TimeDelta::days(1), "tried again after a day");
                    prop_assert!(at >= time && at - time <= TimeDelta::hours(1) && at <= first_at + TimeDelta::days(1));
                    time = at;
                }
                DeliveryNext::Parked { .. } => {
                    prop_assert!(time >= first_at + TimeDelta::days(1), "given up early");
                    break;
                }
                other => prop_assert!(false, "{other:?}"),
            }
        }
    }
}

#[test]
fn a_message_holds_the_event_and_nothing_of_the_hosts_own() {
    let event = change("youtube");
    let none = BTreeMap::new();
    let Prepared::Send { url, body } = prepare(&webhook(WebhookKind::Webhook, &["*"]), &event, None, &none) else {
        panic!("it is sent");
    };
    assert_eq!(url, "https://app.test/hooks");
    let mut keys: Vec<&String> = body.as_object().unwrap().keys().collect();
    keys.sort();
    assert_eq!(keys, ["artist_id", "data", "id", "timestamp", "type", "version"]);
    assert_eq!((&body["id"], &body["version"], &body["data"]), (&json!(event.id), &json!(1), &event.data));
    assert_eq!(body["timestamp"], "2026-11-22T12:00:00Z");
}

#[test]
fn the_ai_trigger_obeys_the_platforms_terms() {
    let ai = Webhook { url: "https://app.test/base/".to_owned(), ..webhook(WebhookKind::Ai, &["metrics.*"]) };
    let prepared = |event: &Event, forbids, overridden: &[&str]| {
        let overrides = overridden
            .iter()
            .map(|name| (Platform::new(*name).unwrap(), "agreed in writing on 2026-01-02".to_owned()))
            .collect();
        prepare(&ai, event, Some(&facts(forbids)), &overrides)
    };
    let event = change("spotify");
    let expected = Prepared::Send {
        url: "https://app.test/base/api/ai/analyze-metrics".to_owned(),
        body: json!({
            "artist_id": event.artist_id, "trigger_type": "daily_collection", "new_metrics": event.data["new_metrics"],
        }),
    };
    assert_eq!(prepared(&event, Some(false), &[]), expected);
    assert_eq!(prepared(&event, Some(true), &["spotify"]), expected);
    assert_eq!(prepared(&event, None, &["spotify"]), expected);
    for (forbids, overridden) in [(Some(true), &[][..]), (None, &[]), (Some(true), &["youtube"])] {
        let Prepared::Skip(reason) = prepared(&event, forbids, overridden) else { panic!("{forbids:?} was sent") };
        assert!(reason.contains("[deliveries.ai_overrides]"), "{reason}");
    }
    assert!(matches!(prepare(&ai, &event, None, &BTreeMap::new()), Prepared::Skip(_)), "the platform is not known");
    let collected =
        Event { kind: types::METRICS_COLLECTED.to_owned(), data: event.data["new_metrics"].clone(), ..event.clone() };
    assert_eq!(prepared(&collected, Some(false), &[]), expected, "the same from the plain event");
    let other = Event { kind: types::RUN_COMPLETED.to_owned(), ..event };
    assert!(matches!(prepared(&other, Some(false), &[]), Prepared::Skip(reason) if reason.contains("no metrics")));
}

#[test]
fn a_push_notification_is_a_sentence_for_the_artist() {
    let push = webhook(WebhookKind::Push, &["*"]);
    let event = change("spotify");
    let Prepared::Send { body, .. } = prepare(&push, &event, Some(&facts(Some(true))), &BTreeMap::new()) else {
        panic!("it is sent");
    };
    assert_eq!(body["artist_id"], json!(event.artist_id));
    assert_eq!((&body["title"], &body["body"]), (&json!("Spotify"), &json!("Followers are up 20.0 % to 1,200.")));
    assert_eq!(body["data"]["event_id"], json!(event.id));
    let run = Event { kind: types::RUN_COMPLETED.to_owned(), artist_id: None, ..event.clone() };
    assert!(matches!(prepare(&push, &run, None, &BTreeMap::new()), Prepared::Skip(_)));
}

#[test]
fn an_invalid_configuration_is_refused_by_its_key() {
    assert_eq!(DeliveriesConfig::default().check(), Ok(()));
    let changed = |change: &dyn Fn(&mut DeliveriesConfig)| {
        let mut config = DeliveriesConfig::default();
        change(&mut config);
        config.check().unwrap_err().0
    };
    assert_eq!(changed(&|config| config.backoff_base_ms = 0), "deliveries.backoff_base_ms");
    assert_eq!(changed(&|config| config.backoff_max_ms = 1), "deliveries.backoff_max_ms");
    assert_eq!(changed(&|config| config.give_up_after_s = 0), "deliveries.give_up_after_s");
    assert_eq!(changed(&|config| config.timeout_ms = 60_000), "deliveries.timeout_ms");
    assert_eq!(changed(&|config| config.in_flight_max = 0), "deliveries.in_flight_max");
    let empty = |config: &mut DeliveriesConfig| {
        config.ai_overrides.insert(Platform::new("spotify").unwrap(), " ".to_owned());
    };
    assert_eq!(changed(&empty), "deliveries.ai_overrides.spotify");
}
