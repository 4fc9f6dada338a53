//! `backline accounts attention`: the accounts that can't be collected until someone does something, with what to do.

use std::collections::{BTreeMap, HashSet};

use serde::Serialize;

use crate::cli::terminal::exit::{Exit, Failure, Outcome};
use crate::cli::terminal::print;
use backline_model::account::NOT_FOUND_DATES_MAX;
use backline_model::manifest::Owner;
use backline_model::{Account, AccountId, AccountStatus, ArtistId, Platform};
use backline_rules::lists::{Directory, Listed};
use backline_store::{AccountFilter, Scope, Store};

/// Accounts read at once.
const PAGE: u32 = 1_000;

/// An account that someone has to do something about.
#[derive(Debug, Serialize)]
struct Attention {
    account_id: AccountId,
    artist_id: ArtistId,
    /// Name of the artist.
    artist: String,
    platform: Platform,
    platform_id: String,
    /// What is wrong.
    problem: String,
    /// What to do.
    remedy: String,
}

/// Columns of an account that needs someone.
pub(in crate::cli) const HEADERS: [&str; 5] = ["artist", "platform", "platform id", "problem", "what to do"];

/// Runs the command.
pub(in crate::cli) async fn run(store: &Store, platform: Option<Platform>, as_json: bool) -> Outcome {
    let found = survey(store, platform).await?;
    let row = |one: &Attention| {
        let Attention { artist, platform, platform_id, problem, remedy, .. } = one;
        vec![artist.clone(), platform.to_string(), platform_id.clone(), problem.clone(), remedy.clone()]
    };
    print::listing(as_json, &found, &HEADERS, row, "no account needs anyone")?;
    Ok(Exit::Done)
}

/// The number of accounts whose id their connector would refuse today: they fail every night.
pub(in crate::cli) async fn invalid_ids(store: &Store) -> Result<u64, Failure> {
    let directory = Directory::of_releases(&store.releases_list().await?);
    let (mut count, mut after) = (0, None);
    loop {
        let filter = AccountFilter { after, limit: Some(PAGE), ..AccountFilter::default() };
        let page = store.accounts_list(&Scope::all_tenants(), &filter).await?;
        let Some(last) = page.last() else { return Ok(count) };
        after = Some(last.id);
        let active = page.iter().filter(|account| account.status != AccountStatus::Disabled);
        let invalid = active.filter(|account| {
            let listed = directory.platform(account.platform.as_str());
            listed.is_some_and(|listed| listed.reader.read(&account.platform_id).is_err())
        });
        count += invalid.count() as u64;
    }
}

async fn survey(store: &Store, platform: Option<Platform>) -> Result<Vec<Attention>, Failure> {
    let directory = Directory::of_releases(&store.releases_list().await?);
    let mut found = Vec::new();
    let mut after = None;
    loop {
        let filter = AccountFilter { platform: platform.clone(), after, limit: Some(PAGE), ..AccountFilter::default() };
        let page = store.accounts_list(&Scope::all_tenants(), &filter).await?;
        let Some(last) = page.last() else { return Ok(found) };
        after = Some(last.id);
        let mut of_platform: BTreeMap<Platform, Vec<&Account>> = BTreeMap::new();
        // What an operator switched off needs no one.
        for account in page.iter().filter(|account| account.status != AccountStatus::Disabled) {
            of_platform.entry(account.platform.clone()).or_default().push(account);
        }
        for (platform, accounts) in of_platform {
            let ids: Vec<AccountId> = accounts.iter().map(|account| account.id).collect();
            let secrets = store.credentials_of(&Scope::all_tenants(), &platform, &ids).await?;
            let given: HashSet<(AccountId, &str)> =
                secrets.iter().filter_map(|secret| Some((secret.account_id?, secret.slot.as_str()))).collect();
            for account in accounts {
                let listed = directory.platform(platform.as_str());
                let Some((problem, remedy)) = problem_of(account, listed, &given) else { continue };
                let artist = store.artist_get(&Scope::all_tenants(), account.artist_id).await?;
                found.push(Attention {
                    account_id: account.id,
                    artist_id: account.artist_id,
                    artist: artist.map_or_else(|| account.artist_id.to_string(), |artist| artist.name),
                    platform: platform.clone(),
                    platform_id: account.platform_id.clone(),
                    problem,
                    remedy,
                });
            }
        }
    }
}

/// What is wrong with an account, and what to do.
fn problem_of(
    account: &Account,
    listed: Option<&Listed>,
    given: &HashSet<(AccountId, &str)>,
) -> Option<(String, String)> {
    let Account { id, platform, .. } = account;
    let Some(listed) = listed else {
        let problem = "no installed connector collects its platform".to_owned();
        return Some((problem, format!("install one, or `backline accounts set {id} --status disabled`")));
    };
    if let Err(error) = listed.reader.read(&account.platform_id) {
        let remedy = format!("add the right one, and `backline accounts set {id} --status disabled` for this one");
        return Some((error.to_string(), remedy));
    }
    let slots = || listed.manifest.credentials.iter().filter(|slot| slot.owner == Owner::Account);
    let set = |slot: &str| format!("`backline credentials set {platform} {slot} --account {id}`");
    if account.status == AccountStatus::ReconnectNeeded {
        let slot = slots().map(|slot| slot.slot.as_str()).next().unwrap_or("SLOT");
        let remedy = format!("ask the artist for a new authorisation, then {}", set(slot));
        return Some(("the artist has to connect it again".to_owned(), remedy));
    }
    if account.status == AccountStatus::HostKilled {
        let problem = "hosts ended unexpectedly whenever they collected it and nothing else".to_owned();
        let remedy = format!("look at the hosts' logs and memory, then `backline accounts set {id} --status active`");
        return Some((problem, remedy));
    }
    if account.status == AccountStatus::NotFound {
        let problem = format!("{platform} has not known it on {NOT_FOUND_DATES_MAX} dates since it was last collected");
        let remedy = format!(
            "add the right id with `backline accounts add`, or `backline accounts set {id} --status active` if it is \
             back"
        );
        return Some((problem, remedy));
    }
    let missing = slots().find(|slot| !given.contains(&(*id, slot.slot.as_str())))?;
    Some((format!("it has no secret for the slot '{}'", missing.slot), set(&missing.slot)))
}
