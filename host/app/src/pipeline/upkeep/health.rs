//! Evaluates health: counts in the database, compares with the objectives, and writes an event when a value crosses its
//! threshold.
//!
//! In a service one host at a time does so, in a role of its own; a run from the command line does so at its end. Two
//! at the same time report a crossing once, because an alert is written only if it has not been changed meanwhile.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;
use serde_json::json;
use uuid::Uuid;

use crate::config::Config;
use crate::pipeline::clocks::Clocks;
use crate::pipeline::collection::budgets::DEFER_MIN;
use crate::pipeline::collection::pauses;
use crate::pipeline::context::{RETRY_AFTER, ServiceContext};
use crate::pipeline::credentials::installation::is_simulated;
use crate::pipeline::credentials::manager::CredentialManager;
use crate::pipeline::watchdog::TurnEnd;
use crate::telemetry::Telemetry;
use backline_model::clock::Clock;
use backline_model::event::types;
use backline_model::health::{
    Alert, AlertName, CredentialFigures, Figures, Health, HealthReport, PauseFigures, PlatformHealth, ReleaseFigures,
    Suspects, UnreadableRow,
};
use backline_model::manifest::Budget;
use backline_model::zone;
use backline_model::{Event, Platform, Tenant};
use backline_rules::health::{self, Crossing};
use backline_rules::schedule;
use backline_store::{HealthWindow, Scope, SealedCredential, Store, StoreError, Term, UnreadableArtist};

/// The role of the host that evaluates health.
const ROLE: &str = "health";

/// Swaps that are searched for the time when releases became active.
const SWAPS_MAX: u32 = 200;

/// How long an evaluation may take before the loop counts as stuck: it reads whole tables.
const LOOK_MAX: Duration = Duration::from_secs(600);

/// How far back the tally of a release's predecessor goes.
const RECORD: TimeDelta = TimeDelta::days(14);

/// Runs until the service stops; then resigns the role, so that another host takes it at once.
pub(in crate::pipeline) async fn serve(context: ServiceContext<HealthMonitor>) {
    let mut term: Option<Term> = None;
    let mut told = Told::default();
    while !context.stop.is_cancelled() {
        let monitor = context.current();
        if !monitor.clocks.is_right() {
            // What it would count is of another day; another host evaluates meanwhile.
            monitor.telemetry.health(None);
            context.rest(TurnEnd::Skipped, RETRY_AFTER).await;
            continue;
        }
        if let Some(data) = zone::follow_updates() {
            tracing::info!(%data, "the time zones have changed; they are read again");
        }
        match monitor.unreadable().await {
            Ok(rows) => told.tell(rows, &monitor.store.unreadable_others()),
            Err(error) => tracing::debug!(%error, "which rows can't be read is not known"),
        }
        context.heartbeat.work(LOOK_MAX);
        let every = Duration::from_secs(monitor.config.health.every_s);
        // The term covers two intervals, so that a late renewal does not lose the role.
        let ttl = every * 2 + Duration::from_millis(monitor.config.service.leader_ttl_ms);
        let Some(now) = monitor.clocks.right_now() else { continue };
        let looked = match monitor.store.role_take(ROLE, &context.name, now, ttl).await {
            Ok(held) => {
                term = held;
                let looked = look(&monitor, term.is_some()).await;
                if let Err(error) = &looked {
                    tracing::warn!(%error, "health could not be evaluated; this is retried");
                }
                looked
            }
            Err(error) => {
                tracing::warn!(%error, "the role of evaluating health could not be taken");
                Err(error)
            }
        };
        let rest = if looked.is_ok() { every } else { every.min(RETRY_AFTER) };
        context.rest(TurnEnd::of(&looked), rest).await;
    }
    let monitor = context.current();
    monitor.telemetry.health(None);
    if let Some(term) = term
        && let Err(error) = monitor.store.role_resign(&term, monitor.clock.now()).await
    {
        tracing::warn!(%error, "the role of evaluating health could not be resigned");
    }
}

/// What the log was told of rows that can't be read.
#[derive(Default)]
struct Told {
    rows: BTreeSet<UnreadableRow>,
    /// Tables with more rows than are named.
    tables: BTreeSet<String>,
}

impl Told {
    /// Names each row that can't be read in the log, once, and each table with others.
    fn tell(&mut self, rows: Vec<UnreadableRow>, others: &BTreeMap<String, u64>) {
        let rows: BTreeSet<UnreadableRow> = rows.into_iter().collect();
        for UnreadableRow { table, name, column, problem } in rows.difference(&self.rows) {
            tracing::warn!(
                table,
                row = name,
                column,
                problem,
                "a row can't be read and is left out; correct or remove it"
            );
        }
        for (table, others) in others.iter().filter(|(table, _)| !self.tables.contains(*table)) {
            tracing::warn!(table, others, "more rows can't be read than are named, and are left out too");
        }
        (self.rows, self.tables) = (rows, others.keys().cloned().collect());
    }
}

/// Only the host that has the role exports these metrics: each is about all hosts.
async fn look(monitor: &HealthMonitor, has_role: bool) -> Result<(), StoreError> {
    if !has_role {
        monitor.telemetry.health(None);
        return Ok(());
    }
    let report = monitor.watch().await?;
    monitor.telemetry.health(Some(report));
    Ok(())
}

/// Health of one tenant's accounts.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TenantHealthReport {
    /// Whose accounts are counted.
    pub tenant: Tenant,
    /// End of the window.
    pub at: DateTime<Utc>,
    /// Start of the window.
    pub since: DateTime<Utc>,
    /// All platforms but the optional ones.
    pub total: Health,
    /// Each platform.
    pub platforms: Vec<PlatformHealth>,
}

/// Reports and watches health. Cloning shares it.
#[derive(Clone)]
pub struct HealthMonitor {
    config: Arc<Config>,
    telemetry: Telemetry,
    clock: Clock,
    clocks: Clocks,
    store: Store,
    credentials: CredentialManager,
}

impl HealthMonitor {
    pub(in crate::pipeline) fn new(
        config: Arc<Config>,
        telemetry: Telemetry,
        clock: Clock,
        clocks: Clocks,
        store: Store,
        credentials: CredentialManager,
    ) -> Self {
        Self { config, telemetry, clock, clocks, store, credentials }
    }

    /// Health over a window of time up to now, with recommendations. The configured window applies if none is given.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn report(&self, window: Option<TimeDelta>) -> Result<HealthReport, StoreError> {
        let now = self.clock.now();
        let window = self.health_window(window, now);
        let figures = self.figures(&Scope::all_tenants(), &window).await?;
        let suspects = self.suspects(&figures, now).await?;
        let mut report = self.judged(&figures, &suspects, &window);
        report.alerts = self.store.alerts_list().await?;
        report.alerts.retain(|alert| alert.firing);
        Ok(report)
    }

    /// The counts and rates of one tenant's accounts. Objectives, alerts, costs, validation and recommendations are
    /// about the whole installation and are left out.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn tenant_report(
        &self,
        tenant: Tenant,
        window: Option<TimeDelta>,
    ) -> Result<TenantHealthReport, StoreError> {
        let window = self.health_window(window, self.clock.now());
        let figures = self.figures(&Scope::tenant(tenant.clone()), &window).await?;
        let HealthReport { at, since, total, platforms, .. } = self.judged(&figures, &Suspects::default(), &window);
        Ok(TenantHealthReport { tenant, at, since, total, platforms })
    }

    /// Rows that this process met and can't read, and schedules whose times it can't.
    async fn unreadable(&self) -> Result<Vec<UnreadableRow>, StoreError> {
        let schedules = self.store.schedules_list().await?;
        // Only those that were read are known.
        self.store.webhooks_list(&Scope::all_tenants()).await?;
        let mut rows = self.store.unreadable_rows();
        rows.extend(schedule::unreadable(&schedules));
        Ok(rows)
    }

    /// What is counted, with what schedules had due.
    async fn figures(&self, scope: &Scope, window: &HealthWindow) -> Result<Figures, StoreError> {
        let mut figures = self.store.health_figures_get(scope, window).await?;
        let schedules = self.store.schedules_list().await?;
        for (platform, counted) in &mut figures.platforms {
            let specs = schedules.iter().map(|schedule| &schedule.spec);
            // A run may be two hours late before it is missed.
            let came = schedule::time_came(specs, platform, window.since - health::IDLE_FOR, window.now);
            counted.not_due = came == Some(false);
        }
        Ok(figures)
    }

    /// The state of every alert that has fired, or is about to.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn alerts(&self) -> Result<Vec<Alert>, StoreError> {
        self.store.alerts_list().await
    }

    /// Evaluates every alert over the configured window, and stores those that crossed their threshold, each with its
    /// event. The report has no recommendations that need a closer look.
    ///
    /// # Errors
    /// When the database fails. Nothing was stored then.
    pub async fn watch(&self) -> Result<HealthReport, StoreError> {
        let now = self.clock.now();
        let window = self.health_window(None, now);
        let figures = self.figures(&Scope::all_tenants(), &window).await?;
        let mut report = self.judged(&figures, &Suspects::default(), &window);
        let config = &self.config.health;
        let known = self.store.alerts_list().await?;
        let known: HashMap<(AlertName, Option<Platform>), Alert> =
            known.into_iter().map(|alert| ((alert.name, alert.platform.clone()), alert)).collect();
        let mut changes = Vec::new();
        let readings = health::readings(&report, &figures, config);
        for before in known.values() {
            let Some(alert) = health::cease(before, &readings, &figures, now) else { continue };
            let event = event_of(&alert, Crossing::Recovered, now);
            changes.push((alert, before.crossings, Some(event)));
        }
        for reading in readings {
            let before = known.get(&(reading.name, reading.platform.clone()));
            let Some(step) = health::step(before, &reading, now, config) else { continue };
            let event = step.crossing.map(|crossing| event_of(&step.alert, crossing, now));
            changes.push((step.alert, before.map_or(0, |alert| alert.crossings), event));
        }
        self.store.alerts_save(&changes).await?;
        for (alert, _, event) in &changes {
            if event.is_some() {
                tracing::warn!(
                    alert = alert.name.as_str(),
                    platform = alert.platform.as_ref().map(Platform::as_str),
                    firing = alert.firing,
                    value = alert.value,
                    threshold = alert.threshold,
                    "health has changed"
                );
            }
        }
        report.alerts = self.store.alerts_list().await?;
        Ok(report)
    }

    fn health_window(&self, window: Option<TimeDelta>, now: DateTime<Utc>) -> HealthWindow {
        let config = &self.config.health;
        let since = now - window.unwrap_or_else(|| TimeDelta::hours(config.window_hours.into()));
        #[expect(clippy::cast_possible_truncation, reason = "at most a month, in milliseconds")]
        let grace = TimeDelta::milliseconds((config.targets.run_minutes * 60_000.0) as i64);
        HealthWindow { since, now, overdue_before: now - grace }
    }

    fn judged(&self, figures: &Figures, suspects: &Suspects, window: &HealthWindow) -> HealthReport {
        let config = &self.config;
        health::report(figures, suspects, window.since, window.now, &config.health, &config.costs)
    }

    /// What recommendations may name.
    async fn suspects(&self, figures: &Figures, now: DateTime<Utc>) -> Result<Suspects, StoreError> {
        let store = &self.store;
        let mut credentials = store.dead_credentials_list().await?;
        credentials.extend(self.expiring_soon(now).await?);
        let schedules = store.schedules_list().await?.iter().filter(|schedule| schedule.spec.enabled).count() as u64;
        let mut releases = Vec::new();
        let swaps = store.swaps_list(None, SWAPS_MAX).await?;
        for release in store.releases_list().await?.into_iter().filter(|release| release.active) {
            // Not used here: a row of the operator's credentials that can't be read is known once it was met.
            store.credentials_of(&Scope::all_tenants(), release.platform(), &[]).await?;
            let swap = swaps.iter().find(|swap| swap.platform == *release.platform());
            let Some(swap) = swap.filter(|swap| swap.release == Some(release.digest)) else { continue };
            let since = store.release_tally_get(release.digest, swap.at, None).await?;
            let before = match swap.before {
                Some(before) => Some(store.release_tally_get(before, swap.at - RECORD, Some(swap.at)).await?),
                None => None,
            };
            let until = figures.platforms.get(release.platform()).and_then(|counted| counted.deferred_until);
            releases.push(ReleaseFigures {
                platform: release.platform().clone(),
                digest: release.digest,
                name: release.manifest.connector.name.clone(),
                version: release.manifest.connector.version.to_string(),
                spent: until.map(|until| spent(&release.manifest.budgets, until)).unwrap_or_default(),
                activated_at: swap.at,
                since,
                before,
            });
        }
        let (reconnect, webhooks) = (
            store.accounts_to_reconnect_list(&Scope::all_tenants()).await?,
            store.webhooks_behind_list(&Scope::all_tenants()).await?,
        );
        let pauses = store.pauses_list(now, pauses::believed(now)).await?;
        let pauses = pauses
            .into_iter()
            .map(|pause| PauseFigures { platform: pause.platform, credentials: pause.credentials, until: pause.until })
            .collect();
        // The list comes first: an artist without a readable id is among the rows that this process met.
        let artists = store.unreadable_artists_list(&Scope::all_tenants()).await?;
        let mut unreadable = self.unreadable().await?;
        unreadable.extend(artists.into_iter().map(|UnreadableArtist { id, column, problem }| UnreadableRow {
            table: "artists".to_owned(),
            name: id.to_string(),
            column,
            problem,
        }));
        let zones = Some(zone::data());
        let zone_faults = zone::faults();
        let clock_ahead = self.clocks.difference().await?;
        let simulated = is_simulated(store).await?;
        Ok(Suspects {
            reconnect,
            credentials,
            releases,
            schedules,
            webhooks,
            pauses,
            zones,
            zone_faults,
            unreadable,
            unreadable_others: store.unreadable_others(),
            clock_ahead,
            simulated,
        })
    }

    /// Credentials that end soon and that no refresh renews, by slot.
    async fn expiring_soon(&self, now: DateTime<Utc>) -> Result<Vec<CredentialFigures>, StoreError> {
        let mut found: Vec<CredentialFigures> = Vec::new();
        for credential in self.credentials.expiring(now).await? {
            let (SealedCredential { platform, slot, expires_at, .. }, of_account) =
                (&credential, credential.account_id.is_some());
            let known =
                found.iter_mut().find(|of| of.platform == *platform && of.slot == *slot && of.of_account == of_account);
            if let Some(known) = known {
                known.number += 1;
                known.expires_at = [known.expires_at, *expires_at].into_iter().flatten().min();
            } else {
                let (platform, slot) = (platform.clone(), slot.clone());
                found.push(CredentialFigures { platform, slot, of_account, number: 1, expires_at: *expires_at });
            }
        }
        Ok(found)
    }
}

/// The budgets that reset when accounts stop waiting, or at most a minute before.
fn spent(budgets: &[Budget], until: DateTime<Utc>) -> Vec<String> {
    let lately = until - DEFER_MIN - TimeDelta::seconds(1);
    let ended = |budget: &&Budget| {
        backline_gateway::defers(&budget.window) && backline_gateway::window_of(&budget.window, lately).1 <= until
    };
    budgets.iter().filter(ended).map(|budget| budget.name.clone()).collect()
}

/// The event of a crossing. It names no artist and no account.
fn event_of(alert: &Alert, crossing: Crossing, now: DateTime<Utc>) -> Event {
    let kind = match crossing {
        Crossing::Degraded => types::HEALTH_DEGRADED,
        Crossing::Recovered => types::HEALTH_RECOVERED,
    };
    let platform = alert.platform.as_ref().map_or("", Platform::as_str);
    Event {
        id: Uuid::now_v7(),
        kind: kind.to_owned(),
        artist_id: None,
        occurred_at: now,
        dedup_key: Some(format!(
            "{kind}:{}:{platform}:{}:{}",
            alert.name.as_str(),
            alert.crossings,
            now.timestamp_micros()
        )),
        data: json!({
            "alert": alert.name.as_str(),
            "platform": alert.platform,
            "value": alert.value,
            "threshold": alert.threshold,
            "since": alert.since,
        }),
    }
}

#[cfg(test)]
mod tests {
    use chrono::NaiveTime;

    use super::*;
    use backline_model::manifest::BudgetWindow;

    fn budget(name: &str, window: BudgetWindow) -> Budget {
        let (name, slot) = (name.to_owned(), Some("app".to_owned()));
        Budget { name, slot, limit: 1, window, burst: None, default_cost: 1, costs: Vec::new() }
    }

    #[test]
    fn the_budget_that_is_spent_is_the_one_that_is_granted_when_the_waiting_ends() {
        let daily = |timezone| BudgetWindow::Daily { at: NaiveTime::MIN, timezone };
        let budgets = [
            budget("minute", BudgetWindow::Seconds(60)),
            budget("hour", BudgetWindow::Seconds(3600)),
            budget("units", daily("America/Los_Angeles".parse().expect("a zone"))),
            budget("searches", daily(backline_model::Zone::utc())),
        ];
        for (until, names) in [
            ("2026-11-22T14:00:00Z", &["hour"][..]),
            ("2026-11-22T08:00:00Z", &["hour", "units"]),
            ("2026-11-22T00:00:00Z", &["hour", "searches"]),
            // A request half a minute before midnight waits for a minute.
            ("2026-11-22T00:00:30Z", &["hour", "searches"]),
            // The platform gave this time, for a limit of its own.
            ("2026-11-22T14:02:00Z", &[]),
        ] {
            assert_eq!(spent(&budgets, until.parse().expect("a time")), names, "{until}");
        }
    }
}
