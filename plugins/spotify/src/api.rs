//! The endpoints of the Spotify Web API that the connector uses, and the classification of their errors.

use backline_sdk::{Stop, encode, prelude::*};

const BASE: &str = "https://api.spotify.com/v1";

/// Credential slot in the manifest.
const SLOT: &str = "app";

/// Maximum number of ids in one `/artists?ids=` request, according to Spotify's specification.
pub(crate) const ARTISTS_PER_REQUEST: usize = 50;

/// Market of the top tracks. They are ranked per market, and the parameter is mandatory with an app's token.
const MARKET: &str = "US";

/// Maximum number of items on one `/artists/{id}/albums` page, according to Spotify's specification since 2026.
const ALBUMS_PER_PAGE: i64 = 10;

/// Maximum number of pages of one artist's releases. 3,000 releases are three times as many as in the largest recorded
/// catalogue. More pages mean that the paging is broken.
const ALBUM_PAGES_MAX: usize = 300;

/// Why a request failed, as far as the caller distinguishes it.
#[derive(Clone, Debug)]
pub(crate) enum Refusal {
    /// The app's quota mode does not include the endpoint.
    NotOffered(String),
    /// Any other error.
    Failed(FetchError),
}

impl From<FetchError> for Refusal {
    fn from(error: FetchError) -> Self {
        Self::Failed(error)
    }
}

/// The API for one batch.
///
/// Token, rate limit and quota belong to the app, not to one artist: once one of them is refused, this batch sends
/// nothing more.
pub(crate) struct Api<'a> {
    http: &'a Http,
    stop: Stop,
}

impl<'a> Api<'a> {
    /// The API before its first request.
    pub(crate) fn new(http: &'a Http) -> Self {
        Self { http, stop: Stop::default() }
    }

    /// Fetches one artist.
    pub(crate) async fn artist(&self, id: &str) -> Result<Json, FetchError> {
        if id.trim().is_empty() {
            return Err(FetchError::NotFound);
        }
        let response = self.get(&format!("{BASE}/artists/{}", encode(id))).await?;
        let artist = self.answer(&response)?;
        if is_artist(&artist) { Ok(artist) } else { Err(unlike("an artist")) }
    }

    /// Fetches up to [`ARTISTS_PER_REQUEST`] artists; null stands for an id that Spotify does not know.
    pub(crate) async fn artists(&self, ids: &[String]) -> Result<Vec<Json>, Refusal> {
        let url = format!("{BASE}/artists?ids={}", encode(&ids.join(",")));
        let response = self.get(&url).await?;
        // Development mode lacks this endpoint; in practice the response is a 403.
        if let Some(refusal) = removed(&response) {
            return Err(refusal);
        }
        match self.answer(&response)?.get_mut("artists").map(Json::take) {
            Some(Json::Array(artists)) => Ok(artists),
            _ => Err(unlike("a list of artists").into()),
        }
    }

    /// Fetches an artist's top tracks.
    pub(crate) async fn top_tracks(&self, id: &str) -> Result<Json, Refusal> {
        let response = self.get(&format!("{BASE}/artists/{}/top-tracks?market={MARKET}", encode(id))).await?;
        if let Some(refusal) = removed(&response) {
            return Err(refusal);
        }
        let body = self.answer(&response)?;
        if body["tracks"].is_array() { Ok(body) } else { Err(unlike("a list of tracks").into()) }
    }

    /// Fetches all pages of an artist's albums and singles.
    pub(crate) async fn releases(&self, id: &str) -> Result<Vec<Json>, FetchError> {
        let mut pages = Vec::new();
        let mut offset = 0;
        while pages.len() < ALBUM_PAGES_MAX {
            // The order of the releases is not documented, so all pages have to be read.
            let url = format!(
                "{BASE}/artists/{}/albums?include_groups=album,single&limit={ALBUMS_PER_PAGE}&offset={offset}",
                encode(id)
            );
            let page = self.answer(&self.get(&url).await?)?;
            if !page["items"].is_array() {
                return Err(unlike("a page of albums"));
            }
            // `next` says only that there are more pages. The offset follows from the page size that the platform used.
            let more = text(&page["next"]).is_some();
            offset += integer(&page["limit"])
                .filter(|limit| (1..=ALBUMS_PER_PAGE).contains(limit))
                .unwrap_or(ALBUMS_PER_PAGE);
            pages.push(page);
            if !more {
                return Ok(pages);
            }
        }
        Err(FetchError::Unexpected(format!("the releases do not end after {ALBUM_PAGES_MAX} pages")))
    }

    async fn get(&self, url: &str) -> Result<Response, FetchError> {
        self.stop.check()?;
        let answer = self.http.get(url).slot(SLOT).send().await;
        answer.map_err(|error| self.stop.remember(FetchError::of_operator(error)))
    }

    /// The body of a successful response, or the classified error.
    fn answer(&self, response: &Response) -> Result<Json, FetchError> {
        if response.is_success() {
            return response.ok_json();
        }
        Err(self.stop.remember(meaning(response)))
    }
}

/// Whether a JSON value is an artist object. Albums and tracks have an id and a popularity too.
pub(crate) fn is_artist(json: &Json) -> bool {
    text(&json["id"]).is_some() && matches!(json["type"].as_str(), None | Some("artist"))
}

fn unlike(what: &str) -> FetchError {
    FetchError::Unexpected(format!("the response is not {what}"))
}

/// Recognises the statuses of an endpoint that the app's quota mode does not include.
fn removed(response: &Response) -> Option<Refusal> {
    matches!(response.status, 403 | 404 | 410).then(|| Refusal::NotOffered(describe(response)))
}

/// Classifies the response to a refused request. Errors have two shapes: `{"error": {status, message, reason?}}`, and
/// the token endpoint's flat `{"error": "invalid_client", "error_description"}`.
pub(crate) fn meaning(response: &Response) -> FetchError {
    let described = describe(response);
    let lower = described.to_ascii_lowercase();
    let error = response.json().map(|body| body["error"].clone()).unwrap_or_default();
    if matches!(error.as_str(), Some("invalid_client" | "unauthorized_client")) {
        return FetchError::Misconfigured(described);
    }
    match response.status {
        401 => FetchError::Unauthorized(described),
        403 => FetchError::Forbidden(described),
        404 | 410 => FetchError::NotFound,
        // No artist has an id of this form.
        400 if lower.contains("invalid id") || lower.contains("invalid base62 id") => FetchError::NotFound,
        // The status 429 means a rate limit or, with this reason, a spent quota. Spotify does not say when the quota is
        // renewed.
        429 if error["reason"].as_str() == Some("QUOTA_EXCEEDED") => FetchError::QuotaExhausted(None),
        429 => FetchError::RateLimited(response.retry_after()),
        status if status >= 500 => FetchError::Unavailable(described),
        _ => FetchError::Unexpected(described),
    }
}

/// The status, followed by the platform's message.
fn describe(response: &Response) -> String {
    let body = response.json().unwrap_or_default();
    let words =
        text(&body["error"]["message"]).or_else(|| text(&body["error_description"])).or_else(|| text(&body["error"]));
    match words {
        Some(words) => format!("HTTP {}: {words}", response.status),
        None => format!("HTTP {}", response.status),
    }
}
