//! The Instagram API with Facebook Login, as far as business discovery: other accounts by user name, from one's own.

use serde_json::{Map, Value as Json, json};

use crate::ids::Kind;
use crate::instagram::{error, read_cursor, split_fields, unversioned, write_cursor};
use crate::message::{Reply, Request};
use crate::state::{Shared, lock};
use crate::world::{Platform, Post};

/// Posts on a page if the request names no limit.
const LIMIT_DEFAULT: u32 = 25;

/// Most posts on a page.
const LIMIT_MAX: u32 = 100;

const USER_FIELDS: [&str; 7] =
    ["id", "username", "name", "biography", "followers_count", "follows_count", "media_count"];
const POST_FIELDS: [&str; 8] =
    ["id", "timestamp", "media_type", "permalink", "like_count", "comments_count", "view_count", "reposts_count"];

pub(crate) fn template(path: &str) -> &'static str {
    match unversioned(path).split('/').collect::<Vec<_>>()[..] {
        ["", "me", "accounts"] => "/me/accounts",
        ["", _] => "/{user}",
        _ => "(other)",
    }
}

fn refuse(request: &Request, code: u32, subcode: Option<u32>, message: &str) -> Reply {
    error(request, 400, "OAuthException", code, subcode, message)
}

fn bad_parameter(request: &Request, message: &str) -> Reply {
    refuse(request, 100, None, message)
}

fn unknown_field(request: &Request, field: &str, node: &str) -> Reply {
    bad_parameter(request, &format!("(#100) Tried accessing nonexisting field ({field}) on node type ({node})"))
}

pub(crate) fn handle(shared: &Shared, request: &Request) -> Reply {
    match request.param("access_token").or_else(|| request.bearer()) {
        None => return refuse(request, 104, None, "An access token is required to request this resource."),
        Some(token) if token != shared.world.facebook_token() => {
            return refuse(request, 190, None, "Invalid OAuth access token - Cannot parse access token");
        }
        Some(_) => {}
    }
    let reply = match unversioned(&request.path).split('/').collect::<Vec<_>>()[..] {
        ["", "me", "accounts"] => pages(shared),
        ["", own] if own == shared.world.facebook_own_account() => discover(shared, request),
        ["", id] => {
            let message = format!(
                "Unsupported get request. Object with ID '{id}' does not exist, cannot be loaded due to missing \
                 permissions, or does not support this operation"
            );
            refuse(request, 100, Some(33), &message)
        }
        _ => refuse(request, 2_500, None, "Unknown path components"),
    };
    let usage = json!({ "call_count": 7, "total_cputime": 1, "total_time": 3 });
    reply.with(vec![("x-app-usage", usage.to_string())])
}

/// The operator's Pages: the first without an account on Instagram, the second with the own one.
fn pages(shared: &Shared) -> Reply {
    let own = json!({ "id": shared.world.facebook_own_account() });
    Reply::ok(&json!({
        "data": [{ "id": "100000000000001" }, { "instagram_business_account": own, "id": "100000000000002" }],
        "paging": { "cursors": { "before": "QVFI1", "after": "QVFI2" } },
    }))
}

fn discover(shared: &Shared, request: &Request) -> Reply {
    let fields = request.param("fields").unwrap_or("");
    let target = fields.strip_prefix("business_discovery.username(").and_then(|rest| rest.split_once(")"));
    let inner = target.and_then(|(name, rest)| Some((name, rest.strip_prefix('{')?.strip_suffix('}')?)));
    let Some((name, inner)) = inner else {
        return bad_parameter(request, "(#100) Tried accessing nonexisting field");
    };
    let Some(index) = shared.world.discovered(name) else {
        return refuse(request, 110, Some(2_207_013), "(#110) Invalid user id");
    };
    match account(shared, request, index, inner) {
        Ok(account) => Reply::ok(&json!({ "business_discovery": account, "id": shared.world.facebook_own_account() })),
        Err(refused) => refused,
    }
}

/// Whether a field was removed, as the control for Instagram's lost metrics says.
fn is_lost(shared: &Shared, field: &str) -> bool {
    lock(&shared.instagram_lost).iter().any(|lost| lost == field)
}

fn account(shared: &Shared, request: &Request, index: u32, fields: &str) -> Result<Json, Reply> {
    let (world, today) = (&shared.world, shared.today());
    let mut body = Map::new();
    for field in split_fields(fields) {
        if let Some(rest) = field.strip_prefix("media").filter(|rest| rest.starts_with(['.', '{'])) {
            body.insert("media".into(), media(shared, request, index, rest)?);
            continue;
        }
        if !USER_FIELDS.contains(&field) || is_lost(shared, field) {
            return Err(unknown_field(request, field, "IGUser"));
        }
        let value = match field {
            "username" => json!(world.handle(index)),
            "name" => json!(world.name(index)),
            "biography" => json!(""),
            "followers_count" => json!(world.followers(Platform::Instagram, index, today)),
            "follows_count" => json!(world.following(Platform::Instagram, index, today)),
            "media_count" => json!(world.posts_until(Platform::Instagram, index, today)),
            _ => json!(world.platform_id(Platform::Instagram, index)),
        };
        body.insert(field.to_owned(), value);
    }
    // The id is there whether it was asked for or not.
    body.insert("id".into(), json!(world.platform_id(Platform::Instagram, index)));
    Ok(Json::Object(body))
}

/// A page of posts for `.after(CURSOR).limit(N){fields}`. Business discovery names no next page, and the last page has
/// a cursor too.
fn media(shared: &Shared, request: &Request, index: u32, spec: &str) -> Result<Json, Reply> {
    let (options, fields) = spec.split_once('{').unwrap_or((spec, "id}"));
    let option = |name: &str| {
        let (_, rest) = options.split_once(&format!(".{name}("))?;
        rest.split_once(')').map(|(value, _)| value)
    };
    let limit = option("limit").map_or(Some(LIMIT_DEFAULT), |text| text.parse().ok());
    let Some(limit) = limit.filter(|limit| (1..=LIMIT_MAX).contains(limit)) else {
        return Err(bad_parameter(request, "(#100) param limit must be between 1 and 100"));
    };
    let Some((start, _)) = option("after").map_or(Some((0, false)), read_cursor) else {
        return Err(bad_parameter(request, "(#100) The after cursor specified is invalid"));
    };
    let fields = split_fields(fields.strip_suffix('}').unwrap_or(fields));
    if let Some(unknown) = fields.iter().find(|field| !POST_FIELDS.contains(*field) || is_lost(shared, field)) {
        return Err(unknown_field(request, unknown, "IGMedia"));
    }
    let total = shared.world.posts_until(Platform::Instagram, index, shared.today());
    let end = start.saturating_add(limit).min(total);
    let data: Vec<Json> = (start..end)
        .map(|place| {
            let post = shared.world.post(Platform::Instagram, index, total - 1 - place);
            one_post(shared, index, post, &fields)
        })
        .collect();
    let mut body = json!({ "data": data });
    if start < end {
        body["paging"] =
            json!({ "cursors": { "before": write_cursor(start, true), "after": write_cursor(end, true) } });
    }
    Ok(body)
}

/// The requested fields of one post. Hidden and unset ones are left out.
fn one_post(shared: &Shared, index: u32, post: Post, fields: &[&str]) -> Json {
    let world = &shared.world;
    let stats = world.post_stats(Platform::Instagram, index, post, shared.today());
    let id = world.id(Kind::InstagramMedia, index, post.number);
    let mut body = Map::new();
    for field in fields {
        let value = match *field {
            "timestamp" => json!(post.published.format("%Y-%m-%dT%H:%M:%S+0000").to_string()),
            "media_type" if post.video => json!("VIDEO"),
            "media_type" if post.number.is_multiple_of(3) => json!("CAROUSEL_ALBUM"),
            "media_type" => json!("IMAGE"),
            "permalink" => json!(format!("https://www.instagram.com/p/{id}/")),
            "like_count" => json!(stats.likes),
            "comments_count" => json!(stats.comments),
            "view_count" => json!(stats.views.filter(|_| post.video)),
            "reposts_count" => json!(stats.shares.map(|shares| shares / 2)),
            _ => json!(id),
        };
        if !value.is_null() {
            body.insert((*field).to_owned(), value);
        }
    }
    body.insert("id".into(), json!(id));
    Json::Object(body)
}
