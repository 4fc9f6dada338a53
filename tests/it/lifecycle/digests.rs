//! Tests of digests: that each comes once, at its time, with the numbers of its tenant and of nobody else.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::response::Response;
use backline::pipeline::{AlertReport, Host, NewDigest, NewRoute};
use backline_gateway::secrets::SecretText;
use backline_model::event::types;
use backline_model::growth::Changes;
use backline_model::{
    AccountStatus, AlertSeverity, AlertState, Artist, Batch, ChannelTarget, DigestDays, FailureClass, GrowthChange,
    GrowthRow, Outcome, SwapCause, Tenant,
};
use backline_store::{AlertFilter, BatchResult, DatabaseKind, Scope, Store};
use chrono::TimeDelta;
use serde_json::json;

use super::alerts::{MailServer, mail};
use crate::store::fixtures::{
    account, add_batches, artist, batch, create_run, day, demo, followers, lease, metric, now, release, result, run,
    stored,
};
use crate::support::database::{each_database, write};
use crate::support::http::{Server, answer};
use crate::support::post::{Post, RECEIVER, Time, body_of, taken};

fn north() -> Tenant {
    Tenant::new("north").expect("a name")
}

/// Artists 1 and 3 are north's: the first rose from 9,872 to 11,106, the other one must be connected again. Artist 2 is
/// another tenant's.
async fn collect(store: &Store) {
    let all = Scope::all_tenants();
    let of = |n: u128, name: &str, tenant: &str| Artist {
        name: name.to_owned(),
        tenant: Tenant::new(tenant).expect("a name"),
        ..artist(n)
    };
    let artists = [of(1, "<b>Ada & @here", "north"), of(2, "Bob", "south"), of(3, "Cid", "north")];
    store.artists_save(&all, &artists, now()).await.expect("saved");
    store.release_save(&release(), b"component").await.expect("saved");
    store.release_activate(release().digest, SwapCause::Activated, now()).await.expect("activated");
    store.accounts_save(&all, &[account(1), account(2), account(3)], now()).await.expect("saved");
    create_run(store, &run(1)).await;
    for n in 1..=3 {
        let tenant = artists[usize::try_from(n).expect("small") - 1].tenant.clone();
        let batch = Batch { tenant, ..batch(n, &run(1), &[&account(n)], day("2026-11-22")) };
        add_batches(store, &[batch], now()).await;
        let row = followers(&account(n), day("2026-11-22"), 11_106);
        let mut ended = stored(row.clone());
        let rose =
            GrowthChange { absolute: Some(1_234.0), percent: Some(12.5), gap_days: Some(1), ..GrowthChange::default() };
        let changes = Changes::from([(metric("followers"), BTreeMap::from([(1, rose), (7, rose)]))]);
        ended.stored.as_mut().expect("stored").growth = vec![GrowthRow {
            account_id: row.account_id,
            artist_id: row.artist_id,
            platform: demo(),
            metric_date: row.metric_date,
            changes,
        }];
        if n == 3 {
            ended = result(&row, Outcome::Failed { class: FailureClass::Reconnect, message: "canary".to_owned() });
            ended.status = Some(AccountStatus::ReconnectNeeded);
        }
        let done = BatchResult { accounts: vec![ended], ..BatchResult::default() };
        store.batch_complete(&lease(store).await, done, now()).await.expect("completed");
    }
}

async fn slack(post: &Post) {
    let secret = SecretText::new(format!("{RECEIVER}/ops"));
    post.host.alerts().add_channel("ops", ChannelTarget::Slack, &secret).await.expect("a channel");
}

/// Every day at 13 in UTC: an hour after the clock of the tests begins.
fn daily(name: &str, channel: &str) -> NewDigest {
    NewDigest {
        name: name.to_owned(),
        channel: channel.to_owned(),
        tenant: north(),
        every: DigestDays::Day,
        hour: 13,
        timezone: "UTC".parse().expect("a zone"),
        quiet: None,
    }
}

async fn round(host: &Host) -> AlertReport {
    host.alerts().deliver_due().await.expect("a round")
}

fn sent(sent: u64) -> AlertReport {
    AlertReport { sent, ..AlertReport::default() }
}

fn texts(post: &Post) -> Vec<String> {
    post.receiver.asked().iter().map(|asked| body_of(asked)["text"].as_str().expect("a text").to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_digest_comes_once_a_day_however_many_hosts_there_are() {
    each_database(async |store: Store, url: &str| {
        collect(&store).await;
        let post = Post::with(url, Time::noon(), Server::start(|_| taken()).await, |config| {
            config.service.url = Some("https://backline.test/".to_owned());
        })
        .await;
        slack(&post).await;
        post.host.alerts().add_digest(daily("north", "ops")).await.expect("a digest");
        assert_eq!(round(&post.host).await, AlertReport::default(), "it is not due");
        post.time.advance(TimeDelta::hours(1));
        let other = post.another_host(|_| {}).await;
        let (one, two) = tokio::join!(round(&post.host), round(&other));
        assert_eq!(one.sent + two.sent, 1, "{one:?} {two:?}");
        assert_eq!(round(&other).await, AlertReport::default());

        let said = texts(&post).remove(0);
        let title = "Daily digest of north, 22 November 2026: 1 account has numbers, 1 lacks some\n";
        assert!(said.starts_with(title), "{said}");
        // What is Slack's syntax is text, and nobody is called.
        let moved = "- &lt;b&gt;Ada &amp; @\u{200b}here, demo: followers +1,234 (+12.50 %) to 11,106 on 2026-11-22 · \
                     https://backline.test/artists/";
        assert!(said.contains(moved), "{said}");
        assert!(said.contains("- demo: 1 account: the artist has to connect it again"), "{said}");
        assert!(said.contains("- Cid, demo: the artist has to connect it again"), "{said}");
        assert!(!said.contains("Bob") && !said.contains("canary") && !said.contains(RECEIVER), "{said}");

        let listed = post.host.alerts().messages(&AlertFilter::default()).await.expect("listed");
        assert_eq!((listed.len(), listed[0].kind.as_str(), listed[0].is_test), (1, "digest", false));
        let due: Vec<_> = post.host.alerts().digests().await.expect("listed");
        assert_eq!(due[0].next_at, post.time.now() + TimeDelta::days(1));
        // Days without a host end with one digest.
        post.time.advance(TimeDelta::days(3));
        assert_eq!(round(&other).await, sent(1));
        assert!(texts(&post)[1].starts_with("Daily digest of north, 25 November 2026: 0 accounts have numbers"));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_digest_that_can_not_be_read_is_not_said_to_be_gone() {
    each_database(async |store: Store, url: &str| {
        collect(&store).await;
        let post = Post::open(url).await;
        slack(&post).await;
        post.host.alerts().add_digest(daily("north", "ops")).await.expect("a digest");
        write(url, "UPDATE alert_digests SET timezone = 'Mars/Phobos' WHERE name = 'north'").await;
        let error = post.host.alerts().preview_digest("north").await.expect_err("it can't be read").to_string();
        assert!(error.contains("timezone") && error.contains("Mars/Phobos"), "{error}");
        let error = post.host.alerts().preview_digest("south").await.expect_err("there is none").to_string();
        assert!(error.contains("named 'south'"), "{error}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_digest_that_comes_late_waits_for_the_end_of_its_quiet_hours() {
    each_database(async |store: Store, url: &str| {
        collect(&store).await;
        let post = Post::open(url).await;
        slack(&post).await;
        let new = NewDigest { quiet: Some("22:00-07:00".to_owned()), ..daily("north", "ops") };
        post.host.alerts().add_digest(new).await.expect("a digest");
        // No host ran until eleven at night.
        post.time.advance(TimeDelta::hours(11));
        assert_eq!(round(&post.host).await, AlertReport::default());
        post.time.advance(TimeDelta::hours(7));
        assert_eq!(round(&post.host).await, AlertReport::default());
        post.time.advance(TimeDelta::hours(1));
        assert_eq!(round(&post.host).await, sent(1));
        // It is of its own day.
        assert!(texts(&post)[0].starts_with("Daily digest of north, 22 November 2026: 1 account has numbers"));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_digest_is_sent_again_where_it_was_not_taken_and_not_where_it_may_have_been() {
    each_database(async |store: Store, url: &str| {
        collect(&store).await;
        let answers: [(fn() -> Response, AlertReport); 2] = [
            (|| answer(429, &[], ""), AlertReport { waiting: 1, ..AlertReport::default() }),
            (|| answer(500, &[], ""), AlertReport { unknown: 1, ..AlertReport::default() }),
        ];
        for (n, (refusal, report)) in answers.into_iter().enumerate() {
            let post = Post::with(url, Time::noon(), Server::start(move |_| refusal()).await, |_| {}).await;
            // Each host has a key of its own.
            let channel = format!("ops-{n}");
            let secret = SecretText::new(format!("{RECEIVER}/ops"));
            post.host.alerts().add_channel(&channel, ChannelTarget::Slack, &secret).await.expect("a channel");
            post.host.alerts().add_digest(daily(&channel, &channel)).await.expect("a digest");
            post.time.advance(TimeDelta::hours(1));
            assert_eq!(round(&post.host).await, report);
            post.time.advance(TimeDelta::minutes(1));
            let again = round(&post.host).await;
            assert_eq!(again.waiting, report.waiting, "{again:?}");
            assert_eq!(post.receiver.asked().len(), usize::try_from(1 + report.waiting).expect("small"));
            post.host.alerts().remove_digest(&channel).await.expect("removed");
            assert_eq!(round(&post.host).await, AlertReport::default(), "its message went with it");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_digest_that_waits_keeps_no_alert_of_its_channel_waiting() {
    each_database(async |store: Store, url: &str| {
        collect(&store).await;
        let receiver = Server::start(|asked| {
            let is_digest = String::from_utf8_lossy(&asked.body).contains("Daily digest");
            if is_digest { answer(429, &[("retry-after", "600")], "") } else { taken() }
        })
        .await;
        let post = Post::with(url, Time::noon(), receiver, |_| {}).await;
        slack(&post).await;
        post.host.alerts().add_digest(daily("north", "ops")).await.expect("a digest");
        let all = NewRoute {
            name: "all".to_owned(),
            channels: vec!["ops".to_owned()],
            events: Vec::new(),
            severity: AlertSeverity::Warning,
            tenant: None,
            window_s: 0,
            quiet: None,
        };
        post.host.alerts().add_route(all).await.expect("a route");
        post.time.advance(TimeDelta::hours(1));
        assert_eq!(round(&post.host).await, AlertReport { waiting: 1, ..AlertReport::default() });
        let data = json!({ "alert": "completion", "platform": "tiktok", "value": 0.4, "threshold": 0.8 });
        post.write(None, types::HEALTH_DEGRADED, data).await;
        post.time.advance(TimeDelta::seconds(2));
        assert_eq!(round(&post.host).await, sent(1), "the digest waits for ten minutes");
        assert!(texts(&post)[1].starts_with("[critical] health: completion"), "{:?}", texts(&post));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_digest_that_is_held_up_keeps_no_other_one_waiting() {
    each_database(async |store: Store, url: &str| {
        collect(&store).await;
        let post = Post::with(url, Time::noon(), Server::start(|_| taken()).await, |_| {}).await;
        slack(&post).await;
        for name in ["first", "second"] {
            post.host.alerts().add_digest(daily(name, "ops")).await.expect("a digest");
        }
        // The database refuses to move the first one.
        let refusal = match store.kind() {
            DatabaseKind::Sqlite => {
                "CREATE TRIGGER refused BEFORE UPDATE ON alert_digests WHEN OLD.name = 'first'
                 BEGIN SELECT RAISE(ABORT, 'refused'); END"
            }
            DatabaseKind::Postgres => {
                "ALTER TABLE alert_digests ADD CONSTRAINT refused
                     CHECK (name <> 'first' OR next_at < '2026-11-23') NOT VALID"
            }
        };
        write(url, refusal).await;
        post.time.advance(TimeDelta::hours(1));
        post.host.alerts().deliver_due().await.expect_err("it says so");
        assert_eq!(texts(&post).len(), 1, "the other one is sent");
        let left = post.host.alerts().digests().await.expect("listed");
        let is_due = |name: &str| left.iter().any(|one| one.name == name && one.next_at <= post.time.now());
        assert!(is_due("first") && !is_due("second"), "{left:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_is_held_up_keeps_none_of_its_channel_or_of_another_one_waiting() {
    each_database(async |store: Store, url: &str| {
        collect(&store).await;
        let post = Post::with(url, Time::noon(), Server::start(|_| taken()).await, |_| {}).await;
        slack(&post).await;
        let secret = SecretText::new(format!("{RECEIVER}/pager"));
        post.host.alerts().add_channel("pager", ChannelTarget::Slack, &secret).await.expect("a channel");
        let refused = post.host.alerts().add_digest(daily("first", "ops")).await.expect("a digest").id;
        for (name, channel) in [("second", "ops"), ("third", "pager")] {
            post.host.alerts().add_digest(daily(name, channel)).await.expect("a digest");
        }
        // The database refuses to lease the message of the first one.
        let refusal = match store.kind() {
            DatabaseKind::Sqlite => format!(
                "CREATE TRIGGER refused BEFORE UPDATE ON alert_messages WHEN OLD.digest_id = '{refused}'
                 BEGIN SELECT RAISE(ABORT, 'refused'); END"
            ),
            DatabaseKind::Postgres => format!(
                "ALTER TABLE alert_messages ADD CONSTRAINT refused
                     CHECK (digest_id <> '{refused}'::uuid OR lease_owner IS NULL) NOT VALID"
            ),
        };
        write(url, &refusal).await;
        post.time.advance(TimeDelta::hours(1));
        post.host.alerts().deliver_due().await.expect_err("it says so");
        assert_eq!(texts(&post).len(), 2, "the others are sent");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_digest_whose_host_died_is_made_again_unless_it_was_being_sent() {
    each_database(async |store: Store, url: &str| {
        collect(&store).await;
        let (all, ttl) = (Scope::all_tenants(), Duration::from_secs(60));
        for (n, is_made) in [false, true].into_iter().enumerate() {
            let post = Post::open(url).await;
            // Each host has a key of its own.
            let channel = format!("ops-{n}");
            let secret = SecretText::new(format!("{RECEIVER}/ops"));
            post.host.alerts().add_channel(&channel, ChannelTarget::Slack, &secret).await.expect("a channel");
            post.host.alerts().add_digest(daily(&channel, &channel)).await.expect("a digest");
            post.host.alerts().queue_digest(&channel).await.expect("queued");
            let now = post.time.now();
            let due = store.due_alerts_list(&all, now).await.expect("listed").remove(0);
            let lease = store.alert_lease(&all, &due, "dead", now, ttl, TimeDelta::zero()).await.expect("leased");
            let lease = lease.expect("it was free");
            if is_made {
                assert!(store.alert_mark_sending(&lease, now + ttl).await.expect("marked"));
            }
            post.time.advance(TimeDelta::seconds(59));
            assert_eq!(round(&post.host).await, AlertReport::default(), "the host may live");
            post.time.advance(TimeDelta::seconds(1));
            let unknown = AlertReport { unknown: 1, ..AlertReport::default() };
            assert_eq!(round(&post.host).await, if is_made { unknown } else { sent(1) });
            assert_eq!(post.receiver.asked().len(), usize::from(!is_made));
            assert!(!store.alert_mark_sending(&lease, now + ttl).await.expect("asked"), "the lease was lost");
            post.host.alerts().remove_digest(&channel).await.expect("removed");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_digest_that_was_not_taken_makes_way_for_that_of_a_later_day() {
    each_database(async |store: Store, url: &str| {
        collect(&store).await;
        let receiver = Server::start(|asked| {
            let is_first = String::from_utf8_lossy(&asked.body).contains("22 November");
            if is_first { answer(429, &[], "") } else { taken() }
        })
        .await;
        let post = Post::with(url, Time::noon(), receiver, |_| {}).await;
        slack(&post).await;
        post.host.alerts().add_digest(daily("north", "ops")).await.expect("a digest");
        post.time.advance(TimeDelta::hours(1));
        assert_eq!(round(&post.host).await, AlertReport { waiting: 1, ..AlertReport::default() });
        // No host ran meanwhile.
        post.time.advance(TimeDelta::days(3));
        assert_eq!(round(&post.host).await, AlertReport { skipped: 1, ..AlertReport::default() });
        post.time.advance(TimeDelta::seconds(1));
        assert_eq!(round(&post.host).await, sent(1));
        assert!(texts(&post)[1].starts_with("Daily digest of north, 25 November 2026"), "{:?}", texts(&post));
        assert_eq!(post.receiver.asked().len(), 2);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_digest_that_hosts_die_over_is_given_up() {
    each_database(async |store: Store, url: &str| {
        collect(&store).await;
        let post = Post::open(url).await;
        slack(&post).await;
        post.host.alerts().add_digest(daily("north", "ops")).await.expect("a digest");
        post.host.alerts().queue_digest("north").await.expect("queued");
        let (all, ttl) = (Scope::all_tenants(), Duration::from_secs(60));
        for _ in 0..5 {
            let now = post.time.now();
            let due = store.due_alerts_list(&all, now).await.expect("listed").remove(0);
            let lease = store.alert_lease(&all, &due, "dead", now, ttl, TimeDelta::zero()).await.expect("leased");
            assert!(lease.is_some());
            post.time.advance(TimeDelta::minutes(1));
        }
        assert_eq!(round(&post.host).await, AlertReport { failed: 1, ..AlertReport::default() });
        assert!(post.receiver.asked().is_empty());
        let ended = post.host.alerts().messages(&AlertFilter::default()).await.expect("listed").remove(0);
        let problem = "hosts ended while they made it";
        assert_eq!((ended.state, ended.problem.as_deref()), (AlertState::Failed, Some(problem)));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_that_lacks_two_dates_counts_once_by_its_newest() {
    each_database(async |store: Store, _: &str| {
        let all = Scope::all_tenants();
        store.artists_save(&all, &[artist(1)], now()).await.expect("saved");
        store.release_save(&release(), b"component").await.expect("saved");
        store.release_activate(release().digest, SwapCause::Activated, now()).await.expect("activated");
        store.accounts_save(&all, &[account(1)], now()).await.expect("saved");
        let dates = [("2026-11-21", FailureClass::RateLimited), ("2026-11-22", FailureClass::Unavailable)];
        for (n, (date, class)) in (1..).zip(dates) {
            create_run(&store, &run(n)).await;
            add_batches(&store, &[batch(n, &run(n), &[&account(1)], day(date))], now()).await;
            let failed = Outcome::Failed { class, message: "failed".to_owned() };
            let accounts = vec![result(&followers(&account(1), day(date), 5), failed)];
            let done = BatchResult { accounts, ..BatchResult::default() };
            store.batch_complete(&lease(&store).await, done, now()).await.expect("completed");
        }
        let (after, up_to) = (now() - TimeDelta::hours(1), now() + TimeDelta::hours(1));
        let missing = store.missing_numbers_list(&all, after, up_to).await.expect("counted");
        let counts: Vec<_> =
            missing.iter().map(|one| (one.reason.as_deref(), one.accounts, one.dates, one.newest)).collect();
        assert_eq!(counts, [(Some("rate_limited"), 1, 1, 0), (Some("unavailable"), 1, 1, 1)]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn by_mail_a_digest_is_text_and_a_page() {
    each_database(async |store: Store, url: &str| {
        collect(&store).await;
        let server = MailServer::start(true).await;
        let exempt = format!("https://localhost:{}", server.port());
        let post = Post::with(url, Time::noon(), Server::start(|_| taken()).await, |config| {
            config.gateway.exempt = vec![exempt.parse().expect("an origin")];
        })
        .await;
        let (alerts, password) = (post.host.alerts(), SecretText::new("a-password"));
        alerts.add_channel("mail", mail("localhost", server.port()), &password).await.expect("a channel");
        alerts.add_digest(daily("north", "mail")).await.expect("a digest");
        let preview = alerts.preview_digest("north").await.expect("a preview");
        assert!(server.told().is_empty(), "a preview sends nothing");
        assert!(preview.html.contains("&lt;b&gt;Ada &amp; @here") && !preview.html.contains("<b>Ada"));
        assert!(preview.text.starts_with(&preview.subject), "{preview:?}");

        let tested = alerts.send_digest("north").await.expect("sent");
        assert_eq!(json!(tested.message.state), json!("sent"), "{tested:?}");
        assert_eq!(tested.text, preview.text);
        let told = server.told();
        let has = |beginning: &str| told.iter().any(|line| line.starts_with(beginning));
        assert!(has("Subject: Daily digest of north, 22 November 2026"), "{told:?}");
        assert!(has("Content-Type: multipart/alternative;"), "{told:?}");
        assert!(has("Content-Type: text/plain") && has("Content-Type: text/html"), "{told:?}");
        let id = format!("Message-ID: <{}@sender.test>", tested.message.id);
        assert!(told.contains(&id), "{told:?}");
        assert!(told.iter().all(|line| !line.contains("a-password")), "{told:?}");
        // The one of the day comes all the same.
        post.time.advance(TimeDelta::hours(1));
        assert_eq!(round(&post.host).await, sent(1));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_digest_that_makes_no_sense_is_refused() {
    each_database(async |store: Store, url: &str| {
        collect(&store).await;
        let post = Post::open(url).await;
        slack(&post).await;
        let alerts = post.host.alerts();
        let duty = ChannelTarget::Pagerduty { url: format!("{RECEIVER}/v2/enqueue") };
        alerts.add_channel("duty", duty, &SecretText::new("key")).await.expect("a channel");
        alerts.add_digest(daily("north", "ops")).await.expect("a digest");
        let nobody = Tenant::new("nort").expect("a name");
        for (new, said) in [
            (daily("north", "ops"), "there is a digest of alerts named 'north' already"),
            (daily("Bad name", "ops"), "can't name a channel, route or digest"),
            (daily("other", "nothing"), "`backline alerts channels list`"),
            (daily("other", "opss"), "did you mean 'ops'?"),
            (daily("other", "duty"), "would be an incident"),
            (NewDigest { tenant: nobody, ..daily("other", "ops") }, "did you mean 'north'?"),
            (NewDigest { hour: 24, ..daily("other", "ops") }, "24 is no hour of a day"),
            (NewDigest { quiet: Some("12:00-14:00".to_owned()), ..daily("other", "ops") }, "would come at 14:00"),
            (NewDigest { quiet: Some("night".to_owned()), ..daily("other", "ops") }, "is not a span of hours"),
        ] {
            let refused = alerts.add_digest(new.clone()).await.expect_err(said).to_string();
            assert!(refused.contains(said), "{new:?}: {refused}");
        }
        let kept = alerts.remove_channel("ops").await.expect_err("a digest leads to it").to_string();
        assert!(kept.contains("`backline alerts digests remove north`"), "{kept}");
        let unknown = alerts.preview_digest("other").await.expect_err("there is none").to_string();
        assert!(unknown.contains("`backline alerts digests list`"), "{unknown}");
        for (refused, meant) in [
            (alerts.preview_digest("nrth").await.expect_err("a slip").to_string(), "north"),
            (alerts.remove_digest("nort").await.expect_err("a slip").to_string(), "north"),
            (alerts.remove_channel("dutyy").await.expect_err("a slip").to_string(), "duty"),
            (alerts.test("dutty", "run.completed").await.expect_err("a slip").to_string(), "duty"),
        ] {
            assert!(refused.contains(&format!("did you mean '{meant}'?")), "{refused}");
        }

        // Nobody is told of a tenant that is gone.
        for n in [1, 3] {
            post.host.privacy().erase(artist(n).id).await.expect("erased");
        }
        post.time.advance(TimeDelta::hours(1));
        assert_eq!(round(&post.host).await, AlertReport { skipped: 1, ..AlertReport::default() });
        assert!(post.receiver.asked().is_empty());
        alerts.remove_digest("north").await.expect("removed");
        alerts.remove_channel("ops").await.expect("removed");
    })
    .await;
}
