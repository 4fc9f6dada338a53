//! Scanned → Credentialed: a slot's secret is put into the request, only if it goes to the slot's own hosts.

use std::collections::BTreeMap;

use reqwest::header::{AUTHORIZATION, HeaderName, HeaderValue};
use url::Url;
use url::form_urlencoded::byte_serialize;

use super::budget::Charge;
use super::error::SendError;
use super::policy::Hop;
use super::scan::Scanned;
use super::wire::WireRequest;
use super::{CredentialRef, SessionCredential, SessionSetup};
use backline_model::Holder;
use backline_model::ids::AccountId;
use backline_model::manifest::{CredentialSlot, Inject, Owner};
use backline_model::weakened::{Bound, off};

/// A request that is ready to be sent, with its cost. It has no `Debug`, since it may hold a secret.
pub(super) struct Credentialed {
    wire: WireRequest,
    hop: Hop,
    charges: Vec<Charge>,
    holder: Holder,
}

impl Credentialed {
    pub(super) fn of(scanned: Scanned, setup: &SessionSetup) -> Result<Self, SendError> {
        let credential = match &scanned.hop().credential {
            Some(reference) => Some(find(reference, scanned.hop(), setup)?),
            None => None,
        };
        let (hop, destination, headers) = scanned.into_parts();
        let mut wire =
            WireRequest { method: hop.method, url: hop.url.clone(), headers, body: hop.body.clone(), destination };
        if let Some((slot, credential)) = credential {
            inject(&mut wire, slot, credential)?;
        }
        let used = credential.map(|(slot, credential)| (slot.slot.as_str(), credential.id));
        let charges = Charge::all_of(&setup.manifest, &setup.grant, used, hop.url.path());
        let holder = Charge::holder(&setup.manifest, used);
        Ok(Self { wire, hop, charges, holder })
    }

    pub(super) fn into_parts(self) -> (WireRequest, Hop, Vec<Charge>, Holder) {
        (self.wire, self.hop, self.charges, self.holder)
    }
}

/// The slot and the secret that a request names, if it may use them.
fn find<'a>(
    reference: &CredentialRef,
    hop: &Hop,
    setup: &'a SessionSetup,
) -> Result<(&'a CredentialSlot, &'a SessionCredential), SendError> {
    let denied = |problem: String| Err(SendError::Denied(problem));
    let name = &setup.manifest.connector.name;
    let Some(slot) = setup.manifest.slot(&reference.slot) else {
        return denied(format!(
            "the connector {name} declares no such credential slot; its connector.toml needs a [[credential]] for it"
        ));
    };
    if !setup.grant.lets_use(slot) {
        return denied(format!(
            "the credential slot {} is declared by the connector {name} but not granted on these terms; \
             to allow it, add to its grant:\n{}",
            slot.slot,
            lines_of(slot)
        ));
    }
    let account = match (slot.owner, reference.account.as_deref()) {
        (Owner::Operator, None) => None,
        (Owner::Operator, Some(_)) => {
            return denied(format!(
                "the credential slot {} belongs to the operator; name no account with it",
                slot.slot
            ));
        }
        (Owner::Account, None) => {
            return denied(format!("the credential slot {} belongs to accounts; name the account", slot.slot));
        }
        (Owner::Account, Some(given)) => match given.parse::<AccountId>() {
            Ok(account) if setup.accounts.contains(&account) || off(Bound::BatchAccounts) => Some(account),
            _ => {
                return denied(format!(
                    "the account named with the credential slot {} is not one of this batch",
                    slot.slot
                ));
            }
        },
    };
    if !slot.hosts.iter().any(|pattern| pattern.matches(&hop.origin)) && !off(Bound::SlotHosts) {
        return denied(format!(
            "the secret of the credential slot {} may not be sent to {1}; \
             to allow it, write in its [[credential]] of connector.toml:\nhosts = [\"{1}\"]",
            slot.slot, hop.origin
        ));
    }
    match setup.credentials.iter().find(|known| known.slot == slot.slot && known.account == account) {
        Some(credential) => Ok((slot, credential)),
        None => Err(SendError::CredentialUnavailable(match account {
            Some(account) => {
                format!("the credential slot {} holds no usable secret for the account {account}", slot.slot)
            }
            None => format!(
                "the credential slot {} holds no usable secret; store one with `backline credentials set`",
                slot.slot
            ),
        })),
    }
}

/// A slot as it is written in a manifest or a grant.
fn lines_of(slot: &CredentialSlot) -> String {
    let lines = toml::to_string(&BTreeMap::from([("credential", [slot])])).unwrap_or_default();
    lines.trim_end().to_owned()
}

fn inject(wire: &mut WireRequest, slot: &CredentialSlot, credential: &SessionCredential) -> Result<(), SendError> {
    let secret = credential.value.expose();
    let header = |text: &str| {
        let mut value = HeaderValue::from_str(text).map_err(|_| {
            SendError::CredentialUnavailable(format!(
                "the secret of the slot {} has characters that are not allowed in a header",
                slot.slot
            ))
        })?;
        value.set_sensitive(true);
        Ok::<_, SendError>(value)
    };
    match &slot.inject {
        Inject::Bearer => {
            wire.headers.insert(AUTHORIZATION, header(&format!("Bearer {secret}"))?);
        }
        Inject::Header(name) => {
            let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| {
                SendError::Denied(format!("the slot {} injects a header of an invalid name", slot.slot))
            })?;
            wire.headers.insert(name, header(secret)?);
        }
        Inject::Query(name) => set_query(&mut wire.url, name, secret),
    }
    Ok(())
}

/// Sets one query parameter and leaves every other byte of the query unchanged.
///
/// An existing parameter of that name is removed: it is a leftover of a redirect, with the secret redacted.
fn set_query(url: &mut Url, name: &str, secret: &str) {
    let named = |piece: &&str| !url::form_urlencoded::parse(piece.as_bytes()).any(|(key, _)| key == name);
    let mut pieces: Vec<String> = url
        .query()
        .unwrap_or_default()
        .split('&')
        .filter(|piece| !piece.is_empty())
        .filter(named)
        .map(str::to_owned)
        .collect();
    pieces.push(format!(
        "{}={}",
        byte_serialize(name.as_bytes()).collect::<String>(),
        byte_serialize(secret.as_bytes()).collect::<String>()
    ));
    url.set_query(Some(&pieces.join("&")));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_query_keeps_its_bytes_and_gets_the_secret_once() {
        for (given, expected) in [
            ("https://a.test/x", "https://a.test/x?key=s%2B1"),
            ("https://a.test/x?id=a%2Cb,c&part=snippet", "https://a.test/x?id=a%2Cb,c&part=snippet&key=s%2B1"),
            ("https://a.test/x?key=[secret]&a=1&k%65y=2", "https://a.test/x?a=1&key=s%2B1"),
            ("https://a.test/x?monkey=1&key", "https://a.test/x?monkey=1&key=s%2B1"),
        ] {
            let mut url: Url = given.parse().expect("a URL");
            set_query(&mut url, "key", "s+1");
            assert_eq!(url.as_str(), expected);
        }
    }
}
