//! Turns a stored document into metrics. A broken part affects only its own metrics.

use std::collections::BTreeSet;

use backline_sdk::{Placement, SnapshotBuilder, prelude::*, read_part};

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

/// The title of the highest-ranked song.
fn top_track(answer: &Json) -> Result<Value, Absence> {
    let first = answer["data"].as_array().ok_or(Absence::Unavailable)?.first().ok_or(Absence::NotFound)?;
    text(&first["attributes"]["name"]).map(Value::Text).ok_or(Absence::Unavailable)
}

/// Counts the albums (singles are albums too) that were released inside the window, each once. An album that was only
/// announced when the document was fetched is not counted. An album with a missing or too vague date counts as skipped
/// in the coverage.
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
        // An unreadable page hides an unknown number of albums, so a count without it would be a guess.
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
