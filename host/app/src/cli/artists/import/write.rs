//! The second pass of an import: writes artists, accounts, consents and tokens in chunks, each idempotent.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde_json::json;

use super::report::{BadRow, RefusedCredential, Report};
use super::row::ImportedArtist;
use super::{ImportOptions, Input, Reading, Survey};
use crate::cli::context::Context;
use crate::cli::terminal::exit::Failure;
use crate::cli::terminal::progress;
use crate::pipeline::Host;
use backline_gateway::secrets::SecretText;
use backline_model::{Account, AccountId, AccountStatus, Artist, ArtistId, Consent, Platform, Provenance};
use backline_rules::lists;
use backline_store::{COLLECTING_SCOPE, Scope, Store};

/// Artists per transaction: bounds memory and how long writers block each other.
const CHUNK: usize = 1_000;

/// A row of the file, and where it is.
struct Row {
    place: String,
    imported: ImportedArtist,
}

/// The second pass: writes the artists in chunks.
pub(super) async fn all(
    context: &Context,
    host: &Host,
    input: &Input,
    reading: Arc<Reading>,
    options: &ImportOptions,
    report: &mut Report,
    artists: u64,
) -> Result<(), Failure> {
    let bar = progress::bar(artists, "artists");
    let (sender, mut receiver) = tokio::sync::mpsc::channel::<Vec<Row>>(2);
    let file = input.reopen()?;
    // Reading blocks, so it has a thread; the channel's bound keeps at most a few chunks in memory.
    let reader = tokio::task::spawn_blocking(move || {
        let mut survey = Survey::of(reading);
        let mut chunk = Vec::new();
        let mut open = true;
        let read = lists::read(file, &mut |record| {
            // The first pass has reported an invalid row.
            let Ok(imported) = survey.take(&record) else { return };
            chunk.push(Row { place: record.place, imported });
            if chunk.len() == CHUNK && open {
                open = sender.blocking_send(std::mem::take(&mut chunk)).is_ok();
            }
        });
        if open && !chunk.is_empty() {
            let _ = sender.blocking_send(chunk);
        }
        read
    });
    while let Some(chunk) = receiver.recv().await {
        let artists = chunk.len() as u64;
        write_chunk(context, host, chunk, options, report).await?;
        bar.inc(artists);
    }
    bar.finish_and_clear();
    match reader.await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(Failure::failed(format!(
            "the file changed while it was imported: {error}; import it again, which adds nothing twice"
        ))),
        Err(error) => Err(Failure::failed(format!("failed to read the file: {error}"))),
    }
}

/// A token of the file and the account it belongs to.
struct AccountSecret {
    account: AccountId,
    status: AccountStatus,
    secret: SecretText,
}

async fn write_chunk(
    context: &Context,
    host: &Host,
    mut chunk: Vec<Row>,
    options: &ImportOptions,
    report: &mut Report,
) -> Result<(), Failure> {
    let (store, now) = (host.store(), context.clock.now());
    let ids: Vec<ArtistId> = chunk.iter().map(|row| row.imported.artist.id).collect();
    let erased = store.erased_artists_of(&ids).await?;
    report.erased_left_out += erased.len() as u64;
    chunk.retain(|row| !erased.contains(&row.imported.artist.id));
    let all_new = save_artists(store, &mut chunk, report, now).await?;

    // Existing accounts keep their id and status; only values from the file are written.
    let mut known: HashMap<(ArtistId, String, String), Account> = HashMap::new();
    if !all_new {
        let ids: Vec<ArtistId> = chunk.iter().map(|row| row.imported.artist.id).collect();
        for account in store.accounts_of(&Scope::all_tenants(), &ids).await? {
            known.insert((account.artist_id, account.platform.to_string(), account.platform_id.clone()), account);
        }
    }
    let mut accounts = Vec::new();
    let mut secrets: BTreeMap<(Platform, String), Vec<AccountSecret>> = BTreeMap::new();
    for ImportedArtist { artist, accounts: imported, .. } in chunk.into_iter().map(|row| row.imported) {
        for account in imported {
            let platform = account.platform;
            let existing = known.get(&(artist.id, platform.to_string(), account.platform_id.clone()));
            let waits_for_token = !all_new && !account.credentials.is_empty();
            let id = existing
                .map_or_else(|| AccountId::of(artist.id, &platform, &account.platform_id), |existing| existing.id);
            let status = match existing {
                Some(existing) => existing.status,
                // Its artist may consent already: it is collected from its token on, which makes it active.
                None if waits_for_token => AccountStatus::ReconnectNeeded,
                None => AccountStatus::Active,
            };
            for given in account.credentials {
                secrets.entry((platform.clone(), given.slot)).or_default().push(AccountSecret {
                    account: id,
                    status,
                    secret: given.secret,
                });
            }
            if let Some(existing) = existing.filter(|_| account.settings == json!({})) {
                accounts.push(existing.clone());
                continue;
            }
            accounts.push(Account {
                id,
                artist_id: artist.id,
                platform,
                platform_id: account.platform_id,
                settings: account.settings,
                status,
            });
        }
    }
    if options.check {
        let written =
            accounts.iter().map(|account| (account.platform.clone(), account.id, account.platform_id.clone()));
        report.written.extend(written);
    }
    report.accounts_added +=
        store.accounts_save_from(&Scope::all_tenants(), Provenance::Import, &accounts, now).await?.inserted;
    for ((platform, slot), secrets) in secrets {
        let accounts: Vec<AccountId> = secrets.iter().map(|secret| secret.account).collect();
        let stored = if all_new {
            Vec::new()
        } else {
            store.credentials_of(&Scope::all_tenants(), &platform, &accounts).await?
        };
        let stored: HashSet<AccountId> =
            stored.iter().filter(|stored| stored.slot == slot).filter_map(|stored| stored.account_id).collect();
        let mut wanted = Vec::new();
        for AccountSecret { account, status, secret } in secrets {
            // A stored token may be fresher than the file's, unless the platform has rejected it.
            let keep = !options.replace_credentials && status != AccountStatus::ReconnectNeeded;
            if keep && stored.contains(&account) {
                report.credentials_kept += 1;
            } else {
                wanted.push((account, secret));
            }
        }
        set_credentials(host, &platform, &slot, &wanted, report).await?;
    }
    // Last: a consent asks for the first collection, which needs the tokens.
    if options.consent {
        report.consents_recorded += record_consents(store, &accounts, all_new, now).await?;
    }
    Ok(())
}

/// Saves the artists of these rows, and returns whether all are new. Where the database refuses one, the others are
/// saved, and the report names the row, which is taken out with its accounts.
async fn save_artists(
    store: &Store,
    chunk: &mut Vec<Row>,
    report: &mut Report,
    now: DateTime<Utc>,
) -> Result<bool, Failure> {
    let all = Scope::all_tenants();
    let artists: Vec<Artist> = chunk.iter().map(|row| row.imported.artist.clone()).collect();
    match store.artists_save_from(&all, Provenance::Import, &artists, now).await {
        Ok(saved) => {
            report.artists_added += saved.inserted;
            report.artists_changed += saved.updated;
            return Ok(saved.inserted == artists.len() as u64);
        }
        // None was saved: each is tried by itself.
        Err(error) if error.refused_artist().is_some() => {}
        Err(error) => return Err(error.into()),
    }
    let mut added = 0;
    for row in std::mem::take(chunk) {
        let one = std::slice::from_ref(&row.imported.artist);
        match store.artists_save_from(&all, Provenance::Import, one, now).await {
            Ok(saved) => {
                added += saved.inserted;
                report.artists_changed += saved.updated;
                chunk.push(row);
            }
            Err(error) => match error.refused_artist() {
                Some(problem) => report.bad.push(BadRow { place: row.place, problem }),
                None => return Err(error.into()),
            },
        }
    }
    report.artists_added += added;
    Ok(added == chunk.len() as u64)
}

/// Sets the tokens of a slot. Where one account's can't be saved, the others are, and the report names the account.
async fn set_credentials(
    host: &Host,
    platform: &Platform,
    slot: &str,
    wanted: &[(AccountId, SecretText)],
    report: &mut Report,
) -> Result<(), Failure> {
    match host.credentials().set_many(platform, slot, wanted).await {
        Ok(()) => {
            report.credentials_set += wanted.len() as u64;
            return Ok(());
        }
        // None was saved: each is tried by itself. One that a refresh saved meanwhile is set now.
        Err(error) if error.is_conflict() => {}
        Err(error) => return Err(error.into()),
    }
    for one in wanted {
        match host.credentials().set_many(platform, slot, std::slice::from_ref(one)).await {
            Ok(()) => report.credentials_set += 1,
            Err(error) if error.is_conflict() => {
                let account = one.0;
                report.credentials_refused.push(RefusedCredential {
                    platform: platform.clone(),
                    slot: slot.to_owned(),
                    account,
                    problem: "what is stored in its place can't be replaced; see `backline credentials list`, correct \
                              or delete the row, and import the file again"
                        .to_owned(),
                });
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Records consent where none is recorded: an import does not override a withdrawal.
async fn record_consents(
    store: &Store,
    accounts: &[Account],
    all_new: bool,
    now: DateTime<Utc>,
) -> Result<u64, Failure> {
    let mut on_record: HashSet<(ArtistId, Platform)> = HashSet::new();
    if !all_new {
        let artists: BTreeSet<ArtistId> = accounts.iter().map(|account| account.artist_id).collect();
        let artists: Vec<ArtistId> = artists.into_iter().collect();
        let latest = store.latest_consents_of(&Scope::all_tenants(), &artists).await?;
        on_record.extend(
            latest
                .into_iter()
                .filter(|consent| consent.scope == COLLECTING_SCOPE)
                .map(|consent| (consent.artist_id, consent.platform)),
        );
    }
    let consents: Vec<Consent> = accounts
        .iter()
        .filter(|account| on_record.insert((account.artist_id, account.platform.clone())))
        .map(|account| Consent {
            artist_id: account.artist_id,
            platform: account.platform.clone(),
            granted: true,
            scope: COLLECTING_SCOPE.to_owned(),
            source: "import".to_owned(),
            recorded_at: now,
        })
        .collect();
    store.consents_record(&Scope::all_tenants(), &consents).await?;
    Ok(consents.len() as u64)
}
