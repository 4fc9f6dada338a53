//! Someone who is logged in, and the cookie that says so. The sessions themselves lie in the database.

use super::refusal::{Kind, Refusal};
use super::routes::Needs;
use crate::pipeline::{DashboardSession, is_same};
use backline_model::{ApiToken, Digest, Tenant};
use backline_store::Scope;

/// Name of the cookie over https. Browsers take one with this prefix only with `Secure`, for this host and `/`
/// (RFC 6265bis, section 4.1.3.2).
const COOKIE_SECURE: &str = "__Host-backline";

/// Name of the cookie over http, which browsers would not take with `Secure`.
const COOKIE_PLAIN: &str = "backline";

/// Someone who is logged in.
#[derive(Clone)]
pub(crate) struct Visitor(DashboardSession);

impl Visitor {
    /// Someone with this session.
    pub(super) fn new(session: DashboardSession) -> Self {
        Self(session)
    }

    /// The session.
    pub(super) fn session(&self) -> &DashboardSession {
        &self.0
    }

    /// The token that opened the session.
    pub(crate) fn token(&self) -> &ApiToken {
        self.0.caller().token()
    }

    /// Whose rows are shown.
    pub(super) fn scope(&self) -> Scope {
        self.0.caller().scope()
    }

    /// The tenant, of a token for one.
    pub(super) fn tenant(&self) -> Option<&Tenant> {
        self.token().tenant.as_ref()
    }

    /// The secret in every form.
    pub(super) fn csrf(&self) -> &str {
        self.0.csrf()
    }

    /// Whether the token allows something.
    pub(super) fn may(&self, needs: Needs) -> bool {
        self.check(needs).is_ok()
    }

    /// Refuses what the token does not allow, as the API does.
    pub(super) fn check(&self, needs: Needs) -> Result<(), Refusal> {
        match self.0.caller().refusal(needs.role, needs.all_tenants) {
            Some(detail) => Err(Refusal::new(Kind::Forbidden, detail)),
            None => Ok(()),
        }
    }

    /// Refuses a form that does not hold the session's secret.
    pub(super) fn check_csrf(&self, given: Option<&str>) -> Result<(), Refusal> {
        let given = Digest::of(given.unwrap_or_default().as_bytes());
        if is_same(&given, &Digest::of(self.csrf().as_bytes())) {
            return Ok(());
        }
        Err(Refusal::new(Kind::Forbidden, "the form is of another session; open its page again and repeat it"))
    }
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
}
