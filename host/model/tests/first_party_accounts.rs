//! The account rules of the first-party connectors, with what people paste for their platforms.

use backline_model::Manifest;
use backline_model::account_rule::AccountReader;

fn manifest(connector: &str) -> Manifest {
    let path = format!("{}/../../plugins/{connector}/connector.toml", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).expect("a connector of this repository");
    Manifest::parse(&text).expect("a valid manifest")
}

fn reader(connector: &str) -> AccountReader {
    manifest(connector).account_reader().expect("a valid rule")
}

#[test]
fn the_numbers_of_a_day_have_history_and_others_have_none() {
    let of = |connector: &str| manifest(connector).metrics.into_iter().map(|metric| metric.history);
    assert!(of("youtube-analytics").all(|history| history), "the countries too");
    assert!(of("youtube").all(|history| !history));
    let stored = serde_json::to_value(manifest("youtube")).expect("JSON");
    assert!(!stored.to_string().contains("\"history\":"), "manifests that say nothing of it are stored as before");
}

fn expect(connector: &str, good: &[(&str, &str)], refused: &[(&str, &str)]) {
    let reader = reader(connector);
    for (text, id) in good {
        assert_eq!(reader.read(text).as_deref(), Ok(*id), "{text}");
    }
    for (text, said) in refused {
        let error = reader.read(text).expect_err(text).to_string();
        assert!(error.contains(said), "{text}: {error}");
    }
}

#[test]
fn youtube() {
    let id = "UC_x5XG1OV2P6uZZ5FSM9Ttw";
    expect(
        "youtube",
        &[
            (id, id),
            ("https://www.youtube.com/channel/UC_x5XG1OV2P6uZZ5FSM9Ttw", id),
            ("http://m.youtube.com/channel/UC_x5XG1OV2P6uZZ5FSM9Ttw/videos?view=0", id),
            ("music.youtube.com/channel/UC_x5XG1OV2P6uZZ5FSM9Ttw", id),
            ("HTTPS://YouTube.com/channel/UC_x5XG1OV2P6uZZ5FSM9Ttw#about", id),
        ],
        &[
            ("@nightowls", "begins with UC"),
            ("https://youtube.com/@nightowls?si=abc", "begins with UC"),
            ("https://www.youtube.com/c/nightowls", "handle"),
            ("https://www.youtube.com/user/nightowls", "handle"),
            ("https://www.youtube.com/watch?v=dQw4w9WgXcQ", "a video"),
            ("https://youtu.be/dQw4w9WgXcQ", "a video"),
            ("UU_x5XG1OV2P6uZZ5FSM9Ttw", "UC instead of UU"),
            ("UC1", "give one such as UC"),
            ("uc_x5XG1OV2P6uZZ5FSM9Ttw", "give one such as UC"),
            ("https://evil.test/youtube.com/channel/UC_x5XG1OV2P6uZZ5FSM9Ttw", "give one such as UC"),
        ],
    );
}

#[test]
fn youtube_analytics() {
    let id = "UC_x5XG1OV2P6uZZ5FSM9Ttw";
    expect(
        "youtube-analytics",
        &[(id, id), ("https://www.youtube.com/channel/UC_x5XG1OV2P6uZZ5FSM9Ttw", id), ("mine", "mine")],
        &[
            ("@nightowls", "begins with UC"),
            ("https://youtube.com/@nightowls?si=abc", "begins with UC"),
            ("UU_x5XG1OV2P6uZZ5FSM9Ttw", "UC instead of UU"),
            ("MINE", "give one such as UC"),
        ],
    );
    assert_eq!(reader("youtube-analytics").default_id(), Some("mine"));
}

#[test]
fn spotify() {
    let id = "4tZwfgrHOc3mvqYlEYSvVi";
    expect(
        "spotify",
        &[
            (id, id),
            ("spotify:artist:4tZwfgrHOc3mvqYlEYSvVi", id),
            ("https://open.spotify.com/artist/4tZwfgrHOc3mvqYlEYSvVi?si=0a1b2c3d4e5f", id),
            ("https://open.spotify.com/intl-de/artist/4tZwfgrHOc3mvqYlEYSvVi", id),
            ("https://open.spotify.com/intl-pt-BR/artist/4tZwfgrHOc3mvqYlEYSvVi/", id),
            ("open.spotify.com/embed/artist/4tZwfgrHOc3mvqYlEYSvVi", id),
            ("Spotify:artist:4tZwfgrHOc3mvqYlEYSvVi", id),
            ("https://artists.spotify.com/c/artist/4tZwfgrHOc3mvqYlEYSvVi/home", id),
            ("https://artists.spotify.com/c/en/artist/4tZwfgrHOc3mvqYlEYSvVi", id),
            ("https://api.spotify.com/v1/artists/4tZwfgrHOc3mvqYlEYSvVi", id),
        ],
        &[
            ("https://open.spotify.com/album/4tZwfgrHOc3mvqYlEYSvVi", "Copy link to artist"),
            ("spotify:track:4tZwfgrHOc3mvqYlEYSvVi", "Copy link to artist"),
            ("https://api.spotify.com/v1/albums/4tZwfgrHOc3mvqYlEYSvVi", "give one such as 4tZ"),
            ("https://evil.test/artists.spotify.com/artist/4tZwfgrHOc3mvqYlEYSvVi", "give one such as 4tZ"),
            ("https://spotify.link/AbCdEf", "short link"),
            ("4tZwfgrHOc3mvqYlEYSv", "give one such as 4tZ"),
            ("Night Owls", "give one such as 4tZ"),
        ],
    );
}

#[test]
fn instagram() {
    let id = "17841405793187218";
    expect(
        "instagram",
        &[(id, id), ("'17841405793187218", id), ("=\"17841405793187218\"", id), ("me", "me")],
        &[
            ("@nightowls", "user_id"),
            ("https://www.instagram.com/nightowls/", "user_id"),
            ("1.78414E+16", "rounded"),
            ("17841400000000000.0", "rounded"),
            ("17,841,405", "separators"),
            ("#NAME?", "error of the spreadsheet"),
            ("123", "user_id"),
        ],
    );
}

#[test]
fn instagram_business() {
    let name = "night.owls_1";
    expect(
        "instagram-business",
        &[
            (name, name),
            ("@night.owls_1", name),
            ("https://www.instagram.com/night.owls_1/", name),
            ("instagram.com/night.owls_1?hl=de", name),
            ("1975", "1975"),
            ("night.owls_of_the_long_winter_", "night.owls_of_the_long_winter_"),
        ],
        &[
            ("night.owls_of_the_long_winter_1", "at most 30 characters"),
            ("@Night.Owls_of_the_long_winter_1", "at most 30 characters"),
            ("https://www.instagram.com/night.owls_of_the_long_winter_1/", "at most 30 characters"),
            ("17841405793187218", "give the user name"),
            ("NightOwls", "lower case"),
            ("https://www.instagram.com/p/CxYz123/", "a post"),
            ("https://example.com/night.owls_1", "give one such as bluebottle"),
            ("night owls", "give one such as bluebottle"),
        ],
    );
}

#[test]
fn tiktok() {
    let id = "-000AbCdEfGhIjKlMnOpQrStUvWxYz012345";
    expect(
        "tiktok",
        &[(id, id), ("723f24d7-e717-40f8-a2b6-cb8464cd23b4", "723f24d7-e717-40f8-a2b6-cb8464cd23b4")],
        &[
            ("@nightowls", "open_id"),
            ("nightowls", "open_id"),
            ("https://www.tiktok.com/@nightowls", "open_id"),
            ("#NAME?", "error of the spreadsheet"),
        ],
    );
}

#[test]
fn apple_music() {
    let id = "1234567890";
    expect(
        "apple-music",
        &[
            (id, id),
            ("1234567890.0", id),
            ("https://music.apple.com/us/artist/night-owls/1234567890", id),
            ("https://music.apple.com/de/artist/1234567890?l=en", id),
            ("https://geo.music.apple.com/us/artist/night-owls/1234567890", id),
            ("https://itunes.apple.com/us/artist/night-owls/id1234567890", id),
        ],
        &[
            ("https://music.apple.com/us/album/night/1234567890", "no artist's address"),
            ("1.23457E+09", "rounded"),
            ("1,234,567,890", "separators"),
            ("Night Owls", "give one such as 178834"),
        ],
    );
}

#[test]
fn an_address_in_a_cell_swallows_no_other() {
    for (connector, ids, address) in [
        ("spotify", ["4gzpq5DPGxSnKTe4SA8HAU", "1dfeR4HaWDbWqFHLkxsg1d"], "https://open.spotify.com/artist/{}?si=x"),
        ("youtube", ["UC_x5XG1OV2P6uZZ5FSM9Ttw", "UCBR8-60-B28hp2BmDPdntcQ"], "youtube.com/channel/{}/videos"),
        ("apple-music", ["1234567890", "178834"], "https://music.apple.com/us/artist/night-owls/{}?l=en"),
    ] {
        let reader = reader(connector);
        for between in [",", ", ", ";", " | ", " ", "\n"] {
            let text = ids.map(|id| address.replace("{}", id)).join(between);
            assert_eq!(reader.read_all(&text), Ok(ids.map(str::to_owned).to_vec()), "{text}");
            assert!(reader.read(&text).is_err(), "{text}");
        }
    }
}
