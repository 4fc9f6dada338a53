//! The YouTube Analytics API v2 with Google's token endpoint: reports of days, two or three days late.

use chrono::{Days, NaiveDate};
use serde_json::{Value as Json, json};

use crate::ids::Kind;
use crate::message::{Reply, Request};
use crate::state::Shared;
use crate::world::{ANALYTICS_METRICS, GOOGLE_ACCESS, GOOGLE_REFRESH};
use crate::youtube;

/// Lifetime of an access token.
const ACCESS_SECONDS: i64 = 3_600;

/// What the owners consented to.
const SCOPES: &str =
    "https://www.googleapis.com/auth/yt-analytics.readonly https://www.googleapis.com/auth/youtube.readonly";

/// Days after which a day's numbers are there, by the calendar of California.
const LATE_DAYS: u64 = 3;

pub(crate) fn template(path: &str) -> &'static str {
    match path {
        "/token" => "/token",
        "/v2/reports" => "/v2/reports",
        _ => "(other)",
    }
}

/// The platform's error body for a status that a fault injects.
pub(crate) fn any_error(status: u16) -> Json {
    youtube::any_error(status)
}

fn error(status: u16, reason: &str, message: &str) -> Reply {
    let errors = json!([{ "message": message, "domain": "global", "reason": reason }]);
    Reply::json(status, &json!({ "error": { "code": status, "message": message, "errors": errors } }))
}

pub(crate) fn handle(shared: &Shared, request: &Request) -> Reply {
    match (request.host.as_str(), request.method.as_str(), request.path.as_str()) {
        ("oauth2.googleapis.com", "POST", "/token") => token(shared, request),
        ("youtubeanalytics.googleapis.com", "GET", "/v2/reports") => report(shared, request),
        _ => error(404, "notFound", "Not Found"),
    }
}

fn token(shared: &Shared, request: &Request) -> Reply {
    let refuse = |status, error: &str, description: &str| {
        Reply::json(status, &json!({ "error": error, "error_description": description }))
    };
    let Some(form) = request.form() else {
        return refuse(400, "invalid_request", "Bad Request");
    };
    let field = |name: &str| form.get(name).map_or("", String::as_str);
    let world = &shared.world;
    if field("client_id") != world.google_client_id() {
        return refuse(401, "invalid_client", "The OAuth client was not found.");
    }
    if field("client_secret") != world.google_client_secret() {
        return refuse(401, "invalid_client", "Unauthorized");
    }
    if field("grant_type") != "refresh_token" {
        return refuse(400, "unsupported_grant_type", "Invalid grant_type");
    }
    let Some(given) = world.read_token(GOOGLE_REFRESH, field("refresh_token")) else {
        return refuse(400, "invalid_grant", "Token has been expired or revoked.");
    };
    // The refresh token stays as it is.
    Reply::ok(&json!({
        "access_token": world.google_access_token(given.index, shared.now().timestamp()),
        "expires_in": ACCESS_SECONDS - 1,
        "scope": SCOPES,
        "token_type": "Bearer",
    }))
}

fn report(shared: &Shared, request: &Request) -> Reply {
    let world = &shared.world;
    let owner = request
        .bearer()
        .and_then(|text| world.read_token(GOOGLE_ACCESS, text))
        .filter(|token| !shared.expired(token.issued_at, ACCESS_SECONDS));
    let Some(owner) = owner.map(|token| token.index) else {
        return error(401, "authError", "Invalid Credentials");
    };
    for needed in ["ids", "startDate", "endDate", "metrics"] {
        if request.list(needed).is_empty() {
            return error(400, "required", "Required");
        }
    }
    let ids = request.param("ids").unwrap_or("");
    let is_own = match ids.strip_prefix("channel==") {
        Some("MINE") => true,
        Some(channel) => world.read(Kind::YoutubeChannel, channel) == Some((owner, 0)),
        None => return error(400, "badRequest", "Invalid value for ids."),
    };
    if !is_own {
        return error(403, "forbidden", "Forbidden");
    }
    let metrics = request.list("metrics");
    let columns: Result<Vec<usize>, &str> =
        metrics.iter().map(|name| ANALYTICS_METRICS.iter().position(|known| known == name).ok_or(*name)).collect();
    let columns = match columns {
        Ok(columns) => columns,
        Err(name) => {
            return error(
                400,
                "badRequest",
                &format!("Unknown identifier ({name}) given in field parameters.metrics."),
            );
        }
    };
    let by_country = request.list("dimensions") == ["country"];
    if !by_country && request.list("dimensions") != ["day"] {
        let message = "The query is not supported. Check the documentation at \
                       https://developers.google.com/youtube/analytics/v2/available_reports for a list of supported \
                       queries.";
        return error(400, "badRequest", message);
    }
    let date = |name| request.param(name).and_then(|text| text.parse::<NaiveDate>().ok());
    let (Some(first), Some(last)) = (date("startDate"), date("endDate")) else {
        return error(400, "badRequest", "Invalid value for a date.");
    };
    let delivered = youtube::pacific_date(shared.now()) - Days::new(LATE_DAYS);
    if by_country {
        return countries(shared, request, owner, (first, last, delivered));
    }
    let rows: Vec<Json> = first
        .iter_days()
        .take_while(|day| *day <= last.min(delivered))
        .filter_map(|day| {
            let numbers = world.analytics_day(owner, day)?;
            let cells = columns.iter().map(|column| json!(numbers[*column]));
            Some(std::iter::once(json!(day.to_string())).chain(cells).collect())
        })
        .collect();
    Reply::ok(&table("day", &metrics, rows))
}

/// The report of one day by country. Only the metrics that the API combines with countries are known here.
fn countries(shared: &Shared, request: &Request, owner: u32, days: (NaiveDate, NaiveDate, NaiveDate)) -> Reply {
    let (first, last, delivered) = days;
    let metrics = request.list("metrics");
    let columns: Option<Vec<usize>> = metrics
        .iter()
        .map(|name| ["views", "estimatedMinutesWatched"].iter().position(|known| known == name))
        .collect();
    let (Some(columns), true) = (columns, first == last) else {
        return error(400, "badRequest", "The query is not supported.");
    };
    if request.param("sort").is_some_and(|sort| sort != "-views") {
        return error(400, "badRequest", "Invalid value for sort.");
    }
    let most = request.param("maxResults").and_then(|text| text.parse::<usize>().ok()).unwrap_or(usize::MAX);
    let found = (first <= delivered).then(|| shared.world.analytics_countries(owner, first)).flatten();
    let rows: Vec<Json> = found
        .unwrap_or_default()
        .into_iter()
        .take(most)
        .map(|(country, numbers)| {
            std::iter::once(json!(country)).chain(columns.iter().map(|column| json!(numbers[*column]))).collect()
        })
        .collect();
    Reply::ok(&table("country", &metrics, rows))
}

/// A result table by a dimension. Like the API it leaves out the rows if there are none.
fn table(dimension: &str, metrics: &[&str], rows: Vec<Json>) -> Json {
    let header = |name: &str, kind: &str, data: &str| json!({ "name": name, "columnType": kind, "dataType": data });
    let headers = std::iter::once(header(dimension, "DIMENSION", "STRING"))
        .chain(metrics.iter().map(|name| header(name, "METRIC", "INTEGER")));
    let mut body = json!({ "kind": "youtubeAnalytics#resultTable", "columnHeaders": headers.collect::<Vec<_>>() });
    if !rows.is_empty() {
        body["rows"] = Json::Array(rows);
    }
    body
}
