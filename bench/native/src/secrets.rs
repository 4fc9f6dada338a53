//! The operator's secrets: the API key as it is, Spotify's token by one request, Apple's token signed here.

use anyhow::{Context as _, Result};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use p256::ecdsa::signature::Signer as _;
use p256::ecdsa::{Signature, SigningKey};
use p256::pkcs8::DecodePrivateKey as _;
use serde::Deserialize;
use serde_json::{Value as Json, json};

use crate::client::Client;

/// Lifetime of the token for Apple Music, in seconds.
const APPLE_TOKEN_SECONDS: i64 = 1_200;

/// What the operator's requests carry.
pub(crate) struct Secrets {
    pub(crate) youtube_key: String,
    pub(crate) spotify_token: String,
    pub(crate) apple_token: String,
}

#[derive(Deserialize)]
struct SpotifyToken {
    access_token: String,
}

impl Secrets {
    /// Makes them from the simulator's credentials.
    ///
    /// # Errors
    /// If one is missing or not as expected, or the token is refused.
    pub(crate) async fn of(credentials: &str, client: &Client) -> Result<Self> {
        let all: Vec<Json> = serde_json::from_str(credentials).context("the credentials are no JSON list")?;
        let of = |platform: &str| -> Result<Json> {
            let is_it = |entry: &&Json| entry["platform"] == platform && entry["account"].is_null();
            let value = all.iter().find(is_it).map(|entry| entry["value"].clone());
            value.with_context(|| format!("there is no credential of the operator for {platform}"))
        };
        let object = |platform: &str| -> Result<Json> {
            match of(platform)? {
                Json::String(text) => serde_json::from_str(&text).with_context(|| format!("{platform}: no object")),
                value => Ok(value),
            }
        };
        let youtube_key = of("youtube")?.as_str().context("the key for youtube is no text")?.to_owned();
        let spotify = object("spotify")?;
        let form = format!(
            "grant_type=client_credentials&client_id={}&client_secret={}",
            text(&spotify, "client_id")?,
            text(&spotify, "client_secret")?
        );
        let token: SpotifyToken = client.post("accounts.spotify.com", "/api/token", form).await?;
        let apple_token = apple_token(&object("apple_music")?)?;
        Ok(Self { youtube_key, spotify_token: token.access_token, apple_token })
    }
}

fn text<'a>(object: &'a Json, name: &str) -> Result<&'a str> {
    object[name].as_str().with_context(|| format!("the credential has no {name}"))
}

fn apple_token(secret: &Json) -> Result<String> {
    let key = SigningKey::from_pkcs8_pem(text(secret, "private_key_pem")?).ok().context("the key is no P-256 key")?;
    let now = now();
    let header = json!({ "alg": "ES256", "kid": text(secret, "key_id")? });
    let claims = json!({ "iss": text(secret, "team_id")?, "iat": now, "exp": now + APPLE_TOKEN_SECONDS });
    let part = |json: &Json| URL_SAFE_NO_PAD.encode(json.to_string());
    let signed = format!("{}.{}", part(&header), part(&claims));
    let signature: Signature = key.sign(signed.as_bytes());
    Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature.to_bytes())))
}

/// Unix seconds.
#[expect(clippy::disallowed_methods, reason = "this is not the host, whose time is an argument")]
fn now() -> i64 {
    chrono::Utc::now().timestamp()
}
