//! What is given twice, too long or out of range, what is gone or fails meanwhile, and how much one caller may take.

use backline_model::audit::{ActOutcome, Actor};
use backline_model::{Role, Run};
use backline_store::{AuditFilter, Scope};
use serde_json::json;

use super::Answering;
use super::events::Following;
use crate::store::fixtures::{account, artist, create_run, event, now, release, run};
use crate::store::scope::{fill, held, ours, theirs};
use crate::support::database::{each_database, write};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_run_is_given_twice_is_planned_once() {
    each_database(async |store, url| {
        fill(&store).await;
        let answering = Answering::on(url).await;
        let operator = answering.caller(Role::Operator, None).await;
        let one = artist(1).id;
        let body = json!({ "platforms": ["demo", "demo"], "artists": [one, one] });
        let started = operator.post("/v1/runs", &body.to_string()).await;
        assert_eq!(started.status, 200, "{}", started.body);
        let log = store.audit_list(&Scope::all_tenants(), &AuditFilter::default()).await.unwrap();
        let act = &log[0].act;
        assert_eq!((act.action.as_str(), act.artist_id), ("run", Some(one)), "{act:?}");
        assert_eq!(act.details, json!({ "date": null, "platform": ["demo"] }));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_too_long_or_out_of_range_is_refused_with_a_reason() {
    each_database(async |store, url| {
        fill(&store).await;
        let answering = Answering::on(url).await;
        let operator = answering.caller(Role::Operator, None).await;
        for date in ["+12345-01-01", "0000-01-01", "-0001-01-01"] {
            let refused = operator.post("/v1/runs", &json!({ "date": date }).to_string()).await;
            assert_eq!((refused.status, &refused.json()["code"]), (400, &json!("wrong_request")), "{}", refused.body);
        }
        let cancel = format!("/v1/runs/{}/cancel", run(2).id);
        let long = operator.post(&cancel, &json!({ "reason": "é".repeat(501) }).to_string()).await;
        assert_eq!(long.status, 400, "{}", long.body);
        assert!(long.body.contains("500 characters"), "{}", long.body);
        let fits = operator.post(&cancel, &json!({ "reason": "é".repeat(500) }).to_string()).await;
        assert_eq!(fits.status, 200, "{}", fits.body);
        let admin = answering.caller(Role::Admin, None).await;
        let canary = format!("/v1/releases/{}/canary", release().digest);
        let late = admin.post(&canary, &json!({ "promote_after_h": u32::MAX }).to_string()).await;
        assert_eq!(late.status, 400, "{}", late.body);
        let resend = "/v1/webhooks/hook-ours/resend";
        let late = operator.post(resend, "{\"since\": \"+12345-01-01T00:00:00Z\"}").await;
        assert_eq!(late.status, 400, "{}", late.body);
        // PostgreSQL takes no text with U+0000.
        let unknown = admin.post("/v1/connectors/no%00connector/revoke", "{}").await;
        assert_eq!((unknown.status, &unknown.json()["code"]), (404, &json!("not_found")), "{}", unknown.body);
        let unknown = operator.get("/v1/deliveries?webhook=no%00hook").await;
        assert_eq!((unknown.status, &unknown.json()["code"]), (404, &json!("not_found")), "{}", unknown.body);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_of_another_tenant_is_resent_like_none() {
    each_database(async |store, url| {
        fill(&store).await;
        let answering = Answering::on(url).await;
        let stranger = answering.caller(Role::Operator, Some(ours())).await;
        let owner = answering.caller(Role::Operator, Some(theirs())).await;
        let body = |id: uuid::Uuid| json!({ "event": id }).to_string();
        let (theirs, none) = (event(2, None).id, uuid::Uuid::from_u128(7));
        assert_eq!(owner.get(&format!("/v1/events/{theirs}")).await.status, 200, "there is one");
        let foreign = stranger.post("/v1/webhooks/hook-ours/resend", &body(theirs)).await;
        let missing = stranger.post("/v1/webhooks/hook-ours/resend", &body(none)).await;
        assert_eq!(missing.status, 404, "{}", missing.body);
        assert_eq!(foreign.refusal(&theirs.to_string()), missing.refusal(&none.to_string()));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deliveries_go_on_when_the_one_before_is_gone() {
    each_database(async |store, url| {
        fill(&store).await;
        let answering = Answering::on(url).await;
        let operator = answering.caller(Role::Operator, None).await;
        let page = operator.get("/v1/deliveries?limit=1").await.json();
        assert_eq!(page["data"][0]["artist_id"], json!(artist(2).id), "{page}");
        let next = page["next"].as_str().expect("another page").to_owned();
        store.artist_erase(&Scope::all_tenants(), artist(2).id, now()).await.unwrap().expect("erased");
        let left = operator.get("/v1/deliveries").await.json();
        assert!(left["data"].as_array().is_some_and(|left| !left.is_empty()), "{left}");
        let rest = operator.get(&format!("/v1/deliveries?limit=1000&cursor={next}")).await.json();
        assert_eq!(rest["data"], left["data"]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_is_removed_by_an_admin_of_its_tenant_who_says_why() {
    each_database(async |store, url| {
        fill(&store).await;
        let answering = Answering::on(url).await;
        let path = format!("/v1/accounts/{}/remove", account(2).id);
        let body = json!({ "reason": "the id of another artist" }).to_string();
        let operator = answering.caller(Role::Operator, Some(theirs())).await;
        let stranger = answering.caller(Role::Admin, Some(ours())).await;
        let owner = answering.caller(Role::Admin, Some(theirs())).await;
        assert_eq!(operator.post(&path, &body).await.status, 403);
        assert_eq!(stranger.post(&path, &body).await.status, 404);
        for wrong in ["{}", "{\"reason\": \" \"}"] {
            let refused = owner.post(&path, wrong).await;
            assert_eq!((refused.status, refused.body.contains("give a reason")), (400, true), "{}", refused.body);
        }
        let removed = owner.post(&path, &body).await;
        assert_eq!(removed.status, 200, "{}", removed.body);
        let removed = removed.json();
        assert_eq!((&removed["artist_id"], &removed["rows"]["accounts"]), (&json!(artist(2).id), &json!(1)));
        let remark = removed["remark"].as_str().expect("it was synced");
        assert!(remark.contains("`backline artists sync` reads"), "{remark}");
        assert_eq!(owner.post(&path, &body).await.status, 404);

        let log = store.audit_list(&Scope::all_tenants(), &AuditFilter::default()).await.unwrap();
        let acts: Vec<_> = log.iter().filter(|entry| entry.act.action == "accounts remove").collect();
        assert_eq!(acts.len(), 1, "what was refused is not on record");
        let act = &acts[0].act;
        assert_eq!((act.artist_id, &act.tenant), (Some(artist(2).id), &Some(theirs())), "{act:?}");
        assert_eq!(act.details["reason"], json!("the id of another artist"), "{act:?}");
        let states = [&act.before, &act.after].map(|states| states.as_ref().map(|states| states["account"].is_null()));
        assert_eq!(states, [Some(false), Some(true)], "{act:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_act_that_fails_on_the_server_is_on_record_as_failed() {
    each_database(async |store, url| {
        fill(&store).await;
        let answering = Answering::on(url).await;
        let owner = answering.caller(Role::Operator, Some(theirs())).await;
        write(url, "ALTER TABLE quarantine RENAME COLUMN rule TO another").await;
        let failed = owner.post(&format!("/v1/quarantine/{}/discard", held(2)), "").await;
        assert!(failed.status >= 500, "{}: {}", failed.status, failed.body);
        // What only reads leaves no entry, however it ends.
        assert!(owner.get("/v1/quarantine").await.status >= 500);
        let log = store.audit_list(&Scope::all_tenants(), &AuditFilter::default()).await.unwrap();
        let act = &log[0].act;
        assert_eq!((act.action.as_str(), act.outcome), ("quarantine discard", ActOutcome::Failed), "{act:?}");
        assert_eq!((&act.tenant, &act.details), (&Some(theirs()), &json!({ "value": held(2) })));
        let request = failed.header("x-request-id");
        assert!(matches!(&act.actor, Actor::Token { request_id, .. } if request_id.to_string() == request), "{act:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_has_a_part_of_a_hosts_streams() {
    each_database(async |_, url| {
        let answering = Answering::on(url).await;
        let viewer = answering.caller(Role::Viewer, None).await;
        let mut open = Vec::new();
        for _ in 0..8 {
            open.push(Following::begin(&viewer, "/v1/events/stream", "").await);
        }
        let refused = viewer.get("/v1/events/stream").await;
        assert_eq!((refused.status, refused.header("retry-after")), (429, "15"), "{}", refused.body);
        let other = answering.caller(Role::Viewer, None).await;
        open.push(Following::begin(&other, "/v1/events/stream", "").await);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heavy_reads_wait_for_each_other_and_are_all_answered() {
    each_database(async |store, url| {
        fill(&store).await;
        let answering = Answering::on(url).await;
        let viewer = answering.caller(Role::Viewer, None).await;
        let of_tenant = format!("/v1/tenants/{}/health", theirs());
        let paths = ["/v1/health", of_tenant.as_str(), "/v1/plan"];
        let all = futures::future::join_all(paths.iter().cycle().take(9).map(|path| viewer.get(path))).await;
        for answer in all {
            assert_eq!(answer.status, 200, "{}", answer.body);
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_state_can_be_asked_for() {
    each_database(async |store, url| {
        fill(&store).await;
        let answering = Answering::on(url).await;
        let admin = answering.caller(Role::Admin, None).await;
        let of_run = format!("/v1/runs/{}/outcomes", run(1).id);
        // The list, the parameter and field that it is about, and two states of which one has rows.
        let lists: [(&str, &str, [&str; 2]); 9] = [
            ("/v1/runs", "status", ["running", "success"]),
            ("/v1/accounts", "status", ["reconnect_needed", "active"]),
            (&of_run, "outcome", ["collected", "failed"]),
            ("/v1/releases", "state", ["granted", "revoked"]),
            ("/v1/batches", "state", ["dead", "done"]),
            ("/v1/quarantine", "status", ["held", "released"]),
            ("/v1/bulk", "state", ["running", "done"]),
            ("/v1/deliveries", "state", ["parked", "delivered"]),
            ("/v1/webhooks", "enabled", ["true", "false"]),
        ];
        for (list, field, states) in lists {
            let mut found = 0;
            for state in states {
                let answer = admin.get(&format!("{list}?{field}={state}")).await;
                assert_eq!(answer.status, 200, "{list} {state}: {}", answer.body);
                let rows = answer.json()["data"].as_array().expect("rows").clone();
                let told = |row: &serde_json::Value| row[field].as_str().map_or(row[field].to_string(), str::to_owned);
                assert!(rows.iter().all(|row| told(row) == state), "{list} {state}: {rows:?}");
                found += rows.len();
            }
            assert!(found > 0, "{list} has none of {states:?}");
            let wrong = admin.get(&format!("{list}?{field}=nonsense")).await;
            assert_eq!(wrong.status, 400, "{list}: {}", wrong.body);
        }
        assert_eq!(admin.get("/v1/tokens?state=revoked").await.json()["data"], json!([]));
        assert!(admin.get("/v1/tokens?state=active").await.json()["data"].as_array().expect("rows").len() >= 3);
        let by_trigger = admin.get("/v1/runs?trigger=activation").await;
        assert_eq!(by_trigger.json()["data"], json!([]), "{}", by_trigger.body);
        let slip = admin.get("/v1/runs?trigger=activaton").await;
        assert!(slip.status == 400 && slip.body.contains("did you mean 'activation'?"), "{}", slip.body);
        let past = Run { trigger: "backfill since 2026-10-01".to_owned(), ..run(9) };
        create_run(&store, &past).await;
        let by_kind = admin.get("/v1/runs?trigger=backfill").await;
        assert_eq!(by_kind.json()["data"][0]["id"], json!(past.id), "{}", by_kind.body);
        let counted = admin.get("/v1/bulk/count?action=runs_cancel&trigger=backfill").await;
        assert_eq!(counted.json()["data"][0]["count"], json!(1), "{}", counted.body);
        assert_eq!(counted.json()["data"][0]["sample"], json!([past.id]), "{}", counted.body);
    })
    .await;
}
