//! Fetches the statistics of videos, 50 at a time across all channels of a batch.
//!
//! `videos:batchGetStats` has an allowance of its own, so it is asked first. It is new, and its documents say little:
//! what it refuses or leaves out is asked of `videos.list`, which takes from the general allowance.

use std::cell::Cell;
use std::collections::BTreeMap;

use backline_sdk::{Stop, halves, prelude::*};

use crate::collect::{ById, answer, by_id, speaks_of_list};
use crate::{API, IDS_MAX, SLOT};

/// The endpoint with an allowance of its own.
const STATS: &str = "videos:batchGetStats";

/// The endpoint of the general allowance.
const LIST: &str = "videos";

/// The setting that chooses between the two.
const SETTING: &str = "video_statistics";

/// Whether a batch asks `videos.list` alone: an account of it says so.
pub(crate) fn use_list(accounts: &[Account]) -> bool {
    accounts.iter().any(|account| account.settings_json()[SETTING] == "list")
}

/// Statistics of videos by id, with the errors of those that could not be fetched.
pub(crate) struct Videos<'a> {
    http: &'a Http,
    /// What ended the other requests of the batch. Errors of these requests end them too.
    stop: &'a Stop,
    /// What ended these.
    own_stop: Stop,
    /// Whether `videos.list` is asked alone: from the start, or since it answered what the other endpoint refused.
    uses_list: Cell<bool>,
    pending: Vec<String>,
    /// Videos that `batchGetStats` sent nothing about. It may answer in part, so they are not known to be gone.
    left_out: Vec<String>,
    /// What is known of each video.
    pub(crate) known: ById,
    /// Videos of which nothing is known because a request failed.
    pub(crate) failed: BTreeMap<String, FetchError>,
    /// Videos that `batchGetStats` left out, and for which `videos.list` failed. Most of them were deleted.
    pub(crate) unanswered: BTreeMap<String, FetchError>,
}

impl<'a> Videos<'a> {
    /// No videos yet.
    pub(crate) fn new(http: &'a Http, stop: &'a Stop, uses_list: bool) -> Self {
        Self {
            http,
            stop,
            own_stop: Stop::default(),
            uses_list: Cell::new(uses_list),
            pending: Vec::new(),
            left_out: Vec::new(),
            known: ById::new(),
            failed: BTreeMap::new(),
            unanswered: BTreeMap::new(),
        }
    }

    /// Adds videos to be fetched.
    pub(crate) fn want(&mut self, ids: impl IntoIterator<Item = String>) {
        self.pending.extend(ids);
    }

    /// Fetches the pending videos in calls of 50. The rest, fewer than 50, stays pending.
    pub(crate) async fn fetch_full_calls(&mut self) {
        while self.pending.len() >= IDS_MAX {
            self.fetch_call().await;
        }
    }

    /// Fetches all pending videos, and then those that were left out. What is still not known of these is missing.
    pub(crate) async fn fetch_rest(&mut self) {
        while !self.pending.is_empty() {
            self.fetch_call().await;
        }
        let left_out = std::mem::take(&mut self.left_out);
        if left_out.is_empty() {
            return;
        }
        self.uses_list.set(true);
        self.pending.clone_from(&left_out);
        while !self.pending.is_empty() {
            self.fetch_call().await;
        }
        // An error costs them, and not the other videos of their channels.
        for id in left_out {
            if let Some(error) = self.failed.remove(&id) {
                self.unanswered.insert(id, error);
            }
        }
    }

    /// Why nothing is known of all these videos; `None` if something is known of one, or all are gone.
    pub(crate) fn unanswered_of<'v>(&self, mut ids: impl Iterator<Item = &'v str> + Clone) -> Option<&FetchError> {
        if ids.clone().any(|id| has_statistics(&self.known, id)) {
            return None;
        }
        ids.find_map(|id| self.unanswered.get(id))
    }

    /// Fetches up to 50 pending videos.
    async fn fetch_call(&mut self) {
        let ids: Vec<String> = self.pending.drain(..self.pending.len().min(IDS_MAX)).collect();
        let (http, stop, own_stop, uses_list) = (self.http, self.stop, &self.own_stop, &self.uses_list);
        let ask = async |ids: Vec<String>| {
            match stop.check() {
                // What the lists of uploads have spent is not this allowance, and what they listed would be lost.
                Ok(()) | Err(FetchError::QuotaExhausted(_)) if !uses_list.get() => {}
                other => other?,
            }
            own_stop.unless(statistics(http, &ids, uses_list)).await.map_err(|error| stop.remember(error))
        };
        let lists = halves(&ids, speaks_of_list, ask).await;
        let is_any_answered = lists.iter().any(|(_, answer)| answer.is_ok());
        for (ids, answer) in lists {
            match answer {
                Ok(Answer { known, is_whole }) => {
                    if !is_whole {
                        self.left_out.extend(ids.into_iter().filter(|id| !has_statistics(&known, id)));
                    }
                    self.known.extend(known);
                }
                // A video that the platform does not take is one without numbers, as if it had left it out.
                Err(error) if speaks_of_list(&error) && is_any_answered => {}
                Err(error) => self.failed.extend(ids.into_iter().map(|id| (id, error.clone()))),
            }
        }
    }
}

fn has_statistics(known: &ById, id: &str) -> bool {
    known.get(id).is_some_and(|video| video["statistics"].is_object())
}

/// What is known of some videos.
struct Answer {
    known: ById,
    /// Whether a video that is missing does not exist.
    is_whole: bool,
}

/// Asks for the statistics of some videos.
///
/// # Errors
/// The classified error of `videos.list`; of `batchGetStats` only where more requests would not help.
async fn statistics(http: &Http, ids: &[String], uses_list: &Cell<bool>) -> Result<Answer, FetchError> {
    if !uses_list.get() {
        match of_endpoint(http, STATS, ids).await {
            Ok(known) => return Ok(Answer { known, is_whole: false }),
            // Its allowance is spent. The general one is for what has no other.
            Err(error @ (FetchError::QuotaExhausted(_) | FetchError::RateLimited(_))) => return Err(error),
            // The key was good for the channels, so whatever else it refuses speaks of this endpoint or of an id.
            Err(_) => {}
        }
    }
    let known = of_endpoint(http, LIST, ids).await?;
    uses_list.set(true);
    Ok(Answer { known, is_whole: true })
}

async fn of_endpoint(http: &Http, endpoint: &str, ids: &[String]) -> Result<ById, FetchError> {
    // The API refuses maxResults together with ids.
    let request =
        http.get(format!("{API}/{endpoint}")).query("part", "statistics").query("id", ids.join(",")).slot(SLOT);
    // A video that is not understood is one without numbers, as if it had been left out.
    let (mut known, _) = by_id(&answer(request.send().await)?)?;
    known.retain(|id, _| ids.contains(id));
    Ok(known)
}
