//! Tests of the connector against prepared responses, which cover every known peculiarity and error of the platform.

mod charts;
mod collecting;
mod interpreting;
mod missing;
mod recorded;
mod refusals;

use backline_sdk::prelude::*;
use backline_sdk::testing::{self, Replay, absent, accounts, coverage, metric};

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

fn account_in(id: &str, storefronts: Json) -> Account {
    let mut account = testing::account(&format!("account-{id}"), id);
    account.settings = json!({ "storefronts": storefronts }).to_string();
    account
}

fn context() -> Context {
    testing::context(UNTIL)
}

/// Albums and top songs for every artist. Tests add the artists afterwards, because a URL gets the first entry whose
/// text it contains.
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
    testing::snapshot::<AppleMusic>(body, UNTIL)
}

/// The response to a list request, with artists of these ids.
fn artists_of(ids: &[&str]) -> String {
    let data: Vec<Json> = ids
        .iter()
        .map(|id| json!({ "id": id, "type": "artists", "attributes": { "name": id, "genreNames": [] } }))
        .collect();
    json!({ "data": data }).to_string()
}
