//! Renews secrets: token exchange, refresh, and developer tokens that the host signs itself.
//!
//! Only the host sends requests to token endpoints, with the same address check, routes, limits and retries as all
//! others. Redirects are not followed: an operator should check a token endpoint that has moved.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use chrono::{DateTime, TimeDelta, Utc};
use p256::ecdsa::signature::Signer as _;
use p256::ecdsa::{Signature, SigningKey};
use p256::pkcs8::DecodePrivateKey as _;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER};
use serde::Deserialize;
use serde_json::{Value as Json, json};
use tokio::time::Instant;
use url::Url;
use url::form_urlencoded::{Serializer, byte_serialize};
use zeroize::Zeroizing;

use super::Core;
use super::error::{SendError, TokenError};
use super::retry::retry_after;
use super::secret_matcher::SecretMatcher;
use super::send::deliver;
use super::wire::{WireRequest, WireResponse};
use crate::secrets::{AccessToken, INSTAGRAM_TOKEN_AGE_MIN, SECRET_BYTES_MIN, Secret, SecretText};
use backline_model::manifest::{CredentialKind, CredentialSlot, Method};
use backline_model::origin::Origin;
use backline_model::weakened::{Bound, off};

/// Longest wait for a renewed token, including retries.
const REFRESH_TIMEOUT: Duration = Duration::from_secs(60);

/// Lifetime of a developer token that the host signs. Short, since signing again costs nothing.
const APPLE_TOKEN_LIFE: TimeDelta = TimeDelta::hours(12);

/// Longest lifetime of a developer token that Apple accepts: six months.
const APPLE_TOKEN_LIFE_MAX: TimeDelta = TimeDelta::seconds(15_777_000);

const _: () = assert!(APPLE_TOKEN_LIFE.num_seconds() <= APPLE_TOKEN_LIFE_MAX.num_seconds());

/// Longest explanation of a platform that is passed on, in characters.
const EXPLANATION_CHARS_MAX: usize = 200;

/// Longest explanation that is searched for secrets, in bytes. A longer one is not repeated: of one that was cut before
/// it was searched, the end could be a part of a secret.
const EXPLANATION_SEARCHED_BYTES_MAX: usize = 16 * 1024;

/// Longest token that is accepted, in bytes. Platforms send up to about 2,000.
const TOKEN_BYTES_MAX: usize = 8 * 1024;

/// Characters of a token besides letters and digits: those of RFC 6750 (`b64token`), `|` of Meta's app tokens, and `!`
/// and `*`, which TikTok's tokens have.
const TOKEN_PUNCTUATION: &[u8] = b"-._~+/=|!*";

/// Longest lifetime of a token that is believed, in seconds: ten years. Platforms grant an hour to a year.
const TOKEN_LIFE_SECONDS_MAX: i64 = 10 * 366 * 24 * 3_600;

/// Renews a secret, by its kind.
pub(super) async fn refresh(
    core: &Core,
    slot: &CredentialSlot,
    client: Option<&Secret>,
    secret: &Secret,
) -> Result<Secret, TokenError> {
    let values = secret.values().into_iter().chain(client.map(Secret::values).unwrap_or_default());
    let values = values.map(SecretText::expose).filter(|_| !off(Bound::Redaction));
    let secrets = SecretMatcher::new(values);
    let fresh = match (slot.kind, secret) {
        (CredentialKind::ApiKey | CredentialKind::Bearer, _) => Err(TokenError::NotRefreshable(slot.kind)),
        (CredentialKind::Oauth2ClientCredentials, Secret::ClientCredentials { client_id, client_secret, .. }) => {
            exchange_client_credentials(core, slot, client_id, client_secret, &secrets).await
        }
        (CredentialKind::Oauth2RefreshToken, Secret::RefreshToken { refresh_token, refresh_expires_at, .. }) => {
            exchange_refresh_token(core, slot, client, refresh_token, *refresh_expires_at, &secrets).await
        }
        (CredentialKind::Oauth2RefreshToken, Secret::OauthClient { .. }) => Err(TokenError::NotRefreshable(slot.kind)),
        (CredentialKind::InstagramLongLived, Secret::InstagramLongLived { token, obtained_at, expires_at }) => {
            refresh_instagram(core, slot, token, *obtained_at, *expires_at, &secrets).await
        }
        (CredentialKind::AppleDeveloperToken, Secret::AppleDeveloperToken { team_id, key_id, private_key_pem, .. }) => {
            sign_apple(core.clock.now(), team_id, key_id, private_key_pem)
        }
        (kind, _) => Err(TokenError::Misconfigured(format!(
            "the secret stored for the slot {} is not of the kind {kind:?} that its manifest declares; set it again",
            slot.slot
        ))),
    };
    fresh.map_err(|error| error.redacted(&secrets))
}

async fn exchange_client_credentials(
    core: &Core,
    slot: &CredentialSlot,
    client_id: &SecretText,
    client_secret: &SecretText,
    secrets: &SecretMatcher,
) -> Result<Secret, TokenError> {
    let mut form = Form::new("client_credentials");
    let mut headers = HeaderMap::new();
    if slot.client_id_param == "client_id" {
        headers.insert(AUTHORIZATION, basic(client_id, client_secret)?);
    } else {
        // An endpoint with its own name for the client id does not follow RFC 6749, and expects both values in the
        // form.
        form.push(&slot.client_id_param, client_id.expose());
        form.push("client_secret", client_secret.expose());
    }
    let granted = post_form(core, slot, headers, form, secrets).await?;
    let access = Some(granted.access(core.clock.now()));
    Ok(Secret::ClientCredentials { client_id: client_id.clone(), client_secret: client_secret.clone(), access })
}

async fn exchange_refresh_token(
    core: &Core,
    slot: &CredentialSlot,
    client: Option<&Secret>,
    refresh_token: &SecretText,
    refresh_expires_at: Option<DateTime<Utc>>,
    secrets: &SecretMatcher,
) -> Result<Secret, TokenError> {
    let Some(Secret::OauthClient { client_id, client_secret }) = client else {
        return Err(TokenError::Misconfigured(format!(
            "the slot {} has no OAuth client; store the operator's with `backline credentials set`, without an account",
            slot.slot
        )));
    };
    if let Some(expired_at) = refresh_expires_at.filter(|expires_at| *expires_at <= core.clock.now()) {
        return Err(TokenError::Expired(expired_at));
    }
    let mut form = Form::new("refresh_token");
    form.push("refresh_token", refresh_token.expose());
    form.push(&slot.client_id_param, client_id.expose());
    form.push("client_secret", client_secret.expose());
    let granted = post_form(core, slot, HeaderMap::new(), form, secrets).await?;
    let now = core.clock.now();
    let access = Some(granted.access(now));
    Ok(Secret::RefreshToken {
        // If the platform rotates it, the old one is invalid from here on.
        refresh_expires_at: granted.refresh_expires_in.and_then(|seconds| after(now, seconds)).or(refresh_expires_at),
        refresh_token: granted.refresh_token.unwrap_or_else(|| refresh_token.clone()),
        access,
    })
}

async fn refresh_instagram(
    core: &Core,
    slot: &CredentialSlot,
    token: &SecretText,
    obtained_at: Option<DateTime<Utc>>,
    expires_at: Option<DateTime<Utc>>,
    secrets: &SecretMatcher,
) -> Result<Secret, TokenError> {
    let now = core.clock.now();
    if let Some(expired_at) = expires_at.filter(|expires_at| *expires_at <= now) {
        return Err(TokenError::Expired(expired_at));
    }
    if let Some(usable_at) = obtained_at.map(|at| at + INSTAGRAM_TOKEN_AGE_MIN).filter(|usable_at| now < *usable_at) {
        return Err(TokenError::TooYoung(usable_at));
    }
    let mut url = token_url(slot)?;
    url.query_pairs_mut().append_pair("grant_type", "ig_refresh_token").append_pair("access_token", token.expose());
    let granted = ask(core, Method::Get, url, HeaderMap::new(), None, secrets).await?;
    let now = core.clock.now();
    Ok(Secret::InstagramLongLived {
        expires_at: granted.expires_in.and_then(|seconds| after(now, seconds)),
        token: granted.access_token,
        obtained_at: Some(now),
    })
}

/// Signs a developer token: a JWT with ES256 (RFC 7518, 3.4). Apple has no endpoint for it.
fn sign_apple(
    now: DateTime<Utc>,
    team_id: &SecretText,
    key_id: &SecretText,
    private_key_pem: &SecretText,
) -> Result<Secret, TokenError> {
    // The parser's own message may quote the key.
    let key = SigningKey::from_pkcs8_pem(private_key_pem.expose()).map_err(|_| {
        TokenError::Misconfigured("the private key is not a P-256 key in PKCS#8, as Apple's .p8 file has it".into())
    })?;
    let expires_at = now + APPLE_TOKEN_LIFE;
    let header = json!({ "alg": "ES256", "kid": key_id.expose() });
    let claims = json!({ "iss": team_id.expose(), "iat": now.timestamp(), "exp": expires_at.timestamp() });
    let part = |json: &Json| URL_SAFE_NO_PAD.encode(json.to_string());
    let signed = format!("{}.{}", part(&header), part(&claims));
    let signature: Signature = key.sign(signed.as_bytes());
    let token = SecretText::new(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature.to_bytes())));
    Ok(Secret::AppleDeveloperToken {
        team_id: team_id.clone(),
        key_id: key_id.clone(),
        private_key_pem: private_key_pem.clone(),
        access: Some(AccessToken { token, obtained_at: now, expires_at: Some(expires_at) }),
    })
}

/// A form that is wiped from memory.
struct Form(Zeroizing<String>);

impl Form {
    fn new(grant_type: &str) -> Self {
        Self(Zeroizing::new(format!("grant_type={grant_type}")))
    }

    fn push(&mut self, name: &str, value: &str) {
        let pair = Zeroizing::new(Serializer::new(String::new()).append_pair(name, value).finish());
        self.0.push('&');
        self.0.push_str(&pair);
    }
}

/// Client id and secret as in RFC 6749, 2.3.1: both form-encoded before they are joined.
fn basic(client_id: &SecretText, client_secret: &SecretText) -> Result<HeaderValue, TokenError> {
    let encoded = |text: &SecretText| byte_serialize(text.expose().as_bytes()).collect::<String>();
    let pair = Zeroizing::new(format!("{}:{}", encoded(client_id), encoded(client_secret)));
    let mut value = HeaderValue::from_str(&format!("Basic {}", STANDARD.encode(pair.as_bytes())))
        .map_err(|_| TokenError::Misconfigured("the client id or secret can't be sent in a header".into()))?;
    value.set_sensitive(true);
    Ok(value)
}

fn token_url(slot: &CredentialSlot) -> Result<Url, TokenError> {
    slot.token_url
        .clone()
        .ok_or_else(|| TokenError::Misconfigured(format!("the manifest's credential {} has no token_url", slot.slot)))
}

async fn post_form(
    core: &Core,
    slot: &CredentialSlot,
    mut headers: HeaderMap,
    form: Form,
    secrets: &SecretMatcher,
) -> Result<Granted, TokenError> {
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
    ask(core, Method::Post, token_url(slot)?, headers, Some(form.0.as_bytes().to_vec()), secrets).await
}

async fn ask(
    core: &Core,
    method: Method,
    mut url: Url,
    mut headers: HeaderMap,
    body: Option<Vec<u8>>,
    secrets: &SecretMatcher,
) -> Result<Granted, TokenError> {
    let misconfigured = |problem: String| TokenError::Misconfigured(problem);
    let origin = Origin::of(&url).map_err(|error| misconfigured(error.to_string()))?;
    origin.name_in(&mut url);
    let destination = core.addresses.destination(&origin).map_err(|error| misconfigured(error.to_string()))?;
    headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
    let request = WireRequest { method, url, headers, body, destination };
    let answer =
        deliver(core, &request, &origin, Instant::now() + REFRESH_TIMEOUT, None).await.map_err(
            |error| match error {
                SendError::Denied(why) => TokenError::Misconfigured(why),
                other => TokenError::Unavailable(format!("{origin}: {other}")),
            },
        )?;
    read(&answer, core.clock.now(), secrets)
}

/// What a token endpoint granted (RFC 6749, 5.1, and the platforms' additions).
#[derive(Deserialize)]
struct Granted {
    access_token: SecretText,
    #[serde(default, deserialize_with = "seconds")]
    expires_in: Option<i64>,
    refresh_token: Option<SecretText>,
    #[serde(default, alias = "refresh_token_expires_in", deserialize_with = "seconds")]
    refresh_expires_in: Option<i64>,
}

impl Granted {
    fn access(&self, now: DateTime<Utc>) -> AccessToken {
        AccessToken {
            token: self.access_token.clone(),
            obtained_at: now,
            expires_at: self.expires_in.and_then(|seconds| after(now, seconds)),
        }
    }
}

/// Seconds as a number, an integral decimal or text: platforms send all three. Anything else is ignored.
fn seconds<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<i64>, D::Error> {
    let value = Json::deserialize(deserializer)?;
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a cast of a float saturates, and `after` refuses what is too far away"
    )]
    Ok(value
        .as_i64()
        .or_else(|| value.as_f64().map(|number| number as i64))
        .or_else(|| value.as_str()?.trim().parse().ok()))
}

/// The end of a lifetime; `None` if it is longer than any that is believed, as if the platform had not said.
fn after(now: DateTime<Utc>, seconds: i64) -> Option<DateTime<Utc>> {
    if off(Bound::TokenLife) {
        return now.checked_add_signed(TimeDelta::try_seconds(seconds)?);
    }
    if seconds > TOKEN_LIFE_SECONDS_MAX {
        tracing::warn!(seconds, "a token endpoint granted a lifetime of more than ten years, which is ignored");
        return None;
    }
    now.checked_add_signed(TimeDelta::try_seconds(seconds.max(0))?)
}

/// Reads a token endpoint's answer. TikTok's errors come with status 200, so the status alone decides nothing.
fn read(answer: &WireResponse, now: DateTime<Utc>, secrets: &SecretMatcher) -> Result<Granted, TokenError> {
    if (200..300).contains(&answer.status)
        && let Ok(granted) = serde_json::from_slice::<Granted>(&answer.body)
        && !granted.access_token.expose().is_empty()
    {
        let tokens = [Some(&granted.access_token), granted.refresh_token.as_ref()];
        if !tokens.into_iter().flatten().all(is_usable) {
            return Err(TokenError::Unavailable(format!(
                "the token granted is shorter than {SECRET_BYTES_MIN} bytes or longer than {TOKEN_BYTES_MAX}, or has \
                 characters that no token has (RFC 6750)"
            )));
        }
        return Ok(granted);
    }
    let wait = answer.headers.get(RETRY_AFTER).and_then(|value| retry_after(value.to_str().ok()?, now));
    Err(refusal(answer.status, wait, &answer.body, secrets))
}

/// Whether a token can be sent and searched for.
fn is_usable(token: &SecretText) -> bool {
    let token = token.expose().as_bytes();
    if off(Bound::TokenForm) {
        return true;
    }
    (SECRET_BYTES_MIN..=TOKEN_BYTES_MAX).contains(&token.len())
        && token.iter().all(|byte| byte.is_ascii_alphanumeric() || TOKEN_PUNCTUATION.contains(byte))
}

/// The meaning of a refusal. Known forms: `{"error": "code", "error_description"}` (RFC 6749), `{"error": {"code",
/// "message"}}` (Graph API) and `{"error_type", "code", "error_message"}` (Instagram's OAuth endpoint). `asked` is the
/// wait of its `Retry-After`.
fn refusal(status: u16, asked: Option<Duration>, body: &[u8], secrets: &SecretMatcher) -> TokenError {
    let json: Json = serde_json::from_slice(body).unwrap_or_default();
    let error = &json["error"];
    let word = error.as_str().or_else(|| json["error_type"].as_str()).unwrap_or_default();
    let code = error["code"].as_i64().or_else(|| json["code"].as_i64());
    let message = [&json["error_description"], &error["message"], &json["error_message"], &json["message"]]
        .into_iter()
        .find_map(Json::as_str)
        .unwrap_or_default();
    let mut text = format!("HTTP {status}");
    if let Some(code) = code {
        text.push_str(&format!(" code {code}"));
    }
    for part in [word, message].into_iter().filter(|part| !part.is_empty()) {
        text.push_str(": ");
        if part.len() > EXPLANATION_SEARCHED_BYTES_MAX {
            text.push_str("an explanation that is too long to be searched for secrets");
            continue;
        }
        // Blanked out before it is cut: a part of a secret would not be found.
        let explained = secrets.blank_text(part);
        text.extend(explained.chars().filter(|c| !c.is_control()).take(EXPLANATION_CHARS_MAX));
    }
    let asked = asked.filter(|asked| !asked.is_zero());
    let limited = |message| TokenError::RateLimited { message, wait: asked.unwrap_or_default() };
    if status == 429 || (status == 503 && asked.is_some()) {
        return limited(text);
    }
    if status >= 500 || error["is_transient"] == true {
        return TokenError::Unavailable(text);
    }
    match (word, code) {
        ("slow_down" | "rate_limit_exceeded", _) => limited(text),
        ("temporarily_unavailable" | "server_error", _) => TokenError::Unavailable(text),
        ("invalid_grant" | "access_denied" | "consent_required" | "interaction_required" | "login_required", _) => {
            TokenError::Refused(text)
        }
        (
            "invalid_client" | "unauthorized_client" | "unsupported_grant_type" | "invalid_scope" | "invalid_request",
            _,
        ) => TokenError::Misconfigured(text),
        // The Graph API: rate limited or transient; the token or its permission is gone; the request itself is wrong.
        (_, Some(4 | 17 | 32 | 613)) => limited(text),
        (_, Some(1 | 2)) => TokenError::Unavailable(text),
        (_, Some(10 | 102 | 190 | 200..=299)) => TokenError::Refused(text),
        (_, Some(100 | 101)) => TokenError::Misconfigured(text),
        // It is not certain that the grant itself is invalid, and reconnecting without need costs the artist's work.
        _ => TokenError::Unavailable(text),
    }
}

#[cfg(test)]
mod tests {
    use p256::ecdsa::VerifyingKey;
    use p256::ecdsa::signature::Verifier as _;
    use p256::pkcs8::{EncodePrivateKey as _, LineEnding};

    use super::*;

    fn class(status: u16, body: &str) -> &'static str {
        match refusal(status, None, body.as_bytes(), &SecretMatcher::new([])) {
            TokenError::Refused(_) => "refused",
            TokenError::Misconfigured(_) => "misconfigured",
            TokenError::Unavailable(_) => "unavailable",
            TokenError::RateLimited { wait: Duration::ZERO, .. } => "rate limited",
            other => panic!("{other}"),
        }
    }

    #[test]
    fn a_refusal_is_read_in_every_shape_the_platforms_send() {
        for (status, body, expected) in [
            (400, r#"{"error":"invalid_grant","error_description":"Token has been revoked."}"#, "refused"),
            (
                200,
                r#"{"error":"invalid_grant","error_description":"Refresh token is invalid or expired.","log_id":"x"}"#,
                "refused",
            ),
            (400, r#"{"error":"invalid_client","error_description":"Invalid client secret"}"#, "misconfigured"),
            (401, r#"{"error":"invalid_client"}"#, "misconfigured"),
            (400, r#"{"error":{"message":"Session has expired","type":"OAuthException","code":190}}"#, "refused"),
            (
                400,
                r#"{"error":{"message":"Application request limit reached","type":"OAuthException","code":4}}"#,
                "rate limited",
            ),
            (400, r#"{"error":{"message":"An unexpected error","code":999,"is_transient":true}}"#, "unavailable"),
            (400, r#"{"error":{"message":"Invalid parameter","type":"IGApiException","code":100}}"#, "misconfigured"),
            (400, r#"{"error_type":"OAuthException","code":190,"error_message":"Invalid token"}"#, "refused"),
            (400, r#"{"error":"temporarily_unavailable"}"#, "unavailable"),
            (503, "<html>", "unavailable"),
            (429, r#"{"error":"invalid_grant"}"#, "rate limited"),
            (400, r#"{"error":"slow_down"}"#, "rate limited"),
            (403, "", "unavailable"),
            (200, r#"{"access_token":""}"#, "unavailable"),
        ] {
            assert_eq!(class(status, body), expected, "{status} {body}");
        }
    }

    #[test]
    fn a_wait_that_is_asked_for_is_told_where_the_refusal_is_about_the_rate() {
        let hour = Duration::from_secs(3_600);
        let wait = |status, asked| match refusal(status, asked, b"", &SecretMatcher::new([])) {
            TokenError::RateLimited { wait, .. } => Some(wait),
            TokenError::Unavailable(_) => None,
            other => panic!("{other}"),
        };
        for (status, asked, expected) in [
            (429, Some(hour), Some(hour)),
            (429, None, Some(Duration::ZERO)),
            (429, Some(Duration::ZERO), Some(Duration::ZERO)),
            (503, Some(hour), Some(hour)),
            (503, Some(Duration::ZERO), None),
            (503, None, None),
            (500, Some(hour), None),
        ] {
            assert_eq!(wait(status, asked), expected, "{status} {asked:?}");
        }
    }

    #[test]
    fn seconds_are_read_as_the_platforms_write_them() {
        for (text, expected) in
            [("3600", Some(3600)), ("3600.0", Some(3600)), ("\"3600\"", Some(3600)), ("null", None), ("[]", None)]
        {
            let granted: Granted =
                serde_json::from_str(&format!(r#"{{"access_token":"x","expires_in":{text}}}"#)).expect("a grant");
            assert_eq!(granted.expires_in, expected, "{text}");
        }
        let now = DateTime::UNIX_EPOCH;
        assert_eq!(after(now, i64::MAX), None);
        assert_eq!(after(now, -5), Some(now));
        assert_eq!(after(now, 1_000_000_000_000), None, "a year that no database holds");
        assert!(after(now, 5_184_000).is_some());
    }

    #[test]
    fn a_token_has_a_tokens_length_and_characters() {
        for (token, expected) in [
            ("IGQVJ-canary._~+/=token", true),
            ("123456789|canary-app-token", true),
            ("act.canary0123456789!4567.e1", true),
            ("short", false),
            ("canary token", false),
            ("canary\\token", false),
            ("canary%token", false),
            ("canary&token;", false),
            ("canary\u{e9}token", false),
        ] {
            assert_eq!(is_usable(&token.into()), expected, "{token}");
        }
        assert!(is_usable(&"a".repeat(8 * 1024).into()) && !is_usable(&"a".repeat(8 * 1024 + 1).into()));
        assert!(!is_usable(&"%".repeat(65_000).into()));
    }

    #[test]
    fn an_explanation_is_searched_before_it_is_cut() {
        let secrets = SecretMatcher::new(["canary-0123456789-canary"]);
        let body = format!(r#"{{"error":"{}canary-0123456789-canary"}}"#, "x".repeat(195));
        let error = refusal(400, None, body.as_bytes(), &secrets).to_string();
        assert!(!error.contains("cana") && error.contains("xxx[sec"), "{error}");

        // Blanking makes a text shorter, so that its end may be shown.
        let long = format!("canary-{}", "x".repeat(193));
        let secrets = SecretMatcher::new([long.as_str()]);
        for (times, said) in [(21, "[secret][secret]"), (100, "too long to be searched")] {
            let message = long.repeat(times);
            let body = format!(r#"{{"error":"invalid_grant","error_description":"{message}"}}"#);
            let error = refusal(400, None, body.as_bytes(), &secrets).to_string();
            assert!(!error.contains("cana") && error.contains(said), "{error}");
        }
    }

    #[test]
    fn a_developer_token_verifies_with_the_public_key_and_names_what_apple_needs() {
        let key = SigningKey::from_slice(&[7; 32]).expect("a key");
        let pem = key.to_pkcs8_pem(LineEnding::LF).expect("PEM");
        let now: DateTime<Utc> = "2026-11-22T12:00:00Z".parse().expect("a time");
        let secret = sign_apple(now, &"TEAM123456".into(), &"KEY1234567".into(), &pem.as_str().into()).expect("signed");
        let token = secret.injectable(now).expect("a token").expose().to_owned();
        let parts: Vec<&str> = token.split('.').collect();
        let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).expect("base64url");
        let header: Json = serde_json::from_slice(&decode(parts[0])).expect("JSON");
        let claims: Json = serde_json::from_slice(&decode(parts[1])).expect("JSON");
        assert_eq!(header, json!({ "alg": "ES256", "kid": "KEY1234567" }));
        assert_eq!(claims, json!({ "iss": "TEAM123456", "iat": 1_795_348_800, "exp": 1_795_348_800 + 12 * 3600 }));
        let signature = Signature::from_slice(&decode(parts[2])).expect("64 bytes");
        let signed = format!("{}.{}", parts[0], parts[1]);
        VerifyingKey::from(&key).verify(signed.as_bytes(), &signature).expect("a valid signature");
        assert!(!secret.refresh_due(now + TimeDelta::hours(5)) && secret.refresh_due(now + TimeDelta::hours(6)));
    }

    #[test]
    fn an_invalid_key_is_refused_without_repeating_it() {
        let pem = "-----BEGIN PRIVATE KEY-----\ncanary\n-----END PRIVATE KEY-----";
        let error = sign_apple(DateTime::UNIX_EPOCH, &"T".into(), &"K".into(), &pem.into()).expect_err("refused");
        assert!(matches!(&error, TokenError::Misconfigured(_)) && !error.to_string().contains("canary"), "{error}");
    }

    #[test]
    fn a_client_is_sent_as_the_standard_says() {
        let value = basic(&"id:1".into(), &"se cret".into()).expect("a header");
        assert_eq!(STANDARD.decode(&value.as_bytes()["Basic ".len()..]).expect("base64"), b"id%3A1:se+cret");
        assert!(value.is_sensitive());
    }
}
