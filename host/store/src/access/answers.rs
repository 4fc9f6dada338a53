//! Answers to requests that named themselves by a key: what such a request asks for is done once, and one that comes
//! again gets the answer of the first.
//!
//! The answer is written in the transaction of what was asked for. So there is no moment in which a host can die and
//! leave one without the other.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;
use sqlx::any::AnyRow;
use uuid::Uuid;

use crate::database::connection::{Store, Work};
use crate::database::dialect::{Columns as _, json, time_text};
use crate::database::error::StoreError;
use crate::database::old_rows::{OldRows, old_rows};
use backline_model::clock::Past;
use backline_model::{ArtistId, Digest, TokenId};

/// How long an answer is kept at least.
const KEPT_FOR: TimeDelta = TimeDelta::hours(24);

/// Answers that were kept for long enough. A key is the caller's own text, so each is called by its request.
const OLD: OldRows = old_rows!(
    "remove old answers",
    "api_answers",
    "token_id, idempotency_key",
    "m.token_id::text AS first, m.idempotency_key AS second, m.request_id::text AS name",
    "(r.value->>'first')::uuid, r.value->>'second'",
    "m.created_at < $2::timestamptz"
);

/// A request that is carried out once, however often it comes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyedRequest {
    /// The caller: its keys are apart from those of others.
    pub token: TokenId,
    /// What the caller calls the request.
    pub key: String,
    /// Digest of everything that it asks for.
    pub asked: Digest,
    /// Its own id; one that comes again has another.
    pub id: Uuid,
    /// When it came.
    pub at: DateTime<Utc>,
}

/// The answer to a request of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptAnswer {
    /// Digest of everything that the request asked for.
    pub asked: Digest,
    /// Id of the request that was carried out.
    pub request: Uuid,
    /// What was answered, as JSON.
    pub answer: String,
}

/// What the present task answers.
#[derive(Clone)]
struct Answering {
    request: Arc<KeyedRequest>,
    is_kept: Arc<AtomicBool>,
}

tokio::task_local! {
    static ANSWERING: Answering;
}

/// Does what a request asks for. A method of [`Store`] that ends it writes the answer in its own transaction; where
/// there is an answer already, it writes nothing at all and fails with [`StoreError::AnsweredBefore`]. Returns whether
/// an answer was written too.
pub async fn answering_once<T>(request: KeyedRequest, act: impl Future<Output = T>) -> (T, bool) {
    let answering = Answering { request: Arc::new(request), is_kept: Arc::default() };
    let is_kept = Arc::clone(&answering.is_kept);
    let done = ANSWERING.scope(answering, act).await;
    (done, is_kept.load(Ordering::Acquire))
}

impl Work {
    /// Writes the answer of the request that this transaction carries out; nothing where it has no key. To be called
    /// last: another host that carries out the same request waits from here on. `artist`: the one that the answer
    /// names, so that it goes with the artist.
    ///
    /// # Errors
    /// [`StoreError::AnsweredBefore`] when it was carried out already; otherwise when the database fails.
    pub(crate) async fn answer_keep(
        &mut self,
        answer: &impl Serialize,
        artist: Option<ArtistId>,
    ) -> Result<(), StoreError> {
        let Ok(Answering { request, is_kept }) = ANSWERING.try_with(Clone::clone) else { return Ok(()) };
        let statement = self.query(
            "INSERT INTO api_answers (token_id, idempotency_key, asked, request_id, artist_id, answer, created_at)
             VALUES ($1::uuid, $2, $3, $4::uuid, (SELECT t.id FROM artists t WHERE t.id = $5::uuid), $6,
                 $7::timestamptz)
             ON CONFLICT (token_id, idempotency_key) DO NOTHING",
        );
        let statement = statement
            .bind(request.token.to_string())
            .bind(request.key.clone())
            .bind(request.asked.to_string())
            .bind(request.id.to_string())
            .bind(artist.map(|id| id.to_string()))
            .bind(json("an answer", answer)?)
            .bind(time_text(request.at));
        if self.execute("keep an answer", statement).await? == 0 {
            return Err(StoreError::AnsweredBefore);
        }
        is_kept.store(true, Ordering::Release);
        Ok(())
    }
}

impl Store {
    /// The answer to a caller's request of a key; none where none was carried out. Without a scope: the answer is the
    /// caller's own.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn kept_answer_get(&self, token: TokenId, key: &str) -> Result<Option<KeptAnswer>, StoreError> {
        let statement = self.query(
            "SELECT k.asked, k.request_id::text AS request_id, k.answer FROM api_answers k
             WHERE k.token_id = $1::uuid AND k.idempotency_key = $2",
        );
        let row = self.row("read an answer", statement.bind(token.to_string()).bind(key.to_owned())).await?;
        row.as_ref().map(answer_of).transpose()
    }

    /// Removes answers that were kept for a day. Returns how many.
    ///
    /// # Errors
    /// [`StoreError::Kept`] when the database refuses some of them; otherwise when it fails.
    pub async fn kept_answers_remove(&self, past: Past) -> Result<u64, StoreError> {
        self.old_rows_delete(&OLD, time_text(past.before_by(KEPT_FOR).at())).await
    }
}

fn answer_of(row: &AnyRow) -> Result<KeptAnswer, StoreError> {
    Ok(KeptAnswer { asked: row.parsed("asked")?, request: row.uuid("request_id")?, answer: row.text("answer")? })
}
