//! The Apple Music API: catalogue artists, their albums and top songs. The signature of the developer token is
//! verified.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::Datelike as _;
use p256::ecdsa::signature::Verifier as _;
use p256::ecdsa::{Signature, VerifyingKey};
use serde_json::{Map, Value as Json, json};

use crate::ids::Kind;
use crate::message::{Reply, Request};
use crate::state::{Shared, lock};
use crate::world::{Platform, Release, Trait};

const IDS_MAX: usize = 25;
const PAGE_DEFAULT: usize = 25;
const PAGE_MAX: usize = 100;
/// Maximum lifetime of a developer token, in seconds: six months.
const TOKEN_SECONDS_MAX: i64 = 15_777_000;
/// Maximum number of verified tokens in the cache. One host uses the same token for hours.
const TOKENS_KEPT: usize = 64;
const STOREFRONTS: [&str; 10] = ["us", "gb", "de", "fr", "jp", "br", "au", "ca", "se", "es"];

pub(crate) fn template(path: &str) -> &'static str {
    match path.split('/').collect::<Vec<_>>()[..] {
        ["", "v1", "catalog", _, "artists"] => "/v1/catalog/{storefront}/artists",
        ["", "v1", "catalog", _, "artists", _] => "/v1/catalog/{storefront}/artists/{id}",
        ["", "v1", "catalog", _, "artists", _, "albums"] => "/v1/catalog/{storefront}/artists/{id}/albums",
        ["", "v1", "catalog", _, "artists", _, "view", _] => "/v1/catalog/{storefront}/artists/{id}/view/{view}",
        _ => "(other)",
    }
}

fn error(request: &Request, status: u16, code: &str, title: &str, detail: &str) -> Reply {
    let body = json!({ "errors": [{
        "id": request.trace(),
        "title": title,
        "detail": detail,
        "status": status.to_string(),
        "code": code,
    }]});
    Reply::json(status, &body)
}

fn bad_parameter(request: &Request, detail: &str) -> Reply {
    error(request, 400, "40005", "Invalid Parameter Value", detail)
}

fn not_found(request: &Request) -> Reply {
    error(request, 404, "40400", "Resource Not Found", "Resource with requested id was not found")
}

/// The platform's error body for a status that a fault injects.
pub(crate) fn any_error(status: u16) -> Json {
    if status == 429 {
        return json!({ "message": "API capacity exceeded" });
    }
    let code = format!("{status}00");
    json!({ "errors": [{
        "id": "SIMULATED",
        "title": "Upstream Service Error",
        "detail": "Service failed",
        "status": status.to_string(),
        "code": code,
    }]})
}

pub(crate) fn handle(shared: &Shared, request: &Request) -> Reply {
    if !request.bearer().is_some_and(|token| token_is_good(shared, token)) {
        return Reply::empty(401);
    }
    if request.method != "GET" {
        return error(request, 405, "40500", "Method Not Allowed", "Only GET is allowed here");
    }
    let parts: Vec<&str> = request.path.split('/').collect();
    let ["", "v1", "catalog", storefront, "artists", rest @ ..] = &parts[..] else {
        return error(request, 400, "40008", "Invalid Path Value", "No such path");
    };
    if !STOREFRONTS.contains(storefront) {
        return error(request, 400, "40008", "Invalid Path Value", &format!("Invalid storefront '{storefront}'"));
    }
    if rest.is_empty() {
        return several(shared, request, storefront);
    }
    let Some(index) = find(shared, storefront, rest[0]) else {
        return not_found(request);
    };
    match &rest[1..] {
        [] => single(shared, request, storefront, index),
        ["albums"] => albums(shared, request, storefront, index),
        ["view", "top-songs"] => top_songs(shared, request, storefront, index),
        ["view", _] => Reply::ok(&json!({ "data": [], "meta": {} })),
        _ => error(request, 400, "40008", "Invalid Path Value", "No such relationship"),
    }
}

/// Verifies a developer token: header, claims, lifetime and signature.
fn token_is_good(shared: &Shared, token: &str) -> bool {
    let now = shared.now().timestamp();
    let in_time = |expires: i64| !shared.config.tokens_expire || now < expires;
    if let Some(expires) = lock(&shared.apple_tokens).get(token) {
        return in_time(*expires);
    }
    let Some(expires) = verified_expiry(shared, token) else { return false };
    let mut kept = lock(&shared.apple_tokens);
    if kept.len() >= TOKENS_KEPT {
        kept.clear();
    }
    kept.insert(token.to_owned(), expires);
    in_time(expires)
}

/// When a token expires, in Unix seconds; `None` if it is not from this team, or its lifetime is too long.
fn verified_expiry(shared: &Shared, token: &str) -> Option<i64> {
    let (signed, signature) = token.rsplit_once('.')?;
    let (header, claims) = signed.split_once('.')?;
    let json = |part: &str| -> Option<Json> { serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok() };
    let (header, claims) = (json(header)?, json(claims)?);
    let ours = header.get("alg")?.as_str()? == "ES256"
        && header.get("kid")?.as_str()? == shared.world.apple_key_id()
        && claims.get("iss")?.as_str()? == shared.world.apple_team_id();
    let (issued, expires) = (claims.get("iat")?.as_i64()?, claims.get("exp")?.as_i64()?);
    if !ours || expires <= issued || expires - issued > TOKEN_SECONDS_MAX {
        return None;
    }
    let signature = Signature::from_slice(&URL_SAFE_NO_PAD.decode(signature).ok()?).ok()?;
    let key = VerifyingKey::from(shared.world.apple_signing_key());
    key.verify(signed.as_bytes(), &signature).ok()?;
    Some(expires)
}

fn find(shared: &Shared, storefront: &str, id: &str) -> Option<u32> {
    let (index, _) = shared.world.read(Kind::AppleArtist, id)?;
    match shared.world.trait_of(index) {
        Some(Trait::AppleGone) => None,
        Some(Trait::AppleOnlyGb) if storefront != "gb" => None,
        _ => Some(index),
    }
}

fn several(shared: &Shared, request: &Request, storefront: &str) -> Reply {
    let ids = request.list("ids");
    if ids.is_empty() {
        return error(request, 400, "40005", "Missing Parameter", "No ids supplied on the request");
    }
    if ids.len() > IDS_MAX {
        return bad_parameter(request, "Value for parameter 'ids' exceeds the maximum of 25");
    }
    let mut data: Vec<Json> = Vec::new();
    for (place, id) in ids.iter().enumerate() {
        if let Some(index) = find(shared, storefront, id)
            && !ids[..place].contains(id)
        {
            data.push(artist(shared, storefront, index, false));
        }
    }
    Reply::ok(&json!({ "data": data }))
}

fn single(shared: &Shared, request: &Request, storefront: &str, index: u32) -> Reply {
    let mut body = artist(shared, storefront, index, request.list("include").contains(&"albums"));
    let mut views = Map::new();
    // The API ignores unknown view names.
    if request.list("views").contains(&"top-songs") {
        let songs = songs(shared, storefront, index);
        views.insert(
            "top-songs".into(),
            json!({
                "href": format!("{}/view/top-songs", href(shared, storefront, index)),
                "attributes": { "title": "Top Songs" },
                "data": songs,
            }),
        );
    }
    if !views.is_empty() {
        body["views"] = Json::Object(views);
    }
    Reply::ok(&json!({ "data": [body] }))
}

fn href(shared: &Shared, storefront: &str, index: u32) -> String {
    format!("/v1/catalog/{storefront}/artists/{}", shared.world.platform_id(Platform::AppleMusic, index))
}

fn releases(shared: &Shared, index: u32) -> Vec<Release> {
    let mut releases = shared.world.releases(index, shared.today(), true);
    releases.reverse();
    releases
}

fn artist(shared: &Shared, storefront: &str, index: u32, with_albums: bool) -> Json {
    let world = &shared.world;
    let id = world.platform_id(Platform::AppleMusic, index);
    let own = href(shared, storefront, index);
    let releases = releases(shared, index);
    let album = |release: &Release| {
        if with_albums {
            album(shared, storefront, index, release)
        } else {
            album_reference(shared, storefront, index, release)
        }
    };
    let mut albums = json!({
        "href": format!("{own}/albums"),
        "data": releases.iter().take(PAGE_DEFAULT).map(album).collect::<Vec<_>>(),
    });
    if releases.len() > PAGE_DEFAULT {
        albums["next"] = json!(format!("{own}/albums?offset={}", odd_offset(PAGE_DEFAULT)));
    }
    json!({
        "id": id,
        "type": "artists",
        "href": own,
        "attributes": {
            "name": world.name(index),
            "genreNames": world.genres(Platform::AppleMusic, index),
            "url": format!("https://music.apple.com/{storefront}/artist/{id}"),
        },
        "relationships": { "albums": albums },
    })
}

fn album_reference(shared: &Shared, storefront: &str, index: u32, release: &Release) -> Json {
    let id = shared.world.id(Kind::AppleAlbum, index, release.number);
    json!({ "id": id, "type": "albums", "href": format!("/v1/catalog/{storefront}/albums/{id}") })
}

fn album(shared: &Shared, storefront: &str, index: u32, release: &Release) -> Json {
    let world = &shared.world;
    let mut genres = world.genres(Platform::AppleMusic, index);
    genres.push("Music".to_owned());
    // The oldest release has a year only.
    let date = if release.number == 0 { release.date.year().to_string() } else { release.date.to_string() };
    let mut album = album_reference(shared, storefront, index, release);
    album["attributes"] = json!({
        "name": release.title,
        "artistName": world.name(index),
        "genreNames": genres,
        "releaseDate": date,
        "trackCount": release.tracks,
        "isSingle": release.group == "single",
        "isCompilation": release.group == "compilation",
        "isComplete": release.date <= shared.today(),
        "url": format!("https://music.apple.com/{storefront}/album/{}", release.number),
    });
    album
}

/// The offset as the API writes it. It is not a multiple of the page size, so that clients can't compute it.
fn odd_offset(place: usize) -> usize {
    place * 4 + 2
}

fn place_of(offset: usize) -> usize {
    offset.saturating_sub(2).div_ceil(4)
}

fn albums(shared: &Shared, request: &Request, storefront: &str, index: u32) -> Reply {
    let number = |name: &str, default: usize| request.param(name).map_or(Some(default), |text| text.parse().ok());
    let limit = number("limit", PAGE_DEFAULT).filter(|limit| (1..=PAGE_MAX).contains(limit));
    let (Some(limit), Some(offset)) = (limit, number("offset", 0)) else {
        return bad_parameter(request, "Value must be an integer between 1 and 100");
    };
    let releases = releases(shared, index);
    let start = place_of(offset);
    if releases.is_empty() || start >= releases.len() {
        return error(request, 404, "40403", "Resource Not Found", "No related resources");
    }
    let data: Vec<Json> =
        releases.iter().skip(start).take(limit).map(|release| album(shared, storefront, index, release)).collect();
    let mut body = json!({ "data": data });
    let end = start + limit;
    if end < releases.len() {
        body["next"] = json!(format!("{}/albums?offset={}", href(shared, storefront, index), odd_offset(end)));
    }
    Reply::ok(&body)
}

fn songs(shared: &Shared, storefront: &str, index: u32) -> Vec<Json> {
    let world = &shared.world;
    (0_u32..)
        .zip(world.top_tracks(index))
        .map(|(rank, name)| {
            let id = world.id(Kind::AppleSong, index, rank);
            json!({
                "id": id,
                "type": "songs",
                "href": format!("/v1/catalog/{storefront}/songs/{id}"),
                "attributes": {
                    "name": name,
                    "artistName": world.name(index),
                    "genreNames": [world.genres(Platform::AppleMusic, index)[0].clone(), "Music".to_owned()],
                    "durationInMillis": 150_000 + rank * 7_000,
                    "hasLyrics": true,
                    "trackNumber": rank + 1,
                },
            })
        })
        .collect()
}

fn top_songs(shared: &Shared, request: &Request, storefront: &str, index: u32) -> Reply {
    let songs = songs(shared, storefront, index);
    if songs.is_empty() {
        return error(request, 404, "40403", "Resource Not Found", "No related resources");
    }
    let limit = request.param("limit").and_then(|text| text.parse().ok()).unwrap_or(PAGE_DEFAULT);
    let data: Vec<Json> = songs.into_iter().take(limit).collect();
    let own = format!("{}/view/top-songs", href(shared, storefront, index));
    Reply::ok(&json!({ "href": own, "attributes": { "title": "Top Songs" }, "data": data }))
}
