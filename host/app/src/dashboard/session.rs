//! Sessions of the dashboard: who is logged in, and the secrets that prove it.
//!
//! A session lives in the memory of one host. It is bound to the token that opened it, which is looked up with each
//! request, so that revoking the token ends it.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;

use super::refusal::{Kind, Refusal};
use super::routes::Needs;
use crate::pipeline::{Caller, is_same};
use backline_model::{ApiToken, Digest, Tenant};
use backline_store::Scope;

/// How long a session lasts.
const LASTS: TimeDelta = TimeDelta::hours(12);

/// Most sessions of a host. Beyond it the one that ends first is closed.
const SESSIONS_MAX: usize = 1_000;

/// Most of them of one token: a caller that logs in again and again logs out nobody else.
const SESSIONS_OF_TOKEN_MAX: usize = 20;

/// Name of the cookie over https. Browsers take one with this prefix only with `Secure`, for this host and `/`
/// (RFC 6265bis, section 4.1.3.2).
const COOKIE_SECURE: &str = "__Host-backline";

/// Name of the cookie over http, which browsers would not take with `Secure`.
const COOKIE_PLAIN: &str = "backline";

/// The sessions of a host.
#[derive(Default)]
pub(super) struct Sessions(Mutex<HashMap<Uuid, Session>>);

struct Session {
    /// Digest of the secret in the cookie.
    secret: Digest,
    /// The secret in every form.
    csrf: String,
    caller: Caller,
    until: DateTime<Utc>,
    /// What the next page says first.
    notice: Option<String>,
}

/// Someone who is logged in.
#[derive(Clone)]
pub(crate) struct Visitor {
    session: Uuid,
    csrf: String,
    caller: Caller,
}

impl Sessions {
    /// Opens a session. Returns the value of its cookie, which is kept nowhere.
    pub(super) fn open(&self, caller: Caller, now: DateTime<Utc>) -> String {
        let (id, secret) = (Uuid::new_v4(), random());
        let session = Session {
            secret: Digest::of(secret.as_bytes()),
            csrf: random(),
            caller,
            until: now.checked_add_signed(LASTS).unwrap_or(now),
            notice: None,
        };
        let token = session.caller.token().id;
        let mut sessions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        sessions.retain(|_, session| session.until > now);
        let is_own = |session: &Session| session.caller.token().id == token;
        let has_all_own = sessions.values().filter(|session| is_own(session)).count() >= SESSIONS_OF_TOKEN_MAX;
        if has_all_own || sessions.len() >= SESSIONS_MAX {
            let closable = sessions.iter().filter(|(_, session)| !has_all_own || is_own(session));
            if let Some(first) = closable.min_by_key(|(_, session)| session.until).map(|(id, _)| *id) {
                sessions.remove(&first);
            }
        }
        sessions.insert(id, session);
        format!("{}.{secret}", id.simple())
    }

    /// Who is logged in with this cookie. Whether the token is still in force is not looked at.
    pub(super) fn find(&self, value: &str, now: DateTime<Utc>) -> Option<Visitor> {
        let (id, secret) = value.split_once('.')?;
        let id = Uuid::try_parse(id).ok()?;
        let sessions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let session = sessions.get(&id)?;
        let is_known = is_same(&Digest::of(secret.as_bytes()), &session.secret) && session.until > now;
        is_known.then(|| Visitor { session: id, csrf: session.csrf.clone(), caller: session.caller.clone() })
    }

    /// Ends a session.
    pub(super) fn close(&self, visitor: &Visitor) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&visitor.session);
    }

    /// Keeps what the next page says first.
    pub(super) fn tell(&self, visitor: &Visitor, notice: String) {
        if let Some(session) = self.0.lock().unwrap_or_else(PoisonError::into_inner).get_mut(&visitor.session) {
            session.notice = Some(notice);
        }
    }

    /// Takes what is to be said first.
    pub(super) fn told(&self, visitor: &Visitor) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get_mut(&visitor.session)?.notice.take()
    }
}

impl Visitor {
    /// The token that opened the session.
    pub(crate) fn token(&self) -> &ApiToken {
        self.caller.token()
    }

    /// The token's caller, as it was recognised at login.
    pub(super) fn caller(&self) -> &Caller {
        &self.caller
    }

    /// Whose rows are shown.
    pub(super) fn scope(&self) -> Scope {
        self.caller.scope()
    }

    /// The tenant, of a token for one.
    pub(super) fn tenant(&self) -> Option<&Tenant> {
        self.token().tenant.as_ref()
    }

    /// The secret in every form.
    pub(super) fn csrf(&self) -> &str {
        &self.csrf
    }

    /// Whether the token allows something.
    pub(super) fn may(&self, needs: Needs) -> bool {
        self.check(needs).is_ok()
    }

    /// Refuses what the token does not allow, as the API does.
    pub(super) fn check(&self, needs: Needs) -> Result<(), Refusal> {
        match self.caller.refusal(needs.role, needs.all_tenants) {
            Some(detail) => Err(Refusal::new(Kind::Forbidden, detail)),
            None => Ok(()),
        }
    }

    /// Refuses a form that does not hold the session's secret.
    pub(super) fn check_csrf(&self, given: Option<&str>) -> Result<(), Refusal> {
        let given = Digest::of(given.unwrap_or_default().as_bytes());
        if is_same(&given, &Digest::of(self.csrf.as_bytes())) {
            return Ok(());
        }
        Err(Refusal::new(Kind::Forbidden, "the form is of another session; open its page again and repeat it"))
    }
}

/// 32 random bytes in hexadecimal.
fn random() -> String {
    Digest(rand::random()).to_string()
}

/// The value of the session's cookie in a `Cookie` header; that of the name that only https sets, if there are both.
/// Where the browser is known to use https, no other name counts: on the way, over http, or by a neighbouring host,
/// others may have set one of their own session.
pub(super) fn cookie_in(header: &str, is_https: bool) -> Option<&str> {
    let value = |wanted: &str| {
        let mut pairs = header.split(';').filter_map(|pair| pair.trim().split_once('='));
        pairs.find_map(|(name, value)| (name == wanted).then_some(value))
    };
    value(COOKIE_SECURE).or_else(|| if is_https { None } else { value(COOKIE_PLAIN) })
}

/// The `Set-Cookie` header that keeps a value in the browser until it is closed.
pub(super) fn cookie(value: &str, is_https: bool) -> String {
    let (name, secure) = if is_https { (COOKIE_SECURE, "; Secure") } else { (COOKIE_PLAIN, "") };
    format!("{name}={value}; Path=/; HttpOnly; SameSite=Strict{secure}")
}

/// The `Set-Cookie` headers that remove the cookie of either name.
pub(super) fn no_cookie() -> Vec<String> {
    [true, false].map(|is_https| format!("{}; Max-Age=0", cookie("", is_https))).to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_has_the_flags_that_keep_it_here() {
        let secure = cookie("a.b", true);
        assert_eq!(secure, "__Host-backline=a.b; Path=/; HttpOnly; SameSite=Strict; Secure");
        assert_eq!(cookie("a.b", false), "backline=a.b; Path=/; HttpOnly; SameSite=Strict");
        assert!(no_cookie().iter().all(|cookie| cookie.ends_with("Max-Age=0")));
    }

    #[test]
    fn the_cookie_of_https_comes_first() {
        for is_https in [true, false] {
            assert_eq!(cookie_in("other=1; backline=a; __Host-backline=b", is_https), Some("b"));
            assert_eq!(cookie_in("xbackline=a; backline", is_https), None);
        }
        assert_eq!(cookie_in("backline=a.b=c", false), Some("a.b=c"));
        assert_eq!(cookie_in("backline=a.b=c", true), None, "someone else may have set it");
    }

    #[test]
    fn secrets_differ() {
        assert_eq!(random().len(), 64);
        assert_ne!(random(), random());
    }
}
