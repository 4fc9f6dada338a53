//! Where requests come from and what they are called, what is gone meanwhile, and hosts that only read.

use backline_model::audit::Actor;
use backline_model::retention::{self, Action, Before, RetainedTable, RetentionStep};
use backline_model::{Artist, Event, Role};
use backline_store::{ArchivePlace, AuditFilter, Scope};
use chrono::TimeDelta;
use serde_json::{Value as Json, json};

use super::events::Following;
use super::{Answering, operations};
use crate::store::fixtures::{artist, event, now, past};
use crate::store::scope::{fill, held, ours, theirs};
use crate::support::database::each_database;

const ID: &str = "018f4e6a-7c1d-7b3a-9c55-3f1d2a4b5c6d";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_keeps_its_id_in_answers_and_in_the_audit_log() {
    each_database(async |store, url| {
        fill(&store).await;
        let answering = Answering::on(url).await;
        let operator = answering.caller(Role::Operator, None).await;
        let header = format!("x-request-id: {ID}\r\n");
        for path in ["/v1/token", "/v1/nothing", "/v1/runs?nonsense=1"] {
            let answer = operator.get_with(path, &header).await;
            assert_eq!(answer.header("x-request-id"), ID, "{path}");
            assert!(answer.status == 200 || answer.json()["request_id"] == ID, "{path}: {}", answer.body);
        }
        let discard = format!("/v1/quarantine/{}/discard", held(2));
        assert_eq!(operator.post_with(&discard, "", &header).await.status, 200);
        let log = store.audit_list(&Scope::all_tenants(), &AuditFilter::default()).await.unwrap();
        let Actor::Token { request_id, .. } = &log[0].act.actor else { panic!("{:?}", log[0]) };
        assert_eq!(request_id.to_string(), ID);
        let made = operator.get_with("/v1/token", "x-request-id: not one\r\n").await;
        assert_ne!(made.header("x-request-id"), "not one");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_callers_address_is_what_trusted_proxies_say() {
    each_database(async |store, url| {
        fill(&store).await;
        let direct = Answering::on(url).await;
        let behind = Answering::with(url, |config| {
            config.service.trusted_proxies = vec!["127.0.0.0/8".parse().expect("a network")];
        })
        .await;
        let header = "x-forwarded-for: 192.0.2.9, 198.51.100.1\r\n";
        for (answering, n, expected) in [(&direct, 1, "127.0.0.1"), (&behind, 2, "198.51.100.1")] {
            let operator = answering.caller(Role::Operator, None).await;
            let answer = operator.post_with(&format!("/v1/quarantine/{}/discard", held(n)), "", header).await;
            assert_eq!(answer.status, 200, "{}", answer.body);
            let log = store.audit_list(&Scope::all_tenants(), &AuditFilter::default()).await.unwrap();
            let Actor::Token { origin, .. } = &log[0].act.actor else { panic!("{:?}", log[0]) };
            assert_eq!(origin, expected);
        }
        // Wrong tokens are counted for the caller, and another one behind the same proxy is not held up.
        for _ in 0..20 {
            assert_eq!(behind.get("/v1/token", &format!("authorization: Bearer x\r\n{header}")).await.status, 401);
        }
        let again = behind.get("/v1/token", &format!("authorization: Bearer x\r\n{header}")).await;
        assert_eq!(again.status, 429);
        let other = "authorization: Bearer x\r\nx-forwarded-for: 198.51.100.2\r\n";
        assert_eq!(behind.get("/v1/token", other).await.status, 401);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_that_only_reads_changes_nothing() {
    each_database(async |store, url| {
        fill(&store).await;
        let answering = Answering::with(url, |config| config.service.read_only = true).await;
        let admin = answering.caller(Role::Admin, None).await;
        let before = store.audit_list(&Scope::all_tenants(), &AuditFilter::default()).await.unwrap().len();
        for operation in operations(&backline::api::document(), "post") {
            let (path, ..) = super::filled(&operation.path);
            let refused = admin.post(&path, "").await;
            assert_eq!((refused.status, &refused.json()["code"]), (403, &json!("read_only")), "{path}");
        }
        assert_eq!(store.audit_list(&Scope::all_tenants(), &AuditFilter::default()).await.unwrap().len(), before);
        assert_eq!(admin.get("/v1/runs").await.status, 200);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_is_told_that_events_are_gone_which_it_has_not_read() {
    each_database(async |store, url| {
        let all = Scope::all_tenants();
        let owned = [Artist { tenant: ours(), ..artist(1) }, Artist { tenant: theirs(), ..artist(2) }];
        store.artists_save(&all, &owned, now()).await.unwrap();
        let at = now() - TimeDelta::days(40);
        let about = |n: u128, of: u128, occurred_at| Event {
            artist_id: Some(artist(of).id),
            occurred_at,
            kind: "test.told".to_owned(),
            ..event(n, None)
        };
        let events = [about(1, 1, at), about(2, 2, at), about(3, 2, at), about(4, 1, now()), about(5, 2, now())];
        store.events_write(&all, &events).await.unwrap();
        let answering = Answering::on(url).await;
        let viewer = answering.caller(Role::Viewer, None).await;
        let own = answering.caller(Role::Viewer, Some(ours())).await;
        let listed = viewer.get("/v1/events?limit=1000").await.json()["data"].as_array().expect("events").clone();
        let cursor_of = |n: u128| {
            let id = json!(event(n, None).id);
            let found = listed.iter().find(|one| one["id"] == id).expect("it is listed");
            found["cursor"].as_i64().expect("a number")
        };
        let step = RetentionStep {
            table: RetainedTable::Events,
            action: Action::Delete,
            scope: retention::RowFilter::default(),
            except: Vec::new(),
            unless_authorised: false,
            before: Before::Time(now() - TimeDelta::days(30)),
            everywhere_before: None,
            daily: true,
            rule: "test".to_owned(),
            rows: None,
        };
        let from = ArchivePlace::default();
        let taken = store.archive_due_put_away(&all, &step, &[], &from, 10, past(now())).await.unwrap();
        assert_eq!(taken.rows, 3);

        let (first, oldest) = (cursor_of(1), cursor_of(3));
        let refused = viewer.get(&format!("/v1/events?after={first}")).await;
        assert_eq!((refused.status, &refused.json()["code"]), (410, &json!("events_gone")), "{}", refused.body);
        assert_eq!(refused.json()["oldest"], json!(oldest));
        let header = format!("last-event-id: {first}\r\n");
        assert_eq!(viewer.get_with("/v1/events/stream", &header).await.status, 410);
        // From there on nothing is missing, and the beginning is that of what there is.
        for after in [oldest, 0] {
            let rest = viewer.get(&format!("/v1/events?after={after}")).await.json();
            let told = |one: &&Json| one["type"] == "test.told";
            assert_eq!(rest["data"].as_array().expect("events").iter().filter(told).count(), 2, "{rest}");
        }
        // A tenant of which nothing is gone since goes on.
        let rest = own.get(&format!("/v1/events?after={first}")).await;
        assert_eq!(rest.status, 200, "{}", rest.body);
        let mut stream = Following::begin(&own, "/v1/events/stream", &header).await;
        stream.until("event: test.told").await;
        assert_eq!(stream.ids().last(), Some(&cursor_of(4)), "{}", stream.read);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_document_is_a_page_that_loads_its_style_sheet_alone() {
    each_database(async |_, url| {
        let answering = Answering::on(url).await;
        for (path, content_type) in
            [("/openapi", "text/html; charset=utf-8"), ("/openapi.css", "text/css; charset=utf-8")]
        {
            let page = answering.get(path, "").await;
            assert_eq!((page.status, page.header("content-type")), (200, content_type), "{path}");
            let policy = page.header("content-security-policy");
            assert!(policy.starts_with("default-src 'none'; style-src 'self';"), "{policy}");
            assert_eq!(page.header("x-content-type-options"), "nosniff");
        }
        let page = answering.get("/openapi", "").await.body;
        assert!(page.contains("<code>/v1/metrics</code>") && page.contains("href=\"/openapi.css\""), "{page}");
    })
    .await;
}
