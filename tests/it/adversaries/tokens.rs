//! Token endpoints that attack the host with what they grant.

use backline::config::Config;
use backline_gateway::secrets::Secret;
use backline_gateway::{Gateway, TokenError};
use backline_model::clock::Clock;
use backline_model::manifest::{CredentialKind, CredentialSlot, Inject, Owner};

use super::noon;

/// One behaviour of a token endpoint. `tests/it/adversaries/server.rs` has what it answers.
pub struct Token {
    pub name: &'static str,
    /// What stops it.
    pub bound: &'static str,
    /// What the host makes of it.
    grants: Grants,
}

/// What comes of a refresh.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Grants {
    /// Nothing: the old secret stays, and the refresh is tried later.
    Nothing,
    /// A token without a time at which it expires.
    WithoutEnd,
    /// A token that has expired already.
    Expired,
}

const fn token(name: &'static str, bound: &'static str, grants: Grants) -> Token {
    Token { name, bound, grants }
}

pub static TOKENS: [Token; 14] = [
    token("token-of-percents", "characters of RFC 6750", Grants::Nothing),
    token("token-of-backslashes", "characters of RFC 6750", Grants::Nothing),
    token("token-with-a-line", "characters of RFC 6750", Grants::Nothing),
    token("token-with-a-blank", "characters of RFC 6750", Grants::Nothing),
    token("token-too-long", "8 KiB of a token", Grants::Nothing),
    token("token-too-short", "8 bytes of a token", Grants::Nothing),
    token("token-missing", "a token is text", Grants::Nothing),
    token("token-lasts-for-ever", "ten years of a token", Grants::WithoutEnd),
    token("token-lasts-a-negative-time", "a lifetime ends now or later", Grants::Expired),
    token("token-page-of-html", "an answer is JSON", Grants::Nothing),
    token("token-redirects", "no redirects of token endpoints", Grants::Nothing),
    token("token-without-end", "`gateway.body_bytes_max`", Grants::Nothing),
    token("token-never-answers", "`gateway.request_timeout_ms`", Grants::Nothing),
    token("token-repeats-the-secret", "errors are searched for secrets", Grants::Nothing),
];

/// Names of all behaviours.
pub fn names() -> impl Iterator<Item = &'static str> {
    TOKENS.iter().map(|token| token.name)
}

/// Asks each endpoint for a token, and returns what is not as it should be.
pub async fn attack(config: &Config) -> Vec<String> {
    let (gateway, _demands) =
        Gateway::new(config.gateway.clone(), Clock::fixed(noon())).expect("a valid configuration");
    let gateway = &gateway;
    let asked = TOKENS.iter().map(|token| async move {
        let found = granted(gateway.refresh(&slot(token.name), None, &client()).await);
        (found != Ok(token.grants)).then(|| format!("{}: expected {:?}, and it is {found:?}", token.name, token.grants))
    });
    futures::future::join_all(asked).await.into_iter().flatten().collect()
}

fn granted(refreshed: Result<Secret, TokenError>) -> Result<Grants, String> {
    match refreshed {
        Ok(Secret::ClientCredentials { access: Some(access), .. }) if access.expires_at.is_none() => {
            Ok(Grants::WithoutEnd)
        }
        Ok(Secret::ClientCredentials { access: Some(access), .. }) if access.expires_at == Some(noon()) => {
            Ok(Grants::Expired)
        }
        Ok(_) => Err("it granted a token".to_owned()),
        Err(error) if error.to_string().contains("canary") => Err("its error repeats a secret".to_owned()),
        Err(
            TokenError::Unavailable(_)
            | TokenError::RateLimited { .. }
            | TokenError::Refused(_)
            | TokenError::Misconfigured(_),
        ) => Ok(Grants::Nothing),
        Err(error) => Err(error.to_string()),
    }
}

fn slot(name: &str) -> CredentialSlot {
    CredentialSlot {
        slot: "app".to_owned(),
        kind: CredentialKind::Oauth2ClientCredentials,
        owner: Owner::Operator,
        inject: Inject::Bearer,
        hosts: vec!["https://good.attacks.test".parse().expect("an origin")],
        token_url: Some(format!("https://{name}.attacks.test/token").parse().expect("a URL")),
        client_id_param: "client_id".to_owned(),
        description: String::new(),
    }
}

fn client() -> Secret {
    Secret::ClientCredentials {
        client_id: "client-1".into(),
        client_secret: "canary-client-secret".into(),
        access: None,
    }
}
