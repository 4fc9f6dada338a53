//! Tests of acts on everything that a filter shows: counted, begun once, worked off, taken over and cancelled.

use backline::pipeline::{BulkError, NewBulkAct};
use backline_model::bulk::{BulkAct, BulkAction, BulkFilter, BulkState};
use backline_model::row::QuarantineStatus;
use backline_model::{Account, Role};
use backline_store::{AuditFilter, BulkActFilter, BulkStep, DatabaseKind, QuarantineFilter, Scope, Store, StoreError};
use chrono::TimeDelta;
use serde_json::json;
use uuid::Uuid;

use super::Answering;
use crate::store::fixtures::{account, now};
use crate::store::scope::{bulk_act, fill, held, ours, theirs};
use crate::support::database::{each_database, write};

fn all() -> Scope {
    Scope::all_tenants()
}

/// Ends the acts that the tables are filled with, so that one begun later is the only one.
async fn filled(store: &Store) {
    fill(store).await;
    for (n, tenant) in [(1, ours()), (2, theirs())] {
        assert!(store.bulk_act_cancel(&all(), bulk_act(n, tenant).id, now()).await.unwrap());
    }
}

fn discard(count: u64) -> NewBulkAct {
    NewBulkAct {
        action: BulkAction::QuarantineDiscard,
        filter: BulkFilter { rule: Some("negative".to_owned()), ..BulkFilter::default() },
        reason: "a test".to_owned(),
        count,
    }
}

async fn are_held(store: &Store) -> usize {
    let filter = QuarantineFilter { status: Some(QuarantineStatus::Held), ..QuarantineFilter::default() };
    store.quarantine_list(&all(), &filter).await.unwrap().len()
}

fn tally(act: &BulkAct) -> (BulkState, u64, u64, u64) {
    (act.state, act.done, act.skipped, act.failed)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_that_was_counted_is_done_and_nothing_else() {
    each_database(async |store, url| {
        filled(&store).await;
        let answering = Answering::on(url).await;
        let bulk = answering.host.bulk();
        let of_one = Scope::tenant(ours());
        let NewBulkAct { action, filter, .. } = discard(0);
        assert_eq!(bulk.count(&all(), action, &filter).await.unwrap().count, 3);
        let own = bulk.count(&of_one, action, &filter).await.unwrap();
        assert_eq!((own.count, own.sample), (1, vec![held(1)]));
        let none = BulkFilter { metric: Some("followers".to_owned()), ..BulkFilter::default() };
        assert_eq!(bulk.count(&all(), action, &none).await.unwrap().count, 0);

        let changed = bulk.start(&all(), discard(2)).await.unwrap_err();
        assert!(matches!(changed, BulkError::Changed { now: 3, counted: 2, .. }), "{changed}");
        let nothing = bulk.start(&all(), NewBulkAct { filter: none, ..discard(0) }).await.unwrap_err();
        assert!(matches!(nothing, BulkError::Nothing(_)), "{nothing}");
        let silent = bulk.start(&all(), NewBulkAct { reason: " ".to_owned(), ..discard(3) }).await.unwrap_err();
        assert!(matches!(silent, BulkError::Reason), "{silent}");
        assert_eq!(are_held(&store).await, 3, "what was refused did nothing");

        let begun = bulk.start(&of_one, discard(1)).await.unwrap();
        assert_eq!(begun.tenant, Some(ours()));
        let ended = bulk.work_off(begun.id, &|_| {}).await.unwrap();
        assert_eq!(tally(&ended), (BulkState::Done, 1, 0, 0));
        assert_eq!(are_held(&store).await, 2, "theirs are left alone");
        let status =
            NewBulkAct { action: BulkAction::AccountsDisable, filter: BulkFilter::default(), count: 3, ..discard(0) };
        let begun = bulk.start(&all(), status).await.unwrap();
        let ended = bulk.work_off(begun.id, &|_| {}).await.unwrap();
        assert_eq!(tally(&ended), (BulkState::Done, 3, 0, 0));
        let disabled = store.account_get(&all(), account(2).id).await.unwrap().expect("an account");
        assert_eq!(disabled.status.as_str(), "disabled");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_that_nothing_has_is_refused_with_the_nearest() {
    each_database(async |store, url| {
        filled(&store).await;
        let answering = Answering::on(url).await;
        let bulk = answering.host.bulk();
        let given = |name: &str| Some(name.to_owned());
        let any = BulkFilter::default();
        for (action, filter, meant) in [
            (BulkAction::QuarantineDiscard, BulkFilter { metric: given("folowers"), ..any.clone() }, "followers"),
            (
                BulkAction::QuarantineRelease,
                BulkFilter { rule: given("count-negativ"), ..any.clone() },
                "count-negative",
            ),
            (BulkAction::RunsCancel, BulkFilter { trigger: given("manul"), ..any.clone() }, "manual"),
        ] {
            let told = format!("did you mean '{meant}'?");
            let counted = bulk.count(&all(), action, &filter).await.unwrap_err();
            assert!(matches!(counted, BulkError::Name(_)) && counted.to_string().contains(&told), "{counted}");
            let begun = bulk.start(&all(), NewBulkAct { action, filter, ..discard(0) }).await.unwrap_err();
            assert!(begun.to_string().contains(&told), "{begun}");
        }
        // What is right and shows nothing is nothing; what is odd and shows something is something.
        for (action, filter, count) in [
            (BulkAction::QuarantineDiscard, BulkFilter { rule: given("count-negative"), ..any.clone() }, 0),
            (BulkAction::QuarantineDiscard, BulkFilter { rule: given("negative"), ..any.clone() }, 3),
            (BulkAction::RunsCancel, BulkFilter { trigger: given("daily"), ..any.clone() }, 0),
            (BulkAction::RunsCancel, BulkFilter { trigger: given("backfill since 2026-10-01"), ..any.clone() }, 0),
        ] {
            assert_eq!(bulk.count(&all(), action, &filter).await.unwrap().count, count, "{filter:?}");
        }
        let owner = answering.caller(Role::Operator, None).await;
        let slip = owner.get("/v1/bulk/count?action=quarantine_discard&rule=count-negativ").await;
        assert!(slip.status == 400 && slip.body.contains("did you mean 'count-negative'?"), "{}", slip.body);
        let any_action = owner.get("/v1/bulk/count?metric=folowers").await;
        assert_eq!(any_action.status, 400, "{}", any_action.body);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_host_goes_on_behind_one_that_died() {
    each_database(async |store, url| {
        filled(&store).await;
        let answering = Answering::on(url).await;
        let bulk = answering.host.bulk();
        let begun = bulk.start(&all(), discard(3)).await.unwrap();
        let ttl = std::time::Duration::from_secs(15);
        let dead = store.role_take("bulk", "dead", now(), ttl).await.unwrap().expect("the role");
        // It did this to two things, and wrote it of the first alone.
        for n in [3, 2] {
            store.quarantine_discard(&all(), held(n), now()).await.unwrap();
        }
        let place = json!(held(3)).to_string();
        let step = BulkStep { place, done: 1, ..BulkStep::default() };
        assert!(store.bulk_act_advance(&dead, begun.id, &step, now()).await.unwrap());

        *answering.time.lock().unwrap() = now() + TimeDelta::minutes(1);
        let ended = bulk.work_off(begun.id, &|_| {}).await.unwrap();
        assert_eq!(tally(&ended), (BulkState::Done, 2, 0, 0), "{ended:?}");
        assert_eq!(are_held(&store).await, 0);
        let late = store.bulk_act_advance(&dead, begun.id, &step, now()).await.unwrap_err();
        assert!(matches!(late, StoreError::TermLost { .. }), "{late}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_that_is_added_after_the_start_is_left_alone() {
    each_database(async |store, url| {
        filled(&store).await;
        let answering = Answering::on(url).await;
        let bulk = answering.host.bulk();
        let filter = BulkFilter::default();
        let disable = NewBulkAct { action: BulkAction::AccountsDisable, filter, ..discard(3) };
        let begun = bulk.start(&all(), disable).await.unwrap();
        // It sorts behind the others.
        let late = Account { id: account(9).id, platform_id: "late".to_owned(), ..account(1) };
        store.accounts_save(&all(), std::slice::from_ref(&late), now() + TimeDelta::seconds(1)).await.unwrap();
        let ended = bulk.work_off(begun.id, &|_| {}).await.unwrap();
        assert_eq!(tally(&ended), (BulkState::Done, 3, 0, 0));
        let left = store.account_get(&all(), late.id).await.unwrap().expect("an account");
        assert_eq!(left.status, late.status);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_database_refuses_fails_and_keeps_no_other_act_waiting() {
    each_database(async |store, url| {
        filled(&store).await;
        let answering = Answering::on(url).await;
        let bulk = answering.host.bulk();
        // The database refuses what the first one does.
        let refusal = match store.kind() {
            DatabaseKind::Sqlite => {
                "CREATE TRIGGER refused BEFORE UPDATE ON accounts BEGIN SELECT RAISE(ABORT, 'refused'); END"
            }
            DatabaseKind::Postgres => {
                "ALTER TABLE accounts ADD CONSTRAINT refused CHECK (status <> 'disabled') NOT VALID"
            }
        };
        write(url, refusal).await;
        let filter = BulkFilter::default();
        let disable = NewBulkAct { action: BulkAction::AccountsDisable, filter, ..discard(3) };
        let refused = bulk.start(&all(), disable).await.unwrap();
        let begun = bulk.start(&all(), discard(3)).await.unwrap();
        let ended = bulk.work_off(begun.id, &|_| {}).await.unwrap();
        assert_eq!(tally(&ended), (BulkState::Done, 3, 0, 0));
        let ended = bulk.work_off(refused.id, &|_| {}).await.unwrap();
        assert_eq!(tally(&ended), (BulkState::Done, 0, 0, 3), "each is named with the reason");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_act_that_is_cancelled_does_nothing_more() {
    each_database(async |store, url| {
        filled(&store).await;
        let answering = Answering::on(url).await;
        let bulk = answering.host.bulk();
        let begun = bulk.start(&all(), discard(3)).await.unwrap();
        let foreign = bulk.cancel(&Scope::tenant(ours()), begun.id).await.unwrap_err();
        assert!(matches!(foreign, BulkError::Store(StoreError::NotFound { .. })), "{foreign}");
        let cancelled = bulk.cancel(&all(), begun.id).await.unwrap();
        assert_eq!(cancelled.state, BulkState::Cancelled);
        let ended = bulk.work_off(begun.id, &|_| {}).await.unwrap();
        assert_eq!(tally(&ended), (BulkState::Cancelled, 0, 0, 0));
        assert_eq!(are_held(&store).await, 3);
        let again = bulk.cancel(&all(), begun.id).await.unwrap_err();
        assert!(matches!(again, BulkError::Ended { state: BulkState::Cancelled, .. }), "{again}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_http_it_is_counted_begun_once_and_on_record_once() {
    each_database(async |store, url| {
        filled(&store).await;
        let answering = Answering::on(url).await;
        let owner = answering.caller(Role::Operator, Some(theirs())).await;
        let counted = owner.get("/v1/bulk/count?action=quarantine_discard&rule=negative").await.json();
        assert_eq!(counted["data"][0]["count"], json!(2), "{counted}");
        let wrong = owner.get("/v1/bulk/count?action=quarantine_discard&trigger=daily").await;
        assert_eq!(wrong.status, 400, "{}", wrong.body);
        assert_eq!(owner.get("/v1/bulk/count?action=runs_cancel").await.status, 403);
        let body = json!({
            "action": "quarantine_discard", "filter": { "rule": "negative" }, "reason": "a canary", "count": 2,
        });
        let key = "idempotency-key: one\r\n";
        let begun = owner.post_with("/v1/bulk", &body.to_string(), key).await;
        assert_eq!(begun.status, 200, "{}", begun.body);
        let again = owner.post_with("/v1/bulk", &body.to_string(), key).await;
        assert_eq!(again.json()["id"], begun.json()["id"], "{}", again.body);
        let acts = store.bulk_acts_list(&all(), &BulkActFilter::default()).await.unwrap();
        let open = acts.iter().filter(|act| act.state == BulkState::Running);
        assert_eq!(open.map(|act| act.tenant.clone()).collect::<Vec<_>>(), [Some(theirs())]);
        let log = store.audit_list(&all(), &AuditFilter::default()).await.unwrap();
        let entries: Vec<_> = log.iter().filter(|entry| entry.act.action == "bulk start").collect();
        assert_eq!(entries.len(), 1, "{log:?}");
        assert_eq!(entries[0].act.details["total"], json!(2));
        assert!(!format!("{entries:?}").contains("canary"), "a reason may name an artist");
        let id = begun.json()["id"].as_str().expect("an id").to_owned();
        let seen = owner.get(&format!("/v1/bulk/{id}")).await.json();
        assert_eq!((&seen["state"], &seen["total"], &seen["done"]), (&json!("running"), &json!(2), &json!(0)));
        let cancelled = owner.post(&format!("/v1/bulk/{id}/cancel"), "").await;
        assert_eq!((cancelled.status, &cancelled.json()["state"]), (200, &json!("cancelled")), "{}", cancelled.body);
    })
    .await;
}

/// Makes the database refuse each change of a withheld value, by an error with this code on PostgreSQL.
async fn refuse(store: &Store, url: &str, value: Uuid, code: &str) {
    let (function, condition, action) = match store.kind() {
        DatabaseKind::Sqlite => (None, format!("OLD.id = '{value}'"), "BEGIN SELECT RAISE(ABORT, 'a test'); END"),
        DatabaseKind::Postgres => {
            let function = format!(
                "CREATE OR REPLACE FUNCTION refuse() RETURNS TRIGGER LANGUAGE plpgsql AS
                     $$ BEGIN RAISE EXCEPTION 'a test' USING ERRCODE = '{code}'; END $$"
            );
            (Some(function), format!("(OLD.id = '{value}'::uuid)"), "EXECUTE FUNCTION refuse()")
        }
    };
    if let Some(function) = function {
        write(url, &function).await;
    }
    write(url, &format!("CREATE TRIGGER refuse BEFORE UPDATE ON quarantine FOR EACH ROW WHEN {condition} {action}"))
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thing_whose_statement_fails_each_time_is_named_and_passed_over() {
    each_database(async |store, url| {
        filled(&store).await;
        let answering = Answering::on(url).await;
        let bulk = answering.host.bulk();
        // An error for good, and one of which a repetition may be free.
        let codes: &[&str] = if store.kind() == DatabaseKind::Sqlite { &["P0001"] } else { &["P0001", "40001"] };
        let mut count = 3;
        for code in codes {
            if count < 3 {
                write(url, "DROP TRIGGER refuse ON quarantine").await;
            }
            refuse(&store, url, held(2), code).await;
            let begun = bulk.start(&all(), discard(count)).await.unwrap();
            let ended = bulk.work_off(begun.id, &|_| {}).await.unwrap();
            assert_eq!(tally(&ended), (BulkState::Done, count - 1, 0, 1), "{code}: {ended:?}");
            let problem = ended.problem.expect("it is named");
            assert!(problem.starts_with(&held(2).to_string()) && problem.contains("a test"), "{code}: {problem}");
            assert_eq!(are_held(&store).await, 1, "{code}");
            count = 1;
        }
    })
    .await;
}
