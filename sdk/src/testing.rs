//! Runs a connector natively and offline, against prepared responses.

mod classes;

use serde_json::Value as Json;

use crate::{Account, BatchResult, Connector, Context, Document, FetchError, Http, Snapshot, Window};

pub use crate::replay::{Replay, SentRequest, response};
pub use classes::{ClassRow, class_name, class_table};

impl Replay {
    /// Runs a connector's `check`.
    ///
    /// # Errors
    /// The connector's error.
    pub fn check<C: Connector>(&self, account: Account) -> Result<String, FetchError> {
        self.for_accounts(std::slice::from_ref(&account));
        futures::executor::block_on(C::check(&Http { replay: self.clone() }, account))
    }

    /// Runs a connector's `fetch`.
    ///
    /// # Panics
    /// If the connector does not return one result per account. The host would refuse such a batch.
    pub fn fetch<C: Connector>(&self, accounts: Vec<Account>, context: Context) -> BatchResult {
        let expected = accounts.len();
        self.for_accounts(&accounts);
        let result = futures::executor::block_on(C::fetch(&Http { replay: self.clone() }, accounts, context));
        assert_eq!(result.accounts.len(), expected, "fetch must return one result per account");
        result
    }

    /// Runs a connector's `past` for one account.
    #[cfg(feature = "contract-1-1")]
    #[must_use]
    pub fn past<C: Connector>(
        &self,
        account: Account,
        windows: &[Window],
        context: &Context,
    ) -> Vec<(Window, Result<crate::Fetched, FetchError>)> {
        self.for_accounts(std::slice::from_ref(&account));
        futures::executor::block_on(C::past(&Http { replay: self.clone() }, account, windows, context))
    }

    /// Fetches one account and normalises its document.
    ///
    /// # Errors
    /// The error of the connector's `fetch`.
    ///
    /// # Panics
    /// If `normalize` refuses the document that `fetch` returned.
    pub fn collect<C: Connector>(&self, account: Account, context: Context) -> Result<Snapshot, FetchError> {
        let window = context.window;
        let fetched = self.fetch::<C>(vec![account], context).accounts.remove(0)?;
        let document = Document { body: fetched.body, window, observed_at: window.until };
        Ok(C::normalize(document).unwrap_or_else(|error| panic!("normalize failed: {error}")))
    }
}

/// An account without settings or state.
#[must_use]
pub fn account(id: &str, platform_id: &str) -> Account {
    Account { id: id.to_owned(), platform_id: platform_id.to_owned(), settings: "{}".to_owned(), state: None }
}

/// A context whose window is the 28 days before `until` (Unix seconds), without lost metrics.
#[must_use]
pub fn context(until: i64) -> Context {
    Context { window: Window { since: until - 28 * 86_400, until }, lost_metrics: Vec::new() }
}

/// Accounts `account-0`, `account-1` and so on with these platform ids, without settings or state.
#[must_use]
pub fn accounts(platform_ids: &[&str]) -> Vec<Account> {
    platform_ids.iter().enumerate().map(|(index, id)| account(&format!("account-{index}"), id)).collect()
}

/// The snapshot of a body that was fetched at `until` (Unix seconds), the end of a window of 28 days.
///
/// # Panics
/// If `normalize` refuses the body.
#[must_use]
pub fn snapshot<C: Connector>(body: &str, until: i64) -> Snapshot {
    let document = Document { body: body.to_owned(), window: context(until).window, observed_at: until };
    C::normalize(document).unwrap_or_else(|error| panic!("normalize failed: {error}"))
}

/// The files of a folder of recorded bodies, as pairs of name and content, sorted; `None` if the folder does not exist.
///
/// For tests against recordings that can't be published with the connector: the tests pass without the folder.
///
/// # Panics
/// If the folder exists and can't be read.
#[must_use]
pub fn bodies(folder: &std::path::Path) -> Option<Vec<(String, Vec<u8>)>> {
    let entries = std::fs::read_dir(folder).ok()?;
    let mut bodies: Vec<(String, Vec<u8>)> = entries
        .map(|entry| {
            let entry = entry.unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
            let body =
                std::fs::read(entry.path()).unwrap_or_else(|error| panic!("{}: {error}", entry.path().display()));
            (entry.file_name().to_string_lossy().into_owned(), body)
        })
        .collect();
    bodies.sort();
    Some(bodies)
}

/// The value of a metric in a snapshot as JSON: a number, a text, a list, or the reason why it is missing in the form
/// of [`absent`]. Null if the metric was not reported.
#[must_use]
pub fn metric(snapshot: &Snapshot, name: &str) -> Json {
    let Some(metric) = snapshot.metrics.iter().find(|metric| metric.name == name) else { return Json::Null };
    match &metric.value {
        Ok(crate::Value::Integer(integer)) => (*integer).into(),
        Ok(crate::Value::Decimal(decimal)) => (*decimal).into(),
        Ok(crate::Value::Text(text)) => text.as_str().into(),
        Ok(crate::Value::Texts(texts)) => texts.clone().into(),
        Err(reason) => absent(crate::absence_name(*reason)),
    }
}

/// The form in which [`metric`] returns a missing value, such as `{"absent": "hidden"}`.
#[must_use]
pub fn absent(reason: &str) -> Json {
    serde_json::json!({ "absent": reason })
}

/// How many posts a metric counted, and how many it skipped.
///
/// # Panics
/// If the metric was not reported, or has no coverage.
#[must_use]
pub fn coverage(snapshot: &Snapshot, name: &str) -> (u32, u32) {
    let metric = snapshot.metrics.iter().find(|metric| metric.name == name);
    let coverage = metric.unwrap_or_else(|| panic!("{name} was not reported")).coverage;
    coverage.map_or_else(|| panic!("{name} has no coverage"), |coverage| (coverage.counted, coverage.skipped))
}
