//! The endpoints of the Spotify Web API that the connector uses, and the classification of their errors.

use std::cell::Cell;

use backline_sdk::{Paging, Stop, encode, prelude::*, says, words_of};

const BASE: &str = "https://api.spotify.com/v1";

/// Credential slot in the manifest.
const SLOT: &str = "app";

/// Maximum number of ids in one `/artists?ids=` request, according to Spotify's specification.
pub(crate) const ARTISTS_PER_REQUEST: usize = 50;

/// Market of the top tracks. They are ranked per market, and the parameter is mandatory with an app's token.
const MARKET: &str = "US";

/// Items asked for on one `/artists/{id}/albums` page. Apps with extended quota still get 50.
const ALBUMS_PER_PAGE: i64 = 50;

/// Maximum number of items on such a page for all other apps, according to Spotify's specification since 2026. A larger
/// number is refused as "Invalid limit".
pub(crate) const ALBUMS_PER_SMALL_PAGE: i64 = 10;

/// Maximum number of releases read of one artist: three times as many as in the largest recorded catalogue. More mean
/// that the paging is broken.
const ALBUMS_MAX: i64 = 3_000;

/// What Spotify writes, as JSON or as plain text, while the owner of the app has no Premium subscription.
const LAPSED: &str = "active premium subscription required";

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
    albums_per_page: Cell<i64>,
}

impl<'a> Api<'a> {
    /// The API before its first request.
    pub(crate) fn new(http: &'a Http) -> Self {
        Self { http, stop: Stop::default(), albums_per_page: Cell::new(ALBUMS_PER_PAGE) }
    }

    /// Asks for small pages of albums from the start, because the app was refused larger ones before.
    pub(crate) fn use_small_pages(&self) {
        self.albums_per_page.set(ALBUMS_PER_SMALL_PAGE);
    }

    /// Whether only small pages of albums are asked for.
    pub(crate) fn uses_small_pages(&self) -> bool {
        self.albums_per_page.get() == ALBUMS_PER_SMALL_PAGE
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
        // Development mode lacks this endpoint; in practice the response is a 403.
        let answer = self.offered(&self.get(&url).await?)?;
        // Null stands for an unknown id. Anything else is an artist, or the list is not one of artists.
        match list(&answer, "artists") {
            Ok(artists) if artists.iter().all(|artist| artist.is_null() || is_artist(artist)) => Ok(artists.to_vec()),
            _ => Err(unlike("a list of artists").into()),
        }
    }

    /// Fetches an artist's top tracks.
    pub(crate) async fn top_tracks(&self, id: &str) -> Result<Json, Refusal> {
        let url = format!("{BASE}/artists/{}/top-tracks?market={MARKET}", encode(id));
        let body = self.offered(&self.get(&url).await?)?;
        list_of(&body, "tracks", |track| track.is_object().then_some(())).map_err(FetchError::from)?;
        Ok(body)
    }

    /// Fetches all pages of an artist's albums and singles.
    pub(crate) async fn releases(&self, id: &str) -> Result<Vec<Json>, FetchError> {
        let mut pages = Vec::new();
        let mut offset = 0;
        let mut paging = Paging::new(usize::try_from(ALBUMS_MAX / ALBUMS_PER_SMALL_PAGE).unwrap_or(usize::MAX));
        while offset < ALBUMS_MAX {
            // The order of the releases is not documented, so all pages have to be read.
            let (page, asked) = self.albums(id, offset).await?;
            let (ids, _) = list_of(&page, "items", |release| text(&release["id"]))?;
            // `next` says only that there are more pages. The offset follows from the page size that the platform used.
            let next = match &page["next"] {
                Json::Null => None,
                Json::String(next) if next.is_empty() => None,
                next => Some(text(next).ok_or_else(|| unlike("a page with a 'next' that is a text"))?),
            };
            offset += integer(&page["limit"]).filter(|limit| (1..=asked).contains(limit)).unwrap_or(asked);
            // Null says that this is the last page. Without a word, only the total can tell.
            let is_silent = page.get("next").is_none() && integer(&page["total"]).is_none_or(|total| total > offset);
            pages.push(page);
            match next {
                None if is_silent => return Err(unlike("a page that says whether it is the last one")),
                None => return Ok(pages),
                Some(_) if !paging.goes_on(Some(&offset.to_string()), ids) => {
                    let count = pages.len();
                    return Err(FetchError::Unexpected(format!("the releases repeat after {count} pages")));
                }
                Some(_) => {}
            }
        }
        Err(FetchError::Unexpected(format!("the releases do not end after {ALBUMS_MAX}")))
    }

    /// Fetches one page of albums, and says how many items were asked for. If the app may not have large pages, the
    /// rest of the batch asks for small ones.
    async fn albums(&self, id: &str, offset: i64) -> Result<(Json, i64), FetchError> {
        loop {
            let limit = self.albums_per_page.get();
            let id = encode(id);
            let url = format!("{BASE}/artists/{id}/albums?include_groups=album,single&limit={limit}&offset={offset}");
            let response = self.get(&url).await?;
            match self.answer(&response) {
                Err(FetchError::Unexpected(why)) if limit > ALBUMS_PER_SMALL_PAGE && says(&why, &["limit"]) => {
                    self.use_small_pages();
                }
                other => return Ok((other?, limit)),
            }
        }
    }

    async fn get(&self, url: &str) -> Result<Response, FetchError> {
        self.stop.check()?;
        let answer = self.http.get(url).slot(SLOT).send().await;
        answer.map_err(|error| self.stop.remember(FetchError::of_operator(error)))
    }

    /// The body of a successful response, or the classified error.
    fn answer(&self, response: &Response) -> Result<Json, FetchError> {
        response.sorted(|body| own_error(response, body)).map_err(|refusal| self.stop.remember(refusal.into()))
    }

    /// Like [`Self::answer`], for an endpoint that the app's quota mode may not include.
    fn offered(&self, response: &Response) -> Result<Json, Refusal> {
        response.sorted(|body| own_error(response, body)).map_err(|refusal| match refusal {
            // The endpoint is gone, in Spotify's own words. A page of something else in front of it says nothing.
            backline_sdk::Refusal::Own(FetchError::Forbidden(_) | FetchError::NotFound)
                if matches!(response.status, 403 | 404 | 410) =>
            {
                Refusal::NotOffered(describe(response))
            }
            refusal => Refusal::Failed(self.stop.remember(refusal.into())),
        })
    }
}

/// Whether a JSON value is an artist object. Albums and tracks have an id and a popularity too.
pub(crate) fn is_artist(json: &Json) -> bool {
    text(&json["id"]).is_some() && matches!(json["type"].as_str(), None | Some("artist"))
}

fn unlike(what: &str) -> FetchError {
    FetchError::Unexpected(format!("the response is not {what}"))
}

/// The class of an error in one of Spotify's forms: `{"error": {status, message, reason?}}`, the token endpoint's flat
/// `{"error": "invalid_client", "error_description"}`, and the plain text of a lapsed subscription.
fn own_error(response: &Response, body: Option<&Json>) -> Option<FetchError> {
    let described = describe(response);
    if !response.is_success() && says(&String::from_utf8_lossy(&response.body), &[LAPSED]) {
        // It is the same for every artist, and passes when the operator pays.
        return Some(FetchError::Misconfigured(format!("HTTP {}: {LAPSED}", response.status)));
    }
    let error = &body?["error"];
    let is_object = integer(&error["status"]).is_some() || text(&error["message"]).is_some();
    if !is_object && !error.is_string() {
        return None;
    }
    if matches!(error.as_str(), Some("invalid_client" | "unauthorized_client")) {
        return Some(FetchError::Misconfigured(described));
    }
    // Errors with a success status carry their own.
    let stated = integer(&error["status"]).and_then(|status| u16::try_from(status).ok());
    let status = if response.is_success() { stated.unwrap_or(response.status) } else { response.status };
    Some(match status {
        401 => FetchError::Unauthorized(described),
        403 if says(&described, &["not registered in the developer dashboard"]) => FetchError::Misconfigured(described),
        403 => FetchError::Forbidden(described),
        404 | 410 => FetchError::NotFound,
        // No artist has an id of this form.
        400 if says(&described, &["invalid id", "invalid base62 id"]) => FetchError::NotFound,
        // The status 429 means a rate limit or, with this reason, a spent quota. Spotify does not say when the quota is
        // renewed.
        429 if error["reason"].as_str().is_some_and(|reason| words_of(reason) == "quota exceeded") => {
            FetchError::QuotaExhausted(None)
        }
        429 => FetchError::RateLimited(response.retry_after()),
        status if status >= 500 => FetchError::Unavailable(described),
        _ => FetchError::Unexpected(described),
    })
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
