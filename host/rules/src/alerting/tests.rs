//! Tests of routing, quiet hours, texts and what answers mean.

use serde_json::json;
use uuid::Uuid;

use super::*;
use backline_model::{ChannelId, Event, MailTarget, Tenant};

fn at(text: &str) -> DateTime<Utc> {
    text.parse().expect("a time")
}

fn route(events: &[&str], severity: AlertSeverity) -> AlertRoute {
    AlertRoute {
        id: Uuid::nil(),
        name: "ops".to_owned(),
        channels: vec!["slack".to_owned()],
        events: events.iter().map(|&text| text.to_owned()).collect(),
        severity,
        tenant: None,
        window_s: 60,
        quiet: None,
        created_at: at("2026-11-22T00:00:00Z"),
    }
}

fn head<'a>(kind: &'a str, data: &'a Json) -> Head<'a> {
    Head { kind, platform: Some("tiktok"), tenant: Some("north"), data: Some(data) }
}

#[test]
fn a_route_takes_events_by_type_severity_and_tenant() {
    let data = json!({ "alert": "completion" });
    let all = route(&["*"], AlertSeverity::Warning);
    assert!(group(&all, head(types::HEALTH_DEGRADED, &data)).is_some());
    assert!(group(&all, head(types::METRICS_COLLECTED, &Json::Null)).is_none(), "it is only worth knowing");
    assert!(group(&route(&["run.*"], AlertSeverity::Info), head(types::HEALTH_DEGRADED, &data)).is_none());
    for (tenant, taken) in [("north", true), ("south", false)] {
        let tenant = Some(Tenant::new(tenant).expect("a tenant"));
        let of_one = AlertRoute { tenant, ..all.clone() };
        assert_eq!(group(&of_one, head(types::RECONNECT_NEEDED, &Json::Null)).is_some(), taken);
    }
    let failed = json!({ "status": "failed" });
    let taken = group(&route(&["*"], AlertSeverity::Critical), head(types::RUN_COMPLETED, &failed)).expect("taken");
    assert_eq!(taken.severity, AlertSeverity::Critical);
}

#[test]
fn beginning_and_end_are_apart_and_about_the_same() {
    let data = json!({ "alert": "completion" });
    // Who asked for beginnings gets the ends too.
    let only_beginnings = route(&[types::HEALTH_DEGRADED], AlertSeverity::Critical);
    let begun = group(&only_beginnings, head(types::HEALTH_DEGRADED, &data)).expect("taken");
    let over = group(&only_beginnings, head(types::HEALTH_RECOVERED, &data)).expect("taken");
    assert_eq!(begun.subject, over.subject);
    assert_ne!(begun.key(), over.key());
    let another = json!({ "alert": "lag" });
    let other = group(&route(&["*"], AlertSeverity::Info), head(types::HEALTH_DEGRADED, &another)).expect("taken");
    assert_ne!(other.subject, begun.subject);
}

#[test]
fn quiet_hours_hold_back_all_but_critical_messages_by_the_clocks_of_their_zone() {
    let quiet = |from: &str, until: &str| {
        let time = |text: &str| text.parse().expect("a time of day");
        Some(QuietHours { from: time(from), until: time(until), zone: "Europe/Berlin".parse().expect("a zone") })
    };
    let night = AlertRoute { quiet: quiet("22:00:00", "07:00:00"), ..route(&["*"], AlertSeverity::Info) };
    for (now, due) in [
        // 21:58 and 21:59 there: the window ends before, and just in, the quiet hours.
        ("2026-11-22T20:58:00Z", "2026-11-22T20:59:00Z"),
        ("2026-11-22T20:59:00Z", "2026-11-23T06:00:00Z"),
        ("2026-11-23T05:00:00Z", "2026-11-23T06:00:00Z"),
        ("2026-11-23T06:00:00Z", "2026-11-23T06:01:00Z"),
        // Clocks are put forward in that night.
        ("2026-03-28T23:00:00Z", "2026-03-29T05:00:00Z"),
    ] {
        assert_eq!(due_at(&night, AlertSeverity::Warning, at(now)), at(due), "{now}");
        assert_eq!(due_at(&night, AlertSeverity::Critical, at(now)), at(now) + TimeDelta::seconds(60), "{now}");
    }
    let noon = AlertRoute { quiet: quiet("12:00:00", "13:00:00"), ..night };
    assert_eq!(due_at(&noon, AlertSeverity::Info, at("2026-11-22T11:30:00Z")), at("2026-11-22T12:00:00Z"));
    let never = AlertRoute { quiet: quiet("12:00:00", "12:00:00"), ..noon };
    assert!(check_route(&never).is_err());
}

fn mail() -> ChannelTarget {
    let (server, from) = ("mail.test".to_owned(), "a@mail.test".to_owned());
    ChannelTarget::Email(MailTarget { server, port: 465, from, to: Vec::new(), user: None, ca: None })
}

#[test]
fn only_what_counts_once_is_sent_again_blindly() {
    let (due, now) = (at("2026-11-22T12:00:00Z"), at("2026-11-22T12:00:10Z"));
    let once = ChannelTarget::Pagerduty { url: "https://events.test".to_owned() };
    let answered = |status, seconds: Option<u64>| Attempted::Answered {
        status,
        retry_after: seconds.map(std::time::Duration::from_secs),
    };
    for target in [ChannelTarget::Slack, mail()] {
        for attempted in [answered(500, None), answered(503, Some(9)), Attempted::Unknown("it broke".to_owned())] {
            assert!(matches!(after(&target, &attempted, 1, due, now), AlertNext::Unknown(_)), "{attempted:?}");
            assert!(matches!(after(&once, &attempted, 1, due, now), AlertNext::Again { .. }), "{attempted:?}");
        }
    }
    let AlertNext::Again { at: again, .. } = after(&ChannelTarget::Slack, &answered(429, Some(40)), 1, due, now) else {
        panic!("it was not taken");
    };
    assert_eq!(again, now + TimeDelta::seconds(40), "the wait that was asked for");
    assert_eq!(after(&once, &answered(202, None), 1, due, now), AlertNext::Sent);
    assert!(matches!(after(&once, &answered(400, None), 1, due, now), AlertNext::Failed(_)));
    assert!(matches!(after(&once, &answered(302, None), 1, due, now), AlertNext::Failed(_)), "no redirect is followed");
    let later = due + TimeDelta::hours(6);
    assert!(matches!(after(&once, &Attempted::NotSent("away".to_owned()), 20, due, later), AlertNext::Failed(_)));
}

fn told<'a>(text: &'a AlertText, phase: AlertPhase) -> Told<'a> {
    Told {
        id: Uuid::from_u128(1),
        channel: ChannelId(Uuid::from_u128(2)),
        subject: "health.degraded/completion/tiktok/",
        kind: types::HEALTH_DEGRADED,
        phase,
        severity: AlertSeverity::Critical,
        count: 1,
        at: at("2026-11-22T12:00:00Z"),
        text,
    }
}

#[test]
fn a_text_is_lines_that_nothing_in_them_breaks() {
    let mut event: Event = sample(types::CONNECTOR_ROLLED_BACK, at("2026-11-22T12:00:00Z"));
    event.data["reason"] = json!("bad\r\nBcc: someone@else.test");
    let link = "https://app.test/connect?artist=1&x=".to_owned() + &"y".repeat(400);
    let shown = Shown { event, artist: Some("Ada\n<!channel>".to_owned()), reconnect_url: Some(link.clone()) };
    let events: Vec<_> = std::iter::repeat_n(shown, 12).collect();
    let said = text(types::CONNECTOR_ROLLED_BACK, AlertSeverity::Warning, false, 12, &events);
    assert_eq!(said.title, "[warning] example was rolled back");
    assert_eq!(said.lines.len(), SHOWN_MAX + 1);
    assert!(said.lines.iter().all(|line| !line.contains(['\r', '\n'])), "{said:?}");
    assert!(said.lines[0].ends_with(&format!(" · {link}")), "a link is told whole: {said:?}");
    assert!(said.lines[SHOWN_MAX].starts_with("and 2 more"), "{said:?}");
    let slack = request(&ChannelTarget::Slack, "https://hooks.test/x", &told(&said, AlertPhase::Firing));
    let body = slack.expect("a request").body["text"].to_string();
    assert!(body.contains("&lt;!channel&gt;") && !body.contains("<!"), "{body}");
}

#[test]
fn services_are_told_of_the_end_by_what_they_were_told_of_the_beginning_with() {
    let said = text(types::HEALTH_DEGRADED, AlertSeverity::Critical, false, 1, &[]);
    let (begins, ends) = (told(&said, AlertPhase::Firing), told(&said, AlertPhase::Recovered));
    let duty = ChannelTarget::Pagerduty { url: "https://events.test/v2/enqueue".to_owned() };
    let of = |told: &Told<'_>| request(&duty, "key", told).expect("a request").body;
    assert_eq!(
        (of(&begins)["event_action"].as_str(), of(&ends)["event_action"].as_str()),
        (Some("trigger"), Some("resolve"))
    );
    assert_eq!(of(&begins)["dedup_key"], of(&ends)["dedup_key"]);
    let genie = ChannelTarget::Opsgenie { url: "https://api.test/v2/alerts".to_owned() };
    let of = |told: &Told<'_>| request(&genie, "key", told).expect("a request");
    let alias = of(&begins).body["alias"].as_str().expect("an alias").to_owned();
    assert_eq!(of(&ends).url, format!("https://api.test/v2/alerts/{alias}/close?identifierType=alias"));
    assert!(request(&mail(), "", &begins).is_none());
}

#[test]
fn a_template_stays_the_json_that_it_is() {
    let said = AlertText { title: "\"}, {text}".to_owned(), lines: Vec::new() };
    let template = json!({ "msg": "{severity}: {title}", "n": 7, "list": ["{phase}"] });
    check_template(&template).expect("it is one");
    let channel = ChannelTarget::Generic { template };
    let filled = request(&channel, "https://in.test/x", &told(&said, AlertPhase::Firing)).expect("a request");
    assert_eq!(filled.body, json!({ "msg": "critical: \"}, {text}", "n": 7, "list": ["firing"] }));
    assert!(check_template(&json!({ "msg": "{secret}" })).is_err());
    assert!(check_template(&json!("{title}")).is_err());
}
