//! The accounts that can't be collected until someone does something, with what to do.

use std::collections::{BTreeMap, HashSet};

use serde::Serialize;

use backline_model::account::NOT_FOUND_DATES_MAX;
use backline_model::manifest::Owner;
use backline_model::{Account, AccountId, AccountStatus, ArtistId, Platform, ReconnectUrl};
use backline_rules::lists::{Directory, Listed};
use backline_store::{AccountFilter, Scope, Store, StoreError};

/// Accounts read at once.
const PAGE: u32 = 1_000;

/// An account that someone has to do something about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Attention {
    /// The account.
    pub account_id: AccountId,
    /// The artist of the account.
    pub artist_id: ArtistId,
    /// Name of the artist.
    pub artist: String,
    /// Platform of the account.
    pub platform: Platform,
    /// The platform's id of it.
    pub platform_id: String,
    /// What is wrong.
    pub problem: String,
    /// What to do.
    pub remedy: String,
    /// Where the artist connects the account again; none where that would not help, or no link is configured.
    pub reconnect_url: Option<String>,
}

/// Which accounts to look at.
#[derive(Clone, Debug, Default)]
pub struct AttentionFilter {
    /// Only on this platform.
    pub platform: Option<Platform>,
    /// Only after this account: where the next page begins.
    pub after: Option<AccountId>,
    /// Most accounts to return; none means all.
    pub limit: Option<usize>,
}

/// The accounts that need someone, by id. `reconnect` is where artists connect their accounts again.
///
/// # Errors
/// When the database fails.
pub async fn accounts_that_need_someone(
    store: &Store,
    scope: &Scope,
    reconnect: Option<&ReconnectUrl>,
    filter: &AttentionFilter,
) -> Result<Vec<Attention>, StoreError> {
    let directory = Directory::of_releases(&store.releases_list().await?);
    let (mut found, mut after) = (Vec::new(), filter.after);
    loop {
        let of_page =
            AccountFilter { platform: filter.platform.clone(), after, limit: Some(PAGE), ..AccountFilter::default() };
        let page = store.accounts_list(scope, &of_page).await?;
        let Some(last) = page.last() else { return Ok(found) };
        after = Some(last.id);
        let mut of_platform: BTreeMap<&Platform, Vec<AccountId>> = BTreeMap::new();
        // What an operator switched off needs no one.
        let active: Vec<&Account> = page.iter().filter(|account| account.status != AccountStatus::Disabled).collect();
        for account in &active {
            of_platform.entry(&account.platform).or_default().push(account.id);
        }
        let mut given: HashSet<(AccountId, String)> = HashSet::new();
        for (platform, ids) in of_platform {
            let secrets = store.credentials_of(scope, platform, &ids).await?;
            given.extend(secrets.into_iter().filter_map(|secret| Some((secret.account_id?, secret.slot))));
        }
        for account in active {
            let listed = directory.platform(account.platform.as_str());
            let has = |slot: &str| given.contains(&(account.id, slot.to_owned()));
            let Some(Problem { problem, remedy, is_of_artist }) = problem_of(account, listed, has) else { continue };
            let link = reconnect.filter(|_| is_of_artist);
            let artist = match store.artist_get(scope, account.artist_id).await {
                // Health names the row; what is wrong with its accounts is told all the same.
                Err(StoreError::Unreadable { .. }) => None,
                artist => artist?,
            };
            found.push(Attention {
                account_id: account.id,
                artist_id: account.artist_id,
                artist: artist.map_or_else(|| account.artist_id.to_string(), |artist| artist.name),
                platform: account.platform.clone(),
                platform_id: account.platform_id.clone(),
                problem,
                remedy,
                reconnect_url: link.map(|link| link.of(account.artist_id, account.id, &account.platform)),
            });
            if filter.limit.is_some_and(|limit| found.len() >= limit) {
                return Ok(found);
            }
        }
    }
}

/// The number of accounts whose id their connector would refuse today: they fail every night.
///
/// # Errors
/// When the database fails.
pub async fn invalid_ids(store: &Store) -> Result<u64, StoreError> {
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

/// What is wrong with an account.
struct Problem {
    problem: String,
    remedy: String,
    /// Whether it is over once the artist has connected the account again.
    is_of_artist: bool,
}

/// What is wrong with an account, and what to do.
fn problem_of(account: &Account, listed: Option<&Listed>, has: impl Fn(&str) -> bool) -> Option<Problem> {
    let Account { id, platform, .. } = account;
    let of_operator = |problem: String, remedy: String| Some(Problem { problem, remedy, is_of_artist: false });
    let of_artist = |problem: String, remedy: String| Some(Problem { problem, remedy, is_of_artist: true });
    let Some(listed) = listed else {
        let problem = "no installed connector collects its platform".to_owned();
        return of_operator(problem, format!("install one, or `backline accounts set {id} --status disabled`"));
    };
    if let Err(error) = listed.reader.read(&account.platform_id) {
        let remedy = format!(
            "add the right one, then `backline accounts remove {id}`, or `backline accounts set {id} --status \
             disabled` to keep what was collected of it"
        );
        return of_operator(error.to_string(), remedy);
    }
    let slots = || listed.manifest.credentials.iter().filter(|slot| slot.owner == Owner::Account);
    let set = |slot: &str| format!("`backline credentials set {platform} {slot} --account {id}`");
    if account.status == AccountStatus::ReconnectNeeded {
        let slot = slots().map(|slot| slot.slot.as_str()).next().unwrap_or("SLOT");
        let remedy = format!("ask the artist for a new authorisation, then {}", set(slot));
        return of_artist("the artist has to connect it again".to_owned(), remedy);
    }
    if account.status == AccountStatus::HostKilled {
        let problem = "hosts ended unexpectedly whenever they collected it and nothing else".to_owned();
        let remedy = format!("look at the hosts' logs and memory, then `backline accounts set {id} --status active`");
        return of_operator(problem, remedy);
    }
    if account.status == AccountStatus::NotFound {
        let problem = format!("{platform} has not known it on {NOT_FOUND_DATES_MAX} dates since it was last collected");
        let remedy = format!(
            "add the right id with `backline accounts add`, and `backline accounts remove {id}` if this one was never \
             right, or `backline accounts set {id} --status active` if it is back"
        );
        return of_operator(problem, remedy);
    }
    let missing = slots().find(|slot| !has(&slot.slot))?;
    of_artist(format!("it has no secret for the slot '{}'", missing.slot), set(&missing.slot))
}
