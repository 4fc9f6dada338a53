//! Which values of a manifest are valid, once it has its form.

use std::collections::BTreeSet;

use serde_json::Value as Json;

use super::findings::{Findings, ManifestPath};
use super::{BATCH_SIZE_MAX, CredentialKind, CredentialSlot, Inject, Manifest, Owner, bypass};
use crate::account_rule::{self, Declared};
use crate::allowance;
use crate::ids::check_name;
use crate::metric::{Kind, names};
use crate::origin::Origin;
use crate::text::misleads;

impl Manifest {
    /// Every value that is not valid.
    pub(super) fn findings(&self) -> Findings {
        let mut findings = Findings::default();
        let connector = ManifestPath::of("connector");
        if let Err(error) = check_name("connector name", &self.connector.name, 64) {
            findings.add(connector.key("name"), "connector.name", error.to_string());
        }
        if self.connector.batch_size == 0 || self.connector.batch_size > BATCH_SIZE_MAX {
            let problem = format!("{} is not between 1 and {BATCH_SIZE_MAX}", self.connector.batch_size);
            findings.add(connector.key("batch_size"), "connector.batch_size", problem);
        }
        for (index, host) in self.hosts.iter().enumerate() {
            let (place, field) = (ManifestPath::of("host").index(index), format!("host {}", host.origin));
            if host.methods.is_empty() {
                let problem = "it lists no method; write methods = [\"GET\"]";
                findings.add(place.key("methods"), field.clone(), problem);
            }
            if host.reason.trim().is_empty() {
                let problem = "it gives no reason; write one for the operator, who decides by it";
                findings.add(place.key("reason"), field, problem);
            }
        }
        self.check_texts(&mut findings);
        let mut seen = BTreeSet::new();
        for (index, slot) in self.credentials.iter().enumerate() {
            self.check_credential(
                slot,
                seen.insert(&slot.slot),
                &ManifestPath::of("credential").index(index),
                &mut findings,
            );
        }
        for (index, request) in self.requests.iter().enumerate() {
            if request.most.is_some_and(|most| most < request.count) {
                let place = ManifestPath::of("request").index(index).key("most");
                let problem = format!("it is less than count, which is {}", request.count);
                findings.add(place, format!("request {}", request.name), problem);
            }
        }
        allowance::check(&self.budgets, &|slot| self.slot(slot).is_some(), &mut findings);
        self.check_metrics(&mut findings);
        if !self.settings.is_object() {
            findings.add(ManifestPath::of("settings"), "settings", "it is not a JSON Schema object");
        }
        if let Some(rule) = &self.account {
            let is_of_accounts = |slot: &str| self.slot(slot).map(|slot| slot.owner == Owner::Account);
            let Self { connector, settings, .. } = self;
            let declared = Declared { platform: &connector.platform, settings, is_of_accounts: &is_of_accounts };
            account_rule::check(rule, &declared, &mut findings);
        }
        self.check_policy(&mut findings);
        bypass::check(&self.bypasses, &mut findings);
        findings
    }

    /// Days of their own for authorised accounts are an exception, and a longer time than that of the others. Both of
    /// the others have to be given: the host deletes by age whatever is not excepted, so without one, data of all
    /// accounts would go after these days.
    fn check_policy(&self, findings: &mut Findings) {
        let policy = &self.policy;
        let Some(days) = policy.authorised_days else { return };
        let problem = match (policy.documents_days, policy.metrics_days) {
            _ if !policy.unless_authorised => {
                "it is for accounts that the other days leave out; write unless_authorised = true".to_owned()
            }
            (Some(documents), Some(metrics)) if days >= documents.max(metrics) => return,
            (Some(documents), Some(metrics)) => {
                let longest = documents.max(metrics);
                format!("{days} days are fewer than the {longest} of accounts whose owner has authorised nothing")
            }
            _ => {
                "it is the longer one of two times; write documents_days and metrics_days of the others too".to_owned()
            }
        };
        findings.add(ManifestPath::of("policy").key("authorised_days"), "policy.authorised_days", problem);
    }

    fn check_metrics(&self, findings: &mut Findings) {
        let mut seen = BTreeSet::new();
        for (index, metric) in self.metrics.iter().enumerate() {
            let (place, field) = (ManifestPath::of("metric").index(index), format!("metric {}", metric.name));
            if !seen.insert(metric.name.as_str()) {
                findings.add(place.key("name"), field.clone(), "it is declared twice");
            }
            if metric.name.as_str() == names::ENGAGEMENT_RATE && metric.kind != Kind::Ratio {
                findings.add(place.key("kind"), field, "the host computes it; its kind is ratio");
            }
        }
        for (index, known) in self.breaks.iter().enumerate() {
            if !seen.contains(known.metric.as_str()) {
                let place = ManifestPath::of("break").index(index).key("metric");
                findings.add(place, format!("break of {}", known.metric), "the catalogue has no such metric");
            }
        }
    }

    /// The operator decides by what is shown of the manifest, so nothing in it may change how it is displayed.
    fn check_texts(&self, findings: &mut Findings) {
        let whole = serde_json::to_value(self).unwrap_or_default();
        let Json::Object(entries) = &whole else { return };
        for (name, value) in entries {
            misleading_texts(value, name, &ManifestPath::of(name), findings);
        }
    }

    fn check_credential(&self, slot: &CredentialSlot, is_first: bool, place: &ManifestPath, findings: &mut Findings) {
        let field = format!("credential {}", slot.slot);
        let mut add = |key: &str, problem: String| findings.add(place.key(key), field.clone(), problem);
        if let Err(error) = check_name("credential slot", &slot.slot, 64) {
            add("slot", error.to_string());
        }
        if !is_first {
            add("slot", "it is declared twice".into());
        }
        if slot.hosts.is_empty() {
            add("hosts", "it lists no host that the secret may be sent to".into());
        }
        for origin in &slot.hosts {
            if !self.hosts.iter().any(|host| origin.is_within(&host.origin)) {
                add("hosts", format!("{origin} is not among the manifest's hosts"));
            }
        }
        match &slot.inject {
            Inject::Query(name) if name.is_empty() => add("inject", "the query parameter has no name".into()),
            Inject::Header(name) if !is_header_of_its_own(name) => {
                add("inject", format!("'{name}' is not the name of a header that a secret can be put into"));
            }
            _ => {}
        }
        let needs_url = matches!(
            slot.kind,
            CredentialKind::Oauth2ClientCredentials
                | CredentialKind::Oauth2RefreshToken
                | CredentialKind::InstagramLongLived
        );
        match &slot.token_url {
            None if needs_url => add("token_url", "its kind needs a token_url".into()),
            Some(url) if Origin::of(url).is_err() => add("token_url", format!("token_url {url} is not https")),
            _ => {}
        }
    }
}

/// Adds every misleading text of the manifest. Descriptions, notes and the settings' schema may have several lines.
fn misleading_texts(json: &Json, field: &str, place: &ManifestPath, findings: &mut Findings) {
    let several_lines = field.starts_with("settings") || field.ends_with("description") || field.ends_with("note");
    let wrong = |text: &str| text.chars().any(|c| misleads(c) && !(several_lines && matches!(c, '\n' | '\t' | '\r')));
    let problem = "it has control or invisible characters; write plain text";
    match json {
        Json::String(text) if wrong(text) => findings.add(place.clone(), field, problem),
        Json::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                misleading_texts(item, field, &place.index(index), findings);
            }
        }
        Json::Object(entries) => {
            for (name, value) in entries {
                // The names in the settings' schema are the author's text too.
                if wrong(name) {
                    findings.add(place.clone(), field, problem);
                } else {
                    misleading_texts(value, &format!("{field}.{name}"), &place.key(name), findings);
                }
            }
        }
        _ => {}
    }
}

/// Whether a header of this name can carry a secret: its name is a token (RFC 9110, 5.6.2), and it does not frame or
/// route the request.
fn is_header_of_its_own(name: &str) -> bool {
    const OF_THE_HOST: [&str; 10] = [
        "host",
        "connection",
        "content-length",
        "content-encoding",
        "transfer-encoding",
        "te",
        "trailer",
        "upgrade",
        "expect",
        "keep-alive",
    ];
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !name.is_empty() && name.bytes().all(is_token) && !OF_THE_HOST.contains(&name.to_ascii_lowercase().as_str())
}
