//! The operator's input: the import file of the artists, keys, clients and tokens.

use p256::ecdsa::SigningKey;
use p256::pkcs8::{EncodePrivateKey as _, LineEnding};
use serde::Serialize;

use super::World;
use crate::ids::{self, mix};

/// A secret in the form that `backline credentials set` takes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Credential {
    /// Name of the platform in the host.
    pub platform: &'static str,
    /// Credential slot in the connector's manifest.
    pub slot: &'static str,
    /// The account's id on the platform; absent for the operator's credentials.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// The secret, as plain text or JSON.
    pub value: String,
}

impl World {
    pub(super) fn secret(&self, what: &str, len: usize) -> String {
        (0..)
            .map(|word| format!("{:016x}", mix(ids::mix_text(self.seed, what), &[word])))
            .take(len / 16 + 1)
            .collect::<String>()[..len]
            .to_owned()
    }

    /// API key for YouTube.
    #[must_use]
    pub fn youtube_api_key(&self) -> String {
        format!("AIzaSy{}", self.secret("youtube key", 33))
    }

    /// Client id for Spotify.
    #[must_use]
    pub fn spotify_client_id(&self) -> String {
        self.secret("spotify id", 32)
    }

    /// Client secret for Spotify.
    #[must_use]
    pub fn spotify_client_secret(&self) -> String {
        self.secret("spotify secret", 32)
    }

    /// Client key for TikTok.
    #[must_use]
    pub fn tiktok_client_key(&self) -> String {
        format!("aw{}", self.secret("tiktok key", 16))
    }

    /// Client secret for TikTok.
    #[must_use]
    pub fn tiktok_client_secret(&self) -> String {
        self.secret("tiktok secret", 32)
    }

    /// Team id for Apple Music.
    #[must_use]
    pub fn apple_team_id(&self) -> String {
        self.secret("apple team", 10).to_uppercase()
    }

    /// Key id for Apple Music.
    #[must_use]
    pub fn apple_key_id(&self) -> String {
        self.secret("apple key", 10).to_uppercase()
    }

    /// Private key for Apple Music, in PKCS#8 PEM.
    #[must_use]
    pub fn apple_private_key_pem(&self) -> String {
        let pem = self.signing_key.to_pkcs8_pem(LineEnding::LF).expect("a key of the curve can be written");
        pem.to_string()
    }

    pub(crate) fn apple_signing_key(&self) -> &SigningKey {
        &self.signing_key
    }

    /// All credentials that do not belong to one artist.
    #[must_use]
    pub fn operator_credentials(&self) -> Vec<Credential> {
        let entry = |platform, slot, value| Credential { platform, slot, account: None, value };
        let client =
            |id: String, secret: String| serde_json::json!({ "client_id": id, "client_secret": secret }).to_string();
        let apple = serde_json::json!({
            "team_id": self.apple_team_id(),
            "key_id": self.apple_key_id(),
            "private_key_pem": self.apple_private_key_pem(),
        });
        vec![
            entry("youtube", "app", self.youtube_api_key()),
            entry("spotify", "app", client(self.spotify_client_id(), self.spotify_client_secret())),
            entry("tiktok", "user", client(self.tiktok_client_key(), self.tiktok_client_secret())),
            entry("apple_music", "app", apple.to_string()),
        ]
    }

    /// The credentials of one artist's accounts.
    #[must_use]
    pub fn artist_credentials(&self, index: u32) -> Vec<Credential> {
        let artist = self.artist(index);
        let entry = |platform, account, value| Credential { platform, slot: "user", account: Some(account), value };
        let tiktok = serde_json::json!({ "refresh_token": artist.tiktok_refresh_token });
        vec![
            entry("instagram", artist.instagram_user_id, artist.instagram_token),
            entry("tiktok", artist.tiktok_open_id, tiktok.to_string()),
        ]
    }

    /// Header line of the import file.
    pub(crate) const CSV_HEADER: &'static str = "id,name,timezone,subscription_status,data_collection_enabled,\
         instagram_token,instagram_user_id,spotify_artist_id,youtube_channel_id,tiktok_username,tiktok_open_id,\
         tiktok_access_token,tiktok_refresh_token,apple_music_artist_id\n";

    /// An artist's line in the import file, with its line break.
    pub(crate) fn csv_line(&self, index: u32) -> String {
        let artist = self.artist(index);
        let fields = [
            artist.id.to_string(),
            artist.name,
            artist.timezone,
            "active".to_owned(),
            "true".to_owned(),
            artist.instagram_token,
            artist.instagram_user_id,
            artist.spotify_artist_id,
            artist.youtube_channel_id,
            artist.tiktok_username,
            artist.tiktok_open_id,
            artist.tiktok_access_token,
            artist.tiktok_refresh_token,
            artist.apple_music_id,
        ];
        fields.join(",") + "\n"
    }

    /// The import file of all artists.
    #[must_use]
    pub fn artists_csv(&self) -> String {
        let mut csv = Self::CSV_HEADER.to_owned();
        for index in 0..self.artists {
            csv.push_str(&self.csv_line(index));
        }
        csv
    }
}
