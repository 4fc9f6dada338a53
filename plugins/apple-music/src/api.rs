//! The endpoints of the Apple Music API that the connector uses, and the classification of their errors.

use backline_sdk::{Paging, Stop, encode, prelude::*, says};

use crate::charts::{self, Charts};

const ORIGIN: &str = "https://api.music.apple.com";

/// Credential slot in the manifest.
const SLOT: &str = "app";

/// Maximum number of ids in one `/artists?ids=` request, according to Apple's documentation.
pub(crate) const ARTISTS_PER_REQUEST: usize = 25;

/// Maximum number of items on one page of a relationship, according to Apple's documentation.
const ALBUMS_PER_PAGE: usize = 100;

/// Maximum number of pages of one artist's albums. Pages have 25 or 100 items, so this allows at least 5,000 albums.
/// More pages mean that the paging is broken.
const ALBUM_PAGES_MAX: usize = 200;

/// Error codes in Apple's error bodies, which are strings.
mod code {
    pub(super) const NOT_FOUND: &str = "40400";
    pub(super) const NO_RELATED_RESOURCES: &str = "40403";
    pub(super) const PERMISSIONS: &str = "40012";
    pub(super) const UNAUTHORIZED: &str = "40100";
    pub(super) const FORBIDDEN: &str = "40300";
    pub(super) const TOO_MANY_REQUESTS: &str = "42900";
}

/// The API for one batch.
///
/// Token and rate limit belong to the developer, not to one artist: once the token or the rate is refused, this batch
/// sends nothing more.
pub(crate) struct Api<'a> {
    http: &'a Http,
    stop: Stop,
}

impl<'a> Api<'a> {
    /// The API before its first request.
    pub(crate) fn new(http: &'a Http) -> Self {
        Self { http, stop: Stop::default() }
    }

    /// Fetches one artist from a storefront.
    pub(crate) async fn artist(&self, storefront: &str, id: &str) -> Result<Json, FetchError> {
        if id.trim().is_empty() {
            return Err(FetchError::NotFound);
        }
        let url = format!("{ORIGIN}/v1/catalog/{}/artists/{}?include=albums", encode(storefront), encode(id));
        // `data` is a list even for a single artist. An empty list means that the artist does not exist.
        match data(self.answer(&self.get(&url).await?)?)?.into_iter().next() {
            None => Err(FetchError::NotFound),
            Some(artist) if is_artist(&artist) => Ok(artist),
            Some(_) => Err(unlike("an artist")),
        }
    }

    /// Fetches a list of artists from a storefront. The response omits artists that the storefront does not have.
    ///
    /// A list that takes too long times out in Apple's gateway, which responds with 504 and an HTML page. That is an
    /// error of the list, as is an invalid id in it: `Unexpected`. So is `NotFound`, which need not hold for each of
    /// its ids, and a list that lacks artists and is empty, goes on or has others instead: it says of none of them that
    /// the storefront does not have them.
    pub(crate) async fn artists(&self, storefront: &str, ids: &[&str]) -> Result<Vec<Json>, FetchError> {
        let joined = ids.join(",");
        let url = format!("{ORIGIN}/v1/catalog/{}/artists?ids={}&include=albums", encode(storefront), encode(&joined));
        let response = self.get(&url).await?;
        if response.status == 504 {
            return Err(FetchError::Unexpected("HTTP 504: the list takes too long".to_owned()));
        }
        let answer = self.answer(&response)?;
        let goes_on = !answer["next"].is_null();
        let artists = data(answer)?;
        if !artists.iter().all(is_artist) {
            return Err(unlike("a list of artists"));
        }
        let has = |id: &str| artists.iter().any(|artist| artist["id"].as_str() == Some(id));
        let is_other = |artist: &Json| artist["id"].as_str().is_none_or(|id| !ids.contains(&id));
        let is_doubtful = goes_on || artists.is_empty() || artists.iter().any(is_other);
        if is_doubtful && !ids.iter().all(|id| has(id)) {
            return Err(unlike("a whole list of artists"));
        }
        Ok(artists)
    }

    /// Fetches all pages of an artist's albums. `included` is the relationship that came with the artist: if it holds
    /// the albums and not only their ids, it is the first page, and only the other pages are requested.
    pub(crate) async fn albums(&self, storefront: &str, id: &str, included: Json) -> Result<Vec<Json>, FetchError> {
        let mut next = Some(format!("{ORIGIN}{}/albums?limit={ALBUMS_PER_PAGE}", path(storefront, id)));
        let mut pages = Vec::new();
        if holds_albums(&included) {
            next = following(&included)?;
            pages.push(included);
        }
        let mut paging = Paging::new(ALBUM_PAGES_MAX);
        let mut seen = pages.first().map(ids).unwrap_or_default();
        while let Some(url) = next {
            if !paging.goes_on(Some(&url), seen) && !pages.is_empty() {
                let count = pages.len();
                return Err(FetchError::Unexpected(format!("the albums repeat or do not end after {count} pages")));
            }
            let page = self.or_empty(&self.get(&url).await?)?;
            seen = ids(&page);
            if seen.is_empty() && list(&page, "data").is_ok_and(|albums| !albums.is_empty()) {
                return Err(unlike("a page of albums"));
            }
            next = following(&page)?;
            pages.push(page);
        }
        Ok(pages)
    }

    /// Fetches a storefront's charts of most played songs and albums.
    pub(crate) async fn charts(&self, storefront: &str) -> Result<Charts, FetchError> {
        let (storefront, kinds) = (encode(storefront), charts::KINDS.join(","));
        let places = charts::PLACES;
        let url = format!("{ORIGIN}/v1/catalog/{storefront}/charts?types={kinds}&chart=most-played&limit={places}");
        Charts::read(&self.answer(&self.get(&url).await?)?)
    }

    /// Fetches an artist's top songs, ordered by rank.
    pub(crate) async fn top_songs(&self, storefront: &str, id: &str) -> Result<Json, FetchError> {
        self.or_empty(&self.get(&format!("{ORIGIN}{}/view/top-songs", path(storefront, id))).await?)
    }

    async fn get(&self, url: &str) -> Result<Response, FetchError> {
        self.stop.check()?;
        let answer = self.http.get(url).slot(SLOT).send().await;
        answer.map_err(|error| self.stop.remember(FetchError::of_operator(error)))
    }

    /// The body of a successful response, or the classified error.
    fn answer(&self, response: &Response) -> Result<Json, FetchError> {
        response.sorted(|body| own_error(response, body?)).map_err(|refusal| self.stop.remember(refusal.into()))
    }

    /// Like [`Self::answer`], for a list of related resources: the error "no related resources" becomes an empty list.
    fn or_empty(&self, response: &Response) -> Result<Json, FetchError> {
        if response.status == 404 && code_of(response).as_deref() == Some(code::NO_RELATED_RESOURCES) {
            return Ok(json!({ "data": [] }));
        }
        let page = self.answer(response)?;
        list(&page, "data")?;
        Ok(page)
    }
}

fn path(storefront: &str, id: &str) -> String {
    format!("/v1/catalog/{}/artists/{}", encode(storefront), encode(id))
}

/// Whether a JSON value is an artist resource.
pub(crate) fn is_artist(json: &Json) -> bool {
    text(&json["id"]).is_some() && json["type"].as_str() == Some("artists")
}

/// Whether a relationship holds albums with their release dates, not only their ids.
fn holds_albums(relationship: &Json) -> bool {
    list(relationship, "data").is_ok_and(|albums| {
        !albums.is_empty() && albums.iter().all(|album| album["attributes"]["releaseDate"].is_string())
    })
}

/// The ids of a page's resources.
fn ids(page: &Json) -> Vec<String> {
    list_of(page, "data", |resource| text(&resource["id"])).map(|(ids, _)| ids).unwrap_or_default()
}

/// URL of the next page. Its offset is used as Apple wrote it, because it is not the number of items seen so far. Apple
/// leaves out the page size, which is then 25, so it is added.
fn following(page: &Json) -> Result<Option<String>, FetchError> {
    match &page["next"] {
        Json::Null => Ok(None),
        next => match text(next).filter(|next| next.starts_with("/v1/")) {
            Some(next) if next.contains("limit=") => Ok(Some(format!("{ORIGIN}{next}"))),
            Some(next) => {
                let separator = if next.contains('?') { '&' } else { '?' };
                Ok(Some(format!("{ORIGIN}{next}{separator}limit={ALBUMS_PER_PAGE}")))
            }
            None => Err(unlike("a page with a relative 'next'")),
        },
    }
}

fn unlike(what: &str) -> FetchError {
    FetchError::Unexpected(format!("the response is not {what}"))
}

/// The resources of a response.
fn data(answer: Json) -> Result<Vec<Json>, FetchError> {
    Ok(list(&answer, "data")?.to_vec())
}

/// The class of an error in one of Apple's forms: `{"errors": [{title, detail, status, code}]}`, and of an overloaded
/// API `{"message": "API capacity exceeded"}`. A 401 has no body.
fn own_error(response: &Response, body: &Json) -> Option<FetchError> {
    let described = describe(response);
    let is_message = text(&body["message"]).is_some() && body.get("data").is_none() && !response.is_success();
    if list(body, "errors").is_ok_and(|errors| !errors.is_empty()) {
        return Some(of_code(response, described));
    }
    match response.status {
        429 if is_message => Some(FetchError::RateLimited(response.retry_after())),
        401 if is_message => Some(FetchError::Unauthorized(described)),
        _ if is_message && says(&described, &["capacity exceeded"]) => {
            Some(FetchError::RateLimited(response.retry_after()))
        }
        _ => None,
    }
}

/// The class of an error with a code. With a success status the error carries its own.
fn of_code(response: &Response, described: String) -> FetchError {
    let body = response.json().unwrap_or_default();
    let stated = integer(&body["errors"][0]["status"]).and_then(|status| u16::try_from(status).ok());
    let status = if response.is_success() { stated.unwrap_or(response.status) } else { response.status };
    match (code_of(response).as_deref(), status) {
        (Some(code::UNAUTHORIZED), _) | (_, 401) => FetchError::Unauthorized(described),
        (Some(code::TOO_MANY_REQUESTS), _) | (_, 429) => FetchError::RateLimited(response.retry_after()),
        (_, 500..) => FetchError::Unavailable(described),
        (Some(code::NOT_FOUND | code::NO_RELATED_RESOURCES), _) => FetchError::NotFound,
        (Some(code::PERMISSIONS | code::FORBIDDEN), _) | (_, 403) => FetchError::Forbidden(described),
        (None, 404) => FetchError::NotFound,
        _ => FetchError::Unexpected(described),
    }
}

/// The code of the first error. Apple documents a string; a number is accepted too.
fn code_of(response: &Response) -> Option<String> {
    let body = response.json()?;
    let code = &body["errors"][0]["code"];
    text(code).or_else(|| integer(code).map(|code| code.to_string()))
}

/// The status, followed by the platform's message.
fn describe(response: &Response) -> String {
    let body = response.json().unwrap_or_default();
    let error = &body["errors"][0];
    let words: Vec<String> =
        [&error["code"], &error["title"], &error["detail"], &body["message"]].into_iter().filter_map(text).collect();
    if words.is_empty() {
        format!("HTTP {}", response.status)
    } else {
        format!("HTTP {}: {}", response.status, words.join(", "))
    }
}
