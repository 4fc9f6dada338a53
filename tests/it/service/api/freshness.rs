//! Whether numbers are fresh: before their run, while it goes on, when it is over, and when it is overdue.

use backline_model::{Account, Artist, Batch, Role, ScheduleSpec, SwapCause, Tenant, Weights};
use backline_store::{BatchResult, NewSchedule, PlanGuard, Scope, Store};
use serde_json::{Value as Json, json};

use super::Answering;
use crate::store::fixtures::{TTL, account, artist, at, batch, day, followers, now, release, run, stored};
use crate::store::scope::{ours, theirs};
use crate::support::database::each_database;

/// Stores the numbers of a tenant's only account.
async fn collect(store: &Store, tenant: Tenant, account: &Account) {
    let scope = Scope::tenant(tenant);
    let lease = store.batch_lease(&scope, None, None, "worker", now(), TTL).await.unwrap().expect("a batch is open");
    let accounts = vec![stored(followers(account, day("2026-11-23"), 5))];
    store.batch_complete(&lease, BatchResult { accounts, ..BatchResult::default() }, now()).await.unwrap();
}

fn told(answer: &Json) -> (Json, Json, Json, Json) {
    let one = &answer["data"][0];
    (one["accounts"].clone(), one["collected"].clone(), one["open"].clone(), one["fresh"].clone())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn numbers_are_fresh_once_the_run_that_was_due_has_collected_them() {
    each_database(async |store, url| {
        let all = Scope::all_tenants();
        store.release_save(&release(), b"component").await.unwrap();
        store.release_activate(release().digest, SwapCause::Activated, now()).await.unwrap();
        let owned = [Artist { tenant: ours(), ..artist(1) }, Artist { tenant: theirs(), ..artist(2) }];
        store.artists_save(&all, &owned, now()).await.unwrap();
        store.accounts_save(&all, &[account(1), account(2)], now()).await.unwrap();
        let (due, next) = (at("2026-11-23T02:00:00Z"), at("2026-11-24T02:00:00Z"));
        let daily = NewSchedule { name: "daily".to_owned(), spec: ScheduleSpec::default(), next_fire: Some(due) };
        store.schedule_add(&daily, now()).await.unwrap();
        let answering = Answering::on(url).await;
        let numbers = answering.caller(Role::Numbers, None).await;
        let (of_ours, of_theirs) = (
            answering.caller(Role::Numbers, Some(ours())).await,
            answering.caller(Role::Numbers, Some(theirs())).await,
        );
        assert_eq!(numbers.get("/v1/freshness").await.json()["data"], json!([]), "nothing was due yet");

        let term = store.role_take("scheduler", "a", now(), TTL).await.unwrap().expect("it is free");
        let guard = PlanGuard::Fire { term: &term, schedule: "daily", fire_time: due, next_fire: Some(next) };
        let nightly = run(5);
        let mut planning = store.plan_begin(&nightly, guard, now()).await.unwrap();
        let of = |n: u128, tenant: Tenant| Batch { tenant, ..batch(n, &nightly, &[&account(n)], day("2026-11-23")) };
        planning.batches_add(&[of(1, ours()), of(2, theirs())], &Weights::default()).await.unwrap();
        planning.commit().await.unwrap();
        *answering.time.lock().unwrap() = due + chrono::TimeDelta::hours(1);
        let begun = numbers.get("/v1/freshness?platform=demo").await.json();
        assert_eq!(told(&begun), (json!(2), json!(0), json!(2), json!(false)), "{begun}");
        assert_eq!(begun["data"][0]["run"], json!(nightly.id));

        collect(&store, ours(), &account(1)).await;
        let half = numbers.get("/v1/freshness").await.json();
        assert_eq!(told(&half), (json!(2), json!(1), json!(1), json!(false)), "{half}");
        let own = of_ours.get("/v1/freshness?wait=25").await.json();
        assert_eq!(told(&own), (json!(1), json!(1), json!(0), json!(true)), "a tenant is told of its own: {own}");
        let second = account(2);
        let (waited, ()) = tokio::join!(of_theirs.get("/v1/freshness?wait=25"), collect(&store, theirs(), &second));
        let waited = waited.json();
        assert_eq!(told(&waited), (json!(1), json!(1), json!(0), json!(true)), "{waited}");

        // Its time passed, and no host started a run.
        *answering.time.lock().unwrap() = next + chrono::TimeDelta::seconds(1);
        let overdue = numbers.get("/v1/freshness").await.json();
        assert_eq!(overdue["data"][0]["fresh"], json!(false), "{overdue}");
        assert_eq!(overdue["data"][0]["run"], Json::Null, "{overdue}");
        let nobody = Tenant::new("nobody").expect("a tenant");
        let of_nobody = answering.caller(Role::Numbers, Some(nobody)).await;
        assert_eq!(of_nobody.get("/v1/freshness").await.json()["data"], json!([]), "it has no account there");
        for wrong in ["wait=26", "wait=x", "wait=-1"] {
            assert_eq!(numbers.get(&format!("/v1/freshness?{wrong}")).await.status, 400, "{wrong}");
        }
    })
    .await;
}
