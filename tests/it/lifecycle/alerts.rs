//! Tests of alerts to people: grouping, order, what is sent again and what is not, mail, and erasure.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::response::Response;
use backline::pipeline::{AlertReport, NewRoute};
use backline_gateway::secrets::SecretText;
use backline_model::event::types;
use backline_model::{AccountId, AlertSeverity, AlertState, ChannelTarget, MailTarget};
use backline_store::{AlertFilter, Furthest, Scope, SetBack, Store};
use chrono::TimeDelta;
use serde_json::{Value as Json, json};
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncWrite, AsyncWriteExt as _, BufReader};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{self, ServerConfig};

use crate::support::bytes::holds;
use crate::support::certificates::ONE;
use crate::support::database::{each_database, write};
use crate::support::http::{Server, answer};
use crate::support::post::{Post, RECEIVER, Time, body_of, taken};

/// How long messages gather in these tests.
const WINDOW: TimeDelta = TimeDelta::seconds(60);

async fn slack(post: &Post, name: &str) {
    let secret = SecretText::new(format!("{RECEIVER}/{name}"));
    post.host.alerts().add_channel(name, ChannelTarget::Slack, &secret).await.expect("a channel");
}

async fn duty(post: &Post) {
    let target = ChannelTarget::Pagerduty { url: format!("{RECEIVER}/v2/enqueue") };
    post.host.alerts().add_channel("duty", target, &SecretText::new("routing-key")).await.expect("a channel");
}

async fn route(post: &Post, name: &str, channels: &[&str]) {
    let new = NewRoute {
        name: name.to_owned(),
        channels: channels.iter().map(|&channel| channel.to_owned()).collect(),
        events: Vec::new(),
        severity: AlertSeverity::Warning,
        tenant: None,
        window_s: 60,
        quiet: None,
    };
    post.host.alerts().add_route(new).await.expect("a route");
}

/// One round of sending after a time.
async fn after(post: &Post, time: TimeDelta) -> AlertReport {
    post.time.advance(time);
    post.host.alerts().deliver_due().await.expect("a round")
}

async fn at_once(post: &Post) -> AlertReport {
    after(post, TimeDelta::zero()).await
}

fn sent(sent: u64) -> AlertReport {
    AlertReport { sent, ..AlertReport::default() }
}

/// A receiver that answers these, and then takes everything.
async fn scripted(answers: Vec<fn() -> Response>) -> Server {
    let answers: Arc<Mutex<VecDeque<_>>> = Arc::new(Mutex::new(answers.into()));
    Server::start(move |_| answers.lock().expect("not poisoned").pop_front().map_or_else(taken, |answer| answer()))
        .await
}

fn texts(post: &Post) -> Vec<String> {
    post.receiver.asked().iter().map(|asked| body_of(asked)["text"].as_str().expect("a text").to_owned()).collect()
}

fn completion() -> Json {
    json!({ "alert": "completion", "platform": "tiktok", "value": 0.4, "threshold": 0.8 })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_of_a_kind_are_one_message_and_beginning_and_end_are_two() {
    each_database(async |_: Store, url: &str| {
        let post = Post::open(url).await;
        slack(&post, "ops").await;
        // An event that two routes lead to one channel is told once.
        route(&post, "all", &["ops"]).await;
        route(&post, "again", &["ops"]).await;
        for n in [1, 2] {
            let artist = post.artist(n, "default").await;
            let data = json!({ "artist_id": artist, "platform": "tiktok" });
            post.write(Some(artist), types::RECONNECT_NEEDED, data).await;
        }
        post.write(None, types::CONNECTOR_ACTIVATED, json!({ "platform": "tiktok", "name": "tiktok" })).await;
        assert_eq!(at_once(&post).await, AlertReport::default(), "it gathers");
        assert_eq!(after(&post, WINDOW).await, sent(1));
        let said = texts(&post);
        assert!(said[0].starts_with("[warning] 2 accounts of tiktok must be reconnected\n"), "{said:?}");
        assert!(said[0].contains("Artist 1") && said[0].contains("Artist 2"), "{said:?}");

        post.write(None, types::HEALTH_DEGRADED, completion()).await;
        post.write(None, types::HEALTH_RECOVERED, completion()).await;
        assert_eq!(at_once(&post).await, AlertReport::default());
        assert_eq!(after(&post, WINDOW).await, sent(1), "Slack takes one a second");
        assert_eq!(at_once(&post).await, AlertReport::default());
        assert_eq!(after(&post, TimeDelta::seconds(1)).await, sent(1));
        let said = texts(&post);
        assert!(said[1].starts_with("[critical] health: completion of tiktok is outside"), "{said:?}");
        assert!(said[2].starts_with("[critical] recovered: completion of tiktok"), "{said:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_alert_says_where_an_artist_connects_an_account_again() {
    each_database(async |_: Store, url: &str| {
        let receiver = Server::start(|_| taken()).await;
        let post = Post::with(url, Time::noon(), receiver, |config| {
            let template = "https://app.example.com/{artist}/{platform}?a={account}".to_owned();
            config.service.reconnect_url = Some(template.try_into().expect("a template"));
        })
        .await;
        slack(&post, "ops").await;
        route(&post, "all", &["ops"]).await;
        let artist = post.artist(1, "default").await;
        let account = AccountId(uuid::Uuid::from_u128(9));
        let data = json!({ "account_id": account, "artist_id": artist, "platform": "tiktok" });
        post.write(Some(artist), types::RECONNECT_NEEDED, data).await;
        assert_eq!(at_once(&post).await, AlertReport::default(), "it gathers");
        assert_eq!(after(&post, WINDOW).await, sent(1));
        let link = format!("https://app.example.com/{artist}/tiktok?a={account}");
        let said = texts(&post);
        assert!(said[0].contains(&link), "{said:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slack_is_asked_again_only_where_it_took_nothing() {
    each_database(async |_: Store, url: &str| {
        let receiver = scripted(vec![|| answer(429, &[("retry-after", "40")], ""), || answer(500, &[], "")]).await;
        let post = Post::with(url, Time::noon(), receiver, |_| {}).await;
        slack(&post, "ops").await;
        route(&post, "all", &["ops"]).await;
        post.write(None, types::HEALTH_DEGRADED, completion()).await;
        at_once(&post).await;
        assert_eq!(after(&post, WINDOW).await, AlertReport { waiting: 1, ..AlertReport::default() });
        assert_eq!(after(&post, TimeDelta::seconds(39)).await, AlertReport::default(), "it asked for more");
        let unknown = AlertReport { unknown: 1, ..AlertReport::default() };
        assert_eq!(after(&post, TimeDelta::seconds(1)).await, unknown);
        assert_eq!(after(&post, TimeDelta::hours(1)).await, AlertReport::default());
        assert_eq!(post.receiver.asked().len(), 2, "it may have taken the second one");
        let listed = post.host.alerts().messages(&AlertFilter::default()).await.expect("listed");
        assert_eq!((listed[0].state, listed[0].status, listed[0].events), (AlertState::Unknown, Some(500), 1));
        let none = AlertFilter { limit: Some(0), ..AlertFilter::default() };
        assert_eq!(post.host.alerts().messages(&none).await.expect("listed"), []);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_end_is_told_after_its_beginning_under_the_same_key() {
    each_database(async |_: Store, url: &str| {
        let receiver = scripted(vec![|| answer(500, &[], "")]).await;
        let post = Post::with(url, Time::noon(), receiver, |_| {}).await;
        duty(&post).await;
        route(&post, "all", &["duty"]).await;
        post.write(None, types::HEALTH_DEGRADED, completion()).await;
        post.write(None, types::HEALTH_RECOVERED, completion()).await;
        at_once(&post).await;
        assert_eq!(after(&post, WINDOW).await, AlertReport { waiting: 1, ..AlertReport::default() });
        assert_eq!(after(&post, TimeDelta::seconds(5)).await, sent(2));
        let asked: Vec<Json> = post.receiver.asked().iter().map(body_of).collect();
        let actions: Vec<_> = asked.iter().map(|body| body["event_action"].as_str().expect("an action")).collect();
        assert_eq!(actions, ["trigger", "trigger", "resolve"]);
        assert_eq!(asked[0]["dedup_key"], asked[2]["dedup_key"]);
        assert_eq!(asked[0]["routing_key"], "routing-key");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_host_died_over_is_sent_again_only_where_that_counts_once() {
    each_database(async |store: Store, url: &str| {
        let post = Post::open(url).await;
        slack(&post, "ops").await;
        duty(&post).await;
        route(&post, "all", &["ops", "duty"]).await;
        post.write(None, types::HEALTH_DEGRADED, completion()).await;
        at_once(&post).await;
        post.time.advance(WINDOW);
        let (all, now) = (Scope::all_tenants(), post.time.now());
        let due = store.due_alerts_list(&all, now).await.expect("listed");
        assert_eq!(due.len(), 2);
        for alert in &due {
            let lease = store.alert_lease(&all, alert, "dead", now, Duration::from_secs(60), TimeDelta::zero()).await;
            assert!(lease.expect("leased").is_some());
        }
        assert_eq!(after(&post, TimeDelta::seconds(59)).await, AlertReport::default(), "it may be sending still");
        let ended = after(&post, TimeDelta::seconds(1)).await;
        assert_eq!(ended, AlertReport { sent: 1, unknown: 1, ..AlertReport::default() });
        let asked = post.receiver.asked();
        assert_eq!(asked.len(), 1);
        assert_eq!(body_of(&asked[0])["event_action"], "trigger");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_can_not_be_read_keeps_no_later_one_from_its_turn() {
    each_database(async |_: Store, url: &str| {
        let post = Post::open(url).await;
        slack(&post, "ops").await;
        route(&post, "all", &["ops"]).await;
        post.write(None, types::HEALTH_DEGRADED, completion()).await;
        at_once(&post).await;
        write(url, "UPDATE alert_messages SET phase = 'of a later version'").await;
        post.write(None, types::HEALTH_RECOVERED, completion()).await;
        assert_eq!(at_once(&post).await, AlertReport::default(), "it gathers");
        assert_eq!(after(&post, WINDOW).await, sent(1));
        let said = texts(&post);
        assert!(said[0].starts_with("[critical] recovered: completion of tiktok"), "{said:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn alerts_whose_times_a_clock_ahead_set_are_due_again() {
    each_database(async |store: Store, url: &str| {
        let post = Post::open(url).await;
        slack(&post, "ops").await;
        route(&post, "all", &["ops"]).await;
        post.write(None, types::HEALTH_DEGRADED, completion()).await;
        at_once(&post).await;
        assert_eq!(after(&post, TimeDelta::days(40)).await, sent(1), "its channel is busy in 40 days");
        post.write(None, types::HEALTH_DEGRADED, completion()).await;
        assert_eq!(at_once(&post).await, AlertReport::default(), "it is due in 40 days");
        post.time.advance(TimeDelta::days(-40));
        assert_eq!(after(&post, WINDOW).await, AlertReport::default());

        let (all, now) = (Scope::all_tenants(), post.time.now());
        let (minutes, days) = (now + TimeDelta::minutes(40), now + TimeDelta::days(3));
        let furthest = Furthest {
            lease_ends: days,
            batch: days,
            deferred: days,
            delivery: days,
            delivery_lease: days,
            alert: days,
            alert_retry: minutes,
            alert_lease: minutes,
        };
        let set_back = store.times_set_back(&all, &furthest, now).await.expect("set back");
        assert_eq!(set_back, SetBack { alerts: 2, ..SetBack::default() });
        assert_eq!(at_once(&post).await, sent(1));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_told_of_an_artist_who_was_erased_meanwhile() {
    each_database(async |_: Store, url: &str| {
        let post = Post::open(url).await;
        slack(&post, "ops").await;
        route(&post, "all", &["ops"]).await;
        let artist = post.artist(1, "default").await;
        post.write(Some(artist), types::RECONNECT_NEEDED, json!({ "platform": "tiktok" })).await;
        at_once(&post).await;
        let erased = post.host.privacy().erase(artist).await.expect("erased");
        assert_eq!(erased.receipt.rows["alert_events"], 1);
        assert_eq!(after(&post, WINDOW).await, AlertReport { skipped: 1, ..AlertReport::default() });
        assert!(post.receiver.asked().is_empty());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_channel_reaches_no_private_address_and_shows_no_secret() {
    each_database(async |store: Store, url: &str| {
        let post = Post::open(url).await;
        let inside = SecretText::new("https://127.0.0.1/x");
        let refused = post.host.alerts().add_channel("ops", ChannelTarget::Slack, &inside).await.expect_err("refused");
        assert!(refused.to_string().contains("is not a public address"), "{refused}");
        let target = mail("127.0.0.1", 587);
        let refused = post.host.alerts().add_channel("mail", target, &SecretText::new("canary")).await;
        let refused = refused.expect_err("refused").to_string();
        assert!(refused.contains("is not a public address") && refused.contains("https://127.0.0.1:587"), "{refused}");

        slack(&post, "ops").await;
        let channels = post.host.alerts().channels().await.expect("listed");
        assert!(!json!(channels).to_string().contains(RECEIVER), "{channels:?}");
        let sealed = store.alert_channel_secret_get(&Scope::all_tenants(), channels[0].id).await.expect("read");
        let sealed = sealed.expect("there");
        assert!(!holds(&sealed, RECEIVER), "it is sealed");
        route(&post, "all", &["ops"]).await;
        let kept = post.host.alerts().remove_channel("ops").await.expect_err("a route leads to it").to_string();
        assert!(kept.contains("`backline alerts routes remove all`"), "{kept}");
        post.host.alerts().remove_route("all").await.expect("removed");
        post.host.alerts().remove_channel("ops").await.expect("removed");
    })
    .await;
}

pub(super) fn mail(server: &str, port: u16) -> ChannelTarget {
    ChannelTarget::Email(MailTarget {
        server: server.to_owned(),
        port,
        from: "Backline <backline@sender.test>".to_owned(),
        to: vec!["ada@ops.test".to_owned(), "bob@ops.test".to_owned()],
        user: Some("backline".to_owned()),
        ca: Some(ONE.certificate.to_owned()),
    })
}

/// A mail server that takes everything, and remembers what it was told.
pub(super) struct MailServer {
    port: u16,
    told: Arc<Mutex<Vec<String>>>,
    _tasks: JoinSet<()>,
}

impl MailServer {
    pub(super) async fn start(offers_tls: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let told: Arc<Mutex<Vec<String>>> = Arc::default();
        let memory = Arc::clone(&told);
        let acceptor = acceptor();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.expect("a connection");
                stream.write_all(b"220 localhost\r\n").await.expect("greeted");
                let plain = converse(stream, &memory, offers_tls).await;
                if let Some(stream) = plain {
                    let stream = acceptor.accept(stream).await.expect("a handshake");
                    memory.lock().expect("not poisoned").push("(encrypted)".to_owned());
                    converse(stream, &memory, false).await;
                }
            }
        });
        Self { port, told, _tasks: tasks }
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    pub(super) fn told(&self) -> Vec<String> {
        self.told.lock().expect("not poisoned").clone()
    }
}

fn acceptor() -> TlsAcceptor {
    let certificate = CertificateDer::from_pem_slice(ONE.certificate.as_bytes()).expect("a certificate");
    let key = PrivateKeyDer::from_pem_slice(ONE.key.as_bytes()).expect("a key");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .expect("a pair");
    TlsAcceptor::from(Arc::new(config))
}

/// Answers commands of SMTP until the end; returns the stream where TLS is to begin.
async fn converse<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    told: &Mutex<Vec<String>>,
    offers_tls: bool,
) -> Option<S> {
    let (mut stream, mut in_data) = (BufReader::new(stream), false);
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await.unwrap_or(0) == 0 {
            return None;
        }
        let line = line.trim_end().to_owned();
        told.lock().expect("not poisoned").push(line.clone());
        let word = line.split([' ', ':']).next().unwrap_or_default().to_uppercase();
        let reply = match word.as_str() {
            _ if in_data && line != "." => continue,
            _ if in_data => {
                in_data = false;
                "250 taken"
            }
            "EHLO" if offers_tls => "250-localhost\r\n250-8BITMIME\r\n250 STARTTLS",
            "EHLO" => "250-localhost\r\n250-8BITMIME\r\n250 AUTH PLAIN",
            "STARTTLS" if offers_tls => "220 begin",
            "AUTH" => "235 welcome",
            "DATA" => {
                in_data = true;
                "354 go on"
            }
            "QUIT" => "221 bye",
            _ => "250 fine",
        };
        if stream.get_mut().write_all(format!("{reply}\r\n").as_bytes()).await.is_err() {
            return None;
        }
        // TLS keeps what is written until it is told to send it.
        if stream.get_mut().flush().await.is_err() {
            return None;
        }
        if word == "STARTTLS" && offers_tls {
            return Some(stream.into_inner());
        }
        if word == "QUIT" {
            return None;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mail_is_sent_by_tls_or_not_at_all() {
    each_database(async |_: Store, url: &str| {
        for offers_tls in [true, false] {
            let server = MailServer::start(offers_tls).await;
            let exempt = format!("https://localhost:{}", server.port);
            let receiver = Server::start(|_| taken()).await;
            let post = Post::with(url, Time::noon(), receiver, |config| {
                config.gateway.exempt = vec![exempt.parse().expect("an origin")];
            })
            .await;
            let name = if offers_tls { "mail" } else { "bare" };
            let alerts = post.host.alerts();
            let password = SecretText::new("a-password");
            alerts.add_channel(name, mail("localhost", server.port), &password).await.expect("a channel");
            let tested = alerts.test(name, types::RUN_COMPLETED).await.expect("tested");
            assert!(tested.text.starts_with("[critical] TEST, nothing happened: the run of"), "{}", tested.text);
            let told = server.told();
            let place = |beginning: &str| told.iter().position(|line| line.starts_with(beginning));
            if offers_tls {
                assert_eq!(tested.message.state, AlertState::Sent, "{tested:?}");
                let encrypted = place("(encrypted)").expect("TLS");
                assert!(place("AUTH PLAIN ").expect("a login") > encrypted && place("MAIL FROM") > Some(encrypted));
                assert_eq!(told.iter().filter(|line| line.starts_with("RCPT TO")).count(), 2);
                let id = format!("Message-ID: <{}@sender.test>", tested.message.id);
                assert!(told.contains(&id), "{told:?}");
                assert!(place("Subject: [critical] TEST").is_some(), "{told:?}");
            } else {
                assert_eq!(tested.message.state, AlertState::Waiting, "{tested:?}");
                assert!(tested.message.problem.expect("a problem").contains("TLS is required"));
                assert!(place("AUTH").is_none() && place("MAIL").is_none(), "{told:?}");
            }
        }
    })
    .await;
}
