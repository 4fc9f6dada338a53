//! Requests that come again under the same key: repeated, raced, and after a host that was killed.

use std::collections::BTreeSet;

use backline_model::Role;
use backline_model::audit::ActOutcome;
use backline_store::{AuditFilter, DatabaseKind, Scope, Store};
use chrono::TimeDelta;
use serde_json::json;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use super::{Answer, Answering, Caller, operations};
use crate::store::fixtures::{account, artist, now, run};
use crate::store::scope::{fill, held as value_held};
use crate::support::database::{each_database, write};
use crate::support::proxy::Proxy;

/// How often hosts are killed, each a moment later than the one before.
const KILLS: usize = 12;

fn key(text: &str) -> String {
    format!("idempotency-key: {text}\r\n")
}

fn is_replayed(answer: &Answer) -> bool {
    answer.head.contains("\r\nidempotency-replayed: true")
}

/// How often something was done, by the audit log.
async fn acts(store: &Store, action: &str) -> usize {
    let filter = AuditFilter { action: Some(action.to_owned()), ..AuditFilter::default() };
    store.audit_list(&Scope::all_tenants(), &filter).await.unwrap().len()
}

async fn runs_of_hand(caller: &Caller<'_>) -> usize {
    let runs = caller.get("/v1/runs?limit=1000").await.json()["data"].as_array().expect("runs").clone();
    let known: BTreeSet<String> = (1..=4).map(|n| run(n).id.to_string()).collect();
    runs.iter().filter(|run| run["id"].as_str().is_some_and(|id| !known.contains(id))).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repetition_gets_the_answer_of_the_first_and_acts_no_more() {
    each_database(async |store, url| {
        fill(&store).await;
        let answering = Answering::on(url).await;
        let operator = answering.caller(Role::Operator, None).await;
        let counted = operator.get("/v1/bulk/count?action=accounts_disable").await.json();
        let disable = json!({
            "action": "accounts_disable", "filter": {}, "reason": "a test", "count": counted["data"][0]["count"],
        });
        let asked = [
            ("quarantine discard", format!("/v1/quarantine/{}/discard", value_held(2)), "{}".to_owned()),
            ("quarantine release", format!("/v1/quarantine/{}/release", value_held(3)), String::new()),
            ("batches retry", "/v1/batches/retry".to_owned(), json!({ "all_dead": true }).to_string()),
            ("run", "/v1/runs".to_owned(), json!({ "platforms": ["demo"] }).to_string()),
            ("run cancel", format!("/v1/runs/{}/cancel", run(2).id), json!({ "reason": "a test" }).to_string()),
            ("bulk start", "/v1/bulk".to_owned(), disable.to_string()),
        ];
        for (action, path, body) in &asked {
            let header = key(action);
            let first = operator.post_with(path, body, &header).await;
            assert_eq!(first.status, 200, "{path}: {}", first.body);
            assert!(!is_replayed(&first), "{path}: {}", first.head);
            for _ in 0..2 {
                let again = operator.post_with(path, body, &header).await;
                assert_eq!((again.status, &again.body), (200, &first.body), "{path}");
                assert!(is_replayed(&again), "{path}: {}", again.head);
            }
            assert_eq!(acts(&store, action).await, 1, "{action}");
            // Of another request, even of one that is valid.
            let other = if body.is_empty() { "{}" } else { "" };
            let reused = operator.post_with(path, other, &header).await;
            assert_eq!((reused.status, &reused.json()["code"]), (422, &json!("key_reused")), "{path}: {}", reused.body);
        }
        // All of them are tested that take a key.
        let document = backline::api::document();
        let takes_key = |path: &str| {
            let parameters = document["paths"][path]["post"]["parameters"].as_array().expect("a list").clone();
            parameters.iter().any(|one| one["name"] == "idempotency-key")
        };
        let (with, without): (Vec<_>, Vec<_>) =
            operations(&document, "post").into_iter().partition(|operation| takes_key(&operation.path));
        assert_eq!(with.len(), asked.len());
        assert!(!without.is_empty());
        // Another token's keys are its own.
        let other = answering.caller(Role::Operator, None).await;
        let (action, path, body) = &asked[0];
        let decided = other.post_with(path, body, &key(action)).await;
        assert_eq!((decided.status, &decided.json()["code"]), (409, &json!("refused")), "{}", decided.body);
        // What was refused is not kept.
        let first = operator.post_with(path, body, &key("another")).await;
        assert_eq!((first.status, is_replayed(&first)), (409, false));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_requests_at_once_one_acts_and_both_are_answered_the_same() {
    each_database(async |store, url| {
        fill(&store).await;
        let (one, other) = (Answering::on(url).await, Answering::on(url).await);
        let first = one.caller(Role::Operator, None).await;
        let second = Caller { answering: &other, token: first.token.clone() };
        let cancel = format!("/v1/runs/{}/cancel", run(2).id);
        for (action, path, body) in [
            ("run", "/v1/runs", "{\"platforms\": [\"demo\"]}"),
            ("run cancel", cancel.as_str(), "{}"),
            ("batches retry", "/v1/batches/retry", "{\"all_dead\": true}"),
        ] {
            let header = key(action);
            let (a, b) = tokio::join!(first.post_with(path, body, &header), second.post_with(path, body, &header));
            assert_eq!((a.status, b.status), (200, 200), "{path}: {} {}", a.body, b.body);
            assert_eq!(a.body, b.body, "{path}");
            assert!(is_replayed(&a) != is_replayed(&b), "{path}: one of them acted");
            assert_eq!(acts(&store, action).await, 1, "{action}");
        }
        assert_eq!(runs_of_hand(&first).await, 1);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_is_carried_out_once_whenever_its_host_is_killed() {
    each_database(async |store, url| {
        fill(&store).await;
        let lasting = Answering::on(url).await;
        let caller = lasting.caller(Role::Operator, None).await;
        let body = "{\"platforms\": [\"demo\"]}";
        for round in 0..KILLS {
            let header = key(&format!("round {round}"));
            let dying = Answering::on(url).await;
            let request = Caller { answering: &dying, token: caller.token.clone() }.posting("/v1/runs", body, &header);
            let mut stream = TcpStream::connect(&dying.address).await.expect("it listens");
            stream.write_all(request.as_bytes()).await.expect("sent");
            // Later each time: before it is read, while it is carried out, after it was answered.
            for _ in 0..round * round * 8 {
                tokio::task::yield_now().await;
            }
            drop(dying);
            drop(stream);
            let answer = caller.post_with("/v1/runs", body, &header).await;
            assert_eq!(answer.status, 200, "{}", answer.body);
            let again = caller.post_with("/v1/runs", body, &header).await;
            assert_eq!((again.body == answer.body, is_replayed(&again)), (true, true), "{}", again.body);
            assert_eq!(runs_of_hand(&caller).await, round + 1, "it is planned once");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_can_not_be_kept_undoes_the_act() {
    each_database(async |store, url| {
        fill(&store).await;
        let answering = Answering::on(url).await;
        let operator = answering.caller(Role::Operator, None).await;
        let discard = format!("/v1/quarantine/{}/discard", value_held(2));
        write(url, "ALTER TABLE api_answers RENAME COLUMN created_at TO another").await;
        assert!(operator.post_with(&discard, "", &key("a")).await.status >= 500);
        write(url, "ALTER TABLE api_answers RENAME COLUMN another TO created_at").await;
        let held = operator.get("/v1/quarantine?status=held").await;
        assert!(held.body.contains(&value_held(2).to_string()), "it is still held: {}", held.body);
        let done = operator.post_with(&discard, "", &key("a")).await;
        assert_eq!((done.status, is_replayed(&done)), (200, false), "{}", done.body);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_are_kept_for_a_day() {
    each_database(async |store, url| {
        fill(&store).await;
        let answering = Answering::on(url).await;
        let operator = answering.caller(Role::Operator, None).await;
        let discard = format!("/v1/quarantine/{}/discard", value_held(2));
        assert_eq!(operator.post_with(&discard, "", &key("a")).await.status, 200);
        *answering.time.lock().unwrap() = now() + TimeDelta::hours(24);
        assert_eq!(answering.host.archive().answers_remove().await.unwrap(), 0);
        assert!(is_replayed(&operator.post_with(&discard, "", &key("a")).await));
        *answering.time.lock().unwrap() = now() + TimeDelta::hours(24) + TimeDelta::seconds(1);
        assert_eq!(answering.host.archive().answers_remove().await.unwrap(), 1);
        assert_eq!(operator.post_with(&discard, "", &key("a")).await.status, 409, "it is decided");
        assert_eq!(acts(&store, "quarantine discard").await, 1);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_is_refused_where_no_answer_is_kept() {
    each_database(async |store, url| {
        fill(&store).await;
        let answering = Answering::on(url).await;
        let operator = answering.caller(Role::Operator, None).await;
        let refused = operator.post_with("/v1/webhooks/hook-all/disable", "", &key("a")).await;
        assert_eq!((refused.status, &refused.json()["code"]), (400, &json!("wrong_request")), "{}", refused.body);
        assert_eq!(operator.post("/v1/webhooks/hook-all/disable", "").await.status, 200);
        assert_eq!(operator.get_with("/v1/runs", &key("a")).await.status, 200, "what reads needs none");
        for wrong in [key(""), key(&"k".repeat(256)), format!("{}{}", key("a"), key("b"))] {
            assert_eq!(operator.post_with("/v1/batches/retry", "{}", &wrong).await.status, 400, "{wrong}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_act_whose_commit_is_not_answered_is_answered_and_on_record_as_done() {
    each_database(async |store, url| {
        if store.kind() == DatabaseKind::Sqlite {
            return; // no connection to a file breaks
        }
        fill(&store).await;
        let proxy = Proxy::before(url).await;
        let answering = Answering::on(&proxy.url(url)).await;
        let owner = answering.caller(Role::Admin, None).await;
        let removal = format!("/v1/accounts/{}/remove", account(3).id);
        let cancelling = format!("/v1/runs/{}/cancel", run(2).id);
        let asked = [
            ("accounts remove", removal, "{\"reason\": \"a wrong id\"}", Some(artist(2).id)),
            ("run cancel", cancelling, "{\"reason\": \"a test\"}", None),
        ];
        for (action, path, body, whose) in asked {
            proxy.lose_commits(1, true);
            let answer = owner.post(&path, body).await;
            assert_eq!(answer.status, 200, "{path}: {}", answer.body);
            let filter = AuditFilter { action: Some(action.to_owned()), ..AuditFilter::default() };
            let log = store.audit_list(&Scope::all_tenants(), &filter).await.unwrap();
            let [entry] = &log[..] else { panic!("{log:?}") };
            assert_eq!((entry.act.outcome, entry.act.artist_id), (ActOutcome::Done, whose), "{entry:?}");
        }
    })
    .await;
}
