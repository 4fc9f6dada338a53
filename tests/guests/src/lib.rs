//! Misbehaving connectors for tests, one per fault, in `examples/`. This library holds the behaviour they share.

use backline_sdk::prelude::*;

/// The document of a well-behaved guest: the account's platform id. No request is sent.
#[must_use]
pub fn echo(account: &Account) -> Fetched {
    Fetched::new(&json!({ "platform_id": account.platform_id, "followers": account.platform_id.len() }))
}

/// Calls [`echo`] for every account.
#[must_use]
pub fn echo_all(accounts: &[Account]) -> BatchResult {
    BatchResult { accounts: accounts.iter().map(|account| Ok(echo(account))).collect(), lost_metrics: Vec::new() }
}

/// The snapshot of a document that [`echo`] fetched.
///
/// # Errors
/// If the document is not JSON.
pub fn followers(document: &Document) -> Result<Snapshot, String> {
    Ok(Snapshot::builder().count("followers", &document.json()?["followers"], Absence::Hidden).build())
}
