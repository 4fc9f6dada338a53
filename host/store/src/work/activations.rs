//! Artists whose first collection is due. The triggers of the migrations put them here, no matter who made an
//! artist active, granted a consent or added an account; planning removes them.
//!
//! Their times are the database server's own, so they are compared with each other and never with a host's clock.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use serde_json::json;
use sqlx::any::AnyRow;

use crate::database::connection::{Store, Work};
use crate::database::dialect::{Columns as _, json, time_text};
use crate::database::error::StoreError;
use crate::database::readable::{Extent, LastRow, left_of, more_after};
use crate::database::rows::{ROWS_PER_STATEMENT, id_rows};
use crate::scope::Scope;
use backline_model::{ArtistId, Platform};

/// Whether a host is working on a batch with an account that an activation asks for, by the activation's name in the
/// statement.
macro_rules! is_being_collected {
    ($activation:literal) => {
        concat!(
            "EXISTS (SELECT 1 FROM accounts o JOIN batch_accounts m ON m.account_id = o.id
                 JOIN batches b ON b.id = m.batch_id
                 WHERE o.artist_id = ",
            $activation,
            ".artist_id AND (",
            $activation,
            ".platform = '' OR o.platform = ",
            $activation,
            ".platform) AND b.finished_at IS NULL AND b.state = 'leased')"
        )
    };
}

/// A statement that locks activations of artists that are given as rows, where a condition holds. One that another
/// transaction is changing right now is left out.
macro_rules! lock_sql {
    ($which:literal) => {
        concat!(
            "SELECT a.artist_id::text AS artist_id, a.platform, a.at::text AS at, r.value->>'at' AS read_at
             FROM {rows} JOIN activations a ON a.artist_id = (r.value->>'artist')::uuid AND ",
            $which,
            " FOR UPDATE SKIP LOCKED"
        )
    };
}

/// A statement that removes activations that are given as rows, where a condition holds.
macro_rules! remove_sql {
    ($($which:tt)*) => {
        concat!(
            "DELETE FROM activations WHERE (artist_id, platform) IN (
                 SELECT a.artist_id, a.platform FROM {rows} JOIN activations a
                     ON a.artist_id = (r.value->>'artist')::uuid AND a.platform = r.value->>'platform'
                 WHERE ",
            $($which)*,
            ") RETURNING artist_id::text AS artist_id, platform"
        )
    };
}

/// When a plan has read the accounts for which it removes activations, and so which it may have seen all of.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Taking {
    /// Before. An activation with a new cause since it was read stays: collecting twice is better than never.
    AsRead,
    /// Afterwards, in the same transaction: it sees whatever caused a collection that is removed, also a cause that
    /// came since the activation was read, and an artist's other ones where all its platforms are wanted. One with an
    /// account in a batch that a host is working on stays.
    UntilNow,
}

impl Taking {
    /// Locks what is to be removed.
    fn lock_sql(self) -> &'static str {
        match self {
            Self::AsRead => lock_sql!("a.platform = r.value->>'platform'"),
            Self::UntilNow => lock_sql!("(r.value->>'platform' = '' OR a.platform = r.value->>'platform')"),
        }
    }

    /// Whether a row that is locked is to be removed. Times are compared as what they are, and not as SQLite would: one
    /// that is written in another form would be planned for again and again.
    fn takes(self, row: &AnyRow) -> bool {
        let is_as_read = || Ok::<_, StoreError>(time_text(row.time("at")?) == row.text("read_at")?);
        match self {
            Self::AsRead => is_as_read().unwrap_or(false),
            Self::UntilNow => true,
        }
    }

    /// Removes what is locked. A statement of its own: a batch that it does not see as leased judges its accounts later
    /// than any cause that was locked.
    fn remove_sql(self) -> &'static str {
        match self {
            Self::AsRead => remove_sql!("TRUE"),
            Self::UntilNow => remove_sql!("NOT ", is_being_collected!("a")),
        }
    }
}

/// An artist whose first collection is due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Activation {
    /// The artist to collect.
    pub artist_id: ArtistId,
    /// Platform to collect; none means all.
    pub platform: Option<Platform>,
    /// Its cause: `activation`, `consent` or `account`.
    pub cause: String,
    /// Its time, by the database's clock. It moves when another cause follows.
    pub at: DateTime<Utc>,
}

impl Activation {
    /// Whether a plan for these platforms and artists, none given meaning all of them, covers it. One that is due on
    /// all platforms is covered in part by a plan for some: it stays due on the others.
    #[must_use]
    pub fn is_covered_by(&self, platforms: &[Platform], artists: &[ArtistId]) -> bool {
        let platform = platforms.is_empty() || self.platform.as_ref().is_none_or(|own| platforms.contains(own));
        platform && (artists.is_empty() || artists.contains(&self.artist_id))
    }
}

impl Store {
    /// Artists that wait for a first collection, the longest waiting first. One with an account in a batch that a host
    /// is working on waits until that has ended: the batch may have judged the account before the change that asked
    /// for the collection.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn activations_list(&self, scope: &Scope, limit: u32) -> Result<Vec<Activation>, StoreError> {
        let (mut found, mut after): (Vec<Activation>, [Option<String>; 3]) = (Vec::new(), [None, None, None]);
        loop {
            let asked = left_of(limit, found.len());
            let statement = self.scoped(
                scope,
                concat!(
                    "SELECT artist_id::text AS artist_id, platform, cause, at::text AS at FROM activations
                     WHERE ($2::timestamptz IS NULL
                             OR (at, artist_id, platform) > ($2::timestamptz, $3::uuid, $4::text))
                         AND NOT ",
                    is_being_collected!("activations"),
                    " {and_artist: activations.artist_id}
                     ORDER BY activations.at, activations.artist_id, activations.platform LIMIT $1"
                ),
            );
            let [at, artist, platform] = after;
            let statement = statement.bind(i64::from(asked)).bind(at).bind(artist).bind(platform);
            let rows = self.rows("read activations", statement).await?;
            // Rows under a name that no connector can have can't be collected, and keep none that can from its place.
            found.extend(self.unreadable.read("activations", "artist_id", Extent::Part, &rows, activation_of)?);
            let last = more_after(&rows, asked, found.len(), limit);
            let place_of = |last: LastRow<'_>| {
                // Without a text that comes after one of an artist or a time, the next artist's or time's come next.
                Some([Some(last.above("at")?), last.above("artist_id"), last.above("platform")])
            };
            let Some(place) = last.and_then(place_of) else { return Ok(found) };
            after = place;
        }
    }
}

/// The rows of a statement that names activations by what they were taken for.
pub(crate) fn activation_rows(taken: &[(ArtistId, Option<Platform>)]) -> Result<String, StoreError> {
    let rows: Vec<_> = taken
        .iter()
        .map(|(artist,
        platform)| json!({ "artist": artist, "platform": platform.as_ref().map_or("", Platform::as_str) }))
        .collect();
    json("activations", &rows)
}

/// Removes what a plan is for, and returns it.
pub(crate) async fn activations_take_in_txn(
    work: &mut Work,
    wanted: &[Activation],
    taking: Taking,
) -> Result<Vec<(ArtistId, Option<Platform>)>, StoreError> {
    let mut taken = Vec::new();
    for chunk in wanted.chunks(ROWS_PER_STATEMENT) {
        let rows: Vec<_> = chunk
            .iter()
            .map(|activation| {
                let platform = activation.platform.as_ref().map_or("", Platform::as_str);
                json!({ "artist": activation.artist_id, "platform": platform, "at": time_text(activation.at) })
            })
            .collect();
        let statement = work.query(taking.lock_sql()).bind(json("activations", &rows)?);
        let found = work.rows("lock activations that are planned", statement).await?;
        let mut locked = Vec::with_capacity(found.len());
        for row in found.iter().filter(|row| taking.takes(row)) {
            // As they are stored: a name that no platform can have is removed too. One that is not UTF-8 stays, since
            // no statement can say it: lists leave it out.
            if let (Ok(artist), Ok(platform)) = (row.text("artist_id"), row.text("platform")) {
                locked.push(json!({ "artist": artist, "platform": platform }));
            }
        }
        let statement = work.query(taking.remove_sql()).bind(json("activations", &locked)?);
        let rows = work.rows("remove activations that are planned", statement).await?;
        let read = |row: &AnyRow| Ok((row.parsed("artist_id")?, platform_of(row)?));
        taken.extend(work.unreadable.read("activations", "artist_id", Extent::Part, &rows, read)?);
    }
    Ok(taken)
}

/// Leaves first collections due on the other platforms on which their artists have accounts, where a plan for some
/// platforms took those that were due on all. An account that is added meanwhile asks for its own.
pub(crate) async fn activations_leave_in_txn(
    work: &mut Work,
    taken: &[&Activation],
    planned: &[Platform],
) -> Result<(), StoreError> {
    for chunk in taken.chunks(ROWS_PER_STATEMENT) {
        let by_artist: HashMap<ArtistId, &Activation> =
            chunk.iter().map(|activation| (activation.artist_id, *activation)).collect();
        let artists: Vec<ArtistId> = by_artist.keys().copied().collect();
        let statement = work.query(
            "SELECT a.artist_id::text AS artist_id, a.platform FROM accounts a WHERE a.artist_id {in_ids}
             GROUP BY a.artist_id, a.platform ORDER BY a.artist_id, a.platform",
        );
        let found = work.rows("find where artists have accounts", statement.bind(id_rows(&artists)?)).await?;
        let mut rows = Vec::new();
        for row in &found {
            let (artist, platform): (ArtistId, String) = (row.parsed("artist_id")?, row.text("platform")?);
            let is_planned = planned.iter().any(|planned| planned.as_str() == platform);
            let Some(activation) = by_artist.get(&artist).filter(|_| !is_planned) else { continue };
            let (cause, at) = (&activation.cause, time_text(activation.at));
            rows.push(json!({ "artist": artist, "platform": platform, "cause": cause, "at": at }));
        }
        let statement = work.query(
            "INSERT INTO activations (artist_id, platform, cause, at)
             SELECT (r.value->>'artist')::uuid, r.value->>'platform', r.value->>'cause',
                 (r.value->>'at')::timestamptz FROM {rows} WHERE TRUE
             ON CONFLICT (artist_id, platform) DO NOTHING",
        );
        work.execute("leave activations for other platforms", statement.bind(json("activations", &rows)?)).await?;
    }
    Ok(())
}

fn platform_of(row: &AnyRow) -> Result<Option<Platform>, StoreError> {
    if row.text("platform")?.is_empty() { Ok(None) } else { row.parsed("platform").map(Some) }
}

fn activation_of(row: &AnyRow) -> Result<Activation, StoreError> {
    Ok(Activation {
        artist_id: row.parsed("artist_id")?,
        platform: platform_of(row)?,
        cause: row.text("cause")?,
        at: row.time("at")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_covers_what_it_looks_at_and_nothing_else() {
        let platform = |name: &str| Platform::new(name).expect("a name");
        let (ada, bo) = (ArtistId::generate(), ArtistId::generate());
        let waiting =
            |platform| Activation { artist_id: ada, platform, cause: "account".to_owned(), at: DateTime::UNIX_EPOCH };
        let (everywhere, youtube) = (waiting(None), waiting(Some(platform("youtube"))));
        assert!(everywhere.is_covered_by(&[], &[]) && youtube.is_covered_by(&[], &[bo, ada]));
        assert!(youtube.is_covered_by(&[platform("spotify"), platform("youtube")], &[]));
        assert!(!youtube.is_covered_by(&[platform("spotify")], &[]));
        assert!(!youtube.is_covered_by(&[], &[bo]));
        assert!(everywhere.is_covered_by(&[platform("youtube")], &[]), "in part: the others are still due");
        assert!(!everywhere.is_covered_by(&[platform("youtube")], &[bo]));
    }
}
