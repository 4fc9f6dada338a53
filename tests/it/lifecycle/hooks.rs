//! Tests of webhooks: allowed targets, signatures, and the handling of responses.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use backline::pipeline::{NewWebhook, WebhookError, examine};
use backline_gateway::secrets::Keyring;
use backline_model::event::types;
use backline_model::{DeliveryState, Digest, Grant, Manifest, Platform, Release, ReleaseState, SwapCause, WebhookKind};
use backline_store::{DeliveryFilter, Scope, Store};
use chrono::TimeDelta;
use serde_json::json;
use sqlx::Row as _;
use sqlx::any::AnyPoolOptions;

use crate::support::database::each_database;
use crate::support::http::{Server, answer};
use crate::support::post::{Post, Time, body_of, change, taken, verify};

fn new(name: &str, url: &str) -> NewWebhook {
    NewWebhook {
        name: name.to_owned(),
        url: url.to_owned(),
        kind: WebhookKind::Webhook,
        events: Vec::new(),
        tenant: None,
        from_start: false,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_webhook_cannot_target_a_private_address() {
    each_database(async |store: Store, url: &str| {
        let inside = Server::start(|_| taken()).await;
        let post = Post::open(url).await;
        let artist = post.artist(1, "default").await;
        let port = inside.base().rsplit(':').next().expect("a port").to_owned();
        for target in [
            format!("https://127.0.0.1:{port}/x"),
            "https://169.254.169.254/latest/meta-data".to_owned(),
            "https://[64:ff9b::a9fe:a9fe]/".to_owned(),
            "https://[::ffff:127.0.0.1]/".to_owned(),
            "https://[::1]/".to_owned(),
            "https://2130706433/".to_owned(),
            "https://localhost/".to_owned(),
        ] {
            let refused = post.host.webhooks().add(new("inside", &target)).await.expect_err(&target).to_string();
            assert!(refused.contains("is not a public address"), "{target}: {refused}");
        }
        for target in [
            format!("http://127.0.0.1:{port}/x"),
            "http://hooks.example/".to_owned(),
            "https://user:canary@hooks.example/".to_owned(),
            "file:///etc/passwd".to_owned(),
            "hooks.example".to_owned(),
        ] {
            let refused = post.host.webhooks().add(new("inside", &target)).await.expect_err(&target);
            assert!(matches!(refused, WebhookError::Request(_)), "{target}: {refused}");
            assert!(!refused.to_string().contains("canary"), "{refused}");
        }
        assert!(store.webhooks_list(&Scope::all_tenants()).await.expect("listed").is_empty());

        // Exemptions differ between hosts, so the address is checked at every delivery.
        let exempt = post
            .another_host(|config| {
                let origins = [format!("https://127.0.0.1:{port}"), "https://localhost:8443".to_owned()];
                config.gateway.exempt = origins.map(|origin| origin.parse().expect("an origin")).to_vec();
            })
            .await;
        exempt.webhooks().add(new("plain", &format!("http://127.0.0.1:{port}/x"))).await.expect("it is exempt");
        exempt.webhooks().add(new("named", "https://localhost:8443/")).await.expect("it is exempt");
        post.write(Some(artist), types::METRICS_COLLECTED, json!({})).await;
        assert_eq!(post.host.dispatcher().deliver_due().await.expect("a round").failed, 2);
        let failed = store.deliveries_list(&Scope::all_tenants(), &DeliveryFilter::default()).await.expect("listed");
        for delivery in &failed {
            let problem = delivery.problem.as_deref().expect("the delivery has a problem");
            assert!(problem.contains("is not a public address") || problem.contains("only https"), "{problem}");
            assert_eq!(delivery.state, DeliveryState::Waiting, "the delivery failed and waits");
        }
        let tested = post.host.webhooks().test("named").await.expect_err("refused").to_string();
        assert!(tested.contains("is not a public address"), "{tested}");
        assert!(inside.asked().is_empty(), "no request arrived");

        post.time.advance(TimeDelta::hours(1));
        assert_eq!(exempt.dispatcher().deliver_due().await.expect("a round").delivered, 1);
        assert_eq!(inside.asked().len(), 1, "an exempt address is reached");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_skips_webhooks_whose_secrets_it_cannot_decrypt() {
    each_database(async |store: Store, url: &str| {
        let post = Post::open(url).await;
        post.add("app", WebhookKind::Webhook, &[]).await;
        let clock = post.host.clock().clone();
        let obstacles = async |key: Option<String>| {
            let mut config = post.host.config().clone();
            config.secrets.key = key;
            let found = examine(&config, &clock, Some(store.clone())).await;
            found.err().unwrap_or_default().iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
        };
        let with_its_key = obstacles(post.host.config().secrets.key.clone()).await;
        assert!(!with_its_key.contains("key"), "{with_its_key}");
        assert!(obstacles(None).await.contains("no key is configured"));
        assert!(obstacles(Some(Keyring::generate_base64())).await.contains("does not open"));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_are_signed_with_every_valid_secret() {
    each_database(async |_store: Store, url: &str| {
        let post = Post::open(url).await;
        let old = post.add("app", WebhookKind::Webhook, &[]).await;
        let tested = post.host.webhooks().test("app").await.expect("answered");
        assert!(tested.accepted && tested.status == 204);
        let message = &post.receiver.asked()[0];
        assert_eq!(verify(message, &old), (1, post.time.now().timestamp()));
        assert_eq!(body_of(message)["type"], "webhook.test");
        assert_eq!(message.headers["content-type"], "application/json");

        let new = post.host.webhooks().rotate_secret("app", TimeDelta::hours(24)).await.expect("rotated");
        let new = new.expose().to_owned();
        assert_ne!(new, old);
        post.host.webhooks().test("app").await.expect("answered");
        let message = &post.receiver.asked()[1];
        assert_eq!((verify(message, &old).0, verify(message, &new).0), (2, 2), "both secrets sign for a day");
        post.time.advance(TimeDelta::hours(24));
        post.host.webhooks().test("app").await.expect("answered");
        assert_eq!(verify(&post.receiver.asked()[2], &new).0, 1, "the old secret no longer signs");

        let newest = post.host.webhooks().rotate_secret("app", TimeDelta::zero()).await.expect("rotated");
        post.host.webhooks().test("app").await.expect("answered");
        assert_eq!(verify(&post.receiver.asked()[3], newest.expose()).0, 1, "the previous secret ends at once");
        assert!(post.host.webhooks().rotate_secret("app", TimeDelta::days(31)).await.is_err());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn responses_are_respected_and_redirects_are_not_followed() {
    each_database(async |store: Store, url: &str| {
        let status = Arc::new(AtomicU16::new(302));
        let says = Arc::clone(&status);
        let receiver = Server::start(move |_| {
            let headers = [("location", "https://hooks.test/elsewhere"), ("retry-after", "1800")];
            answer(says.load(Ordering::SeqCst), &headers, "x".repeat(1 << 20))
        })
        .await;
        let post = Post::with(url, Time::noon(), receiver, |_| {}).await;
        post.add("app", WebhookKind::Webhook, &[]).await;
        let artist = post.artist(1, "default").await;
        let first = post.write(Some(artist), types::METRICS_COLLECTED, json!({ "n": 1 })).await;
        let shown = async || {
            store
                .deliveries_list(&Scope::all_tenants(), &DeliveryFilter::default())
                .await
                .expect("listed")
                .pop()
                .expect("one")
        };

        assert_eq!(post.host.dispatcher().deliver_due().await.expect("a round").failed, 1);
        assert_eq!(post.receiver.asked().len(), 1, "the redirect was followed");
        assert!(shown().await.problem.is_some_and(|said| said.contains("redirects are not followed")));

        status.store(429, Ordering::SeqCst);
        post.time.advance(TimeDelta::minutes(1));
        post.host.dispatcher().deliver_due().await.expect("a round");
        assert_eq!(shown().await.next_at, Some(post.time.now() + TimeDelta::minutes(30)), "the delay of Retry-After");

        status.store(410, Ordering::SeqCst);
        post.time.advance(TimeDelta::minutes(30));
        post.host.dispatcher().deliver_due().await.expect("a round");
        let webhook = store.webhook_get(&Scope::all_tenants(), "app").await.expect("it is there");
        let behind = store.webhooks_behind_list(&Scope::all_tenants()).await.expect("listed").remove(0);
        assert_eq!(behind.disabled_reason, webhook.disabled_reason);
        assert!(!webhook.enabled && webhook.disabled_reason.is_some_and(|said| said.contains("410")));
        let before = post.receiver.asked().len();
        let second = post.write(Some(artist), types::METRICS_COLLECTED, json!({ "n": 2 })).await;
        post.time.advance(TimeDelta::days(2));
        post.host.dispatcher().deliver_due().await.expect("a round");
        assert_eq!(post.receiver.asked().len(), before, "nothing is sent to a disabled webhook");

        // The day of retries starts again.
        status.store(500, Ordering::SeqCst);
        post.host.webhooks().switch("app", true).await.expect("it is there");
        let report = post.host.dispatcher().deliver_due().await.expect("a round");
        assert_eq!((report.failed, report.parked), (1, 0), "{report:?}");
        let before = post.receiver.asked().len();
        status.store(200, Ordering::SeqCst);
        post.time.advance(TimeDelta::hours(1));
        assert_eq!(post.host.dispatcher().deliver_due().await.expect("a round").delivered, 2);
        let told: Vec<_> = post.receiver.asked()[before..].iter().map(crate::support::post::id_of).collect();
        assert_eq!(told, [first.id, second.id], "no event was lost");
        assert_eq!(store.webhook_get(&Scope::all_tenants(), "app").await.expect("it is there").disabled_reason, None);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_ai_webhook_gets_only_what_the_platforms_terms_allow() {
    each_database(async |store: Store, url: &str| {
        let post = Post::open(url).await;
        for (name, forbids) in [("spotify", true), ("youtube", false)] {
            let release = release(name, forbids);
            store.release_save(&release, name.as_bytes()).await.expect("saved");
            store.release_activate(release.digest, SwapCause::Activated, post.time.now()).await.expect("activated");
        }
        post.add_at("ai", "https://hooks.test/app", WebhookKind::Ai, &[], None).await;
        post.add("push", WebhookKind::Push, &[]).await;
        let artist = post.artist(1, "default").await;
        for platform in ["spotify", "youtube", "unheard"] {
            post.write(Some(artist), types::SIGNIFICANT_CHANGE, change(artist, platform)).await;
            post.write(Some(artist), types::METRICS_COLLECTED, change(artist, platform)["new_metrics"].clone()).await;
        }
        let report = post.host.dispatcher().deliver_due().await.expect("a round");
        assert_eq!((report.noted, report.delivered, report.skipped), (6, 4, 2), "{report:?}");
        let to = |target: &str| {
            let asked = post.receiver.asked().into_iter().filter(|asked| asked.target == target);
            asked.map(|asked| body_of(&asked)).collect::<Vec<_>>()
        };
        let expected = json!({
            "artist_id": artist, "trigger_type": "daily_collection",
            "new_metrics": change(artist, "youtube")["new_metrics"],
        });
        assert_eq!(to("/app/api/ai/analyze-metrics"), [expected]);
        let titles: Vec<_> = to("/push").iter().map(|push| push["title"].clone()).collect();
        assert_eq!(
            titles,
            ["Title of spotify", "Title of youtube", "unheard"],
            "terms on AI do not apply to notifications for people"
        );
        assert_eq!(to("/push")[0]["body"], "Followers are up 20.0 % to 1,200.");
        let filter = DeliveryFilter { state: Some(DeliveryState::Skipped), ..DeliveryFilter::default() };
        let mut reasons = store.deliveries_list(&Scope::all_tenants(), &filter).await.expect("listed");
        reasons.sort_by_key(|delivery| delivery.problem.clone());
        let reasons: Vec<String> = reasons.into_iter().filter_map(|delivery| delivery.problem).collect();
        assert!(reasons[0].contains("no release is active for unheard"), "{reasons:?}");
        assert!(reasons[1].contains("the terms of spotify forbid AI use"), "{reasons:?}");

        let permitted = post
            .another_host(|config| {
                let reason = "contract of 2026-03-01, paragraph 4".to_owned();
                config.deliveries.ai_overrides =
                    BTreeMap::from([(Platform::new("spotify").expect("a platform"), reason)]);
            })
            .await;
        post.write(Some(artist), types::SIGNIFICANT_CHANGE, change(artist, "spotify")).await;
        permitted.dispatcher().deliver_due().await.expect("a round");
        let sent = to("/app/api/ai/analyze-metrics");
        assert_eq!((sent.len(), &sent[1]["new_metrics"]["platform"]), (2, &json!("spotify")));
    })
    .await;
}

fn release(platform: &str, forbids_ai: bool) -> Release {
    let manifest = Manifest::parse(&format!(
        "[connector]\nname = \"{platform}\"\nplatform = \"{platform}\"\nversion = \"1.0.0\"\napi = \"^1\"\n\
         title = \"Title of {platform}\"\nbatch_size = 50\n\
         [policy]\nforbids_ai = {forbids_ai}\n\
         [[metric]]\nname = \"followers\"\nkind = \"gauge\"\nunit = \"followers\"\n"
    ))
    .expect("a manifest");
    Release {
        digest: Digest::of(platform.as_bytes()),
        grant: Grant::all_of(&manifest, &[]),
        manifest,
        wit_version: "1.0.0".to_owned(),
        imports: Vec::new(),
        state: ReleaseState::Granted,
        state_reason: None,
        wanted: false,
        active: false,
        source: "test.wasm".to_owned(),
        signed_by: None,
        installed_at: Time::noon().now(),
        size_bytes: 7,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_secret_of_a_webhook_is_stored_or_shown_in_plain_text() {
    each_database(async |store: Store, url: &str| {
        let receiver = Server::start(|asked| answer(500, &[], asked.headers["webhook-signature"].clone())).await;
        let post = Post::with(url, Time::noon(), receiver, |_| {}).await;
        let old = post.add("app", WebhookKind::Webhook, &[]).await;
        let new = post.host.webhooks().rotate_secret("app", TimeDelta::hours(1)).await.expect("rotated");
        let new = new.expose().to_owned();
        let artist = post.artist(1, "default").await;
        post.write(Some(artist), types::METRICS_COLLECTED, json!({})).await;
        post.host.dispatcher().deliver_due().await.expect("a round");

        let mut haystack =
            serde_json::to_string(&store.webhooks_list(&Scope::all_tenants()).await.expect("listed")).expect("JSON");
        haystack += &format!("{:?}", store.webhooks_list(&Scope::all_tenants()).await.expect("listed"));
        let webhook = store.webhook_get(&Scope::all_tenants(), "app").await.expect("it is there");
        haystack += &format!("{:?}", store.webhook_secrets_get(&Scope::all_tenants(), webhook.id).await.expect("read"));
        haystack += &format!(
            "{:?}",
            store.deliveries_list(&Scope::all_tenants(), &DeliveryFilter::default()).await.expect("listed")
        );
        haystack += &format!("{:?}", post.host.config());
        let pool = AnyPoolOptions::new().max_connections(1).connect(url).await.expect("the database opens");
        let (prefix, bytes) = if url.starts_with("sqlite") {
            ("", "hex(secret) || hex(previous_secret)")
        } else {
            ("backline.", "encode(secret, 'hex') || encode(previous_secret, 'hex')")
        };
        let query = format!("SELECT {bytes} AS sealed FROM {prefix}webhooks");
        let row = sqlx::query(sqlx::AssertSqlSafe(query)).fetch_one(&pool).await.expect("the row");
        let sealed: String = row.get("sealed");
        pool.close().await;
        assert!(sealed.len() > 200, "both secrets are stored");
        let hex = |text: &str| text.bytes().map(|byte| format!("{byte:02x}")).collect::<String>();
        for secret in [old, new] {
            let encoded = secret.strip_prefix("whsec_").expect("its prefix");
            use base64::Engine as _;
            let key = base64::engine::general_purpose::STANDARD.decode(encoded).expect("base64");
            assert!(!haystack.contains(encoded), "a secret was shown");
            let key: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
            for shown in [hex(encoded), key] {
                assert!(!sealed.to_ascii_lowercase().contains(&shown), "a secret is stored in plain text");
            }
        }
        assert!(!haystack.contains("v1,"), "a signature was shown");
    })
    .await;
}
