//! The endpoints of the Apple Music API that are used, and what their refusals mean.

use std::collections::BTreeSet;

use backline_sdk::{Stop, encode, prelude::*};

const ORIGIN: &str = "https://api.music.apple.com";

/// The manifest's credential slot.
const SLOT: &str = "app";

/// Most ids of one `/artists?ids=` request, by Apple's documentation.
pub const ARTISTS_PER_REQUEST: usize = 25;

/// Most items of one page of a relationship, by Apple's documentation.
const ALBUMS_PER_PAGE: usize = 100;

/// Most pages of one artist's albums. Pages of 25 and 100 occur, so this is at least 5,000 albums; beyond it the paging itself
/// is broken.
const ALBUM_PAGES_MAX: usize = 200;

/// Error codes, which arrive as strings.
mod code {
    pub const NOT_FOUND: &str = "40400";
    pub const NO_RELATED_RESOURCES: &str = "40403";
    pub const PERMISSIONS: &str = "40012";
}

/// Why a list of artists was not answered.
#[derive(Clone, Debug)]
pub enum ListRefusal {
    /// The list as a whole is the problem: too much work for the server, or one id among the others is wrong.
    AskOneByOne,
    /// Everything else.
    Failed(FetchError),
}

/// The API for one batch.
///
/// Token and pace belong to the developer, not to one artist: once one is refused, nothing more is sent in this batch.
pub struct Api<'a> {
    http: &'a Http,
    stop: Stop,
}

impl<'a> Api<'a> {
    /// The API with nothing refused.
    pub fn new(http: &'a Http) -> Self {
        Self { http, stop: Stop::default() }
    }

    /// One artist, as a storefront has it.
    pub async fn artist(&self, storefront: &str, id: &str) -> Result<Json, FetchError> {
        if id.trim().is_empty() {
            return Err(FetchError::NotFound);
        }
        let url = format!("{ORIGIN}/v1/catalog/{}/artists/{}?include=albums", encode(storefront), encode(id));
        // `data` is a list even for a single artist; an empty one means that there is none.
        match data(self.answer(&self.get(&url).await?)?)?.into_iter().next() {
            None => Err(FetchError::NotFound),
            Some(artist) if is_artist(&artist) => Ok(artist),
            Some(_) => Err(unlike("an artist")),
        }
    }

    /// The artists of a list that a storefront has. The others are simply not in the answer.
    pub async fn artists(&self, storefront: &str, ids: &BTreeSet<&str>) -> Result<Vec<Json>, ListRefusal> {
        let ids = ids.iter().copied().collect::<Vec<_>>().join(",");
        let url = format!("{ORIGIN}/v1/catalog/{}/artists?ids={}&include=albums", encode(storefront), encode(&ids));
        let response = self.get(&url).await.map_err(ListRefusal::Failed)?;
        // A list that is too heavy times out in Apple's own front, with an HTML page.
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

    /// All pages of an artist's albums. `included` is the relationship that came with the artist: where it holds the albums
    /// themselves and not just their ids, it is the first page, and only the rest is asked for.
    pub async fn albums(&self, storefront: &str, id: &str, included: Json) -> Result<Vec<Json>, FetchError> {
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

    /// The answer with an artist's top songs, by rank.
    pub async fn top_songs(&self, storefront: &str, id: &str) -> Result<Json, FetchError> {
        self.or_empty(&self.get(&format!("{ORIGIN}{}/view/top-songs", path(storefront, id))).await?)
    }

    async fn get(&self, url: &str) -> Result<Response, FetchError> {
        self.stop.check()?;
        let answer = self.http.get(url).slot(SLOT).send().await;
        answer.map_err(|error| self.stop.remember(FetchError::of_operator(error)))
    }

    /// The body of a successful answer, or what the refusal means.
    fn answer(&self, response: &Response) -> Result<Json, FetchError> {
        if response.is_success() { response.ok_json() } else { Err(self.stop.remember(meaning(response))) }
    }

    /// As [`Self::answer`] for a list of related resources, where "there are none" is an empty list and no error.
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
pub fn is_artist(json: &Json) -> bool {
    text(&json["id"]).is_some() && json["type"].as_str() == Some("artists")
}

/// Whether a relationship holds albums with their dates, not only their ids.
fn holds_albums(relationship: &Json) -> bool {
    relationship["data"].as_array().is_some_and(|albums| {
        !albums.is_empty() && albums.iter().all(|album| album["attributes"]["releaseDate"].is_string())
    })
}

/// Where the next page is. It is followed as Apple wrote it: its offset is not the number of items seen so far.
fn following(page: &Json) -> Result<Option<String>, FetchError> {
    match text(&page["next"]) {
        None => Ok(None),
        Some(next) if next.starts_with("/v1/") => Ok(Some(format!("{ORIGIN}{next}"))),
        Some(_) => Err(unlike("a page with a relative 'next'")),
    }
}

fn unlike(what: &str) -> FetchError {
    FetchError::Unexpected(format!("the answer is not {what}"))
}

/// The resources of an answer.
fn data(mut answer: Json) -> Result<Vec<Json>, FetchError> {
    match answer.get_mut("data").map(Json::take) {
        Some(Json::Array(data)) => Ok(data),
        _ => Err(unlike("a list of resources")),
    }
}

/// What a refused request means. Errors are `{"errors": [{title, detail, status, code}]}`, with exceptions: 401 has no body, 504
/// is HTML, and an overloaded API says `{"message": "API capacity exceeded"}`.
pub fn meaning(response: &Response) -> FetchError {
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

/// The code of the first error. Documented as a string; a number is understood too.
fn code_of(response: &Response) -> Option<String> {
    let body = response.json()?;
    let code = &body["errors"][0]["code"];
    text(code).or_else(|| integer(code).map(|code| code.to_string()))
}

/// The status and the platform's own words.
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
