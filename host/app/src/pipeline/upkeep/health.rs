//! How things are: counts in the database, judges what was counted, and tells when a figure crosses its bound.
//!
//! In a service one host at a time does so, in a role of its own; a run from the command line does so at its end. Two that look at the same
//! time tell of a crossing once, since each alert is written only where nobody else has changed it.

use std::collections::HashMap;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::json;
use uuid::Uuid;

use crate::pipeline::collection::collect::DEFER_MIN;
use crate::pipeline::credentials::refresher;
use crate::pipeline::service::{RETRY_AFTER, ServiceContext};
use crate::pipeline::{Host, HostError};
use backline_model::event::types;
use backline_model::health::{Alert, AlertName, CredentialFigures, Figures, HealthReport, ReleaseFigures, Suspects};
use backline_model::manifest::Budget;
use backline_model::{Event, Platform};
use backline_rules::health::{self, Crossing};
use backline_store::{HealthWindow, Scope, SealedCredential, Term};

/// The role of the host that looks.
pub(crate) const ROLE: &str = "health";

/// Swaps that are looked through for when releases became active.
const SWAPS_MAX: u32 = 200;

/// How far back the record of a release's predecessor is looked at.
const RECORD: TimeDelta = TimeDelta::days(14);

/// Goes on until the service stops; then gives the role up, so that another host takes it at once.
pub(in crate::pipeline) async fn serve(context: ServiceContext) {
    let mut term: Option<Term> = None;
    while !context.stop.is_cancelled() {
        let host = context.host();
        let every = Duration::from_secs(host.config().health.every_s);
        // Held until the next look but one, so that one that comes late loses nothing.
        let ttl = every * 2 + Duration::from_millis(host.config().service.leader_ttl_ms);
        let rest = match host.store().role_take(ROLE, &context.name, host.clock().now(), ttl).await {
            Ok(held) => {
                term = held;
                match look(&host, term.is_some()).await {
                    Ok(()) => every,
                    Err(error) => {
                        tracing::warn!(%error, "health could not be looked at; it is tried again");
                        every.min(RETRY_AFTER)
                    }
                }
            }
            Err(error) => {
                tracing::warn!(%error, "the role of the host that looks at health could not be taken");
                every.min(RETRY_AFTER)
            }
        };
        context.rest(rest).await;
    }
    let host = context.host();
    host.telemetry().health(None);
    if let Some(term) = term
        && let Err(error) = host.store().role_resign(&term, host.clock().now()).await
    {
        tracing::warn!(%error, "the role of the host that looks at health could not be given up");
    }
}

/// The figures are shown by the host that has the role, and by no other: each is about all hosts.
async fn look(host: &Host, has_role: bool) -> Result<(), HostError> {
    if !has_role {
        host.telemetry().health(None);
        return Ok(());
    }
    let report = host.watch_health().await?;
    host.telemetry().health(Some(report));
    Ok(())
}

impl Host {
    /// How things have been over a window of time up to now, and what should be done. The window is the configured one unless given.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn health(&self, window: Option<TimeDelta>) -> Result<HealthReport, HostError> {
        let now = self.clock().now();
        let window = self.health_window(window, now);
        let figures = self.store().health_figures_get(&Scope::all_tenants(), &window).await?;
        let suspects = self.suspects(&figures, now).await?;
        let mut report = self.judged(&figures, &suspects, &window);
        report.alerts = self.store().alerts_list().await?;
        report.alerts.retain(|alert| alert.firing);
        Ok(report)
    }

    /// Where every alert stands that ever fired, or is about to.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn alerts(&self) -> Result<Vec<Alert>, HostError> {
        Ok(self.store().alerts_list().await?)
    }

    /// Looks at every figure that an alert watches, over the configured window; writes down what crossed its bound, each with its event.
    /// The report has no recommendations that only a closer look could make.
    ///
    /// # Errors
    /// When the database fails; then nothing was told.
    pub async fn watch_health(&self) -> Result<HealthReport, HostError> {
        let now = self.clock().now();
        let window = self.health_window(None, now);
        let figures = self.store().health_figures_get(&Scope::all_tenants(), &window).await?;
        let mut report = self.judged(&figures, &Suspects::default(), &window);
        let config = &self.config().health;
        let known = self.store().alerts_list().await?;
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
        self.store().alerts_save(&changes).await?;
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
        report.alerts = self.store().alerts_list().await?;
        Ok(report)
    }

    fn health_window(&self, window: Option<TimeDelta>, now: DateTime<Utc>) -> HealthWindow {
        let config = &self.config().health;
        let since = now - window.unwrap_or_else(|| TimeDelta::hours(config.window_hours.into()));
        #[expect(clippy::cast_possible_truncation, reason = "at most a month, in milliseconds")]
        let grace = TimeDelta::milliseconds((config.targets.run_minutes * 60_000.0) as i64);
        HealthWindow { since, now, overdue_before: now - grace }
    }

    fn judged(&self, figures: &Figures, suspects: &Suspects, window: &HealthWindow) -> HealthReport {
        let config = self.config();
        health::report(figures, suspects, window.since, window.now, &config.health, &config.costs)
    }

    /// What recommendations can name.
    async fn suspects(&self, figures: &Figures, now: DateTime<Utc>) -> Result<Suspects, HostError> {
        let store = self.store();
        let mut credentials = store.dead_credentials_list().await?;
        credentials.extend(self.expiring_soon(now).await?);
        let schedules = store.schedules_list().await?.iter().filter(|schedule| schedule.spec.enabled).count() as u64;
        let mut releases = Vec::new();
        let swaps = store.swaps_list(None, SWAPS_MAX).await?;
        for release in store.releases_list().await?.into_iter().filter(|release| release.active) {
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
        Ok(Suspects { reconnect, credentials, releases, schedules, webhooks })
    }

    /// Credentials that end soon and that nothing renews, by slot.
    async fn expiring_soon(&self, now: DateTime<Utc>) -> Result<Vec<CredentialFigures>, HostError> {
        let mut found: Vec<CredentialFigures> = Vec::new();
        for credential in refresher::expiring(self, now).await? {
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

/// Those budgets that are granted anew when accounts stop waiting, which is some time after it at most.
fn spent(budgets: &[Budget], until: DateTime<Utc>) -> Vec<String> {
    let lately = until - DEFER_MIN - TimeDelta::seconds(1);
    let ended = |budget: &&Budget| {
        backline_gateway::defers(&budget.window) && backline_gateway::window_of(&budget.window, lately).1 <= until
    };
    budgets.iter().filter(ended).map(|budget| budget.name.clone()).collect()
}

/// What is told of a crossing. It names no artist and no account.
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
        Budget { name: name.to_owned(), slot: "app".to_owned(), limit: 1, window, default_cost: 1, costs: Vec::new() }
    }

    #[test]
    fn the_budget_that_is_spent_is_the_one_that_is_granted_when_the_waiting_ends() {
        let daily = |timezone| BudgetWindow::Daily { at: NaiveTime::MIN, timezone };
        let budgets = [
            budget("minute", BudgetWindow::Seconds(60)),
            budget("hour", BudgetWindow::Seconds(3600)),
            budget("units", daily(chrono_tz::America::Los_Angeles)),
            budget("searches", daily(chrono_tz::Tz::UTC)),
        ];
        for (until, names) in [
            ("2026-11-22T14:00:00Z", &["hour"][..]),
            ("2026-11-22T08:00:00Z", &["hour", "units"]),
            ("2026-11-22T00:00:00Z", &["hour", "searches"]),
            // Whoever asked half a minute before midnight waits for a minute.
            ("2026-11-22T00:00:30Z", &["hour", "searches"]),
            // The platform said so, of an allowance of its own.
            ("2026-11-22T14:02:00Z", &[]),
        ] {
            assert_eq!(spent(&budgets, until.parse().expect("a time")), names, "{until}");
        }
    }
}
