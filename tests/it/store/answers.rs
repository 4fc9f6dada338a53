//! Tests of answers that are kept for requests with a key, and of events that are gone.

use backline_model::TokenId;
use backline_store::{KeptAnswer, KeyedRequest, PlanGuard, Scope, StoreError, answering_once};
use chrono::TimeDelta;
use uuid::Uuid;

use super::fixtures::{now, past, run};
use super::scope::{fill, held, ours, theirs};
use crate::support::database::each_database;

fn request(token: TokenId, key: &str) -> KeyedRequest {
    let asked = backline_model::Digest::of(key.as_bytes());
    KeyedRequest { token, key: key.to_owned(), asked, id: Uuid::now_v7(), at: now() }
}

#[tokio::test]
async fn an_answer_is_written_with_the_act_or_not_at_all() {
    each_database(async |store, _| {
        fill(&store).await;
        let token = TokenId::generate();
        let undone = request(token, "undone");
        // A host that dies before the commit.
        let (planned, _) = answering_once(undone.clone(), async {
            let mut planning = store.plan_begin(&run(7), PlanGuard::Manual, now()).await?;
            planning.answer_keep(&run(7)).await
        })
        .await;
        planned.unwrap();
        assert_eq!(store.kept_answer_get(token, "undone").await.unwrap(), None);
        assert_eq!(store.run_get(&Scope::all_tenants(), run(7).id).await.unwrap(), None);

        let (all, asked) = (Scope::all_tenants(), request(token, "discard"));
        let (discarded, is_kept) = answering_once(asked.clone(), store.quarantine_discard(&all, held(2), now())).await;
        let answer = serde_json::to_string(&discarded.unwrap()).unwrap();
        assert!(is_kept);
        let kept = KeptAnswer { asked: asked.asked, request: asked.id, answer };
        assert_eq!(store.kept_answer_get(token, "discard").await.unwrap(), Some(kept));
        assert_eq!(store.kept_answer_get(TokenId::generate(), "discard").await.unwrap(), None);
        // What is done under a key that was used is undone.
        let (again, is_kept) =
            answering_once(request(token, "discard"), store.quarantine_discard(&all, held(3), now())).await;
        assert!(matches!(again, Err(StoreError::AnsweredBefore)) && !is_kept, "{again:?}");
        store.quarantine_discard(&all, held(3), now()).await.expect("it is held still");
    })
    .await;
}

#[tokio::test]
async fn an_answer_goes_with_its_artist_and_after_a_day() {
    each_database(async |store, _| {
        fill(&store).await;
        let (all, token) = (Scope::all_tenants(), TokenId::generate());
        for (n, key) in [(1, "ours"), (2, "theirs")] {
            let (done, _) = answering_once(request(token, key), store.quarantine_discard(&all, held(n), now())).await;
            done.unwrap();
        }
        let artist = super::fixtures::artist(2).id;
        let erased = store.artist_erase(&all, artist, now()).await.unwrap().expect("erased");
        assert_eq!(erased.receipt.rows["api_answers"], 1);
        assert_eq!(store.kept_answer_get(token, "theirs").await.unwrap(), None);
        assert!(store.kept_answer_get(token, "ours").await.unwrap().is_some());
        let day = now() + TimeDelta::hours(24);
        assert_eq!(store.kept_answers_remove(past(day)).await.unwrap(), 0);
        assert_eq!(store.kept_answers_remove(past(day + TimeDelta::seconds(1))).await.unwrap(), 1);
    })
    .await;
}

#[tokio::test]
async fn what_is_gone_is_told_by_tenant() {
    each_database(async |store, _| {
        fill(&store).await;
        let none = backline_store::EventCursor::default();
        assert_eq!(store.events_gone_get(&Scope::tenant(ours())).await.unwrap(), none);
        let gone = store.events_gone_get(&Scope::tenant(theirs())).await.unwrap();
        assert!(gone > none);
        assert_eq!(store.events_gone_get(&Scope::all_tenants()).await.unwrap(), gone);
    })
    .await;
}
