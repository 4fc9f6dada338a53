//! Ids as people type them: whole, by a beginning that only one has, by the name that goes with them, or `latest`.
//!
//! A command takes a [`Given`] and finds the id once it has the database. No command takes an id itself: a test walks
//! all arguments.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;

use uuid::Uuid;

use crate::cli::terminal::exit::Failure;
use crate::cli::terminal::print;
use crate::pipeline::{is_there, nearest};
use backline_model::{AccountId, Artist, ArtistId, BatchId, Platform, RunId, TokenId};
use backline_store::{ArtistFilter, FoundId, IdKind, Scope, Store, StoreError};

/// Longest text that is looked up, in bytes: artists' names are free text.
const TEXT_BYTES_MAX: usize = 1_000;

/// Fewest digits of the beginning of an id.
const DIGITS_MIN: usize = 4;

/// Digits of a whole id.
const DIGITS: usize = 32;

/// Most candidates that are named.
const NAMED_MAX: u32 = 6;

/// Most artists that are read one by one; more are read all at once.
const ONE_BY_ONE_MAX: usize = 50;

/// Stands for the run that began last, or the event that happened last.
const LATEST: &str = "latest";

/// Something that has an id and can be named on the command line.
pub(in crate::cli) trait Identified: Copy + Send + Sync + 'static {
    /// What the id is looked up among.
    const KIND: IdKind;
    /// What it is called in messages.
    const WHAT: &'static str;
    /// The command that lists ids of the kind.
    const LISTED_BY: &'static str;

    /// The id of this UUID.
    fn of(id: Uuid) -> Self;
}

macro_rules! identified {
    ($($name:ident, $kind:ident, $what:literal, $listed_by:literal;)*) => {
        $(impl Identified for $name {
            const KIND: IdKind = IdKind::$kind;
            const WHAT: &'static str = $what;
            const LISTED_BY: &'static str = $listed_by;

            fn of(id: Uuid) -> Self {
                Self(id)
            }
        })*
    };
}

identified! {
    ArtistId, Artist, "artist", "backline artists list";
    AccountId, Account, "account", "backline accounts list";
    RunId, Run, "run", "backline runs list";
    BatchId, Batch, "batch", "backline batches list";
    EventId, Event, "event", "backline events tail";
    QuarantinedId, Quarantined, "value in quarantine", "backline quarantine list";
    TokenId, Token, "token", "backline tokens list";
    BulkActId, Bulk, "bulk act", "backline bulk list";
}

/// Id of an event.
#[derive(Clone, Copy, Debug)]
pub(in crate::cli) struct EventId(pub Uuid);

/// Id of an act on everything that a filter shows.
#[derive(Clone, Copy, Debug)]
pub(in crate::cli) struct BulkActId(pub Uuid);

/// Id of a value in quarantine.
#[derive(Clone, Copy, Debug)]
pub(in crate::cli) struct QuarantinedId(pub Uuid);

/// An id as it was typed.
pub(in crate::cli) struct Given<T> {
    text: String,
    kind: PhantomData<fn() -> T>,
}

impl<T> Clone for Given<T> {
    fn clone(&self) -> Self {
        Self { text: self.text.clone(), kind: PhantomData }
    }
}

impl<T> fmt::Debug for Given<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.text.fmt(f)
    }
}

impl<T: Identified> FromStr for Given<T> {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if text.is_empty() || text.len() > TEXT_BYTES_MAX {
            return Err(format!("it names no {}; `{}` shows what can be given", T::WHAT, T::LISTED_BY));
        }
        Ok(Self { text: text.to_owned(), kind: PhantomData })
    }
}

impl<T> fmt::Display for Given<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Given<AccountId> {
    /// The account that is meant on a platform: the same id may belong to one on each of several.
    ///
    /// # Errors
    /// As [`Given::find`].
    pub(in crate::cli) async fn find_on(&self, store: &Store, platform: &Platform) -> Result<AccountId, Failure> {
        let here = format!("{platform}/{}", self.text);
        let found = store.ids_named_list(&Scope::all_tenants(), IdKind::Account, &here, NAMED_MAX).await?;
        match found.as_slice() {
            [] => self.find(store).await,
            [one] => Ok(AccountId(one.id)),
            several => Err(Failure::usage(self.ambiguous(several))),
        }
    }
}

impl<T: Identified> Given<T> {
    /// The id that is meant. A whole one is taken as it is, whether or not anything has it.
    ///
    /// # Errors
    /// When nothing is meant, or several things could be.
    pub(in crate::cli) async fn find(&self, store: &Store) -> Result<T, Failure> {
        if let Ok(id) = Uuid::parse_str(&self.text) {
            return Ok(T::of(id));
        }
        let all = Scope::all_tenants();
        if self.text == LATEST
            && let Some(latest) = latest(store, T::KIND).await?
        {
            return latest.map(T::of);
        }
        let mut found = store.ids_named_list(&all, T::KIND, &self.text, NAMED_MAX).await?;
        // Names that differ in case only are told apart by it.
        if found.iter().any(|one| one.name == self.text) {
            found.retain(|one| one.name == self.text);
        }
        if let Some(range) = range_of(&self.text) {
            let begun = store.ids_between_list(&all, T::KIND, range, NAMED_MAX).await?;
            let is_new = |one: &FoundId| !found.iter().any(|known| known.id == one.id);
            let more: Vec<FoundId> = begun.into_iter().filter(is_new).collect();
            found.extend(more);
        }
        match found.as_slice() {
            [one] => Ok(T::of(one.id)),
            [] => Err(Failure::usage(self.unknown(store).await?)),
            several => Err(Failure::usage(self.ambiguous(several))),
        }
    }

    async fn unknown(&self, store: &Store) -> Result<String, Failure> {
        let (text, what, listed_by) = (&self.text, T::WHAT, T::LISTED_BY);
        let digits = text.chars().filter(char::is_ascii_hexdigit).count();
        let names = match T::KIND {
            IdKind::Artist => {
                let artists = store.artists_list(&Scope::all_tenants(), &ArtistFilter::default()).await?;
                Some(artists.into_iter().map(|artist| artist.name).collect::<Vec<_>>())
            }
            IdKind::Token => {
                let tokens = store.tokens_list(&Scope::all_tenants()).await?;
                let in_force = tokens.into_iter().filter(|token| token.revoked_at.is_none());
                Some(in_force.map(|token| token.name).collect())
            }
            _ => None,
        };
        if names.is_none() && digits == text.len() && digits < DIGITS_MIN {
            return Ok(format!("'{text}' is too short for the beginning of an id; give {DIGITS_MIN} digits or more"));
        }
        let also = match T::KIND {
            IdKind::Artist | IdKind::Token => " or the name",
            IdKind::Account => " or the id on its platform",
            _ => "",
        };
        let near = nearest::nearest(text, names.iter().flatten().map(String::as_str));
        let remark = near.map_or_else(String::new, |name| format!("; did you mean '{name}'?"));
        Ok(format!("no {what} has the id{also} '{text}'{remark}; `{listed_by}` shows them"))
    }

    fn ambiguous(&self, several: &[FoundId]) -> String {
        let named: Vec<String> = several.iter().map(|one| format!("{} ({})", one.id, one.name)).collect();
        let more = if several.len() >= NAMED_MAX as usize { " and maybe more" } else { "" };
        let (text, what) = (&self.text, T::WHAT);
        format!("'{text}' could be more than one {what}: {}{more}; give more of the id", named.join(", "))
    }
}

/// The latest of a kind that is in order of time; none for other kinds, of which something may be called `latest`.
async fn latest(store: &Store, kind: IdKind) -> Result<Option<Result<Uuid, Failure>>, Failure> {
    let all = Scope::all_tenants();
    let (found, none) = match kind {
        IdKind::Run => {
            let runs = store.runs_list(&all, 1, None).await?;
            (runs.first().map(|run| run.id.0), "no run yet; `backline run` starts one")
        }
        IdKind::Event => {
            let events = store.events_before_list(&all, None, 1).await?;
            (events.first().map(|(_, event)| event.id), "no event has happened yet")
        }
        IdKind::Artist | IdKind::Account | IdKind::Batch | IdKind::Bulk | IdKind::Quarantined | IdKind::Token => {
            return Ok(None);
        }
    };
    Ok(Some(found.ok_or_else(|| Failure::usage(none))))
}

/// The ids that begin with these digits; hyphens may stand anywhere.
fn range_of(text: &str) -> Option<(Uuid, Uuid)> {
    let digits: String = text.chars().filter(|c| *c != '-').collect();
    if !(DIGITS_MIN..DIGITS).contains(&digits.len()) || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let filled = |with: &str| {
        let all = format!("{digits}{}", with.repeat(DIGITS - digits.len()));
        u128::from_str_radix(&all, 16).ok().map(Uuid::from_u128)
    };
    filled("0").zip(filled("f"))
}

/// The id that is meant by an argument that need not be given.
///
/// # Errors
/// As [`Given::find`].
pub(in crate::cli) async fn find_if_given<T: Identified>(
    store: &Store,
    given: Option<&Given<T>>,
) -> Result<Option<T>, Failure> {
    match given {
        Some(given) => given.find(store).await.map(Some),
        None => Ok(None),
    }
}

/// The ids that are meant by several arguments.
///
/// # Errors
/// As [`Given::find`].
pub(in crate::cli) async fn find_all<T: Identified>(store: &Store, given: &[Given<T>]) -> Result<Vec<T>, Failure> {
    let mut found = Vec::with_capacity(given.len());
    for one in given {
        found.push(one.find(store).await?);
    }
    Ok(found)
}

/// Refuses an id that no artist has. One whose row can't be read is there: its consent can be withdrawn.
///
/// # Errors
/// When there is none, or the database fails.
pub(in crate::cli) async fn expect_artist(store: &Store, artist: ArtistId) -> Result<(), Failure> {
    match is_there(store.artist_get(&Scope::all_tenants(), artist).await)? {
        true => Ok(()),
        false => Err(no_artist(artist)),
    }
}

/// Reads an artist, for a command that needs what its row says.
///
/// # Errors
/// When there is none, its row can't be read, or the database fails.
pub(in crate::cli) async fn read_artist(store: &Store, artist: ArtistId) -> Result<Artist, Failure> {
    match store.artist_get(&Scope::all_tenants(), artist).await {
        Ok(found) => found.ok_or_else(|| no_artist(artist)),
        Err(StoreError::Unreadable { column, problem }) => Err(Failure::failed(format!(
            "the row of the artist {artist} can't be read: {column} holds {problem}; correct the row in `artists`"
        ))),
        Err(error) => Err(error.into()),
    }
}

fn no_artist(artist: ArtistId) -> Failure {
    Failure::usage(format!("no artist has the id {artist}; `backline artists list` shows them"))
}

/// The names of artists, to show beside their ids.
///
/// # Errors
/// When the database fails.
pub(in crate::cli) async fn names_of(
    store: &Store,
    artists: impl IntoIterator<Item = ArtistId>,
) -> Result<BTreeMap<ArtistId, String>, Failure> {
    let wanted: BTreeSet<ArtistId> = artists.into_iter().collect();
    let mut names = BTreeMap::new();
    if wanted.len() > ONE_BY_ONE_MAX {
        let artists = store.artists_list(&Scope::all_tenants(), &ArtistFilter::default()).await?;
        names.extend(artists.into_iter().map(|artist| (artist.id, artist.name)));
        return Ok(names);
    }
    for artist in wanted {
        // One that was erased, or whose row can't be read, has no name to show.
        match store.artist_get(&Scope::all_tenants(), artist).await {
            Ok(known) => names.extend(known.map(|known| (artist, known.name))),
            Err(StoreError::Unreadable { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(names)
}

/// The name of an artist among those that were looked up.
pub(in crate::cli) fn name_in(names: &BTreeMap<ArtistId, String>, artist: ArtistId) -> String {
    names.get(&artist).cloned().unwrap_or_else(|| print::NONE.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use backline_model::{ApiToken, Digest, Role};
    use backline_store::StoreOptions;

    const ADA: &str = "018f4e6a-7c1d-7b3a-9c55-3f1d2a4b5c6d";

    #[test]
    fn a_beginning_is_a_range_of_ids() {
        let text = |range: Option<(Uuid, Uuid)>| range.map(|(first, last)| (first.to_string(), last.to_string()));
        let expected =
            ("018f4e6a-7c00-0000-0000-000000000000".to_owned(), "018f4e6a-7cff-ffff-ffff-ffffffffffff".to_owned());
        assert_eq!(text(range_of("018f4e6a-7c")), Some(expected.clone()));
        assert_eq!(text(range_of("018F4E6A7C")), Some(expected));
        for text in ["", "018", "latest", "018f4e6a-7c1d-7b3a-9c55-3f1d2a4b5c6dd", "01 8f", "+18f", "é18f"] {
            assert_eq!(range_of(text), None, "{text}");
        }
    }

    /// What is found for a text among two artists and one run, and how a refusal reads.
    async fn found<T: Identified + ToString>(store: &Store, text: &str) -> String {
        let given: Given<T> = text.parse().expect("looked up");
        given.find(store).await.map_or_else(|failure| failure.message, |id| id.to_string())
    }

    async fn store_of(artists: &[(&str, &str)]) -> (tempfile::TempDir, Store) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("backline.db");
        let store = Store::open(&path.to_string_lossy(), StoreOptions::default()).await.expect("opened");
        store.migrate().await.expect("migrated");
        let artist = |&(id, name): &(&str, &str)| Artist {
            id: id.parse().expect("an id"),
            name: name.to_owned(),
            tenant: backline_model::Tenant::default(),
            subscription_status: backline_model::SubscriptionStatus::Active,
            data_collection_enabled: true,
            timezone: "UTC".parse().expect("a zone"),
        };
        let artists: Vec<_> = artists.iter().map(artist).collect();
        let at = "2026-11-22T12:00:00Z".parse().expect("a time");
        store.artists_save(&Scope::all_tenants(), &artists, at).await.expect("saved");
        (folder, store)
    }

    #[tokio::test]
    async fn an_artist_is_found_by_id_beginning_or_name() {
        let bo = "018f4e6a-7c1d-7b3a-9c55-3f1d2a4b5c6e";
        let face = "face0000-7c1d-7b3a-9c55-3f1d2a4b5c6e";
        let artists = [(ADA, "Ada Lovelace"), (bo, "Bo"), (face, "018f4e6a7c1d7b3a9c553f1d2a4b5c6e")];
        let (_folder, store) = store_of(&artists).await;
        for (text, id) in [
            (ADA, ADA),
            ("018F4E6A-7C1D-7B3A-9C55-3F1D2A4B5C6D", ADA),
            ("Ada Lovelace", ADA),
            ("ada lovelace", ADA),
            ("Bo", bo),
            ("face", face),
            ("face0000-7c", face),
            // A whole id is never a name, and need not exist.
            ("018f4e6a7c1d7b3a9c553f1d2a4b5c6e", bo),
            ("00000000-0000-0000-0000-000000000001", "00000000-0000-0000-0000-000000000001"),
        ] {
            assert_eq!(found::<ArtistId>(&store, text).await, id, "{text}");
        }
        for (text, said) in [
            ("018f", "'018f' could be more than one artist: 018f4e6a-7c1d-7b3a-9c55-3f1d2a4b5c6d (Ada Lovelace), "),
            ("Ada Lovelce", "no artist has the id or the name 'Ada Lovelce'; did you mean 'Ada Lovelace'?; "),
            ("latest", "no artist has the id or the name 'latest'; `backline artists list` shows them"),
            ("%", "no artist has the id or the name '%'"),
        ] {
            let message = found::<ArtistId>(&store, text).await;
            assert!(message.starts_with(said), "{message}");
        }
        assert_eq!(found::<RunId>(&store, "latest").await, "no run yet; `backline run` starts one");
        assert_eq!(
            found::<RunId>(&store, "01").await,
            "'01' is too short for the beginning of an id; give 4 digits or more"
        );
        assert_eq!(
            found::<RunId>(&store, "Ada Lovelace").await,
            "no run has the id 'Ada Lovelace'; `backline runs list` shows them"
        );
    }

    #[tokio::test]
    async fn a_token_is_found_by_its_name_until_it_is_revoked() {
        let (_folder, store) = store_of(&[(ADA, "Ada Lovelace")]).await;
        let (bo, face) = ("018f4e6a-7c1d-7b3a-9c55-3f1d2a4b5c6e", "face0000-7c1d-7b3a-9c55-3f1d2a4b5c6e");
        let at = "2026-11-22T12:00:00Z".parse().expect("a time");
        for (id, name) in [(ADA, "dashboard"), (bo, "ci"), (face, "ci")] {
            let token = ApiToken {
                id: id.parse().expect("an id"),
                name: name.to_owned(),
                role: Role::Viewer,
                tenant: None,
                created_at: at,
                expires_at: None,
                last_used_at: None,
                revoked_at: None,
            };
            store.token_add(&Scope::all_tenants(), &token, Digest::of(id.as_bytes())).await.expect("added");
        }
        for (text, id) in
            [("dashboard", ADA), ("Dashboard", ADA), ("018f4e6a-7c1d-7b3a-9c55-3f1d2a4b5c6e", bo), ("face", face)]
        {
            assert_eq!(found::<TokenId>(&store, text).await, id, "{text}");
        }
        let several = found::<TokenId>(&store, "ci").await;
        assert!(several.starts_with("'ci' could be more than one token: "), "{several}");
        let revoked = store.token_revoke(&Scope::all_tenants(), face.parse().expect("an id"), at).await;
        assert!(revoked.expect("revoked").revoked_at.is_some());
        assert_eq!(found::<TokenId>(&store, "ci").await, bo, "a revoked one keeps its name for the record only");
        assert_eq!(found::<TokenId>(&store, "face0000").await, face);
        assert_eq!(
            found::<TokenId>(&store, "dashbord").await,
            "no token has the id or the name 'dashbord'; did you mean 'dashboard'?; `backline tokens list` shows them"
        );
    }

    #[tokio::test]
    async fn names_that_differ_in_case_are_told_apart_and_equal_ones_are_named() {
        let bo = "018f4e6a-7c1d-7b3a-9c55-3f1d2a4b5c6e";
        let (_folder, store) = store_of(&[(ADA, "ada"), (bo, "ADA")]).await;
        assert_eq!(found::<ArtistId>(&store, "ADA").await, bo);
        assert_eq!(found::<ArtistId>(&store, "ada").await, ADA);
        let message = found::<ArtistId>(&store, "Ada").await;
        assert!(message.contains(&format!("{ADA} (ada), {bo} (ADA); give more of the id")), "{message}");
    }
}
