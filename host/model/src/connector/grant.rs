//! What a connector asks for, what the operator granted, and the difference between the two.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::manifest::{Budget, BudgetWindow, CredentialSlot, HostRequest, Inject, Manifest, Method, Owner, Policy};
use crate::origin::{OriginError, OriginPattern};

/// Everything that a connector asks for.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Permissions {
    /// Hosts that it wants to send requests to.
    pub hosts: Vec<HostRequest>,
    /// Secrets that it wants to use, and how.
    pub slots: Vec<CredentialSlot>,
    /// Terms under which it spends budgets.
    pub allowances: Vec<Budget>,
    /// What it says about the platform's terms.
    pub policy: Policy,
    /// Interfaces that it imports, without their versions, in alphabetical order.
    pub imports: Vec<String>,
}

impl Permissions {
    /// What a connector with this manifest and these imports asks for.
    #[must_use]
    pub fn asked(manifest: &Manifest, imports: &[String]) -> Self {
        Self {
            hosts: manifest.hosts.clone(),
            slots: manifest.credentials.clone(),
            allowances: manifest.budgets.clone(),
            policy: manifest.policy.clone(),
            imports: interfaces(imports),
        }
    }
}

/// What the operator allowed a connector. A request passes only if manifest **and** grant both allow it.
///
/// As TOML this is what `--grant-file` reads, so that it can be stored and reviewed with other configuration.
///
/// ```
/// use backline_model::grant::{Difference, Grant, Permissions};
/// # use backline_model::Manifest;
/// # let first = Manifest::parse(
/// #     r#"
/// #     [connector]
/// #     name = "example"
/// #     platform = "example"
/// #     version = "1.0.0"
/// #     api = "^1.0"
/// #     title = "Example"
/// #     batch_size = 50
/// #
/// #     [[host]]
/// #     origin = "https://api.example.com"
/// #     methods = ["GET"]
/// #     reason = "followers"
/// #     "#,
/// # )?;
///
/// let grant = Grant::all_of(&first, &[]);
///
/// let mut update = first.clone();
/// update.hosts[0].origin = "https://*.example.com".parse()?;
/// let asked = Permissions::asked(&update, &[]);
///
/// assert!(!grant.allows(&asked));
/// let difference = Difference::between(&grant, &asked);
/// assert_eq!(difference.added[0].to_string(), "GET https://*.example.com: followers");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Grant {
    /// Interfaces that it may import, without their versions.
    #[serde(default)]
    pub imports: Vec<String>,
    /// Limits that replace the manifest's, by budget name. The operator knows what the platform granted; the manifest
    /// only knows the default.
    #[serde(default, rename = "limits")]
    pub budgets: BTreeMap<String, u64>,
    /// How long its data may be kept, and what it may be used for.
    #[serde(default)]
    pub policy: Policy,
    /// Hosts and methods that it may use.
    #[serde(default, rename = "host")]
    pub hosts: Vec<GrantedHost>,
    /// Complete credential slots, so that an update can't keep a slot's name and send the secret elsewhere.
    #[serde(default, rename = "credential")]
    pub slots: Vec<CredentialSlot>,
    /// Terms under which budgets are spent.
    #[serde(default, rename = "budget")]
    pub allowances: Vec<Budget>,
}

/// One origin pattern with its methods.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GrantedHost {
    /// Origins that requests may go to.
    pub origin: OriginPattern,
    /// HTTP methods that are allowed there.
    pub methods: Vec<Method>,
    /// Why the connector needs it, for people who read the grant.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

impl Grant {
    /// Everything that a connector with this manifest and these imports asks for.
    #[must_use]
    pub fn all_of(manifest: &Manifest, imports: &[String]) -> Self {
        Self::of(Permissions::asked(manifest, imports))
    }

    /// A grant of exactly what is asked.
    #[must_use]
    pub fn of(asked: Permissions) -> Self {
        let Permissions { hosts, slots, allowances, policy, imports } = asked;
        let host = |HostRequest { origin, methods, reason }| GrantedHost { origin, methods, reason };
        let hosts = hosts.into_iter().map(host).collect();
        Self { imports, budgets: BTreeMap::new(), policy, hosts, slots, allowances }
    }

    /// The same grant with the operator's own limits.
    #[must_use]
    pub fn with_budgets(self, budgets: BTreeMap<String, u64>) -> Self {
        Self { budgets, ..self }
    }

    /// Whether everything that is asked is granted.
    #[must_use]
    pub fn allows(&self, asked: &Permissions) -> bool {
        Difference::between(self, asked).added.is_empty()
    }

    /// Whether a connector may use a secret as its manifest says: the slot is granted, the secret goes to the same part
    /// of a request and to no other host, and its tokens come from the same endpoint.
    #[must_use]
    pub fn lets_use(&self, slot: &CredentialSlot) -> bool {
        self.slots.iter().any(|granted| granted.slot == slot.slot && more_of_slot(granted, slot).is_empty())
    }

    /// The grant without everything within an origin pattern; `None` if nothing of it is granted.
    #[must_use]
    pub fn without_host(&self, origin: &OriginPattern) -> Option<Self> {
        let mut narrowed = self.clone();
        narrowed.hosts.retain(|host| !host.origin.is_below(origin));
        (narrowed.hosts.len() < self.hosts.len()).then_some(narrowed)
    }

    /// Refuses wildcards over public suffixes, in a grant that enters.
    ///
    /// # Errors
    /// If anyone can have a host below the domain of a pattern.
    pub fn check_owners(&self) -> Result<(), OriginError> {
        let of_slots = self.slots.iter().flat_map(|slot| &slot.hosts);
        self.hosts.iter().map(|host| &host.origin).chain(of_slots).try_for_each(OriginPattern::check_owner)
    }

    /// The grant without a credential slot; `None` if it is not granted.
    #[must_use]
    pub fn without_slot(&self, slot: &str) -> Option<Self> {
        let mut narrowed = self.clone();
        narrowed.slots.retain(|granted| granted.slot != slot);
        (narrowed.slots.len() < self.slots.len()).then_some(narrowed)
    }
}

/// What a change is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum GrantPart {
    /// A host with its methods.
    Host,
    /// A credential slot.
    Credential,
    /// Terms of a budget.
    Budget,
    /// How long data is kept, and what it may be used for.
    Policy,
    /// An imported interface.
    Import,
}

/// One thing that is asked for, or no longer asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct GrantChange {
    /// What the change is about.
    pub subject: GrantPart,
    /// The change itself, on one line.
    pub what: String,
    /// The reason, in the author's words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl fmt::Display for GrantChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        self.reason.as_ref().map_or(Ok(()), |reason| write!(f, ": {reason}"))
    }
}

/// What is asked for beyond a grant, and what is granted but no longer asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// What is asked for and not granted.
    pub added: Vec<GrantChange>,
    /// What is granted and no longer asked for.
    pub removed: Vec<GrantChange>,
}

impl Difference {
    /// Compares what is asked with what is granted.
    #[must_use]
    pub fn between(granted: &Grant, asked: &Permissions) -> Self {
        let mut difference = Self::default();
        difference.compare_hosts(granted, asked);
        difference.compare_slots(granted, asked);
        difference.compare_budgets(granted, asked);
        difference.compare_policies(&granted.policy, &asked.policy);
        difference.compare_imports(granted, asked);
        difference
    }

    /// Whether exactly what is granted is asked.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty()
    }

    fn more(&mut self, subject: GrantPart, what: String, reason: &str) {
        self.added.push(GrantChange { subject, what, reason: reason_text(reason) });
    }

    fn less(&mut self, subject: GrantPart, what: String) {
        self.removed.push(GrantChange { subject, what, reason: None });
    }

    fn compare_hosts(&mut self, granted: &Grant, asked: &Permissions) {
        for host in &asked.hosts {
            let is_granted = |method: &Method| {
                granted.hosts.iter().any(|own| host.origin.is_within(&own.origin) && own.methods.contains(method))
            };
            if let Some(methods) = listed(host.methods.iter().filter(|method| !is_granted(method))) {
                self.more(GrantPart::Host, format!("{methods} {}", host.origin), &host.reason);
            }
        }
        for own in &granted.hosts {
            let is_asked = |method: &Method| {
                asked.hosts.iter().any(|host| own.origin.is_within(&host.origin) && host.methods.contains(method))
            };
            if let Some(methods) = listed(own.methods.iter().filter(|method| !is_asked(method))) {
                self.less(GrantPart::Host, format!("{methods} {}", own.origin));
            }
        }
    }

    fn compare_slots(&mut self, granted: &Grant, asked: &Permissions) {
        for slot in &asked.slots {
            let name = &slot.slot;
            let Some(own) = granted.slots.iter().find(|own| own.slot == *name) else {
                self.more(GrantPart::Credential, format!("secret {}", describe_slot(slot)), "");
                continue;
            };
            for change in more_of_slot(own, slot) {
                self.more(GrantPart::Credential, format!("secret {name}: {change}"), "");
            }
            for origin in own.hosts.iter().filter(|own| !slot.hosts.iter().any(|host| own.is_within(host))) {
                self.less(GrantPart::Credential, format!("secret {name}: sent to {origin}"));
            }
        }
        for own in granted.slots.iter().filter(|own| !asked.slots.iter().any(|slot| slot.slot == own.slot)) {
            self.less(GrantPart::Credential, format!("secret {}", own.slot));
        }
    }

    /// A budget is a limit: a new one restricts the connector, and one that is gone frees it.
    fn compare_budgets(&mut self, granted: &Grant, asked: &Permissions) {
        for budget in &asked.allowances {
            let name = &budget.name;
            let Some(own) = granted.allowances.iter().find(|own| own.name == *name) else {
                self.less(GrantPart::Budget, format!("budget {} holds it back now", describe_budget(budget)));
                continue;
            };
            // The operator's own limit holds whatever the manifests say.
            let overridden = granted.budgets.contains_key(name);
            let more = more_of_budget(own, budget, overridden);
            if more.is_empty() && !more_of_budget(budget, own, overridden).is_empty() {
                self.less(GrantPart::Budget, format!("budget {}, stricter than before", describe_budget(budget)));
            }
            for change in more {
                self.more(GrantPart::Budget, format!("budget {name}: {change}"), "");
            }
        }
        for own in &granted.allowances {
            // Without its secret, nothing is spent. What belongs to no secret always is.
            let is_used = own.slot.as_ref().is_none_or(|own| asked.slots.iter().any(|slot| slot.slot == *own));
            if is_used && !asked.allowances.iter().any(|budget| budget.name == own.name) {
                self.more(GrantPart::Budget, format!("budget {}: no longer held to it", own.name), "");
            }
        }
    }

    fn compare_policies(&mut self, granted: &Policy, asked: &Policy) {
        let kept = [
            ("documents", granted.documents_days, asked.documents_days),
            ("metrics", granted.metrics_days, asked.metrics_days),
        ];
        for (what, own, wanted) in kept {
            let change = format!("{what} kept {} instead of {}", describe_days(wanted), describe_days(own));
            let of = |days: Option<u32>| days.map_or(u64::MAX, u64::from);
            match of(wanted).cmp(&of(own)) {
                std::cmp::Ordering::Greater => self.more(GrantPart::Policy, change, &asked.note),
                std::cmp::Ordering::Less => self.less(GrantPart::Policy, change),
                std::cmp::Ordering::Equal => {}
            }
        }
        // Accounts whose owner has authorised it may have other days. Where they have those of all, before and after,
        // the change was said above.
        let most = |days: Option<u32>| days.map_or(u64::MAX, u64::from);
        let of_authorised = |policy: &Policy, all: Option<u32>| {
            let all = if policy.unless_authorised { u64::MAX } else { most(all) };
            all.min(most(policy.authorised_days))
        };
        let orders = kept.map(|(_, own, wanted)| {
            let (before, after) = (of_authorised(granted, own), of_authorised(asked, wanted));
            let is_said = before == most(own) && after == most(wanted);
            if is_said { std::cmp::Ordering::Equal } else { after.cmp(&before) }
        });
        let told = || match asked.authorised_days {
            Some(days) => format!("kept up to {days} days for accounts whose owner has authorised it"),
            None => "longer for accounts whose owner has authorised it".to_owned(),
        };
        if orders.iter().any(|order| order.is_gt()) {
            self.more(GrantPart::Policy, told(), &asked.note);
        }
        if orders.iter().any(|order| order.is_lt()) {
            self.less(GrantPart::Policy, told());
        }
        match (granted.forbids_ai, asked.forbids_ai) {
            (true, false) => {
                self.more(GrantPart::Policy, "AI use of its numbers, which was forbidden".to_owned(), &asked.note);
            }
            (false, true) => self.less(GrantPart::Policy, "AI use of its numbers".to_owned()),
            _ => {}
        }
    }

    fn compare_imports(&mut self, granted: &Grant, asked: &Permissions) {
        // A grant written by hand may have versions.
        let own = interfaces(&granted.imports);
        for import in asked.imports.iter().filter(|import| !own.contains(import)) {
            self.more(GrantPart::Import, format!("import {import}"), "");
        }
        for import in own.iter().filter(|import| !asked.imports.contains(import)) {
            self.less(GrantPart::Import, format!("import {import}"));
        }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let signed =
            self.added.iter().map(|change| ("+", change)).chain(self.removed.iter().map(|change| ("-", change)));
        for (index, (sign, change)) in signed.enumerate() {
            let line_end = if index == 0 { "" } else { "\n" };
            write!(f, "{line_end}{sign} {change}")?;
        }
        Ok(())
    }
}

/// What a slot's new terms allow that the old ones do not.
fn more_of_slot(own: &CredentialSlot, slot: &CredentialSlot) -> Vec<String> {
    let mut changes = Vec::new();
    let mut instead = |new: String, old: String| {
        if new != old {
            changes.push(format!("{new} instead of {old}"));
        }
    };
    instead(format!("of the kind {}", name_of(&slot.kind)), format!("of the kind {}", name_of(&own.kind)));
    instead(describe_owner(slot.owner).to_owned(), describe_owner(own.owner).to_owned());
    instead(format!("put into {}", describe_place(&slot.inject)), format!("put into {}", describe_place(&own.inject)));
    instead(describe_tokens(slot), describe_tokens(own));
    for origin in slot.hosts.iter().filter(|origin| !own.hosts.iter().any(|own| origin.is_within(own))) {
        changes.push(format!("sent to {origin}"));
    }
    changes
}

/// What a budget's new terms allow that the old ones do not.
fn more_of_budget(own: &Budget, budget: &Budget, overridden: bool) -> Vec<String> {
    let mut changes = Vec::new();
    if budget.limit > own.limit && !overridden {
        changes.push(format!("{} units instead of {}", budget.limit, own.limit));
    }
    if !is_within_window(&budget.window, &own.window) {
        changes.push(format!("{} instead of {}", describe_window(&budget.window), describe_window(&own.window)));
    }
    if is_rolling(budget) && is_rolling(own) && budget.burst() > own.burst() {
        changes.push(format!("{} units at once instead of {}", budget.burst(), own.burst()));
    }
    // One of the whole platform counts every request, so it allows less than one of a secret.
    if let Some(slot) = budget.slot.as_ref().filter(|_| budget.slot != own.slot) {
        let own = own.slot.as_ref().map_or("the whole platform".to_owned(), |own| format!("the secret {own}"));
        changes.push(format!("of the secret {slot} instead of {own}"));
    }
    if !budget.never_cheaper_than(own) {
        changes.push("requests cost less".to_owned());
    }
    changes
}

/// Whether a limit in the new window never allows more than the same limit in the old one: every old window lies within
/// a new one.
fn is_within_window(new: &BudgetWindow, old: &BudgetWindow) -> bool {
    match (new, old) {
        (BudgetWindow::Seconds(new), BudgetWindow::Seconds(old)) => *old > 0 && new % old == 0 && new >= old,
        (BudgetWindow::Rolling(new), BudgetWindow::Seconds(old) | BudgetWindow::Rolling(old)) => new >= old,
        (new, old) => new == old,
    }
}

fn is_rolling(budget: &Budget) -> bool {
    matches!(budget.window, BudgetWindow::Rolling(_))
}

/// Interfaces without their versions, each once, in order.
fn interfaces(imports: &[String]) -> Vec<String> {
    let mut names: Vec<String> =
        imports.iter().map(|import| import.split('@').next().unwrap_or(import).to_owned()).collect();
    names.sort();
    names.dedup();
    names
}

fn reason_text(reason: &str) -> Option<String> {
    // Notes may have several lines.
    let line = reason.split_whitespace().collect::<Vec<_>>().join(" ");
    (!line.is_empty()).then_some(line)
}

fn listed<'a>(methods: impl Iterator<Item = &'a Method>) -> Option<String> {
    let names: Vec<&str> = methods.map(|method| method.as_str()).collect();
    (!names.is_empty()).then(|| names.join(", "))
}

/// The name that a value without fields has in a manifest.
fn name_of(value: &impl Serialize) -> String {
    serde_json::to_value(value).ok().and_then(|value| Some(value.as_str()?.to_owned())).unwrap_or_default()
}

fn describe_owner(owner: Owner) -> &'static str {
    if owner == Owner::Operator { "yours" } else { "each account's own" }
}

fn describe_place(inject: &Inject) -> String {
    match inject {
        Inject::Query(name) => format!("the query parameter {name}"),
        Inject::Bearer => "the Authorization header".to_owned(),
        Inject::Header(name) => format!("the header {name}"),
    }
}

fn describe_tokens(slot: &CredentialSlot) -> String {
    match &slot.token_url {
        Some(url) if slot.client_id_param == "client_id" => format!("tokens from {url}"),
        Some(url) => format!("tokens from {url} (client id as {})", slot.client_id_param),
        None => "no token endpoint".to_owned(),
    }
}

/// When a budget's units come back, as the end of a sentence about them.
#[must_use]
pub fn describe_window(window: &BudgetWindow) -> String {
    match window {
        BudgetWindow::Seconds(seconds) => format!("every {seconds} s"),
        BudgetWindow::Rolling(seconds) => format!("in any {seconds} s"),
        BudgetWindow::Daily { at, timezone } => format!("a day, reset at {at} {timezone}"),
    }
}

fn describe_days(days: Option<u32>) -> String {
    days.map_or_else(|| "as long as the host's default".to_owned(), |days| format!("{days} days"))
}

/// A credential slot on one line.
#[must_use]
pub fn describe_slot(slot: &CredentialSlot) -> String {
    let hosts: Vec<_> = slot.hosts.iter().map(ToString::to_string).collect();
    let token = slot.token_url.as_ref().map_or(String::new(), |_| format!("; the host gets {}", describe_tokens(slot)));
    let (kind, whose, place) = (name_of(&slot.kind), describe_owner(slot.owner), describe_place(&slot.inject));
    format!("{} ({kind}, {whose}): put into {place} for {}{token}", slot.slot, hosts.join(", "))
}

/// A budget on one line.
#[must_use]
pub fn describe_budget(budget: &Budget) -> String {
    let burst = budget.burst.map_or(String::new(), |_| format!(", at most {} at once", budget.burst()));
    let whose = if budget.slot.is_none() { ", for the whole platform (no credential)" } else { "" };
    format!("{}: {} units {}{burst}{whose}", budget.name, budget.limit, describe_window(&budget.window))
}

/// What a manifest says about how long data is kept and what it may be used for, one line each.
#[must_use]
pub fn describe_policy(policy: &Policy) -> Vec<String> {
    let kept = [("documents", policy.documents_days), ("metrics", policy.metrics_days)];
    let mut lines: Vec<String> =
        kept.into_iter().filter_map(|(what, days)| Some(format!("{what} are kept {} days at most", days?))).collect();
    match policy.authorised_days {
        Some(days) => lines.push(format!("{days} days at most for accounts whose owner has authorised it")),
        None if policy.unless_authorised && !lines.is_empty() => {
            lines.push("longer for accounts whose owner has authorised it".to_owned());
        }
        None => {}
    }
    if policy.forbids_ai {
        lines.push("AI use of its numbers is forbidden".to_owned());
    }
    lines
}

#[cfg(test)]
mod tests;
