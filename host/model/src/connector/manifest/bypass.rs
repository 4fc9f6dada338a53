//! Checks that a connector does not pass for the time being, with the reason and the end.

use std::collections::BTreeSet;

use chrono::NaiveDate;
use serde::{Deserialize, Serialize};

use super::findings::{Findings, ManifestPath};

/// A check of `backline plugins conformance` that a manifest may bypass. All others protect the numbers or the artists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Bypassable {
    /// Something is declared that no recording exercises.
    Declared,
    /// More requests are sent than `[[request]]` declares.
    Cost,
    /// What lies outside the window is counted, because the platform does not tell what lies inside.
    Window,
    /// The state of an earlier day changes what is collected.
    State,
    /// Lost metrics are asked for again.
    Lost,
}

impl Bypassable {
    /// Every one.
    pub const ALL: [Self; 5] = [Self::Declared, Self::Cost, Self::Window, Self::State, Self::Lost];

    /// The name of the check.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Declared => "declared",
            Self::Cost => "cost",
            Self::Window => "window",
            Self::State => "state",
            Self::Lost => "lost",
        }
    }

    /// The check of this name; `None` for one that can't be bypassed.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|check| check.as_str() == name)
    }
}

/// A check that is bypassed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bypass {
    /// The check.
    pub check: Bypassable,
    /// Why it can't pass, for those who decide whether to install the connector.
    pub reason: String,
    /// Last date of the bypass, in UTC; the check counts again from the next one on.
    pub until: NaiveDate,
}

/// Each check is bypassed once, with a reason.
pub(super) fn check(bypasses: &[Bypass], findings: &mut Findings) {
    let mut seen = BTreeSet::new();
    for (index, bypass) in bypasses.iter().enumerate() {
        let place = ManifestPath::of("bypass").index(index);
        let field = format!("bypass {}", bypass.check.as_str());
        if !seen.insert(bypass.check) {
            findings.add(place.key("check"), field.clone(), "it is bypassed twice");
        }
        if bypass.reason.trim().is_empty() {
            findings.add(place.key("reason"), field, "it gives no reason; write one for those who install it");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Manifest;
    use crate::fixtures::manifest_with;

    fn parsed(check: &str, reason: &str, until: &str) -> Result<Manifest, String> {
        let bypass = format!("[[bypass]]\ncheck = \"{check}\"\nreason = \"{reason}\"\nuntil = \"{until}\"\n");
        Manifest::parse(&manifest_with(&bypass)).map_err(|error| error.to_string())
    }

    #[test]
    fn a_bypass_names_a_check_that_can_be_bypassed_a_reason_and_an_end() {
        let bypass = parsed("cost", "pages vary", "2026-12-31").expect("valid").bypasses.remove(0);
        assert_eq!((bypass.check, bypass.until.to_string()), (Bypassable::Cost, "2026-12-31".to_owned()));
        let kept = parsed("values", "later", "2026-12-31").expect_err("refused");
        assert!(kept.contains("unknown variant `values`") && kept.contains("declared"), "{kept}");
        assert!(parsed("cost", " ", "2026-12-31").expect_err("refused").contains("bypass cost"));
        assert!(parsed("cost", "pages vary", "some day").is_err());
    }

    #[test]
    fn a_check_is_bypassed_once() {
        let one = "[[bypass]]\ncheck = \"cost\"\nreason = \"pages vary\"\nuntil = \"2026-12-31\"\n";
        let twice = Manifest::parse(&manifest_with(&one.repeat(2))).expect_err("refused").to_string();
        assert!(twice.contains("bypassed twice"), "{twice}");
    }

    #[test]
    fn names_are_those_of_the_manifest() {
        for check in Bypassable::ALL {
            assert_eq!(Bypassable::named(check.as_str()), Some(check));
            assert_eq!(serde_json::to_value(check).expect("JSON"), check.as_str());
        }
        assert_eq!(Bypassable::named("values"), None);
    }
}
