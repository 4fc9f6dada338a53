//! Refreshes credentials before a batch needs them, and announces early which ones will end.
//!
//! Every host does so. The database decides which host refreshes which credential (see
//! [`refresh`](crate::pipeline::credentials::refresh)).

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use futures::stream::{self, StreamExt as _};
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::pipeline::context::ServiceContext;
use crate::pipeline::credentials::expiry::{announced_until, expiring_event};
use crate::pipeline::credentials::installation::{InstallationState, is_replaced};
use crate::pipeline::credentials::manager::{Asking, CredentialError, CredentialManager, REFRESHES_AT_ONCE};
use crate::pipeline::credentials::refresh::Renewal;
use crate::pipeline::error::with_causes;
use backline_model::manifest::CredentialSlot;
use backline_model::{CredentialId, Event, Platform};
use backline_store::{Expiring, Scope, SealedCredential, StoreError};

/// Time between two rounds, by the host's clock: short against the life of any token.
const ROUND_EVERY: TimeDelta = TimeDelta::seconds(30);

/// How long a step of a round may take: one refresh, with its wait for another host's.
const ROUND_STEP: Duration = Duration::from_secs(120);

/// Credentials read from the database at once.
const PAGE: u32 = 200;

/// When a credential that is never due is checked again: it may have been replaced by a version of Backline that does
/// not know this field.
const NEVER_DUE_AGAIN: TimeDelta = TimeDelta::days(30);

/// When a credential that can't be opened is checked again.
const UNREADABLE_AGAIN: TimeDelta = TimeDelta::minutes(10);

/// The result of one round.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RefreshReport {
    /// Interrupted refreshes that were completed from the journal.
    pub replayed: u64,
    /// Credentials refreshed.
    pub refreshed: u64,
    /// Credentials whose refresh failed and is retried.
    pub failed: u64,
    /// Credentials given up: their owners must act.
    pub dead: u64,
    /// Credentials whose end was announced for the first time.
    pub announced: u64,
}

/// Runs until the service stops.
pub(in crate::pipeline) async fn serve(context: ServiceContext<CredentialManager>) {
    if let Err(problem) = context.current().journal.check().await {
        tracing::warn!(
            %problem,
            "fresh tokens are not written to disk before they are saved: a crash may lose a rotated token"
        );
    }
    let mut kept: Option<DateTime<Utc>> = None;
    let mut refreshes: Option<bool> = None;
    while !context.stop.is_cancelled() {
        let manager = context.current();
        let now = manager.clock.now();
        // Another host does it while this one's clock is wrong.
        if manager.clocks.is_right() && kept.is_none_or(|kept| now < kept || now >= kept + ROUND_EVERY) {
            match tell_standing(&context, &manager, refreshes).await {
                Ok(told) => refreshes = Some(told),
                Err(error) => tracing::warn!(%error, "whether this host may refresh tokens can't be found out"),
            }
            match manager.refresh_round(&context.stop, &|| context.heartbeat.work(ROUND_STEP)).await {
                Ok(report) if report == RefreshReport::default() => {}
                Ok(report) => tracing::info!(?report, "credentials were refreshed"),
                Err(error) => tracing::warn!(%error, "credentials can't be refreshed; this is retried"),
            }
            kept = Some(now);
        }
        context.rest(context.poll_interval()).await;
    }
    context.current().settle(Duration::from_millis(context.config().service.stop_deadline_ms)).await;
}

/// Says in the log and in the list of hosts whether this host refreshes tokens, where that has changed.
async fn tell_standing(
    context: &ServiceContext<CredentialManager>,
    manager: &CredentialManager,
    before: Option<bool>,
) -> Result<bool, StoreError> {
    let standing = manager.installation.standing().await?;
    let refreshes = !matches!(standing, InstallationState::Stranger(_));
    if before == Some(refreshes) {
        return Ok(refreshes);
    }
    manager.store.host_set_refreshes(&context.name, context.started_at, refreshes).await?;
    match standing {
        InstallationState::Stranger(stranger) => tracing::error!(%stranger, "this host refreshes no token"),
        _ if before.is_some() => tracing::info!("this host belongs to the installation now and refreshes tokens"),
        _ => {}
    }
    Ok(refreshes)
}

impl CredentialManager {
    /// One round: completes interrupted refreshes, refreshes credentials that are past half of their life, and
    /// announces those that end soon. Ends early when `stop` is cancelled; `tell` is called as it gets on.
    ///
    /// # Errors
    /// When the database fails. Problems with single credentials are counted and logged.
    pub async fn refresh_round(
        &self,
        stop: &CancellationToken,
        tell: &(dyn Fn() + Sync),
    ) -> Result<RefreshReport, StoreError> {
        tell();
        let mut report = RefreshReport { replayed: self.replay().await, ..RefreshReport::default() };
        self.refresh_due(stop, tell, &mut report).await?;
        if !stop.is_cancelled() {
            report.announced = self.announce_expiring(tell).await?;
        }
        Ok(report)
    }

    async fn refresh_due(
        &self,
        stop: &CancellationToken,
        tell: &(dyn Fn() + Sync),
        report: &mut RefreshReport,
    ) -> Result<(), StoreError> {
        let mut slots = self.granted_slots().await?;
        if let InstallationState::Stranger(_) = self.installation.standing().await? {
            // What the platform may replace stays due, for a host that may refresh it.
            slots.retain(|_, (slot, _)| !is_replaced(slot.kind));
        }
        let keys: Vec<(Platform, String)> = slots.keys().cloned().collect();
        let mut failures: BTreeMap<Platform, (u64, CredentialError)> = BTreeMap::new();
        let mut after: Option<CredentialId> = None;
        loop {
            let due =
                self.store.due_credentials_list(&Scope::all_tenants(), &keys, self.clock.now(), after, PAGE).await?;
            after = due.last().map(|credential| credential.id);
            let is_last = due.len() < PAGE as usize;
            let mut renewals = stream::iter(due)
                .map(|credential| {
                    let key = (credential.platform.clone(), credential.slot.clone());
                    let slot = slots.get(&key);
                    async move {
                        // The rest stay due.
                        let (false, Some((slot, client))) = (stop.is_cancelled(), slot) else { return None };
                        let renewal = self.keep_one(slot, client.as_ref(), &credential).await;
                        Some((credential.platform, renewal))
                    }
                })
                .buffer_unordered(REFRESHES_AT_ONCE);
            while let Some(done) = renewals.next().await {
                tell();
                let Some((platform, renewal)) = done else { continue };
                let error = match renewal {
                    Ok(Some(Renewal::Refreshed(..))) => {
                        report.refreshed += 1;
                        continue;
                    }
                    // This was logged when it was given up.
                    Ok(Some(Renewal::Dead(_))) => {
                        report.dead += 1;
                        continue;
                    }
                    Ok(None | Some(Renewal::Superseded(..) | Renewal::Busy)) => continue,
                    Ok(Some(Renewal::Failed(error))) | Err(error) => error,
                };
                report.failed += 1;
                failures.entry(platform).or_insert((0, error)).0 += 1;
            }
            if is_last || stop.is_cancelled() {
                break;
            }
        }
        // One line for each platform: the cause is often the same for all its tokens.
        for (platform, (count, error)) in failures {
            tracing::warn!(
                %platform,
                count,
                error = with_causes(&error),
                "tokens could not be refreshed; they are used until they end, and the refresh is retried"
            );
        }
        Ok(())
    }

    /// The slots that active connectors may use, each with the operator's credential of the same slot if there is one:
    /// refreshing an account's token may need it.
    async fn granted_slots(
        &self,
    ) -> Result<HashMap<(Platform, String), (CredentialSlot, Option<SealedCredential>)>, StoreError> {
        let mut slots = HashMap::new();
        for release in self.store.releases_list().await?.into_iter().filter(|release| release.active) {
            let platform = release.platform().clone();
            for slot in release.manifest.credentials {
                if release.grant.lets_use(&slot) {
                    let client = self.store.credential_get(&Scope::all_tenants(), &platform, &slot.slot, None).await;
                    let client = match client {
                        // The slot's tokens that need it can't be refreshed; all others can.
                        Err(error @ StoreError::Unreadable { .. }) => {
                            tracing::warn!(%platform, slot = %slot.slot, %error, "a credential can't be read");
                            None
                        }
                        client => client?,
                    };
                    slots.insert((platform.clone(), slot.slot.clone()), (slot, client));
                }
            }
        }
        Ok(slots)
    }

    /// Refreshes a credential; none if it turns out not to be due.
    async fn keep_one(
        &self,
        slot: &CredentialSlot,
        client: Option<&SealedCredential>,
        credential: &SealedCredential,
    ) -> Result<Option<Renewal>, CredentialError> {
        let now = self.clock.now();
        let again = |at: DateTime<Utc>| async move {
            self.store.credential_set_refresh_at(&Scope::all_tenants(), credential.id, credential.version, at).await
        };
        let secret = match self.open(credential) {
            Ok(secret) => secret,
            Err(error) => {
                again(now + UNREADABLE_AGAIN).await?;
                return Err(error);
            }
        };
        match secret.refresh_at() {
            Some(at) if at <= now => {
                let asking = Asking::default();
                self.renew(slot, client, credential, None, Duration::ZERO, &asking).await.map(Some)
            }
            Some(at) => again(at).await.map(|()| None).map_err(CredentialError::from),
            None => again(now + NEVER_DUE_AGAIN).await.map(|()| None).map_err(CredentialError::from),
        }
    }

    /// Announces credentials that end soon and that no refresh will renew in time: each once at 14, 7 and 1 days, and
    /// only the nearest of these if it is noticed late. Returns the number of new announcements.
    async fn announce_expiring(&self, tell: &(dyn Fn() + Sync)) -> Result<u64, StoreError> {
        // By a clock that jumped since the round began, an end would be told too early, and not again when it is near.
        let Some(now) = self.clocks.right_now() else { return Ok(0) };
        let until = announced_until(now);
        let (mut announced, mut after) = (0, None);
        loop {
            tell();
            let page = self.store.expiring_credentials_list(&Scope::all_tenants(), now, until, after, PAGE).await?;
            after = page.last().map(|expiring| expiring.credential.id);
            let is_last = page.len() < PAGE as usize;
            let events: Vec<Event> = page
                .iter()
                .filter(|expiring| !self.is_renewed_in_time(&expiring.credential, now))
                .filter_map(|Expiring { credential, artist_id }| {
                    expiring_event(credential, *artist_id, credential.expires_at?, now)
                })
                .collect();
            announced += self.store.events_write(&Scope::all_tenants(), &events).await?;
            if is_last {
                return Ok(announced);
            }
        }
    }

    /// Credentials that end soon and that no refresh will renew in time: the first few hundred.
    ///
    /// # Errors
    /// When the database fails.
    pub(in crate::pipeline) async fn expiring(&self, now: DateTime<Utc>) -> Result<Vec<SealedCredential>, StoreError> {
        let page =
            self.store.expiring_credentials_list(&Scope::all_tenants(), now, announced_until(now), None, PAGE).await?;
        let found = page.into_iter().map(|expiring| expiring.credential);
        Ok(found.filter(|credential| !self.is_renewed_in_time(credential, now)).collect())
    }

    /// Whether a refresh will replace the credential before it ends. One that can't be opened can't be refreshed
    /// either.
    fn is_renewed_in_time(&self, credential: &SealedCredential, now: DateTime<Utc>) -> bool {
        self.open(credential).is_ok_and(|secret| secret.is_renewed_in_time(now))
    }
}
