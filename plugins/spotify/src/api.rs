//! The endpoints of the Spotify Web API that are used, and what their refusals mean.

use backline_sdk::{Stop, encode, prelude::*};

const BASE: &str = "https://api.spotify.com/v1";

/// The manifest's credential slot.
const SLOT: &str = "app";

/// Most ids of one `/artists?ids=` request, by Spotify's specification.
pub const ARTISTS_PER_REQUEST: usize = 50;

/// Top tracks are ranked per market, and the market is mandatory with an app's token.
const MARKET: &str = "US";

/// Most items of one `/artists/{id}/albums` page, by Spotify's specification since 2026.
const ALBUMS_PER_PAGE: i64 = 10;

/// Most pages of one artist's releases. 3,000 releases are three times what the largest recorded catalogue has; beyond it the
/// paging itself is broken.
const ALBUM_PAGES_MAX: usize = 300;

/// Why something was not answered, as the caller has to know it.
#[derive(Clone, Debug)]
pub enum Refusal {
    /// The app's quota mode does not include the endpoint.
    NotOffered(String),
    /// Everything else.
    Failed(FetchError),
}

impl From<FetchError> for Refusal {
    fn from(error: FetchError) -> Self {
        Self::Failed(error)
    }
}

/// The API for one batch.
///
/// Token, pace and quota belong to the app, not to one artist: once one is refused, nothing more is sent in this batch.
pub struct Api<'a> {
    http: &'a Http,
    stop: Stop,
}

impl<'a> Api<'a> {
    /// The API with nothing refused.
    pub fn new(http: &'a Http) -> Self {
        Self { http, stop: Stop::default() }
    }

    /// One artist.
    pub async fn artist(&self, id: &str) -> Result<Json, FetchError> {
        if id.trim().is_empty() {
            return Err(FetchError::NotFound);
        }
        let response = self.get(&format!("{BASE}/artists/{}", encode(id))).await?;
        let artist = self.answer(&response)?;
        if is_artist(&artist) { Ok(artist) } else { Err(unlike("an artist")) }
    }

    /// Up to [`ARTISTS_PER_REQUEST`] artists; null for an id that Spotify does not know.
    pub async fn artists(&self, ids: &[String]) -> Result<Vec<Json>, Refusal> {
        let url = format!("{BASE}/artists?ids={}", encode(&ids.join(",")));
        let response = self.get(&url).await?;
        // Development mode has no such endpoint; in practice that is a 403.
        if let Some(refusal) = removed(&response) {
            return Err(refusal);
        }
        match self.answer(&response)?.get_mut("artists").map(Json::take) {
            Some(Json::Array(artists)) => Ok(artists),
            _ => Err(unlike("a list of artists").into()),
        }
    }

    /// The answer with an artist's top tracks.
    pub async fn top_tracks(&self, id: &str) -> Result<Json, Refusal> {
        let response = self.get(&format!("{BASE}/artists/{}/top-tracks?market={MARKET}", encode(id))).await?;
        if let Some(refusal) = removed(&response) {
            return Err(refusal);
        }
        let body = self.answer(&response)?;
        if body["tracks"].is_array() { Ok(body) } else { Err(unlike("a list of tracks").into()) }
    }

    /// All pages of an artist's albums and singles.
    pub async fn releases(&self, id: &str) -> Result<Vec<Json>, FetchError> {
        let mut pages = Vec::new();
        let mut offset = 0;
        while pages.len() < ALBUM_PAGES_MAX {
            // The order of the releases is not promised, so nothing short of the last page is the end.
            let url = format!(
                "{BASE}/artists/{}/albums?include_groups=album,single&limit={ALBUMS_PER_PAGE}&offset={offset}",
                encode(id)
            );
            let page = self.answer(&self.get(&url).await?)?;
            if !page["items"].is_array() {
                return Err(unlike("a page of albums"));
            }
            // `next` says that there is more; where, is computed from the page size the platform really used.
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

    /// The body of a successful answer, or what the refusal means.
    fn answer(&self, response: &Response) -> Result<Json, FetchError> {
        if response.is_success() {
            return response.ok_json();
        }
        Err(self.stop.remember(meaning(response)))
    }
}

/// Whether a JSON value is an artist object at all: albums and tracks have an id and a popularity too.
pub fn is_artist(json: &Json) -> bool {
    text(&json["id"]).is_some() && matches!(json["type"].as_str(), None | Some("artist"))
}

fn unlike(what: &str) -> FetchError {
    FetchError::Unexpected(format!("the answer is not {what}"))
}

/// The statuses by which an endpoint that this app's quota mode lacks makes itself known.
fn removed(response: &Response) -> Option<Refusal> {
    matches!(response.status, 403 | 404 | 410).then(|| Refusal::NotOffered(describe(response)))
}

/// What a refused request means. Two shapes of error exist: `{"error": {status, message, reason?}}`, and the token endpoint's
/// flat `{"error": "invalid_client", "error_description"}`.
pub fn meaning(response: &Response) -> FetchError {
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
        // No artist can have such an id.
        400 if lower.contains("invalid id") || lower.contains("invalid base62 id") => FetchError::NotFound,
        // The same status says "slow down" and, with a reason, "that was all for today". Spotify does not say when the quota
        // is granted anew.
        429 if error["reason"].as_str() == Some("QUOTA_EXCEEDED") => FetchError::QuotaExhausted(None),
        429 => FetchError::RateLimited(response.retry_after()),
        status if status >= 500 => FetchError::Unavailable(described),
        _ => FetchError::Unexpected(described),
    }
}

/// The status and the platform's own words.
fn describe(response: &Response) -> String {
    let body = response.json().unwrap_or_default();
    let words =
        text(&body["error"]["message"]).or_else(|| text(&body["error_description"])).or_else(|| text(&body["error"]));
    match words {
        Some(words) => format!("HTTP {}: {words}", response.status),
        None => format!("HTTP {}", response.status),
    }
}
