//! Backline connector for YouTube Analytics: the numbers of one day of a channel whose owner connected it, from the
//! YouTube Analytics API v2.
//!
//! Each channel is read with the token of its owner. The platform delivers a day two or three days late, so the numbers
//! of a day are absent until then, and its metrics have history.

mod collect;
mod day;
mod errors;
mod memory;
mod normalize;
mod table;

use backline_sdk::{Stop, prelude::*};

/// Address of the API's one endpoint.
const REPORTS: &str = "https://youtubeanalytics.googleapis.com/v2/reports";

/// Credential slot in the manifest.
const SLOT: &str = "user";

/// The id of an account whose token says which channel it is for.
const MINE: &str = "mine";

/// Metrics that are collected: the name in the catalogue, and the platform's name.
const METRICS: [(&str, &str); 9] = [
    ("account_views", "views"),
    ("engaged_views", "engagedViews"),
    ("watch_time", "estimatedMinutesWatched"),
    ("average_view_duration", "averageViewDuration"),
    ("followers_gained", "subscribersGained"),
    ("followers_lost", "subscribersLost"),
    ("likes_received", "likes"),
    ("comments_received", "comments"),
    ("shares_received", "shares"),
];

/// Metrics by country: the name in the catalogue, and the platform's name.
const COUNTRY_METRICS: [(&str, &str); 2] =
    [("views_by_country", "views"), ("watch_time_by_country", "estimatedMinutesWatched")];

/// The connector for YouTube Analytics.
#[derive(Debug)]
pub struct YouTubeAnalytics;

impl Connector for YouTubeAnalytics {
    async fn check(http: &Http, account: Account) -> Result<String, FetchError> {
        let stop = Stop::default();
        collect::Api::new(http, &account, &stop).probe().await?;
        // The API has no titles.
        Ok(account.platform_id)
    }

    async fn fetch(http: &Http, accounts: Vec<Account>, context: Context) -> BatchResult {
        collect::batch(http, accounts, &context).await
    }

    fn normalize(document: Document) -> Result<Snapshot, String> {
        normalize::snapshot(&document)
    }
}

backline_sdk::export_connector!(YouTubeAnalytics);
