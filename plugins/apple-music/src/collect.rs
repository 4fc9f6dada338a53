//! The requests for a batch, their order, and which data of the responses is stored.
//!
//! The document of an account has one key per part, so that a failed request affects only the metrics of its own part:
//!
//! ```json
//! {
//!   "storefront": "us",
//!   "artist": { <the artist resource without its albums> },
//!   "albums": { "pages": [ { "data": [ <albums> ] } ] },
//!   "top_songs": { "answer": { "data": [ <songs> ] } },
//!   "charts": { "asked": ["us"], "of": { "us": { "answer": { "songs": { "place": 3 }, "albums": … } } } }
//! }
//! ```
//!
//! A missing part says why: `{ "absent": "unavailable", "why": "HTTP 504" }`. `charts` is there only if the account's
//! settings name storefronts for them.

use std::collections::{BTreeMap, BTreeSet};

use backline_sdk::{drop_keys, halves, part, prelude::*};

use crate::api::{self, Api};
use crate::charts::{self, Charts};

/// How many requests are in flight at the same time. Apple publishes no limit; browsers use a similar number.
const AT_ONCE: usize = 8;

/// Storefront of accounts whose settings name none.
const DEFAULT_STOREFRONT: &str = "us";

/// Maximum number of storefronts of one account, as in the manifest's schema.
const STOREFRONTS_MAX: usize = 10;

/// Maximum number of storefronts whose charts are read for one account, as in the manifest's schema.
const CHART_STOREFRONTS_MAX: usize = 10;

/// The charts of each storefront that an account of the batch names, or why they are missing.
type ChartsByStorefront = BTreeMap<String, Result<Charts, FetchError>>;

/// Keys that are removed from documents: bulky picture URLs and colours, which no metric needs.
const DROPPED: [&str; 2] = ["artwork", "editorialArtwork"];

/// An artist with the storefront in which it was found.
struct Found {
    storefront: String,
    artist: Json,
}

/// The artist's name in the first of the account's storefronts that has the artist.
pub(crate) async fn name(api: &Api<'_>, account: Account) -> Result<String, FetchError> {
    let id = account.platform_id.clone();
    let found = look_up(api, &[account]).await.remove(0)?;
    Ok(text(&found.artist["attributes"]["name"]).unwrap_or(id))
}

/// Fetches the documents of a batch of accounts.
pub(crate) async fn batch(api: &Api<'_>, accounts: Vec<Account>) -> BatchResult {
    let mut found = look_up(api, &accounts).await.into_iter();
    let charts = &charts_for(api, &accounts).await;
    BatchResult::each(accounts, AT_ONCE, |account| {
        let found = found.next().unwrap_or(Err(FetchError::NotFound));
        async move { one(api, &account, found?, charts).await }
    })
    .await
}

/// Fetches the charts of every storefront that an account names for them, each once: they are the same for all artists.
async fn charts_for(api: &Api<'_>, accounts: &[Account]) -> ChartsByStorefront {
    let storefronts: BTreeSet<String> = accounts.iter().flat_map(chart_storefronts_of).collect();
    let answers = gather(storefronts, AT_ONCE, |storefront| async move {
        let charts = api.charts(&storefront).await;
        (storefront, charts)
    });
    answers.await.into_iter().collect()
}

/// Finds the artist of every account: first in the first storefront of each account, then the missing ones in the
/// second, and so on. Artist ids are the same in all storefronts, but not every storefront has every artist.
async fn look_up(api: &Api<'_>, accounts: &[Account]) -> Vec<Result<Found, FetchError>> {
    let storefronts: Vec<Vec<String>> = accounts.iter().map(storefronts_of).collect();
    let mut found: Vec<Option<Result<Found, FetchError>>> = accounts.iter().map(|_| None).collect();
    for round in 0..STOREFRONTS_MAX {
        let mut missing: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for index in (0..accounts.len()).filter(|index| found[*index].is_none()) {
            if let Some(storefront) = storefronts[index].get(round) {
                missing.entry(storefront).or_default().push(index);
            }
        }
        let lists = missing.into_iter().flat_map(|(storefront, indexes)| {
            // Ids are opaque. One with a comma would be two in a list, so it gets a request of its own.
            let (listable, alone): (Vec<_>, Vec<_>) =
                indexes.into_iter().partition(|index| is_listable(&accounts[*index].platform_id));
            let lists = listable.chunks(api::ARTISTS_PER_REQUEST).map(<[usize]>::to_vec).collect::<Vec<_>>();
            lists.into_iter().chain(alone.into_iter().map(|index| vec![index])).map(move |list| (storefront, list))
        });
        let answers = gather(lists.collect::<Vec<_>>(), AT_ONCE, |(storefront, list)| async move {
            let ids: Vec<&str> = list.iter().map(|index| accounts[*index].platform_id.as_str()).collect();
            let artists = ask(api, storefront, &ids).await;
            (storefront, list, artists)
        })
        .await;
        for (storefront, list, artists) in answers {
            for (index, artist) in list.into_iter().zip(artists) {
                found[index] = match artist {
                    Ok(artist) => Some(Ok(Found { storefront: storefront.to_owned(), artist })),
                    Err(FetchError::NotFound) => None,
                    Err(error) => Some(Err(error)),
                };
            }
        }
    }
    found.into_iter().map(|found| found.unwrap_or(Err(FetchError::NotFound))).collect()
}

/// Fetches artists from one storefront, in the order of the ids.
async fn ask(api: &Api<'_>, storefront: &str, ids: &[&str]) -> Vec<Result<Json, FetchError>> {
    if let [id] = ids {
        return vec![api.artist(storefront, id).await];
    }
    let unique: Vec<&str> = ids.iter().copied().collect::<BTreeSet<_>>().into_iter().collect();
    let ask = async |ids: Vec<&str>| match ids[..] {
        [id] => api.artist(storefront, id).await.map(|artist| vec![artist]),
        _ => api.artists(storefront, &ids).await,
    };
    // One invalid id, or too much work, makes Apple refuse the whole list.
    let speaks_of_list = |error: &FetchError| matches!(error, FetchError::Unexpected(_) | FetchError::NotFound);
    let lists = halves(&unique, speaks_of_list, ask).await;
    let of = |id: &str| -> Result<Json, FetchError> {
        let (_, answer) = lists.iter().find(|(ids, _)| ids.contains(&id)).ok_or(FetchError::NotFound)?;
        // Match by id: the response omits unknown artists, and its order is not documented.
        let artists = answer.as_ref().map_err(Clone::clone)?;
        artists.iter().find(|artist| artist["id"].as_str() == Some(id)).cloned().ok_or(FetchError::NotFound)
    };
    ids.iter().map(|id| of(id)).collect()
}

fn is_listable(id: &str) -> bool {
    !id.trim().is_empty() && !id.contains(',')
}

/// The storefronts in an account's settings, or the default one.
fn storefronts_of(account: &Account) -> Vec<String> {
    let mut storefronts = named_storefronts(account, "storefronts", STOREFRONTS_MAX);
    if storefronts.is_empty() {
        storefronts.push(DEFAULT_STOREFRONT.to_owned());
    }
    storefronts
}

/// The storefronts whose charts an account asks for; none unless its settings name some.
fn chart_storefronts_of(account: &Account) -> Vec<String> {
    named_storefronts(account, "chart_storefronts", CHART_STOREFRONTS_MAX)
}

/// The storefronts that a setting lists, in their order and without duplicates.
fn named_storefronts(account: &Account, setting: &str, most: usize) -> Vec<String> {
    let settings = account.settings_json();
    let mut storefronts: Vec<String> = Vec::new();
    for storefront in settings[setting].as_array().into_iter().flatten().filter_map(text) {
        let storefront = storefront.trim().to_ascii_lowercase();
        if !storefronts.contains(&storefront) && storefronts.len() < most {
            storefronts.push(storefront);
        }
    }
    storefronts
}

async fn one(
    api: &Api<'_>,
    account: &Account,
    found: Found,
    charts: &ChartsByStorefront,
) -> Result<Fetched, FetchError> {
    let Found { storefront, mut artist } = found;
    let id = account.platform_id.as_str();
    // The albums part replaces the relationship, which may be truncated and lack release dates.
    let included = artist.get_mut("relationships").and_then(Json::as_object_mut).and_then(|them| them.remove("albums"));
    let albums = api.albums(&storefront, id, included.unwrap_or_default()).await.map(Json::Array);
    let albums = part("pages", albums)?;
    let top_songs = part("answer", api.top_songs(&storefront, id).await)?;
    let places = places_of(account, charts, &top_songs, &albums)?;
    let mut document = json!({ "storefront": storefront, "artist": artist, "albums": albums, "top_songs": top_songs });
    if let Some(places) = places {
        document["charts"] = places;
    }
    drop_keys(&mut document, &DROPPED);
    Ok(Fetched::new(&document))
}

/// The document's part about charts: the artist's places in those of the storefronts that the account names, if any.
fn places_of(
    account: &Account,
    charts: &ChartsByStorefront,
    top_songs: &Json,
    albums: &Json,
) -> Result<Option<Json>, FetchError> {
    let asked = chart_storefronts_of(account);
    if asked.is_empty() {
        return Ok(None);
    }
    let mut of = json!({});
    for storefront in &asked {
        let places = match charts.get(storefront) {
            Some(Ok(charts)) => Ok(charts.places_of(charts::own(top_songs, albums))),
            Some(Err(error)) => Err(error.clone()),
            None => Err(FetchError::Unavailable("the charts were not asked for".to_owned())),
        };
        of[storefront.as_str()] = part("answer", places)?;
    }
    Ok(Some(json!({ "asked": asked, "of": of })))
}
