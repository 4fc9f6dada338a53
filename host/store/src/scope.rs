//! Whose rows a call may touch, and how a statement is limited to them.
//!
//! The conditions are words in the statements. The scope of all tenants takes them out, so its statements are those of
//! a database without tenants; one tenant's replaces each by a condition on `artists.tenant`, reached by a primary key.

use std::fmt;

use crate::database::error::StoreError;
use backline_model::Tenant;

/// Whose rows a call may touch: one tenant's, or all tenants'.
///
/// The code that checks a caller's rights makes the scope; every method of [`Store`](crate::Store) that touches a
/// tenant's rows takes one. There is no default, and none follows from a missing tenant: a call site that means all
/// tenants says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope(Tenants);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Tenants {
    All,
    One(Tenant),
}

impl Scope {
    /// The rows of one tenant. Rows that belong to no tenant, such as the operator's credentials, are outside.
    #[must_use]
    pub fn tenant(tenant: Tenant) -> Self {
        Self(Tenants::One(tenant))
    }

    /// The rows of all tenants, and those that belong to none.
    #[must_use]
    pub fn all_tenants() -> Self {
        Self(Tenants::All)
    }

    /// The tenant, where it is one.
    #[must_use]
    pub fn only(&self) -> Option<&Tenant> {
        match &self.0 {
            Tenants::All => None,
            Tenants::One(tenant) => Some(tenant),
        }
    }

    /// Refuses one tenant's scope; `what` is an infinitive.
    pub(crate) fn require_all(&self, what: &'static str) -> Result<(), StoreError> {
        match self.only() {
            None => Ok(()),
            Some(tenant) => Err(StoreError::OutOfScope { what, tenant: tenant.clone() }),
        }
    }

    /// Refuses rows of this owner where they are outside; none is an owner that is no tenant. `what` is an infinitive.
    pub(crate) fn require<'a>(
        &self,
        owners: impl IntoIterator<Item = Option<&'a Tenant>>,
        what: &'static str,
    ) -> Result<(), StoreError> {
        match self.only() {
            Some(tenant) if owners.into_iter().any(|owner| owner != Some(tenant)) => {
                Err(StoreError::OutOfScope { what, tenant: tenant.clone() })
            }
            _ => Ok(()),
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Tenants::All => f.write_str("all tenants"),
            Tenants::One(tenant) => write!(f, "tenant {tenant}"),
        }
    }
}

/// Replaces every `{and_…: expression}` of a statement: by nothing, or by a condition on the tenant, which is the
/// parameter after the statement's last.
///
/// | word | the expression is |
/// |---|---|
/// | `{and_tenant: …}` | a tenant |
/// | `{and_artist: …}` | an artist's id |
/// | `{and_account: …}` | an account's id |
/// | `{and_webhook: …}` | a webhook's id |
/// | `{and_event: …}` | a row of `events`; it belongs to its artist's tenant, else to the tenant in its data |
/// | `{and_run: …}` | a run's id; it is seen by every tenant with a batch or an outcome in it |
pub(crate) fn limited(text: &str, to_one_tenant: bool) -> String {
    let parameter = format!("${}", last_parameter(text) + 1);
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, word, expression, after)) = next_word(rest) {
        out.push_str(before);
        if to_one_tenant {
            out.push_str(&condition(word, expression, &parameter));
        }
        rest = after;
    }
    out.push_str(rest);
    out
}

/// Whether a statement can be limited to one tenant at all.
pub(crate) fn is_limitable(text: &str) -> bool {
    next_word(text).is_some()
}

fn next_word(text: &str) -> Option<(&str, &str, &str, &str)> {
    let mut from = 0;
    loop {
        let start = from + text[from..].find("{and_")?;
        let end = start + text[start..].find('}')?;
        if let Some((word, expression)) = text[start + "{and_".len()..end].split_once(": ") {
            return Some((&text[..start], word, expression, &text[end + 1..]));
        }
        from = end;
    }
}

fn condition(word: &str, x: &str, parameter: &str) -> String {
    match word {
        "tenant" => format!("AND {x} = {parameter}"),
        "artist" => {
            format!("AND EXISTS (SELECT 1 FROM artists st WHERE st.id = {x} AND st.tenant = {parameter})")
        }
        "account" => format!(
            "AND EXISTS (SELECT 1 FROM accounts sa JOIN artists st ON st.id = sa.artist_id
                 WHERE sa.id = {x} AND st.tenant = {parameter})"
        ),
        "webhook" => {
            format!("AND EXISTS (SELECT 1 FROM webhooks sw WHERE sw.id = {x} AND sw.tenant = {parameter})")
        }
        "event" => format!(
            "AND COALESCE((SELECT st.tenant FROM artists st WHERE st.id = {x}.artist_id), {x}.data->>'tenant')
                 = {parameter}"
        ),
        "run" => format!(
            "AND (EXISTS (SELECT 1 FROM batches sb WHERE sb.run_id = {x} AND sb.tenant = {parameter})
                 OR EXISTS (SELECT 1 FROM collection_outcomes so JOIN artists st ON st.id = so.artist_id
                     WHERE so.run_id = {x} AND st.tenant = {parameter})
                 OR EXISTS (SELECT 1 FROM batches sb JOIN batch_accounts sm ON sm.batch_id = sb.id
                     JOIN accounts sa ON sa.id = sm.account_id JOIN artists st ON st.id = sa.artist_id
                     WHERE sb.run_id = {x} AND sb.collected_at IS NOT NULL AND st.tenant = {parameter}))"
        ),
        // No database understands it: the statement fails rather than touch too much.
        unknown => format!("{{and_{unknown}: {x}}}"),
    }
}

/// The highest number among a statement's parameters; 0 where it has none.
pub(crate) fn last_parameter(text: &str) -> u32 {
    let numbers = text.split('$').skip(1).map(|after| {
        let digits = after.len() - after.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        after[..digits].parse().unwrap_or(0)
    });
    numbers.max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_is_limited_by_the_parameter_after_its_last() {
        let text = "SELECT 1 FROM accounts a WHERE a.id = $2 AND a.x = $1 {and_artist: a.artist_id} {and_event_lock}";
        assert_eq!(limited(text, false), "SELECT 1 FROM accounts a WHERE a.id = $2 AND a.x = $1  {and_event_lock}");
        assert_eq!(
            limited(text, true),
            "SELECT 1 FROM accounts a WHERE a.id = $2 AND a.x = $1 \
             AND EXISTS (SELECT 1 FROM artists st WHERE st.id = a.artist_id AND st.tenant = $3) {and_event_lock}"
        );
        assert_eq!(
            limited("SELECT 1 WHERE TRUE {and_tenant: t.tenant}", true),
            "SELECT 1 WHERE TRUE AND t.tenant = $1"
        );
        assert!(is_limitable(text) && !is_limitable("SELECT 1 FROM {rows} {and_event_lock}"));
    }

    #[test]
    fn one_tenants_scope_refuses_other_owners_and_what_needs_all() {
        let (ours, theirs) = (Tenant::new("ours").expect("a name"), Tenant::new("theirs").expect("a name"));
        let (one, all) = (Scope::tenant(ours.clone()), Scope::all_tenants());
        assert!(one.require([Some(&ours)], "save it").is_ok() && all.require([Some(&theirs), None], "save it").is_ok());
        assert!(
            one.require([Some(&ours), Some(&theirs)], "save it").is_err() && one.require([None], "save it").is_err()
        );
        assert!(all.require_all("do it").is_ok() && one.require_all("do it").is_err());
    }
}
