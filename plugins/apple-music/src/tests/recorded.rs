//! Tests with recorded and documented bodies, if a folder of them exists beside the repository. Every file in it needs
//! an entry here.

use std::path::PathBuf;

use super::*;

/// How a body is used, and the expected result.
enum Expected {
    /// The response for an artist, alone and in a list: its id and genres.
    Artist { id: &'static str, genres: &'static [&'static str] },
    /// A page of albums: how many were released in the 28 days before `until`, and how many have an unclear date.
    Albums { until: i64, inside: u32, unclear: u32 },
    /// A response with songs, used as top songs: the title of the first.
    TopSongs(&'static str),
    /// An empty relationship, used for albums and for top songs.
    Empty,
    /// A body of another endpoint, used as an artist, a list and a part. It must be refused.
    Foreign,
}

fn expected(file: &str) -> Option<Expected> {
    use Expected::*;
    Some(match file {
        "artist_beach_bunny.json" => Artist { id: "1147783278", genres: &["Alternative"] },
        "artist_springsteen_next.json" => Artist { id: "178834", genres: &["Rock"] },
        // 2021-11-01: three of the recorded releases came out in October 2021, after the 4th.
        "artist_albums_relationship.json" => Albums { until: 1_635_724_800, inside: 3, unclear: 0 },
        "song_extended.json" => TopSongs("Frit Fald"),
        "empty_relationship_view.json" => Empty,
        "search_live.json" | "search_artists_docs.json" => Foreign,
        _ => return None,
    })
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/payloads/apple_music")
}

#[test]
fn every_recorded_body_gives_the_expected_result() {
    for (file, body) in testing::bodies(&folder()).into_iter().flatten() {
        let expected = expected(&file).unwrap_or_else(|| panic!("no expected result for {file}: add an entry"));
        feed(&file, String::from_utf8(body).expect("the recorded bodies are text"), expected);
    }
}

fn with_albums(status: u16, body: String) -> Replay {
    Replay::new().get("/albums?", status, body).get("/view/top-songs", 200, fixture!("top_songs.json")).get(
        "/artists/",
        200,
        fixture!("artist.json"),
    )
}

fn with_top_songs(body: String) -> Replay {
    Replay::new().get("/albums?", 404, fixture!("error_40403.json")).get("/view/top-songs", 200, body).get(
        "/artists/",
        200,
        fixture!("artist.json"),
    )
}

fn collected(replay: &Replay, until: i64) -> Snapshot {
    replay.collect::<AppleMusic>(accounts(&[ARIA]).remove(0), testing::context(until)).expect("collected")
}

fn feed(file: &str, body: String, expected: Expected) {
    match expected {
        Expected::Artist { id, genres } => {
            let replay = with_parts().get("/artists?ids=", 200, body.clone()).get("/artists/", 200, body);
            for ids in [vec![id], vec![GHOST, id]] {
                let batch = replay.fetch::<AppleMusic>(accounts(&ids), context()).accounts;
                let snapshot = snapshot_of(&batch[ids.len() - 1].as_ref().expect(file).body);
                assert_eq!(metric(&snapshot, "genres"), json!(genres), "{file}");
                assert_eq!(metric(&snapshot, "followers"), absent("not-offered"), "{file}");
            }
            // The artist came with album ids only, so the albums are requested.
            assert!(replay.urls().iter().any(|url| url.ends_with(&format!("/{id}/albums?limit=100"))), "{file}");
        }
        Expected::Albums { until, inside, unclear } => {
            let snapshot = collected(&with_albums(200, body), until);
            assert_eq!(metric(&snapshot, "recent_releases"), json!(inside), "{file}");
            assert_eq!(coverage(&snapshot, "recent_releases"), (inside, unclear), "{file}");
        }
        Expected::TopSongs(title) => {
            assert_eq!(metric(&collected(&with_top_songs(body), UNTIL), "top_track"), json!(title), "{file}")
        }
        Expected::Empty => {
            assert_eq!(
                metric(&collected(&with_albums(200, body.clone()), UNTIL), "recent_releases"),
                json!(0),
                "{file}"
            );
            assert_eq!(
                metric(&collected(&with_top_songs(body.clone()), UNTIL), "top_track"),
                absent("not-found"),
                "{file}"
            );
            let unknown = Replay::new().get("/artists/", 200, body).fetch::<AppleMusic>(accounts(&[ARIA]), context());
            assert!(matches!(unknown.accounts[0], Err(FetchError::NotFound)), "{file}");
        }
        Expected::Foreign => {
            assert_eq!(
                metric(&collected(&with_albums(200, body.clone()), UNTIL), "recent_releases"),
                absent("unavailable"),
                "{file}"
            );
            assert_eq!(
                metric(&collected(&with_top_songs(body.clone()), UNTIL), "top_track"),
                absent("unavailable"),
                "{file}"
            );
            let replay = Replay::new().get("/artists?ids=", 200, body.clone()).get("/artists/", 200, body);
            let batch = replay.fetch::<AppleMusic>(accounts(&[ARIA, BORA]), context()).accounts;
            assert!(batch.iter().all(|outcome| matches!(outcome, Err(FetchError::Unexpected(_)))), "{file}: {batch:?}");
        }
    }
}
