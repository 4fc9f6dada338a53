//! When digests are due, what moved, and what the words do to what others wrote.

use std::collections::BTreeMap;

use uuid::Uuid;

use super::*;
use backline_model::fixtures::{day, name};
use backline_model::growth::Changes;
use backline_model::{
    AccountId, ArtistId, DigestDays, GrowthChange, GrowthRow, MissingNumbers, NoChange, Platform, QuietHours, Tenant,
    Value,
};

fn at(text: &str) -> DateTime<Utc> {
    text.parse().expect("a time")
}

fn digest(every: DigestDays, hour: u32, zone: &str) -> AlertDigest {
    AlertDigest {
        id: Uuid::nil(),
        name: "label".to_owned(),
        channel: "mail".to_owned(),
        tenant: Tenant::new("label").expect("a name"),
        every,
        hour,
        timezone: zone.parse().expect("a zone"),
        quiet: None,
        next_at: at("2026-11-22T07:00:00Z"),
        created_at: at("2026-11-20T00:00:00Z"),
    }
}

fn due(date: &str, next: &str) -> DigestDue {
    DigestDue::Due { day: day(date), next_at: at(next) }
}

#[test]
fn a_digest_is_due_once_a_day_by_the_clocks_of_its_zone() {
    let daily = digest(DigestDays::Day, 8, "Europe/Berlin");
    assert_eq!(due_now(&daily, at("2026-11-22T06:59:59Z")), DigestDue::Waits);
    assert_eq!(due_now(&daily, at("2026-11-22T07:00:00Z")), due("2026-11-22", "2026-11-23T07:00:00Z"));
    // After days without a host there is one, of the latest day.
    assert_eq!(due_now(&daily, at("2026-11-25T06:00:00Z")), due("2026-11-24", "2026-11-25T07:00:00Z"));
    // Clocks are put forward between the two.
    assert_eq!(next_after(&daily, at("2026-03-28T08:00:00Z")), at("2026-03-29T06:00:00Z"));
    // An hour that a day has twice is meant once, and one that it lacks is its next one.
    let night = digest(DigestDays::Day, 2, "Europe/Berlin");
    assert_eq!(next_after(&night, at("2026-10-25T00:00:00Z")), at("2026-10-26T01:00:00Z"));
    assert_eq!(next_after(&night, at("2026-03-29T00:00:00Z")), at("2026-03-29T01:00:00Z"));
}

#[test]
fn a_weekly_digest_is_due_on_its_day_and_a_wrong_time_is_set_right() {
    let weekly = digest(DigestDays::Monday, 0, "Asia/Tokyo");
    // The stored time is no Monday there.
    assert_eq!(due_now(&weekly, at("2026-11-22T06:00:00Z")), DigestDue::Moves(at("2026-11-22T15:00:00Z")));
    assert_eq!(due_now(&weekly, at("2026-11-22T15:00:00Z")), due("2026-11-23", "2026-11-29T15:00:00Z"));
    let ahead = AlertDigest { next_at: at("2027-11-22T15:00:00Z"), ..weekly.clone() };
    assert_eq!(due_now(&ahead, at("2026-11-22T06:00:00Z")), DigestDue::Moves(at("2026-11-22T15:00:00Z")));
    let right = AlertDigest { next_at: at("2026-11-22T15:00:00Z"), ..weekly };
    assert_eq!(due_now(&right, at("2026-11-22T06:00:00Z")), DigestDue::Waits);
}

#[test]
fn a_digest_is_overtaken_when_the_next_one_is_due() {
    let weekly = digest(DigestDays::Monday, 8, "Europe/Berlin");
    assert!(!is_overtaken(&weekly, day("2026-11-23"), at("2026-11-30T06:59:59Z")));
    assert!(is_overtaken(&weekly, day("2026-11-23"), at("2026-11-30T07:00:00Z")));
    assert!(!is_overtaken(&weekly, day("2026-11-30"), at("2026-11-30T07:00:00Z")));
}

#[test]
fn a_period_is_a_day_or_a_week_and_ends_with_the_days_of_all_artists() {
    let daily = period(&digest(DigestDays::Day, 8, "Europe/Berlin"), at("2026-11-22T07:00:00Z"));
    assert_eq!((daily.since, daily.until), (day("2026-11-21"), day("2026-11-23")));
    assert_eq!((daily.after, daily.up_to), (at("2026-11-21T07:00:00Z"), at("2026-11-22T07:00:00Z")));
    let weekly = period(&digest(DigestDays::Monday, 8, "Europe/Berlin"), at("2026-03-30T06:00:00Z"));
    assert_eq!((weekly.since, weekly.after), (day("2026-03-29"), at("2026-03-23T07:00:00Z")));
}

#[test]
fn an_hour_is_one_of_a_day_and_not_within_the_quiet_hours() {
    let time = |text: &str| text.parse().expect("a time of day");
    let quiet = |from: &str, until: &str| {
        Some(QuietHours { from: time(from), until: time(until), zone: "UTC".parse().expect("a zone") })
    };
    let of = |hour, quiet| AlertDigest { quiet, ..digest(DigestDays::Day, hour, "UTC") };
    assert!(check(&of(23, None)).is_ok() && check(&of(24, None)).is_err());
    assert!(check(&of(8, quiet("22:00:00", "07:00:00"))).is_ok());
    assert!(check(&of(7, quiet("22:00:00", "07:00:00"))).is_ok());
    assert!(check(&of(6, quiet("22:00:00", "07:00:00"))).is_err());
    assert!(check(&of(8, quiet("22:00:00", "22:00:00"))).is_err());
    assert!(check_channel(&ChannelTarget::Slack).is_ok());
    assert!(check_channel(&ChannelTarget::Pagerduty { url: "https://a.test".to_owned() }).is_err());
}

fn by(absolute: f64, percent: f64) -> GrowthChange {
    GrowthChange { absolute: Some(absolute), percent: Some(percent), gap_days: Some(1), ..GrowthChange::default() }
}

fn without(reason: NoChange) -> GrowthChange {
    GrowthChange { reason: Some(reason), ..GrowthChange::default() }
}

fn row(n: u128, date: &str, changes: &[(&str, GrowthChange)]) -> GrowthRow {
    let changes: Changes =
        changes.iter().map(|(metric, change)| (name(metric), BTreeMap::from([(1, *change)]))).collect();
    GrowthRow {
        account_id: AccountId(Uuid::from_u128(n)),
        artist_id: ArtistId(Uuid::from_u128(1_000 + n)),
        platform: Platform::new("youtube").expect("a name"),
        metric_date: day(date),
        changes,
    }
}

fn moved(rows: &[GrowthRow]) -> Moved {
    let mut movers = Movers::over(1);
    rows.iter().for_each(|row| movers.take(row));
    movers.moved()
}

#[test]
fn what_moved_most_is_named_once_an_account_by_its_latest_row() {
    let moved = moved(&[
        row(1, "2026-11-22", &[("followers", by(100.0, 1.0)), ("views", by(500.0, 5.0)), ("likes", by(-20.0, -0.5))]),
        row(2, "2026-11-22", &[("followers", by(2.0, 100.0)), ("views", by(0.0, 0.0)), ("rate", by(-0.0, 0.0))]),
        row(3, "2026-11-22", &[("followers", without(NoChange::Gap)), ("streams", without(NoChange::Absent))]),
        // An earlier row of the first account counts no more.
        row(1, "2026-11-21", &[("followers", by(9_000.0, 900.0))]),
        row(4, "2026-11-21", &[("followers", by(50.0, 5.0))]),
    ]);
    assert_eq!((moved.rose, moved.fell, moved.stayed), (4, 1, 2));
    assert_eq!(moved.unknown, BTreeMap::from([(NoChange::Gap, 1)]));
    let named: Vec<_> = moved.gains.iter().map(|one| (one.account_id.0.as_u128(), one.metric.as_str())).collect();
    // Of the same share the larger difference comes first; two followers more are none to speak of.
    assert_eq!(named, [(1, "views"), (4, "followers")]);
    assert_eq!(moved.losses.len(), 1);
    let of = moved.platforms[&Platform::new("youtube").expect("a name")];
    assert_eq!((of.accounts, of.latest), (4, day("2026-11-22")));
}

#[test]
fn what_was_0_before_moved_although_it_has_no_share() {
    let from_0 = |by: f64| GrowthChange { absolute: Some(by), ..without(NoChange::ZeroBase) };
    let moved = moved(&[
        row(1, "2026-11-22", &[("views", from_0(0.0)), ("likes", from_0(5_000.0))]),
        row(2, "2026-11-22", &[("views", without(NoChange::ZeroBase))]),
    ]);
    assert_eq!((moved.rose, moved.fell, moved.stayed), (1, 0, 1));
    assert_eq!(moved.unknown, BTreeMap::from([(NoChange::ZeroBase, 1)]));
    assert!(moved.gains.is_empty(), "there is no share to rank it by");
}

#[test]
fn lists_do_not_grow_with_the_number_of_artists() {
    let rows: Vec<GrowthRow> =
        (1..=500).map(|n| row(n, "2026-11-22", &[("followers", by(1_000.0, n as f64))])).collect();
    let moved = moved(&rows);
    assert_eq!(moved.gains.len(), SHOWN_MAX);
    let shares: Vec<f64> = moved.gains.iter().map(|one| one.percent).collect();
    assert_eq!((shares[0], shares[SHOWN_MAX - 1]), (500.0, 491.0));
    assert_eq!(moved.accounts(), 500);
}

fn missing(outcome: &str, reason: Option<&str>, accounts: u64, dates: u64) -> MissingNumbers {
    let platform = Platform::new("tiktok").expect("a name");
    let (outcome, reason) = (outcome.to_owned(), reason.map(str::to_owned));
    MissingNumbers { platform, outcome, reason, accounts, dates, newest: accounts }
}

fn needy(n: u128) -> Needy {
    Needy {
        artist_id: ArtistId(Uuid::from_u128(n)),
        artist: format!("Artist {n}"),
        platform: Platform::new("tiktok").expect("a name"),
        problem: "the artist has to connect it again".to_owned(),
    }
}

#[test]
fn a_digest_says_in_words_what_moved_and_what_is_missing() {
    let mut moved = moved(&[row(1, "2026-11-22", &[("followers", by(1_234.0, 12.5))])]);
    for one in moved.named_mut() {
        (one.artist, one.value) = (Some("Ada".to_owned()), Some(Value::Integer(11_106)));
    }
    let missing = [
        missing("failed", Some("unavailable"), 1_200, 1_200),
        missing("excluded", Some("no_consent"), 7, 7),
        missing("excluded", Some("reconnect_needed"), 1, 2),
        missing("failed", Some("of a later version"), 1, 1),
    ];
    let facts = Facts {
        digest: &digest(DigestDays::Day, 8, "UTC"),
        day: day("2026-11-22"),
        moved: &moved,
        missing: &missing,
        needy: &[needy(2)],
        dashboard: Some("https://backline.test"),
    };
    let said = written(&facts);
    assert_eq!(said.text.title, "Daily digest of label, 22 November 2026: 1 account has numbers, 1,202 lack some");
    let text = said.text.whole();
    for line in [
        "Over a day, 1 number rose, 0 fell and 0 did not change.",
        "- tiktok: 1,200 accounts: the platform failed",
        "- tiktok: 1 account, 2 rows: the artist has to connect it again",
        "- tiktok: 1 account: the collection failed",
        "- youtube: 2026-11-22, 1 account",
        "- The dashboard · https://backline.test/",
    ] {
        assert!(text.lines().any(|known| known == line), "{line}: {text}");
    }
    let gain = "- Ada, youtube: followers +1,234 (+12.50 %) to 11,106 on 2026-11-22 · https://backline.test/artists/";
    assert!(text.contains(gain), "{text}");
    assert!(!text.contains("consent"), "the artist wants none: {text}");
    assert!(said.html.contains("<li>tiktok: 1,200 accounts: the platform failed</li>"), "{}", said.html);
    assert_eq!(said.html.matches("<ul>").count(), said.html.matches("</ul>").count());
    let nothing = Facts { moved: &Moved::default(), missing: &[], needy: &[], dashboard: None, ..facts };
    let said = written(&nothing);
    assert!(said.text.title.ends_with("0 accounts have numbers, none lacks any"), "{}", said.text.title);
    assert!(said.text.whole().contains("No numbers came in.") && !said.html.contains("href"), "{}", said.html);
}

#[test]
fn an_account_that_lacks_numbers_for_two_reasons_is_one_account() {
    let earlier = MissingNumbers { newest: 0, ..missing("failed", Some("rate_limited"), 1, 3) };
    let facts = Facts {
        digest: &digest(DigestDays::Monday, 8, "UTC"),
        day: day("2026-11-22"),
        moved: &Moved::default(),
        missing: &[missing("failed", Some("unavailable"), 1, 1), earlier],
        needy: &[],
        dashboard: None,
    };
    let said = written(&facts);
    assert!(said.text.title.ends_with("0 accounts have numbers, 1 lacks some"), "{}", said.text.title);
    let text = said.text.whole();
    assert!(text.contains("- tiktok: 1 account, 3 rows: the platform limited the rate"), "{text}");
}

#[test]
fn what_others_wrote_is_text_in_a_digest_of_bounded_size() {
    let mut moved = moved(&[row(1, "2026-11-22", &[("followers", by(1_234.0, 12.5))])]);
    for one in moved.named_mut() {
        one.artist = Some("</li><script>alert('x')</script>\r\nBcc: a@b.test\u{202e}".to_owned());
    }
    let missing: Vec<MissingNumbers> = (0..500).map(|n| missing("failed", None, n, n)).collect();
    let long = Needy { artist: "a".repeat(100_000), ..needy(3) };
    let needy: Vec<Needy> = (0..=SHOWN_MAX).map(|_| long.clone()).collect();
    let facts = Facts {
        digest: &digest(DigestDays::Monday, 8, "UTC"),
        day: day("2026-11-22"),
        moved: &moved,
        missing: &missing,
        needy: &needy,
        dashboard: None,
    };
    let said = written(&facts);
    assert!(!said.html.contains("<script") && said.html.contains("&lt;/li&gt;&lt;script&gt;"), "{}", said.html);
    let mut lines = said.text.lines.iter().chain([&said.text.title]);
    assert!(lines.all(|line| !line.contains(['\r', '\n', '\u{202e}'])), "{said:?}");
    assert!(said.text.whole().contains("and more: `backline accounts attention` shows them"));
    assert!(said.text.whole().len() < 20_000 && said.html.len() < 30_000, "{}", said.html.len());
}
