//! Tests of fields that the platform refuses: each is lost alone.

use super::*;
use crate::classes::meta;

fn snapshot_of(fetched: &Fetched) -> Snapshot {
    let document = Document { body: fetched.body.clone(), window: context(UNTIL).window, observed_at: UNTIL };
    InstagramBusiness::normalize(document).expect("is normalised")
}

#[test]
fn a_field_that_is_gone_is_lost_for_all_and_costs_one_request() {
    let gone = meta("100 (#100) Tried accessing nonexisting field (view_count) on node type (IGMedia)");
    let replay = || own().get("view_count", 400, gone.clone()).get(BLUE, 200, fixture("page_2.json"));
    let first = replay();
    let result = first.fetch::<InstagramBusiness>(vec![account("1", NAME), account("2", NAME)], context(UNTIL));
    let lost: Vec<&str> = result.lost_metrics.iter().map(|lost| lost.name.as_str()).collect();
    assert_eq!(lost, ["view_count"]);
    for outcome in &result.accounts {
        let snapshot = snapshot_of(outcome.as_ref().expect("is collected"));
        assert_eq!(metric(&snapshot, "content_views"), absent("not-offered"));
        assert_eq!(metric(&snapshot, "video_views"), absent("not-offered"));
        assert_eq!(metric(&snapshot, "comments"), 1);
    }
    let known = replay();
    let context = Context { lost_metrics: vec!["view_count".to_owned()], ..context(UNTIL) };
    let outcome = known.fetch::<InstagramBusiness>(vec![account("1", NAME)], context).accounts.remove(0);
    assert!(outcome.is_ok());
    assert_eq!(known.urls().len(), 2, "not asked for again: {:?}", known.urls());
}

#[test]
fn a_field_refused_for_one_account_is_not_lost() {
    let refused = meta("100 (#100) follows_count is not available for this account");
    let replay =
        own().get("follows_count", 400, refused).get(BLUE, 200, fixture("page_2.json").replace("follows", "f"));
    let result = replay.fetch::<InstagramBusiness>(vec![account("1", NAME)], context(UNTIL));
    assert_eq!(result.lost_metrics, []);
    let snapshot = snapshot_of(result.accounts[0].as_ref().expect("is collected"));
    assert_eq!(metric(&snapshot, "following"), absent("unavailable"), "nobody said that it is gone");
    assert_eq!(metric(&snapshot, "reposts"), 0);
    assert_eq!(replay.urls().len(), 3);
}

#[test]
fn a_refusal_without_a_name_costs_the_extras_and_one_request() {
    let without = |page: &str| fixture(page).replace("view_count", "-").replace("reposts_count", "-");
    let replay = own()
        .get("view_count", 400, meta("100 Invalid parameter"))
        .get("after%28AFTER1%29", 200, without("page_2.json"))
        .get(BLUE, 200, without("page_1.json"));
    let result = replay.fetch::<InstagramBusiness>(vec![account("1", NAME)], context(UNTIL));
    assert_eq!(result.lost_metrics, []);
    let snapshot = snapshot_of(result.accounts[0].as_ref().expect("is collected"));
    for name in ["content_views", "reposts"] {
        assert_eq!(metric(&snapshot, name), absent("unavailable"), "{name}");
    }
    assert_eq!(metric(&snapshot, "comments"), 15);
    let urls = replay.urls();
    assert_eq!(urls.len(), 4, "the second page is not asked for them again: {urls:#?}");
    for name in ["follows_count", "view_count", "reposts_count"] {
        assert!(!urls[2].contains(name) && !urls[3].contains(name), "{name}: {urls:#?}");
    }
}
