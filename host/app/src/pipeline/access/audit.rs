//! The audit log: who did what, through the command line, the API and the dashboard, and what the things that it was
//! about were before and after. Every edge names these things to the log before it acts, and hands the act over after.

use serde_json::{Map, Value as Json, json};

use super::subjects::{ActSubjects, Seen, State, Subject};
use backline_model::audit::{Act, ActOutcome, Actor};
use backline_model::clock::Clock;
use backline_model::{AccountId, ArtistId, Tenant};
use backline_store::{Scope, Store, StoreError};

/// An act that is over, and is to be recorded.
#[derive(Clone, Debug)]
pub struct Deed {
    /// What was done, such as `plugins activate`.
    pub action: String,
    /// How it ended.
    pub outcome: ActOutcome,
    /// Whose matter it is; none means the installation's.
    pub tenant: Option<Tenant>,
    /// Artist that it is about.
    pub artist: Option<ArtistId>,
    /// Account that it is about. Its artist is recorded, so that the entry goes with the artist.
    pub account: Option<AccountId>,
    /// What it was about besides, and with which choices. It must name no artist and hold no secret.
    pub details: Json,
}

/// Most bytes that are kept of what things were, as JSON: a grant of many hosts has some kilobytes.
const STATE_BYTES_MAX: usize = 16 << 10;

/// The audit log of a database. Cloning shares it.
#[derive(Clone)]
pub struct AuditLog {
    store: Store,
    clock: Clock,
}

impl AuditLog {
    /// The audit log of a database that is open.
    #[must_use]
    pub fn new(store: Store, clock: Clock) -> Self {
        Self { store, clock }
    }

    /// Looks at a thing before an act that is about it. What can't be read is left out of the entry: it keeps no act
    /// from being done.
    pub async fn about(&self, scope: &Scope, subjects: &ActSubjects, subject: Subject) {
        if !subjects.has(&subject) {
            let before = self.seen(scope, &subject).await;
            subjects.add(subject, before);
        }
    }

    /// Records an act, with what it was about: `subjects`, whose things are looked at again.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn record(
        &self,
        scope: &Scope,
        actor: Actor,
        deed: Deed,
        subjects: &ActSubjects,
    ) -> Result<(), StoreError> {
        let Deed { action, outcome, tenant, artist, account, details } = deed;
        let artist = match (artist, account) {
            (Some(artist), _) => Some(artist),
            (None, Some(account)) => {
                let place = self.store.account_place_get(&Scope::all_tenants(), account).await?;
                place.map(|place| place.artist_id)
            }
            (None, None) => None,
        };
        let mut seen = Vec::new();
        for (subject, before) in subjects.take(account) {
            let after = self.seen(scope, &subject).await;
            seen.push((subject.name(), before, after));
        }
        let (artist_id, before, after) = told(artist, &seen);
        let act = Act { at: self.clock.now(), actor, action, outcome, tenant, artist_id, details, before, after };
        self.store.audit_add(&Scope::all_tenants(), &act).await
    }

    async fn seen(&self, scope: &Scope, subject: &Subject) -> Seen {
        match subject.state(&self.store, scope, self.clock.now()).await {
            Ok(Some(state)) => Seen::Thing(state),
            Ok(None) => Seen::Nothing,
            Err(error) => {
                tracing::debug!(%error, subject = subject.name(), "the audit log does not know what it is like");
                Seen::Unknown
            }
        }
    }
}

/// What an entry says of the things that an act was about: whose they are, and what they were before and after. An
/// entry is about one artist at most, and holds nothing of another.
fn told(artist: Option<ArtistId>, seen: &[(String, Seen, Seen)]) -> (Option<ArtistId>, Option<Json>, Option<Json>) {
    let owner = |seen: &Seen| match seen {
        Seen::Thing(State { artist, .. }) => *artist,
        Seen::Unknown | Seen::Nothing => None,
    };
    let artist = artist.or_else(|| seen.iter().find_map(|(_, before, after)| owner(before).or_else(|| owner(after))));
    let (mut befores, mut afters) = (Map::new(), Map::new());
    for (name, before, after) in seen {
        if [before, after].into_iter().filter_map(owner).any(|owner| Some(owner) != artist) {
            continue;
        }
        for (states, seen) in [(&mut befores, before), (&mut afters, after)] {
            match seen {
                Seen::Unknown => {}
                Seen::Nothing => drop(states.insert(name.clone(), Json::Null)),
                Seen::Thing(state) => drop(states.insert(name.clone(), state.told.clone())),
            }
        }
    }
    (artist, bounded(befores), bounded(afters))
}

/// What is kept of things: `None` without any, and only its length where it is too long.
fn bounded(states: Map<String, Json>) -> Option<Json> {
    if states.is_empty() {
        return None;
    }
    let states = Json::Object(states);
    let bytes = states.to_string().len();
    Some(if bytes > STATE_BYTES_MAX { json!({ "left_out_bytes": bytes }) } else { states })
}

/// The user of this process, as the system knows it, on this machine.
#[must_use]
pub fn user_of_process() -> Actor {
    Actor::Command {
        name: format!("uid {}", rustix::process::getuid().as_raw()),
        origin: rustix::system::uname().nodename().to_string_lossy().into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn artist(n: u128) -> ArtistId {
        ArtistId(Uuid::from_u128(n))
    }

    fn thing(of: Option<ArtistId>, told: &str) -> Seen {
        Seen::Thing(State { told: json!(told), artist: of })
    }

    #[test]
    fn an_entry_says_what_was_and_what_is() {
        let seen = [
            ("token 1".to_owned(), thing(None, "active"), thing(None, "revoked")),
            ("webhook a".to_owned(), Seen::Nothing, thing(None, "on")),
            ("webhook b".to_owned(), thing(None, "on"), Seen::Nothing),
            ("run 1".to_owned(), Seen::Unknown, thing(None, "cancelled")),
        ];
        let (of, before, after) = told(None, &seen);
        assert_eq!(of, None);
        assert_eq!(before, Some(json!({ "token 1": "active", "webhook a": null, "webhook b": "on" })));
        let is = json!({ "token 1": "revoked", "webhook a": "on", "webhook b": null, "run 1": "cancelled" });
        assert_eq!(after, Some(is));
        assert_eq!(told(Some(artist(7)), &[]), (Some(artist(7)), None, None));
    }

    #[test]
    fn what_is_of_an_artist_stands_in_an_entry_about_it_alone() {
        let account = ("account".to_owned(), thing(Some(artist(1)), "active"), thing(Some(artist(1)), "disabled"));
        let one = std::slice::from_ref(&account);
        assert_eq!(told(None, one).0, Some(artist(1)), "the entry goes with the artist");
        let (of, before, after) = told(Some(artist(2)), one);
        assert_eq!((of, before, after), (Some(artist(2)), None, None));
        let removed = [("account".to_owned(), thing(Some(artist(1)), "active"), Seen::Nothing)];
        assert_eq!(told(None, &removed).0, Some(artist(1)));
    }

    #[test]
    fn what_is_too_long_is_left_out() {
        let long = "x".repeat(STATE_BYTES_MAX);
        let (_, before, _) = told(None, &[("release 1".to_owned(), thing(None, &long), Seen::Nothing)]);
        assert_eq!(before, Some(json!({ "left_out_bytes": STATE_BYTES_MAX + "{\"release 1\":\"\"}".len() })));
    }
}
