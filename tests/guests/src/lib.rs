//! Ill-behaved connectors: see `examples/`, one per misdeed. What they do well is here.

use backline_sdk::prelude::*;

/// What a well-behaved guest fetches: the account's own platform id, without asking anybody.
#[must_use]
pub fn echo(account: &Account) -> Fetched {
    Fetched::new(&json!({ "platform_id": account.platform_id, "followers": account.platform_id.len() }))
}

/// Echoes every account.
#[must_use]
pub fn echo_all(accounts: &[Account]) -> BatchResult {
    BatchResult { accounts: accounts.iter().map(|account| Ok(echo(account))).collect(), lost_metrics: Vec::new() }
}

/// The snapshot of what [`echo`] fetched.
///
/// # Errors
/// When the document is not JSON.
pub fn followers(document: &Document) -> Result<Snapshot, String> {
    Ok(Snapshot::builder().count("followers", &document.json()?["followers"], Absence::Hidden).build())
}
