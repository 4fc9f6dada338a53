//! Sessions of the dashboard: who is logged in, and the secrets that prove it.
//!
//! A session lies in the database, so that any host answers its browser, and logging out ends it on all of them. It is
//! bound to the token that opened it, which is looked up with each request, so that revoking the token ends it.

use chrono::TimeDelta;
use uuid::Uuid;

use super::tokens::{Caller, Tokens, is_same};
use backline_model::Digest;
use backline_model::clock::Clock;
use backline_store::{Store, StoreError, StoredSession};

/// How long a session lasts.
const LASTS: TimeDelta = TimeDelta::hours(12);

/// How far another host's clock may be ahead that opened a session. One that was further would let it last for longer
/// than it may.
const AHEAD_MAX: TimeDelta = TimeDelta::minutes(5);

/// Longest notice that is kept, in characters.
const NOTICE_CHARACTERS_MAX: usize = 1_000;

/// A session that is open. Only [`Sessions::find`] makes one.
#[derive(Clone)]
pub struct DashboardSession {
    id: Uuid,
    csrf: String,
    notice: Option<String>,
    caller: Caller,
}

impl DashboardSession {
    /// The secret in every form. It follows from the secret in the cookie, which can't be found out from it.
    #[must_use]
    pub fn csrf(&self) -> &str {
        &self.csrf
    }

    /// What the next page says first.
    #[must_use]
    pub fn notice(&self) -> Option<&str> {
        self.notice.as_deref()
    }

    /// The caller whose token opened it, as the token is now.
    #[must_use]
    pub fn caller(&self) -> &Caller {
        &self.caller
    }
}

/// The sessions of a database. Cloning shares it.
#[derive(Clone)]
pub struct Sessions {
    store: Store,
    clock: Clock,
}

impl Sessions {
    /// The sessions of a database that is open.
    #[must_use]
    pub fn new(store: Store, clock: Clock) -> Self {
        Self { store, clock }
    }

    /// Opens a session. Returns the value of its cookie, which is kept nowhere.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn open(&self, caller: &Caller) -> Result<String, StoreError> {
        let (id, secret) = (Uuid::new_v4(), Digest(rand::random()).to_string());
        let now = self.clock.now();
        let session = StoredSession {
            id,
            token: caller.token().id,
            secret: digest_of(&secret),
            until: now.checked_add_signed(LASTS).unwrap_or(now),
            notice: None,
        };
        self.store.session_open(&session).await?;
        Ok(format!("{}.{secret}", id.simple()))
    }

    /// Who is logged in with this cookie; none where it is not one, its time is over, or its token is not in force.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn find(&self, value: &str) -> Result<Option<DashboardSession>, StoreError> {
        let Some((id, secret)) = value.split_once('.') else { return Ok(None) };
        let Ok(id) = Uuid::try_parse(id) else { return Ok(None) };
        let stored = match self.store.session_get(id).await {
            // Another session can be opened in its place.
            Err(StoreError::Unreadable { .. }) => return Ok(None),
            stored => stored?,
        };
        let Some(stored) = stored else { return Ok(None) };
        let left = stored.until - self.clock.now();
        let is_open = left > TimeDelta::zero() && left <= LASTS + AHEAD_MAX;
        if !is_open || !is_same(&digest_of(secret), &stored.secret) {
            return Ok(None);
        }
        let tokens = Tokens::new(self.store.clone(), self.clock.clone());
        let Some(caller) = tokens.in_force(stored.token).await? else { return Ok(None) };
        let csrf = Digest::of(format!("csrf {secret}").as_bytes()).to_string();
        Ok(Some(DashboardSession { id, csrf, notice: stored.notice, caller }))
    }

    /// Ends a session, on every host.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn close(&self, session: &DashboardSession) -> Result<(), StoreError> {
        self.store.session_close(session.id).await
    }

    /// Keeps what the next page says first, on whichever host. What can't be kept is not said: it is done all the same.
    pub async fn tell(&self, session: &DashboardSession, notice: &str) {
        let notice: String = notice.chars().take(NOTICE_CHARACTERS_MAX).collect();
        if let Err(error) = self.store.session_set_notice(session.id, Some(&notice)).await {
            tracing::debug!(%error, "a notice was not kept");
        }
    }

    /// Notes that it was said.
    pub async fn told(&self, session: &DashboardSession) {
        if let Err(error) = self.store.session_set_notice(session.id, None).await {
            // A database that only reads still answers.
            tracing::debug!(%error, "a notice is said again");
        }
    }
}

fn digest_of(secret: &str) -> Digest {
    Digest::of(secret.as_bytes())
}
