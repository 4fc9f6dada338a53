//! The requests of job A and what is read from their responses, platform by platform.

use std::collections::HashMap;

use anyhow::{Context as _, Result};
use futures::future::try_join_all;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use tokio::sync::Semaphore;
use uuid::Uuid;

use crate::client::Client;
use crate::secrets::Secrets;
use crate::tables::Row;

/// An account to collect.
#[derive(Clone)]
pub(crate) struct Account {
    pub(crate) id: Uuid,
    pub(crate) artist_id: Uuid,
    pub(crate) platform_id: String,
    /// The artist's own token; empty where the operator's secret is used.
    pub(crate) token: String,
}

/// One platform of job A.
pub(crate) struct Platform {
    pub(crate) name: &'static str,
    /// Accounts of a batch: as many as one request may name, where it may name several.
    pub(crate) batch_size: usize,
    host: &'static str,
}

/// The five platforms. Batches have the sizes of the connectors' manifests.
pub(crate) const PLATFORMS: [Platform; 5] = [
    Platform { name: "youtube", batch_size: 50, host: "youtube.googleapis.com" },
    Platform { name: "spotify", batch_size: 50, host: "api.spotify.com" },
    Platform { name: "apple_music", batch_size: 25, host: "api.music.apple.com" },
    Platform { name: "instagram", batch_size: 50, host: "graph.instagram.com" },
    Platform { name: "tiktok", batch_size: 50, host: "open.tiktokapis.com" },
];

#[derive(Deserialize)]
struct Channels {
    items: Vec<Channel>,
}

#[derive(Deserialize)]
struct Channel {
    id: String,
    statistics: ChannelStatistics,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ChannelStatistics {
    /// Absent where the channel hides it.
    subscriber_count: Option<String>,
    video_count: String,
    view_count: String,
}

#[derive(Deserialize)]
struct SpotifyArtists {
    artists: Vec<SpotifyArtist>,
}

#[derive(Deserialize)]
struct SpotifyArtist {
    id: String,
    followers: Total,
    popularity: f64,
    genres: Vec<String>,
}

#[derive(Deserialize)]
struct Total {
    #[serde(deserialize_with = "whole")]
    total: i64,
}

/// A count, also where the platform writes it as `5.0`.
fn whole<'de, D: Deserializer<'de>>(count: D) -> Result<i64, D::Error> {
    let count = f64::deserialize(count)?;
    #[expect(clippy::cast_possible_truncation, reason = "it is whole, and counts are far below 2^53")]
    if count.fract() == 0.0 { Ok(count as i64) } else { Err(D::Error::custom("a count has decimals")) }
}

#[derive(Deserialize)]
struct AppleArtists {
    data: Vec<AppleArtist>,
}

#[derive(Deserialize)]
struct AppleArtist {
    id: String,
    attributes: AppleAttributes,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AppleAttributes {
    genre_names: Vec<String>,
}

#[derive(Deserialize)]
struct InstagramUser {
    followers_count: i64,
    follows_count: i64,
    media_count: i64,
}

#[derive(Deserialize)]
struct TiktokAnswer {
    data: TiktokData,
}

#[derive(Deserialize)]
struct TiktokData {
    user: TiktokUser,
}

#[derive(Deserialize)]
struct TiktokUser {
    follower_count: i64,
    following_count: i64,
    likes_count: i64,
    video_count: i64,
}

impl Platform {
    /// Fetches the rows of a batch, in the order of its accounts.
    ///
    /// # Errors
    /// If a request fails, or an account is missing in a response.
    pub(crate) async fn fetch(
        &self,
        client: &Client,
        secrets: &Secrets,
        permits: &Semaphore,
        accounts: Vec<Account>,
    ) -> Result<Vec<Row>> {
        if matches!(self.name, "instagram" | "tiktok") {
            return try_join_all(accounts.iter().map(|account| async {
                let _permit = permits.acquire().await?;
                self.single(client, account).await
            }))
            .await;
        }
        let _permit = permits.acquire().await?;
        let mut rows = self.listed(client, secrets, &accounts).await?;
        let row = |account: &Account| {
            let row = rows.remove(&account.platform_id);
            let row = row.with_context(|| format!("{} did not send every account", self.name))?;
            Ok(Row { account_id: account.id, artist_id: account.artist_id, ..row })
        };
        accounts.iter().map(row).collect()
    }

    /// One request for all accounts: rows by the platform's id, without ids of ours.
    async fn listed(&self, client: &Client, secrets: &Secrets, accounts: &[Account]) -> Result<HashMap<String, Row>> {
        let ids = accounts.iter().map(|account| account.platform_id.as_str()).collect::<Vec<_>>().join("%2C");
        match self.name {
            "youtube" => {
                let key = &secrets.youtube_key;
                let path = format!("/youtube/v3/channels?part=snippet%2Cstatistics&id={ids}&maxResults=50&key={key}");
                let channels: Channels = client.get(self.host, &path, "").await?;
                channels.items.into_iter().map(|channel| Ok((channel.id, channel.statistics.row()?))).collect()
            }
            "spotify" => {
                let path = format!("/v1/artists?ids={ids}");
                let found: SpotifyArtists = client.get(self.host, &path, &secrets.spotify_token).await?;
                let row = |artist: SpotifyArtist| {
                    let genres = Some(serde_json::to_string(&artist.genres)?);
                    let (followers, popularity) = (Some(artist.followers.total), Some(artist.popularity));
                    Ok((artist.id, Row { followers, popularity, genres, ..Row::default() }))
                };
                found.artists.into_iter().map(row).collect()
            }
            _ => {
                let path = format!("/v1/catalog/us/artists?ids={ids}");
                let found: AppleArtists = client.get(self.host, &path, &secrets.apple_token).await?;
                let row = |artist: AppleArtist| {
                    let genres = Some(serde_json::to_string(&artist.attributes.genre_names)?);
                    Ok((artist.id, Row { genres, ..Row::default() }))
                };
                found.data.into_iter().map(row).collect()
            }
        }
    }

    /// One request for one account.
    async fn single(&self, client: &Client, account: &Account) -> Result<Row> {
        let ids = Row { account_id: account.id, artist_id: account.artist_id, ..Row::default() };
        if self.name == "instagram" {
            let fields = "user_id%2Cusername%2Cfollowers_count%2Cfollows_count%2Cmedia_count";
            let path = format!("/v25.0/me?fields={fields}&access_token={}", account.token);
            let user: InstagramUser = client.get(self.host, &path, "").await?;
            return Ok(Row {
                followers: Some(user.followers_count),
                following: Some(user.follows_count),
                posts_count: Some(user.media_count),
                ..ids
            });
        }
        let fields = "open_id%2Cdisplay_name%2Cfollower_count%2Cfollowing_count%2Clikes_count%2Cvideo_count";
        let path = format!("/v2/user/info/?fields={fields}");
        let answer: TiktokAnswer = client.get(self.host, &path, &account.token).await?;
        let user = answer.data.user;
        Ok(Row {
            followers: Some(user.follower_count),
            following: Some(user.following_count),
            posts_count: Some(user.video_count),
            extra: format!("{{\"account_likes\":{}}}", user.likes_count),
            ..ids
        })
    }
}

impl ChannelStatistics {
    fn row(&self) -> Result<Row> {
        Ok(Row {
            followers: self.subscriber_count.as_deref().map(str::parse).transpose()?,
            posts_count: Some(self.video_count.parse()?),
            total_views: Some(self.view_count.parse()?),
            ..Row::default()
        })
    }
}
