//! Events as they come, as server-sent events (the HTML standard's `text/event-stream`).
//!
//! A stream is given what is settled, about once a second, and takes no lock that writers wait for. Streams of the same
//! scope that are as far as each other are given the same: the database is read once for all of them. A client goes on
//! where it was by the id of the last event it got, on whatever host.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::{self, BoxStream};
use serde::Serialize;
use tokio::sync::{Mutex as AsyncMutex, OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::problem::Problem;
use super::settled::Settled;
use crate::pipeline::{Caller, Host, Tokens};
use backline_model::text::harmless_json;
use backline_model::{Event, TokenId};
use backline_store::{EventCursor, Scope};

/// Most streams of one host at once; half of its connections are left for others.
const STREAMS_MAX: usize = 64;

/// Most of them of one token: a caller that opens streams and forgets them leaves others theirs.
const STREAMS_OF_TOKEN_MAX: usize = 8;

/// How often new events are looked for.
const LOOKED_EVERY: Duration = Duration::from_secs(1);

/// After how long a stream without events says that it lives: proxies and this host close silent connections.
const SILENT_MAX: Duration = Duration::from_secs(15);

/// How often it is asked whether the token is still in force.
const CHECKED_EVERY: Duration = Duration::from_secs(15);

/// How long a client waits before it connects again, in milliseconds.
const RETRY_MS: u32 = 3_000;

/// Most events that are read at once.
const EVENTS_AT_ONCE: u32 = 100;

/// An event, with its place among all of them.
#[derive(Serialize)]
pub(super) struct PlacedEvent {
    pub(super) cursor: EventCursor,
    #[serde(flatten)]
    pub(super) event: Event,
}

/// What all streams of a host share. Cloning shares it.
#[derive(Clone)]
pub(super) struct Streams {
    permits: Arc<Semaphore>,
    open: Open,
    settled: Settled,
    reads: Reads,
    stop: CancellationToken,
}

/// What was read last for the streams of each scope. A scope's lock is held while it is read for it: streams that come
/// meanwhile are given the same.
#[derive(Clone, Default)]
struct Reads(Arc<Mutex<HashMap<String, OfScope>>>);

type OfScope = Arc<AsyncMutex<Option<Piece>>>;

/// Events after a cursor, as they are written to each stream that is as far.
#[derive(Clone)]
struct Piece {
    after: EventCursor,
    until: EventCursor,
    /// How far a stream is once this is written.
    next: EventCursor,
    text: Arc<Vec<u8>>,
}

impl Reads {
    fn of(&self, scope: &Scope) -> OfScope {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Those that no stream holds: each stream keeps its own.
        if all.len() > STREAMS_MAX {
            all.retain(|_, of_scope| Arc::strong_count(of_scope) > 1);
        }
        Arc::clone(all.entry(scope.to_string()).or_default())
    }
}

/// How many streams each token has; those that have none are left out.
type Open = Arc<Mutex<HashMap<TokenId, usize>>>;

/// The place of a stream among all and among those of its token, until it is dropped.
struct Place {
    open: Open,
    token: TokenId,
    _permit: OwnedSemaphorePermit,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Entry::Occupied(mut of_token) = open.entry(self.token) {
            *of_token.get_mut() -= 1;
            if *of_token.get() == 0 {
                of_token.remove();
            }
        }
    }
}

impl Streams {
    /// Streams that end when `stop` is cancelled.
    pub(super) fn new(settled: Settled, stop: CancellationToken) -> Self {
        let (permits, open) = (Arc::new(Semaphore::new(STREAMS_MAX)), Open::default());
        Self { permits, open, settled, reads: Reads::default(), stop }
    }

    /// The last event that may be read so that none can appear before it later.
    ///
    /// # Errors
    /// When the database fails and never answered before.
    pub(super) async fn last_settled(&self, host: &Host) -> Result<EventCursor, Problem> {
        self.settled.until(host).await
    }

    /// The events of a scope after a cursor, for as long as the caller's token is in force.
    ///
    /// # Errors
    /// When the host or the token has too many streams.
    pub(super) fn begin(
        &self,
        host: Host,
        caller: Caller,
        scope: Scope,
        after: EventCursor,
    ) -> Result<BoxStream<'static, Vec<u8>>, Problem> {
        let Some(place) = self.place(caller.token().id) else {
            return Err(Problem::too_many(SILENT_MAX.as_secs()));
        };
        let (now, last_read) = (Instant::now(), self.reads.of(&scope));
        let following = Following {
            shared: self.clone(),
            host,
            caller,
            scope,
            last_read,
            after,
            spoke: now,
            checked: now,
            _place: place,
        };
        // At once, so that the client has the headers, and an id to go on from before there is an event.
        let first = format!("retry: {RETRY_MS}\nid: {after}\n\n").into_bytes();
        let pieces = stream::unfold(following, Following::next);
        Ok(stream::once(std::future::ready(first)).chain(pieces).boxed())
    }

    /// A place for one more stream of a token; none where the host or the token has as many as it may.
    fn place(&self, token: TokenId) -> Option<Place> {
        let permit = Arc::clone(&self.permits).try_acquire_owned().ok()?;
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let of_token = open.entry(token).or_default();
        if *of_token >= STREAMS_OF_TOKEN_MAX {
            return None;
        }
        *of_token += 1;
        drop(open);
        Some(Place { open: Arc::clone(&self.open), token, _permit: permit })
    }
}

/// One stream.
struct Following {
    shared: Streams,
    host: Host,
    caller: Caller,
    scope: Scope,
    last_read: OfScope,
    after: EventCursor,
    /// When it last wrote something.
    spoke: Instant,
    /// When its token was last looked at.
    checked: Instant,
    _place: Place,
}

impl Following {
    /// What is to be written next; none where the stream is over. A failure ends it too: the client connects again.
    async fn next(mut self) -> Option<(Vec<u8>, Self)> {
        loop {
            if self.checked.elapsed() >= CHECKED_EVERY {
                self.checked = Instant::now();
                let tokens = Tokens::new(self.host.store().clone(), self.host.clock().clone());
                tokens.is_in_force(&self.caller).await.ok().filter(|is_in_force| *is_in_force)?;
            }
            let events = self.read().await?;
            let is_silent = self.spoke.elapsed() >= SILENT_MAX;
            if !events.is_empty() || is_silent {
                self.spoke = Instant::now();
                // An id without an event is none that a client tells: it goes on from there if it connects again, and
                // is not taken for one that missed what is deleted meanwhile.
                let id = || format!("id: {}\n\n", self.after).into_bytes();
                let piece = if events.is_empty() { id() } else { events.to_vec() };
                return Some((piece, self));
            }
            tokio::select! {
                () = self.shared.stop.cancelled() => return None,
                () = tokio::time::sleep(LOOKED_EVERY) => {}
            }
        }
    }

    /// The next events of the scope, as they are written; nothing where there are none.
    async fn read(&mut self) -> Option<Arc<Vec<u8>>> {
        let until = self.shared.last_settled(&self.host).await;
        let until = until.inspect_err(|problem| tracing::debug!(error = problem.cause(), "a stream of events ends"));
        let until = until.ok()?;
        if until <= self.after {
            return Some(Arc::default());
        }
        let mut last_read = self.last_read.lock().await;
        let piece = match &*last_read {
            Some(piece) if (piece.after, piece.until) == (self.after, until) => piece.clone(),
            _ => {
                let piece = self.read_piece(until).await?;
                *last_read = Some(piece.clone());
                piece
            }
        };
        drop(last_read);
        self.after = piece.next;
        Some(piece.text)
    }

    async fn read_piece(&self, until: EventCursor) -> Option<Piece> {
        let (store, after) = (self.host.store(), self.after);
        let events = store.settled_events_list(&self.scope, after, until, EVENTS_AT_ONCE).await;
        let events = events.inspect_err(|error| tracing::debug!(%error, "a stream of events ends")).ok()?;
        // Those in between are of others.
        let next = match events.last() {
            Some((last, _)) if events.len() == EVENTS_AT_ONCE as usize => *last,
            _ => until,
        };
        let events: Vec<PlacedEvent> =
            events.into_iter().map(|(cursor, event)| PlacedEvent { cursor, event }).collect();
        Some(Piece { after, until, next, text: Arc::new(written(&events)?) })
    }
}

/// Events as they are written to a stream.
fn written(events: &[PlacedEvent]) -> Option<Vec<u8>> {
    let mut text = String::new();
    for placed in events {
        let data = serde_json::to_string(placed).map(harmless_json).ok()?;
        text.push_str(&format!("id: {}\nevent: {}\ndata: {data}\n\n", placed.cursor, placed.event.kind));
    }
    Some(text.into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_has_a_part_of_the_streams_and_gives_each_back() {
        let streams = Streams::new(Settled::default(), CancellationToken::new());
        let (token, other) = (TokenId::generate(), TokenId::generate());
        let mut places: Vec<Place> = (0..STREAMS_OF_TOKEN_MAX).filter_map(|_| streams.place(token)).collect();
        assert_eq!(places.len(), STREAMS_OF_TOKEN_MAX);
        assert!(streams.place(token).is_none(), "one too many");
        let of_other = streams.place(other).expect("another token has streams of its own");
        places.pop();
        places.push(streams.place(token).expect("one has ended"));
        assert!(streams.place(token).is_none(), "one too many again");
        drop((places, of_other));
        assert!(streams.open.lock().expect("not poisoned").is_empty());
        assert_eq!(streams.permits.available_permits(), STREAMS_MAX);
    }

    #[test]
    fn streams_of_one_scope_share_what_is_read_and_others_have_their_own() {
        let (reads, all) = (Reads::default(), Scope::all_tenants());
        let tenant = |name: &str| Scope::tenant(backline_model::Tenant::new(name).expect("a name"));
        let held = reads.of(&all);
        assert!(Arc::ptr_eq(&held, &reads.of(&all)));
        assert!(!Arc::ptr_eq(&held, &reads.of(&tenant("label"))));
        for n in 0..3 * STREAMS_MAX {
            reads.of(&tenant(&format!("label-{n}")));
        }
        assert!(reads.0.lock().expect("not poisoned").len() <= STREAMS_MAX + 2, "what no stream holds is forgotten");
        assert!(Arc::ptr_eq(&held, &reads.of(&all)), "what one holds stays");
    }

    #[test]
    fn a_host_has_a_bound_for_all_tokens_together() {
        let streams = Streams::new(Settled::default(), CancellationToken::new());
        let places: Vec<Place> = (0..STREAMS_MAX).filter_map(|_| streams.place(TokenId::generate())).collect();
        assert_eq!(places.len(), STREAMS_MAX);
        assert!(streams.place(TokenId::generate()).is_none());
        assert_eq!(streams.open.lock().expect("not poisoned").len(), STREAMS_MAX, "what was refused is not counted");
    }
}
