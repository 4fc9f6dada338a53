//! Who may use the HTTP API: tokens, each with a role, and for one tenant or for all.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::ids::{Tenant, TokenId};

/// What a token allows. Each role allows what those before it do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Reads numbers, and whose they are.
    Numbers,
    /// Also reads how their collection went.
    Viewer,
    /// Also starts and cancels runs, retries, decides, switches, sets secrets, and sees where events are sent.
    Operator,
    /// Also says what is granted and where events are sent, erases, revokes, and reads who did what.
    Admin,
}

impl Role {
    /// Every role, the one that allows least first.
    pub const ALL: [Self; 4] = [Self::Numbers, Self::Viewer, Self::Operator, Self::Admin];

    /// The name used in tables and on the command line.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Numbers => "numbers",
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }

    /// Reads the name used in tables.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.as_str() == text)
    }
}

/// A token as it is listed. The token itself is shown once and never stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiToken {
    /// Id of the token; it is a part of the token's text.
    pub id: TokenId,
    /// Name that a person gave it.
    pub name: String,
    /// What it allows.
    pub role: Role,
    /// Whose rows it reaches; none means those of all tenants.
    pub tenant: Option<Tenant>,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// From when on it is refused; none means never.
    pub expires_at: Option<DateTime<Utc>>,
    /// When it was last used, to the minute.
    pub last_used_at: Option<DateTime<Utc>>,
    /// When it was revoked.
    pub revoked_at: Option<DateTime<Utc>>,
}

impl ApiToken {
    /// Whether requests with it are answered: `active`, `expired` or `revoked`.
    #[must_use]
    pub fn state(&self, now: DateTime<Utc>) -> TokenState {
        match (self.revoked_at, self.expires_at) {
            (Some(_), _) => TokenState::Revoked,
            (None, Some(expires)) if expires <= now => TokenState::Expired,
            (None, _) => TokenState::Active,
        }
    }
}

/// Whether a token is in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenState {
    /// It is accepted.
    Active,
    /// Its time is over.
    Expired,
    /// An operator revoked it.
    Revoked,
}

impl TokenState {
    /// Every state.
    pub const ALL: [Self; 3] = [Self::Active, Self::Expired, Self::Revoked];

    /// Reads the name shown to people.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == text)
    }

    /// The name shown to people.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
        }
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;

    #[test]
    fn a_token_expires_at_its_time_and_a_revoked_one_stays_revoked() {
        let now = DateTime::UNIX_EPOCH;
        let token = ApiToken {
            id: TokenId::generate(),
            name: "test".to_owned(),
            role: Role::Viewer,
            tenant: None,
            created_at: now,
            expires_at: Some(now + TimeDelta::seconds(1)),
            last_used_at: None,
            revoked_at: None,
        };
        assert_eq!(token.state(now), TokenState::Active);
        assert_eq!(token.state(now + TimeDelta::seconds(1)), TokenState::Expired);
        assert_eq!(ApiToken { revoked_at: Some(now), ..token }.state(now), TokenState::Revoked);
    }

    #[test]
    fn a_role_allows_what_those_before_it_do() {
        assert!(Role::ALL.is_sorted());
        for role in Role::ALL {
            assert_eq!(Role::parse(role.as_str()), Some(role));
        }
    }
}
