//! Turns a stored document into metrics. A broken part affects only its own metrics.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use backline_sdk::{Placement, SnapshotBuilder, prelude::*, read_part};

/// What a popularity can be, according to Spotify's specification.
const POPULARITY: RangeInclusive<i64> = 0..=100;

/// Builds the snapshot of a document written by `collect`.
pub(crate) fn snapshot(document: &Document) -> Result<Snapshot, String> {
    let body = document.json()?;
    let artist = &body["artist"];
    let tracks =
        read_part(&body["top_tracks"], "answer").and_then(|answer| list(answer, "tracks").map_err(Absence::from));
    let missing = missing(&body);
    let popularity = match artist.get("popularity") {
        Some(index) => popularity_of(index).map(Value::Integer).ok_or(Absence::Unavailable),
        None => Err(missing),
    };
    let followers = match artist.get("followers") {
        Some(followers) => number(Some(&followers["total"]), missing),
        None => Err(missing),
    };
    let mut builder = Snapshot::builder()
        .metric("followers", followers)
        .metric("popularity", popularity)
        .metric("top_track", tracks.and_then(top_track))
        .metric("genres", genres(artist, missing))
        // The Web API has neither number, and popularity does not imply one.
        .absent(&["streams", "monthly_listeners"], Absence::NotOffered);
    builder = with_top_tracks_popularity(builder, tracks, missing);
    builder = with_releases(builder, read_part(&body["releases"], "pages"), document);
    for name in ["top_tracks", "releases"] {
        if let Some(why) = text(&body[name]["why"]) {
            builder = builder.note(format!("{name}: {why}"));
        }
    }
    Ok(builder.build())
}

/// The reason for a key that the artist object lacks: apps without extended quota get objects without it. If others of
/// the batch have it, the app is offered it.
fn missing(body: &Json) -> Absence {
    if body["artist"].is_object() && body["mode"] != "extended" { Absence::NotOffered } else { Absence::Unavailable }
}

/// A number of the artist object. One that is there and can't be read, such as null, is offered but unavailable.
fn number(number: Option<&Json>, missing: Absence) -> Result<Value, Absence> {
    integer(number.ok_or(missing)?).map(Value::Integer).ok_or(Absence::Unavailable)
}

/// A popularity, which is an index of 0 to 100. Any other number is none.
fn popularity_of(json: &Json) -> Option<i64> {
    integer(json).filter(|index| POPULARITY.contains(index))
}

/// Genres as Spotify sends them. An empty list is a value: Spotify has not classified the artist.
fn genres(artist: &Json, missing: Absence) -> Result<Value, Absence> {
    artist.get("genres").ok_or(missing)?;
    Ok(Value::Texts(list_of(artist, "genres", text)?.0))
}

/// The title of the first track: "not found" without any track, "unavailable" if the track has no title (after a
/// takedown).
fn top_track(tracks: &[Json]) -> Result<Value, Absence> {
    let first = tracks.first().ok_or(Absence::NotFound)?;
    text(&first["name"]).map(Value::Text).ok_or(Absence::Unavailable)
}

/// Adds the mean over the tracks whose popularity can be read. The others count as skipped in its coverage.
fn with_top_tracks_popularity(
    builder: SnapshotBuilder,
    tracks: Result<&[Json], Absence>,
    missing: Absence,
) -> SnapshotBuilder {
    let name = "top_tracks_popularity";
    let tracks = match tracks {
        Ok(tracks) => tracks,
        Err(reason) => return builder.metric(name, Err(reason)),
    };
    let tally = Tally::of(tracks.iter().map(|track| popularity_of(&track["popularity"])));
    let value = match (tally.counted, tally.skipped) {
        (0, 0) => Err(Absence::NotFound),
        // One that is there and can't be read, such as null, is offered but unavailable.
        (0, _) if tracks.iter().any(|track| track.get("popularity").is_some()) => Err(Absence::Unavailable),
        // Tracks without a popularity: the app's quota mode does not include it.
        (0, _) => Err(missing),
        #[expect(clippy::cast_precision_loss, reason = "at most ten numbers of 0 to 100")]
        (counted, _) => Ok(Value::Decimal(tally.sum as f64 / f64::from(counted))),
    };
    builder.metric_with(name, value, Coverage { counted: tally.counted, skipped: tally.skipped })
}

/// Counts the releases inside the window, and all of the catalogue, each once, because pages may shift while they are
/// read. A release that was only announced when the document was fetched is not counted as recent. One with a missing
/// or too vague date counts as skipped in the coverage.
fn with_releases(builder: SnapshotBuilder, pages: Result<&Json, Absence>, document: &Document) -> SnapshotBuilder {
    let (coverage, size) = match pages.and_then(|pages| count(pages, document)) {
        Ok(counts) => counts,
        Err(reason) => return builder.absent(&["recent_releases", "catalogue_size"], reason),
    };
    builder
        .metric_with("recent_releases", Ok(Value::Integer(i64::from(coverage.counted))), coverage)
        .metric("catalogue_size", size.map(Value::Integer))
}

/// The releases inside the window, and the size of the catalogue as Spotify states it.
fn count(pages: &Json, document: &Document) -> Result<(Coverage, Result<i64, Absence>), Absence> {
    let until = document.window.until.min(document.observed_at.saturating_add(1));
    let window = Window { since: document.window.since, until };
    let mut seen = BTreeSet::new();
    let mut coverage = Coverage { counted: 0, skipped: 0 };
    let pages = pages.as_array().filter(|pages| !pages.is_empty()).ok_or(Absence::Unavailable)?;
    for page in pages {
        // An unreadable page hides an unknown number of releases, so a count without it would be a guess.
        for release in list(page, "items")?.iter().filter(|release| !release.is_null()) {
            // Without an id it may be one that was counted already.
            let Some(id) = text(&release["id"]) else {
                coverage.skipped += 1;
                continue;
            };
            if !seen.insert(id) {
                continue;
            }
            match window.placement(date_of(release)) {
                Placement::Inside => coverage.counted += 1,
                Placement::Unclear => coverage.skipped += 1,
                Placement::Outside => {}
            }
        }
    }
    // Fewer than were seen is no size of the catalogue, whatever it counts.
    let seen = i64::try_from(seen.len()).unwrap_or(i64::MAX);
    let total = pages.last().and_then(|page| integer(&page["total"])).filter(|total| *total >= seen);
    Ok((coverage, total.ok_or(Absence::Unavailable)))
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
