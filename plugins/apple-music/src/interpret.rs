//! Turns a stored document into metrics. A broken part affects only its own metrics.

use std::collections::BTreeSet;

use backline_sdk::{Placement, SnapshotBuilder, prelude::*, read_part};

use crate::charts::best_place;

/// Genre of every album and song, and of some artists. It carries no information.
const FILLER_GENRE: &str = "Music";

/// Builds the snapshot of a document written by `collect`.
pub(crate) fn snapshot(document: &Document) -> Result<Snapshot, String> {
    let body = document.json()?;
    let mut builder = Snapshot::builder()
        // The API has no such numbers for any artist.
        .absent(&["followers", "streams", "monthly_listeners"], Absence::NotOffered)
        .metric("genres", genres(&body["artist"]))
        .metric("top_track", read_part(&body["top_songs"], "answer").and_then(top_track));
    builder = with_releases(builder, read_part(&body["albums"], "pages"), document)
        .metric("chart_place_songs", best_place(&body["charts"], "songs"))
        .metric("chart_place_albums", best_place(&body["charts"], "albums"));
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
    let (genres, _) = list_of(&artist["attributes"], "genreNames", text)?;
    Ok(Value::Texts(genres.into_iter().filter(|genre| genre != FILLER_GENRE).collect()))
}

/// The title of the highest-ranked song.
fn top_track(answer: &Json) -> Result<Value, Absence> {
    let first = list(answer, "data")?.first().ok_or(Absence::NotFound)?;
    text(&first["attributes"]["name"]).map(Value::Text).ok_or(Absence::Unavailable)
}

/// Counts the albums (singles are albums too) that were released inside the window, and all of them, each once. An
/// album that was only announced when the document was fetched is not counted. An album with a missing or too vague
/// date counts as skipped in the coverage.
fn with_releases(builder: SnapshotBuilder, pages: Result<&Json, Absence>, document: &Document) -> SnapshotBuilder {
    let (recent, size) = match pages.and_then(|pages| count(pages, document)) {
        Ok(counts) => counts,
        Err(reason) => return builder.absent(&["recent_releases", "catalogue_size"], reason),
    };
    builder.metric_with("recent_releases", Ok(Value::Integer(i64::from(recent.counted))), recent).metric_with(
        "catalogue_size",
        Ok(Value::Integer(i64::from(size.counted))),
        size,
    )
}

/// The albums inside the window, and all that are out, with the albums of which that is unknown as skipped.
fn count(pages: &Json, document: &Document) -> Result<(Coverage, Coverage), Absence> {
    let until = document.window.until.min(document.observed_at.saturating_add(1));
    let window = Window { since: document.window.since, until };
    let ever = Window { since: i64::MIN, until };
    let mut seen = BTreeSet::new();
    let (mut recent, mut size) = (Coverage { counted: 0, skipped: 0 }, Coverage { counted: 0, skipped: 0 });
    let pages = pages.as_array().filter(|pages| !pages.is_empty()).ok_or(Absence::Unavailable)?;
    for page in pages {
        // An unreadable page hides an unknown number of albums, so a count without it would be a guess.
        for album in list(page, "data")? {
            let Some(id) = text(&album["id"]) else {
                recent.skipped += 1;
                size.skipped += 1;
                continue;
            };
            if !seen.insert(id) {
                continue;
            }
            let date = album["attributes"]["releaseDate"].as_str().unwrap_or_default();
            match window.placement(date) {
                Placement::Inside => recent.counted += 1,
                Placement::Unclear => recent.skipped += 1,
                Placement::Outside => {}
            }
            match ever.placement(date) {
                Placement::Outside => {}
                // An album is listed, so it counts, however vague its date.
                Placement::Inside | Placement::Unclear => size.counted += 1,
            }
        }
    }
    Ok((recent, size))
}
