//! The secrets of a trial, from files instead of the database. Nothing is stored, so nothing that a platform would
//! replace is refreshed.

use chrono::{DateTime, Utc};

use super::TrialError;
use backline_gateway::secrets::{Secret, SecretText};
use backline_gateway::{Gateway, SessionCredential};
use backline_model::manifest::{CredentialKind, CredentialSlot, Manifest, Owner};
use backline_model::{AccountId, CredentialId};

/// Secrets for a session, from the text given for each slot. A slot for which none is given has none.
pub(super) async fn given(
    gateway: &Gateway,
    manifest: &Manifest,
    secrets: &[(String, SecretText)],
    account: AccountId,
    now: DateTime<Utc>,
) -> Result<Vec<SessionCredential>, TrialError> {
    let mut credentials = Vec::new();
    for (name, text) in secrets {
        let Some(slot) = manifest.slot(name) else {
            let known: Vec<&str> = manifest.credentials.iter().map(|slot| slot.slot.as_str()).collect();
            return Err(TrialError::UnknownSlot { slot: name.clone(), known: listed(&known) });
        };
        let secret = Secret::parse(slot.kind, slot.owner, text.expose())
            .map_err(|source| TrialError::Secret { slot: name.clone(), source })?;
        let secret = if secret.injectable(now).is_some() { secret } else { renewed(gateway, slot, &secret).await? };
        let Some(value) = secret.injectable(now) else {
            return Err(TrialError::NoToken { slot: name.clone(), problem: "it gives no token that can be sent" });
        };
        credentials.push(credential(slot, account, value.clone()));
    }
    Ok(credentials)
}

/// Stand-ins for every slot, for prepared answers: nothing is sent, so no secret is needed.
pub(in crate::pipeline::conformance) fn stand_ins(
    manifest: &Manifest,
    accounts: &[AccountId],
) -> Vec<SessionCredential> {
    let of_slot = |slot: &CredentialSlot| -> Vec<SessionCredential> {
        let value = || SecretText::new(format!("stand-in-of-the-slot-{}", slot.slot));
        match slot.owner {
            Owner::Operator => {
                accounts.first().map(|account| credential(slot, *account, value())).into_iter().collect()
            }
            Owner::Account => accounts.iter().map(|account| credential(slot, *account, value())).collect(),
        }
    };
    manifest.credentials.iter().flat_map(of_slot).collect()
}

fn credential(slot: &CredentialSlot, account: AccountId, value: SecretText) -> SessionCredential {
    SessionCredential {
        id: CredentialId::generate(),
        slot: slot.slot.clone(),
        account: (slot.owner == Owner::Account).then_some(account),
        value,
    }
}

/// Exchanges or signs a secret, where that leaves the one in the file as good as before.
async fn renewed(gateway: &Gateway, slot: &CredentialSlot, secret: &Secret) -> Result<Secret, TrialError> {
    let name = || slot.slot.clone();
    match slot.kind {
        CredentialKind::Oauth2ClientCredentials | CredentialKind::AppleDeveloperToken => {
            gateway.refresh(slot, None, secret).await.map_err(|source| TrialError::Token { slot: name(), source })
        }
        _ => Err(TrialError::NoToken {
            slot: name(),
            problem: "it has no access token that is still valid, and a trial does not refresh it, since the platform \
                      may replace the refresh token; give a file with access_token, obtained_at and expires_at",
        }),
    }
}

fn listed(names: &[&str]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}
