//! Charts of a storefront, and the places that an artist's songs and albums have in them.

use backline_sdk::prelude::*;

/// Most places of a chart, and the most that one request gives.
pub(crate) const PLACES: u8 = 200;

/// The kinds of chart that are asked for, as Apple names them.
pub(crate) const KINDS: [&str; 2] = ["songs", "albums"];

/// What a document says of an artist that a chart does not have. Nothing at all would be a place that is unknown.
const NONE: &str = "none";

/// The ids of one chart, the first place first. An item that can't be read keeps its place, and one stands for the rest
/// of a chart that is not whole.
type Places = Vec<Option<String>>;

/// The charts of one storefront, in the order of [`KINDS`]; `None` where the answer has no such chart.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Charts([Option<Places>; 2]);

impl Charts {
    /// Reads the charts of most played songs and albums. Each kind is a list of charts, of which one is asked for.
    ///
    /// # Errors
    /// If the answer has no charts at all.
    pub(crate) fn read(answer: &Json) -> Result<Self, FetchError> {
        let charts = KINDS.map(|kind| {
            let chart = list(&answer["results"], kind).ok()?.first()?;
            let items = list(chart, "data").ok()?;
            let mut places: Places = items.iter().map(|item| text(&item["id"])).collect();
            // A chart without anything in it says nothing of what is not in it.
            if places.is_empty() {
                return None;
            }
            if !chart["next"].is_null() {
                places.push(None);
            }
            places.truncate(usize::from(PLACES));
            Some(places)
        });
        if charts.iter().all(Option::is_none) {
            return Err(FetchError::Unexpected("the response is not one of charts".to_owned()));
        }
        Ok(Self(charts))
    }

    /// What a document keeps of the charts: for each kind the best place of the artist's own songs or albums, or that
    /// there is none. Null where that is unknown.
    pub(crate) fn places_of(&self, own: [Option<Vec<String>>; 2]) -> Json {
        let mut places = json!({});
        for ((kind, chart), own) in KINDS.into_iter().zip(&self.0).zip(own) {
            places[kind] = match (chart, own) {
                (Some(chart), Some(own)) => place_of(chart, &own),
                _ => Json::Null,
            };
        }
        places
    }
}

fn place_of(chart: &[Option<String>], own: &[String]) -> Json {
    // One that can't be read may be the artist's, so no place after it is the best one for certain.
    match chart.iter().position(|id| id.as_ref().is_none_or(|id| own.contains(id))) {
        Some(index) if chart[index].is_none() => Json::Null,
        Some(index) => json!({ "place": index + 1 }),
        None => json!({ "place": NONE }),
    }
}

/// The ids of the artist's top songs and of the albums, from the document's parts; `None` for a part that is missing or
/// has an item without an id, which may be in a chart.
pub(crate) fn own(top_songs: &Json, albums: &Json) -> [Option<Vec<String>>; 2] {
    let ids = |page: &Json| {
        let (ids, odd) = list_of(page, "data", |item| text(&item["id"])).ok()?;
        (odd == 0).then_some(ids)
    };
    let of_albums = || {
        let pages = list(albums, "pages").ok()?;
        pages.iter().map(ids).collect::<Option<Vec<_>>>().map(|pages| pages.concat())
    };
    [ids(&top_songs["answer"]), of_albums()]
}

/// The best place in the charts of all storefronts that the account names, from the document's part `charts`.
///
/// # Errors
/// `NotOffered` if it names none, `NotFound` if no chart has the artist, `Unavailable` if one of them is missing: the
/// best place may be there.
pub(crate) fn best_place(charts: &Json, kind: &str) -> Result<Value, Absence> {
    let asked = list(charts, "asked").unwrap_or(&[]);
    if asked.is_empty() {
        return Err(Absence::NotOffered);
    }
    let mut best: Option<i64> = None;
    for storefront in asked {
        let storefront = text(storefront).ok_or(Absence::Unavailable)?;
        let place = &charts["of"][storefront.as_str()]["answer"][kind]["place"];
        if place == NONE {
            continue;
        }
        let place =
            integer(place).filter(|place| (1..=i64::from(PLACES)).contains(place)).ok_or(Absence::Unavailable)?;
        best = Some(best.map_or(place, |best| best.min(place)));
    }
    best.map(Value::Integer).ok_or(Absence::NotFound)
}
