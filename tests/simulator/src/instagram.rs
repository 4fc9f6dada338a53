//! The Instagram API with Instagram Login: accounts, media, insights and long-lived tokens.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, NaiveDate, Utc};
use serde_json::{Map, Value as Json, json};

use crate::ids::{Kind, Token, mix};
use crate::message::{Reply, Request};
use crate::state::{Shared, lock};
use crate::world::{INSTAGRAM_TOKEN, Platform, Post, PostStats, Trait};

const TOKEN_SECONDS: i64 = 60 * 86_400;
const TOKEN_AGE_MIN_SECONDS: i64 = 86_400;
const LIMIT_DEFAULT: u32 = 25;
const LIMIT_MAX: u32 = 100;
const WINDOW_SECONDS_MAX: i64 = 30 * 86_400;

const USER_FIELDS: [&str; 11] = [
    "id",
    "user_id",
    "username",
    "name",
    "account_type",
    "profile_picture_url",
    "followers_count",
    "follows_count",
    "media_count",
    "biography",
    "website",
];
const MEDIA_FIELDS: [&str; 12] = [
    "id",
    "caption",
    "media_type",
    "media_product_type",
    "media_url",
    "thumbnail_url",
    "timestamp",
    "permalink",
    "shortcode",
    "like_count",
    "comments_count",
    "owner",
];
const MEDIA_METRICS: [&str; 14] = [
    "views",
    "reach",
    "likes",
    "comments",
    "shares",
    "saved",
    "total_interactions",
    "replies",
    "follows",
    "profile_visits",
    "reposts",
    "link_clicks",
    "ig_reels_avg_watch_time",
    "ig_reels_video_view_total_time",
];
const ACCOUNT_METRICS: [&str; 15] = [
    "views",
    "reach",
    "follower_count",
    "accounts_engaged",
    "total_interactions",
    "likes",
    "comments",
    "saves",
    "shares",
    "replies",
    "reposts",
    "profile_links_taps",
    "follows_and_unfollows",
    "profile_views",
    "website_clicks",
];
/// Metrics that the platform has removed for all accounts.
const GONE_METRICS: [&str; 3] = ["impressions", "engagement", "video_views"];

/// The path without a leading API version.
pub(crate) fn unversioned(path: &str) -> &str {
    let Some(rest) = path.strip_prefix("/v") else { return path };
    let end = rest.find('/').unwrap_or(rest.len());
    let is_version = end > 0 && rest[..end].bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    if is_version { &rest[end..] } else { path }
}

pub(crate) fn template(path: &str) -> &'static str {
    match unversioned(path).split('/').collect::<Vec<_>>()[..] {
        ["", "refresh_access_token"] => "/refresh_access_token",
        ["", "access_token"] => "/access_token",
        ["", "oauth", "access_token"] => "/oauth/access_token",
        ["", "me"] => "/me",
        ["", "me", "media"] => "/me/media",
        ["", "me", "insights"] => "/me/insights",
        ["", _, "media"] => "/{user}/media",
        ["", _, "insights"] => "/{id}/insights",
        ["", _] => "/{id}",
        _ => "(other)",
    }
}

pub(crate) fn error(
    request: &Request,
    status: u16,
    kind: &str,
    code: u32,
    subcode: Option<u32>,
    message: &str,
) -> Reply {
    let mut body =
        json!({ "error": { "message": message, "type": kind, "code": code, "fbtrace_id": request.trace() } });
    if let Some(subcode) = subcode {
        body["error"]["error_subcode"] = json!(subcode);
    }
    Reply::json(status, &body)
}

fn bad_parameter(request: &Request, message: &str) -> Reply {
    error(request, 400, "IGApiException", 100, None, message)
}

/// The platform's error body for a status that a fault injects.
pub(crate) fn any_error(status: u16) -> Json {
    let (code, message) = match status {
        429 => (4, "(#4) Application request limit reached"),
        400 | 401 => (190, "Invalid OAuth access token - Cannot parse access token"),
        403 => (10, "(#10) Application does not have permission for this action"),
        404 => (803, "(#803) Some of the aliases you requested do not exist"),
        _ => (2, "An unexpected error has occurred. Please retry your request later."),
    };
    json!({ "error": {
        "message": message,
        "type": "OAuthException",
        "code": code,
        "is_transient": status >= 500,
        "fbtrace_id": "SIMULATED",
    }})
}

pub(crate) fn handle(shared: &Shared, request: &Request) -> Reply {
    let path = unversioned(&request.path);
    if request.host == "api.instagram.com" {
        let body =
            json!({ "error_type": "OAuthException", "code": 400, "error_message": "Invalid authorization code" });
        return Reply::json(400, &body);
    }
    if path == "/refresh_access_token" {
        return refresh(shared, request);
    }
    let token = match authorised(shared, request) {
        Ok(token) => token,
        Err(refused) => return refused,
    };
    let index = token.index;
    if !within_calls(shared, index) {
        let message = "(#80002) There have been too many calls to this Instagram account. Wait a bit and try again.";
        return error(request, 400, "OAuthException", 80_002, Some(2_207_001), message).with(usage(shared, index, 100));
    }
    let reply = match path.split('/').collect::<Vec<_>>()[..] {
        ["", name] if is_self(shared, index, name) => user(shared, request, index),
        ["", name, "media"] if is_self(shared, index, name) => media_page(shared, request, index),
        ["", name, "insights"] if is_self(shared, index, name) => account_insights(shared, request, index),
        ["", id, "insights"] => match own_post(shared, index, id) {
            Some(post) => media_insights(shared, request, index, post),
            None => missing(request, id),
        },
        ["", id] => match own_post(shared, index, id) {
            Some(post) => one_media(shared, request, index, post),
            None => missing(request, id),
        },
        _ => error(request, 400, "IGApiException", 2_500, None, "Unknown path components"),
    };
    let share = u32::try_from(mix(shared.world.seed(), &[u64::from(index)]) % 20).unwrap_or(0);
    reply.with(usage(shared, index, share))
}

fn missing(request: &Request, id: &str) -> Reply {
    let message = format!(
        "Unsupported get request. Object with ID '{id}' does not exist, cannot be loaded due to missing permissions, \
         or does not support this operation"
    );
    error(request, 400, "IGApiException", 100, Some(33), &message)
}

/// Headers that state the usage in percent of the limit; a third of the accounts get none.
fn usage(shared: &Shared, index: u32, percent: u32) -> Vec<(&'static str, String)> {
    if index % 3 == 2 {
        return Vec::new();
    }
    let account = shared.world.platform_id(Platform::Instagram, index);
    let regain = if percent >= 100 { 42 } else { 0 };
    let business = json!({ account: [{
        "type": "instagram",
        "call_count": percent,
        "total_cputime": percent / 2,
        "total_time": percent / 3,
        "estimated_time_to_regain_access": regain,
    }]});
    vec![
        ("x-app-usage", json!({ "call_volume": 0, "cpu_time": 0 }).to_string()),
        ("x-business-use-case-usage", business.to_string()),
    ]
}

fn within_calls(shared: &Shared, index: u32) -> bool {
    let Some(most) = shared.config.instagram_calls else { return true };
    let today = shared.today();
    let mut calls = lock(&shared.instagram_calls);
    let entry = calls.entry(index).or_insert((today, 0));
    if entry.0 != today {
        *entry = (today, 0);
    }
    entry.1 += 1;
    entry.1 <= most
}

fn authorised(shared: &Shared, request: &Request) -> Result<Token, Reply> {
    let refuse = |code, subcode, message: &str| Err(error(request, 400, "OAuthException", code, subcode, message));
    let Some(text) = request.param("access_token").or_else(|| request.bearer()) else {
        return refuse(104, None, "An access token is required to request this resource.");
    };
    let Some(token) = shared.world.read_token(INSTAGRAM_TOKEN, text) else {
        return refuse(190, None, "Invalid OAuth access token - Cannot parse access token");
    };
    if shared.expired(token.issued_at, TOKEN_SECONDS) || shared.world.has(token.index, Trait::InstagramExpired) {
        return refuse(190, Some(463), "Error validating access token: Session has expired.");
    }
    if shared.world.has(token.index, Trait::InstagramForbidden) {
        return refuse(10, None, "(#10) Application does not have permission for this action");
    }
    Ok(token)
}

fn refresh(shared: &Shared, request: &Request) -> Reply {
    if request.param("grant_type") != Some("ig_refresh_token") {
        return bad_parameter(request, "Unsupported grant_type: use ig_refresh_token");
    }
    let token = match authorised(shared, request) {
        Ok(token) => token,
        Err(refused) => return refused,
    };
    let now = shared.now().timestamp();
    if now < token.issued_at + TOKEN_AGE_MIN_SECONDS {
        let message = "The access token must be at least 24 hours old to be refreshed";
        return error(request, 400, "IGApiException", 100, None, message);
    }
    let fresh = Token { generation: token.generation + 1, issued_at: now, ..token };
    Reply::ok(&json!({
        "access_token": shared.world.token(INSTAGRAM_TOKEN, fresh),
        "token_type": "bearer",
        "expires_in": TOKEN_SECONDS - 1,
        "permissions": "instagram_business_basic,instagram_business_manage_insights",
    }))
}

fn is_self(shared: &Shared, index: u32, name: &str) -> bool {
    let one_of = |kind| shared.world.read(kind, name) == Some((index, 0));
    name == "me" || one_of(Kind::InstagramUser) || one_of(Kind::InstagramScoped)
}

fn own_post(shared: &Shared, index: u32, id: &str) -> Option<Post> {
    let (owner, number) = shared.world.read(Kind::InstagramMedia, id)?;
    let there = number < shared.world.posts_until(Platform::Instagram, index, shared.today());
    (owner == index && there).then(|| shared.world.post(Platform::Instagram, index, number))
}

/// Splits a field list at the commas that are not inside brackets.
pub(crate) fn split_fields(text: &str) -> Vec<&str> {
    let (mut depth, mut start, mut fields) = (0_i32, 0, Vec::new());
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'(' | b'{' => depth += 1,
            b')' | b'}' => depth -= 1,
            b',' if depth == 0 => {
                fields.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    fields.push(&text[start..]);
    fields.into_iter().filter(|field| !field.is_empty()).collect()
}

fn unknown_field(request: &Request, field: &str) -> Reply {
    bad_parameter(request, &format!("(#100) Tried accessing nonexisting field ({field})"))
}

fn user(shared: &Shared, request: &Request, index: u32) -> Reply {
    let (world, today) = (&shared.world, shared.today());
    let mut body = Map::new();
    body.insert("id".into(), world.id(Kind::InstagramScoped, index, 0).into());
    for field in split_fields(request.param("fields").unwrap_or("id")) {
        if !USER_FIELDS.contains(&field) {
            return unknown_field(request, field);
        }
        let kind = ["BUSINESS", "MEDIA_CREATOR", "Media_Creator"][index as usize % 3];
        let value = match field {
            "user_id" => json!(world.platform_id(Platform::Instagram, index)),
            "username" => json!(world.handle(index)),
            "name" => json!(world.name(index)),
            "account_type" => json!(kind),
            "followers_count" => json!(world.followers(Platform::Instagram, index, today)),
            "follows_count" => json!(world.following(Platform::Instagram, index, today)),
            "media_count" => json!(world.posts_until(Platform::Instagram, index, today)),
            "biography" => json!("music’s “finest”"),
            "profile_picture_url" | "website" => json!("https://example.com/"),
            _ => continue,
        };
        body.insert(field.to_owned(), value);
    }
    Reply::ok(&Json::Object(body))
}

/// The requested fields of one media. Like a real response it omits hidden and unset fields.
fn media(shared: &Shared, request: &Request, index: u32, post: Post, fields: &[&str]) -> Result<Json, Reply> {
    let world = &shared.world;
    let stats = world.post_stats(Platform::Instagram, index, post, shared.today());
    let id = world.id(Kind::InstagramMedia, index, post.number);
    let mut body = Map::new();
    body.insert("id".into(), json!(id));
    for field in fields {
        if let Some(metrics) = field.strip_prefix("insights.metric(").and_then(|rest| rest.strip_suffix(')')) {
            let metrics: Vec<&str> = metrics.split(',').collect();
            check_metrics(shared, request, &metrics, &MEDIA_METRICS)?;
            body.insert("insights".into(), json!({ "data": insights_of(shared, index, post, stats, &metrics) }));
            continue;
        }
        if !MEDIA_FIELDS.contains(field) {
            return Err(unknown_field(request, field));
        }
        let value = match *field {
            "caption" if post.number % 5 == 2 => continue,
            "caption" => json!(format!("take {} 🎸", post.number + 1)),
            "media_type" if post.video => json!("VIDEO"),
            "media_type" if post.number.is_multiple_of(3) => json!("CAROUSEL_ALBUM"),
            "media_type" => json!("IMAGE"),
            "media_product_type" if post.video => json!("REELS"),
            "media_product_type" => json!("FEED"),
            "timestamp" => json!(post.published.format("%Y-%m-%dT%H:%M:%S+0000").to_string()),
            "permalink" => json!(format!("https://www.instagram.com/p/{id}/")),
            "shortcode" => json!(id),
            "like_count" => match stats.likes {
                Some(likes) => json!(likes),
                None => continue,
            },
            "comments_count" => json!(stats.comments),
            "media_url" => json!(format!("https://scontent.cdninstagram.com/v/{id}.jpg")),
            "owner" => json!({ "id": world.id(Kind::InstagramScoped, index, 0) }),
            _ => continue,
        };
        body.insert((*field).to_owned(), value);
    }
    Ok(Json::Object(body))
}

fn one_media(shared: &Shared, request: &Request, index: u32, post: Post) -> Reply {
    let fields = split_fields(request.param("fields").unwrap_or("id"));
    media(shared, request, index, post, &fields).map_or_else(|refused| refused, |body| Reply::ok(&body))
}

/// Decodes a cursor: the start of the page, and whether the empty page before it was sent.
pub(crate) fn read_cursor(text: &str) -> Option<(u32, bool)> {
    let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
    let text = String::from_utf8(bytes).ok()?;
    let (place, shown) = text.strip_prefix("media:")?.split_once(':')?;
    Some((place.parse().ok()?, shown == "1"))
}

pub(crate) fn write_cursor(place: u32, shown: bool) -> String {
    URL_SAFE_NO_PAD.encode(format!("media:{place}:{}", u8::from(shown)))
}

fn unix(request: &Request, name: &str) -> Result<Option<i64>, Reply> {
    request.param(name).map_or(Ok(None), |text| {
        text.parse()
            .map(Some)
            .map_err(|_| bad_parameter(request, &format!("(#100) param {name} must be a unix timestamp")))
    })
}

fn media_page(shared: &Shared, request: &Request, index: u32) -> Reply {
    let (world, today) = (&shared.world, shared.today());
    let fields = split_fields(request.param("fields").unwrap_or("id"));
    let limit = request.param("limit").map_or(Some(LIMIT_DEFAULT), |text| text.parse().ok());
    let Some(limit) = limit.filter(|limit| (1..=LIMIT_MAX).contains(limit)) else {
        return bad_parameter(request, "(#100) param limit must be between 1 and 100");
    };
    let (since, until) = match (unix(request, "since"), unix(request, "until")) {
        (Ok(since), Ok(until)) => (since.unwrap_or(i64::MIN), until.unwrap_or(i64::MAX)),
        (Err(refused), _) | (_, Err(refused)) => return refused,
    };
    let cursor = request.param("after").filter(|text| !text.is_empty());
    let Some((start, shown)) = cursor.map_or(Some((0, false)), read_cursor) else {
        return bad_parameter(request, "(#100) The after cursor specified is invalid");
    };
    let posts: Vec<Post> = (0..world.posts_until(Platform::Instagram, index, today))
        .rev()
        .map(|number| world.post(Platform::Instagram, index, number))
        .skip_while(|post| post.published.timestamp() >= until)
        .take_while(|post| post.published.timestamp() >= since)
        .collect();
    let total = u32::try_from(posts.len()).unwrap_or(u32::MAX);
    let empty = start == 0 && total > 0 && !shown && world.has(index, Trait::EmptyPage);
    let end = if empty { start } else { start.saturating_add(limit).min(total) };
    let page = posts.get(start as usize..end as usize).unwrap_or(&[]);
    let data: Result<Vec<Json>, Reply> =
        page.iter().map(|post| media(shared, request, index, *post, &fields)).collect();
    let data = match data {
        Ok(data) => data,
        Err(refused) => return refused,
    };
    let mut body = json!({ "data": data });
    if end < total || !page.is_empty() {
        let after = write_cursor(end, empty);
        body["paging"] = json!({ "cursors": { "before": write_cursor(start, true), "after": after } });
        if end < total {
            body["paging"]["next"] = json!(next_url(request, &after));
        }
    }
    Reply::ok(&body)
}

/// The URL of the request with another cursor. Like the platform's URLs it includes the token.
fn next_url(request: &Request, after: &str) -> String {
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    query.extend_pairs(request.query.iter().filter(|(name, _)| name != "after"));
    if let Some(token) = request.bearer() {
        query.append_pair("access_token", token);
    }
    query.append_pair("after", after);
    format!("https://{}{}?{}", request.host, request.path, query.finish())
}

/// Refuses the whole request if one metric is unknown or was removed.
fn check_metrics(shared: &Shared, request: &Request, metrics: &[&str], known: &[&str]) -> Result<(), Reply> {
    let lost = lock(&shared.instagram_lost);
    for (place, metric) in metrics.iter().enumerate() {
        if GONE_METRICS.contains(metric) || lost.iter().any(|name| name == metric) {
            let message = format!(
                "(#100) Starting from version v22.0 and above, the {metric} metric is no longer supported \
                 for the queried media."
            );
            return Err(bad_parameter(request, &message));
        }
        if !known.contains(metric) {
            let message = format!("(#100) metric[{place}] must be one of the following values: {}", known.join(", "));
            return Err(bad_parameter(request, &message));
        }
    }
    Ok(())
}

fn media_insights(shared: &Shared, request: &Request, index: u32, post: Post) -> Reply {
    let metrics = request.list("metric");
    if metrics.is_empty() {
        return bad_parameter(request, "(#100) The parameter metric is required");
    }
    if let Err(refused) = check_metrics(shared, request, &metrics, &MEDIA_METRICS) {
        return refused;
    }
    let stats = shared.world.post_stats(Platform::Instagram, index, post, shared.today());
    Reply::ok(&json!({ "data": insights_of(shared, index, post, stats, &metrics) }))
}

/// One entry per metric, or an empty list for media without data. The shape depends on the post: `values`,
/// `total_value`, or both.
fn insights_of(shared: &Shared, index: u32, post: Post, stats: PostStats, metrics: &[&str]) -> Vec<Json> {
    let Some(views) = stats.views else { return Vec::new() };
    let id = shared.world.id(Kind::InstagramMedia, index, post.number);
    // Insights contain the likes even if the media hides them.
    let likes = stats.likes.unwrap_or(views / 25);
    let (comments, shares) = (stats.comments.unwrap_or(0), stats.shares.unwrap_or(0));
    let saved = stats.saved.unwrap_or(0);
    let entries = metrics.iter().map(|metric| {
        let value = match *metric {
            "views" => views,
            "reach" => stats.reach.unwrap_or(0),
            "likes" => likes,
            "comments" => comments,
            "shares" => shares,
            "saved" => saved,
            "total_interactions" => likes + comments + shares + saved,
            _ => views / 200,
        };
        let mut entry = json!({
            "name": metric,
            "period": "lifetime",
            "title": title(metric, index),
            "description": title(metric, index),
            "id": format!("{id}/insights/{metric}/lifetime"),
        });
        if post.number % 3 != 1 {
            entry["values"] = json!([{ "value": value }]);
        }
        if !post.number.is_multiple_of(3) {
            entry["total_value"] = json!({ "value": value });
        }
        entry
    });
    entries.collect()
}

/// Title of a metric. Some accounts get localised titles, so that clients must match by name.
fn title(metric: &str, index: u32) -> String {
    if index.is_multiple_of(5) {
        "ಒಟ್ಟು ಸಂವಹನಗಳು".to_owned()
    } else {
        metric.replace('_', " ")
    }
}

fn account_insights(shared: &Shared, request: &Request, index: u32) -> Reply {
    let metrics = request.list("metric");
    if metrics.is_empty() {
        return bad_parameter(request, "(#100) The parameter metric is required");
    }
    if let Err(refused) = check_metrics(shared, request, &metrics, &ACCOUNT_METRICS) {
        return refused;
    }
    if request.param("period") != Some("day") {
        return bad_parameter(request, "(#100) The parameter period must be day for these metrics");
    }
    let total = request.param("metric_type") == Some("total_value");
    let series = ["reach", "follower_count"];
    if let Some(metric) = metrics.iter().find(|metric| !total && !series.contains(*metric)) {
        let message = format!(
            "(#100) The following metrics ({metric}) should be specified with parameter metric_type=total_value"
        );
        return bad_parameter(request, &message);
    }
    let now = shared.now().timestamp();
    let (since, until) = match (unix(request, "since"), unix(request, "until")) {
        (Ok(since), Ok(until)) => (since.unwrap_or(now - 86_400), until.unwrap_or(now)),
        (Err(refused), _) | (_, Err(refused)) => return refused,
    };
    if until <= since || until - since > WINDOW_SECONDS_MAX {
        let message = "(#100) There cannot be more than 30 days (2592000 s) between since and until";
        return bad_parameter(request, message);
    }
    let days = days_between(since, until, shared.today());
    let account = shared.world.platform_id(Platform::Instagram, index);
    let data: Vec<Json> = metrics
        .iter()
        .map(|metric| {
            let flow = |day: &NaiveDate| shared.world.account_flow(metric, index, *day);
            let mut entry = json!({
                "name": metric,
                "period": "day",
                "title": title(metric, index),
                "id": format!("{account}/insights/{metric}/day"),
            });
            if total && *metric == "follows_and_unfollows" {
                // Without the breakdown there is neither a value nor a result.
                entry["total_value"] = follows(&days, request.param("breakdown"), flow);
            } else if total {
                entry["total_value"] = json!({ "value": days.iter().map(flow).sum::<i64>() });
            } else {
                let value = |day: &NaiveDate| json!({ "value": flow(day), "end_time": format!("{day}T08:00:00+0000") });
                entry["values"] = days.iter().map(value).collect();
            }
            entry
        })
        .collect();
    Reply::ok(&json!({ "data": data }))
}

/// New and lost followers of some days, a fifth of the first being lost again.
fn follows(days: &[NaiveDate], breakdown: Option<&str>, flow: impl Fn(&NaiveDate) -> i64) -> Json {
    if breakdown != Some("follow_type") {
        return json!({});
    }
    let gained: i64 = days.iter().map(flow).sum();
    json!({ "breakdowns": [{
        "dimension_keys": ["follow_type"],
        "results": [
            { "dimension_values": ["FOLLOWER"], "value": gained },
            { "dimension_values": ["NON_FOLLOWER"], "value": gained / 5 },
        ],
    }]})
}

/// The days that begin inside `[since, until)`, up to today.
fn days_between(since: i64, until: i64, today: NaiveDate) -> Vec<NaiveDate> {
    let date = |seconds: i64| DateTime::<Utc>::from_timestamp(seconds, 0).map(|moment| moment.date_naive());
    let (Some(first), Some(last)) = (date(since + 86_399), date(until - 1)) else { return Vec::new() };
    first.iter_days().take_while(|day| *day <= last.min(today)).collect()
}
