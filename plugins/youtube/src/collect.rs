//! Fetches a batch: channels, their uploads, and the videos' statistics, 50 at a time across all accounts.

use std::collections::{BTreeMap, BTreeSet};

use backline_sdk::{Stop, halves, prelude::*};

use crate::uploads::{self, Uploads};
use crate::videos::{self, Videos};
use crate::{API, IDS_MAX, SLOT, errors};

/// What the API sends about channels or videos, by their ids.
pub(crate) type ById = BTreeMap<String, Json>;

/// How many channels have their uploads listed at the same time. After each such wave the pending videos are fetched in
/// full calls. If the quota ends during the batch, most of the channels before that point are complete.
const WAVE: usize = 10;

/// Fetches channels by id, as `channels.list` sends them. Unknown ids are missing from the result, and so are those of
/// the items that are not understood or not on the page, whose number comes with the others.
///
/// # Errors
/// The classified error of the call.
pub(crate) async fn channels(http: &Http, ids: &[&str], parts: &str) -> Result<(ById, usize), FetchError> {
    let ids: Vec<&str> = ids.iter().copied().filter(|id| is_id(id)).collect();
    if ids.is_empty() {
        return Ok((ById::new(), 0));
    }
    let request = http
        .get(format!("{API}/channels"))
        .query("part", parts)
        .query("id", ids.join(","))
        .query("maxResults", IDS_MAX)
        .slot(SLOT);
    let body = answer(request.send().await)?;
    let (mut known, odd) = by_id(&body)?;
    let listed = known.len().saturating_add(odd);
    known.retain(|id, _| ids.contains(&id.as_str()));
    // Neither an item about something else nor a part of a list says that a channel does not exist.
    let others = listed.saturating_sub(odd).saturating_sub(known.len());
    Ok((known, odd.saturating_add(others).saturating_add(left_out(&body, listed))))
}

/// How many items a list lacks of those that it counts; one if it goes on on another page.
fn left_out(body: &Json, listed: usize) -> usize {
    let counted = integer(&body["pageInfo"]["totalResults"]).and_then(|total| usize::try_from(total).ok());
    let goes_on = usize::from(text(&body["nextPageToken"]).is_some());
    counted.unwrap_or(0).saturating_sub(listed).max(goes_on)
}

/// The answer to a request for ids. Unknown ids are left out of an answer, so "not found" would speak of the endpoint
/// and not of an account.
pub(crate) fn answer(sent: Result<Response, HttpError>) -> Result<Json, FetchError> {
    match errors::classify(&sent.map_err(FetchError::of_operator)?) {
        Err(FetchError::NotFound) => Err(FetchError::Unexpected("the endpoint was not found".to_owned())),
        other => other,
    }
}

/// Whether a text can be an id. Anything else could corrupt the list that it is joined into.
fn is_id(id: &str) -> bool {
    !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
}

/// The items of a response by id, and how many are not understood. If the API knows none of the ids, it sends its own
/// envelope without `items`. An object that is not marked as a list, or counts items that it lacks, is an error.
pub(crate) fn by_id(body: &Json) -> Result<(ById, usize), FetchError> {
    let is_envelope = body["kind"].is_string() || body["pageInfo"].is_object();
    let counts_none = integer(&body["pageInfo"]["totalResults"]).is_none_or(|total| total == 0);
    if body.get("items").is_none() && is_envelope && counts_none {
        return Ok((ById::new(), 0));
    }
    let (items, odd) = list_of(body, "items", |item| Some((text(&item["id"])?, item.clone())))?;
    Ok((items.into_iter().collect(), odd))
}

/// The error of a channel that may be among those that were not understood.
pub(crate) fn unread() -> FetchError {
    FetchError::Unexpected("the list of channels is not whole, or an item of it is of no known form".to_owned())
}

/// Whether an error may be the fault of one id, so that the others should be asked without it.
pub(crate) fn speaks_of_list(error: &FetchError) -> bool {
    matches!(error, FetchError::Unexpected(_))
}

/// Fetches the documents of a batch of accounts.
pub(crate) async fn batch(http: &Http, accounts: Vec<Account>, window: Window) -> BatchResult {
    // In the accounts' order: those that have waited longest come first, and get what is left of the quota.
    let mut seen = BTreeSet::new();
    let ids = accounts.iter().map(|account| account.platform_id.as_str());
    let ids: Vec<&str> = ids.filter(|id| seen.insert(*id)).collect();
    let mut collected = BTreeMap::new();
    let stop = Stop::default();
    for ids in ids.chunks(IDS_MAX) {
        let parts = "snippet,statistics,contentDetails";
        let ask = async |ids: Vec<&str>| stop.unless(channels(http, &ids, parts)).await;
        let lists = halves(ids, speaks_of_list, ask).await;
        let is_any_answered = lists.iter().any(|(_, answer)| answer.is_ok());
        let mut known = ById::new();
        for (ids, answer) in lists {
            match answer {
                Ok((channels, odd)) => {
                    // An item that is not understood may be the channel that is missing, which is then not unknown.
                    let missing = ids.iter().filter(|id| odd > 0 && !channels.contains_key(**id));
                    collected.extend(missing.map(|id| ((*id).to_owned(), Err(unread()))));
                    known.extend(channels);
                }
                // The request is right, since it was answered for others: the platform does not take this id.
                Err(error) if speaks_of_list(&error) && is_any_answered => {
                    collected.extend(ids.iter().map(|id| ((*id).to_owned(), Err(FetchError::NotFound))));
                }
                Err(error) => collected.extend(ids.iter().map(|id| ((*id).to_owned(), Err(error.clone())))),
            }
        }
        let known = ids.iter().filter_map(|id| known.remove_entry(*id)).collect();
        collect(http, &accounts, known, window, &stop, &mut collected).await;
    }
    let accounts = accounts
        .iter()
        .map(|account| collected.get(&account.platform_id).cloned().unwrap_or(Err(FetchError::NotFound)))
        .collect();
    BatchResult { accounts, lost_metrics: Vec::new() }
}

/// A channel and its uploads, before they become a document.
struct Channel {
    id: String,
    body: Json,
    uploads: Result<Uploads, FetchError>,
}

async fn collect(
    http: &Http,
    accounts: &[Account],
    mut rest: Vec<(String, Json)>,
    window: Window,
    stop: &Stop,
    collected: &mut BTreeMap<String, Result<Fetched, FetchError>>,
) {
    let mut channels = Vec::new();
    let mut videos = Videos::new(http, stop, videos::use_list(accounts));
    while !rest.is_empty() {
        let wave: Vec<(String, Json)> = rest.drain(..rest.len().min(WAVE)).collect();
        let listed = gather(wave, WAVE, |(id, body)| async {
            let uploads = uploads_of(http, accounts, &id, &body, window, stop).await;
            Channel { id, body, uploads }
        });
        for channel in listed.await {
            // A truncated list can't be summed, so its videos are not requested.
            let uploads = channel.uploads.iter().filter(|uploads| !uploads.is_cut).flat_map(|uploads| &uploads.items);
            videos.want(uploads.filter(|upload| window.contains(upload.published)).map(|upload| upload.id.clone()));
            channels.push(channel);
        }
        videos.fetch_full_calls().await;
    }
    videos.fetch_rest().await;
    collected.extend(channels.into_iter().map(|channel| (channel.id.clone(), document(channel, &videos, window))));
}

/// The stored list of a channel's uploads if it is still valid, otherwise a new one.
async fn uploads_of(
    http: &Http,
    accounts: &[Account],
    id: &str,
    body: &Json,
    window: Window,
    stop: &Stop,
) -> Result<Uploads, FetchError> {
    let videos = integer(&body["statistics"]["videoCount"]);
    let remembered = accounts
        .iter()
        .filter(|account| account.platform_id == id)
        .find_map(|account| Uploads::from_state(&account.state_json()?, id, videos, window));
    if let Some(uploads) = remembered {
        return Ok(uploads);
    }
    if videos == Some(0) {
        return Ok(Uploads::none(videos, window));
    }
    // Without a list, a channel that has videos, or does not say how many, has not published nothing.
    let playlists = &body["contentDetails"]["relatedPlaylists"];
    match text(&playlists["uploads"]) {
        Some(playlist) => stop.unless(uploads::list(http, &playlist, videos, window)).await,
        None if playlists.is_object() => Err(FetchError::NotFound),
        None => Err(FetchError::Unexpected("the channel has no content details".to_owned())),
    }
}

/// The channel's document, or the error if a later retry may give a complete one.
fn document(channel: Channel, videos: &Videos<'_>, window: Window) -> Result<Fetched, FetchError> {
    let channel_body = trimmed(channel.body);
    let uploads = match channel.uploads {
        Ok(uploads) => uploads,
        Err(error) if is_passing(&error) => return Err(error),
        // Keep the channel's own numbers: only those of its videos are missing.
        Err(error) => return Ok(Fetched::new(&json!({ "channel": channel_body, "problem": reason(&error) }))),
    };
    if uploads.is_cut {
        return Ok(Fetched::new(&json!({ "channel": channel_body, "cut": true })));
    }
    let mut statistics = Vec::new();
    let mut problem = None;
    let inside: Vec<_> = uploads.items.iter().filter(|upload| window.contains(upload.published)).collect();
    for upload in &inside {
        if let Some(error) = videos.failed.get(&upload.id) {
            if is_passing(error) {
                return Err(error.clone());
            }
            problem = Some(reason(error));
        }
        statistics.extend(videos.known.get(&upload.id).cloned());
    }
    // Not one of them is known, so it is not known either that they are gone.
    if let Some(error) = videos.unanswered_of(inside.iter().map(|upload| upload.id.as_str())) {
        if is_passing(error) {
            return Err(error.clone());
        }
        problem = Some(reason(error));
    }
    let mut body = json!({
        "channel": channel_body,
        "uploads": inside.iter().map(|upload| json!([upload.id, upload.published])).collect::<Vec<_>>(),
        "videos": statistics,
    });
    if let Some(problem) = problem {
        body["problem"] = problem.into();
    }
    if uploads.unread > 0 {
        // Only a list that was understood is kept for the next days.
        body["unread"] = uploads.unread.into();
        return Ok(Fetched::new(&body));
    }
    Ok(Fetched::new(&body).with_state(&uploads.to_state()))
}

/// Whether to retry the account later instead of storing it without its videos.
fn is_passing(error: &FetchError) -> bool {
    error.concerns_all() || matches!(error, FetchError::Unavailable(_))
}

fn reason(error: &FetchError) -> &'static str {
    match error {
        FetchError::Forbidden(_) => "not-authorized",
        FetchError::NotFound => "not-found",
        _ => "unavailable",
    }
}

/// Removes what no metric needs: pictures, and the texts of the channel's page.
fn trimmed(mut channel: Json) -> Json {
    if let Some(snippet) = channel.get_mut("snippet").and_then(Json::as_object_mut) {
        for waste in ["thumbnails", "description", "localized"] {
            snippet.remove(waste);
        }
    }
    channel
}
