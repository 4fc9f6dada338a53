//! What connectors wrote: the lines of their calls, those of calls that did not answer included.

use chrono::{DateTime, Utc};
use sqlx::any::AnyRow;

use crate::database::connection::Store;
use crate::database::dialect::Columns as _;
use crate::database::error::StoreError;
use crate::database::readable::{Extent, left_of, more_after};
use crate::scope::Scope;
use backline_model::{AccountId, BatchId, Digest, Platform, RunId};

/// Which lines to list. A field that is none does not restrict.
#[derive(Clone, Debug, Default)]
pub struct PluginLogFilter {
    /// Only lines after this number.
    pub after: i64,
    /// Only lines before this number: where the page of earlier ones begins.
    pub before: Option<i64>,
    /// Only of this platform's connectors.
    pub platform: Option<Platform>,
    /// Only of this release.
    pub release: Option<Digest>,
    /// Only of this batch.
    pub batch: Option<BatchId>,
    /// Only of batches with this account.
    pub account: Option<AccountId>,
    /// The latest lines, at most this many.
    pub limit: Option<u32>,
}

/// A line that a connector logged, and where it comes from.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct PluginLogLine {
    /// Number of the line. Lines of one batch are in their order; batches that end together share a stretch.
    pub seq: i64,
    /// When its batch was stored.
    pub at: DateTime<Utc>,
    /// Platform of the connector.
    pub platform: Platform,
    /// Digest of the release; `None` for lines that older versions stored.
    pub release: Option<Digest>,
    /// Version of the release, where it is known still.
    pub version: Option<String>,
    /// Run of the batch.
    pub run: RunId,
    /// The batch; `None` for lines that older versions stored.
    pub batch: Option<BatchId>,
    /// The function that logged it, `fetch` or `normalize`; `host` for what the host says of the connector.
    pub call: Option<String>,
    /// Level, such as `info`.
    pub level: String,
    /// The text, without secrets.
    pub message: String,
}

impl Store {
    /// The latest lines that connectors logged, the oldest of them first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn plugin_logs_list(
        &self,
        scope: &Scope,
        filter: &PluginLogFilter,
    ) -> Result<Vec<PluginLogLine>, StoreError> {
        let most = filter.limit.unwrap_or(u32::MAX);
        let (mut before, mut lines) = (filter.before.unwrap_or(i64::MAX), Vec::new());
        loop {
            let statement = self.scoped(
                scope,
                "SELECT l.seq, l.at::text AS at, l.platform, l.release_digest, r.version, l.run_id::text AS run_id,
                 l.batch_id::text AS batch_id, l.called, l.level, l.message
             FROM plugin_logs l LEFT JOIN releases r ON r.digest = l.release_digest
                 LEFT JOIN batches b ON b.id = l.batch_id
             WHERE l.seq > $1 AND l.seq < $7 AND ($2::text IS NULL OR l.platform = $2)
                 AND ($3::text IS NULL OR l.release_digest = $3)
                 AND ($4::uuid IS NULL OR l.batch_id = $4::uuid)
                 AND ($5::uuid IS NULL OR l.batch_id IN
                     (SELECT m.batch_id FROM batch_accounts m WHERE m.account_id = $5::uuid))
                 {and_tenant: b.tenant}
             ORDER BY l.seq DESC LIMIT $6",
            );
            let asked = left_of(most, lines.len());
            let statement = statement
                .bind(filter.after)
                .bind(filter.platform.as_ref().map(|platform| platform.as_str().to_owned()))
                .bind(filter.release.map(|digest| digest.to_string()))
                .bind(filter.batch.map(|batch| batch.to_string()))
                .bind(filter.account.map(|account| account.to_string()))
                .bind(i64::from(asked))
                .bind(before);
            let rows = self.rows("list what connectors logged", statement).await?;
            lines.extend(self.unreadable.read("plugin_logs", "seq", Extent::Part, &rows, line_of)?);
            let Some(last) = more_after(&rows, asked, lines.len(), most) else { break };
            before = last.number("seq")?;
        }
        lines.reverse();
        Ok(lines)
    }
}

fn line_of(row: &AnyRow) -> Result<PluginLogLine, StoreError> {
    Ok(PluginLogLine {
        seq: row.int("seq")?,
        at: row.time("at")?,
        platform: row.parsed("platform")?,
        release: row.parsed_or_null("release_digest")?,
        version: row.text_or_null("version")?,
        run: row.parsed("run_id")?,
        batch: row.parsed_or_null("batch_id")?,
        call: row.text_or_null("called")?,
        level: row.text("level")?,
        message: row.text("message")?,
    })
}
