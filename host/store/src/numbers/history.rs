//! What the stages before storing must know of an account's other days.
//!
//! A row that can't be read is as if it were not there: it keeps no other account of its batch from being stored. One
//! of the date that is stored is known to be there, and what is stored replaces it.
//!
//! Of other dates only `metrics` is read, never the archive: growth reaches back 90 days and a backfill 400, and
//! nothing is archived before 490 days are over. A late number for a date that is archived is merged with its row
//! there.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use chrono::{Days, NaiveDate};
use serde_json::json;
use sqlx::any::AnyRow;

use crate::database::connection::Work;
use crate::database::dialect::{Columns as _, json};
use crate::database::error::StoreError;
use crate::database::readable::Extent;
use crate::database::rows::id_rows;
use crate::database::table::Table;
use crate::numbers::metrics::{engagement_of, row_columns, row_of, value_columns, values_of};
use backline_model::growth::SPANS_DAYS;
use backline_model::{AccountId, History, MetricName, MetricsRow};

/// Days right before a date that are always known: validation looks for values that have not moved for 14 of them.
const RECENT_DAYS: u64 = 15;

/// Days after a date in which every row's growth may be measured from it. Of what lies beyond, only the next row with a
/// metric may: the metric is measured from its latest value before that row.
const LATER_DAYS: u64 = 90;

/// How far back a metric's latest value is searched for when a date is filled in that lies before others, in days.
const BACKFILL_DAYS: u64 = 400;

/// When each metric of an account was last accepted.
pub(crate) type LastAccepted = BTreeMap<MetricName, NaiveDate>;

/// What is known of an account besides the row about to be written.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AccountHistory {
    /// The row of the same date, which the new one is merged with.
    pub existing: Option<MetricsRow>,
    /// Whether there is a row of the same date that can't be read, which the new one replaces.
    pub(crate) hides_row: bool,
    /// Accepted values of other dates: all of the 15 days before, the days that growth is computed from, the latest one
    /// of each metric that has none among these, and what later dates' growth needs.
    pub history: History,
    /// Dates after this one that have rows, in order: those up to 90 days on, and after these up to the first one with
    /// each metric.
    pub later_dates: Vec<NaiveDate>,
    /// Their rows, in the same order.
    pub later_rows: Vec<MetricsRow>,
}

impl AccountHistory {
    /// Whether there is no row of the same date, readable or not.
    pub(crate) fn has_no_row(&self) -> bool {
        self.existing.is_none() && !self.hides_row
    }

    fn add_later(&mut self, row: MetricsRow) {
        let basis = row.engagement.map(|engagement| engagement.basis);
        self.history.insert(row.metric_date, row.values.clone(), basis);
        self.history.observe(row.metric_date, row.observed_at, row.observed.clone());
        self.later_dates.push(row.metric_date);
        self.later_rows.push(row);
    }
}

/// Dates of one account, both ends included.
struct Span {
    account: AccountId,
    since: NaiveDate,
    until: NaiveDate,
}

/// Spans as the statements below take them.
fn table_of(work: &Work, statement: &'static str, spans: impl IntoIterator<Item = Span>) -> Table {
    let mut table = Table::of(work.kind, statement);
    for Span { account, since, until } in spans {
        table.add([("account", json!(account)), ("since", json!(since)), ("until", json!(until))]);
    }
    table
}

/// Reads what is known besides the rows of these dates. An account may be asked for once.
pub(crate) async fn histories_load_in_txn(
    work: &mut Work,
    wanted: &[(AccountId, NaiveDate)],
) -> Result<(HashMap<AccountId, AccountHistory>, HashMap<AccountId, LastAccepted>), StoreError> {
    let accepted = last_accepted_in_txn(work, wanted).await?;
    Ok((histories_of_in_txn(work, wanted, &accepted).await?, accepted))
}

/// The same where it is known when the accounts' metrics were last accepted.
pub(crate) async fn histories_of_in_txn(
    work: &mut Work,
    wanted: &[(AccountId, NaiveDate)],
    accepted: &HashMap<AccountId, LastAccepted>,
) -> Result<HashMap<AccountId, AccountHistory>, StoreError> {
    let mut histories: HashMap<AccountId, AccountHistory> =
        wanted.iter().map(|(account, _)| (*account, AccountHistory::default())).collect();
    let dates: HashMap<AccountId, NaiveDate> = wanted.iter().copied().collect();

    let found = same_and_later(work, wanted).await?;
    note_hidden(&found, &dates, &mut histories);
    for row in found.rows {
        let (Some(known), Some(date)) = (histories.get_mut(&row.account_id), dates.get(&row.account_id)) else {
            continue;
        };
        if row.metric_date == *date {
            known.existing = Some(row);
            continue;
        }
        known.add_later(row);
    }
    further_on(work, wanted, accepted, &mut histories).await?;

    let mut spans = Vec::with_capacity(wanted.len() * 3);
    for (account, date) in wanted {
        spans.push(Span { account: *account, since: back(*date, RECENT_DAYS), until: back(*date, 1) });
        for span in SPANS_DAYS.iter().map(|span| u64::from(*span)).filter(|span| *span > RECENT_DAYS) {
            spans.push(Span { account: *account, since: back(*date, span), until: back(*date, span) });
        }
    }
    earlier(work, spans, &mut histories).await?;

    // A date of the past without a row may be in the archive.
    let is_past = |account: &AccountId, date: &NaiveDate| {
        accepted.get(account).is_some_and(|last| last.values().any(|accepted| accepted >= date))
    };
    let has_none = |account: &AccountId| histories.get(account).is_some_and(|known| known.existing.is_none());
    let may_be_archived: Vec<(AccountId, NaiveDate)> =
        wanted.iter().filter(|(account, date)| has_none(account) && is_past(account, date)).copied().collect();
    let found = archived(work, &may_be_archived).await?;
    note_hidden(&found, &dates, &mut histories);
    for row in found.rows {
        if let Some(known) = histories.get_mut(&row.account_id) {
            known.existing = Some(row);
        }
    }

    let spans = gaps(wanted, &histories, accepted);
    if !spans.is_empty() {
        earlier(work, spans, &mut histories).await?;
    }
    Ok(histories)
}

/// What the first reading did not bring: values that have been missing for long, and the days later dates' growth is
/// computed from.
fn gaps(
    wanted: &[(AccountId, NaiveDate)],
    histories: &HashMap<AccountId, AccountHistory>,
    accepted: &HashMap<AccountId, LastAccepted>,
) -> Vec<Span> {
    let mut spans = Vec::new();
    for (account, date) in wanted {
        let Some(known) = histories.get(account) else { continue };
        let recent = back(*date, RECENT_DAYS);
        let mut days: BTreeSet<NaiveDate> = BTreeSet::new();
        for later in &known.later_dates {
            days.extend(SPANS_DAYS.iter().map(|span| back(*later, u64::from(*span))).filter(|day| *day < recent));
        }
        let mut search = false;
        for (metric, last) in accepted.get(account).into_iter().flatten() {
            // A day found before the recent ones was read for a span's sake: there may be later ones between it and
            // them.
            let is_recent =
                known.history.latest_before(metric.as_str(), *date).is_some_and(|(found, _)| found >= recent);
            if is_recent {
                continue;
            }
            if *last < recent {
                days.insert(*last);
            } else {
                // It was accepted on this date or a later one; when before that is not kept.
                search = true;
            }
        }
        if search {
            spans.push(Span { account: *account, since: back(*date, BACKFILL_DAYS), until: back(recent, 1) });
        }
        spans.extend(days.into_iter().map(|day| Span { account: *account, since: day, until: day }));
    }
    spans
}

const FURTHER_ON: &str = concat!(
    "SELECT ",
    row_columns!(),
    " FROM {columns: account uuid, since date, until date} LEFT JOIN metrics m ON m.account_id = r.account
         AND m.metric_date >= r.since AND m.metric_date <= r.until
     WHERE (m.account_id IS NULL) = FALSE ORDER BY m.metric_date"
);

/// What the next row beyond the longest span leaves open: a metric that it lacks is measured from this date by the
/// first row that has it. Most rows have what the next one has, and nothing is read.
async fn further_on(
    work: &mut Work,
    wanted: &[(AccountId, NaiveDate)],
    accepted: &HashMap<AccountId, LastAccepted>,
    histories: &mut HashMap<AccountId, AccountHistory>,
) -> Result<(), StoreError> {
    // By account: up to where it was read, and the metrics whose first later value is beyond.
    let mut open: BTreeMap<AccountId, (NaiveDate, BTreeSet<MetricName>)> = BTreeMap::new();
    for (account, date) in wanted {
        let Some(known) = histories.get(account) else { continue };
        let Some(read) = known.later_dates.last().filter(|last| **last > forward(*date, LATER_DAYS)) else { continue };
        let is_found = |metric: &MetricName| known.later_rows.iter().any(|row| row.values.contains_key(metric));
        let later = accepted.get(account).into_iter().flatten().filter(|(_, last)| *last > read);
        let missing: BTreeSet<_> =
            later.map(|(metric, _)| metric).filter(|metric| !is_found(metric)).cloned().collect();
        open.insert(*account, (*read, missing));
    }
    loop {
        open.retain(|_, (_, missing)| !missing.is_empty());
        if open.is_empty() {
            return Ok(());
        }
        let spans = open.iter().map(|(account, (read, _))| Span {
            account: *account,
            since: forward(*read, 1),
            until: forward(*read, LATER_DAYS),
        });
        let statement = work.query(FURTHER_ON).bind_table(table_of(work, FURTHER_ON, spans))?;
        let rows = work.rows("read the rows further on", statement).await?;
        for row in work.unreadable.read("metrics", "account_id", Extent::Part, &rows, row_of)? {
            let (Some(known), Some((_, missing))) = (histories.get_mut(&row.account_id), open.get_mut(&row.account_id))
            else {
                continue;
            };
            // Beyond the last one that is missing, nothing is measured from this date.
            if !missing.is_empty() {
                missing.retain(|metric| !row.values.contains_key(metric));
                known.add_later(row);
            }
        }
        for (account, (read, missing)) in &mut open {
            *read = forward(*read, LATER_DAYS);
            let last = |metric: &MetricName| accepted.get(account).and_then(|last| last.get(metric)).copied();
            missing.retain(|metric| last(metric).is_some_and(|last| last > *read));
        }
    }
}

/// Rows of the table, and the accounts and dates of those that can't be read.
struct Found {
    rows: Vec<MetricsRow>,
    hidden: Vec<(AccountId, NaiveDate)>,
}

impl Found {
    fn of(work: &Work, table: &'static str, rows: &[AnyRow]) -> Result<Self, StoreError> {
        let read = work.unreadable.read(table, "account_id", Extent::Part, rows, row_of)?;
        // One whose account or date can't be read either is of no date that was asked for: those were compared.
        let key = |row: &AnyRow| Some((row.parsed::<AccountId>("account_id").ok()?, row.date("metric_date").ok()?));
        let hidden = if read.len() == rows.len() {
            Vec::new()
        } else {
            rows.iter().filter(|row| row_of(row).is_err()).filter_map(key).collect()
        };
        Ok(Self { rows: read, hidden })
    }
}

/// Notes whose row of the date that is asked for can't be read.
fn note_hidden(
    found: &Found,
    dates: &HashMap<AccountId, NaiveDate>,
    histories: &mut HashMap<AccountId, AccountHistory>,
) {
    for (account, date) in &found.hidden {
        if dates.get(account) == Some(date)
            && let Some(known) = histories.get_mut(account)
        {
            known.hides_row = true;
        }
    }
}

const SAME_AND_LATER: &str = concat!(
    "SELECT ",
    row_columns!(),
    " FROM {columns: account uuid, since date, until date} LEFT JOIN metrics m ON m.account_id = r.account
         AND m.metric_date >= r.since AND m.metric_date <= COALESCE(
             (SELECT MIN(n.metric_date) FROM metrics n
              WHERE n.account_id = r.account AND n.metric_date > r.until), r.until)
     WHERE (m.account_id IS NULL) = FALSE ORDER BY m.metric_date"
);

async fn same_and_later(work: &mut Work, wanted: &[(AccountId, NaiveDate)]) -> Result<Found, StoreError> {
    let spans = wanted.iter().map(|(account, date)| Span {
        account: *account,
        since: *date,
        until: forward(*date, LATER_DAYS),
    });
    let statement = work.query(SAME_AND_LATER).bind_table(table_of(work, SAME_AND_LATER, spans))?;
    let rows = work.rows("read the rows of a date and after", statement).await?;
    Found::of(work, "metrics", &rows)
}

/// The rows of these dates in the archive.
async fn archived(work: &mut Work, wanted: &[(AccountId, NaiveDate)]) -> Result<Found, StoreError> {
    if wanted.is_empty() {
        return Ok(Found { rows: Vec::new(), hidden: Vec::new() });
    }
    let rows: Vec<_> = wanted.iter().map(|(account, date)| json!({ "account": account, "date": date })).collect();
    let statement = work.query(concat!(
        "SELECT ",
        row_columns!(),
        " FROM {rows} LEFT JOIN metrics_archive m ON m.account_id = (r.value->>'account')::uuid
             AND m.metric_date = (r.value->>'date')::date WHERE (m.account_id IS NULL) = FALSE"
    ));
    let rows = work.rows("read archived rows", statement.bind(json("dates", &rows)?)).await?;
    Found::of(work, "metrics_archive", &rows)
}

const EARLIER: &str = concat!(
    "SELECT ",
    value_columns!(),
    " FROM {columns: account uuid, since date, until date} LEFT JOIN metrics m ON m.account_id = r.account
         AND m.metric_date >= r.since AND m.metric_date <= r.until
     WHERE (m.account_id IS NULL) = FALSE"
);

async fn earlier(
    work: &mut Work,
    spans: Vec<Span>,
    histories: &mut HashMap<AccountId, AccountHistory>,
) -> Result<(), StoreError> {
    let statement = work.query(EARLIER).bind_table(table_of(work, EARLIER, spans))?;
    let rows = work.rows("read earlier values", statement).await?;
    let found = work.unreadable.read("metrics", "account_id", Extent::Part, &rows, |row| {
        let basis = engagement_of(row)?.map(|engagement| engagement.basis);
        let observed = (row.time("observed_at")?, row.json("observed")?);
        Ok((row.parsed::<AccountId>("account_id")?, row.date("metric_date")?, values_of(row)?, basis, observed))
    });
    for (account, date, values, basis, (observed_at, observed)) in found? {
        if let Some(known) = histories.get_mut(&account) {
            known.history.insert(date, values, basis);
            known.history.observe(date, observed_at, observed);
        }
    }
    Ok(())
}

async fn last_accepted_in_txn(
    work: &mut Work,
    wanted: &[(AccountId, NaiveDate)],
) -> Result<HashMap<AccountId, LastAccepted>, StoreError> {
    let ids: Vec<AccountId> = wanted.iter().map(|(account, _)| *account).collect();
    let statement = work.query(
        "SELECT s.account_id::text AS account_id, s.last_accepted::text AS last_accepted
         FROM account_state s WHERE s.account_id {in_ids}",
    );
    let rows = work.rows("read when metrics were accepted", statement.bind(id_rows(&ids)?)).await?;
    let accepted = work.unreadable.read("account_state", "account_id", Extent::Part, &rows, |row| {
        Ok((row.parsed("account_id")?, row.json("last_accepted")?))
    });
    Ok(accepted?.into_iter().collect())
}

/// What `last_accepted` is once a row is stored too.
pub(crate) fn accept(last: &mut LastAccepted, row: &MetricsRow) {
    for metric in row.values.keys() {
        match last.get_mut(metric) {
            Some(date) => *date = (*date).max(row.metric_date),
            None => {
                last.insert(metric.clone(), row.metric_date);
            }
        }
    }
}

/// Forgets what was last accepted on dates that are deleted, so that it is not searched for. A date that was only
/// archived may stay: it lies so far back that nothing is measured from it, and it costs no more than one query that
/// finds nothing.
pub(crate) async fn last_accepted_forget_in_txn(
    work: &mut Work,
    deleted: impl Iterator<Item = (AccountId, NaiveDate)>,
) -> Result<(), StoreError> {
    let deleted: BTreeSet<(AccountId, NaiveDate)> = deleted.collect();
    let accounts: BTreeSet<AccountId> = deleted.iter().map(|(account, _)| *account).collect();
    let rows: Vec<_> = accounts.iter().map(|account| json!({ "id": account })).collect();
    // A batch that is storing just now writes its own dates, which are newer.
    let statement = work.query(
        "SELECT m.account_id::text AS account_id, m.last_accepted::text AS last_accepted FROM account_state m
         WHERE m.account_id {in_ids} ORDER BY m.account_id
             FOR UPDATE OF m SKIP LOCKED",
    );
    let found = work.rows("read when metrics were accepted", statement.bind(json("account ids", &rows)?)).await?;
    let mut changed = Vec::new();
    for row in found {
        let account: AccountId = row.parsed("account_id")?;
        // One that can't be read names no date.
        let Ok(mut last) = row.json::<LastAccepted>("last_accepted") else { continue };
        let before = last.len();
        last.retain(|_, date| !deleted.contains(&(account, *date)));
        if last.len() < before {
            changed.push(json!({ "id": account, "last": last }));
        }
    }
    if changed.is_empty() {
        return Ok(());
    }
    let statement = work.query(
        "UPDATE account_state SET last_accepted = (SELECT (r.value->'last')::jsonb FROM {rows}
             WHERE (r.value->>'id')::uuid = account_state.account_id)
         WHERE account_id {in_ids}",
    );
    work.execute("clear when metrics were accepted", statement.bind(json("last accepted", &changed)?)).await?;
    Ok(())
}

fn back(date: NaiveDate, days: u64) -> NaiveDate {
    date.checked_sub_days(Days::new(days)).unwrap_or(NaiveDate::MIN)
}

fn forward(date: NaiveDate, days: u64) -> NaiveDate {
    date.checked_add_days(Days::new(days)).unwrap_or(NaiveDate::MAX)
}
