//! The connector against written-down answers: every quirk and every refusal of the platform that is known.

mod collecting;
mod interpreting;
mod recorded;
mod refusals;

use backline_sdk::{FetchError, testing::Replay};
use backline_sdk::{prelude::*, testing};

use crate::Spotify;

const ARIA: &str = "ariaAAAAAAAAAAAAAAAAAA";
const BORA: &str = "boraBBBBBBBBBBBBBBBBBB";
const GHOST: &str = "ghostGGGGGGGGGGGGGGGGG";

/// 2026-11-20, 00:00 UTC: the window is 2026-10-23 to 2026-11-19.
const UNTIL: i64 = 1_795_132_800;

macro_rules! fixture {
    ($name:literal) => {
        include_str!(concat!("../../fixtures/", $name, ".json"))
    };
}
use fixture;

fn accounts(ids: &[&str]) -> Vec<Account> {
    ids.iter().enumerate().map(|(index, id)| testing::account(&format!("account-{index}"), id)).collect()
}

fn context() -> Context {
    testing::context(UNTIL)
}

/// Top tracks and releases for everybody; artists are added by the test, which must come after these since URLs are matched by
/// what they contain.
fn with_parts() -> Replay {
    Replay::new().get("/top-tracks", 200, fixture!("top_tracks")).get("/albums", 200, fixture!("albums_none"))
}

fn class(error: &FetchError) -> String {
    format!("{error:?}")
}

fn snapshot_of(body: &str) -> Snapshot {
    let window = context().window;
    Spotify::normalize(Document { body: body.to_owned(), window, observed_at: window.until }).expect("it is JSON")
}

fn absent(reason: &str) -> Json {
    json!({ "absent": reason })
}

/// A metric's value as JSON, or `{"absent": reason}`; null where it was not reported.
fn value(snapshot: &Snapshot, name: &str) -> Json {
    match snapshot.metrics.iter().find(|metric| metric.name == name).map(|metric| &metric.value) {
        None => Json::Null,
        Some(Ok(Value::Integer(integer))) => json!(integer),
        Some(Ok(Value::Decimal(decimal))) => json!(decimal),
        Some(Ok(Value::Text(text))) => json!(text),
        Some(Ok(Value::Texts(texts))) => json!(texts),
        Some(Err(Absence::NotOffered)) => absent("NotOffered"),
        Some(Err(Absence::NotAuthorized)) => absent("NotAuthorized"),
        Some(Err(Absence::NotFound)) => absent("NotFound"),
        Some(Err(Absence::Unavailable)) => absent("Unavailable"),
        Some(Err(Absence::Hidden)) => absent("Hidden"),
    }
}
