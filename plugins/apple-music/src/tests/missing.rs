//! Tests of the README's table of classes, and of what is missing: it is never 0 and affects nothing else.

use backline_sdk::conformance;
use backline_sdk::testing::{class_name, class_table};

use super::*;

fn body_of(status: u16, answer: &str) -> String {
    match answer.strip_prefix("message: ") {
        Some(message) => json!({ "message": message }).to_string(),
        None => {
            let error = json!({ "id": "X", "title": "Refused", "status": status.to_string(), "code": answer });
            json!({ "errors": [error] }).to_string()
        }
    }
}

#[test]
fn every_row_of_the_readme_has_its_class() {
    for row in class_table(include_str!("../../README.md")) {
        let replay = Replay::new().get("", row.status, row.body(|answer| body_of(row.status, answer)));
        let error = replay.check::<AppleMusic>(accounts(&[ARIA]).remove(0)).expect_err("no artist");
        assert_eq!(class_name(&error), row.class, "{row:?}: {error:?}");
    }
}

#[test]
fn a_list_refused_for_one_id_is_asked_in_halves() {
    let ids: Vec<String> = (0..25).map(|number| format!("55{number:02}")).collect();
    let asked: Vec<&str> = ids.iter().map(String::as_str).collect();
    for (status, body) in [(400, fixture!("error_40005.json")), (504, fixture!("error_504.html"))] {
        let replay = with_parts().get("/artists/5517?", 404, fixture!("error_40400.json")).get("5517", status, body);
        let replay = replay.get("/artists?ids=", 200, artists_of(&asked));
        let replay =
            asked.iter().fold(replay, |replay, id| replay.get(&format!("/artists/{id}?"), 200, artists_of(&[id])));
        let batch = replay.fetch::<AppleMusic>(accounts(&asked), context()).accounts;
        assert_eq!(batch.iter().filter(|outcome| outcome.is_ok()).count(), 24, "HTTP {status}");
        assert_eq!(batch[17], Err(FetchError::NotFound));
        let lists = replay.urls().iter().filter(|url| url.contains("?ids=")).count();
        assert!(lists <= 10, "{lists}");
    }
}

#[test]
fn the_catalogue_is_counted_over_all_pages() {
    let replay = Replay::new()
        .get("/albums?limit=100", 200, fixture!("albums_page1.json"))
        .get("/albums?offset=102", 200, fixture!("albums_page2.json"))
        .get("/view/top-songs", 200, fixture!("top_songs.json"))
        .get("/artists/1001", 200, fixture!("artist.json"));
    let snapshot = replay.collect::<AppleMusic>(accounts(&[ARIA]).remove(0), context()).expect("collected");
    // 9001 is on both pages, 9005 is only announced.
    assert_eq!(metric(&snapshot, "catalogue_size"), json!(6));
    let none = with_parts().get("/artists/1001", 200, fixture!("artist.json"));
    let snapshot = none.collect::<AppleMusic>(accounts(&[ARIA]).remove(0), context()).expect("collected");
    assert_eq!(metric(&snapshot, "catalogue_size"), json!(0), "Apple says that there are none");
}

#[test]
fn a_list_that_is_missing_is_not_an_empty_one() {
    for body in ["{}", r#"{"data":null}"#, r#"{"data":{}}"#, r#"{"data":[null,{}]}"#, r#"{"data":[],"next":7}"#] {
        let replay = Replay::new()
            .get("/albums?", 200, body)
            .get("/view/top-songs", 200, fixture!("top_songs.json"))
            .get("/artists/", 200, fixture!("artist.json"));
        let snapshot = replay.collect::<AppleMusic>(accounts(&[ARIA]).remove(0), context()).expect("collected");
        for name in ["recent_releases", "catalogue_size"] {
            assert_eq!(metric(&snapshot, name), absent("unavailable"), "{name}: {body}");
        }
    }
}

#[test]
fn one_odd_album_costs_itself() {
    let page = fixture!("albums_page2.json").replace("\"data\":[", "\"data\":[null,");
    let replay = Replay::new().get("/albums?", 200, page).get("/view/top-songs", 200, fixture!("top_songs.json")).get(
        "/artists/",
        200,
        fixture!("artist.json"),
    );
    let snapshot = replay.collect::<AppleMusic>(accounts(&[ARIA]).remove(0), context()).expect("collected");
    assert_eq!(coverage(&snapshot, "recent_releases"), (2, 2), "an undated one, and the odd one");
    assert_eq!(coverage(&snapshot, "catalogue_size"), (3, 1));
}

#[test]
fn no_damaged_answer_gives_an_invented_number() {
    let platform = || {
        Replay::new()
            .get("/albums?limit=100", 200, fixture!("albums_page1.json"))
            .get("/albums?offset=102", 200, fixture!("albums_page2.json"))
            .get("/view/top-songs", 200, fixture!("top_songs.json"))
            .get("/artists?ids=", 200, fixture!("artists.json"))
    };
    conformance::check_answers::<AppleMusic>(platform, &accounts(&[ARIA, GHOST, BORA]), &context());
}
