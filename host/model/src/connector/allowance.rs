//! Allowances: whose units a budget counts, and which terms of a budget are valid.

use std::collections::BTreeSet;
use std::fmt;

use crate::ids::{CredentialId, Platform};
use crate::manifest::findings::{Findings, ManifestPath};
use crate::manifest::{Budget, BudgetWindow};
use crate::pace::Pace;

/// Longest rolling window, in seconds: a day.
const ROLLING_SECONDS_MAX: u32 = 86_400;

/// Whose units are counted: those of one credential (the operator's, or an account's), or of a whole platform.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Holder {
    /// Requests with this credential.
    Credential(CredentialId),
    /// Every request for this platform.
    Platform(Platform),
}

impl Holder {
    /// The credential, where it is one.
    #[must_use]
    pub fn credential(&self) -> Option<CredentialId> {
        match self {
            Self::Credential(credential) => Some(*credential),
            Self::Platform(_) => None,
        }
    }
}

impl fmt::Display for Holder {
    /// The name used in tables.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Credential(credential) => write!(f, "credential/{credential}"),
            Self::Platform(platform) => write!(f, "platform/{platform}"),
        }
    }
}

impl Budget {
    /// Units that may be sent at once in a rolling window: the declared burst, and never less than one request costs.
    #[must_use]
    pub fn burst(&self) -> u64 {
        self.burst.unwrap_or(1).max(self.costliest())
    }

    /// Units of the costliest request.
    #[must_use]
    pub fn costliest(&self) -> u64 {
        self.costs.iter().map(|cost| cost.units).fold(self.default_cost, u64::max)
    }

    /// How requests are spaced under this limit, which may be the operator's; `None` for windows that reset.
    #[must_use]
    pub fn pace(&self, limit: u64) -> Option<Pace> {
        match self.window {
            BudgetWindow::Rolling(seconds) => Some(Pace::of(limit, seconds, self.burst())),
            BudgetWindow::Seconds(_) | BudgetWindow::Daily { .. } => None,
        }
    }
}

/// Checks the terms of a manifest's budgets.
pub(super) fn check(budgets: &[Budget], is_slot: &dyn Fn(&str) -> bool, findings: &mut Findings) {
    let mut seen = BTreeSet::new();
    for (index, budget) in budgets.iter().enumerate() {
        let found = if seen.insert(&budget.name) {
            problem_of(budget, is_slot)
        } else {
            Some(("name", "it is declared twice".into()))
        };
        if let Some((key, problem)) = found {
            findings.add(ManifestPath::of("budget").index(index).key(key), format!("budget {}", budget.name), problem);
        }
    }
}

/// The key with a wrong value, and what is wrong with it.
fn problem_of(budget: &Budget, is_slot: &dyn Fn(&str) -> bool) -> Option<(&'static str, String)> {
    let limit = budget.limit;
    if let Some(slot) = budget.slot.as_deref().filter(|slot| !is_slot(slot)) {
        let problem = format!(
            "it names the credential slot '{slot}', which does not exist; leave slot out if the limit belongs to no \
             credential: it then counts for the whole platform"
        );
        return Some(("slot", problem));
    }
    if limit == 0 {
        return Some(("limit", "a limit of 0 would allow nothing".into()));
    }
    let costs = budget.costs.iter().map(|cost| ("costs", cost.path.as_str(), cost.units));
    for (key, path, units) in costs.chain([("default_cost", "any other path", budget.default_cost)]) {
        if units > limit {
            let problem = format!(
                "a request to {path} costs {units} units, more than the limit of {limit}, and could never be sent"
            );
            return Some((key, problem));
        }
    }
    match (&budget.window, budget.burst) {
        (BudgetWindow::Seconds(0), _) => Some(("window", "a window of 0 seconds never ends".into())),
        (BudgetWindow::Rolling(seconds), _) if !(1..=ROLLING_SECONDS_MAX).contains(seconds) => {
            let problem = format!(
                "a rolling window has 1 to {ROLLING_SECONDS_MAX} seconds, not {seconds}; a limit over a longer time \
                 is counted with window = {{ seconds = {seconds} }}"
            );
            Some(("window", problem))
        }
        (BudgetWindow::Rolling(_), Some(0)) => {
            Some(("burst", "a burst of 0 would send nothing; leave burst out for 1".into()))
        }
        (BudgetWindow::Rolling(_), Some(burst)) if burst > limit => {
            Some(("burst", format!("a burst of {burst} is more than the limit of {limit}")))
        }
        (BudgetWindow::Seconds(seconds), Some(_)) => {
            let problem = format!(
                "only a rolling window has a burst; write window = {{ rolling = {seconds} }}, or leave burst out"
            );
            Some(("burst", problem))
        }
        (BudgetWindow::Daily { .. }, Some(_)) => {
            Some(("burst", "only a rolling window has a burst; leave burst out".into()))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use crate::fixtures::manifest_with;
    use crate::grant::describe_budget;
    use crate::manifest::{Manifest, ManifestError};
    use crate::pace::Pace;

    const TABLES: &str = r#"
        [[host]]
        origin = "https://api.test"
        methods = ["GET"]
        reason = "numbers"

        [[budget]]
        name = "rate"
        limit = 50
        window = { rolling = 5 }
        burst = 10
    "#;

    fn with(from: &str, to: &str) -> Result<Manifest, ManifestError> {
        let text = manifest_with(TABLES);
        assert!(text.contains(from), "{from}");
        Manifest::parse(&text.replace(from, to))
    }

    #[test]
    fn a_limit_without_a_credential_is_the_platforms_and_is_spaced() {
        let budget = &with("burst = 10", "burst = 10").expect("a valid manifest").budgets[0];
        assert_eq!((budget.slot.as_deref(), budget.burst()), (None, 10));
        assert_eq!(budget.pace(50), Some(Pace::of(50, 5, 10)));
        assert_eq!(
            describe_budget(budget),
            "rate: 50 units in any 5 s, at most 10 at once, for the whole platform (no credential)"
        );
        let plain = &with("burst = 10", "").expect("a valid manifest").budgets[0];
        assert_eq!((plain.burst(), plain.pace(20)), (1, Some(Pace::of(20, 5, 1))));
        let fixed =
            &with("{ rolling = 5 }\n        burst = 10", "{ seconds = 5 }").expect("a valid manifest").budgets[0];
        assert_eq!(fixed.pace(50), None);
        let costly = &with("burst = 10", "default_cost = 7").expect("a valid manifest").budgets[0];
        assert_eq!((costly.burst(), costly.costliest()), (7, 7), "a request is sent whole");
    }

    #[test]
    fn terms_that_mean_nothing_are_refused_with_what_to_write() {
        for (from, to, told) in [
            ("limit = 50", "slot = \"none\"\nlimit = 50", "leave slot out"),
            ("burst = 10", "burst = 0", "a burst of 0"),
            ("burst = 10", "burst = 51", "a burst of 51 is more than the limit of 50"),
            ("rolling = 5 }", "rolling = 0 }", "1 to 86400 seconds, not 0"),
            ("rolling = 5 }", "rolling = 86401 }", "window = { seconds = 86401 }"),
            ("rolling = 5 }", "seconds = 5 }", "write window = { rolling = 5 }"),
            ("{ rolling = 5 }", "{ daily = { at = \"00:00:00\", timezone = \"UTC\" } }", "leave burst out"),
        ] {
            let problem = with(from, to).expect_err(to).to_string();
            assert!(problem.contains("budget rate") && problem.contains(told), "{problem}");
        }
    }
}
