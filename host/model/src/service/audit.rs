//! Who did what: the entries of the audit log.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use uuid::Uuid;

use crate::ids::{ArtistId, Tenant, TokenId};

/// Who acted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "actor", rename_all = "snake_case")]
pub enum Actor {
    /// A user of the command line.
    Command {
        /// The system's user.
        name: String,
        /// Name of the machine.
        origin: String,
    },
    /// A caller of the HTTP API.
    Token {
        /// Name of the token.
        name: String,
        /// Id of the token.
        token_id: TokenId,
        /// Address that the request came from.
        origin: String,
        /// Id of the request.
        request_id: Uuid,
    },
}

/// How an act ended. One that was refused changed nothing, and is not recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ActOutcome {
    /// All of it was done.
    Done,
    /// Some of it was done.
    Partial,
    /// It failed; some of it may have been done.
    Failed,
}

impl ActOutcome {
    /// Every outcome.
    pub const ALL: [Self; 3] = [Self::Done, Self::Partial, Self::Failed];

    /// The name used in tables.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Partial => "partial",
            Self::Failed => "failed",
        }
    }

    /// Reads the name used in tables.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|outcome| outcome.as_str() == text)
    }
}

/// What someone did.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Act {
    /// When it ended.
    pub at: DateTime<Utc>,
    /// Who did it.
    #[serde(flatten)]
    pub actor: Actor,
    /// What was done: the command, such as `plugins activate`.
    pub action: String,
    /// How it ended.
    pub outcome: ActOutcome,
    /// Whose matter it is; none means the installation's.
    pub tenant: Option<Tenant>,
    /// Artist that it is about. Nothing else in the entry names one.
    pub artist_id: Option<ArtistId>,
    /// What it was about, and with which choices: names and ids, never a secret.
    pub details: Json,
}

/// An act on record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AuditEntry {
    /// Place of the entry; later ones have higher numbers.
    pub seq: i64,
    /// What was done.
    #[serde(flatten)]
    pub act: Act,
}
