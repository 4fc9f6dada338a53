//! The figures that health is computed from, counted in the database; and alerts. Each query returns few rows, however
//! many artists there are.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use serde_json::json;
use sqlx::any::AnyRow;

use crate::database::connection::{ReadView, Store};
use crate::database::dialect::{Columns as _, DatabaseKind, json, time_text, unreadable};
use crate::database::error::StoreError;
use crate::database::readable::Extent;
use crate::events::outbox::events_write_in_txn;
use crate::scope::Scope;
use crate::work::leases::readable_time;
use backline_model::health::{
    AccountName, Alert, AlertName, BusySpan, CredentialFigures, Figures, HostFigures, Lag, PlatformFigures,
    WebhookFigures,
};
use backline_model::outcome::{Exclusion, FailureClass};
use backline_model::{Event, Platform, RunId};

/// Most accounts to reconnect that are named for each platform.
const NAMED_MAX: i64 = 3;

/// Most dead credentials that are named.
const DEAD_MAX: i64 = 20;

/// The window of time that figures are counted in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HealthWindow {
    /// Start of the window, itself excluded.
    pub since: DateTime<Utc>,
    /// End of the window, itself included.
    pub now: DateTime<Utc>,
    /// Work that was planned, or whose budget was reset, before this time is overdue.
    pub overdue_before: DateTime<Utc>,
}

type Platforms = BTreeMap<Platform, PlatformFigures>;

impl Store {
    /// Counts everything that rates, objectives and alerts are made of. Of one tenant, values that passed validation
    /// are not counted, since batches report them without it, and neither are hosts, which belong to no tenant.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn health_figures_get(&self, scope: &Scope, window: &HealthWindow) -> Result<Figures, StoreError> {
        // As of one moment: an account that ends between two counts would be in neither of them, or in both.
        let mut view = self.report_view().await?;
        let mut platforms = view.known_platforms().await?;
        view.count_outcomes(scope, window, &mut platforms).await?;
        view.count_open(scope, window, &mut platforms).await?;
        view.count_accounts(scope, window, &mut platforms).await?;
        if scope.only().is_none() {
            view.count_values(window, &mut platforms).await?;
        }
        let work = view.count_work(scope, window, &mut platforms).await?;
        view.count_troubles(scope, window, &mut platforms).await?;
        let statement = view.scoped(
            scope,
            "SELECT COUNT(*)::bigint AS n FROM (SELECT artist_id FROM outcomes_all
                 WHERE outcome = 'collected' AND at > $1::timestamptz AND at <= $2::timestamptz
                     {and_artist: outcomes_all.artist_id}
                 GROUP BY artist_id) AS artists",
        );
        let statement = statement.bind(time_text(window.since)).bind(time_text(window.now));
        let artists = view.row("count artists", statement).await?.map_or(Ok(0), |row| row.count("n"))?;
        drop(view);
        let hosts = if scope.only().is_none() { self.hosts_list(window.now).await? } else { Vec::new() }.into_iter();
        let hosts = hosts
            .map(|host| HostFigures {
                name: host.name,
                started_at: host.started_at,
                seen_at: host.seen_at,
                refreshes_tokens: host.refreshes_tokens,
            })
            .collect();
        Ok(Figures { platforms, work, artists, hosts })
    }
}

impl ReadView {
    async fn known_platforms(&mut self) -> Result<Platforms, StoreError> {
        let statement = self.query(
            "SELECT p.platform, p.optional::int AS optional,
                 CASE WHEN EXISTS (SELECT 1 FROM releases r WHERE r.platform = p.platform AND r.active) THEN 1
                 ELSE 0 END AS has_release
             FROM platforms p",
        );
        let mut platforms = Platforms::new();
        let rows = self.rows("list platforms", statement).await?;
        add_to_each(&rows, &mut platforms, |figures, row| {
            (figures.optional, figures.has_release) = (row.truth("optional")?, row.truth("has_release")?);
            Ok(())
        })?;
        Ok(platforms)
    }

    /// How accounts ended, each once for each date: by the last attempt, or excluded where there was none.
    async fn count_outcomes(
        &mut self,
        scope: &Scope,
        window: &HealthWindow,
        platforms: &mut Platforms,
    ) -> Result<(), StoreError> {
        let statement = self.scoped(
            scope,
            "SELECT platform, outcome, reason, run_id::text AS run_id, COUNT(*)::bigint AS accounts,
                 MAX({time: at})::text AS at,
                 CASE WHEN deferred_until <= $3::timestamptz THEN 1 ELSE 0 END AS is_due,
                 MIN({time: deferred_until})::text AS until
             FROM (
                 SELECT platform, outcome, reason, run_id, at, deferred_until, ROW_NUMBER() OVER (
                     PARTITION BY account_id, metric_date
                     ORDER BY CASE WHEN outcome = 'excluded' THEN 1 ELSE 0 END, at DESC, run_id DESC) AS place
                 FROM outcomes_all WHERE at > $1::timestamptz AND at <= $2::timestamptz
                     {and_artist: outcomes_all.artist_id}
             ) AS latest
             WHERE place = 1
             GROUP BY platform, outcome, reason, run_id, CASE WHEN deferred_until <= $3::timestamptz THEN 1
                 ELSE 0 END, {minute_of_at}",
        );
        let statement =
            statement.bind(time_text(window.since)).bind(time_text(window.now)).bind(time_text(window.overdue_before));
        let rows = self.rows("count outcomes", statement).await?;
        let mut collected = Vec::new();
        add_to_each(&rows, platforms, |figures, row| {
            let accounts = row.count("accounts")?;
            match row.text("outcome")?.as_str() {
                "collected" => {
                    figures.collected += accounts;
                    // Where no time of theirs can be read, only their lag is not known.
                    if let Some(at) = row.time_or_null("at")? {
                        collected.push((row.parsed("platform")?, row.parsed("run_id")?, at, accounts));
                    }
                }
                "deferred" if row.truth("is_due")? => figures.due += accounts,
                "deferred" => {
                    figures.deferred += accounts;
                    let until = row.time_or_null("until")?;
                    figures.deferred_until = [figures.deferred_until, until].into_iter().flatten().min();
                }
                "superseded" => figures.superseded += accounts,
                "excluded" => *figures.excluded.entry(reason::<Exclusion>(row)?).or_default() += accounts,
                _ => *figures.failed.entry(reason::<FailureClass>(row)?).or_default() += accounts,
            }
            Ok(())
        })?;
        self.measure_lags(&collected, platforms).await
    }

    async fn measure_lags(
        &mut self,
        collected: &[(Platform, RunId, DateTime<Utc>, u64)],
        platforms: &mut Platforms,
    ) -> Result<(), StoreError> {
        let runs: BTreeSet<RunId> = collected.iter().map(|(_, run, ..)| *run).collect();
        let rows: Vec<_> = runs.iter().map(|run| json!({ "id": run })).collect();
        let statement = self.query(
            "SELECT n.id::text AS id, COALESCE(MIN({time: f.fire_time}), n.started_at)::text AS due
             FROM runs n LEFT JOIN schedule_fires f ON f.run_id = n.id
             WHERE n.id {in_ids} GROUP BY n.id, n.started_at",
        );
        let rows = self.rows("read when runs were due", statement.bind(json("run ids", &rows)?)).await?;
        let due =
            self.unreadable.read("runs", "id", Extent::Part, &rows, |row| Ok((row.parsed("id")?, row.time("due")?)))?;
        let due: BTreeMap<RunId, DateTime<Utc>> = due.into_iter().collect();
        for (platform, run, at, accounts) in collected {
            let Some(due) = due.get(run) else { continue };
            let lag = Lag { seconds: (*at - *due).as_seconds_f64().max(0.0), accounts: *accounts };
            platforms.entry(platform.clone()).or_default().lags.push(lag);
        }
        Ok(())
    }

    /// Accounts of batches that are planned or leased, of which nothing is known yet for their date.
    async fn count_open(
        &mut self,
        scope: &Scope,
        window: &HealthWindow,
        platforms: &mut Platforms,
    ) -> Result<(), StoreError> {
        let statement = self.scoped(
            scope,
            "SELECT b.platform, CASE WHEN b.created_at <= $2::timestamptz AND b.available_at <= $2::timestamptz THEN 1
                 ELSE 0 END AS is_overdue,
                 COUNT(*)::bigint AS accounts
             FROM batches b JOIN batch_accounts m ON m.batch_id = b.id
             WHERE b.finished_at IS NULL AND b.state IN ('planned', 'leased') {and_tenant: b.tenant}
                 AND NOT EXISTS (SELECT 1 FROM outcomes_all o WHERE o.account_id = m.account_id
                     AND o.metric_date = m.metric_date AND o.outcome <> 'excluded' AND o.at > $1::timestamptz)
             GROUP BY b.platform, CASE WHEN b.created_at <= $2::timestamptz
                 AND b.available_at <= $2::timestamptz THEN 1 ELSE 0 END",
        );
        let statement = statement.bind(time_text(window.since)).bind(time_text(window.overdue_before));
        let rows = self.rows("count what is under way", statement).await?;
        add_to_each(&rows, platforms, |figures, row| {
            let accounts = row.count("accounts")?;
            if row.truth("is_overdue")? {
                figures.overdue += accounts
            } else {
                figures.under_way += accounts
            }
            Ok(())
        })
    }

    /// Accounts of active artists: which are collected, which are not and why, and the longest time without a
    /// collection. The latest consents are found in one pass: a look-up for each account takes five times as long.
    async fn count_accounts(
        &mut self,
        scope: &Scope,
        window: &HealthWindow,
        platforms: &mut Platforms,
    ) -> Result<(), StoreError> {
        let statement = self.scoped(
            scope,
            "SELECT platform, SUM(eligible)::bigint AS eligible,
                 SUM(CASE WHEN eligible = 1 AND created_at <= $1::timestamptz THEN 1
                 ELSE 0 END)::bigint AS eligible_before,
                 SUM(CASE WHEN eligible = 1 AND collected_at IS NULL THEN 1 ELSE 0 END)::bigint AS never_collected,
                 MIN(CASE WHEN eligible = 1 THEN {time: collected_at} END)::text AS oldest,
                 SUM(CASE WHEN consented = 0 AND status = 'active' THEN 1 ELSE 0 END)::bigint AS without_consent,
                 SUM(CASE WHEN consented = 1 AND status = 'reconnect_needed' THEN 1 ELSE 0 END)::bigint AS reconnect
             FROM (
                 SELECT platform, status, created_at, collected_at, consented,
                     CASE WHEN consented = 1 AND status = 'active' THEN 1 ELSE 0 END AS eligible
                 FROM (
                     SELECT a.platform, a.status, a.created_at, s.updated_at AS collected_at,
                         COALESCE(c.granted::int, 0) AS consented
                     FROM accounts a JOIN artists t ON t.id = a.artist_id LEFT JOIN account_state s
                         ON s.account_id = a.id
                     LEFT JOIN (
                         SELECT artist_id, platform, granted FROM consents one WHERE scope = 'metrics'
                             AND NOT EXISTS (SELECT 1 FROM consents later
                                 WHERE later.artist_id = one.artist_id AND later.platform = one.platform
                                     AND later.scope = 'metrics' AND later.seq > one.seq)
                     ) AS c ON c.artist_id = a.artist_id AND c.platform = a.platform
                     WHERE t.subscription_status = 'active' AND t.data_collection_enabled {and_tenant: t.tenant}
                 ) AS known
             ) AS judged
             GROUP BY platform",
        );
        let rows = self.rows("count accounts", statement.bind(time_text(window.since))).await?;
        add_to_each(&rows, platforms, |figures, row| {
            figures.eligible = row.count("eligible")?;
            figures.eligible_before = row.count("eligible_before")?;
            figures.never_collected = row.count("never_collected")?;
            figures.oldest = readable_time(row, "oldest")?;
            figures.without_consent = row.count("without_consent")?;
            figures.reconnect = row.count("reconnect")?;
            Ok(())
        })
    }

    /// Values by whether they passed validation, and quality scores, as batches reported them.
    async fn count_values(&mut self, window: &HealthWindow, platforms: &mut Platforms) -> Result<(), StoreError> {
        let statement = self.query(
            "SELECT platform, COALESCE(SUM({amount: tally->>'values'}), 0)::bigint AS reported,
                 COALESCE(SUM({amount: tally->>'rejected'}), 0)::bigint AS rejected,
                 COALESCE(SUM({amount: tally->>'scored'}), 0)::bigint AS scored,
                 COALESCE(SUM({amount: tally->>'score_percent'}), 0)::bigint AS score_percent
             FROM release_batches WHERE at > $1::timestamptz AND at <= $2::timestamptz GROUP BY platform",
        );
        let statement = statement.bind(time_text(window.since)).bind(time_text(window.now));
        let rows = self.rows("count values", statement).await?;
        add_to_each(&rows, platforms, |figures, row| {
            figures.values = row.count("reported")?;
            figures.rejected = row.count("rejected")?;
            figures.scored = row.count("scored")?;
            figures.score_percent = row.count("score_percent")?;
            Ok(())
        })
    }

    /// When batches were at work, to the minute, and what they asked of platforms.
    async fn count_work(
        &mut self,
        scope: &Scope,
        window: &HealthWindow,
        platforms: &mut Platforms,
    ) -> Result<Vec<BusySpan>, StoreError> {
        let statement = self.scoped(
            scope,
            "SELECT platform, run_id::text AS run_id, MIN({time: began_at})::text AS began_at,
                 MAX(COALESCE({time: finished_at}, CASE WHEN state = 'leased' THEN $2::timestamptz
                 ELSE {time: began_at} END))::text AS ended_at,
                 COALESCE(SUM({amount: usage->>'requests'}), 0)::bigint AS requests
             FROM batches WHERE began_at > $1::timestamptz AND began_at <= $2::timestamptz {and_tenant: tenant}
             GROUP BY platform, run_id, {minute_of_began_at}",
        );
        let statement = statement.bind(time_text(window.since)).bind(time_text(window.now));
        let mut work = Vec::new();
        let rows = self.rows("read when batches were at work", statement).await?;
        add_to_each(&rows, platforms, |figures, row| {
            figures.requests += row.count("requests")?;
            work.push(BusySpan {
                run: row.parsed("run_id")?,
                from: row.time("began_at")?,
                until: row.time("ended_at")?.min(window.now),
            });
            Ok(())
        })?;
        let units = match self.kind {
            DatabaseKind::Sqlite => {
                "SELECT b.platform, u.key AS budget, SUM({amount: u.value}) AS units
                     FROM batches b, json_each(CASE WHEN json_valid(b.usage) THEN b.usage END, '$.units') AS u
                 WHERE b.began_at > $1 AND b.began_at <= $2 {and_tenant: b.tenant} GROUP BY b.platform, u.key"
            }
            DatabaseKind::Postgres => {
                "SELECT b.platform, u.key AS budget, SUM({amount: u.value})::bigint AS units
                 FROM batches b CROSS JOIN LATERAL jsonb_each_text(
                     CASE WHEN jsonb_typeof(b.usage->'units') = 'object' THEN b.usage->'units' END) AS u
                 WHERE b.began_at > $1::timestamptz AND b.began_at <= $2::timestamptz {and_tenant: b.tenant}
                 GROUP BY b.platform, u.key"
            }
        };
        let statement = self.scoped(scope, units).bind(time_text(window.since)).bind(time_text(window.now));
        let rows = self.rows("count units of budgets", statement).await?;
        add_to_each(&rows, platforms, |figures, row| {
            figures.units.insert(row.text("budget")?, row.count("units")?);
            Ok(())
        })?;
        Ok(work)
    }

    /// Withheld values and dead batches, which wait for an operator.
    async fn count_troubles(
        &mut self,
        scope: &Scope,
        window: &HealthWindow,
        platforms: &mut Platforms,
    ) -> Result<(), StoreError> {
        let statement = self.scoped(
            scope,
            "SELECT platform, COUNT(*)::bigint AS n FROM quarantine WHERE status = 'held'
                 {and_artist: quarantine.artist_id} GROUP BY platform",
        );
        let rows = self.rows("count withheld values", statement).await?;
        add_to_each(&rows, platforms, |figures, row| {
            figures.held = row.count("n")?;
            Ok(())
        })?;
        let statement = self.scoped(
            scope,
            "SELECT b.platform, COUNT(DISTINCT m.account_id)::bigint AS n
             FROM batches b JOIN batch_accounts m ON m.batch_id = b.id
             WHERE b.state = 'dead' AND b.finished_at > $1::timestamptz {and_tenant: b.tenant} GROUP BY b.platform",
        );
        let rows = self.rows("count dead batches' accounts", statement.bind(time_text(window.since))).await?;
        add_to_each(&rows, platforms, |figures, row| {
            figures.dead = row.count("n")?;
            Ok(())
        })
    }
}

/// Adds what each row says of its platform to the platform's figures. One that can't be read is not counted: the lists
/// of its table name it.
fn add_to_each(
    rows: &[AnyRow],
    platforms: &mut Platforms,
    mut add: impl FnMut(&mut PlatformFigures, &AnyRow) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    for row in rows {
        let added = row.parsed("platform").and_then(|platform| add(platforms.entry(platform).or_default(), row));
        match added {
            Ok(()) | Err(StoreError::Unreadable { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

impl Store {
    /// The first few accounts of each platform that active artists must reconnect.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn accounts_to_reconnect_list(&self, scope: &Scope) -> Result<Vec<AccountName>, StoreError> {
        let statement = self.scoped(
            scope,
            "SELECT id::text AS id, platform, platform_id, name FROM (
                 SELECT a.id, a.platform, a.platform_id, t.name, ROW_NUMBER() OVER (PARTITION BY a.platform
                     ORDER BY a.id) AS place
                 FROM accounts a JOIN artists t ON t.id = a.artist_id
                 WHERE a.status = 'reconnect_needed' AND t.subscription_status = 'active' AND t.data_collection_enabled
                     AND COALESCE((SELECT c.granted::int FROM consents c WHERE c.artist_id = a.artist_id
                     AND c.platform = a.platform
                         AND c.scope = 'metrics' ORDER BY c.seq DESC LIMIT 1), 0) = 1
                     {and_tenant: t.tenant}
             ) AS asked
             WHERE place <= $1 ORDER BY platform, id",
        );
        let rows = self.rows("list accounts to be reconnected", statement.bind(NAMED_MAX)).await?;
        self.unreadable.read("accounts", "id", Extent::Part, &rows, |row| {
            Ok(AccountName {
                account_id: row.parsed("id")?,
                platform: row.parsed("platform")?,
                platform_id: row.told("platform_id")?,
                artist: row.told("name")?,
            })
        })
    }

    /// Webhooks with deliveries that were given up, and those that Backline itself switched off.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn webhooks_behind_list(&self, scope: &Scope) -> Result<Vec<WebhookFigures>, StoreError> {
        let statement = self.scoped(
            scope,
            "SELECT w.name, w.disabled_reason, COALESCE(d.parked, 0) AS parked
             FROM webhooks w LEFT JOIN (
                 SELECT webhook_id, COUNT(*) AS parked FROM deliveries WHERE state = 'parked' GROUP BY webhook_id
             ) AS d ON d.webhook_id = w.id
             WHERE (d.parked > 0 OR w.disabled_reason IS NOT NULL) {and_tenant: w.tenant} ORDER BY w.name",
        );
        let rows = self.rows("list webhooks that did not get everything", statement).await?;
        rows.iter()
            .map(|row| {
                Ok(WebhookFigures {
                    name: row.told("name")?,
                    parked: row.count("parked")?,
                    disabled_reason: row.told_or_null("disabled_reason")?,
                })
            })
            .collect()
    }

    /// The operator's credentials that platforms have refused for good.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn dead_credentials_list(&self) -> Result<Vec<CredentialFigures>, StoreError> {
        let statement = self.query(
            "SELECT platform, slot FROM credentials WHERE status = 'dead' AND account_id IS NULL
                 ORDER BY platform, slot LIMIT $1",
        );
        let rows = self.rows("list dead credentials", statement.bind(DEAD_MAX)).await?;
        self.unreadable.read("credentials", "slot", Extent::Part, &rows, |row| {
            let (platform, slot) = (row.parsed("platform")?, row.text("slot")?);
            Ok(CredentialFigures { platform, slot, of_account: false, number: 1, expires_at: None })
        })
    }

    /// Every alert that ever fired, or is about to.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn alerts_list(&self) -> Result<Vec<Alert>, StoreError> {
        let statement = self.query(
            "SELECT name, platform, firing::int AS firing, since::text AS since, value, threshold,
                 worse_since::text AS worse_since,
                 crossings, changed_at::text AS changed_at
             FROM alerts ORDER BY name, platform",
        );
        let rows = self.rows("list alerts", statement).await?;
        self.unreadable.read("alerts", "name", Extent::Whole, &rows, alert_of)
    }

    /// Records where alerts stand now, each with the event that tells of it, in one transaction. `before` is how
    /// often the alert had crossed when it was read: where another host has changed it since, neither the alert nor the
    /// event is written. Returns how many events were.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn alerts_save(&self, changes: &[(Alert, i64, Option<Event>)]) -> Result<u64, StoreError> {
        if changes.is_empty() {
            return Ok(0);
        }
        let mut work = self.begin().await?;
        let mut events = Vec::new();
        for (alert, before, event) in changes {
            let statement = work.query(
                "INSERT INTO alerts (name, platform, firing, since, value, threshold, worse_since, crossings,
                     changed_at)
                 VALUES ($1, $2, ($3 = 1), $4::timestamptz, $5, $6, $7::timestamptz, $8, $9::timestamptz)
                 ON CONFLICT (name, platform) DO UPDATE SET firing = excluded.firing, since = excluded.since,
                     value = excluded.value,
                     threshold = excluded.threshold, worse_since = excluded.worse_since, crossings = excluded.crossings,
                     changed_at = excluded.changed_at
                 WHERE alerts.crossings = $10",
            );
            let statement = statement
                .bind(alert.name.as_str())
                .bind(alert.platform.as_ref().map_or_else(String::new, ToString::to_string))
                .bind(i64::from(alert.firing))
                .bind(time_text(alert.since))
                .bind(alert.value)
                .bind(alert.threshold)
                .bind(alert.worse_since.map(time_text))
                .bind(alert.crossings)
                .bind(time_text(alert.changed_at))
                .bind(*before);
            if work.execute("record an alert", statement).await? > 0 {
                events.extend(event.clone());
            }
        }
        let written = events_write_in_txn(&mut work, &events).await?;
        work.commit().await?;
        Ok(written)
    }
}

/// The enums' serde names are the names in the table.
fn reason<T: serde::de::DeserializeOwned>(row: &AnyRow) -> Result<T, StoreError> {
    let name = row.text("reason")?;
    serde_json::from_value(name.clone().into()).map_err(|_| unreadable("reason", format!("'{name}'")))
}

fn alert_of(row: &AnyRow) -> Result<Alert, StoreError> {
    let number = |column: &str| row.float_or_null(column)?.ok_or_else(|| unreadable(column, "NULL"));
    let platform = row.text("platform")?;
    let platform = if platform.is_empty() { None } else { Some(row.parsed("platform")?) };
    Ok(Alert {
        name: row.named("name", AlertName::parse)?,
        platform,
        firing: row.truth("firing")?,
        since: row.time("since")?,
        value: number("value")?,
        threshold: number("threshold")?,
        worse_since: row.time_or_null("worse_since")?,
        crossings: row.int("crossings")?,
        changed_at: row.time("changed_at")?,
    })
}
