//! What the checks found.

use serde::Serialize;

use backline_model::{Digest, Platform};

/// Most findings of one check that are kept; a mistake often shows in hundreds of cases.
const FINDINGS_MAX: usize = 20;

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
}

impl CheckResult {
    pub(super) fn new(name: &'static str) -> Self {
        Self { name, cases: 0, skipped: None, findings: Vec::new(), more: 0 }
    }

    pub(super) fn found(&mut self, case: impl Into<String>, message: impl Into<String>) {
        if self.findings.len() == FINDINGS_MAX {
            self.more += 1;
        } else {
            self.findings.push(CheckFinding { case: case.into(), message: message.into() });
        }
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
    /// Whether no check found anything.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.checks.iter().all(|check| check.findings.is_empty())
    }
}
