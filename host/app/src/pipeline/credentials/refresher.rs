//! Keeps credentials fresh without waiting for a batch to need them, and says early which ones will end.
//!
//! Every host does it: who refreshes what is decided in the database, credential by credential (see [`refresh`](crate::pipeline::credentials::refresh)).

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use futures::stream::{self, StreamExt as _};
use serde::Serialize;
use serde_json::json;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::pipeline::credentials::manager::{CredentialError, REFRESHES_AT_ONCE};
use crate::pipeline::credentials::refresh::Renewal;
use crate::pipeline::service::ServiceContext;
use crate::pipeline::{Host, HostError};
use backline_model::event::types;
use backline_model::manifest::CredentialSlot;
use backline_model::{ArtistId, CredentialId, Event, Platform};
use backline_store::{Expiring, Scope, SealedCredential};

/// Time between two rounds, by the host's clock: short against the life of any token.
const ROUND_EVERY: TimeDelta = TimeDelta::seconds(30);

/// Credentials read from the database at once.
const PAGE: u32 = 200;

/// How many days before its end a credential is announced, the nearest first.
const ANNOUNCED_DAYS: [i64; 3] = [1, 7, 14];

/// When a credential that is never due is looked at again: it may have been replaced by a version that does not know this field.
const NEVER_DUE_AGAIN: TimeDelta = TimeDelta::days(30);

/// When a credential that can't be opened is looked at again.
const UNREADABLE_AGAIN: TimeDelta = TimeDelta::minutes(10);

/// What a round of keeping came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RefreshReport {
    /// Refreshes of an earlier process that were completed.
    pub replayed: u64,
    /// Credentials refreshed.
    pub refreshed: u64,
    /// Credentials whose refresh failed and is tried again.
    pub failed: u64,
    /// Credentials given up: whoever owns them must act.
    pub dead: u64,
    /// Ends announced for the first time.
    pub announced: u64,
}

/// Goes on until the service stops.
pub(crate) async fn serve(context: ServiceContext) {
    if let Err(problem) = context.host().credentials().journal.check().await {
        tracing::warn!(%problem, "fresh tokens are not kept on disk before they are saved: a crash in between may lose one that a platform has rotated");
    }
    let mut kept: Option<DateTime<Utc>> = None;
    while !context.stop.is_cancelled() {
        let host = context.host();
        let now = host.clock().now();
        if kept.is_none_or(|kept| now < kept || now >= kept + ROUND_EVERY) {
            match host.keep(&context.stop).await {
                Ok(report) if report == RefreshReport::default() => {}
                Ok(report) => tracing::info!(?report, "credentials were kept"),
                Err(error) => tracing::warn!(%error, "credentials can't be kept fresh; it is tried again"),
            }
            kept = Some(now);
        }
        context.rest(Duration::from_millis(host.config().service.poll_ms)).await;
    }
    let host = context.host();
    host.credentials().settle(Duration::from_millis(host.config().service.stop_deadline_ms)).await;
}

impl Host {
    /// One round: completes refreshes that were cut off, refreshes what has lived half its life, and announces what ends soon.
    ///
    /// # Errors
    /// When the database fails. What is wrong with single credentials is counted, and logged.
    pub async fn refresh_credentials(&self) -> Result<RefreshReport, HostError> {
        self.keep(&CancellationToken::new()).await
    }

    async fn keep(&self, stop: &CancellationToken) -> Result<RefreshReport, HostError> {
        let mut report = RefreshReport { replayed: self.credentials().replay().await, ..RefreshReport::default() };
        self.refresh_due(stop, &mut report).await?;
        if !stop.is_cancelled() {
            report.announced = self.announce_expiring().await?;
        }
        Ok(report)
    }

    async fn refresh_due(&self, stop: &CancellationToken, report: &mut RefreshReport) -> Result<(), HostError> {
        let slots = self.granted_slots().await?;
        let keys: Vec<(Platform, String)> = slots.keys().cloned().collect();
        let mut failures: BTreeMap<Platform, (u64, CredentialError)> = BTreeMap::new();
        let mut after: Option<CredentialId> = None;
        loop {
            let due = self
                .store()
                .due_credentials_list(&Scope::all_tenants(), &keys, self.clock().now(), after, PAGE)
                .await?;
            after = due.last().map(|credential| credential.id);
            let is_last = due.len() < PAGE as usize;
            let mut renewals = stream::iter(due)
                .map(|credential| {
                    let key = (credential.platform.clone(), credential.slot.clone());
                    let slot = slots.get(&key);
                    async move {
                        // Whatever is left stays due.
                        let (false, Some((slot, client))) = (stop.is_cancelled(), slot) else { return None };
                        let renewal = self.keep_one(slot, client.as_ref(), &credential).await;
                        Some((credential.platform, renewal))
                    }
                })
                .buffer_unordered(REFRESHES_AT_ONCE);
            while let Some(done) = renewals.next().await {
                let Some((platform, renewal)) = done else { continue };
                let error = match renewal {
                    Ok(Some(Renewal::Refreshed(..))) => {
                        report.refreshed += 1;
                        continue;
                    }
                    // Logged where it was given up.
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
        // One line a platform: what keeps one token from being refreshed often keeps all.
        for (platform, (count, error)) in failures {
            tracing::warn!(%platform, count, %error, "tokens could not be refreshed; they are used while they last, and it is tried again");
        }
        Ok(())
    }

    /// The slots that active connectors may use, each with the operator's credential of the same slot, where there is one: refreshing an
    /// account's token may need it.
    async fn granted_slots(
        &self,
    ) -> Result<HashMap<(Platform, String), (CredentialSlot, Option<SealedCredential>)>, HostError> {
        let mut slots = HashMap::new();
        for release in self.store().releases_list().await?.into_iter().filter(|release| release.active) {
            let platform = release.platform().clone();
            for slot in release.manifest.credentials {
                if release.grant.lets_use(&slot) {
                    let client =
                        self.store().credential_get(&Scope::all_tenants(), &platform, &slot.slot, None).await?;
                    slots.insert((platform.clone(), slot.slot.clone()), (slot, client));
                }
            }
        }
        Ok(slots)
    }

    /// Refreshes a credential that is due; none where a look shows that it is not.
    async fn keep_one(
        &self,
        slot: &CredentialSlot,
        client: Option<&SealedCredential>,
        credential: &SealedCredential,
    ) -> Result<Option<Renewal>, CredentialError> {
        let now = self.clock().now();
        let again = |at: DateTime<Utc>| async move {
            self.store().credential_set_refresh_at(&Scope::all_tenants(), credential.id, credential.version, at).await
        };
        let secret = match self.credentials().open(credential) {
            Ok(secret) => secret,
            Err(error) => {
                again(now + UNREADABLE_AGAIN).await?;
                return Err(error);
            }
        };
        match secret.refresh_at() {
            Some(at) if at <= now => {
                self.credentials().renew(slot, client, credential, None, Duration::ZERO).await.map(Some)
            }
            Some(at) => again(at).await.map(|()| None).map_err(CredentialError::from),
            None => again(now + NEVER_DUE_AGAIN).await.map(|()| None).map_err(CredentialError::from),
        }
    }

    /// Announces credentials that end soon and that no refresh to come will put off: each once at 14, 7 and 1 days, and only the nearest
    /// of these where it is seen late. Answers how many announcements were new.
    async fn announce_expiring(&self) -> Result<u64, HostError> {
        let now = self.clock().now();
        let until = now + TimeDelta::days(ANNOUNCED_DAYS.into_iter().max().unwrap_or_default());
        let (mut announced, mut after) = (0, None);
        loop {
            let page = self.store().expiring_credentials_list(&Scope::all_tenants(), now, until, after, PAGE).await?;
            after = page.last().map(|expiring| expiring.credential.id);
            let is_last = page.len() < PAGE as usize;
            let events: Vec<Event> = page
                .iter()
                // One that can't be opened can't be refreshed either.
                .filter(|expiring| {
                    self.credentials().open(&expiring.credential).map_or(true, |secret| !secret.is_renewed_in_time(now))
                })
                .filter_map(|Expiring { credential, artist_id }| {
                    expiring_event(credential, *artist_id, credential.expires_at?, now)
                })
                .collect();
            announced += self.store().events_write(&Scope::all_tenants(), &events).await?;
            if is_last {
                return Ok(announced);
            }
        }
    }
}

/// Credentials that end soon and that no refresh to come will put off: the first few hundred.
pub(in crate::pipeline) async fn expiring(host: &Host, now: DateTime<Utc>) -> Result<Vec<SealedCredential>, HostError> {
    let until = now + TimeDelta::days(ANNOUNCED_DAYS.into_iter().max().unwrap_or_default());
    let page = host.store().expiring_credentials_list(&Scope::all_tenants(), now, until, None, PAGE).await?;
    let found = page.into_iter().map(|expiring| expiring.credential);
    Ok(found
        .filter(|credential| host.credentials().open(credential).map_or(true, |secret| !secret.is_renewed_in_time(now)))
        .collect())
}

/// What is to be told of a credential that ends soon; none where that is more than 14 days off.
pub(in crate::pipeline) fn expiring_event(
    credential: &SealedCredential,
    artist_id: Option<ArtistId>,
    expires_at: DateTime<Utc>,
    now: DateTime<Utc>,
) -> Option<Event> {
    let days = ANNOUNCED_DAYS.into_iter().find(|days| expires_at - now <= TimeDelta::days(*days))?;
    Some(Event {
        id: Uuid::now_v7(),
        kind: types::CREDENTIAL_EXPIRING.to_owned(),
        artist_id,
        occurred_at: now,
        // Another end is another announcement.
        dedup_key: Some(format!("{}:{}:{}:{days}", types::CREDENTIAL_EXPIRING, credential.id, expires_at.timestamp())),
        data: json!({
            "account_id": credential.account_id,
            "artist_id": artist_id,
            "platform": credential.platform,
            "slot": credential.slot,
            "expires_at": expires_at,
            "days": days,
        }),
    })
}
