//! Spotify's Web API and its token endpoint, in extended quota mode and in development mode.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::Datelike as _;
use serde_json::{Value as Json, json};

use crate::ids::{self, Kind, Token};
use crate::message::{Reply, Request};
use crate::state::{Shared, SpotifyMode};
use crate::world::{Platform, Release, Trait};

const IDS_MAX: usize = 50;
const ALBUMS_LIMIT_MAX: usize = 50;
const ALBUMS_LIMIT_MAX_IN_DEVELOPMENT: usize = 10;
const ALBUMS_LIMIT_DEFAULT: usize = 5;
const TOKEN_SECONDS: i64 = 3_600;
const TOKEN: &str = "BQ";

pub(crate) fn template(path: &str) -> &'static str {
    match path.split('/').collect::<Vec<_>>()[..] {
        ["", "api", "token"] => "/api/token",
        ["", "v1", "artists"] => "/v1/artists",
        ["", "v1", "artists", _] => "/v1/artists/{id}",
        ["", "v1", "artists", _, "top-tracks"] => "/v1/artists/{id}/top-tracks",
        ["", "v1", "artists", _, "albums"] => "/v1/artists/{id}/albums",
        _ => "(other)",
    }
}

fn error(status: u16, message: &str) -> Reply {
    Reply::json(status, &json!({ "error": { "status": status, "message": message } }))
}

/// The platform's error body for a status that a fault injects.
pub(crate) fn any_error(status: u16) -> Json {
    let message = match status {
        401 => "The access token expired",
        403 => "Forbidden",
        404 => "Resource not found",
        429 => "API rate limit exceeded",
        _ => "Server error.",
    };
    json!({ "error": { "status": status, "message": message } })
}

/// The 429 response for a spent quota.
pub(crate) fn quota_exceeded() -> Reply {
    let body = json!({ "error": { "status": 429, "message": "Too many requests", "reason": "QUOTA_EXCEEDED" } });
    Reply::json(429, &body)
}

pub(crate) fn handle(shared: &Shared, request: &Request) -> Reply {
    if request.host == "accounts.spotify.com" {
        return token(shared, request);
    }
    let token = request.bearer();
    if token.is_none() {
        return error(401, "No token provided");
    }
    match token.and_then(|text| ids::read_token(shared.world.seed(), TOKEN, text)) {
        None => return error(401, "Invalid access token"),
        Some(token) if shared.expired(token.issued_at, TOKEN_SECONDS) => {
            return error(401, "The access token expired");
        }
        Some(_) => {}
    }
    if let Some(quota) = shared.config.spotify_quota
        && !shared.spend("spotify", shared.today(), 1, quota)
    {
        return quota_exceeded();
    }
    if request.method != "GET" {
        return error(405, "Method not allowed");
    }
    let extended = shared.config.spotify_mode == SpotifyMode::Extended;
    match request.path.split('/').collect::<Vec<_>>()[..] {
        ["", "v1", "artists"] if extended => several(shared, request),
        ["", "v1", "artists", _, "top-tracks"] | ["", "v1", "artists"] if !extended => error(403, "Forbidden"),
        ["", "v1", "artists", id] => with_artist(shared, id, |index| artist(shared, index)),
        ["", "v1", "artists", id, "top-tracks"] => with_artist(shared, id, |index| top_tracks(shared, index)),
        ["", "v1", "artists", id, "albums"] => match find(shared, id) {
            Ok(index) => albums(shared, request, id, index),
            Err(refused) => refused,
        },
        _ => error(404, "Service not found"),
    }
}

fn token(shared: &Shared, request: &Request) -> Reply {
    let refuse =
        |error: &str, description: &str| Reply::json(400, &json!({ "error": error, "error_description": description }));
    if request.path != "/api/token" || request.method != "POST" {
        return Reply::text(404, "text/html", "Not found.");
    }
    let Some(form) = request.form() else {
        return Reply::json(415, &json!({ "error": "unsupported_media_type", "error_description": "" }));
    };
    let field = |name: &str| form.get(name).cloned().unwrap_or_default();
    let basic = request.header("authorization").and_then(|value| value.strip_prefix("Basic "));
    let (id, secret) = match basic.map(|text| STANDARD.decode(text.trim())) {
        None => (field("client_id"), field("client_secret")),
        Some(Ok(bytes)) => {
            let text = String::from_utf8_lossy(&bytes).into_owned();
            text.split_once(':')
                .map_or((String::new(), String::new()), |(id, secret)| (id.to_owned(), secret.to_owned()))
        }
        Some(Err(_)) => return refuse("invalid_client", "Invalid client"),
    };
    if id != shared.world.spotify_client_id() {
        return refuse("invalid_client", "Invalid client");
    }
    if secret != shared.world.spotify_client_secret() {
        return refuse("invalid_client", "Invalid client secret");
    }
    if field("grant_type") != "client_credentials" {
        return refuse("unsupported_grant_type", "grant_type parameter is missing");
    }
    let fresh = Token { index: 0, generation: 0, issued_at: shared.now().timestamp() };
    Reply::ok(&json!({
        "access_token": shared.world.token(TOKEN, fresh),
        "token_type": "Bearer",
        "expires_in": TOKEN_SECONDS,
    }))
}

fn find(shared: &Shared, id: &str) -> Result<u32, Reply> {
    if !ids::is_spotify_form(id) {
        return Err(error(400, "Invalid base62 id"));
    }
    known(shared, id).ok_or_else(|| error(404, "Resource not found"))
}

fn known(shared: &Shared, id: &str) -> Option<u32> {
    let (index, _) = shared.world.read(Kind::SpotifyArtist, id)?;
    (!shared.world.has(index, Trait::SpotifyGone)).then_some(index)
}

fn with_artist(shared: &Shared, id: &str, body: impl Fn(u32) -> Json) -> Reply {
    match find(shared, id) {
        Ok(index) => Reply::ok(&body(index)),
        Err(refused) => refused,
    }
}

fn several(shared: &Shared, request: &Request) -> Reply {
    let ids = request.list("ids");
    if ids.is_empty() {
        return error(400, "Missing required field: ids");
    }
    if ids.len() > IDS_MAX {
        return error(400, "Too many ids requested");
    }
    if ids.iter().any(|id| !ids::is_spotify_form(id)) {
        return error(400, "Invalid base62 id");
    }
    let artists: Vec<Json> =
        ids.iter().map(|id| known(shared, id).map_or(Json::Null, |index| artist(shared, index))).collect();
    Reply::ok(&json!({ "artists": artists }))
}

/// A number as an integer or, for artists with [`Trait::FloatNumbers`], as a float such as `5.0`.
fn number(shared: &Shared, index: u32, value: i64) -> Json {
    #[expect(clippy::cast_precision_loss, reason = "simulated counts are far below 2^53")]
    if shared.world.has(index, Trait::FloatNumbers) { json!(value as f64) } else { json!(value) }
}

fn artist(shared: &Shared, index: u32) -> Json {
    let (world, today) = (&shared.world, shared.today());
    let id = world.platform_id(Platform::Spotify, index);
    let mut body = json!({
        "external_urls": { "spotify": format!("https://open.spotify.com/artist/{id}") },
        "genres": world.genres(Platform::Spotify, index),
        "href": format!("https://api.spotify.com/v1/artists/{id}"),
        "id": id,
        "images": [{ "url": format!("https://i.scdn.co/image/{id}"), "height": 640, "width": 640 }],
        "name": world.name(index),
        "type": "artist",
        "uri": format!("spotify:artist:{id}"),
    });
    if shared.config.spotify_mode == SpotifyMode::Extended {
        let followers = world.followers(Platform::Spotify, index, today).unwrap_or(0);
        body["followers"] = json!({ "href": null, "total": number(shared, index, followers) });
        body["popularity"] = number(shared, index, world.popularity(index, today));
    }
    body
}

fn top_tracks(shared: &Shared, index: u32) -> Json {
    let (world, today) = (&shared.world, shared.today());
    let artist_id = world.platform_id(Platform::Spotify, index);
    let tracks: Vec<Json> = (0_u32..)
        .zip(world.top_tracks(index))
        .map(|(rank, name)| {
            let id = world.id(Kind::SpotifyTrack, index, rank);
            json!({
                "artists": [{ "id": artist_id, "name": world.name(index), "type": "artist" }],
                "disc_number": 1,
                "duration_ms": 150_000 + rank * 7_000,
                "explicit": false,
                "href": format!("https://api.spotify.com/v1/tracks/{id}"),
                "id": id,
                "is_local": false,
                "is_playable": true,
                "name": name,
                "popularity": number(shared, index, world.track_popularity(index, rank, today)),
                "preview_url": null,
                "track_number": rank + 1,
                "type": "track",
                "uri": format!("spotify:track:{id}"),
            })
        })
        .collect();
    json!({ "tracks": tracks })
}

fn albums(shared: &Shared, request: &Request, id: &str, index: u32) -> Reply {
    let (world, today) = (&shared.world, shared.today());
    let given = |name: &str, default: usize| request.param(name).map_or(Some(default), |text| text.parse().ok());
    let limit_max = match shared.config.spotify_mode {
        SpotifyMode::Extended => ALBUMS_LIMIT_MAX,
        SpotifyMode::Development => ALBUMS_LIMIT_MAX_IN_DEVELOPMENT,
    };
    let limit = given("limit", ALBUMS_LIMIT_DEFAULT).filter(|limit| (1..=limit_max).contains(limit));
    let Some(limit) = limit else { return error(400, "Invalid limit") };
    let Some(offset) = given("offset", 0) else { return error(400, "Invalid offset") };
    let asked = request.param("include_groups").unwrap_or("album,single,compilation,appears_on");
    let groups: Vec<&str> = asked.split(',').collect();
    if groups.iter().any(|group| !["album", "single", "compilation", "appears_on"].contains(group)) {
        return error(400, "Invalid include_groups parameter");
    }
    // The API sends one group after the other, each with the newest release first.
    let mut releases: Vec<Release> =
        world.releases(index, today, false).into_iter().filter(|release| groups.contains(&release.group)).collect();
    releases.sort_by_key(|release| {
        let place = ["album", "single", "compilation"].iter().position(|group| *group == release.group);
        (place, std::cmp::Reverse(release.number))
    });
    let page = |offset: usize| {
        format!(
            "https://api.spotify.com/v1/artists/{id}/albums?offset={offset}&limit={limit}&include_groups={}",
            groups.join(",")
        )
    };
    let items: Vec<Json> =
        releases.iter().skip(offset).take(limit).map(|release| album(shared, index, release)).collect();
    Reply::ok(&json!({
        "href": page(offset),
        "limit": limit,
        "next": (offset.saturating_add(limit) < releases.len()).then(|| page(offset + limit)),
        "offset": offset,
        "previous": (offset > 0).then(|| page(offset.saturating_sub(limit))),
        "total": releases.len(),
        "items": items,
    }))
}

fn album(shared: &Shared, index: u32, release: &Release) -> Json {
    let world = &shared.world;
    let id = world.id(Kind::SpotifyAlbum, index, release.number);
    // The oldest release has a year only.
    let (date, precision) =
        if release.number == 0 { (release.date.year().to_string(), "year") } else { (release.date.to_string(), "day") };
    let mut body = json!({
        "album_type": release.group,
        "total_tracks": release.tracks,
        "external_urls": { "spotify": format!("https://open.spotify.com/album/{id}") },
        "href": format!("https://api.spotify.com/v1/albums/{id}"),
        "id": id,
        "images": [],
        "name": release.title,
        "release_date": date,
        "release_date_precision": precision,
        "type": "album",
        "uri": format!("spotify:album:{id}"),
        "artists": [{ "id": world.platform_id(Platform::Spotify, index), "name": world.name(index), "type": "artist" }],
    });
    if shared.config.spotify_mode == SpotifyMode::Extended {
        body["available_markets"] = json!(["DE", "GB", "US"]);
        body["album_group"] = json!(release.group);
    }
    body
}
