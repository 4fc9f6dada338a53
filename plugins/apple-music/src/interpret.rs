//! Turns a stored document into metrics. Pure and tolerant: a part that is broken costs its own metrics only.

use std::collections::BTreeSet;

use backline_sdk::{Placement, SnapshotBuilder, prelude::*, read_part};

/// A name that every album and song has among its genres, and some artists; it says nothing.
const FILLER_GENRE: &str = "Music";

/// The snapshot of a document written by `collect`.
pub fn snapshot(document: &Document) -> Result<Snapshot, String> {
    let body = document.json()?;
    let mut builder = Snapshot::builder()
        // The API has no such numbers for anybody.
        .absent(&["followers", "streams", "monthly_listeners"], Absence::NotOffered)
        .metric("genres", genres(&body["artist"]))
        .metric("top_track", read_part(&body["top_songs"], "answer").and_then(top_track));
    builder = with_recent_releases(builder, read_part(&body["albums"], "pages"), document);
    if let Some(storefront) = text(&body["storefront"]) {
        builder = builder.note(format!("storefront {storefront}"));
    }
    for name in ["albums", "top_songs"] {
        if let Some(why) = text(&body[name]["why"]) {
            builder = builder.note(format!("{name}: {why}"));
        }
    }
    Ok(builder.build())
}

fn genres(artist: &Json) -> Result<Value, Absence> {
    let genres = artist["attributes"]["genreNames"].as_array().ok_or(Absence::Unavailable)?;
    Ok(Value::Texts(genres.iter().filter_map(text).filter(|genre| genre != FILLER_GENRE).collect()))
}

/// The title of the first song by rank.
fn top_track(answer: &Json) -> Result<Value, Absence> {
    let first = answer["data"].as_array().ok_or(Absence::Unavailable)?.first().ok_or(Absence::NotFound)?;
    text(&first["attributes"]["name"]).map(Value::Text).ok_or(Absence::Unavailable)
}

/// Counts the albums (singles are albums too) inside the window, each once. What was only announced when the document was
/// fetched is not out. What is dated too vaguely to tell, or not at all, is not counted and shows in the coverage.
fn with_recent_releases(
    builder: SnapshotBuilder,
    pages: Result<&Json, Absence>,
    document: &Document,
) -> SnapshotBuilder {
    let name = "recent_releases";
    let pages = match pages.and_then(|pages| pages.as_array().ok_or(Absence::Unavailable)) {
        Ok(pages) => pages,
        Err(reason) => return builder.metric(name, Err(reason)),
    };
    let until = document.window.until.min(document.observed_at.saturating_add(1));
    let window = Window { since: document.window.since, until };
    let mut seen = BTreeSet::new();
    let mut coverage = Coverage { counted: 0, skipped: 0 };
    for page in pages {
        // A page that is no page hides an unknown number of albums: a count without it would be a guess.
        let Some(albums) = page["data"].as_array() else { return builder.metric(name, Err(Absence::Unavailable)) };
        for album in albums {
            if text(&album["id"]).is_some_and(|id| !seen.insert(id)) {
                continue;
            }
            match window.placement(album["attributes"]["releaseDate"].as_str().unwrap_or_default()) {
                Placement::Inside => coverage.counted += 1,
                Placement::Unclear => coverage.skipped += 1,
                Placement::Outside => {}
            }
        }
    }
    builder.metric_with(name, Ok(Value::Integer(i64::from(coverage.counted))), coverage)
}
