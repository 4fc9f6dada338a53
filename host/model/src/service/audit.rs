//! Who did what: the entries of the audit log.

use std::collections::BTreeSet;

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
    /// What the things that it was about were before, by their names: of one that it made, null. None where no thing
    /// is named.
    pub before: Option<Json>,
    /// What they are after it: of one that it removed, null.
    pub after: Option<Json>,
}

impl Act {
    /// What the act changed, a line each: the thing, what of it, and what that was and is now.
    #[must_use]
    pub fn changes(&self) -> Vec<String> {
        let mut lines = Vec::new();
        let (Some(Json::Object(before)), Some(Json::Object(after))) = (&self.before, &self.after) else { return lines };
        for (name, after) in after {
            match (before.get(name), after) {
                // What it was is not known.
                (None, _) | (Some(Json::Null), Json::Null) => {}
                (Some(Json::Null), _) => lines.push(format!("{name}: made")),
                (Some(_), Json::Null) => lines.push(format!("{name}: gone")),
                (Some(before), after) => differences(name, before, after, &mut lines),
            }
        }
        lines
    }
}

fn differences(place: &str, before: &Json, after: &Json, lines: &mut Vec<String>) {
    match (before, after) {
        (Json::Object(before), Json::Object(after)) => {
            let keys: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
            for key in keys {
                let of = |states: &serde_json::Map<String, Json>| states.get(key).cloned().unwrap_or_default();
                differences(&format!("{place} {key}"), &of(before), &of(after), lines);
            }
        }
        (before, after) if before == after => {}
        (before, after) => lines.push(format!("{place}: {} → {}", shown(before), shown(after))),
    }
}

fn shown(value: &Json) -> String {
    match value {
        Json::Null => "none".to_owned(),
        Json::String(text) => text.clone(),
        other => other.to_string(),
    }
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn act(before: Option<Json>, after: Option<Json>) -> Act {
        Act {
            at: DateTime::UNIX_EPOCH,
            actor: Actor::Command { name: "uid 0".to_owned(), origin: "here".to_owned() },
            action: "artists set".to_owned(),
            outcome: ActOutcome::Done,
            tenant: None,
            artist_id: None,
            details: json!({}),
            before,
            after,
        }
    }

    #[test]
    fn changes_are_told_and_what_stayed_is_not() {
        let before = json!({
            "artist": { "status": "active", "consents": { "youtube": true, "tiktok": true } },
            "token 1": null, "webhook a": { "enabled": true }, "run 1": { "status": "done" },
        });
        let after = json!({
            "artist": { "status": "active", "consents": { "youtube": false, "tiktok": true, "spotify": true } },
            "token 1": { "state": "active" }, "webhook a": null, "run 2": { "status": "done" },
        });
        let changes = act(Some(before.clone()), Some(after)).changes();
        let expected = [
            "artist consents spotify: none → true",
            "artist consents youtube: true → false",
            "token 1: made",
            "webhook a: gone",
        ];
        assert_eq!(changes, expected);
        assert!(act(Some(before.clone()), Some(before)).changes().is_empty());
        assert!(act(None, None).changes().is_empty());
    }
}
