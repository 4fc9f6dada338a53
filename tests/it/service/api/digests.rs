//! Digests over the API: added, shown, sent and removed, with each answer as the document describes it.

use backline_model::Role;
use backline_store::{AlertFilter, Scope};
use serde_json::{Value as Json, json};

use super::{Answer, Answering};
use crate::store::scope::{fill, theirs};
use crate::support::database::each_database;

/// The answer, if it is as the document says.
fn fits(id: &str, answer: &Answer) -> Json {
    let document = backline::api::document();
    let paths = document["paths"].as_object().expect("paths").values();
    let operation = paths.map(|methods| &methods["post"]).find(|post| post["operationId"] == id).expect("an operation");
    let mut schema = operation["responses"]["200"]["content"]["application/json"]["schema"].clone();
    schema["components"] = document["components"].clone();
    let body = answer.json();
    assert_eq!(answer.status, 200, "{id}: {body}");
    let validator = jsonschema::validator_for(&schema).expect("a schema");
    let errors: Vec<String> = validator.iter_errors(&body).map(|error| error.to_string()).collect();
    assert!(errors.is_empty(), "{id}: {errors:?}: {body}");
    body
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_digest_is_managed_over_the_api() {
    each_database(async |store, url| {
        fill(&store).await;
        let answering = Answering::on(url).await;
        let admin = answering.caller(Role::Admin, None).await;
        let operator = answering.caller(Role::Operator, None).await;
        let new = |more: Json| {
            let mut body = json!({ "name": "north", "channel": "desk", "tenant": theirs(), "quiet": "22:00-07:00" });
            body.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
            body.to_string()
        };
        assert_eq!(operator.post("/v1/digests", &new(json!({}))).await.status, 403);
        for (more, status, said) in [
            (json!({ "tenant": "nobody" }), 404, "there is no tenant nobody"),
            (json!({ "channel": "nothing" }), 409, "no channel of alerts"),
            (json!({ "hour": 24 }), 409, "24 is no hour of a day"),
            (json!({ "every": "fortnight" }), 400, "unknown variant"),
            (json!({ "timezone": "Mars/Phobos" }), 400, "Mars/Phobos"),
            (json!({ "name": null }), 400, "give name, channel and tenant"),
        ] {
            let refused = admin.post("/v1/digests", &new(more)).await;
            assert_eq!(refused.status, status, "{}", refused.body);
            assert!(refused.body.contains(said), "{said}: {}", refused.body);
        }
        let added = fits("digest_add", &admin.post("/v1/digests", &new(json!({ "every": "friday" }))).await);
        assert_eq!((&added["hour"], &added["timezone"]), (&json!(8), &json!("UTC")));
        assert_eq!(added["next_at"], "2026-11-27T08:00:00Z");
        let listed = operator.get("/v1/digests").await.json();
        assert_eq!(listed["data"].as_array().map(Vec::len), Some(2), "{listed}");

        let preview = operator.get("/v1/digests/north/preview").await.json();
        assert!(preview["subject"].as_str().is_some_and(|it| it.starts_with("Weekly digest of theirs, ")), "{preview}");
        let sent = fits("digest_send", &operator.post("/v1/digests/north/send", "").await);
        assert_eq!((&sent["state"], &sent["channel"]), (&json!("waiting"), &json!("desk")));
        let messages = store.alert_messages_list(&Scope::all_tenants(), &AlertFilter::default()).await.unwrap();
        assert_eq!((messages.len(), json!(messages[0].id)), (1, sent["id"].clone()));

        assert_eq!(operator.post("/v1/digests/north/remove", "").await.status, 403);
        fits("digest_remove", &admin.post("/v1/digests/north/remove", "").await);
        assert_eq!(admin.post("/v1/digests/north/send", "").await.status, 404);
        let acts = admin.get("/v1/audit?limit=3").await.json()["data"].to_string();
        for action in ["alerts digests add", "alerts digests send", "alerts digests remove"] {
            assert!(acts.contains(action), "{action}: {acts}");
        }
    })
    .await;
}
