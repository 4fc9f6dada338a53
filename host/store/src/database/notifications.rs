//! Wake-ups: how a host hears of work at once instead of at its next look.
//!
//! On PostgreSQL they come from the server alone, by `LISTEN` on a connection of their own: what this process writes comes back that way
//! too, and so does what the artist platform's own code writes. On SQLite there is one host, and its writes ring in the process. Either
//! way a bell is rung when the transaction is committed, and not at all when it is undone.
//!
//! A wake-up is a hint: whoever hears it looks into the tables, and whoever misses it looks there a little later.

use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgListener, PgPoolOptions};
use tokio::sync::broadcast;

use crate::database::error::During as _;
use crate::{CONNECT_TIMEOUT, DatabaseKind, Store, StoreError, Work};

/// The channel of all topics; the triggers of the migrations name it too.
const CHANNEL: &str = "backline";

/// How long silence is believed. A connection whose other end has gone without a word looks just like one on which nothing happens.
const SILENCE_MAX: Duration = Duration::from_secs(60);

/// How long the server may take to say that it is still there.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// What there may be to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Topic {
    /// Batches to lease.
    Work,
    /// Artists to be collected for the first time.
    Activations,
    /// A release that is about to be activated, or was, or may do less than before.
    Releases,
    /// Events to deliver.
    Events,
}

impl Topic {
    /// Every topic.
    pub const ALL: [Self; 4] = [Self::Work, Self::Activations, Self::Releases, Self::Events];

    /// The name by which it is notified.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Work => "work",
            Self::Activations => "activations",
            Self::Releases => "releases",
            Self::Events => "events",
        }
    }

    /// Reads the name by which it is notified.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|topic| topic.as_str() == text)
    }
}

/// Hears of what is written to the database.
pub struct Listener {
    source: Source,
    /// What may have been missed, and is told before anything new.
    missed: Vec<Topic>,
}

enum Source {
    Here(broadcast::Receiver<Topic>),
    Server(Box<PgListener>),
}

impl Store {
    /// Begins to listen: what is committed from now on is heard.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn listener(&self) -> Result<Listener, StoreError> {
        let source = match &self.server {
            None => Source::Here(self.wakes.subscribe()),
            Some(server) => Source::Server(Box::new(listen(server).await.during("listen for wake-ups")?)),
        };
        Ok(Listener { source, missed: Vec::new() })
    }

    /// Rings in this process; for what has been written by a single statement.
    pub(crate) fn ring(&self, topic: Topic) {
        // Nobody may be listening.
        let _ = self.wakes.send(topic);
    }
}

async fn listen(server: &Arc<PgConnectOptions>) -> Result<PgListener, sqlx::Error> {
    let pool = PgPoolOptions::new()
        .max_connections(1)
        .max_lifetime(None)
        .idle_timeout(None)
        .acquire_timeout(CONNECT_TIMEOUT)
        .connect_with(PgConnectOptions::clone(server))
        .await?;
    let mut listener = PgListener::connect_with(&pool).await?;
    // A connection that broke is told of, since what was notified meanwhile was not heard.
    listener.eager_reconnect(false);
    listener.listen(CHANNEL).await?;
    Ok(listener)
}

impl Listener {
    /// The next thing heard.
    ///
    /// # Errors
    /// When the connection broke; then what was written meanwhile was not heard, and a new listener is needed.
    pub async fn next(&mut self) -> Result<Topic, StoreError> {
        if let Some(topic) = self.missed.pop() {
            return Ok(topic);
        }
        match &mut self.source {
            Source::Here(here) => match here.recv().await {
                Ok(topic) => Ok(topic),
                Err(broadcast::error::RecvError::Lagged(_)) => {
                    self.missed.extend(Topic::ALL);
                    Ok(self.missed.pop().unwrap_or(Topic::Work))
                }
                Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
            },
            Source::Server(server) => hear(server).await.during("listen for wake-ups"),
        }
    }
}

async fn hear(server: &mut PgListener) -> Result<Topic, sqlx::Error> {
    let broken = || sqlx::Error::Io(std::io::ErrorKind::ConnectionAborted.into());
    loop {
        match tokio::time::timeout(SILENCE_MAX, server.try_recv()).await {
            Ok(Ok(Some(notification))) => {
                // A newer host on the same database may speak of what this one does not know.
                if let Some(topic) = Topic::parse(notification.payload()) {
                    return Ok(topic);
                }
            }
            Ok(Ok(None)) => return Err(broken()),
            Ok(Err(error)) => return Err(error),
            Err(_) => {
                let answer = sqlx::query("SELECT 1").execute(&mut *server);
                tokio::time::timeout(ANSWER_WITHIN, answer).await.map_err(|_| broken())??;
            }
        }
    }
}

/// Rings for a topic when the transaction is committed.
pub(crate) async fn notify(work: &mut Work, topic: Topic) -> Result<(), StoreError> {
    if work.kind == DatabaseKind::Postgres {
        let statement = work.query("SELECT 1 AS one FROM pg_notify($1, $2)");
        work.row("ring for what was written", statement.bind(CHANNEL).bind(topic.as_str())).await?;
    }
    work.ring(topic);
    Ok(())
}

impl Work {
    /// Rings in this process when the transaction is committed: for what triggers notify of on PostgreSQL.
    pub(crate) fn ring(&mut self, topic: Topic) {
        if !self.pending_notifications.contains(&topic) {
            self.pending_notifications.push(topic);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_are_read_by_the_name_they_are_notified_by() {
        for topic in Topic::ALL {
            assert_eq!(Topic::parse(topic.as_str()), Some(topic));
        }
        assert_eq!(Topic::parse("nothing"), None);
    }

    #[tokio::test]
    async fn on_sqlite_a_commit_rings_and_what_is_undone_does_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("test.db");
        let store = Store::open(path.to_str().expect("text"), crate::StoreOptions::default()).await;
        let store = store.expect("the database opens");
        let mut listener = store.listener().await.expect("a listener");

        let mut undone = store.begin().await.expect("a transaction");
        notify(&mut undone, Topic::Activations).await.expect("noted");
        drop(undone);
        let mut done = store.begin().await.expect("a transaction");
        notify(&mut done, Topic::Work).await.expect("noted");
        notify(&mut done, Topic::Work).await.expect("noted");
        done.commit().await.expect("committed");
        store.ring(Topic::Activations);
        let heard = [listener.next().await.expect("heard"), listener.next().await.expect("heard")];
        assert_eq!(heard, [Topic::Work, Topic::Activations], "once each, and only what was committed");
    }

    #[tokio::test]
    async fn whoever_missed_something_hears_every_topic() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("test.db");
        let store = Store::open(path.to_str().expect("text"), crate::StoreOptions::default()).await;
        let store = store.expect("the database opens");
        let mut listener = store.listener().await.expect("a listener");
        for _ in 0..=crate::WAKES_WAITING {
            store.ring(Topic::Work);
        }
        let mut heard = Vec::new();
        for _ in Topic::ALL {
            heard.push(listener.next().await.expect("heard"));
        }
        assert!(Topic::ALL.iter().all(|topic| heard.contains(topic)), "{heard:?}");
    }
}
