//! Tests with recorded and documented bodies, if a folder of them exists beside the repository. Every file in it needs
//! an entry here.

use std::path::PathBuf;

use super::*;

/// How a body is used, and the expected result.
enum Expected {
    /// The response of `/artists/{id}`.
    Artist { id: &'static str, followers: Json, popularity: Json, genres: usize },
    /// The response of `/artists?ids=`: id, followers and popularity of each artist.
    Artists(&'static [(&'static str, i64, i64)]),
    /// The response of `/artists/{id}/top-tracks`.
    TopTracks { top_track: &'static str, popularity: f64 },
    /// The response of `/artists/{id}/albums`: how many releases lie in the window that ends at `until`.
    Albums { until: i64, inside: i64, unclear: u32 },
    /// A body of another endpoint, used as an artist. It must be refused.
    NoArtist,
    /// A body of another shape, used as the list of artists. Every artist gets a request of its own and is not found.
    NoArtists,
    /// The body of an error response with this status.
    Refused { status: u16, class: &'static str },
}

fn expected(file: &str) -> Option<Expected> {
    use Expected::*;
    Some(match file {
        "artist_pitbull.json" => {
            Artist { id: "0TnOYISbd1XYRBk9myaseg", followers: json!(12_425_030), popularity: json!(85), genres: 0 }
        }
        "artist_devmode_fields_removed.json" => Artist {
            id: "0TnOYISbd1XYRBk9myaseg",
            followers: absent("not-offered"),
            popularity: absent("not-offered"),
            genres: 0,
        },
        "several_artists.json" => {
            Artists(&[("0oSGxfWSnnOXhD2fKuz2Gy", 633_494, 77), ("3dBVyJ7JuOMt4GE9607Qin", 52_338, 58)])
        }
        "artists_followers_as_floats.json" => Artists(&[
            ("4ACplpEqD6JIVgKrafauzs", 33_920, 67),
            ("5ZKMPRDHc7qElVJFh3uRqB", 19_340, 57),
            ("5hIClg6noTaCzMu2s5wp4f", 11_703, 54),
            ("4xls23Ye9WR9yy3yYMpAMm", 44_870, 67),
        ]),
        "artist_top_tracks.json" => TopTracks { top_track: "Can't Help Falling in Love", popularity: 70.0 },
        "several_tracks_with_null.json" => TopTracks { top_track: "Mr. Brightside", popularity: 76.0 },
        // 2025-09-01: one of the twelve recorded releases came out in the 28 days before, and "2012" is not one of
        // them.
        "artist_albums_page1.json" => Albums { until: 1_756_684_800, inside: 1, unclear: 0 },
        "followed_artists_cursor_paging.json" | "search_page.json" => NoArtists,
        "top_artists_page1.json" | "top_tracks_user_page1.json" | "token_client_credentials.json" => NoArtist,
        "album_single.json" | "track_numbers_as_floats.json" => NoArtist,
        "error_401_invalid_token.json" => Refused { status: 401, class: "FetchError::Unauthorized" },
        "error_403_scope.json" => Refused { status: 403, class: "FetchError::Forbidden" },
        "error_404_not_found.json" => Refused { status: 404, class: "FetchError::NotFound" },
        "error_429_quota_exceeded.json" => Refused { status: 429, class: "FetchError::QuotaExhausted(None)" },
        "error_429_rate_limit.json" => Refused { status: 429, class: "FetchError::RateLimited(None)" },
        "error_oauth_invalid_client.json" => Refused { status: 400, class: "FetchError::Misconfigured" },
        _ => return None,
    })
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/payloads/spotify")
}

#[test]
fn every_recorded_body_gives_the_expected_result() {
    for (file, body) in testing::bodies(&folder()).into_iter().flatten() {
        let expected = expected(&file).unwrap_or_else(|| panic!("no expected result for {file}: add an entry"));
        feed(&file, String::from_utf8(body).expect("the recorded bodies are text"), expected);
    }
}

fn feed(file: &str, body: String, expected: Expected) {
    match expected {
        Expected::Artist { id, followers, popularity, genres } => {
            let replay = with_parts().get("/artists/", 200, body);
            let snapshot = replay.collect::<Spotify>(accounts(&[id]).remove(0), context()).expect(file);
            assert_eq!(metric(&snapshot, "followers"), followers, "{file}");
            assert_eq!(metric(&snapshot, "popularity"), popularity, "{file}");
            assert_eq!(metric(&snapshot, "genres").as_array().map(Vec::len), Some(genres), "{file}");
        }
        Expected::Artists(artists) => {
            let ids: Vec<&str> = artists.iter().map(|artist| artist.0).chain([GHOST]).collect();
            // Asked for alone where the body has no null in its place.
            let replay = with_parts().get("/artists?ids=", 200, body).get("/artists/", 404, fixture!("error_404"));
            let batch = replay.fetch::<Spotify>(accounts(&ids), context()).accounts;
            for ((_, followers, popularity), fetched) in artists.iter().zip(&batch) {
                let snapshot = snapshot_of(&fetched.as_ref().expect(file).body);
                assert_eq!(metric(&snapshot, "followers"), json!(followers), "{file}");
                assert_eq!(metric(&snapshot, "popularity"), json!(popularity), "{file}");
            }
            assert!(matches!(batch[artists.len()], Err(FetchError::NotFound)), "{file}");
        }
        Expected::TopTracks { top_track, popularity } => {
            let replay = Replay::new().get("/top-tracks", 200, body).get("/albums", 200, fixture!("albums_none"));
            let replay = replay.get("/artists/", 200, fixture!("artist"));
            let snapshot = replay.collect::<Spotify>(accounts(&[ARIA]).remove(0), context()).expect(file);
            assert_eq!(metric(&snapshot, "top_track"), json!(top_track), "{file}");
            assert_eq!(metric(&snapshot, "top_tracks_popularity"), json!(popularity), "{file}");
        }
        Expected::Albums { until, inside, unclear } => {
            let replay = Replay::new()
                .get("/top-tracks", 200, fixture!("top_tracks"))
                .get("offset=0", 200, body)
                // The recorded page states 48 items.
                .get("offset=48", 200, fixture!("albums_none"))
                .get("/artists/", 200, fixture!("artist"));
            let snapshot = replay.collect::<Spotify>(accounts(&[ARIA]).remove(0), testing::context(until)).expect(file);
            assert_eq!(metric(&snapshot, "recent_releases"), json!(inside), "{file}");
            assert_eq!(coverage(&snapshot, "recent_releases").1, unclear, "{file}");
        }
        Expected::NoArtist => {
            let replay = with_parts().get("/artists/", 200, body);
            let outcome = replay.fetch::<Spotify>(accounts(&[ARIA]), context()).accounts.remove(0);
            assert!(matches!(outcome, Err(FetchError::Unexpected(_))), "{file}: {outcome:?}");
        }
        Expected::NoArtists => {
            let replay = with_parts().get("/artists?ids=", 200, body).get("/artists/", 404, fixture!("error_404"));
            let batch = replay.fetch::<Spotify>(accounts(&[ARIA, BORA]), context()).accounts;
            assert!(batch.iter().all(|outcome| matches!(outcome, Err(FetchError::NotFound))), "{file}: {batch:?}");
        }
        Expected::Refused { status, class: expected } => {
            let replay = Replay::new().get("/artists/", status, body);
            let error = replay.fetch::<Spotify>(accounts(&[ARIA]), context()).accounts.remove(0).expect_err(file);
            assert!(class(&error).starts_with(expected), "{file}: {error:?}");
        }
    }
}
