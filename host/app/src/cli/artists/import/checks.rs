//! The checks of an import: each platform is asked once about each imported account, as far as allowances go.

use std::collections::BTreeSet;

use serde::Serialize;

use crate::cli::terminal::exit::{Failure, sentence};
use crate::pipeline::{CheckReport, Host, ShadowError};
use backline_model::{AccountId, FailureClass, Platform};

/// Most accounts of one import that are asked about, one after the other: some minutes, and a part of an allowance.
const CHECKS_MAX: u64 = 1_000;

/// What the platforms said of the imported accounts.
#[derive(Debug, Default, Serialize)]
pub(super) struct Checks {
    /// Accounts that the platform knows, with credentials that it takes.
    pub passed: u64,
    /// Accounts that it refused, and why.
    pub failed: Vec<Refused>,
    /// Accounts that it was not asked about: too many, or its allowance is spent, or its connector can't be used.
    pub not_asked: u64,
}

/// An account that a check refused.
#[derive(Debug, Serialize)]
pub(super) struct Refused {
    pub platform: Platform,
    /// The platform's id of the account.
    pub platform_id: String,
    /// Why it was refused.
    pub problem: String,
}

/// Asks about the accounts in turn. A platform whose allowance is spent, or that refuses the operator, is not asked
/// again.
pub(super) async fn run(host: &Host, accounts: Vec<(Platform, AccountId, String)>) -> Result<Checks, Failure> {
    let mut checks = Checks::default();
    let mut ended: BTreeSet<Platform> = BTreeSet::new();
    let mut asked = 0_u64;
    for (platform, account, platform_id) in accounts {
        if asked == CHECKS_MAX || ended.contains(&platform) {
            checks.not_asked += 1;
            continue;
        }
        asked += 1;
        let problem = match host.conformance().check(&platform, Some(account)).await {
            Ok(None) => {
                checks.not_asked += 1;
                continue;
            }
            Ok(Some(CheckReport { problem: None, .. })) => {
                checks.passed += 1;
                continue;
            }
            Ok(Some(CheckReport { problem: Some(problem), class, .. })) => {
                if class.is_some_and(ends_a_platform) {
                    ended.insert(platform.clone());
                }
                problem
            }
            Err(ShadowError::Store(error)) => return Err(error.into()),
            Err(error) => {
                ended.insert(platform.clone());
                sentence(&error)
            }
        };
        checks.failed.push(Refused { platform, platform_id, problem });
    }
    Ok(checks)
}

/// Whether the next account of the platform would be refused in the same way.
fn ends_a_platform(class: FailureClass) -> bool {
    matches!(class, FailureClass::RateLimited | FailureClass::Misconfigured | FailureClass::Denied)
}
