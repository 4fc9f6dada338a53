//! What an act is about, and what the audit log keeps of such a thing before and after it.
//!
//! Only what is named here is kept: no secret, no artist's name, no id on a platform, and nothing that people wrote for
//! each other. What is of an artist says whose it is, so that it stands in entries that go with the artist alone.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, Utc};
use serde_json::{Map, Value as Json, json};
use url::Url;
use uuid::Uuid;

use crate::pipeline::collection::pauses::believed;
use backline_model::bulk::BulkAct;
use backline_model::{
    Account, AccountId, AlertChannel, AlertDigest, AlertRoute, ApiToken, Artist, ArtistId, BatchId, Consent,
    CredentialId, Digest, Grant, Holder, Platform, Quarantined, Release, Run, RunId, Schedule, TokenId, Webhook,
};
use backline_store::{BatchFilter, BatchView, COLLECTING_SCOPE, Canary, Scope, SealedCredential, Store, StoreError};

/// Most things of one act whose states are kept.
pub const SUBJECTS_MAX: usize = 20;

/// Most releases of a connector that are told of, the latest first.
const RELEASES_MAX: usize = 10;

/// Most pauses that are looked through for one.
const PAUSES_MAX: u32 = 1_000;

/// A thing that an act is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// An artist, with what was consented to.
    Artist(ArtistId),
    /// An artist's account.
    Account(AccountId),
    /// A run.
    Run(RunId),
    /// A batch.
    Batch(BatchId),
    /// All open batches, by state.
    Batches,
    /// An act on everything that a filter shows.
    Bulk(Uuid),
    /// A value that failed validation.
    Quarantined(Uuid),
    /// A credential.
    Credential(CredentialId),
    /// Where a credential is put, which may hold none.
    Slot {
        /// The platform.
        platform: Platform,
        /// The connector's slot.
        slot: String,
        /// The account, of slots that belong to accounts.
        account: Option<AccountId>,
    },
    /// A token of the HTTP API.
    Token(TokenId),
    /// A webhook, by its name.
    Webhook(String),
    /// A schedule, by its name.
    Schedule(String),
    /// A release, and what collects its platform.
    Release(Digest),
    /// The releases of a connector, by its name.
    Connector(String),
    /// What collects a platform.
    Platform(Platform),
    /// A pause that a platform asked for.
    Pause(Holder),
    /// A channel of alerts, by its name.
    AlertChannel(String),
    /// A route of alerts, by its name.
    AlertRoute(String),
    /// A digest, by its name.
    AlertDigest(String),
}

/// What is kept of a thing.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct State {
    pub(super) told: Json,
    /// The artist whose it is.
    pub(super) artist: Option<ArtistId>,
}

/// What was found of a thing.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Seen {
    /// It could not be read: nothing is said of it.
    Unknown,
    /// There is none.
    Nothing,
    /// It is like this.
    Thing(State),
}

/// The things that an act is about, each as it was before. Cloning shares it.
#[derive(Clone, Debug, Default)]
pub struct ActSubjects(Arc<Mutex<Vec<(Subject, Seen)>>>);

impl ActSubjects {
    /// Names a thing that the act itself made: there was none before.
    pub fn made(&self, subject: Subject) {
        self.add(subject, Seen::Nothing);
    }

    pub(super) fn add(&self, subject: Subject, before: Seen) {
        let mut watched = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if watched.len() < SUBJECTS_MAX && watched.iter().all(|(known, _)| *known != subject) {
            watched.push((subject, before));
        }
    }

    /// Whether one more thing is of no use.
    pub(super) fn has(&self, subject: &Subject) -> bool {
        let watched = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        watched.len() >= SUBJECTS_MAX || watched.iter().any(|(known, _)| known == subject)
    }

    /// All of them, once. Of an act on one account, the other accounts stay: each has an entry of its own.
    pub(super) fn take(&self, account: Option<AccountId>) -> Vec<(Subject, Seen)> {
        let is_of_another = |(subject, _): &(Subject, Seen)| match (subject, account) {
            (Subject::Account(other), Some(own)) => *other != own,
            _ => false,
        };
        let mut watched = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (stay, taken) = std::mem::take(&mut *watched).into_iter().partition(is_of_another);
        *watched = stay;
        taken
    }
}

impl Subject {
    /// What an entry calls it. What is of an artist is not named by its own id: the entry names the artist.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Artist(_) => "artist".to_owned(),
            Self::Account(_) => "account".to_owned(),
            Self::Run(id) => format!("run {id}"),
            Self::Batch(id) => format!("batch {id}"),
            Self::Batches => "open batches".to_owned(),
            Self::Bulk(id) => format!("bulk act {id}"),
            Self::Quarantined(id) => format!("value {id}"),
            Self::Credential(id) => format!("credential {id}"),
            Self::Slot { platform, slot, .. } => format!("credential {platform}/{slot}"),
            Self::Token(id) => format!("token {id}"),
            Self::Webhook(name) => format!("webhook {name}"),
            Self::Schedule(name) => format!("schedule {name}"),
            Self::Release(digest) => format!("release {}", digest.short()),
            Self::Connector(name) => format!("connector {name}"),
            Self::Platform(platform) => format!("platform {platform}"),
            Self::Pause(holder) => format!("pause {holder}"),
            Self::AlertChannel(name) => format!("channel {name}"),
            Self::AlertRoute(name) => format!("route {name}"),
            Self::AlertDigest(name) => format!("digest {name}"),
        }
    }

    /// What is kept of it as it is now; `None` where it is not in the scope.
    ///
    /// # Errors
    /// When the database fails.
    pub(super) async fn state(
        &self,
        store: &Store,
        scope: &Scope,
        now: DateTime<Utc>,
    ) -> Result<Option<State>, StoreError> {
        let is_all = *scope == Scope::all_tenants();
        match self {
            Self::Artist(id) => {
                let artist = match store.artist_get(scope, *id).await {
                    Err(StoreError::Unreadable { column, .. }) => return Ok(Some(unreadable(&column, Some(*id)))),
                    artist => artist?,
                };
                let Some(artist) = artist else { return Ok(None) };
                let consents = store.latest_consents_get(scope, *id).await?;
                Ok(Some(State { told: artist_state(&artist, &consents), artist: Some(artist.id) }))
            }
            Self::Account(id) => {
                let found = match store.account_get(scope, *id).await {
                    Err(StoreError::Unreadable { column, .. }) => {
                        let place = store.account_place_get(scope, *id).await?;
                        return Ok(place.map(|place| unreadable(&column, Some(place.artist_id))));
                    }
                    found => found?,
                };
                Ok(found.map(|one| State { told: account_state(&one), artist: Some(one.artist_id) }))
            }
            Self::Run(id) => Ok(store.run_get(scope, *id).await?.map(|run| of_none(run_state(&run)))),
            Self::Batch(id) => {
                let filter = BatchFilter { ids: vec![*id], limit: Some(1), ..BatchFilter::default() };
                let found = store.batches_list(scope, &filter).await?;
                Ok(found.first().map(|batch| of_none(batch_state(batch))))
            }
            Self::Batches => {
                let counted: Map<String, Json> =
                    store.open_batches_count(scope).await?.into_iter().map(|(state, n)| (state, json!(n))).collect();
                Ok(Some(of_none(Json::Object(counted))))
            }
            Self::Bulk(id) => {
                let found = store.bulk_act_get(scope, *id).await?;
                Ok(found.map(|act| State { told: bulk_state(&act), artist: act.filter.artist }))
            }
            Self::Quarantined(id) => {
                let found = store.quarantine_get(scope, *id).await?;
                Ok(found.map(|one| State { told: quarantined_state(&one), artist: Some(one.artist_id) }))
            }
            Self::Credential(id) => match store.credential_get_by_id(scope, *id).await {
                Err(StoreError::Unreadable { column, .. }) => {
                    let Some(slot) = store.credential_slot_get(scope, *id).await? else { return Ok(None) };
                    let artist = match slot.account_id {
                        Some(account) => store.account_place_get(scope, account).await?.map(|place| place.artist_id),
                        None => None,
                    };
                    Ok(Some(unreadable(&column, artist)))
                }
                found => credential(store, scope, found?).await,
            },
            Self::Slot { platform, slot, account } => {
                let found = store.credential_get(scope, platform, slot, *account).await?;
                credential(store, scope, found).await
            }
            Self::Token(id) => {
                let found = store.tokens_list(scope).await?.into_iter().find(|token| token.id == *id);
                Ok(found.map(|token| of_none(token_state(&token, now))))
            }
            Self::Webhook(name) => match store.webhook_get(scope, name).await {
                Ok(webhook) => Ok(Some(of_none(webhook_state(&webhook)))),
                Err(StoreError::NotFound { .. }) => Ok(None),
                Err(error) => Err(error),
            },
            // What follows is the installation's.
            _ if !is_all => Ok(None),
            Self::Schedule(name) => {
                let found = store.schedules_list().await?.into_iter().find(|schedule| schedule.name == *name);
                Ok(found.map(|schedule| of_none(schedule_state(&schedule))))
            }
            Self::Release(digest) => {
                let Some(release) = store.release_get(*digest).await? else { return Ok(None) };
                let mut told = release_state(&release);
                told["platform"] = platform_state(store, release.platform()).await?;
                Ok(Some(of_none(told)))
            }
            Self::Connector(name) => {
                let all = store.releases_list().await?;
                let own = all.iter().filter(|release| release.manifest.connector.name == *name);
                let told: Map<String, Json> =
                    own.take(RELEASES_MAX).map(|release| (release.digest.short(), release_state(release))).collect();
                Ok((!told.is_empty()).then(|| of_none(Json::Object(told))))
            }
            Self::Platform(platform) => Ok(Some(of_none(platform_state(store, platform).await?))),
            Self::Pause(holder) => {
                let key = holder.to_string();
                let all = store.held_pauses_list(now, believed(now), PAUSES_MAX).await?;
                let found = all.into_iter().find(|pause| pause.key == key);
                Ok(found.map(|pause| of_none(json!({ "platform": pause.platform, "until": pause.until }))))
            }
            Self::AlertChannel(name) => {
                let all = store.alert_channels_list(scope).await?;
                let found = all.iter().find(|channel| channel.name == *name);
                Ok(found.map(|channel| of_none(channel_state(channel))))
            }
            Self::AlertRoute(name) => {
                let all = store.alert_routes_list(scope).await?;
                let found = all.iter().find(|(route, _)| route.name == *name);
                Ok(found.map(|(route, _)| of_none(route_state(route))))
            }
            Self::AlertDigest(name) => {
                let all = store.alert_digests_list(scope).await?;
                let found = all.iter().find(|digest| digest.name == *name);
                Ok(found.map(|digest| of_none(digest_state(digest))))
            }
        }
    }
}

/// What is kept of a thing whose row can't be read. Whose it is says whose the entry is.
fn unreadable(column: &str, artist: Option<ArtistId>) -> State {
    State { told: json!({ "unreadable": column }), artist }
}

fn of_none(told: Json) -> State {
    State { told, artist: None }
}

/// The beginning of a digest of something that is not itself kept: it tells whether it changed.
fn mark_of(text: &str) -> String {
    Digest::of(text.as_bytes()).short()
}

fn artist_state(artist: &Artist, consents: &[Consent]) -> Json {
    let consents: BTreeMap<String, bool> = consents
        .iter()
        .map(|consent| match consent.scope.as_str() {
            COLLECTING_SCOPE => (consent.platform.to_string(), consent.granted),
            other => (format!("{} {}", consent.platform, mark_of(other)), consent.granted),
        })
        .collect();
    json!({
        "tenant": artist.tenant,
        "subscription_status": artist.subscription_status,
        "data_collection_enabled": artist.data_collection_enabled,
        "timezone": artist.timezone,
        "consents": consents,
    })
}

fn account_state(account: &Account) -> Json {
    let settings = mark_of(&account.settings.to_string());
    json!({ "platform": account.platform, "status": account.status, "settings_sha256": settings })
}

fn run_state(run: &Run) -> Json {
    json!({ "status": run.status, "date": run.date, "trigger": run.trigger, "counts": run.counts })
}

fn batch_state(batch: &BatchView) -> Json {
    let BatchView { state, attempts, accounts, platform, run_id, .. } = batch;
    json!({ "state": state, "attempts": attempts, "accounts": accounts, "platform": platform, "run": run_id })
}

fn bulk_state(act: &BulkAct) -> Json {
    let BulkAct { action, state, total, done, skipped, failed, .. } = act;
    json!({
        "action": action, "state": state, "total": total, "done": done, "skipped": skipped, "failed": failed,
    })
}

fn quarantined_state(value: &Quarantined) -> Json {
    let Quarantined { status, platform, metric, metric_date, rule, .. } = value;
    json!({ "status": status, "platform": platform, "metric": metric, "metric_date": metric_date, "rule": rule })
}

/// A credential's state, with the artist of its account.
async fn credential(
    store: &Store,
    scope: &Scope,
    found: Option<SealedCredential>,
) -> Result<Option<State>, StoreError> {
    let Some(found) = found else { return Ok(None) };
    let SealedCredential { platform, slot, account_id, kind, version, expires_at, status, .. } = found;
    let told = json!({
        "platform": platform, "slot": slot, "kind": kind, "status": status, "version": version,
        "expires_at": expires_at,
    });
    let artist = match account_id {
        Some(account) => match store.account_place_get(scope, account).await? {
            Some(place) => Some(place.artist_id),
            // It goes with its account.
            None => return Ok(None),
        },
        None => None,
    };
    Ok(Some(State { told, artist }))
}

fn token_state(token: &ApiToken, now: DateTime<Utc>) -> Json {
    let state = token.state(now).as_str();
    let ApiToken { name, role, tenant, expires_at, .. } = token;
    json!({ "name": name, "role": role, "tenant": tenant, "expires_at": expires_at, "state": state })
}

/// A webhook without its URL's path and user, which may be secrets.
fn webhook_state(webhook: &Webhook) -> Json {
    let origin = Url::parse(&webhook.url).ok().map(|url| url.origin().ascii_serialization());
    json!({
        "kind": webhook.kind, "origin": origin, "url_sha256": mark_of(&webhook.url), "events": webhook.events,
        "tenant": webhook.tenant, "enabled": webhook.enabled,
    })
}

fn schedule_state(schedule: &Schedule) -> Json {
    json!({ "origin": schedule.origin, "spec": schedule.spec })
}

fn release_state(release: &Release) -> Json {
    let Grant { hosts, slots, budgets, .. } = &release.grant;
    let hosts: Vec<String> = hosts.iter().map(|host| host.origin.to_string()).collect();
    let slots: Vec<&str> = slots.iter().map(|slot| slot.slot.as_str()).collect();
    json!({
        "connector": release.manifest.connector.name,
        "version": release.manifest.connector.version,
        "state": release.state,
        "active": release.active,
        "granted": { "hosts": hosts, "slots": slots, "limits": budgets },
    })
}

/// Which release collects a platform, and which one a share of it.
async fn platform_state(store: &Store, platform: &Platform) -> Result<Json, StoreError> {
    let active = store.active_release_get(platform).await?.map(|release| release.digest.short());
    let canaries = store.canaries_list().await?;
    let canary = canaries.iter().find(|canary| canary.platform == *platform);
    let canary = canary.map(|Canary { release, share, .. }| json!({ "release": release.short(), "share": share }));
    Ok(json!({ "active": active, "canary": canary }))
}

/// A channel without its addresses, which are of people or secret.
fn channel_state(channel: &AlertChannel) -> Json {
    let target = serde_json::to_string(&channel.target).unwrap_or_default();
    json!({ "kind": channel.target.kind(), "target_sha256": mark_of(&target) })
}

fn route_state(route: &AlertRoute) -> Json {
    let AlertRoute { channels, events, severity, tenant, window_s, quiet, .. } = route;
    json!({
        "channels": channels, "events": events, "severity": severity, "tenant": tenant, "window_s": window_s,
        "quiet": quiet,
    })
}

fn digest_state(digest: &AlertDigest) -> Json {
    let AlertDigest { channel, tenant, every, hour, timezone, quiet, .. } = digest;
    json!({
        "channel": channel, "tenant": tenant, "every": every, "hour": hour, "timezone": timezone, "quiet": quiet,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thing_is_watched_once_and_not_without_end() {
        let subjects = ActSubjects::default();
        let run = |n| Subject::Run(RunId(Uuid::from_u128(n)));
        subjects.add(run(0), Seen::Unknown);
        subjects.made(run(0));
        for n in 1..100 {
            subjects.made(run(n));
        }
        assert!(subjects.has(&run(0)) && subjects.has(&run(1_000)));
        let watched = subjects.take(None);
        assert_eq!(watched.len(), SUBJECTS_MAX);
        assert_eq!(watched[0], (run(0), Seen::Unknown));
        assert!(subjects.take(None).is_empty());
    }

    #[test]
    fn what_is_of_an_artist_is_not_named_by_its_id() {
        let id = Uuid::from_u128(0xABCD);
        for subject in [Subject::Artist(ArtistId(id)), Subject::Account(AccountId(id))] {
            assert!(!subject.name().contains("abcd"), "{}", subject.name());
        }
    }

    #[test]
    fn a_webhooks_secret_parts_are_left_out() {
        let at = DateTime::UNIX_EPOCH;
        let webhook = Webhook {
            id: backline_model::WebhookId(Uuid::nil()),
            name: "mine".to_owned(),
            kind: backline_model::WebhookKind::Webhook,
            url: "https://user:canary@example.org/canary?canary".to_owned(),
            events: vec!["*".to_owned()],
            tenant: None,
            enabled: true,
            disabled_reason: Some("canary".to_owned()),
            previous_until: None,
            created_at: at,
            updated_at: at,
        };
        let told = webhook_state(&webhook);
        assert_eq!(told["origin"], "https://example.org");
        assert!(!told.to_string().contains("canary"), "{told}");
    }
}
