//! Stories that live while the account is collected, for accounts whose settings ask for them. They are gone after a
//! day, with their numbers.

use backline_sdk::{SnapshotBuilder, encode, part, prelude::*, read_part};

use crate::api::Api;
use crate::errors::Failure;
use crate::insights::{trimmed, value};

/// The numbers of stories: the metric's name, and the platform's name. All are asked for in one request for each story.
const METRICS: [(&str, &str); 4] =
    [("story_views", "views"), ("story_reach", "reach"), ("story_replies", "replies"), ("story_shares", "shares")];

/// The number of stories.
const LIVE: &str = "stories_live";

/// Stories that are asked for: as many as an account can publish in a day.
const STORIES_MAX: usize = 100;

/// How many stories of one account have their insights requested at the same time.
const STORIES_AT_ONCE: usize = 4;

/// Whether an account's settings ask for stories.
pub(crate) fn are_wanted(account: &Account) -> bool {
    account.settings_json()["stories"] == true
}

/// Fetches the account's stories: a part of a document, with the insights of each story as a part of its own.
///
/// # Errors
/// An error that concerns more than these numbers, such as a rate limit.
pub(crate) async fn stories(api: &Api<'_>) -> Result<Json, FetchError> {
    part("data", live(api).await)
}

async fn live(api: &Api<'_>) -> Result<Json, FetchError> {
    let query = [("fields", "id,timestamp".to_owned()), ("limit", STORIES_MAX.to_string())];
    let page = api.get("/me/stories", &query).await.map_err(of_part)?;
    let (ids, odd) = list_of(&page, "data", |story| id(&story["id"]))?;
    if odd > 0 || text(&page["paging"]["next"]).is_some() {
        return Err(FetchError::Unexpected("the list of stories is not whole".to_owned()));
    }
    let answers = gather(ids, STORIES_AT_ONCE, async |id: String| of_story(api, &id).await).await;
    answers.into_iter().collect::<Result<Vec<Json>, FetchError>>().map(Json::Array)
}

async fn of_story(api: &Api<'_>, id: &str) -> Result<Json, FetchError> {
    let names = METRICS.map(|(_, insight)| insight).join(",");
    let answer = match api.get(&format!("/{}/insights", encode(id)), &[("metric", names)]).await {
        Ok(body) => list(&body, "data").map(trimmed).map_err(FetchError::from),
        Err(failure) => Err(of_part(failure)),
    };
    part("data", answer)
}

/// The error of a part: what is refused or gone costs the part alone.
fn of_part(failure: Failure) -> FetchError {
    match failure {
        // It ended while it was read.
        Failure::Missing(_) => FetchError::NotFound,
        failure => failure.into(),
    }
}

/// Adds the numbers of stories. Of what an account was not asked for, there are none.
pub(crate) fn with_stories(snapshot: SnapshotBuilder, body: &Json) -> SnapshotBuilder {
    let stories = match body.get("stories") {
        None => Err(Absence::NotOffered),
        Some(part) => read_part(part, "data").and_then(|data| data.as_array().ok_or(Absence::Unavailable)),
    };
    let stories = match stories {
        Ok(stories) => stories,
        Err(reason) => {
            let snapshot = snapshot.absent(&[LIVE], reason);
            return METRICS.into_iter().fold(snapshot, |snapshot, (name, _)| snapshot.absent(&[name], reason));
        }
    };
    let is_forbidden = !stories.is_empty() && stories.iter().all(|story| story["absent"] == "not-authorized");
    let missing = if is_forbidden { Absence::NotAuthorized } else { Absence::Unavailable };
    let count = i64::try_from(stories.len()).unwrap_or(i64::MAX);
    let snapshot = snapshot.metric(LIVE, Ok(Value::Integer(count)));
    METRICS.into_iter().fold(snapshot, |snapshot, (name, insight)| {
        // For creators in Europe and Japan the platform sends 0 replies whatever there are.
        let is_known = |number: &i64| insight != "replies" || *number != 0;
        let numbers = stories.iter().map(|story| value(&story["data"], insight).filter(is_known));
        snapshot.tally(name, Tally::of(numbers), missing)
    })
}
