//! Metrics, growth, and values that failed validation.

use chrono::NaiveDate;
use uuid::Uuid;

use crate::api::answer::{Form, Item, Numbers, Page};
use crate::api::call::Call;
use crate::api::handlers::known;
use crate::api::problem::Problem;
use crate::api::query::{Format, Limit, NoQuery, query};
use crate::pipeline::{NumbersKind, NumbersRequest, parquet_stream};
use backline_model::row::QuarantineStatus;
use backline_model::{AccountId, ArtistId, GrowthRow, MetricsRow, Platform, Quarantined, Tenant};
use backline_store::{MetricsFilter, QuarantineFilter, Scope};

/// When to ask again for a file where too many are under way, in seconds.
const RETRY_AFTER_S: u64 = 10;

query! {
    /// Parameters of numbers.
    NumbersQuery {
        /// Only this artist's
        artist: ArtistId,
        /// Only this account's
        account: AccountId,
        /// Only on this platform
        platform: Platform,
        /// Only of artists of this tenant
        tenant: Tenant,
        /// Only from this date on
        since: NaiveDate,
        /// Only up to this date, itself included
        until: NaiveDate,
        /// How they are written
        format: Format,
        /// At most this many rows
        limit: Limit,
        /// Where the page begins: `next` of the page before
        cursor: String,
    }
}

query! {
    /// Parameters of a list of values that failed validation.
    QuarantineQuery {
        /// Only this artist's
        artist: ArtistId,
        /// Only on this platform
        platform: Platform,
        /// Only of artists of this tenant
        tenant: Tenant,
        /// Only values with this status
        status: QuarantineStatus,
        /// At most this many
        limit: Limit,
        /// Where the page begins: `next` of the page before
        cursor: String,
    }
}

impl NumbersQuery {
    async fn read(&self, call: &Call) -> Result<(Scope, MetricsFilter), Problem> {
        if let (Some(since), Some(until)) = (self.since, self.until)
            && since > until
        {
            return Err(Problem::wrong(format!("since={since} is after until={until}")));
        }
        let filter = MetricsFilter {
            artist: self.artist,
            account: self.account,
            platform: known(call.host(), self.platform.clone()).await?,
            since: self.since,
            until: self.until,
            after: call.after(self.cursor.as_ref())?,
            limit: Some(Limit::of(self.limit) + 1),
        };
        Ok((call.scope_of(self.tenant.clone()).await?, filter))
    }

    /// How a page is written; none where a file of all rows is asked for.
    fn form(&self) -> Option<Form> {
        match self.format.unwrap_or_default() {
            Format::Json => Some(Form::Json),
            Format::Ndjson => Some(Form::Ndjson),
            Format::Csv => Some(Form::Csv),
            Format::Parquet => None,
        }
    }

    /// All rows that are asked for, as a file.
    fn file<T>(
        &self,
        call: &Call,
        kind: NumbersKind,
        scope: Scope,
        filter: MetricsFilter,
    ) -> Result<Numbers<T>, Problem> {
        if self.limit.is_some() || self.cursor.is_some() {
            return Err(Problem::wrong("format=parquet is all rows in one file; leave out limit and cursor"));
        }
        let request = NumbersRequest { kind, scope, filter: MetricsFilter { limit: None, ..filter } };
        let stream = parquet_stream(call.host().store().clone(), request);
        stream.map(Numbers::File).ok_or_else(|| Problem::too_many(RETRY_AFTER_S))
    }
}

pub(in crate::api) async fn metrics(call: Call, query: NumbersQuery) -> Result<Numbers<MetricsRow>, Problem> {
    let (scope, filter) = query.read(&call).await?;
    let Some(form) = query.form() else { return query.file(&call, NumbersKind::Metrics, scope, filter) };
    let rows = call.host().store().metrics_list(&scope, &filter).await?;
    let page = call.page(rows, query.limit, |row| (row.metric_date, row.account_id))?;
    Ok(Numbers::Page(page, form))
}

pub(in crate::api) async fn growth(call: Call, query: NumbersQuery) -> Result<Numbers<GrowthRow>, Problem> {
    let (scope, filter) = query.read(&call).await?;
    let Some(form) = query.form() else { return query.file(&call, NumbersKind::Growth, scope, filter) };
    let rows = call.host().store().growth_list(&scope, &filter).await?;
    let page = call.page(rows, query.limit, |row| (row.metric_date, row.account_id))?;
    Ok(Numbers::Page(page, form))
}

pub(in crate::api) async fn quarantine(call: Call, query: QuarantineQuery) -> Result<Page<Quarantined>, Problem> {
    let scope = call.scope_of(query.tenant).await?;
    let filter = QuarantineFilter {
        status: query.status,
        platform: known(call.host(), query.platform).await?,
        artist: query.artist,
        before: call.after(query.cursor.as_ref())?,
        limit: Some(Limit::of(query.limit) + 1),
    };
    let values = call.host().store().quarantine_list(&scope, &filter).await?;
    call.page(values, query.limit, |value| value.id)
}

pub(in crate::api) async fn withheld(call: Call, _: NoQuery) -> Result<Item<Quarantined>, Problem> {
    let id: Uuid = call.path("value")?;
    let value = call.host().store().quarantine_get(&call.scope(), id).await?;
    value.map(Item).ok_or_else(|| Problem::not_found("quarantined value", id))
}
