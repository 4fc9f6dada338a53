//! TikTok's Display API v2 and its token endpoint with rotating refresh tokens.

use serde_json::{Map, Value as Json, json};

use crate::ids::{Kind, Token};
use crate::message::{Reply, Request};
use crate::state::{Shared, TiktokRotation, lock};
use crate::world::{Platform, Post, TIKTOK_ACCESS, TIKTOK_REFRESH, Trait};

const PAGE_MAX: u64 = 20;
const PAGE_DEFAULT: u64 = 10;
const ACCESS_SECONDS: i64 = 86_400;
const REFRESH_SECONDS: i64 = 31_536_000;

const BASIC: [&str; 6] = ["open_id", "union_id", "avatar_url", "avatar_url_100", "avatar_large_url", "display_name"];
const PROFILE: [&str; 4] = ["username", "bio_description", "profile_deep_link", "is_verified"];
const STATS: [&str; 4] = ["follower_count", "following_count", "likes_count", "video_count"];
const VIDEO: [&str; 13] = [
    "id",
    "create_time",
    "cover_image_url",
    "share_url",
    "video_description",
    "duration",
    "height",
    "width",
    "title",
    "like_count",
    "comment_count",
    "share_count",
    "view_count",
];

pub(crate) fn template(path: &str) -> &'static str {
    match path {
        "/v2/oauth/token/" => "/v2/oauth/token/",
        "/v2/user/info/" => "/v2/user/info/",
        "/v2/video/list/" => "/v2/video/list/",
        "/v2/video/query/" => "/v2/video/query/",
        _ => "(other)",
    }
}

fn envelope(code: &str, message: &str, log_id: &str) -> Json {
    json!({ "code": code, "message": message, "log_id": log_id })
}

fn error(request: &Request, status: u16, code: &str, message: &str) -> Reply {
    let body = json!({ "data": {}, "error": envelope(code, message, &request.trace()) });
    Reply::json(status, &body)
}

fn ok(request: &Request, data: Json) -> Reply {
    Reply::ok(&json!({ "data": data, "error": envelope("ok", "", &request.trace()) }))
}

/// The platform's error body for a status that a fault injects.
pub(crate) fn any_error(status: u16) -> Json {
    let (code, message) = match status {
        429 => ("rate_limit_exceeded", "The API rate limit was exceeded. Please try again later."),
        401 => ("access_token_invalid", "Access token is invalid, please refresh token and retry"),
        400 => ("invalid_params", "Invalid params in request."),
        _ => ("internal_error", "Internal error. Please try again later."),
    };
    json!({ "error": envelope(code, message, "20261120000000SIMULATED") })
}

pub(crate) fn handle(shared: &Shared, request: &Request) -> Reply {
    if request.path == "/v2/oauth/token/" {
        return token(shared, request);
    }
    let index = match authorised(shared, request) {
        Ok(index) => index,
        Err(refused) => return refused,
    };
    if shared.world.has(index, Trait::TiktokErrorInOk) {
        return error(request, 200, "internal_error", "Internal error. Please try again later.");
    }
    match (request.method.as_str(), request.path.as_str()) {
        ("GET", "/v2/user/info/") => user_info(shared, request, index),
        ("POST", "/v2/video/list/") => video_list(shared, request, index),
        ("POST", "/v2/video/query/") => video_query(shared, request, index),
        _ => Reply::text(404, "text/plain", "Unsupported path(Janus)"),
    }
}

fn authorised(shared: &Shared, request: &Request) -> Result<u32, Reply> {
    let token = request.bearer().and_then(|text| shared.world.read_token(TIKTOK_ACCESS, text));
    let good = token
        .filter(|token| !shared.expired(token.issued_at, ACCESS_SECONDS))
        .filter(|token| !shared.world.has(token.index, Trait::TiktokRevoked));
    let message = "The access token is invalid or not found in the request.";
    good.map(|token| token.index).ok_or_else(|| error(request, 401, "access_token_invalid", message))
}

fn token(shared: &Shared, request: &Request) -> Reply {
    let refuse = |error: &str, description: &str| {
        Reply::json(400, &json!({ "error": error, "error_description": description, "log_id": request.trace() }))
    };
    let Some(form) = request.form().filter(|_| request.method == "POST") else {
        return refuse("invalid_request", "Only `application/x-www-form-urlencoded` is accepted as Content-Type.");
    };
    let field = |name: &str| form.get(name).map_or("", String::as_str);
    if field("client_key").is_empty() {
        return refuse("invalid_request", "Client key is missed in request.");
    }
    if field("client_secret").is_empty() {
        return refuse("invalid_request", "Client secret is missed in request.");
    }
    let world = &shared.world;
    if field("client_key") != world.tiktok_client_key() || field("client_secret") != world.tiktok_client_secret() {
        return refuse("invalid_client", "Client key or secret is incorrect.");
    }
    if field("grant_type") != "refresh_token" {
        return refuse("unsupported_grant_type", "The grant type is not supported.");
    }
    let given = world
        .read_token(TIKTOK_REFRESH, field("refresh_token"))
        .filter(|token| !shared.expired(token.issued_at, REFRESH_SECONDS))
        .filter(|token| !world.has(token.index, Trait::TiktokRevoked));
    let Some(given) = given else {
        return refuse("invalid_grant", "Refresh token is invalid or expired.");
    };
    let Some(generation) = rotate(shared, given) else {
        return refuse("invalid_grant", "Refresh token is invalid or expired.");
    };
    let index = given.index;
    let now = shared.now().timestamp();
    let rotated = shared.config.tiktok_rotates;
    let refresh = if rotated { Token { index, generation, issued_at: now } } else { given };
    let scope = if world.has(index, Trait::TiktokScopeMissing) {
        "user.info.basic"
    } else {
        "user.info.basic,user.info.profile,user.info.stats,video.list"
    };
    Reply::ok(&json!({
        "access_token": world.token(TIKTOK_ACCESS, Token { index, generation, issued_at: now }),
        "expires_in": ACCESS_SECONDS,
        "open_id": world.platform_id(Platform::Tiktok, index),
        "refresh_expires_in": refresh.issued_at + REFRESH_SECONDS - now,
        "refresh_token": world.token(TIKTOK_REFRESH, refresh),
        "scope": scope,
        "token_type": "Bearer",
    }))
}

/// Invalidates a refresh token and returns the generation of the next one; `None` if it was already invalid.
fn rotate(shared: &Shared, given: Token) -> Option<u32> {
    if !shared.config.tiktok_rotates {
        return Some(given.generation);
    }
    let now = shared.now().timestamp();
    let mut rotations = lock(&shared.tiktok_rotations);
    let newest = rotations.get(&given.index).copied().unwrap_or(TiktokRotation { generation: 0, rotated_at: i64::MIN });
    if given.generation == newest.generation {
        rotations.insert(given.index, TiktokRotation { generation: given.generation + 1, rotated_at: now });
        return Some(given.generation + 1);
    }
    let in_grace = given.generation + 1 == newest.generation
        && now < newest.rotated_at.saturating_add(shared.config.tiktok_grace_seconds);
    in_grace.then_some(newest.generation)
}

/// The requested fields, or an error response if there is none or one is unknown.
fn fields<'a>(request: &'a Request, known: &[&[&str]]) -> Result<Vec<&'a str>, Reply> {
    let fields = request.list("fields");
    if fields.is_empty() {
        return Err(error(request, 400, "invalid_params", "Fields is required."));
    }
    match fields.iter().find(|field| !known.iter().any(|group| group.contains(field))) {
        Some(unknown) => Err(error(request, 400, "invalid_params", &format!("Invalid field: {unknown}"))),
        None => Ok(fields),
    }
}

fn scope_missing(request: &Request) -> Reply {
    let message = "The user did not authorize the scope required for completing this request.";
    error(request, 401, "scope_not_authorized", message)
}

fn user_info(shared: &Shared, request: &Request, index: u32) -> Reply {
    let fields = match fields(request, &[&BASIC, &PROFILE, &STATS]) {
        Ok(fields) => fields,
        Err(refused) => return refused,
    };
    let (world, today) = (&shared.world, shared.today());
    if world.has(index, Trait::TiktokScopeMissing) && fields.iter().any(|field| !BASIC.contains(field)) {
        return scope_missing(request);
    }
    let mut user = Map::new();
    for field in fields {
        let value = match field {
            "open_id" => json!(world.platform_id(Platform::Tiktok, index)),
            "union_id" => json!(format!("union-{}", world.platform_id(Platform::Tiktok, index))),
            "display_name" if world.has(index, Trait::NulInName) => json!(format!("{}\0", world.name(index))),
            "display_name" => json!(world.name(index)),
            "username" => json!(world.handle(index)),
            "bio_description" => json!(""),
            "profile_deep_link" => json!(format!("https://www.tiktok.com/@{}", world.handle(index))),
            "is_verified" => json!(index.is_multiple_of(2)),
            "follower_count" => json!(world.followers(Platform::Tiktok, index, today)),
            "following_count" => json!(world.following(Platform::Tiktok, index, today)),
            "likes_count" => json!(world.lifetime_likes(index, today)),
            "video_count" => json!(world.posts_until(Platform::Tiktok, index, today)),
            _ => json!("https://p16-sign.tiktokcdn-us.com/avatar.jpeg"),
        };
        user.insert(field.to_owned(), value);
    }
    ok(request, json!({ "user": user }))
}

fn video_list(shared: &Shared, request: &Request, index: u32) -> Reply {
    let fields = match fields(request, &[&VIDEO]) {
        Ok(fields) => fields,
        Err(refused) => return refused,
    };
    let (world, today) = (&shared.world, shared.today());
    if world.has(index, Trait::TiktokScopeMissing) {
        return scope_missing(request);
    }
    let body: Json = if request.body.is_empty() {
        json!({})
    } else {
        match serde_json::from_slice(&request.body) {
            Ok(body) => body,
            Err(_) => return error(request, 400, "invalid_params", "The request body is not valid JSON."),
        }
    };
    let count = body.get("max_count").map_or(Some(PAGE_DEFAULT), Json::as_u64);
    let Some(count) = count.filter(|count| (1..=PAGE_MAX).contains(count)) else {
        return error(request, 400, "invalid_params", "The max_count must be between 1 and 20.");
    };
    let before = body.get("cursor").map_or(Some(0), Json::as_i64);
    let Some(before) = before else {
        return error(request, 400, "invalid_params", "The cursor is invalid.");
    };
    let older = |post: &Post| before == 0 || post.published.timestamp_millis() < before;
    let mut posts = (0..world.posts_until(Platform::Tiktok, index, today))
        .rev()
        .map(|number| world.post(Platform::Tiktok, index, number))
        .skip_while(|post| !older(post));
    let page: Vec<Post> = posts.by_ref().take(usize::try_from(count).unwrap_or(0)).collect();
    let more = posts.next().is_some();
    let cursor = page.last().map_or(before, |post| post.published.timestamp_millis());
    let videos: Vec<Json> = page.into_iter().map(|post| video(shared, index, post, &fields)).collect();
    ok(request, json!({ "videos": videos, "cursor": cursor, "has_more": more }))
}

fn video_query(shared: &Shared, request: &Request, index: u32) -> Reply {
    let fields = match fields(request, &[&VIDEO]) {
        Ok(fields) => fields,
        Err(refused) => return refused,
    };
    let world = &shared.world;
    if world.has(index, Trait::TiktokScopeMissing) {
        return scope_missing(request);
    }
    let body: Json = serde_json::from_slice(&request.body).unwrap_or_default();
    let ids: Option<Vec<&str>> = body
        .pointer("/filters/video_ids")
        .and_then(Json::as_array)
        .map(|ids| ids.iter().filter_map(Json::as_str).collect());
    let Some(ids) = ids.filter(|ids| !ids.is_empty() && ids.len() as u64 <= PAGE_MAX) else {
        return error(request, 400, "invalid_params", "filters.video_ids must name 1 to 20 videos.");
    };
    let there = world.posts_until(Platform::Tiktok, index, shared.today());
    let videos: Vec<Json> = ids
        .iter()
        .filter_map(|id| world.read(Kind::TiktokVideo, id))
        .filter(|(owner, number)| *owner == index && *number < there)
        .map(|(_, number)| video(shared, index, world.post(Platform::Tiktok, index, number), &fields))
        .collect();
    ok(request, json!({ "videos": videos }))
}

fn video(shared: &Shared, index: u32, post: Post, fields: &[&str]) -> Json {
    let world = &shared.world;
    let stats = world.post_stats(Platform::Tiktok, index, post, shared.today());
    let id = world.id(Kind::TiktokVideo, index, post.number);
    let mut video = Map::new();
    for field in fields {
        let value = match *field {
            "create_time" => json!(post.published.timestamp()),
            "title" | "video_description" => json!(format!("clip {} 🎶", post.number + 1)),
            "duration" => json!(10 + post.number % 50),
            "height" => json!(1_024),
            "width" => json!(576),
            "like_count" => json!(stats.likes),
            "comment_count" => json!(stats.comments),
            "share_count" => json!(stats.shares),
            "view_count" => json!(stats.views),
            "share_url" => json!(format!("https://www.tiktok.com/@{}/video/{id}", world.handle(index))),
            "cover_image_url" => json!(format!("https://p16-sign.tiktokcdn-us.com/{id}.image")),
            _ => json!(id),
        };
        video.insert((*field).to_owned(), value);
    }
    Json::Object(video)
}
