//! The connector against written-down answers: every quirk and every refusal of the platform that is known.

mod collecting;
mod interpreting;
mod recorded;
mod refusals;

use backline_sdk::testing::Replay;
use backline_sdk::{prelude::*, testing};

use crate::AppleMusic;

const ARIA: &str = "1001";
const BORA: &str = "2002";
const GHOST: &str = "3003";

/// 2026-11-20, 00:00 UTC: the window is 2026-10-23 to 2026-11-19.
const UNTIL: i64 = 1_795_132_800;

macro_rules! fixture {
    ($name:literal) => {
        include_str!(concat!("../../fixtures/", $name))
    };
}
use fixture;

fn accounts(ids: &[&str]) -> Vec<Account> {
    ids.iter().enumerate().map(|(index, id)| testing::account(&format!("account-{index}"), id)).collect()
}

fn account_in(id: &str, storefronts: Json) -> Account {
    let mut account = testing::account(&format!("account-{id}"), id);
    account.settings = json!({ "storefronts": storefronts }).to_string();
    account
}

fn context() -> Context {
    testing::context(UNTIL)
}

/// Albums and top songs for everybody; artists are added by the test, which must come after these since URLs are matched by
/// what they contain.
fn with_parts() -> Replay {
    Replay::new().get("/albums?", 404, fixture!("error_40403.json")).get(
        "/view/top-songs",
        200,
        fixture!("top_songs.json"),
    )
}

fn class(error: &FetchError) -> String {
    format!("{error:?}")
}

fn snapshot_of(body: &str) -> Snapshot {
    let window = context().window;
    AppleMusic::normalize(Document { body: body.to_owned(), window, observed_at: window.until }).expect("it is JSON")
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

/// Releases counted and skipped.
fn releases(snapshot: &Snapshot) -> (u32, u32) {
    let metric = snapshot.metrics.iter().find(|metric| metric.name == "recent_releases").expect("reported");
    metric.coverage.map(|coverage| (coverage.counted, coverage.skipped)).expect("an aggregate")
}
