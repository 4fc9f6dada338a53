//! Backline connector for YouTube: channels, and the videos they published inside the window, from the Data API v3.
//!
//! All data is public and read with the operator's API key. The daily quota is scarce: channels and video statistics
//! are requested 50 at a time across all accounts of a batch, and a channel's uploads are listed again only when its
//! number of videos has changed, otherwise once a week.

mod collect;
mod errors;
mod normalize;
mod uploads;
mod videos;

use backline_sdk::prelude::*;

/// Base URL of the Data API v3.
const API: &str = "https://youtube.googleapis.com/youtube/v3";

/// Credential slot in the manifest.
const SLOT: &str = "app";

/// Maximum number of ids in one `channels.list` or `videos.list` call, and of items on a playlist page.
const IDS_MAX: usize = 50;

/// The connector for YouTube.
#[derive(Debug)]
pub struct YouTube;

impl Connector for YouTube {
    async fn check(http: &Http, account: Account) -> Result<String, FetchError> {
        let (channels, odd) = collect::channels(http, &[account.platform_id.as_str()], "snippet").await?;
        let missing = || if odd > 0 { collect::unread() } else { FetchError::NotFound };
        let channel = channels.get(&account.platform_id).ok_or_else(missing)?;
        text(&channel["snippet"]["title"]).ok_or_else(|| FetchError::Unexpected("the channel has no title".to_owned()))
    }

    async fn fetch(http: &Http, accounts: Vec<Account>, context: Context) -> BatchResult {
        collect::batch(http, accounts, context.window).await
    }

    fn normalize(document: Document) -> Result<Snapshot, String> {
        normalize::snapshot(&document)
    }
}

backline_sdk::export_connector!(YouTube);
