//! Turns a stored document into metrics. A broken part affects only its own metrics.

use std::collections::BTreeSet;

use backline_sdk::{Placement, SnapshotBuilder, prelude::*, read_part};

/// Builds the snapshot of a document written by `collect`.
pub(crate) fn snapshot(document: &Document) -> Result<Snapshot, String> {
    let body = document.json()?;
    let artist = &body["artist"];
    let tracks = read_part(&body["top_tracks"], "answer")
        .and_then(|answer| answer["tracks"].as_array().ok_or(Absence::Unavailable));
    let popularity = artist_number(artist, &artist["popularity"]);
    let followers = artist_number(artist, &artist["followers"]["total"]);
    let mut builder = Snapshot::builder()
        .metric("followers", followers)
        .metric("popularity", popularity)
        .metric("top_track", tracks.and_then(|tracks| top_track(tracks)))
        .metric("genres", genres(artist))
        // The Web API has neither number, and popularity does not imply one.
        .absent(&["streams", "monthly_listeners"], Absence::NotOffered);
    builder = with_top_tracks_popularity(builder, tracks);
    builder = with_recent_releases(builder, read_part(&body["releases"], "pages"), document);
    for name in ["top_tracks", "releases"] {
        if let Some(why) = text(&body[name]["why"]) {
            builder = builder.note(format!("{name}: {why}"));
        }
    }
    Ok(builder.build())
}

/// A number of the artist object. Apps without extended quota get an object without it.
fn artist_number(artist: &Json, number: &Json) -> Result<Value, Absence> {
    match number {
        Json::Null if artist.is_object() => Err(Absence::NotOffered),
        number => integer(number).map(Value::Integer).ok_or(Absence::Unavailable),
    }
}

/// Genres as Spotify sends them. An empty list is a value: Spotify has not classified the artist.
fn genres(artist: &Json) -> Result<Value, Absence> {
    match &artist["genres"] {
        Json::Array(genres) => Ok(Value::Texts(genres.iter().filter_map(text).collect())),
        Json::Null if artist.is_object() => Err(Absence::NotOffered),
        _ => Err(Absence::Unavailable),
    }
}

/// The title of the first track: "not found" without any track, "unavailable" if the track has no title (after a
/// takedown).
fn top_track(tracks: &[Json]) -> Result<Value, Absence> {
    let first = tracks.first().ok_or(Absence::NotFound)?;
    text(&first["name"]).map(Value::Text).ok_or(Absence::Unavailable)
}

fn with_top_tracks_popularity(builder: SnapshotBuilder, tracks: Result<&Vec<Json>, Absence>) -> SnapshotBuilder {
    let name = "top_tracks_popularity";
    let tracks = match tracks {
        Ok(tracks) => tracks,
        Err(reason) => return builder.metric(name, Err(reason)),
    };
    let tally = Tally::of(tracks.iter().map(|track| integer(&track["popularity"])));
    let value = match (tally.counted, tally.skipped) {
        (0, 0) => Err(Absence::NotFound),
        // Tracks without a popularity: the app's quota mode does not include it.
        (0, _) => Err(Absence::NotOffered),
        #[expect(clippy::cast_precision_loss, reason = "at most ten numbers of 0 to 100")]
        (counted, _) => Ok(Value::Decimal(tally.sum as f64 / f64::from(counted))),
    };
    builder.metric_with(name, value, Coverage { counted: tally.counted, skipped: tally.skipped })
}

/// Counts the releases inside the window, each once, because pages may shift while they are read. A release with a
/// missing or too vague date counts as skipped in the coverage.
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
    let mut seen = BTreeSet::new();
    let mut coverage = Coverage { counted: 0, skipped: 0 };
    for page in pages {
        // An unreadable page hides an unknown number of releases, so a count without it would be a guess.
        let Some(items) = page["items"].as_array() else { return builder.metric(name, Err(Absence::Unavailable)) };
        for release in items.iter().filter(|release| !release.is_null()) {
            if text(&release["id"]).is_some_and(|id| !seen.insert(id)) {
                continue;
            }
            match document.window.placement(date_of(release)) {
                Placement::Inside => coverage.counted += 1,
                Placement::Unclear => coverage.skipped += 1,
                Placement::Outside => {}
            }
        }
    }
    builder.metric_with(name, Ok(Value::Integer(i64::from(coverage.counted))), coverage)
}

/// The release date, truncated to the precision that Spotify states for it.
fn date_of(release: &Json) -> &str {
    let date = release["release_date"].as_str().unwrap_or_default();
    let length = match release["release_date_precision"].as_str() {
        Some("year") => 4,
        Some("month") => 7,
        _ => date.len(),
    };
    date.get(..length).unwrap_or(date)
}
