//! Tests that a host whose numbers are simulated says so in all that leaves it, and that no other does.

use backline::pipeline::{Host, NewDigest};
use backline_gateway::secrets::SecretText;
use backline_model::event::types;
use backline_model::{AlertState, ChannelTarget, DigestDays, InstallationId, Role, Tenant, WebhookKind, Zone};
use backline_store::Store;
use chrono::TimeDelta;
use serde_json::{Value as Json, json};

use super::api::Answering;
use super::support::ask;
use crate::store::fixtures::now;
use crate::support::database::each_database;
use crate::support::post::{Post, RECEIVER, body_of};

/// The header of every answer.
const MARK: &str = "backline-simulated: true";

/// What is asked, each with the status of its answer: endpoints, the API with and without a token, pages, refusals.
const ASKED: [(&str, &str, u16); 10] = [
    ("GET", "/healthz", 200),
    ("GET", "/readyz", 200),
    ("GET", "/metrics", 200),
    ("GET", "/openapi.json", 200),
    ("GET", "/v1/metrics?format=csv", 200),
    ("GET", "/v1/health", 200),
    ("GET", "/v1/nothing", 404),
    ("GET", "/nothing", 404),
    ("PUT", "/v1/health", 405),
    ("GET", "/login", 200),
];

/// The answers of a host, each with what was asked.
async fn answers(url: &str) -> Vec<(String, String, String)> {
    let answering = Answering::on(url).await;
    let (_, token) = answering.token(Role::Admin, None, None).await;
    let mut all = Vec::new();
    for (method, path, expected) in ASKED {
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: here.test\r\nconnection: close\r\nauthorization: Bearer {}\r\n\r\n",
            token.expose()
        );
        let (status, head, body) = ask(&answering.address, &request).await;
        assert_eq!(status, expected, "{method} {path}: {body}");
        all.push((format!("{method} {path}"), head, body));
    }
    // Without a token.
    let request = "GET /v1/runs HTTP/1.1\r\nhost: here.test\r\nconnection: close\r\n\r\n";
    let (status, head, body) = ask(&answering.address, request).await;
    assert_eq!(status, 401, "{body}");
    all.push(("without a token".to_owned(), head, body));
    all
}

fn of<'a>(answers: &'a [(String, String, String)], asked: &str) -> &'a str {
    let found = answers.iter().find(|(name, _, _)| name == asked);
    &found.unwrap_or_else(|| panic!("{asked} was not asked")).2
}

#[tokio::test]
async fn every_answer_of_a_simulated_host_says_so_and_no_other_does() {
    each_database(async |store: Store, url: &str| {
        let plain = answers(url).await;
        for (asked, head, body) in &plain {
            assert!(!head.contains("backline-simulated"), "{asked}: {head}");
            assert!(!body.contains("class=\"simulated\""), "{asked}: {body}");
        }
        let health: Json = serde_json::from_str(of(&plain, "GET /v1/health")).expect("JSON");
        assert_eq!(health.get("simulated"), None);

        let claimed = store.installation_claim(InstallationId::SIMULATED, now()).await.expect("claimed");
        assert_eq!(claimed, InstallationId::SIMULATED);
        let marked = answers(url).await;
        for (asked, head, _) in &marked {
            assert!(head.lines().any(|line| line == MARK), "{asked}: {head}");
        }
        let health: Json = serde_json::from_str(of(&marked, "GET /v1/health")).expect("JSON");
        assert_eq!(health["simulated"], true);
        assert_eq!(of(&marked, "GET /login").matches("class=\"simulated\"").count(), 1);
    })
    .await;
}

#[tokio::test]
async fn a_database_of_an_installation_of_its_own_is_not_simulated() {
    each_database(async |store: Store, url: &str| {
        let is_simulated = async || {
            let mut config = backline::config::Config::default();
            config.database.url = url.to_owned();
            let host = Host::open(config, backline_model::clock::Clock::system()).await.expect("the host opens");
            host.is_simulated()
        };
        assert!(!is_simulated().await, "it belongs to none");
        store.installation_claim(InstallationId::generate(), now()).await.expect("claimed");
        assert!(!is_simulated().await, "it belongs to another one");
        store.installation_claim(InstallationId::SIMULATED, now()).await.expect("asked");
        assert!(!is_simulated().await, "what it is of never changes");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_about_what_is_simulated_says_so_and_no_other_does() {
    each_database(async |store: Store, url: &str| {
        let post = Post::open(url).await;
        let artist = post.artist(1, "default").await;
        post.add("app", WebhookKind::Webhook, &[]).await;
        let (alerts, secret) = (post.host.alerts(), SecretText::new(format!("{RECEIVER}/ops")));
        alerts.add_channel("ops", ChannelTarget::Slack, &secret).await.expect("a channel");
        let digest = NewDigest {
            name: "label".to_owned(),
            channel: "ops".to_owned(),
            tenant: Tenant::default(),
            every: DigestDays::Day,
            hour: 13,
            timezone: Zone::utc(),
            quiet: None,
        };
        alerts.add_digest(digest).await.expect("a digest");
        for is_simulated in [false, true] {
            if is_simulated {
                let claimed = store.installation_claim(InstallationId::SIMULATED, now()).await.expect("claimed");
                assert_eq!(claimed, InstallationId::SIMULATED);
            }
            post.write(None, types::RUN_COMPLETED, json!({})).await;
            assert_eq!(post.host.dispatcher().deliver_due().await.expect("a round").delivered, 1);
            let event = post.receiver.asked().pop().expect("a message");
            assert_eq!(event.headers.get("backline-simulated").is_some_and(|value| value == "true"), is_simulated);

            let tested = alerts.test("ops", types::RUN_COMPLETED).await.expect("tested");
            assert_eq!(tested.message.state, AlertState::Sent, "{tested:?}");
            assert_eq!(tested.text.starts_with("Simulated: "), is_simulated, "{}", tested.text);
            let sent = body_of(&post.receiver.asked().pop().expect("a message"));
            let sent = sent["text"].as_str().expect("a text");
            assert_eq!(sent.starts_with("Simulated: "), is_simulated, "{sent}");
            // Slack takes one a second.
            post.time.advance(TimeDelta::seconds(2));

            let preview = alerts.preview_digest("label").await.expect("a preview");
            assert_eq!(preview.subject.starts_with("Simulated: "), is_simulated, "{preview:?}");
            assert_eq!(preview.html.matches("<strong>Simulated.</strong>").count(), usize::from(is_simulated));

            let exported = post.host.privacy().export(artist, std::io::sink(), &|_, _| {}).await.expect("exported");
            assert_eq!(exported.simulated, is_simulated);
        }
    })
    .await;
}
