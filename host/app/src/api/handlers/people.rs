//! What an artist agrees to, what an account lets Backline use, erasure, and the removal of an account.

use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::BTreeMap;
use zeroize::Zeroizing;

use crate::api::answer::{Item, Page, Recorded};
use crate::api::call::Call;
use crate::api::handlers::acts::NoChoice;
use crate::api::handlers::artists::artist_id_of_path;
use crate::api::handlers::installation::Removed;
use crate::api::handlers::known;
use crate::api::problem::Problem;
use crate::api::query::query;
use crate::api::schema::{Components, Described, Field, component, described, object};
use crate::pipeline::{
    AccountRemoval, CredentialSlot, Erasure, RemovalError, Subject, names, record_consent, remove_account as remove,
    remove_credential as remove_credential_of,
};
use backline_model::privacy::Receipt;
use backline_model::{AccountId, ArtistId, Consent, CredentialId, Platform};
use backline_store::{CredentialFilter, SealedCredential};
use chrono::{DateTime, Utc};

/// What a consent covers unless the request says otherwise: collection.
const CONSENT_SCOPE: &str = "metrics";

/// Where a consent was recorded unless the request says otherwise.
const CONSENT_SOURCE: &str = "api";

/// Longest scope or source of a consent, in characters.
const CONSENT_CHARACTERS_MAX: usize = 200;

query! {
    /// Parameters of a list of credentials.
    Credentials {
        /// Only of this platform
        platform: Platform,
        /// Only this account's
        account: AccountId,
    }
}

/// What an artist decided.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(in crate::api) struct Decide {
    platform: Option<Platform>,
    scope: Option<String>,
    source: Option<String>,
}

/// A secret to set. It is never answered again.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(in crate::api) struct SetCredential {
    platform: Option<Platform>,
    slot: Option<String>,
    account: Option<AccountId>,
    secret: Option<String>,
}

/// Why an account is removed.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(in crate::api) struct RemoveAccount {
    reason: Option<String>,
}

/// What the removal of an account removed. `remark` says what would bring it back.
#[derive(Serialize)]
pub(in crate::api) struct RemovedAccount {
    account_id: AccountId,
    artist_id: ArtistId,
    platform: Platform,
    rows: BTreeMap<String, u64>,
    remark: Option<String>,
}

/// What was recorded of a decision.
#[derive(Serialize)]
pub(in crate::api) struct Decided {
    consent: Consent,
    recorded: bool,
    tokens_removed: u64,
}

/// A credential without its secret.
#[derive(Serialize)]
pub(in crate::api) struct CredentialView {
    id: CredentialId,
    platform: Platform,
    slot: String,
    account_id: Option<AccountId>,
    kind: String,
    status: String,
    expires_at: Option<DateTime<Utc>>,
    updated_at: DateTime<Utc>,
}

/// What an erasure removed.
#[derive(Serialize)]
pub(in crate::api) struct Erased {
    receipt: Receipt,
    kept_tokens: u64,
    erased_before: bool,
    may_leave_traces: bool,
}

described! {
    Decide {
        [optional] platform: Option<Platform>, [optional] scope: Option<String>, [optional] source: Option<String>,
    }
    SetCredential {
        [optional] platform: Option<Platform>, [optional] slot: Option<String>, [optional] account: Option<AccountId>,
        [optional] secret: Option<String>,
    }
    RemoveAccount { [optional] reason: Option<String> }
    RemovedAccount {
        account_id: AccountId, artist_id: ArtistId, platform: Platform, rows: BTreeMap<String, u64>,
        remark: Option<String>,
    }
    Decided { consent: Consent, recorded: bool, tokens_removed: u64 }
    CredentialView {
        id: CredentialId, platform: Platform, slot: String, account_id: Option<AccountId>, kind: String,
        status: String, expires_at: Option<DateTime<Utc>>, updated_at: DateTime<Utc>,
    }
    Receipt {
        artist_id_sha256: String, requested_at: DateTime<Utc>, finished_at: DateTime<Utc>, rows: BTreeMap<String, u64>,
        texts: BTreeMap<String, u64>, [optional] readmitted_at: Option<DateTime<Utc>>,
    }
    Erased { receipt: Receipt, kept_tokens: u64, erased_before: bool, may_leave_traces: bool }
}

impl From<SealedCredential> for CredentialView {
    fn from(sealed: SealedCredential) -> Self {
        let SealedCredential { id, platform, slot, account_id, kind, status, expires_at, updated_at, .. } = sealed;
        Self { id, platform, slot, account_id, kind, status, expires_at, updated_at }
    }
}

pub(in crate::api) async fn grant(call: Call, body: Decide) -> Result<Recorded<Item<Decided>>, Problem> {
    decide(&call, body, true).await
}

pub(in crate::api) async fn withdraw(call: Call, body: Decide) -> Result<Recorded<Item<Decided>>, Problem> {
    decide(&call, body, false).await
}

async fn decide(call: &Call, body: Decide, granted: bool) -> Result<Recorded<Item<Decided>>, Problem> {
    let artist_id: ArtistId = artist_id_of_path(call).await?;
    let Decide { platform, scope, source } = body;
    let Some(platform) = known(call.host(), platform).await? else {
        return Err(Problem::wrong("platform: say which one the artist decided about"));
    };
    let text = |name: &str, given: Option<String>, otherwise: &str| match given {
        None => Ok(otherwise.to_owned()),
        Some(given) if given.trim().is_empty() || given.chars().count() > CONSENT_CHARACTERS_MAX => {
            Err(Problem::wrong(format!("{name}: it has not 1 to {CONSENT_CHARACTERS_MAX} characters")))
        }
        Some(given) => Ok(given),
    };
    let scope = text("scope", scope, CONSENT_SCOPE)?;
    names::expect_consent_scope(&scope)?;
    let source = text("source", source, CONSENT_SOURCE)?;
    let host = call.host();
    let consent = Consent { artist_id, platform, granted, scope, source, recorded_at: host.clock().now() };
    let recorded = record_consent(host.store(), host.config(), &consent).await?;
    let tokens_removed = recorded.as_ref().map_or(0, |recorded| recorded.credentials.len() as u64);
    let details = json!({ "platform": consent.platform, "recorded": recorded.is_some() });
    let answer = Item(Decided { consent, recorded: recorded.is_some(), tokens_removed });
    Ok(Recorded { answer, details, artist: Some(artist_id) })
}

pub(in crate::api) async fn erase(call: Call, _: NoChoice) -> Result<Recorded<Item<Erased>>, Problem> {
    let artist = artist_id_of_path(&call).await?;
    let erasure = call.host().privacy().erase(artist).await?;
    let details = json!({ "artist_id_sha256": erasure.receipt.artist_id_sha256 });
    let Erasure { receipt, kept_tokens, erased_before, may_leave_traces, .. } = erasure;
    let answer = Item(Erased { receipt, kept_tokens, erased_before, may_leave_traces });
    // The entry names the artist by the hash alone: it is gone.
    Ok(Recorded { answer, details, artist: None })
}

pub(in crate::api) async fn remove_account(
    call: Call,
    body: RemoveAccount,
) -> Result<Recorded<Item<RemovedAccount>>, Problem> {
    let id: AccountId = call.path("account")?;
    let (host, reason) = (call.host(), body.reason.unwrap_or_default());
    if host.store().account_place_get(&call.scope(), id).await?.is_none() {
        return Err(Problem::not_found("account", id));
    }
    let removed = remove(host.store(), host.config(), &call.scope(), id, &reason, host.clock().now()).await;
    let removed = removed.map_err(|error| match error {
        RemovalError::NoAccount(id) => Problem::not_found("account", id),
        RemovalError::Reason => Problem::wrong(error.to_string()),
        RemovalError::Store(error) => error.into(),
    })?;
    let (details, remark) = (removed.details(&reason), removed.remark());
    let AccountRemoval { account_id, artist_id, platform, rows, .. } = removed;
    let answer = Item(RemovedAccount { account_id, artist_id, platform, rows, remark });
    Ok(Recorded { answer, details, artist: Some(artist_id) })
}

pub(in crate::api) async fn credentials(call: Call, query: Credentials) -> Result<Page<CredentialView>, Problem> {
    let platform = known(call.host(), query.platform).await?;
    let filter = CredentialFilter { platform, account: query.account };
    let credentials = call.host().store().credentials_list(&call.scope(), &filter).await?;
    Ok(Page::whole(credentials.into_iter().map(CredentialView::from).collect()))
}

pub(in crate::api) async fn set_credential(
    call: Call,
    body: SetCredential,
) -> Result<Recorded<Item<CredentialView>>, Problem> {
    let SetCredential { platform, slot, account, secret } = body;
    let secret = secret.map(Zeroizing::new);
    let (Some(platform), Some(slot), Some(secret)) = (platform, slot, secret) else {
        return Err(Problem::wrong("give platform, slot and secret"));
    };
    let host = call.host();
    let platform = known(host, Some(platform.clone())).await?.unwrap_or(platform);
    let artist = match account {
        Some(id) => {
            let found = host.store().account_place_get(&call.scope(), id).await?;
            let found = found.filter(|found| found.platform == platform);
            Some(found.ok_or_else(|| Problem::not_found("account", id))?.artist_id)
        }
        // The operator's own is used for the artists of all tenants.
        None if call.token().tenant.is_some() => {
            return Err(Problem::forbidden("a token of one tenant sets secrets of accounts alone; say which account"));
        }
        None => None,
    };
    if secret.trim().is_empty() {
        return Err(Problem::wrong("secret: it is empty"));
    }
    call.about(Subject::Slot { platform: platform.clone(), slot: slot.clone(), account }).await;
    let set = host.credentials().set(&platform, &slot, account, &secret).await?;
    let details = json!({ "platform": platform, "slot": slot, "credential": set.id });
    Ok(Recorded { answer: Item(set.into()), details, artist })
}

pub(in crate::api) async fn remove_credential(call: Call, _: NoChoice) -> Result<Recorded<Item<Removed>>, Problem> {
    let id: CredentialId = call.path("credential")?;
    let (host, store, scope) = (call.host(), call.host().store(), call.scope());
    let Some(CredentialSlot { platform, slot, account_id }) = store.credential_slot_get(&scope, id).await? else {
        return Err(Problem::not_found("credential", id));
    };
    let artist = match account_id {
        Some(account) => store.account_place_get(&scope, account).await?.map(|place| place.artist_id),
        None => None,
    };
    remove_credential_of(store, host.config(), &scope, id).await?;
    let name = format!("{platform}/{slot}");
    let details = json!({ "platform": platform, "slot": slot, "credential": id });
    Ok(Recorded { answer: Item(Removed { name }), details, artist })
}
