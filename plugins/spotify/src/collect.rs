//! The requests for a batch, their order, and which data of the responses is stored.
//!
//! The document of an account has one key per part, so that a failed request affects only the metrics of its own part:
//!
//! ```json
//! {
//!   "mode": "extended",
//!   "artist": { <the artist object> },
//!   "top_tracks": { "answer": { "tracks": [ <tracks> ] } },
//!   "releases": { "pages": [ { "items": [ <albums> ] } ] }
//! }
//! ```
//!
//! A missing part says why: `{ "absent": "not-offered", "why": "HTTP 403: Forbidden" }`. The mode is `extended` if any
//! artist of the batch has a number of followers, and left out if that is unknown.

use backline_sdk::{absent_part, drop_keys, halves, part, prelude::*};

use crate::api::{self, Api, Refusal};

/// Seconds for which an account remembers that its app gets small pages only. Quota modes change.
const SMALL_PAGES_SECONDS: i64 = 7 * 86_400;

/// How many accounts are fetched at the same time. Spotify counts requests per 30 seconds, so more would only reach the
/// limit sooner.
const AT_ONCE: usize = 8;

/// Keys that are removed from documents: hundreds of market codes and picture URLs per page, which no metric needs.
const DROPPED: [&str; 2] = ["available_markets", "images"];

/// What is known about an account's artist before the requests for this account.
enum Artist {
    /// The batch request gave the artist, or the reason why there is none.
    Known(Result<Json, FetchError>),
    /// The artist needs a request of its own.
    AskAlone,
}

/// Fetches the documents of a batch of accounts. The responses show whether the app has extended quota.
pub(crate) async fn batch(api: &Api<'_>, accounts: Vec<Account>, now: i64) -> BatchResult {
    let ids: Vec<String> = accounts.iter().map(|account| account.platform_id.clone()).collect();
    let refused_at = accounts.iter().filter_map(|account| account.state_json()?["small_pages"].as_i64()).max();
    let refused_at = refused_at.filter(|at| (0..SMALL_PAGES_SECONDS).contains(&now.saturating_sub(*at)));
    if refused_at.is_some() {
        api.use_small_pages();
    }
    let Found { mut artists, development, extended } = look_up(api, &ids).await;
    let mut top_tracks_offered = true;
    let mut probed = None;
    if development && let Some(index) = artists.iter().position(|artist| !matches!(artist, Artist::Known(Err(_)))) {
        // Development mode is known to lack top tracks. One request checks whether that is still so.
        let answer = api.top_tracks(&ids[index]).await;
        top_tracks_offered = !matches!(answer, Err(Refusal::NotOffered(_)));
        probed = Some((index, answer));
    }
    let mut index = 0;
    BatchResult::each(accounts, AT_ONCE, |account| {
        let artist = std::mem::replace(&mut artists[index], Artist::AskAlone);
        let top_tracks = match &mut probed {
            Some((probe, _)) if *probe == index => probed.take().map(|(_, answer)| answer),
            _ if !top_tracks_offered => Some(Err(Refusal::NotOffered("not included in the app's quota mode".into()))),
            _ => None,
        };
        index += 1;
        async move {
            let fetched = one(api, account.platform_id, artist, top_tracks, extended).await?;
            Ok(match refused_at.or_else(|| api.uses_small_pages().then_some(now)) {
                Some(at) => fetched.with_state(&json!({ "small_pages": at })),
                None => fetched,
            })
        }
    })
    .await
}

/// The artists of a batch, in the order of its ids, and what they say of the app's quota mode.
struct Found {
    artists: Vec<Artist>,
    /// The batch endpoint is refused, or no artist has followers.
    development: bool,
    /// An artist has followers.
    extended: bool,
}

/// Finds the artists of a batch with as few requests as the app's quota mode allows.
async fn look_up(api: &Api<'_>, ids: &[String]) -> Found {
    let mut artists: Vec<Artist> = ids.iter().map(|_| Artist::AskAlone).collect();
    // Ids are opaque. One with a comma would shift all ids after it in a list, so it gets a request of its own.
    let listable: Vec<usize> = (0..ids.len()).filter(|index| is_listable(&ids[*index])).collect();
    let mut found = 0_usize;
    let mut with_followers = 0_usize;
    for chunk in listable.chunks(api::ARTISTS_PER_REQUEST) {
        if let [_alone] = chunk {
            continue;
        }
        // One invalid id makes Spotify refuse the whole list. Halves of it show which id it is.
        let ask = async |indexes: Vec<usize>| {
            if let [_alone] = indexes[..] {
                return Ok(None);
            }
            let asked: Vec<String> = indexes.iter().map(|index| ids[*index].clone()).collect();
            match api.artists(&asked).await {
                Ok(answer) => Ok(Some((asked, answer))),
                // The mode lacks the endpoint, so each artist takes a request of its own.
                Err(Refusal::NotOffered(_)) => Ok(None),
                Err(Refusal::Failed(error)) => Err(error),
            }
        };
        let speaks_of_list = |error: &FetchError| matches!(error, FetchError::NotFound | FetchError::Unexpected(_));
        for (indexes, answer) in halves(chunk, speaks_of_list, ask).await {
            match answer {
                Ok(Some((asked, answer))) => {
                    for (position, index) in indexes.into_iter().enumerate() {
                        // What the list does not say is asked for alone.
                        let Some(artist) = of_list(&answer, &asked, position) else { continue };
                        if let Ok(artist) = &artist {
                            found += 1;
                            with_followers += usize::from(!artist["followers"].is_null());
                        }
                        artists[index] = Artist::Known(artist);
                    }
                }
                Ok(None) if indexes.len() > 1 => return Found { artists, development: true, extended: false },
                Ok(None) => {}
                // Every list was refused, so the endpoint is at fault. Single requests do not need it.
                Err(error) if speaks_of_list(&error) => {}
                Err(error) => {
                    for index in indexes {
                        artists[index] = Artist::Known(Err(error.clone()));
                    }
                }
            }
        }
    }
    Found { artists, development: found > 0 && with_followers == 0, extended: with_followers > 0 }
}

fn is_listable(id: &str) -> bool {
    !id.trim().is_empty() && !id.contains(',')
}

/// The artist at a position of a list: found by id or, if the response has the id of an artist it was merged into, by
/// position. Null at its position stands for an unknown one.
///
/// `None` if the list says nothing of it: a list that is shorter than the one that was asked for, an empty one above
/// all, does not say which artists are unknown.
fn of_list(answer: &[Json], asked: &[String], position: usize) -> Option<Result<Json, FetchError>> {
    if let Some(artist) = answer.iter().find(|artist| artist["id"].as_str() == Some(asked[position].as_str())) {
        return Some(Ok(artist.clone()));
    }
    let artist = answer.get(position).filter(|_| answer.len() == asked.len())?;
    if artist.is_null() {
        return Some(Err(FetchError::NotFound));
    }
    let is_another = asked.iter().any(|id| artist["id"].as_str() == Some(id.as_str()));
    (!is_another).then(|| Ok(artist.clone()))
}

async fn one(
    api: &Api<'_>,
    id: String,
    artist: Artist,
    top_tracks: Option<Result<Json, Refusal>>,
    extended: bool,
) -> Result<Fetched, FetchError> {
    let artist = match artist {
        Artist::Known(known) => known?,
        Artist::AskAlone => api.artist(&id).await?,
    };
    let top_tracks = match top_tracks {
        Some(known) => known,
        None => api.top_tracks(&id).await,
    };
    let top_tracks = match top_tracks {
        Err(Refusal::NotOffered(why)) => absent_part(Absence::NotOffered, &why),
        Err(Refusal::Failed(error)) => part("answer", Err(error))?,
        Ok(answer) => part("answer", Ok(answer))?,
    };
    let releases = part("pages", api.releases(&id).await.map(Json::Array))?;
    let mut document = json!({ "artist": artist, "top_tracks": top_tracks, "releases": releases });
    if extended {
        document["mode"] = "extended".into();
    }
    drop_keys(&mut document, &DROPPED);
    Ok(Fetched::new(&document))
}
