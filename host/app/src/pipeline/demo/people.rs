//! The simulated artists as they are added to a database: each with an account on every platform, with consents and
//! credentials.

use std::collections::{BTreeMap, HashMap};

use serde_json::json;

use super::DemoError;
use crate::pipeline::artists::privacy::record_consents;
use crate::pipeline::host::Host;
use backline_gateway::secrets::SecretText;
use backline_model::{
    Account, AccountId, AccountStatus, Artist, ArtistId, Consent, Platform, SubscriptionStatus, Tenant,
};
use backline_simulator::{Platform as SimPlatform, World};
use backline_store::{COLLECTING_SCOPE, Scope};

/// Where consents come from, as they are recorded.
const SOURCE: &str = "demo";

/// Adds every artist. Adding them again changes nothing.
pub(super) async fn add(host: &Host, world: &World) -> Result<(), DemoError> {
    let (now, all) = (host.clock().now(), Scope::all_tenants());
    let artists: Vec<Artist> = (0..world.artists()).map(|index| artist(world, index)).collect();
    host.store().artists_save(&all, &artists, now).await?;
    let accounts: Vec<Account> = (0..world.artists()).flat_map(|index| accounts(world, index)).collect();
    host.store().accounts_save(&all, &accounts, now).await?;
    set_credentials(host, world, &accounts).await?;
    // Last: consent makes an account collectable.
    let consents: Vec<Consent> = accounts
        .iter()
        .map(|account| Consent {
            artist_id: account.artist_id,
            platform: account.platform.clone(),
            granted: true,
            scope: COLLECTING_SCOPE.to_owned(),
            source: SOURCE.to_owned(),
            recorded_at: now,
        })
        .collect();
    record_consents(host.store(), host.config(), &consents).await?;
    Ok(())
}

/// Sets the operator's credentials, and those of the accounts, all of one slot at once.
async fn set_credentials(host: &Host, world: &World, accounts: &[Account]) -> Result<(), DemoError> {
    for credential in world.operator_credentials() {
        let platform = platform(credential.platform);
        host.credentials().set(&platform, credential.slot, None, &credential.value).await?;
    }
    let ids: HashMap<(&str, &str), AccountId> = accounts
        .iter()
        .map(|account| ((account.platform.as_str(), account.platform_id.as_str()), account.id))
        .collect();
    let mut secrets: BTreeMap<(&'static str, &'static str), Vec<(AccountId, SecretText)>> = BTreeMap::new();
    for credential in (0..world.artists()).flat_map(|index| world.artist_credentials(index)) {
        let account = credential.account.as_deref().and_then(|id| ids.get(&(credential.platform, id)));
        if let Some(account) = account {
            let of_slot = secrets.entry((credential.platform, credential.slot)).or_default();
            of_slot.push((*account, SecretText::new(credential.value)));
        }
    }
    for ((name, slot), secrets) in secrets {
        host.credentials().set_many(&platform(name), slot, &secrets).await?;
    }
    Ok(())
}

fn artist(world: &World, index: u32) -> Artist {
    let simulated = world.artist(index);
    Artist {
        id: ArtistId(simulated.id),
        name: simulated.name,
        tenant: Tenant::default(),
        subscription_status: SubscriptionStatus::Active,
        data_collection_enabled: true,
        timezone: simulated.timezone.parse().expect("the simulator's zones are in every list of zones"),
    }
}

fn accounts(world: &World, index: u32) -> impl Iterator<Item = Account> {
    let artist_id = ArtistId(world.artist(index).id);
    SimPlatform::ALL.into_iter().map(move |simulated| {
        let (platform, platform_id) = (platform(simulated.as_str()), world.platform_id(simulated, index));
        Account {
            id: AccountId::of(artist_id, &platform, &platform_id),
            artist_id,
            platform,
            platform_id,
            settings: json!({}),
            status: AccountStatus::Active,
        }
    })
}

fn platform(name: &str) -> Platform {
    Platform::new(name).expect("the simulator's platforms have valid names")
}
