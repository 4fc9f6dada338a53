//! The endpoints of the Apple Music API that the connector uses, and the classification of their errors.

use std::collections::BTreeSet;

use backline_sdk::{Stop, encode, prelude::*};

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
}

/// Why a request for a list of artists failed.
#[derive(Clone, Debug)]
pub(crate) enum ListRefusal {
    /// The list itself is the problem: it is too much work for the server, or one of its ids is invalid.
    AskOneByOne,
    /// Any other error.
    Failed(FetchError),
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
    pub(crate) async fn artists(&self, storefront: &str, ids: &BTreeSet<&str>) -> Result<Vec<Json>, ListRefusal> {
        let ids = ids.iter().copied().collect::<Vec<_>>().join(",");
        let url = format!("{ORIGIN}/v1/catalog/{}/artists?ids={}&include=albums", encode(storefront), encode(&ids));
        let response = self.get(&url).await.map_err(ListRefusal::Failed)?;
        // A list that takes too long times out in Apple's gateway, which responds with an HTML page.
        if response.status == 504 {
            return Err(ListRefusal::AskOneByOne);
        }
        match self.answer(&response).and_then(data) {
            Ok(artists) => Ok(artists),
            Err(FetchError::NotFound) => Ok(Vec::new()),
            Err(FetchError::Unexpected(_)) => Err(ListRefusal::AskOneByOne),
            Err(error) => Err(ListRefusal::Failed(error)),
        }
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
        let mut followed = BTreeSet::new();
        while let Some(url) = next {
            if pages.len() >= ALBUM_PAGES_MAX || !followed.insert(url.clone()) {
                return Err(FetchError::Unexpected(format!("the albums do not end after {} pages", pages.len())));
            }
            let page = self.or_empty(&self.get(&url).await?)?;
            next = following(&page)?;
            pages.push(page);
        }
        Ok(pages)
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
        if response.is_success() { response.ok_json() } else { Err(self.stop.remember(meaning(response))) }
    }

    /// Like [`Self::answer`], for a list of related resources: the error "no related resources" becomes an empty list.
    fn or_empty(&self, response: &Response) -> Result<Json, FetchError> {
        if response.status == 404 && code_of(response).as_deref() == Some(code::NO_RELATED_RESOURCES) {
            return Ok(json!({ "data": [] }));
        }
        let page = self.answer(response)?;
        if page["data"].is_array() { Ok(page) } else { Err(unlike("a list of resources")) }
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
    relationship["data"].as_array().is_some_and(|albums| {
        !albums.is_empty() && albums.iter().all(|album| album["attributes"]["releaseDate"].is_string())
    })
}

/// URL of the next page. It is used as Apple wrote it, because its offset is not the number of items seen so far.
fn following(page: &Json) -> Result<Option<String>, FetchError> {
    match text(&page["next"]) {
        None => Ok(None),
        Some(next) if next.starts_with("/v1/") => Ok(Some(format!("{ORIGIN}{next}"))),
        Some(_) => Err(unlike("a page with a relative 'next'")),
    }
}

fn unlike(what: &str) -> FetchError {
    FetchError::Unexpected(format!("the response is not {what}"))
}

/// The resources of a response.
fn data(mut answer: Json) -> Result<Vec<Json>, FetchError> {
    match answer.get_mut("data").map(Json::take) {
        Some(Json::Array(data)) => Ok(data),
        _ => Err(unlike("a list of resources")),
    }
}

/// Classifies the response to a refused request. Errors are `{"errors": [{title, detail, status, code}]}`, with
/// exceptions: 401 has no body, 504 is HTML, and an overloaded API sends `{"message": "API capacity exceeded"}`.
pub(crate) fn meaning(response: &Response) -> FetchError {
    let described = describe(response);
    match response.status {
        401 => FetchError::Unauthorized(described),
        429 => FetchError::RateLimited(response.retry_after()),
        status if status >= 500 => FetchError::Unavailable(described),
        status => match (code_of(response).as_deref(), status) {
            (Some(code::NOT_FOUND | code::NO_RELATED_RESOURCES), _) => FetchError::NotFound,
            (Some(code::PERMISSIONS), _) | (_, 403) => FetchError::Forbidden(described),
            (None, 404) => FetchError::NotFound,
            _ => FetchError::Unexpected(described),
        },
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
