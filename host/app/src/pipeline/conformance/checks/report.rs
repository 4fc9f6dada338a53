//! What the checks found.

use chrono::{NaiveDate, TimeDelta};
use serde::Serialize;

use backline_model::manifest::{Bypass, Bypassable};
use backline_model::{Digest, Platform};

/// Most findings of one check that are kept; a mistake often shows in hundreds of cases.
const FINDINGS_MAX: usize = 20;

/// Days ahead of which a bypass may end at most: what is to stay for ever is no bypass.
const BYPASS_DAYS_MAX: i64 = 366;

/// Something that a check found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CheckFinding {
    /// What was tried.
    pub case: String,
    /// What the connector did, and what is right.
    pub message: String,
}

/// One check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CheckResult {
    /// Name of the check.
    pub name: &'static str,
    /// Cases that were tried.
    pub cases: u32,
    /// Why it could not be tried, or not in full.
    pub skipped: Option<String>,
    /// What it found, at most twenty.
    pub findings: Vec<CheckFinding>,
    /// Number of findings that are not listed.
    pub more: u32,
    /// Whether a manifest may bypass it.
    pub can_be_bypassed: bool,
    /// The manifest's bypass of it, if it is in force and the check found something.
    pub bypassed: Option<Bypass>,
}

impl CheckResult {
    pub(super) fn new(name: &'static str) -> Self {
        let can_be_bypassed = Bypassable::named(name).is_some();
        Self { name, cases: 0, skipped: None, findings: Vec::new(), more: 0, can_be_bypassed, bypassed: None }
    }

    pub(super) fn found(&mut self, case: impl Into<String>, message: impl Into<String>) {
        if self.findings.len() == FINDINGS_MAX {
            self.more += 1;
        } else {
            self.findings.push(CheckFinding { case: case.into(), message: message.into() });
        }
    }

    /// Whether it found something and is not bypassed.
    #[must_use]
    pub fn failed(&self) -> bool {
        !self.findings.is_empty() && self.bypassed.is_none()
    }

    /// Applies the manifest's bypass of this check, if it has not ended.
    pub(super) fn bypass(&mut self, bypasses: &[Bypass], today: NaiveDate) {
        let Some(bypass) = bypasses.iter().find(|bypass| bypass.check.as_str() == self.name) else { return };
        let latest = today.checked_add_signed(TimeDelta::days(BYPASS_DAYS_MAX)).unwrap_or(NaiveDate::MAX);
        let until = bypass.until;
        let message = if self.findings.is_empty() {
            return;
        } else if until < today {
            format!("it ended on {until}; remedy what is found, or give a new reason and end")
        } else if until > latest {
            format!("it ends on {until}, more than {BYPASS_DAYS_MAX} days ahead; end it before")
        } else {
            self.bypassed = Some(bypass.clone());
            return;
        };
        // Before the others, of which only the first ones are listed.
        self.findings.insert(0, CheckFinding { case: format!("[[bypass]] of {}", self.name), message });
    }
}

/// What all checks found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ConformanceReport {
    /// Name of the connector.
    pub connector: String,
    /// Its version.
    pub version: String,
    /// Digest of the component.
    pub digest: Digest,
    /// Platform that it collects.
    pub platform: Platform,
    /// The accounts whose answers were used.
    pub accounts: Vec<String>,
    /// Every check.
    pub checks: Vec<CheckResult>,
}

impl ConformanceReport {
    /// Whether no check found anything, but what the manifest bypasses.
    #[must_use]
    pub fn passed(&self) -> bool {
        !self.checks.iter().any(CheckResult::failed)
    }

    /// Names of the checks that failed.
    #[must_use]
    pub fn failed(&self) -> Vec<&'static str> {
        self.checks.iter().filter(|check| check.failed()).map(|check| check.name).collect()
    }

    /// The bypasses in force.
    pub fn bypassed(&self) -> impl Iterator<Item = &Bypass> {
        self.checks.iter().filter_map(|check| check.bypassed.as_ref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn date(text: &str) -> NaiveDate {
        text.parse().expect("a date")
    }

    #[test]
    fn a_bypass_counts_until_its_end_and_for_its_check_only() {
        let bypass =
            |until| vec![Bypass { check: Bypassable::Cost, reason: "pages vary".to_owned(), until: date(until) }];
        for (name, until, failed) in [
            ("cost", "2026-11-30", false),
            ("cost", "2027-12-01", false),
            ("cost", "2026-11-29", true),
            ("cost", "2027-12-02", true),
            ("state", "2026-12-31", true),
            ("values", "2026-12-31", true),
        ] {
            let mut check = CheckResult::new(name);
            check.found("a batch", "it sends 3 requests");
            check.bypass(&bypass(until), date("2026-11-30"));
            assert_eq!(check.failed(), failed, "{name} {until}");
        }
        let mut passed = CheckResult::new("cost");
        passed.bypass(&bypass("2020-01-01"), date("2026-11-30"));
        assert!(!passed.failed() && passed.bypassed.is_none(), "a bypass that is not needed changes nothing");
        assert!(passed.can_be_bypassed && !CheckResult::new("values").can_be_bypassed);
    }
}
