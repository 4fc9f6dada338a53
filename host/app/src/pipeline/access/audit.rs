//! The audit log: who did what, through the command line and the API.

use serde_json::Value as Json;

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

    /// Records an act.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn record(&self, actor: Actor, deed: Deed) -> Result<(), StoreError> {
        let Deed { action, outcome, tenant, artist, account, details } = deed;
        let artist_id = match (artist, account) {
            (Some(artist), _) => Some(artist),
            (None, Some(account)) => {
                self.store.account_get(&Scope::all_tenants(), account).await?.map(|account| account.artist_id)
            }
            (None, None) => None,
        };
        let act = Act { at: self.clock.now(), actor, action, outcome, tenant, artist_id, details };
        self.store.audit_add(&Scope::all_tenants(), &act).await
    }
}

/// The user of this process, as the system knows it, on this machine.
#[must_use]
pub fn user_of_process() -> Actor {
    Actor::Command {
        name: format!("uid {}", rustix::process::getuid().as_raw()),
        origin: rustix::system::uname().nodename().to_string_lossy().into_owned(),
    }
}
