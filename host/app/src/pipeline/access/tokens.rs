//! Tokens of the HTTP API: made, listed, revoked, and recognised.
//!
//! A token is `backline_`, its id and 32 random bytes, both in hexadecimal, with `_` between them. It is shown once;
//! what is stored is the SHA-256 digest of the random bytes' text.

use std::hint::black_box;

use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;

use crate::pipeline::error::{Classified, ErrorClass};
use backline_gateway::secrets::SecretText;
use backline_model::clock::Clock;
use backline_model::{ApiToken, Digest, Role, Tenant, TokenId, TokenState};
use backline_store::{Scope, Store, StoreError};

/// What every token begins with, so that a search for leaked secrets finds it.
const PREFIX: &str = "backline_";

/// Longest name of a token, in characters.
const NAME_CHARACTERS_MAX: usize = 100;

/// How precisely the last use of a token is recorded: a write for each request would cost more than the request.
const USED_WITHIN: TimeDelta = TimeDelta::minutes(1);

/// Why a token was not made, listed or revoked.
#[derive(Debug, thiserror::Error)]
pub enum ApiTokenError {
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The name is not valid.
    #[error("a token's name has 1 to {NAME_CHARACTERS_MAX} characters")]
    Name,
    /// The token would never be accepted.
    #[error("the token would have expired at {0}; give a future time")]
    Expired(DateTime<Utc>),
}

impl Classified for ApiTokenError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Store(error) => error.class(),
            Self::Name | Self::Expired(_) => ErrorClass::Refused,
        }
    }
}

/// A token to be made.
#[derive(Clone, Debug)]
pub struct NewToken {
    /// Name that tells it from others; it names the caller in the log.
    pub name: String,
    /// What it allows.
    pub role: Role,
    /// Whose rows it reaches; none means those of all tenants.
    pub tenant: Option<Tenant>,
    /// From when on it is refused; none means never.
    pub expires_at: Option<DateTime<Utc>>,
}

/// A caller whose token was recognised. Only [`Tokens`] makes one.
#[derive(Clone, Debug)]
pub struct Caller {
    token: ApiToken,
}

impl Caller {
    /// The token that it showed.
    #[must_use]
    pub fn token(&self) -> &ApiToken {
        &self.token
    }

    /// Whose rows it may touch.
    #[must_use]
    pub fn scope(&self) -> Scope {
        self.token.tenant.clone().map_or_else(Scope::all_tenants, Scope::tenant)
    }

    /// Why it may not do something that takes a role; none where it may. What is about all tenants, no token of one
    /// reaches.
    #[must_use]
    pub fn refusal(&self, role: Role, is_about_all_tenants: bool) -> Option<String> {
        if self.token.role < role {
            let (needed, given) = (role.as_str(), self.token.role.as_str());
            return Some(format!("this takes a token of the role {needed}; the given one's is {given}"));
        }
        let tenant = self.token.tenant.as_ref().filter(|_| is_about_all_tenants)?;
        Some(format!("this is about all tenants, and the given token is for the tenant {tenant} alone"))
    }
}

/// The tokens of a database. Cloning shares it.
#[derive(Clone)]
pub struct Tokens {
    store: Store,
    clock: Clock,
}

impl Tokens {
    /// The tokens of a database that is open.
    #[must_use]
    pub fn new(store: Store, clock: Clock) -> Self {
        Self { store, clock }
    }

    /// Makes a token. Its text is returned here and never again.
    ///
    /// # Errors
    /// When its name is not valid or its time is over already, or the database fails.
    pub async fn create(&self, new: NewToken) -> Result<(ApiToken, SecretText), ApiTokenError> {
        let (now, name) = (self.clock.now(), new.name.trim().to_owned());
        if name.is_empty() || name.chars().count() > NAME_CHARACTERS_MAX {
            return Err(ApiTokenError::Name);
        }
        if let Some(over) = new.expires_at.filter(|expires| *expires <= now) {
            return Err(ApiTokenError::Expired(over));
        }
        let token = ApiToken {
            id: TokenId::generate(),
            name,
            role: new.role,
            tenant: new.tenant,
            created_at: now,
            expires_at: new.expires_at,
            last_used_at: None,
            revoked_at: None,
        };
        let secret = SecretText::new(Digest(rand::random()).to_string());
        self.store.token_add(&Scope::all_tenants(), &token, digest_of(secret.expose())).await?;
        let text = SecretText::new(format!("{PREFIX}{}_{}", token.id.0.simple(), secret.expose()));
        Ok((token, text))
    }

    /// Every token, also those that are not in force any more.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn list(&self) -> Result<Vec<ApiToken>, ApiTokenError> {
        Ok(self.store.tokens_list(&Scope::all_tenants()).await?)
    }

    /// Revokes a token: from now on no host accepts it.
    ///
    /// # Errors
    /// When there is no such token, or the database fails.
    pub async fn revoke(&self, id: TokenId) -> Result<ApiToken, ApiTokenError> {
        Ok(self.store.token_revoke(&Scope::all_tenants(), id, self.clock.now()).await?)
    }

    /// Whose token this is; none where it is not one, has expired or was revoked. The database is asked each time, so
    /// that a revoked token is refused at once, on every host.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn recognise(&self, text: &str) -> Result<Option<Caller>, StoreError> {
        let Some((id, secret)) = parts(text) else { return Ok(None) };
        let Some((token, digest)) = self.store.token_get(id).await? else { return Ok(None) };
        let now = self.clock.now();
        if !is_same(&digest_of(secret), &digest) || token.state(now) != TokenState::Active {
            return Ok(None);
        }
        let fresh = now - USED_WITHIN;
        // A use in the future was recorded by a clock that was ahead.
        if token.last_used_at.is_none_or(|used| used < fresh || used > now + USED_WITHIN)
            && let Err(error) = self.store.token_use(id, now, fresh).await
        {
            // A database that only reads still answers.
            tracing::debug!(%error, "the use of a token was not recorded");
        }
        Ok(Some(Caller { token }))
    }
}

impl Tokens {
    /// The id in a token's text; none where it is no such text. Whether there is such a token is not looked at.
    #[must_use]
    pub fn id_in(text: &str) -> Option<TokenId> {
        parts(text).map(|(id, _)| id)
    }

    /// Whether the token of a caller that was recognised before is still in force.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn is_in_force(&self, caller: &Caller) -> Result<bool, StoreError> {
        Ok(self.in_force(caller.token.id).await?.is_some())
    }

    /// The caller of a token whose secret was proved before, as the token is now; none where it is not in force.
    ///
    /// # Errors
    /// When the database fails.
    pub(super) async fn in_force(&self, id: TokenId) -> Result<Option<Caller>, StoreError> {
        let found = self.store.token_get(id).await?.map(|(token, _)| token);
        Ok(found.filter(|token| token.state(self.clock.now()) == TokenState::Active).map(|token| Caller { token }))
    }
}

/// The id and the secret in a token's text.
fn parts(text: &str) -> Option<(TokenId, &str)> {
    let (id, secret) = text.strip_prefix(PREFIX)?.split_once('_')?;
    Some((TokenId(Uuid::try_parse(id).ok()?), secret))
}

fn digest_of(secret: &str) -> Digest {
    Digest::of(secret.as_bytes())
}

/// Compares in a time that does not depend on where the digests differ.
pub(crate) fn is_same(one: &Digest, other: &Digest) -> bool {
    let differing = one.0.iter().zip(&other.0).fold(0, |bits, (one, other)| black_box(bits | (one ^ other)));
    differing == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_its_id_and_its_secret() {
        let id = TokenId::generate();
        assert_eq!(parts(&format!("backline_{}_abc", id.0.simple())), Some((id, "abc")));
        assert_eq!(Tokens::id_in(&format!("backline_{}_abc", id.0.simple())), Some(id));
        assert_eq!(Tokens::id_in("abc"), None);
        for text in ["", "backline_", "backline_x_abc", "other_018f4e6a7c1d7b3a9c553f1d2a4b5c6d_abc", "abc"] {
            assert_eq!(parts(text), None, "'{text}'");
        }
    }

    #[test]
    fn a_refusal_says_which_role_or_reach_a_token_lacks() {
        let caller = |role, tenant: Option<&str>| Caller {
            token: ApiToken {
                id: TokenId::generate(),
                name: "test".to_owned(),
                role,
                tenant: tenant.map(|name| Tenant::new(name).expect("a name")),
                created_at: DateTime::UNIX_EPOCH,
                expires_at: None,
                last_used_at: None,
                revoked_at: None,
            },
        };
        let operator = caller(Role::Operator, None);
        assert_eq!(operator.refusal(Role::Viewer, true), None);
        assert_eq!(operator.refusal(Role::Operator, true), None);
        let refused = operator.refusal(Role::Admin, false).expect("refused");
        assert_eq!(refused, "this takes a token of the role admin; the given one's is operator");
        let of_label = caller(Role::Admin, Some("label"));
        assert_eq!(of_label.refusal(Role::Admin, false), None);
        assert!(of_label.refusal(Role::Viewer, true).expect("refused").ends_with("for the tenant label alone"));
    }

    #[test]
    fn digests_are_the_same_only_if_every_bit_is() {
        let one = Digest::of(b"one");
        assert!(is_same(&one, &Digest::of(b"one")));
        for place in 0..32 {
            let mut other = one;
            other.0[place] ^= 1;
            assert!(!is_same(&one, &other), "byte {place}");
        }
    }
}
