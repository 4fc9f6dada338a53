//! Tests of the connector against prepared responses, which cover every known peculiarity and error of the platform.

mod collecting;
mod interpreting;
mod missing;
mod recorded;
mod refusals;

use backline_sdk::prelude::*;
use backline_sdk::testing::{self, Replay, absent, accounts, coverage, metric};

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

fn context() -> Context {
    testing::context(UNTIL)
}

/// Top tracks and releases for every artist. Tests add the artists afterwards, because a URL gets the first entry whose
/// text it contains.
fn with_parts() -> Replay {
    Replay::new().get("/top-tracks", 200, fixture!("top_tracks")).get("/albums", 200, fixture!("albums_none"))
}

fn class(error: &FetchError) -> String {
    format!("{error:?}")
}

fn snapshot_of(body: &str) -> Snapshot {
    testing::snapshot::<Spotify>(body, UNTIL)
}
